//! The program: parse, log, run, exit. No logic.

use std::process::ExitCode;

use factory_tick::cli::{self, Start};
use factory_tick::commands;
use factory_tick::exit::ExitStatus;
use factory_tick::launcher::{self, exec, relay};

fn main() -> ExitCode {
    let start = match cli::read() {
        Ok(start) => start,
        Err(error) => {
            // A closed stdout changes no verdict.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { ExitStatus::Usage.code() } else { 0 });
        }
    };
    match start {
        Start::Command(invocation) => commands::run(*invocation).into(),
        Start::Launcher { run_dir, relay } => ended(launcher::launch(run_dir, relay)),
        Start::Relay { run_dir, vars } => ended(relay::relay(&run_dir, &vars)),
        Start::Remover { config, state, sets, vars } => ended(commands::remove(&config, &state, &sets, vars)),
        Start::Exec { parent, run_dir, hook } => not_executed(&exec::become_program(parent, run_dir, hook)),
    }
}

/// Its stderr is a log of the run's by now.
fn not_executed(error: &anyhow::Error) -> ExitCode {
    complain(error);
    ExitCode::from(exec::EXEC_FAILED)
}

/// Nobody waits for such a process, so the text is for whoever starts it by hand, or watches the terminal that it is in.
fn ended(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn complain(error: &anyhow::Error) {
    let line = format!("factory-tick: {error:#}\n");
    // With a closed stderr there is nobody to tell.
    let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
}
