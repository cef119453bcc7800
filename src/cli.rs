//! The command line: the only reader of arguments and of the environment.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{NonEmptyStringValueParser, PossibleValuesParser, Resettable, TypedValueParser};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::fleet::remover;
use crate::model::FailureClass;
use crate::run::env::Vars;
use crate::text::escape;
use crate::ui::style::{self, When};

/// Where `--color` is read from besides.
const COLOR_VARIABLE: &str = "FACTORY_TICK_COLOR";

/// The configuration, unless another one is named.
pub const CONFIG: &str = "factory.toml";

/// What `--help` says below the options.
const MORE_HELP: &str = "\
Exit codes:
    0  done, or nothing to do
    1  a failure that nobody planned for: a bug
    2  the command line is wrong
    3  saved; something failed or is unknown, a later tick tries again. status: ticks don't come
    4  saved; something new needs a person
    5  the command declined to act, and nothing changed
   10  --dry-run --detailed-exitcode: a tick would act
   65  the state is damaged or of a newer version; nothing was touched
   69  neither items nor agents could be read
   73  the state directory can't be made or is unsafe
   74  saving the state failed; nothing was done after that
   75  another tick holds the lock
   77  a variable that a role needs is not set
   78  the configuration is wrong, or the state belongs to another one
  130  SIGINT: what was under way was finished and saved
  143  SIGTERM: likewise

Environment:
  Each option is also read from the variable named beside it; one that is typed wins. Agents get
  none of them, and nothing else that is not named in [env] or in their role.";

/// What a process of this program was started to do.
#[derive(Debug)]
pub enum Start {
    /// To be the supervisor of one run.
    Launcher {
        /// Its directory.
        run_dir: PathBuf,
        /// The relay that has started it.
        relay: Option<i32>,
    },
    /// To start such a supervisor from a terminal that somebody else made.
    Relay {
        /// The run's directory.
        run_dir: PathBuf,
        /// The environment.
        vars: Vars,
    },
    /// To become an agent or a hook.
    Exec {
        /// The process that started this one, and must still live.
        parent: i32,
        /// The run's directory; `None` for a hook of no run.
        run_dir: Option<PathBuf>,
        /// Program and arguments of a hook; `None` for the agent of the run.
        hook: Option<Vec<OsString>>,
    },
    /// To clear workspaces and empty the trash.
    Remover {
        /// The configuration.
        config: PathBuf,
        /// The state directory.
        state: PathBuf,
        /// What `--set` had set.
        sets: Vec<String>,
        /// The environment.
        vars: Vars,
    },
    /// To run a command, as a person or cron asks.
    Command(Box<Invocation>),
}

/// A command with everything it was given.
#[derive(Debug)]
pub struct Invocation {
    /// As typed.
    pub cli: Cli,
    /// The environment.
    pub vars: Vars,
}

/// One bounded, durable iteration of a coding-agent factory.
///
/// Without a command it runs one tick: it looks at items and agents, decides, starts, resumes, reaps, writes
/// down what it saw, and exits. Run it from cron every minute; it keeps nothing between runs but files.
#[derive(Debug, Parser)]
#[command(name = "factory-tick", version, max_term_width = 100, args_conflicts_with_subcommands = false, after_long_help = MORE_HELP)]
pub struct Cli {
    /// What to do; without one: a tick
    #[command(subcommand)]
    pub command: Option<Command>,
    /// What is common to all
    #[command(flatten)]
    pub options: Options,
    /// Options of a tick, where no command is named
    #[command(flatten)]
    pub tick: TickArgs,
}

/// Options of every command; each is also read from `FACTORY_TICK_<NAME>`.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// The configuration
    #[arg(
        short,
        long,
        global = true,
        value_name = "FILE",
        default_value = CONFIG,
        env = "FACTORY_TICK_CONFIG"
    )]
    pub config: PathBuf,
    /// Set one key of the configuration, such as `limits.items_max=1` or `role.NAME.deadline=5m`; more than once
    #[arg(long, global = true, value_name = "KEY=VALUE", value_delimiter = '\n', env = "FACTORY_TICK_SET")]
    pub set: Vec<String>,
    /// The state directory [default: .factory-tick beside the configuration]
    #[arg(long, global = true, value_name = "DIR", env = "FACTORY_TICK_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
    /// Decide and print; change, signal and send nothing
    #[arg(short = 'n', long, global = true, env = "FACTORY_TICK_DRY_RUN", value_parser = clap::builder::FalseyValueParser::new())]
    pub dry_run: bool,
    /// How long to wait for another tick to end, such as 30s [default: 0 for a tick, 60s for other commands]
    #[arg(long, global = true, value_name = "DURATION", value_parser = parse_duration, env = "FACTORY_TICK_WAIT_LOCK")]
    pub wait_lock: Option<Duration>,
    /// Exit with 10 when a dry run would act, and with 4 when `status` shows parked or stuck items
    #[arg(long, global = true, env = "FACTORY_TICK_DETAILED_EXITCODE", value_parser = clap::builder::FalseyValueParser::new())]
    pub detailed_exitcode: bool,
    /// How the result is printed
    #[arg(long, global = true, value_enum, default_value_t = Format::Text, env = "FACTORY_TICK_FORMAT")]
    pub format: Format,
    /// When there is colour; NO_COLOR, CLICOLOR_FORCE, CLICOLOR and TERM=dumb have a say in auto
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t = When::Auto, env = COLOR_VARIABLE)]
    pub color: When,
    /// Print only what is new since the last tick, and once a day what lasts; for cron
    #[arg(short, long, global = true, env = "FACTORY_TICK_QUIET", value_parser = clap::builder::FalseyValueParser::new())]
    pub quiet: bool,
    /// Say more; twice: everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count, env = "FACTORY_TICK_VERBOSE")]
    pub verbose: u8,
}

/// Options of a tick alone.
#[derive(Clone, Debug, Args)]
pub struct TickArgs {
    /// A tick that looks at this item alone: its id, key, agent, run, or a unique prefix of one
    #[arg(long, value_name = "ITEM", env = "FACTORY_TICK_ITEM")]
    pub item: Option<String>,
    /// Ticks in a row, as long as each of them decides something
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=5), env = "FACTORY_TICK_ITERATIONS")]
    pub iterations: u8,
    /// A tick that takes every remembered item which is absent from the source for gone at once: it is meant to be
    #[arg(long)]
    pub accept_missing: bool,
}

/// How the result is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Text,
    /// For scripts: one line
    Json,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// One bounded iteration (the default)
    Tick(TickArgs),
    /// What is in flight, what waits, what is parked, and whether ticks come. Exits with 3 when they don't
    Status,
    /// What the next tick makes of an item and why, and what its next run is given
    Explain(ExplainArgs),
    /// What a run prints, also while it runs
    Logs(LogsArgs),
    /// Give an item all its attempts back, due now, and bring it back where it is parked
    Retry(RetryArgs),
    /// Take an item out of the rotation; an agent of it that runs goes on, and nothing follows
    Park(ParkArgs),
    /// End an item's agents and park it: stopped stays stopped
    Stop(StopArgs),
    /// End an item's agents, then try it again with all its attempts
    Restart(RestartArgs),
    /// Start and resume nothing; what runs goes on, and is judged and cleaned up after as always
    Pause(PauseArgs),
    /// Start and resume again
    Unpause,
    /// Pause, and wait until nothing is in flight. Exits with 3 where something still is
    Drain(DrainArgs),
    /// End what is left of dead launchers, failed starts and hand-offs, and nothing else
    Reap(ReapArgs),
    /// Give a copied state a lineage of its own, so that it is one factory and the original another. Refused while an
    /// agent of it may run
    Relocate,
    /// Tell a tick that hangs to end, if it really is one: it holds the lock, and the heartbeat names it
    #[command(visible_alias = "kill")]
    KillTick,
    /// Look at all that a tick needs and change nothing; print the crontab line that works
    Check(CheckArgs),
    /// Write a configuration with everything explained, and an item to try it with; overwrite nothing
    Init,
    /// Print what makes a shell complete this program's commands and options
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page, for `man -l -`
    Man,
}

/// How to check.
#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// With the few variables that cron gives, instead of this shell's
    #[arg(long)]
    pub as_cron: bool,
}

/// What to park.
#[derive(Clone, Debug, Args)]
pub struct ParkArgs {
    /// An item's id or key, an agent, a run, or a unique prefix of one
    #[arg(value_name = "X")]
    pub target: String,
    /// Why, for whoever reads the status
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    pub reason: Option<String>,
}

/// How to drain.
#[derive(Clone, Debug, Args)]
pub struct DrainArgs {
    /// How long to wait; 0 looks once
    #[arg(long, value_name = "DURATION", default_value = "2h", value_parser = parse_duration)]
    pub wait: Duration,
    /// End what is in flight instead of letting it finish; its items start again after `unpause`
    #[arg(long)]
    pub stop: bool,
}

/// What to clean up after.
#[derive(Clone, Debug, Args)]
pub struct ReapArgs {
    /// Give up a run that must end and of which processes can't be ended, naming them, or that can't be told; reap nothing
    #[arg(long, value_name = "RUN")]
    pub forget: Option<String>,
}

/// For how long to pause.
#[derive(Clone, Debug, Args)]
pub struct PauseArgs {
    /// It ends by itself after so long, such as 12h [default: with `unpause`]
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_positive_duration)]
    pub duration: Option<Duration>,
    /// Why, for whoever reads the status
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    pub reason: Option<String>,
}

/// What to start anew.
#[derive(Clone, Debug, Args)]
pub struct RestartArgs {
    /// An item's id or key, an agent, a run, or a unique prefix of one
    #[arg(value_name = "X")]
    pub target: String,
}

/// What to explain.
#[derive(Clone, Debug, Args)]
pub struct ExplainArgs {
    /// An item's id or key, an agent, a run, or a unique prefix of one
    #[arg(value_name = "X")]
    pub target: String,
}

/// What to show.
#[derive(Clone, Debug, Args)]
pub struct LogsArgs {
    /// A run, an agent, an item that has one agent, or a unique prefix of one
    #[arg(value_name = "X")]
    pub target: String,
    /// Go on as long as it runs
    #[arg(short, long)]
    pub follow: bool,
    /// Its stderr instead of its stdout
    #[arg(long)]
    pub stderr: bool,
    /// What its hooks printed, and how each of them ended, instead of its stdout
    #[arg(long, conflicts_with = "stderr")]
    pub hooks: bool,
    /// The run of this number instead of the latest
    #[arg(long, value_name = "N")]
    pub run: Option<u64>,
}

/// What to try again.
#[derive(Clone, Debug, Args)]
pub struct RetryArgs {
    /// An item's id or key, an agent, a run, or a unique prefix of one
    #[arg(value_name = "X", required_unless_present = "all")]
    pub target: Option<String>,
    /// Everything that is parked
    #[arg(long, conflicts_with = "target")]
    pub all: bool,
    /// Of everything only what is parked for this reason
    #[arg(long, value_name = "CLASS", requires = "all", conflicts_with = "target", value_parser = class_parser())]
    pub class: Option<FailureClass>,
    /// From the beginning: no session goes on
    #[arg(long)]
    pub fresh: bool,
    /// What its next runs are to be told
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    pub message: Option<String>,
}

/// What to stop.
#[derive(Clone, Debug, Args)]
pub struct StopArgs {
    /// An item's id or key, an agent, a run, or a unique prefix of one
    #[arg(value_name = "X", required_unless_present = "all")]
    pub target: Option<String>,
    /// Every item with an agent
    #[arg(long, conflicts_with = "target")]
    pub all: bool,
}

/// Reads what this process is to do.
///
/// # Errors
///
/// A command line that is wrong, or asks for help; print it and exit with its code.
pub fn read() -> Result<Start, clap::Error> {
    #[expect(clippy::disallowed_methods, reason = "this is the reader of arguments")]
    let args: Vec<OsString> = std::env::args_os().collect();
    // The internal stages come first: they start with every agent and must not depend on options.
    match args.get(1).and_then(|arg| arg.to_str()) {
        Some("__launch") if args.len() == 3 || args.len() == 4 => {
            let relay = args.get(3).map(|relay| pid(relay));
            return Ok(Start::Launcher { run_dir: args[2].clone().into(), relay });
        }
        Some("__exec") if args.len() == 4 || args.get(4).is_some_and(|arg| arg == "--") => {
            let run_dir = Some(PathBuf::from(&args[3])).filter(|dir| !dir.as_os_str().is_empty());
            return Ok(Start::Exec {
                parent: pid(&args[2]),
                run_dir,
                hook: args.get(5..).map(<[OsString]>::to_vec),
            });
        }
        _ => {}
    }
    #[expect(clippy::disallowed_methods, reason = "this is the reader of the environment")]
    let vars: Vars = std::env::vars_os().collect();
    if args.get(1).is_some_and(|arg| arg == "__relay") && args.len() == 3 {
        return Ok(Start::Relay { run_dir: args[2].clone().into(), vars });
    }
    if args.get(1).is_some_and(|arg| arg == "__remove") && args.len() == 4 {
        let (config, state) = (args[2].clone().into(), args[3].clone().into());
        let sets = remover::sets(&vars);
        return Ok(Start::Remover { config, state, sets, vars });
    }
    style::choose(color(&args, &vars));
    let mut cli = parse(&args, &vars).map_err(|error| harmless(error, &args, &vars))?;
    // Of those before and behind the command's name the parser keeps only the latter.
    let sets = typed(&args, "--set");
    if !sets.is_empty() {
        cli.options.set = sets.into_iter().map(str::to_owned).collect();
    }
    Ok(Start::Command(Box::new(Invocation { cli, vars })))
}

/// Reads a command line. Its tick has the options that were typed before or behind the command's name.
fn parse(args: &[OsString], vars: &Vars) -> Result<Cli, clap::Error> {
    let matches = parser(vars).try_get_matches_from(args)?;
    let mut cli = Cli::from_arg_matches(&matches)?;
    let is_typed =
        |matches: &ArgMatches, id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
    match (&mut cli.command, matches.subcommand()) {
        (Some(Command::Tick(tick)), Some((_, behind))) => {
            if !is_typed(behind, "item") {
                tick.item = cli.tick.item.clone();
            }
            if !is_typed(behind, "iterations") {
                tick.iterations = cli.tick.iterations;
            }
            tick.accept_missing |= cli.tick.accept_missing;
        }
        (_, Some((name, _))) => {
            let of_tick = ["item", "iterations", "accept_missing"];
            if let Some(id) = of_tick.into_iter().find(|id| is_typed(&matches, id)) {
                let why = format!("--{} is an option of a tick, and not of {name}", id.replace('_', "-"));
                return Err(parser(vars).error(ErrorKind::ArgumentConflict, why));
            }
        }
        (_, None) => {}
    }
    Ok(cli)
}

/// The parser. A variable that is empty counts as unset: a CI runner sets an empty one for an input that is left out.
fn parser(vars: &Vars) -> clap::Command {
    let without_empty = |arg: clap::Arg| match arg.get_env() {
        Some(name) if vars.get(name).is_some_and(|value| value.is_empty()) => arg.env(Resettable::Reset),
        _ => arg,
    };
    Cli::command().mut_args(without_empty).mut_subcommands(|command| command.mut_args(without_empty))
}

/// What is wrong with a command line, with nothing in it that steers a terminal or a CI runner: a script may have passed
/// the title of an item on, and what is wrong is quoted.
fn harmless(error: clap::Error, args: &[OsString], vars: &Vars) -> clap::Error {
    let is_harmless = |error: &clap::Error| error.to_string().lines().all(|line| escape::plain(line) == line);
    if is_harmless(&error) {
        return error;
    }
    // The same mistake, made with the same words spelled out.
    let plain: Vec<_> = args.iter().map(|arg| escape::plain(&arg.to_string_lossy()).into()).collect();
    match parse(&plain, vars) {
        Err(same) if is_harmless(&same) => same,
        // It is the environment that says so.
        _ => Cli::command().error(error.kind(), escape::plain(error.to_string().trim_end())),
    }
}

/// When there is colour, told before the command line is read: help, and what is wrong with it, follow it too. What
/// is no choice is for the reading to refuse.
fn color(args: &[OsString], vars: &Vars) -> When {
    let choice = |text: &str| When::from_str(text, false).ok();
    let variable = vars.get(OsStr::new(COLOR_VARIABLE)).and_then(|value| value.to_str());
    let words = variable.into_iter().chain(typed(args, "--color"));
    words.filter_map(choice).next_back().unwrap_or_default()
}

/// Every value that an option was given, wherever it stands.
fn typed<'a>(args: &'a [OsString], option: &str) -> Vec<&'a str> {
    let mut args = args.iter().skip(1).take_while(|arg| *arg != "--").filter_map(|arg| arg.to_str());
    let mut values = Vec::new();
    while let Some(arg) = args.next() {
        if arg == option {
            values.extend(args.next());
        } else {
            values.extend(arg.strip_prefix(option).and_then(|rest| rest.strip_prefix('=')));
        }
    }
    values
}

/// Nobody's, where it is none.
fn pid(text: &OsStr) -> i32 {
    text.to_str().and_then(|pid| pid.parse().ok()).unwrap_or(0)
}

/// The names of failure classes, as reports tell them.
fn class_parser() -> impl TypedValueParser<Value = FailureClass> {
    PossibleValuesParser::new(FailureClass::ALL.map(FailureClass::name)).try_map(|name| {
        let named = FailureClass::ALL.into_iter().find(|class| class.name() == name);
        named.ok_or("no such class")
    })
}

/// `<int>(ms|s|m|h|d)`, or `0`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    crate::config::duration(text)
        .ok_or_else(|| "expected a whole number and ms, s, m, h or d, such as 30s".to_owned())
}

/// The same, and more than nothing.
fn parse_positive_duration(text: &str) -> Result<Duration, String> {
    let duration = parse_duration(text)?;
    if duration.is_zero() { Err("it must be more than nothing".to_owned()) } else { Ok(duration) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn the_last_word_on_colour_is_the_one_that_is_typed() {
        let told = |variable: Option<&str>, args: &[&str]| {
            let vars = variable.map(|value| (COLOR_VARIABLE.into(), value.into())).into_iter().collect();
            let args: Vec<_> = std::iter::once(&"factory-tick").chain(args).map(OsString::from).collect();
            color(&args, &vars)
        };
        assert_eq!(told(None, &["status"]), When::Auto);
        assert_eq!(told(Some("always"), &["status"]), When::Always);
        assert_eq!(told(Some("always"), &["--color=never", "status"]), When::Never);
        assert_eq!(told(None, &["status", "--color", "never", "--color", "always"]), When::Always);
        assert_eq!(told(Some("pink"), &["--color=", "--color"]), When::Auto);
        assert_eq!(told(None, &["park", "--", "--color=always"]), When::Auto);
        assert_eq!(told(Some("always"), &["--color=pink", "--color-of", "never"]), When::Always);
    }
}
