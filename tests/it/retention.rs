//! What is old is removed, and nothing else: with real runs, whose directories are made to look old.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::{Factory, HeldLock, NOTE_START, Running, everything, is_alive, put, put_sealed};

const DAYS_40: Duration = Duration::from_secs(40 * 24 * 60 * 60);

fn well() -> Factory {
    Factory::with_agent(&[NOTE_START, "echo I am $FACTORY_RUN"].concat())
}

/// Has an item done, so often; each time for another text.
fn do_it(factory: &Factory, key: &str, times: u32) {
    for time in 1..=times {
        let before = factory.starts().len();
        factory.edit(key, &format!("{time} of {times}, after {before}"));
        factory.tick_until(&format!("{key} is done"), |_| {
            factory.starts().len() > before && factory.recorded(key)["state"] == "done"
        });
    }
}

/// Makes the next tick look, as if an hour had passed.
fn let_an_hour_pass(factory: &Factory) {
    let path = factory.state("heartbeat.json");
    let mut beat: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    beat.as_object_mut().unwrap().remove("retained");
    put(&path, &beat.to_string());
}

/// Runs a tick that looks, and waits until nobody is at work any more.
fn look(factory: &Factory) {
    let_an_hour_pass(factory);
    factory.tick().expect(0);
    factory.wait_all_gone();
}

/// Makes a directory look as if nothing in it had changed for so long.
fn make_old(path: &Path) {
    let now = factory_tick::clock::wall().as_millisecond();
    let then = Duration::from_millis(u64::try_from(now).unwrap()) - DAYS_40;
    fs::File::open(path).unwrap().set_modified(SystemTime::UNIX_EPOCH + then).unwrap();
}

/// Makes an item one that was finished long ago.
fn finished_long_ago(factory: &Factory, key: &str) {
    let at = factory.registry()["names"]["items"][format!("dir:{key}")]["finished_at"].clone();
    let at: jiff::Timestamp = at.as_str().expect("it is finished").parse().unwrap();
    let then = at - DAYS_40;
    factory.forge_registry(|text| {
        text.replace(&format!("\"finished_at\":\"{at}\""), &format!("\"finished_at\":\"{then}\""))
    });
}

fn listed(path: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    // The marks of ownership: no workspace, and there as long as any factory has one.
    names.retain(|name| name != ".factory-tick");
    names.sort();
    names
}

fn runs(factory: &Factory) -> Vec<String> {
    listed(&factory.state("runs"))
}

/// What the events say was removed, or could not be: `<run or workspace>: <why>`.
fn removed(factory: &Factory, event: &str) -> Vec<String> {
    let events = fs::read_to_string(factory.state("events.jsonl")).unwrap();
    let events = events.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let what = |event: &Value| word(&event["run"]) + &word(&event["workspace"]);
    events
        .filter(|one| one["event"] == event)
        .map(|one| format!("{}: {}", what(&one), word(&one["because"]) + &word(&one["error"])))
        .collect()
}

// Origin: run directories that were never removed filled the disk, and then nothing could start.
// covers: K01 D42 F69
#[test]
fn the_newest_runs_of_an_item_stay_and_their_numbers_are_never_used_again() {
    let mut factory = well();
    factory.set("retention", "runs_per_item", "2");
    do_it(&factory, "AR-1", 4);
    do_it(&factory, "AR-2", 1);
    look(&factory);
    assert_eq!(runs(&factory), ["ar-1-impl.3", "ar-1-impl.4", "ar-2-impl.1"]);
    assert!(!factory.state("trash").exists(), "and nothing of them is left");
    let mut told = removed(&factory, "remove");
    told.sort();
    assert_eq!(told, ["ar-1-impl.1: its item has 3 newer runs", "ar-1-impl.2: its item has 2 newer runs"]);
    let events = fs::read_to_string(factory.state("events.jsonl")).unwrap();
    let one = events.lines().find(|line| line.contains("\"remove\"")).unwrap();
    let one: Value = serde_json::from_str(one).unwrap();
    assert_eq!((&one["key"], &one["agent"]), (&json!("AR-1"), &json!("ar-1-impl")), "as other events are");

    // Asked for by name, it is not mistaken for a later one.
    let gone = factory.run(&["logs", "ar-1-impl.1"]).expect(5);
    assert!(gone.stderr.contains("the logs of ar-1-impl.1 were removed 20"), "{}", gone.stderr);
    assert!(gone.stderr.contains("its item has 3 newer runs"), "{}", gone.stderr);
    let gone = factory.run(&["logs", "AR-1", "--run", "2"]).expect(5);
    assert!(gone.stderr.contains("the logs of ar-1-impl.2 were removed 20"), "{}", gone.stderr);
    assert!(factory.run(&["logs", "AR-1"]).expect(0).stdout.contains("ar-1-impl.4"));
    let explained = factory.run(&["explain", "AR-1"]).expect(0).stdout;
    assert!(!explained.contains("newer runs"), "a chore says nothing of the item: {explained}");

    factory.edit("AR-1", "once more");
    assert_eq!(factory.tick().expect(0).decided()[0], "start ar-1-impl.5");
}

// covers: K02
#[test]
fn what_is_old_goes_but_for_the_latest_run_of_what_is_remembered() {
    let factory = well();
    do_it(&factory, "AR-1", 3);
    ["1", "3"].iter().for_each(|n| make_old(&factory.state(&format!("runs/ar-1-impl.{n}"))));
    look(&factory);
    assert_eq!(runs(&factory), ["ar-1-impl.2", "ar-1-impl.3"]);
    make_old(&factory.state("runs/ar-1-impl.2"));
    look(&factory);
    assert_eq!(runs(&factory), ["ar-1-impl.3"], "`logs` asks for it");
    let why = "it ended more than 30 d ago";
    assert_eq!(removed(&factory, "remove"), ["1", "2"].map(|n| format!("ar-1-impl.{n}: {why}")));

    fs::remove_file(factory.issues().join("AR-1.md")).unwrap();
    factory.run(&["--accept-missing"]).expect(0);
    assert!(factory.recorded("AR-1").is_null(), "it is forgotten");
    look(&factory);
    assert_eq!(runs(&factory), [""; 0]);
    assert_eq!(factory.registry()["names"]["last_n"]["ar-1-impl"], 3);
}

// A run's directory is the only trace of what lives of it: the registry's word alone does not do.
// covers: K03
#[test]
fn a_run_whose_receipts_do_not_say_that_it_is_over_stays() {
    let mut factory = well();
    factory.set("retention", "runs_per_item", "1");
    do_it(&factory, "AR-1", 4);
    let file = |n: u32, name: &str| factory.state(&format!("runs/ar-1-impl.{n}/{name}"));
    fs::remove_file(file(1, "swept")).unwrap();
    let survivor =
        json!({"pid": 4711, "start_ticks": 1, "comm": "sleep", "because": "operation not permitted"});
    put_sealed(&file(2, "swept"), &json!({"by": "launcher", "survivors": [survivor]}));
    // One that nobody has claimed can never start any more once it is gone.
    ["claim", "exit", "swept"].iter().for_each(|name| fs::remove_file(file(3, name)).unwrap());
    look(&factory);
    assert_eq!(runs(&factory), ["ar-1-impl.1", "ar-1-impl.2", "ar-1-impl.4"]);
    assert_eq!(removed(&factory, "remove"), ["ar-1-impl.3: its item has 1 newer runs"]);
    // Its launcher, which comes only now, finds nothing to claim.
    let starts = factory.starts();
    factory.run(&["__launch", &factory.state("runs/ar-1-impl.3").display().to_string()]).expect(1);
    assert_eq!((factory.starts(), runs(&factory).len()), (starts, 3));
}

// covers: K08
#[test]
fn it_is_looked_once_an_hour_and_never_by_a_dry_run() {
    let factory = well();
    do_it(&factory, "AR-1", 2);
    make_old(&factory.state("runs/ar-1-impl.1"));
    for _ in 0..3 {
        factory.tick().expect(0);
    }
    assert_eq!(runs(&factory).len(), 2, "the first tick has looked, not an hour ago");
    let_an_hour_pass(&factory);
    let before = everything(&factory.state(""));
    factory.run(&["--dry-run"]).expect(0);
    assert_eq!(everything(&factory.state("")), before);
    factory.tick().expect(0);
    assert_eq!(runs(&factory), ["ar-1-impl.2"]);
    factory.wait_all_gone();
}

// Origin: disks full of worktrees; and a clean-up that deleted work which was not pushed yet.
// covers: K04 K05 S21 F69
#[test]
fn a_workspace_goes_when_its_item_was_finished_long_ago() {
    let mut factory = Factory::with_agent(&[NOTE_START, "echo work > made; ln -s \"$LAB\" lab"].concat());
    factory.set("workspace", "root", "\"work\"");
    fs::create_dir(factory.path("elsewhere")).unwrap();
    symlink(factory.path("elsewhere"), factory.path("work")).unwrap();
    ["AR-1", "AR-2", "AR-3"].iter().for_each(|key| do_it(&factory, key, 1));
    put(&factory.path("work/somebody's"), "");
    look(&factory);
    assert_eq!(
        listed(&factory.path("work")),
        ["AR-1", "AR-2", "AR-3", "somebody's"],
        "not the minute it is done"
    );

    finished_long_ago(&factory, "AR-1");
    // One that was moved elsewhere by hand: the link goes, the work stays.
    fs::rename(factory.path("work/AR-2"), factory.path("moved")).unwrap();
    symlink(factory.path("moved"), factory.path("work/AR-2")).unwrap();
    finished_long_ago(&factory, "AR-2");
    look(&factory);
    assert_eq!(listed(&factory.path("elsewhere")), ["AR-3", "somebody's"]);
    assert_eq!(listed(&factory.path("moved")), ["lab", "made"]);
    assert!(factory.lab("starts").exists(), "no link is followed");
    let why = "its item has been done for more than 30 d";
    assert_eq!(removed(&factory, "remove"), ["AR-1", "AR-2"].map(|name| format!("{name}: {why}")));
    assert!(factory.run(&["explain", "AR-1"]).expect(0).stdout.contains(why));

    do_it(&factory, "AR-1", 1);
    assert_eq!(listed(&factory.path("work/AR-1")), ["lab", "made"], "a fresh one");
    assert_eq!(
        factory.registry()["names"]["items"]["dir:AR-2"]["workspace"],
        "AR-2",
        "its name stays its own"
    );
}

// covers: K04 F69
#[test]
fn a_workspace_of_what_is_not_finished_stays_however_old() {
    let mut factory = Factory::with_agent(&[NOTE_START, "echo FACTORY_PARK=which one?"].concat());
    factory.set("retention", "age", "\"1ms\"");
    factory.item("AR-1");
    factory.tick_until("it is parked", |_| factory.recorded("AR-1")["state"] == "parked");
    look(&factory);
    assert!(factory.state("workspaces/AR-1").exists());
    fs::remove_file(factory.issues().join("AR-1.md")).unwrap();
    factory.run(&["--accept-missing"]).expect(0);
    assert!(factory.recorded("AR-1").is_null(), "it is forgotten");
    look(&factory);
    assert!(!factory.state("workspaces/AR-1").exists());
    let why = "AR-1: its item has been closed or gone for more than 0 s";
    assert!(removed(&factory, "remove").contains(&why.to_owned()), "{:?}", removed(&factory, "remove"));
}

/// Puts a project of somebody's there.
fn somebodys(project: &Path) {
    fs::create_dir_all(project).unwrap();
    put(&project.join("mine"), "");
}

// `[workspace] root` set to the folder where somebody keeps their projects: one that had the name of an item was worked in
// as its workspace, and deleted with everything in it when the item had been done for a month.
#[test]
fn a_folder_that_was_there_before_its_item_is_never_removed() {
    let mut factory = well();
    factory.set("workspace", "root", "\"projects\"");
    somebodys(&factory.path("projects/AR-1"));
    ["AR-1", "AR-2"].iter().for_each(|key| do_it(&factory, key, 1));
    // With a hook that sets up what is made, none of it is made either.
    factory.set("hooks", "after_create", "[\"true\"]");
    somebodys(&factory.path("projects/AR-3"));
    ["AR-3", "AR-4"].iter().for_each(|key| do_it(&factory, key, 1));
    ["AR-1", "AR-2", "AR-3", "AR-4"].iter().for_each(|key| finished_long_ago(&factory, key));
    look(&factory);
    assert_eq!(listed(&factory.path("projects")), ["AR-1", "AR-3"]);
    assert!(["AR-1", "AR-3"].iter().all(|key| factory.path("projects").join(key).join("mine").exists()));
    assert_eq!(listed(&factory.state("made")), [""; 0], "what is removed is no longer known as made");

    // Made by hand after it was removed, it is nobody's but the hand's.
    somebodys(&factory.path("projects/AR-2"));
    do_it(&factory, "AR-2", 1);
    finished_long_ago(&factory, "AR-2");
    look(&factory);
    assert!(factory.path("projects/AR-2/mine").exists());
    // So is one of the same name beside another root, and one of which no note says that it was made.
    factory.set("workspace", "root", "\"work\"");
    do_it(&factory, "AR-5", 1);
    fs::rename(factory.path("work"), factory.path("other")).unwrap();
    factory.set("workspace", "root", "\"other\"");
    do_it(&factory, "AR-6", 1);
    fs::remove_file(factory.state("made/AR-6")).unwrap();
    ["AR-5", "AR-6"].iter().for_each(|key| finished_long_ago(&factory, key));
    look(&factory);
    assert_eq!(listed(&factory.path("other")), ["AR-5", "AR-6"]);
}

#[test]
fn a_workspace_that_was_made_anew_after_a_failed_set_up_is_removed_as_any() {
    let mut factory = well();
    factory.set("attempts", "backoff_base", "\"1ms\"");
    let script = r#"[ -e "$LAB/failed" ] || { touch "$LAB/failed"; exit 1; }"#;
    factory.set("hooks", "after_create", &json!(["sh", "-c", script]).to_string());
    do_it(&factory, "AR-1", 1);
    assert!(factory.lab("failed").exists());
    finished_long_ago(&factory, "AR-1");
    look(&factory);
    assert_eq!(listed(&factory.state("workspaces")), [""; 0]);
}

/// The process that removes, started by hand: as one that comes late.
fn remove(factory: &Factory) {
    let (config, state) = (factory.path("factory.toml"), factory.state(""));
    factory.run(&["__remove", &config.display().to_string(), &state.display().to_string()]).expect(0);
}

// A start that finds its workspace on its way into the trash, and a removal that was decided an hour ago.
// covers: K06
#[test]
fn whoever_removes_asks_again_and_keeps_agents_away_meanwhile() {
    let mut factory = Factory::with_agent(&[NOTE_START, "[ ! -e \"$LAB/wait\" ] || exec sleep 600"].concat());
    ["AR-1", "AR-2", "AR-3"].iter().for_each(|key| do_it(&factory, key, 1));
    let workspace = factory.state("workspaces/AR-1");
    finished_long_ago(&factory, "AR-1");

    // An agent of it holds its lock, whatever the registry says. Others go meanwhile.
    let live = HeldLock::take(&factory.state("live/ar-1-impl"));
    finished_long_ago(&factory, "AR-2");
    remove(&factory);
    assert_eq!(listed(&factory.state("workspaces")), ["AR-1", "AR-3"]);
    drop(live);
    // A role that it never had could start too.
    factory.role("rev", &["true"], "");
    let live = HeldLock::take(&factory.state("live/ar-1-rev"));
    finished_long_ago(&factory, "AR-3");
    remove(&factory);
    assert_eq!(listed(&factory.state("workspaces")), ["AR-1"]);
    drop(live);
    // Another one is at it.
    let other = HeldLock::take(&factory.state("remover"));
    remove(&factory);
    assert!(workspace.exists());
    drop(other);
    // The registry can't be read: what its backup says may be of yesterday.
    let registry = fs::read_to_string(factory.state("registry.json")).unwrap();
    put(&factory.state("registry.json"), "torn");
    let (config, state) = (factory.path("factory.toml"), factory.state(""));
    let ran = factory.run(&["__remove", &config.display().to_string(), &state.display().to_string()]);
    assert!(ran.code != Some(0) && workspace.exists());
    // Nobody reads what it prints when a tick has started it.
    let failed = removed(&factory, "remove_failed");
    assert!(failed.len() == 1 && failed[0].contains("there is no whole registry of "), "{failed:?}");
    put(&factory.state("registry.json"), &registry);
    // It is to be done again.
    put(&factory.lab("wait"), "");
    factory.edit("AR-1", "once more");
    factory.tick().expect(0);
    remove(&factory);
    factory.wait_for("it runs", || factory.starts().len() == 4);
    remove(&factory);
    assert!(workspace.exists());
    factory.run(&["stop", "AR-1"]).expect(0);
    remove(&factory);
    assert!(workspace.exists(), "a person may want it to go on");
}

// ---------------------------------------------------------------------------------------------
// The hook before it

/// A factory whose hook before a removal is this shell script, and an item that was finished long ago.
fn hooked(script: &str) -> Factory {
    let mut factory = well();
    let argv = json!(["sh", "-c", script, "before_remove", "{workspace}"]);
    factory.set("hooks", "before_remove", &argv.to_string());
    do_it(&factory, "AR-1", 1);
    finished_long_ago(&factory, "AR-1");
    factory
}

/// The remover, started by hand, while its hook waits in `sleep`; and the pid of that hook.
fn removing(factory: &Factory) -> (Running, u32) {
    let (config, state) = (factory.path("factory.toml"), factory.state(""));
    let arguments = ["__remove", &config.display().to_string(), &state.display().to_string()];
    let remover = Running::start(&mut factory.program(&arguments));
    let hook = factory.wait_pid("hook");
    (remover, hook)
}

const WAITS: &str = r#"echo $$ > "$LAB/hook"; exec sleep 600"#;

// What was set on the command line of a tick, a token perhaps, stood on that of the process that removes: anybody on the
// machine could read it there, for as long as its hook took.
#[test]
fn what_is_set_on_the_command_line_reaches_the_remover_unseen() {
    let factory = well();
    do_it(&factory, "AR-1", 1);
    finished_long_ago(&factory, "AR-1");
    let_an_hour_pass(&factory);
    let script =
        r#"tr '\0' ' ' < /proc/$PPID/cmdline > "$LAB/line"; echo "$TOKEN" > "$LAB/token"; env > "$LAB/env""#;
    let hook = format!("hooks.before_remove={}", json!(["sh", "-c", script]));
    let token = "env.set.TOKEN=\"\"\"of\ntwo lines\"\"\"";
    factory.run(&["--set", &hook, "--set", token]).expect(0);
    factory.wait_all_gone();
    assert_eq!(listed(&factory.state("workspaces")), [""; 0]);
    assert_eq!(factory.told("token"), "of\ntwo lines\n");
    let line = factory.told("line");
    assert!(line.contains("__remove") && !line.contains("TOKEN") && !line.contains("two lines"), "{line}");
    assert!(!factory.told("env").contains("FACTORY_TICK"), "no hook is told");
}

// Origin: a worktree whose folder was deleted and which its repository still knew of: no branch of it could be checked
// out again.
#[test]
fn a_hook_runs_in_a_workspace_before_it_goes_and_may_remove_it_itself() {
    let script = r#"pwd > "$LAB/where"; echo "$1" >> "$LAB/where"; env > "$LAB/env"; echo printed
        setsid sleep 600 & echo $! > "$LAB/left"; cd / && rm -r "$FACTORY_WORKSPACE""#;
    let mut factory = hooked(script);
    factory.set("env", "path_prepend", "[\"tools\"]");
    factory.set("env", "file", "\"agents.env\"");
    put(&factory.path("agents.env"), "TOKEN=from the file\n");
    fs::set_permissions(factory.path("agents.env"), fs::Permissions::from_mode(0o600)).unwrap();
    let workspace = factory.state("workspaces/AR-1").canonicalize().unwrap();
    look(&factory);

    assert_eq!(factory.told("where"), format!("{0}\n{0}\n", workspace.display()));
    let vars = factory.told("env");
    let of = |name: &str| vars.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    assert_eq!((of("FACTORY_ITEM"), of("TOKEN")), (Some("dir:AR-1"), Some("from the file")), "{vars}");
    assert_eq!(of("FACTORY_WORKSPACE"), workspace.to_str(), "{vars}");
    assert_eq!(of("GIT_CEILING_DIRECTORIES"), workspace.parent().unwrap().to_str(), "{vars}");
    assert_eq!((of("FACTORY_RUN"), of("FACTORY_ROLE")), (None, None), "{vars}");
    let tools = factory.path("tools").display().to_string();
    assert_eq!(of("PATH").unwrap().split(':').filter(|folder| *folder == tools).count(), 1, "{vars}");
    assert!(!is_alive(factory.told("left").trim().parse().unwrap()));
    assert_eq!(removed(&factory, "before_remove"), ["AR-1: exit code 0"]);
    assert_eq!(removed(&factory, "remove"), ["AR-1: its item has been done for more than 30 d"]);
    let log = fs::read_to_string(factory.state("before_remove.log")).unwrap();
    assert_eq!(log, "printed\n[factory-tick: before_remove of dir:AR-1: exit code 0]\n");
    assert_eq!(listed(&factory.state("workspaces")), [""; 0]);
}

#[test]
fn however_its_hook_ends_a_workspace_goes() {
    let mut factory = hooked(r#"echo "not pushed" >&2; exit 3"#);
    remove(&factory);
    let again = |factory: &Factory| {
        do_it(factory, "AR-1", 1);
        finished_long_ago(factory, "AR-1");
        remove(factory);
    };
    factory.set("hooks", "before_remove", &json!(["sh", "-c", "trap '' TERM; sleep 600"]).to_string());
    factory.set("hooks", "timeout", "\"1s\"");
    factory.set("fleet", "grace", "\"100ms\"");
    again(&factory);
    factory.set("hooks", "before_remove", "[\"./never\"]");
    again(&factory);
    assert_eq!(listed(&factory.state("workspaces")), [""; 0]);
    let ended = removed(&factory, "before_remove");
    assert_eq!(ended[..2], ["AR-1: exit code 3: not pushed", "AR-1: it took longer than 1 s"]);
    assert!(ended[2].contains("its before_remove hook: ") && ended[2].contains("never"), "{ended:?}");
    assert_eq!(removed(&factory, "remove").len(), 3);
    // What is no folder of this place has nothing for a hook.
    let elsewhere = factory.path("elsewhere");
    do_it(&factory, "AR-1", 1);
    finished_long_ago(&factory, "AR-1");
    fs::rename(factory.state("workspaces/AR-1"), &elsewhere).unwrap();
    symlink(&elsewhere, factory.state("workspaces/AR-1")).unwrap();
    remove(&factory);
    assert!(elsewhere.exists() && removed(&factory, "before_remove").len() == 3);
    assert_eq!(removed(&factory, "remove").len(), 4);
}

// A remover keeps agents away as long as its hook runs. Each tick started the item in vain meanwhile, and the fifth
// parked it.
#[test]
fn an_item_that_is_needed_again_ends_its_hook_and_keeps_its_workspace() {
    let factory = hooked(&["touch hooked; ", WAITS].concat());
    let (remover, hook) = removing(&factory);
    factory.edit("AR-1", "Once more.");
    assert_eq!(factory.tick().expect(0).decided()[0], "start ar-1-impl.2");
    remover.end().expect(0);
    assert!(!is_alive(hook));
    factory.wait_for("it is claimed or refused", || factory.receipt("ar-1-impl.2", "claim").is_some());
    factory.tick_until("it is done", |_| factory.recorded("AR-1")["state"] == "done");
    assert_eq!(factory.starts().len(), 2);
    assert!(factory.state("workspaces/AR-1/hooked").exists());
    assert_eq!(factory.recorded("AR-1")["dispatch"].as_u64().map(|starts| starts <= 3), Some(true));
    let ended = removed(&factory, "before_remove");
    assert_eq!(ended, ["AR-1: ended, because its item needs its workspace again"]);
    assert_eq!(removed(&factory, "remove"), [""; 0]);
}

#[test]
fn a_remover_that_is_told_to_end_takes_its_hook_along_and_removes_nothing() {
    let factory = hooked(WAITS);
    let (remover, hook) = removing(&factory);
    remover.signal(Signal::SIGTERM);
    remover.end().expect(0);
    assert!(!is_alive(hook));
    assert!(factory.state("workspaces/AR-1").exists());
    assert_eq!(removed(&factory, "remove"), [""; 0]);
}

// What a person has to mend, for agents as well, is no reason to delete what a hook was to save.
#[test]
fn without_its_variables_no_hook_runs_and_no_workspace_goes() {
    let mut factory = hooked("exit 0");
    factory.set("env", "file", "\"agents.env\"");
    remove(&factory);
    assert!(factory.state("workspaces/AR-1").exists());
    let failed = removed(&factory, "remove_failed");
    assert!(failed.len() == 1 && failed[0].contains("agents.env: there is no such file"), "{failed:?}");
}

// covers: K07
#[test]
fn what_a_killed_remover_left_in_the_trash_is_deleted_by_a_later_one() {
    let factory = well();
    do_it(&factory, "AR-1", 1);
    for trash in ["trash/ar-1-impl.9.0011", "workspaces/.factory-tick-trash/AR-9.0022/deep"] {
        fs::create_dir_all(factory.state(trash)).unwrap();
        put(&factory.state(trash).join("file"), "");
    }
    look(&factory);
    assert!(!factory.state("trash").exists());
    assert_eq!(listed(&factory.state("workspaces")), ["AR-1"]);
}

#[test]
fn what_keeps_a_remover_from_its_work_is_told_in_the_events() {
    let mut factory = well();
    do_it(&factory, "AR-1", 1);
    factory.set("workspace", "root", "\"loop\"");
    symlink(factory.path("loop"), factory.path("loop")).unwrap();
    let (config, state) = (factory.path("factory.toml"), factory.state(""));
    factory.run(&["__remove", &config.display().to_string(), &state.display().to_string()]).expect(1);
    let failed = removed(&factory, "remove_failed");
    assert!(failed.len() == 1 && failed[0].contains("loop can't be read: "), "{failed:?}");
}

// covers: K07
#[test]
fn what_can_not_be_removed_is_told_and_keeps_no_tick_from_its_work() {
    let mut factory = well();
    factory.var("COLUMNS", "1000");
    factory.set("retention", "runs_per_item", "1");
    do_it(&factory, "AR-1", 2);
    put(&factory.state("trash"), "in the way");
    factory.item("AR-2");
    let_an_hour_pass(&factory);
    let ran = factory.run(&[]).expect(0);
    assert!(ran.stdout.contains("start"), "{}", ran.stdout);
    assert!(ran.stderr.contains("what is old could not be removed"), "{}", ran.stderr);
    assert_eq!(runs(&factory), ["ar-1-impl.1", "ar-1-impl.2", "ar-2-impl.1"]);
    let status = factory.run(&["status"]).expect(0).stdout;
    assert!(
        status.contains("what is old could not be removed: ") && status.contains("ar-1-impl.1"),
        "{status}"
    );
    fs::remove_file(factory.state("trash")).unwrap();
    look(&factory);
    assert!(!runs(&factory).contains(&"ar-1-impl.1".to_owned()));
    assert!(!factory.run(&["status"]).expect(0).stdout.contains("could not be removed"));
}
