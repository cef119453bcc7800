//! What is around the process: its files, its limits, its environment, its command line, its disk.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{Table, at_full_size, call, call_under, wrong};
use crate::support::{Factory, NOTE_START, Ran, everything, is_root, skipped, system};

/// What a shell does before, which codes a tick may end with then, and what it has to say.
type Row = (&'static str, &'static str, &'static [i32], &'static [&'static str]);

const ROWS: &[Row] = &[
    ("stdin, stdout and stderr are closed", "exec 0<&- 1>&- 2>&-", &[0], &[]),
    ("stdout is closed", "exec 1>&-", &[0], &[]),
    ("stdout is full", "exec 1>/dev/full", &[0], &[]),
    ("stderr is full", "exec 2>/dev/full", &[0], &[]),
    ("stdin is a folder", "exec 0<.", &[0], &[]),
    ("stdin never ends", "exec 0</dev/zero", &[0], &[]),
    ("umask 0777", "umask 0777", &[0], &[]),
    ("umask 0", "umask 0", &[0], &[]),
    (
        "the current folder was deleted",
        "set -- -c $PWD/factory.toml; mkdir gone; cd gone; rmdir ../gone",
        &[0],
        &[],
    ),
    ("the current folder, and no name", "mkdir gone; cd gone; rmdir ../gone", &[78], &["factory.toml"]),
    ("no HOME", "unset HOME", &[0], &[]),
    (
        "variables that are no text",
        "export HOME=\"$(printf '\\377')\" LANG=\"$(printf '\\033[2J')\" TZ=::error::x",
        &[0],
        &[],
    ),
    ("a TMPDIR that is not there", "export TMPDIR=/nonexistent TMP= TEMP=", &[0], &[]),
    (
        "a terminal of 10^20 columns",
        "export COLUMNS=99999999999999999999 TERM=\"$(printf '\\033')\"",
        &[0],
        &[],
    ),
    ("a terminal of one column", "export COLUMNS=1", &[0], &[]),
    ("8 files", "ulimit -n 8", &[0, 3, 69, 74], &[]),
    ("20 files", "ulimit -n 20", &[0, 3], &[]),
    ("files of no byte", "ulimit -f 0", &[73, 74], &["File too large"]),
    ("files of 512 bytes", "ulimit -f 1", &[74], &["File too large"]),
    ("files of 2 KiB", "ulimit -f 4", &[0, 74], &[]),
    ("no core and no locked memory", "ulimit -c 0; ulimit -l 0", &[0], &[]),
    ("an option that is no text", "set -- \"$(printf -- '--\\377')\"", &[2], &["error"]),
    ("an argument that is no text", "set -- explain \"$(printf '\\377')\"", &[2], &["UTF-8"]),
    (
        "a state directory that is no text",
        "set -- --state-dir \"$(printf 'st\\377')\"",
        &[73],
        &["not UTF-8"],
    ),
    ("a configuration that is no text", "set -- -c \"$(printf 'f\\377.toml')\"", &[78], &["no such file"]),
    (
        "a folder that is no text",
        "d=\"$(printf 'd\\377')\"; mkdir \"$d\"; cp factory.toml \"$d\"; set -- -c \"$d/factory.toml\" --state-dir st",
        &[78],
        &["its path is not UTF-8"],
    ),
    (
        "a format in the environment that steers",
        "export FACTORY_TICK_FORMAT=\"$(printf 'x\\n##[group]\\033')\"",
        &[2],
        &["x"],
    ),
    (
        "a configuration in the environment that is no text",
        "export FACTORY_TICK_CONFIG=\"$(printf '\\377')\"",
        &[78],
        &[],
    ),
    ("an item in the environment that is no text", "set -- --item \"$(printf '\\377')\"", &[2], &["UTF-8"]),
];

// Whatever is around a tick, it ends with a documented code; the next one, in order, finishes what is to be done: once,
// and nobody is charged.
pub(super) fn whatever_is_around_a_tick_the_next_one_goes_on_and_nobody_is_charged() {
    let table = Table::default();
    for (what, around, codes, words) in ROWS {
        let factory = Factory::with_agent(&format!("{NOTE_START}exit 0"));
        factory.item("OK-1");
        let called = call_under(&factory, around, &[]);
        table.expect(what, codes, words, &called);
        let open = |path: &Path| {
            path.symlink_metadata()
                .is_ok_and(|data| !data.is_symlink() && data.permissions().mode() & 0o022 != 0)
        };
        let opened: Vec<_> = everything(&factory.state("")).into_keys().filter(|path| open(path)).collect();
        assert!(opened.is_empty(), "{what}: others may write to {opened:?}");
        goes_on(&factory, what);
    }
    table.close();
}

/// A tick in order finishes the only item, with the only start that there is.
#[track_caller]
fn goes_on(factory: &Factory, what: &str) {
    factory.tick_until("the item is done", |_| factory.recorded("OK-1")["state"] == "done");
    assert_eq!((factory.starts().len(), &factory.recorded("OK-1")["attempts"]), (1, &0.into()), "{what}");
}

// As root no limit on processes counts, so this is done by somebody else.
pub(super) fn a_tick_that_may_start_no_process_charges_nobody() {
    if !is_root() {
        return skipped("only root can become a user who has no processes");
    }
    let table = Table::default();
    let uid = 1_000_000_000 + std::process::id();
    let most = if at_full_size() { 7 } else { 2 };
    let factory = Factory::with_agent(&format!("{NOTE_START}exit 0"));
    factory.item("OK-1");
    let who = format!("setpriv --reuid={uid} --regid={uid} --clear-groups");
    let owned = system("chown").arg("-R").arg(uid.to_string()).arg(factory.path("")).status().unwrap();
    assert!(owned.success());
    for processes in 1..=most {
        let script = format!("exec prlimit --nproc={processes} {who} \"$TICK\"");
        let called = super::Call {
            ran: Ran::of(&mut factory.shell(&script)),
            took: Default::default(),
            peak_kib: None,
        };
        // Without a process for a launcher the machine cools off, which is told once.
        table.expect(&format!("{processes} processes"), &[0, 3, 4], &[], &called);
        factory.wait_for("its processes have ended", || factory.processes().is_empty());
        assert_eq!(factory.recorded("OK-1")["attempts"], 0, "{}", called.ran.stdout);
    }
    // A person knows that there is room again.
    Ran::of(&mut factory.shell(&format!("exec {who} \"$TICK\" retry OK-1")));
    factory.wait_for("it is done", || {
        Ran::of(&mut factory.shell(&format!("exec {who} \"$TICK\" -q")));
        factory.recorded("OK-1")["state"] == "done"
    });
    assert_eq!(factory.starts().len(), 1);
    table.close();
}

/// Disks by the options of their mount.
const DISKS: &[&str] = &[
    "size=4k",
    "size=16k",
    "size=40k",
    "size=64k",
    "size=100k",
    "nr_inodes=1",
    "nr_inodes=3",
    "nr_inodes=8",
    "nr_inodes=12",
    "nr_inodes=14",
    "nr_inodes=20",
    "nr_inodes=26",
    "nr_inodes=30",
    "ro",
];

// A disk that is full, has no inode left or can't be written to: the tick says so, and as soon as there is room the next
// one goes on from what stands.
pub(super) fn a_disk_without_room_loses_and_doubles_nothing() {
    let table = Table::default();
    for (_, disk) in DISKS.iter().enumerate().filter(|(n, _)| at_full_size() || n % 3 == 2) {
        let mut factory = Factory::with_agent(&format!("{NOTE_START}exit 0"));
        // A launcher that can't even write its claim is given so long.
        factory.set("fleet", "start_grace", "\"1s\"");
        // And a workspace that can't be made for want of room is a failure, after which the next start waits.
        factory.set("attempts", "backoff_base", "\"1s\"");
        factory.item("OK-1");
        let script = format!(
            r#"mkdir st && mount -t tmpfs -o mode=700,{disk} tmpfs st || exit 99
            "$TICK" --state-dir st; code=$?; for n in 1 2 3; do sleep 0.1; "$TICK" --state-dir st >>later 2>&1; done
            mount -o remount,rw,size=50m,nr_inodes=10000 st
            n=0; until grep -q '"state":"done"' st/registry.json 2>/dev/null || [ $n = 200 ]; do
                "$TICK" --state-dir st >>later 2>&1; n=$((n + 1)); sleep 0.05; done
            cp st/registry.json st/events.jsonl .; "$TICK" --state-dir st stop --all >/dev/null 2>&1; exit $code"#
        );
        let Some(ran) = with_own_mounts(&factory, &script) else { return };
        let called = super::Call { ran, took: Default::default(), peak_kib: None };
        table.expect(&format!("a disk of {disk}"), &[0, 3, 73, 74], &[], &called);
        let read = |name: &str| std::fs::read_to_string(factory.path(name)).unwrap_or_default();
        let registry = read("registry.json");
        let mut broken = wrong(&called);
        if !registry.contains("\"state\":\"done\"") || factory.starts().len() != 1 {
            broken.push(format!(
                "{:?} {registry}\n{}\n{}",
                factory.starts(),
                read("events.jsonl"),
                read("later")
            ));
        }
        table.row(&format!("a disk of {disk}, then room"), "done, once", &called, broken);
    }
    table.close();
}

/// Runs a script in a name space of its own, whose mounts go with its last process; says so where that is not allowed.
pub(super) fn with_own_mounts(factory: &Factory, script: &str) -> Option<Ran> {
    let mut unshare = vec!["unshare", "--mount", "--propagation", "private"];
    unshare.extend((!is_root()).then_some("--map-root-user"));
    let script = format!("{} sh -c {}", unshare.join(" "), factory_tick::text::escape::shell_word(script));
    let ran = Ran::of(&mut factory.shell(&script));
    if ran.code == Some(99) || ran.stderr.contains("unshare failed") {
        skipped(&format!("this machine allows no mount namespace: {}", ran.stderr));
        return None;
    }
    Some(ran)
}

// Origin: measured - an agent that worked well and filled the disk: its launcher could not write how it had ended, gave
// up, and the run was charged as one that had vanished. Its work was done a second time.
pub(super) fn a_run_that_ends_on_a_full_disk_is_judged_by_its_end_once_there_is_room() {
    // The note of its temporary directory goes first: the block that it frees would do for the receipt.
    let fills =
        r#"rm "$LAB/../st/runs/ok-1-impl.1/tmp"; head -c 9m /dev/zero >fill; echo full >"$LAB/full"; exit 0"#;
    let factory = Factory::with_agent(&format!("{NOTE_START}{fills}"));
    factory.item("OK-1");
    let script = r#"mkdir st && mount -t tmpfs -o mode=700,size=8m tmpfs st || exit 99
        "$TICK" --state-dir st
        n=0; until [ -e lab/full ] || [ $n = 600 ]; do n=$((n + 1)); sleep 0.1; done
        sleep 0.5; ls st/runs/ok-1-impl.1 >lab/left; mount -o remount,rw,size=50m st
        n=0; until grep -q '"attempts":1\|"state":"done"' st/registry.json || [ $n = 200 ]; do
            "$TICK" --state-dir st >>later 2>&1; n=$((n + 1)); sleep 0.05; done
        cp st/registry.json .; "$TICK" --state-dir st stop --all >/dev/null 2>&1; exit 0"#;
    let Some(ran) = with_own_mounts(&factory, script) else { return };
    let ran = ran.expect(0);
    assert!(
        !factory.told("left").contains("exit\n"),
        "the disk was not full: {}{}",
        factory.told("left"),
        ran.stdout
    );
    let registry = std::fs::read_to_string(factory.path("registry.json")).unwrap();
    assert!(registry.contains("\"state\":\"done\"") && registry.contains("\"attempts\":0"), "{registry}");
    assert_eq!(factory.starts(), ["ok-1-impl.1"]);
}

// Origin: read - what an agent left behind kept the disk full until it was ended, and the hook after the run began without
// a receipt: to a tick the agent was still at work, and past its deadline the run was charged for that, and its hook ended.
pub(super) fn the_hook_after_a_run_finds_its_receipt_where_what_was_left_had_filled_the_disk() {
    let fills = r#"(exec 3>fill; rm fill; head -c 9m /dev/zero >&3; echo full >"$LAB/full"; exec sleep 600) &
        until [ -e "$LAB/full" ]; do sleep 0.02; done; exit 0"#;
    let mut factory = Factory::with_agent(&format!("{NOTE_START}{fills}"));
    factory.set(
        "hooks",
        "after_run",
        r#"["sh", "-c", "ls \"$LAB/../st/runs/ok-1-impl.1\" >\"$LAB/found\""]"#,
    );
    factory.item("OK-1");
    let script = r#"mkdir st && mount -t tmpfs -o mode=700,size=8m tmpfs st || exit 99
        "$TICK" --state-dir st
        n=0; until [ -e st/runs/ok-1-impl.1/swept ] || [ $n = 600 ]; do n=$((n + 1)); sleep 0.1; done
        "$TICK" --state-dir st; cp st/registry.json ."#;
    let Some(ran) = with_own_mounts(&factory, script) else { return };
    ran.expect(0);
    assert!(factory.told("found").lines().any(|name| name == "exit"), "{}", factory.told("found"));
    let registry = std::fs::read_to_string(factory.path("registry.json")).unwrap();
    assert!(registry.contains("\"state\":\"done\""), "{registry}");
}

// Bounds of memory: what can't be had is refused or ends the process, and the state is one that a kill may leave behind.
pub(super) fn a_tick_without_memory_leaves_a_state_to_go_on_from() {
    let factory = Factory::with_agent(&format!("{NOTE_START}exit 0"));
    factory.item("OK-1");
    let steps = if at_full_size() { 40 } else { 8 };
    for step in 0..steps {
        // From what no program is loaded in to what is enough, in KiB.
        let kib = 4_000 + step * 48_000 / steps;
        Ran::of(&mut factory.shell(&format!("ulimit -v {kib}; exec \"$TICK\" -q")));
    }
    factory.tick_until("the item is done", |_| factory.recorded("OK-1")["state"] == "done");
    assert_eq!(factory.recorded("OK-1")["attempts"], 0);
    let table = Table::default();
    table.expect("memory of 4 to 52 MiB, then enough", &[0], &[], &call(&factory, &[]));
    table.close();
}
