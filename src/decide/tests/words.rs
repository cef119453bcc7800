//! What a plan says of itself: why something is started or waits, with the numbers in it; and what is told of the next
//! runs without starting them.

use super::*;
use crate::decide::{explain, next_launches};
use crate::model::{Decision, Gates, Launch, Step};
use crate::registry::ItemPhase;

const SOURCE: &str = "[done]\nwhen = \"source\"\n";

/// Why each start and each resume of a plan is made.
fn starts(plan: &Plan) -> Vec<&str> {
    let is_start = |decision: &Decision| matches!(decision.action, Action::Start(_) | Action::Resume(_));
    let starts = plan.decisions().filter(|(_, decision)| is_start(decision));
    starts.map(|(_, decision)| decision.because.as_str()).collect()
}

/// Why the only item that waits does.
fn waits(plan: &Plan) -> (HoldReason, &str) {
    assert_eq!(plan.held.len(), 1, "{:?}", plan.held);
    (plan.held[0].code, &plan.held[0].because)
}

/// What is said of one rule: whether it holds, and why.
fn rule(factory: &Factory, code: HoldReason) -> (bool, String) {
    let (_, Gates { verdicts, .. }) = explain(&factory.config, &factory.registry, &factory.world(), &id("A"));
    let gate = verdicts.into_iter().find(|gate| gate.code == code).expect("it is asked");
    (gate.holds, gate.because)
}

/// Run, dispatch and session of everything that A would be started with.
fn next(factory: &Factory, key: &str) -> Vec<(String, u64, Option<String>)> {
    let launches = next_launches(&factory.config, &factory.registry, &factory.world(), &id(key)).unwrap();
    let line = |launch: Launch| (launch.spec.id.to_string(), launch.spec.dispatch, launch.spec.session);
    launches.into_iter().map(line).collect()
}

// ---------------------------------------------------------------------------------------------
// Why it starts

#[test]
fn a_start_says_which_attempt_it_is() {
    let mut factory = Factory::new(&["A"]);
    assert_eq!(starts(&factory.tick_told()), ["attempt 1 of 3"]);
    for attempt in 2..=3 {
        factory.see(&format!("a-impl.{}", attempt - 1), failed());
        factory.tick_told();
        factory.later(7200);
        assert_eq!(starts(&factory.tick_told()), [format!("attempt {attempt} of 3")]);
    }
}

#[test]
fn a_start_of_what_is_not_done_says_how_often_it_went_on_and_after_a_failure_which_attempt_it_is() {
    let mut factory = Factory::with(SOURCE, &["A"]).running("a-impl.1");
    factory.see("a-impl.1", succeeded());
    factory.tick_told();
    factory.later(60);
    assert_eq!(starts(&factory.tick_told()), ["it is not done: it goes on (1 of 3)"]);
    factory.see("a-impl.2", failed());
    factory.tick_told();
    factory.later(7200);
    assert_eq!(starts(&factory.tick_told()), ["it is not done: attempt 2 of 3"]);
}

#[test]
fn a_resume_says_whether_it_was_interrupted_or_is_not_done() {
    let end = |code| over(code, ExitReason::Exited, Some("s-1"), "");
    let mut interrupted = Factory::new(&["A"]).running("a-impl.1");
    interrupted.see("a-impl.1", end(1));
    assert_eq!(starts(&interrupted.tick_told()), ["its session goes on (resume 1 of 1)"]);
    let mut not_done = Factory::with(SOURCE, &["A"]).running("a-impl.1");
    not_done.see("a-impl.1", end(0));
    not_done.tick_told();
    not_done.later(60);
    assert_eq!(starts(&not_done.tick_told()), ["it is not done: its session goes on"]);
}

// The first failure of a group keeps the rest of it from being done: two items in one group would fall together.
// covers: I14
#[test]
fn what_is_done_for_one_item_falls_with_nothing_of_another() {
    let plan = Factory::crew("", &["A", "B"]).plan();
    let groups = |key: &str| -> Vec<u32> {
        let of_item = plan.decisions().filter(|(_, decision)| decision.item == Some(id(key)));
        of_item.map(|(_, decision)| decision.group).collect()
    };
    let [a, b] = ["A", "B"].map(groups);
    assert_eq!((a.len(), b.len()), (3, 3), "two starts and a note each");
    assert!(a.iter().all(|group| *group == a[0]) && b.iter().all(|group| *group == b[0]));
    assert_ne!(a[0], b[0]);
}

#[test]
fn decisions_that_stand_alone_fall_with_none_before_them() {
    let mut factory = Factory::new(&["A", "B"]);
    factory.tick_told();
    factory.see("a-impl.1", failed());
    factory.see("b-impl.1", failed());
    let plan = factory.tick_told();
    let groups: std::collections::BTreeSet<u32> =
        plan.decisions().map(|(_, decision)| decision.group).collect();
    assert_eq!(groups.len(), plan.decisions().count(), "{:?}", told(&plan));
}

// ---------------------------------------------------------------------------------------------
// Why it waits

#[test]
fn what_waits_for_its_turn_says_how_often_it_failed_and_why() {
    let mut charged = Factory::new(&["A"]).running("a-impl.1");
    charged.see("a-impl.1", failed());
    let plan = charged.tick_told();
    assert_eq!(waits(&plan), (HoldReason::Backoff, "1 of 3 attempts failed: exit code 1: boom"));
    charged.later(7200);
    assert_eq!(
        rule(&charged, HoldReason::Backoff),
        (false, "1 of 3 attempts failed: exit code 1: boom".to_owned()),
        "its turn has come"
    );
    let mut uncharged = Factory::new(&["A"]).running("a-impl.1");
    uncharged.see("a-impl.1", over(143, ExitReason::Stopped, None, ""));
    assert_eq!(waits(&uncharged.tick_told()), (HoldReason::Backoff, "somebody told its launcher to stop"));
    let mut restarted = Factory::new(&["A"]).running("a-impl.1");
    restarted.reboot();
    restarted.see("a-impl.1", RunObservation::Rebooted(Box::default()));
    let plan = restarted.plan();
    restarted.registry.intend(&plan, &restarted.now.clone());
    assert_eq!(
        rule(&restarted, HoldReason::Backoff),
        (false, "none of 3 attempts failed".to_owned()),
        "nobody's fault, and at once"
    );
}

#[test]
fn what_is_parked_says_what_was_said_last() {
    let mut factory = Factory::with("[attempts]\nmax = 1", &["A"]).running("a-impl.1");
    factory.see("a-impl.1", failed());
    let plan = factory.tick_told();
    assert_eq!(waits(&plan), (HoldReason::Parked, "1 of 1 attempts failed; the last: exit code 1: boom"));
}

#[test]
fn a_parked_item_of_which_something_runs_is_in_flight_all_the_same() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    let action = Action::Park { item: id("A"), class: None, by_person: true };
    let decision = Decision { action, item: Some(id("A")), because: "stop it".to_owned(), group: 0 };
    factory.registry.apply(&Step::Decide(decision), &factory.now).unwrap();
    assert_eq!(rule(&factory, HoldReason::Parked), (true, "stop it".to_owned()));
    assert_eq!(rule(&factory, HoldReason::AlreadyActive), (true, "a-impl.1 in flight".to_owned()));
}

#[test]
fn while_the_source_cannot_be_read_only_what_waits_for_its_turn_is_said_to_wait() {
    let mut factory = Factory::new(&["A", "B"]).running("a-impl.1");
    factory.see("a-impl.1", succeeded());
    factory.see("b-impl.1", failed());
    factory.tick_told();
    assert_eq!(factory.record("A").state, ItemPhase::Done);
    factory.items = Observed::broken("no");
    assert_eq!(held(&factory.plan()), [("B", HoldReason::SourceUnknown)]);
    let only = |key: &str| {
        let request = Request { item: Some(id(key)), ..Request::default() };
        let plan = decide(&factory.config, &factory.registry, &factory.world(), &request);
        plan.held.len()
    };
    assert_eq!((only("A"), only("B")), (0, 1));
}

/// Not even a correction of the record, which would be written.
#[test]
fn a_tick_that_finds_all_as_it_was_changes_nothing() {
    let mut factory = Factory::new(&["A", "B"]).running("a-impl.1");
    factory.see("b-impl.1", alive());
    factory.tick_told();
    let mut world = factory.world();
    for _ in 0..2 {
        let plan = decide(&factory.config, &factory.registry, &world, &Request::default());
        assert_eq!(plan.steps, []);
        factory.later(1);
        world = factory.world();
    }
}

// ---------------------------------------------------------------------------------------------
// What would be started

#[test]
fn an_item_that_was_never_started_would_be_with_all_its_roles_and_one_that_is_not_there_with_none() {
    let factory = Factory::crew("", &["A"]);
    assert_eq!(next(&factory, "A"), [("a-impl.1".to_owned(), 1, None), ("a-rev.1".to_owned(), 1, None)]);
    assert_eq!(next(&factory, "B"), []);
}

#[test]
fn the_next_dispatch_is_of_the_roles_that_are_not_done() {
    let mut factory = Factory::crew("", &["A"]).running("a-impl.1");
    factory.see("a-impl.1", succeeded());
    factory.see("a-rev.1", failed());
    factory.tick_told();
    assert_eq!(next(&factory, "A"), [("a-rev.2".to_owned(), 2, None)]);
}

#[test]
fn while_a_session_goes_on_nothing_else_of_its_item_is_next() {
    let mut factory = Factory::crew("", &["A"]);
    factory.config.roles[0].resume = vec!["agent".into(), "{session}".into()];
    factory.tick_told();
    factory.see("a-rev.1", failed());
    factory.see("a-impl.1", over(1, ExitReason::Exited, Some("s-1"), ""));
    let plan = factory.plan();
    // As it stands when its sessions were judged, and before any was started again.
    let ends = plan
        .steps
        .iter()
        .take_while(|step| !matches!(step, Step::Decide(Decision { action: Action::Resume(_), .. })));
    ends.for_each(|step| factory.registry.apply(step, &factory.now).unwrap());
    let session = Some("s-1".to_owned());
    assert_eq!(next(&factory, "A"), [("a-impl.2".to_owned(), 2, session)]);
    factory.config.roles[0].resume = Vec::new();
    assert_eq!(next(&factory, "A"), [("a-impl.2".to_owned(), 2, None)], "it can't be resumed any more");
}

#[test]
fn what_is_left_of_each_limit_is_said_where_it_lets_pass() {
    let mut factory = Factory::with("[limits]\ndisk_free_min = \"1MiB\"", &["A"]);
    let passes = |factory: &Factory, code| match rule(factory, code) {
        (false, because) => because,
        (true, because) => panic!("{code:?} holds: {because}"),
    };
    factory.registry.daily_spend = None;
    let [starts, tick] = [factory.config.budget.starts_per_day, factory.config.tick.starts_max];
    assert_eq!(passes(&factory, HoldReason::Budget), format!("0 of {starts} starts of the day used"));
    assert_eq!(
        passes(&factory, HoldReason::StartsExhausted),
        format!("0 of {tick} starts of this tick used")
    );
    assert_eq!(passes(&factory, HoldReason::DiskFloor), "1048576 MiB free");
    factory.config.budget.starts_per_day = 0;
    assert_eq!(passes(&factory, HoldReason::Budget), "any number of starts a day");
}

// covers: P19
#[test]
fn a_run_that_was_ended_says_by_which_limit_and_one_that_ended_quotes_its_last_words_up_to_a_length() {
    let because = |limit_ms: Option<u64>, reason, stderr: &str| {
        let mut factory = Factory::new(&["A"]).running("a-impl.1");
        // What is configured by now is no limit that the run had.
        factory.config.roles[0].deadline = Some(Duration::from_secs(7));
        factory.config.roles[0].stall = Some(Duration::from_secs(1200));
        let RunObservation::Ended(mut ended) = over(1, reason, None, stderr) else { unreachable!() };
        ended.exit.as_mut().unwrap().limit_ms = limit_ms;
        factory.see("a-impl.1", RunObservation::Ended(ended));
        factory.tick_told();
        factory.record("A").last.as_ref().unwrap().because.clone()
    };
    assert_eq!(because(Some(60_000), ExitReason::Deadline, ""), "ended after its deadline of 1 min");
    assert_eq!(because(Some(15_000), ExitReason::Stalled, ""), "nothing on stdout for 15 s");
    assert_eq!(because(Some(1_200_000), ExitReason::Stalled, ""), "nothing on stdout for 20 min");
    assert_eq!(because(Some(1_500), ExitReason::Stalled, ""), "nothing on stdout for 1500 ms");
    assert_eq!(because(None, ExitReason::Deadline, ""), "ended after its deadline");
    for (length, more) in [(200, ""), (201, "…")] {
        let words = because(None, ExitReason::Exited, &"x".repeat(length));
        assert_eq!(words, format!("exit code 1: {}{more}", "x".repeat(200)));
    }
}
