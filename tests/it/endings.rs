//! What the end of a run means for what its agent does next: questions, answers, limits, hooks, work still running.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::{Factory, NOTE_START, Ran, kill_9, put};

/// The note that the factory left beside an item.
fn note(factory: &Factory, slug: &str) -> Value {
    let path = factory.issues().join(".factory").join(format!("{slug}.json"));
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The text of one run's prompt.
fn prompt(factory: &Factory, run: &str) -> String {
    fs::read_to_string(factory.state("runs").join(run).join("prompt.md")).unwrap()
}

/// One tick after this run has ended.
fn judge(factory: &Factory, run: &str) -> Ran {
    factory.wait_swept(run);
    factory.tick()
}

/// An agent that asks its first question, then its second one, and is done when it was resumed twice.
fn asks_twice() -> Factory {
    let mut factory = Factory::new();
    let ask = r#"cat > /dev/null; echo "FACTORY_SESSION=s-1"; echo "FACTORY_PARK=which table?""#;
    let resume = r#"cat > /dev/null; echo resumed >> "$LAB/resumed"
        [ "$(wc -l < "$LAB/resumed")" -ge 2 ] || echo "FACTORY_PARK=which column?""#;
    let resume = [NOTE_START, resume].concat();
    let resume = json!(["sh", "-c", resume, "x", "{session}"]);
    factory.role("impl", &["sh", "-c", &[NOTE_START, ask].concat()], &format!("resume = {resume}"));
    factory.item("AR-1");
    factory.tick().expect(0);
    judge(&factory, "ar-1-impl.1").expect(4);
    factory
}

// Origin: the second `retry --message` started a fresh session that knew neither question nor first answer.
// covers: P17
#[test]
fn every_answer_resumes_the_session_that_asked() {
    let factory = asks_twice();
    factory.run(&["retry", "AR-1", "--message", "the orders table"]).expect(0);
    assert_eq!(factory.tick().expect(0).decided()[0], "resume ar-1-impl.2");
    let told = prompt(&factory, "ar-1-impl.2");
    assert!(told.starts_with("You asked: which table?\nThe answer: the orders table\n"), "{told}");
    assert!(!told.contains("interrupted"), "{told}");
    judge(&factory, "ar-1-impl.2").expect(4);
    factory.run(&["retry", "AR-1", "--message", "the id column"]).expect(0);
    assert_eq!(factory.tick().expect(0).decided()[0], "resume ar-1-impl.3");
    let told = prompt(&factory, "ar-1-impl.3");
    assert!(told.starts_with("You asked: which column?\nThe answer: the id column\n"), "{told}");
    assert!(!told.contains("orders"), "the session has heard that already: {told}");
    judge(&factory, "ar-1-impl.3").expect(0);
    assert_eq!(factory.recorded("AR-1")["state"], "done");
}

// Origin: a second message replaced the first one, which no run had heard yet.
// covers: P17b
#[test]
fn messages_queue_until_a_run_has_heard_them() {
    let factory = asks_twice();
    factory.run(&["retry", "AR-1", "--message", "the orders table"]).expect(0);
    factory.run(&["retry", "AR-1", "--message", "and mind the index"]).expect(0);
    factory.tick().expect(0);
    let told = prompt(&factory, "ar-1-impl.2");
    let (first, second) = (told.find("the orders table"), told.find("and mind the index"));
    assert!(first.is_some() && first < second, "{told}");
    factory.wait_swept("ar-1-impl.2");
}

// Origin: a session that asked twice within one dispatch had its second question told to no tracker.
// covers: P18
#[test]
fn second_question_of_a_dispatch_reaches_the_tracker() {
    let factory = asks_twice();
    assert_eq!(note(&factory, "ar-1")["because"], "the agent asks for a person: which table?");
    factory.run(&["retry", "AR-1", "--message", "the orders table"]).expect(0);
    factory.tick().expect(0);
    judge(&factory, "ar-1-impl.2").expect(4);
    assert_eq!(note(&factory, "ar-1")["because"], "the agent asks for a person: which column?");
    assert_eq!(factory.tick().expect(0).decided(), Vec::<String>::new(), "it is told once");
}

/// An agent that ends well, and a hook after it that fails.
fn fails_after(required: bool) -> Factory {
    let mut factory = Factory::with_agent(&[NOTE_START, "exit 0"].concat());
    factory.set("hooks", "after_run", r#"["sh", "-c", "echo 'no remote' >&2; exit 3"]"#);
    if required {
        factory.set("hooks", "after_run_required", "true");
    }
    factory.item("AR-1");
    factory.tick().expect(0);
    factory
}

// Origin: an `after_run` hook that pushes the work failed each time, and nobody was ever told.
// covers: P18b
#[test]
fn failed_after_run_is_told_once_and_shown() {
    let factory = fails_after(false);
    let ran = judge(&factory, "ar-1-impl.1").expect(3);
    let why = "ar-1-impl.1: the after_run hook failed: exit code 3: no remote";
    assert_eq!(ran.json()["errors"], json!([why]));
    assert_eq!(factory.recorded("AR-1")["state"], "done");
    factory.tick().expect(0);
    let status = factory.run(&["status"]).stdout;
    assert!(status.contains("the after_run hook failed: exit code 3: no remote"), "{status}");
    let notes = factory.run(&["status", "--format", "json"]).json()["notes"].clone();
    assert_eq!(notes[0]["run"], "ar-1-impl.1", "{notes}");
}

// covers: P18c
#[test]
fn required_after_run_that_fails_parks_the_item() {
    let factory = fails_after(true);
    judge(&factory, "ar-1-impl.1").expect(4);
    let record = factory.recorded("AR-1");
    assert_eq!((&record["state"], &record["attempts"]), (&json!("parked"), &json!(0)), "{record}");
    assert_eq!(record["last"]["because"], "the after_run hook failed: exit code 3: no remote");
    factory.run(&["retry", "AR-1"]).expect(0);
    assert_eq!(factory.tick().expect(0).decided()[0], "start ar-1-impl.2", "its hook has to run again");
    factory.wait_swept("ar-1-impl.2");
}

// Origin: "nothing on stdout for 1200s" was told of a run that had been ended after 15 s: by today's configuration.
// covers: P19
#[test]
fn reason_names_the_limit_that_the_run_was_given() {
    let mut factory = Factory::new();
    factory.role("impl", &["sh", "-c", "exec sleep 600"], "stall = \"1s\"");
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_swept("ar-1-impl.1");
    let config = fs::read_to_string(factory.path("factory.toml")).unwrap();
    put(&factory.path("factory.toml"), &config.replace("stall = \"1s\"", "stall = \"20m\""));
    factory.tick().expect(0);
    assert_eq!(factory.recorded("AR-1")["last"]["because"], "nothing on stdout for 1 s");
}

// Origin: after a failed `after_create` a `retry` resumed a session that had never begun, and lost a run to it.
// covers: P20c
#[test]
fn session_that_never_began_is_not_resumed() {
    let mut factory = Factory::new();
    let program = r#"#!/bin/sh
echo "$*" >> "$LAB/args"
echo '{"type":"result","subtype":"success","is_error":false,"num_turns":1,"result":"done"}'
"#;
    fs::create_dir(factory.lab("bin")).unwrap();
    let claude = factory.lab("bin/claude");
    put(&claude, program);
    fs::set_permissions(&claude, fs::Permissions::from_mode(0o755)).unwrap();
    factory.set("env", "path_prepend", &json!([factory.lab("bin")]).to_string());
    factory.set("hooks", "after_create", r#"["sh", "-c", "[ -e \"$LAB/remote\" ]"]"#);
    factory.preset("claude", "");
    factory.var("ANTHROPIC_API_KEY", "sk-ant-dummy");
    factory.item("AR-1");
    factory.tick().expect(0);
    judge(&factory, "ar-1-impl.1").expect(3);
    assert_eq!(factory.recorded("AR-1")["last"]["class"], "launch");
    put(&factory.lab("remote"), "");
    factory.run(&["retry", "AR-1"]).expect(0);
    assert_eq!(factory.tick().expect(0).decided()[0], "start ar-1-impl.2");
    judge(&factory, "ar-1-impl.2").expect(0);
    assert!(factory.told("args").contains("--session-id"), "{}", factory.told("args"));
}

// Origin: `[done] command` that was added while agents ran parked what ended well: "answered nothing", and nobody had
// asked.
// covers: P22b
#[test]
fn run_is_judged_by_the_done_rule_that_it_was_given() {
    let mut factory = Factory::with_agent(&[NOTE_START, "exit 0"].concat());
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_swept("ar-1-impl.1");
    factory.set("done", "when", "\"command\"");
    factory.set("done", "command", r#"["sh", "-c", "exit 7"]"#);
    factory.tick().expect(0);
    factory.tick().expect(0);
    assert_eq!(factory.recorded("AR-1")["state"], "done");
    assert_eq!(note(&factory, "ar-1")["because"], "every role ended well");
}

/// What an agent wrote down of its temporary directory.
fn temporary(factory: &Factory) -> PathBuf {
    factory.wait_told("tmpdir");
    PathBuf::from(factory.told("tmpdir").trim())
}

/// Leaves files in its temporary directory, one of them in a folder that nobody may write to.
const USES_TMPDIR: &str = r#"mkdir "$TMPDIR/kept"; touch "$TMPDIR/kept/file"; chmod 500 "$TMPDIR/kept"
    stat -c '%a %u' "$TMPDIR" > "$LAB/mode"; echo "$TMPDIR" > "$LAB/tmpdir"; "#;

// covers: P15e
#[test]
fn each_run_has_a_short_temporary_directory_of_its_own() {
    let mut factory = Factory::with_agent(&[NOTE_START, USES_TMPDIR].concat());
    factory.set("hooks", "after_run", r#"["sh", "-c", "echo $TMPDIR > $LAB/after"]"#);
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_swept("ar-1-impl.1");
    let tmpdir = temporary(&factory);
    let bytes = tmpdir.as_os_str().len();
    assert!(bytes <= 48, "a socket's path has 108 bytes, and this one has {bytes}: {}", tmpdir.display());
    let uid = rustix::process::getuid().as_raw();
    assert_eq!(factory.told("mode"), format!("700 {uid}\n"));
    assert_eq!(factory.told("after").trim(), tmpdir.to_str().unwrap());
    assert!(!tmpdir.exists(), "{}", tmpdir.display());
}

// covers: P15f
#[test]
fn tick_removes_the_temporary_directory_of_a_dead_launcher() {
    let factory = Factory::with_agent(&[NOTE_START, USES_TMPDIR, "exec sleep 600"].concat());
    factory.item("AR-1");
    factory.tick().expect(0);
    let tmpdir = temporary(&factory);
    assert!(tmpdir.join("kept/file").exists());
    kill_9(factory.launcher("ar-1-impl.1"));
    factory.tick_until("it is reaped", |_| factory.receipt("ar-1-impl.1", "swept").is_some());
    assert!(!tmpdir.exists(), "{}", tmpdir.display());
}

// covers: P15e
#[test]
fn temporary_directory_lies_where_the_machine_has_its_own() {
    let mut factory = Factory::with_agent(&[NOTE_START, USES_TMPDIR].concat());
    let short = tempfile::Builder::new().prefix("ft").rand_bytes(4).tempdir_in("/tmp").unwrap();
    factory.var("TMPDIR", short.path().to_str().unwrap());
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_swept("ar-1-impl.1");
    assert_eq!(temporary(&factory).parent(), Some(short.path()));
    // A place that leaves no room for a socket's name is of no use.
    let long = factory.path(&"x".repeat(80));
    fs::create_dir(&long).unwrap();
    factory.var("TMPDIR", long.to_str().unwrap());
    factory.edit("AR-1", "There is more to do.");
    factory.tick_until("it starts again", |ran| ran.decided().contains(&"start ar-1-impl.2".to_owned()));
    factory.wait_swept("ar-1-impl.2");
    assert_eq!(temporary(&factory).parent(), Some(Path::new("/tmp")));
}
