//! Hooks: what a launcher runs around its agent, ends, and leaves behind.

use std::fs;
use std::path::Path;

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use serde_json::{Value, json};

use crate::support::{Factory, NOTE_START, Ran, is_alive, is_root, kill_9, put, skipped, toml_text};

/// Writes down its own name and where it runs.
const NOTE_HOOK: &str = r#"echo "$0 $1 $PWD" >> "$LAB/order"; "#;

impl Factory {
    /// A hook that is a shell script. `$0` is its name in it, `$1` its run.
    fn hook(&mut self, name: &str, script: &str) {
        let argv = ["sh", "-c", script, name, "{run}"].map(toml_text).join(", ");
        self.set("hooks", name, &format!("[{argv}]"));
    }

    /// Something that a script of the lab waits for by reading it, and the test opens by writing it.
    fn gate(&self, name: &str) {
        nix::unistd::mkfifo(&self.lab(name), Mode::S_IRWXU).unwrap();
    }

    fn exit(&self, run: &str) -> Value {
        self.receipt(run, "exit").expect("it has no exit receipt")
    }

    fn survivors(&self, run: &str) -> Value {
        self.receipt(run, "swept").expect("it has no receipt of its sweep")["survivors"].clone()
    }

    fn hooks_log(&self, run: &str) -> String {
        self.run(&["logs", run, "--hooks"]).expect(0).stdout
    }
}

fn because(ran: &Ran, action: &str) -> String {
    let report = ran.json();
    let line = report["decisions"].as_array().unwrap().iter().find(|line| line["action"] == action).cloned();
    line.unwrap_or_else(|| panic!("no {action}: {report}"))["because"].as_str().unwrap().to_owned()
}

// ---------------------------------------------------------------------------------------------
// In their places

// covers: H01 S31
#[test]
fn hooks_run_around_each_agent_in_its_workspace_and_its_environment() {
    let agent = [NOTE_START, r#"echo "agent $FACTORY_RUN $PWD" >> "$LAB/order""#].concat();
    let mut factory = Factory::with_agent(&agent);
    factory.hook("after_create", &[NOTE_HOOK, "echo made; echo aside >&2; touch made"].concat());
    factory.hook("before_run", &[NOTE_HOOK, r#"env > "$LAB/hook-env""#].concat());
    factory.hook("after_run", &[NOTE_HOOK, "[ -e made ]"].concat());
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_swept("ar-1-impl.1");
    factory.tick().expect(0);
    factory.edit("AR-1", "There is more to do.");
    factory.tick().expect(0);
    factory.wait_swept("ar-1-impl.2");

    let workspace = factory.state("workspaces/AR-1").canonicalize().unwrap().display().to_string();
    let lineage = factory.lineage();
    let want = [
        format!("after_create ar-1-impl.1 {workspace}"),
        format!("before_run ar-1-impl.1 {workspace}"),
        format!("agent {lineage}/ar-1-impl.1 {workspace}"),
        format!("after_run ar-1-impl.1 {workspace}"),
        format!("before_run ar-1-impl.2 {workspace}"),
        format!("agent {lineage}/ar-1-impl.2 {workspace}"),
        format!("after_run ar-1-impl.2 {workspace}"),
    ];
    assert_eq!(factory.told("order").lines().collect::<Vec<_>>(), want);
    let vars = factory.told("hook-env");
    for var in [
        format!("FACTORY_RUN={lineage}/ar-1-impl.2"),
        "FACTORY_ITEM=dir:AR-1".to_owned(),
        format!("FACTORY_WORKSPACE={workspace}"),
        format!("GIT_CEILING_DIRECTORIES={}", Path::new(&workspace).parent().unwrap().display()),
    ] {
        assert!(vars.lines().any(|line| line == var), "{var} is not in {vars}");
    }
    let log = factory.hooks_log("ar-1-impl.1");
    let (printed, ends) = log.split_at(log.find('[').unwrap());
    assert!(printed.contains("made\n") && printed.contains("aside\n"), "{log}");
    let ends: Vec<_> = ends.lines().collect();
    assert_eq!(
        ends,
        ["after_create", "before_run", "after_run"]
            .map(|name| format!("[factory-tick: {name}: exit code 0]"))
    );
    assert!(!factory.hooks_log("ar-1-impl.2").contains("after_create"));
    assert!(!factory.state("workspaces/AR-1~unfinished").exists());
}

// covers: H02 S31
#[test]
fn explain_shows_what_will_run_around_the_next_agent() {
    let mut factory = Factory::with_agent(NOTE_START);
    for name in ["after_run", "before_run", "after_create", "before_remove"] {
        factory.set("hooks", name, &format!(r#"["hook", "{name}", "{{workspace}}"]"#));
    }
    factory.set("done", "when", "\"command\"");
    factory.set("done", "command", r#"["is-done", "{run}"]"#);
    factory.item("AR-1");
    let explained = |factory: &Factory| {
        let told = factory.run(&["explain", "AR-1", "--format", "json"]).expect(0).json();
        told["next_runs"][0]["hooks"].clone()
    };
    let workspace = factory.state("workspaces/AR-1");
    let hook = |name: &str| json!({"name": name, "argv": ["hook", name, workspace]});
    let done = json!({"name": "done", "argv": ["is-done", "ar-1-impl.1"]});
    let all = json!([hook("after_create"), hook("before_run"), done, hook("after_run")]);
    assert_eq!(explained(&factory), all);
    factory.run(&["pause"]).expect(0);
    let mark = factory.state("workspaces/AR-1~unfinished");
    fs::create_dir_all(&workspace).unwrap();
    put(&mark, "it began");
    assert_eq!(explained(&factory), all, "it begins anew");
    fs::remove_file(mark).unwrap();
    assert_eq!(explained(&factory), json!([hook("before_run"), done, hook("after_run")]));
    factory.var("COLUMNS", "1000");
    let text = factory.run(&["explain", "AR-1"]).expect(0).stdout;
    let row = format!(r#"before_run  ["hook","before_run","{}"]"#, workspace.display());
    assert!(text.contains(&row), "{text}");
}

#[test]
fn a_hook_that_fails_before_the_agent_fails_its_start() {
    let mut factory = Factory::with_agent(NOTE_START);
    factory.hook("before_run", "echo 'no such remote' >&2; echo >&2; exit 3");
    factory.hook("after_run", NOTE_HOOK);
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_swept("ar-1-impl.1");
    let exit = factory.exit("ar-1-impl.1");
    assert_eq!(exit["reason"], "hook", "{exit}");
    let failed = factory.tick().expect(3);
    assert_eq!(because(&failed, "fail"), "the before_run hook failed: exit code 3: no such remote");
    let record = factory.recorded("AR-1");
    assert_eq!((&record["attempts"], &record["last"]["class"]), (&json!(1), &json!("launch")), "{record}");
    assert_eq!(factory.starts(), [""; 0]);
    assert_eq!(factory.told("order"), "", "what had not begun needs nothing after it");
}

// covers: H02
#[test]
fn a_role_whose_hook_is_not_there_is_not_started() {
    let mut factory = Factory::with_agent(NOTE_START);
    factory.set("hooks", "after_run", "[\"./save.sh\"]");
    factory.item("AR-1");
    let told = factory.tick().expect(4).stdout;
    assert!(
        told.contains("its after_run hook: ") && told.contains("save.sh is not an executable file"),
        "{told}"
    );
    assert!(!factory.state("runs/ar-1-impl.1").exists());
}

// Its child is in a session of its own: nothing but descent tells whose it is.
// covers: H03 S31
#[test]
fn a_hook_that_takes_too_long_is_ended_with_all_that_it_started() {
    let mut factory = Factory::with_agent(NOTE_START);
    let forks = r#"setsid sh -c 'echo $$ > "$LAB/pid"; exec sleep 600' & trap '' TERM; echo waiting >&2; wait; sleep 600"#;
    factory.hook("before_run", forks);
    factory.set("hooks", "timeout", "\"1s\"");
    factory.set("fleet", "grace", "\"200ms\"");
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_swept("ar-1-impl.1");
    let exit = factory.exit("ar-1-impl.1");
    assert_eq!(exit["reason"], "hook");
    assert_eq!(exit["error"], "the before_run hook failed: it took longer than 1 s");
    assert_eq!(factory.survivors("ar-1-impl.1"), json!([]));
    factory.wait_all_gone();
    assert_eq!(factory.starts(), [""; 0]);
}

// covers: H03
#[test]
fn what_a_hook_leaves_running_lives_as_long_as_the_run() {
    let agent = r#"kill -0 "$(cat "$LAB/pid")" && echo alive > "$LAB/seen""#;
    let mut factory = Factory::with_agent(agent);
    factory.hook("before_run", r#"sleep 600 > /dev/null 2>&1 & echo $! > "$LAB/pid""#);
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_swept("ar-1-impl.1");
    assert_eq!(factory.told("seen"), "alive\n");
    assert!(!is_alive(factory.wait_pid("pid")));
}

// covers: H03
#[test]
fn a_stop_in_the_middle_of_a_hook_ends_hook_and_run() {
    let mut factory = Factory::with_agent(NOTE_START);
    factory.hook("before_run", r#"echo $$ > "$LAB/pid"; exec sleep 600"#);
    factory.item("AR-1");
    factory.tick().expect(0);
    let hook = factory.wait_pid("pid");
    factory.run(&["stop", "AR-1"]).expect(0);
    assert!(!is_alive(hook));
    let exit = factory.exit("ar-1-impl.1");
    assert_eq!(
        (&exit["reason"], &exit["error"]),
        (&json!("stopped"), &json!("told to stop during the before_run hook"))
    );
    assert_eq!(factory.starts(), [""; 0]);
    assert_eq!(factory.registry()["handoffs"], json!({}));
}

// covers: H07
#[test]
fn a_hook_that_prints_without_end_fills_no_disk() {
    let mut factory = Factory::with_agent("exit 0");
    factory.set("retention", "log_bytes_max", "\"4KiB\"");
    factory.hook("before_run", "head -c 1000000 /dev/zero | tr '\\0' x");
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_swept("ar-1-impl.1");
    let log = factory.hooks_log("ar-1-impl.1");
    assert!(
        log.len() < 5000 && log.ends_with("\n[factory-tick: before_run: exit code 0]\n"),
        "{} bytes",
        log.len()
    );
}

// ---------------------------------------------------------------------------------------------
// Setting up

// A workspace that a hook has filled by half looks like any other one: its agent would work in the wrong place.
// covers: H04
#[test]
fn a_set_up_that_failed_is_begun_anew() {
    let mut factory = Factory::with_agent(&[NOTE_START, r#"ls > "$LAB/files""#].concat());
    factory.set("attempts", "backoff_base", "\"1ms\"");
    let fails_once =
        r#"[ -e half ] && exit 7; [ -e "$LAB/again" ] || { touch half "$LAB/again"; exit 1; }; touch whole"#;
    factory.hook("after_create", fails_once);
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_swept("ar-1-impl.1");
    assert_eq!(factory.exit("ar-1-impl.1")["reason"], "hook");
    assert!(factory.state("workspaces/AR-1~unfinished").exists());
    factory.tick_until("it is tried again", |_| factory.receipt("ar-1-impl.2", "claim").is_some());
    factory.wait_swept("ar-1-impl.2");
    assert_eq!(factory.starts(), ["ar-1-impl.2"]);
    assert_eq!(factory.told("files"), "whole\n");
}

// A hook that mounts what its agents are to work with, and then fails: what is mounted there is nobody's half set-up.
#[test]
fn what_a_failed_set_up_has_mounted_is_not_deleted() {
    let mut factory = Factory::with_agent(&[NOTE_START, r#"ls > "$LAB/files""#].concat());
    factory.set("attempts", "backoff_base", "\"1ms\"");
    fs::create_dir(factory.lab("share")).unwrap();
    put(&factory.lab("share/precious"), "kept\n");
    factory.hook(
        "after_create",
        r#"[ -e "$LAB/again" ] && exit; touch half "$LAB/again"; mkdir share; mount --bind "$LAB/share" share; exit 1"#,
    );
    factory.item("AR-1");
    // In a name space of its own, whose mounts go with its last process.
    let script = r#"for n in 1 2; do
            until [ -e .factory-tick/runs/ar-1-impl.$n/claim ]; do "$TICK"; done
            until [ -e .factory-tick/runs/ar-1-impl.$n/swept ]; do sleep 0.05; done
        done"#;
    let mut unshare = vec!["unshare", "--mount"];
    unshare.extend((!is_root()).then_some("--map-root-user"));
    put(&factory.path("ticks"), script);
    let ran = Ran::of(&mut factory.shell(&format!("exec {} sh ticks", unshare.join(" "))));
    if ran.stderr.contains("unshare failed") {
        return skipped(&format!("this machine allows no mount namespace: {}", ran.stderr));
    }
    factory.wait_swept("ar-1-impl.2");
    assert_eq!(factory.told("files"), "", "it began anew");
    assert_eq!(factory.told("share/precious"), "kept\n");
    assert!(!factory.state("workspaces/AR-1~unfinished").exists());
}

// The launcher is killed while its hook works, and a child of the hook that carries nothing but the run's marker
// goes on writing. Nobody may begin anew beside it, and nothing of it may be taken for a workspace.
// covers: H04
#[test]
fn a_set_up_whose_launcher_was_killed_is_begun_anew_when_all_of_it_is_gone() {
    let mut factory = Factory::with_agent(&[NOTE_START, r#"ls > "$LAB/files""#].concat());
    factory.set("attempts", "backoff_base", "\"1ms\"");
    let script = r#"[ -e "$LAB/child" ] && { touch whole; exit 0; }
        setsid sh -c 'echo $$ > "$LAB/child"; while :; do touch half; sleep 0.01; done' > /dev/null 2>&1 &
        echo $$ > "$LAB/hook"; exec sleep 600"#;
    factory.hook("after_create", script);
    factory.item("AR-1");
    factory.tick().expect(0);
    let (hook, child) = (factory.wait_pid("hook"), factory.wait_pid("child"));
    factory.wait_for("the hook writes", || factory.state("workspaces/AR-1/half").exists());
    let launcher = factory.launcher("ar-1-impl.1");
    kill_9(launcher);
    factory.wait_for("the hook dies with its launcher", || !is_alive(launcher) && !is_alive(hook));
    assert!(is_alive(child));
    factory.tick_until("it is tried again", |_| factory.receipt("ar-1-impl.2", "claim").is_some());
    factory.wait_swept("ar-1-impl.2");
    assert!(!is_alive(child));
    assert_eq!(factory.starts(), ["ar-1-impl.2"]);
    assert_eq!(factory.told("files"), "whole\n");
    assert!(!factory.state("workspaces/AR-1~unfinished").exists());
}

// covers: H05
#[test]
fn of_two_roles_one_sets_up_and_the_other_waits_for_it() {
    let agent = [NOTE_START, r#"[ -e whole ] || echo "$FACTORY_ROLE" >> "$LAB/too-early""#].concat();
    let mut factory = Factory::with_agent(&agent);
    factory.role("rev", &["sh", "-c", &agent], "");
    factory.hook("after_create", &[NOTE_HOOK, r#"read go < "$LAB/go"; touch whole"#].concat());
    factory.gate("go");
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_told("order");
    for run in ["ar-1-impl.1", "ar-1-rev.1"] {
        factory.wait_for(&format!("{run} is claimed"), || factory.receipt(run, "claim").is_some());
    }
    put(&factory.lab("go"), "go\n");
    factory.wait_swept("ar-1-impl.1");
    factory.wait_swept("ar-1-rev.1");
    assert_eq!(factory.told("order").lines().count(), 1, "{}", factory.told("order"));
    assert_eq!((factory.starts().len(), factory.told("too-early").as_str()), (2, ""));
    factory.tick().expect(0);
    assert_eq!(factory.recorded("AR-1")["state"], "done");
}

// covers: H05
#[test]
fn a_workspace_that_was_there_before_its_hook_is_left_as_it_is() {
    let mut factory = Factory::with_agent(&[NOTE_START, "touch work"].concat());
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_swept("ar-1-impl.1");
    factory.tick().expect(0);
    factory.hook("after_create", "exit 1");
    factory.edit("AR-1", "There is more to do.");
    factory.tick().expect(0);
    factory.wait_swept("ar-1-impl.2");
    assert_eq!(factory.starts(), ["ar-1-impl.1", "ar-1-impl.2"]);
    assert!(factory.state("workspaces/AR-1/work").exists());
}

// ---------------------------------------------------------------------------------------------
// After the agent

// A tick that takes a launcher for late because its agent ended long ago would kill the hook. What the agent has
// left running is gone when the hook begins, and how the agent ended is on disk already.
// covers: H06 S31
#[test]
fn a_hook_after_the_agent_has_its_time_and_the_workspace_for_itself() {
    let mut factory =
        Factory::with_agent(r#"setsid sleep 600 > /dev/null 2>&1 & echo $! > "$LAB/child"; exit 4"#);
    let script = [
        r#"kill -0 "$(cat "$LAB/child")" 2>/dev/null && echo "it lives" > "$LAB/fault"; "#,
        NOTE_HOOK,
        r#"read go < "$LAB/go"; exit 5"#,
    ];
    factory.hook("after_run", &script.concat());
    factory.set("fleet", "grace", "\"0\"");
    factory.gate("go");
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_told("order");
    assert_eq!(factory.exit("ar-1-impl.1")["code"], 4);
    assert_eq!(factory.tick().expect(0).decided(), ["adopt ar-1-impl.1"]);
    let waits = factory.tick().expect(0);
    assert_eq!((waits.decided(), waits.held()), (vec![], vec!["already_active dir:AR-1".to_owned()]));
    put(&factory.lab("go"), "go\n");
    factory.wait_swept("ar-1-impl.1");
    assert_eq!(because(&factory.tick().expect(3), "fail"), "exit code 4");
    assert_eq!(factory.told("fault"), "");
    assert_eq!(factory.hooks_log("ar-1-impl.1"), "[factory-tick: after_run: exit code 5]\n");
}

// covers: H06
#[test]
fn a_stopped_run_has_its_hook_too_and_is_over_after_it() {
    let mut factory = Factory::with_agent(r#"echo $$ > "$LAB/agent"; exec sleep 600"#);
    factory.hook("after_run", &[NOTE_HOOK, r#"read go < "$LAB/go"; echo saved > "$LAB/saved""#].concat());
    factory.gate("go");
    factory.item("AR-1");
    factory.tick().expect(0);
    let agent = factory.wait_pid("agent");
    let stopped = factory.run(&["stop", "AR-1"]).expect(3);
    assert!(stopped.stdout.contains("its after_run hook has not ended yet"), "{}", stopped.stdout);
    assert!(!is_alive(agent));
    factory.wait_told("order");
    // Nobody's patience with the launcher is over: its item hears of it, and that is all.
    assert_eq!(factory.tick().expect(0).decided(), ["writeback dir:AR-1"]);
    assert_eq!(
        factory.run(&["status", "--format", "json"]).expect(0).json()["handoffs"][0]["run"],
        "ar-1-impl.1"
    );
    put(&factory.lab("go"), "go\n");
    factory.wait_swept("ar-1-impl.1");
    assert_eq!(factory.told("saved"), "saved\n");
    assert_eq!(factory.exit("ar-1-impl.1")["reason"], "stopped");
    assert_eq!(factory.tick().expect(0).decided(), ["forget ar-1-impl.1"]);
}

// A restart came back before the hook had ended, and left its item parked by the person who wanted it to go on.
#[test]
fn what_is_restarted_starts_again_when_its_hook_has_ended() {
    let mut factory =
        Factory::with_agent(&[NOTE_START, r#"echo $$ > "$LAB/agent"; exec sleep 600"#].concat());
    factory.hook("after_run", &[NOTE_HOOK, r#"read go < "$LAB/go""#].concat());
    factory.gate("go");
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_pid("agent");
    let ran = factory.run(&["restart", "AR-1"]).expect(3).stdout;
    assert!(ran.contains("its after_run hook has not ended yet") && ran.contains("retry"), "{ran}");
    factory.wait_told("order");
    let waits = factory.tick().expect(0);
    assert_eq!((waits.decided(), waits.held()), (vec![], vec!["handoff_pending dir:AR-1".to_owned()]));
    put(&factory.lab("go"), "go\n");
    factory.wait_swept("ar-1-impl.1");
    factory.tick_until("it starts again", |ran| ran.decided().contains(&"start ar-1-impl.2".to_owned()));
}

// covers: H06
#[test]
fn a_second_signal_ends_the_hook_after_the_agent() {
    let mut factory = Factory::with_agent("exit 0");
    factory.hook("after_run", &[NOTE_HOOK, "exec sleep 600"].concat());
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_told("order");
    let launcher = factory.launcher("ar-1-impl.1");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(launcher as i32), Signal::SIGTERM).unwrap();
    factory.wait_swept("ar-1-impl.1");
    factory.wait_all_gone();
    assert_eq!(factory.hooks_log("ar-1-impl.1"), "[factory-tick: after_run: told to end]\n");
    factory.tick().expect(3);
    assert_eq!(factory.recorded("AR-1")["state"], "done", "the agent had ended well");
}
