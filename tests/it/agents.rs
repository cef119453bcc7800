//! One agent from its start to its verdict.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::support::{Factory, NOTE_START, Ran, Running, install, is_alive, put, system};

/// An agent that works until it is ended.
const WORKS: &str = "exec sleep 600";

fn script(parts: &[&str]) -> String {
    parts.concat()
}

fn because(ran: &Ran, action: &str) -> String {
    let report = ran.json();
    let lines = report["decisions"].as_array().unwrap();
    let line =
        lines.iter().find(|line| line["action"] == action).unwrap_or_else(|| panic!("no {action}: {report}"));
    line["because"].as_str().unwrap().to_owned()
}

// ---------------------------------------------------------------------------------------------
// Ends

// covers: V02 I02
#[test]
fn an_agent_that_ends_with_0_is_done_and_its_item_hears_of_it() {
    let factory = Factory::with_agent(&script(&[NOTE_START, "exit 0"]));
    factory.item("AR-1");
    let started = factory.tick().expect(0);
    assert_eq!(started.decided(), ["start ar-1-impl.1", "writeback dir:AR-1"]);
    factory.wait_swept("ar-1-impl.1");
    let ended = factory.tick().expect(0);
    let want = ["adopt ar-1-impl.1", "done ar-1-impl.1", "done dir:AR-1", "writeback dir:AR-1"];
    assert_eq!(ended.decided(), want);
    let note: Value =
        serde_json::from_str(&fs::read_to_string(factory.issues().join(".factory/ar-1.json")).unwrap())
            .unwrap();
    assert_eq!((&note["item"], &note["status"]), (&json!("dir:AR-1"), &json!("done")), "{note}");
    assert_eq!(note["runs"], json!(["ar-1-impl.1"]));
    assert_eq!(factory.recorded("AR-1")["state"], "done");
    assert_eq!(factory.registry()["counters"]["dispatched"], 1);
}

// Origin: detent#193 - work done, item still open, dispatched again.
// covers: F08 I10
#[test]
fn finished_work_is_started_again_only_when_its_text_changes() {
    let factory = Factory::with_agent(&script(&[NOTE_START, "exit 0"]));
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_swept("ar-1-impl.1");
    factory.tick().expect(0);
    for _ in 0..5 {
        let idle = factory.tick().expect(0);
        assert_eq!((idle.decided(), idle.held()), (vec![], vec!["done dir:AR-1".to_owned()]));
    }
    factory.edit("AR-1", "There is more to do.");
    assert_eq!(factory.tick().expect(0).decided(), ["start ar-1-impl.2", "writeback dir:AR-1"]);
    factory.wait_swept("ar-1-impl.2");
    assert_eq!(factory.starts(), ["ar-1-impl.1", "ar-1-impl.2"]);
}

#[test]
fn a_failure_backs_off_and_the_next_attempt_is_told_of_it() {
    let fails_once =
        r#"[ -e "$LAB/failed" ] && exit 0; touch "$LAB/failed"; echo "no such table" >&2; exit 9"#;
    let mut factory = Factory::with_agent(&script(&[NOTE_START, fails_once]));
    factory.set("attempts", "backoff_base", "\"200ms\"");
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_swept("ar-1-impl.1");
    let failed = factory.tick().expect(0);
    assert_eq!(because(&failed, "fail"), "exit code 9: no such table");
    // It is due later than the tick that sets it back.
    assert_eq!(failed.held(), ["backoff dir:AR-1"]);
    assert_eq!(factory.recorded("AR-1")["attempts"], 1);
    let again = factory.tick_until("the backoff ends", |ran| !ran.decided().is_empty());
    assert_eq!(again.decided(), ["start ar-1-impl.2", "writeback dir:AR-1"]);
    let prompt = fs::read_to_string(factory.state("runs/ar-1-impl.2/prompt.md")).unwrap();
    assert!(prompt.contains("# Attempt 2\n\nThe attempt before this one failed: exit code 9"), "{prompt}");
    factory.wait_swept("ar-1-impl.2");
    factory.tick().expect(0);
    assert_eq!(factory.recorded("AR-1")["state"], "done");
}

// Origin: the TypeScript factory - backoff and attempts lived in memory, lost at exit; and a respawn on
// every exit, 50 of 50, without a cap.
// covers: V28 F07 F22 F66
#[test]
fn attempts_last_across_ticks_and_end_with_parking_once() {
    let mut factory = Factory::with_agent(&script(&[NOTE_START, "exit 1"]));
    factory.set("attempts", "backoff_base", "\"1ms\"");
    factory.set("attempts", "backoff_max", "\"1ms\"");
    factory.set("attempts", "max", "3");
    factory.item("AR-1");
    let mut codes = Vec::new();
    factory.wait_for("it is parked", || {
        codes.push(factory.tick().code);
        factory.recorded("AR-1")["state"] == "parked"
    });
    assert_eq!(codes.pop(), Some(Some(4)), "the tick that parks it tells a person");
    assert!(codes.iter().all(|code| *code == Some(0)), "{codes:?}");
    for _ in 0..5 {
        let idle = factory.tick().expect(0);
        assert_eq!((idle.decided(), idle.held()), (vec![], vec!["parked dir:AR-1".to_owned()]));
    }
    assert_eq!(factory.starts(), ["ar-1-impl.1", "ar-1-impl.2", "ar-1-impl.3"]);
    assert_eq!(factory.registry()["counters"]["dispatch_terminal_failures"], 1);
}

// Origin: claude-code#85040, #48455 - exit code 0 of an agent that did nothing but ask, taken for success.
// covers: V20
#[test]
fn an_agent_that_asks_for_a_person_is_parked_although_it_ended_with_0() {
    let factory = Factory::with_agent(&script(&[NOTE_START, "echo 'FACTORY_PARK=which database?'; exit 0"]));
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_swept("ar-1-impl.1");
    let parked = factory.tick().expect(4);
    assert!(because(&parked, "park").contains("which database?"), "{}", parked.stdout);
    factory.tick().expect(0);
    factory.run(&["status"]).expect(0);
    let status = factory.run(&["status", "--format", "json", "--detailed-exitcode"]).expect(4).json();
    assert_eq!(status["parked"][0]["class"], "needs_input", "{status}");
    assert_eq!(status["parked"][0]["item"], "dir:AR-1");
    // The answer, written into the item, brings it back.
    factory.edit("AR-1", "Use the second database.");
    assert!(factory.tick().expect(0).decided().contains(&"start ar-1-impl.2".to_owned()));
}

// ---------------------------------------------------------------------------------------------
// Sessions

const RESUMED: &str = r#"echo "$@" >> "$LAB/argv"; "#;

fn with_session(agent: &str, resumed: &str) -> Factory {
    let mut factory = Factory::new();
    let resume =
        json!(["sh", "-c", script(&[NOTE_START, RESUMED, resumed]), "resume", "--resume", "{session}"]);
    let more = format!("resume = {resume}\nsession_gone = [\"No conversation found with session ID\"]");
    factory.role("impl", &["sh", "-c", &script(&[NOTE_START, agent])], &more);
    factory
}

// covers: V05
#[test]
fn a_session_goes_on_in_the_tick_that_sees_its_end() {
    let factory = with_session("echo FACTORY_SESSION=s-1; exit 1", "exit 0");
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_swept("ar-1-impl.1");
    let ran = factory.tick().expect(0);
    assert_eq!(ran.decided(), ["adopt ar-1-impl.1", "fail ar-1-impl.1", "resume ar-1-impl.2"]);
    factory.wait_swept("ar-1-impl.2");
    assert_eq!(factory.told("argv"), "--resume s-1\n");
    assert_eq!(factory.starts(), ["ar-1-impl.1", "ar-1-impl.2"]);
    factory.tick().expect(0);
    assert_eq!(factory.recorded("AR-1")["state"], "done");
    assert_eq!(factory.registry()["counters"]["resumes"], 1);
}

// Origin: midtown#2330 - the session is gone, the agent stays in the running set: a crash loop on every
// restart. And the TypeScript factory, which resumed a dead session 10 of 10 times.
// covers: V13 F20 F21 D41
#[test]
fn a_session_that_is_gone_is_resumed_once_and_the_next_attempt_is_fresh() {
    let factory = with_session(
        "echo FACTORY_SESSION=s-1; exit 1",
        "echo 'No conversation found with session ID: s-1' >&2; exit 1",
    );
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_swept("ar-1-impl.1");
    factory.tick().expect(0);
    factory.wait_swept("ar-1-impl.2");
    factory.tick().expect(0);

    let is_over = || {
        let agent = factory.agent("ar-1-impl");
        for gone in ["run", "session", "handle", "since"] {
            assert_eq!(agent[gone], Value::Null, "{gone}: {agent}");
        }
        assert_eq!(agent["state"], "idle");
        assert!(agent["stopped_at"].is_string(), "{agent}");
    };
    is_over();
    for _ in 0..50 {
        assert_eq!(factory.tick().expect(0).decided(), [""; 0]);
        let status = factory.run(&["status", "--format", "json"]).expect(0).json();
        assert_eq!(status["in_flight"], json!([]));
    }
    is_over();
    assert_eq!(factory.told("argv"), "--resume s-1\n");
    assert_eq!(factory.registry()["counters"]["sessions_not_found"], 1);
    // Only the run before it was charged: a dead session is nobody's fault.
    assert_eq!(factory.recorded("AR-1")["attempts"], 1);

    factory.edit("AR-1", "Try again.");
    let fresh = factory.tick().expect(0);
    assert!(fresh.decided().contains(&"start ar-1-impl.3".to_owned()), "{}", fresh.stdout);
    assert_eq!(factory.receipt("ar-1-impl.3", "spec.json").unwrap()["run"]["session"], Value::Null);
}

// ---------------------------------------------------------------------------------------------
// Starts that fail

// Origin: relay#1428 - "spawned" was reported for a program that was not there. And an audit - each item was charged for it.
// covers: X01 F14 S37 P20b
#[test]
fn missing_program_cools_its_role_off_until_it_is_there() {
    let mut factory = Factory::new();
    factory.role("impl", &["./lab/agent", "--fast"], "");
    factory.item("AR-1");
    let report = factory.tick().expect(4);
    assert_eq!(
        (report.decided(), report.held()),
        (vec!["cool_off -".to_owned()], vec!["cooling_off dir:AR-1".to_owned()])
    );
    let words = report.json()["decisions"][0]["because"].as_str().unwrap().to_owned();
    assert!(
        words.contains("role \"impl\" cannot start: ") && words.contains("is not an executable file"),
        "{words}"
    );
    assert_eq!(factory.registry()["counters"]["dispatched"], 0);
    // Told once, and it lasts.
    let again = factory.tick().expect(3);
    assert_eq!((again.decided(), again.held()), (vec![], vec!["cooling_off dir:AR-1".to_owned()]));
    put(&factory.lab("draft"), "#!/bin/sh\nexit 0\n");
    install(&factory.lab("draft"), &factory.lab("agent"));
    let started = factory.tick().expect(0).decided();
    assert_eq!(started[..2], ["cool_off -", "start ar-1-impl.1"]);
    factory.wait_swept("ar-1-impl.1");
    factory.tick_until("it is done", |_| factory.recorded("AR-1")["state"] == "done");
}

// covers: X03 F14
#[test]
fn a_program_that_cannot_be_executed_is_a_failed_launch_with_the_systems_words() {
    let mut factory = Factory::new();
    put(&factory.lab("draft"), "#!/no/such/interpreter\n");
    install(&factory.lab("draft"), &factory.lab("agent"));
    factory.role("impl", &["./lab/agent"], "");
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_swept("ar-1-impl.1");
    let ran = factory.tick().expect(3);
    let why = because(&ran, "fail");
    assert!(why.contains("cannot execute") && why.contains("No such file or directory"), "{why}");
    assert_eq!(factory.recorded("AR-1")["last"]["class"], "launch");
}

// Origin: relay#1540 - an agent ran in the wrong directory.
// covers: S30 F15
#[test]
fn a_workspace_that_leads_elsewhere_is_refused() {
    let factory = Factory::with_agent(&script(&[NOTE_START, "touch here; exit 0"]));
    fs::create_dir(factory.path("precious")).unwrap();
    factory.tick().expect(0);
    fs::create_dir(factory.state("workspaces")).unwrap();
    symlink(factory.path("precious"), factory.state("workspaces/AR-1")).unwrap();
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_swept("ar-1-impl.1");
    let why = because(&factory.tick().expect(3), "fail");
    assert!(why.contains("outside its root"), "{why}");
    assert_eq!(fs::read_dir(factory.path("precious")).unwrap().count(), 0);
    assert_eq!(factory.starts(), [""; 0]);
}

// Origin: factory#292 - one refused item aborted the whole pass.
// covers: X08 S32 F09
#[test]
fn a_prompt_that_cannot_be_rendered_fails_its_own_item_and_no_other() {
    let mut factory = Factory::new();
    put(
        &factory.path("prompt.md"),
        "{% if item.priority == 3 %}{{ titel }}{% endif %}Do {{ item.title }}.\n",
    );
    factory.role("impl", &["sh", "-c", &script(&[NOTE_START, "exit 0"])], "prompt = \"prompt.md\"");
    for n in 1..=5 {
        put(&factory.issues().join(format!("AR-{n}.json")), &format!("{{\"priority\": {n}}}"));
    }
    let ran = factory.tick().expect(3);
    let why = because(&ran, "fail");
    assert!(why.contains("`titel` is undefined") && why.contains("line 1"), "{why}");
    for n in [1, 2, 4, 5] {
        factory.wait_swept(&format!("ar-{n}-impl.1"));
    }
    let mut started = factory.starts();
    started.sort();
    assert_eq!(started, ["ar-1-impl.1", "ar-2-impl.1", "ar-4-impl.1", "ar-5-impl.1"]);
    assert_eq!(factory.recorded("AR-3")["attempts"], 1);
    assert_eq!(fs::read_to_string(factory.state("runs/ar-4-impl.1/prompt.md")).unwrap(), "Do AR-4.\n");
}

// ---------------------------------------------------------------------------------------------
// Ends that nobody asked for

// covers: V07 S28
#[test]
fn a_deadline_ends_an_agent_that_no_tick_looks_at_again() {
    let mut factory = Factory::new();
    let tree = script(&[NOTE_START, "setsid sleep 600 & ", WORKS]);
    factory.role("impl", &["sh", "-c", &tree], "deadline = \"1s\"");
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_swept("ar-1-impl.1");
    assert_eq!(factory.receipt("ar-1-impl.1", "exit").unwrap()["reason"], "deadline");
    assert_eq!(factory.receipt("ar-1-impl.1", "swept").unwrap()["survivors"], json!([]));
    factory.wait_all_gone();
    factory.tick().expect(0);
    assert_eq!(factory.recorded("AR-1")["last"]["class"], "deadline");
    assert_eq!(factory.recorded("AR-1")["attempts"], 1);
}

// Origin: bernstein#3058 - merged stderr refreshed the activity time of a stalled agent. And hojinzs#98 - a
// stall was measured from the start.
// covers: S24 S28 F62 F63
#[test]
fn silence_on_stdout_is_a_stall_whatever_stderr_says_and_counts_from_the_last_word() {
    let mut factory = Factory::new();
    let words = "for n in 1 2 3 4 5 6 7 8; do echo word; sleep 0.5; done; ";
    let chatter = "while :; do echo reconnecting >&2; sleep 0.1; done";
    factory.role("impl", &["sh", "-c", &script(&[words, chatter])], "stall = \"3s\"");
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_swept("ar-1-impl.1");
    let exit = factory.receipt("ar-1-impl.1", "exit").unwrap();
    assert_eq!(exit["reason"], "stalled", "{exit}");
    let lasted = exit["ended"]["mono_ms"].as_u64().unwrap() - exit["started"]["mono_ms"].as_u64().unwrap();
    // Seven pauses between words, then the stall.
    assert!(lasted >= 7 * 500 + 3000, "it lasted {lasted} ms");
    let stdout = fs::read_to_string(factory.state("runs/ar-1-impl.1/stdout.log")).unwrap();
    assert_eq!(stdout, "word\n".repeat(8));
    factory.tick().expect(0);
    assert_eq!(factory.recorded("AR-1")["last"]["class"], "stalled");
}

// Origin: `git clean -ffdx` in a checkout deletes the ignored state folder while agents live: all of them
// were started twice.
// covers: F75
#[test]
fn an_agent_whose_state_was_deleted_is_ended_with_all_it_started() {
    let whole_state: fn(&Factory) -> std::path::PathBuf = |factory| factory.state("");
    let its_run: fn(&Factory) -> std::path::PathBuf = |factory| factory.state("runs/ar-1-impl.1");
    for removed in [whole_state, its_run] {
        let tree = script(&[NOTE_START, "setsid sh -c 'echo $$ > $LAB/child; exec sleep 600' & ", WORKS]);
        let factory = Factory::with_agent(&tree);
        factory.item("AR-1");
        factory.tick().expect(0);
        let child = factory.wait_pid("child");
        fs::remove_dir_all(removed(&factory)).unwrap();
        factory.wait_all_gone();
        assert!(!is_alive(child));
    }
}

// ---------------------------------------------------------------------------------------------
// Surroundings

// covers: S34
#[test]
fn an_agent_gets_what_is_named_and_nothing_else() {
    let mut factory = Factory::new();
    factory.role("impl", &["cat", "/proc/self/environ"], "env = [\"MY_KEY\"]");
    factory.set("env", "path_prepend", "[\"bin\"]");
    for (name, value) in [
        ("MY_KEY", "mine"),
        ("LANG", "C.UTF-8"),
        ("GITHUB_TOKEN", "secret"),
        ("FACTORY_TICK_VERBOSE", "0"),
        ("FACTORY_RUN", "somebody/elses.7"),
        ("LD_LIBRARY_PATH", "/nowhere"),
    ] {
        factory.var(name, value);
    }
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_swept("ar-1-impl.1");
    let stdout = fs::read_to_string(factory.state("runs/ar-1-impl.1/stdout.log")).unwrap();
    let mut vars: Vec<_> = stdout.trim_end_matches('\0').split('\0').collect();
    vars.sort_unstable();
    // A name of its own for each run.
    let tmpdir = vars.pop().unwrap();
    assert!(tmpdir.starts_with("TMPDIR=/tmp/ft-"), "{tmpdir}");
    let workspace = factory.state("workspaces/AR-1").canonicalize().unwrap();
    let path = |name: &str| factory.path(name).display().to_string();
    let inherited = factory.program(&[]);
    let path_variable = inherited.get_envs().find(|(name, _)| *name == "PATH").unwrap().1.unwrap();
    let want = [
        "FACTORY_ITEM=dir:AR-1".to_owned(),
        format!("FACTORY_PROMPT_FILE={}", factory.state("runs/ar-1-impl.1/prompt.md").display()),
        "FACTORY_ROLE=impl".to_owned(),
        format!("FACTORY_RUN={}/ar-1-impl.1", factory.lineage()),
        format!("FACTORY_WORKSPACE={}", workspace.display()),
        format!("GIT_CEILING_DIRECTORIES={}", workspace.parent().unwrap().display()),
        format!("HOME={}", factory.path("").display()).trim_end_matches('/').to_owned(),
        format!("LAB={}", factory.lab("").display()),
        "LANG=C.UTF-8".to_owned(),
        "MY_KEY=mine".to_owned(),
        format!("PATH={}:{}", path("bin"), path_variable.display()),
    ];
    assert_eq!(vars, want);
    // Names are kept, values never: a state directory is backed up, copied and sent to people.
    for file in ["spec.json", "prompt.md", "claim", "exit"] {
        let text = fs::read_to_string(factory.state("runs/ar-1-impl.1").join(file)).unwrap();
        assert!(!text.contains("mine"), "{file}: {text}");
    }
}

// covers: S28 S30 F15
#[test]
fn an_agent_starts_in_its_workspace_with_its_prompt_and_a_clean_process() {
    let mut factory = Factory::new();
    put(&factory.path("prompt.md"), "Do {{ item.key }} as {{ run }}.\n");
    let looks = r#"pwd > "$LAB/cwd"; cat > "$LAB/stdin"; cat "$1" > "$LAB/file"
                   grep -E '^Sig(Ign|Blk)' /proc/self/status > "$LAB/signals"
                   for fd in /proc/self/fd/*; do readlink "$fd"; done > "$LAB/files""#;
    factory.role("impl", &["sh", "-c", looks, "agent", "{prompt_file}"], "prompt = \"prompt.md\"");
    factory.item("AR-1");
    // What the caller ignores or leaves open must not reach an agent.
    let caller = r#"trap '' PIPE INT HUP TERM; exec 7< "$TICK"; exec "$TICK""#;
    Ran::of(&mut factory.shell(caller)).expect(0);
    factory.wait_swept("ar-1-impl.1");
    let workspace = factory.state("workspaces/AR-1").canonicalize().unwrap();
    assert_eq!(factory.told("cwd").trim_end(), workspace.display().to_string());
    assert_eq!(factory.told("stdin"), "Do AR-1 as ar-1-impl.1.\n");
    assert_eq!(factory.told("file"), factory.told("stdin"));
    let signals = factory.told("signals");
    let masks = signals.lines().map(|line| u64::from_str_radix(line.split_whitespace().last().unwrap(), 16));
    // Signals 1 to 31; those above belong to the C library, which lets nobody change its own.
    assert!(
        signals.lines().count() == 2 && masks.into_iter().all(|mask| mask.unwrap() & 0x7fff_ffff == 0),
        "{signals}"
    );
    let binary = env!("CARGO_BIN_EXE_factory-tick");
    assert!(!factory.told("files").contains(binary), "{}", factory.told("files"));
}

#[test]
fn logs_keep_head_and_tail_within_their_bound() {
    let prints = "echo the first words; head -c 104857600 /dev/zero; echo; echo the last words";
    let mut factory = Factory::with_agent(prints);
    factory.set("retention", "log_bytes_max", "\"1MiB\"");
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_swept("ar-1-impl.1");
    let run = factory.state("runs/ar-1-impl.1");
    let sizes = fs::read_dir(&run).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len());
    let total: u64 = sizes.sum();
    assert!(total < (1 << 20) + (16 << 10), "{total} bytes in {}", run.display());
    let log = String::from_utf8(fs::read(run.join("stdout.log")).unwrap()).unwrap();
    assert!(log.starts_with("the first words\n") && log.ends_with("\nthe last words\n"));
    assert!(log.contains("bytes left out here]"));
}

// Origin: measured - an agent in a plain workspace inside a repository moved its user's branch.
// covers: F76
#[test]
fn git_in_a_plain_workspace_does_not_find_the_repository_around_it() {
    let factory = Factory::with_agent(r#"git rev-parse --show-toplevel > "$LAB/git" 2>&1; exit 0"#);
    let made = system("git").args(["init", "--quiet"]).arg(factory.path("")).status().unwrap();
    assert!(made.success());
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_swept("ar-1-impl.1");
    assert!(factory.told("git").contains("not a git repository"), "{}", factory.told("git"));
}

// What an agent leaves in its run's directory is not to be waited for: a FIFO held every later tick up.
#[test]
fn a_fifo_in_the_place_of_a_log_holds_nothing_up() {
    let spoils = r#"D=$(dirname "$1"); for log in stdout stderr; do rm "$D/$log.log"; mkfifo "$D/$log.log"; done; exit 1"#;
    let mut factory = Factory::new();
    factory.role("impl", &["sh", "-c", spoils, "agent", "{prompt_file}"], "");
    factory.set("fleet", "protected_pidfiles", "[\"lab/fifo\"]");
    assert!(system("mkfifo").arg(factory.lab("fifo")).status().unwrap().success());
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_for("its launcher says why it did not start", || {
        factory.receipt("ar-1-impl.1", "exit").is_some()
    });
    let exit = factory.receipt("ar-1-impl.1", "exit").unwrap();
    assert!(exit["error"].as_str().unwrap().contains("protected_pidfiles"), "{exit}");
    std::fs::remove_file(factory.lab("fifo")).unwrap();
    factory.wait_swept("ar-1-impl.1");
    // The next attempt starts, spoils its logs, and is judged all the same.
    factory.tick_until("the second run is started", |_| factory.receipt("ar-1-impl.2", "claim").is_some());
    factory.wait_swept("ar-1-impl.2");
    let spoiled = factory.run(&["logs", "-f", "ar-1-impl"]).expect(74);
    assert!(spoiled.stderr.contains("stdout.log: it is not a regular file"), "{}", spoiled.stderr);
    factory.tick_until("it is judged", |_| factory.recorded("AR-1")["attempts"] == 1);
    assert_eq!(factory.recorded("AR-1")["last"]["class"], "agent");
}

#[test]
fn a_limit_on_file_sizes_costs_a_part_of_the_log_and_not_the_run() {
    let factory = Factory::with_agent("head -c 3000000 /dev/zero; echo done > $LAB/done");
    factory.item("AR-1");
    // In blocks of 512 bytes.
    Ran::of(&mut factory.shell("ulimit -f 2000; exec \"$TICK\"")).expect(0);
    factory.wait_swept("ar-1-impl.1");
    assert_eq!(factory.told("done"), "done\n");
    factory.tick().expect(0);
    assert_eq!(factory.recorded("AR-1")["state"], "done");
}

// ---------------------------------------------------------------------------------------------
// logs

#[test]
fn the_output_of_a_run_is_shown_as_it_is_and_followed_until_it_ends() {
    let prints = r#"printf 'raw \033[31m\n'; echo aside >&2; echo > "$LAB/up"; read x < "$LAB/go"; head -c 300000 /dev/zero | tr '\0' x; echo; echo last; exit 1"#;
    let mut factory = Factory::with_agent(prints);
    factory.role("rev", &["sh", "-c", "echo reviewed"], "");
    factory.set("retention", "log_bytes_max", "\"64KiB\"");
    nix::unistd::mkfifo(&factory.lab("go"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    factory.item("AR-1");
    factory.run(&["logs", "AR-1"]).expect(5);
    factory.tick().expect(0);
    factory.wait_told("up");
    factory.wait_swept("ar-1-rev.1");
    let logs = |arguments: &[&str]| factory.run(&[&["logs"], arguments].concat());
    factory.wait_for("its first words are there", || logs(&["ar-1-impl"]).stdout.ends_with('\n'));
    assert_eq!(logs(&["ar-1-impl"]).expect(0).stdout, "raw \u{1b}[31m\n");
    assert_eq!(logs(&["ar-1-impl.1", "--stderr"]).expect(0).stdout, "aside\n");
    assert_eq!(logs(&["ar-1-r"]).expect(0).stdout, "reviewed\n");
    let several = logs(&["AR-1"]).expect(5).stderr;
    assert!(several.contains("ar-1-impl, ar-1-rev; name one of them"), "{several}");
    assert!(logs(&["ar-1-impl", "--run", "7"]).expect(5).stderr.contains("ar-1-impl.7 has no directory"));

    let follower = Running::start(&mut factory.program(&["logs", "-f", "ar-1-impl"]));
    put(&factory.lab("go"), "go\n");
    let followed = follower.end().expect(0).stdout;
    assert!(followed.starts_with("raw ") && followed.ends_with("x\nlast\n"), "{} bytes", followed.len());
    factory.tick().expect(0);
    assert_eq!(logs(&["ar-1-impl", "--run", "1", "-f"]).expect(0).stdout.lines().last(), Some("last"));
    let gone = Ran::of(&mut factory.shell("\"$TICK\" logs ar-1-impl | head -c 1"));
    assert_eq!(gone.expect(0).stdout, "r");
}
