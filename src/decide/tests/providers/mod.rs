//! Runs of the presets: what their programs said, as recorded, and what the next ticks make of it.

use super::*;
use crate::harness;
use crate::model::{AgentName, UnrecordedRun};
use crate::registry::{AgentPhase, ItemPhase, ParkedBy};

/// The first id of each recording.
const ID: &str = "00000000-0000-4000-8000-000000000001";

/// What is believed of the year 2100, in which the recorded limit ends.
const LONGEST_TOLD: Duration = Duration::from_secs(8 * 24 * 60 * 60);

macro_rules! recorded {
    ($name:literal) => {
        Output {
            stdout_tail: include_str!(concat!("../../../fixtures/harness/", $name, ".stdout")).to_owned(),
            stderr_tail: include_str!(concat!("../../../fixtures/harness/", $name, ".stderr")).to_owned(),
        }
    };
}

/// One role with this preset.
fn factory(preset: &str, keys: &[&str]) -> Factory {
    with("", preset, keys)
}

fn with(tables: &str, preset: &str, keys: &[&str]) -> Factory {
    let role = format!("[[role]]\nname = \"implementer\"\nsuffix = \"impl\"\nharness = \"{preset}\"\n");
    let mut factory = Factory::configured(&format!("{tables}\n{role}"), keys);
    factory.credentials.insert("implementer".into(), "key 1".into());
    factory
}

impl Factory {
    /// Its launcher is seen, and has claimed it now.
    fn claimed(&mut self, run: &str) {
        let claim = Some(Claimed { since: self.now.clone(), ..launcher() });
        self.see(run, RunObservation::Alive { claim, reported: Reported::default() });
        self.tick_told();
    }

    /// It ended with this code a second after it was claimed, and printed this.
    fn printed(&mut self, run: &str, code: i32, output: Output) {
        self.ends(run, code, ExitReason::Exited, output);
    }

    fn ends(&mut self, run: &str, code: i32, reason: ExitReason, output: Output) {
        self.later(1);
        let reported = Reported::default();
        let exit = Exit { ended: self.now.clone(), ..exit(code, reason, reported.clone()) };
        let claim = Some(launcher());
        self.see(
            run,
            RunObservation::Ended(Box::new(Ended {
                claim,
                exit: Some(exit),
                survivors: vec![],
                reported,
                output,
                after_run: None,
            })),
        );
    }

    /// Started, claimed, ended, judged: the plan of the tick that sees the end.
    fn runs(&mut self, run: &str, code: i32, output: Output) -> Plan {
        self.claimed(run);
        self.printed(run, code, output);
        self.tick_told()
    }

    fn cools_off_until(&self, scope: &str) -> Option<u64> {
        let until = self.registry.cool_offs.get(scope)?.until?;
        Some(until.duration_since(self.now.at).as_secs().unsigned_abs())
    }
}

fn launched(plan: &Plan) -> &crate::model::Launch {
    let launch = plan.decisions().find_map(|(_, decision)| match &decision.action {
        Action::Start(launch) | Action::Resume(launch) => Some(launch),
        _ => None,
    });
    launch.expect("a start")
}

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

// Origin: the-ozolith#58, a usage limit that ate the retry budget; egg#3212, a respawn loop at the limit.
// covers: V16 F64 F65
#[test]
fn a_limit_costs_no_attempt_and_nothing_starts_before_its_reset() {
    let mut factory = factory("claude", &["A", "B"]);
    factory.item("B").labels.push("later".into());
    factory.tick_told();
    factory.claimed("b-impl.1");
    let plan = factory.runs("a-impl.1", 1, recorded!("claude-limit"));
    assert_eq!(told(&plan), ["fail a-impl.1 rate_limited", "cool_off "]);
    assert_eq!(factory.record("A").attempts, 0);
    // The recording says 2100: nobody believes more than 8 days.
    let reset = factory.now.after(LONGEST_TOLD);
    let held = plan.held.iter().find(|held| held.item == id("A")).expect("A waits");
    assert_eq!((held.code, held.until), (HoldReason::CoolingOff, Some(reset)));
    // Another run that had begun before ends well: it proves nothing about now.
    factory.printed("b-impl.1", 0, recorded!("claude-fresh"));
    assert_eq!(told(&factory.tick_told()), ["done b-impl.1", "done B", "writeback B done"]);
    for _ in 0..10 {
        factory.later(6 * 3600);
        assert!(factory.tick_told().is_empty());
    }
    let until_reset = reset.duration_since(factory.now.at).as_secs().unsigned_abs();
    factory.later(until_reset - 1);
    assert!(factory.tick_told().is_empty());
    factory.later(1);
    assert_eq!(told(&factory.tick_told()), ["resume a-impl.2"]);
    // It was right all the same: the one that tried has cost nothing, and everybody waits again.
    let plan = factory.runs("a-impl.2", 1, recorded!("claude-limit"));
    assert_eq!(told(&plan), ["fail a-impl.2 rate_limited", "cool_off "]);
    assert_eq!(factory.cools_off_until("harness:claude"), Some(8 * 24 * 3600));
    assert_eq!(factory.record("A").attempts, 0);
}

// Origin: Kilo-Org/cloud#1932, an outage that exhausted everybody's attempts at once.
// covers: V17 V35 F74
#[test]
fn an_unreachable_provider_is_asked_more_and_more_seldom_and_once_at_a_time() {
    let mut factory = with("[limits]\nitems_max = 9\n[attempts]\nmax = 1", "codex", &["A", "B", "C"]);
    factory.tick_told();
    for run in ["a-impl.1", "b-impl.1", "c-impl.1"] {
        factory.claimed(run);
    }
    for run in ["a-impl.1", "b-impl.1", "c-impl.1"] {
        factory.ends(run, 143, ExitReason::Stalled, recorded!("codex-down"));
    }
    let plan = factory.tick_told();
    let failed: Vec<_> = ["a", "b", "c"].map(|slug| format!("fail {slug}-impl.1 unreachable")).into();
    assert_eq!(told(&plan), [&failed[0], "cool_off ", &failed[1], &failed[2]], "one outage is one failure");
    assert_eq!(factory.cools_off_until("harness:codex"), Some(60));
    for (tries, wait) in [60, 120, 240, 480, 960, 1920, 3600, 3600].into_iter().enumerate() {
        assert_eq!(factory.cools_off_until("harness:codex"), Some(wait), "try {tries}");
        factory.later(wait - 1);
        assert!(factory.tick_told().is_empty(), "not before its time");
        factory.later(1);
        let plan = factory.tick_told();
        let run = launched(&plan).spec.id.to_string();
        assert_eq!(told(&plan).iter().filter(|line| line.contains("-impl.")).count(), 1, "{:?}", told(&plan));
        assert_eq!(held(&plan).iter().filter(|(_, code)| *code == HoldReason::CoolingOff).count(), 2);
        factory.claimed(&run);
        factory.ends(&run, 143, ExitReason::Stalled, recorded!("codex-down"));
        factory.tick_told();
    }
    assert!(["A", "B", "C"].iter().all(|key| factory.record(key).attempts == 0));
    // It answers: everybody goes on.
    factory.later(3600);
    let plan = factory.tick_told();
    let run = launched(&plan).spec.id.to_string();
    let plan = factory.runs(&run, 0, recorded!("codex-fresh"));
    assert!(factory.registry.cool_offs.is_empty(), "{:?}", told(&plan));
    assert_eq!(started(&plan), 2, "{:?}", told(&plan));
}

// covers: V16 V35
#[test]
fn a_trial_that_goes_on_holds_up_nobody() {
    let mut factory = factory("codex", &["A", "B"]);
    factory.tick_told();
    factory.claimed("b-impl.1");
    factory.runs("a-impl.1", 1, recorded!("codex-429"));
    factory.printed("b-impl.1", 1, recorded!("codex-429"));
    factory.tick_told();
    factory.later(60);
    let first = launched(&factory.tick_told()).spec.id.to_string();
    factory.claimed(&first);
    factory.later(299);
    assert_eq!(started(&factory.tick_told()), 0);
    factory.later(1);
    assert_eq!(started(&factory.tick_told()), 1);
}

// Five failures in a row that are nobody's fault park an item; a provider that is away for a night has more of them.
// covers: V33
#[test]
fn a_provider_that_fails_one_item_again_and_again_never_parks_it() {
    let mut factory = factory("codex", &["A"]);
    let mut run = launched(&factory.tick_told()).spec.id.to_string();
    for _ in 0..10 {
        factory.runs(&run, 1, recorded!("codex-429"));
        factory.later(3600);
        run = launched(&factory.tick_told()).spec.id.to_string();
    }
    let record = factory.record("A");
    assert_eq!((record.state, record.attempts, record.uncharged_streak), (ItemPhase::Active, 0, 0));
}

// covers: V36
// A run of the outage that was heard of late made the wait longer, and its trial seem to have begun before it: that it was
// answered ended nothing.
#[test]
fn what_an_outage_fails_later_neither_prolongs_its_wait_nor_hides_that_it_is_over() {
    let mut factory = factory("codex", &["A", "B"]);
    factory.tick_told();
    factory.claimed("b-impl.1");
    factory.runs("a-impl.1", 1, recorded!("codex-429"));
    factory.later(60);
    let trial = launched(&factory.tick_told()).spec.id.to_string();
    factory.claimed(&trial);
    factory.printed("b-impl.1", 1, recorded!("codex-429"));
    assert_eq!(told(&factory.tick_told()), ["fail b-impl.1 rate_limited"]);
    let plan = factory.runs(&trial, 0, recorded!("codex-fresh"));
    assert!(factory.registry.cool_offs.is_empty(), "{:?}", told(&plan));
}

#[test]
fn a_later_reset_is_heard_from_whoever_tells_it() {
    let mut factory = factory("claude", &["A", "B"]);
    factory.tick_told();
    factory.claimed("b-impl.1");
    factory.runs("a-impl.1", 1, recorded!("claude-429"));
    let begun = factory.registry.cool_offs["harness:claude"].begun.clone();
    factory.printed("b-impl.1", 1, recorded!("claude-limit"));
    assert_eq!(told(&factory.tick_told()), ["fail b-impl.1 rate_limited", "cool_off "]);
    let cool_off = &factory.registry.cool_offs["harness:claude"];
    assert_eq!(cool_off.until, Some(factory.now.after(LONGEST_TOLD)));
    assert_eq!((cool_off.streak, &cool_off.begun), (1, &begun), "the same outage");
}

// A launcher that is slow to claim its run begins it in the middle of a wait: that it was not told the reset which an
// earlier one was told let everybody start before it.
#[test]
fn a_run_that_knows_less_does_not_shorten_a_wait() {
    let mut factory = factory("claude", &["A", "B"]);
    factory.tick_told();
    factory.runs("a-impl.1", 1, recorded!("claude-limit"));
    let told = factory.now.after(LONGEST_TOLD);
    factory.later(1);
    factory.claimed("b-impl.1");
    factory.printed("b-impl.1", 1, recorded!("claude-429"));
    factory.tick_told();
    let cool_off = &factory.registry.cool_offs["harness:claude"];
    assert_eq!((cool_off.until, cool_off.streak), (Some(told), 2));
}

// A clock that had been a year ahead for a moment kept a harness from starting anything for a year.
#[test]
fn a_clock_that_is_set_back_makes_no_wait_longer() {
    let mut factory = factory("codex", &["A", "B"]);
    factory.tick_told();
    factory.claimed("b-impl.1");
    factory.runs("a-impl.1", 1, recorded!("codex-429"));
    factory.later(30);
    factory.now.at = factory.now.at.checked_sub(Duration::from_secs(365 * 24 * 3600)).unwrap();
    assert_eq!(told(&factory.tick_told()), ["cool_off "]);
    assert_eq!(factory.cools_off_until("harness:codex"), Some(60), "as long as it was to be");
    // Nor does it make one of the same outage a further failure, or what began before an answer.
    factory.printed("b-impl.1", 1, recorded!("codex-429"));
    assert_eq!(told(&factory.tick_told()), ["fail b-impl.1 rate_limited"]);
    factory.later(59);
    assert_eq!(launched(&factory.tick_told()).spec.id.to_string(), "a-impl.2");
}

// The time that a provider named in seconds was counted from the wall clock as it had been, which was set meanwhile.
#[test]
fn a_wait_that_is_told_in_seconds_is_not_moved_by_the_clock() {
    let mut factory = factory("codex", &["A"]);
    let mut output = recorded!("codex-429");
    let words = "exceeded retry limit, last status: 429 Too Many Requests";
    output.stdout_tail = output.stdout_tail.replace(words, "Rate limit reached. Please try again in 500s.");
    factory.tick_told();
    factory.claimed("a-impl.1");
    factory.printed("a-impl.1", 1, output);
    factory.later(100);
    factory.now.at = factory.now.at.checked_sub(Duration::from_secs(365 * 24 * 3600)).unwrap();
    factory.tick_told();
    assert_eq!(factory.cools_off_until("harness:codex"), Some(400));
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

#[test]
fn a_wait_that_nobody_asks_about_is_forgotten() {
    let mut factory = factory("codex", &["A"]);
    factory.tick_told();
    factory.runs("a-impl.1", 1, recorded!("codex-429"));
    factory.remove("A");
    factory.tick_told();
    factory.tick_gone();
    assert_eq!(factory.registry.cool_offs.len(), 1);
    factory.later(3660);
    assert_eq!(told(&factory.tick_told()), ["cool_off "]);
    assert!(factory.registry.cool_offs.is_empty() && factory.tick_told().is_empty());
}

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

// Origin: codex without a network prints "Reconnecting" for ever; it was charged as stalled.
// covers: V17
#[test]
fn what_ends_a_run_that_waits_for_its_provider_is_not_its_agents_fault() {
    let mut factory = factory("codex", &["A"]);
    factory.tick_told();
    factory.claimed("a-impl.1");
    factory.ends("a-impl.1", 143, ExitReason::Deadline, recorded!("codex-down"));
    assert_eq!(told(&factory.tick_told()), ["fail a-impl.1 unreachable", "cool_off "]);
    let mut factory = super::providers::factory("codex", &["A"]);
    factory.tick_told();
    factory.claimed("a-impl.1");
    factory.ends("a-impl.1", 143, ExitReason::Stalled, recorded!("codex-killed"));
    let plan = factory.tick_told();
    assert_eq!(told(&plan), ["fail a-impl.1 stalled", "resume a-impl.2"], "a model that hangs is a stall");
    assert_eq!((launched(&plan).spec.session.as_deref(), factory.record("A").attempts), (Some(ID), 1));
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

fn started(plan: &Plan) -> usize {
    plan.decisions().filter(|(_, one)| matches!(one.action, Action::Start(_) | Action::Resume(_))).count()
}

fn cool_off(begun: ClockReading) -> crate::registry::CoolOff {
    let because = "busy".to_owned();
    crate::registry::CoolOff { because, begun, until: None, streak: 1, credentials: None }
}

/// A run that began before a wait did says nothing of what came after; where that can't be told, it did.
#[test]
fn whether_a_run_began_after_a_wait_is_told_by_the_clock_of_their_boot() {
    let at = |seconds, boot: &str| ClockReading { boot_id: boot.into(), ..moment(seconds) };
    let mut factory = factory("claude", &["A"]).running("a-impl.1");
    let agent = factory.registry.agents.values_mut().next().unwrap();
    let mut began = |begun: Option<ClockReading>, wait: ClockReading| {
        agent.since = begun;
        cool_off(wait).precedes(agent.since.as_ref(), &at(1000, "boot-2"))
    };
    let wait = || at(100, "boot-1");
    assert_eq!([99, 100, 101].map(|seconds| began(Some(at(seconds, "boot-1")), wait())), [false, true, true]);
    assert!(began(Some(at(1, "boot-2")), wait()), "the machine was restarted between them");
    assert!(!began(Some(at(500, "boot-0")), wait()), "of a boot that is over, and not that of the wait");
    assert!(!began(None, wait()));
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

// A wait that begins in the very millisecond of the tick that looks at it has begun.
#[test]
fn a_wait_that_has_just_begun_was_not_begun_by_a_wrong_clock() {
    let mut factory = factory("claude", &["A"]);
    factory.tick_told();
    factory.runs("a-impl.1", 1, recorded!("claude-limit"));
    assert!(factory.registry.cool_offs.contains_key("harness:claude"), "{:?}", factory.registry.cool_offs);
    let plan = factory.tick_told();
    assert!(plan.is_empty(), "{:?}", told(&plan));
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

// Origin: an audit - a limit that always said "in 1.2 s" was asked each minute.
// covers: P06
#[test]
fn short_reset_is_not_believed_for_ever() {
    let mut factory = factory("codex", &["A"]);
    let mut output = recorded!("codex-429");
    let words = "exceeded retry limit, last status: 429 Too Many Requests";
    output.stdout_tail = output.stdout_tail.replace(words, "Rate limit reached. Please try again in 1.2s.");
    let mut run = launched(&factory.tick_told()).spec.id.to_string();
    for wait in [60, 120, 240, 480, 960, 1920, 3600, 3600] {
        factory.runs(&run, 1, output.clone());
        assert_eq!(factory.cools_off_until("harness:codex"), Some(wait));
        factory.later(wait);
        run = launched(&factory.tick_told()).spec.id.to_string();
    }
}
