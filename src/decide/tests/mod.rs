//! The tables of the decisions, row by row, on a small world in which nothing is hidden.

/// What a program printed, as recorded in `fixtures/harness`.
macro_rules! recorded {
    ($name:literal) => {
        Output {
            stdout_tail: include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/fixtures/harness/",
                $name,
                ".stdout"
            ))
            .to_owned(),
            stderr_tail: include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/fixtures/harness/",
                $name,
                ".stderr"
            ))
            .to_owned(),
        }
    };
}

mod absence;
mod brakes;
mod corners;
mod crews;
mod dispatching;
mod done;
mod edges;
mod endings;
mod following;
mod forgotten;
mod gates;
mod indexed;
mod names;
mod ordered;
mod providers;
mod reconciling;
mod renamed;
mod replaced;
mod room;
mod stopped;
mod vanished;
mod words;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use super::{Request, decide};
use crate::config::{self, Config};
use crate::fingerprint;
use crate::model::{
    Action, AgentName, Claimed, ClockReading, Decision, DoneWhen, Ended, Exit, ExitReason, FailureClass,
    FleetView, Free, HoldReason, ItemId, ItemSnapshot, ItemState, Launch, LocalFacts, NotifyOutcome,
    Observed, Outcome, Output, Plan, Process, Refusal, Reported, Room, RunId, RunObservation, RunSpec,
    SourceView, Step, StepOutcome, UnrecordedSpec, WorkItem, World,
};
use crate::registry::{AgentRecord, ItemRecord, Registry};

const BOOT: &str = "boot-1";

/// A factory in memory: what it remembers, what it would see, and what time it is.
struct Factory {
    config: Config,
    registry: Registry,
    items: Observed<Vec<WorkItem>>,
    unreadable: Vec<crate::model::UnreadableItem>,
    runs: Observed<BTreeMap<RunId, RunObservation>>,
    unrecorded: Vec<crate::model::UnrecordedRun>,
    unexamined: BTreeMap<AgentName, usize>,
    names_held: BTreeMap<AgentName, String>,
    missing_env: BTreeMap<String, Vec<String>>,
    missing_programs: BTreeMap<String, String>,
    credentials: BTreeMap<String, String>,
    env_error: Option<String>,
    workspaces_taken: BTreeMap<String, String>,
    room: Room,
    now: ClockReading,
}

/// Room on the disks of the state and of the workspaces, in bytes.
fn room(state: u64, workspaces: u64) -> Room {
    let free = |bytes| Some(Free { bytes, inodes: None });
    Room { state: free(state), workspaces: free(workspaces) }
}

impl Factory {
    /// One role that can be resumed, and the items named.
    fn new(keys: &[&str]) -> Factory {
        Factory::with("", keys)
    }

    /// The same with more configuration in front of the role.
    fn with(tables: &str, keys: &[&str]) -> Factory {
        let role = r#"
            [[role]]
            name = "implementer"
            suffix = "impl"
            command = ["agent"]
            resume = ["agent", "--resume", "{session}"]
            session_gone = ["No conversation found"]
        "#;
        Factory::configured(&format!("{tables}\n{role}"), keys)
    }

    /// Two roles that can't be resumed.
    fn crew(tables: &str, keys: &[&str]) -> Factory {
        let roles = r#"
            [[role]]
            name = "implementer"
            suffix = "impl"
            command = ["agent"]
            [[role]]
            name = "reviewer"
            suffix = "rev"
            command = ["agent"]
        "#;
        Factory::configured(&format!("{tables}\n{roles}"), keys)
    }

    fn configured(text: &str, keys: &[&str]) -> Factory {
        let no_files = |path: &Path| Err(format!("{} is not read here", path.display()));
        Factory {
            config: config::parse(text, Path::new("/factory/factory.toml"), &no_files)
                .expect("a good configuration"),
            registry: Registry::default(),
            items: Observed::Known(keys.iter().map(|key| item(key)).collect()),
            unreadable: Vec::new(),
            runs: Observed::Known(BTreeMap::new()),
            unrecorded: Vec::new(),
            unexamined: BTreeMap::new(),
            names_held: BTreeMap::new(),
            missing_env: BTreeMap::new(),
            missing_programs: BTreeMap::new(),
            credentials: BTreeMap::new(),
            env_error: None,
            workspaces_taken: BTreeMap::new(),
            room: room(1 << 40, 1 << 40),
            now: moment(0),
        }
    }

    fn world(&self) -> World {
        World {
            now: self.now.clone(),
            source: match &self.items {
                Observed::Known(items) => {
                    Observed::Known(SourceView { items: items.clone(), unreadable: self.unreadable.clone() })
                }
                Observed::Unknown(why) => Observed::Unknown(why.clone()),
            },
            fleet: match &self.runs {
                Observed::Known(runs) => Observed::Known(FleetView {
                    runs: runs.clone(),
                    unrecorded: self.unrecorded.clone(),
                    unexamined: self.unexamined.clone(),
                    names_held: self.names_held.clone(),
                }),
                Observed::Unknown(why) => Observed::Unknown(why.clone()),
            },
            local: LocalFacts {
                room: self.room,
                missing_env: self.missing_env.clone(),
                missing_programs: self.missing_programs.clone(),
                credentials: self.credentials.clone(),
                lineage: "lineage".to_owned(),
                env_error: self.env_error.clone(),
                workspaces: "/factory/workspaces".into(),
            },
            workspaces_taken: self.workspaces_taken.clone(),
        }
    }

    fn plan(&self) -> Plan {
        decide(&self.config, &self.registry, &self.world(), &Request::default())
    }

    /// Decides and applies, as a tick does before its effects. What was started is not claimed yet.
    fn tick(&mut self) -> Plan {
        let plan = self.plan();
        self.registry.intend(&plan, &self.now);
        if let Observed::Known(runs) = &mut self.runs {
            let started =
                plan.decisions().filter(|(_, d)| matches!(d.action, Action::Start(_) | Action::Resume(_)));
            runs.extend(
                started.filter_map(|(_, d)| Some((d.action.run()?.clone(), RunObservation::Unclaimed))),
            );
        }
        plan
    }

    /// A tick whose notes all reach the tracker.
    fn tick_told(&mut self) -> Plan {
        let plan = self.tick();
        let notified: Vec<_> = plan
            .decisions()
            .filter(|(_, decision)| matches!(decision.action, Action::Writeback(_)))
            .map(|(step, _)| StepOutcome { step, outcome: NotifyOutcome::Notified.into() })
            .collect();
        self.registry.note(&plan, &notified, &self.config.attempts, &self.now);
        plan
    }

    /// A tick whose notes do not reach the tracker.
    fn tick_untold(&mut self) -> Plan {
        let plan = self.tick();
        self.fail_notes(&plan);
        plan
    }

    /// The tracker takes none of the notes of a plan.
    fn fail_notes(&mut self, plan: &Plan) {
        let failed: Vec<_> = plan
            .decisions()
            .filter(|(_, decision)| matches!(decision.action, Action::Writeback(_)))
            .map(|(step, _)| StepOutcome {
                step,
                outcome: NotifyOutcome::Failed("no space left".into()).into(),
            })
            .collect();
        assert!(!failed.is_empty(), "nothing was to be told");
        self.registry.note(plan, &failed, &self.config.attempts, &self.now);
    }

    /// Applies what a person orders for A.
    fn order(&mut self, action: Action) {
        let decision =
            Decision { action, item: Some(id("A")), because: "a person said so".to_owned(), group: 0 };
        self.registry.apply(&Step::Decide(decision), &self.now).unwrap();
    }

    fn later(&mut self, seconds: u64) {
        self.now = ClockReading {
            at: self.now.after(Duration::from_secs(seconds)),
            mono_ms: self.now.mono_ms + seconds * 1000,
            boot_id: self.now.boot_id.clone(),
            slept_ms: self.now.slept_ms,
        };
    }

    fn reboot(&mut self) {
        self.now.boot_id = "boot-2".to_owned();
        self.now.mono_ms = 5_000;
    }

    fn see(&mut self, run: &str, observation: RunObservation) {
        match &mut self.runs {
            Observed::Known(runs) => drop(runs.insert(run.parse().unwrap(), observation)),
            Observed::Unknown(_) => panic!("nothing can be seen"),
        }
    }

    fn item(&mut self, key: &str) -> &mut WorkItem {
        match &mut self.items {
            Observed::Known(items) => items.iter_mut().find(|item| item.key == key).expect("such an item"),
            Observed::Unknown(_) => panic!("nothing can be read"),
        }
    }

    /// Changes an item as a person would, so that its hashes follow.
    fn edit(&mut self, key: &str, change: impl FnOnce(&mut WorkItem)) {
        let item = self.item(key);
        change(item);
        rehash(item);
    }

    /// Takes one item away. Another one stays, for the absence of all items is a different matter.
    fn remove(&mut self, key: &str) {
        if let Observed::Known(items) = &mut self.items {
            items.retain(|item| item.key != key);
            if items.is_empty() {
                items.push(WorkItem { state: ItemState::Closed, ..item("bystander") });
            }
        }
    }

    /// The tick after the first one that missed an item, when that has been so for long enough.
    fn tick_gone(&mut self) -> Plan {
        self.later(30);
        self.tick_told()
    }

    fn record(&self, key: &str) -> &ItemRecord {
        &self.registry.items[&id(key)]
    }

    fn agent(&self, name: &str) -> &AgentRecord {
        &self.registry.agents[&crate::model::AgentName(name.to_owned())]
    }

    /// Dispatches everything and lets the launcher of `run` be seen.
    fn running(mut self, run: &str) -> Factory {
        self.tick_told();
        self.see(run, alive());
        self.tick_told();
        self
    }
}

/// `action key-or-run code`, one line per decision: a plan as a person would tell it.
fn told(plan: &Plan) -> Vec<String> {
    let line = |decision: &crate::model::Decision| {
        let run = decision.action.run().map(ToString::to_string);
        let item = decision.item.as_ref().map(|item| item.plain().to_owned());
        let what = run.or(item).unwrap_or_default();
        let code = decision.action.code().map(|code| format!(" {code}")).unwrap_or_default();
        format!("{} {what}{code}", decision.action.name())
    };
    plan.decisions().map(|(_, decision)| line(decision)).collect()
}

fn held(plan: &Plan) -> Vec<(&str, HoldReason)> {
    plan.held.iter().map(|held| (held.item.plain(), held.code)).collect()
}

/// What the directory of a run says that the registry knows nothing of. The run was given item A as [`item`] makes it.
fn unrecorded_spec(run: &str, dispatch: u64) -> UnrecordedSpec {
    let item = item("A");
    let spec = RunSpec {
        id: run.parse().unwrap(),
        item: item.id,
        role: "implementer".into(),
        harness: "command".into(),
        dispatch,
        session: None,
        chosen_session: None,
        resumes: 0,
        prelude_ms: 0,
        deadline_ms: None,
        stall_ms: None,
        follow_ups: Vec::new(),
        done_when: DoneWhen::Exit,
    };
    let snapshot = ItemSnapshot {
        key: item.key,
        slug: "a".into(),
        workspace: "A".into(),
        hash: item.hash,
        content_hash: item.content_hash,
    };
    UnrecordedSpec { spec, snapshot, since: moment(0) }
}

fn id(key: &str) -> ItemId {
    ItemId(format!("dir:{key}"))
}

fn moment(seconds: i64) -> ClockReading {
    ClockReading {
        at: Timestamp::from_second(1_800_000_000 + seconds).unwrap(),
        mono_ms: 1_000_000 + seconds.unsigned_abs() * 1000,
        boot_id: BOOT.to_owned(),
        slept_ms: 0,
    }
}

fn item(key: &str) -> WorkItem {
    let mut item = WorkItem {
        id: id(key),
        key: key.to_owned(),
        title: format!("title of {key}"),
        body: String::new(),
        labels: Vec::new(),
        priority: None,
        state: ItemState::Open,
        blocked_by: Vec::new(),
        created_at: None,
        updated_at: None,
        origin: format!("{key}.md"),
        hash: String::new(),
        content_hash: String::new(),
    };
    rehash(&mut item);
    item
}

fn rehash(item: &mut WorkItem) {
    let WorkItem { title, body, labels, state, blocked_by, priority, .. } = &*item;
    item.hash = fingerprint::item(title, body, labels, *state, blocked_by, *priority);
    item.content_hash = fingerprint::content(&item.title, &item.body);
}

fn launcher() -> Claimed {
    let process = Process { pid: 4711, start_ticks: 99, boot_id: BOOT.into(), pid_ns: 1, uid: 0 };
    Claimed { handle: process.into(), since: moment(0) }
}

fn alive() -> RunObservation {
    alive_saying(Some(launcher()), Reported::default())
}

fn alive_saying(claim: Option<Claimed>, reported: Reported) -> RunObservation {
    RunObservation::Alive { claim, reported, late_after: LATE_AFTER }
}

/// Its launcher lives on after its agent.
fn sweeping(claim: Option<Claimed>, exit: Exit) -> RunObservation {
    let late_after = LATE_AFTER + Duration::from_millis(exit.after_run_ms.unwrap_or(0));
    RunObservation::Sweeping { claim, exit: Box::new(exit), late_after }
}

/// A fleet's patience with a launcher that neither asks anything nor runs a hook.
const LATE_AFTER: Duration = Duration::from_secs(12);

fn exit(code: i32, reason: ExitReason, reported: Reported) -> Exit {
    Exit {
        code: Some(code),
        signal: None,
        reason,
        error: (reason == ExitReason::Launch).then(|| "cannot execute agent: no such file".to_owned()),
        started: moment(0),
        ended: moment(1),
        cpu_ms: 0,
        peak_kib: 0,
        reported,
        after_run_ms: None,
        done: None,
        room: Room::default(),
        limit_ms: None,
    }
}

fn over(code: i32, reason: ExitReason, session: Option<&str>, stderr: &str) -> RunObservation {
    let reported = Reported { session: session.map(Into::into), park: None, ..Reported::default() };
    RunObservation::Ended(Box::new(Ended {
        claim: Some(launcher()),
        exit: Some(exit(code, reason, reported.clone())),
        survivors: Vec::new(),
        reported,
        output: Output { stdout_tail: String::new(), stderr_tail: stderr.to_owned() },
        after_run: None,
    }))
}

fn succeeded() -> RunObservation {
    over(0, ExitReason::Exited, None, "")
}

fn failed() -> RunObservation {
    over(1, ExitReason::Exited, None, "boom")
}

/// The first start or resume of a plan.
fn launched(plan: &Plan) -> &Launch {
    let launch = plan.decisions().find_map(|(_, decision)| match &decision.action {
        Action::Start(launch) | Action::Resume(launch) => Some(&**launch),
        _ => None,
    });
    launch.expect("a start")
}
