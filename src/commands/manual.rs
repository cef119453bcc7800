//! `factory-tick completions` and `factory-tick man`: the command line, as shells and `man` read it.

use std::io::Write;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::exit::{ExitStatus, Failure};

pub(super) fn completions(shell: Shell) -> ExitStatus {
    let (mut command, mut script) = (Cli::command(), Vec::new());
    let name = command.get_name().to_owned();
    clap_complete::generate(shell, &mut command, name, &mut script);
    print(&script)
}

pub(super) fn man() -> Result<ExitStatus, Failure> {
    let mut page = Vec::new();
    let rendered = clap_mangen::Man::new(Cli::command()).render(&mut page);
    rendered.map_err(|error| Failure::new(ExitStatus::Failed, error.to_string()))?;
    Ok(print(&page))
}

/// A closed stdout changes no verdict.
fn print(bytes: &[u8]) -> ExitStatus {
    let _ = std::io::stdout().write_all(bytes);
    ExitStatus::Ok
}
