//! The presets in a factory: the real programs under real ticks, with a model that is played on loopback. What each
//! tick decided is printed: `scripts/harness.sh` fetches the programs, and `cargo test --test it presets:: -- --nocapture`
//! shows it.

use std::fs;
use std::time::Duration;

use factory_tick::harness::{chosen_session, preset};
use factory_tick::model::{AgentName, RunId};
use regex::Regex;
use serde_json::Value;

use crate::model::{self, Model, NOBODY, QUIET};
use crate::support::{Factory, Ran, kill_9_if_alive, pause, put, system};

/// A factory whose one role is a real program, and its model.
struct Studio {
    factory: Factory,
    model: Model,
    harness: &'static str,
}

/// With permission to do what the model asks for.
const ALLOWED: [(&str, &str); 2] = [
    ("claude", "args = [\"--permission-mode\", \"acceptEdits\", \"--allowedTools\", \"Bash\"]"),
    ("codex", "args = [\"--sandbox\", \"danger-full-access\"]"),
];

impl Studio {
    /// `None`, said aloud, where the program is not there.
    fn new(harness: &'static str, more: &str) -> Option<Studio> {
        let program = model::program(harness)?;
        let mut factory = Factory::new();
        let model_folder = factory.path("model");
        fs::create_dir(&model_folder).unwrap();
        let model = Model::start(&model_folder);
        let bin = program.parent().unwrap().display();
        factory.var("PATH", &format!("{bin}:/usr/local/bin:/usr/bin:/bin"));
        for (name, value) in [("LANG", "C.UTF-8"), ("TZ", "UTC"), ("CLAUDE_CODE_MAX_RETRIES", "0")] {
            factory.var(name, value);
        }
        QUIET.iter().for_each(|name| factory.var(name, "1"));
        let passed: Vec<_> = QUIET.iter().chain(&["CLAUDE_CODE_MAX_RETRIES", "STUB_KEY"]).collect();
        factory.preset(harness, &format!("env = {passed:?}\n{more}"));
        let mut studio = Studio { factory, model, harness };
        studio.key("sk-ant-dummy");
        studio.reach(studio.model.port);
        Some(studio)
    }

    fn key(&mut self, key: &str) {
        self.factory.var("ANTHROPIC_API_KEY", key);
        self.factory.var("STUB_KEY", key);
    }

    /// Where the program looks for its model.
    fn reach(&mut self, port: u16) {
        self.factory.var("ANTHROPIC_BASE_URL", &format!("http://127.0.0.1:{port}"));
        let home = self.factory.path(".codex");
        fs::create_dir_all(&home).unwrap();
        put(&home.join("config.toml"), &model::codex_config(port, false));
    }

    /// One tick, told.
    #[expect(clippy::print_stdout, reason = "what the script shows")]
    fn tick(&self) -> Ran {
        let ran = self.factory.tick();
        let report = ran.json();
        let words = |line: &Value, key: &str| line[key].as_str().unwrap_or("-").to_owned();
        for line in report["decisions"].as_array().unwrap() {
            let what = line["run"].as_str().or(line["item"].as_str()).unwrap_or("-");
            let (action, because) = (words(line, "action"), words(line, "because"));
            println!("  {} {:9} {what:12} {because}", self.harness, action);
        }
        for line in report["held"].as_array().unwrap() {
            println!("  {} held      {} until {}", self.harness, words(line, "code"), words(line, "until"));
        }
        ran
    }

    fn title(&self, title: &str) {
        say(&format!("{}: {title}", self.harness));
    }

    /// Ticks, waits for the end of this run, and ticks again: the tick that saw the end.
    #[track_caller]
    fn run(&self, run: &str) -> Ran {
        self.tick();
        self.factory.wait_swept(run);
        self.tick()
    }

    fn agent(&self) -> Value {
        self.factory.agent("ar-1-impl")
    }

    fn attempts(&self) -> u64 {
        self.factory.recorded("AR-1")["attempts"].as_u64().unwrap()
    }

    /// What the waiting item waits for.
    fn waits_for(&self) -> Option<String> {
        self.tick().held().first().cloned()
    }

    /// As after the time that a cool-off or backoff lasts.
    fn let_time_pass(&self) {
        let cool_off = Regex::new(r#""begun":(\{"at":("[^"]*")[^}]*\}),"until":"[^"]*""#).unwrap();
        let due = Regex::new(r#""due_at":"[^"]*""#).unwrap();
        self.factory.forge_registry(|text| {
            // Over as soon as it began: not so long ago that nobody would remember it.
            let text = cool_off.replace_all(text, r#""begun":$1,"until":$2"#);
            due.replace_all(&text, r#""due_at":"2020-01-01T00:00:00Z""#).into_owned()
        });
    }
}

#[expect(clippy::print_stdout, reason = "what the script shows")]
fn say(line: &str) {
    println!("{line}");
}

fn both(more: &str, test: impl Fn(Studio)) {
    for harness in ["claude", "codex"] {
        if let Some(studio) = Studio::new(harness, more) {
            test(studio);
        }
    }
}

// covers: V43
#[test]
fn a_fresh_start_that_works_is_done_and_tells_what_it_cost() {
    for (harness, allowed) in ALLOWED {
        let Some(studio) = Studio::new(harness, allowed) else { continue };
        studio.title("fresh start, tools allowed");
        studio.model.mode("tool");
        studio.factory.item("AR-1");
        let ended = studio.run("ar-1-impl.1").expect(0);
        assert!(ended.decided().contains(&"done dir:AR-1".to_owned()), "{}", ended.stdout);
        let made = studio.factory.state("workspaces/AR-1/made-by-the-agent");
        assert!(made.exists(), "it worked in its workspace");
        let agent = studio.agent();
        assert!(agent["tokens"].as_u64().is_some_and(|tokens| tokens > 0), "{agent}");
        assert_eq!(agent["cost"].as_f64().is_some_and(|usd| usd > 0.0), harness == "claude", "{agent}");
        assert!(agent["session"].is_string(), "{agent}");
    }
}

// Origin: claude -p that is refused its tools, or asks back, ends with 0.
// covers: V21
#[test]
fn denied_tools_and_questions_are_put_before_a_person() {
    // Codex does not tell what its sandbox denied.
    if let Some(studio) = Studio::new("claude", "") {
        studio.title("tools denied");
        studio.model.mode("tool");
        studio.factory.item("AR-1");
        let ended = studio.run("ar-1-impl.1").expect(4);
        assert!(ended.stdout.contains("not allowed to use Bash"), "{}", ended.stdout);
        assert_eq!(studio.factory.recorded("AR-1")["state"], "parked");
    }
    both("", |studio| {
        studio.title("a question");
        studio.model.mode("question");
        studio.factory.item("AR-1");
        studio.run("ar-1-impl.1").expect(4);
        let record = studio.factory.recorded("AR-1");
        assert_eq!(
            (record["state"].as_str(), record["last"]["class"].as_str()),
            (Some("parked"), Some("needs_input"))
        );
    });
}

/// The tree is killed so long after its program was seen; then the ticks go on by themselves until it is done.
fn killed_after(studio: &Studio, ms: u64) {
    let factory = &studio.factory;
    studio.title(&format!("its tree killed (-9) {ms} ms after it began"));
    studio.model.mode("hang");
    factory.item("AR-1");
    studio.tick();
    let program = |factory: &Factory| factory.agents_alive().contains(&"ar-1-impl.1".to_owned());
    factory.wait_for("the program runs", || program(factory));
    pause(Duration::from_millis(ms));
    // Until nobody is left: what it starts meanwhile is killed with it.
    factory.wait_for("nothing of it is left", || {
        factory.processes_of("ar-1-impl.1").into_iter().for_each(kill_9_if_alive);
        factory.processes().is_empty()
    });
    studio.model.mode("ok");
    let mut ticks = 0;
    factory.wait_for("it is done", || {
        ticks += 1;
        studio.tick();
        let waits = factory.recorded("AR-1")["state"] == "waiting";
        if waits {
            studio.let_time_pass();
        }
        factory.wait_all_gone();
        factory.recorded("AR-1")["state"] == "done"
    });
    let (record, agent) = (factory.recorded("AR-1"), studio.agent());
    let counters = &factory.registry()["counters"];
    assert_eq!(record["attempts"], 1, "the one that was killed: {record}");
    // With its session, or, where that was not kept yet, without.
    let fresh_again = counters["sessions_not_found"].as_u64().unwrap();
    let resumes = counters["resumes"].as_u64().unwrap();
    assert!(fresh_again <= resumes && resumes <= 1, "{counters}");
    assert_eq!(agent["spec"]["id"], format!("ar-1-impl.{}", 2 + fresh_again), "{agent}");
    say(&format!(
        "  {} done after {ticks} ticks, {resumes} resumed, {fresh_again} of them gone",
        studio.harness
    ));
}

// covers: V34
#[test]
fn a_tree_killed_at_once_is_gone_on_with() {
    both("", |studio| killed_after(&studio, 200));
}

// covers: V34
#[test]
fn a_tree_killed_in_the_middle_of_a_turn_is_gone_on_with() {
    both("", |studio| killed_after(&studio, 2_000));
}

// Origin: midtown#2330, a dead session resumed on every restart; Maestro#1043, codex's words for it missed.
// covers: V13 F21 F24
#[test]
fn a_session_that_is_gone_is_tried_once_and_then_made_anew() {
    both("", |studio| {
        studio.title("its session is gone");
        studio.model.mode("500");
        studio.factory.item("AR-1");
        // The session exists by then: its program has asked the model.
        studio.run("ar-1-impl.1");
        let first = studio.agent()["session"].clone();
        for folder in [".claude/projects", ".codex/sessions"] {
            let _ = fs::remove_dir_all(studio.factory.path(folder));
        }
        studio.model.mode("ok");
        studio.let_time_pass();
        let ended = studio.run("ar-1-impl.2");
        assert!(ended.stdout.contains("session_gone"), "{}", ended.stdout);
        studio.run("ar-1-impl.3").expect(0);
        assert_eq!(studio.factory.recorded("AR-1")["state"], "done");
        assert_ne!(studio.agent()["session"], first);
        assert_eq!(studio.factory.registry()["counters"]["sessions_not_found"], 1);
        assert_eq!(studio.attempts(), 0, "nobody's fault");
    });
}

// covers: V14
#[test]
fn a_session_that_exists_already_is_resumed() {
    let Some(studio) = Studio::new("claude", "") else { return };
    studio.title("its session exists already");
    studio.tick();
    let run = RunId { agent: AgentName("ar-1-impl".into()), n: 1 };
    let session = chosen_session(&studio.factory.lineage(), &run);
    let workspace = studio.factory.state("workspaces/AR-1");
    fs::create_dir_all(&workspace).unwrap();
    let mut earlier = studio.factory.shell("exec \"$@\"");
    let argv = preset("claude").unwrap().start_argv(&session, &[]);
    let prompt = studio.factory.path("prompt");
    put(&prompt, "Say something.");
    earlier
        .arg("sh")
        .args(argv)
        .current_dir(workspace.canonicalize().unwrap())
        .stdin(fs::File::open(prompt).unwrap());
    Ran::of(&mut earlier).expect(0);
    studio.factory.item("AR-1");
    let ended = studio.run("ar-1-impl.1");
    assert!(ended.stdout.contains("session_taken"), "{}", ended.stdout);
    studio.factory.wait_swept("ar-1-impl.2");
    studio.tick().expect(0);
    assert_eq!(studio.factory.recorded("AR-1")["state"], "done");
    assert_eq!((studio.attempts(), studio.agent()["session"].as_str()), (0, Some(session.as_str())));
}

// Origin: the-ozolith#58 and egg#3212, budgets and nights lost to a usage limit; factory#297, Retry-After ignored.
// covers: V16 F64 F65
#[test]
fn a_limit_costs_no_attempt_and_is_waited_for() {
    for (mode, known) in [("429", false), ("529", false), ("limit", true)] {
        both("", |mut studio| {
            studio.title(&format!("the model answers {mode}"));
            studio.model.mode(mode);
            if mode == "limit" {
                // Only a subscription is told when its limit ends.
                studio.subscribe();
            }
            studio.factory.item("AR-1");
            let ended = studio.run("ar-1-impl.1").expect(3);
            assert!(ended.stdout.contains("rate_limited"), "{}", ended.stdout);
            let starts = studio.agent()["spec"]["id"].clone();
            let asked = studio.model.requests().len();
            for _ in 0..5 {
                assert_eq!(studio.waits_for().as_deref(), Some("cooling_off dir:AR-1"));
            }
            assert_eq!((studio.attempts(), studio.agent()["spec"]["id"].clone()), (0, starts));
            assert_eq!(studio.model.requests().len(), asked, "nobody asked the model meanwhile");
            if known && studio.harness == "claude" {
                let cool_off = &studio.factory.registry()["cool_offs"]["harness:claude"];
                let time = |value: &Value| value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
                let length = time(&cool_off["until"]).duration_since(time(&cool_off["begun"]["at"]));
                assert_eq!(length, jiff::SignedDuration::from_hours(8 * 24), "the limit ends in 2100");
            }
            studio.model.mode("ok");
            studio.let_time_pass();
            studio.run("ar-1-impl.2").expect(0);
            assert_eq!(studio.factory.recorded("AR-1")["state"], "done");
            assert_eq!(studio.factory.registry()["cool_offs"], serde_json::json!({}));
        });
    }
}

impl Studio {
    /// claude's other kind of credential.
    fn subscribe(&mut self) {
        if self.harness == "claude" {
            self.factory.unset("ANTHROPIC_API_KEY");
            self.factory.var("CLAUDE_CODE_OAUTH_TOKEN", "sk-ant-oat01-dummy");
        }
    }
}

// covers: V17 F74
#[test]
fn an_unreachable_model_costs_no_attempt() {
    // claude gives up by itself; codex says for ever that it reconnects.
    for (harness, more) in [("claude", ""), ("codex", "stall = \"10s\"")] {
        let Some(mut studio) = Studio::new(harness, more) else { continue };
        studio.title("the model can't be reached");
        studio.reach(NOBODY);
        studio.factory.item("AR-1");
        let ended = studio.run("ar-1-impl.1").expect(3);
        assert!(ended.stdout.contains("unreachable"), "{}", ended.stdout);
        assert_eq!((studio.attempts(), studio.waits_for().as_deref()), (0, Some("cooling_off dir:AR-1")));
        studio.reach(studio.model.port);
        studio.let_time_pass();
        studio.tick();
        studio.factory.wait_all_gone();
        // Resumed; or fresh, where it had not kept a session before it gave up.
        studio.factory.wait_for("it is done", || {
            studio.tick();
            studio.let_time_pass();
            studio.factory.wait_all_gone();
            studio.factory.recorded("AR-1")["state"] == "done"
        });
        assert_eq!(studio.attempts(), 0);
    }
}

// Origin: an expired key failed a whole backlog within minutes.
// covers: V18 F74
#[test]
fn refused_credentials_are_told_once_and_wait_for_others() {
    both("", |mut studio| {
        studio.title("the model answers 401");
        studio.model.mode("401");
        studio.factory.item("AR-1");
        let ended = studio.run("ar-1-impl.1").expect(77);
        assert!(ended.stdout.contains("denied"), "{}", ended.stdout);
        let starts = studio.agent()["spec"]["id"].clone();
        for _ in 0..5 {
            assert_eq!(studio.tick().expect(3).held(), ["cooling_off dir:AR-1"]);
        }
        assert_eq!((studio.attempts(), studio.agent()["spec"]["id"].clone()), (0, starts));
        studio.model.mode("ok");
        studio.tick().expect(3);
        studio.key("sk-ant-other");
        studio.factory.wait_for("it is done", || {
            studio.tick();
            studio.factory.wait_all_gone();
            studio.factory.recorded("AR-1")["state"] == "done"
        });
        assert_eq!(studio.attempts(), 0);
        studio.tick().expect(0);
    });
}

// covers: V08
#[test]
fn a_model_that_hangs_is_a_stall_and_its_session_goes_on() {
    both("stall = \"8s\"", |studio| {
        studio.title("the model hangs");
        studio.model.mode("hang");
        studio.factory.item("AR-1");
        studio.tick();
        studio.factory.wait_swept("ar-1-impl.1");
        studio.model.mode("ok");
        let ended = studio.tick();
        assert!(ended.stdout.contains("stalled"), "{}", ended.stdout);
        assert!(ended.decided().contains(&"resume ar-1-impl.2".to_owned()), "{}", ended.stdout);
        studio.factory.wait_swept("ar-1-impl.2");
        studio.tick().expect(0);
        assert_eq!((studio.factory.recorded("AR-1")["state"].as_str(), studio.attempts()), (Some("done"), 1));
    });
}

// Origin: both programs called a session a success, and stopped what its agent had left running.
// covers: P15
#[test]
fn command_left_running_is_unfinished_and_its_session_goes_on() {
    for (harness, allowed) in ALLOWED {
        let Some(studio) = Studio::new(harness, allowed) else { continue };
        studio.title("a command is left running");
        studio.model.mode("background");
        studio.factory.item("AR-1");
        let ended = studio.run("ar-1-impl.1").expect(0);
        let want = ["fail ar-1-impl.1", "resume ar-1-impl.2"];
        assert!(ended.decided().ends_with(&want.map(str::to_owned)), "{}", ended.stdout);
        assert!(ended.stdout.contains("unfinished"), "{}", ended.stdout);
        studio.factory.wait_swept("ar-1-impl.2");
        assert!(studio.model.requests().contains("You are not finished: the session ended while work"));
        studio.tick().expect(0);
        assert_eq!((studio.factory.recorded("AR-1")["state"].as_str(), studio.attempts()), (Some("done"), 0));
    }
}

// covers: P15b
#[test]
fn claude_without_its_tool_servers_is_unfinished() {
    let servers = r#"args = ["--mcp-config", '{"mcpServers":{"gone":{"command":"/nonexistent/server"}}}']"#;
    let Some(studio) = Studio::new("claude", servers) else { return };
    studio.title("a tool server does not start");
    studio.factory.item("AR-1");
    let ended = studio.run("ar-1-impl.1").expect(0);
    assert!(ended.stdout.contains("the session had no connection to the tools of gone"), "{}", ended.stdout);
    assert_eq!(studio.attempts(), 0);
    studio.factory.wait_swept("ar-1-impl.2");
    studio.tick();
    assert_eq!(studio.attempts(), 1, "it is free once");
    studio.factory.run(&["stop", "AR-1"]);
}

// Origin: a session whose history its provider refused was resumed, and charged, again and again.
// covers: P15c
#[test]
fn session_that_answers_a_resume_with_400_is_given_up() {
    both("stall = \"8s\"", |studio| {
        studio.title("the provider refuses what is in the session");
        studio.model.mode("hang");
        studio.factory.item("AR-1");
        studio.tick();
        studio.factory.wait_swept("ar-1-impl.1");
        studio.model.mode("400");
        assert!(studio.tick().decided().contains(&"resume ar-1-impl.2".to_owned()));
        studio.factory.wait_swept("ar-1-impl.2");
        assert!(studio.tick().stdout.contains("session_gone"));
        assert_eq!((studio.attempts(), studio.agent()["session"].as_str()), (1, None));
        studio.model.mode("ok");
        studio.let_time_pass();
        assert!(studio.tick().decided().contains(&"start ar-1-impl.3".to_owned()));
        studio.factory.wait_swept("ar-1-impl.3");
        studio.tick().expect(0);
        assert_eq!(studio.factory.recorded("AR-1")["state"], "done");
    });
}

#[test]
fn a_day_whose_dollars_are_spent_starts_nothing_more() {
    let Some(mut studio) = Studio::new("claude", "") else { return };
    studio.title("the dollars of the day are spent");
    // One run of the model that is played costs 0.000125.
    studio.factory.set("budget", "usd_per_day", "0.0002");
    studio.factory.set("limits", "items_max", "1");
    for key in ["AR-1", "AR-2", "AR-3"] {
        studio.factory.item(key);
    }
    studio.run("ar-1-impl.1").expect(0);
    studio.factory.wait_swept("ar-2-impl.1");
    // Reached: a person hears of it, once.
    let spent = studio.tick().expect(4);
    assert!(spent.held().contains(&"budget dir:AR-3".to_owned()), "{}", spent.stdout);
    assert!(studio.tick().expect(0).held().contains(&"budget dir:AR-3".to_owned()));
    let status = studio.factory.run(&["status", "--format", "json"]).json();
    assert_eq!(status["daily_spend"]["usd"].as_f64(), Some(0.00025), "{status}");
    let explained = studio.factory.run(&["explain", "AR-1", "--format", "json"]).json();
    assert_eq!(explained["agents"][0]["usd"].as_f64(), Some(0.000125), "{explained}");
    assert!(explained["agents"][0]["tokens"].as_u64().is_some_and(|tokens| tokens > 0), "{explained}");
}

#[test]
fn the_version_that_was_recorded_is_the_version_that_runs() {
    for (harness, version) in [("claude", "2.1.197"), ("codex", "0.169.0")] {
        let Some(program) = model::program(harness) else { return };
        let output = system(program.to_str().unwrap()).arg("--version").output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(printed.contains(version), "{harness}: {printed}");
    }
}
