//! The program: parse, log, run, exit. No logic.

use std::process::ExitCode;

use factory_tick::cli::{self, Start};
use factory_tick::fleet::{exec, launcher};
use factory_tick::{commands, exit::ExitStatus};

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
        Start::Launcher { run_dir } => ended(launcher::launch(run_dir)),
        Start::Remover { config, state, sets, vars } => ended(commands::remove(&config, &state, &sets, vars)),
        Start::Agent { run_dir, launcher } => not_executed(&exec::become_agent(run_dir, launcher)),
        Start::Hook { parent, run_dir, argv } => not_executed(&exec::become_hook(parent, run_dir, &argv)),
    }
}

/// Its stderr is a log of the run's by now.
fn not_executed(error: &anyhow::Error) -> ExitCode {
    let _ =
        std::io::Write::write_all(&mut std::io::stderr(), format!("factory-tick: {error:#}\n").as_bytes());
    ExitCode::from(exec::EXEC_FAILED)
}

/// Nobody waits for such a process, so the text is for whoever starts it by hand.
fn ended(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
