//! The command line as a person meets it first.

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::contains;

use crate::support::Factory;

fn factory_tick() -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("factory-tick"));
    command.env_clear();
    command
}

#[test]
fn help_names_every_command_and_where_options_are_read_from() {
    let mut help = factory_tick().arg("--help").assert().code(0).stderr("");
    for word in ["tick", "status", "reap", "stop", "--dry-run", "FACTORY_TICK_STATE_DIR", "factory.toml"] {
        help = help.stdout(contains(word));
    }
    help.stdout(contains("__launch").not());
}

#[test]
fn the_version_is_that_of_the_package() {
    let version = format!("factory-tick {}\n", env!("CARGO_PKG_VERSION"));
    factory_tick().arg("--version").assert().code(0).stdout(version);
}

#[test]
fn a_wrong_command_line_exits_with_2_and_says_what_would_be_right() {
    let wrong: [(&[&str], &str); 6] = [
        (&["statsu"], "similar subcommand"),
        (&["--dry-ran"], "--dry-run"),
        (&["--iterations", "6"], "1..=5"),
        (&["--wait-lock", "soon"], "such as 30s"),
        (&["--format", "xml"], "[possible values: text, json]"),
        (&["stop"], "<X>"),
    ];
    for (arguments, hint) in wrong {
        factory_tick().args(arguments).assert().code(2).stdout("").stderr(contains(hint));
    }
}

#[test]
fn a_folder_without_a_configuration_is_78_and_says_where_it_looked() {
    let empty = tempfile::tempdir().unwrap();
    let ran = factory_tick().current_dir(empty.path()).assert().code(78).stdout("");
    ran.stderr(contains("factory.toml").and(contains("--config")));
    assert_eq!(empty.path().read_dir().unwrap().count(), 0, "nothing was made");
}

#[test]
fn shells_and_man_are_told_the_command_line_without_a_configuration() {
    for shell in ["bash", "zsh", "fish"] {
        let script = factory_tick().args(["completions", shell]).assert().code(0).stderr("");
        script.stdout(contains("factory-tick").and(contains("kill-tick")).and(contains("detailed-exitcode")));
    }
    factory_tick().args(["completions", "cmd.exe"]).assert().code(2).stderr(contains("bash"));
    let page = factory_tick().arg("man").assert().code(0).stderr("");
    page.stdout(
        contains(".TH factory").and(contains("dry\\-run")).and(contains("another tick holds the lock")),
    );
}

#[test]
fn help_tells_every_exit_code() {
    let mut help = factory_tick().arg("--help").assert().code(0);
    for code in [0, 1, 2, 3, 4, 5, 10, 65, 69, 73, 74, 75, 77, 78, 130, 143] {
        help = help.stdout(contains(format!("\n{code:>5}  ")));
    }
}

/// Every variable that an option is read from.
const VARIABLES: [&str; 11] = [
    "FACTORY_TICK_CONFIG",
    "FACTORY_TICK_SET",
    "FACTORY_TICK_STATE_DIR",
    "FACTORY_TICK_DRY_RUN",
    "FACTORY_TICK_ITEM",
    "FACTORY_TICK_ITERATIONS",
    "FACTORY_TICK_WAIT_LOCK",
    "FACTORY_TICK_DETAILED_EXITCODE",
    "FACTORY_TICK_FORMAT",
    "FACTORY_TICK_COLOR",
    "FACTORY_TICK_QUIET",
];

// Origin: an audit - a job of GitHub Actions sets an empty variable for an input that is left out, and each was a wrong
// command line.
// covers: P23
#[test]
fn empty_variable_counts_as_unset() {
    let mut factory = Factory::with_agent("exit 0");
    factory.item("AR-1");
    VARIABLES.iter().for_each(|name| factory.var(name, ""));
    factory.var("FACTORY_TICK_VERBOSE", "");
    let ran = factory.run(&[]).expect(0);
    assert!(ran.stdout.starts_with("tick: ok (1 start"), "{}", ran.stdout);
    assert!(factory.state("registry.json").exists());
    factory.run(&["tick"]).expect(0);
    factory.run(&["status"]).expect(0);
}

// covers: P23
#[test]
fn iterations_and_item_are_options_of_a_tick_alone() {
    let mut factory = Factory::with_agent("exec sleep 600");
    ["AR-1", "AR-2"].iter().for_each(|key| factory.item(key));
    for wrong in [
        &["status", "--item", "AR-1"][..],
        &["--item", "AR-1", "status"],
        &["stop", "--all", "--iterations", "2"],
        &["--iterations", "2", "stop", "--all"],
        &["--accept-missing", "stop", "--all"],
    ] {
        let ran = factory.run(wrong).expect(2);
        assert!(
            ran.stdout.is_empty() && (ran.stderr.contains("--it") || ran.stderr.contains("--accept-missing")),
            "{wrong:?}: {}",
            ran.stderr
        );
    }
    let started =
        |arguments: &[&str]| factory.run(&[arguments, &["-n", "--format", "json"]].concat()).decided();
    let first = "start ar-1-impl.1";
    for one in [
        &["--item", "AR-1"][..],
        &["tick", "--item", "AR-1"],
        &["--item", "AR-1", "tick"],
        &["--item", "AR-2", "tick", "--item", "AR-1", "--iterations", "2"],
    ] {
        let decided = started(one);
        assert_eq!(
            decided.iter().filter(|one| one.starts_with("start")).collect::<Vec<_>>(),
            [first],
            "{one:?}"
        );
    }
    factory.var("FACTORY_TICK_ITEM", "AR-1");
    factory.var("FACTORY_TICK_ITERATIONS", "3");
    let decided = factory.run(&["tick", "-n", "--format", "json"]).decided();
    assert_eq!(decided[0], first);
    assert!(!decided.iter().any(|one| one.starts_with("start ar-2")), "{decided:?}");
    // To every other command those variables mean nothing.
    factory.run(&["pause"]).expect(0);
}
