//! The configuration: what was typed, checked into what is meant, with all problems told at once.

mod fields;
mod hooks;
pub mod prompt;
mod read;
mod roles;
mod toml;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::toml::de::DeTable;
use serde::{Deserialize, Serialize};

use crate::durable::open::{Links, open_file};
use crate::harness::{self, Preset};
use crate::model::{DoneWhen, WorkItem};

pub use self::toml::problems::{ABSENT_HINT, Problem, Problems, UNREADABLE_HINT};
pub use fields::OWN_VARIABLES;
pub use hooks::Hooks;

/// How long `[done] command` may take. It is asked while its agent's launcher has nothing else to do.
pub const DONE_COMMAND_MAX: Duration = Duration::from_secs(60);

/// Size of a configuration or of a prompt template, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Reads the configuration at `path`, and the prompt templates it names. `sets` are keys that the command line sets,
/// `table.key=value` each.
///
/// # Errors
///
/// Everything that is wrong with it, at once.
pub fn load(path: &Path, sets: &[String]) -> Result<Loaded, Problems> {
    let unreadable = |why: String| Problems::Unreadable { path: path.to_owned(), why };
    let real = std::fs::canonicalize(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Problems::Absent { path: path.to_owned() },
        _ => unreadable(error.to_string()),
    })?;
    if real.to_str().is_none() {
        // What is asked for in files of text could not name the places beside it.
        return Err(unreadable("its path is not UTF-8; rename what is not in it".to_owned()));
    }
    let bytes = read_small_file(&real).map_err(unreadable)?;
    let found = |list| {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Problems::Found { path: path.to_owned(), list, text }
    };
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let (line, column) = toml::problems::position(&bytes, error.valid_up_to());
        found(vec![Problem {
            line,
            column,
            set: None,
            key: String::new(),
            what: "this is not UTF-8".to_owned(),
            hint: "save the file as UTF-8".to_owned(),
        }])
    })?;
    let prompts = RefCell::new(BTreeMap::new());
    let keep = |path: &Path| {
        let text = read_prompt(path)?;
        prompts.borrow_mut().insert(path.to_owned(), text.clone());
        Ok(text)
    };
    // By itself in any case: what the command line sets is for this once, and no part of what is kept.
    let alone = parse_with(text, &[], &real, &keep);
    let config = if sets.is_empty() { alone } else { parse_with(text, sets, &real, &read_prompt) };
    let config = config.map_err(found)?;
    let original = Original { path: real, text: text.to_owned(), prompts: prompts.into_inner() };
    Ok(Loaded { config, original })
}

/// A configuration, and what it was read from.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// What is meant.
    pub config: Config,
    /// What was typed.
    pub original: Original,
}

/// What a configuration is read from: enough to read it again where the file is gone or broken. Nothing of what the
/// command line sets is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Original {
    /// The file, absolute, symlinks resolved.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
    /// The prompt templates that it names.
    pub prompts: BTreeMap<PathBuf, String>,
}

impl Original {
    /// Reads it again. A prompt template that it does not name itself is read from its file.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, or with what the command line sets.
    pub fn read(&self, sets: &[String]) -> Result<Config, Problems> {
        let read = |path: &Path| self.prompts.get(path).cloned().map_or_else(|| read_prompt(path), Ok);
        parse_with(&self.text, sets, &self.path, &read).map_err(|list| Problems::Found {
            path: self.path.clone(),
            list,
            text: self.text.clone(),
        })
    }
}

/// A duration as it is typed everywhere, `<int>(ms|s|m|h|d)` or `0`; `None` for anything else.
pub fn duration(text: &str) -> Option<Duration> {
    toml::units::duration(text).ok()
}

/// Reads a configuration from its text. `path` is where it lies, absolute; `read_prompt` reads the prompt templates
/// that it names, and says why where it can't.
///
/// # Errors
///
/// Everything that is wrong with it, by position. A text that is no TOML has one problem only.
pub fn parse(
    text: &str,
    path: &Path,
    read_prompt: &dyn Fn(&Path) -> Result<String, String>,
) -> Result<Config, Vec<Problem>> {
    parse_with(text, &[], path, read_prompt)
}

/// The same, with what the command line sets put into it.
fn parse_with(
    text: &str,
    sets: &[String],
    path: &Path,
    read_prompt: &dyn Fn(&Path) -> Result<String, String>,
) -> Result<Config, Vec<Problem>> {
    let report = toml::section::Report::new(text, sets);
    let mut document = match DeTable::parse(text) {
        Ok(document) => document,
        Err(error) => {
            let at = error.span().map_or(0, |span| span.start);
            let what = format!("this is no TOML: {}", error.message());
            report.add(at, "", what, "see https://toml.io for how values and tables are written");
            return Err(report.finish());
        }
    };
    for wrong in toml::overrides::apply(document.get_mut(), sets, |n| report.position_of_set(n)) {
        report.add(wrong.at, "", wrong.what, &wrong.hint);
    }
    let place = fields::Place { path, dir: path.parent().unwrap_or(path), read_prompt };
    let config = read::config(&report, document.get_ref(), &place);
    let problems = report.finish();
    match config {
        Some(config) if problems.is_empty() => Ok(config),
        _ => Err(problems),
    }
}

fn read_prompt(path: &Path) -> Result<String, String> {
    String::from_utf8(read_small_file(path)?).map_err(|_| "it is not UTF-8".to_owned())
}

/// Reads a regular file of at most [`FILE_BYTES_MAX`], and nothing else: a FIFO would wait for ever.
fn read_small_file(path: &Path) -> Result<Vec<u8>, String> {
    let file = open_file(path, Links::Follow).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("it is larger than {} MiB", FILE_BYTES_MAX / 1024 / 1024));
    }
    Ok(bytes)
}

/// A configuration without problems.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The file, absolute, symlinks resolved.
    pub path: PathBuf,
    /// The folder it lies in; relative paths start there.
    pub dir: PathBuf,
    /// `[tick]`
    pub tick: Tick,
    /// `[state] allow_network_fs`
    pub allow_network_fs: bool,
    /// `[limits]`
    pub limits: Limits,
    /// `[attempts]`
    pub attempts: Attempts,
    /// `[budget]`
    pub budget: Budget,
    /// `[source]`: where items come from.
    pub source: SourceConfig,
    /// `[source.scope]`
    pub scope: Scope,
    /// `[writeback]`
    pub writeback: WritebackModes,
    /// `[fleet]`
    pub fleet: FleetConfig,
    /// `[workspace] root`, absolute; `None`: `workspaces/` in the state directory.
    pub workspace_root: Option<PathBuf>,
    /// `[hooks]`
    pub hooks: Hooks,
    /// `[env]`
    pub env: EnvConfig,
    /// `[retention]` of runs and workspaces.
    pub retention: Retention,
    /// `[done]`
    pub done: Done,
    /// `[retention] log_bytes_max`: per stream; 0 is no limit.
    pub log_bytes_max: u64,
    /// `[retention] events_bytes_max`; 0 is no limit.
    pub events_bytes_max: u64,
    /// `[[role]]`, in order; at least one.
    pub roles: Vec<Role>,
}

/// `[tick]`
#[derive(Clone, Debug, PartialEq)]
pub struct Tick {
    /// How often cron runs it.
    pub every: Duration,
    /// The longest a whole tick may take.
    pub deadline: Duration,
    /// Starts and resumes per tick.
    pub starts_max: u32,
    /// Older than this, a heartbeat is stale. Never zero here: the default is worked out.
    pub heartbeat_stale: Duration,
}

/// `[limits]`
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Items in flight.
    pub items_max: u32,
    /// Items in flight that carry a label; labels trimmed and lower-case.
    pub per_label: BTreeMap<String, u32>,
    /// No start with less free space than this; 0 is off.
    pub disk_free_min_bytes: u64,
}

/// `[attempts]`
#[derive(Clone, Debug, PartialEq)]
pub struct Attempts {
    /// Charged failures until an item is parked.
    pub max: u32,
    /// Wait after the first failure.
    pub backoff_base: Duration,
    /// Longest wait.
    pub backoff_max: Duration,
    /// Share of the wait by which it is moved either way, 0 to 0.3.
    pub jitter: f64,
    /// Resumes per session.
    pub resumes_max: u32,
    /// Charged failures of all items together, without a success between them, until nothing is started any more; 0
    /// is off.
    pub breaker: u32,
}

/// `[budget]`: what may be spent; 0 is off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// Starts and resumes per day.
    pub starts_per_day: u32,
    /// Agents started or resumed for one item per day; 0: any number. Then it is parked until a person retries it.
    pub item_starts_per_day: u32,
    /// US dollars per day.
    pub usd_per_day: f64,
    /// US dollars per run.
    pub usd_per_run: f64,
}

/// `[source] kind`, with the keys of that kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceConfig {
    /// `"dir"`: files in one folder of this machine.
    Dir {
        /// `[source] path`: the folder, absolute.
        path: PathBuf,
    },
}

/// `[source.scope]`: an item outside is never touched.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scope {
    /// All of them must be on the item; trimmed and lower-case. A blank one matches nothing.
    pub labels: Vec<String>,
    /// The title starts with it.
    pub title_prefix: String,
}

impl Scope {
    /// Whether an item is inside.
    pub fn holds(&self, item: &WorkItem) -> bool {
        self.labels.iter().all(|label| !label.is_empty() && item.labels.contains(label))
            && item.title.starts_with(&self.title_prefix)
    }
}

/// What a failed note to the tracker means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WritebackMode {
    /// Its failure is a failure.
    Required,
    /// Tried a few times, then dropped.
    BestEffort,
    /// Not tried.
    Off,
}

/// `[writeback]`
#[derive(Clone, Debug, PartialEq)]
pub struct WritebackModes {
    /// When agents were started.
    pub started: WritebackMode,
    /// When the item is done.
    pub done: WritebackMode,
    /// When the item was parked.
    pub parked: WritebackMode,
}

/// `[fleet]`
#[derive(Clone, Debug, PartialEq)]
pub struct FleetConfig {
    /// Who starts agents.
    pub kind: FleetKind,
    /// From TERM to KILL.
    pub grace: Duration,
    /// A start not seen after this is fenced off.
    pub start_grace: Duration,
    /// Never signalled.
    pub protected_pids: Vec<u32>,
    /// Files that hold pids which are never signalled; absolute.
    pub protected_pidfiles: Vec<PathBuf>,
}

/// `[fleet] kind`
#[derive(Clone, Debug, PartialEq)]
pub enum FleetKind {
    /// The tick itself, on this machine.
    Local,
    /// An agent-relay broker of this machine.
    Broker(BrokerConfig),
}

/// Where the broker is.
#[derive(Clone, Debug, PartialEq)]
pub struct BrokerConfig {
    /// `[fleet] broker_url`; `None`: it is looked for.
    pub url: Option<String>,
    /// `[fleet] broker_state_dir`, absolute; `None`: it is looked for.
    pub state_dir: Option<PathBuf>,
}

/// `[retention]` of runs and workspaces; the bounds of single files are in [`Config`].
#[derive(Clone, Debug, PartialEq)]
pub struct Retention {
    /// Run directories per item; `None` is no limit.
    pub runs_per_item: Option<usize>,
    /// How long a run directory and a workspace that nobody needs stay; `None` is for ever.
    pub age: Option<Duration>,
}

/// `[env]`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EnvConfig {
    /// Put before PATH; absolute.
    pub path_prepend: Vec<PathBuf>,
    /// A file of `KEY=value` lines for every agent, absolute; read at each start.
    pub file: Option<PathBuf>,
    /// Literals for every agent.
    pub set: BTreeMap<String, String>,
}

/// `[done]`: what makes an item done, once every role of it has ended well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// Nothing more.
    Exit,
    /// It was closed, or left the scope.
    Source,
    /// This command says so: 0 done, 1 not yet. Program and arguments; a program with a `/` is absolute.
    Command(Vec<String>),
}

impl Done {
    /// Which rule it is.
    pub fn when(&self) -> DoneWhen {
        match self {
            Done::Exit => DoneWhen::Exit,
            Done::Source => DoneWhen::Source,
            Done::Command(_) => DoneWhen::Command,
        }
    }
}

/// `[[role]]`
#[derive(Clone, Debug, PartialEq)]
pub struct Role {
    /// Name, unique.
    pub name: String,
    /// `[a-z0-9]+`, at most 16 bytes, unique: the end of its agents' names.
    pub suffix: String,
    /// Name of the harness: `command`, or a preset's.
    pub harness: String,
    /// Program and arguments; a program with a `/` is absolute. Empty for a preset.
    pub command: Vec<String>,
    /// What is added to a preset's own arguments.
    pub args: Vec<String>,
    /// Program and arguments for a resumed session; empty: no resume, or a preset's own.
    pub resume: Vec<String>,
    /// What a session is told that goes on; `None`: a built-in line.
    pub resume_prompt: Option<String>,
    /// Pattern for the session id on stdout, one group at least; `None`: `FACTORY_SESSION=<id>` lines.
    pub session: Option<String>,
    /// Texts in the stderr of a failed resume which say that the session is gone.
    pub session_gone: Vec<String>,
    /// Names of variables passed through besides the usual ones.
    pub env: Vec<String>,
    /// Longest life; `None` is no limit.
    pub deadline: Option<Duration>,
    /// Longest silence on stdout; `None` is no limit.
    pub stall: Option<Duration>,
    /// The prompt template, as text; syntax already checked.
    pub prompt: String,
    /// Where the template was read; `None`: the built-in one.
    pub prompt_path: Option<PathBuf>,
}

impl Role {
    /// What is known of its harness beforehand; `None` for a command of the configuration's own.
    pub fn preset(&self) -> Option<&'static Preset> {
        harness::preset(&self.harness)
    }

    /// Programs and arguments: of a fresh start, and of a resume where there is one.
    pub fn commands(&self) -> Vec<Vec<String>> {
        match self.preset() {
            Some(preset) => vec![preset.start_argv("", &self.args), preset.resume_argv("", &self.args)],
            None => {
                [&self.command, &self.resume].into_iter().filter(|argv| !argv.is_empty()).cloned().collect()
            }
        }
    }

    /// Whether its sessions can be gone on with.
    pub fn can_resume(&self) -> bool {
        self.preset().is_some() || !self.resume.is_empty()
    }
}
