//! Credentials and variables: refused, changed, not set.

use super::*;

// Origin: an expired key failed the whole backlog in minutes.
// covers: V18 F74
#[test]
fn refused_credentials_hold_their_role_until_they_change() {
    let mut factory = factory("claude", &["A", "B"]);
    factory.tick_told();
    factory.claimed("b-impl.1");
    let plan = factory.runs("a-impl.1", 1, recorded!("claude-401"));
    assert_eq!(told(&plan), ["fail a-impl.1 denied", "cool_off "]);
    factory.printed("b-impl.1", 1, recorded!("claude-401"));
    assert_eq!(told(&factory.tick_told()), ["fail b-impl.1 denied"], "said once");
    factory.later(1_000_000);
    let plan = factory.tick_told();
    assert!(plan.is_empty());
    assert_eq!(held(&plan), [("A", HoldReason::CoolingOff), ("B", HoldReason::CoolingOff)]);
    factory.credentials.insert("implementer".into(), "key 2".into());
    assert_eq!(told(&factory.tick_told()), ["cool_off ", "resume a-impl.2", "resume b-impl.2"]);
    assert!(["A", "B"].iter().all(|key| factory.record(key).attempts == 0));
}

// A file of variables that could not be read for a minute looked like other credentials: those that were refused were
// tried again, and denied again, with a mail each time.
#[test]
fn a_file_of_variables_that_can_not_be_read_is_no_change_of_credentials() {
    let mut factory = factory("claude", &["A"]);
    factory.tick_told();
    factory.runs("a-impl.1", 1, recorded!("claude-401"));
    factory.env_error = Some("secrets: its mode is 644".into());
    let before = factory.credentials.insert("implementer".into(), "nothing".into()).unwrap();
    assert_eq!(told(&factory.tick_told()), ["cool_off "]);
    assert!(factory.registry.cool_offs.contains_key("login:implementer"));
    (factory.env_error, factory.credentials) = (None, BTreeMap::from([("implementer".into(), before)]));
    assert_eq!(told(&factory.tick_told()), ["cool_off "], "its variables are set again, and nothing starts");
    assert!(factory.registry.cool_offs.contains_key("login:implementer"));
}

// covers: V18
#[test]
fn credentials_that_changed_while_it_ran_are_not_the_ones_that_were_refused() {
    let mut factory = factory("claude", &["A"]);
    factory.tick_told();
    factory.claimed("a-impl.1");
    factory.credentials.insert("implementer".into(), "key 2".into());
    factory.printed("a-impl.1", 1, recorded!("claude-401"));
    assert_eq!(told(&factory.tick_told()), ["fail a-impl.1 denied", "resume a-impl.2"]);
}

// covers: V36
#[test]
fn a_cool_off_of_what_is_no_longer_configured_ends() {
    let mut factory = factory("claude", &["A"]);
    factory.missing_env.insert("implementer".into(), vec!["TOKEN".into()]);
    factory.tick_told();
    factory.config.roles[0].name = "other".into();
    factory.missing_env.clear();
    assert_eq!(told(&factory.tick_told()), ["cool_off ", "start a-impl.1", "writeback A started"]);
}

#[test]
fn what_a_provider_caused_is_told_from_a_variable_that_is_not_set() {
    let mut registry = crate::registry::Registry::default();
    for scope in ["harness:claude", "login:implementer", "role:implementer"] {
        registry.cool_offs.insert(scope.into(), cool_off(moment(100)));
    }
    let caused: Vec<_> = crate::decide::providers_cooling(&registry).collect();
    assert_eq!(caused, ["harness:claude", "login:implementer"]);
}

#[test]
fn each_role_waits_for_its_own_variables() {
    let mut factory = Factory::crew("", &["A"]);
    for (role, name) in [("implementer", "ONE"), ("reviewer", "OTHER")] {
        factory.missing_env.insert(role.into(), vec![name.into()]);
    }
    factory.tick_told();
    let waits: Vec<_> = factory.registry.cool_offs.values().map(|wait| wait.because.as_str()).collect();
    assert_eq!(
        waits,
        [
            "role \"implementer\" needs ONE, which is not set",
            "role \"reviewer\" needs OTHER, which is not set"
        ]
    );
}

// Origin: an audit - a login that is refreshed during each run was started 74 times in 25 ticks, refused each time.
// covers: P06
#[test]
fn refreshed_credentials_count_after_a_growing_wait() {
    let mut factory = with("[budget]\nitem_starts_per_day = 0", "claude", &["A"]);
    factory.tick_told();
    let (mut starts, mut n) = (1, 1);
    for minute in 0..25 {
        let run = format!("a-impl.{n}");
        let is_started = factory.registry.agents.values().any(|agent| agent.run.is_some());
        if is_started {
            factory.claimed(&run);
            factory.credentials.insert("implementer".into(), format!("refreshed {minute}"));
            factory.printed(&run, 1, recorded!("claude-401"));
        }
        let plan = factory.tick_told();
        let more = started(&plan);
        (starts, n) = (starts + more, n + more as u64);
        factory.later(59);
    }
    // At 0, 0, 1, 3, 7, 15 minutes: the waits are 1, 2, 4, 8 and 16 minutes.
    assert!((5..=7).contains(&starts), "{starts}");
    assert_eq!(factory.record("A").attempts, 0);
}

// The first refusal waits for nothing but other credentials, as ever, and an answer ends the row.
// covers: P06
#[test]
fn first_refusal_lets_new_credentials_through_at_once() {
    let mut factory = factory("claude", &["A"]);
    for n in [1, 3, 5] {
        factory.tick_told();
        factory.runs(&format!("a-impl.{n}"), 1, recorded!("claude-401"));
        assert_eq!(factory.registry.refusals["implementer"].streak, 1);
        factory.credentials.insert("implementer".into(), format!("key of {n}"));
        assert_eq!(started(&factory.tick_told()), 1, "{n}");
        factory.runs(&format!("a-impl.{}", n + 1), 0, recorded!("claude-fresh"));
        assert!(factory.registry.refusals.is_empty());
        factory.edit("A", |item| item.body = format!("text {n}"));
    }
}
