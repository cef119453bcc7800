//! The command line as a person meets it first.

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::contains;

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
