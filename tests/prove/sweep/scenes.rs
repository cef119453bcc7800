//! What is swept: from where it starts, what is run, and how it has to end.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Factory, Ran, put};

/// One thing that the program does.
pub(super) struct Scene {
    pub(super) name: &'static str,
    /// Adds roles and items.
    pub(super) configure: fn(&mut Factory),
    /// Brings the factory to where the swept process starts.
    pub(super) prepare: fn(&Factory),
    /// The process that is swept.
    pub(super) target: Target,
    /// Processes live where it starts, so it has to be prepared for each point; else its files are copied.
    pub(super) is_live: bool,
    /// Agents go on until they are ended.
    pub(super) agents_stay: bool,
    /// What happens between two clean ticks.
    pub(super) between: fn(&Factory),
    /// What is still missing where nothing is decided any more.
    pub(super) open: fn(&Factory) -> Option<String>,
}

/// Which process is swept.
pub(super) enum Target {
    /// A tick that ends with this code.
    Tick(i32),
    /// The launcher of `ar-1-impl.1`, started as the tick would have started it.
    Launcher,
    /// The process that deletes.
    Remover,
}

const PLAIN: Scene = Scene {
    name: "",
    configure: two_roles_end_well,
    prepare: |_| {},
    target: Target::Tick(0),
    is_live: false,
    agents_stay: false,
    between: |_| {},
    open: is_done,
};

pub(super) const SCENES: &[Scene] = &[
    Scene { name: "dispatch", ..PLAIN },
    // Starting, claimed, alive: it is adopted.
    Scene {
        name: "adopt",
        configure: |factory| roles(factory, "sleep 0.4"),
        prepare: |factory| {
            factory.tick().expect(0);
            factory.wait_for("both run", || factory.starts().len() == 2);
        },
        is_live: true,
        ..PLAIN
    },
    // Both are over: judged, done, written back.
    Scene { name: "success", prepare: first_runs_are_over, ..PLAIN },
    // It was done a tick ago: its records go to done.jsonl, and an entry of the index takes their place.
    Scene {
        name: "index",
        prepare: |factory| {
            first_runs_are_over(factory);
            factory.tick().expect(0);
            assert_eq!(factory.registry()["items"]["dir:AR-1"]["state"], "done");
        },
        open: is_in_the_index,
        ..PLAIN
    },
    Scene {
        name: "failure",
        configure: |factory| roles(factory, "echo no >&2; exit 1"),
        prepare: first_runs_are_over,
        open: |factory| has_item(factory, "waiting", 2),
        ..PLAIN
    },
    Scene {
        name: "resume",
        configure: |factory| {
            let says = [NOTE, "echo FACTORY_SESSION=s-1; exit 1"].concat();
            let ends_well = [NOTE, "exit 0"].concat();
            let goes_on = json!(["sh", "-c", ends_well, "resume", "{session}"]);
            factory.role("impl", &["sh", "-c", &says], &format!("resume = {goes_on}"));
            factory.set("attempts", "backoff_base", "\"1ms\"");
            factory.item("AR-1");
        },
        // One tick judges it and, since it is due at once, goes on with its session.
        prepare: first_runs_are_over,
        open: |factory| has_item(factory, "done", 1),
        ..PLAIN
    },
    // Its required note can't be written, so what runs is handed off.
    Scene {
        name: "handoff",
        configure: |factory| {
            factory.role("impl", &["sh", "-c", &[NOTE, "exec sleep 600"].concat()], "");
            factory.refuse_started_notes();
            factory.item("AR-1");
        },
        prepare: |factory| {
            factory.tick().expect(3);
            factory.wait_for("it runs", || factory.starts().len() == 1);
        },
        is_live: true,
        agents_stay: true,
        open: |factory| has_item(factory, "waiting", 1),
        ..PLAIN
    },
    Scene {
        name: "corrupt",
        prepare: |factory| {
            first_runs_are_over(factory);
            let path = factory.state("registry.json");
            put(&path, &fs::read_to_string(&path).unwrap().replace("\"serial\":", "\"seriaI\":"));
        },
        // What was wrong is told once.
        target: Target::Tick(3),
        ..PLAIN
    },
    Scene {
        name: "retention",
        configure: makes_much,
        prepare: much_is_old,
        between: an_hour_passes,
        open: is_tidy,
        ..PLAIN
    },
    Scene {
        name: "remover",
        configure: makes_much,
        prepare: |factory| {
            much_is_old(factory);
            stop_before_spawn(factory);
        },
        target: Target::Remover,
        between: an_hour_passes,
        open: is_tidy,
        ..PLAIN
    },
    Scene { name: "launcher-1", configure: |factory| one_role(factory, "sleep 0.001"), ..LAUNCHER },
    Scene { name: "launcher-60", configure: |factory| one_role(factory, "sleep 0.06"), ..LAUNCHER },
    Scene { name: "launcher-300", configure: |factory| one_role(factory, "sleep 0.3"), ..LAUNCHER },
];

const LAUNCHER: Scene =
    Scene { prepare: stop_before_spawn, target: Target::Launcher, open: is_done_or_charged_once, ..PLAIN };

/// First words of every agent: its start, and whether another one of its name lives. Whatever it leaves behind has
/// the same open file, and so the lock.
const NOTE: &str = r#"agent=${FACTORY_RUN#*/}; agent=${agent%.*}; exec 9>>"$LAB/alone.$agent"
flock -n 9 || echo "$FACTORY_RUN" >>"$LAB/doubled"
echo "$FACTORY_RUN" >>"$LAB/starts"; "#;

/// What all scenes have in common.
pub(super) fn factory() -> Factory {
    let mut factory = Factory::new();
    factory.set("fleet", "grace", "\"1s\"");
    factory.set("fleet", "start_grace", "\"1s\"");
    let file = Value::from(factory.path("protected.pid").display().to_string());
    factory.set("fleet", "protected_pidfiles", &format!("[{file}]"));
    factory
}

fn one_role(factory: &mut Factory, script: &str) {
    factory.role("impl", &["sh", "-c", &[NOTE, script].concat()], "");
    factory.item("AR-1");
}

fn roles(factory: &mut Factory, script: &str) {
    for suffix in ["impl", "rev"] {
        factory.role(suffix, &["sh", "-c", &[NOTE, script].concat()], "");
    }
    factory.item("AR-1");
}

fn two_roles_end_well(factory: &mut Factory) {
    roles(factory, "exit 0");
}

fn first_runs_are_over(factory: &Factory) {
    factory.tick().expect(0);
    let runs: Vec<_> = fs::read_dir(factory.state("runs")).unwrap().collect();
    for run in runs {
        factory.wait_swept(run.unwrap().file_name().to_str().unwrap());
    }
}

/// A tick that dies when it is about to start its first process: whatever it would have started is ready to be.
fn stop_before_spawn(factory: &Factory) {
    let trace = factory.lab("trace");
    let script = r#"exec strace -o "$TRACE" -e inject=clone3,clone,vfork,fork:signal=KILL:when=1 "$TICK""#;
    let ran = Ran::of(factory.shell(script).env("TRACE", &trace));
    assert_eq!(ran.code, None, "it started nothing: {ran:?}");
    fs::remove_file(trace).unwrap();
}

fn makes_much(factory: &mut Factory) {
    roles(factory, "mkdir -p made/in; echo x >made/in/side; ln -sf in made/link");
    factory.set("retention", "runs_per_item", "1");
}

/// Each role ran twice, of which one may go, and the item was finished long ago.
fn much_is_old(factory: &Factory) {
    for time in 1..=2 {
        factory.edit("AR-1", &format!("For the {time}. time."));
        factory.tick_until("it is done", |_| {
            factory.starts().len() == 2 * time && factory.recorded("AR-1")["state"] == "done"
        });
    }
    factory.wait_all_gone();
    let at = factory.registry()["names"]["items"]["dir:AR-1"]["finished_at"].clone();
    let at = format!("\"finished_at\":{at}");
    factory.forge_registry(|text| text.replace(&at, "\"finished_at\":\"2001-09-09T01:46:40Z\""));
    an_hour_passes(factory);
}

/// Makes the next tick look what may go.
fn an_hour_passes(factory: &Factory) {
    let path = factory.state("heartbeat.json");
    let Ok(text) = fs::read_to_string(&path) else { return };
    let mut beat: Value = serde_json::from_str(&text).expect("a heartbeat is whole");
    beat.as_object_mut().unwrap().remove("retained");
    put(&path, &beat.to_string());
}

// -----------------------------------------------------------------------------------------
// How it ends

fn has_item(factory: &Factory, state: &str, attempts: u64) -> Option<String> {
    let item = factory.recorded("AR-1");
    (item["state"] != state || item["attempts"] != attempts)
        .then(|| format!("not {state} with {attempts}: {item}"))
}

fn is_done(factory: &Factory) -> Option<String> {
    has_item(factory, "done", 0)
}

/// Done, known by the index alone, and its details are whole.
fn is_in_the_index(factory: &Factory) -> Option<String> {
    let registry = factory.registry();
    let is_indexed = registry["items"] == json!({}) && registry["done"].get("dir:AR-1").is_some();
    is_done(factory).or_else(|| (!is_indexed).then(|| format!("it is not in the index: {registry}")))
}

/// Where a launcher dies before its agent's receipt stands, the run has vanished; where it is refused what an agent
/// needs, it could not start. Charged once, never worse.
fn is_done_or_charged_once(factory: &Factory) -> Option<String> {
    let class = &factory.recorded("AR-1")["last"]["class"];
    let is_known = class == "vanished" || class == "launch";
    let charged = has_item(factory, "waiting", 1)
        .or_else(|| (!is_known).then(|| format!("charged for something else: {class}")));
    is_done(factory).and(charged)
}

fn is_tidy(factory: &Factory) -> Option<String> {
    let list = |path: &Path| {
        fs::read_dir(path).map_or(Vec::new(), |entries| entries.map(|one| one.unwrap().file_name()).collect())
    };
    let (mut workspaces, mut runs) = (list(&factory.state("workspaces")), list(&factory.state("runs")));
    workspaces.retain(|name| name != ".factory-tick");
    runs.sort();
    // Of a workspace its note goes first: where whoever removes it dies in between, it is nobody's, and stays.
    let is_kept = workspaces == ["AR-1"] && !factory.state("made/AR-1").exists();
    let is_tidy = (workspaces.is_empty() || is_kept)
        && !factory.state("trash").exists()
        && runs == ["ar-1-impl.2", "ar-1-rev.2"];
    is_done(factory).or_else(|| (!is_tidy).then(|| format!("workspaces {workspaces:?}, runs {runs:?}")))
}

/// Whether a file of the state directory is one that may be there in the end.
pub(super) fn is_expected(name: &str) -> bool {
    const FILES: &[&str] = &[
        ".gitignore",
        "CACHEDIR.TAG",
        "done.jsonl",
        "events.jsonl",
        "heartbeat.json",
        "last-good.json",
        "lock",
        "registry.json",
        "registry.json.bak",
        "remover",
    ];
    const OF_RUN: &[&str] = &[
        "cgroup",
        "claim",
        "exec-error",
        "exit",
        "hooks.log",
        "prompt.md",
        "said",
        "spec.json",
        "stderr.log",
        "stdout.log",
        "swept",
    ];
    match name.split('/').collect::<Vec<_>>().as_slice() {
        [file] => FILES.contains(file) || file.starts_with("registry.corrupt-"),
        ["live" | "reserve", _]
        | ["made", "AR-1"]
        | ["workspaces", "AR-1", ..]
        | ["workspaces", ".factory-tick", "AR-1"] => true,
        // What a killed launcher was writing stays until its run is removed; no other run has that name.
        ["runs", _, file] => {
            let whole = file.split_once('.').map_or(*file, |(whole, _)| whole);
            OF_RUN.contains(file) || OF_RUN.contains(&whole) || file.ends_with(".tmp")
        }
        _ => false,
    }
}

// -----------------------------------------------------------------------------------------
// What is run

impl Target {
    /// What it ends with when nothing disturbs it.
    pub(super) fn code(&self) -> i32 {
        match self {
            Target::Tick(code) => *code,
            Target::Launcher | Target::Remover => 0,
        }
    }

    /// Nobody reads the code of a launcher or a remover.
    pub(super) fn may_end_with(&self, code: i32) -> bool {
        match self {
            Target::Tick(_) => super::CODES.contains(&code),
            Target::Launcher | Target::Remover => matches!(code, 0 | 1),
        }
    }

    /// It, under strace, which writes to `trace`. Only the process itself is followed, nothing that it starts.
    pub(super) fn command(&self, factory: &Factory, trace: &Path, options: &[String]) -> Command {
        let arguments = match self {
            Target::Tick(_) => r#""$TICK" --format json"#,
            Target::Launcher => r#""$TICK" __launch "$RUN_DIR""#,
            Target::Remover => r#""$TICK" __remove "$CONFIG" "$STATE""#,
        };
        let place = if matches!(self, Target::Tick(_)) { "" } else { "cd /; " };
        let script = format!(r#"{place}exec strace -o "$TRACE" {} {arguments}"#, options.join(" "));
        let mut command = factory.shell(&script);
        command.env("TRACE", trace);
        let run = "ar-1-impl.1";
        match self {
            Target::Tick(_) => {}
            Target::Launcher => {
                let workspace = factory.state("workspaces").join("AR-1");
                command.env("LAB", factory.lab("")).env("RUN_DIR", factory.state("runs").join(run));
                command.env("FACTORY_RUN", format!("{}/{run}", factory.lineage()));
                command.env("FACTORY_ITEM", "dir:AR-1").env("FACTORY_ROLE", "impl");
                command.env("FACTORY_WORKSPACE", workspace);
            }
            Target::Remover => {
                command.env("LAB", factory.lab("")).env("STATE", factory.state(""));
                command.env("CONFIG", factory.path("factory.toml"));
            }
        }
        command
    }
}
