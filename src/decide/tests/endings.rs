//! What an end means for what its agent does next: unfinished work, answers, limits of its own, hooks.

use super::*;
use crate::config::prompt;
use crate::model::{DoneWhen, FollowUp, FollowUpReason};
use crate::registry::ItemPhase;

/// One claude at one item.
fn claude(tables: &str) -> Factory {
    let role = "[[role]]\nname = \"implementer\"\nsuffix = \"impl\"\nharness = \"claude\"\n";
    let mut factory = Factory::configured(&format!("{tables}\n{role}"), &["A"]);
    factory.tick_told();
    factory
}

/// The plan of the tick that sees this run end with that output.
fn ends(factory: &mut Factory, run: &str, code: i32, output: Output) -> Plan {
    ends_saying(factory, run, code, output, Reported::default())
}

fn ends_saying(factory: &mut Factory, run: &str, code: i32, output: Output, reported: Reported) -> Plan {
    factory.see(run, alive());
    factory.tick_told();
    let exit = Some(exit(code, ExitReason::Exited, reported.clone()));
    let ended = Ended { claim: Some(launcher()), exit, reported, output, ..Ended::default() };
    factory.see(run, RunObservation::Ended(Box::new(ended)));
    factory.tick_told()
}

// Origin: claude waits 5 s for what its agent left running, stops it, and has called the session a success before.
// covers: P15
#[test]
fn first_unfinished_end_is_free_and_further_ones_cost_attempts() {
    let mut factory = claude("[attempts]\nmax = 3\nresumes_max = 1");
    let plan = ends(&mut factory, "a-impl.1", 0, recorded!("claude-background"));
    assert_eq!(told(&plan), ["fail a-impl.1 unfinished", "resume a-impl.2"]);
    let prompt = &launched(&plan).prompt;
    let begin = "You are not finished: the session ended while work of it still ran: Runs on.\n\n";
    assert!(prompt.starts_with(begin) && !prompt.contains("interrupted"), "{prompt}");
    assert_eq!((factory.record("A").attempts, factory.agent("a-impl").resumes), (0, 0));
    for (run, attempts) in [("a-impl.2", 1), ("a-impl.3", 2)] {
        let plan = ends(&mut factory, run, 0, recorded!("claude-background"));
        assert_eq!(told(&plan)[0], format!("fail {run} unfinished"));
        assert!(told(&plan)[1].starts_with("resume"), "`resumes_max` does not bound it: {:?}", told(&plan));
        assert_eq!((factory.record("A").attempts, factory.agent("a-impl").resumes), (attempts, 0));
    }
    let plan = ends(&mut factory, "a-impl.4", 0, recorded!("claude-background"));
    assert_eq!(told(&plan), ["fail a-impl.4 unfinished", "park A unfinished", "writeback A parked"]);
}

// covers: P15
#[test]
fn success_makes_the_next_unfinished_end_free_again() {
    let mut factory = claude("");
    ends(&mut factory, "a-impl.1", 0, recorded!("claude-background"));
    assert_eq!(factory.agent("a-impl").unfinished, 1);
    let plan = ends(&mut factory, "a-impl.2", 0, recorded!("claude-background-brief"));
    assert_eq!(told(&plan), ["done a-impl.2", "done A", "writeback A done"]);
    assert_eq!((factory.agent("a-impl").unfinished, factory.record("A").attempts), (0, 0));
}

// An agent that can't be resumed could start anew for ever, free each time.
// covers: P15
#[test]
fn unfinished_end_without_a_session_is_free_once() {
    let mut factory = claude("");
    let reported = Reported { unconnected: vec!["gone".into()], ..Reported::default() };
    factory.config.roles[0].harness = "codex".into();
    let done = recorded!("claude-fresh");
    let plan = ends_saying(&mut factory, "a-impl.1", 0, done.clone(), reported.clone());
    assert_eq!(told(&plan), ["fail a-impl.1 unfinished", "start a-impl.2", "writeback A started"]);
    factory.registry.agents.values_mut().for_each(|agent| agent.spec.harness = "claude".into());
    let plan = ends_saying(&mut factory, "a-impl.2", 0, done, reported);
    assert_eq!(told(&plan), ["fail a-impl.2 unfinished"]);
    assert_eq!(held(&plan), [("A", HoldReason::Backoff)]);
    assert_eq!(factory.record("A").attempts, 1);
}

// Origin: a session whose tool servers had not started said that it was done, and had done nothing of it.
// covers: P15b
#[test]
fn session_without_its_tools_is_unfinished() {
    let mut factory = claude("");
    let reported = Reported { unconnected: vec!["gone".into()], ..Reported::default() };
    let plan = ends_saying(&mut factory, "a-impl.1", 0, recorded!("claude-servers"), reported);
    assert_eq!(told(&plan), ["fail a-impl.1 unfinished", "resume a-impl.2"]);
    let begin = "You are not finished: the session had no connection to the tools of gone.";
    assert!(launched(&plan).prompt.starts_with(begin), "{}", launched(&plan).prompt);
}

// Origin: a session whose history the provider refused answered each resume with 400, each one charged.
// covers: P15c
#[test]
fn session_that_answers_a_resume_with_400_is_started_fresh_once() {
    let mut factory = claude("");
    factory.see("a-impl.1", alive());
    factory.tick_told();
    let plan = ends(&mut factory, "a-impl.1", 1, recorded!("claude-max-turns"));
    assert_eq!(told(&plan), ["fail a-impl.1 agent", "resume a-impl.2"]);
    let plan = ends(&mut factory, "a-impl.2", 1, recorded!("claude-resume-400"));
    assert_eq!(told(&plan), ["fail a-impl.2 session_gone"]);
    assert_eq!((factory.record("A").attempts, factory.agent("a-impl").session.as_deref()), (1, None));
    factory.later(3600);
    assert_eq!(told(&factory.tick_told()), ["start a-impl.3", "writeback A started"]);
    let plan = ends(&mut factory, "a-impl.3", 1, recorded!("claude-400"));
    assert_eq!(told(&plan)[0], "fail a-impl.3 agent", "a fresh one is charged as ever");
    assert_eq!(factory.record("A").attempts, 2);
}

fn retry(factory: &mut Factory, message: &str) {
    factory.order(Action::Retry {
        item: id("A"),
        go_on: vec![AgentName("a-impl".into())],
        message: Some(message.to_owned()),
    });
}

// A session that is gone took the answer with it: the fresh one asked the same again.
// covers: P17c
#[test]
fn fresh_session_knows_every_answer_so_far() {
    let mut factory = claude("");
    ends(&mut factory, "a-impl.1", 0, recorded!("claude-question"));
    retry(&mut factory, "the first one");
    let plan = factory.tick_told();
    assert_eq!(told(&plan), ["resume a-impl.2"]);
    assert_eq!(launched(&plan).spec.follow_ups[0].reason, FollowUpReason::Answer);
    assert_eq!(factory.agent("a-impl").resumes, 0, "`resumes_max` does not count it");
    let plan = ends(&mut factory, "a-impl.2", 1, recorded!("claude-resume-unknown"));
    let plan = if plan.decisions().count() > 1 { plan } else { factory.tick_told() };
    let prompt = &launched(&plan).prompt;
    let question = "You asked: Which of the two databases do you want me to use?\nThe answer: the first one";
    assert!(prompt.contains(question), "{prompt}");
}

// covers: P17
#[test]
fn answer_whose_run_never_ran_is_given_by_the_next_one() {
    let mut factory = claude("");
    ends(&mut factory, "a-impl.1", 0, recorded!("claude-question"));
    retry(&mut factory, "the first one");
    factory.tick_told();
    factory.see("a-impl.2", RunObservation::Fenced);
    let plan = factory.tick_told();
    assert_eq!(told(&plan), ["fail a-impl.2 infra", "resume a-impl.3"]);
    assert!(launched(&plan).prompt.contains("The answer: the first one"), "{}", launched(&plan).prompt);
    assert_eq!(launched(&plan).spec.follow_ups[0].reason, FollowUpReason::Answer);
    assert_eq!(factory.agent("a-impl").resumes, 0);
}

// covers: P17
#[test]
fn answer_whose_agent_never_began_is_given_by_the_next_one() {
    let mut factory = claude("");
    ends(&mut factory, "a-impl.1", 0, recorded!("claude-question"));
    retry(&mut factory, "the first one");
    factory.tick_told();
    let never_ran = Exit {
        error: Some("no process".into()),
        code: None,
        ..exit(0, ExitReason::Infra, Reported::default())
    };
    let ended = Ended { claim: Some(launcher()), exit: Some(never_ran), ..Ended::default() };
    factory.see("a-impl.2", RunObservation::Ended(Box::new(ended)));
    let plan = factory.tick_told();
    assert!(told(&plan).contains(&"resume a-impl.3".to_owned()), "{:?}", told(&plan));
    assert!(launched(&plan).prompt.contains("The answer: the first one"), "{}", launched(&plan).prompt);
}

// covers: P20c
#[test]
fn chosen_session_of_a_run_that_never_began_is_forgotten() {
    let ends_in_hook = |reason| {
        let mut factory = claude("");
        factory.see("a-impl.1", alive());
        factory.tick_told();
        let never_ran = Exit {
            error: Some("the hook failed".into()),
            code: None,
            ..exit(0, reason, Reported::default())
        };
        let ended = Ended { claim: Some(launcher()), exit: Some(never_ran), ..Ended::default() };
        factory.see("a-impl.1", RunObservation::Ended(Box::new(ended)));
        let plan = factory.tick_told();
        assert!(!told(&plan).iter().any(|line| line.starts_with("resume")), "{reason:?}: {:?}", told(&plan));
        factory.agent("a-impl").session.clone()
    };
    for reason in [ExitReason::Hook, ExitReason::Launch, ExitReason::Stopped] {
        assert_eq!(ends_in_hook(reason), None, "{reason:?}");
    }
    // Infra starts again within the same tick, with another chosen session.
    let mut factory = claude("");
    let first = factory.agent("a-impl").session.clone();
    factory.see("a-impl.1", RunObservation::Fenced);
    assert_eq!(told(&factory.tick_told())[1], "start a-impl.2");
    assert_ne!(factory.agent("a-impl").session, first);
}

// covers: P18
#[test]
fn item_parked_twice_in_one_dispatch_is_told_twice() {
    let mut factory = claude("");
    let plan = ends(&mut factory, "a-impl.1", 0, recorded!("claude-question"));
    assert_eq!(told(&plan).last().unwrap(), "writeback A parked");
    retry(&mut factory, "the first one");
    factory.tick_told();
    // It is claimed and ends between two ticks: none sees it run.
    factory.later(60);
    let reported = Reported::default();
    let exit = Some(exit(0, ExitReason::Exited, reported.clone()));
    let output = recorded!("claude-question");
    let ended = Ended { claim: Some(launcher()), exit, reported, output, ..Ended::default() };
    factory.see("a-impl.2", RunObservation::Ended(Box::new(ended)));
    assert_eq!(told(&factory.tick_told()).last().unwrap(), "writeback A parked");
    assert!(factory.tick_told().is_empty(), "and not a third time");
}

fn after_run_failed(required: bool, code: i32) -> (Factory, Plan) {
    let mut factory = Factory::with("[hooks]\nafter_run = [\"push\"]", &["A"]).running("a-impl.1");
    factory.config.hooks.after_run_required = required;
    let RunObservation::Ended(mut ended) = over(code, ExitReason::Exited, Some("s-1"), "") else {
        unreachable!()
    };
    ended.after_run = Some("exit code 3".to_owned());
    factory.see("a-impl.1", RunObservation::Ended(ended));
    let plan = factory.tick_told();
    (factory, plan)
}

// covers: P18b P18c
#[test]
fn failed_after_run_is_reported_and_parks_only_where_it_is_required() {
    let (factory, plan) = after_run_failed(false, 0);
    assert_eq!(plan.errors, ["a-impl.1: the after_run hook failed: exit code 3"]);
    assert_eq!(factory.record("A").state, ItemPhase::Done);
    assert_eq!(factory.agent("a-impl").after_run.as_deref(), Some("the after_run hook failed: exit code 3"));
    let (factory, plan) = after_run_failed(true, 0);
    assert_eq!(told(&plan), ["fail a-impl.1 needs_input", "park A needs_input", "writeback A parked"]);
    assert_eq!(factory.record("A").attempts, 0);
    // What failed by itself is tried again, and the hook with it.
    let (factory, plan) = after_run_failed(true, 1);
    assert_eq!(told(&plan), ["fail a-impl.1 agent", "resume a-impl.2"]);
    assert_eq!(factory.agent("a-impl").after_run, None, "its next run has begun");
}

// covers: P22b
#[test]
fn item_is_judged_by_the_strictest_rule_that_its_runs_were_given() {
    let mut factory = Factory::crew("", &["A"]).running("a-impl.1");
    factory.see("a-impl.1", succeeded());
    factory.tick_told();
    let command = "[done]\nwhen = \"command\"\ncommand = [\"is-done\"]";
    factory.config.done = Factory::crew(command, &[]).config.done;
    // Its crew was started before the command was configured: nobody asks.
    factory.see("a-rev.1", succeeded());
    let plan = factory.tick_told();
    assert_eq!(told(&plan), ["adopt a-rev.1", "done a-rev.1", "done A", "writeback A done"]);
    factory.edit("A", |item| item.body = "more".into());
    factory.tick_told();
    assert_eq!(factory.agent("a-impl").spec.done_when, DoneWhen::Command);
    // Taken away while they run, the command was asked all the same, and its answer counts.
    factory.config.done = crate::config::Done::Exit;
    let RunObservation::Ended(mut not_yet) = succeeded() else { unreachable!() };
    not_yet.exit.as_mut().unwrap().done = Some(1);
    factory.see("a-impl.2", RunObservation::Ended(not_yet.clone()));
    factory.see("a-rev.2", RunObservation::Ended(not_yet));
    factory.tick_told();
    assert_ne!(factory.record("A").state, ItemPhase::Done);
    factory.later(60);
    assert!(told(&factory.tick_told())[0].starts_with("start"), "its agents go on, by the rule of today");
    assert_eq!(factory.agent("a-impl").spec.done_when, DoneWhen::Exit);
}

// Found by the simulator: an answer was due, the role lost its resume command, and its agent started without its crew.
// covers: P04 P17
#[test]
fn session_that_can_not_be_resumed_any_more_starts_with_its_crew() {
    let mut factory = Factory::crew("[attempts]\nmax = 1", &["A"]).running("a-impl.1");
    factory.config.roles[0].resume = vec!["agent".into(), "{session}".into()];
    factory.see("a-rev.1", failed());
    let reported =
        Reported { session: Some("s-1".into()), park: Some("which?".into()), ..Reported::default() };
    let exit = Some(exit(0, ExitReason::Exited, reported.clone()));
    factory.see("a-impl.1", RunObservation::Ended(Box::new(Ended { exit, reported, ..Ended::default() })));
    factory.tick_told();
    assert_eq!(factory.record("A").state, ItemPhase::Parked);
    retry(&mut factory, "the first one");
    factory.config.roles[0].resume.clear();
    let plan = factory.tick_told();
    assert_eq!(told(&plan)[..2], ["start a-impl.2", "start a-rev.2"]);
    assert!(launched(&plan).prompt.contains("The answer: the first one"), "{}", launched(&plan).prompt);
}

#[test]
fn one_run_is_told_of_all_that_its_agent_has_pending() {
    let mut factory = claude("").running("a-impl.1");
    ends(&mut factory, "a-impl.1", 0, recorded!("claude-question"));
    retry(&mut factory, "the first one");
    let agent = factory.registry.agents.get_mut(&AgentName("a-impl".to_owned())).unwrap();
    let text = |text: &str| Some(text.to_owned());
    let due_at = factory.now.at;
    let later = factory.now.after(Duration::from_secs(60));
    agent
        .follow_ups
        .push(FollowUp { text: text("Left."), ..FollowUp::new(FollowUpReason::NotDone, true, due_at) });
    agent
        .follow_ups
        .push(FollowUp { text: text("Right."), ..FollowUp::new(FollowUpReason::Unfinished, false, later) });
    let plan = factory.tick_told();
    assert_eq!(told(&plan), ["resume a-impl.2"]);
    let launch = launched(&plan);
    let at = |part: &str| {
        launch.prompt.find(part).unwrap_or_else(|| panic!("{part} is missing in {}", launch.prompt))
    };
    let built_in = [prompt::BUILT_IN_ANSWERED, prompt::BUILT_IN_UNFINISHED, prompt::BUILT_IN_CONTINUE];
    let order = [at("The answer: the first one"), at("Left."), at("Right.")];
    assert!(order.is_sorted(), "{}", launch.prompt);
    assert!(built_in.iter().all(|words| at(words) > order[2]), "{}", launch.prompt);
    assert_eq!(launch.spec.resumes, 0, "no failure is among them");
    assert_eq!(factory.agent("a-impl").follow_ups, [], "the start empties the queue");
    // It never ran: all of it is to be done still.
    factory.see("a-impl.2", RunObservation::Fenced);
    let plan = factory.tick_told();
    assert_eq!(launched(&plan).spec.follow_ups.len(), 3);
}
