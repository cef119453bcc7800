//! What every command works with: its options, the configuration, the host, and how it reaches the state.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::app::output::{bad_config, say, say_page, tell};
use crate::app::shutdown::Shutdown;
use crate::app::snapshot::Snapshot;
use crate::app::terminal;
use crate::cli::{Format, Options};
use crate::clock;
use crate::config::{self, Config, Loaded, Original, Problems};
use crate::decide::Request;
use crate::exit::{ExitStatus, Failure};
use crate::fleet::run_store::RunStore;
use crate::fleet::{self, Fleet, Home};
use crate::model::{ClockReading, Observed, Process, WorkItem};
use crate::process::identity::{self, Host};
use crate::run::env::Vars;
use crate::source::{self, LastRead, Source};
use crate::state::{self, Access, HostDir, State};
use crate::ui::style::Style;
use crate::views::report::TickReport;

/// How long a command that a person types waits for a tick to end.
pub(crate) const WAIT_LOCK: Duration = Duration::from_secs(60);

/// What becomes of the factory while its configuration is broken.
pub(crate) const BY_THE_LAST_GOOD: &str =
    "this goes by the copy of the configuration that the last good tick kept";

/// What every command has at hand.
pub(crate) struct Context {
    pub(crate) options: Options,
    /// The configuration; where that is broken, the last good one.
    pub(crate) config: Config,
    /// What it was read from.
    pub(crate) original: Original,
    /// What is wrong with the configuration as it is now.
    pub(crate) broken: Option<Problems>,
    pub(crate) vars: Vars,
    pub(crate) host: Host,
    /// What the command does to the state.
    pub(crate) access: Access,
    pub(crate) state_path: PathBuf,
    pub(crate) began: Instant,
    pub(crate) now: ClockReading,
    /// Of the page that the result is set on, in columns.
    pub(crate) width: usize,
    /// What this process has read of the source last.
    pub(crate) last_read: LastRead,
}

impl Context {
    pub(crate) fn new(options: Options, vars: Vars, access: Access) -> Result<Context, Failure> {
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
        let last_read = LastRead::default();
        Ok(Context {
            options,
            config,
            original,
            broken,
            vars,
            host,
            access,
            state_path,
            began,
            now,
            width,
            last_read,
        })
    }

    /// What any tick is asked: while the configuration is broken, to start nothing.
    pub(crate) fn request(&self) -> Request {
        let why = "the configuration is broken: nothing is started until it is mended";
        Request { hold_starts: self.broken.is_some().then(|| why.to_owned()), ..Request::default() }
    }

    /// Takes the lock, saying for whom it waits.
    pub(crate) fn lock(&self, default_wait: Duration, shutdown: &Shutdown) -> Result<State, Failure> {
        let wait = self.options.wait_lock.unwrap_or(default_wait);
        let called_off = || shutdown.asked();
        if let Some(dir) = HostDir::open_existing(&self.state_path, self.config.allow_network_fs)? {
            state::refuse_by_environment(&dir, &self.vars)?;
        }
        let waiting = |holder: Option<&Process>, waited: Duration| {
            let holder =
                holder.map_or_else(|| "a tick".to_owned(), |holder| format!("tick pid {}", holder.pid));
            tell(Style::Dim, &format!("waiting for {holder} ({} s)…", waited.as_secs()));
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

    fn home(&self, lineage: &str) -> Home {
        Home {
            state: self.state_path.clone(),
            lineage: lineage.to_owned(),
            host: self.host.clone(),
            now: self.now.clone(),
            vars: self.vars.clone(),
        }
    }

    /// Where agents run. To end what is on record nobody waits for a broker.
    pub(crate) fn fleet(&self, lineage: &str, request: &Request) -> Box<dyn Fleet> {
        fleet::build(&self.config, self.home(lineage), !request.needs_source())
    }

    /// What is kept of runs.
    pub(crate) fn run_store(&self, lineage: &str) -> Box<dyn RunStore> {
        fleet::run_store(&self.config, self.home(lineage))
    }

    pub(crate) fn source(&self) -> Box<dyn Source> {
        source::build(&self.config.source)
    }

    pub(crate) fn clock(&self) -> ClockReading {
        clock::moment(&self.host.boot_id)
    }

    pub(crate) fn me(&self) -> Result<Process, Failure> {
        identity::own(&self.host)
            .map_err(|error| Failure::new(ExitStatus::IoError, format!("cannot read /proc/self: {error}")))
    }

    /// What the source holds, for finding an item by name; nothing where it can't be read.
    pub(crate) fn items(&self) -> Vec<WorkItem> {
        let until = Instant::now() + self.config.tick.deadline;
        match self.last_read.read(&*self.source(), until) {
            Observed::Known(view) => view.items,
            Observed::Unknown(_) => Vec::new(),
        }
    }

    /// Loads the state without its lock, for reading.
    pub(crate) fn open_read_only(&self) -> Result<Option<State>, Failure> {
        State::open_read_only(&self.config, &self.state_path, &self.host, self.access)
    }

    /// The state as it is, read without its lock.
    pub(crate) fn snapshot(&self) -> Result<Snapshot, Failure> {
        self.open_read_only().map(Snapshot::new)
    }

    /// Whether whatever is printed goes to the log of a job of GitHub Actions, whose runner obeys some lines of it.
    pub(crate) fn is_github_job(&self) -> bool {
        is_github_job(&self.vars)
    }

    /// Prints a report; the verdict is the state's, whatever becomes of the printing.
    pub(crate) fn print(&self, report: &TickReport) -> ExitStatus {
        match self.options.format {
            Format::Json => say(&report.to_json()),
            Format::Text => say_page(&report.to_page(self.width, self.options.verbose > 0)),
        }
        report.exit()
    }
}

pub(crate) fn is_github_job(vars: &Vars) -> bool {
    vars.contains_key(std::ffi::OsStr::new("GITHUB_ACTIONS"))
}

/// The configuration that the state goes by, where that is another one than is named. A command that only reads or ends
/// work goes by it, so that a configuration which was moved locks nobody out.
pub(crate) fn of_state(options: &Options, access: Access) -> Option<Loaded> {
    let (config, path) = located(options).ok()?;
    if !matches!(access, Access::Read | Access::End) {
        return None;
    }
    let dir = HostDir::open_existing(&path, true).ok()??;
    if !state::belongs_elsewhere(&config, &dir)? {
        return None;
    }
    let original = state::backend(&dir, 0).kept_config()?;
    let owner = original.path.display();
    log::warn!(
        "the state in {} belongs to {owner}: this goes by the copy of that configuration",
        path.display()
    );
    let config = original.read(&options.set).or_else(|_| original.read(&[])).ok()?;
    Some(Loaded { config, original })
}

/// The configuration that the last good tick went by, with what the command line sets where that is not what is wrong.
pub(crate) fn last_good(options: &Options, access: Access) -> Option<Loaded> {
    let (config, path) = located(options).ok()?;
    // Whether its file system is one to trust is for whoever takes the lock.
    let dir = HostDir::open_existing(&path, true).ok()??;
    let original = state::backend(&dir, 0).kept_config()?;
    // To read or to end work, whatever it was called.
    if !matches!(access, Access::Read | Access::End) && original.path != config {
        return None;
    }
    let config = original.read(&options.set).or_else(|_| original.read(&[])).ok()?;
    Some(Loaded { config, original })
}

/// The configuration, symlinks resolved as far as there is anything, and the state directory that belongs to it, as
/// far as both can be told without reading it.
pub(crate) fn located(options: &Options) -> Result<(PathBuf, PathBuf), Failure> {
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

pub(crate) fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path)
        .map_err(|error| Failure::new(ExitStatus::CannotCreate, format!("{}: {error}", path.display())))
}
