//! Records that do not fit together.

use super::*;

#[test]
fn what_every_step_leaves_fits_together() {
    assert_eq!(Registry::default().check(), Ok(()));
    let mut registry = Registry::started();
    assert_eq!(registry.check(), Ok(()));
    registry.does(adopt("a-impl.1"));
    assert_eq!(registry.check(), Ok(()));
    registry.fails("a-impl.1", FailureClass::Agent);
    assert_eq!(registry.check(), Ok(()));
}

#[test]
fn an_agent_with_a_run_and_without_one_is_a_contradiction() {
    let mut idle = Registry::started();
    idle.agent("a-impl").state = AgentPhase::Idle;
    assert!(idle.check().unwrap_err().starts_with("agent a-impl is Idle with run Some("));
    for state in [AgentPhase::Starting, AgentPhase::Running] {
        let mut busy = Registry::started();
        busy.agent("a-impl").state = state;
        busy.agent("a-impl").run = None;
        assert_eq!(busy.check().unwrap_err(), format!("agent a-impl is {state:?} with run None"));
    }
}

#[test]
fn an_agent_with_the_run_of_another_one_is_a_contradiction() {
    let mut registry = Registry::started();
    registry.agent("a-impl").run = Some(run("b-impl.1"));
    assert!(registry.check().unwrap_err().starts_with("agent a-impl has the run of another one"));
}

#[test]
fn an_agent_of_an_item_without_a_record_is_a_contradiction() {
    let mut registry = Registry::started();
    registry.items.clear();
    assert_eq!(registry.check().unwrap_err(), "agent a-impl works on dir:A, of which there is no record");
}

#[test]
fn an_active_item_of_which_nothing_runs_or_follows_is_a_contradiction() {
    let mut registry = Registry::started();
    registry.fails("a-impl.1", FailureClass::Agent);
    for state in [ItemPhase::Waiting, ItemPhase::Parked, ItemPhase::Done] {
        registry.a().state = state;
        assert_eq!(registry.check(), Ok(()), "{state:?}");
    }
    registry.a().state = ItemPhase::Active;
    assert_eq!(registry.check().unwrap_err(), "dir:A is active, and no agent of it has a run or is about to");
    registry.agent("a-impl").follow_ups = failure(false);
    assert_eq!(registry.check(), Ok(()), "its agent is about to");
}

// Origin: fuzzed - the names of an item were cut out of the file, and each tick ended in a panic at its next launch.
#[test]
fn record_without_names_is_a_contradiction() {
    let mut registry = Registry::started();
    registry.names.items.clear();
    assert_eq!(registry.check().unwrap_err(), "there is a record of dir:A, and no names of it");
}
