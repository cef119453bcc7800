//! README.md describes the program as it is: what it says of keys, exit codes and options is compared with them.

use std::path::Path;

use nix::sys::signal::Signal;

use factory_tick::config;
use factory_tick::exit::ExitStatus;

use crate::support::{Factory, HeldLock, Running, binary};

const README: &str = include_str!("../../README.md");

/// Every key there is, each with its default.
const ALL_DEFAULTS: &str = include_str!("../../fixtures/config/all-defaults.toml");

/// The text below a heading, up to the next one of any level.
fn below(heading: &str) -> &'static str {
    let (_, rest) = README
        .split_once(&format!("\n{heading}\n"))
        .unwrap_or_else(|| panic!("README.md has no {heading:?}"));
    rest.split("\n#").next().unwrap_or_default()
}

/// The first cells of the rows of the tables in a text.
fn first_cells(text: &str) -> Vec<&str> {
    text.lines()
        .filter_map(|line| line.strip_prefix("| "))
        .filter_map(|line| line.split(" | ").next())
        .collect()
}

#[test]
fn every_key_of_the_configuration_is_explained() {
    let all: toml::Table = ALL_DEFAULTS.parse().expect("the fixture is TOML");
    for (section, value) in &all {
        let (heading, table) = match value {
            toml::Value::Array(roles) => (format!("### `[[{section}]]`"), roles[0].as_table()),
            table => (format!("### `[{section}]`"), table.as_table()),
        };
        let explained = first_cells(below(&heading)).join(" ");
        for (key, value) in table.expect("a table") {
            let keys = match value {
                toml::Value::Table(scope) if key == "scope" => {
                    scope.keys().map(|inner| format!("{key}.{inner}")).collect()
                }
                _ => vec![key.clone()],
            };
            for key in keys {
                assert!(
                    explained.contains(&format!("`{key}`")),
                    "README.md does not explain {section}.{key}"
                );
            }
        }
    }
}

#[test]
fn every_configuration_that_is_shown_is_a_good_one() {
    let blocks: Vec<_> =
        README.split("\n```toml\n").skip(1).filter_map(|rest| rest.split("\n```").next()).collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        let read = config::parse(block, Path::new("/srv/factory/factory.toml"), &|_| Ok(String::new()));
        assert!(read.is_ok(), "{block}\n{read:?}");
    }
}

#[test]
fn every_exit_code_is_explained() {
    use ExitStatus::*;
    let all = [
        Ok,
        Failed,
        Usage,
        Partial,
        Attention,
        Refused,
        WouldAct,
        BadState,
        Unavailable,
        CannotCreate,
        IoError,
        Busy,
        Denied,
        BadConfig,
        Interrupted,
        Terminated,
    ];
    let table = below("## Exit codes");
    for status in all {
        let (code, name) = (status.code().to_string(), status.name());
        let is_it = |line: &str| {
            let mut cells = line.trim_matches('|').split(" | ").map(str::trim);
            cells.next().is_some_and(|codes| codes.split(", ").any(|one| one == code))
                && cells.next() == Some(name)
        };
        assert!(table.lines().any(is_it), "README.md does not explain exit code {code} as {name}");
    }
}

#[test]
fn every_option_and_command_is_explained() {
    let text = below("## Commands");
    let program = <factory_tick::cli::Cli as clap::CommandFactory>::command();
    for option in program.get_arguments() {
        let long = option.get_long().map(|long| format!("--{long}"));
        let short = option.get_short().map(|short| format!("`-{short}`"));
        let known = [&long, &short].into_iter().flatten().any(|name| text.contains(name.as_str()));
        assert!(known, "README.md does not explain {long:?}");
        if let Some(variable) = option.get_env() {
            let variable = variable.to_string_lossy();
            assert!(text.contains(&*variable), "README.md does not explain {variable}");
        }
    }
    for command in program.get_subcommands() {
        let name = format!("`factory-tick {}", command.get_name());
        assert!(text.contains(&name), "README.md does not explain {name}`");
    }
}

// Origin: an audit - the step's shell waited for the program and passed no signal on: a job that was cancelled had it
// killed 13 s later.
// covers: P23
#[test]
fn step_for_github_actions_hears_a_cancelled_job() {
    let step = below("### GitHub Actions").lines().find_map(|line| line.trim().strip_prefix("- run: "));
    let step = step.expect("README.md shows a step of one line");
    let mut factory = Factory::with_agent("exit 0");
    // The step names the program by its name alone.
    let path = format!("{}:/usr/bin:/bin", binary().parent().unwrap().display());
    factory.var("PATH", &path);
    factory.var("GITHUB_ACTIONS", "true");
    factory.var("FACTORY_TICK_WAIT_LOCK", "2m");
    let mut shell = factory.shell(&format!("HOME={:?}\n{step}\n", factory.path("")));
    factory.run(&["--state-dir", "factory-state"]).expect(0);
    let lock = HeldLock::take(&factory.path("factory-state").join("lock"));
    let mut tick = Running::start(&mut shell);
    tick.wait_stderr("waiting for");
    tick.signal(Signal::SIGINT);
    tick.end().expect(130);
    drop(lock);
}
