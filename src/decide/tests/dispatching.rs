//! Order, eligibility and limits.

use super::*;
use crate::model::{StartOutcome, Step};

fn started(plan: &Plan) -> Vec<String> {
    told(plan).into_iter().filter(|line| line.starts_with("start ")).collect()
}

// covers: S07
#[test]
fn priorities_one_to_four_go_first_then_the_oldest_then_the_key() {
    let mut factory =
        Factory::with("[limits]\nitems_max = 20\n[tick]\nstarts_max = 20", &["F", "E", "D", "C", "B", "A"]);
    let at = |seconds| Some(Timestamp::from_second(seconds).unwrap());
    factory.item("D").priority = Some(2);
    factory.item("E").priority = Some(1);
    factory.item("C").priority = Some(0);
    factory.item("F").priority = Some(7);
    factory.item("F").created_at = at(5);
    factory.item("B").created_at = at(9);
    factory.item("C").created_at = at(9);
    let runs = ["e", "d", "f", "b", "c", "a"].map(|slug| format!("start {slug}-impl.1"));
    assert_eq!(started(&factory.plan()), runs);
}

// covers: S04
#[test]
fn all_labels_of_the_scope_must_be_on_the_item_and_a_blank_one_matches_nothing() {
    let mut factory = Factory::with(
        "[source.scope]\nlabels = [\"Agent\", \"ready\"]\ntitle_prefix = \"title\"",
        &["A", "B"],
    );
    factory.item("A").labels = vec!["agent".into(), "ready".into()];
    factory.item("B").labels = vec!["agent".into()];
    let plan = factory.plan();
    assert_eq!(started(&plan), ["start a-impl.1"]);
    assert_eq!(held(&plan), [("B", HoldReason::NotInScope)]);
    factory.config.scope.labels.push(String::new());
    assert_eq!(started(&factory.plan()), Vec::<String>::new());
}

// covers: I17 S06 S08
#[test]
fn slots_count_agents_that_nobody_has_seen_yet_and_handoffs() {
    let mut factory = Factory::with("[limits]\nitems_max = 1", &["A", "B"]);
    assert_eq!(started(&factory.tick_told()), ["start a-impl.1"]);
    let plan = factory.tick_told();
    assert_eq!(held(&plan), [("A", HoldReason::AlreadyActive), ("B", HoldReason::NoSlot)]);
    factory.remove("A");
    factory.tick_told();
    factory.tick_told();
    assert_eq!(held(&factory.plan()), [("B", HoldReason::NoSlot)], "the hand-off holds it");
    factory.see("a-impl.1", RunObservation::Ended(Box::default()));
    assert_eq!(started(&factory.tick_told()), ["start b-impl.1"]);
}

// Origin: P - waiting for capacity burned an attempt.
// covers: F05
#[test]
fn waiting_for_a_slot_costs_nothing() {
    let mut factory = Factory::with("[limits]\nitems_max = 1", &["A", "B"]);
    for _ in 0..20 {
        factory.tick_told();
    }
    assert!(!factory.registry.items.contains_key(&id("B")));
}

// covers: S06
#[test]
fn a_label_has_slots_of_its_own() {
    let mut factory = Factory::with("[limits]\nper_label = { backend = 1 }", &["A", "B", "C"]);
    factory.item("A").labels = vec!["backend".into()];
    factory.item("B").labels = vec!["backend".into()];
    let plan = factory.plan();
    assert_eq!(started(&plan), ["start a-impl.1", "start c-impl.1"]);
    assert_eq!(held(&plan), [("B", HoldReason::NoLabelSlot)]);
}

// covers: I01
#[test]
fn a_crew_starts_whole_or_not_at_all() {
    let mut factory = Factory::crew("[tick]\nstarts_max = 3", &["A", "B"]);
    let plan = factory.tick_told();
    assert_eq!(started(&plan), ["start a-impl.1", "start a-rev.1"]);
    assert_eq!(held(&plan), [("B", HoldReason::StartsExhausted)]);
    assert_eq!(started(&factory.tick_told()), ["start b-impl.1", "start b-rev.1"]);
}

// Origin: overdeck#1665 - 37 resumes at once.
// covers: F23
#[test]
fn resumes_count_as_starts_and_go_first() {
    let mut factory = Factory::with("[tick]\nstarts_max = 2", &["A", "B", "C"]);
    factory.tick_told();
    factory.see("a-impl.1", over(1, ExitReason::Exited, Some("s-a"), ""));
    factory.see("b-impl.1", over(1, ExitReason::Exited, Some("s-b"), ""));
    let plan = factory.tick_told();
    assert!(
        told(&plan).ends_with(&["resume a-impl.2".into(), "resume b-impl.2".into()]),
        "{:?}",
        told(&plan)
    );
    assert!(held(&plan).contains(&("C", HoldReason::StartsExhausted)));
}

// covers: I19
#[test]
fn blockers_are_resolved_when_closed_or_done_and_a_missing_one_blocks_by_name() {
    let mut factory = Factory::new(&["A", "B", "C"]);
    factory.item("A").blocked_by = vec!["B".into(), "dir:C".into()];
    factory.item("B").state = ItemState::Closed;
    assert_eq!(factory.plan().held[0].because, "blocked by dir:C, which is open");
    factory.item("C").state = ItemState::Closed;
    assert_eq!(started(&factory.plan()), ["start a-impl.1"]);
    factory.item("A").blocked_by = vec!["D".into()];
    assert_eq!(
        factory.plan().held[0].because,
        "blocked by D, which nobody knows: correct blocked_by or add it"
    );
}

// covers: I19
#[test]
fn done_unblocks() {
    let mut factory = Factory::new(&["A", "B"]);
    factory.edit("A", |item| item.blocked_by = vec!["B".into()]);
    factory.tick_told();
    factory.see("b-impl.1", succeeded());
    assert!(started(&factory.tick_told()).contains(&"start a-impl.1".to_owned()));
}

// covers: P08
#[test]
fn workspace_of_another_factory_holds_its_item_alone() {
    let mut factory = Factory::new(&["A", "B"]);
    factory.workspaces_taken.insert("A".into(), "another factory".into());
    let plan = factory.tick_told();
    assert_eq!(held(&plan), [("A", HoldReason::WorkspaceTaken)]);
    assert_eq!(started(&plan), ["start b-impl.1"]);
    assert_eq!(factory.registry.items[&id("A")].taken.as_deref(), Some("another factory"));
    assert!(factory.registry.standstill.stuck.contains_key(&id("A")), "only a person can release it");
    assert_eq!(
        factory.plan().steps.iter().filter(|step| matches!(step, Step::RecordUpdate(_))).count(),
        0,
        "noted once"
    );
    factory.edit("A", |item| item.hash = "changed".into());
    assert_eq!(held(&factory.tick_told())[0], ("A", HoldReason::WorkspaceTaken), "an edit releases nothing");
    factory.workspaces_taken.clear();
    assert_eq!(started(&factory.tick_told()), ["start a-impl.1"]);
    assert_eq!(factory.registry.items[&id("A")].taken, None);
}

// The mark was replaced while a session waited for its turn.
// covers: P08
#[test]
fn session_in_a_taken_workspace_does_not_go_on() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    let mut ended = failed();
    if let RunObservation::Ended(ended) = &mut ended {
        ended.reported.session = Some("s-1".into());
        if let Some(exit) = &mut ended.exit {
            exit.reported.session = Some("s-1".into());
        }
    }
    factory.see("a-impl.1", ended);
    factory.workspaces_taken.insert("A".into(), "another factory".into());
    let plan = factory.tick_told();
    assert_eq!(held(&plan), [("A", HoldReason::WorkspaceTaken)]);
    factory.workspaces_taken.clear();
    let plan = factory.tick_told();
    assert!(told(&plan).iter().any(|line| line.starts_with("resume a-impl.2")), "{:?}", told(&plan));
}

#[test]
fn nothing_starts_below_the_disk_floor() {
    let factory = Factory::new(&["A"]);
    let mut world = factory.world();
    world.local.room = room((5 << 30) - 1, 1 << 40);
    let plan = decide(&factory.config, &factory.registry, &world, &Request::default());
    assert_eq!(held(&plan), [("A", HoldReason::DiskFloor)]);
    world.local.room = Default::default();
    let plan = decide(&factory.config, &factory.registry, &world, &Request::default());
    assert_eq!(started(&plan).len(), 1, "a system that does not tell is no reason");
}

// covers: S19
#[test]
fn an_unknown_source_starts_nothing_and_ends_nothing() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    factory.see("a-impl.1", failed());
    factory.items = Observed::broken("the folder is gone");
    let plan = factory.tick_told();
    assert_eq!(told(&plan), ["fail a-impl.1 agent"], "agents that run are looked after");
    assert_eq!(held(&plan), [("A", HoldReason::SourceUnknown)]);
    factory.later(100_000);
    for _ in 0..5 {
        assert!(factory.tick_told().is_empty());
    }
}

// covers: V19
#[test]
fn a_role_without_its_variable_cools_off_until_it_is_set() {
    let mut factory = Factory::new(&["A"]);
    factory.missing_env.insert("implementer".into(), vec!["API_KEY".into()]);
    let plan = factory.tick_told();
    assert_eq!(told(&plan), ["cool_off "]);
    assert_eq!(held(&plan), [("A", HoldReason::CoolingOff)]);
    assert!(factory.tick_told().is_empty(), "said once");
    factory.missing_env.clear();
    assert_eq!(told(&factory.tick_told()), ["cool_off ", "start a-impl.1", "writeback A started"]);
}

// covers: X08 F09
#[test]
fn a_prompt_that_cannot_be_rendered_fails_that_attempt_alone() {
    let mut factory = Factory::new(&["A", "B"]);
    factory.config.roles[0].prompt = "{% if item.key == 'A' %}{{ item.nonsense }}{% endif %}".into();
    let plan = factory.tick_told();
    assert_eq!(told(&plan), ["fail A launch", "start b-impl.1", "writeback B started"]);
    assert_eq!(factory.record("A").attempts, 1);
    assert!(factory.registry.handoffs.is_empty());
}

// Found by the simulator: the hash stayed that of an older text, so each tick saw an edit and began anew.
#[test]
fn an_edit_that_cannot_be_rendered_is_a_new_life_once() {
    let mut factory = Factory::crew("[attempts]\nmax = 2", &["A"]).running("a-impl.1");
    factory.config.roles[0].prompt = "{% if item.body == 'bad' %}{{ nonsense }}{% endif %}".into();
    factory.see("a-impl.1", failed());
    factory.see("a-rev.1", succeeded());
    factory.tick_told();
    factory.edit("A", |item| item.body = "bad".into());
    assert_eq!(told(&factory.tick_told()), ["fail A launch"]);
    assert!(factory.tick_told().is_empty(), "its backoff is waited for");
    factory.later(4000);
    assert_eq!(told(&factory.tick_told()), ["fail A launch"]);
    assert_eq!(told(&factory.tick_told()), ["park A launch", "writeback A parked"]);
    assert!(factory.tick_told().is_empty());
    factory.edit("A", |item| item.body = "good".into());
    assert_eq!(told(&factory.tick_told())[..2], ["start a-impl.2", "start a-rev.2"]);
}

// Found by the simulator: it was charged again by every tick, and its crew went on without it.
// covers: X04
#[test]
fn a_role_that_starts_again_alone_and_cannot_be_rendered_fails_its_dispatch() {
    let mut factory = Factory::crew("", &["A"]).running("a-impl.1");
    let refused = Refusal { because: "no lock".into(), duplicate: false, machine: false };
    factory.see("a-rev.1", RunObservation::Refused(refused));
    factory.config.roles[1].prompt = "{{ nonsense }}".into();
    let plan = factory.tick_told();
    assert_eq!(told(&plan), ["fail a-rev.1 infra", "fail A launch", "stop a-impl.1"]);
    assert_eq!(factory.record("A").attempts, 1);
    factory.see("a-impl.1", RunObservation::Orphaned { claim: None });
    assert_eq!(told(&factory.tick_told()), ["reap a-impl.1"], "its claim could have been taken away");
    factory.see("a-impl.1", RunObservation::Ended(Box::default()));
    assert_eq!(told(&factory.tick_told()), ["forget a-impl.1"]);
    assert!(factory.tick_told().is_empty(), "its backoff is waited for");
}

// Origin: factory#244; P - equal numbers in two repositories shared an agent.
// covers: F11
#[test]
fn two_items_never_share_an_agent_or_a_workspace() {
    let mut factory = Factory::new(&["web#7", "web-7", "Web-7"]);
    factory.tick_told();
    let agents: std::collections::BTreeSet<_> = factory.registry.agents.keys().collect();
    assert_eq!(agents.len(), 3, "{agents:?}");
    let named: std::collections::BTreeSet<_> =
        factory.registry.names.items.values().map(|named| named.workspace.clone()).collect();
    assert_eq!(named.len(), 3, "{named:?}");
}

#[test]
fn one_item_alone_can_be_looked_at_within_the_limits_of_all() {
    let mut factory = Factory::with("[limits]\nitems_max = 1", &["A", "B"]);
    let only = |key: &str| Request { item: Some(id(key)), ..Request::default() };
    let plan = decide(&factory.config, &factory.registry, &factory.world(), &only("B"));
    assert_eq!(started(&plan), ["start b-impl.1"]);
    factory.tick_told();
    let plan = decide(&factory.config, &factory.registry, &factory.world(), &only("B"));
    assert_eq!(held(&plan), [("B", HoldReason::NoSlot)]);
}

// covers: D07 D42
#[test]
fn what_is_to_start_nothing_judges_and_ends_and_neither_starts_nor_resumes() {
    let mut factory = Factory::with("[limits]\nitems_max = 1", &["A", "B"]).running("a-impl.1");
    factory.see("a-impl.1", over(1, ExitReason::Exited, Some("s-1"), ""));
    let request = Request { hold_starts: Some("it is broken".to_owned()), ..Request::default() };
    let plan = decide(&factory.config, &factory.registry, &factory.world(), &request);
    assert_eq!(told(&plan), ["fail a-impl.1 agent"]);
    assert_eq!(held(&plan), [("A", HoldReason::Paused), ("B", HoldReason::Paused)]);
    assert!(plan.held.iter().all(|held| held.because == "it is broken" && held.until.is_none()));
    // It is about this decision alone.
    let plan = factory.plan();
    assert_eq!(told(&plan)[..2], ["fail a-impl.1 agent", "resume a-impl.2"]);
}

#[test]
fn what_was_not_tried_is_withdrawn_and_its_number_stays_used() {
    let mut factory = Factory::new(&["A"]);
    let plan = factory.tick();
    let (step, _) = plan.decisions().next().unwrap();
    let untried = StepOutcome { step, outcome: Outcome::NotTried("the tick's deadline") };
    factory.registry.note(&plan, &[untried], &factory.config.attempts, &factory.now);
    assert_eq!(factory.record("A").attempts, 0);
    assert_eq!(started(&factory.tick()), ["start a-impl.2"]);
}

// covers: D07 V31
#[test]
fn a_resume_that_was_not_tried_is_still_owed_and_not_counted() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    factory.see("a-impl.1", over(1, ExitReason::Exited, Some("s-1"), ""));
    let plan = factory.tick();
    let (step, _) = plan.decisions().find(|(_, d)| d.action.name() == "resume").unwrap();
    let untried = StepOutcome { step, outcome: Outcome::NotTried("the tick was told to end") };
    factory.registry.note(&plan, &[untried], &factory.config.attempts, &factory.now);
    assert_eq!(factory.agent("a-impl").resumes, 0);
    assert!(told(&factory.tick()).contains(&"resume a-impl.3".to_owned()));
}

// Origin: factory#292 - one refused item aborted the whole pass.
// covers: X09 F09
#[test]
fn a_group_that_fails_stops_only_itself() {
    let factory = Factory::new(&["A", "B"]);
    let plan = factory.plan();
    let groups: Vec<_> = plan.decisions().map(|(_, decision)| decision.group).collect();
    assert_eq!(groups, [1, 1, 2, 2]);
}

#[test]
fn a_fixpoint_decides_nothing() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    factory.see("a-impl.1", succeeded());
    factory.tick_told();
    // The item leaves the records for the index.
    assert!(factory.tick_told().is_empty());
    let before = factory.registry.clone();
    for _ in 0..10 {
        factory.later(86_400);
        assert!(factory.tick_told().is_empty());
        assert_eq!(factory.registry, before);
    }
}

// Found by the simulator: all but the last of a new crew started again "alone", unannounced and without it.
#[test]
fn a_crew_of_which_nobody_was_started_starts_again_whole() {
    let mut factory = Factory::crew("", &["A"]);
    let plan = factory.tick();
    let infra =
        Outcome::Start(StartOutcome::NotStarted { class: FailureClass::Infra, error: "no space".into() });
    let not_tried = Outcome::NotTried("its group failed");
    let outcome = [infra, not_tried.clone(), not_tried];
    let steps = plan.decisions().map(|(step, _)| step);
    let outcomes: Vec<_> = steps.zip(outcome).map(|(step, outcome)| StepOutcome { step, outcome }).collect();
    factory.registry.note(&plan, &outcomes, &factory.config.attempts, &factory.now);
    assert_eq!(told(&factory.tick()), ["start a-impl.2", "start a-rev.2", "writeback A started"]);
}

// Found by the simulator: the item counted as waiting while a session of it was still to go on.
#[test]
fn an_item_with_a_resume_still_owed_is_active_whatever_became_of_its_neighbour() {
    let mut factory = Factory::crew("", &["A"]).running("a-impl.1");
    factory.config.roles.iter_mut().for_each(|role| role.resume = vec!["agent".into(), "{session}".into()]);
    factory.see("a-impl.1", over(1, ExitReason::Exited, Some("s-1"), ""));
    factory.see("a-rev.1", over(1, ExitReason::Exited, Some("s-2"), ""));
    let plan = factory.tick();
    let resumes: Vec<_> = plan
        .decisions()
        .filter(|(_, one)| matches!(one.action, Action::Resume(_)))
        .map(|(step, _)| step)
        .collect();
    let missing = Outcome::Start(StartOutcome::NotStarted {
        class: FailureClass::Launch,
        error: "agent is not in PATH".into(),
    });
    let outcome = [missing, Outcome::NotTried("the tick's deadline")];
    let outcomes: Vec<_> =
        resumes.into_iter().zip(outcome).map(|(step, outcome)| StepOutcome { step, outcome }).collect();
    assert_eq!(outcomes.len(), 2);
    factory.config.attempts.max = 10;
    factory.registry.note(&plan, &outcomes, &factory.config.attempts, &factory.now);
    assert_eq!(factory.record("A").state, crate::registry::ItemPhase::Active);
}

// Found by the simulator: a session was sent on its way and called off in one plan, and started all the same.
#[test]
fn nothing_follows_of_a_dispatch_that_fails_in_the_same_plan() {
    let mut factory = Factory::crew("", &["A"]);
    let third = crate::config::Role {
        name: "third".into(),
        suffix: "third".into(),
        ..factory.config.roles[1].clone()
    };
    factory.config.roles.push(third);
    let mut factory = factory.running("a-third.1");
    factory.config.roles[0].resume = vec!["agent".into(), "{session}".into()];
    factory.config.roles[1].prompt = "{{ nonsense }}".into();
    factory.see("a-impl.1", over(1, ExitReason::Exited, Some("s-1"), ""));
    factory.see(
        "a-rev.1",
        RunObservation::Refused(Refusal { because: "no lock".into(), duplicate: false, machine: false }),
    );
    assert_eq!(
        told(&factory.tick_told()),
        ["adopt a-impl.1", "fail a-impl.1 agent", "fail a-rev.1 infra", "fail A launch", "stop a-third.1"]
    );
}
