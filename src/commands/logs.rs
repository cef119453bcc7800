//! `factory-tick logs`: what a run prints, as long as its directory is there, also while it runs.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Context, resolve};
use crate::cli::LogsArgs;
use crate::exit::{ExitStatus, Failure};
use crate::fleet::Fleet;
use crate::fleet::local::LocalFleet;
use crate::fleet::log_reader::LogReader;
use crate::fleet::rundir::{HOOKS_LOG, RunDir, RunFiles};
use crate::model::{AgentName, Observed, Quarry, RunId, Sighting};
use crate::registry::Registry;
use crate::state::State;
use crate::store::events;
use crate::text;

/// How often a run that is followed is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(super) fn run(context: &Context, args: &LogsArgs) -> Result<ExitStatus, Failure> {
    let refuse = |why: String| Failure::new(ExitStatus::Refused, why);
    let state = State::peek(&context.config, &context.state_path)?;
    let state = state.ok_or_else(|| refuse("nothing has run here yet".to_owned()))?;
    let fleet = context.fleet(&state.lineage);
    let run = which(context, args, &state.registry, &fleet)?;
    let dir = RunDir::new(fleet.runs.join(run.to_string()));
    let files = dir.open()?.ok_or_else(|| refuse(why_gone(&state, &fleet, &run)))?;
    // A damaged one tells nothing; the logs are there all the same.
    let spec = RunFiles::whole_spec(&files)?;
    let name = match (args.hooks, args.stderr) {
        (true, _) => HOOKS_LOG,
        (_, true) => "stderr.log",
        _ => "stdout.log",
    };
    let bytes_max = spec.map_or(context.config.log_bytes_max, |spec| spec.log_bytes_max);
    let mut reader = LogReader::new(dir.file(name), bytes_max);
    let mut screen = Screen::new();
    loop {
        // Asked first: what it printed until it was over is read after that.
        let over = !args.follow || is_over(&fleet, &run);
        let read = reader.read(&mut |bytes| screen.show(bytes)).and_then(|()| screen.flush(over));
        match read {
            // Whoever read it has gone.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(ExitStatus::Ok),
            Err(error) => {
                return Err(Failure::new(
                    ExitStatus::IoError,
                    format!("{}: {error}", dir.file(name).display()),
                ));
            }
            Ok(()) if over => return Ok(ExitStatus::Ok),
            Ok(()) => pause(),
        }
    }
}

/// The run that is meant: named itself, or the latest of the agent that is.
fn which(
    context: &Context,
    args: &LogsArgs,
    registry: &Registry,
    fleet: &LocalFleet,
) -> Result<RunId, Failure> {
    let wanted = &args.target;
    // Runs outlive the record of their item; and one that was removed is not to be mistaken for a later one.
    let was_started = |run: &RunId| registry.names.last_n.get(&run.agent).is_some_and(|last| run.n <= *last);
    if let Ok(run) = wanted.parse::<RunId>()
        && (fleet.runs.join(wanted).is_dir() || was_started(&run))
    {
        return Ok(RunId { n: args.run.unwrap_or(run.n), ..run });
    }
    let agent = agent(context, wanted, registry)?;
    let n = args.run.or_else(|| registry.agents.get(&agent).map(|record| record.n));
    Ok(RunId { n: n.unwrap_or_default(), agent })
}

fn agent(context: &Context, wanted: &str, registry: &Registry) -> Result<AgentName, Failure> {
    let named = AgentName(wanted.to_owned());
    if registry.agents.contains_key(&named) {
        return Ok(named);
    }
    let id = resolve::item(wanted, registry, &context.items())?;
    let agents: Vec<_> = registry.agents_of(&id).map(|(name, _)| name.clone()).collect();
    // A prefix of a name may tell them apart where the item does not.
    let by_prefix: Vec<_> = agents.iter().filter(|name| name.0.starts_with(wanted)).collect();
    match (agents.as_slice(), by_prefix.as_slice()) {
        ([only], _) => Ok(only.clone()),
        (_, [only]) => Ok((*only).clone()),
        ([], _) => Err(Failure::new(ExitStatus::Refused, format!("{id} has had no agent yet"))),
        (all, _) => {
            let names: Vec<_> = all.iter().map(ToString::to_string).collect();
            let text = format!("{id} has the agents {}; name one of them", names.join(", "));
            Err(Failure::new(ExitStatus::Refused, text))
        }
    }
}

/// Why a run has no directory: retention says so when it removes one.
fn why_gone(state: &State, fleet: &LocalFleet, run: &RunId) -> String {
    let is_it = |event: &Value| event["event"] == "remove" && event["run"] == json!(run);
    let removed = events::read(&state.dir).ok().and_then(|events| events.filter(is_it).last());
    match removed {
        Some(event) => {
            let word = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
            let at = word("at").parse().map_or_else(|_| word("at"), text::time);
            format!("the logs of {run} were removed {at}: {}", word("because"))
        }
        None => format!("{run} has no directory in {}", fleet.runs.display()),
    }
}

/// Whether nothing more can come of it.
fn is_over(fleet: &LocalFleet, run: &RunId) -> bool {
    let quarry = [Quarry { run: run.clone(), process: None, name_taken: false }];
    let known = std::collections::BTreeMap::from([(run.agent.clone(), u64::MAX)]);
    let until = Instant::now() + Duration::from_secs(5);
    match fleet.observe(&quarry, &known, until) {
        Observed::Known(view) => !matches!(
            view.runs.get(run),
            Some(Sighting::Unclaimed | Sighting::Alive { .. } | Sighting::Sweeping { .. })
        ),
        Observed::Unknown(_) => true,
    }
}

/// Where it is shown: as it is, but for a terminal, which the output of an agent must not steer.
struct Screen {
    is_terminal: bool,
    line: Vec<u8>,
}

impl Screen {
    fn new() -> Screen {
        Screen { is_terminal: io::stdout().is_terminal(), line: Vec::new() }
    }

    fn show(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !self.is_terminal {
            return io::stdout().write_all(bytes);
        }
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") {
                self.end_line()?;
            }
        }
        Ok(())
    }

    /// `all`: also a last line that nobody ended.
    fn flush(&mut self, all: bool) -> io::Result<()> {
        if all && !self.line.is_empty() {
            self.end_line()?;
        }
        io::stdout().flush()
    }

    fn end_line(&mut self) -> io::Result<()> {
        let line = String::from_utf8_lossy(&self.line).trim_end_matches('\n').to_owned();
        self.line.clear();
        io::stdout().write_all(format!("{}\n", text::plain(&line)).as_bytes())
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "between two looks at a run that is over at some time, or until Ctrl-C"
)]
fn pause() {
    std::thread::sleep(LOOK_EVERY);
}
