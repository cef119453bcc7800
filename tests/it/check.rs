//! `check`: every problem at once, nothing changed, and a crontab line that cron can run.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{Factory, HeldLock, Ran, everything, install, is_root, put, skipped, system, toml_text};

/// The findings of a check, as `<level> <name> <subject>` each.
#[track_caller]
fn found(ran: &Ran) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let line =
        |one: &Value| format!("{} {} {}", text(&one["level"]), text(&one["name"]), text(&one["subject"]));
    ran.json()["checks"].as_array().unwrap().iter().map(line).collect()
}

/// Those that are no problem left out, and what is said of the others.
#[track_caller]
fn problems(ran: &Ran) -> Vec<String> {
    let checks = ran.json()["checks"].as_array().unwrap().clone();
    let problems = checks.iter().filter(|one| one["ok"] == false);
    problems.map(|one| format!("{} {} → {}", one["name"], one["because"], one["hint"])).collect()
}

#[track_caller]
fn assert_one(list: &[String], parts: &[&str]) {
    let has_all = |line: &&String| parts.iter().all(|part| line.contains(part));
    assert_eq!(list.iter().filter(has_all).count(), 1, "{parts:?} in {list:#?}");
}

fn check(factory: &Factory, more: &[&str]) -> Ran {
    factory.run(&[&["check", "--format", "json"], more].concat())
}

/// A script that can be executed.
fn script(path: &Path, text: &str) {
    put(&path.with_extension("tmp"), text);
    install(&path.with_extension("tmp"), path);
    fs::remove_file(path.with_extension("tmp")).unwrap();
}

// covers: C01
#[test]
fn what_is_in_order_is_ok_and_nothing_is_changed_or_waited_for() {
    let mut factory = Factory::with_agent("true");
    factory.var("PATH", "/usr/bin:/bin");
    factory.item("AR-1");
    let before = everything(&factory.path(""));
    let ran = check(&factory, &[]).expect(0);
    let report = ran.json();
    assert_eq!(
        (&report["schema"], &report["status"], &report["as_cron"]),
        (&1.into(), &"ok".into(), &false.into())
    );
    let lines = found(&ran);
    for name in ["ok config ", "ok state ", "ok disk ", "ok program impl", "ok prompt impl", "ok items "] {
        assert_one(&lines, &[name]);
    }
    let text = factory.run(&["check"]).expect(0).stdout;
    assert!(text.starts_with("check: ok (") && text.contains("For `crontab -e`:\n* * * * * "), "{text}");
    assert_eq!(factory.run(&["check", "-q"]).expect(0).stdout, "");
    assert_eq!(everything(&factory.path("")), before);

    factory.tick().expect(0);
    factory.wait_swept("ar-1-impl.1");
    let _held = HeldLock::take(&factory.state("lock"));
    let before = everything(&factory.path(""));
    check(&factory, &[]).expect(0);
    check(&factory, &["--as-cron"]);
    assert_eq!(everything(&factory.path("")), before);
}

// covers: C02
#[test]
fn every_problem_is_told_at_once() {
    let mut factory = Factory::new();
    put(
        &factory.path("task.md"),
        "Do {{ item.title }}{% if last_error %} after {{ last_eror }}{% endif %}\n",
    );
    factory.role("impl", &["no-such-program"], "env = [\"NO_SUCH_VARIABLE\"]\nprompt = \"task.md\"");
    factory.role("rev", &["./no-such-script"], "");
    factory.set("fleet", "protected_pidfiles", "[\"broker.pid\"]");
    factory.set("limits", "disk_free_min", "\"8000000000GiB\"");
    put(&factory.path("broker.pid"), "soon\n");
    put(&factory.issues().join("AR-1.json"), "{\"titel\": 1}");
    put(&factory.issues().join("AR-2.md"), "+++\nid = \"X\"\n+++\n# One\n");
    put(&factory.issues().join("AR-3.md"), "+++\nid = \"X\"\n+++\n# Other\n");
    let ran = check(&factory, &[]).expect(77);
    let told = problems(&ran);
    assert_one(&told, &["program", "no-such-program", "is not in PATH", "path_prepend"]);
    assert_one(&told, &["program", "no-such-script", "is not an executable file", "chmod +x"]);
    assert_one(&told, &["environment", "NO_SUCH_VARIABLE is not set"]);
    // Only a second attempt has an error to tell: a first one would have rendered.
    assert_one(&told, &["prompt", "task.md", "last_eror", "line 1"]);
    assert_one(&told, &["pidfile", "no agent can be ended", "holds no pid"]);
    assert_one(&told, &["disk", "nothing starts with less than"]);
    assert_one(&told, &["items", "AR-1.json", "titel"]);
    assert_one(&told, &["items", "AR-2.md: has the id dir:X like AR-3.md"]);
    assert_one(&told, &["items", "AR-3.md: has the id dir:X like AR-2.md"]);
    assert_eq!(told.len(), 9, "{told:#?}");
    assert!(!factory.state("").exists());
}

// covers: C02
#[test]
fn a_configuration_that_does_not_read_is_told_in_full() {
    let mut factory = Factory::with_agent("true");
    factory.set("tick", "evry", "\"1m\"");
    factory.set("limits", "items_max", "0");
    let ran = check(&factory, &[]).expect(78);
    let told = problems(&ran);
    assert_one(&told, &["there is no `evry`", "did you mean `every`?"]);
    assert_one(&told, &["items_max` is 0", "an integer from 1 to 1000"]);
    assert_eq!((told.len(), &ran.json()["crontab"]), (2, &Value::Null));

    fs::remove_file(factory.path("factory.toml")).unwrap();
    let ran = factory.run(&["check"]).expect(78);
    assert!(
        ran.stdout.contains("there is no such file") && ran.stdout.contains("`factory-tick init` writes one")
    );
    let ran = factory.run(&[]).expect(78);
    assert!(ran.stderr.contains("`factory-tick init` writes one"), "{}", ran.stderr);
}

// covers: C02
#[test]
fn the_code_is_that_of_what_is_wrong() {
    let mut factory = Factory::with_agent("true");
    put(&factory.issues().join("AR-1.json"), "{");
    check(&factory, &[]).expect(3);
    fs::rename(factory.issues(), factory.path("moved")).unwrap();
    assert_one(&problems(&check(&factory, &[]).expect(69)), &["items", "create it, or set [source] path"]);
    fs::rename(factory.path("moved"), factory.issues()).unwrap();
    fs::remove_file(factory.issues().join("AR-1.json")).unwrap();
    assert_one(&found(&check(&factory, &[]).expect(0)), &["note items"]);

    factory.tick().expect(0);
    put(&factory.path("other.toml"), &fs::read_to_string(factory.path("factory.toml")).unwrap());
    let state = factory.state("").display().to_string();
    let ran = check(&factory, &["-c", "other.toml", "--state-dir", &state]).expect(78);
    assert_one(&problems(&ran), &["state", "belongs to", "pass --state-dir"]);
    fs::set_permissions(factory.state(""), fs::Permissions::from_mode(0o777)).unwrap();
    assert_one(
        &problems(&check(&factory, &[]).expect(73)),
        &["state", "others can write to it", "chmod go-w"],
    );
    fs::set_permissions(factory.state(""), fs::Permissions::from_mode(0o700)).unwrap();
    for name in ["registry.json", "registry.json.bak"] {
        put(&factory.state(name), "{");
    }
    assert_one(&problems(&check(&factory, &[]).expect(65)), &["state", "registry.json"]);

    put(&factory.path("file"), "");
    let ran = check(&factory, &["--state-dir", "file/state"]).expect(73);
    assert_one(&problems(&ran), &["state", "Not a directory"]);
    symlink(factory.path("lab"), factory.path("link")).unwrap();
    assert_one(&problems(&check(&factory, &["--state-dir", "link"]).expect(73)), &["state", "symbolic link"]);
    factory.set("workspace", "root", "\"file/workspaces\"");
    let ran = check(&factory, &["--state-dir", "fresh"]).expect(73);
    assert_one(&problems(&ran), &["workspaces", "it is not a folder"]);
}

#[test]
fn what_others_can_write_decides_what_is_run() {
    let factory = Factory::with_agent("true");
    let config = factory.path("factory.toml");
    let set = |mode| fs::set_permissions(&config, fs::Permissions::from_mode(mode)).unwrap();
    set(0o666);
    assert_one(
        &problems(&check(&factory, &[]).expect(78)),
        &["config", "everybody can write to it", "chmod go-w"],
    );
    set(0o664);
    assert_one(&found(&check(&factory, &[]).expect(0)), &["note config"]);
    set(0o644);
    assert_one(&found(&check(&factory, &[]).expect(0)), &["ok config"]);
}

#[test]
fn a_script_needs_what_its_first_line_names() {
    let mut factory = Factory::new();
    script(&factory.path("agent.sh"), "#!/usr/bin/env no-such-interpreter\n");
    factory.role("impl", &["./agent.sh"], "");
    let ran = check(&factory, &[]).expect(78);
    assert_one(&problems(&ran), &["no-such-interpreter", "which ", "agent.sh needs"]);

    let mut factory = Factory::new();
    script(&factory.path("agent.sh"), "#!/bin/sh\n");
    factory.role("impl", &["sh", "./agent.sh"], "");
    // The program alone is looked for beside the configuration; the workspace has no agent.sh.
    assert_one(&found(&check(&factory, &[]).expect(0)), &["note program impl"]);
}
// A factory with a hook that was not there passed its check, and then charged an attempt of every item.
#[test]
fn what_is_run_beside_agents_is_looked_for_too() {
    let mut factory = Factory::with_agent("true");
    factory.item("AR-1");
    factory.set("hooks", "after_create", "[\"no-such-clone\", \".\"]");
    factory.set("hooks", "after_run", "[\"./save.sh\"]");
    factory.set("done", "when", "\"command\"");
    factory.set("done", "command", "[\"no-such-judge\"]");
    let told = problems(&check(&factory, &[]).expect(78));
    assert_one(&told, &["program", "\\\"no-such-clone\\\" is not in PATH"]);
    assert_one(&told, &["program", "save.sh is not an executable file", "chmod +x"]);
    assert_one(&told, &["program", "\\\"no-such-judge\\\" is not in PATH"]);
    script(&factory.path("save.sh"), "#!/bin/sh\n");
    factory.set("hooks", "after_create", "[\"true\"]");
    factory.set("done", "command", "[\"true\"]");
    let lines = found(&check(&factory, &[]).expect(0));
    for name in ["after_create hook", "after_run hook", "[done] command"] {
        assert_one(&lines, &[&format!("ok program {name}")]);
    }
}

// Origin: agents that ran from a terminal and were not found under cron, whose PATH is two folders.
// covers: C03
#[test]
fn a_program_that_only_the_login_shell_finds_is_a_problem_under_cron() {
    let mut factory = Factory::new();
    let bin = factory.path("bin of mine");
    fs::create_dir(&bin).unwrap();
    script(&bin.join("my-agent"), "#!/bin/sh\necho ran >\"$LAB/ran\"\n");
    factory.role("impl", &["my-agent"], "");
    factory.item("AR-1");
    factory.var("PATH", &format!("{}:/usr/local/bin:/usr/bin:/bin", bin.display()));
    let ran = check(&factory, &[]).expect(0);
    let crontab = ran.json()["crontab"].as_str().unwrap().to_owned();
    let path = format!("PATH={}:/usr/local/bin:/usr/bin:/bin\n* * * * * ", bin.display());
    assert!(crontab.starts_with(&path), "{crontab}");

    let ran = check(&factory, &["--as-cron"]).expect(78);
    let prepend = format!("path_prepend = [{}]", toml_text(&bin.display().to_string())).replace('"', "\\\"");
    let found_at = bin.join("my-agent").display().to_string();
    assert_one(&problems(&ran), &["program", "is not in PATH (/usr/bin:/bin)", &found_at, &prepend]);

    // Either of what it says helps: the line as it stands, and the key.
    assert_eq!(as_cron_runs(&crontab, &factory.path("")).code, Some(0));
    factory.wait_told("ran");
    factory.wait_swept("ar-1-impl.1");
    factory.set("env", "path_prepend", &format!("[{}]", toml_text(&bin.display().to_string())));
    let ran = check(&factory, &["--as-cron"]).expect(0);
    assert!(ran.json()["crontab"].as_str().unwrap().starts_with("* * * * * "), "{}", ran.stdout);
}

// covers: C03 C05
#[test]
fn what_the_shell_has_and_cron_has_not_is_told_by_name() {
    let mut factory = Factory::with_agent("true");
    factory.role("rev", &["sh", "-c", "true"], "env = [\"MY_TOKEN\"]");
    factory.var("MY_TOKEN", "secret-of-mine");
    check(&factory, &[]).expect(0);
    let ran = check(&factory, &["--as-cron"]).expect(77);
    assert_one(&problems(&ran), &["environment", "MY_TOKEN is not set", "a line MY_TOKEN=… to the crontab"]);
    assert!(!ran.stdout.contains("secret-of-mine"));
}

/// Runs the last line of a crontab as cron does: the lines before it are variables, `%` is special, and the shell
/// gets what is left after five fields.
fn as_cron_runs(crontab: &str, home: &Path) -> Ran {
    let mut lines: Vec<_> = crontab.lines().collect();
    let line = lines.pop().unwrap();
    let fields: Vec<_> = line.splitn(6, ' ').collect();
    assert_eq!(fields.len(), 6, "{line}");
    let command = fields[5].replace("\\%", "\0");
    assert!(!command.contains('%'), "cron would cut it off there: {line}");
    let mut shell = system("/bin/sh");
    shell.args(["-c", &command.replace('\0', "%")]).current_dir("/").env_clear();
    shell.envs([("PATH", "/usr/bin:/bin"), ("SHELL", "/bin/sh"), ("LOGNAME", "me")]).env("HOME", home);
    shell.envs(lines.iter().map(|line| line.split_once('=').unwrap()));
    Ran::of(&mut shell)
}

// covers: C04
#[test]
fn the_crontab_line_works_wherever_the_factory_lies() {
    let factory = Factory::new();
    let folder = factory.path("it's 50% \"ready\" $HOME");
    fs::create_dir_all(folder.join("issues")).unwrap();
    put(&folder.join("issues/AR-1.md"), "# One\n");
    let lab = toml_text(&factory.lab("").display().to_string());
    put(
        &folder.join("factory.toml"),
        &format!(
            "[limits]\ndisk_free_min = \"0\"\n[tick]\nevery = \"5m\"\n[env]\nset = {{ LAB = {lab} }}\n[[role]]\n\
             name = \"impl\"\nsuffix = \"impl\"\ncommand = [\"sh\", \"-c\", 'echo ran >\"$LAB/ran\"']\n"
        ),
    );
    let config = folder.join("factory.toml").display().to_string();
    let state = folder.join("state of it").display().to_string();
    let ran = check(&factory, &["-c", &config, "--state-dir", &state]).expect(0);
    let crontab = ran.json()["crontab"].as_str().unwrap().to_owned();
    assert!(crontab.starts_with("*/5 * * * * ") && crontab.contains(r"50\%"), "{crontab}");
    let ran = as_cron_runs(&crontab, &factory.path(""));
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{crontab}");
    factory.wait_told("ran");
    factory.wait_all_gone();
    assert!(folder.join("state of it/registry.json").exists());
}

/// A factory whose agent is a program of that name, which is no more than its name.
fn with_program(name: &str, args: &[&str]) -> Factory {
    let mut factory = Factory::new();
    let bin = factory.path("bin");
    fs::create_dir(&bin).unwrap();
    script(&bin.join(name), "#!/bin/sh\n");
    factory.set("env", "path_prepend", "[\"bin\"]");
    factory.role("impl", &[&[name], args].concat(), "");
    factory
}

// Origin: the real `claude -p`, refused each of its tools, ended with 0 and had done nothing.
// covers: C06
#[test]
fn an_agent_that_may_do_nothing_is_a_problem() {
    let claude = with_program("claude", &["-p"]);
    let ran = check(&claude, &[]).expect(78);
    assert_one(&problems(&ran), &["permissions", "may do nothing", "--permission-mode", "acceptEdits"]);
    fs::create_dir(claude.path(".claude")).unwrap();
    put(&claude.path(".claude/settings.json"), "{\"permissions\": {\"allow\": [\"Bash\"]}}");
    assert_one(&found(&check(&claude, &[]).expect(0)), &["ok permissions impl"]);

    let codex = with_program("codex", &["exec", "--json", "-"]);
    assert_one(&problems(&check(&codex, &[]).expect(78)), &["permissions", "read-only", "workspace-write"]);

    for (name, args) in [
        ("claude", &["-p", "--permission-mode", "acceptEdits"][..]),
        ("claude", &["-p", "--allowedTools", "Bash", "Edit"]),
        ("codex", &["exec", "--sandbox", "workspace-write"]),
        ("codex", &["exec", "-c", "sandbox_mode=\"danger-full-access\""]),
    ] {
        let ran = check(&with_program(name, args), &[]).expect(0);
        assert_one(&found(&ran), &["ok permissions impl"]);
    }
}

// covers: C06
#[test]
fn a_preset_is_looked_at_with_the_arguments_that_it_is_given() {
    let codex = |more: &str| {
        let mut factory = Factory::new();
        fs::create_dir(factory.path("bin")).unwrap();
        script(&factory.path("bin/codex"), "#!/bin/sh\n");
        factory.set("env", "path_prepend", "[\"bin\"]");
        factory.preset("codex", more);
        factory
    };
    let told = problems(&check(&codex(""), &[]).expect(78));
    assert_one(&told, &["permissions", "read-only", "add to its args"]);
    let mut factory = codex("args = [\"-s\", \"workspace-write\"]");
    let set = ["--set", "tick.every=5m"];
    let ran = check(&factory, &set).expect(0);
    assert_one(&found(&ran), &["ok permissions impl"]);
    assert_one(&found(&ran), &["note credentials impl"]);
    // What was checked is what cron is to run.
    let crontab = ran.json()["crontab"].as_str().unwrap().to_owned();
    assert!(crontab.starts_with("*/5 ") && crontab.ends_with(" --set tick.every=5m"), "{crontab}");
    // A preset is given what its program needs without a word in `env`.
    factory.var("CODEX_API_KEY", "secret-of-mine");
    assert_one(&found(&check(&factory, &set).expect(0)), &["ok credentials impl"]);
    fs::create_dir(factory.path(".codex")).unwrap();
    put(&factory.path(".codex/auth.json"), "{}");
    factory.var("CODEX_API_KEY", "");
    assert_one(&found(&check(&factory, &set).expect(0)), &["ok credentials impl"]);

    let told = problems(&check(&factory, &["--set", "limits.items_mx=1"]).expect(78));
    assert_one(&told, &["there is no `items_mx`"]);
}

#[test]
fn what_claude_refuses_to_root_is_a_problem_of_root_alone() {
    let mut claude = with_program("claude", &["-p", "--dangerously-skip-permissions"]);
    if !is_root() {
        assert_one(&found(&check(&claude, &[]).expect(0)), &["ok permissions impl"]);
        return skipped("only root is refused");
    }
    assert_one(&problems(&check(&claude, &[]).expect(78)), &["permissions", "to root", "IS_SANDBOX"]);
    let lab = toml_text(&claude.lab("").display().to_string());
    claude.set("env", "set", &format!("{{ IS_SANDBOX = \"1\", LAB = {lab} }}"));
    check(&claude, &[]).expect(0);
}

// covers: C03 C05
#[test]
fn a_credential_that_only_the_shell_has_is_a_problem_under_cron() {
    let mut claude = with_program("claude", &["-p", "--permission-mode", "acceptEdits"]);
    assert_one(&found(&check(&claude, &[]).expect(0)), &["note credentials impl"]);
    claude.var("ANTHROPIC_API_KEY", "secret-of-mine");
    let ran = check(&claude, &[]).expect(0);
    // A command's variables are those that its role names; a preset would be given its own.
    assert!(ran.stdout.contains("is set, but not passed to its agents"), "{}", ran.stdout);
    // A login in the home of whoever runs the tests would be one under cron.
    claude.set("env", "set", "{ CLAUDE_CONFIG_DIR = \"/nowhere\" }");
    let ran = check(&claude, &["--as-cron"]).expect(77);
    assert_one(
        &problems(&ran),
        &["credentials", "ANTHROPIC_API_KEY is set in your shell, but not under cron"],
    );
    assert!(!ran.stdout.contains("secret-of-mine"));
}

// Origin: agents that were gone with the job that had started them.
// covers: C07 F70
#[test]
fn a_job_of_github_actions_says_what_outlives_it() {
    let mut factory = Factory::with_agent("true");
    let home = factory.path("").display().to_string();
    for (name, value) in
        [("GITHUB_ACTIONS", "true"), ("RUNNER_TRACKING_ID", "github_1"), ("GITHUB_WORKSPACE", &home)]
    {
        factory.var(name, value);
    }
    assert_one(&problems(&check(&factory, &[]).expect(78)), &["github", "is not named", "--state-dir"]);
    let inside = factory.path("state").display().to_string();
    let ran = check(&factory, &["--state-dir", &inside]).expect(78);
    assert_one(&problems(&ran), &["github", "it lies in the checkout"]);

    let outside = tempfile::tempdir().unwrap();
    let outside: PathBuf = outside.path().join("state");
    let named = ["--state-dir", outside.to_str().unwrap()];
    let ran = check(&factory, &named).expect(0);
    assert_one(&found(&ran), &["note github RUNNER_TRACKING_ID"]);
    assert!(ran.stdout.contains("agents are not given it, and live on"), "{}", ran.stdout);
    // The same, asked as cron would be: there is no job.
    assert!(
        !found(&check(&factory, &[&["--as-cron"][..], &named].concat()))
            .iter()
            .any(|line| line.contains("github"))
    );

    factory.var("RUNNER_ENVIRONMENT", "github-hosted");
    factory.role("rev", &["sh", "-c", "true"], "env = [\"RUNNER_TRACKING_ID\"]");
    let told = problems(&check(&factory, &named).expect(3));
    assert_one(&told, &["this machine is GitHub's", "self-hosted"]);
    assert_one(&told, &["kills the agents of rev when the job ends"]);
}
