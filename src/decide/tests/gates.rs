//! What `explain` tells of the rules, against what a tick does.

use super::*;
use crate::decide::explain;
use crate::model::{Gates, Unavailable, UnavailableKind};

/// `passes code` or `HOLDS code`, with the run where the rule was asked about one.
fn asked(gates: &Gates) -> Vec<String> {
    let line = |gate: &crate::model::GateVerdict| {
        let verdict = if gate.holds { "HOLDS" } else { "passes" };
        let code = serde_json::json!(gate.code);
        let run = gate.run.as_ref().map_or_else(String::new, |run| format!(" {run}"));
        format!("{verdict} {}{run}", code.as_str().unwrap())
    };
    gates.verdicts.iter().map(line).collect()
}

fn explained(factory: &Factory, key: &str) -> (Plan, Gates) {
    explain(&factory.config, &factory.registry, &factory.world(), &id(key))
}

// covers: I29
#[test]
fn every_rule_is_asked_in_order_and_a_tick_holds_by_the_first_that_does() {
    let mut factory = Factory::with("[limits]\nitems_max = 1\n[tick]\nstarts_max = 1", &["A", "B"]);
    factory.item("B").blocked_by = vec!["A".into()];
    let (plan, gates) = explained(&factory, "B");
    let rules = [
        "passes not_in_scope",
        "passes fleet_unknown",
        "passes parked",
        "passes done",
        "passes handoff_pending",
        "passes already_active",
        "passes backoff",
        "HOLDS blocked",
        "passes workspace_taken",
        "passes paused",
        "passes breaker",
        "passes budget",
        "passes disk_floor",
        "passes cooling_off",
        "HOLDS no_slot",
        "passes no_label_slot",
        "HOLDS starts_exhausted",
        "passes fleet_unknown",
    ];
    assert_eq!(asked(&gates), rules);
    assert_eq!(held(&plan), [("B", HoldReason::Blocked)]);
    assert_eq!(plan, factory.plan(), "asking changes nothing");
    let words: Vec<_> = gates.verdicts.iter().map(|gate| gate.because.as_str()).collect();
    assert!(words.contains(&"1 of 1 items in flight") && words.contains(&"none of 3 attempts failed"));
    assert_eq!(gates.after, 3, "after A was remembered, started and told");
}

// covers: I29
#[test]
fn the_first_rule_that_holds_is_the_one_that_a_plan_tells() {
    let factories = {
        let mut failed_once = Factory::new(&["A", "B"]).running("a-impl.1");
        failed_once.see("a-impl.1", failed());
        failed_once.tick_told();
        let mut unseen = Factory::new(&["A", "B"]).running("a-impl.1");
        unseen.runs = Observed::broken("no");
        let mut gone = Factory::with("[limits]\nitems_max = 1", &["A", "B", "C"]).running("a-impl.1");
        gone.edit("C", |item| item.title = String::new());
        gone.config.scope.title_prefix = "title".into();
        gone.remove("A");
        gone.tick_told();
        gone.tick_told();
        let mut done = Factory::new(&["A", "B"]).running("a-impl.1");
        done.see("a-impl.1", succeeded());
        done.tick_told();
        [Factory::new(&["A"]), failed_once, unseen, gone, done]
    };
    let mut compared = 0;
    for factory in factories {
        let Observed::Known(items) = &factory.items else { panic!("a source") };
        for item in items {
            let (plan, gates) = explained(&factory, &item.key);
            let told = plan.held.iter().find(|held| held.item == item.id).map(|held| held.code);
            let first = gates.verdicts.iter().find(|gate| gate.holds).map(|gate| gate.code);
            assert_eq!(first, told, "{}: {:?}", item.key, asked(&gates));
            compared += usize::from(told.is_some());
        }
    }
    assert_eq!(compared, 8);
}

// covers: I29
#[test]
fn each_session_that_goes_on_is_asked_about_as_if_those_before_it_went_on() {
    let mut factory = Factory::crew("[tick]\nstarts_max = 2", &["A"]).running("a-impl.1");
    factory.config.roles.iter_mut().for_each(|role| role.resume = vec!["agent".into(), "{session}".into()]);
    factory.config.tick.starts_max = 1;
    factory.see("a-impl.1", over(1, ExitReason::Exited, Some("s-1"), ""));
    factory.see("a-rev.1", over(1, ExitReason::Exited, Some("s-2"), ""));
    factory.config.attempts.max = 10;
    let (plan, gates) = explained(&factory, "A");
    let lines = asked(&gates);
    assert_eq!(
        &lines[..5],
        ["not_in_scope", "fleet_unknown", "parked", "done", "handoff_pending"]
            .map(|code| format!("passes {code}"))
    );
    assert!(lines.contains(&"passes starts_exhausted a-impl.2".to_owned()), "{lines:?}");
    assert!(lines.contains(&"HOLDS starts_exhausted a-rev.2".to_owned()), "{lines:?}");
    assert!(told(&plan).contains(&"resume a-impl.2".to_owned()));
    assert_eq!(held(&plan), [("A", HoldReason::StartsExhausted)]);
}

// covers: I29
#[test]
fn what_is_closed_waits_for_nothing_and_is_explained_all_the_same() {
    let mut factory = Factory::new(&["A"]);
    factory.edit("A", |item| item.state = ItemState::Closed);
    let (plan, gates) = explained(&factory, "A");
    assert!(plan.held.is_empty());
    assert_eq!((gates.verdicts[0].holds, gates.verdicts[0].because.as_str()), (true, "it is closed"));
}

#[test]
fn gate_of_an_unseen_fleet_names_the_next_try() {
    let mut factory = Factory::new(&["A"]);
    let retry_at = factory.now.after(std::time::Duration::from_secs(30));
    let limited = Unavailable::new(UnavailableKind::RateLimited, "later").retry_at(Some(retry_at));
    factory.runs = Observed::Unknown(limited);
    let plan = factory.plan();
    let held: Vec<_> = plan.held.iter().map(|held| (held.code, held.until, held.because.as_str())).collect();
    assert_eq!(held, [(HoldReason::FleetUnknown, Some(retry_at), "later")]);
}
