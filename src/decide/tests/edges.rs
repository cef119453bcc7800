//! Where one rule ends and the next one begins: exactly at a limit, exactly in time, of this item and of no other.

use super::*;
use crate::model::{RecordUpdate, Step, UnreadableItem};
use crate::registry::ItemPhase;

fn renews(plan: &Plan) -> bool {
    plan.steps.iter().any(|step| matches!(step, Step::RecordUpdate(RecordUpdate::Renew { .. })))
}

fn reap_only(factory: &Factory) -> Plan {
    let request = Request { reap_only: true, ..Request::default() };
    decide(&factory.config, &factory.registry, &factory.world(), &request)
}

/// The notes of a plan.
fn notes(plan: &Plan) -> Vec<&crate::model::Writeback> {
    let notes = plan.decisions().filter_map(|(_, decision)| match &decision.action {
        Action::Writeback(note) => Some(&**note),
        _ => None,
    });
    notes.collect()
}

// ---------------------------------------------------------------------------------------------
// Limits

// covers: S19
#[test]
fn exactly_the_disk_floor_is_enough() {
    let factory = Factory::new(&["A"]);
    let mut world = factory.world();
    let least = factory.config.limits.disk_free_min_bytes;
    world.local.room = room(least, least);
    let plan = decide(&factory.config, &factory.registry, &world, &Request::default());
    assert_eq!(told(&plan)[0], "start a-impl.1");
}

// covers: V42
#[test]
fn a_run_that_cost_exactly_what_it_may_has_not_cost_too_much() {
    for (usd, parked) in [(2.0, false), (2.01, true)] {
        let mut factory = Factory::with("[budget]\nusd_per_run = 2", &["A"]).running("a-impl.1");
        let now = factory.now.clone();
        factory.registry.spend(&"a-impl.1".parse().unwrap(), Some(usd), None, &now);
        factory.see("a-impl.1", failed());
        factory.tick_told();
        assert_eq!(factory.record("A").state == ItemPhase::Parked, parked, "{usd}");
    }
}

// ---------------------------------------------------------------------------------------------
// Edits

/// Nothing was tried of it, or what was tried has left nothing that an edit could undo: then an edit is no new life.
#[test]
fn an_edit_is_a_new_life_for_what_failed_waits_or_is_partly_done() {
    let renewed = |change: fn(&mut Factory)| {
        let mut factory = Factory::crew("", &["A"]);
        factory.tick_told();
        for agent in factory.registry.agents.values_mut() {
            (agent.state, agent.run, agent.since) = (crate::registry::AgentPhase::Idle, None, None);
        }
        factory.registry.items.get_mut(&id("A")).unwrap().state = ItemPhase::Waiting;
        change(&mut factory);
        factory.edit("A", |item| item.body = "more".into());
        renews(&factory.plan())
    };
    fn a(factory: &mut Factory) -> &mut ItemRecord {
        factory.registry.items.get_mut(&id("A")).unwrap()
    }
    assert!(!renewed(|_| {}));
    assert!(renewed(|factory| a(factory).attempts = 1));
    assert!(renewed(|factory| a(factory).due_at = Some(moment(1000).at)));
    assert!(renewed(|factory| a(factory).uncharged_streak = 1));
    assert!(renewed(|factory| factory.registry.agents.values_mut().next().unwrap().succeeded = true));
}

#[test]
fn a_new_name_or_place_of_an_item_is_remembered() {
    for change in
        [(|item| item.key = "A-2".into()) as fn(&mut WorkItem), |item| item.origin = "b/A.md".into()]
    {
        let mut factory = Factory::new(&["A"]).running("a-impl.1");
        let item = factory.item("A");
        change(item);
        let seen = (item.key.clone(), item.origin.clone());
        factory.tick_told();
        assert_eq!((factory.record("A").key.clone(), factory.record("A").origin.clone()), seen);
        assert_eq!(factory.record("A").slug, "a", "its agents keep their names");
    }
}

// covers: I15
#[test]
fn a_malformed_file_says_nothing_of_any_other_item() {
    let gone = |unreadable: ItemId| {
        let mut factory = Factory::new(&["A"]).running("a-impl.1");
        factory.remove("A");
        factory.unreadable = vec![UnreadableItem {
            origin: "elsewhere.md".into(),
            id: Some(unreadable),
            why: "not TOML".into(),
        }];
        factory.tick_told();
        told(&factory.tick_gone())
    };
    assert_eq!(gone(id("A")), Vec::<String>::new(), "it may be this one, in another place");
    assert_eq!(gone(id("B")), ["stop a-impl.1"]);
}

#[test]
fn what_ends_a_run_says_whether_its_item_was_closed_left_the_scope_or_is_gone() {
    let because = |change: fn(&mut Factory)| {
        let mut factory = Factory::new(&["A"]).running("a-impl.1");
        factory.config.scope.title_prefix = "title".into();
        change(&mut factory);
        factory.tick_told();
        let plan = factory.tick_gone();
        assert_eq!(told(&plan), ["stop a-impl.1"]);
        plan.decisions().map(|(_, decision)| decision.because.clone()).next().unwrap()
    };
    assert_eq!(because(|factory| factory.remove("A")), "its item is gone");
    assert_eq!(
        because(|factory| factory.edit("A", |item| item.state = ItemState::Closed)),
        "its item was closed"
    );
    assert_eq!(
        because(|factory| factory.edit("A", |item| item.title = "another".into())),
        "its item left the scope"
    );
}

#[test]
fn a_prompt_tells_which_attempt_it_is() {
    let mut factory = Factory::new(&["A"]);
    factory.config.roles[0].prompt = "attempt {{ attempt }}".into();
    let prompt = |plan: &Plan| {
        plan.decisions().find_map(|(_, decision)| match &decision.action {
            Action::Start(launch) => Some(launch.prompt.clone()),
            _ => None,
        })
    };
    assert_eq!(prompt(&factory.tick_told()).as_deref(), Some("attempt 1"));
    factory.see("a-impl.1", failed());
    factory.tick_told();
    factory.later(7200);
    assert_eq!(prompt(&factory.tick_told()).as_deref(), Some("attempt 2"));
}

// ---------------------------------------------------------------------------------------------
// Notes

#[test]
fn a_note_is_of_the_runs_of_its_dispatch_alone() {
    let mut factory = Factory::crew("", &["A"]).running("a-impl.1");
    factory.see("a-impl.1", succeeded());
    factory.see("a-rev.1", failed());
    factory.tick_told();
    factory.later(7200);
    let plan = factory.tick_told();
    let runs: Vec<_> = notes(&plan)[0].runs.iter().map(ToString::to_string).collect();
    assert_eq!(runs, ["a-rev.2"], "the implementer was done in the dispatch before");
}

#[test]
fn that_an_item_is_done_is_told_with_what_made_it_done() {
    let ended = |tables: &str, answer, plain: bool| {
        let mut factory = Factory::with(tables, &["A"]).running("a-impl.1");
        let RunObservation::Ended(mut ended) = succeeded() else { unreachable!() };
        ended.exit.as_mut().unwrap().done = answer;
        factory.see("a-impl.1", RunObservation::Ended(ended));
        let mut plan = factory.tick_told();
        if !plain {
            factory.edit("A", |item| item.state = ItemState::Closed);
            factory.later(60);
            factory.tick_told();
            plan = factory.tick_gone();
        }
        notes(&plan)[0].because.clone()
    };
    assert_eq!(ended("", None, true), "every role ended well");
    let command = "[done]\nwhen = \"command\"\ncommand = [\"is-done\"]\n";
    assert_eq!(ended(command, Some(0), true), "every role ended well, and the done command says so");
    let source = "[done]\nwhen = \"source\"\n";
    assert_eq!(ended(source, None, false), "every role ended well, and it left its source");
}

// ---------------------------------------------------------------------------------------------
// Runs

#[test]
fn what_is_only_to_end_processes_judges_no_run_and_starts_none() {
    let mut factory = Factory::new(&["A", "B", "C"]).running("a-impl.1");
    factory.see("a-impl.1", succeeded());
    factory.see("b-impl.1", RunObservation::Fenced);
    factory.see("c-impl.1", RunObservation::Orphaned { claim: Some(launcher()) });
    assert_eq!(told(&reap_only(&factory)), ["reap c-impl.1"]);
}

fn held_until(plan: &Plan) -> Option<Timestamp> {
    plan.held.iter().find(|held| held.code == HoldReason::Backoff)?.until
}

// covers: V30
#[test]
fn each_further_failure_waits_as_long_as_its_number_says_whether_it_started_or_not() {
    for end in [failed(), over(127, ExitReason::Launch, None, "")] {
        let mut factory = Factory::with("[attempts]\nmax = 9\njitter = 0", &["A"]);
        for n in 1..=3 {
            factory.tick_told();
            factory.see(&format!("a-impl.{n}"), end.clone());
            let plan = factory.tick_told();
            let wait = crate::registry::backoff::backoff(&factory.config.attempts, &id("A"), n);
            assert_eq!(held_until(&plan), Some(factory.now.after(wait)), "failure {n}");
            factory.later(7200);
        }
    }
}

// covers: V30
#[test]
fn a_prompt_that_cannot_be_rendered_waits_longer_each_time() {
    let mut factory = Factory::with("[attempts]\nmax = 9\njitter = 0", &["A"]);
    factory.config.roles[0].prompt = "{{ item.title | nobody_knows_this }}".into();
    for n in 1..=3 {
        let plan = factory.tick_told();
        assert_eq!(told(&plan), ["fail A launch"]);
        let wait = crate::registry::backoff::backoff(&factory.config.attempts, &id("A"), n);
        assert_eq!(factory.record("A").due_at, Some(factory.now.after(wait)), "failure {n}");
        factory.later(7200);
    }
}

/// Parking waits for what still runs, as an edit may be a new life. Its sessions do not use the time.
#[test]
fn after_the_last_attempt_no_session_goes_on_though_an_edit_keeps_the_item_from_being_parked() {
    let mut factory = Factory::crew("[attempts]\nmax = 1", &["A"]);
    factory.config.roles.iter_mut().for_each(|role| role.resume = vec!["agent".into(), "{session}".into()]);
    factory.tick_told();
    factory.see("a-impl.1", alive());
    factory.see("a-rev.1", alive());
    factory.tick_told();
    factory.edit("A", |item| item.body = "more".into());
    factory.see("a-impl.1", over(1, ExitReason::Exited, Some("s-1"), ""));
    assert_eq!(told(&factory.tick_told()), ["fail a-impl.1 agent"]);
    assert_eq!((factory.record("A").attempts, factory.record("A").state), (1, ItemPhase::Active));
}

#[test]
fn a_session_goes_on_only_with_the_harness_that_it_is_of_and_where_that_can_resume() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    let reported = Reported { session: Some("s-1".into()), park: None, ..Reported::default() };
    factory.see("a-impl.1", alive_saying(None, reported));
    factory.tick_told();
    let goes_on =
        |factory: &Factory| crate::decide::can_go_on(&factory.config, factory.agent("a-impl"), false);
    assert!(goes_on(&factory));
    let mut other = factory.config.clone();
    std::mem::swap(&mut factory.config, &mut other);
    factory.config.roles[0].harness = "another".into();
    assert!(!goes_on(&factory), "what another program said is no session of this one");
    std::mem::swap(&mut factory.config, &mut other);
    factory.config.roles[0].resume = Vec::new();
    assert!(!goes_on(&factory), "nobody knows how");
}

// covers: I13
#[test]
fn that_an_earlier_dispatch_was_told_is_no_word_of_the_next_one() {
    let mut factory = Factory::with("[writeback]\nstarted = \"required\"", &["A"]).running("a-impl.1");
    factory.see("a-impl.1", failed());
    factory.tick_told();
    factory.later(7200);
    // The tick that starts it again dies before it tells: its run is seen, and its end is not judged.
    factory.tick();
    factory.see("a-impl.2", alive());
    factory.tick();
    factory.see("a-impl.2", succeeded());
    let plan = factory.tick_told();
    assert_eq!(told(&plan), ["writeback A started"]);
    assert_eq!(told(&factory.tick_told())[0], "done a-impl.2");
}

#[test]
fn an_item_in_flight_has_its_slot_for_whatever_else_goes_on_of_it() {
    let mut factory = Factory::crew("[limits]\nitems_max = 1\n[limits.per_label]\nx = 1", &["A"]);
    factory.config.roles.iter_mut().for_each(|role| role.resume = vec!["agent".into(), "{session}".into()]);
    factory.edit("A", |item| item.labels = vec!["x".into()]);
    factory.tick_told();
    factory.see("a-rev.1", alive());
    factory.see("a-impl.1", over(1, ExitReason::Exited, Some("s-1"), ""));
    assert!(told(&factory.tick_told()).contains(&"resume a-impl.2".to_owned()));
}

fn forgotten(factory: &mut Factory, run: &str, observation: RunObservation) {
    let spec = unrecorded_spec(run, 1);
    factory.see(run, observation);
    factory.unrecorded.push(crate::model::UnrecordedRun { run: run.parse().unwrap(), spec: Some(spec) });
}

// covers: D26
#[test]
fn a_recorded_run_of_which_nothing_can_live_is_not_ended_for_a_later_one_that_was_forgotten() {
    for (recorded, ended) in [(alive(), true), (RunObservation::Fenced, false), (succeeded(), false)] {
        let mut factory = Factory::new(&["A"]).running("a-impl.1");
        factory.see("a-impl.1", recorded);
        forgotten(&mut factory, "a-impl.2", alive());
        assert_eq!(told(&factory.plan()).contains(&"stop a-impl.1".to_owned()), ended);
    }
}

#[test]
fn a_tick_for_one_item_leaves_the_forgotten_runs_of_others_to_a_tick_for_all() {
    let mut factory = Factory::new(&["A", "B"]);
    forgotten(&mut factory, "a-impl.1", alive());
    let adopted = |item: Option<&str>| {
        let request = Request { item: item.map(id), ..Request::default() };
        let plan = decide(&factory.config, &factory.registry, &factory.world(), &request);
        told(&plan).contains(&"adopt a-impl.1".to_owned())
    };
    assert_eq!([Some("A"), Some("B"), None].map(adopted), [true, false, true]);
}
