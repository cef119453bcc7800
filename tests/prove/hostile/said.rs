//! What agents print: into their logs, and from there onto a terminal, into the log of a CI job, into a report.

use std::fs;

use super::{MEMORY_MAX_KIB, Table, call, call_under, percent, wrong};
use crate::pty::seen_on_a_terminal;
use crate::support::{Factory, put};

/// What an agent prints, as `printf` has it, on both streams.
const PRINTED: &[(&str, &str)] = &[
    ("colours and a title", r"\033[31mred\033[0m\033]0;title\007\n"),
    ("an answer to a question", r"\033[6n\033P+q\033\\\n"),
    ("the C1 set, as bytes and as UTF-8", r"\2331;31m \302\233 \302\205\n"),
    ("NULs and no line break", r"a\000\000b"),
    ("carriage returns", r"safe\revil\r::error::x\n"),
    ("no UTF-8", r"\377\376\300\200\n"),
    ("commands of a runner", r"::error::x\n  ::set-output name=a::b\n##[group]g\n::stop-commands::t\n"),
    ("a command behind a blank that is none", r"\302\240::error::x\n\343\200\200::add-mask::y\n"),
    ("text turned around", r"\342\200\256evil \330\234 \363\240\201\201\n"),
    ("a reason to park that steers", r"FACTORY_PARK=\033[2J::error::x##[group]\n"),
    ("a session that steers", r"FACTORY_SESSION=\033[2J\n"),
    ("a session that is an option", r"FACTORY_SESSION=--dangerously\n"),
    ("a session that climbs", r"FACTORY_SESSION=../../../x\n"),
];

// Origin: read - `logs` in a job of GitHub Actions printed what agents had printed as it was, and the runner obeyed it.
pub(super) fn what_an_agent_prints_steers_neither_a_terminal_nor_a_runner() {
    let table = Table::default();
    let mut factory = Factory::with_agent(r#". "$LAB/${FACTORY_ITEM#dir:}.sh""#);
    factory.set("limits", "items_max", "1000");
    factory.set("tick", "starts_max", "100");
    factory.set("attempts", "breaker", "0");
    let items: Vec<_> = (1..=PRINTED.len()).map(|n| format!("P-{n}")).collect();
    for ((_, printed), item) in PRINTED.iter().zip(&items) {
        let both = format!("printf '{printed}'; printf '{printed}' >&2; exit 1");
        put(&factory.lab(&format!("{item}.sh")), &both);
        factory.item(item);
    }
    factory.tick().expect(0);
    let state = factory.state("").display().to_string();
    items.iter().for_each(|item| factory.wait_swept(&format!("{}-impl.1", item.to_lowercase())));
    for arguments in [
        &["-n", "-vv"][..],
        &["-n", "--format", "json"],
        &["-vv"],
        &["status"],
        &["status", "--format", "json"],
    ] {
        let called = call(&factory, arguments);
        table.row(&format!("all of it: {}", arguments.join(" ")), "harmless", &called, wrong(&called));
    }
    for ((what, _), item) in PRINTED.iter().zip(&items) {
        table.expect(&format!("explain: {what}"), &[0], &[], &call(&factory, &["explain", item]));
        for arguments in [&["logs", item][..], &["logs", "--stderr", item]] {
            let arguments = [&["--state-dir", &state][..], arguments].concat();
            let in_job = call_under(&factory, "export GITHUB_ACTIONS=true", &arguments);
            table.expect(&format!("logs in a job: {what}"), &[0], &[], &in_job);
            let shown = seen_on_a_terminal(&factory, &arguments, &[]);
            assert!(!shown.contains(|c: char| c.is_control() && !"\r\n".contains(c)), "{what}: {shown:?}");
        }
        // Whoever reads a pipe gets every byte.
        let log = fs::read(factory.state("runs").join(format!("{}-impl.1/stdout.log", item.to_lowercase())))
            .unwrap();
        let piped = factory.program(&["logs", item]).output().unwrap();
        assert_eq!(piped.stdout, log, "{what}");
    }
    table.close();
}

// A runner that prints without end, and without a line break: neither the log nor the launcher grows, and neither does
// whoever shows it.
pub(super) fn output_without_end_is_bounded_on_disk_and_in_memory() {
    let table = Table::default();
    // Without a bound it is all on disk, and shown.
    for (bound, kept, megabytes) in
        [("\"1MiB\"", 1 << 20, 10 * percent()), ("\"0\"", u64::MAX, percent().div_ceil(4))]
    {
        let prints = format!(
            "head -c {megabytes}000000 /dev/zero | tr '\\0' x; head -c {megabytes}000000 /dev/zero >&2; echo >\"$LAB/up\"; \
             while [ ! -e \"$LAB/go\" ]; do sleep 0.02; done"
        );
        let mut factory = Factory::with_agent(&prints);
        factory.set("retention", "log_bytes_max", bound);
        factory.item("OK-1");
        let called = call(&factory, &[]);
        factory.wait_told("up");
        let peak_kib = peak_kib_of(factory.launcher("ok-1-impl.1"));
        put(&factory.lab("go"), "");
        factory.wait_swept("ok-1-impl.1");
        let run = fs::read_dir(factory.state("runs/ok-1-impl.1")).unwrap();
        let on_disk: u64 = run.map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
        let mut broken = wrong(&called);
        if on_disk > kept.saturating_mul(2).saturating_add(64 << 10) {
            broken.push(format!("{on_disk} bytes are kept"));
        }
        if peak_kib > 32 << 10 {
            broken.push(format!("its launcher took {peak_kib} KiB"));
        }
        let what = format!("an agent prints 2 x {megabytes} MB, bound {bound}");
        table.row(&what, "launcher <= 32 MiB", &super::Call { peak_kib: Some(peak_kib), ..called }, broken);
        let state = factory.state("").display().to_string();
        let arguments = ["--state-dir", &state, "logs", "OK-1"];
        let around = format!("export GITHUB_ACTIONS=true; ulimit -v {}", MEMORY_MAX_KIB / 16);
        table.expect(&format!("logs of it, {bound}"), &[0], &[], &call_under(&factory, &around, &arguments));
    }
    table.close();
}

/// The peak of a live process's memory.
fn peak_kib_of(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

// A person's words go where an item's go.
pub(super) fn what_a_person_types_is_quoted_harmlessly() {
    let table = Table::default();
    let factory = Factory::with_agent("exit 1");
    factory.item("OK-1");
    factory.tick_until("its end was seen", |_| factory.recorded("OK-1")["attempts"] == 1);
    let hostile = "::error::x##[group]\u{1b}[2J\n::error::y\u{202e}";
    let calls: &[(&[&str], i32)] = &[
        (&["park", "OK-1", "--reason", hostile], 0),
        (&["pause", "--reason", hostile], 0),
        (&["retry", "OK-1", "--message", hostile], 0),
        (&["explain", hostile], 5),
        (&["logs", hostile], 5),
        (&["stop", hostile], 5),
        (&["reap", "--forget", hostile], 5),
        (&["--item", hostile], 5),
        (&[hostile], 2),
        (&["retry", "OK-1", hostile], 2),
        (&["--format", hostile], 2),
        (&["--color", hostile], 2),
        (&["pause", "--for", hostile], 2),
        (&["-c", hostile], 78),
        (&["--set", hostile], 78),
        (&["--set", &format!("limits.items_max={hostile}")], 78),
        (&["--set", &format!("role.{hostile}.deadline=1s")], 78),
        (&["completions", hostile], 2),
    ];
    for (arguments, code) in calls {
        let called = call(&factory, arguments);
        table.expect(
            &format!("a person types: {}", arguments.join(" ").escape_debug()),
            &[*code],
            &[],
            &called,
        );
    }
    for arguments in [&["status"][..], &["explain", "OK-1"], &["-n"], &["status", "--format", "json"]] {
        table.expect(&format!("after it: {}", arguments.join(" ")), &[0], &[], &call(&factory, arguments));
    }
    table.close();
}
