//! `init`: a folder in which everything works at once, and nothing of anybody's is overwritten.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::support::{Factory, Ran, Running, everything, install, put, toml_text};

/// A new folder beside a factory.
fn fresh(factory: &Factory, name: &str) -> PathBuf {
    let folder = factory.path(name);
    fs::create_dir(&folder).unwrap();
    folder
}

fn run_in(factory: &Factory, folder: &Path, arguments: &[&str]) -> Ran {
    Ran::of(factory.program(arguments).current_dir(folder))
}

/// A PATH with the ordinary programs of a system, and a program of that name in its first folder.
fn path_with(factory: &Factory, names: &[&str]) -> String {
    let bin = fresh(factory, &format!("bin-{}", names.join("-")));
    for name in names {
        put(&bin.join("script"), "#!/bin/sh\n");
        install(&bin.join("script"), &bin.join(name));
    }
    format!("{}:/usr/bin:/bin", bin.display())
}

#[test]
fn a_new_folder_works_at_once() {
    let mut factory = Factory::new();
    factory.var("PATH", "/usr/bin:/bin");
    let folder = fresh(&factory, "fresh");
    let ran = run_in(&factory, &folder, &["init"]).expect(0);
    assert!(ran.stdout.contains("factory.toml") && ran.stdout.contains("HELLO-1.md"), "{}", ran.stdout);
    for (name, mode) in [("factory.toml", 0o644), ("issues/HELLO-1.md", 0o644)] {
        assert_eq!(fs::metadata(folder.join(name)).unwrap().permissions().mode() & 0o777, mode, "{name}");
    }
    // A machine of tests has no 5 GiB to spare, and must know its agents.
    let text = fs::read_to_string(folder.join("factory.toml")).unwrap();
    let lab = format!("set = {{ LAB = {} }}", toml_text(&factory.lab("").display().to_string()));
    let text = text.replace("#set = {}", &lab).replace("#disk_free_min = \"5GiB\"", "disk_free_min = \"0\"");
    put(&folder.join("factory.toml"), &text);

    run_in(&factory, &folder, &["check"]).expect(0);
    run_in(&factory, &folder, &["check", "--as-cron"]).expect(0);
    let ran = run_in(&factory, &folder, &["-n"]).expect(0);
    assert!(ran.stdout.contains("start      HELLO-1"), "{}", ran.stdout);
    assert!(!folder.join(".factory-tick").exists());
    run_in(&factory, &folder, &[]).expect(0);
    let hello = folder.join(".factory-tick/workspaces/HELLO-1/hello.txt");
    factory.wait_for("the agent says hello", || {
        fs::read_to_string(&hello).is_ok_and(|text| text == "hello from dir:HELLO-1\n")
    });
    factory.wait_all_gone();
}

#[test]
fn what_is_there_is_never_overwritten() {
    let factory = Factory::new();
    let refused = |folder: &Path, arguments: &[&str], names: &[&str]| {
        let before = everything(folder);
        let ran = run_in(&factory, folder, &[&["init"], arguments].concat()).expect(5);
        assert_eq!(ran.stdout, "");
        for name in names {
            assert!(ran.stderr.contains(name), "{name}: {}", ran.stderr);
        }
        assert_eq!(everything(folder), before);
    };
    let folder = fresh(&factory, "config");
    put(&folder.join("factory.toml"), "mine");
    refused(&folder, &[], &["factory.toml is there already", "nothing was written"]);
    let folder = fresh(&factory, "dangling");
    symlink("nowhere", folder.join("factory.toml")).unwrap();
    refused(&folder, &[], &["factory.toml is there already"]);
    let folder = fresh(&factory, "sample");
    fs::create_dir(folder.join("issues")).unwrap();
    put(&folder.join("issues/HELLO-1.md"), "# Mine\n");
    refused(&folder, &[], &["HELLO-1.md is there already"]);
    put(&folder.join("factory.toml"), "mine");
    refused(&folder, &[], &["factory.toml and ", "HELLO-1.md are there already"]);
    let folder = fresh(&factory, "file");
    put(&folder.join("issues"), "");
    refused(&folder, &[], &["issues: it must be a folder"]);
    let folder = fresh(&factory, "missing");
    refused(&folder, &["-c", "deep/factory.toml"], &["deep: there is no such folder"]);
}

#[test]
fn of_many_at_once_one_writes() {
    let factory = Factory::new();
    let folder = fresh(&factory, "contested");
    let all: Vec<_> =
        (0..8).map(|_| Running::start(factory.program(&["init"]).current_dir(&folder))).collect();
    let codes: Vec<_> = all.into_iter().map(|one| one.end().code.unwrap()).collect();
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
    assert!(codes.iter().all(|code| [0, 5].contains(code)), "{codes:?}");
    let names: Vec<_> =
        everything(&folder).into_keys().map(|path| path.strip_prefix(&folder).unwrap().to_owned()).collect();
    assert_eq!(names, ["", "factory.toml", "issues", "issues/HELLO-1.md"].map(PathBuf::from));
}

// Killed after the sample and before the configuration, an `init` leaves a folder in which it can be given again.
#[test]
fn one_that_was_killed_is_finished_by_the_next() {
    let factory = Factory::new();
    let folder = fresh(&factory, "killed");
    run_in(&factory, &folder, &["init"]).expect(0);
    fs::remove_file(folder.join("factory.toml")).unwrap();
    run_in(&factory, &folder, &["init"]).expect(0);
    assert!(folder.join("factory.toml").exists());
}

#[test]
fn a_dry_run_writes_nothing_and_other_items_are_counted() {
    let factory = Factory::new();
    let folder = fresh(&factory, "dry");
    fs::create_dir_all(folder.join("issues")).unwrap();
    fs::create_dir(folder.join(".git")).unwrap();
    put(&folder.join("issues/AR-1.md"), "# Mine\n");
    let before = everything(&folder);
    let ran = run_in(&factory, &folder, &["init", "-n"]).expect(0);
    assert!(
        ran.stdout.contains("dry run, nothing changed") && ran.stdout.contains("1 files of it are items")
    );
    assert!(ran.stdout.contains("Git sees nothing of .factory-tick"), "{}", ran.stdout);
    run_in(&factory, &folder, &["init", "-n", "--detailed-exitcode"]).expect(10);
    assert_eq!(everything(&folder), before);
    let ran = run_in(&factory, &folder, &["init", "-c", "mine.toml", "--format", "json"]).expect(0);
    assert_eq!(ran.json()["status"], "ok");
    assert!(folder.join("mine.toml").exists() && folder.join("issues/AR-1.md").exists());
}

#[test]
fn the_harness_that_is_found_is_the_one_that_is_written() {
    let mut factory = Factory::new();
    factory.var("COLUMNS", "1000");
    for (names, harness, args) in [
        (&["claude"][..], "claude", ["--permission-mode", "acceptEdits"]),
        (&["codex"], "codex", ["--sandbox", "workspace-write"]),
        (&["claude", "codex"], "claude", ["--permission-mode", "acceptEdits"]),
    ] {
        let path = path_with(&factory, names);
        let bin = path.split(':').next().unwrap().to_owned();
        factory.var("PATH", &path);
        let folder = fresh(&factory, &format!("with-{}", names.join("-")));
        let ran = run_in(&factory, &folder, &["init"]).expect(0);
        assert!(ran.stdout.contains(&format!("{harness}, found at {bin}/{harness}")), "{}", ran.stdout);
        let text = fs::read_to_string(folder.join("factory.toml")).unwrap();
        let table: toml::Table = text.parse().unwrap();
        let role = &table["role"][0];
        assert_eq!(role["harness"].as_str(), Some(harness));
        assert_eq!(role["args"], toml::Value::from(args.map(str::to_owned).to_vec()));
        // Cron's PATH has no such folder.
        assert_eq!(table["env"]["path_prepend"], toml::Value::from(vec![bin]));
        // It may act, and is found under cron, too. A machine of tests has no 5 GiB to spare.
        for arguments in [&["check"][..], &["check", "--as-cron"]] {
            let arguments = [arguments, &["--set", "limits.disk_free_min=0KiB"]].concat();
            let ran = run_in(&factory, &folder, &arguments).expect(0);
            assert!(ran.stdout.contains("its agent may act, by --"), "{}", ran.stdout);
        }
    }
}
