//! What stands in the directory of a run.

use std::path::PathBuf;

use factory_tick::durable::seal::{seal, unseal};
use factory_tick::harness::{preset, session_on};
use factory_tick::model::{Claim, CleanupReceipt, Exit, Reported, UnrecordedSpec};
use factory_tick::run::directory::{CGROUP, CLAIM, EXEC_ERROR, EXIT, RunDir, RunFiles, SAID, SPEC, SWEPT};
use factory_tick::run::notes::Group;
use factory_tick::run::spec::Spec;
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::change::{apply, bytes_like, changes, spliced, splices};
use super::{cases, lay};

const NAMES: &[&str] = &[SPEC, CLAIM, EXIT, SWEPT, SAID, CGROUP, EXEC_ERROR, "stdout.log", "stderr.log"];

fn moment() -> Value {
    json!({"at": "2026-11-20T12:00:00.5Z", "mono_ms": 5000, "boot_id": "a2569f14-2537-4f6c-b476-39591a1189e0"})
}

fn process() -> Value {
    json!({"pid": 4711, "start_ticks": 99, "boot_id": "a2569f14-2537-4f6c-b476-39591a1189e0", "pid_ns": 1, "uid": 0})
}

/// One of each, as they are written.
fn originals() -> Vec<(&'static str, Value)> {
    let claim = |claim: Value| (CLAIM, claim);
    let run = json!({
        "id": "ar-1-impl.1", "item": "dir:AR-1", "role": "implementer", "harness": "command", "dispatch": 1,
        "chosen_session": "s-1", "resumes": 1, "prelude_ms": 10, "deadline_ms": 1000, "done_when": "command",
    });
    let snapshot =
        json!({"key": "AR-1", "slug": "ar-1", "workspace": "AR-1", "hash": "ab", "content_hash": "cd"});
    let spec = json!({
        "schema": 1, "lineage": "49cc04b914f1fe5bdb9babc3d36695c9", "run": run, "snapshot": snapshot,
        "since": moment(), "argv": ["/bin/agent", "-x"], "env": ["PATH"], "workspace_root": "/w",
        "live": "/s/live", "made": "/s/made", "session_pattern": "s=(.*)", "grace_ms": 10, "log_bytes_max": 1000,
        "done": ["x"], "protected_pids": [7], "protected_pidfiles": ["/p"],
    });
    let exit = json!({
        "code": 1, "signal": null, "reason": "exited", "error": null, "started": moment(), "ended": moment(),
        "cpu_ms": 1, "peak_kib": 1, "reported": {"session": "s-1", "park": null}, "after_run_ms": 1000, "done": 1,
        "room": {"state": {"bytes": 1, "inodes": 2}, "workspaces": null},
    });
    let survivor = json!({"pid": 4712, "start_ticks": 9, "comm": "x", "because": "y"});
    vec![
        (SPEC, spec),
        claim(
            json!({"launcher": {"handle": {"local": {"process": process(), "machine_id": "x"}}, "since": moment()}}),
        ),
        claim(json!({"fenced_by": "a tick"})),
        claim(json!({"refused": {"because": "x", "duplicate": true}})),
        (EXIT, exit),
        (SWEPT, json!({"by": "launcher", "survivors": [survivor]})),
        (SAID, json!({"session": "s-1", "park": "help"})),
        (CGROUP, json!({"dir": "/sys/fs/cgroup/x"})),
        (EXEC_ERROR, json!({"text": "x", "os": 2})),
    ]
}

fn files() -> (tempfile::TempDir, RunFiles) {
    let folder = tempfile::tempdir().unwrap();
    let files = RunDir::new(folder.path().to_owned()).open().unwrap().unwrap();
    (folder, files)
}

/// Reads all that a tick and a launcher read.
fn read_all(files: &RunFiles) {
    let _ = files.claim();
    if let Ok(Some(spec)) = files.whole_spec() {
        let _ = (spec.marker(), spec.grace(), UnrecordedSpec::from(spec));
    }
    files.exit().unwrap();
    files.swept().unwrap();
    files.reported().unwrap();
    files.output().unwrap();
    let _ = (files.cgroup(), files.exec_error());
}

/// What was read, printed and read again is the same.
fn assert_same_again<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(read: Option<T>) {
    let Some(read) = read else { return };
    let printed = seal(&serde_json::to_vec(&read).unwrap());
    let again: T = serde_json::from_slice(&unseal(&printed).unwrap()).unwrap();
    assert_eq!(again, read);
}

/// What may become an argument of a command.
pub(super) fn is_plain(session: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    !session.is_empty() && session.len() <= 256 && !session.starts_with('-') && session.chars().all(is_plain)
}

pub(super) const PROPERTIES: &[(&str, fn())] = &[
    ("bytes of receipts", any_bytes_in_the_files_of_a_run_are_read_or_are_none),
    ("printed receipts", any_receipt_that_is_read_is_printed_as_what_it_was),
    ("spliced receipts", any_splice_of_a_sealed_receipt_leaves_the_truth_or_nothing),
    ("sessions", any_line_of_an_agent_names_a_session_that_is_plain_or_none),
    ("original receipts", the_originals_are_read),
];

proptest! {
    #![proptest_config(cases())]

    fn any_bytes_in_the_files_of_a_run_are_read_or_are_none(
        which in prop::sample::select(NAMES),
        bytes in bytes_like(originals().iter().map(|(_, value)| seal(value.to_string().as_bytes())).collect()),
    ) {
        let (folder, files) = files();
        lay(&folder.path().join(which), &bytes);
        read_all(&files);
    }

    fn any_receipt_that_is_read_is_printed_as_what_it_was(
        which in prop::sample::select(originals()),
        changes in changes(),
    ) {
        let (name, mut value) = which;
        apply(&mut value, &changes);
        let (folder, files) = files();
        lay(&folder.path().join(name), &seal(value.to_string().as_bytes()));
        read_all(&files);
        match name {
            SPEC => assert_same_again::<Spec>(files.whole_spec().unwrap()),
            CLAIM => assert_same_again::<Claim>(files.claim().ok().flatten()),
            EXIT => assert_same_again::<Exit>(files.exit().unwrap()),
            SWEPT => assert_same_again::<CleanupReceipt>(files.swept().unwrap()),
            SAID => assert_same_again::<Reported>(files.reported().ok()),
            CGROUP => assert_same_again::<Group>(files.cgroup()),
            _ => {}
        }
    }

    fn any_splice_of_a_sealed_receipt_leaves_the_truth_or_nothing(
        which in prop::sample::select(originals()),
        splices in splices(),
    ) {
        let (_, value) = which;
        let sealed = seal(value.to_string().as_bytes());
        let damaged = spliced(&sealed, &splices);
        // Bytes that were put within the object, with the seal as it was, never pass.
        if damaged.ends_with(&sealed[sealed.len() - 80..]) {
            let object = unseal(&damaged);
            prop_assert!(object.is_err() || object.unwrap() == value.to_string().as_bytes());
        }
    }

    fn any_line_of_an_agent_names_a_session_that_is_plain_or_none(line in any::<Vec<u8>>(), id in ".{0,40}") {
        let lines = [
            line,
            json!({"type": "thread.started", "thread_id": id}).to_string().into_bytes(),
            json!({"type": "system", "subtype": "init", "session_id": id}).to_string().into_bytes(),
        ];
        for program in ["claude", "codex"] {
            for line in &lines {
                let session = session_on(preset(program).unwrap(), line);
                prop_assert!(session.is_none_or(|id| is_plain(&id)));
            }
        }
    }
}

fn the_originals_are_read() {
    let (folder, files) = files();
    for (name, value) in originals() {
        lay(&folder.path().join(name), &seal(value.to_string().as_bytes()));
        let is_read = match name {
            SPEC => files.whole_spec().unwrap().is_some(),
            CLAIM => files.claim().unwrap().is_some(),
            EXIT => files.exit().unwrap().is_some(),
            SWEPT => files.swept().unwrap().is_some(),
            SAID => files.reported().unwrap() != Reported::default(),
            CGROUP => files.cgroup() == Some(Group { dir: PathBuf::from("/sys/fs/cgroup/x") }),
            _ => files.exec_error().is_some(),
        };
        assert!(is_read, "{name}: {value}");
    }
}
