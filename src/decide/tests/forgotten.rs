//! Runs that the registry has forgotten, because an earlier one had to be read, and what their directories tell of them.

use super::*;
use crate::model::UnrecordedRun;

// covers: D25
#[test]
fn of_forgotten_runs_the_highest_is_current_and_the_others_are_ended() {
    let mut factory = Factory::new(&["A"]);
    for (n, observation) in [(1, alive()), (2, succeeded()), (3, RunObservation::Unclaimed)] {
        let run: RunId = format!("a-impl.{n}").parse().unwrap();
        let mut spec = unrecorded_spec(&run.to_string(), 2);
        (spec.spec.prelude_ms, spec.spec.deadline_ms) = (10_000, Some(50_000));
        factory.see(&run.to_string(), observation);
        factory.unrecorded.push(UnrecordedRun { run, spec: Some(spec) });
    }
    let plan = factory.tick();
    assert_eq!(told(&plan), ["stop a-impl.1", "adopt a-impl.3"]);
    assert_eq!(held(&plan), [("A", HoldReason::HandoffPending)]);
    assert_eq!(factory.agent("a-impl").spec.id.n, 3);
    assert_eq!(factory.record("A").dispatch, 2);
    // Found by the simulator: one whose launcher was stopped ran on for ever, its deadline forgotten.
    assert_eq!(factory.agent("a-impl").spec.latest_ms(), Some(60_000));
}

// covers: D26 D42
#[test]
fn a_forgotten_directory_without_a_spec_is_fenced_and_its_number_is_used_up() {
    let mut factory = Factory::new(&[]);
    let run: RunId = "a-impl.7".parse().unwrap();
    factory.see("a-impl.7", RunObservation::Unclaimed);
    factory.unrecorded.push(UnrecordedRun { run: run.clone(), spec: None });
    assert_eq!(told(&factory.tick()), ["fence a-impl.7"]);
    assert_eq!(factory.registry.names.next_run(&run.agent).n, 8);
}

// Found by the simulator: the number of a forgotten directory that was fenced already was given out again.
// covers: D26 D42
#[test]
fn a_forgotten_directory_that_was_fenced_before_keeps_its_number() {
    let mut factory = Factory::new(&["A"]);
    let run: RunId = "a-impl.1".parse().unwrap();
    factory.unrecorded = vec![UnrecordedRun { run, spec: None }];
    factory.see("a-impl.1", RunObservation::Fenced);
    assert_eq!(told(&factory.tick_told()), ["start a-impl.2", "writeback A started"]);
}

// Origin: found by corrupting the state - the run lived and was to be ended, of an item that its spec did not tell any
// more: that item was dispatched in the same tick, beside the living agent.
// covers: D27
#[test]
fn a_forgotten_run_without_a_spec_that_lives_holds_its_item_until_it_has_ended() {
    for is_named in [false, true] {
        let mut factory = Factory::new(&["A", "A-B"]);
        if is_named {
            let seen = factory.registry.upsert_for(&item("A"));
            factory.registry.apply(&crate::model::Step::RecordUpdate(seen), &factory.now.clone()).unwrap();
        }
        factory.unrecorded = vec![UnrecordedRun { run: "a-impl.1".parse().unwrap(), spec: None }];
        factory.see("a-impl.1", alive());
        let plan = factory.tick_told();
        assert_eq!(told(&plan), ["stop a-impl.1", "start a-b-impl.1", "writeback A-B started"], "{is_named}");
        assert_eq!(held(&plan), [("A", HoldReason::HandoffPending)]);
        factory.unrecorded.clear();
        factory.see("a-impl.1", RunObservation::Ended(Box::default()));
        factory.see("a-b-impl.1", alive());
        assert!(told(&factory.tick_told()).contains(&"start a-impl.2".to_owned()));
    }
}

// covers: D25
#[test]
fn a_recorded_run_that_lives_is_ended_when_a_later_one_was_forgotten() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    let spec = unrecorded_spec("a-impl.2", 1);
    factory.see("a-impl.2", alive());
    factory.unrecorded.push(UnrecordedRun { run: "a-impl.2".parse().unwrap(), spec: Some(spec) });
    assert_eq!(told(&factory.tick()), ["stop a-impl.1", "adopt a-impl.2", "adopt a-impl.2"]);
    let handed_off: Vec<_> = factory.registry.handoffs.keys().map(ToString::to_string).collect();
    assert_eq!(handed_off, ["a-impl.1"]);
}

// Found by the simulator: the item was dispatched under the number of the directory that could not be told.
// covers: D28
#[test]
fn a_forgotten_directory_that_cannot_be_told_keeps_its_item_waiting() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    factory.see("a-impl.1", succeeded());
    factory.tick_told();
    factory.edit("A", |item| item.body = "more".into());
    factory.unrecorded = vec![UnrecordedRun { run: "a-impl.2".parse().unwrap(), spec: None }];
    factory.see("a-impl.2", RunObservation::Unknown("permission denied".into()));
    let plan = factory.tick_told();
    assert!(plan.is_empty());
    assert_eq!(held(&plan), [("A", HoldReason::FleetUnknown)]);
}

// Origin: attacked - 100,000 unrecorded directories of one agent: a tick took minutes, its deadline was 50 s.
// covers: P25
#[test]
fn agent_with_directories_left_to_look_at_waits() {
    let mut factory = Factory::new(&["A", "B"]);
    let found = |factory: &mut Factory, n: u64, observation: RunObservation| {
        let run: RunId = format!("a-impl.{n}").parse().unwrap();
        factory.see(&run.to_string(), observation);
        let spec = Some(unrecorded_spec(&run.to_string(), 1));
        factory.unrecorded = vec![UnrecordedRun { run, spec }];
    };
    found(&mut factory, 1, succeeded());
    factory.unexamined.insert(AgentName("a-impl".into()), 7);
    let plan = factory.tick_told();
    // It is judged, and its number is used.
    let begun = ["adopt a-impl.1", "adopt a-impl.1", "done a-impl.1", "done A"];
    assert_eq!(
        told(&plan),
        [&begun[..], &["start b-impl.1", "writeback B started", "writeback A done"]].concat()
    );
    assert_eq!(plan.errors, ["7 directories of a-impl that are not on record were not looked at yet"]);

    found(&mut factory, 2, failed());
    assert_eq!(told(&factory.tick_told())[..3], ["adopt a-impl.2", "adopt a-impl.2", "fail a-impl.2 agent"]);
    factory.unrecorded.clear();
    factory.later(1_000_000);
    factory.see("b-impl.1", succeeded());
    assert_eq!(held(&factory.tick_told()), [("A", HoldReason::FleetUnknown), ("B", HoldReason::Done)]);
    factory.unexamined.clear();
    assert!(told(&factory.tick_told()).contains(&"start a-impl.3".to_owned()));
}

// Origin: the simulator - the registry was read from its backup after a tick had fenced a run and
// swept for it: its required note was waited for for ever.
#[test]
fn a_run_that_was_fenced_and_swept_for_waits_for_no_note() {
    let mut factory = Factory::with("[writeback]\nstarted = \"required\"", &["A"]);
    factory.tick();
    factory.see("a-impl.1", RunObservation::Ended(Box::default()));
    let plan = factory.tick_told();
    assert_eq!(told(&plan), ["fail a-impl.1 infra", "start a-impl.2", "writeback A started"]);
    assert_eq!(factory.record("A").attempts, 0);
}

// covers: D28
#[test]
fn a_directory_that_cannot_be_told_bars_also_an_item_whose_name_was_forgotten_with_it() {
    let mut factory = Factory::new(&["A", "B"]);
    factory.unrecorded = vec![UnrecordedRun { run: "a-impl.1".parse().unwrap(), spec: None }];
    factory.see("a-impl.1", RunObservation::Unknown("permission denied".into()));
    let plan = factory.tick_told();
    assert_eq!(told(&plan), ["start b-impl.1", "writeback B started"]);
    assert_eq!(held(&plan), [("A", HoldReason::FleetUnknown)]);
}

// ---------------------------------------------------------------------------------------------
// What a run directory tells where the registry was read from its backup

/// What the tick that started a run wrote into its directory.
fn spec_of(plan: &Plan, run: &str) -> UnrecordedSpec {
    let launch = plan.decisions().find_map(|(_, decision)| match &decision.action {
        Action::Start(launch) | Action::Resume(launch) if launch.spec.id.to_string() == run => Some(launch),
        _ => None,
    });
    let launch = launch.expect("it was started");
    UnrecordedSpec { spec: launch.spec.clone(), snapshot: launch.snapshot.clone(), since: moment(0) }
}

/// The registry as it was before, and the run that it does not know of.
fn lose(factory: &mut Factory, before: Registry, plan: &Plan, run: &str) {
    factory.registry = before;
    factory.unrecorded = vec![UnrecordedRun { run: run.parse().unwrap(), spec: Some(spec_of(plan, run)) }];
}

#[test]
fn an_edit_during_a_forgotten_run_counts_when_it_ends() {
    let mut factory = Factory::new(&["A"]);
    let plan = factory.tick();
    lose(&mut factory, Registry::default(), &plan, "a-impl.1");
    factory.edit("A", |item| item.body = "more".into());
    factory.see("a-impl.1", succeeded());
    let plan = factory.tick_told();
    assert!(told(&plan).contains(&"start a-impl.2".to_owned()), "{:?}", told(&plan));
}

// The reviewer was done with the first text. Of the edit, and of the dispatch that it led to, nothing is on record:
// together with the implementer's new run its old approval would have made the item done.
#[test]
fn what_was_done_of_an_earlier_text_is_not_done_of_the_text_of_a_forgotten_run() {
    let mut factory = Factory::crew("", &["A"]);
    factory.tick_told();
    factory.see("a-impl.1", failed());
    factory.see("a-rev.1", succeeded());
    factory.tick_told();
    assert!(factory.agent("a-rev").succeeded);
    let before = factory.registry.clone();
    factory.edit("A", |item| item.body = "more".into());
    let plan = factory.tick_told();
    lose(&mut factory, before, &plan, "a-impl.2");
    factory.see("a-impl.2", alive());
    factory.tick_told();
    assert!(!factory.agent("a-rev").succeeded);
    factory.see("a-impl.2", succeeded());
    factory.unrecorded.clear();
    factory.later(600);
    assert_eq!(told(&factory.tick_told()), ["done a-impl.2", "start a-rev.2", "writeback A started"]);
}

// Found by the simulator, seed 77000188: the reviewer was still at the first text when the run of the next dispatch, which
// had been given the edited one, was found again. It ended well in the same tick, and made the edited item done.
#[test]
fn what_runs_on_from_an_earlier_text_is_not_done_of_the_text_of_a_forgotten_run() {
    let mut factory = Factory::crew("", &["A"]).running("a-impl.1");
    factory.see("a-impl.1", failed());
    factory.see("a-rev.1", alive());
    factory.tick_told();
    let before = factory.registry.clone();
    factory.see("a-rev.1", succeeded());
    factory.tick_told();
    factory.edit("A", |item| item.body = "more".into());
    let plan = factory.tick_told();
    lose(&mut factory, before, &plan, "a-impl.2");
    factory.see("a-impl.2", succeeded());
    // Nobody knows which text it is done of: it begins anew with the one that is there.
    let lines = told(&factory.tick_told());
    let anew = ["done A", "start a-impl.3", "start a-rev.2", "writeback A started"];
    assert!(
        lines.contains(&"done a-rev.1".to_owned()) && lines.ends_with(&anew.map(str::to_owned)),
        "{lines:?}"
    );
    assert!(!factory.agent("a-rev").succeeded);
}

#[test]
fn an_edit_that_brought_a_parked_item_back_is_not_lost_with_the_record_of_its_run() {
    let mut factory = Factory::with("[attempts]\nmax = 1", &["A"]).running("a-impl.1");
    factory.see("a-impl.1", failed());
    factory.tick_told();
    let before = factory.registry.clone();
    factory.edit("A", |item| item.body = "more".into());
    let plan = factory.tick_told();
    lose(&mut factory, before, &plan, "a-impl.2");
    factory.see("a-impl.2", alive());
    factory.tick_told();
    factory.unrecorded.clear();
    factory.see("a-impl.2", RunObservation::Ended(Box::default()));
    assert_eq!(told(&factory.tick_told()), ["forget a-impl.2", "start a-impl.3", "writeback A started"]);
}

#[test]
fn a_session_is_not_resumed_once_more_because_a_resume_was_forgotten() {
    let mut factory = Factory::with("[attempts]\nresumes_max = 2\nmax = 9", &["A"]).running("a-impl.1");
    let fails = || over(1, ExitReason::Exited, Some("s-1"), "");
    factory.see("a-impl.1", fails());
    factory.tick_told();
    let before = factory.registry.clone();
    factory.see("a-impl.2", fails());
    let plan = factory.tick_told();
    assert_eq!(factory.agent("a-impl").resumes, 2);
    lose(&mut factory, before, &plan, "a-impl.3");
    factory.see("a-impl.3", fails());
    let plan = factory.tick_told();
    assert!(!told(&plan).iter().any(|line| line.starts_with("resume")), "{:?}", told(&plan));
}
