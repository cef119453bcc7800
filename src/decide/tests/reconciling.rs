//! Runs in flight and hand-offs: what is recorded against what is seen.

use super::*;
use crate::model::Survivor;
use crate::registry::{AgentPhase, ItemPhase};

// covers: D01 D08 S05 S08 I02
#[test]
fn a_claim_makes_a_start_a_run_and_a_reply_does_not() {
    let mut factory = Factory::new(&["A"]);
    assert_eq!(told(&factory.tick_told()), ["start a-impl.1", "writeback A started"]);
    assert_eq!(factory.agent("a-impl").state, AgentPhase::Starting);
    assert_eq!(held(&factory.tick_told()), [("A", HoldReason::AlreadyActive)]);
    factory.see("a-impl.1", alive());
    assert_eq!(told(&factory.tick_told()), ["adopt a-impl.1"]);
    assert_eq!(factory.agent("a-impl").handle, Some(launcher().handle));
    assert!(factory.tick_told().is_empty());
    assert_eq!(factory.registry.counters.dispatched, 1);
}

// Origin: autonomous-dev-team#32 - a healthy agent that had just started was judged dead, because its pid file
// was not there yet.
// covers: D03 D04 V23 F02
#[test]
fn an_unclaimed_start_is_given_its_grace_then_fenced_and_started_again_a_tick_later() {
    let mut factory = Factory::new(&["A"]);
    factory.tick_told();
    factory.later(29);
    assert!(factory.tick_told().is_empty());
    factory.later(1);
    assert_eq!(told(&factory.tick_told()), ["fence a-impl.1"]);
    factory.see("a-impl.1", RunObservation::Fenced);
    assert_eq!(told(&factory.tick_told()), ["fail a-impl.1 infra", "start a-impl.2", "writeback A started"]);
    assert_eq!((factory.record("A").attempts, factory.record("A").uncharged_streak), (0, 1));
}

// covers: D05 F02
#[test]
fn a_lost_fence_is_an_adoption() {
    let mut factory = Factory::new(&["A"]);
    factory.tick_told();
    factory.later(60);
    assert_eq!(told(&factory.tick_told()), ["fence a-impl.1"]);
    factory.see("a-impl.1", alive());
    assert_eq!(told(&factory.tick_told()), ["adopt a-impl.1"]);
}

// covers: D06
#[test]
fn a_reboot_before_the_claim_fences_at_once() {
    let mut factory = Factory::new(&["A"]);
    factory.tick_told();
    factory.reboot();
    assert_eq!(told(&factory.tick_told()), ["fence a-impl.1"]);
}

// Origin: Kilo-Org/cloud#1932 - an outage exhausted everybody's attempts at once.
// covers: D16 V23 F67
#[test]
fn a_reboot_charges_nobody_and_goes_on_with_the_session() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    let reported = Reported { session: Some("s-1".into()), park: None, ..Reported::default() };
    factory.see("a-impl.1", alive_saying(None, reported));
    assert!(factory.tick_told().is_empty(), "a session that is told is no decision");
    factory.reboot();
    factory.see("a-impl.1", RunObservation::Rebooted(Box::default()));
    assert_eq!(told(&factory.tick_told()), ["fail a-impl.1 infra", "resume a-impl.2"]);
    assert_eq!(factory.record("A").attempts, 0);
}

// covers: D02 X05
#[test]
fn a_refused_start_alone_starts_again_and_is_counted_as_a_suppressed_duplicate() {
    let mut factory = Factory::crew("", &["A"]);
    factory.tick_told();
    factory.see("a-impl.1", alive());
    let refusal =
        Refusal { because: "another launcher of a-rev is alive".into(), duplicate: true, machine: false };
    factory.see("a-rev.1", RunObservation::Refused(refusal));
    assert_eq!(told(&factory.tick_told()), ["adopt a-impl.1", "fail a-rev.1 infra", "start a-rev.2"]);
    assert_eq!(factory.registry.counters.dispatch_duplicate_suppressed, 1);
    assert_eq!(factory.agent("a-rev").spec.dispatch, 1, "it is the same dispatch");
}

// covers: V26 F66
#[test]
fn five_uncharged_failures_in_a_row_park() {
    let mut factory = Factory::new(&["A"]);
    factory.tick_told();
    for n in 1..=4 {
        factory.later(30);
        factory.see(&format!("a-impl.{n}"), RunObservation::Fenced);
        assert_eq!(told(&factory.tick_told())[0], format!("fail a-impl.{n} infra"));
    }
    factory.later(30);
    factory.see("a-impl.5", RunObservation::Fenced);
    assert_eq!(told(&factory.tick_told()), ["fail a-impl.5 infra", "park A infra", "writeback A parked"]);
    assert_eq!(factory.record("A").attempts, 0);
}

// covers: D12 V02 D41
#[test]
fn success_ends_the_role_and_the_item() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    factory.see("a-impl.1", succeeded());
    assert_eq!(told(&factory.tick_told()), ["done a-impl.1", "done A", "writeback A done"]);
    assert_eq!(factory.record("A").state, ItemPhase::Done);
    let agent = factory.agent("a-impl");
    assert_eq!((agent.run.clone(), agent.handle.clone()), (None, None));
    assert_eq!(agent.stopped_at, Some(factory.now.at));
    assert_eq!(held(&factory.tick_told()), [("A", HoldReason::Done)]);
}

// covers: D12 V05 V28 S05 S26
#[test]
fn a_failure_backs_off_and_the_last_one_parks() {
    let mut factory = Factory::with("[attempts]\nmax = 2\njitter = 0.0", &["A"]).running("a-impl.1");
    factory.see("a-impl.1", failed());
    let plan = factory.tick_told();
    assert_eq!(told(&plan), ["fail a-impl.1 agent"]);
    assert_eq!(held(&plan), [("A", HoldReason::Backoff)]);
    assert_eq!(plan.held[0].until, Some(factory.now.after(Duration::from_secs(300))));
    factory.later(299);
    assert!(factory.tick_told().is_empty());
    factory.later(1);
    assert_eq!(told(&factory.tick_told()), ["start a-impl.2", "writeback A started"]);
    factory.see("a-impl.2", failed());
    assert_eq!(
        told(&factory.tick_told()),
        ["adopt a-impl.2", "fail a-impl.2 agent", "park A agent", "writeback A parked"]
    );
    factory.later(100_000);
    assert_eq!(held(&factory.tick_told()), [("A", HoldReason::Parked)]);
}

// Origin: the-ozolith#58 and others - `subtype: success` and a tidy exit after a TERM are no success.
// covers: V01
#[test]
fn the_reason_beats_a_code_of_zero() {
    for (reason, class) in [
        (ExitReason::Deadline, "deadline"),
        (ExitReason::Stalled, "stalled"),
        (ExitReason::Stopped, "killed"),
        (ExitReason::Launch, "launch"),
        (ExitReason::Hook, "launch"),
        (ExitReason::Infra, "infra"),
    ] {
        let mut factory = Factory::new(&["A"]).running("a-impl.1");
        factory.see("a-impl.1", over(0, reason, None, ""));
        assert_eq!(told(&factory.tick_told())[0], format!("fail a-impl.1 {class}"));
    }
}

// covers: D15 V06
#[test]
fn a_dead_launcher_is_reaped_first_and_judged_by_its_receipt_or_as_vanished() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    factory.see("a-impl.1", RunObservation::Orphaned { claim: None });
    assert_eq!(told(&factory.tick_told()), ["reap a-impl.1"]);
    assert_eq!(told(&factory.plan()), ["reap a-impl.1"], "until it was swept, nothing is judged");
    factory.see("a-impl.1", RunObservation::Ended(Box::default()));
    assert_eq!(told(&factory.tick_told()), ["fail a-impl.1 vanished"]);
    assert_eq!(factory.record("A").attempts, 1);
}

// covers: D10
#[test]
fn a_sweeping_launcher_has_its_grace_and_two_seconds() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    let exit = exit(0, ExitReason::Exited, Reported::default());
    factory.see("a-impl.1", sweeping(None, exit));
    factory.later(13);
    assert!(factory.tick_told().is_empty());
    factory.later(1);
    assert_eq!(told(&factory.tick_told()), ["reap a-impl.1"]);
}

// covers: D09 D35
#[test]
fn a_launcher_that_missed_its_deadline_is_handed_off() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    factory.later(3600 + 12);
    assert!(factory.tick_told().is_empty());
    factory.later(1);
    assert_eq!(told(&factory.tick_told()), ["stop a-impl.1", "fail a-impl.1 deadline"]);
    assert_eq!(told(&factory.tick_told()), ["reap a-impl.1"]);
}

// covers: D40
#[test]
fn a_run_that_is_judged_and_handed_off_keeps_its_launcher_on_record() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    factory.later(4000);
    factory.tick_told();
    let handoff = factory.registry.handoffs.values().next().unwrap();
    assert_eq!(handoff.handle, Some(launcher().handle));
    assert!(factory.agent("a-impl").handle.is_none());
}

// covers: D09 V07
#[test]
fn a_deadline_that_its_launcher_missed_is_followed_by_a_resume_when_the_old_run_is_gone() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    let reported = Reported { session: Some("s-1".into()), park: None, ..Reported::default() };
    factory.see("a-impl.1", alive_saying(None, reported));
    factory.later(4000);
    assert_eq!(told(&factory.tick_told()), ["stop a-impl.1", "fail a-impl.1 deadline"]);
    assert_eq!(factory.record("A").state, ItemPhase::Active, "it is about to go on");
    factory.see("a-impl.1", RunObservation::Ended(Box::default()));
    assert_eq!(told(&factory.tick_told()), ["forget a-impl.1", "resume a-impl.2"]);
}

// covers: D43
#[test]
fn survivors_are_not_forgotten_with_the_files_of_their_run() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    let survivor =
        Survivor { pid: 9, start_ticks: 1, comm: "sleep".into(), because: "operation not permitted".into() };
    let ended = Ended { survivors: vec![survivor], ..Ended::default() };
    factory.see("a-impl.1", RunObservation::Ended(Box::new(ended)));
    factory.tick_told();
    for gone in [RunObservation::Unclaimed, RunObservation::Fenced] {
        factory.see("a-impl.1", gone);
        assert_eq!(told(&factory.plan()), ["reap a-impl.1"]);
    }
}

// covers: V27 F67
#[test]
fn one_reboot_is_one_misfortune_however_large_the_crew() {
    let mut factory = Factory::crew("", &["A"]).running("a-impl.1");
    factory.see("a-rev.1", alive());
    factory.tick_told();
    factory.reboot();
    factory.see("a-impl.1", RunObservation::Rebooted(Box::default()));
    factory.see("a-rev.1", RunObservation::Rebooted(Box::default()));
    factory.tick_told();
    assert_eq!(factory.record("A").uncharged_streak, 1);
}

#[test]
fn a_role_that_waits_holds_up_no_session_of_another() {
    let mut factory = Factory::crew("", &["A"]);
    for role in &mut factory.config.roles {
        role.resume = vec!["agent".into(), "{session}".into()];
    }
    factory.tick_told();
    factory.see("a-impl.1", over(143, ExitReason::Stopped, Some("s-1"), ""));
    factory.see("a-rev.1", over(1, ExitReason::Exited, Some("s-2"), ""));
    let plan = factory.tick_told();
    assert!(told(&plan).contains(&"resume a-rev.2".to_owned()), "{:?}", told(&plan));
    factory.later(300);
    assert!(told(&factory.tick_told()).contains(&"resume a-impl.2".to_owned()));
}

// covers: D13 D35
#[test]
fn survivors_of_a_sweep_become_a_handoff_and_need_a_person() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    let survivor =
        Survivor { pid: 9, start_ticks: 1, comm: "sleep".into(), because: "operation not permitted".into() };
    let exit = exit(1, ExitReason::Exited, Reported::default());
    let ended = Ended { exit: Some(exit), survivors: vec![survivor], ..Ended::default() };
    factory.see("a-impl.1", RunObservation::Ended(Box::new(ended)));
    let plan = factory.tick_told();
    assert_eq!(told(&plan), ["stop a-impl.1", "fail a-impl.1 agent", "park A", "writeback A parked"]);
    assert_eq!(told(&factory.tick_told()), ["reap a-impl.1"], "tried again, without another word");
}

// covers: D22
#[test]
fn what_cannot_be_told_apart_is_held_and_never_touched() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    factory.see("a-impl.1", RunObservation::Unknown("another pid namespace".into()));
    let plan = factory.tick_told();
    assert!(plan.is_empty());
    assert_eq!(plan.errors, ["a-impl.1: another pid namespace"]);
    assert_eq!(held(&plan), [("A", HoldReason::FleetUnknown)]);
}

// covers: D22
#[test]
fn an_unknown_fleet_means_no_start_no_resume_and_no_verdict() {
    let mut factory = Factory::new(&["A", "B"]).running("a-impl.1");
    factory.runs = Observed::broken("runs/ can't be listed");
    factory.later(100_000);
    let plan = factory.plan();
    assert!(plan.is_empty());
    assert_eq!(held(&plan), [("A", HoldReason::FleetUnknown), ("B", HoldReason::FleetUnknown)]);
}

// covers: V05 V31 F21 I02
#[test]
fn a_session_goes_on_in_the_tick_that_sees_the_end_and_only_as_often_as_it_may() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    factory.see("a-impl.1", over(1, ExitReason::Exited, Some("s-1"), ""));
    let plan = factory.tick_told();
    assert_eq!(told(&plan), ["fail a-impl.1 agent", "resume a-impl.2"]);
    let agent = factory.agent("a-impl");
    assert_eq!((agent.session.as_deref(), agent.resumes, factory.record("A").attempts), (Some("s-1"), 1, 1));
    // Origin: P - a dead session was resumed 10 of 10 times.
    factory.see("a-impl.2", over(1, ExitReason::Exited, Some("s-1"), ""));
    assert_eq!(told(&factory.tick_told()), ["adopt a-impl.2", "fail a-impl.2 agent"]);
    factory.later(3600);
    assert_eq!(told(&factory.tick_told()), ["start a-impl.3", "writeback A started"]);
    assert_eq!(factory.agent("a-impl").session, None);
}

// Origin: midtown#2330 - the session was gone, the agent stayed in the running set, and every restart crashed.
// covers: V13 F20 D41
#[test]
fn a_session_that_is_gone_is_forgotten_and_the_next_attempt_is_fresh_after_the_backoff_before() {
    let mut factory = Factory::with("[attempts]\njitter = 0.0", &["A"]).running("a-impl.1");
    factory.see("a-impl.1", over(1, ExitReason::Exited, Some("s-1"), ""));
    factory.tick_told();
    let due = factory.now.after(Duration::from_secs(300));
    factory.later(10);
    factory.see(
        "a-impl.2",
        over(1, ExitReason::Exited, Some("s-1"), "No conversation found with session ID: s-1"),
    );
    let plan = factory.tick_told();
    assert_eq!(told(&plan), ["adopt a-impl.2", "fail a-impl.2 session_gone"]);
    assert_eq!(plan.held[0].until, Some(due));
    let agent = factory.agent("a-impl");
    assert_eq!((agent.state, agent.session.clone(), agent.handle.clone()), (AgentPhase::Idle, None, None));
    assert_eq!(agent.stopped_at, Some(factory.now.at));
    assert_eq!((factory.record("A").attempts, factory.registry.counters.sessions_not_found), (1, 1));
    for _ in 0..1000 {
        assert!(factory.tick_told().is_empty());
    }
    factory.later(300);
    let plan = factory.tick_told();
    assert_eq!(told(&plan), ["start a-impl.3", "writeback A started"]);
}

// Origin: omnigent#6270 - the same text in a run that resumed nothing says nothing about a session.
// covers: V12
#[test]
fn only_a_resume_can_lose_its_session() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    factory.see("a-impl.1", over(1, ExitReason::Exited, None, "No conversation found"));
    assert_eq!(told(&factory.tick_told()), ["fail a-impl.1 agent"]);
}

// covers: V20
#[test]
fn an_agent_that_asks_for_a_person_is_parked_uncharged_even_at_code_zero() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    let reported = Reported { session: None, park: Some("which database?".into()), ..Reported::default() };
    let exit = exit(0, ExitReason::Exited, reported.clone());
    factory.see(
        "a-impl.1",
        RunObservation::Ended(Box::new(Ended { exit: Some(exit), reported, ..Ended::default() })),
    );
    let plan = factory.tick_told();
    assert_eq!(told(&plan), ["fail a-impl.1 needs_input", "park A needs_input", "writeback A parked"]);
    assert_eq!(factory.record("A").attempts, 0);
    assert_eq!(
        factory.record("A").last.as_ref().unwrap().because,
        "the agent asks for a person: which database?"
    );
}

// covers: V22
#[test]
fn a_launcher_told_to_stop_by_somebody_else_costs_nothing_and_waits_the_base() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    factory.see("a-impl.1", over(143, ExitReason::Stopped, Some("s-1"), ""));
    let plan = factory.tick_told();
    assert_eq!(told(&plan), ["fail a-impl.1 killed"]);
    assert_eq!(plan.held[0].until, Some(factory.now.after(Duration::from_secs(300))));
    factory.later(300);
    assert_eq!(told(&factory.tick_told()), ["resume a-impl.2"]);
    assert_eq!(factory.record("A").attempts, 0);
}

// Origin: dot-agent-deck#600 - the second role could not start, and the first was orphaned.
// covers: V09 V10 X03 X04 I14 F13
#[test]
fn a_start_that_cannot_launch_fails_its_dispatch_and_hands_the_others_off() {
    let mut factory = Factory::crew("", &["A"]);
    factory.tick_told();
    factory.see("a-impl.1", alive());
    factory.see("a-rev.1", over(127, ExitReason::Launch, None, ""));
    let plan = factory.tick_told();
    assert_eq!(told(&plan), ["adopt a-impl.1", "adopt a-rev.1", "fail a-rev.1 launch", "stop a-impl.1"]);
    assert_eq!(factory.record("A").attempts, 1);
    assert_eq!(factory.registry.counters.dispatch_failure_reaper_handoffs, 1);
    assert_eq!(held(&plan), [("A", HoldReason::HandoffPending)]);
}

// covers: D30 D32 D35 D42 I13
#[test]
fn a_handoff_is_ended_from_the_next_tick_on_and_cleared_when_zero_survivors_were_seen() {
    let mut factory = Factory::crew("[fleet]\nstart_grace = \"90s\"", &["A"]).running("a-impl.1");
    factory.remove("A");
    factory.tick_told();
    assert_eq!(told(&factory.tick_gone()), ["stop a-impl.1", "stop a-rev.1"]);
    assert_eq!(told(&factory.tick_told()), ["reap a-impl.1", "fence a-rev.1"]);
    factory.see("a-impl.1", RunObservation::Ended(Box::default()));
    factory.see("a-rev.1", RunObservation::Orphaned { claim: None });
    assert_eq!(told(&factory.tick_told()), ["forget a-impl.1", "reap a-rev.1"]);
    factory.see("a-rev.1", RunObservation::Ended(Box::default()));
    assert_eq!(told(&factory.tick_told()), ["forget a-rev.1", "forget A"]);
    assert_eq!(factory.registry.counters.handoffs_reaped, 2);
    assert!(factory.registry.items.is_empty() && factory.registry.agents.is_empty());
    assert_eq!(factory.registry.names.last_n.len(), 2, "numbers are never used again");
}

// covers: D33 D34
#[test]
fn no_age_clears_a_handoff_but_a_reboot_does() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    factory.remove("A");
    factory.tick_told();
    factory.tick_gone();
    factory.see("a-impl.1", RunObservation::Unknown("hidden".into()));
    factory.later(1_000_000);
    assert!(factory.tick_told().is_empty());
    assert_eq!(factory.registry.handoffs.len(), 1);
    factory.reboot();
    factory.see("a-impl.1", RunObservation::Rebooted(Box::default()));
    assert_eq!(told(&factory.tick_told()), ["forget a-impl.1", "forget A"]);
}

#[test]
fn two_roles_that_fail_charge_twice_and_the_one_that_ended_well_is_none_of_them() {
    let mut factory = Factory::crew("[attempts]\nmax = 5", &["A"]).running("a-impl.1");
    factory.see("a-impl.1", failed());
    factory.see("a-rev.1", failed());
    factory.tick_told();
    assert_eq!(factory.record("A").attempts, 2);
    factory.later(100_000);
    factory.tick_told();
    factory.see("a-impl.2", succeeded());
    factory.see("a-rev.2", failed());
    factory.tick_told();
    assert_eq!(factory.record("A").attempts, 3);
}

// A person lowered backoff_max, and was told that the clock was wrong.
#[test]
fn a_shorter_longest_wait_is_waited_from_now_on() {
    let mut factory = Factory::with("[attempts]\njitter = 0", &["A"]).running("a-impl.1");
    factory.see("a-impl.1", failed());
    factory.tick_told();
    factory.config.attempts.backoff_max = Duration::from_secs(60);
    let plan = factory.tick_told();
    assert!(plan.errors[0].contains("or backoff_max is shorter than it was"), "{:?}", plan.errors);
    factory.later(60);
    assert_eq!(told(&factory.tick_told())[0], "start a-impl.2");
}

#[test]
fn a_start_is_announced_once_and_what_goes_on_in_its_dispatch_is_not() {
    let mut factory = Factory::with("[attempts]\nresumes_max = 3", &["A"]).running("a-impl.1");
    let mut notes = 0;
    for n in 1..=2 {
        factory.see(&format!("a-impl.{n}"), over(1, ExitReason::Exited, Some("s-1"), ""));
        let lines = told(&factory.tick_told());
        assert!(lines.contains(&format!("resume a-impl.{}", n + 1)), "{lines:?}");
        notes += lines.iter().filter(|line| line.starts_with("writeback")).count();
    }
    assert_eq!((notes, factory.record("A").dispatch), (0, 1));
}

// ---------------------------------------------------------------------------------------------
// Hooks

const HOOKS: &str = r#"
    [hooks]
    before_run = ["prepare"]
    after_run = ["save"]
    timeout = "10m"
"#;

/// A launcher whose agent has ended just now, and that runs the hook after it.
fn in_hook(factory: &Factory) -> RunObservation {
    let hook = factory.config.hooks.each(factory.config.fleet.grace);
    let mut exit = exit(0, ExitReason::Exited, Reported::default());
    exit.ended = factory.now.clone();
    exit.after_run_ms = Some(hook.as_millis() as u64);
    sweeping(Some(launcher()), exit)
}

// A hook before the agent may take ten minutes, and then the agent has its whole hour: a launcher that does as it was
// told would be taken for stuck.
#[test]
fn the_time_of_hooks_is_not_taken_from_the_deadline() {
    let mut factory = Factory::with(HOOKS, &["A"]).running("a-impl.1");
    assert_eq!(factory.agent("a-impl").spec.latest_ms(), Some((3600 + 600 + 15) * 1000));
    factory.later(3600 + 600 + 15);
    assert!(factory.tick_told().is_empty());
    factory.later(13);
    let because = "its launcher did not end it at its deadline";
    let plan = factory.tick_told();
    assert_eq!(told(&plan), ["stop a-impl.1", "fail a-impl.1 deadline"]);
    assert!(plan.decisions().all(|(_, decision)| decision.because == because));
}

#[test]
fn a_launcher_that_runs_a_hook_after_its_agent_has_the_time_for_it() {
    let mut factory = Factory::with(HOOKS, &["A"]).running("a-impl.1");
    factory.see("a-impl.1", in_hook(&factory));
    factory.later(12 + 615);
    assert!(factory.tick_told().is_empty());
    factory.later(1);
    assert_eq!(told(&factory.tick_told()), ["reap a-impl.1"]);
}

// Each tick told the launcher of a hand-off to stop, and the second such word ends its hook.
#[test]
fn the_hook_of_a_run_that_must_end_has_its_time_too() {
    let mut factory = Factory::with(HOOKS, &["A"]).running("a-impl.1");
    factory.remove("A");
    factory.tick_told();
    assert_eq!(told(&factory.tick_gone()), ["stop a-impl.1"]);
    assert_eq!(told(&factory.tick_told()), ["reap a-impl.1"], "its agent is told to end");
    factory.see("a-impl.1", in_hook(&factory));
    factory.later(12 + 615);
    assert!(factory.tick_told().is_empty());
    factory.later(1);
    assert_eq!(told(&factory.tick_told()), ["reap a-impl.1"], "its launcher is stuck");
}

// A fleet that judged by its own clock was more patient than the decision that it was given.
#[test]
fn reap_spares_a_hook_only_until_its_launcher_is_late() {
    let spares = |plan: &Plan| {
        let reaps = plan.decisions().find_map(|(_, decision)| match &decision.action {
            Action::Reap(reap) => Some(reap.spares_hook),
            _ => None,
        });
        reaps.unwrap()
    };
    let mut factory = Factory::with(HOOKS, &["A"]).running("a-impl.1");
    factory.remove("A");
    factory.tick_told();
    factory.tick_gone();
    assert!(spares(&factory.tick_told()), "its launcher is told to stop, and comes to its hook");
    factory.see("a-impl.1", in_hook(&factory));
    factory.later(12 + 615 + 1);
    assert!(!spares(&factory.tick_told()), "its launcher is stuck");
}

#[test]
fn queued_run_outlives_its_start_grace_and_is_not_fenced() {
    let mut factory = Factory::new(&["A"]);
    factory.tick_told();
    for _ in 0..5 {
        factory.see("a-impl.1", RunObservation::Queued);
        factory.later(3600);
        assert!(factory.tick_told().is_empty());
    }
    assert_eq!(factory.agent("a-impl").state, AgentPhase::Starting);
    // The grace begins when the fleet takes the run out of its queue.
    factory.see("a-impl.1", RunObservation::Unclaimed);
    assert!(factory.tick_told().is_empty());
    factory.later(3600);
    assert_eq!(told(&factory.tick()), ["fence a-impl.1"]);
}

#[test]
fn queued_hand_off_is_reaped() {
    let mut factory = Factory::new(&["A"]);
    factory.tick_told();
    factory.see("a-impl.1", RunObservation::Queued);
    factory.remove("A");
    factory.tick_told();
    assert!(factory.tick_gone().decisions().any(|(_, one)| matches!(one.action, Action::Stop { .. })));
    assert_eq!(told(&factory.tick()), ["reap a-impl.1"]);
}

#[test]
fn run_on_another_host_is_neither_ended_nor_charged() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    factory.see("a-impl.1", RunObservation::Unknown("its launcher runs on another host".into()));
    factory.later(7 * 24 * 3600);
    let plan = factory.tick_told();
    assert!(plan.is_empty(), "{:?}", told(&plan));
    assert_eq!(held(&plan), [("A", HoldReason::FleetUnknown)]);
    assert_eq!(factory.agent("a-impl").state, AgentPhase::Running);
    assert_eq!(factory.record("A").attempts, 0);
}
