//! Something else in the place of each file: of the state, of a run, of what the configuration names.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::odd::{Odd, Outside, clear};
use super::{Table, at_full_size, call, wrong};
use crate::support::{Factory, NOTE_START, put};

/// A place, and with which codes commands may end while something else is there; any other ends with 0.
struct Place {
    /// From the state directory.
    path: &'static str,
    /// Whether a tick is given something to start meanwhile.
    acts: bool,
    /// Codes of: tick, dry run, status, explain, logs, check, reap.
    codes: &'static [(&'static str, &'static [i32])],
}

const fn place(path: &'static str, codes: &'static [(&'static str, &'static [i32])]) -> Place {
    Place { path, acts: true, codes }
}

/// Where a start would be made in a folder that is about to be taken away again.
const fn folder(path: &'static str, codes: &'static [(&'static str, &'static [i32])]) -> Place {
    Place { path, acts: false, codes }
}

/// 73 alone: what it is to be made in is not what it was.
const NO_STATE: &[(&str, &[i32])] =
    &[("tick", &[0, 73]), ("dry run", &[0, 3]), ("reap", &[0, 73]), ("logs", &[0, 5, 74])];
const NO_CONFIG: &[(&str, &[i32])] = &[
    ("tick", &[0, 78]),
    ("dry run", &[0, 78]),
    ("check", &[0, 3, 78]),
    // It is the configuration that a link leads to then, and it has no copy.
    ("status", &[0, 78]),
    ("explain", &[0, 78]),
    ("logs", &[0, 78]),
    ("reap", &[0, 78]),
];

/// Places of a factory in which nothing runs.
const STILL: &[Place] = &[
    place("registry.json", &[("tick", &[0, 3]), ("reap", &[0, 3])]),
    place("registry.json.bak", &[("tick", &[0, 74])]),
    place("registry.json.tmp", &[("tick", &[0, 74])]),
    place("registry.json.bak.tmp", &[("tick", &[0, 74])]),
    place("heartbeat.json", &[("status", &[3])]),
    place("heartbeat.json.tmp", &[("status", &[0, 3])]),
    place("last-good.json", &[]),
    place("last-good.json.tmp", &[]),
    place("mail.json", &[]),
    place("mail.json.tmp", &[]),
    place("events.jsonl", &[("explain", &[0, 74])]),
    place("events.jsonl.1", &[("explain", &[0, 74])]),
    place("lock", &[("tick", &[0, 74]), ("reap", &[0, 74])]),
    place("remover", &[]),
    place("before_remove.log", &[]),
    place(".gitignore", &[]),
    place("CACHEDIR.TAG", &[]),
    folder("live", NO_STATE),
    folder("made", NO_STATE),
    folder("runs", NO_STATE),
    folder(
        "runs/ok-1-impl.1",
        &[("logs", &[0, 5, 74]), ("tick", &[0, 3]), ("dry run", &[0, 3]), ("reap", &[0, 3])],
    ),
    folder("workspaces/OK-1", &[]),
    place("made/OK-1", &[]),
    place("live/ok-1-impl", &[]),
    place("trash", &[]),
    place("workspaces/.factory-tick-trash", &[]),
    place("../issues/.factory", &[("tick", &[0, 3])]),
    place("../issues/.factory/ok-1.json", &[]),
    place("../issues/.factory/.ok-1.json.tmp", &[]),
    folder("../issues", &[("tick", &[0, 3]), ("dry run", &[0, 3]), ("check", &[0, 69]), ("reap", &[0])]),
    folder("../factory.toml", NO_CONFIG),
    folder("../env", &[("tick", &[0, 77]), ("dry run", &[0, 77]), ("check", &[77])]),
    folder("../prompt.md", &[("tick", &[0, 78]), ("dry run", &[0, 78]), ("check", &[0, 78])]),
    folder("../pidfile", &[("check", &[0, 3])]),
];

/// Files of a run whose agent works.
const ALIVE: &[Place] = &[
    place("spec.json", &[]),
    place("prompt.md", &[]),
    place("claim", &[]),
    place("cgroup", &[]),
    place("said", &[]),
    place("exit", &[]),
    place("exit.tmp", &[]),
    place("swept", &[]),
    place("exec-error", &[]),
    place("stdout.log", &[("logs", &[0, 74])]),
    place("stdout.log.tail", &[]),
    place("stdout.log.tail.old", &[]),
    place("stderr.log", &[]),
    place("hooks.log", &[]),
];

const COMMANDS: &[(&str, &[&str])] = &[
    ("dry run", &["-n"]),
    ("status", &["status"]),
    ("explain", &["explain", "OK-1"]),
    ("logs", &["logs", "ok-1-impl"]),
    ("check", &["check"]),
    ("reap", &["reap"]),
    ("tick", &[]),
];

/// A factory of which every file is used.
fn furnished(script: &str) -> (Factory, Outside) {
    let mut factory = Factory::with_agent(&format!("{NOTE_START}{script}"));
    put(&factory.path("prompt.md"), "{{ item.title }}");
    put(&factory.path("env"), "A=1\n");
    fs::set_permissions(factory.path("env"), fs::Permissions::from_mode(0o600)).unwrap();
    factory.role("other", &["true"], "prompt = \"prompt.md\"");
    factory.set("env", "file", "\"env\"");
    factory.set("fleet", "protected_pidfiles", "[\"pidfile\"]");
    factory.set("limits", "items_max", "1000");
    factory.set("attempts", "breaker", "0");
    // At full size there are more starts than a day has.
    factory.set("budget", "starts_per_day", "0");
    let outside = Outside::beside(&factory);
    factory.item("OK-1");
    factory.tick().expect(0);
    factory.wait_swept("ok-1-other.1");
    (factory, outside)
}

/// Ticks until nothing is in flight and nothing more is decided, so that both generations of the registry know it.
fn recompute_phase(factory: &Factory) {
    factory.tick_until("all is done", |ran| {
        let at_rest = |item: &serde_json::Value| item["state"] == "done";
        ran.decided().is_empty() && factory.registry()["items"].as_object().unwrap().values().all(at_rest)
    });
}

/// Puts something into a place, and what was there back again where it still stands then.
struct Replaced {
    path: std::path::PathBuf,
    aside: Option<std::path::PathBuf>,
    inode: u64,
}

impl Replaced {
    fn by(odd: Odd, path: std::path::PathBuf, factory: &Factory, outside: &Outside) -> Option<Replaced> {
        let aside = path.symlink_metadata().is_ok().then(|| factory.path("aside"));
        aside.iter().for_each(|aside| fs::rename(&path, aside).unwrap());
        let is_there = odd.put(&path, outside);
        let inode = path.symlink_metadata().map_or(0, |there| there.ino());
        let replaced = Replaced { path, aside, inode };
        if is_there {
            return Some(replaced);
        }
        replaced.undo();
        None
    }

    fn undo(self) {
        let stands = self.path.symlink_metadata().is_ok_and(|there| there.ino() == self.inode);
        if stands {
            clear(&self.path);
        }
        let Some(aside) = self.aside else { return };
        if stands || self.path.symlink_metadata().is_err() {
            clear(&self.path);
            fs::rename(aside, self.path).unwrap();
        } else {
            clear(&aside);
        }
    }
}

/// What is tried in the `n`-th place: all of it, or the dangerous ones in turn.
fn odds(n: usize) -> Vec<Odd> {
    const IN_TURN: [Odd; 4] = [Odd::Outward, Odd::HardLink, Odd::Fifo, Odd::Folder];
    if at_full_size() { Odd::ALL.to_vec() } else { vec![IN_TURN[n % IN_TURN.len()]] }
}

fn rows_of(table: &Table, (factory, outside): (&Factory, &Outside), place: &Place, odd: Odd, turn: usize) {
    let before = outside.content();
    let file = place.path.rsplit('/').next().unwrap();
    for (n, (command, arguments)) in COMMANDS.iter().enumerate() {
        let is_special = place.codes.iter().any(|(of, _)| of == command);
        // The others in turn; at full size all.
        if !at_full_size() && !is_special && *command != "tick" && n % 6 != turn % 6 {
            continue;
        }
        // It would be shown, to the last of its terabyte.
        if odd == Odd::Sparse && *command == "logs" && file.ends_with(".log") {
            continue;
        }
        let codes = place.codes.iter().find(|(of, _)| of == command).map_or(&[0][..], |(_, codes)| codes);
        let called = call(factory, arguments);
        let mut broken = wrong(&called);
        if *command == "logs" && file.ends_with(".log") {
            // Whoever pipes it gets it as it is.
            broken.retain(|what| !what.contains("raw"));
        }
        let code = called.ran.code.unwrap_or(-1);
        let told = format!("{}{}", called.ran.stdout, called.ran.stderr);
        if !codes.contains(&code) {
            broken.push(format!("{code} and not {codes:?}: {told}"));
        }
        if code != 0 && !told.contains(file) {
            broken.push(format!("{file} is not named: {told}"));
        }
        if outside.content() != before {
            broken.push(format!("what is not its own was changed: {:?}", outside.content()));
            outside.mend();
        }
        let codes: Vec<_> = codes.iter().map(i32::to_string).collect();
        table.row(&format!("{} is {odd:?}: {command}", place.path), &codes.join(" or "), &called, broken);
    }
}

// Whatever stands in the place of a file, no command hangs, follows it or writes through it; each that fails names it;
// and when it is gone, everything goes on: nothing was lost, and nothing is started twice.
pub(super) fn what_stands_in_the_place_of_a_file_is_never_waited_for_followed_or_written_through() {
    let table = Table::default();
    let (factory, outside) = furnished("true");
    let mut items = 1;
    for (n, place) in STILL.iter().enumerate() {
        for odd in odds(n) {
            recompute_phase(&factory);
            if !factory.state(place.path).parent().unwrap().exists() {
                continue;
            }
            if place.acts {
                items += 1;
                factory.item(&format!("N-{items}"));
            }
            let Some(replaced) = Replaced::by(odd, factory.state(place.path), &factory, &outside) else {
                continue;
            };
            rows_of(&table, (&factory, &outside), place, odd, n);
            factory.wait_for("what was started has ended", || factory.processes().is_empty());
            replaced.undo();
        }
    }
    recompute_phase(&factory);
    let mut starts = factory.starts();
    starts.sort();
    let count = starts.len();
    starts.dedup();
    assert_eq!((starts.len(), count), (items, items), "each item was started once");
    table.close();
}

// The same for the files of a run, while its agent works: it goes on, is the only one, and is done in the end.
pub(super) fn whatever_becomes_of_the_files_of_a_run_its_agent_goes_on_and_is_the_only_one() {
    let table = Table::default();
    let (factory, outside) = furnished(r#"echo up; while [ ! -e "$LAB/go" ]; do sleep 0.02; done"#);
    factory.wait_for("it works", || factory.told("starts").ends_with('\n'));
    for (n, place) in ALIVE.iter().enumerate() {
        for odd in odds(n) {
            let path = factory.state("runs/ok-1-impl.1").join(place.path);
            let Some(replaced) = Replaced::by(odd, path, &factory, &outside) else { continue };
            rows_of(&table, (&factory, &outside), place, odd, n);
            replaced.undo();
            assert!(factory.agents_alive().contains(&"ok-1-impl.1".to_owned()), "{} is {odd:?}", place.path);
        }
    }
    put(&factory.lab("go"), "");
    recompute_phase(&factory);
    assert_eq!(factory.starts(), ["ok-1-impl.1"]);
    table.close();
}

// An agent can write to the directory of its run. Whatever it leaves there, its launcher ends, its log goes nowhere else,
// and a tick finds a verdict.
pub(super) fn whatever_an_agent_puts_in_place_of_its_own_files_its_run_comes_to_an_end() {
    let table = Table::default();
    // More than its log may have, so that the log is put together of parts in the end.
    let spoils = r#"D=$(dirname "$1"); NAME=${FACTORY_ITEM#dir:}; FILE=$D/${NAME#*-}
        head -c 200000 /dev/zero; rm -rf "$FILE"; . "$LAB/${NAME%%-*}.sh"; head -c 200000 /dev/zero; exit 0"#;
    let mut factory = Factory::new();
    factory.role("impl", &["sh", "-c", &format!("{NOTE_START}{spoils}"), "agent", "{prompt_file}"], "");
    factory.set("limits", "items_max", "1000");
    factory.set("tick", "starts_max", "100");
    factory.set("attempts", "max", "1");
    factory.set("attempts", "breaker", "0");
    factory.set("retention", "log_bytes_max", "\"64KiB\"");
    let outside = Outside::beside(&factory);
    let linked = factory.path("outside/linked").display().to_string();
    let kinds = [
        ("Fifo", "mkfifo \"$FILE\"".to_owned()),
        ("Folder", "mkdir -p \"$FILE/full\"".to_owned()),
        ("Outward", format!("ln -s {linked} \"$FILE\"")),
        ("HardLink", format!("ln {linked} \"$FILE\"")),
        ("Zero", "mknod \"$FILE\" c 1 5 || true".to_owned()),
    ];
    let mut items = Vec::new();
    for (n, place) in ALIVE.iter().enumerate() {
        for (k, (kind, script)) in kinds.iter().enumerate() {
            put(&factory.lab(&format!("{kind}.sh")), script);
            if at_full_size() || k == n % kinds.len() {
                items.push(format!("{kind}-{}", place.path));
            }
        }
    }
    let before = outside.content();
    items.iter().for_each(|item| factory.item(item));
    table.expect("agents spoil the files of their runs", &[0], &["start"], &call(&factory, &[]));
    factory.wait_for("all have ended", || {
        factory.starts().len() == items.len() && factory.processes().is_empty()
    });
    let state = |item: &String| factory.recorded(item)["state"].as_str().unwrap_or_default().to_owned();
    let is_judged = |item: &String| ["done", "parked"].contains(&state(item).as_str());
    // Whether a run was ever claimed, and whether anything is left of it, is not guessed: it is held and told, each time,
    // until a person has looked.
    let is_held = |item: &&String| item.ends_with("-claim") || *item == "Folder-swept";
    let (held, judged): (Vec<_>, Vec<_>) = items.iter().partition(is_held);
    factory.tick_until("all are judged", |_| judged.iter().all(|item| is_judged(item)));
    for item in &held {
        let ticked = call(&factory, &["--format", "json"]);
        table.expect(&format!("spoiled by its agent: {item}"), &[3], &[&item.to_lowercase()], &ticked);
        assert_eq!(state(item), "active", "{item}");
    }
    for item in &judged {
        let called = call(&factory, &["logs", item]);
        let mut broken = wrong(&called);
        // Its output is shown as it is: those were its zeros.
        broken.retain(|what| !what.contains("raw"));
        let last = &factory.recorded(item)["last"]["class"];
        // Without the receipt of its end, nobody can tell how it ended.
        let lost = ["-exit", "-exit.tmp", "-claim", "-spec.json"].iter().any(|name| item.ends_with(name));
        if factory.recorded(item)["state"] != "done" && !(lost && last == "vanished") {
            broken.push(format!("{}", factory.recorded(item)));
        }
        table.row(&format!("spoiled by its agent: {item}"), "done or vanished", &called, broken);
    }
    assert_eq!(outside.content(), before);
    assert_eq!(factory.starts().len(), items.len(), "each once: {:?}", factory.starts());
    table.close();
}

// Origin: read - the launcher opened its agent's task by its path and waited for a writer where that was a FIFO. It had
// no agent yet, and so no deadline: nobody would ever have ended it.
pub(super) fn a_fifo_in_the_place_of_a_prompt_fails_the_start_instead_of_holding_it_up() {
    let mut factory = Factory::with_agent("cat > \"$LAB/task\"");
    let hook = r#"rm "$1"; mkfifo "$1""#;
    let prompt = factory.state("runs/ok-1-impl.1/prompt.md").display().to_string();
    factory.set(
        "hooks",
        "before_run",
        &format!("[\"sh\", \"-c\", {}, \"hook\", {prompt:?}]", crate::support::toml_text(hook)),
    );
    factory.item("OK-1");
    factory.tick().expect(0);
    factory.wait_swept("ok-1-impl.1");
    let exit = factory.receipt("ok-1-impl.1", "exit").unwrap();
    assert!(exit["error"].as_str().unwrap().contains("prompt.md: it is a FIFO"), "{exit}");
    assert_eq!(factory.told("task"), "");
}
