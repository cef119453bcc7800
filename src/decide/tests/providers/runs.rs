//! What runs of the presets are started with, and what they used.

use super::*;

// covers: V34
#[test]
fn claude_is_started_with_a_session_of_ours_and_its_own_variables() {
    let mut factory = factory("claude", &["A"]);
    let plan = factory.tick_told();
    let launch = launched(&plan);
    let session = harness::chosen_session("lineage", &launch.spec.id);
    assert_eq!(launch.spec.chosen_session.as_deref(), Some(session.as_str()));
    assert!(
        launch.argv.windows(2).any(|pair| pair == ["--session-id", session.as_str()]),
        "{:?}",
        launch.argv
    );
    assert!(launch.env.iter().any(|name| name == "ANTHROPIC_API_KEY"));
    let agent = factory.agent("a-impl");
    assert_eq!((agent.session.as_deref(), agent.spec.is_resume()), (Some(session.as_str()), false));
}

// Origin: a claude that is killed has a session or has none, and nobody can tell from outside.
// covers: V34 V13
#[test]
fn a_killed_claude_is_resumed_with_the_session_that_was_chosen() {
    let mut factory = factory("claude", &["A"]);
    let first = launched(&factory.tick_told()).spec.chosen_session.clone();
    factory.claimed("a-impl.1");
    factory.printed("a-impl.1", 137, Output::default());
    let plan = factory.tick_told();
    assert_eq!(told(&plan), ["fail a-impl.1 agent", "resume a-impl.2"]);
    assert_eq!(launched(&plan).spec.session, first);
    // It had none: fresh under another id, after the backoff of the failure before it.
    assert_eq!(
        told(&factory.runs("a-impl.2", 1, recorded!("claude-resume-after-early"))),
        ["fail a-impl.2 session_gone"]
    );
    assert_eq!((factory.record("A").attempts, factory.agent("a-impl").session.clone()), (1, None));
    factory.later(3600);
    let plan = factory.tick_told();
    assert_eq!(told(&plan), ["start a-impl.3", "writeback A started"]);
    assert_ne!(launched(&plan).spec.chosen_session, first);
}

// covers: V14
#[test]
fn a_session_that_exists_is_resumed_and_nobody_is_charged() {
    let mut factory = factory("claude", &["A"]);
    let chosen = launched(&factory.tick_told()).spec.chosen_session.clone();
    let plan = factory.runs("a-impl.1", 1, recorded!("claude-session-in-use"));
    assert_eq!(told(&plan), ["fail a-impl.1 session_taken", "resume a-impl.2"]);
    assert_eq!((launched(&plan).spec.session.clone(), factory.record("A").attempts), (chosen, 0));
}

// A run that was found again after an older registry had been read took what its agent had used so far off the record.
#[test]
fn what_an_agent_has_used_outlives_a_run_that_was_forgotten() {
    let mut factory = factory("codex", &["A"]);
    factory.tick_told();
    factory.claimed("a-impl.1");
    factory.printed("a-impl.1", 137, recorded!("codex-fresh"));
    let plan = factory.tick_told();
    let launch = launched(&plan).clone();
    // The start of a-impl.2 was lost; what came before it was not.
    let agent = factory.registry.agents.get_mut(&launch.spec.id.agent).unwrap();
    (agent.state, agent.run, agent.since) = (AgentPhase::Idle, None, None);
    (agent.spec.id.n, agent.stopped_at) = (1, Some(factory.now.at));
    factory.registry.names.last_n.insert(launch.spec.id.agent.clone(), 1);
    let spec = UnrecordedSpec {
        spec: launch.spec.clone(),
        snapshot: launch.snapshot.clone(),
        since: factory.now.clone(),
    };
    factory.see("a-impl.2", RunObservation::Unclaimed);
    factory.unrecorded = vec![UnrecordedRun { run: launch.spec.id.clone(), spec: Some(spec) }];
    assert_eq!(told(&factory.tick_told()), ["adopt a-impl.2"]);
    factory.unrecorded.clear();
    factory.runs("a-impl.2", 0, recorded!("codex-resume"));
    assert_eq!(factory.agent("a-impl").tokens, Some(18), "9 of each run");
}

// Origin: claude -p, refused its tools or asking back, ends with 0.
// covers: V04 V21
#[test]
fn an_exit_code_of_0_that_did_nothing_parks() {
    for (output, class, words) in [
        (recorded!("claude-tools-denied"), FailureClass::NeedsInput, "not allowed to use Bash"),
        (recorded!("claude-question"), FailureClass::NeedsInput, "Which of the two databases"),
        (recorded!("claude-empty"), FailureClass::NoEffect, "without any work"),
    ] {
        let mut factory = factory("claude", &["A"]);
        factory.tick_told();
        let plan = factory.runs("a-impl.1", 0, output);
        let name = class.name();
        assert_eq!(
            told(&plan),
            [format!("fail a-impl.1 {name}"), format!("park A {name}"), "writeback A parked".to_owned()]
        );
        let record = factory.record("A");
        assert_eq!(
            (record.state, record.parked_by, record.attempts),
            (ItemPhase::Parked, Some(ParkedBy::Rule), 0)
        );
        assert!(record.last.as_ref().unwrap().because.contains(words), "{:?}", record.last);
    }
}

// covers: V43
#[test]
fn cost_and_tokens_add_up_per_agent() {
    let mut factory = factory("claude", &["A"]);
    factory.tick_told();
    factory.runs("a-impl.1", 1, recorded!("claude-max-turns"));
    factory.later(60);
    factory.tick_told();
    let once = (factory.agent("a-impl").cost.unwrap(), factory.agent("a-impl").tokens.unwrap());
    factory.runs("a-impl.2", 0, recorded!("claude-fresh"));
    let agent = factory.agent("a-impl");
    assert_eq!((agent.cost, agent.tokens), (Some(once.0 + 0.000125), Some(once.1 + 9)));
}

// Codex tells what its whole session has used: a resume must not count its beginning twice.
// covers: V43
#[test]
fn tokens_of_a_session_are_counted_once() {
    let mut factory = factory("codex", &["A"]);
    factory.tick_told();
    factory.claimed("a-impl.1");
    factory.printed("a-impl.1", 137, recorded!("codex-fresh"));
    factory.tick_told();
    assert_eq!(factory.agent("a-impl").tokens, Some(9));
    assert_eq!(factory.agent("a-impl").state, AgentPhase::Starting, "its session goes on");
    factory.runs("a-impl.2", 0, recorded!("codex-resume"));
    let agent = factory.agent("a-impl");
    assert_eq!((agent.tokens, agent.session_tokens, agent.succeeded), (Some(18), Some(18), true));
}

// covers: V37
#[test]
fn the_harness_on_record_is_what_is_read() {
    let mut factory = factory("claude", &["A"]);
    factory.tick_told();
    factory.claimed("a-impl.1");
    let command = config::parse(
        "[[role]]\nname = \"implementer\"\nsuffix = \"impl\"\ncommand = [\"agent\"]\n",
        Path::new("/factory/factory.toml"),
        &|_| unreachable!(),
    );
    factory.config = command.unwrap();
    factory.printed("a-impl.1", 0, recorded!("claude-empty"));
    assert_eq!(told(&factory.tick_told())[0], "fail a-impl.1 no_effect");
    assert!(factory.registry.agents[&AgentName("a-impl".into())].follow_ups.is_empty());
}
