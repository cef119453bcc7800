//! `factory-tick completions`: the command line, as a shell completes it.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::app::output::say_bytes;
use crate::cli::Cli;
use crate::exit::ExitStatus;

pub(super) fn run(shell: Shell) -> ExitStatus {
    let (mut command, mut script) = (Cli::command(), Vec::new());
    let name = command.get_name().to_owned();
    clap_complete::generate(shell, &mut command, name, &mut script);
    say_bytes(&script);
    ExitStatus::Ok
}
