//! What the program can be asked to do: each command is small, and works on the same registry, plan and
//! performance as a tick.

mod check;
mod drain;
mod explain;
mod groups;
mod init;
mod kill_tick;
mod logs;
mod mail;
mod manual;
mod order;
mod park;
mod pause;
mod reap;
mod relocate;
mod remove;
mod resolve;
mod restart;
mod retain;
mod retry;
mod status;
mod stop;
mod terminal;
mod tick;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use rustix::fs::Mode;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::cli::{Command, Format, Invocation, Options};
use crate::config::{self, Config, FleetKind, Loaded, Original, Problems};
use crate::decide::Request;
use crate::exit::{ExitStatus, Failure};
use crate::fleet::Fleet;
use crate::fleet::broker::BrokerFleet;
use crate::fleet::credentials;
use crate::fleet::env::{self, Vars};
use crate::fleet::local::{self, LocalFleet};
use crate::fleet::program;
use crate::model::{Moment, Observed, Plan, Process, Room, WorkItem};
use crate::page::Page;
use crate::paint::{Paint, Tone};
use crate::process::identity::{self, Host};
use crate::registry::Registry;
use crate::report::TickReport;
use crate::source::Source;
use crate::source::dir::DirSource;
use crate::state::{self, Access, State};
use crate::store::{StateDir, disk};
use crate::tick::Tick;
use crate::{clock, text};

pub use remove::run as remove;

/// How long a command that a person types waits for a tick to end.
const WAIT_LOCK: Duration = Duration::from_secs(60);

/// What becomes of the factory while its configuration is broken.
const BY_THE_LAST_GOOD: &str = "this goes by the copy of the configuration that the last good tick kept";

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
        let is_news = || mail::is_news_without_heartbeat(&options, failure.status, &failure.text);
        if options.quiet && is_busy || is_mailed && !is_news() {
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
        Command::Unpause => pause::end(&context(Access::Act)?),
        Command::Drain(args) => drain::run(&context(Access::Act)?, &args),
        Command::Reap(args) => reap::run(&context(Access::End)?, &args),
        Command::Relocate => relocate::run(&context(Access::Relocate)?),
        Command::Completions { shell } => Ok(manual::completions(shell)),
        Command::Man => manual::man(),
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
            let tone = match record.level() {
                log::Level::Error => Tone::Bad,
                log::Level::Warn => Tone::Warn,
                _ => Tone::Dim,
            };
            let level = Paint::stderr().put(tone, &record.level().as_str().to_lowercase());
            writeln!(out, "factory-tick: {level}: {}", text::plain(&record.args().to_string()))
        })
        .init();
}

/// What every command has at hand.
struct Context {
    options: Options,
    /// The configuration; where that is broken, the last good one.
    config: Config,
    /// What it was read from.
    original: Original,
    /// What is wrong with the configuration as it is now.
    broken: Option<Problems>,
    vars: Vars,
    host: Host,
    /// What the command does to the state.
    access: Access,
    state_path: PathBuf,
    began: Instant,
    now: Moment,
    /// Of the page that the result is set on, in columns.
    width: usize,
}

impl Context {
    fn new(options: Options, vars: Vars, access: Access) -> Result<Context, Failure> {
        let began = Instant::now();
        let width = terminal::width(&vars);
        let (Loaded { config, original }, broken) = match config::load(&options.config, &options.set) {
            Ok(loaded) => (of_state(&options, access).unwrap_or(loaded), None),
            Err(problems) => match last_good(&options, access) {
                Some(loaded) => (loaded, Some(problems)),
                None => return Err(bad_config(&problems, width)),
            },
        };
        if is_github_job(&vars) && options.state_dir.is_none() {
            let text = "under GitHub Actions the state directory must be named: a checkout deletes ignored \
                        folders such as .factory-tick, agents or not; pass --state-dir";
            return Err(Failure::new(ExitStatus::BadConfig, text));
        }
        let host = Host::read().map_err(|error| Failure::new(ExitStatus::IoError, format!("{error:#}")))?;
        let (_, state_path) = located(&options)?;
        let now = clock::moment(&host.boot_id);
        Ok(Context { options, config, original, broken, vars, host, access, state_path, began, now, width })
    }

    /// What any tick is asked: while the configuration is broken, to start nothing.
    fn request(&self) -> Request {
        let why = "the configuration is broken: nothing is started until it is mended";
        Request { hold_starts: self.broken.is_some().then(|| why.to_owned()), ..Request::default() }
    }

    /// Takes the lock, saying for whom it waits.
    fn lock(&self, default_wait: Duration, shutdown: &Shutdown) -> Result<State, Failure> {
        let wait = self.options.wait_lock.unwrap_or(default_wait);
        let called_off = || shutdown.asked();
        if let Some(dir) = StateDir::open_existing(&self.state_path, self.config.allow_network_fs)? {
            state::refuse_told_inside(&dir, &self.vars)?;
        }
        let waiting = |holder: Option<&Process>, waited: Duration| {
            let holder =
                holder.map_or_else(|| "a tick".to_owned(), |holder| format!("tick pid {}", holder.pid));
            tell(Tone::Dim, &format!("waiting for {holder} ({} s)…", waited.as_secs()));
        };
        let (config, path) = (&self.config, &self.state_path);
        let locked = State::lock(config, path, &self.host, self.access, wait, &called_off, waiting)
            .and_then(|state| state.refuse_inside(&self.host).map(|()| state));
        locked.map_err(|failure| match failure.status {
            // Which signal it was, the lock does not know.
            ExitStatus::Interrupted => Failure { status: shutdown.status(), ..failure },
            _ => failure,
        })
    }

    fn fleet(&self, lineage: &str) -> LocalFleet {
        let (host, now, vars) = (self.host.clone(), self.now.clone(), self.vars.clone());
        LocalFleet::new(&self.config, &self.state_path, lineage, host, now, vars)
    }

    /// Where agents run. To end what is on record nobody waits for a broker.
    fn agents(&self, lineage: &str, request: &Request) -> Box<dyn Fleet> {
        let local = self.fleet(lineage);
        match &self.config.fleet.kind {
            FleetKind::Local => Box::new(local),
            FleetKind::Broker(broker) => {
                let fleet = BrokerFleet::new(local, &self.config, broker);
                Box::new(if request.needs_source() { fleet } else { fleet.unasked() })
            }
        }
    }

    fn source(&self) -> DirSource {
        DirSource::new(self.config.source_path.clone())
    }

    fn clock(&self) -> Moment {
        clock::moment(&self.host.boot_id)
    }

    fn me(&self) -> Result<Process, Failure> {
        identity::own(&self.host)
            .map_err(|error| Failure::new(ExitStatus::IoError, format!("cannot read /proc/self: {error}")))
    }

    /// What a tick works with, for a plan or for the whole of it.
    fn tick<'a>(&'a self, outside: &'a Outside<'a>, request: Request) -> Tick<'a> {
        let workspaces = local::workspaces(&self.config, &self.state_path);
        let file = env::of_file(&self.config.env);
        let (file, env_error) =
            file.map_or_else(|error| (Default::default(), Some(error)), |file| (file, None));
        Tick {
            config: &self.config,
            source: outside.source,
            fleet: outside.fleet,
            request,
            now: (outside.clock)(),
            until: outside.since + self.config.tick.deadline,
            // Without its file nobody knows the PATH of the agents.
            missing_programs: match &env_error {
                Some(_) => BTreeMap::new(),
                None => program::missing(&self.vars, &self.config, &file),
            },
            missing_env: env::missing(&self.vars, &self.config.env, &file, &self.config.roles),
            env_error,
            credentials: credentials::of_roles(&self.vars, &self.config, &file, outside.lineage),
            lineage: outside.lineage,
            room: Room {
                state: outside.dir.and_then(StateDir::free),
                workspaces: disk::free_at(&workspaces),
            },
            workspaces,
            stop: outside.stop,
            clock: outside.clock,
        }
    }

    /// What the source holds, for finding an item by name; nothing where it can't be read.
    fn items(&self) -> Vec<WorkItem> {
        match self.source().read(Instant::now() + self.config.tick.deadline) {
            Observed::Known(view) => view.items,
            Observed::Unknown(_) => Vec::new(),
        }
    }

    /// Loads the state without its lock, for reading.
    fn peek(&self) -> Result<Option<State>, Failure> {
        State::peek(&self.config, &self.state_path, &self.host, self.access)
    }

    /// Prints what a command would do, decided on the state as it is, and changes nothing.
    fn preview(
        &self,
        plan: impl FnOnce(&Registry, &str, Option<&StateDir>) -> Result<(Plan, ExitStatus), Failure>,
    ) -> Result<ExitStatus, Failure> {
        let state = self.peek()?;
        if let Some(why) = state.as_ref().and_then(|state| state.damage.as_ref()) {
            log::warn!("{why}; its backup was read, and a tick would quarantine it");
        }
        let registry = state.as_ref().map(|state| state.registry.clone()).unwrap_or_default();
        let lineage = state.as_ref().map_or("", |state| state.lineage.as_str());
        let (plan, status) = plan(&registry, lineage, state.as_ref().map(|state| &state.dir))?;
        // As the command would leave it, so that items which are new have their keys.
        let mut after = registry;
        after.intend(&plan, &self.now);
        let mut report = TickReport::new("dry run, nothing changed", &self.now, true);
        report.add_plan(&plan, &after);
        report.worsen(status);
        if self.options.detailed_exitcode && !plan.is_empty() {
            report.worsen(ExitStatus::WouldAct);
        }
        report.finish(state.as_ref().map(State::serial), self.began.elapsed());
        Ok(self.print(&report))
    }

    /// Whether whatever is printed goes to the log of a job of GitHub Actions, whose runner obeys some lines of it.
    fn is_github_job(&self) -> bool {
        is_github_job(&self.vars)
    }

    /// Prints a report; the verdict is the state's, whatever becomes of the printing.
    fn print(&self, report: &TickReport) -> ExitStatus {
        match self.options.format {
            Format::Json => say(&report.to_json()),
            Format::Text => say_page(&report.to_page(self.width, self.options.verbose > 0)),
        }
        report.exit()
    }
}

fn is_github_job(vars: &Vars) -> bool {
    vars.contains_key(std::ffi::OsStr::new("GITHUB_ACTIONS"))
}

/// The configuration that the state goes by, where that is another one than is named. A command that only reads or ends
/// work goes by it, so that a configuration which was moved locks nobody out.
fn of_state(options: &Options, access: Access) -> Option<Loaded> {
    let (config, state) = located(options).ok()?;
    if !matches!(access, Access::Read | Access::End) {
        return None;
    }
    let dir = StateDir::open_existing(&state, true).ok()??;
    if !state::belongs_elsewhere(&config, &dir)? {
        return None;
    }
    let original = crate::last_good::find_any(&dir)?;
    let owner = original.path.display();
    log::warn!(
        "the state in {} belongs to {owner}: this goes by the copy of that configuration",
        state.display()
    );
    let config = original.read(&options.set).or_else(|_| original.read(&[])).ok()?;
    Some(Loaded { config, original })
}

/// The configuration that the last good tick went by, with what the command line sets where that is not what is wrong.
fn last_good(options: &Options, access: Access) -> Option<Loaded> {
    let (config, state) = located(options).ok()?;
    // Whether its file system is one to trust is for whoever takes the lock.
    let dir = StateDir::open_existing(&state, true).ok()??;
    let original = match access {
        // To read or to end work, whatever it was called.
        Access::Read | Access::End => crate::last_good::find_any(&dir)?,
        Access::Act | Access::Relocate => crate::last_good::find(&dir, &config)?,
    };
    let config = original.read(&options.set).or_else(|_| original.read(&[])).ok()?;
    Some(Loaded { config, original })
}

fn bad_config(problems: &Problems, width: usize) -> Failure {
    let page = Some(problems.to_page(width));
    Failure { page, ..Failure::new(ExitStatus::BadConfig, problems.to_string()) }
}

/// The configuration, symlinks resolved as far as there is anything, and the state directory that belongs to it, as
/// far as both can be told without reading it.
fn located(options: &Options) -> Result<(PathBuf, PathBuf), Failure> {
    let named = absolute(&options.config)?;
    let config =
        std::fs::canonicalize(&named).unwrap_or_else(|_| match (named.parent(), named.file_name()) {
            (Some(folder), Some(name)) => {
                std::fs::canonicalize(folder).map_or(named.clone(), |real| real.join(name))
            }
            _ => named.clone(),
        });
    let folder = config.parent().unwrap_or(&config);
    let state = absolute(&state::directory(folder, options.state_dir.as_deref()))?;
    Ok((config, state))
}

/// What a tick reaches outside the program through.
struct Outside<'a> {
    source: &'a DirSource,
    fleet: &'a dyn Fleet,
    /// Which factory.
    lineage: &'a str,
    dir: Option<&'a StateDir>,
    stop: &'a dyn Fn() -> bool,
    clock: &'a dyn Fn() -> Moment,
    /// When its time began to count.
    since: Instant,
}

/// Tells a failure that left nothing to report, in the format that was asked for.
fn tell_failure(options: &Options, failure: &Failure) -> ExitStatus {
    if options.format == Format::Json {
        let mut report = TickReport::new("tick", &clock::moment(""), options.dry_run);
        report.fail(failure);
        report.finish(None, Duration::ZERO);
        say(&report.to_json());
    } else if let Some(page) = &failure.page {
        let _ = std::io::stderr().write_all(page.painted(Paint::stderr()).as_bytes());
    } else {
        tell(Tone::Bad, &failure.text);
    }
    failure.status
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path)
        .map_err(|error| Failure::new(ExitStatus::CannotCreate, format!("{}: {error}", path.display())))
}

/// Prints a line of the result. A closed or full stdout changes no verdict.
fn say(line: &str) {
    let _ = std::io::stdout().write_all(format!("{line}\n").as_bytes());
}

/// Prints a page of the result.
fn say_page(page: &Page) {
    say(page.painted(Paint::stdout()).trim_end());
}

/// Prints a word to people that is no result, line by line: it may quote what a tracker says.
fn tell(tone: Tone, text: &str) {
    let lines: Vec<_> = text.lines().map(text::plain).collect();
    let name = Paint::stderr().put(tone, "factory-tick:");
    let _ = std::io::stderr().write_all(format!("{name} {}\n", lines.join("\n")).as_bytes());
}

/// Whether somebody asked the program to end, and how. The first signal lets the effect under way finish,
/// then the program commits and exits; a second one ends it at once.
struct Shutdown {
    signal: Arc<AtomicUsize>,
}

impl Shutdown {
    fn listen() -> Result<Shutdown, Failure> {
        let shutdown = Shutdown { signal: Arc::default() };
        let again: Arc<AtomicBool> = Arc::default();
        for (signal, status) in [(SIGINT, ExitStatus::Interrupted), (SIGTERM, ExitStatus::Terminated)] {
            // A second one ends the program where it is: whatever that leaves behind is a state that a kill may
            // leave behind. Registered first, so that the first one finds it unarmed.
            signal_hook::flag::register_conditional_shutdown(signal, status.code().into(), again.clone())
                .and_then(|_| signal_hook::flag::register(signal, again.clone()))
                .map_err(|error| {
                    Failure::new(ExitStatus::Failed, format!("cannot watch signals: {error}"))
                })?;
            signal_hook::flag::register_usize(
                signal,
                shutdown.signal.clone(),
                signal.unsigned_abs() as usize,
            )
            .map_err(|error| Failure::new(ExitStatus::Failed, format!("cannot watch signals: {error}")))?;
        }
        Ok(shutdown)
    }

    fn asked(&self) -> bool {
        self.status() != ExitStatus::Ok
    }

    fn status(&self) -> ExitStatus {
        match self.signal.load(Ordering::Relaxed) as i32 {
            0 => ExitStatus::Ok,
            SIGINT => ExitStatus::Interrupted,
            _ => ExitStatus::Terminated,
        }
    }
}
