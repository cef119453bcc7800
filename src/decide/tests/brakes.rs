//! What stops all starts at once.

use super::*;
use crate::model::{Decision, RecordUpdate, Step};

/// Ends the run of each item in the same tick, as told.
fn end_all(factory: &mut Factory, ends: &[(&str, RunObservation)]) -> Plan {
    for (run, observation) in ends {
        factory.see(run, observation.clone());
    }
    factory.tick_told()
}

fn because(plan: &Plan, code: HoldReason) -> &str {
    &plan.held.iter().find(|held| held.code == code).expect("held so").because
}

fn order(factory: &mut Factory, step: Step) {
    let plan = Plan { steps: vec![step], ..Plan::default() };
    factory.registry.intend(&plan, &factory.now.clone());
}

/// Three items that failed twice, and a fourth one that has not been started.
fn nearly(tables: &str) -> Factory {
    let mut factory = Factory::with(
        &format!("[attempts]\nmax = 9\nbreaker = 3\n[limits]\nitems_max = 2\n{tables}"),
        &["A", "B", "C"],
    );
    factory.tick_told();
    end_all(&mut factory, &[("a-impl.1", failed()), ("b-impl.1", failed())]);
    assert!(factory.registry.open_breaker(3).is_none());
    factory
}

// covers: V24
#[test]
fn failures_of_any_items_in_a_row_open_the_breaker_and_nothing_starts_any_more() {
    let mut factory = nearly("");
    let plan = end_all(&mut factory, &[("c-impl.1", over(1, ExitReason::Exited, Some("s-1"), "no login"))]);
    assert_eq!(told(&plan), ["adopt c-impl.1", "fail c-impl.1 agent"], "nor does its session go on");
    let words = because(&plan, HoldReason::Breaker);
    assert!(
        words.starts_with("3 of 3 failures in a row, the last of dir:C: exit code 1: no login"),
        "{words}"
    );
    factory.later(100_000);
    let plan = factory.tick_told();
    assert!(plan.is_empty(), "{:?}", told(&plan));
    assert_eq!(held(&plan), ["C", "A", "B"].map(|key| (key, HoldReason::Breaker)), "their backoff is over");
    assert!(factory.tick_told().is_empty());
}

// covers: V39
#[test]
fn a_run_that_ends_well_closes_the_breaker() {
    let mut factory = nearly("");
    factory.tick_told();
    factory.later(100_000);
    // Two were in flight when the third failure was seen.
    factory.tick_told();
    end_all(&mut factory, &[("a-impl.2", failed())]);
    assert!(factory.registry.open_breaker(3).is_some());
    let plan = end_all(&mut factory, &[("c-impl.1", succeeded())]);
    assert!(factory.registry.failure_streak.is_none());
    assert!(told(&plan).contains(&"start b-impl.2".to_owned()), "{:?}", told(&plan));
}

// covers: V39
#[test]
fn a_person_closes_the_breaker_with_a_retry_or_a_word() {
    let retry = |id: ItemId| {
        let action = Action::Retry { item: id.clone(), go_on: vec![], message: None };
        Step::Decide(Decision { action, item: Some(id), because: String::new(), group: 0 })
    };
    for step in [retry(id("B")), Step::RecordUpdate(RecordUpdate::Forgiven)] {
        let mut factory = nearly("");
        end_all(&mut factory, &[("c-impl.1", failed())]);
        factory.later(100_000);
        assert!(factory.tick_told().is_empty());
        order(&mut factory, step);
        assert!(told(&factory.tick_told()).contains(&"start b-impl.2".to_owned()));
    }
}

// covers: V39
#[test]
fn a_pause_that_ends_by_itself_is_no_word_of_a_person() {
    let mut factory = nearly("");
    end_all(&mut factory, &[("c-impl.1", failed())]);
    let until = Some(factory.now.after(Duration::from_secs(60)));
    let pause = Decision { action: Action::Pause { until }, item: None, because: String::new(), group: 0 };
    order(&mut factory, Step::Decide(pause));
    factory.later(100_000);
    assert_eq!(told(&factory.tick_told()), ["unpause "]);
    assert!(factory.registry.open_breaker(3).is_some());
}

// covers: V24
#[test]
fn what_is_nobodys_fault_does_not_count_and_0_is_off() {
    let mut factory = nearly("");
    let refused =
        RunObservation::Refused(Refusal { because: "no lock".into(), duplicate: false, machine: false });
    end_all(&mut factory, &[("c-impl.1", refused)]);
    assert_eq!(factory.registry.failure_streak.as_ref().map(|failing| failing.failures), Some(2));
    factory.config.attempts.breaker = 0;
    end_all(&mut factory, &[("c-impl.2", failed())]);
    factory.later(100_000);
    assert!(!factory.tick_told().is_empty());
}

// ---------------------------------------------------------------------------------------------
// What a day may cost

const DAY: u64 = 86_400;

/// Where the clock of these tests begins: early in a day, in UTC.
fn first_midnight(factory: &Factory) -> Timestamp {
    factory.registry.daily_spend(moment(0).at).ends()
}

// covers: V25
#[test]
fn starts_and_resumes_of_a_day_are_counted_and_a_new_day_begins_with_none() {
    let mut factory = Factory::with("[budget]\nstarts_per_day = 3", &["A", "B", "C"]);
    factory.config.limits.items_max = 2;
    factory.tick_told();
    let plan = end_all(
        &mut factory,
        &[("a-impl.1", over(1, ExitReason::Exited, Some("s-1"), "")), ("b-impl.1", succeeded())],
    );
    assert!(told(&plan).contains(&"resume a-impl.2".to_owned()), "{:?}", told(&plan));
    assert_eq!(
        held(&plan),
        [("A", HoldReason::Budget), ("B", HoldReason::Done), ("C", HoldReason::Budget)][1..]
    );
    let hold = plan.held.iter().find(|held| held.code == HoldReason::Budget).unwrap();
    assert_eq!(hold.because, "3 of 3 starts of the day used");
    assert_eq!(hold.until, Some(first_midnight(&factory)));
    assert!(factory.tick_told().is_empty());
    factory.later(DAY);
    assert!(told(&factory.tick_told()).contains(&"start c-impl.1".to_owned()));
    assert_eq!(factory.registry.daily_spend(factory.now.at).starts, 1);
}

// covers: V25
#[test]
fn a_session_waits_for_the_next_day_where_this_one_has_no_start_left() {
    let mut factory = Factory::with("[budget]\nstarts_per_day = 1", &["A"]).running("a-impl.1");
    let plan = end_all(&mut factory, &[("a-impl.1", over(1, ExitReason::Exited, Some("s-1"), ""))]);
    assert_eq!(
        (told(&plan), held(&plan)),
        (vec!["fail a-impl.1 agent".into()], vec![("A", HoldReason::Budget)])
    );
    factory.later(DAY);
    assert_eq!(told(&factory.tick_told()), ["resume a-impl.2"]);
}

// covers: V40
#[test]
fn a_crew_starts_within_the_budget_or_not_at_all() {
    let mut factory = Factory::crew("[budget]\nstarts_per_day = 3", &["A", "B"]);
    let plan = factory.tick_told();
    assert_eq!(held(&plan), [("B", HoldReason::Budget)]);
    assert_eq!(factory.registry.daily_spend(factory.now.at).starts, 2);
}

// covers: V40
#[test]
fn what_was_not_tried_is_given_back_and_what_never_claimed_is_not() {
    let mut factory = Factory::new(&["A", "B"]);
    let plan = factory.tick();
    let (step, _) = plan.decisions().next().unwrap();
    let untried = StepOutcome { step, outcome: Outcome::NotTried("the tick's deadline") };
    factory.registry.note(&plan, &[untried], &factory.config.attempts, &factory.now);
    assert_eq!(factory.registry.daily_spend(factory.now.at).starts, 1);
    factory.see(
        "b-impl.1",
        RunObservation::Refused(Refusal { because: "no lock".into(), duplicate: false, machine: false }),
    );
    factory.tick();
    assert_eq!(factory.registry.daily_spend(factory.now.at).starts, 3);
}

// A clock that is set back for a while, as by a virtual machine that wakes up, gave each time a new day's budget.
// covers: V41
#[test]
fn a_clock_that_goes_back_a_day_and_forth_gives_no_second_budget() {
    let mut factory = Factory::with("[budget]\nstarts_per_day = 1", &["A", "B"]);
    factory.tick_told();
    // The same with one that has forgotten which year it is: that day's count had become the wrong one's, and then the
    // right one began with none.
    let noon = factory.now.at;
    const YEAR: i64 = 365 * 24;
    for hours in [-24, 0, -1, 0, -YEAR, 0, -YEAR, -2 * YEAR, -2 * YEAR, 0, -YEAR, -YEAR - 24, -YEAR, 0] {
        factory.now.at = noon.checked_add(jiff::SignedDuration::from_hours(hours)).unwrap();
        assert_eq!(held(&factory.tick_told())[1], ("B", HoldReason::Budget), "{hours} h");
    }
}

// The other way round: what a clock in the far future had recorded would have held until then.
// covers: V41
#[test]
fn a_day_in_the_far_future_was_a_wrong_clock_and_ends_with_today() {
    let mut factory = Factory::with("[budget]\nstarts_per_day = 1", &["A", "B"]);
    let right = factory.now.clone();
    factory.later(400 * DAY);
    factory.tick_told();
    factory.now = right;
    let plan = factory.tick_told();
    let hold = plan.held.iter().find(|held| held.code == HoldReason::Budget).unwrap();
    assert_eq!(hold.until, Some(first_midnight(&factory)), "it counts for today");
    factory.later(DAY);
    assert!(told(&factory.tick_told()).contains(&"start b-impl.1".to_owned()));
}

// covers: V25
#[test]
fn dollars_of_a_day_hold_starts_until_it_ends() {
    let mut factory = Factory::with("[budget]\nusd_per_day = 5\n[limits]\nitems_max = 1", &["A", "B"]);
    factory.tick_told();
    let now = factory.now.clone();
    let run: RunId = "a-impl.1".parse().unwrap();
    factory.registry.spend(&run, Some(f64::NAN), None, &now);
    factory.registry.spend(&run, Some(-100.0), None, &now);
    assert_eq!(factory.registry.daily_spend(now.at).usd, None, "whatever it prints");
    factory.registry.spend(&run, Some(5.25), Some(1000), &now);
    assert_eq!(factory.registry.daily_spend(now.at).tokens, Some(1000));
    assert_eq!(factory.agent("a-impl").cost, Some(5.25));
    let plan = end_all(&mut factory, &[("a-impl.1", succeeded())]);
    let hold = plan.held.iter().find(|held| held.code == HoldReason::Budget).unwrap();
    assert_eq!(hold.because, "5.25 of 5.00 USD of the day spent");
    factory.later(DAY);
    assert!(told(&factory.tick_told()).contains(&"start b-impl.1".to_owned()));
}

// covers: V42
#[test]
fn an_item_whose_run_cost_too_much_waits_for_a_person() {
    let mut factory = Factory::with("[budget]\nusd_per_run = 2", &["A"]).running("a-impl.1");
    let now = factory.now.clone();
    factory.registry.spend(&"a-impl.1".parse().unwrap(), Some(2.5), None, &now);
    let plan = end_all(&mut factory, &[("a-impl.1", over(1, ExitReason::Exited, Some("s-1"), ""))]);
    assert_eq!(told(&plan), ["fail a-impl.1 agent", "park A needs_input", "writeback A parked"]);
    let words = &factory.record("A").last.as_ref().unwrap().because;
    assert_eq!(words, "the last run of a-impl cost 2.50 USD, more than [budget] usd_per_run, 2.00");
    let action = Action::Retry { item: id("A"), go_on: vec![], message: None };
    let retry = Decision { action, item: Some(id("A")), because: String::new(), group: 0 };
    order(&mut factory, Step::Decide(retry));
    assert_eq!(told(&factory.tick_told())[0], "start a-impl.2", "a person knows");
    factory.registry.spend(&"a-impl.2".parse().unwrap(), Some(2.5), None, &now);
    let plan = end_all(&mut factory, &[("a-impl.2", succeeded())]);
    assert!(told(&plan).contains(&"done A".to_owned()), "what is done is done");
}

// Origin: an audit - an agent that edits its own item was started 30 times in 30 ticks, exit code 0 each.
// covers: P06b
#[test]
fn self_editing_agent_is_parked_after_its_starts_of_a_day() {
    let mut factory = Factory::new(&["A"]);
    let mut starts = 0;
    for n in 1..=30 {
        let plan = factory.tick_told();
        starts += told(&plan).iter().filter(|line| line.starts_with("start ")).count();
        factory.edit("A", |item| item.body = format!("edited {n}"));
        factory.later(60);
        factory.see(&format!("a-impl.{n}"), succeeded());
    }
    assert_eq!(starts, 20);
    let record = factory.record("A");
    assert_eq!(
        (record.state, record.parked_by),
        (crate::registry::ItemPhase::Parked, Some(crate::registry::ParkedBy::Budget))
    );
    // Neither an edit nor another day brings it back; a person does, with all starts of a day.
    factory.edit("A", |item| item.title = "another".into());
    factory.later(DAY);
    assert!(factory.tick_told().is_empty());
    let retry = Action::Retry { item: id("A"), go_on: vec![], message: None };
    let decision =
        crate::model::Decision { action: retry, item: Some(id("A")), because: String::new(), group: 0 };
    factory.registry.apply(&crate::model::Step::Decide(decision), &factory.now).unwrap();
    assert!(told(&factory.tick_told()).contains(&"start a-impl.21".to_owned()));
    assert_eq!(factory.registry.item_starts(&id("A"), factory.now.at), 1);
}

// covers: P06b
#[test]
fn crew_is_parked_where_its_starts_would_go_beyond_the_day() {
    let mut factory = Factory::crew("[budget]\nitem_starts_per_day = 3", &["A"]);
    factory.tick_told();
    for run in ["a-impl.1", "a-rev.1"] {
        factory.see(run, RunObservation::Fenced);
    }
    let plan = factory.tick_told();
    assert!(told(&plan).contains(&"park A budget".to_owned()), "{:?}", told(&plan));
    assert!(
        factory
            .record("A")
            .last
            .as_ref()
            .unwrap()
            .because
            .starts_with("2 of 3 starts of the item used today")
    );
}

// A role that goes on is not ended because the other one used the starts up.
// covers: P06b
#[test]
fn last_start_of_a_day_holds_while_its_crew_runs() {
    let mut factory = Factory::crew("[budget]\nitem_starts_per_day = 2", &["A"]);
    factory.tick_told();
    factory.see("a-impl.1", alive());
    factory.see("a-rev.1", RunObservation::Fenced);
    let plan = factory.tick_told();
    assert_eq!(held(&plan), [("A", HoldReason::Budget)]);
    assert!(factory.agent("a-impl").run.is_some());
    assert!(!factory.registry.daily_spend(factory.now.at).held, "the day has starts left for others");
    factory.see("a-impl.1", succeeded());
    assert!(told(&factory.tick_told()).contains(&"park A budget".to_owned()));
}

// What the machine kept from becoming an agent is no start of the item.
// covers: P06b P05
#[test]
fn machine_fault_gives_the_start_of_the_item_back() {
    let mut factory = Factory::new(&["A"]);
    factory.tick_told();
    let refusal = Refusal { because: "no space".into(), duplicate: false, machine: true };
    factory.see("a-impl.1", RunObservation::Refused(refusal));
    factory.tick_told();
    assert_eq!(factory.registry.item_starts(&id("A"), factory.now.at), 0);
}

// An item that is away for a while is forgotten, and its starts of the day are not.
// covers: P06b
#[test]
fn returned_item_without_starts_is_parked() {
    let mut factory = Factory::with("[budget]\nitem_starts_per_day = 1", &["A"]).running("a-impl.1");
    factory.see("a-impl.1", succeeded());
    factory.tick_told();
    let item = factory.item("A").clone();
    factory.registry.items.clear();
    factory.registry.agents.clear();
    if let Observed::Known(items) = &mut factory.items {
        *items = vec![item];
    }
    assert!(told(&factory.tick_told()).contains(&"park A budget".to_owned()));
}

// An agent could take its own item away for a while: a forgotten item would have all starts of the next day.
// covers: P06b
#[test]
fn absence_gives_no_starts_back() {
    let mut factory = Factory::with("[budget]\nitem_starts_per_day = 1", &["A", "B"]).running("a-impl.1");
    factory.see("a-impl.1", RunObservation::Fenced);
    factory.see("b-impl.1", alive());
    factory.tick_told();
    factory.see("a-impl.1", failed());
    factory.later(3600);
    factory.tick_told();
    assert_eq!(factory.record("A").parked_by, Some(crate::registry::ParkedBy::Budget));
    let item = factory.item("A").clone();
    factory.remove("A");
    for _ in 0..5 {
        factory.later(DAY);
        factory.tick_told();
    }
    if let Observed::Known(items) = &mut factory.items {
        items.push(item);
    }
    let plan = factory.tick_told();
    assert!(!told(&plan).contains(&"start a-impl.2".to_owned()), "{:?}", told(&plan));
}
