//! What each step writes down, and what is refused when it is read again. What the decisions make of it is tested
//! beside them.

use std::time::Duration;

use jiff::Timestamp;

use super::*;
use crate::config::{Attempts, Budget};
use crate::model::{
    Action, Claimed, Cooling, Decision, DoneWhen, FailureClass, FollowUp, FollowUpReason, Happened,
    ItemSnapshot, Launch, Outcome, Process, Reap, Reaped, RunFacts, RunSpec, Signalled, Skipped, Status,
    UnrecordedSpec, Usage,
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
    fn notes(&mut self, action: Action, happened: Happened) {
        self.note(&plan(action), &[Outcome { step: 0, happened }], &attempts(), &moment(0));
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
    Action::Adopt { run: run(text), launcher: Claimed { process, since: moment(0) }, may_have_heard: true }
}

fn reap(text: &str) -> Action {
    Action::Reap(Reap { run: run(text), launcher: None, survivors: Vec::new() })
}

fn stop(text: &str, survivors: Vec<Survivor>) -> Action {
    Action::Stop { run: run(text), survivors, dispatch_failed: true }
}

// ---------------------------------------------------------------------------------------------
// Records that do not fit together

#[test]
fn what_every_step_leaves_fits_together() {
    assert_eq!(Registry::default().check(), Ok(()));
    let mut registry = Registry::started();
    assert_eq!(registry.check(), Ok(()));
    registry.does(adopt("a-impl.1"));
    assert_eq!(registry.check(), Ok(()));
    registry.fails("a-impl.1", FailureClass::Agent);
    assert_eq!(registry.check(), Ok(()));
}

#[test]
fn an_agent_with_a_run_and_without_one_is_a_contradiction() {
    let mut idle = Registry::started();
    idle.agent("a-impl").state = AgentPhase::Idle;
    assert!(idle.check().unwrap_err().starts_with("agent a-impl is Idle with run Some("));
    for state in [AgentPhase::Starting, AgentPhase::Running] {
        let mut busy = Registry::started();
        busy.agent("a-impl").state = state;
        busy.agent("a-impl").run = None;
        assert_eq!(busy.check().unwrap_err(), format!("agent a-impl is {state:?} with run None"));
    }
}

#[test]
fn an_agent_with_the_run_of_another_one_is_a_contradiction() {
    let mut registry = Registry::started();
    registry.agent("a-impl").run = Some(run("b-impl.1"));
    assert!(registry.check().unwrap_err().starts_with("agent a-impl has the run of another one"));
}

#[test]
fn an_agent_of_an_item_without_a_record_is_a_contradiction() {
    let mut registry = Registry::started();
    registry.items.clear();
    assert_eq!(registry.check().unwrap_err(), "agent a-impl works on dir:A, of which there is no record");
}

#[test]
fn an_active_item_of_which_nothing_runs_or_follows_is_a_contradiction() {
    let mut registry = Registry::started();
    registry.fails("a-impl.1", FailureClass::Agent);
    for state in [ItemPhase::Waiting, ItemPhase::Parked, ItemPhase::Done] {
        registry.a().state = state;
        assert_eq!(registry.check(), Ok(()), "{state:?}");
    }
    registry.a().state = ItemPhase::Active;
    assert_eq!(registry.check().unwrap_err(), "dir:A is active, and no agent of it has a run or is about to");
    registry.agent("a-impl").follow_ups = failure(false);
    assert_eq!(registry.check(), Ok(()), "its agent is about to");
}

// ---------------------------------------------------------------------------------------------
// Names

#[test]
fn two_items_with_one_key_share_neither_agents_nor_workspace() {
    let registry = Registry::of_a();
    let item = |id: &str, key: &str| WorkItem {
        id: ItemId(id.to_owned()),
        key: key.to_owned(),
        title: String::new(),
        body: String::new(),
        labels: Vec::new(),
        priority: None,
        state: crate::model::ItemState::Open,
        blocked_by: Vec::new(),
        created_at: None,
        updated_at: None,
        origin: String::new(),
        hash: String::new(),
        content_hash: String::new(),
    };
    let names = |id: &str, key: &str| match registry.upsert_for(&item(id, key)) {
        RecordUpdate::Seen { slug, workspace, .. } => (slug, workspace),
        other => panic!("{other:?}"),
    };
    assert_eq!(names("dir:A", "A"), ("a".to_owned(), "A".to_owned()), "its own, as before");
    assert_eq!(names("dir:b", "b"), ("b".to_owned(), "b".to_owned()));
    let (slug, workspace) = names("dir:x/A", "A");
    assert!(slug.starts_with("a-") && workspace.starts_with("A-"), "{slug} {workspace}");
}

#[test]
fn a_workspace_is_needed_by_nobody_since_its_item_was_first_done_and_by_somebody_from_any_start_on() {
    let mut registry = Registry::started();
    let finished = |registry: &Registry| registry.names.items[&id("A")].finished_at;
    assert_eq!(finished(&registry), None);
    let done = plan(Action::Done { item: id("A"), run: None, facts: RunFacts::default() });
    registry.intend(&done, &moment(10));
    registry.intend(&done, &moment(20));
    assert_eq!(finished(&registry), Some(moment(10).at));
    registry.does(Action::Start(launch("a-impl.2", 2, "text 1")));
    assert_eq!(finished(&registry), None);
    registry.intend(&plan(Action::Forget { item: id("A") }), &moment(30));
    assert_eq!(finished(&registry), Some(moment(30).at), "forgotten before it was done");
    registry.does(Action::AdoptUnrecorded { run: run("a-impl.3"), spec: unrecorded(3, "text 1", None) });
    assert_eq!(finished(&registry), None);
}

#[test]
fn survivors_are_named_for_people() {
    assert_eq!(
        name_survivors(&[survivor(7), survivor(8)]),
        "7 (sleep): not permitted, 8 (sleep): not permitted"
    );
}

// ---------------------------------------------------------------------------------------------
// Texts

#[test]
fn one_of_a_crew_that_starts_again_alone_with_a_later_text_leaves_the_dispatch_without_one() {
    let mut registry = Registry::started();
    registry.does(Action::Start(launch("a-rev.1", 1, "text 1")));
    assert_eq!(registry.a().hash.as_deref(), Some("text 1"));
    registry.does(Action::Start(launch("a-impl.2", 1, "text 2")));
    for text in ["text 1", "text 2"] {
        assert_ne!(registry.a().hash.as_deref(), Some(text));
        assert_ne!(registry.a().content_hash.as_deref(), Some(text));
    }
    registry.does(Action::Start(launch("a-impl.3", 2, "text 2")));
    assert_eq!(registry.a().hash.as_deref(), Some("text 2"), "a dispatch anew");
}

#[test]
fn a_forgotten_run_of_a_dispatch_that_is_known_leaves_it_without_one_text_likewise() {
    let mut registry = Registry::started();
    registry.fails("a-impl.1", FailureClass::Infra);
    registry.does(Action::AdoptUnrecorded { run: run("a-impl.2"), spec: unrecorded(1, "text 2", None) });
    for text in ["text 1", "text 2"] {
        assert_ne!(registry.a().hash.as_deref(), Some(text));
    }
}

#[test]
fn the_text_of_a_forgotten_dispatch_is_that_of_all_unless_somebody_is_at_an_earlier_one() {
    for (state, follow_ups, alone) in [
        (AgentPhase::Idle, Vec::new(), true),
        (AgentPhase::Idle, failure(true), false),
        (AgentPhase::Running, Vec::new(), false),
    ] {
        let mut registry = Registry::started();
        registry.does(Action::Start(launch("a-rev.1", 1, "text 1")));
        registry.fails("a-impl.1", FailureClass::Agent);
        registry.agent("a-rev").state = state;
        registry.agent("a-rev").follow_ups = follow_ups;
        registry.does(Action::AdoptUnrecorded { run: run("a-impl.2"), spec: unrecorded(2, "text 2", None) });
        assert_eq!(registry.a().hash.as_deref() == Some("text 2"), alone);
    }
}

#[test]
fn what_was_done_of_an_earlier_text_is_not_done_of_that_of_a_forgotten_dispatch() {
    for (dispatch, text, done) in [(2, "text 2", false), (2, "text 1", true), (1, "text 2", true)] {
        let mut registry = Registry::started();
        registry.does(Action::Start(launch("a-rev.1", 1, "text 1")));
        registry.does(Action::Done { item: id("A"), run: Some(run("a-rev.1")), facts: RunFacts::default() });
        registry
            .does(Action::AdoptUnrecorded { run: run("a-impl.2"), spec: unrecorded(dispatch, text, None) });
        assert_eq!(registry.agent("a-rev").succeeded, done, "dispatch {dispatch}, {text}");
    }
}

#[test]
fn tokens_of_a_session_are_kept_by_a_forgotten_run_of_that_session_alone() {
    for (session, kept) in [(Some("s-1"), Some(100)), (Some("s-2"), None), (None, None)] {
        let mut registry = Registry::started();
        let usage = Usage { micro_usd: None, tokens: Some(100), session_tokens: Some(100) };
        let facts = RunFacts { session: Some("s-1".to_owned()), usage, ..RunFacts::default() };
        registry.does(Action::Done { item: id("A"), run: Some(run("a-impl.1")), facts });
        registry
            .does(Action::AdoptUnrecorded { run: run("a-impl.2"), spec: unrecorded(1, "text 1", session) });
        assert_eq!(registry.agent("a-impl").session_tokens, kept, "{session:?}");
    }
}

/// Told of a start, and owes that it is done.
fn owed() -> TrackerNote {
    let (status, dispatch, at) = (Status::Started, 1, moment(0).at);
    TrackerNote {
        wanted: Some(Note {
            status: Status::Done,
            dispatch,
            at,
            because: "every role ended well".to_owned(),
        }),
        notified: Some(Notified { status, dispatch, at, dropped: false }),
        ..TrackerNote::default()
    }
}

#[test]
fn a_new_life_forgets_what_was_tried_and_keeps_what_the_item_is_and_was_told() {
    let mut registry = Registry::started();
    registry.does(adopt("a-impl.1"));
    registry.fails("a-impl.1", FailureClass::Agent);
    *registry.a() = ItemRecord {
        outbox: Outbox { tracker_note: TrackerNote { tries: 1, ..owed() } },
        parked_by: Some(ParkedBy::Rule),
        state: ItemPhase::Parked,
        uncharged_streak: 2,
        missing_reads: 3,
        continued: 4,
        messages: vec![message()],
        ..registry.a().clone()
    };
    let before = registry.a().clone();
    registry
        .apply(
            &Step::RecordUpdate(RecordUpdate::Renew { item: id("A"), because: "it was edited".to_owned() }),
            &moment(10),
        )
        .unwrap();
    let expected = ItemRecord {
        state: ItemPhase::Waiting,
        attempts: 0,
        due_at: None,
        outbox: Outbox { tracker_note: owed() },
        uncharged_streak: 0,
        taken: None,
        parked_by: None,
        last: None,
        missing_reads: 0,
        continued: 0,
        ..before
    };
    assert_eq!(*registry.a(), expected);
    assert_eq!(expected.hash.as_deref(), Some("text 1"), "there is something to keep");
}

// ---------------------------------------------------------------------------------------------
// Brakes

#[test]
fn a_day_ends_at_midnight_in_utc() {
    let at: Timestamp = "2026-11-20T08:56:01Z".parse().unwrap();
    assert_eq!(Registry::default().daily_spend(at).ends(), "2026-11-21T00:00:00Z".parse().unwrap());
}

#[test]
fn a_budget_of_0_is_none() {
    let mut registry = Registry::started();
    registry.spend(&run("a-impl.1"), Some(1e9), None, &moment(0));
    let today = registry.daily_spend(moment(0).at);
    let exhausted = |starts_per_day, usd_per_day| {
        today
            .exhausted(&Budget { starts_per_day, item_starts_per_day: 0, usd_per_day, usd_per_run: 0.0 }, 1)
            .is_some()
    };
    assert!(!exhausted(0, 0.0));
    assert!(exhausted(1, 0.0));
    assert!(!exhausted(2, 0.0));
    assert!(exhausted(0, 1.0));
}

#[test]
fn what_runs_cost_adds_up_to_the_day_and_to_their_agent() {
    let mut registry = Registry::started();
    let cost = |registry: &mut Registry| (registry.agent("a-impl").cost, registry.agent("a-impl").tokens);
    let spent = |registry: &Registry| registry.daily_spend.as_ref().map(|today| (today.usd, today.tokens));
    registry.spend(&run("a-impl.1"), None, Some(100), &moment(0));
    assert_eq!(spent(&registry), Some((None, Some(100))), "tokens alone");
    registry.spend(&run("a-impl.1"), Some(2.0), None, &moment(0));
    assert_eq!(spent(&registry), Some((Some(2.0), Some(100))), "dollars alone");
    registry.spend(&run("a-impl.1"), Some(3.0), Some(50), &moment(0));
    assert_eq!(spent(&registry), Some((Some(5.0), Some(150))));
    assert_eq!(cost(&mut registry), (Some(5.0), Some(150)));
    for nonsense in [-1.0, f64::NAN, f64::INFINITY] {
        registry.spend(&run("a-impl.1"), Some(nonsense), None, &moment(0));
    }
    // Of an earlier run of that agent: the day pays for it, and its latest run was charged for itself.
    registry.spend(&run("a-impl.9"), Some(1.0), None, &moment(0));
    assert_eq!(spent(&registry), Some((Some(6.0), Some(150))));
    assert_eq!(cost(&mut registry), (Some(5.0), Some(150)));
}

#[test]
fn only_a_row_of_failures_that_goes_on_keeps_its_beginning() {
    let cool = |registry: &mut Registry, streak: u32, seconds: i64| {
        let until = Some(moment(1000).at);
        let cooling = Cooling { because: "busy".to_owned(), until, streak, credentials: None };
        let action = Action::CoolOff { scope: "harness:claude".to_owned(), cooling: Some(cooling) };
        registry.intend(&plan(action), &moment(seconds));
        registry.cool_offs["harness:claude"].clone()
    };
    let mut registry = Registry::default();
    for (streak, seconds, since) in [(1, 0, 0), (1, 10, 0), (2, 20, 20), (0, 30, 30), (0, 40, 40)] {
        let cool_off = cool(&mut registry, streak, seconds);
        assert_eq!(cool_off.begun, moment(since), "streak {streak}");
    }
}

#[test]
fn a_wait_holds_until_its_end_and_one_without_an_end_for_ever() {
    let mut registry = Registry::default();
    for (until, holding) in [(Some(moment(10).at), [true, false, false]), (None, [true; 3])] {
        let cooling = Cooling { because: "busy".to_owned(), until, streak: 1, credentials: None };
        registry.does(Action::CoolOff { scope: "harness:x".to_owned(), cooling: Some(cooling) });
        registry.does(Action::Pause { until });
        let holds = [9, 10, 11].map(|at| registry.cool_offs["harness:x"].holds(moment(at).at));
        assert_eq!(holds, holding, "{until:?}");
        let holds = [9, 10, 11].map(|at| registry.paused.as_ref().unwrap().holds(&moment(at)));
        assert_eq!(holds, holding, "{until:?}");
    }
}

// ---------------------------------------------------------------------------------------------
// Runs and hand-offs

#[test]
fn a_resume_that_nobody_claimed_before_the_machine_failed_it_was_none() {
    for (class, seen, resumes) in [
        (FailureClass::Infra, false, 0),
        (FailureClass::Infra, true, 1),
        (FailureClass::Agent, false, 1),
        (FailureClass::Agent, true, 1),
    ] {
        let mut registry = Registry::of_a();
        let mut resumed = launch("a-impl.1", 1, "text 1");
        (resumed.spec.session, resumed.spec.resumes) = (Some("s-1".to_owned()), 1);
        registry.does(Action::Resume(resumed));
        if seen {
            registry.does(adopt("a-impl.1"));
        }
        registry.fails("a-impl.1", class);
        assert_eq!(registry.agent("a-impl").resumes, resumes, "{class:?}, seen: {seen}");
    }
}

fn message() -> Message {
    Message { text: "the orders table".to_owned(), ..Message::default() }
}

#[test]
fn what_a_person_says_is_kept_until_every_run_that_is_to_hear_it_was_seen() {
    for (state, follow_ups, forgotten) in [
        (AgentPhase::Idle, Vec::new(), true),
        (AgentPhase::Running, Vec::new(), true),
        (AgentPhase::Starting, Vec::new(), false),
        (AgentPhase::Idle, failure(true), false),
    ] {
        let mut registry = Registry::started();
        registry.does(Action::Start(launch("a-rev.1", 1, "text 1")));
        registry.agent("a-rev").state = state;
        registry.agent("a-rev").follow_ups = follow_ups;
        registry.a().messages = vec![message()];
        registry.does(adopt("a-impl.1"));
        assert_eq!(registry.a().messages[0].heard, forgotten, "{state:?}");
    }
}

#[test]
fn a_run_that_lives_behind_a_lost_fence_is_handed_off_where_nobody_knew_it() {
    let fence = || Action::Fence { run: run("a-impl.1") };
    // The agent's own run is on record already, and so is one that was handed off.
    let mut known = Registry::started();
    known.notes(fence(), Happened::FenceLost);
    assert!(known.handoffs.is_empty());
    assert_eq!(known.agent("a-impl").run, Some(run("a-impl.1")));
    let mut ending = Registry::started();
    ending.does(stop("a-impl.1", vec![survivor(7)]));
    let before = ending.clone();
    ending.notes(fence(), Happened::FenceLost);
    assert_eq!(ending, before);
    // A later run of its agent says nothing of it.
    let mut forgotten = Registry::of_a();
    forgotten.does(Action::Start(launch("a-impl.2", 1, "text 1")));
    forgotten.notes(fence(), Happened::FenceLost);
    assert_eq!(forgotten.handoffs[&run("a-impl.1")].why, "why");
    assert_eq!(forgotten.agent("a-impl").run, Some(run("a-impl.2")), "it goes on");
}

#[test]
fn the_number_of_a_run_that_was_fenced_is_used() {
    let mut registry = Registry::default();
    registry.notes(Action::Fence { run: run("a-impl.7") }, Happened::FenceWon);
    assert_eq!(registry.names.next_run(&AgentName("a-impl".to_owned())), run("a-impl.8"));
    assert_eq!(registry.counters.fences, 1);
}

// covers: P20b P05
#[test]
fn run_that_could_not_be_started_charges_nothing() {
    for (class, session) in [
        (FailureClass::Infra, Some("s-1")),
        (FailureClass::Infra, None),
        (FailureClass::Machine, Some("s-1")),
        (FailureClass::Machine, None),
    ] {
        let mut registry = Registry::started();
        registry.does(adopt("a-impl.1"));
        let mut other = launch("a-rev.1", 1, "text 1");
        other.spec.session = session.map(Into::into);
        let action = if session.is_some() { Action::Resume(other) } else { Action::Start(other) };
        registry.does(action.clone());
        registry.notes(action, Happened::NotStarted { class, error: "no such program".to_owned() });
        assert_eq!((registry.a().attempts, registry.a().due_at), (0, None));
        assert_eq!(registry.a().uncharged_streak, u32::from(class == FailureClass::Infra), "{class:?}");
        assert_eq!(registry.cool_offs.contains_key(MACHINE), class == FailureClass::Machine);
        assert!(registry.agent("a-impl").run.is_some() && registry.handoffs.is_empty());
    }
}

// covers: P05
#[test]
fn machine_fault_of_one_tick_is_one_failure_and_its_wait_grows() {
    let mut registry = Registry::started();
    for (tick, wait) in [(0, 60), (100, 120), (300, 240), (10_000, 480)] {
        for _ in 0..3 {
            registry.cool_machine("no process", &moment(tick));
        }
        assert_eq!(registry.cool_offs[MACHINE].until, Some(moment(tick + wait).at));
    }
}

// ---------------------------------------------------------------------------------------------
// Counters

/// Each twice: what is counted adds up.
#[test]
fn what_is_counted_is_counted_each_time_it_happens() {
    let mut registry = Registry::of_a();
    for n in 1..=2 {
        let mut resumed = launch(&format!("a-impl.{n}"), 1, "text 1");
        resumed.spec.session = Some("s-1".to_owned());
        registry.does(Action::Resume(resumed));
        registry.does(adopt(&format!("a-impl.{n}")));
        registry.fails(&format!("a-impl.{n}"), FailureClass::Agent);
        registry.does(Action::Park { item: id("A"), class: Some(FailureClass::Agent), by_person: false });
        registry.does(stop(&format!("a-rev.{n}"), vec![survivor(7)]));
        registry.notes(Action::Fence { run: run(&format!("a-rev.{}", n + 10)) }, Happened::FenceWon);
    }
    registry.does(Action::Park { item: id("A"), class: None, by_person: true });
    registry.does(stop("a-rev.3", Vec::new()));
    let counted = Counters {
        dispatched: 2,
        resumes: 2,
        dispatch_backoffs: 2,
        dispatch_terminal_failures: 2,
        survivors: 2,
        dispatch_failure_reaper_handoffs: 3,
        fences: 2,
        ..Counters::default()
    };
    assert_eq!(registry.counters, counted);
}

#[test]
fn a_reap_counts_a_hand_off_once_with_whatever_it_met() {
    let mut registry = Registry::of_a();
    for n in 1..=2 {
        let run = format!("a-impl.{n}");
        registry.does(stop(&run, Vec::new()));
        let skipped = vec![Skipped { pid: 1, reason: "protected".to_owned() }];
        let survivors = vec![survivor(7)];
        let met = Reaped { skipped, survivors, identity_mismatches: 1, ..Reaped::default() };
        for _ in 0..3 {
            registry.notes(reap(&run), Happened::Reaped(met.clone()));
        }
        let ended =
            Reaped { signalled: vec![Signalled { pid: 7, signals: vec!["TERM"] }], ..Reaped::default() };
        registry.notes(reap(&run), Happened::Reaped(ended));
        // There was nothing left to end, and so nothing to count.
        registry.notes(reap(&run), Happened::Reaped(Reaped::default()));
        assert!(registry.handoffs[&self::run(&run)].survivors.is_empty());
    }
    // Of this one there was nothing at all.
    registry.does(stop("a-impl.3", Vec::new()));
    registry.notes(reap("a-impl.3"), Happened::Reaped(Reaped::default()));
    let counted = Counters {
        pid_identity_mismatches: 6,
        agents_reaped: 2,
        protected_pid_skips: 2,
        survivors: 2,
        dispatch_failure_reaper_handoffs: 3,
        dispatch_failure_reaper_handoff_failures: 2,
        dispatch_terminal_failures: 2,
        ..Counters::default()
    };
    assert_eq!(registry.counters, counted);
}

#[test]
fn an_item_whose_processes_live_on_is_parked_when_that_is_first_seen_and_not_again() {
    let mut registry = Registry::started();
    registry.does(stop("a-impl.1", Vec::new()));
    registry.notes(reap("a-impl.1"), Happened::Reaped(Reaped::default()));
    assert_eq!(registry.a().state, ItemPhase::Waiting, "nothing survived");
    let met = Reaped { survivors: vec![survivor(7)], ..Reaped::default() };
    registry.notes(reap("a-impl.1"), Happened::Reaped(met.clone()));
    assert_eq!(registry.a().state, ItemPhase::Parked);
    let why = registry.a().last.as_ref().map(|last| last.because.clone());
    assert_eq!(why.as_deref(), Some("processes of a-impl.1 could not be ended: 7 (sleep): not permitted"));
    registry.a().state = ItemPhase::Waiting;
    registry.notes(reap("a-impl.1"), Happened::Reaped(met));
    assert_eq!(registry.a().state, ItemPhase::Waiting, "a person may have brought it back");
}

// ---------------------------------------------------------------------------------------------
// On disk

#[test]
fn a_count_of_0_that_earlier_versions_do_not_know_is_not_written() {
    let mut registry = Registry::of_a();
    let text = |registry: &Registry| serde_json::to_string(registry).unwrap();
    assert!(!text(&registry).contains("continued"));
    registry.a().continued = 2;
    assert!(text(&registry).contains(r#""continued":2"#));
    assert_eq!(serde_json::from_str::<Registry>(&text(&registry)).unwrap(), registry);
}

// covers: P12
#[test]
fn relocated_registry_lets_go_of_every_run_and_keeps_numbers() {
    let mut registry = Registry::started();
    registry.does(adopt("a-impl.1"));
    registry.does(stop("a-rev.4", Vec::new()));
    registry.agent("a-impl").session = Some("s-1".to_owned());
    assert_eq!(registry.a().state, ItemPhase::Active);
    registry.let_go_of_runs(&[run("a-impl.7"), run("b-impl.2")]);
    assert_eq!(registry.check(), Ok(()));
    assert_eq!(registry.a().state, ItemPhase::Waiting);
    assert!(registry.handoffs.is_empty());
    let agent = registry.agent("a-impl");
    assert_eq!((&agent.run, &agent.process, &agent.session), (&None, &None, &None));
    for (name, next) in [("a-impl", 8), ("a-rev", 5), ("b-impl", 3)] {
        assert_eq!(registry.names.next_run(&crate::model::AgentName(name.to_owned())).n, next, "{name}");
    }
}

// Origin: an audit - every later tick resumed under a new name, and overwrote the record of the living run.
// covers: P01
#[test]
fn start_never_overwrites_a_run_that_may_live() {
    let mut registry = Registry::started();
    let before = registry.clone();
    let mut doubled = launch("a-coder.1", 1, "text 1");
    doubled.spec.role.clone_from(&registry.agent("a-impl").spec.role);
    for (other, words) in [(launch("a-impl.2", 2, "text 1"), "a-impl.1"), (doubled, "a-impl.1")] {
        let refused = registry.intend(&plan(Action::Start(other)), &moment(1));
        assert!(refused.len() == 1 && refused[0].1.contains(words), "{refused:?}");
        assert_eq!(registry, before);
    }
}

// covers: P01
#[test]
fn refused_step_takes_its_group_from_the_plan() {
    let decision =
        |action, group| Step::Decide(Decision { action, item: Some(id("A")), because: String::new(), group });
    let start = |text| Action::Start(launch(text, 1, "text 1"));
    let steps = vec![
        decision(start("a-impl.1"), 1),
        decision(Action::Unpause, 1),
        decision(Action::Unpause, 2),
        Step::RecordUpdate(RecordUpdate::Forgiven),
    ];
    let mut plan = Plan { steps, ..Plan::default() };
    plan.withdraw(vec![(0, "it lives".to_owned())]);
    assert_eq!(plan.steps.len(), 2);
    assert!(matches!(&plan.steps[0], Step::Decide(decision) if decision.group == 2));
    assert_eq!(plan.errors, ["it lives"]);
}
