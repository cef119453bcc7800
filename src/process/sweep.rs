//! Ending what is left below a launcher, by the launcher itself.
//!
//! A child subreaper is handed every orphan below it, whatever session, group or environment that
//! process fled to. So as long as something is left, the launcher has a child, and when the kernel
//! says that it has none, nothing is left: no look at `/proc` is as sure as that answer.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions};

use super::identity::{Host, identify};
use super::scan::{self, Entry, Scan};
use super::signal::{self, Guard, Sent, Signal};
use super::wait;
use crate::model::{Process, Survivor};

/// How often to look for new children while waiting.
const STEP: Duration = Duration::from_millis(50);

/// Ends every descendant of this process: SIGTERM and SIGCONT once to each, children first, and
/// SIGKILL to what is left after `grace`. Returns what still lives after `limit`, counted from the
/// call; nothing is the promise. Protected processes are left alone, with all that they started,
/// and don't count.
///
/// The caller must be a child subreaper, and must have fetched the exit status of the child that
/// it cares for: every other one is fetched and dropped here.
pub fn sweep_descendants(host: &Host, guard: &Guard, grace: Duration, limit: Duration) -> Vec<Survivor> {
    let sweep = Sweep { host, guard, own: std::process::id(), known: BTreeMap::new() };
    sweep.run(grace, limit)
}

/// Sends `signal` to every descendant of this process that lives now, children first; after SIGTERM a SIGCONT,
/// so that a stopped process can follow it. Waits for nothing and fetches no exit status.
pub fn signal_descendants(host: &Host, guard: &Guard, signal: Signal) {
    let mut sweep = Sweep { host, guard, own: std::process::id(), known: BTreeMap::new() };
    for process in sweep.living().unwrap_or_default() {
        sweep.tell(&process, signal);
    }
}

/// What was done about one process.
#[derive(Default)]
struct Progress {
    terminated: bool,
    killed: bool,
    refused: Option<String>,
}

struct Sweep<'a> {
    host: &'a Host,
    guard: &'a Guard,
    own: u32,
    /// By pid and start ticks.
    known: BTreeMap<(u32, u64), Progress>,
}

impl Sweep<'_> {
    fn run(mut self, grace: Duration, limit: Duration) -> Vec<Survivor> {
        let started = Instant::now();
        loop {
            if !has_children_after_reaping() {
                return Vec::new();
            }
            let spent = started.elapsed();
            let left = limit.saturating_sub(spent);
            if left.is_zero() {
                return self.survivors();
            }
            let killing = spent >= grace;
            let Ok(living) = self.living() else {
                // No descriptors or no memory at the moment: this is the machine's trouble, look again.
                wait::pause(left.min(STEP));
                continue;
            };
            if living.is_empty() {
                if self.only_protected_are_left() {
                    return Vec::new();
                }
                // It changed hands while the lists were read, or /proc hides it.
                wait::pause(left.min(Duration::from_millis(1)));
                continue;
            }
            let mut news = false;
            for process in &living {
                news |= self.tell(process, if killing { Signal::KILL } else { Signal::TERM });
            }
            if killing && living.iter().all(|process| self.is_refused(process)) {
                return self.survivors();
            }
            // A process that forks all the time is chased without a pause once it may be killed.
            if killing && news {
                continue;
            }
            let wait = if killing { left } else { left.min(grace.saturating_sub(spent)) }.min(STEP);
            signal::wait_gone(&living[0], self.host, Instant::now() + wait);
        }
    }

    /// Live descendants that may be signalled, children first.
    fn living(&self) -> io::Result<Vec<Process>> {
        let beyond = |pid| self.guard.protects(pid).is_some();
        let listed = match listed_children(self.own, &beyond) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                Scan::take()?.descendants_outside(self.own, beyond)
            }
            listed => listed?,
        };
        let mut living = Vec::new();
        for pid in listed {
            let process = match identify(pid, self.host) {
                // Hidden from us, and so out of reach; the others are not.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => continue,
                identified => identified?,
            };
            // Between the listing and now the parent may have buried it and a stranger have its pid.
            if let Some(process) = process
                && self.is_below(pid)?
            {
                living.push(process);
            }
        }
        Ok(living)
    }

    /// Whether the parents of `pid` lead here, as of now.
    fn is_below(&self, pid: u32) -> io::Result<bool> {
        let mut current = pid;
        for _ in 0..signal::DEPTH_MAX {
            match Entry::read(current)? {
                Some(entry) if entry.ppid == self.own => return Ok(true),
                Some(entry) if entry.ppid > 1 => current = entry.ppid,
                // Its parent has just ended: the next look finds it at its new place.
                _ => return Ok(false),
            }
        }
        Ok(false)
    }

    /// Sends a signal that this process was not sent before. True if it was.
    fn tell(&mut self, process: &Process, signal: Signal) -> bool {
        let progress = self.known.entry((process.pid, process.start_ticks)).or_default();
        let done = if signal == Signal::KILL { &mut progress.killed } else { &mut progress.terminated };
        if *done {
            return false;
        }
        match signal::send(process, self.host, self.guard, signal) {
            Sent::Yes => {
                *done = true;
                progress.refused = None;
                if signal == Signal::TERM {
                    // A stopped process would not see its SIGTERM.
                    let _ = signal::send(process, self.host, self.guard, Signal::CONT);
                }
                true
            }
            Sent::Refused(why) => {
                progress.refused = Some(why);
                false
            }
            Sent::Gone | Sent::Mismatch | Sent::Protected(_) => false,
        }
    }

    fn is_refused(&self, process: &Process) -> bool {
        let progress = self.known.get(&(process.pid, process.start_ticks));
        progress.is_some_and(|progress| progress.refused.is_some())
    }

    /// Whether a look at all processes shows a protected descendant and no other one.
    fn only_protected_are_left(&self) -> bool {
        let Ok(scan) = Scan::take() else { return false };
        let lives = |pid: &u32| scan.get(*pid).is_some_and(|entry| !entry.is_dead());
        let protected = |pid: u32| self.guard.protects(pid).is_some();
        !scan.descendants_outside(self.own, protected).iter().any(lives)
            && scan.descendants(self.own).iter().any(|pid| lives(pid) && protected(*pid))
    }

    /// What lives now, when the time is up.
    fn survivors(&self) -> Vec<Survivor> {
        let protected = |pid: u32| self.guard.protects(pid).is_some();
        let scan = match Scan::take() {
            Ok(scan) => scan,
            Err(error) => return vec![unseen(format!("/proc could not be searched ({error})"))],
        };
        let survivors: Vec<Survivor> = scan
            .descendants_outside(self.own, protected)
            .into_iter()
            .filter_map(|pid| scan.get(pid))
            .filter(|entry| !entry.is_dead())
            .map(|entry| Survivor {
                pid: entry.pid,
                start_ticks: entry.start_ticks,
                comm: entry.comm.clone(),
                because: self.why_alive(entry),
            })
            .collect();
        if survivors.is_empty() && has_children_after_reaping() && !self.only_protected_are_left() {
            return vec![unseen("something lives below the launcher that /proc does not show".to_owned())];
        }
        survivors
    }

    fn why_alive(&self, entry: &Entry) -> String {
        match self.known.get(&(entry.pid, entry.start_ticks)) {
            Some(Progress { refused: Some(why), .. }) => why.clone(),
            Some(Progress { killed: true, .. }) => {
                format!("still alive after SIGKILL (state {})", entry.state)
            }
            Some(_) => "the time was up before its grace after SIGTERM was over".to_owned(),
            None => "it appeared just before the time was up".to_owned(),
        }
    }
}

/// A survivor that stands for a look that was not possible.
fn unseen(because: String) -> Survivor {
    Survivor { pid: 0, start_ticks: 0, comm: String::new(), because }
}

/// Buries all dead children, and tells whether there are others.
fn has_children_after_reaping() -> bool {
    loop {
        match rustix::process::waitid(WaitId::All, WaitIdOptions::NOHANG | WaitIdOptions::EXITED) {
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Err(Errno::CHILD) => return false,
            // An answer that the kernel never gives here; "some" is the one that keeps us looking.
            Ok(None) | Err(_) => return true,
        }
    }
}

/// Everything below `root`, deepest first, from the kernel's own lists of children: much cheaper
/// than a look at all processes. What is `beyond` a border is left out with all below it.
///
/// A list that changes while it is read can miss an entry; the next one will have it.
///
/// # Errors
/// `Unsupported` where the kernel keeps no such lists (built without `CONFIG_PROC_CHILDREN`).
fn listed_children(root: u32, beyond: &impl Fn(u32) -> bool) -> io::Result<Vec<u32>> {
    let mut seen = BTreeSet::from([root]);
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        next += 1;
        for child in children_of(parent)? {
            if !beyond(child) && seen.insert(child) {
                found.push(child);
            }
        }
    }
    found.remove(0);
    found.reverse();
    Ok(found)
}

/// The children of all threads of one process; none, when it has ended.
fn children_of(pid: u32) -> io::Result<Vec<u32>> {
    let mut children = Vec::new();
    let Some(threads) = scan::unless_gone(fs::read_dir(format!("/proc/{pid}/task")))? else {
        return Ok(children);
    };
    for thread in threads {
        let Some(thread) = scan::unless_gone(thread)? else { break };
        let thread = thread.path();
        match scan::unless_gone(fs::read_to_string(thread.join("children")))? {
            Some(list) => children.extend(list.split_ascii_whitespace().flat_map(str::parse::<u32>)),
            None if thread.exists() => return Err(io::ErrorKind::Unsupported.into()),
            None => {}
        }
    }
    Ok(children)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::super::identity::{Life, life};
    use super::super::tests::{Respawner, Spawned};
    use super::*;

    const LONG: Duration = Duration::from_secs(20);
    const SHORT: Duration = Duration::from_millis(200);
    const ALONE: &str = "FACTORY_TICK_TEST_ALONE";

    /// Runs the body of a test in a process of its own, which is a subreaper: in the process that
    /// the tests share it would be handed, and end, what other tests have started.
    #[expect(clippy::disallowed_methods, reason = "the test runs itself again")]
    fn in_own_process(test: &str, body: impl FnOnce(&Host)) {
        if std::env::var_os(ALONE).is_some() {
            nix::sys::prctl::set_child_subreaper(true).unwrap();
            return body(&Host::read().unwrap());
        }
        let path = module_path!().split_once("::").unwrap().1;
        let output = Command::new(std::env::current_exe().unwrap())
            .args([&format!("{path}::{test}"), "--exact", "--nocapture"])
            .env(ALONE, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("1 passed"), "{said}\n{complaint}");
    }

    fn sweep(host: &Host, guard: &Guard, grace: Duration) -> Vec<Survivor> {
        sweep_descendants(host, guard, grace, grace + LONG)
    }

    #[test]
    fn nothing_below_costs_nothing() {
        in_own_process("nothing_below_costs_nothing", |host| {
            assert_eq!(sweep_descendants(host, &Guard::new([]).unwrap(), LONG, Duration::ZERO), []);
        });
    }

    // Origin: mngr#1510, fabrik#1814 - children in sessions of their own survive
    // covers: F36
    #[test]
    fn orphans_in_other_sessions_end() {
        in_own_process("orphans_in_other_sessions_end", |host| {
            let script = "setsid env -i /bin/sh -c 'echo $$; exec sleep 60' & \
                          (setsid /bin/sh -c 'echo $$; exec sleep 60' &) ; read line";
            let mut child = Spawned::new(script, &[]);
            let orphans = [child.process(host), child.process(host)];
            child.end_without_reaping();
            let started = Instant::now();
            assert_eq!(sweep(host, &Guard::new([]).unwrap(), LONG), []);
            assert!(started.elapsed() < LONG, "they end at SIGTERM, so nobody waits for the grace");
            for orphan in orphans {
                assert_eq!(life(&orphan, host), Life::Dead);
            }
        });
    }

    // covers: F43
    #[test]
    fn a_deaf_and_a_stopped_one_end() {
        in_own_process("a_deaf_and_a_stopped_one_end", |host| {
            let mut deaf = Spawned::new("trap '' TERM; echo $$; exec sleep 60", &[]);
            let stopped = Spawned::new("kill -STOP $$; exec sleep 60", &[]);
            stopped.wait_stopped();
            let processes = [deaf.process(host), identify(stopped.pid(), host).unwrap().unwrap()];
            assert_eq!(sweep(host, &Guard::new([]).unwrap(), SHORT), []);
            for process in processes {
                assert_eq!(life(&process, host), Life::Dead);
            }
        });
    }

    #[test]
    fn one_that_forks_all_the_time_is_chased_down() {
        in_own_process("one_that_forks_all_the_time_is_chased_down", |host| {
            let respawner = Respawner::start("test/respawner.1");
            assert_eq!(sweep(host, &Guard::new([]).unwrap(), Duration::ZERO), []);
            assert!(!has_children_after_reaping());
            assert!(!respawner.tired());
        });
    }

    // covers: D39
    #[test]
    fn a_protected_one_lives_with_its_children_and_is_no_survivor() {
        in_own_process("a_protected_one_lives_with_its_children_and_is_no_survivor", |host| {
            let mut kept = Spawned::new("sleep 60 & echo $!; wait", &[]);
            let below = kept.process(host);
            let mut other = Spawned::new("echo $$; exec sleep 60", &[]);
            let other = other.process(host);
            let guard = Guard::new([kept.pid()]).unwrap();
            assert_eq!(sweep(host, &guard, SHORT), []);
            assert_eq!(life(&other, host), Life::Dead);
            assert_eq!(life(&below, host), Life::Alive);
            assert!(identify(kept.pid(), host).unwrap().is_some());
            // Nobody else ends it.
            assert_eq!(signal::send(&below, host, &Guard::new([]).unwrap(), Signal::KILL), Sent::Yes);
        });
    }

    // covers: F43
    #[test]
    fn what_lives_at_the_limit_is_told() {
        in_own_process("what_lives_at_the_limit_is_told", |host| {
            let mut deaf = Spawned::new("trap '' TERM; echo $$; exec sleep 60", &[]);
            let process = deaf.process(host);
            let survivors = sweep_descendants(host, &Guard::new([]).unwrap(), LONG, SHORT);
            assert_eq!(survivors.len(), 1, "{survivors:?}");
            assert_eq!((survivors[0].pid, survivors[0].start_ticks), (process.pid, process.start_ticks));
        });
    }

    #[test]
    fn why_it_lives_is_what_was_last_done_about_it() {
        let host = Host::read().unwrap();
        let guard = Guard::new([]).unwrap();
        let own = Entry::read(std::process::id()).unwrap().unwrap();
        let why = |progress: Option<Progress>| {
            let known = progress.map(|progress| ((own.pid, own.start_ticks), progress)).into_iter().collect();
            Sweep { host: &host, guard: &guard, own: own.pid, known }.why_alive(&own)
        };
        let refused = |refused: Option<&str>, killed| {
            Some(Progress { terminated: true, killed, refused: refused.map(Into::into) })
        };
        assert_eq!(why(None), "it appeared just before the time was up");
        assert_eq!(why(refused(None, false)), "the time was up before its grace after SIGTERM was over");
        assert_eq!(why(refused(None, true)), format!("still alive after SIGKILL (state {})", own.state));
        assert_eq!(why(refused(Some("not permitted"), true)), "not permitted");
    }

    #[test]
    fn each_is_told_each_signal_once_and_who_refused_is_known() {
        in_own_process("each_is_told_each_signal_once_and_who_refused_is_known", |host| {
            let guard = Guard::new([]).unwrap();
            let mut deaf = Spawned::new("trap '' TERM; echo $$; exec sleep 60", &[]);
            let process = deaf.process(host);
            let mut sweep = Sweep { host, guard: &guard, own: std::process::id(), known: BTreeMap::new() };
            assert!(!sweep.is_refused(&process), "nothing was tried");
            let told = |sweep: &Sweep| {
                let progress = &sweep.known[&(process.pid, process.start_ticks)];
                (progress.terminated, progress.killed)
            };
            assert!(sweep.tell(&process, Signal::TERM) && !sweep.tell(&process, Signal::TERM));
            assert_eq!(told(&sweep), (true, false));
            assert!(!sweep.is_refused(&process));
            assert!(sweep.tell(&process, Signal::KILL) && !sweep.tell(&process, Signal::KILL));
            assert_eq!(told(&sweep), (true, true));
            sweep.known.values_mut().for_each(|progress| progress.refused = Some("not permitted".to_owned()));
            assert!(sweep.is_refused(&process));
        });
    }

    // covers: D39
    #[test]
    fn protected_ones_alone_are_nobody_to_wait_for_and_no_survivors() {
        in_own_process("protected_ones_alone_are_nobody_to_wait_for_and_no_survivors", |host| {
            let mut kept = Spawned::new("sleep 60 & echo $!; wait", &[]);
            let below = kept.process(host);
            let guard = Guard::new([kept.pid()]).unwrap();
            let of = |guard| Sweep { host, guard, own: std::process::id(), known: BTreeMap::new() };
            assert!(of(&guard).only_protected_are_left());
            assert_eq!(of(&guard).survivors(), []);
            let nobody = Guard::new([]).unwrap();
            assert!(!of(&nobody).only_protected_are_left(), "they are not protected");
            assert_eq!(of(&nobody).survivors().len(), 2);
            let mut other = Spawned::new("echo $$; exec sleep 60", &[]);
            let other_process = other.process(host);
            assert!(!of(&guard).only_protected_are_left(), "there is another one");
            let pids: Vec<u32> = of(&guard).survivors().iter().map(|survivor| survivor.pid).collect();
            assert_eq!(pids, [other_process.pid]);
            drop(other);
            assert_eq!(signal::send(&below, host, &nobody, Signal::KILL), Sent::Yes);
            assert!(signal::wait_gone(&below, host, Instant::now() + LONG));
            drop(kept);
            assert!(!of(&guard).only_protected_are_left(), "nobody is left");
        });
    }

    // Its pid may be a stranger's by the time that it is to be signalled.
    #[test]
    fn whose_parents_do_not_lead_here_is_not_below() {
        in_own_process("whose_parents_do_not_lead_here_is_not_below", |host| {
            let guard = Guard::new([]).unwrap();
            let own = Entry::read(std::process::id()).unwrap().unwrap();
            let mut child = Spawned::new("sleep 60 & echo $!; wait", &[]);
            let below = child.process(host);
            let sweep = Sweep { host, guard: &guard, own: own.pid, known: BTreeMap::new() };
            let is_below = [child.pid(), below.pid, own.pid, own.ppid, 1, u32::MAX];
            let is_below = is_below.map(|pid| sweep.is_below(pid).unwrap());
            assert_eq!(is_below, [true, true, false, false, false, false]);
            let of_other = Sweep { own: child.pid(), ..sweep };
            assert!(of_other.is_below(below.pid).unwrap() && !of_other.is_below(child.pid()).unwrap());
        });
    }

    // A launcher that is told to end passes that on, and waits for nothing.
    #[test]
    fn all_below_are_signalled_once_children_first_and_the_stopped_follow() {
        in_own_process("all_below_are_signalled_once_children_first_and_the_stopped_follow", |host| {
            let stopped = Spawned::new("kill -STOP $$; exec sleep 60", &[]);
            stopped.wait_stopped();
            let process = identify(stopped.pid(), host).unwrap().unwrap();
            let mut kept = Spawned::new("sleep 60 & echo $!; wait", &[]);
            let below = kept.process(host);
            let guard = Guard::new([kept.pid()]).unwrap();
            signal_descendants(host, &guard, Signal::TERM);
            assert!(signal::wait_gone(&process, host, Instant::now() + LONG));
            assert_eq!(life(&below, host), Life::Alive, "a protected one keeps what it started");
            signal_descendants(host, &Guard::new([]).unwrap(), Signal::KILL);
            assert!(signal::wait_gone(&below, host, Instant::now() + LONG));
        });
    }

    #[test]
    fn both_ways_of_listing_agree() {
        in_own_process("both_ways_of_listing_agree", |host| {
            let mut child = Spawned::new("/bin/sh -c 'sleep 60 & echo $!; wait' & wait", &[]);
            let deepest = child.process(host);
            let own = std::process::id();
            let scanned = Scan::take().unwrap().descendants(own);
            assert_eq!((scanned.len(), scanned[0]), (3, deepest.pid));
            match listed_children(own, &|_| false) {
                Ok(listed) => assert_eq!(listed, scanned),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::Unsupported),
            }
            assert_eq!(sweep(host, &Guard::new([]).unwrap(), LONG), []);
        });
    }
}
