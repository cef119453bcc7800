//! Budgets, streaks and waits.

use super::*;

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
