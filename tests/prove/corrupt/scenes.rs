//! What is damaged, and where: factories with something of everything in them, at rest. A whole tick changes nothing in
//! them, so that whatever a tick does over a damaged file it does for the damage.

use std::fs;

use serde_json::Value;

use crate::support::{Factory, NOTE_START, Ran, put};

/// A factory, played once.
pub(super) struct Scene {
    pub(super) name: &'static str,
    pub(super) play: fn() -> Factory,
    pub(super) groups: &'static [Group],
}

/// Files of a scene that are damaged one by one.
pub(super) struct Group {
    pub(super) name: &'static str,
    /// What is done to the scene before.
    pub(super) arrange: fn(&Factory),
    /// By their paths in the factory's folder.
    pub(super) files: fn(&Factory) -> Vec<String>,
    /// What is run over each damage.
    pub(super) runs: &'static [&'static [&'static str]],
    /// What must be true after a tick that was not refused.
    pub(super) truth: fn(&Factory, &Ran) -> Result<(), String>,
    /// The registry or its backup: what can't be loaded is kept. Loaded in the process of the test, too.
    pub(super) is_registry: bool,
}

const TICK: &[&str] = &["--format", "json"];
const STATUS: &[&str] = &["status", "--format", "json"];
const EXPLAIN: &[&str] = &["explain", "AR-1", "--format", "json"];
const LOGS: &[&str] = &["logs", "AR-1"];
const KILL_TICK: &[&str] = &["kill-tick"];
const CHECK: &[&str] = &["check", "--format", "json"];

const TICK_ALONE: &[&[&str]] = &[TICK];
const TICK_AND_SCREENS: &[&[&str]] = &[TICK, STATUS, EXPLAIN, LOGS];

pub(super) const SCENES: &[Scene] = &[
    Scene {
        name: "at rest",
        play: at_rest,
        groups: &[
            Group {
                name: "registry",
                arrange: |_| (),
                files: |_| vec![REGISTRY.to_owned()],
                runs: TICK_ALONE,
                truth: all_is_known,
                is_registry: true,
            },
            Group {
                name: "registry without backup",
                arrange: |factory| fs::remove_file(factory.path(BACKUP)).unwrap(),
                files: |_| vec![REGISTRY.to_owned()],
                runs: TICK_ALONE,
                truth: |_, ran| Err(format!("it was not refused: {ran:?}")),
                is_registry: true,
            },
            Group {
                name: "registry beside an older backup",
                arrange: |factory| {
                    fs::remove_file(factory.path(BACKUP)).unwrap();
                    fs::copy(factory.path(OLDER), factory.path(BACKUP)).unwrap();
                },
                files: |_| vec![REGISTRY.to_owned()],
                runs: TICK_ALONE,
                truth: all_is_known,
                is_registry: true,
            },
            Group {
                name: "backup",
                arrange: |_| (),
                files: |_| vec![BACKUP.to_owned()],
                runs: TICK_ALONE,
                truth: all_is_known,
                is_registry: true,
            },
            Group {
                name: "backup alone",
                arrange: |factory| fs::remove_file(factory.path(REGISTRY)).unwrap(),
                files: |_| vec![BACKUP.to_owned()],
                runs: TICK_ALONE,
                truth: |_, ran| Err(format!("it was not refused: {ran:?}")),
                is_registry: true,
            },
            Group {
                name: "state",
                arrange: |_| (),
                files: |factory| {
                    let names =
                        ["done.jsonl", "heartbeat.json", "lock", "events.jsonl", "mail.json", "CACHEDIR.TAG"];
                    let folders = ["live", "made"];
                    let mut files: Vec<_> = names.iter().map(|name| state(name)).collect();
                    files.extend(folders.iter().flat_map(|folder| files_in(factory, &state(folder))));
                    files
                },
                runs: &[TICK, STATUS, EXPLAIN, KILL_TICK],
                truth: all_is_known,
                is_registry: false,
            },
            Group {
                name: "last good configuration",
                arrange: |factory| put(&factory.path("factory.toml"), "[[role]\n"),
                files: |_| vec![state("last-good.json")],
                runs: &[TICK, STATUS],
                truth: is_on_record,
                is_registry: false,
            },
            Group {
                name: "runs",
                arrange: |_| (),
                files: |factory| {
                    let runs = ["ar-1-impl.1", "ar-2-impl.1", "ar-3-impl.1"];
                    let files = runs.iter().flat_map(|run| files_in(factory, &state(&format!("runs/{run}"))));
                    // Without it the hook is that of an agent which is still to be ended: it loses its time.
                    files.filter(|name| !name.ends_with("ar-2-impl.1/exit")).collect()
                },
                runs: TICK_AND_SCREENS,
                truth: all_is_known,
                is_registry: false,
            },
            Group {
                name: "items",
                arrange: |_| (),
                // One that runs, and one that a person holds: any other edit may be a reason to start.
                files: |_| vec!["issues/AR-1.md".to_owned(), "issues/AR-2.md".to_owned()],
                runs: &[TICK, EXPLAIN],
                truth: is_on_record,
                is_registry: false,
            },
            Group {
                name: "configuration",
                arrange: |_| (),
                files: |_| vec!["factory.toml".to_owned()],
                runs: &[TICK, STATUS, CHECK],
                truth: is_on_record,
                is_registry: false,
            },
        ],
    },
    Scene {
        name: "just started",
        play: just_started,
        groups: &[
            Group {
                name: "registry of a start",
                arrange: |_| (),
                files: |_| vec![REGISTRY.to_owned()],
                runs: TICK_ALONE,
                truth: is_started,
                is_registry: true,
            },
            Group {
                name: "run of a start",
                arrange: |_| (),
                files: |factory| files_in(factory, &state("runs/ar-1-impl.1")),
                runs: TICK_AND_SCREENS,
                truth: is_started,
                is_registry: false,
            },
        ],
    },
    Scene {
        name: "forgotten",
        play: forgotten,
        groups: &[Group {
            name: "forgotten run",
            arrange: |_| (),
            files: |factory| files_in(factory, &state("runs/ar-1-impl.1")),
            runs: TICK_ALONE,
            truth: is_not_forgotten,
            is_registry: false,
        }],
    },
    Scene {
        name: "just failed",
        play: just_failed,
        groups: &[Group {
            name: "run that failed",
            arrange: |_| (),
            files: |factory| files_in(factory, &state("runs/ar-1-impl.1")),
            runs: TICK_ALONE,
            truth: is_no_success,
            is_registry: false,
        }],
    },
];

const REGISTRY: &str = ".factory-tick/registry.json";
const BACKUP: &str = ".factory-tick/registry.json.bak";

/// A generation from before the last start.
const OLDER: &str = "older.json";

fn state(name: &str) -> String {
    format!(".factory-tick/{name}")
}

/// The files in a folder that have anything in them.
fn files_in(factory: &Factory, folder: &str) -> Vec<String> {
    let entries = fs::read_dir(factory.path(folder)).unwrap().map(|entry| entry.unwrap());
    let files = entries.filter(|entry| entry.metadata().unwrap().is_file_with_content());
    let mut names: Vec<_> =
        files.map(|entry| format!("{folder}/{}", entry.file_name().to_str().unwrap())).collect();
    names.sort();
    names
}

trait Content {
    fn is_file_with_content(&self) -> bool;
}

impl Content for fs::Metadata {
    fn is_file_with_content(&self) -> bool {
        self.is_file() && self.len() > 0
    }
}

// ---------------------------------------------------------------------------------------------
// Scenes

/// An agent that runs, a run that must end and whose last hook goes on, one that failed and waits, one that asked for a
/// person, one that is done.
fn at_rest() -> Factory {
    let agent = r#"
        case $FACTORY_ITEM in
        *:AR-1 | *:AR-2) echo FACTORY_SESSION=s-1; exec sleep 6000 ;;
        *:AR-3) echo "the build fails" >&2; exit 1 ;;
        *:AR-4) echo "FACTORY_PARK=which database?" ;;
        esac
    "#;
    let mut factory = Factory::with_agent(&[NOTE_START, agent].concat());
    let hook = r#"case $FACTORY_RUN in *ar-2-impl.1) echo on > "$LAB/hook"; exec sleep 6000 ;; esac"#;
    factory.set("hooks", "after_run", &format!("[\"sh\", \"-c\", {}]", crate::support::toml_text(hook)));
    factory.set("hooks", "timeout", "\"10h\"");
    ["AR-2", "AR-3", "AR-4"].iter().for_each(|key| factory.item(key));
    put(
        &factory.issues().join("AR-5.json"),
        r#"{"id": "AR-5", "title": "Five", "labels": ["b"], "priority": 2}"#,
    );
    factory.tick().expect(0);
    factory.wait_for("all of them began", || factory.starts().len() == 4);
    ["ar-3-impl.1", "ar-4-impl.1", "ar-5-impl.1"].iter().for_each(|run| factory.wait_swept(run));
    factory.tick().expect(4);
    factory.run(&["stop", "AR-2"]);
    factory.wait_told("hook");
    factory.tick();
    fs::copy(factory.path(REGISTRY), factory.path(OLDER)).unwrap();
    // What a tick without a heartbeat said.
    let configuration = fs::read_to_string(factory.path("factory.toml")).unwrap();
    put(&factory.path("factory.toml"), "[[role]\n");
    factory.run(&["-q"]).expect(78);
    put(&factory.path("factory.toml"), &configuration);
    factory.item("AR-1");
    factory.tick();
    factory.wait_for("it runs", || factory.starts().len() == 5);
    factory.wait_for("its session was heard", || factory.receipt("ar-1-impl.1", "said").is_some());
    factory.tick();
    factory
}

fn worker() -> Factory {
    let factory = Factory::with_agent(&[NOTE_START, "echo FACTORY_SESSION=s-1; exec sleep 6000"].concat());
    // So that there is a generation before.
    factory.tick().expect(0);
    factory.item("AR-1");
    factory
}

/// An agent that runs, and that no tick has seen.
fn just_started() -> Factory {
    let factory = worker();
    factory.tick().expect(0);
    factory.wait_for("its session was heard", || factory.receipt("ar-1-impl.1", "said").is_some());
    factory
}

/// The same, and its start is not on record.
fn forgotten() -> Factory {
    let factory = worker();
    let older = fs::read(factory.path(REGISTRY)).unwrap();
    factory.tick().expect(0);
    factory.wait_for("its session was heard", || factory.receipt("ar-1-impl.1", "said").is_some());
    [REGISTRY, BACKUP].iter().for_each(|name| drop(fs::remove_file(factory.path(name))));
    put(&factory.path(REGISTRY), std::str::from_utf8(&older).unwrap());
    factory
}

/// An agent that failed, and that no tick has judged.
fn just_failed() -> Factory {
    let script = r#"echo FACTORY_SESSION=s-1; until [ -e "$LAB/go" ]; do sleep 0.01; done; exit 1"#;
    let factory = Factory::with_agent(&[NOTE_START, script].concat());
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_for("its agent runs", || factory.starts().len() == 1);
    factory.tick().expect(0);
    put(&factory.lab("go"), "");
    factory.wait_swept("ar-1-impl.1");
    factory
}

// ---------------------------------------------------------------------------------------------
// What must be true

/// Everything is where it was.
fn all_is_known(factory: &Factory, _: &Ran) -> Result<(), String> {
    let registry = factory.registry();
    let standing = |key: &str| {
        let id = format!("dir:{key}");
        let is_indexed = registry["done"].get(&id).is_some();
        if is_indexed { "done".into() } else { registry["items"][id]["state"].clone() }
    };
    let found = ["AR-1", "AR-2", "AR-3", "AR-4", "AR-5"].map(standing);
    let wanted = ["active", "parked", "waiting", "parked", "done"].map(Value::from);
    if found != wanted {
        return Err(format!("the items are {found:?}"));
    }
    if registry["items"]["dir:AR-3"]["attempts"] != 1 {
        return Err("a failure is forgotten".to_owned());
    }
    if registry["agents"]["ar-1-impl"]["state"] != "running" {
        return Err(format!("its agent is {}", registry["agents"]["ar-1-impl"]));
    }
    is_on_record(factory, &Ran { code: None, stdout: String::new(), stderr: String::new() })
}

/// Both runs that live are on record.
fn is_on_record(factory: &Factory, _: &Ran) -> Result<(), String> {
    ["ar-1-impl.1", "ar-2-impl.1"].iter().try_for_each(|run| known(factory, run))
}

fn known(factory: &Factory, run: &str) -> Result<(), String> {
    let registry = factory.registry();
    let agent = run.rsplit_once('.').unwrap().0;
    let is_known = registry["agents"][agent]["run"] == run || !registry["handoffs"][run].is_null();
    if is_known { Ok(()) } else { Err(format!("{run} is forgotten")) }
}

fn is_started(factory: &Factory, _: &Ran) -> Result<(), String> {
    known(factory, "ar-1-impl.1")
}

/// It is on record by now, or holds up all that could come into its way.
fn is_not_forgotten(factory: &Factory, ran: &Ran) -> Result<(), String> {
    known(factory, "ar-1-impl.1").or_else(|why| if ran.code == Some(3) { Ok(()) } else { Err(why) })
}

fn is_no_success(factory: &Factory, _: &Ran) -> Result<(), String> {
    let item = factory.recorded("AR-1");
    if item["state"] == "done" { Err(format!("it failed, and is {item}")) } else { Ok(()) }
}
