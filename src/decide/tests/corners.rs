//! What happens rarely, and then at night: receipts without a launcher, fences that are lost, slots that nobody gives
//! back, clocks that leap.

use super::*;
use crate::model::{FenceOutcome, UnreadableItem, UnrecordedRun};
use crate::registry::{AgentPhase, ItemPhase};

fn started(plan: &Plan) -> Vec<String> {
    told(plan).into_iter().filter(|line| line.starts_with("start ")).collect()
}

/// What became of the first decision of this kind.
fn note(factory: &mut Factory, plan: &Plan, action: &str, outcome: impl Into<Outcome>) {
    let (step, _) = plan.decisions().find(|(_, decision)| decision.action.name() == action).unwrap();
    factory.registry.note(
        plan,
        &[StepOutcome { step, outcome: outcome.into() }],
        &factory.config.attempts,
        &factory.now,
    );
}

// ---------------------------------------------------------------------------------------------
// Runs

// covers: D10 D11
#[test]
fn a_start_that_is_first_seen_when_it_sweeps_is_adopted_and_waited_for() {
    let mut factory = Factory::new(&["A"]);
    factory.tick_told();
    let exit = exit(1, ExitReason::Exited, Reported::default());
    factory.see("a-impl.1", sweeping(Some(launcher()), exit));
    factory.later(5);
    assert_eq!(told(&factory.tick_told()), ["adopt a-impl.1"]);
    assert_eq!(factory.agent("a-impl").state, AgentPhase::Running);
    factory.later(100);
    assert_eq!(told(&factory.tick_told()), ["reap a-impl.1"]);
}

// covers: D11
#[test]
fn a_start_that_is_first_seen_when_it_is_over_is_adopted_and_judged_once() {
    let mut factory = Factory::new(&["A"]);
    factory.tick_told();
    factory.see("a-impl.1", succeeded());
    assert_eq!(told(&factory.tick_told()), ["adopt a-impl.1", "done a-impl.1", "done A", "writeback A done"]);
    assert!(factory.tick_told().is_empty());
    assert_eq!(factory.registry.counters.dispatched, 1);
}

// covers: D14
#[test]
fn a_run_whose_launcher_died_after_the_receipt_is_judged_by_the_receipt() {
    for (end, verdict) in [(succeeded(), "done a-impl.1"), (failed(), "fail a-impl.1 agent")] {
        let mut factory = Factory::new(&["A"]).running("a-impl.1");
        factory.see("a-impl.1", RunObservation::Orphaned { claim: None });
        assert_eq!(told(&factory.tick_told()), ["reap a-impl.1"]);
        factory.see("a-impl.1", end);
        assert_eq!(told(&factory.tick_told())[0], verdict);
    }
}

// covers: D17
#[test]
fn a_receipt_from_before_a_reboot_is_a_verdict_like_any_other() {
    for (code, verdict) in [(0, "done a-impl.1"), (1, "fail a-impl.1 agent")] {
        let mut factory = Factory::new(&["A"]).running("a-impl.1");
        factory.reboot();
        let RunObservation::Ended(ended) = over(code, ExitReason::Exited, None, "") else { unreachable!() };
        factory.see("a-impl.1", RunObservation::Rebooted(ended));
        assert_eq!(told(&factory.tick_told())[0], verdict);
        assert_eq!(factory.record("A").attempts, u32::from(code != 0));
    }
}

// Origin: the TypeScript factory - an agent was on record with a pid and without an identity: it was neither reaped nor
// reported.
// covers: D24 F32
#[test]
fn a_running_agent_that_nobody_can_identify_is_reported_by_every_tick_and_never_judged() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    factory.registry.agents.values_mut().for_each(|agent| agent.handle = None);
    factory.see("a-impl.1", RunObservation::Unclaimed);
    for _ in 0..3 {
        factory.later(100_000);
        let plan = factory.tick_told();
        assert!(plan.is_empty());
        assert!(plan.errors[0].starts_with("a-impl.1 is on record as running"), "{:?}", plan.errors);
        assert_eq!(held(&plan), [("A", HoldReason::FleetUnknown)]);
    }
    assert_eq!(factory.agent("a-impl").state, AgentPhase::Running);
}

// covers: D27
#[test]
fn a_forgotten_directory_that_was_claimed_before_its_fence_is_handed_off() {
    let mut factory = Factory::new(&["A"]);
    let run: RunId = "z-impl.7".parse().unwrap();
    factory.see("z-impl.7", RunObservation::Unclaimed);
    factory.unrecorded.push(UnrecordedRun { run: run.clone(), spec: None });
    let plan = factory.tick();
    assert_eq!(told(&plan)[0], "fence z-impl.7");
    note(&mut factory, &plan, "fence", FenceOutcome::Lost);
    assert!(factory.registry.handoffs.contains_key(&run));
    factory.unrecorded.clear();
    factory.see("z-impl.7", alive());
    assert_eq!(told(&factory.tick_told())[0], "reap z-impl.7");
}

// covers: D30 D31
#[test]
fn a_hand_off_that_was_claimed_before_its_fence_is_reaped_by_the_next_tick() {
    let mut factory = Factory::with("[fleet]\nstart_grace = \"90s\"", &["A"]);
    factory.tick_told();
    factory.remove("A");
    factory.tick_told();
    assert_eq!(told(&factory.tick_gone()), ["stop a-impl.1"]);
    let plan = factory.tick_told();
    assert_eq!(told(&plan), ["fence a-impl.1"]);
    note(&mut factory, &plan, "fence", FenceOutcome::Lost);
    assert_eq!(factory.registry.handoffs.len(), 1);
    factory.see("a-impl.1", alive());
    assert_eq!(told(&factory.tick_told()), ["reap a-impl.1"]);
    factory.see("a-impl.1", RunObservation::Ended(Box::default()));
    assert_eq!(told(&factory.tick_told()), ["forget a-impl.1", "forget A"]);
}

// Origin: JARVIS#65631, claude-code#55056 - the machine slept, and everything that ran was judged dead.
// covers: F61
#[test]
fn a_wall_clock_that_leaps_ages_nobody() {
    let mut factory = Factory::new(&["A", "B"]).running("a-impl.1");
    let day = jiff::SignedDuration::from_hours(24);
    for at in [factory.now.at.checked_add(day).unwrap(), factory.now.at.checked_sub(day).unwrap()] {
        factory.now.at = at;
        assert!(
            factory.tick_told().is_empty(),
            "neither the run past its deadline nor the start past its grace"
        );
    }
    assert_eq!((factory.record("A").attempts, factory.record("B").attempts), (0, 0));
}

// ---------------------------------------------------------------------------------------------
// Verdicts

// covers: V05 V06 V07 V08 V09 V20 V22 V23
#[test]
fn each_kind_of_end_costs_what_it_costs_and_goes_on_where_it_may() {
    let asks = || {
        let reported =
            Reported { session: Some("s-1".into()), park: Some("which?".into()), ..Reported::default() };
        RunObservation::Ended(Box::new(Ended {
            exit: Some(exit(1, ExitReason::Exited, reported.clone())),
            reported,
            ..Ended::default()
        }))
    };
    let ended = |reason| over(1, reason, Some("s-1"), "boom");
    for (end, class, attempts, resumes) in [
        (ended(ExitReason::Exited), "agent", 1, true),
        (RunObservation::Ended(Box::default()), "vanished", 1, true),
        (ended(ExitReason::Deadline), "deadline", 1, true),
        (ended(ExitReason::Stalled), "stalled", 1, true),
        (ended(ExitReason::Launch), "launch", 1, false),
        (ended(ExitReason::Hook), "launch", 1, false),
        (ended(ExitReason::Stopped), "killed", 0, false),
        (ended(ExitReason::Infra), "infra", 0, false),
        (asks(), "needs_input", 0, false),
    ] {
        let mut factory = Factory::new(&["A"]).running("a-impl.1");
        let reported = Reported { session: Some("s-1".into()), park: None, ..Reported::default() };
        factory.see("a-impl.1", alive_saying(None, reported));
        factory.tick_told();
        factory.see("a-impl.1", end);
        let lines = told(&factory.tick_told());
        assert_eq!(lines[0], format!("fail a-impl.1 {class}"));
        assert_eq!(factory.record("A").attempts, attempts, "{class}");
        assert_eq!(lines.contains(&"resume a-impl.2".to_owned()), resumes, "{class}: {lines:?}");
    }
}

// covers: V09 V10
#[test]
fn a_resume_that_cannot_launch_is_charged_alone_and_followed_by_a_fresh_start() {
    let mut factory = Factory::crew("[attempts]\nmax = 9", &["A"]);
    factory.config.roles[0].resume = vec!["agent".into(), "{session}".into()];
    factory.tick_told();
    factory.see("a-rev.1", alive());
    factory.see("a-impl.1", over(1, ExitReason::Exited, Some("s-1"), ""));
    assert!(told(&factory.tick_told()).contains(&"resume a-impl.2".to_owned()));
    factory.see("a-impl.2", over(127, ExitReason::Launch, Some("s-1"), ""));
    assert_eq!(told(&factory.tick_told()), ["adopt a-impl.2", "fail a-impl.2 launch"]);
    assert_eq!(factory.record("A").attempts, 2);
    assert_eq!(factory.agent("a-rev").state, AgentPhase::Running, "its neighbour goes on");
    factory.see("a-rev.1", succeeded());
    factory.tick_told();
    factory.later(7200);
    assert_eq!(told(&factory.tick_told()), ["start a-impl.3", "writeback A started"]);
}

// covers: V12
#[test]
fn a_resumed_session_that_ends_well_is_not_gone_whatever_it_said() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    factory.see("a-impl.1", over(1, ExitReason::Exited, Some("s-1"), ""));
    factory.tick_told();
    factory.see("a-impl.2", over(0, ExitReason::Exited, Some("s-1"), "No conversation found"));
    assert!(told(&factory.tick_told()).contains(&"done A".to_owned()));
}

// Origin: the TypeScript factory - an agent was started again on every exit, 50 of 50, without a cap.
// covers: F22 V28
#[test]
fn starts_and_resumes_share_one_budget() {
    let mut factory = Factory::with("[attempts]\nmax = 3\nresumes_max = 50", &["A"]).running("a-impl.1");
    factory.see("a-impl.1", over(1, ExitReason::Exited, Some("s-1"), ""));
    assert!(told(&factory.tick_told()).contains(&"resume a-impl.2".to_owned()));
    factory.see("a-impl.2", over(1, ExitReason::Exited, Some("s-1"), ""));
    assert!(told(&factory.tick_told()).contains(&"resume a-impl.3".to_owned()));
    factory.see("a-impl.3", over(1, ExitReason::Exited, Some("s-1"), ""));
    let lines = told(&factory.tick_told());
    assert!(lines.contains(&"park A agent".to_owned()), "{lines:?}");
    factory.later(100_000);
    assert!(factory.tick_told().is_empty());
}

// covers: V29
#[test]
fn two_roles_that_fail_charge_twice() {
    let mut factory = Factory::crew("[attempts]\nmax = 2", &["A"]).running("a-impl.1");
    factory.see("a-impl.1", failed());
    factory.see("a-rev.1", failed());
    let plan = factory.tick_told();
    assert!(told(&plan).contains(&"park A agent".to_owned()), "{:?}", told(&plan));
    assert_eq!(factory.record("A").attempts, 2);
}

// ---------------------------------------------------------------------------------------------
// Items

// covers: I05
#[test]
fn an_item_that_leaves_the_scope_ends_its_runs_without_a_charge() {
    let mut factory = Factory::with("[source.scope]\nlabels = [\"agent\"]", &["A"]);
    factory.edit("A", |item| item.labels = vec!["agent".into()]);
    let mut factory = factory.running("a-impl.1");
    factory.edit("A", |item| item.labels.clear());
    assert!(factory.tick_told().is_empty(), "one read is no proof");
    let plan = factory.tick_gone();
    assert_eq!(told(&plan), ["stop a-impl.1"]);
    assert_eq!(held(&plan), [("A", HoldReason::NotInScope)]);
    assert_eq!(factory.record("A").attempts, 0);
}

// covers: I09 I11
#[test]
fn what_left_the_scope_and_comes_back_is_a_new_life() {
    for end in [succeeded(), failed()] {
        let scope = "[source.scope]\nlabels = [\"agent\"]\n[attempts]\nmax = 1";
        let mut factory = Factory::with(scope, &["A"]);
        factory.edit("A", |item| item.labels = vec!["agent".into()]);
        let mut factory = factory.running("a-impl.1");
        factory.see("a-impl.1", end);
        factory.tick_told();
        let labels = std::mem::take(&mut factory.item("A").labels);
        for _ in 0..3 {
            factory.tick_gone();
        }
        factory.item("A").labels = labels;
        assert_eq!(started(&factory.tick_told()), ["start a-impl.2"]);
        assert_eq!(factory.record("A").attempts, 0);
    }
}

// covers: I11 I13
#[test]
fn finished_work_that_was_closed_and_is_opened_again_is_done_again() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    factory.see("a-impl.1", succeeded());
    factory.tick_told();
    factory.edit("A", |item| item.state = ItemState::Closed);
    factory.tick_told();
    assert_eq!(told(&factory.tick_gone()), ["forget A"]);
    assert!(factory.tick_told().is_empty());
    factory.edit("A", |item| item.state = ItemState::Open);
    assert_eq!(started(&factory.tick_told()), ["start a-impl.2"]);
}

// Origin: nielsgl/symphony#545 - a failure that was not to be tried again kept its claim, and its slot, for ever.
// covers: F16 I18 S01
#[test]
fn every_end_frees_the_slot_for_the_same_tick() {
    let asks = || {
        let reported = Reported { session: None, park: Some("which?".into()), ..Reported::default() };
        RunObservation::Ended(Box::new(Ended {
            exit: Some(exit(0, ExitReason::Exited, reported.clone())),
            reported,
            ..Ended::default()
        }))
    };
    for (attempts, end, held_as) in [
        (3, succeeded(), HoldReason::Done),
        (3, failed(), HoldReason::Backoff),
        (1, failed(), HoldReason::Parked),
        (1, over(0, ExitReason::Launch, None, ""), HoldReason::Parked),
        (3, asks(), HoldReason::Parked),
        (3, over(0, ExitReason::Stopped, None, ""), HoldReason::Backoff),
    ] {
        let tables = format!("[limits]\nitems_max = 1\n[attempts]\nmax = {attempts}");
        let mut factory = Factory::with(&tables, &["A", "B"]).running("a-impl.1");
        assert_eq!(held(&factory.plan()), [("A", HoldReason::AlreadyActive), ("B", HoldReason::NoSlot)]);
        factory.see("a-impl.1", end);
        let plan = factory.tick_told();
        assert_eq!(started(&plan), ["start b-impl.1"], "{held_as:?}");
        assert_eq!(held(&plan), [("A", held_as)]);
    }
}

// Origin: factory#303 - a row that was never placed held the only slot for ever.
// covers: F10 F66 V26
#[test]
fn a_start_that_never_happens_gives_the_only_slot_back_in_the_end() {
    let mut factory = Factory::with("[limits]\nitems_max = 1", &["A", "B"]);
    let mut ticks = 0;
    while started(&factory.tick_told()) != ["start b-impl.1"] {
        factory.later(30);
        // Every fence is won, for nobody ever comes.
        if let Observed::Known(runs) = &mut factory.runs {
            runs.values_mut().for_each(|observation| *observation = RunObservation::Fenced);
        }
        ticks += 1;
        assert!(ticks < 20, "B never gets the slot");
    }
    assert_eq!(factory.record("A").state, ItemPhase::Parked);
    assert_eq!(factory.record("A").attempts, 0);
}

// ---------------------------------------------------------------------------------------------
// Scheduling

// covers: S09
#[test]
fn a_retry_whose_item_is_gone_is_forgotten_and_never_started() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    factory.see("a-impl.1", failed());
    factory.tick_told();
    factory.remove("A");
    factory.later(7200);
    assert!(factory.tick_told().is_empty(), "due, and not there");
    assert_eq!(told(&factory.tick_gone()), ["forget A"]);
    assert!(factory.registry.items.is_empty());
}

// covers: S09
#[test]
fn a_session_whose_item_left_the_scope_does_not_go_on() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    factory.see("a-impl.1", over(143, ExitReason::Stopped, Some("s-1"), ""));
    factory.tick_told();
    factory.config.scope.labels = vec!["agent".into()];
    factory.later(300);
    for _ in 0..3 {
        let lines = told(&factory.tick_told());
        assert!(!lines.iter().any(|line| line.starts_with("resume")), "{lines:?}");
    }
}

// covers: S10
#[test]
fn a_retry_without_a_slot_stays_due_and_says_why() {
    let mut factory = Factory::with("[limits]\nitems_max = 1", &["A", "B"]).running("a-impl.1");
    factory.see("a-impl.1", failed());
    assert_eq!(started(&factory.tick_told()), ["start b-impl.1"]);
    let due = factory.record("A").due_at;
    factory.see("b-impl.1", alive());
    factory.tick_told();
    factory.later(600);
    let plan = factory.tick_told();
    assert!(plan.is_empty(), "{:?}", told(&plan));
    assert!(held(&plan).contains(&("A", HoldReason::NoSlot)), "{:?}", held(&plan));
    assert_eq!((factory.record("A").due_at, factory.record("A").attempts), (due, 1));
}

// covers: S32
#[test]
fn a_filter_that_nobody_knows_fails_that_attempt_alone() {
    let mut factory = Factory::new(&["A", "B"]);
    factory.config.roles[0].prompt = "{% if item.key == 'A' %}{{ item.key|shout }}{% endif %}".into();
    let plan = factory.tick_told();
    assert_eq!(told(&plan), ["fail A launch", "start b-impl.1", "writeback B started"]);
    let because = &factory.record("A").last.as_ref().unwrap().because;
    assert!(because.contains("shout"), "{because}");
}

// covers: I15 S16
#[test]
fn a_malformed_file_beside_others_keeps_nobody_else_from_starting() {
    let mut factory = Factory::new(&["B"]);
    factory.unreadable =
        vec![UnreadableItem { origin: "A.md".into(), id: Some(id("A")), why: "A.md:3: not TOML".into() }];
    let plan = factory.tick_told();
    assert_eq!(started(&plan), ["start b-impl.1"]);
    assert_eq!(plan.errors, ["A.md:3: not TOML"]);
}
