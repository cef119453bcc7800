//! Two factories with one folder of workspaces: none of them works in, or removes, a workspace of the other.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::support::{Factory, NOTE_START, Ran, put, skipped, system};

/// A factory whose agents write their factory's name into their workspace, in a folder of workspaces that both share.
fn sharing(name: &str, root: &str) -> Factory {
    let mut factory = Factory::with_agent(&format!("{NOTE_START}echo {name} >> by"));
    factory.set("workspace", "root", &format!("\"{root}\""));
    factory
}

/// One factory that has done its item AR-1, and another one with an item of the same key.
fn two() -> (Factory, Factory, PathBuf) {
    let ours = sharing("ours", "work");
    let root = ours.path("work");
    let other = sharing("other", root.to_str().unwrap());
    ours.item("AR-1");
    ours.tick_until("it is done", |_| ours.recorded("AR-1")["state"] == "done");
    other.item("AR-1");
    (ours, other, root)
}

/// What the last report says of an item that waits.
fn held(ran: &Ran) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let held = ran.json()["held"].as_array().unwrap().clone();
    held.iter().map(|held| (text(&held["code"]), text(&held["because"]))).collect()
}

/// Makes the next tick look for what may go, with the item done 40 days ago.
fn look_40_days_later(factory: &Factory) {
    let at = factory.registry()["names"]["items"]["dir:AR-1"]["finished_at"].clone();
    let at: jiff::Timestamp = at.as_str().expect("it is finished").parse().unwrap();
    let then = at - Duration::from_secs(40 * 24 * 60 * 60);
    factory.forge_registry(|text| {
        text.replace(&format!("\"finished_at\":\"{at}\""), &format!("\"finished_at\":\"{then}\""))
    });
    let path = factory.state("heartbeat.json");
    let mut beat: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    beat.as_object_mut().unwrap().remove("retained");
    put(&path, &beat.to_string());
    factory.tick().expect(0);
    factory.wait_all_gone();
}

// One factory worked in the workspace of another one that shared its root and the key of an item.
// covers: P08
#[test]
fn workspace_of_another_factory_holds_the_item() {
    let (ours, other, root) = two();
    let told = held(&other.tick().expect(4));
    let [(code, because)] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(code, "workspace_taken");
    let mark = root.join(".factory-tick/AR-1");
    let state = ours.state("").display().to_string();
    assert!(because.contains(state.trim_end_matches('/')), "{because}");
    assert!(because.contains(mark.to_str().unwrap()), "{because}");
    assert_eq!(other.starts(), [""; 0]);
    let status = other.run(&["status", "--format", "json"]).expect(0).json();
    assert_eq!(status["waiting"][0]["code"], "workspace_taken", "{status}");
    assert_eq!(status["stuck"][0]["item"], "dir:AR-1", "a person alone can release it: {status}");
    assert!(other.run(&["status"]).expect(0).stdout.contains("workspace_taken"));
    let explained = other.run(&["explain", "AR-1"]).expect(0).stdout;
    assert!(explained.contains("workspace_taken"), "{explained}");
    other.edit("AR-1", "Changed: this releases nothing.");
    assert_eq!(held(&other.tick().expect(0)), told);

    // The person who knows that the other factory is no more.
    fs::remove_file(&mark).unwrap();
    other.tick_until("it is done", |_| other.recorded("AR-1")["state"] == "done");
    assert_eq!(fs::read_to_string(root.join("AR-1/by")).unwrap(), "ours\nother\n");
    let status = other.run(&["status", "--format", "json"]).expect(0).json();
    assert_eq!(status["waiting"], serde_json::json!([]));
}

// One factory deleted the workspace of another one, whose agent was at work in it.
// covers: P08b
#[test]
fn workspace_is_removed_by_its_own_factory_alone() {
    let (ours, other, root) = two();
    // As if the other factory had made a folder of this name itself, at any time before.
    other.tick().expect(4);
    let folder = root.join("AR-1").display().to_string();
    put(&other.state("made/AR-1"), &folder);
    let id = "\"dir:AR-1\":{";
    let finished = format!("{id}\"finished_at\":\"2001-09-09T01:46:40Z\",");
    other.forge_registry(|text| {
        let (before, names) = text.split_once("\"names\":").unwrap();
        format!("{before}\"names\":{}", names.replacen(id, &finished, 1))
    });
    fs::remove_file(other.issues().join("AR-1.md")).unwrap();
    // All that it remembers is absent at once, and is meant to be.
    for _ in 0..2 {
        other.run(&["--accept-missing"]).expect(0);
    }
    assert!(other.recorded("AR-1").is_null());
    look_40_days_later(&other);
    assert!(root.join("AR-1/by").exists(), "it is not the other's");

    look_40_days_later(&ours);
    assert!(!root.join("AR-1").exists());
    assert!(!root.join(".factory-tick/AR-1").exists(), "nobody has it any more");
    other.item("AR-1");
    other.tick_until("it is done", |_| other.recorded("AR-1")["state"] == "done");
    assert_eq!(fs::read_to_string(root.join("AR-1/by")).unwrap(), "other\n");
    ours.edit("AR-1", "Once more.");
    assert_eq!(held(&ours.tick().expect(4))[0].0, "workspace_taken");
    assert!(root.join("AR-1/by").exists());
}

// Both factories looked while nobody had the workspace, and both started.
// covers: P08c
#[test]
fn launcher_that_finds_its_workspace_taken_starts_no_agent() {
    if !system("strace").arg("-V").output().is_ok_and(|output| output.status.success()) {
        return skipped(
            "strace is not there (Debian package strace), so no tick was killed before it starts its launcher",
        );
    }
    let (ours, other, root) = two();
    let mark = root.join(".factory-tick/AR-1");
    let whose = fs::read_to_string(&mark).unwrap();
    fs::remove_file(&mark).unwrap();
    let script = r#"exec strace -o "$TRACE" -e inject=clone3,clone,vfork,fork:signal=KILL:when=1 "$TICK""#;
    let ran = Ran::of(other.shell(script).env("TRACE", other.lab("trace")));
    assert_eq!(ran.code, None, "it started nothing: {ran:?}");
    put(&mark, &whose);
    let run = other.state("runs/ar-1-impl.1");
    let marker = format!("{}/ar-1-impl.1", other.lineage());
    let script = r#"cd / && exec "$TICK" __launch "$RUN""#;
    let mut launch = other.shell(script);
    launch.env("LAB", other.lab("")).env("RUN", &run).env("FACTORY_RUN", marker);
    Ran::of(&mut launch).expect(0);
    other.wait_swept("ar-1-impl.1");
    let exit = other.receipt("ar-1-impl.1", "exit").unwrap();
    assert_eq!(exit["reason"], "infra", "{exit}");
    assert!(exit["error"].as_str().unwrap().contains("another factory"), "{exit}");
    assert_eq!(other.starts(), [""; 0]);
    assert_eq!(held(&other.tick().expect(4))[0].0, "workspace_taken");
    assert_eq!(other.recorded("AR-1")["attempts"], 0, "no attempt is charged");
    assert_eq!(fs::read_to_string(root.join("AR-1/by")).unwrap(), "ours\n");
    drop(ours);
}
