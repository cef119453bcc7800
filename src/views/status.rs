//! One screen: what `systemctl status` would say of a factory.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use crate::config::{Budget, Config};
use crate::model::{Class, HeldCode, ItemId, Moment, RunId};
use crate::registry::{
    AgentRecord, AgentStanding, CoolOff, Counters, Failing, ItemRecord, ItemStanding, ParkedBy, Paused,
    Registry, Today,
};
use crate::store::heartbeat::{Alive, Pulse};
use crate::text;

/// Everything that `status` tells.
#[derive(Debug, Serialize)]
pub struct StatusView {
    schema: u32,
    alive: bool,
    #[serde(skip)]
    verdict: String,
    paused: bool,
    pause: Option<Paused>,
    breaker: Option<Failing>,
    heartbeat: serde_json::Value,
    in_flight: Vec<InFlight>,
    waiting: Vec<Waiting>,
    parked: Vec<Parked>,
    handoffs: Vec<HandoffLine>,
    today: Spent,
    counters: Counters,
    #[serde(skip)]
    done: usize,
    #[serde(skip)]
    now: Timestamp,
    #[serde(skip)]
    heading: Vec<String>,
}

#[derive(Debug, Serialize)]
struct InFlight {
    item: ItemId,
    key: String,
    agent: String,
    run: RunId,
    state: &'static str,
    attempt: u32,
    started_at: Option<Timestamp>,
    deadline_at: Option<Timestamp>,
    pid: Option<u32>,
    log: PathBuf,
    session: Option<String>,
    usd: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Waiting {
    item: ItemId,
    key: String,
    code: HeldCode,
    because: String,
    until: Option<Timestamp>,
}

#[derive(Debug, Serialize)]
struct Parked {
    item: ItemId,
    key: String,
    class: Option<&'static str>,
    because: String,
    since: Option<Timestamp>,
    #[serde(rename = "try")]
    next: String,
    #[serde(skip)]
    by_person: bool,
}

#[derive(Debug, Serialize)]
struct HandoffLine {
    run: RunId,
    item: Option<ItemId>,
    why: String,
    since: Timestamp,
    survivors: Vec<u32>,
}

#[derive(Debug, Serialize)]
struct Spent {
    starts: u32,
    usd: Option<f64>,
}

impl StatusView {
    /// Reads off the registry and the heartbeat.
    pub fn new(
        config: &Config,
        state: &Path,
        registry: Option<&Registry>,
        pulse: &Pulse,
        alive: &Alive,
        now: &Moment,
    ) -> StatusView {
        let empty = Registry::default();
        let registry = registry.unwrap_or(&empty);
        let pause = registry.paused.as_ref().filter(|paused| paused.holds(now.at));
        let items = || registry.items.iter();
        let today = registry.today(now.at);
        let flying = registry.agents.iter().filter(|(_, agent)| agent.state != AgentStanding::Idle);
        StatusView {
            schema: 1,
            alive: *alive == Alive::Yes,
            verdict: alive.to_string(),
            paused: pause.is_some(),
            pause: pause.cloned(),
            breaker: registry.open_breaker(config.attempts.breaker).cloned(),
            heartbeat: match pulse {
                Pulse::Beat(beat) => json!(beat),
                Pulse::Absent | Pulse::Unreadable(_) => serde_json::Value::Null,
            },
            in_flight: flying
                .filter_map(|(name, agent)| in_flight(state, registry, &name.0, agent))
                .collect(),
            waiting: items().filter_map(|(id, record)| waiting(registry, id, record)).collect(),
            parked: items().filter_map(|(id, record)| parked(registry, id, record)).collect(),
            handoffs: registry
                .handoffs
                .iter()
                .map(|(run, handoff)| HandoffLine {
                    run: run.clone(),
                    item: handoff.item.clone(),
                    why: handoff.why.clone(),
                    since: handoff.since,
                    survivors: handoff.survivors.iter().map(|survivor| survivor.pid).collect(),
                })
                .collect(),
            today: Spent { starts: today.starts, usd: today.usd },
            counters: registry.counters.clone(),
            done: items().filter(|(_, record)| record.state == ItemStanding::Done).count(),
            now: now.at,
            heading: heading(config, state, pulse, registry, now),
        }
    }

    /// Whether an item needs a person.
    pub fn anything_parked(&self) -> bool {
        !self.parked.is_empty()
    }

    /// For a script: one line.
    pub fn to_json(&self) -> String {
        text::one_json_line(&json!(self))
    }

    /// For a person.
    pub fn to_text(&self) -> String {
        let mut out = format!("factory-tick is {}\n", text::plain(&self.verdict));
        for line in &self.heading {
            out.push_str(&format!("  {}\n", text::plain(line)));
        }
        section(&mut out, "In flight", self.in_flight.iter().map(|one| [one.row(self.now)]));
        section(&mut out, "Waiting", self.waiting.iter().map(|one| [one.row(self.now)]));
        section(&mut out, "Parked", self.parked.iter().map(|one| one.rows(self.now)));
        section(&mut out, "To be ended", self.handoffs.iter().map(|one| [one.row(self.now)]));
        out.push_str(&format!("Done: {}\n", self.done));
        out
    }
}

/// A headline that counts, and the rows of each.
fn section<const N: usize, const ROWS: usize>(
    out: &mut String,
    title: &str,
    each: impl Iterator<Item = [[String; N]; ROWS]>,
) {
    let each: Vec<_> = each.collect();
    if !each.is_empty() {
        out.push_str(&format!("{title}: {}\n{}", each.len(), text::table(each.as_flattened())));
    }
}

fn heading(config: &Config, state: &Path, pulse: &Pulse, registry: &Registry, now: &Moment) -> Vec<String> {
    let logs = state.join("runs").join("<run>").join("stdout.log");
    let mut lines = vec![format!("state  {}", state.display()), format!("logs   {}", logs.display())];
    if let Pulse::Beat(beat) = pulse {
        let ago = ago(beat.updated_at, now.at);
        let ended = beat.reason.as_deref().unwrap_or("not yet ended");
        let every = text::duration(i64::try_from(config.tick.every.as_secs()).unwrap_or(i64::MAX));
        lines.push(format!("tick   {ago}, due every {every}, number {}: {ended}", beat.ticks));
        for (name, leg) in [("items", &beat.source), ("agents", &beat.fleet)] {
            if let (false, Some(since), Some(error)) = (leg.ok, leg.since, &leg.error) {
                lines.push(format!("{name} unknown since {}: {error}", text::time(since)));
            }
        }
        if let Some(error) = beat.retained.as_ref().and_then(|retained| retained.error.as_ref()) {
            lines.push(format!("what is old could not be removed: {error}"));
        }
    }
    lines.extend(spent_today(&config.budget, &registry.today(now.at)));
    if let Some(Paused { because, since, until }) = registry.paused.as_ref().filter(|one| one.holds(now.at)) {
        let until = until.map_or_else(|| "factory-tick unpause".to_owned(), text::time);
        lines.push(format!("paused since {}, until {until}: {because}", text::time(*since)));
    }
    if let Some(failing) = registry.open_breaker(config.attempts.breaker) {
        let Failing { failures, since, item, because } = failing;
        let since = text::time(*since);
        lines.push(format!(
            "breaker open: {failures} failures in a row since {since}, the last of {item}: {because}"
        ));
        lines.push(
            "        starts go on after a success; or, when the cause is gone: factory-tick unpause"
                .to_owned(),
        );
    }
    lines.extend(registry.cool_offs.iter().map(|(scope, CoolOff { because, since, .. })| {
        format!("{scope} starts nothing since {}: {because}", text::time(*since))
    }));
    lines
}

/// `today  3 of 200 starts, 1.20 of 5.00 USD`; nothing of a day without a start.
fn spent_today(budget: &Budget, today: &Today) -> Option<String> {
    let of = |max: f64, words: String| if max > 0.0 { words } else { String::new() };
    let starts = of(budget.starts_per_day.into(), format!(" of {}", budget.starts_per_day));
    let max_usd = of(budget.usd_per_day, format!(" of {:.2}", budget.usd_per_day));
    let usd = today.usd.map_or_else(String::new, |usd| format!(", {usd:.2}{max_usd} USD"));
    let held = if today.exhausted(budget, 1).is_some() {
        format!("; nothing more starts until {}", text::time(today.ends()))
    } else {
        String::new()
    };
    (today.starts > 0 || today.usd.is_some())
        .then(|| format!("today  {}{starts} starts{usd}{held}", today.starts))
}

fn in_flight(state: &Path, registry: &Registry, name: &str, agent: &AgentRecord) -> Option<InFlight> {
    let run = agent.run.clone()?;
    let record = registry.items.get(&agent.item);
    let since = agent.since.as_ref().map(|since| since.at);
    let deadline = agent.deadline_ms.map(Duration::from_millis);
    Some(InFlight {
        item: agent.item.clone(),
        key: record.map_or_else(|| agent.item.plain().to_owned(), |record| record.key.clone()),
        agent: name.to_owned(),
        state: if agent.state == AgentStanding::Running { "running" } else { "starting" },
        attempt: record.map_or(0, |record| record.attempts) + 1,
        started_at: since,
        deadline_at: since.zip(deadline).and_then(|(since, deadline)| since.checked_add(deadline).ok()),
        pid: agent.pid,
        log: state.join("runs").join(run.to_string()).join("stdout.log"),
        session: agent.session.clone(),
        usd: agent.cost,
        run,
    })
}

fn waiting(registry: &Registry, id: &ItemId, record: &ItemRecord) -> Option<Waiting> {
    let words = record.last.as_ref().map_or_else(String::new, |last| last.because.clone());
    let (code, because, until) = if let Some((run, handoff)) = registry.handoffs_of(id).next() {
        (HeldCode::HandoffPending, format!("{run} must end first: {}", handoff.why), None)
    } else if record.state == ItemStanding::Waiting {
        (HeldCode::Backoff, words, record.due_at)
    } else {
        return None;
    };
    Some(Waiting { item: id.clone(), key: record.key.clone(), code, because, until })
}

fn parked(registry: &Registry, id: &ItemId, record: &ItemRecord) -> Option<Parked> {
    if record.state != ItemStanding::Parked {
        return None;
    }
    let last = record.last.as_ref();
    let class = last.and_then(|last| last.class);
    let name = argument(registry, id, record);
    let by_person = record.parked_by == Some(ParkedBy::Person);
    let next = if registry.running(id) {
        format!("its agent runs; to end it: factory-tick stop {name}")
    } else if by_person {
        format!("to bring it back: factory-tick retry {name}")
    } else if class.is_none() {
        format!(
            "end the processes named, or `factory-tick reap --forget` the run; then: factory-tick retry {name}"
        )
    } else if class == Some(Class::NeedsInput) {
        format!("to answer: factory-tick retry {name} --message \"…\"; or edit {}", record.origin)
    } else {
        format!("correct the cause, then: factory-tick retry {name}; or edit {}", record.origin)
    };
    Some(Parked {
        item: id.clone(),
        key: record.key.clone(),
        class: class.map(Class::name),
        because: last.map_or_else(String::new, |last| last.because.clone()),
        since: last.map(|last| last.at),
        next,
        by_person,
    })
}

/// What names the item on a command line: its key where that is its alone.
fn argument(registry: &Registry, id: &ItemId, record: &ItemRecord) -> String {
    let is_shared = registry.items.iter().any(|(other, one)| other != id && one.key == record.key);
    let name = if is_shared { &id.0 } else { &record.key };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._:/-@%+=".contains(c);
    if !name.is_empty() && name.chars().all(is_plain) {
        return name.clone();
    }
    format!("'{}'", name.replace('\'', "'\\''"))
}

/// `2 min 3 s ago`, of something that has happened
fn ago(at: Timestamp, now: Timestamp) -> String {
    format!("{} ago", text::duration(now.duration_since(at).as_secs()))
}

/// `in 4 min 10 s`, of something that is to happen; once it should have: `12 s ago`
fn relative(at: Timestamp, now: Timestamp) -> String {
    if at < now { ago(at, now) } else { format!("in {}", text::duration(at.duration_since(now).as_secs())) }
}

impl InFlight {
    fn row(&self, now: Timestamp) -> [String; 6] {
        let age =
            self.started_at.map_or_else(String::new, |at| text::duration(now.duration_since(at).as_secs()));
        let deadline = self.deadline_at.map(|at| format!("deadline {}", relative(at, now)));
        let pid = self.pid.map(|pid| format!("pid {pid}"));
        [
            self.key.clone(),
            self.run.to_string(),
            format!("{} {age}", self.state),
            format!("attempt {}", self.attempt),
            deadline.unwrap_or_default(),
            pid.unwrap_or_default(),
        ]
    }
}

impl Waiting {
    fn row(&self, now: Timestamp) -> [String; 4] {
        let until = match self.until {
            // It waits for something to happen, not for a time.
            None if self.code == HeldCode::HandoffPending => String::new(),
            Some(at) if at > now => format!("due {}", relative(at, now)),
            _ => "due".to_owned(),
        };
        let code = json!(self.code).as_str().unwrap_or_default().to_owned();
        [self.key.clone(), code, until, self.because.clone()]
    }
}

impl Parked {
    /// What happened, and below it what helps.
    fn rows(&self, now: Timestamp) -> [[String; 4]; 2] {
        let since = self.since.map_or_else(String::new, |at| ago(at, now));
        let by = if self.by_person { "by a person" } else { "survivors" };
        let class = self.class.unwrap_or(by).to_owned();
        let help = [String::new(), String::new(), String::new(), format!("→ {}", self.next)];
        [[self.key.clone(), class, since, self.because.clone()], help]
    }
}

impl HandoffLine {
    fn row(&self, now: Timestamp) -> [String; 3] {
        let survivors: Vec<_> = self.survivors.iter().map(ToString::to_string).collect();
        let left =
            if survivors.is_empty() { String::new() } else { format!(" (pids {})", survivors.join(", ")) };
        [self.run.to_string(), ago(self.since, now), format!("{}{left}", self.why)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn what_was_is_ago_and_what_comes_is_in() {
        assert_eq!(ago(at(100), at(100)), "0 s ago");
        assert_eq!(ago(at(100), at(223)), "2 min 3 s ago");
        assert_eq!(relative(at(160), at(100)), "in 1 min");
        assert_eq!(relative(at(100), at(160)), "1 min ago");
    }

    #[test]
    fn what_was_spent_today_is_told_against_what_may_be() {
        let budget = |starts_per_day, usd_per_day| Budget { starts_per_day, usd_per_day, usd_per_run: 0.0 };
        let mut registry = Registry::default();
        let told = |budget: Budget, registry: &Registry| {
            spent_today(&budget, &registry.today(at(100))).unwrap_or_default()
        };
        assert_eq!(told(budget(200, 5.0), &registry), "", "nothing of a day without a start");
        let run: RunId = "a-impl.1".parse().unwrap();
        let now = Moment { at: at(100), mono_ms: 0, boot_id: String::new() };
        registry.spend(&run, Some(1.255), None, &now);
        registry.spend(&run, Some(1.0), None, &now);
        assert_eq!(told(budget(200, 5.0), &registry), "today  0 of 200 starts, 2.25 of 5.00 USD");
        assert_eq!(told(budget(0, 0.0), &registry), "today  0 starts, 2.25 USD");
        assert_eq!(
            told(budget(0, 2.0), &registry),
            "today  0 starts, 2.25 of 2.00 USD; nothing more starts until 1970-01-02 00:00:00Z"
        );
    }

    #[test]
    fn what_a_person_is_told_to_type_can_be_typed() {
        let mut registry = Registry::default();
        let mut told = |id: &str, key: &str| {
            let id = ItemId(id.to_owned());
            let seen = crate::model::Refresh::Seen {
                item: id.clone(),
                key: key.to_owned(),
                origin: String::new(),
                slug: id.0.clone(),
                workspace: String::new(),
            };
            let now = Moment { at: at(0), mono_ms: 0, boot_id: String::new() };
            registry.apply(&crate::model::Step::Refresh(seen), &now);
            argument(&registry, &id, &registry.items[&id])
        };
        assert_eq!(told("dir:1", "AR-1"), "AR-1");
        assert_eq!(told("dir:2", "web#2"), "'web#2'");
        assert_eq!(told("dir:3", "it's; rm"), "'it'\\''s; rm'");
        assert_eq!(told("dir:4", "AR-1"), "dir:4", "two of that name");
    }

    #[test]
    fn an_item_is_due_at_a_time_or_waits_for_something_to_happen() {
        let until = |code, until: Option<i64>| {
            let (item, key) = (ItemId("dir:A".into()), "A".to_owned());
            let waiting = Waiting { item, key, code, because: String::new(), until: until.map(at) };
            waiting.row(at(100))[2].clone()
        };
        assert_eq!(until(HeldCode::Backoff, Some(105)), "due in 5 s");
        assert_eq!(until(HeldCode::Backoff, Some(100)), "due");
        assert_eq!(until(HeldCode::Backoff, None), "due");
        assert_eq!(until(HeldCode::HandoffPending, None), "");
    }
}
