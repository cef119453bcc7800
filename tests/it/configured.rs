//! The configuration as the whole program goes by it: what the command line sets of it, and what becomes of the
//! factory while it is broken.

use std::fs;

use crate::support::{Factory, HeldLock, NOTE_START, everything, is_alive, kill_9, put};

/// An agent that works until it is ended.
const WORKS: &str = "exec sleep 600";

// The parser of the command line keeps only what stands behind the command's name, where some stands before it.
#[test]
fn what_the_command_line_sets_holds_for_this_once_wherever_it_stands() {
    let mut factory = Factory::with_agent(WORKS);
    ["AR-1", "AR-2", "AR-3"].iter().for_each(|key| factory.item(key));
    let held = |arguments: &[&str]| {
        let ran = factory.run(&[&["-n", "--format", "json"], arguments].concat()).expect(0);
        ran.held()
    };
    assert_eq!(held(&[]), [""; 0]);
    assert_eq!(held(&["--set", "limits.items_max=2"]), ["no_slot dir:AR-3"]);
    let sets = ["--set=limits.items_max=2", "tick", "--set", "source.scope.title_prefix=Title of AR-1"];
    let told = held(&sets);
    assert_eq!(told, ["not_in_scope dir:AR-2", "not_in_scope dir:AR-3"], "both count");
    let more = held(&["--set", "limits.items_max=1", "tick", "--set", "tick.starts_max=1"]);
    assert_eq!(more, ["no_slot dir:AR-2", "no_slot dir:AR-3"]);

    let explained = factory.run(&["explain", "AR-1", "--set", "role.impl.command=[\"other\"]"]).expect(0);
    assert!(explained.stdout.contains("other"), "{}", explained.stdout);
    let wrong = factory.run(&["--set", "limits.itms_max=2", "-q"]).expect(78);
    assert!(wrong.stderr.starts_with("--set limits.itms_max: "), "{}", wrong.stderr);
    assert!(wrong.stderr.contains("did you mean `items_max`?"), "{}", wrong.stderr);
    assert!(!factory.state("").exists());

    factory.var("FACTORY_TICK_SET", "limits.items_max = 1\ntick.starts_max = 1\n");
    assert_eq!(factory.tick().expect(0).decided()[0], "start ar-1-impl.1");
    let status = factory.run(&["status", "--format", "json"]).expect(0).json();
    assert_eq!(status["in_flight"].as_array().unwrap().len(), 1);
    // As with every option, what is typed wins.
    let typed = factory.run(&["--format", "json", "--set", "limits.items_max=2"]).expect(0);
    assert!(typed.decided().contains(&"start ar-2-impl.1".to_owned()), "{}", typed.stdout);
}

/// A factory of which one agent was ended at its deadline, and another lost its launcher and left a child behind: the
/// pid of that child.
fn in_trouble() -> (Factory, u32) {
    let mut factory = Factory::new();
    let leaves = r#"sleep 600 & echo $! > "$LAB/child"; wait"#;
    factory.role("impl", &["sh", "-c", leaves], "");
    factory.role("brief", &["sh", "-c", WORKS], "deadline = \"100ms\"\nprompt = \"brief.md\"");
    put(&factory.path("brief.md"), "Do {{ item.key }}, at {{ attempt }}.");
    factory.item("AR-1");
    factory.tick().expect(0);
    let child = factory.wait_pid("child");
    factory.wait_swept("ar-1-brief.1");
    kill_9(factory.launcher("ar-1-impl.1"));
    (factory, child)
}

// Origin: agents ran past every limit for a night, because of one wrong key in a configuration.
// covers: S02 K09
#[test]
fn a_broken_configuration_starts_nothing_and_what_runs_is_judged_and_ended() {
    type Breaks = fn(&Factory);
    let ways: [(Breaks, &str); 4] = [
        (|factory| put(&factory.path("factory.toml"), "[[role"), "factory.toml:1:"),
        (|factory| fs::remove_file(factory.path("factory.toml")).unwrap(), "there is no such file"),
        (|factory| fs::remove_file(factory.path("brief.md")).unwrap(), "brief.md"),
        (|factory| put(&factory.path("brief.md"), "{% if"), "is no template"),
    ];
    for (breaks, told) in ways {
        let (factory, child) = in_trouble();
        let config = fs::read_to_string(factory.path("factory.toml")).unwrap();
        breaks(&factory);
        factory.item("AR-2");
        let heartbeat = fs::read(factory.state("heartbeat.json")).unwrap();
        // Nothing of it is done by looking.
        let before = everything(&factory.path(""));
        let dry = factory.run(&["-n"]).expect(78);
        assert_eq!(everything(&factory.path("")), before);
        assert!(dry.stdout.contains("nothing is started; this goes by the copy"), "{}", dry.stdout);
        assert!(dry.stderr.contains(told) && dry.stderr.contains("hint: "), "{}", dry.stderr);

        let mut decided = Vec::new();
        factory.wait_for("all that is left is ended and judged", || {
            let ran = factory.tick().expect(78);
            let report = ran.json();
            assert_eq!(report["status"], "bad-config");
            assert!(report["errors"][0].as_str().unwrap().contains(told), "{report}");
            assert!(ran.held().contains(&"paused dir:AR-2".to_owned()), "{report}");
            decided.extend(ran.decided());
            factory.registry()["agents"]["ar-1-impl"]["run"].is_null()
        });
        assert!(!is_alive(child));
        assert!(decided.contains(&"reap ar-1-impl.1".to_owned()), "{decided:?}");
        for run in ["ar-1-impl.1", "ar-1-brief.1"] {
            assert!(decided.contains(&format!("fail {run}")), "{decided:?}");
        }
        assert!(!decided.iter().any(|one| one.starts_with("start") || one.starts_with("resume")));
        assert_eq!(factory.recorded("AR-1")["attempts"], 2, "one came to its deadline, the other vanished");
        let unchanged = fs::read(factory.state("heartbeat.json")).unwrap();
        assert_eq!(unchanged, heartbeat, "no monitor is told that all is well");

        put(&factory.path("factory.toml"), &config);
        put(&factory.path("brief.md"), "Do {{ item.key }}.");
        let mended = factory.tick().expect(0);
        assert_eq!(mended.decided()[0], "start ar-2-impl.1", "{}", mended.stdout);
    }
}

// covers: K10 F49
#[test]
fn what_a_person_orders_is_done_while_the_configuration_is_broken() {
    let factory = Factory::with_agent(&[NOTE_START, "echo hello; ", WORKS].concat());
    ["AR-1", "AR-2"].iter().for_each(|key| factory.item(key));
    factory.tick().expect(0);
    factory.wait_for("both run", || factory.starts().len() == 2);
    factory.tick().expect(0);
    let config = fs::read_to_string(factory.path("factory.toml")).unwrap();
    put(&factory.path("factory.toml"), &config.replace("items_max", "itms_max"));
    let orders: [&[&str]; 12] = [
        &["status"],
        &["logs", "AR-1"],
        &["explain", "AR-1"],
        &["park", "AR-2"],
        &["stop", "AR-1", "-n"],
        &["stop", "AR-1"],
        &["retry", "AR-1"],
        &["pause"],
        &["unpause"],
        &["reap"],
        &["restart", "AR-2"],
        &["drain", "--wait", "0"],
    ];
    for order in orders {
        let ran = factory.run(order);
        assert_eq!(ran.code, Some(0), "{order:?}: {ran:?}");
        let parts = ["warn: ", "1 problem in ", "factory.toml; this goes by the copy", "`factory-tick -n`"];
        assert!(parts.iter().all(|part| ran.stderr.contains(part)), "{order:?}: {}", ran.stderr);
    }
    // A script gets what it always gets.
    assert_eq!(factory.run(&["status", "--format", "json"]).expect(0).json()["alive"], true);
    factory.wait_all_gone();
    assert_eq!(factory.starts().len(), 2);
    factory.run(&["unpause"]).expect(0);
    put(&factory.path("factory.toml"), &config);
    let mended = factory.tick().expect(0).decided();
    assert_eq!(mended[0], "start ar-1-impl.2", "{mended:?}");
}

// covers: K11
#[test]
fn what_was_kept_is_the_file_alone_and_serves_no_other_file() {
    let factory = Factory::with_agent(WORKS);
    let kept = factory.state("last-good.json");
    factory.item("AR-1");
    factory.run(&["--set", "limits.items_max=1", "--set", "source.scope.title_prefix=nobody's"]).expect(0);
    let text = fs::read_to_string(&kept).unwrap();
    assert!(!text.contains("nobody's"), "{text}");
    // A typo in what is set is no reason to leave agents alone either.
    let ran = factory.run(&["--set", "limits.itms_max=1", "--format", "json"]).expect(78);
    assert_eq!(ran.held(), ["paused dir:AR-1"]);
    // What is set and right is gone by even then.
    put(&factory.path("factory.toml"), "");
    let ran = factory.run(&["--set", "source.scope.title_prefix=x", "--format", "json"]).expect(78);
    assert_eq!(ran.held(), ["not_in_scope dir:AR-1"]);

    // Another name is another configuration, and damage is none.
    let registry = fs::read(factory.state("registry.json")).unwrap();
    let plain = |arguments: &[&str]| {
        let ran = factory.run(arguments).expect(78);
        assert_eq!(ran.stdout, "");
        assert_eq!(fs::read(factory.state("registry.json")).unwrap(), registry);
    };
    plain(&["-c", "factroy.toml"]);
    plain(&["retry", "--all", "-c", "factroy.toml"]);
    put(&kept, &text[..text.len() / 2]);
    plain(&[]);
    plain(&["stop", "--all"]);
    // To end what runs the state is enough, whatever the configuration is called.
    put(&kept, &text);
    factory.run(&["stop", "--all", "-c", "factroy.toml"]).expect(0);
    assert!(factory.processes().is_empty());
}

// A tick that finds another one at work leaves the agents to it, and still says what is wrong.
// covers: K12
#[test]
fn a_broken_configuration_is_told_whoever_holds_the_lock_and_whatever_else_is_wrong() {
    let factory = Factory::with_agent(WORKS);
    factory.item("AR-1");
    factory.tick().expect(0);
    put(&factory.path("factory.toml"), "[[role");
    let held = HeldLock::take(&factory.state("lock"));
    let ran = factory.run(&[]).expect(78);
    assert!(ran.stderr.contains("factory.toml:1:") && !ran.stderr.contains("lock"), "{}", ran.stderr);
    drop(held);
    put(&factory.state("registry.json"), "{");
    fs::remove_file(factory.state("registry.json.bak")).unwrap();
    let ran = factory.run(&[]).expect(78);
    assert!(ran.stderr.contains("factory.toml:1:") && ran.stderr.contains("is damaged"), "{}", ran.stderr);
}
