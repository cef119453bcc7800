//! What a person's orders mean for what follows.

use super::super::can_go_on;
use super::*;
use crate::model::AgentName;
use crate::registry::ItemPhase;

impl Factory {
    /// As the command does: every session that can go on does.
    fn retry(&mut self, fresh: bool, message: Option<&str>) {
        let a = id("A");
        let answered = message.is_some() || self.registry.items.get(&a).is_some_and(ItemRecord::is_answered);
        let sessions = self
            .registry
            .agents_of(&a)
            .filter(|(_, agent)| !fresh && can_go_on(&self.config, agent, answered));
        let go_on: Vec<AgentName> = sessions.map(|(name, _)| name.clone()).collect();
        self.order(Action::Retry { item: a, go_on, message: message.map(Into::into) });
    }
}

/// The prompt of the only start or resume of a plan.
fn prompt(plan: &Plan) -> String {
    let launches = plan.decisions().filter_map(|(_, decision)| match &decision.action {
        Action::Start(launch) | Action::Resume(launch) => Some(launch.prompt.clone()),
        _ => None,
    });
    let prompts: Vec<_> = launches.collect();
    assert_eq!(prompts.len(), 1, "{plan:?}");
    prompts.into_iter().next().unwrap()
}

/// Asked for a person in a session of its own.
fn asked() -> Factory {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    let reported =
        Reported { session: Some("s-1".into()), park: Some("which table?".into()), ..Reported::default() };
    factory.see(
        "a-impl.1",
        RunObservation::Ended(Box::new(Ended {
            claim: Some(launcher()),
            exit: Some(exit(0, ExitReason::Exited, reported.clone())),
            survivors: Vec::new(),
            reported,
            output: Output::default(),
            after_run: None,
        })),
    );
    factory.tick_told();
    assert_eq!(factory.record("A").state, ItemPhase::Parked);
    factory
}

// covers: P17
#[test]
fn a_retry_goes_on_with_the_session_and_tells_it_the_answer_first() {
    let mut factory = asked();
    factory.retry(false, Some("the orders table"));
    let plan = factory.tick_told();
    assert_eq!(told(&plan), ["resume a-impl.2"]);
    let want = "You asked: which table?\nThe answer: the orders table\n\nGo on with the task";
    assert!(prompt(&plan).starts_with(want), "{}", prompt(&plan));
    assert!(!factory.record("A").messages[0].heard, "nobody has heard it yet");
    factory.see("a-impl.2", alive());
    factory.tick_told();
    assert!(factory.record("A").messages[0].heard);
}

#[test]
fn a_fresh_retry_forgets_the_session_and_its_prompt_holds_the_message() {
    let mut factory = asked();
    factory.retry(true, Some("the orders table"));
    assert_eq!(factory.agent("a-impl").session, None);
    let plan = factory.tick_told();
    assert_eq!(told(&plan), ["start a-impl.2", "writeback A started"]);
    let want = "# From the person in charge\n\nYou asked: which table?\nThe answer: the orders table\n";
    assert!(prompt(&plan).ends_with(want), "{}", prompt(&plan));
}

#[test]
fn a_message_is_told_again_where_the_run_that_was_to_hear_it_never_ran() {
    let mut factory = asked();
    factory.retry(true, Some("the orders table"));
    factory.tick_told();
    factory.see("a-impl.2", RunObservation::Fenced);
    let plan = factory.tick_told();
    assert_eq!(told(&plan), ["fail a-impl.2 infra", "start a-impl.3", "writeback A started"]);
    assert!(prompt(&plan).contains("the orders table"));
}

#[test]
fn a_message_survives_an_edit_of_its_item_and_an_edit_starts_anew() {
    let mut factory = asked();
    factory.retry(false, Some("the orders table"));
    factory.edit("A", |item| item.body = "more".into());
    let plan = factory.tick_told();
    assert_eq!(told(&plan), ["start a-impl.2", "writeback A started"]);
    assert!(prompt(&plan).contains("the orders table"));
}

// covers: I23
#[test]
fn a_retry_gives_all_attempts_back_and_takes_the_wait_away() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    factory.see("a-impl.1", failed());
    factory.tick_told();
    assert_eq!(held(&factory.plan()), [("A", HoldReason::Backoff)]);
    factory.retry(false, None);
    assert_eq!(factory.record("A").attempts, 0);
    assert_eq!(told(&factory.tick_told()), ["start a-impl.2", "writeback A started"]);
}

// covers: I23
#[test]
fn a_retry_brings_back_what_a_person_parked() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    factory.see("a-impl.1", failed());
    factory.tick_told();
    factory.order(Action::Park { item: id("A"), class: None, by_person: true });
    factory.later(7200);
    assert_eq!(held(&factory.tick_told()), [("A", HoldReason::Parked)]);
    factory.retry(false, None);
    assert_eq!(told(&factory.tick_told())[0], "start a-impl.2");
    assert_eq!(factory.record("A").parked_by, None);
}

// covers: I12
#[test]
fn nothing_follows_the_run_of_an_item_that_a_person_parked_meanwhile() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    factory.order(Action::Park { item: id("A"), class: None, by_person: true });
    assert!(factory.tick_told().decisions().all(|(_, decision)| decision.action.run().is_none()));
    factory.see("a-impl.1", over(1, ExitReason::Exited, Some("s-1"), "boom"));
    let plan = factory.tick_told();
    assert_eq!(told(&plan), ["fail a-impl.1 agent", "writeback A parked"]);
    assert_eq!(held(&plan), [("A", HoldReason::Parked)]);
    factory.later(7200);
    assert!(factory.tick_told().is_empty());
    assert_eq!(factory.record("A").attempts, 1);
}

#[test]
fn a_required_note_is_not_overtaken_by_that_of_a_person_who_parks() {
    let mut factory = Factory::with("[writeback]\nstarted = \"required\"", &["A"]);
    // The tick that started it died before it could say so.
    factory.tick();
    factory.order(Action::Park { item: id("A"), class: None, by_person: true });
    assert!(factory.tick_told().is_empty());
    factory.see("a-impl.1", failed());
    assert_eq!(told(&factory.tick_told()), ["adopt a-impl.1", "writeback A started"]);
    assert_eq!(told(&factory.tick_told()), ["fail a-impl.1 agent", "writeback A parked"]);
}

#[test]
fn a_pause_starts_and_resumes_nothing_and_ends_by_itself() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    let until = Some(factory.now.after(Duration::from_secs(600)));
    factory.order(Action::Pause { until });
    factory.see("a-impl.1", over(1, ExitReason::Exited, Some("s-1"), "boom"));
    let plan = factory.tick_told();
    assert_eq!(told(&plan), ["fail a-impl.1 agent"], "what runs is judged");
    assert_eq!(held(&plan), [("A", HoldReason::Paused)]);
    assert_eq!((plan.held[0].until, plan.held[0].because.as_str()), (until, "a person said so"));
    factory.later(599);
    assert!(factory.tick_told().is_empty());
    factory.later(1);
    assert_eq!(told(&factory.tick_told()), ["unpause ", "resume a-impl.2"]);
    assert_eq!(factory.registry.paused, None);
}

// A clock that was ten years ahead for a moment ended the pause of a night, and paid agents were started.
// covers: V60
#[test]
fn no_clock_that_is_set_ends_a_pause_and_none_draws_it_out() {
    const YEAR: i64 = 365 * 24 * 60 * 60;
    let mut factory = Factory::new(&["A"]);
    let until = Some(factory.now.after(Duration::from_secs(3600)));
    factory.order(Action::Pause { until });
    let right = factory.now.clone();
    for leap in [10 * YEAR, -YEAR, 3601, 0] {
        factory.now.at = right.at.checked_add(jiff::SignedDuration::from_secs(leap)).unwrap();
        assert!(factory.tick_told().is_empty(), "{leap}");
    }
    // It sleeps for most of it.
    factory.now.slept_ms += 3_590_000;
    factory.later(9);
    assert!(factory.tick_told().is_empty());
    factory.now.at = right.at.checked_add(jiff::SignedDuration::from_secs(-YEAR)).unwrap();
    factory.later(1);
    assert_eq!(told(&factory.tick_told())[..2], ["unpause ", "start a-impl.1"]);
}

// covers: V60
#[test]
fn in_another_boot_a_pause_ends_by_the_clock_and_lasts_no_longer_than_it_was_to() {
    let mut factory = Factory::new(&["A"]);
    let until = Some(factory.now.after(Duration::from_secs(3600)));
    factory.order(Action::Pause { until });
    factory.reboot();
    assert!(factory.tick_told().is_empty());
    factory.now.at = factory.now.at.checked_sub(jiff::SignedDuration::from_hours(90_000)).unwrap();
    assert_eq!(told(&factory.tick_told()), ["pause "], "it begins anew");
    assert_eq!(factory.registry.paused.as_ref().unwrap().because, "a person said so");
    factory.later(3599);
    assert!(factory.tick_told().is_empty());
    factory.later(1);
    assert_eq!(told(&factory.tick_told())[..2], ["unpause ", "start a-impl.1"]);
}

#[test]
fn a_pause_without_an_end_lasts_until_a_person_ends_it() {
    let mut factory = Factory::new(&["A"]);
    factory.order(Action::Pause { until: None });
    factory.later(1_000_000);
    assert_eq!(held(&factory.tick_told()), [("A", HoldReason::Paused)]);
    factory.order(Action::Unpause);
    assert_eq!(told(&factory.tick_told())[0], "start a-impl.1");
}

// covers: V31
#[test]
fn a_session_that_was_resumed_often_enough_is_not_resumed_by_a_retry_either() {
    let mut factory = asked();
    factory.retry(false, None);
    factory.tick_told();
    let reported =
        Reported { session: Some("s-1".into()), park: Some("which column?".into()), ..Reported::default() };
    let ended = Ended {
        claim: Some(launcher()),
        exit: Some(exit(0, ExitReason::Exited, reported.clone())),
        reported,
        ..Default::default()
    };
    factory.see("a-impl.2", RunObservation::Ended(Box::new(ended)));
    factory.tick_told();
    factory.tick_told();
    assert_eq!(factory.agent("a-impl").resumes, 1);
    factory.retry(false, None);
    assert_eq!(told(&factory.tick_told())[0], "start a-impl.3");
}

// covers: P17
#[test]
fn answer_resumes_a_session_that_failures_have_used_up() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    factory.see("a-impl.1", over(1, ExitReason::Exited, Some("s-1"), "boom"));
    assert_eq!(told(&factory.tick_told()), ["fail a-impl.1 agent", "resume a-impl.2"]);
    let reported =
        Reported { session: Some("s-1".into()), park: Some("which column?".into()), ..Reported::default() };
    let exit = Some(exit(0, ExitReason::Exited, reported.clone()));
    let ended = Ended { claim: Some(launcher()), exit, reported, ..Ended::default() };
    factory.see("a-impl.2", RunObservation::Ended(Box::new(ended)));
    factory.tick_told();
    assert_eq!(factory.agent("a-impl").resumes, factory.config.attempts.resumes_max);
    factory.retry(false, Some("the id"));
    assert_eq!(told(&factory.tick_told())[0], "resume a-impl.3");
}

// covers: V03
#[test]
fn only_the_roles_that_are_not_done_are_tried_again() {
    let mut factory = Factory::crew("[attempts]\nmax = 1", &["A"]).running("a-impl.1");
    factory.see("a-impl.1", succeeded());
    factory.see("a-rev.1", failed());
    factory.tick_told();
    assert_eq!(factory.record("A").state, ItemPhase::Parked);
    factory.retry(false, None);
    assert_eq!(told(&factory.tick_told()), ["start a-rev.2", "writeback A started"]);
}

#[test]
fn a_retry_of_what_is_done_does_all_of_it_again() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    factory.see("a-impl.1", over(0, ExitReason::Exited, Some("s-1"), ""));
    factory.tick_told();
    assert_eq!(factory.record("A").state, ItemPhase::Done);
    factory.order(Action::Retry { item: id("A"), go_on: Vec::new(), message: None });
    assert_eq!(told(&factory.tick_told()), ["start a-impl.2", "writeback A started"]);
}

#[test]
fn what_a_person_parked_and_then_ended_well_is_done_at_its_retry() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    factory.order(Action::Park { item: id("A"), class: None, by_person: true });
    factory.see("a-impl.1", succeeded());
    factory.tick_told();
    assert_eq!(factory.record("A").state, ItemPhase::Parked);
    factory.retry(false, None);
    assert!(!told(&factory.tick_told()).iter().any(|line| line.starts_with("start")));
    assert_eq!(factory.record("A").state, ItemPhase::Done);
}

fn judged(factory: &Factory) -> Plan {
    let request = Request { judge_only: true, ..Request::default() };
    decide(&factory.config, &factory.registry, &factory.world(), &request)
}

// covers: P16
#[test]
fn judgement_takes_good_end_and_starts_nothing() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    let mut other = item("B");
    other.origin = "B.md".to_owned();
    if let Observed::Known(items) = &mut factory.items {
        items.push(other);
    }
    factory.see("a-impl.1", succeeded());
    assert_eq!(told(&judged(&factory)), ["done a-impl.1", "done A"]);
}

// covers: P16
#[test]
fn judgement_charges_failure_and_resumes_nothing() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    factory.see("a-impl.1", over(1, ExitReason::Exited, Some("s-1"), "boom"));
    assert_eq!(told(&judged(&factory)), ["fail a-impl.1 agent"]);
}

// covers: P16
#[test]
fn judgement_looks_at_the_item_of_the_order_alone() {
    let mut factory = Factory::new(&["A", "B"]).running("a-impl.1");
    factory.see("b-impl.1", succeeded());
    factory.see("a-impl.1", succeeded());
    let request = Request { judge_only: true, item: Some(id("B")), ..Request::default() };
    let plan = decide(&factory.config, &factory.registry, &factory.world(), &request);
    assert_eq!(told(&plan), ["adopt b-impl.1", "done b-impl.1", "done B"]);
}

// covers: P16
#[test]
fn judgement_ends_what_a_dead_launcher_left() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    factory.see("a-impl.1", RunObservation::Orphaned { claim: Some(launcher()) });
    assert_eq!(told(&judged(&factory)), ["reap a-impl.1"]);
}

// covers: P22
#[test]
fn done_item_is_parked_by_nobody() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    factory.see("a-impl.1", succeeded());
    factory.tick_told();
    assert_eq!(factory.record("A").state, ItemPhase::Done);
    for by_person in [true, false] {
        factory.order(Action::Park { item: id("A"), class: None, by_person });
        assert_eq!((factory.record("A").state, factory.record("A").parked_by), (ItemPhase::Done, None));
    }
}
