//! What each step writes down, and what is refused when it is read again. What the decisions make of it is tested
//! beside them.

mod contradictions;
mod counters;
mod done;
mod limits;
mod names;
mod on_disk;
mod runs;
mod texts;

use std::time::Duration;

use jiff::Timestamp;

use super::*;
use crate::config::{Attempts, Budget};
use crate::model::{
    Action, Claimed, Cooling, Decision, DoneWhen, FailureClass, FenceOutcome, FollowUp, FollowUpReason, Gone,
    ItemSnapshot, Launch, Outcome, Process, Reap, ReapOutcome, Reaped, RunFacts, RunSpec, Signalled, Skipped,
    StartOutcome, Status, StepOutcome, UnrecordedSpec, Usage,
};

fn failure(resume: bool) -> Vec<FollowUp> {
    vec![FollowUp::new(FollowUpReason::Failure, resume, moment(0).at)]
}

fn moment(seconds: i64) -> ClockReading {
    ClockReading {
        at: Timestamp::from_second(1_800_000_000 + seconds).unwrap(),
        mono_ms: 1_000_000 + seconds.unsigned_abs() * 1000,
        slept_ms: 0,
        boot_id: "boot-1".to_owned(),
    }
}

fn id(key: &str) -> ItemId {
    ItemId(format!("dir:{key}"))
}

fn run(text: &str) -> RunId {
    text.parse().unwrap()
}

fn attempts() -> Attempts {
    Attempts {
        max: 3,
        backoff_base: Duration::from_secs(300),
        backoff_max: Duration::from_secs(3600),
        jitter: 0.0,
        resumes_max: 3,
        breaker: 0,
    }
}

fn spec(text: &str, dispatch: u64, session: Option<&str>) -> RunSpec {
    RunSpec {
        id: run(text),
        item: id("A"),
        role: if text.starts_with("a-impl.") { "implementer" } else { "reviewer" }.to_owned(),
        harness: "claude".to_owned(),
        dispatch,
        session: session.map(Into::into),
        chosen_session: None,
        resumes: u32::from(session.is_some()),
        prelude_ms: 0,
        deadline_ms: None,
        stall_ms: None,
        follow_ups: Vec::new(),
        done_when: DoneWhen::Exit,
    }
}

fn snapshot(hash: &str) -> ItemSnapshot {
    ItemSnapshot {
        key: "A".to_owned(),
        slug: "a".to_owned(),
        workspace: "A".to_owned(),
        hash: hash.to_owned(),
        content_hash: hash.to_owned(),
    }
}

fn launch(text: &str, dispatch: u64, hash: &str) -> Box<Launch> {
    Box::new(Launch {
        spec: spec(text, dispatch, None),
        snapshot: snapshot(hash),
        argv: vec!["agent".to_owned()],
        prompt: String::new(),
        env: Vec::new(),
        credentials: None,
        session_pattern: None,
    })
}

fn unrecorded(dispatch: u64, hash: &str, session: Option<&str>) -> Box<UnrecordedSpec> {
    let spec = spec("a-impl.1", dispatch, session);
    Box::new(UnrecordedSpec { spec, snapshot: snapshot(hash), since: moment(0) })
}

fn survivor(pid: u32) -> Survivor {
    Survivor { pid, start_ticks: 1, comm: "sleep".to_owned(), because: "not permitted".to_owned() }
}

fn plan(action: Action) -> Plan {
    let decision = Decision { action, item: Some(id("A")), because: "why".to_owned(), group: 0 };
    Plan { steps: vec![Step::Decide(decision)], ..Plan::default() }
}

impl Registry {
    /// Item A, of which nothing was ever started.
    fn of_a() -> Registry {
        let mut registry = Registry::default();
        let refresh = RecordUpdate::Seen {
            item: id("A"),
            key: "A".to_owned(),
            origin: "A.md".to_owned(),
            slug: "a".to_owned(),
            workspace: "A".to_owned(),
        };
        registry.apply(&Step::RecordUpdate(refresh), &moment(0)).unwrap();
        registry
    }

    /// Item A, one agent of which was started, and nobody has seen it yet.
    fn started() -> Registry {
        let mut registry = Registry::of_a();
        registry.does(Action::Start(launch("a-impl.1", 1, "text 1")));
        registry
    }

    /// A start follows the end of the run before it, whatever that was.
    fn does(&mut self, action: Action) {
        if let Action::Start(launch) | Action::Resume(launch) = &action {
            for (_, agent) in
                self.agents.clone().iter().filter(|(_, agent)| agent.spec.role == launch.spec.role)
            {
                agent.run.iter().for_each(|run| self.end_run(run, &moment(0)));
            }
        }
        assert_eq!(self.intend(&plan(action), &moment(0)), []);
    }

    /// What became of an action that was intended before.
    fn notes(&mut self, action: Action, outcome: impl Into<Outcome>) {
        self.note(
            &plan(action),
            &[StepOutcome { step: 0, outcome: outcome.into() }],
            &attempts(),
            &moment(0),
        );
    }

    fn fails(&mut self, text: &str, class: FailureClass) {
        self.does(Action::Fail {
            item: id("A"),
            run: Some(run(text)),
            class,
            facts: RunFacts::default(),
            follow_ups: Vec::new(),
            due_at: class.charged().then(|| moment(300).at),
            duplicate: false,
        });
    }

    fn a(&mut self) -> &mut ItemRecord {
        self.items.get_mut(&id("A")).unwrap()
    }

    fn agent(&mut self, name: &str) -> &mut AgentRecord {
        self.agents.get_mut(&AgentName(name.to_owned())).unwrap()
    }
}

fn adopt(text: &str) -> Action {
    let process = Process { pid: 4711, start_ticks: 99, boot_id: "boot-1".into(), pid_ns: 1, uid: 0 };
    Action::Adopt {
        run: run(text),
        launcher: Claimed { handle: process.into(), since: moment(0) },
        may_have_heard: true,
    }
}

fn reap(text: &str) -> Action {
    Action::Reap(Reap { run: run(text), handle: None, survivors: Vec::new(), spares_hook: true })
}

fn stop(text: &str, survivors: Vec<Survivor>) -> Action {
    Action::Stop { run: run(text), survivors, dispatch_failed: true }
}

fn message() -> Message {
    Message { text: "the orders table".to_owned(), ..Message::default() }
}
