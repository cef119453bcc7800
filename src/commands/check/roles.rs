//! What each role needs to start: its programs, its variables, a prompt that renders.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::configuration::open_to_others;
use super::items;
use super::subject::Subject;
use crate::app::programs::{self, Wanted};
use crate::config::prompt::{self, PromptVars};
use crate::config::{Config, Done, Role};
use crate::exit::ExitStatus;
use crate::model::{ItemId, ItemState, WorkItem};
use crate::run::env;
use crate::views::check::Finding;
use crate::workspace::root;

/// What is run beside the agents of every role, by name: without one of these no role starts anything.
fn beside_agents(config: &Config) -> Vec<(&'static str, &[String])> {
    let hooks = &config.hooks;
    let done = match &config.done {
        Done::Command(argv) => argv.as_slice(),
        Done::Exit | Done::Source => &[],
    };
    let all = [
        ("after_create hook", hooks.after_create.as_slice()),
        ("before_run hook", &hooks.before_run),
        ("after_run hook", &hooks.after_run),
        ("before_remove hook", &hooks.before_remove),
        ("[done] command", done),
    ];
    all.into_iter().filter(|(_, argv)| !argv.is_empty()).collect()
}

/// Every command line, whose it is, and a role whose PATH finds its program.
fn all_commands<'a>(config: &'a Config) -> Vec<(&'a str, &'a Role, Vec<String>)> {
    let of_role =
        |role: &'a Role| role.commands().into_iter().map(move |argv| (role.name.as_str(), role, argv));
    let of_roles = config.roles.iter().flat_map(of_role);
    // All roles have the same PATH.
    let beside = config.roles.first().into_iter().flat_map(|role| {
        beside_agents(config).into_iter().map(move |(name, argv)| (name, role, argv.to_vec()))
    });
    of_roles.chain(beside).collect()
}

pub(super) fn programs(subject: &Subject<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut seen = Vec::new();
    for (name, role, argv) in all_commands(subject.config) {
        if !seen.contains(&(name, argv[0].clone())) {
            let all = programs::wanted(&argv[0], &subject.path_from(&subject.vars, role));
            // That a shell is where every script says it is need not be told.
            let told =
                all.iter().filter(|one| one.by.is_none() || !one.name.contains('/') || one.found.is_err());
            findings.extend(told.map(|wanted| program(subject, name, role, wanted)));
            findings.extend(all.iter().filter_map(|wanted| open_to_others(wanted.found.as_deref().ok()?)));
            seen.push((name, argv[0].clone()));
        }
        findings.extend(beside_config(subject, name, &argv));
    }
    findings
}

fn program(subject: &Subject<'_>, name: &str, role: &Role, wanted: &Wanted) -> Finding {
    let shell_path = subject.path_from(subject.shell, role);
    let in_shell = subject.as_cron.then(|| programs::find(&wanted.name, &shell_path).ok()).flatten();
    let for_script =
        wanted.by.as_ref().map_or_else(String::new, |by| format!(", which {} needs", by.display()));
    match (&wanted.found, in_shell) {
        (Ok(found), Some(other)) if !programs::is_same(found, &other) => {
            let because =
                format!("{} is {}, but in your shell {}", wanted.name, found.display(), other.display());
            Finding::note(name, because).hint(how_to_find(&other))
        }
        (Ok(found), _) => Finding::ok(name, format!("{} is found{for_script}", found.display())),
        (Err(why), other) => {
            let hint = match other {
                Some(found) => format!("in your shell it is {}: {}", found.display(), how_to_find(&found)),
                None if wanted.name.contains('/') => {
                    "make it executable (chmod +x), or correct its name".to_owned()
                }
                None => "install it, name it by its absolute path, or add its folder to [env] path_prepend"
                    .to_owned(),
            };
            Finding::problem(ExitStatus::BadConfig, name, format!("{why}{for_script}")).hint(hint)
        }
    }
}

/// How agents come to a program of which cron's PATH knows nothing.
fn how_to_find(program: &Path) -> String {
    let folder = program.parent().unwrap_or(program).to_string_lossy().into_owned();
    let folder = serde_json::Value::from(folder);
    format!("set [env] path_prepend = [{folder}], or PATH in the crontab as below, or name it by that path")
}

/// Arguments that name a file beside the configuration: only the program is looked for there.
fn beside_config(subject: &Subject<'_>, name: &str, argv: &[String]) -> Vec<Finding> {
    let there = |word: &&String| word.starts_with("./") && subject.config.dir.join(word).is_file();
    let finding = |word: &String| {
        let file = subject.config.dir.join(word.trim_start_matches("./"));
        let because = format!("its argument {word} means a file in the workspace, not {}", file.display());
        Finding::note(name, because).hint("write the absolute path")
    };
    argv.iter().skip(1).filter(there).map(finding).collect()
}

pub(super) fn environment(subject: &Subject<'_>) -> Vec<Finding> {
    let config = subject.config;
    let missing = env::missing(&subject.vars, &config.env, &subject.file_vars(), &config.roles);
    let mut findings = Vec::new();
    for role in config.roles.iter().filter(|role| !role.env.is_empty()) {
        let Some(names) = missing.get(&role.name) else {
            findings.push(Finding::ok(&role.name, format!("every variable is set: {}", role.env.join(", "))));
            continue;
        };
        for name in names {
            let because = format!("{name} is not set, and the role starts nothing without it");
            let hint = match subject.shell.contains_key(OsStr::new(name)) {
                true => format!(
                    "cron does not have your shell's: add {name} to [env] file, or a line {name}=… to the crontab, above the tick"
                ),
                false => format!("set {name}, or remove it from the role's env"),
            };
            findings.push(Finding::problem(ExitStatus::Denied, &role.name, because).hint(hint));
        }
    }
    findings
}

/// Rendered as for a first attempt, and as for one that has everything to say.
pub(super) fn prompts(subject: &Subject<'_>) -> Vec<Finding> {
    let item = items::first(subject);
    let with = item.as_ref().map_or_else(|| "a sample".to_owned(), |item| item.key.clone());
    let item = item.unwrap_or_else(sample);
    let workspace = root::folder(subject.config, &subject.state_path).join(&item.key);
    let render = |role: &Role, again: bool| {
        let vars = PromptVars {
            item: &item,
            attempt: if again { 2 } else { 1 },
            run: "sample.1",
            role: &role.name,
            workspace: &workspace.to_string_lossy(),
            last_error: again.then_some("exit code 1"),
            message: again.then_some("a word from a person"),
        };
        prompt::render(&role.prompt, &vars)
    };
    let look = |role: &Role| {
        let file = role
            .prompt_path
            .as_ref()
            .map_or_else(|| "the built-in one".to_owned(), |path| path.display().to_string());
        match render(role, false).and_then(|_| render(role, true)) {
            Ok(_) => Finding::ok(&role.name, format!("{file} renders with {with}")),
            Err(why) => Finding::problem(
                ExitStatus::BadConfig,
                &role.name,
                format!("{file} can't be rendered with {with}: {why}"),
            )
            .hint("a template can use item, attempt, run, role, workspace, last_error and message"),
        }
    };
    subject.config.roles.iter().map(look).collect()
}

/// Stands for an item where there is none yet.
fn sample() -> WorkItem {
    WorkItem {
        id: ItemId("dir:SAMPLE-1".to_owned()),
        key: "SAMPLE-1".to_owned(),
        title: "A sample".to_owned(),
        body: "What is to be done.".to_owned(),
        labels: Vec::new(),
        priority: None,
        state: ItemState::Open,
        blocked_by: Vec::new(),
        created_at: None,
        updated_at: None,
        origin: "SAMPLE-1.md".to_owned(),
        hash: String::new(),
        content_hash: String::new(),
    }
}

/// The folders that hold what the roles need and that are not in this PATH, as the caller's shell finds them.
pub(super) fn folders_beyond(subject: &Subject<'_>, path: &OsString) -> Vec<std::path::PathBuf> {
    let mut folders = Vec::new();
    for (_, role, argv) in all_commands(subject.config) {
        let shell_path = subject.path_from(subject.shell, role);
        let mut cron = subject.shell.clone();
        cron.insert("PATH".into(), path.clone());
        let cron_path = subject.path_from(&cron, role);
        for Wanted { name, found, .. } in programs::wanted(&argv[0], &shell_path) {
            let Ok(found) = found else { continue };
            let folder = found.parent().map(Path::to_path_buf).unwrap_or_default();
            let same = programs::find(&name, &cron_path).is_ok_and(|other| programs::is_same(&other, &found));
            if !name.contains('/') && !same && !folders.contains(&folder) {
                folders.push(folder);
            }
        }
    }
    folders
}
