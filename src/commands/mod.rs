//! What the program can be asked to do: each command is small, and works on the same registry, plan and
//! performance as a tick.

mod check;
mod completions;
mod drain;
mod explain;
mod init;
mod kill_tick;
mod logs;
mod man;
mod park;
mod pause;
mod reap;
mod relocate;
mod remove;
mod restart;
mod retry;
mod status;
mod stop;
mod tick;
mod unpause;

use std::io::Write;

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use rustix::fs::Mode;

use crate::app::context::{BY_THE_LAST_GOOD, Context};
use crate::app::output::tell_failure;
use crate::app::quiet;
use crate::cli::{Command, Invocation, Options};
use crate::exit::{ExitStatus, Failure};
use crate::run::env::Vars;
use crate::state::Access;
use crate::text::escape;
use crate::ui::style::{Style, Styler};

pub use remove::run as remove;

/// Runs a command to its exit status. What a panic leaves behind is a state that some tick could have been
/// killed in, which is an ordinary one.
pub fn run(invocation: Invocation) -> ExitStatus {
    start_log(&invocation.cli.options);
    // Under a limit on file sizes a write is to fail, with an exit code and a text, not to kill.
    let mut file_size = SigSet::empty();
    file_size.add(Signal::SIGXFSZ);
    let _ = sigprocmask(SigmaskHow::SIG_BLOCK, Some(&file_size), None);
    allow_the_owner();
    let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| dispatch(invocation)));
    ran.unwrap_or_else(|_| {
        log::error!("this is a bug in factory-tick; the state is whole, and the next tick goes on from it");
        ExitStatus::Failed
    })
}

/// What is made here must be of use to whoever makes it: under a mask that takes the owner's own rights away, a state
/// directory was one that nobody could open again. Whatever the mask keeps from others it keeps from them still.
fn allow_the_owner() {
    let mask = rustix::process::umask(Mode::RWXG | Mode::RWXO);
    rustix::process::umask(mask - Mode::RWXU);
}

fn dispatch(invocation: Invocation) -> ExitStatus {
    let Invocation { cli, vars } = invocation;
    let options = cli.options;
    let command = cli.command.unwrap_or(Command::Tick(cli.tick));
    let is_mailed = matches!(command, Command::Tick(_)) && options.quiet && !options.dry_run;
    carry_out(command, &options, vars).unwrap_or_else(|failure| {
        // Under cron another tick is the most ordinary thing.
        let is_busy = failure.status == ExitStatus::Busy;
        let has_changed = || quiet::has_changed_without_heartbeat(&options, failure.status, &failure.text);
        if options.quiet && is_busy || is_mailed && !has_changed() {
            return failure.status;
        }
        tell_failure(&options, &failure)
    })
}

fn carry_out(command: Command, options: &Options, vars: Vars) -> Result<ExitStatus, Failure> {
    // Only asked for where the configuration is needed: some commands work without any.
    let is_tick = matches!(command, Command::Tick(_));
    let context = |access: Access| {
        let context = Context::new(options.clone(), vars.clone(), access)?;
        // A tick tells it as its result.
        if let Some(problems) = context.broken.as_ref().filter(|_| !is_tick) {
            log::warn!("{}; {BY_THE_LAST_GOOD}, and `factory-tick -n` tells what is wrong", problems.brief());
        }
        Ok::<_, Failure>(context)
    };
    match command {
        Command::Check(args) => check::run(options, &vars, &args),
        Command::Init => init::run(options, &vars),
        Command::Tick(args) => tick::run(&context(Access::Act)?, &args),
        Command::Status => status::run(&context(Access::Read)?),
        Command::Explain(args) => explain::run(&context(Access::Read)?, &args),
        Command::Logs(args) => logs::run(&context(Access::Read)?, &args),
        Command::Retry(args) => retry::run(&context(Access::Act)?, &args),
        Command::Park(args) => park::run(&context(Access::End)?, &args),
        Command::Stop(args) => stop::run(&context(Access::End)?, &args),
        Command::Restart(args) => restart::run(&context(Access::Act)?, &args),
        Command::Pause(args) => pause::run(&context(Access::End)?, &args),
        Command::Unpause => unpause::run(&context(Access::Act)?),
        Command::Drain(args) => drain::run(&context(Access::Act)?, &args),
        Command::Reap(args) => reap::run(&context(Access::End)?, &args),
        Command::Relocate => relocate::run(&context(Access::Relocate)?),
        Command::Completions { shell } => Ok(completions::run(shell)),
        Command::Man => man::run(),
        Command::KillTick => kill_tick::run(options, &vars),
    }
}

fn start_log(options: &Options) {
    let level = match (options.quiet, options.verbose) {
        (true, _) => log::LevelFilter::Off,
        (_, 0) => log::LevelFilter::Warn,
        (_, 1) => log::LevelFilter::Info,
        _ => log::LevelFilter::Debug,
    };
    env_logger::Builder::new()
        .filter_level(level)
        .format(|out, record| {
            let style = match record.level() {
                log::Level::Error => Style::Bad,
                log::Level::Warn => Style::Warn,
                _ => Style::Dim,
            };
            let level = Styler::stderr().put(style, &record.level().as_str().to_lowercase());
            writeln!(out, "factory-tick: {level}: {}", escape::plain(&record.args().to_string()))
        })
        .init();
}
