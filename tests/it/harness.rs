//! The presets against the real programs: their real flags, session files and error texts, with a model that is
//! played by a script on loopback. `scripts/harness.sh` fetches them; where they are not, these tests say that they
//! were skipped, and fail with FACTORY_TICK_REQUIRE_HARNESS=1.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use factory_tick::harness::{
    Preset, SessionFrom, chosen_session, is_progress, preset, read, session_on, unconnected_on,
};
use factory_tick::model::{AgentName, ClockReading, Exit, ExitReason, Output, Reported, Room, RunId};
use regex::{Captures, Regex};
use tempfile::TempDir;

use crate::model::{self, Model};
use crate::support::{number_from, pause, put, system};

/// A loaded machine needs seconds; a program that needs this long is waiting for something.
const LIMIT: Duration = Duration::from_secs(60);

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(10);

const PROMPT: &str = "Do what the issue says.";

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Code(i32),
    Signal(i32),
    Stalled,
}

/// One line of the index.
struct Case {
    name: String,
    how: String,
    mode: String,
    end: End,
    verdict: String,
}

/// A home, a workspace and a model of their own.
struct Lab {
    preset: &'static Preset,
    program: PathBuf,
    dir: TempDir,
    model: Model,
    runs: u64,
}

/// What may differ from an ordinary run.
#[derive(Default)]
struct Way<'a> {
    args: &'a [&'a str],
    blank: bool,
    /// As many retries as the program makes by itself.
    retries: bool,
    keyless: bool,
    subscription: bool,
    /// Nothing listens where the model should be.
    down: bool,
    kill: Option<Kill>,
}

/// When a program is killed.
#[derive(Clone, Copy, PartialEq)]
enum Kill {
    /// As soon as it runs.
    Early,
    /// The model was asked, and has not answered.
    Asked,
    /// Its session file holds the prompt. For claude that is some time after it has asked the model.
    Kept,
    /// It said twice that it waits.
    Waiting,
}

struct Ran {
    end: End,
    stdout: String,
    stderr: String,
}

#[test]
fn claude_does_what_its_preset_says() {
    every_case("claude");
}

#[test]
fn codex_does_what_its_preset_says() {
    every_case("codex");
}

fn every_case(name: &str) {
    let preset = preset(name).unwrap();
    let Some(program) = model::program(name) else { return };
    let record = number_from("FACTORY_TICK_RECORD_HARNESS", 0) != 0;
    let mut wrong = Vec::new();
    for case in index().into_iter().filter(|case| case.name.split('-').next() == Some(name)) {
        let mut lab = Lab::new(preset, &program);
        let (ran, resumed) = lab.play(&case);
        let reading = reading(preset, &ran, resumed, &case.how);
        if record {
            put(&fixture(&case.name, "stdout"), &lab.scrub(&ran.stdout));
            put(&fixture(&case.name, "stderr"), &lab.scrub(&ran.stderr));
        }
        if (ran.end, format!("{:?}", reading.verdict)) != (case.end, case.verdict.clone()) {
            wrong.push(format!(
                "{}: {:?}, {reading:?}; expected {:?}, {}\nstdout: {}\nstderr: {}",
                case.name, ran.end, case.end, case.verdict, ran.stdout, ran.stderr
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

fn fixture(name: &str, stream: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/harness/{name}.{stream}"))
}

fn index() -> Vec<Case> {
    let text = include_str!("../../fixtures/harness/INDEX");
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let case = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let [name, how, mode, end, verdict] = words[..] else { panic!("{line}") };
        let end = match (end, end.strip_prefix("signal")) {
            ("stalled", _) => End::Stalled,
            (_, Some(signal)) => End::Signal(signal.parse().unwrap()),
            _ => End::Code(end.parse().unwrap()),
        };
        let [name, how, mode, verdict] = [name, how, mode, verdict].map(str::to_owned);
        Case { name, how, mode, end, verdict }
    };
    lines.map(case).collect()
}

/// A tool server that does not start, as an argument.
const SERVERS: &str = r#"{"mcpServers":{"gone":{"command":"/nonexistent/server"}}}"#;

fn reading(preset: &Preset, ran: &Ran, resumed: bool, how: &str) -> factory_tick::harness::Reading {
    let (code, signal, reason) = match ran.end {
        End::Code(code) => (Some(code), None, ExitReason::Exited),
        End::Signal(signal) => (None, Some(signal), ExitReason::Exited),
        End::Stalled => (None, Some(9), ExitReason::Stalled),
    };
    let moment = ClockReading {
        at: "2026-01-01T00:00:00Z".parse().unwrap(),
        mono_ms: 0,
        boot_id: String::new(),
        slept_ms: 0,
    };
    let exit = Exit {
        code,
        signal,
        reason,
        error: None,
        started: moment.clone(),
        ended: moment,
        cpu_ms: 0,
        peak_kib: 0,
        reported: Reported::default(),
        after_run_ms: None,
        done: None,
        room: Room::default(),
        limit_ms: None,
    };
    let output = Output { stdout_tail: ran.stdout.clone(), stderr_tail: ran.stderr.clone() };
    let argv = if how == "servers" { words(&["--mcp-config", SERVERS]) } else { Vec::new() };
    let mut unconnected =
        ran.stdout.lines().filter_map(|line| unconnected_on(preset, &argv, line.as_bytes()));
    let said = Reported { unconnected: unconnected.next_back().unwrap_or_default(), ..Reported::default() };
    read(preset, &exit, &said, &output, resumed)
}

/// Waits until a condition holds.
#[track_caller]
fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < LIMIT, "never happened: {what}");
        pause(POLL);
    }
}

impl Lab {
    fn new(preset: &'static Preset, program: &Path) -> Lab {
        let dir = tempfile::Builder::new().prefix("lab-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let path = |name: &str| dir.path().join(name);
        for folder in ["home", "home/.codex", "workspace"] {
            fs::create_dir(path(folder)).unwrap();
        }
        let model = Model::start(dir.path());
        Lab { preset, program: program.to_owned(), dir, model, runs: 0 }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What the index says, and whether the run that counts was a resume.
    fn play(&mut self, case: &Case) -> (Ran, bool) {
        let plain = Way::default;
        let before = match case.how.as_str() {
            "resume" | "again" => Some(plain()),
            "early" => Some(Way { kill: Some(Kill::Early), ..plain() }),
            "midway" => Some(Way { kill: Some(Kill::Kept), ..plain() }),
            _ => None,
        };
        let mut session = self.fresh_id();
        if let Some(way) = before {
            self.mode(if way.kill.is_some() { "hang" } else { "ok" });
            let ran = self.run(&self.preset.start_argv(&session, &words(way.args)), &way);
            let told = ran.stdout.lines().find_map(|line| session_on(self.preset, line.as_bytes()));
            match self.preset.session {
                SessionFrom::Reported => session = told.expect("it names its session"),
                // Killed early it tells nothing; else it is the one that it was given.
                SessionFrom::Chosen => assert!(told.is_none_or(|told| told == session)),
            }
        }
        self.mode(&case.mode);
        let resumed = matches!(case.how.as_str(), "resume" | "unknown" | "early" | "midway");
        let way = match (case.how.as_str(), self.preset.name) {
            ("blank", _) => Way { blank: true, ..plain() },
            ("retries", _) => Way { retries: true, ..plain() },
            ("refused", _) => Way { down: true, ..plain() },
            ("down", _) => Way { down: true, retries: true, kill: Some(Kill::Waiting), ..plain() },
            ("keyless", _) => Way { keyless: true, ..plain() },
            ("subscription", _) => Way { keyless: true, subscription: true, ..plain() },
            ("killed", _) => Way { kill: Some(Kill::Asked), ..plain() },
            ("allowed", "claude") => {
                Way { args: &["--permission-mode", "acceptEdits", "--allowedTools", "Bash"], ..plain() }
            }
            ("allowed", _) => Way { args: &["--sandbox", "workspace-write"], ..plain() },
            ("servers", _) => Way { args: &["--mcp-config", SERVERS], ..plain() },
            ("turns", _) => Way { args: &["--max-turns", "1"], ..plain() },
            _ => plain(),
        };
        let args = words(way.args);
        let argv = match resumed {
            true => self.preset.resume_argv(&session, &args),
            false => self.preset.start_argv(&session, &args),
        };
        (self.run(&argv, &way), resumed)
    }

    fn fresh_id(&mut self) -> String {
        self.runs += 1;
        let run = RunId { agent: AgentName("ar-1-impl".into()), n: self.runs };
        chosen_session(&self.dir.path().display().to_string(), &run)
    }

    fn mode(&self, mode: &str) {
        self.model.mode(mode);
    }

    fn run(&self, argv: &[String], way: &Way<'_>) -> Ran {
        put(&self.path("requests"), "");
        put(&self.path("home/.codex/config.toml"), &self.codex_config(way));
        put(&self.path("prompt"), if way.blank { "" } else { PROMPT });
        let stream = |name| File::create(self.path(name)).unwrap();
        let mut child = system(self.program.to_str().unwrap())
            .args(&argv[1..])
            .current_dir(self.path("workspace"))
            .env_clear()
            .envs(self.env(way))
            .stdin(File::open(self.path("prompt")).unwrap())
            .stdout(stream("stdout"))
            .stderr(stream("stderr"))
            .spawn()
            .unwrap();
        let text = |name| fs::read_to_string(self.path(name)).unwrap();
        if let Some(when) = way.kill {
            wait_for("the moment to kill it", || self.is_moment(when));
            child.kill().unwrap();
        }
        let mut status = None;
        wait_for(&format!("{argv:?} ends: {}\n{}", text("stdout"), text("stderr")), || {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        let end = end(status.unwrap(), way);
        Ran { end, stdout: text("stdout"), stderr: text("stderr") }
    }

    fn is_moment(&self, when: Kill) -> bool {
        let text = |name| fs::read_to_string(self.path(name)).unwrap();
        match when {
            Kill::Early => true,
            Kill::Asked => text("requests").contains(PROMPT),
            Kill::Kept => sessions(&self.path("home")).iter().any(|file| {
                fs::read_to_string(file).is_ok_and(|text| text.contains(PROMPT) && text.ends_with('\n'))
            }),
            Kill::Waiting => {
                let stdout = text("stdout");
                let whole = stdout.rfind('\n').map_or("", |end| &stdout[..end]);
                whole.lines().filter(|line| !is_progress(self.preset, line.as_bytes())).count() >= 2
            }
        }
    }

    fn env(&self, way: &Way<'_>) -> Vec<(&'static str, String)> {
        let text = |value: &str| value.to_owned();
        let mut env = vec![
            ("PATH", text("/usr/local/bin:/usr/bin:/bin")),
            ("HOME", self.path("home").display().to_string()),
            ("LANG", text("C.UTF-8")),
            ("TZ", text("UTC")),
            ("ANTHROPIC_BASE_URL", format!("http://127.0.0.1:{}", self.port(way))),
        ];
        env.extend(model::QUIET.map(|name| (name, text("1"))));
        env.extend(self.preset.set.iter().map(|(name, value)| (*name, text(value))));
        if !way.retries {
            env.push(("CLAUDE_CODE_MAX_RETRIES", text("0")));
        }
        if !way.keyless {
            env.push(("ANTHROPIC_API_KEY", text("sk-ant-dummy")));
            env.push(("STUB_KEY", text("dummy")));
        }
        if way.subscription {
            env.push(("CLAUDE_CODE_OAUTH_TOKEN", text("sk-ant-oat01-dummy")));
        }
        env
    }

    fn port(&self, way: &Way<'_>) -> u16 {
        if way.down { model::NOBODY } else { self.model.port }
    }

    fn codex_config(&self, way: &Way<'_>) -> String {
        model::codex_config(self.port(way), way.retries)
    }

    /// What was printed, without what differs from run to run and from machine to machine.
    fn scrub(&self, text: &str) -> String {
        let pattern = |pattern: &str| Regex::new(pattern).unwrap();
        let lab = self.dir.path().display().to_string();
        let dashed = lab.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        let text = text.replace(&lab, "/lab").replace(&dashed, "-lab");
        let text = pattern(r"127\.0\.0\.1:\d+").replace_all(&text, "127.0.0.1:PORT");
        let text = pattern(r#""(\w+_ms)":[\d.]+"#).replace_all(&text, "\"$1\":1");
        let text =
            pattern(r#""timestamp":"[^"]*""#).replace_all(&text, "\"timestamp\":\"2026-01-01T00:00:00Z\"");
        // Codex makes links in its home, unless that lies in a temporary directory.
        let text = pattern(r"(?m)^WARNING: proceeding, even though we could not create PATH aliases.*\n")
            .replace_all(&text, "");
        let mut ids = Vec::new();
        let number = |found: &Captures<'_>| {
            let id = found[0].to_owned();
            let at = ids.iter().position(|known| *known == id).unwrap_or_else(|| {
                ids.push(id);
                ids.len() - 1
            });
            format!("00000000-0000-4000-8000-{:012}", at + 1)
        };
        pattern("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
            .replace_all(&text, number)
            .into_owned()
    }
}

fn end(status: ExitStatus, way: &Way<'_>) -> End {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        _ if way.kill == Some(Kill::Waiting) => End::Stalled,
        (Some(code), _) => End::Code(code),
        (None, signal) => End::Signal(signal.unwrap()),
    }
}

/// The session files below a home.
fn sessions(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        match path.extension() {
            _ if path.is_dir() => found.extend(sessions(&path)),
            Some(extension) if extension == "jsonl" => found.push(path),
            _ => {}
        }
    }
    found
}

fn words(args: &[&str]) -> Vec<String> {
    args.iter().map(|argument| (*argument).to_owned()).collect()
}
