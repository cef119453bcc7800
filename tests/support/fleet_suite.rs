//! The promises of every fleet, as one suite. The proof `fleets` runs it against each kind of fleet and against the
//! simulator's own machine, so that they can't drift apart.
//!
//! A new kind of fleet needs a [`Subject`] and a line in `tests/prove/fleets.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use factory_tick::fleet::Fleet;
use factory_tick::model::{
    Claimed, DoneWhen, Ended, ExitReason, FenceOutcome, FleetView, ItemId, ItemSnapshot, Launch, Observed,
    Reap, ReapOutcome, Reaped, RunHandle, RunId, RunObservation, RunQuery, RunSpec, StartOutcome,
};

/// What an agent does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Agent {
    /// Reports the session `s1` and exits with this code.
    Exits(i32),
    /// Dies of SIGSEGV.
    Crashes,
    /// Works until a signal ends it, beside 2 children. A signal to the agent alone does not end the children.
    Works,
    /// Never begins: its launcher claims the run and can't start the agent.
    NeverBegins,
}

/// A fleet in which nothing runs, and the hands of those who disturb it.
pub(crate) trait Subject {
    /// The fleet, as a tick opens it anew.
    fn fleet(&self) -> Box<dyn Fleet + '_>;
    /// Prepares that agent for a run. The answer: program and arguments for its launch.
    fn order(&self, run: &RunId, agent: Agent) -> Vec<String>;
    /// Lets some time pass, far less than an agent lives.
    fn pause(&self);
    /// How often an agent of the run has begun.
    fn begun(&self, run: &RunId) -> usize;
    /// How many processes of the run live, its launcher among them.
    fn processes(&self, run: &RunId) -> usize;
    /// Kills the launcher of the run with SIGKILL.
    fn kill_launcher(&self, run: &RunId, handle: &RunHandle);
    /// Takes the claim of the run away.
    fn remove_claim(&self, run: &RunId);
    /// Whether nothing can be read of the run from now on. No other run is there.
    fn set_unreadable(&self, run: &RunId, unreadable: bool);
    /// Whether each look at the fleet fails from now on.
    fn set_broken(&self, broken: bool);
    /// Has another factory take that workspace.
    fn take_workspace(&self, name: &str);
    /// Takes the directory of the run away. The answer: whether it is gone.
    fn discard(&self, run: &RunId) -> bool;
}

type Check = fn(&dyn Subject);

macro_rules! suite {
    ($($check:ident,)*) => {
        /// All checks, each by its name.
        const SUITE: &[(&str, Check)] = &[$((stringify!($check), $check),)*];
    };
}

suite! {
    run_is_started_claimed_alive_ended_and_discarded,
    start_is_no_proof_of_life,
    second_start_of_a_run_never_runs_it_twice,
    fence_before_the_claim_wins_for_ever,
    fence_and_claim_at_once_have_one_winner,
    fence_after_the_claim_loses,
    reap_ends_each_agent_and_its_children,
    reap_after_the_launcher_died_leaves_no_survivor,
    reap_of_an_ended_run_does_nothing,
    unrecorded_run_is_reported_with_its_specification,
    unknown_is_never_reported_as_gone,
    exit_receipt_carries_code_reason_and_session,
    passed_deadline_is_not_tried_and_shows_nothing,
    fenced_run_that_lives_is_found,
    workspace_of_another_factory_is_taken,
    preview_changes_nothing,
}

/// More than a loaded machine needs.
const LIMIT: Duration = Duration::from_secs(60);

/// So many pauses may pass before a condition holds.
const PAUSES_MAX: usize = 6000;

/// So many pauses without a start show that nothing starts.
const QUIET_PAUSES: usize = 30;

/// Runs the whole suite, each check against a new subject. The answer: the names of the checks that fail.
pub(crate) fn failures(subject: impl Fn() -> Box<dyn Subject>) -> Vec<&'static str> {
    let fails = |check: &Check| catch_unwind(AssertUnwindSafe(|| check(&*subject()))).is_err();
    SUITE.iter().filter(|(_, check)| fails(check)).map(|(name, _)| *name).collect()
}

/// How many checks there are.
pub(crate) fn checks() -> usize {
    SUITE.len()
}

fn soon() -> Instant {
    Instant::now() + LIMIT
}

fn run(name: &str) -> RunId {
    name.parse().unwrap()
}

/// Waits until a condition holds.
#[track_caller]
fn wait(subject: &dyn Subject, what: &str, mut holds: impl FnMut() -> bool) {
    let end = soon();
    for _ in 0..PAUSES_MAX {
        if holds() {
            return;
        }
        if Instant::now() >= end {
            break;
        }
        subject.pause();
    }
    panic!("never happened: {what}");
}

/// The launch of a run, whose agent does that.
pub(crate) fn launch(subject: &dyn Subject, run: &RunId, agent: Agent) -> Launch {
    Launch {
        argv: subject.order(run, agent),
        spec: RunSpec {
            id: run.clone(),
            item: ItemId("dir:1".to_owned()),
            role: "implementer".to_owned(),
            harness: "command".to_owned(),
            dispatch: 1,
            session: None,
            chosen_session: None,
            resumes: 0,
            prelude_ms: 60_000,
            deadline_ms: None,
            stall_ms: None,
            follow_ups: Vec::new(),
            done_when: DoneWhen::Exit,
        },
        snapshot: ItemSnapshot {
            key: "1".to_owned(),
            slug: "1".to_owned(),
            workspace: workspace(run),
            hash: "of the item".to_owned(),
            content_hash: "of its content".to_owned(),
        },
        prompt: "Do what the item says.".to_owned(),
        env: Vec::new(),
        credentials: None,
        session_pattern: None,
    }
}

/// The workspace of a run: one for each agent.
fn workspace(run: &RunId) -> String {
    run.agent.0.clone()
}

fn start(subject: &dyn Subject, run: &RunId, agent: Agent) -> StartOutcome {
    subject.fleet().start(&launch(subject, run, agent), soon())
}

/// Starts a run that works, and waits until its agent and all its children do.
#[track_caller]
fn start_working(subject: &dyn Subject, run: &RunId) -> Claimed {
    assert_eq!(start(subject, run, Agent::Works), StartOutcome::Tried);
    wait(subject, "the agent works", || {
        if let RunObservation::Ended(ended) = sight(subject, run, None) {
            panic!("{run} was to work and is over: {ended:?}");
        }
        subject.begun(run) == 1
    });
    match sight(subject, run, None) {
        RunObservation::Alive { claim: Some(claim), .. } => claim,
        other => panic!("{run} works and is seen as {other:?}"),
    }
}

/// Starts a run and waits until it is over.
#[track_caller]
fn live_through(subject: &dyn Subject, run: &RunId, agent: Agent) -> Ended {
    assert_eq!(start(subject, run, agent), StartOutcome::Tried);
    let mut ended = None;
    wait(subject, "the run ends", || {
        if let RunObservation::Ended(end) = sight(subject, run, None) {
            ended = Some(*end);
        }
        ended.is_some()
    });
    ended.unwrap()
}

#[track_caller]
fn view(subject: &dyn Subject, queries: &[RunQuery], known: &[(&RunId, u64)]) -> FleetView {
    let known: BTreeMap<_, _> = known.iter().map(|(run, n)| (run.agent.clone(), *n)).collect();
    match subject.fleet().observe(queries, &known, soon()) {
        Observed::Known(view) => view,
        Observed::Unknown(why) => panic!("the fleet can't be seen: {why}"),
    }
}

/// The question about a run that is on record.
pub(crate) fn query(run: &RunId, handle: Option<&RunHandle>) -> RunQuery {
    let done_when = Some(DoneWhen::Exit);
    RunQuery { run: run.clone(), handle: handle.cloned(), name_taken: false, done_when }
}

/// What the fleet sees of a run that is on record.
#[track_caller]
fn sight(subject: &dyn Subject, run: &RunId, handle: Option<&RunHandle>) -> RunObservation {
    let mut view = view(subject, &[query(run, handle)], &[(run, run.n)]);
    assert!(view.unrecorded.iter().all(|other| other.run != *run), "{run} is on record");
    view.runs.remove(run).unwrap_or_else(|| panic!("{run} was asked for, and there is no answer"))
}

fn reap_of(run: &RunId, handle: Option<&RunHandle>) -> Reap {
    Reap { run: run.clone(), handle: handle.cloned(), survivors: Vec::new(), spares_hook: true }
}

/// Reaps a run, which must succeed and leave no survivor.
#[track_caller]
fn reap(subject: &dyn Subject, run: &RunId, handle: Option<&RunHandle>) -> Reaped {
    let outcomes = subject.fleet().reap(&[&reap_of(run, handle)], soon());
    let [ReapOutcome::Reaped(reaped)] = &outcomes[..] else { panic!("{outcomes:?}") };
    assert_eq!(reaped.survivors, []);
    reaped.clone()
}

/// Nothing of this run starts, however long the fleet is given.
#[track_caller]
fn assert_never_begins(subject: &dyn Subject, run: &RunId) {
    wait(subject, "the launcher ends", || subject.processes(run) == 0);
    (0..QUIET_PAUSES).for_each(|_| subject.pause());
    assert_eq!((subject.begun(run), subject.processes(run)), (0, 0), "{run} began");
}

fn run_is_started_claimed_alive_ended_and_discarded(subject: &dyn Subject) {
    let run = run("ar-1-impl.1");
    assert_eq!(sight(subject, &run, None), RunObservation::Unclaimed);
    let claim = start_working(subject, &run);
    let seen = sight(subject, &run, Some(&claim.handle));
    // A launcher has some time after the deadline of its run, or a tick would end a run that ends by itself.
    let is_patient = |late_after: Duration| late_after > Duration::ZERO;
    let is_alive =
        matches!(seen, RunObservation::Alive { claim: None, late_after, .. } if is_patient(late_after));
    assert!(is_alive, "{seen:?}");
    assert!(!subject.discard(&run), "the directory of a live run was taken away");
    assert!(subject.processes(&run) > 0);

    reap(subject, &run, Some(&claim.handle));
    for handle in [None, Some(&claim.handle)] {
        match sight(subject, &run, handle) {
            RunObservation::Ended(ended) => {
                assert_eq!(ended.claim.as_ref(), handle.is_none().then_some(&claim));
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(subject.discard(&run));
    assert_eq!(view(subject, &[], &[]), FleetView::default());
    assert_eq!(subject.processes(&run), 0);
}

fn start_is_no_proof_of_life(subject: &dyn Subject) {
    let run = run("ar-1-impl.1");
    let ended = live_through(subject, &run, Agent::NeverBegins);
    let exit = ended.exit.unwrap();
    assert!(exit.never_began(), "{exit:?}");
    assert_eq!((exit.reason, exit.code, exit.signal), (ExitReason::Launch, None, None));
    assert_never_begins(subject, &run);
}

fn second_start_of_a_run_never_runs_it_twice(subject: &dyn Subject) {
    let run = run("ar-1-impl.1");
    let claim = start_working(subject, &run);
    let again = |when: &str| {
        let outcome = start(subject, &run, Agent::Works);
        assert!(matches!(outcome, StartOutcome::NotStarted { .. }), "{when}: {outcome:?}");
        (0..QUIET_PAUSES).for_each(|_| subject.pause());
        assert_eq!(subject.begun(&run), 1, "{when}");
    };
    again("while it works");
    reap(subject, &run, Some(&claim.handle));
    again("after its end");
    assert_eq!(subject.processes(&run), 0);
}

fn fence_before_the_claim_wins_for_ever(subject: &dyn Subject) {
    let run = run("ar-1-impl.1");
    assert_eq!(subject.fleet().fence(&run), FenceOutcome::Won);
    assert_eq!(subject.fleet().fence(&run), FenceOutcome::Lost, "a claim stands there");
    let outcome = start(subject, &run, Agent::Exits(0));
    assert!(matches!(outcome, StartOutcome::NotStarted { .. }), "{outcome:?}");
    assert_never_begins(subject, &run);
    // Before a look for its processes nothing shows that it left none.
    assert_eq!(sight(subject, &run, None), RunObservation::Orphaned { claim: None });
    assert_eq!(subject.fleet().look_for(&[&run]), [false]);
    assert_eq!(sight(subject, &run, None), RunObservation::Fenced);
}

fn fence_and_claim_at_once_have_one_winner(subject: &dyn Subject) {
    for n in 1..=4 {
        let run = run(&format!("ar-{n}-impl.1"));
        assert_eq!(start(subject, &run, Agent::Works), StartOutcome::Tried);
        // A launcher on its way may hold the lock of the agent for a moment.
        let mut outcome = subject.fleet().fence(&run);
        wait(subject, "the fence is decided", || {
            let is_decided = !matches!(outcome, FenceOutcome::Failed(_)) || subject.begun(&run) > 0;
            if !is_decided {
                outcome = subject.fleet().fence(&run);
            }
            is_decided
        });
        if outcome == FenceOutcome::Won {
            assert_never_begins(subject, &run);
            continue;
        }
        // A launcher that meets the fence's lock takes the claim to refuse the run, and then nothing begins.
        let refused = || matches!(sight(subject, &run, None), RunObservation::Refused(_));
        wait(subject, "the run that was not fenced begins, or is refused", || {
            subject.begun(&run) == 1 || refused()
        });
        if refused() {
            assert_never_begins(subject, &run);
            continue;
        }
        let seen = sight(subject, &run, None);
        let handle = seen.claim().map(|claim| claim.handle.clone());
        reap(subject, &run, handle.as_ref());
    }
}

fn fence_after_the_claim_loses(subject: &dyn Subject) {
    let run = run("ar-1-impl.1");
    let claim = start_working(subject, &run);
    let fence = || subject.fleet().fence(&run);
    let outcome = fence();
    assert!(matches!(outcome, FenceOutcome::Lost | FenceOutcome::Failed(_)), "{outcome:?}");
    let seen = sight(subject, &run, None);
    assert!(matches!(seen, RunObservation::Alive { .. }), "{seen:?}");
    reap(subject, &run, Some(&claim.handle));
    assert_eq!(fence(), FenceOutcome::Lost);
    assert_eq!(subject.begun(&run), 1);
}

fn reap_ends_each_agent_and_its_children(subject: &dyn Subject) {
    let runs = [run("ar-1-impl.1"), run("ar-2-impl.1")];
    let claims = runs.each_ref().map(|run| start_working(subject, run));
    let queries = [0, 1].map(|n| query(&runs[n], Some(&claims[n].handle)));
    let seen = view(subject, &queries, &[(&runs[0], 1), (&runs[1], 1)]);
    assert_eq!(seen.runs.keys().collect::<Vec<_>>(), [&runs[0], &runs[1]]);
    for run in &runs {
        // The agent, its children and its launcher.
        wait(subject, "all processes of the run show", || subject.processes(run) >= 4);
    }

    let [one, other] = [0, 1].map(|n| reap_of(&runs[n], Some(&claims[n].handle)));
    let outcomes = subject.fleet().reap(&[&one, &other], soon());
    assert_eq!(outcomes.len(), 2);
    for (run, outcome) in runs.iter().zip(outcomes) {
        let ReapOutcome::Reaped(reaped) = outcome else { panic!("{outcome:?}") };
        assert_eq!((reaped.survivors, subject.processes(run)), (Vec::new(), 0));
    }
    for (run, claim) in runs.iter().zip(&claims) {
        let RunObservation::Ended(ended) = sight(subject, run, Some(&claim.handle)) else {
            panic!("{run} was reaped and is not over");
        };
        assert_eq!(ended.exit.unwrap().reason, ExitReason::Stopped);
        assert_eq!(ended.survivors, []);
        assert_eq!(
            reap(subject, run, Some(&claim.handle)),
            Reaped::default(),
            "the second reap did something"
        );
    }
}

fn reap_after_the_launcher_died_leaves_no_survivor(subject: &dyn Subject) {
    let run = run("ar-1-impl.1");
    let claim = start_working(subject, &run);
    subject.kill_launcher(&run, &claim.handle);
    wait(subject, "the launcher is seen dead", || {
        !matches!(sight(subject, &run, Some(&claim.handle)), RunObservation::Alive { .. })
    });
    // The children live, and nobody has looked for them.
    let orphaned = RunObservation::Orphaned { claim: Some(claim.clone()) };
    assert_eq!(sight(subject, &run, None), orphaned);
    assert!(subject.processes(&run) > 0);
    assert!(!subject.discard(&run), "the only trace of live processes was taken away");

    reap(subject, &run, Some(&claim.handle));
    assert_eq!(subject.processes(&run), 0);
    match sight(subject, &run, None) {
        RunObservation::Ended(ended) => assert_eq!((ended.exit, ended.survivors), (None, Vec::new())),
        other => panic!("{other:?}"),
    }
    assert!(subject.discard(&run));
}

fn reap_of_an_ended_run_does_nothing(subject: &dyn Subject) {
    let run = run("ar-1-impl.1");
    let ended = live_through(subject, &run, Agent::Exits(3));
    let handle = ended.claim.as_ref().unwrap().handle.clone();
    for _ in 0..2 {
        assert_eq!(reap(subject, &run, Some(&handle)), Reaped::default());
        assert_eq!(sight(subject, &run, None), RunObservation::Ended(Box::new(ended.clone())));
    }
}

fn unrecorded_run_is_reported_with_its_specification(subject: &dyn Subject) {
    let (first, bare) = (run("ar-1-impl.1"), run("ar-2-impl.1"));
    let order = launch(subject, &first, Agent::Works);
    assert_eq!(subject.fleet().start(&order, soon()), StartOutcome::Tried);
    wait(subject, "the agent works", || subject.begun(&first) == 1);
    // A fence makes a directory without a specification.
    assert_eq!(subject.fleet().fence(&bare), FenceOutcome::Won);

    let seen = view(subject, &[], &[]);
    let [one, other] = &seen.unrecorded[..] else { panic!("{:?}", seen.unrecorded) };
    let spec = one.spec.as_ref().unwrap();
    assert_eq!((&one.run, &spec.spec, &spec.snapshot), (&first, &order.spec, &order.snapshot));
    assert_eq!((&other.run, &other.spec), (&bare, &None));
    assert!(matches!(seen.runs[&first], RunObservation::Alive { .. }), "{:?}", seen.runs[&first]);
    assert!(seen.runs.contains_key(&bare));
    assert!(seen.unexamined.is_empty());

    // A run of which the registry knows, or about which it asks, is not unrecorded.
    let seen = view(subject, &[query(&first, None)], &[(&bare, 1)]);
    assert_eq!(seen.unrecorded, []);
    assert_eq!(seen.runs.len(), 1);
    let claim = seen.runs[&first].claim().unwrap().clone();
    reap(subject, &first, Some(&claim.handle));
}

fn unknown_is_never_reported_as_gone(subject: &dyn Subject) {
    let run = run("ar-1-impl.1");
    let claim = start_working(subject, &run);
    for handle in [None, Some(&claim.handle)] {
        subject.set_unreadable(&run, true);
        let seen = sight(subject, &run, handle);
        subject.set_unreadable(&run, false);
        assert!(matches!(&seen, RunObservation::Unknown(why) if !why.is_empty()), "{seen:?}");
        let seen = sight(subject, &run, handle);
        assert!(matches!(seen, RunObservation::Alive { .. }), "{seen:?}");
    }
    subject.set_broken(true);
    let seen = subject.fleet().observe(&[query(&run, None)], &BTreeMap::new(), soon());
    subject.set_broken(false);
    assert!(matches!(&seen, Observed::Unknown(why) if !why.text.is_empty()), "{seen:?}");
    reap(subject, &run, Some(&claim.handle));
}

fn exit_receipt_carries_code_reason_and_session(subject: &dyn Subject) {
    let ends = [(Agent::Exits(0), Some(0), None), (Agent::Exits(3), Some(3), None)];
    let ends = ends.into_iter().chain([(Agent::Crashes, None, Some(11))]);
    for (n, (agent, code, signal)) in ends.enumerate() {
        let run = run(&format!("ar-{n}-impl.1"));
        let ended = live_through(subject, &run, agent);
        let exit = ended.exit.unwrap();
        assert_eq!((exit.code, exit.signal, exit.reason), (code, signal, ExitReason::Exited));
        assert_eq!((exit.error.as_ref(), exit.limit_ms), (None, None));
        assert_eq!(exit.reported, ended.reported);
        assert_eq!(ended.reported.session.as_deref(), Some("s1"));
        assert_eq!((subject.begun(&run), subject.processes(&run)), (1, 0));
    }
}

fn passed_deadline_is_not_tried_and_shows_nothing(subject: &dyn Subject) {
    let (working, late) = (run("ar-1-impl.1"), run("ar-2-impl.1"));
    let claim = start_working(subject, &working);
    let passed = Instant::now();
    let outcome = subject.fleet().start(&launch(subject, &late, Agent::Exits(0)), passed);
    assert!(matches!(outcome, StartOutcome::NotTried(why) if !why.is_empty()), "{outcome:?}");
    assert_never_begins(subject, &late);
    assert_eq!(sight(subject, &late, None), RunObservation::Unclaimed);

    let queries = [query(&working, Some(&claim.handle))];
    match subject.fleet().observe(&queries, &BTreeMap::new(), passed) {
        Observed::Unknown(why) => assert!(!why.text.is_empty()),
        Observed::Known(view) => {
            assert!(matches!(view.runs[&working], RunObservation::Unknown(_)), "{view:?}");
        }
    }
    let outcomes = subject.fleet().reap(&[&reap_of(&working, Some(&claim.handle))], passed);
    // A fleet may ask the launcher to stop all the same, and see its end.
    match &outcomes[..] {
        [ReapOutcome::NotTried(why)] => assert!(!why.is_empty()),
        [ReapOutcome::Reaped(_)] => assert_eq!(subject.processes(&working), 0, "a reap that was not tried"),
        _ => panic!("{outcomes:?}"),
    }
    reap(subject, &working, Some(&claim.handle));
    assert_eq!(subject.processes(&working), 0);
}

fn fenced_run_that_lives_is_found(subject: &dyn Subject) {
    let run = run("ar-1-impl.1");
    let claim = start_working(subject, &run);
    subject.remove_claim(&run);
    let outcome = subject.fleet().fence(&run);
    assert!(matches!(outcome, FenceOutcome::Failed(_)), "the launcher holds the lock: {outcome:?}");
    subject.kill_launcher(&run, &claim.handle);
    let mut outcome = outcome;
    wait(subject, "the lock is free", || {
        outcome = subject.fleet().fence(&run);
        !matches!(outcome, FenceOutcome::Failed(_))
    });
    assert_eq!(outcome, FenceOutcome::Won);
    assert_eq!(subject.fleet().look_for(&[&run]), [true]);
    assert_eq!(sight(subject, &run, None), RunObservation::Orphaned { claim: None });
    reap(subject, &run, None);
    assert_eq!((subject.processes(&run), subject.begun(&run)), (0, 1));
    assert_eq!(sight(subject, &run, None), RunObservation::Fenced);
}

fn workspace_of_another_factory_is_taken(subject: &dyn Subject) {
    let run = run("ar-1-impl.1");
    live_through(subject, &run, Agent::Exits(0));
    let taken = |name: &str| subject.fleet().workspaces_taken(&|| BTreeSet::from([name.to_owned()]));
    assert_eq!(taken(&workspace(&run)), BTreeMap::new(), "the workspace is this factory's own");
    subject.take_workspace("theirs");
    let taken = taken("theirs");
    assert_eq!(taken.keys().collect::<Vec<_>>(), ["theirs"]);
    assert!(!taken["theirs"].is_empty());
}

fn preview_changes_nothing(subject: &dyn Subject) {
    let run = run("ar-1-impl.1");
    let preview = subject.fleet().preview(&launch(subject, &run, Agent::Exits(0)));
    assert!(!preview.argv.is_empty());
    assert_eq!(view(subject, &[], &[]), FleetView::default());
    assert_never_begins(subject, &run);
}
