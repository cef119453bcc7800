//! Real trees of processes.

use std::os::unix::process::CommandExt;

use super::super::cgroup::Cgroup;
use super::super::identity::{Life, life};
use super::super::limit;
use super::super::scan::RunMarker;
use super::super::tests::{Respawner, Spawned, skipped, unique_marker};
use super::*;

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(200);

fn host() -> Host {
    Host::read().unwrap()
}

fn target(marker: &str) -> Target {
    Target { marker: marker.to_owned(), launcher: None, cgroup: None }
}

fn launched(launcher: &Process) -> Target {
    Target { marker: unique_marker(), launcher: Some(launcher.clone()), cgroup: None }
}

fn end(targets: &[Target], grace: Duration) -> Vec<Reaped> {
    end_protecting(targets, grace, &[])
}

fn end_protecting(targets: &[Target], grace: Duration, protected: &[u32]) -> Vec<Reaped> {
    let guard = Guard::new(protected.iter().copied()).unwrap();
    end_trees(targets, &host(), &guard, grace, Instant::now() + grace + LONG)
}

fn signals(reaped: &Reaped, pid: u32) -> Option<&[&'static str]> {
    reaped.signalled.iter().find(|line| line.pid == pid).map(|line| line.signals.as_slice())
}

fn assert_dead(processes: &[&Process]) {
    for process in processes {
        assert_eq!(life(process, &host()), Life::Dead, "{process:?}");
    }
}

fn assert_lives(process: &Process) {
    assert_eq!(life(process, &host()), Life::Alive, "{process:?}");
}

// Origin: ready-for-agent#516 - only the wrapper is killed, its child keeps the session's lock
// covers: F37
#[test]
fn a_wrapper_ends_with_everything_below_it_children_first() {
    // None of them waits for its children: each ends by its own signal or not at all.
    let script = "/bin/sh -c 'sleep 60 & echo $!; echo $$; exec sleep 60' & echo $$; exec sleep 60";
    let mut child = Spawned::of_run("other/run.1", script);
    let wrapper = identify(child.pid(), &host()).unwrap().unwrap();
    let mut below: Vec<Process> = (0..3).map(|_| child.process(&host())).collect();
    below.retain(|process| *process != wrapper);
    let started = Instant::now();
    let reaped = end(&[launched(&wrapper)], LONG);
    assert!(started.elapsed() < LONG, "they end at SIGTERM, so nobody waits for the grace");
    assert_eq!(reaped[0].survivors, []);
    assert_dead(&[&wrapper, &below[0], &below[1]]);
    let order: Vec<u32> = reaped[0].signalled.iter().map(|line| line.pid).collect();
    assert_eq!(order.len(), 3, "{reaped:?}");
    assert_eq!(order[2], wrapper.pid, "the launcher is told after its descendants");
    assert!(reaped[0].signalled.iter().all(|line| line.signals == ["TERM"]), "{reaped:?}");
}

// Origin: mngr#1510, fabrik#1814 - children in sessions of their own survive
// covers: F36
#[test]
fn orphans_in_other_sessions_are_found_by_the_marker() {
    let marker = unique_marker();
    let script = "(setsid /bin/sh -c 'echo $$; exec sleep 60' &) ; (sleep 60 & echo $!) ; read line";
    let mut child = Spawned::of_run(&marker, script);
    let orphans = [child.process(&host()), child.process(&host())];
    child.end_without_reaping();
    child.reap();
    let reaped = end(&[target(&marker)], LONG);
    assert_eq!(reaped[0].survivors, []);
    assert_eq!(reaped[0].signalled.len(), 2, "{reaped:?}");
    assert_dead(&[&orphans[0], &orphans[1]]);
}

// Between two looks its parent ends: from then on nothing about it tells whose it is.
#[test]
fn a_wiped_environment_is_found_by_descent_and_remembered() {
    let marker = unique_marker();
    let script = "trap '' TERM; env -i /bin/sh -c 'echo $$; exec sleep 60' & trap - TERM; read line";
    let mut child = Spawned::of_run(&marker, script);
    let wiped = child.process(&host());
    assert_eq!(scan::run_marker(wiped.pid), RunMarker::Absent);
    let (host, guard) = (host(), Guard::new([]).unwrap());
    let targets = [target(&marker)];
    let mut tree_kill = TreeKill::new(&targets, &host, &guard);
    tree_kill.look(AtSight::Note).unwrap();
    assert_eq!(tree_kill.alive.iter().map(|key| key.pid).collect::<Vec<_>>(), [wiped.pid, child.pid()]);
    child.end_without_reaping();
    child.reap();
    assert_eq!(end(&targets, SHORT), [Reaped::default()], "who did not see it before finds nothing");
    let outcome = tree_kill.run(Duration::ZERO, Instant::now() + LONG);
    let reaped = tree_kill.report(outcome);
    assert_eq!(reaped[0].survivors, []);
    assert_eq!(signals(&reaped[0], wiped.pid), Some(["TERM", "KILL"].as_slice()));
    assert_dead(&[&wiped]);
}

#[test]
fn a_stopped_process_follows_its_sigterm() {
    let marker = unique_marker();
    let mut child = Spawned::of_run(&marker, "trap 'exit 0' TERM; echo $$; kill -STOP $$; read line");
    let process = child.process(&host());
    child.wait_stopped();
    let reaped = end(&[target(&marker)], LONG);
    assert_eq!(reaped[0].survivors, []);
    assert_eq!(signals(&reaped[0], process.pid), Some(["TERM"].as_slice()));
    assert_dead(&[&process]);
}

#[test]
fn one_that_forks_all_the_time_is_chased_down() {
    let marker = unique_marker();
    let respawner = Respawner::start(&marker);
    let reaped = end(&[target(&marker)], Duration::ZERO);
    assert_eq!(reaped[0].survivors, []);
    let mut left = Vec::new();
    scan::walk(|entry| {
        if !entry.is_dead() && scan::run_marker(entry.pid) == RunMarker::Is(marker.as_bytes().to_vec()) {
            left.push(entry);
        }
    })
    .unwrap();
    assert_eq!(left, []);
    assert!(!respawner.tired());
}

// Origin: hermes-agent#20015 - a zombie counts as alive
// covers: F40
#[test]
fn a_zombie_is_neither_signalled_nor_a_survivor() {
    let marker = unique_marker();
    let mut child = Spawned::of_run(&marker, "read line");
    let process = identify(child.pid(), &host()).unwrap().unwrap();
    child.end_without_reaping();
    let targets = [Target { marker, launcher: Some(process), cgroup: None }];
    assert_eq!(end(&targets, LONG), [Reaped::default()]);
}

// Origin: openclaw#132745, shepherd#1925 - a recycled pid is killed
// covers: F38
#[test]
fn somebody_else_under_the_launchers_pid_lives() {
    let mut child = Spawned::new("sleep 60 & echo $!; wait", &[]);
    let below = child.process(&host());
    let process = identify(child.pid(), &host()).unwrap().unwrap();
    let former = Process { start_ticks: process.start_ticks - 1, ..process.clone() };
    let reaped = end(&[launched(&former)], SHORT);
    assert_eq!(reaped, [Reaped { identity_mismatches: 1, ..Reaped::default() }]);
    assert_lives(&process);
    assert_lives(&below);
}

// covers: D39
#[test]
fn a_protected_process_is_skipped_with_what_it_started() {
    let marker = unique_marker();
    let mut child = Spawned::of_run(&marker, "env -i sleep 60 & echo $!; wait");
    let below = child.process(&host());
    let process = identify(child.pid(), &host()).unwrap().unwrap();
    // Its child is `env` for a moment, with the marker still in its environment.
    while scan::run_marker(below.pid) != RunMarker::Absent {
        std::thread::yield_now();
    }
    let reaped = end_protecting(&[target(&marker)], SHORT, &[process.pid]);
    assert_eq!((&reaped[0].signalled[..], &reaped[0].survivors[..]), (&[][..], &[][..]));
    assert_eq!(reaped[0].skipped.len(), 1, "{reaped:?}");
    assert_eq!(reaped[0].skipped[0].pid, process.pid);
    assert_lives(&process);
    assert_lives(&below);
}

#[test]
fn a_process_of_another_run_in_the_same_group_lives() {
    let (ours, theirs) = (unique_marker(), unique_marker());
    let script = "echo $$; exec sleep 60";
    let mut first = Spawned::with(script, &[("FACTORY_RUN", &ours)], |command| {
        command.process_group(0);
    });
    let mut second = Spawned::with(script, &[("FACTORY_RUN", &theirs)], |command| {
        command.process_group(first.pid() as i32);
    });
    let (first, second) = (first.process(&host()), second.process(&host()));
    assert_eq!(end(&[target(&ours)], LONG)[0].survivors, []);
    assert_dead(&[&first]);
    assert_lives(&second);
}

// covers: F12
#[test]
fn a_marker_that_begins_like_another_is_another() {
    let marker = unique_marker();
    let mut longer = Spawned::of_run(&format!("{marker}0"), "echo $$; exec sleep 60");
    let longer = longer.process(&host());
    assert_eq!(end(&[target(&marker)], SHORT), [Reaped::default()]);
    assert_lives(&longer);
}

// Origin: loom#5548 - a search of command lines hits the wrong process
// covers: F39
#[test]
fn a_marker_on_the_command_line_proves_nothing() {
    let marker = unique_marker();
    let mut child = Spawned::with("echo $$; read line", &[], |command| {
        command.arg(format!("FACTORY_RUN={marker}"));
    });
    let child = child.process(&host());
    assert_eq!(end(&[target(&marker)], SHORT), [Reaped::default()]);
    assert_lives(&child);
}

// covers: F33 F43
#[test]
fn each_target_has_its_own_report() {
    let markers = [unique_marker(), unique_marker()];
    let script = "trap '' TERM; echo $$; exec sleep 60";
    let mut children = markers.each_ref().map(|marker| Spawned::of_run(marker, script));
    let processes = children.each_mut().map(|child| child.process(&host()));
    let started = Instant::now();
    let reaped = end(&[target(&markers[1]), target(&unique_marker()), target(&markers[0])], SHORT);
    assert!(started.elapsed() >= SHORT);
    assert!(started.elapsed() < LONG, "when all are gone there is nothing to wait for");
    assert_eq!(signals(&reaped[0], processes[1].pid), Some(["TERM", "KILL"].as_slice()));
    assert_eq!(reaped[1], Reaped::default());
    assert_eq!(signals(&reaped[2], processes[0].pid), Some(["TERM", "KILL"].as_slice()));
    assert_dead(&[&processes[0], &processes[1]]);
}

// Each waits for the other to be told, and ends by itself then: who had a grace of its own would be killed at its end.
// covers: F33 F43
#[test]
fn all_targets_share_one_grace() {
    let markers = [unique_marker(), unique_marker()];
    let told = tempfile::tempdir().unwrap();
    let script = |me: usize| {
        let [mine, other] = [me, 1 - me].map(|index| told.path().join(index.to_string()));
        let (mine, other) = (mine.display(), other.display());
        format!(
            "trap 'touch {mine}; until [ -e {other} ]; do sleep 0.01; done; exit' TERM
            echo $$; while :; do sleep 0.01; done"
        )
    };
    let mut children = [0, 1].map(|me| Spawned::of_run(&markers[me], &script(me)));
    let processes = children.each_mut().map(|child| child.process(&host()));
    let reaped = end(&markers.each_ref().map(|marker| target(marker)), LONG);
    for (reaped, process) in reaped.iter().zip(&processes) {
        assert_eq!(signals(reaped, process.pid), Some(["TERM"].as_slice()));
    }
    assert_dead(&[&processes[0], &processes[1]]);
}

#[test]
fn without_time_for_the_grace_nothing_is_killed() {
    let marker = unique_marker();
    let mut child = Spawned::of_run(&marker, "trap '' TERM; echo $$; exec sleep 60");
    let process = child.process(&host());
    let guard = Guard::new([]).unwrap();
    let reaped = end_trees(&[target(&marker)], &host(), &guard, LONG, Instant::now() + SHORT);
    assert_eq!(signals(&reaped[0], process.pid), Some(["TERM"].as_slice()));
    assert_eq!(reaped[0].survivors.len(), 1);
    assert_eq!(reaped[0].survivors[0].pid, process.pid);
    assert_eq!(reaped[0].survivors[0].start_ticks, process.start_ticks);
    assert_lives(&process);
}

// covers: D23
#[test]
fn an_earlier_boot_is_over_and_another_namespace_unseen() {
    let marker = unique_marker();
    let mut child = Spawned::of_run(&marker, "echo $$; exec sleep 60");
    let process = child.process(&host());
    let earlier = Process { boot_id: "earlier".to_owned(), ..process.clone() };
    let inside = Process { pid_ns: process.pid_ns + 1, ..process.clone() };
    let reaped = end(
        &[
            Target { marker: marker.clone(), launcher: Some(earlier), cgroup: None },
            Target { marker, launcher: Some(inside), cgroup: None },
        ],
        SHORT,
    );
    assert_eq!(reaped[0], Reaped::default());
    assert_eq!(reaped[1].signalled, []);
    assert_eq!(reaped[1].survivors.len(), 1, "{reaped:?}");
    assert_lives(&process);
}

// covers: F31
#[test]
fn a_search_that_fails_never_reports_zero() {
    let host = host();
    let guard = Guard::new([]).unwrap();
    let targets = [target("x/a.1"), target("x/b.1")];
    let reaped = TreeKill::new(&targets, &host, &guard).report(Err(io::Error::other("no descriptors")));
    for one in reaped {
        assert_eq!(one.survivors.len(), 1);
        assert!(one.survivors[0].because.contains("no descriptors"), "{one:?}");
    }
}

// ---------------------------------------------------------------------------------------------
// What nobody loses by accident: the limit, and the group

/// Leaves its session, its parents and its environment, twice, tells its pid and goes on.
const FAR: &str =
    "setsid env -i /bin/sh -c 'setsid /bin/sh -c \"echo \\$\\$; exec sleep 60\" &' & read line; ";

// With its launcher killed, a process that had lost its parent and wiped its environment was nobody's: the run was
// taken for swept while it worked on.
// covers: H08
#[test]
fn whoever_left_everything_behind_is_found_by_the_limit() {
    let marker = unique_marker();
    let Some(mut child) = Spawned::under_limit(&marker, FAR) else { return };
    let far = child.process(&host());
    child.end_without_reaping();
    child.reap();
    assert_eq!(scan::run_marker(far.pid), RunMarker::Absent);
    assert_eq!(end(&[target(&unique_marker())], SHORT), [Reaped::default()], "it is another run's");
    assert_lives(&far);
    let reaped = end(&[target(&marker)], LONG);
    assert_eq!(reaped[0].survivors, []);
    assert_eq!(signals(&reaped[0], far.pid), Some(["TERM"].as_slice()));
    assert_dead(&[&far]);
}

// covers: H08
#[test]
fn one_that_forks_all_the_time_is_chased_down_by_its_limit_alone() {
    let marker = unique_marker();
    let Some(respawner) = Respawner::under_limit(&marker) else { return };
    let reaped = end(&[target(&marker)], Duration::ZERO);
    assert_eq!(reaped[0].survivors, []);
    assert!(!reaped[0].signalled.is_empty());
    let mut left = Vec::new();
    scan::walk(|entry| left.extend((limit::read(entry.pid) == Some(limit::value(&marker))).then_some(entry)))
        .unwrap();
    left.retain(|entry| !entry.is_dead());
    assert_eq!(left, []);
    assert!(!respawner.tired());
}

// covers: H09
#[test]
fn between_two_runs_the_marker_decides_and_not_the_limit() {
    // The second run was started by an agent of the first one, and could not get a limit of its own.
    let markers = [unique_marker(), unique_marker()];
    let script = format!("FACTORY_RUN={} /bin/sh -c 'echo $$; exec sleep 60' & read line", markers[1]);
    let Some(mut child) = Spawned::under_limit(&markers[0], &script) else { return };
    let inner = child.process(&host());
    let reaped = end(&[target(&markers[0]), target(&markers[1])], LONG);
    assert_eq!(signals(&reaped[0], child.pid()), Some(["TERM"].as_slice()), "{reaped:?}");
    assert_eq!(signals(&reaped[1], inner.pid), Some(["TERM"].as_slice()), "{reaped:?}");
    assert_eq!((reaped[0].signalled.len(), reaped[1].signalled.len()), (1, 1), "{reaped:?}");
}

// A server that is protected was started by an agent: its own children bear the limit of the run like everything else.
// covers: H11 F29
#[test]
fn what_a_protected_process_started_lives_whatever_limit_it_has() {
    let marker = unique_marker();
    let script = "/bin/sh -c 'sleep 60 & echo $! $$; wait' & sleep 60 & echo $!; read line";
    let Some(mut child) = Spawned::under_limit(&marker, script) else { return };
    let (first, second) = (child.line(), child.line());
    let (pair, beside) = if first.contains(' ') { (first, second) } else { (second, first) };
    let read = |pid: &str| identify(pid.parse().unwrap(), &host()).unwrap().unwrap();
    let (below, kept) = pair.split_once(' ').map(|(below, kept)| (read(below), read(kept))).unwrap();
    let beside = read(&beside);
    let reaped = end_protecting(&[target(&marker)], SHORT, &[kept.pid]);
    assert_eq!(reaped[0].survivors, []);
    assert_lives(&kept);
    assert_lives(&below);
    assert_dead(&[&beside]);
    // Nobody else ends them.
    assert_eq!(end(&[target(&marker)], LONG)[0].survivors, []);
    assert_dead(&[&kept, &below]);
}

// With two runs to end, it was the marker that told of which of them a process is; and what a protected one had started
// was ended for it, though it was spared for the same run's limit or group.
// covers: H11 F29
#[test]
fn what_a_protected_process_started_lives_whatever_marker_it_has() {
    let marker = unique_marker();
    let script = "/bin/sh -c 'sleep 60 & echo $! $$; wait' & sleep 60 & echo $!; read line";
    let mut child = Spawned::of_run(&marker, script);
    let (first, second) = (child.line(), child.line());
    let (pair, beside) = if first.contains(' ') { (first, second) } else { (second, first) };
    let read = |pid: &str| identify(pid.parse().unwrap(), &host()).unwrap().unwrap();
    let (below, kept) = pair.split_once(' ').map(|(below, kept)| (read(below), read(kept))).unwrap();
    let beside = read(&beside);
    let reaped = end_protecting(&[target(&marker), target(&unique_marker())], SHORT, &[kept.pid]);
    assert_eq!(reaped[0].survivors, []);
    assert_lives(&kept);
    assert_lives(&below);
    assert_dead(&[&beside]);
}

// A process that forked and ended ten thousand times a second was seen, and gone whenever it came to who it was: the run
// was taken for ended, and its item was started anew beside it.
// covers: F31
#[test]
fn who_was_seen_and_gone_before_it_was_known_counts_as_somebody() {
    let (marker, protected) = (unique_marker(), Spawned::new("read line", &[]));
    let targets = [target(&marker)];
    let survivors = |protected: &[u32], bears: &str| {
        let (host, guard) = (host(), Guard::new(protected.iter().copied()).unwrap());
        let mut child = Spawned::of_run(bears, "read line");
        let entry = Entry::read(child.pid()).unwrap().unwrap();
        child.end_without_reaping();
        child.reap();
        let mut tree_kill = TreeKill::new(&targets, &host, &guard);
        tree_kill.found(&entry, &Evidence::Limit(0), AtSight::Kill, &mut HashMap::new());
        assert_eq!(
            (tree_kill.somebody_was_seen(), tree_kill.alive.len()),
            (!tree_kill.glimpsed.is_empty(), 0)
        );
        tree_kill.report(Ok(())).remove(0).survivors
    };
    let told = survivors(&[protected.pid()], &marker);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].because, TOO_FAST);
    let own = Spawned::of_run(&marker, "read line");
    assert_eq!(survivors(&[own.pid()], &marker), [], "it may have been a protected one's own");
}

// One that protects what started the factory, a terminal say, must not thereby protect the factory's orphans.
// covers: H11 F29
#[test]
fn a_protected_process_from_outside_the_run_protects_nobody_below_it() {
    let marker = unique_marker();
    let script = format!(
        "echo $$; prlimit --rttime={0}:{0} env -i /bin/sh -c 'echo $$; exec sleep 60' & read line",
        limit::value(&marker)
    );
    let Some(mut outside) = Spawned::under_limit(&marker, "read line").map(|_| Spawned::new(&script, &[]))
    else {
        return;
    };
    let (terminal, inside) = (outside.process(&host()), outside.process(&host()));
    let reaped = end_protecting(&[target(&marker)], LONG, &[terminal.pid]);
    assert_eq!(signals(&reaped[0], inside.pid), Some(["TERM"].as_slice()), "{reaped:?}");
    assert_lives(&terminal);
}

/// A group of a run; `None`, said aloud, where none can be made.
fn group(marker: &str) -> Option<Cgroup> {
    let group = Cgroup::of_run(marker);
    match group {
        Some(group) => {
            group.create().unwrap();
            Some(group)
        }
        None => {
            skipped("there is no cgroup v2 that may be written to");
            None
        }
    }
}

// covers: H10
#[test]
fn what_is_in_the_group_of_a_run_is_found_there_and_nowhere_else() {
    let marker = unique_marker();
    let Some(group) = group(&marker) else { return };
    let dir = group.dir().to_str().unwrap();
    // In a group below: what an agent makes inside of its own counts too.
    let script = format!(
        "mkdir {dir}/inner; (echo 0 > {dir}/inner/cgroup.procs; {FAR}) & \
         (echo 0 > {dir}/cgroup.procs; {FAR}) & read line"
    );
    let mut child = Spawned::new(&script, &[]);
    let inside = [child.process(&host()), child.process(&host())];
    let mut stranger = Spawned::new("echo $$; exec sleep 60", &[]);
    let stranger = stranger.process(&host());
    let kept = inside[1].pid;
    let in_group = Target { cgroup: Some(group.clone()), ..target(&marker) };
    assert_eq!(end(&[target(&marker)], SHORT), [Reaped::default()], "nothing else tells of them");

    let reaped = end_protecting(std::slice::from_ref(&in_group), SHORT, &[kept]);
    assert_eq!(reaped[0].survivors, []);
    assert_eq!(reaped[0].skipped.iter().map(|one| one.pid).collect::<Vec<_>>(), [kept]);
    assert_dead(&[&inside[0]]);
    assert_lives(&inside[1]);
    group.remove();
    assert!(group.dir().exists(), "somebody is in it");

    let reaped = end(&[in_group], LONG);
    assert_eq!(reaped[0].survivors, []);
    assert_dead(&[&inside[1]]);
    assert_lives(&stranger);
    group.remove();
    assert!(!group.dir().exists());
}

// ---------------------------------------------------------------------------------------------
// What can't be told

// The time was up while one started another and ended, again and again. Whoever the last look had seen was gone when the
// report was written, so nobody was left, it said, and the run was taken for swept.
// covers: F31
#[test]
fn what_came_and_went_when_the_time_was_up_is_not_reported_as_gone() {
    let (host, guard) = (host(), Guard::new([]).unwrap());
    let targets = [target(&unique_marker())];
    let mut tree_kill = TreeKill::new(&targets, &host, &guard);
    let mut child = Spawned::of_run(&targets[0].marker, "echo $$; read line");
    let process = child.process(&host);
    tree_kill.look(AtSight::Note).unwrap();
    assert_eq!(tree_kill.alive.len(), 1);
    child.end_without_reaping();
    let reaped = tree_kill.report(Ok(()));
    assert_eq!(reaped[0].survivors.len(), 1, "{reaped:?}");
    assert_eq!(reaped[0].survivors[0].pid, process.pid);
    assert!(reaped[0].survivors[0].because.contains("come and go"), "{reaped:?}");
}

// ---------------------------------------------------------------------------------------------
// What a report says

#[test]
fn why_it_lives_is_what_was_last_done_about_it() {
    let own = Entry::read(std::process::id()).unwrap().unwrap();
    let process = identify(own.pid, &host()).unwrap().unwrap();
    let why = |told, refused: Option<&str>| {
        let refused = refused.map(Into::into);
        Member { target: 0, process: process.clone(), told, line: None, refused }.why_alive(&own)
    };
    assert_eq!(why(None, None), "the time was up before it could be signalled");
    assert_eq!(why(Some(Signal::TERM), None), "the time was up before its grace after SIGTERM was over");
    assert_eq!(why(Some(Signal::KILL), None), format!("still alive after SIGKILL (state {})", own.state));
    assert_eq!(why(Some(Signal::TERM), Some("not permitted")), "not permitted");
}

#[test]
fn what_lives_on_is_told_with_its_name_and_why() {
    let marker = unique_marker();
    let mut child = Spawned::of_run(&marker, "trap '' TERM; echo $$; exec sleep 60");
    let process = child.process(&host());
    let guard = Guard::new([]).unwrap();
    let reaped = end_trees(&[target(&marker)], &host(), &guard, LONG, Instant::now() + SHORT);
    let survivor = &reaped[0].survivors[0];
    assert_eq!((survivor.pid, survivor.comm.as_str()), (process.pid, "sleep"));
    assert_eq!(survivor.because, "the time was up before its grace after SIGTERM was over");
}

// ---------------------------------------------------------------------------------------------
// Between a look and what is done about it, a pid may change hands

fn entry_of(child: &Spawned) -> Entry {
    Entry::read(child.pid()).unwrap().unwrap()
}

// covers: F38
#[test]
fn who_has_the_pid_by_now_is_not_taken_in() {
    let child = Spawned::new("read line", &[]);
    let (host, guard) = (host(), Guard::new([]).unwrap());
    let targets = [target(&unique_marker())];
    let tree_kill = TreeKill::new(&targets, &host, &guard);
    let found = entry_of(&child);
    let mut former = found.clone();
    former.start_ticks -= 1;
    assert!(tree_kill.verified(&found, &Evidence::Marker(0)).is_some());
    assert!(tree_kill.verified(&former, &Evidence::Marker(0)).is_none());
    assert!(tree_kill.verified(&found, &Evidence::Child(0)).is_none(), "its parent is no member");
    assert!(tree_kill.verified(&found, &Evidence::Launcher(0)).is_none(), "it is no launcher of this run");
}

#[test]
fn who_was_seen_is_there_as_long_as_it_is_the_same_and_lives() {
    let mut child = Spawned::new("read line", &[]);
    let key = Key::of(&entry_of(&child));
    assert!(is_there(key));
    assert!(!is_there(Key { start_ticks: key.start_ticks - 1, ..key }));
    child.end_without_reaping();
    assert!(!is_there(key), "a zombie");
    child.reap();
    assert!(!is_there(key));
}

#[test]
fn who_changed_its_user_is_signalled_all_the_same_and_somebody_else_is_not() {
    let mut child = Spawned::new("trap 'echo told' CONT; echo on; while :; do read line; done", &[]);
    assert_eq!(child.line(), "on");
    let (host, guard) = (host(), Guard::new([]).unwrap());
    let process = identify(child.pid(), &host).unwrap().unwrap();
    let member = |process| Member { target: 0, process, told: None, line: None, refused: None };
    let mut former = member(Process { uid: process.uid + 1, ..process.clone() });
    assert_eq!(deliver(&mut former, &host, &guard, Signal::CONT), Sent::Yes);
    assert_eq!(former.process, process, "it is known as it is now");
    let mut other = member(Process { start_ticks: process.start_ticks - 1, ..process });
    assert_eq!(deliver(&mut other, &host, &guard, Signal::KILL), Sent::Mismatch);
    assert_lives(&former.process);
}

#[test]
fn each_member_is_told_each_signal_once_and_nothing_after_sigkill() {
    let marker = unique_marker();
    let mut child = Spawned::of_run(&marker, "trap '' TERM; echo $$; exec sleep 60");
    let process = child.process(&host());
    let (host, guard) = (host(), Guard::new([]).unwrap());
    let targets = [target(&marker)];
    let mut tree_kill = TreeKill::new(&targets, &host, &guard);
    tree_kill.look(AtSight::Note).unwrap();
    let key = tree_kill.alive[0];
    for signal in [Signal::TERM, Signal::TERM, Signal::KILL, Signal::KILL, Signal::TERM] {
        tree_kill.tell(key, signal);
    }
    assert_eq!(signals(&tree_kill.reaped[0], process.pid), Some(["TERM", "KILL"].as_slice()));
}

#[test]
fn the_limit_of_one_run_marks_nobody_as_of_another() {
    let markers = [unique_marker(), unique_marker()];
    let Some(mut child) = Spawned::under_limit(&markers[0], "echo on; read line") else { return };
    child.line();
    let targets = markers.each_ref().map(|marker| target(marker));
    let mut evidence = Clues::default();
    targets.iter().enumerate().for_each(|(index, target)| evidence.add(index, target));
    assert_eq!([0, 1].map(|index| evidence.is_marked(child.pid(), index)), [true, false]);
    assert!(!evidence.is_marked(std::process::id(), 0));
}
