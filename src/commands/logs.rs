//! `factory-tick logs`: what a run prints, as long as its directory is there, also while it runs.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::app::context::Context;
use crate::app::{iteration, resolve};
use crate::cli::LogsArgs;
use crate::clock;
use crate::exit::{ExitStatus, Failure};
use crate::fleet::Fleet;
use crate::fleet::run_store::{RunLog, RunStore};
use crate::model::{AgentName, Observed, RunId, RunObservation, RunQuery};
use crate::registry::Registry;
use crate::state::State;
use crate::text::escape;

/// How often a run that is followed is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(super) fn run(context: &Context, args: &LogsArgs) -> Result<ExitStatus, Failure> {
    let refuse = |why: String| Failure::new(ExitStatus::Refused, why);
    let state = context.open_read_only()?;
    let state = state.ok_or_else(|| refuse("nothing has run here yet".to_owned()))?;
    let runs = context.run_store(&state.lineage);
    let run = which(context, args, &state.registry, &*runs)?;
    let log = match (args.hooks, args.stderr) {
        (true, _) => RunLog::Hooks,
        (_, true) => RunLog::Stderr,
        _ => RunLog::Stdout,
    };
    let broken = |error: anyhow::Error| Failure::new(ExitStatus::IoError, format!("{error:#}"));
    let opened = runs.open_log(&run, log).map_err(broken)?;
    let mut reader = opened.ok_or_else(|| refuse(why_gone(&state, &*runs, &run)))?;
    let fleet = args.follow.then(|| context.fleet(&state.lineage, &iteration::REAP));
    let mut screen = Screen::new(context);
    loop {
        // Asked first: what it printed until it was over is read after that.
        let over = fleet.as_ref().is_none_or(|fleet| is_over(&**fleet, &run));
        let read = reader.read(&mut |bytes| screen.show(bytes)).and_then(|()| screen.flush(over));
        match read {
            // Whoever read it has gone.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(ExitStatus::Ok),
            Err(error) => {
                let text = format!("{}: {error}", reader.path().display());
                return Err(Failure::new(ExitStatus::IoError, text));
            }
            Ok(()) if over => return Ok(ExitStatus::Ok),
            Ok(()) => clock::pause(LOOK_EVERY),
        }
    }
}

/// The run that is meant: named itself, or the latest of the agent that is.
fn which(
    context: &Context,
    args: &LogsArgs,
    registry: &Registry,
    runs: &dyn RunStore,
) -> Result<RunId, Failure> {
    let wanted = &args.target;
    // Runs outlive the record of their item; and one that was removed is not to be mistaken for a later one.
    let was_started = |run: &RunId| registry.names.last_n.get(&run.agent).is_some_and(|last| run.n <= *last);
    if let Ok(run) = wanted.parse::<RunId>()
        && (runs.has(&run) || was_started(&run))
    {
        return Ok(RunId { n: args.run.unwrap_or(run.n), ..run });
    }
    let agent = agent(context, wanted, registry)?;
    let latest = || registry.agents.get(&agent).map(|record| record.spec.id.n);
    let n = args.run.or_else(latest).or_else(|| registry.names.last_n.get(&agent).copied());
    Ok(RunId { n: n.unwrap_or_default(), agent })
}

fn agent(context: &Context, wanted: &str, registry: &Registry) -> Result<AgentName, Failure> {
    let named = AgentName(wanted.to_owned());
    if registry.agents.contains_key(&named) {
        return Ok(named);
    }
    let id = resolve::item(wanted, registry, &context.items())?;
    let mut agents: Vec<_> = registry.agents_of(&id).map(|(name, _)| name.clone()).collect();
    if agents.is_empty() && registry.done.contains_key(&id) {
        agents = registry.latest_runs_of(&id).map(|run| run.agent).collect();
    }
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
fn why_gone(state: &State, runs: &dyn RunStore, run: &RunId) -> String {
    let is_it = |event: &Value| event["event"] == "remove" && event["run"] == json!(run);
    let removed = state.backend().events().ok().and_then(|events| events.filter(is_it).last());
    match removed {
        Some(event) => {
            let word = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
            let at = word("at").parse().map_or_else(|_| word("at"), escape::time);
            format!("the logs of {run} were removed {at}: {}", word("because"))
        }
        None => format!("{run} has no directory in {}", runs.place().display()),
    }
}

/// Whether nothing more can come of it.
fn is_over(fleet: &dyn Fleet, run: &RunId) -> bool {
    let queries = [RunQuery { run: run.clone(), handle: None, name_taken: false, done_when: None }];
    let known = std::collections::BTreeMap::from([(run.agent.clone(), u64::MAX)]);
    let until = Instant::now() + Duration::from_secs(5);
    match fleet.observe(&queries, &known, until) {
        Observed::Known(view) => !matches!(
            view.runs.get(run),
            Some(
                RunObservation::Queued
                    | RunObservation::Unclaimed
                    | RunObservation::Alive { .. }
                    | RunObservation::Sweeping { .. }
            )
        ),
        Observed::Unknown(_) => true,
    }
}

/// Longer than this, a line that nobody ends is shown in parts.
const PART_BYTES: usize = 64 << 10;

/// Where it is shown: as it is, but for a terminal and for the log of a CI job, which the output of an agent must not
/// steer.
struct Screen {
    is_steered: bool,
    part: Vec<u8>,
}

impl Screen {
    fn new(context: &Context) -> Screen {
        let is_steered = io::stdout().is_terminal() || context.is_github_job();
        Screen { is_steered, part: Vec::new() }
    }

    fn show(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !self.is_steered {
            return io::stdout().write_all(bytes);
        }
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.part.extend_from_slice(part);
            if part.ends_with(b"\n") {
                self.put(self.part.len(), "\n")?;
            } else if self.part.len() >= PART_BYTES {
                self.put(breakable(&self.part), "")?;
            }
        }
        Ok(())
    }

    /// `all`: also a last line that nobody ended.
    fn flush(&mut self, all: bool) -> io::Result<()> {
        if all && !self.part.is_empty() {
            self.put(self.part.len(), "\n")?;
        }
        io::stdout().flush()
    }

    /// Shows the first bytes of what is held back.
    fn put(&mut self, length: usize, end: &str) -> io::Result<()> {
        let shown: Vec<u8> = self.part.drain(..length).collect();
        let text = String::from_utf8_lossy(&shown);
        let text = escape::plain(text.strip_suffix('\n').unwrap_or(&text));
        io::stdout().write_all(format!("{text}{end}").as_bytes())
    }
}

/// Where a part may end: before its last character, of which bytes may still be to come, and not within what a runner
/// takes for a command as a whole.
fn breakable(part: &[u8]) -> usize {
    let begins_character = |byte: &u8| byte & 0b1100_0000 != 0b1000_0000;
    let last = part.iter().rposition(begins_character).unwrap_or(part.len());
    let hashes = part[..last].iter().rev().take(2).take_while(|byte| **byte == b'#').count();
    (last - hashes).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_ends_within_no_character_and_no_command() {
        let shown = |part: &str| part[..breakable(part.as_bytes())].to_owned();
        let all = ["abc", "abc##[", "abc##", "#####", "ab\u{1f980}", "日本語"].map(shown);
        assert_eq!(all, ["ab", "abc", "abc", "##", "ab", "日本"]);
        assert_eq!(breakable("ab\u{1f980}".as_bytes().split_last().unwrap().1), 2, "not whole yet");
        assert_eq!(breakable(&[0x80; 9]), 9, "no text at all");
    }
}
