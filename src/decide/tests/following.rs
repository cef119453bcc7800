//! Items: edited, closed, gone, back, parked, done.

use super::*;
use crate::model::{ReapOutcome, Reaped, Survivor, UnreadableItem};
use crate::registry::{ItemPhase, ParkedBy};

fn parked(mut factory: Factory) -> Factory {
    for n in 1..=3 {
        factory.tick_told();
        factory.see(&format!("a-impl.{n}"), failed());
        factory.tick_told();
        factory.later(7200);
    }
    assert_eq!(factory.record("A").state, ItemPhase::Parked);
    factory
}

fn done() -> Factory {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    factory.see("a-impl.1", succeeded());
    factory.tick_told();
    factory
}

// covers: I08
#[test]
fn an_edit_brings_back_what_a_rule_parked_with_all_its_attempts() {
    let mut factory = parked(Factory::new(&["A"]));
    factory.edit("A", |item| item.labels.push("retry".into()));
    assert_eq!(told(&factory.tick_told()), ["start a-impl.4", "writeback A started"]);
    assert_eq!(factory.record("A").attempts, 0);
}

// covers: I08
#[test]
fn our_own_notes_are_no_edit() {
    let mut factory = parked(Factory::new(&["A"]));
    factory.item("A").updated_at = Some(factory.now.at);
    assert!(factory.tick_told().is_empty());
}

// covers: I12
#[test]
fn an_edit_does_not_bring_back_what_a_person_parked() {
    let mut factory = parked(Factory::new(&["A"]));
    factory.registry.items.get_mut(&id("A")).unwrap().parked_by = Some(ParkedBy::Person);
    factory.edit("A", |item| item.title.push('!'));
    assert!(factory.tick_told().is_empty());
    // Not even leaving the scope and coming back does.
    factory.config.scope.labels = vec!["factory".into()];
    for _ in 0..3 {
        assert!(factory.tick_told().is_empty());
    }
    factory.config.scope.labels.clear();
    assert_eq!(held(&factory.tick_told()), [("A", HoldReason::Parked)]);
}

// covers: I07
#[test]
fn an_edit_ends_a_backoff() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    factory.see("a-impl.1", failed());
    factory.tick_told();
    factory.edit("A", |item| item.priority = Some(1));
    assert_eq!(told(&factory.tick_told()), ["start a-impl.2", "writeback A started"]);
    assert_eq!(factory.record("A").attempts, 0);
}

// Origin: detent#193 - the work was done, the item still open, and it was dispatched again.
// covers: I10 F08
#[test]
fn finished_work_is_done_again_only_for_another_title_or_body() {
    let mut factory = done();
    factory.edit("A", |item| {
        item.labels.push("urgent".into());
        item.priority = Some(1);
    });
    assert!(factory.tick_told().is_empty());
    factory.edit("A", |item| item.body = "and now this".into());
    assert_eq!(told(&factory.tick_told()), ["start a-impl.2", "writeback A started"]);
}

// covers: I06 S23
#[test]
fn an_edit_while_it_runs_counts_when_the_run_ends() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    factory.edit("A", |item| item.body = "more".into());
    assert!(factory.tick_told().is_empty());
    factory.see("a-impl.1", over(1, ExitReason::Exited, Some("s-1"), ""));
    let plan = factory.tick_told();
    assert_eq!(told(&plan), ["fail a-impl.1 agent", "start a-impl.2", "writeback A started"]);
    assert_eq!(factory.record("A").attempts, 0);
    factory.see("a-impl.2", succeeded());
    factory.edit("A", |item| item.body = "even more".into());
    let plan = factory.tick_told();
    assert_eq!(
        told(&plan),
        ["adopt a-impl.2", "done a-impl.2", "done A", "start a-impl.3", "writeback A started"]
    );
}

// Origin: symphony#43 - what a read does not hold is not gone.
// covers: I03 F68
#[test]
fn an_item_is_gone_only_after_two_complete_reads_without_it() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    let items = factory.items.clone();
    factory.remove("A");
    assert!(factory.tick_told().is_empty());
    factory.items = items;
    assert!(factory.tick_told().is_empty());
    factory.remove("A");
    assert!(factory.tick_told().is_empty(), "the count began again");
    assert_eq!(told(&factory.tick_gone()), ["stop a-impl.1"]);
}

#[test]
fn a_checkout_under_way_does_not_make_finished_work_new() {
    let mut factory = done();
    let items = factory.items.clone();
    factory.remove("A");
    factory.tick_told();
    factory.items = items;
    assert!(factory.tick_told().is_empty());
    assert_eq!(factory.record("A").state, ItemPhase::Done);
}

// covers: I04 I13 S20
#[test]
fn a_closed_item_ends_its_runs_without_a_charge_and_reopened_it_is_new() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    factory.edit("A", |item| item.state = ItemState::Closed);
    factory.tick_told();
    assert_eq!(told(&factory.tick_gone()), ["stop a-impl.1"]);
    assert_eq!(factory.record("A").attempts, 0);
    factory.see("a-impl.1", RunObservation::Ended(Box::default()));
    assert_eq!(told(&factory.tick_told()), ["forget a-impl.1", "forget A"]);
    factory.edit("A", |item| item.state = ItemState::Open);
    assert_eq!(told(&factory.tick_told()), ["start a-impl.2", "writeback A started"]);
}

// covers: I15
#[test]
fn a_malformed_file_is_neither_present_nor_gone() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    factory.remove("A");
    factory.unreadable =
        vec![UnreadableItem { origin: "A.md".into(), id: None, why: "A.md:3: not TOML".into() }];
    for _ in 0..5 {
        let plan = factory.tick_told();
        assert!(plan.is_empty());
        assert_eq!(plan.errors, ["A.md:3: not TOML"]);
    }
}

// covers: D36
#[test]
fn a_role_that_was_removed_is_ended_where_it_runs_and_else_forgotten() {
    let mut factory = Factory::crew("", &["A"]).running("a-impl.1");
    factory.config.roles.remove(0);
    assert_eq!(told(&factory.tick_told()), ["stop a-impl.1"]);
    assert!(factory.registry.agents.keys().all(|name| name.0 != "a-impl"));
}

// covers: D38
#[test]
fn another_harness_makes_a_due_resume_a_fresh_start() {
    let mut factory = Factory::with("[tick]\nstarts_max = 1", &["A"]).running("a-impl.1");
    factory.see("a-impl.1", over(143, ExitReason::Stopped, Some("s-1"), ""));
    factory.tick_told();
    factory.config.roles[0].harness = "other".into();
    factory.later(300);
    // With its whole crew, in a dispatch of its own.
    assert_eq!(told(&factory.tick_told()), ["start a-impl.2", "writeback A started"]);
    assert_eq!(factory.agent("a-impl").session, None);
}

// covers: V02 V03 I01
#[test]
fn a_role_that_ended_well_is_kept_and_only_the_failed_one_runs_again() {
    let mut factory = Factory::crew("", &["A"]);
    factory.tick_told();
    factory.see("a-impl.1", succeeded());
    factory.see("a-rev.1", failed());
    factory.tick_told();
    factory.later(3600);
    assert_eq!(told(&factory.tick_told()), ["start a-rev.2", "writeback A started"]);
    factory.see("a-rev.2", succeeded());
    assert_eq!(told(&factory.tick_told()), ["adopt a-rev.2", "done a-rev.2", "done A", "writeback A done"]);
}

// covers: V32
#[test]
fn parking_by_a_rule_ends_the_other_roles() {
    let mut factory = Factory::crew("[attempts]\nmax = 1", &["A"]).running("a-impl.1");
    factory.see("a-impl.1", alive());
    factory.see("a-rev.1", failed());
    let plan = factory.tick_told();
    assert_eq!(
        told(&plan),
        ["adopt a-rev.1", "fail a-rev.1 agent", "park A agent", "stop a-impl.1", "writeback A parked"]
    );
}

/// The tick that dispatched died before it could say `started`.
// Found by the simulator: the same tick parked the item, ended its healthy role and gave it a new life.
#[test]
fn an_edit_while_it_runs_keeps_a_spent_item_from_being_parked_for_nothing() {
    let mut factory = Factory::crew("[attempts]\nmax = 1", &["A"]).running("a-impl.1");
    factory.edit("A", |item| item.body = "more".into());
    factory.see("a-rev.1", failed());
    assert_eq!(told(&factory.tick_told()), ["adopt a-rev.1", "fail a-rev.1 agent"]);
    assert!(factory.tick_told().is_empty());
    factory.see("a-impl.1", failed());
    let plan = factory.tick_told();
    assert_eq!(
        told(&plan),
        ["fail a-impl.1 agent", "start a-impl.2", "start a-rev.2", "writeback A started"]
    );
    assert_eq!(factory.record("A").attempts, 0);
}

fn untold(mode: &str) -> Factory {
    let mut factory = Factory::crew(&format!("[writeback]\nstarted = \"{mode}\""), &["A"]);
    factory.tick();
    factory.see("a-impl.1", succeeded());
    factory.see("a-rev.1", alive());
    factory
}

// covers: X07
#[test]
fn a_required_note_that_was_never_tried_comes_before_any_verdict() {
    let mut factory = untold("required");
    assert_eq!(told(&factory.tick_told()), ["adopt a-impl.1", "adopt a-rev.1", "writeback A started"]);
    assert_eq!(told(&factory.tick_told()), ["done a-impl.1"]);
}

// Found by the simulator: a source that could not be read stood for a tracker that had been told.
// covers: X07
#[test]
fn a_required_note_comes_before_any_verdict_however_long_its_source_is_away() {
    let mut factory = untold("required");
    let items = std::mem::replace(&mut factory.items, Observed::broken("away"));
    assert_eq!(told(&factory.tick_told()), ["adopt a-impl.1", "adopt a-rev.1"]);
    factory.items = items;
    assert_eq!(told(&factory.tick_told()), ["writeback A started"]);
    assert_eq!(told(&factory.tick_told()), ["done a-impl.1"]);
}

// Origin: pear#248, pear#264 - the dispatch failed after the spawn, and the agents lived on beside their successors.
// covers: V11 X06 F27
#[test]
fn a_required_note_that_fails_hands_every_run_off_and_keeps_none() {
    let mut factory = untold("required");
    factory.tick_untold();
    assert_eq!(factory.registry.handoffs.len(), 2);
    assert_eq!(factory.record("A").attempts, 1);
    assert!(factory.registry.agents.values().all(|agent| !agent.succeeded && agent.run.is_none()));
    assert_eq!(factory.record("A").last.as_ref().unwrap().class, Some(FailureClass::Writeback));
    assert_eq!(told(&factory.tick_told()), ["forget a-impl.1", "reap a-rev.1"]);
}

// covers: I21
#[test]
fn a_best_effort_note_is_dropped_after_five_tries_and_fails_nothing() {
    let mut factory = untold("best-effort");
    for _ in 0..5 {
        factory.tick_untold();
        factory.see("a-rev.1", alive());
    }
    assert!(factory.tick().is_empty());
    assert!(factory.registry.handoffs.is_empty());
    assert!(factory.record("A").outbox.tracker_note.notified.as_ref().unwrap().dropped);
}

/// An item that is done, and whose tracker could not be told.
fn done_and_untold(mode: &str) -> Factory {
    let mut factory = Factory::with(&format!("[writeback]\ndone = \"{mode}\""), &["A"]).running("a-impl.1");
    factory.see("a-impl.1", succeeded());
    factory.tick_untold();
    factory
}

fn pause(factory: &mut Factory) {
    factory.order(Action::Pause { until: None });
}

// covers: I21
#[test]
fn note_that_is_owed_survives_an_edit_of_its_item() {
    for mode in ["best-effort", "required"] {
        let mut factory = done_and_untold(mode);
        let owed = factory.record("A").outbox.tracker_note.clone();
        assert_eq!((owed.tries, owed.last_error.as_deref()), (1, Some("no space left")));
        pause(&mut factory);
        factory.edit("A", |item| item.body = "more".into());
        let plan = factory.tick_told();
        assert_eq!(factory.record("A").state, ItemPhase::Waiting);
        assert_eq!(told(&plan), ["writeback A done"], "{mode}");
        assert_eq!(factory.record("A").outbox.tracker_note.wanted, None);
        assert!(factory.tick_told().is_empty());
    }
}

#[test]
fn note_is_owed_from_when_its_tracker_can_not_be_told() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    pause(&mut factory);
    factory.see("a-impl.1", succeeded());
    let items = std::mem::replace(&mut factory.items, Observed::broken("away"));
    assert_eq!(told(&factory.tick_told()), ["done a-impl.1", "done A"]);
    factory.items = items;
    factory.edit("A", |item| item.body = "more".into());
    assert_eq!(told(&factory.tick_told()), ["writeback A done"]);
}

#[test]
fn next_dispatch_replaces_the_note_that_is_owed() {
    let mut factory = done_and_untold("required");
    factory.edit("A", |item| item.body = "more".into());
    assert_eq!(told(&factory.tick_told()), ["start a-impl.2", "writeback A started"]);
    factory.see("a-impl.2", alive());
    assert_eq!(told(&factory.tick_told()), ["adopt a-impl.2"]);
}

// covers: I22
#[test]
fn a_due_time_that_no_backoff_can_have_set_is_clamped_and_told() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    factory.see("a-impl.1", failed());
    factory.tick_told();
    factory.now.at = factory.now.at.checked_sub(jiff::SignedDuration::from_hours(24 * 365)).unwrap();
    let plan = factory.tick_told();
    assert_eq!(plan.errors.len(), 1);
    assert_eq!(factory.record("A").due_at, Some(factory.now.after(Duration::from_secs(3600))));
    assert!(factory.tick_told().errors.is_empty());
}

// Found by the simulator: processes that can't be ended made finished work forgotten, to be done again.
#[test]
fn finished_work_stays_finished_whatever_survives_of_a_removed_role() {
    let mut factory = Factory::crew("", &["A"]).running("a-rev.1");
    factory.see("a-impl.1", succeeded());
    factory.config.roles.pop();
    assert!(told(&factory.tick_told()).contains(&"done A".to_owned()));
    factory.see("a-rev.1", alive());
    let plan = factory.plan();
    assert_eq!(told(&plan), ["reap a-rev.1"]);
    let because = "operation not permitted".to_owned();
    let survivor = Survivor { pid: 7, start_ticks: 1, comm: "sleep".into(), because };
    let reaped = Reaped { survivors: vec![survivor], ..Reaped::default() };
    let (step, _) = plan.decisions().next().unwrap();
    let outcomes = [StepOutcome { step, outcome: ReapOutcome::Reaped(reaped).into() }];
    factory.registry.note(&plan, &outcomes, &factory.config.attempts, &factory.now);
    assert_eq!(factory.record("A").state, ItemPhase::Done);
    assert_eq!(factory.registry.counters.survivors, 1);
}

// Found by the simulator: the run of the old text ended well after the new life had begun, and counted for it.
#[test]
fn an_item_that_is_parked_and_edited_is_new_only_when_nothing_of_the_old_text_runs() {
    let mut factory = Factory::crew("", &["A"]).running("a-impl.1");
    factory.edit("A", |item| item.body = "more".into());
    let mut asks = over(0, ExitReason::Exited, None, "");
    if let RunObservation::Ended(ended) = &mut asks {
        ended.reported.park = Some("which database?".into());
        ended.exit.as_mut().unwrap().reported.park = ended.reported.park.clone();
    }
    factory.see("a-rev.1", asks);
    let plan = factory.tick_told();
    let lines = told(&plan);
    assert!(lines.contains(&"stop a-impl.1".to_owned()), "{lines:?}");
    assert_eq!(factory.record("A").state, ItemPhase::Parked);
    factory.see("a-impl.1", succeeded());
    assert_eq!(told(&factory.tick_told())[..2], ["forget a-impl.1", "start a-impl.2"]);
}

// Found by the simulator: one role was started alone with the new text, and the work of its crew passed for it.
#[test]
fn an_edit_seen_by_one_role_alone_still_counts_for_its_crew() {
    let mut factory = Factory::crew("", &["A"]).running("a-impl.1");
    factory.edit("A", |item| item.body = "more".into());
    factory.see(
        "a-rev.1",
        RunObservation::Refused(Refusal { because: "no lock".into(), duplicate: false, machine: false }),
    );
    assert_eq!(told(&factory.tick_told()), ["fail a-rev.1 infra", "start a-rev.2"]);
    // Taken back: one of them has seen it all the same.
    factory.edit("A", |item| item.body = String::new());
    factory.see("a-rev.2", succeeded());
    factory.see("a-impl.1", succeeded());
    let lines = told(&factory.tick_told());
    assert!(
        lines.ends_with(&["start a-impl.2", "start a-rev.3", "writeback A started"].map(String::from)),
        "{lines:?}"
    );
}

// Found by the simulator: the item stayed active for ever, waiting for a session of a role that was gone.
// covers: D37
#[test]
fn a_removed_role_takes_what_its_item_waited_for_with_it() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    factory.see("a-impl.1", over(1, ExitReason::Exited, Some("s-1"), ""));
    factory.items = Observed::broken("away");
    assert_eq!(told(&factory.tick_told()), ["fail a-impl.1 agent"]);
    factory.config.roles[0].name = "another".into();
    factory.config.roles[0].suffix = "other".into();
    factory.tick_told();
    assert!(factory.registry.agents.is_empty());
    assert_eq!(factory.record("A").state, ItemPhase::Waiting);
}

// covers: V11
#[test]
fn a_note_that_became_required_and_fails_keeps_no_role_of_its_dispatch() {
    let mut factory = untold("off");
    assert_eq!(told(&factory.tick()), ["adopt a-impl.1", "done a-impl.1", "adopt a-rev.1"]);
    factory.config.writeback.started = crate::config::WritebackMode::Required;
    let plan = factory.tick_untold();
    assert_eq!(told(&plan), ["writeback A started"]);
    assert!(!factory.agent("a-impl").succeeded, "nobody was told of the dispatch that it belongs to");
    assert_eq!(factory.registry.handoffs.len(), 1);
}

#[test]
fn a_new_blocker_or_priority_ends_a_backoff_as_any_edit_does() {
    for change in [
        (|item: &mut WorkItem| item.priority = Some(1)) as fn(&mut WorkItem),
        |item| item.blocked_by = vec!["B".into()],
        |item| item.labels = vec!["urgent".into()],
        |item| item.state = ItemState::Open,
    ] {
        let mut factory = Factory::new(&["A"]).running("a-impl.1");
        factory.see("a-impl.1", failed());
        factory.tick_told();
        let before = factory.item("A").hash.clone();
        factory.edit("A", change);
        let is_edit = factory.item("A").hash != before;
        factory.tick_told();
        assert_eq!(factory.record("A").attempts, u32::from(!is_edit));
    }
}

#[test]
fn an_item_in_backoff_that_left_the_scope_is_forgotten_and_comes_back_with_all_its_attempts() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    factory.see("a-impl.1", failed());
    factory.tick_told();
    factory.config.scope.labels = vec!["factory".into()];
    assert!(factory.tick_told().is_empty(), "once is not enough");
    assert_eq!(told(&factory.tick_gone()), ["forget A"]);
    factory.config.scope.labels.clear();
    assert_eq!(told(&factory.tick_told())[0], "start a-impl.2");
    assert_eq!(factory.record("A").attempts, 0);
}

#[test]
fn an_item_that_is_closed_while_processes_of_it_are_to_be_ended_is_kept_until_they_are() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    factory.remove("A");
    factory.tick_told();
    factory.tick_gone();
    for _ in 0..5 {
        let plan = factory.tick_told();
        assert!(!told(&plan).iter().any(|line| line == "forget A"), "{:?}", told(&plan));
    }
    assert!(factory.registry.items.contains_key(&id("A")));
    factory.see("a-impl.1", RunObservation::Ended(Box::default()));
    assert_eq!(told(&factory.tick_told()), ["forget a-impl.1", "forget A"]);
    assert!(factory.registry.names.items.contains_key(&id("A")), "its names are kept");
}

// A laptop slept for a day with its clock set back: neither a deadline nor a grace may come of it.
#[test]
fn no_age_is_told_by_the_wall_clock() {
    let mut factory = Factory::new(&["A", "B"]).running("a-impl.1");
    for days in [3650, -3650] {
        factory.now.at = factory.now.at.checked_add(jiff::SignedDuration::from_hours(24 * days)).unwrap();
        assert!(factory.tick_told().is_empty(), "one runs, the other has its grace to claim");
    }
}

// Found by the simulator: a retry resumed the session of a dispatch that its tracker had never heard of.
// covers: X07
#[test]
fn dispatch_that_could_not_be_announced_keeps_no_session() {
    let mut factory = Factory::with("[writeback]\nstarted = \"required\"", &["A"]);
    factory.tick();
    let reported = crate::model::Reported { session: Some("s-1".into()), ..Default::default() };
    factory.see("a-impl.1", alive_saying(Some(launcher()), reported));
    let plan = factory.tick();
    assert_eq!(factory.agent("a-impl").session.as_deref(), Some("s-1"));
    factory.fail_notes(&plan);
    assert!(!crate::decide::can_go_on(&factory.config, factory.agent("a-impl"), false));
}
