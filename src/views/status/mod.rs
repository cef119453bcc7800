//! One screen: what `systemctl status` would say of a factory.

mod document;
mod screen;

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use super::takeover::{self, Places};
use super::{json, words};
use crate::config::{Budget, Config};
use crate::model::{
    AgentName, ClockReading, FailureClass, FollowUp, HoldReason, ItemId, RunHandle, RunId, Stopped, Stuck,
};
use crate::registry::{
    AgentPhase, AgentRecord, CoolOff, Counters, DailySpend, FailureStreak, ItemPhase, ItemRecord, ParkedBy,
    Paused, Registry,
};
use crate::state::heartbeat::{Alive, Heartbeat, HeartbeatState};
use crate::text::escape;

/// What a status is read off.
pub struct StatusInput<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// The state directory.
    pub state: &'a Path,
    /// The folder of workspaces.
    pub workspaces: &'a Path,
    /// Where a person edits the item of an origin.
    pub item_place: &'a dyn Fn(&str) -> String,
    /// How the program is called so that it means this factory, for commands that a person copies.
    pub program: &'a str,
    /// What is remembered; `None` where nothing was ever written.
    pub registry: Option<&'a Registry>,
    /// The heartbeat.
    pub heartbeat_state: &'a HeartbeatState,
    /// What that means.
    pub alive: &'a Alive,
    /// When.
    pub now: &'a ClockReading,
}

/// Everything that `status` tells.
#[derive(Debug)]
pub struct StatusView {
    alive: bool,
    pause: Option<Paused>,
    breaker: Option<FailureStreak>,
    stopped: Option<Stopped>,
    heartbeat: Option<Heartbeat>,
    in_flight: Vec<json::InFlight>,
    waiting: Vec<Waiting>,
    parked: Vec<Parked>,
    stuck: Vec<StuckLine>,
    handoffs: Vec<json::Handoff>,
    notes: Vec<json::Note>,
    counters: Counters,
    heading: Heading,
}

/// What the screen begins and ends with.
#[derive(Debug)]
struct Heading {
    program: String,
    alive: Alive,
    now: Timestamp,
    config: PathBuf,
    state: PathBuf,
    every: Duration,
    daily_spend: DailySpend,
    budget: Budget,
    /// Key of the item that failed last where too many did.
    failed_last: Option<String>,
    cool_offs: Vec<(String, CoolOff)>,
    done: usize,
}

/// An item that waits.
#[derive(Debug)]
struct Waiting {
    line: json::Waiting,
    code: HoldReason,
}

/// An item out of the rotation.
#[derive(Debug)]
struct Parked {
    line: json::Parked,
    help: Vec<Help>,
}

/// An item that a person alone can release, although it is not parked.
#[derive(Debug)]
struct StuckLine {
    line: json::Stuck,
    help: Vec<Help>,
}

/// A way out.
#[derive(Debug)]
struct Help {
    /// `to answer`
    to: &'static str,
    /// What to type, or the file to edit.
    what: String,
}

impl StatusView {
    /// Reads off the registry and the heartbeat. What happened or happens first is told first; what was parked
    /// last, likewise.
    pub fn new(looked: &StatusInput<'_>) -> StatusView {
        let StatusInput { config, program, now, .. } = looked;
        let empty = Registry::default();
        let registry = looked.registry.unwrap_or(&empty);
        let pause = registry.paused.as_ref().filter(|paused| paused.holds(now));
        let breaker = registry.open_breaker(config.attempts.breaker);
        let daily_spend = registry.daily_spend(now.at);
        let items = || registry.items.iter();
        let mut in_flight: Vec<_> = registry
            .agents
            .iter()
            .filter(|(_, agent)| agent.state != AgentPhase::Idle)
            .filter_map(|(name, agent)| in_flight(looked, registry, &name.0, agent))
            .collect();
        in_flight.sort_by_key(|one| one.started_at);
        let mut waiting: Vec<_> = items().filter_map(|(id, record)| waiting(registry, id, record)).collect();
        waiting.sort_by_key(|one| one.line.until);
        let mut parked: Vec<_> =
            items().filter_map(|(id, record)| parked(looked, registry, id, record)).collect();
        parked.sort_by_key(|one| std::cmp::Reverse(one.line.since));
        let mut stuck: Vec<_> =
            registry.standstill.stuck.iter().map(|(id, one)| stuck(looked, id, one)).collect();
        stuck.sort_by_key(|one| std::cmp::Reverse(one.line.since));
        let mut handoffs: Vec<_> = registry
            .handoffs
            .iter()
            .map(|(run, handoff)| json::Handoff {
                run: run.to_string(),
                item: handoff.item.as_ref().map(ToString::to_string),
                because: handoff.why.clone(),
                since: handoff.since,
                survivors: handoff.survivors.iter().map(|survivor| survivor.pid).collect(),
            })
            .collect();
        handoffs.sort_by_key(|one| one.since);
        StatusView {
            alive: *looked.alive == Alive::Yes,
            pause: pause.cloned(),
            breaker: breaker.cloned(),
            stopped: registry.standstill.stopped.clone(),
            heartbeat: match looked.heartbeat_state {
                HeartbeatState::Beat(beat) => Some(beat.as_ref().clone()),
                HeartbeatState::Absent | HeartbeatState::Unreadable(_) => None,
            },
            in_flight,
            waiting,
            parked,
            stuck,
            handoffs,
            notes: notes(registry),
            counters: registry.counters.clone(),
            heading: Heading {
                program: (*program).to_owned(),
                alive: looked.alive.clone(),
                now: now.at,
                config: config.path.clone(),
                state: looked.state.to_owned(),
                every: config.tick.every,
                failed_last: breaker.map(|failing| key(registry, &failing.item)),
                daily_spend,
                budget: config.budget,
                cool_offs: registry.cool_offs.clone().into_iter().collect(),
                done: items().filter(|(_, record)| record.state == ItemPhase::Done).count()
                    + registry.done.values().filter(|done| done.gone.is_none()).count(),
            },
        }
    }

    /// Whether an item needs a person.
    pub fn anything_parked(&self) -> bool {
        !self.parked.is_empty() || !self.stuck.is_empty()
    }
}

fn in_flight(
    looked: &StatusInput<'_>,
    registry: &Registry,
    name: &str,
    agent: &AgentRecord,
) -> Option<json::InFlight> {
    let run = agent.run.clone()?;
    let record = registry.items.get(&agent.spec.item);
    let since = agent.since.as_ref().map(|since| since.at);
    let deadline = agent.spec.latest_ms().map(Duration::from_millis);
    let stop = record
        .map(|record| format!("{} stop {}", looked.program, argument(registry, &agent.spec.item, record)));
    let takeover = takeover::command(looked.config, &places(looked), registry, &run, agent);
    Some(json::InFlight {
        item: agent.spec.item.to_string(),
        key: key(registry, &agent.spec.item),
        agent: name.to_owned(),
        phase: words::agent_phase(agent.state),
        attempt: record.map_or(0, |record| record.attempts) + 1,
        attempts_max: looked.config.attempts.max,
        started_at: since,
        deadline_at: since.zip(deadline).and_then(|(since, deadline)| since.checked_add(deadline).ok()),
        pid: agent.handle.as_ref().and_then(RunHandle::pid),
        log: looked
            .state
            .join("runs")
            .join(run.to_string())
            .join("stdout.log")
            .to_string_lossy()
            .into_owned(),
        session: agent.session.clone(),
        takeover: stop.zip(takeover).map(|(stop, takeover)| format!("{stop} && {takeover}")),
        usd: agent.cost,
        tokens: agent.tokens,
        run: run.to_string(),
    })
}

fn notes(registry: &Registry) -> Vec<json::Note> {
    let note = |(name, agent): (&AgentName, &AgentRecord)| {
        Some(json::Note {
            item: agent.spec.item.to_string(),
            key: key(registry, &agent.spec.item),
            run: RunId { agent: name.clone(), n: agent.spec.id.n }.to_string(),
            because: agent.after_run.clone()?,
        })
    };
    registry.agents.iter().filter_map(note).collect()
}

fn places<'a>(looked: &StatusInput<'a>) -> Places<'a> {
    Places { state: looked.state, workspaces: looked.workspaces }
}

fn waiting(registry: &Registry, id: &ItemId, record: &ItemRecord) -> Option<Waiting> {
    if record.state == ItemPhase::Parked {
        // It waits for a person, whatever else.
        return None;
    }
    let words = record.last.as_ref().map_or_else(String::new, |last| last.because.clone());
    let (code, because, until) = if let Some((run, handoff)) = registry.handoffs_of(id).next() {
        (HoldReason::HandoffPending, format!("{run} must end first: {}", handoff.why), None)
    } else if let Some(because) = record.taken.clone().filter(|_| !registry.running(id)) {
        (HoldReason::WorkspaceTaken, because, None)
    } else if record.state == ItemPhase::Waiting {
        (HoldReason::Backoff, words, record.due_at)
    } else if record.state == ItemPhase::Active && !registry.running(id) {
        // Between two runs: an agent of it goes on by itself.
        let due = registry.agents_of(id).filter_map(|(_, agent)| FollowUp::first_due(&agent.follow_ups));
        (HoldReason::Backoff, words, due.min())
    } else {
        return None;
    };
    let line =
        json::Waiting { item: id.to_string(), key: record.key.clone(), code: code.name(), because, until };
    Some(Waiting { line, code })
}

fn parked(looked: &StatusInput<'_>, registry: &Registry, id: &ItemId, record: &ItemRecord) -> Option<Parked> {
    if record.state != ItemPhase::Parked {
        return None;
    }
    let last = record.last.as_ref();
    let class = last.and_then(|last| last.class);
    let runs = registry.running(id);
    let resting = registry.agents_of(id).filter(|(_, agent)| !runs && !agent.succeeded);
    let takeover = resting.filter_map(|(name, agent)| {
        let run = RunId { agent: name.clone(), n: agent.spec.id.n };
        takeover::command(looked.config, &places(looked), registry, &run, agent)
    });
    let help = help(looked, registry, id, record);
    let line = json::Parked {
        item: id.to_string(),
        key: record.key.clone(),
        parked_by: record.parked_by.map(words::parked_by),
        class: class.map(FailureClass::name),
        because: last.map_or_else(String::new, |last| last.because.clone()),
        since: last.map(|last| last.at),
        r#try: sentence(&help),
        takeover: takeover.collect(),
    };
    Some(Parked { line, help })
}

fn stuck(looked: &StatusInput<'_>, id: &ItemId, stuck: &Stuck) -> StuckLine {
    let file = (looked.item_place)(&stuck.origin);
    let help = match stuck.code {
        HoldReason::WorkspaceTaken => Help {
            to: "to release it",
            what: "give this factory a [workspace] root of its own, or remove the mark named".to_owned(),
        },
        _ => Help { to: "to release it, edit", what: file },
    };
    let help = vec![help];
    let line = json::Stuck {
        item: id.to_string(),
        key: stuck.key.clone(),
        code: stuck.code.name(),
        because: stuck.because.clone(),
        since: stuck.since,
        r#try: sentence(&help),
    };
    StuckLine { line, help }
}

/// What helps with a parked item.
fn help(looked: &StatusInput<'_>, registry: &Registry, id: &ItemId, record: &ItemRecord) -> Vec<Help> {
    let class = record.last.as_ref().and_then(|last| last.class);
    let name = argument(registry, id, record);
    let type_it = |to, words: &str| Help { to, what: format!("{} {words}", looked.program) };
    let retry = format!("retry {name}");
    let edit = |to| Help { to, what: (looked.item_place)(&record.origin) };
    if registry.running(id) {
        vec![type_it("its agent runs; to end it", &format!("stop {name}"))]
    } else if record.parked_by == Some(ParkedBy::Person) {
        vec![type_it("to bring it back", &retry)]
    } else if record.parked_by == Some(ParkedBy::Budget) {
        vec![type_it("to give it all starts of a day back", &retry)]
    } else if class.is_none() {
        let give_up =
            |(run, _)| type_it("end the processes named, or give them up", &format!("reap --forget {run}"));
        let mut ways: Vec<_> = registry.handoffs_of(id).map(give_up).collect();
        ways.push(type_it("then", &retry));
        ways
    } else if class == Some(FailureClass::NeedsInput) {
        vec![type_it("to answer", &format!("{retry} --message \"…\"")), edit("or edit")]
    } else {
        vec![type_it("once the cause is gone", &retry), edit("or edit")]
    }
}

/// `to answer: factory-tick retry AR-1; or edit: AR-1.md`
fn sentence(help: &[Help]) -> String {
    let ways: Vec<_> = help.iter().map(|Help { to, what }| format!("{to}: {what}")).collect();
    ways.join("; ")
}

/// What people call an item.
fn key(registry: &Registry, id: &ItemId) -> String {
    registry.items.get(id).map_or_else(|| id.plain().to_owned(), |record| record.key.clone())
}

/// What names the item on a command line: its key where that is its alone.
fn argument(registry: &Registry, id: &ItemId, record: &ItemRecord) -> String {
    let is_shared = registry.items.iter().any(|(other, one)| other != id && one.key == record.key);
    escape::shell_word(if is_shared { &id.0 } else { &record.key })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_is_told_to_type_can_be_typed() {
        let mut registry = Registry::default();
        let mut told = |id: &str, key: &str| {
            let id = ItemId(id.to_owned());
            let seen = crate::model::RecordUpdate::Seen {
                item: id.clone(),
                key: key.to_owned(),
                origin: String::new(),
                slug: id.0.clone(),
                workspace: String::new(),
            };
            let now =
                ClockReading { at: Timestamp::UNIX_EPOCH, mono_ms: 0, boot_id: String::new(), slept_ms: 0 };
            registry.apply(&crate::model::Step::RecordUpdate(seen), &now).unwrap();
            argument(&registry, &id, &registry.items[&id])
        };
        assert_eq!(told("dir:1", "AR-1"), "AR-1");
        assert_eq!(told("dir:2", "web#2"), "'web#2'");
        assert_eq!(told("dir:4", "AR-1"), "dir:4", "two of that name");
    }
}
