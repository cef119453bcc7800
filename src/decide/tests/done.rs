//! What it takes for an item to be done, beside that every role ended well.

use super::*;
use crate::model::{Decision, Step};
use crate::registry::ItemPhase;

const SOURCE: &str = "[done]\nwhen = \"source\"\n";
const COMMAND: &str = "[done]\nwhen = \"command\"\ncommand = [\"is-done\"]\n";

/// It ended with 0, printed that and named that session; the done command answered so.
fn ended(prints: &str, session: Option<&str>, answer: Option<i32>) -> RunObservation {
    let RunObservation::Ended(mut ended) = over(0, ExitReason::Exited, session, "") else { unreachable!() };
    ended.output.stdout_tail = prints.to_owned();
    ended.exit.as_mut().unwrap().done = answer;
    RunObservation::Ended(ended)
}

fn see(factory: &mut Factory, run: &str, observation: RunObservation) -> Plan {
    factory.see(run, observation);
    factory.tick_told()
}

/// One more tick, a minute later.
fn next(factory: &mut Factory) -> Vec<String> {
    factory.later(60);
    told(&factory.tick_told())
}

// covers: I24
#[test]
fn an_item_is_done_when_it_left_its_source_and_not_before() {
    let mut factory = Factory::with(SOURCE, &["A"]).running("a-impl.1");
    let plan = see(&mut factory, "a-impl.1", ended("closed it", Some("s-1"), None));
    assert_eq!(told(&plan), ["done a-impl.1"], "whether it did is seen by the next tick");
    assert_eq!(held(&plan), [("A", HoldReason::AlreadyActive)]);
    factory.edit("A", |item| item.state = ItemState::Closed);
    assert_eq!(next(&mut factory), Vec::<String>::new(), "one read is not enough");
    assert_eq!(next(&mut factory), ["done A", "writeback A done"]);
    assert_eq!(factory.record("A").state, ItemPhase::Done);
    assert_eq!(next(&mut factory), ["forget A"]);
    assert!(next(&mut factory).is_empty());
}

// covers: I24
#[test]
fn what_left_its_source_before_its_agents_ended_well_is_not_done() {
    let mut factory = Factory::with(SOURCE, &["A"]).running("a-impl.1");
    factory.edit("A", |item| item.state = ItemState::Closed);
    next(&mut factory);
    assert_eq!(next(&mut factory), ["stop a-impl.1"]);
    factory.see("a-impl.1", RunObservation::Ended(Box::default()));
    assert!(next(&mut factory).starts_with(&["forget a-impl.1".to_owned(), "forget A".to_owned()]));
}

// covers: I27 S27
#[test]
fn while_it_is_open_its_session_goes_on_and_costs_no_attempt() {
    let mut factory = Factory::with(SOURCE, &["A"]).running("a-impl.1");
    see(&mut factory, "a-impl.1", ended("a part", Some("s-1"), None));
    assert_eq!(next(&mut factory), ["resume a-impl.2"]);
    assert_eq!((factory.record("A").attempts, factory.record("A").continued), (0, 1));
    // `resumes_max` bounds what follows failures; this has a bound of its own.
    see(&mut factory, "a-impl.2", ended("another part", Some("s-1"), None));
    assert_eq!(next(&mut factory), ["resume a-impl.3"]);
    assert_eq!((factory.agent("a-impl").resumes, factory.record("A").continued), (0, 2));
}

// The reviewer had ended well in the first dispatch, the implementer in the second. When both went on, the reviewer's end did
// not count, as one of an earlier dispatch: it was started once more, from the beginning.
#[test]
fn whoever_goes_on_counts_whichever_dispatch_it_is_of() {
    let role = |name: &str| {
        format!(
            "[[role]]\nname = \"{name}\"\nsuffix = \"{name}\"\ncommand = [\"x\"]\nresume = [\"x\", \"{{session}}\"]\n"
        )
    };
    let tables = format!("{SOURCE}[attempts]\njitter = 0\n{}{}", role("impl"), role("rev"));
    let mut factory = Factory::configured(&tables, &["A"]);
    factory.tick_told();
    factory.see("a-impl.1", failed());
    factory.see("a-rev.1", ended("looked", Some("s-rev"), None));
    factory.tick_told();
    factory.later(600);
    factory.tick_told();
    see(&mut factory, "a-impl.2", ended("a part", Some("s-impl"), None));
    assert_eq!((factory.agent("a-rev").spec.dispatch, factory.agent("a-impl").spec.dispatch), (1, 2));
    assert_eq!(next(&mut factory), ["resume a-impl.3", "resume a-rev.2"]);
    factory.see("a-impl.3", ended("all of it", Some("s-impl"), None));
    factory.see("a-rev.2", ended("looked again", Some("s-rev"), None));
    factory.tick_told();
    assert!(factory.agent("a-rev").succeeded && factory.agent("a-impl").succeeded);
}

// It was told to have been interrupted, looked, found that it had finished, and ended again.
#[test]
fn a_session_is_told_whether_it_was_interrupted_or_is_not_done() {
    let prompt = |plan: &Plan| {
        plan.steps.iter().find_map(|step| match step {
            Step::Decide(Decision { action: Action::Resume(launch), .. }) => Some(launch.prompt.clone()),
            _ => None,
        })
    };
    let resumed = |end: RunObservation, resume_prompt: Option<&str>| {
        let mut factory = Factory::with(SOURCE, &["A"]).running("a-impl.1");
        factory.config.roles[0].resume_prompt = resume_prompt.map(str::to_owned);
        let plan = see(&mut factory, "a-impl.1", end);
        factory.later(60);
        prompt(&plan).or_else(|| prompt(&factory.tick_told())).expect("it goes on")
    };
    let fails = || over(1, ExitReason::Exited, Some("s-1"), "");
    let ends_well = || ended("a part", Some("s-1"), None);
    assert_eq!(resumed(fails(), None), crate::config::prompt::BUILT_IN_RESUME);
    assert_eq!(resumed(ends_well(), None), crate::config::prompt::BUILT_IN_CONTINUE);
    assert_eq!(resumed(ends_well(), Some("Close it.")), "Close it.");
}

// covers: I28
#[test]
fn what_prints_the_same_again_has_no_effect_and_waits_for_a_person() {
    let mut factory = Factory::with(SOURCE, &["A"]).running("a-impl.1");
    see(&mut factory, "a-impl.1", ended("nothing to do", None, None));
    assert_eq!(next(&mut factory), ["start a-impl.2", "writeback A started"]);
    see(&mut factory, "a-impl.2", ended("nothing to do", None, None));
    assert_eq!(next(&mut factory), ["park A no_effect", "writeback A parked"]);
    assert!(next(&mut factory).is_empty());
    // An edit is a reason to look again, and what was printed before it does not count.
    factory.edit("A", |item| item.body = "the other one".into());
    assert_eq!(next(&mut factory)[0], "start a-impl.3");
    see(&mut factory, "a-impl.3", ended("nothing to do", None, None));
    assert_eq!(next(&mut factory)[0], "start a-impl.4");
}

// covers: I28 S27
#[test]
fn it_goes_on_as_often_as_it_may_fail() {
    let mut factory =
        Factory::with(&format!("{SOURCE}[attempts]\nmax = 2\nresumes_max = 9"), &["A"]).running("a-impl.1");
    for n in 1..=2 {
        see(&mut factory, &format!("a-impl.{n}"), ended(&format!("part {n}"), Some("s-1"), None));
        assert_eq!(next(&mut factory), [format!("resume a-impl.{}", n + 1)]);
    }
    see(&mut factory, "a-impl.3", ended("part 3", Some("s-1"), None));
    assert_eq!(next(&mut factory), ["park A no_effect", "writeback A parked"]);
    let words = &factory.record("A").last.as_ref().unwrap().because;
    assert_eq!(words, "its agents went on 2 times, and it is not done");
    // A person's word goes to the session, and everything may be tried as often again.
    let go_on = vec![crate::model::AgentName("a-impl".into())];
    let action = Action::Retry { item: id("A"), go_on, message: Some("close it".into()) };
    let retry = Decision { action, item: Some(id("A")), because: String::new(), group: 0 };
    factory.registry.intend(&Plan { steps: vec![Step::Decide(retry)], ..Plan::default() }, &factory.now);
    assert_eq!(next(&mut factory), ["resume a-impl.4"]);
    assert_eq!(factory.record("A").continued, 0);
}

// covers: I27 I28
#[test]
fn a_crew_goes_on_together() {
    let mut factory = Factory::crew(SOURCE, &["A"]).running("a-impl.1");
    factory.config.roles[0].resume = vec!["agent".into(), "{session}".into()];
    factory.see("a-rev.1", ended("looked", None, None));
    let plan = see(&mut factory, "a-impl.1", ended("a part", Some("s-1"), None));
    assert_eq!(told(&plan), ["done a-impl.1", "adopt a-rev.1", "done a-rev.1"]);
    assert_eq!(next(&mut factory), ["resume a-impl.2", "start a-rev.2"], "in the same dispatch");
    assert_eq!(factory.record("A").dispatch, 1);
    // One that gets further is enough.
    factory.see("a-rev.2", ended("looked", None, None));
    see(&mut factory, "a-impl.2", ended("the rest", None, None));
    assert_eq!(next(&mut factory)[..2], ["resume a-impl.3", "start a-rev.3"]);
}

// covers: I24 I15
#[test]
fn a_source_that_cannot_be_read_and_a_spoiled_file_say_nothing() {
    let mut factory = Factory::with(SOURCE, &["A"]).running("a-impl.1");
    see(&mut factory, "a-impl.1", ended("closed it", Some("s-1"), None));
    let items = std::mem::replace(&mut factory.items, Observed::broken("the folder is gone"));
    assert!(next(&mut factory).is_empty());
    factory.items = items;
    factory.remove("A");
    factory.unreadable = vec![crate::model::UnreadableItem {
        origin: "A.md".into(),
        id: Some(id("A")),
        why: "A.md can't be read".into(),
    }];
    for _ in 0..3 {
        assert!(next(&mut factory).is_empty());
    }
}

// covers: I25
#[test]
fn the_command_says_done_not_yet_or_nothing_that_can_be_told() {
    let answered = |answer| {
        let mut factory = Factory::with(COMMAND, &["A"]).running("a-impl.1");
        let plan = see(&mut factory, "a-impl.1", ended("a part", Some("s-1"), answer));
        let mut told = told(&plan);
        told.extend(next(&mut factory));
        (told, factory)
    };
    let (told, _) = answered(Some(0));
    assert_eq!(told, ["done a-impl.1", "done A", "writeback A done"]);
    let (told, _) = answered(Some(1));
    assert_eq!(told, ["done a-impl.1", "resume a-impl.2"]);
    for (answer, words) in [(Some(2), "answered 2"), (None, "answered nothing")] {
        let (told, factory) = answered(answer);
        assert_eq!(told, ["done a-impl.1", "park A infra", "writeback A parked"]);
        let because = &factory.record("A").last.as_ref().unwrap().because;
        assert!(because.contains(words), "{because}");
        assert!(!factory.agent("a-impl").succeeded, "a retry asks again, at the end of another run");
    }
}

// covers: I26
#[test]
fn the_command_is_not_asked_after_a_failure_and_its_launcher_gets_the_time_to_ask() {
    let mut factory = Factory::with(COMMAND, &["A"]).running("a-impl.1");
    // Deadline 1 h, grace 10 s and 2 s: without the minute for the command it would count as stuck.
    factory.later(3600 + 12 + 59);
    let late_after = LATE_AFTER + Duration::from_secs(60);
    let (claim, reported) = (Some(launcher()), Reported::default());
    factory.see("a-impl.1", RunObservation::Alive { claim, reported, late_after });
    assert!(factory.tick_told().is_empty());
    factory.later(2);
    assert_eq!(told(&factory.tick_told())[0], "stop a-impl.1");
}

// How long that is, its fleet knows: a launcher may ask for an answer, and run a hook.
#[test]
fn launcher_is_late_only_after_the_time_that_its_fleet_tells() {
    let late = |late_after: u64, age: u64| {
        let mut factory = Factory::new(&["A"]).running("a-impl.1");
        let exit = exit(0, ExitReason::Exited, Reported::default());
        factory.later(1 + age);
        let late_after = Duration::from_secs(late_after);
        let claim = Some(launcher());
        factory.see("a-impl.1", RunObservation::Sweeping { claim, exit: Box::new(exit), late_after });
        !factory.plan().is_empty()
    };
    assert!(!late(12, 12) && late(12, 13));
    assert!(!late(72, 72) && late(72, 73));
}

// Found by the simulator: the wait after a failure that a resume had got over held up what followed it.
// covers: I27
#[test]
fn a_failure_that_was_got_over_holds_nothing_up() {
    let mut factory = Factory::with(SOURCE, &["A"]).running("a-impl.1");
    let plan = see(&mut factory, "a-impl.1", over(1, ExitReason::Exited, Some("s-1"), "boom"));
    assert!(told(&plan).contains(&"resume a-impl.2".to_owned()));
    see(&mut factory, "a-impl.2", ended("a part", Some("s-1"), None));
    assert!(factory.record("A").due_at.is_some());
    assert_eq!(next(&mut factory)[0], "resume a-impl.3");
    assert_eq!(factory.record("A").due_at, None);
}

// Read by hand: a retry between the end of an agent and the next tick made its command's answer unknown.
// covers: I25
#[test]
fn a_retry_just_after_a_good_end_forgets_no_answer() {
    let mut factory = Factory::with(COMMAND, &["A"]).running("a-impl.1");
    see(&mut factory, "a-impl.1", ended("a part", None, Some(1)));
    let action = Action::Retry { item: id("A"), go_on: vec![], message: None };
    let retry = Decision { action, item: Some(id("A")), because: String::new(), group: 0 };
    factory.registry.intend(&Plan { steps: vec![Step::Decide(retry)], ..Plan::default() }, &factory.now);
    assert_eq!(next(&mut factory)[0], "start a-impl.2");
}

// covers: I12
#[test]
fn a_person_parks_what_ended_well_and_nothing_of_it_goes_on() {
    let mut factory = Factory::with(SOURCE, &["A"]).running("a-impl.1");
    see(&mut factory, "a-impl.1", ended("a part", Some("s-1"), None));
    let action = Action::Park { item: id("A"), class: None, by_person: true };
    let park = Decision { action, item: Some(id("A")), because: "not now".into(), group: 0 };
    factory.registry.intend(&Plan { steps: vec![Step::Decide(park)], ..Plan::default() }, &factory.now);
    assert_eq!(next(&mut factory), ["writeback A parked"]);
    assert!(next(&mut factory).is_empty());
}
