//! What of old runs and workspaces may go, and why. Pure: it looks at nothing but its arguments.
//!
//! # The story
//!
//! Nothing here is in a hurry, and everything that is deleted is gone for ever. So what may go is decided from the
//! registry as it was committed, and what is decided is checked again by whoever carries it out:
//!
//! - About once an hour, when it has nothing else left to do, a tick lists `runs/` and the folder of workspaces
//!   ([`crate::commands`], `retain`). What [`runs`] names is renamed into the trash, a bounded number per tick, each
//!   only if its own receipts say that nothing of it lives; one that nobody has claimed is fenced first. A launcher
//!   that comes late finds nothing to claim.
//! - Where [`workspaces`] names any, or something lies in the trash, the tick starts a process of its own for the rest
//!   (`remove`): it may take long, and the tick holds the lock. That process keeps the agents of an item from starting,
//!   asks [`workspace`] again, of the registry as it stands by then, runs the hook for it, and renames. What lies in the
//!   trash it deletes. An item that is needed again while its hook runs keeps its workspace.
//!
//! Killed at any instruction, each directory is where it was or in the trash, and a later look goes on from there.
//!
//! # What stays
//!
//! Whatever a leap of the clock has made old ([`ClockTracker`]).
//!
//! A run that is some agent's current one, or must end. A run that is not on record yet: its number is above the
//! highest that was ever given out. The latest run of each agent of an item that is remembered: its log is the one that
//! is asked for. A workspace of an item that is not finished. Everything whose name is not on record; and a folder that has
//! the name of a workspace and was there before its item.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use crate::config::Retention;
use crate::model::{AgentName, ClockTracker, ItemId, RunId, RunTrace};
use crate::registry::{ItemPhase, Registry};
use crate::text::escape;

/// A directory that may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal<T> {
    /// What.
    pub what: T,
    /// Whose; `None` where nobody knows any more.
    pub item: Option<ItemId>,
    /// Why.
    pub because: String,
}

/// The runs whose directories may go, of those that have one.
pub fn runs(
    registry: &Registry,
    traces: &[RunTrace],
    rules: &Retention,
    clock: &ClockTracker,
) -> Vec<Removal<RunId>> {
    let owners: BTreeMap<&str, &ItemId> =
        registry.names.items.iter().map(|(id, named)| (named.slug.as_str(), id)).collect();
    let needed = needed(registry);
    let mut removals = Vec::new();
    for (slug, newest_first) in by_item(registry, traces, clock) {
        let item = owners.get(slug).map(|id| (*id).clone());
        for (newer, (ended_at, run)) in newest_first.into_iter().enumerate() {
            if needed.contains(run) {
                continue;
            }
            let too_many = rules.runs_per_item.filter(|most| newer >= *most);
            let too_old = rules.age.filter(|age| clock.is_older(ended_at, *age));
            let because = match (too_many, too_old) {
                (Some(_), _) => format!("its item has {newer} newer runs"),
                (None, Some(age)) => format!("it ended more than {} ago", in_words(age)),
                (None, None) => continue,
            };
            removals.push(Removal { what: run.clone(), item: item.clone(), because });
        }
    }
    removals
}

/// The workspaces that may go, of those that belong to this factory.
pub fn workspaces(
    registry: &Registry,
    owned: &BTreeSet<String>,
    rules: &Retention,
    clock: &ClockTracker,
) -> Vec<Removal<String>> {
    let ours = registry.names.items.iter().filter(|(_, named)| owned.contains(&named.workspace));
    ours.filter_map(|(id, _)| workspace(registry, id, rules, clock)).collect()
}

/// The workspace of an item, if it may go: nothing of the item is in flight, it is done or forgotten, and has been so
/// for long enough that whoever wanted to look has looked.
pub fn workspace(
    registry: &Registry,
    id: &ItemId,
    rules: &Retention,
    clock: &ClockTracker,
) -> Option<Removal<String>> {
    let (named, age) = (registry.names.items.get(id)?, rules.age?);
    let record = registry.items.get(id);
    let finished = record.is_none_or(|record| record.state == ItemPhase::Done);
    // A hand-off of which nobody knows the item any more may be of this one all the same.
    let to_be_ended = registry.handoffs.values().any(|handoff| handoff.agent.slug() == named.slug);
    if !finished || to_be_ended || registry.in_flight(id) {
        return None;
    }
    let for_long = named.finished_at.is_some_and(|at| clock.is_older(at, age));
    let what = if registry.phase(id).is_some() { "done" } else { "closed or gone" };
    for_long.then(|| Removal {
        what: named.workspace.clone(),
        item: Some(id.clone()),
        because: format!("its item has been {what} for more than {}", in_words(age)),
    })
}

/// Everybody who may ever have had a launcher in an item's workspace: whoever holds the locks of all of them has the
/// place to himself.
///
/// `roles`: names and suffixes.
pub fn agents(registry: &Registry, id: &ItemId, roles: &[(&str, &str)]) -> BTreeSet<AgentName> {
    let Some(named) = registry.names.items.get(id) else { return BTreeSet::new() };
    let started = registry.names.last_n.keys().filter(|agent| agent.slug() == named.slug).cloned();
    let next = |(role, suffix): &(&str, &str)| registry.agent_name(id, &named.slug, role, suffix);
    started.chain(roles.iter().map(next)).collect()
}

/// Runs that something else than curiosity may ask for.
fn needed(registry: &Registry) -> BTreeSet<RunId> {
    let latest = registry.agents.iter().map(|(agent, one)| RunId { agent: agent.clone(), n: one.spec.id.n });
    let current = registry.agents.values().filter_map(|agent| agent.run.clone());
    let indexed = registry.done.iter().filter(|(_, done)| done.gone.is_none());
    let indexed = indexed.flat_map(|(id, _)| registry.latest_runs_of(id));
    latest.chain(current).chain(indexed).chain(registry.handoffs.keys().cloned()).collect()
}

/// The runs on record by the slug of their item, the newest first, each with when it ended at the latest.
///
/// Within an agent the numbers are the order of time, whatever was done to the clock.
fn by_item<'a>(
    registry: &Registry,
    traces: &'a [RunTrace],
    clock: &ClockTracker,
) -> BTreeMap<&'a str, Vec<(Timestamp, &'a RunId)>> {
    let is_known = |run: &RunId| registry.names.last_n.get(&run.agent).is_some_and(|last| run.n <= *last);
    let mut known: Vec<_> = traces.iter().filter(|trace| is_known(&trace.run)).collect();
    known.sort_by(|a, b| a.run.cmp(&b.run));
    let mut by_item: BTreeMap<&str, Vec<(Timestamp, &RunId)>> = BTreeMap::new();
    let mut before: Option<(&AgentName, Timestamp)> = None;
    for RunTrace { run, changed_at } in known {
        let earlier = before.filter(|(agent, _)| **agent == run.agent).map(|(_, at)| at);
        let changed_at = clock.made_at(*changed_at);
        let ended_at = earlier.map_or(changed_at, |earlier| earlier.max(changed_at));
        before = Some((&run.agent, ended_at));
        by_item.entry(run.agent.slug()).or_default().push((ended_at, run));
    }
    for runs in by_item.values_mut() {
        runs.sort_by(|(one, run), (other, than)| (other, than.n, than).cmp(&(one, run.n, run)));
    }
    by_item
}

fn in_words(age: Duration) -> String {
    escape::duration(i64::try_from(age.as_secs()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        Action, ClockReading, Decision, ItemSnapshot, Launch, RecordUpdate, RunSpec, Step, UnrecordedSpec,
    };

    const DAY: i64 = 24 * 60 * 60;

    /// A clock that nobody has seen leap.
    fn clock(day: i64) -> ClockTracker {
        ClockTracker::first(ClockReading { at: at(day), mono_ms: 0, boot_id: "boot".to_owned(), slept_ms: 0 })
    }

    fn at(day: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + day * DAY).unwrap()
    }

    fn id(key: &str) -> ItemId {
        ItemId(format!("dir:{key}"))
    }

    fn run(name: &str) -> RunId {
        name.parse().unwrap()
    }

    fn rules(runs_per_item: usize, days: u64) -> Retention {
        Retention {
            runs_per_item: Some(runs_per_item).filter(|count| *count > 0),
            age: Some(Duration::from_secs(days * DAY.unsigned_abs())).filter(|age| !age.is_zero()),
        }
    }

    /// Items and what becomes of them, in the registry's own steps.
    #[derive(Default)]
    struct Story {
        registry: Registry,
        traces: Vec<RunTrace>,
    }

    impl Story {
        fn act(&mut self, key: &str, day: i64, action: Action) {
            let now = ClockReading { at: at(day), mono_ms: 0, boot_id: "boot".to_owned(), slept_ms: 0 };
            let decision = Decision { action, item: Some(id(key)), because: "told".to_owned(), group: 0 };
            self.registry.apply(&Step::Decide(decision), &now).unwrap();
        }

        /// Starts a run, which leaves a directory of that day.
        fn start(&mut self, key: &str, name: &str, day: i64) {
            let slug = key.to_lowercase();
            if !self.registry.items.contains_key(&id(key)) {
                let now = ClockReading { at: at(day), mono_ms: 0, boot_id: "boot".to_owned(), slept_ms: 0 };
                let (item, origin) = (id(key), format!("{key}.md"));
                let (key, workspace) = (key.to_owned(), key.to_owned());
                let seen = RecordUpdate::Seen { item, key, origin, slug, workspace };
                self.registry.apply(&Step::RecordUpdate(seen), &now).unwrap();
            }
            self.act(key, day, Action::Start(Box::new(launch(key, name))));
            self.leaves(name, day);
        }

        fn leaves(&mut self, name: &str, day: i64) {
            self.traces.push(RunTrace { run: run(name), changed_at: at(day) });
        }

        /// Starts a run that ends well.
        fn goes_well(&mut self, key: &str, name: &str, day: i64) {
            self.start(key, name, day);
            let facts = Default::default();
            self.act(key, day, Action::Done { item: id(key), run: Some(run(name)), facts });
        }

        fn is_done(&mut self, key: &str, day: i64) {
            self.act(key, day, Action::Done { item: id(key), run: None, facts: Default::default() });
        }

        fn removed(&self, rules: &Retention, day: i64) -> Vec<String> {
            let removals = runs(&self.registry, &self.traces, rules, &clock(day));
            removals.into_iter().map(|one| format!("{}: {}", one.what, one.because)).collect()
        }

        fn cleared(&self, days: u64, day: i64) -> Vec<String> {
            let made = BTreeSet::from(["AR-1", "AR-2", "somebody's"].map(str::to_owned));
            let removals = workspaces(&self.registry, &made, &rules(0, days), &clock(day));
            removals.into_iter().map(|one| format!("{}: {}", one.what, one.because)).collect()
        }
    }

    fn launch(key: &str, name: &str) -> Launch {
        Launch {
            spec: RunSpec {
                id: run(name),
                item: id(key),
                role: "implementer".to_owned(),
                harness: "command".to_owned(),
                dispatch: 1,
                session: None,
                chosen_session: None,
                resumes: 0,
                prelude_ms: 0,
                deadline_ms: None,
                stall_ms: None,
                follow_ups: Vec::new(),
                done_when: crate::model::DoneWhen::Exit,
            },
            snapshot: ItemSnapshot {
                key: key.to_owned(),
                slug: key.to_lowercase(),
                workspace: key.to_owned(),
                ..ItemSnapshot::default()
            },
            argv: vec!["agent".to_owned()],
            env: Vec::new(),
            credentials: None,
            prompt: String::new(),
            session_pattern: None,
        }
    }

    // covers: K01
    #[test]
    fn of_an_item_the_newest_runs_stay_whichever_agent_they_are_of() {
        let mut story = Story::default();
        for n in 1..=4 {
            story.goes_well("AR-1", &format!("ar-1-impl.{n}"), 2 * n);
            story.goes_well("AR-1", &format!("ar-1-rev.{n}"), 2 * n + 1);
        }
        story.goes_well("AR-2", "ar-2-impl.1", 0);
        let removed = story.removed(&rules(3, 0), 20);
        let newer = |name: &str, newer: u32| format!("{name}: its item has {newer} newer runs");
        let all = [
            ("ar-1-impl.3", 3),
            ("ar-1-rev.2", 4),
            ("ar-1-impl.2", 5),
            ("ar-1-rev.1", 6),
            ("ar-1-impl.1", 7),
        ];
        assert_eq!(removed, all.map(|(name, count)| newer(name, count)));
    }

    // covers: K02
    #[test]
    fn what_ended_long_ago_goes_however_few_there_are() {
        let mut story = Story::default();
        story.goes_well("AR-1", "ar-1-impl.1", 1);
        story.goes_well("AR-1", "ar-1-impl.2", 5);
        story.goes_well("AR-1", "ar-1-impl.3", 9);
        assert_eq!(story.removed(&rules(10, 30), 31), [""; 0]);
        assert_eq!(story.removed(&rules(10, 30), 32), ["ar-1-impl.1: it ended more than 30 d ago"]);
        assert_eq!(story.removed(&rules(0, 0), 1000), [""; 0], "no limit at all");
    }

    // covers: K02
    #[test]
    fn the_latest_run_of_each_agent_stays_as_long_as_its_item_is_remembered() {
        let mut story = Story::default();
        story.goes_well("AR-1", "ar-1-impl.1", 0);
        story.goes_well("AR-1", "ar-1-rev.1", 0);
        story.goes_well("AR-1", "ar-1-rev.2", 0);
        story.is_done("AR-1", 0);
        assert_eq!(story.removed(&rules(1, 30), 1000), ["ar-1-rev.1: its item has 1 newer runs"]);
        story.act("AR-1", 1, Action::Forget { item: id("AR-1") });
        let ago = "it ended more than 30 d ago";
        let all = ["ar-1-rev.2", "ar-1-rev.1", "ar-1-impl.1"].map(|run| format!("{run}: {ago}"));
        assert_eq!(story.removed(&rules(10, 30), 1000), all);
    }

    // covers: K03
    #[test]
    fn what_runs_or_must_end_stays_and_so_does_what_is_not_on_record() {
        let mut story = Story::default();
        story.start("AR-1", "ar-1-impl.1", 0);
        let stop = Action::Stop { run: run("ar-1-impl.1"), survivors: Vec::new(), dispatch_failed: false };
        story.act("AR-1", 0, stop);
        story.start("AR-1", "ar-1-impl.2", 0);
        story.leaves("ar-1-impl.3", 0);
        story.leaves("nobody-impl.1", 0);
        assert_eq!(story.removed(&rules(1, 1), 1000), [""; 0]);
        story.act("AR-1", 0, Action::Release { run: run("ar-1-impl.1") });
        assert_eq!(story.removed(&rules(1, 1), 1000), ["ar-1-impl.1: its item has 1 newer runs"]);
    }

    // covers: K02
    #[test]
    fn a_clock_that_was_set_back_makes_no_new_run_an_old_one() {
        let mut story = Story::default();
        story.goes_well("AR-1", "ar-1-impl.1", 1000);
        story.goes_well("AR-1", "ar-1-impl.2", 2);
        story.goes_well("AR-1", "ar-1-impl.3", 3);
        assert_eq!(story.removed(&rules(2, 0), 4), ["ar-1-impl.1: its item has 2 newer runs"]);
        assert_eq!(story.removed(&rules(0, 1), 40), [""; 0], "none of them is older than the first");
    }

    // A clean-up that deletes the work of an agent the minute it says that it is done; and one that never does.
    // covers: K04 S21
    #[test]
    fn a_workspace_goes_when_its_item_has_been_finished_for_long() {
        let mut story = Story::default();
        story.goes_well("AR-1", "ar-1-impl.1", 0);
        assert_eq!(story.cleared(30, 1000), [""; 0], "it waits for its other roles");
        story.is_done("AR-1", 10);
        assert_eq!(story.cleared(30, 40), [""; 0]);
        assert_eq!(story.cleared(30, 41), ["AR-1: its item has been done for more than 30 d"]);
        assert_eq!(story.cleared(0, 1000), [""; 0], "no limit");
        story.act("AR-1", 39, Action::Forget { item: id("AR-1") });
        assert_eq!(story.cleared(30, 41), ["AR-1: its item has been closed or gone for more than 30 d"]);
    }

    // covers: K04
    #[test]
    fn a_workspace_that_an_unfinished_item_may_need_stays() {
        let mut story = Story::default();
        story.goes_well("AR-1", "ar-1-impl.1", 0);
        story.is_done("AR-1", 0);
        let fresh = story.registry.clone();
        let mut launch = launch("AR-1", "ar-1-impl.2");
        launch.spec.dispatch = 2;
        let unrecorded = UnrecordedSpec {
            spec: launch.spec,
            snapshot: launch.snapshot,
            since: ClockReading { at: at(0), mono_ms: 0, boot_id: "boot".to_owned(), slept_ms: 0 },
        };
        let renewed = RecordUpdate::Renew { item: id("AR-1"), because: "it was edited".to_owned() };
        let now = ClockReading { at: at(50), mono_ms: 0, boot_id: "boot".to_owned(), slept_ms: 0 };
        story.registry.apply(&Step::RecordUpdate(renewed), &now).unwrap();
        assert_eq!(story.cleared(30, 1000), [""; 0], "it is to be done again");

        story.registry = fresh.clone();
        story.act(
            "AR-1",
            50,
            Action::AdoptUnrecorded { run: run("ar-1-impl.2"), spec: Box::new(unrecorded) },
        );
        assert_eq!(story.cleared(30, 1000), [""; 0], "a forgotten run of it was found");

        story.registry = fresh.clone();
        story.start("AR-1", "ar-1-impl.2", 50);
        assert_eq!(story.cleared(30, 1000), [""; 0], "it runs");
        story.act("AR-1", 51, Action::Forget { item: id("AR-1") });
        assert_eq!(story.cleared(30, 80), [""; 0], "what was finished long ago was taken up again since");
        assert_eq!(story.cleared(30, 82).len(), 1);

        story.registry = fresh;
        story.act("AR-1", 50, Action::Forget { item: id("AR-1") });
        let stop = Action::Stop { run: run("ar-1-impl.1"), survivors: Vec::new(), dispatch_failed: false };
        let now = ClockReading { at: at(50), mono_ms: 0, boot_id: "boot".to_owned(), slept_ms: 0 };
        let nobodys = Decision { action: stop, item: None, because: "found".to_owned(), group: 0 };
        story.registry.apply(&Step::Decide(nobodys), &now).unwrap();
        assert_eq!(story.cleared(30, 1000), [""; 0], "a run of it may still be alive");
    }

    // covers: K06
    #[test]
    fn whoever_clears_a_workspace_keeps_all_its_agents_away() {
        let mut story = Story::default();
        story.goes_well("AR-1", "ar-1-impl.1", 0);
        story.goes_well("AR-1-B", "ar-1-b-impl.1", 0);
        let agents = agents(&story.registry, &id("AR-1"), &[("reviewer", "rev")]);
        let names: Vec<_> = agents.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["ar-1-impl", "ar-1-rev"], "those that ran and those that could");
    }
}
