//! `factory-tick man`: the command line, as `man` reads it.

use clap::CommandFactory;

use crate::app::output::say_bytes;
use crate::cli::Cli;
use crate::exit::{ExitStatus, Failure};

pub(super) fn run() -> Result<ExitStatus, Failure> {
    let mut page = Vec::new();
    let rendered = clap_mangen::Man::new(Cli::command()).render(&mut page);
    rendered.map_err(|error| Failure::new(ExitStatus::Failed, error.to_string()))?;
    say_bytes(&page);
    Ok(ExitStatus::Ok)
}
