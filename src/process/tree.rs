//! Ending what is left of runs whose launcher is dead or late.
//!
//! A launcher that works ends its own tree, and better: it is told of every orphan. From outside
//! only traces are left. A process belongs to a run when it is the launcher, descends from a
//! process that belongs, or was started with the run's whole marker in its environment. What was
//! once seen to belong stays known for the length of one hunt, so that a child whose parent ends
//! first is not lost. Command line, session and process group prove nothing.
//!
//! Further traces (a resource limit that children inherit, a cgroup) have their place in
//! `Hunt::evidence`.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::time::{Duration, Instant};

use super::identity::{Host, identify};
use super::scan::{self, Entry, Scan};
use super::signal::{self, Guard, Sent, Signal};
use crate::model::{Process, Reaped, Signalled, Skipped, Survivor};

/// How often to look while the grace lasts: a child that is forked and orphaned between two looks
/// and carries no marker is lost. One look takes about 40 ms of one core with 2,000 processes.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long what was killed may take to end before the next look, and the pause that keeps a
/// process which forks all the time from making the grace a busy loop.
const STEP: Duration = Duration::from_millis(50);

/// One run whose processes are to end.
#[derive(Clone, Debug)]
pub struct Target {
    /// The whole value of `FACTORY_RUN` in its processes: `<lineage>/<run>`.
    pub marker: String,
    /// Its launcher, if one was ever seen.
    pub launcher: Option<Process>,
}

/// Ends everything that belongs to the targets: SIGTERM (and SIGCONT, so that a stopped process
/// can follow it) to all of them, children first; one `grace` for the whole batch; then SIGKILL,
/// again and again until a look at all processes finds none, or `until`.
///
/// What is forked during the grace by a process that tidies up after its SIGTERM is left to it,
/// and gets its own SIGTERM only when all that were told before are gone.
///
/// The grace is a promise to the agent: where `until` comes first, nothing is killed, and what
/// lives is reported as surviving. Choose `until` later than `grace` from now.
///
/// Returns one report per target, in the same order. Zero survivors means that a look at all
/// processes was taken and showed none, or that the launcher belongs to an earlier boot. Where
/// no such look was possible, the report holds a survivor that says so (with the launcher's pid,
/// or 0 where there is none). Protected processes are reported as skipped and don't count, and
/// descent ends at them: what a protected process starts is its own.
pub fn end_trees(
    targets: &[Target],
    host: &Host,
    guard: &Guard,
    grace: Duration,
    until: Instant,
) -> Vec<Reaped> {
    let mut hunt = Hunt::new(targets, host, guard);
    let outcome = hunt.run(grace, until);
    hunt.report(outcome)
}

/// A process, as one and the same in every look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    pid: u32,
    start_ticks: u64,
}

impl Key {
    fn of(entry: &Entry) -> Key {
        Key { pid: entry.pid, start_ticks: entry.start_ticks }
    }
}

/// A process that was seen to belong.
struct Member {
    /// Index of the target it belongs to.
    target: usize,
    process: Process,
    /// The last signal that reached it.
    told: Option<Signal>,
    /// Index of its line in the target's report.
    line: Option<usize>,
    refused: Option<String>,
}

/// Why a process belongs to a target.
enum Evidence {
    /// It was seen to belong before.
    Known(usize),
    Launcher(usize),
    Marker(usize),
    Child(usize),
}

impl Evidence {
    fn target(&self) -> usize {
        match *self {
            Evidence::Known(target)
            | Evidence::Launcher(target)
            | Evidence::Marker(target)
            | Evidence::Child(target) => target,
        }
    }
}

/// What to do with a process at the moment it is found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AtSight {
    /// Only remember it.
    Note,
    /// Kill it. One that forks and ends every millisecond is gone before a look at all others is over.
    Kill,
}

struct Hunt<'a> {
    targets: &'a [Target],
    host: &'a Host,
    guard: &'a Guard,
    /// Targets to look for, by marker.
    by_marker: HashMap<&'a [u8], usize>,
    /// Targets that have a launcher to look for, by its pid: more than one, where pids came round.
    by_launcher: HashMap<u32, Vec<usize>>,
    members: BTreeMap<Key, Member>,
    /// Members that lived at the last look, children first.
    alive: Vec<Key>,
    reaped: Vec<Reaped>,
}

impl<'a> Hunt<'a> {
    fn new(targets: &'a [Target], host: &'a Host, guard: &'a Guard) -> Hunt<'a> {
        let mut hunt = Hunt {
            targets,
            host,
            guard,
            by_marker: HashMap::new(),
            by_launcher: HashMap::new(),
            members: BTreeMap::new(),
            alive: Vec::new(),
            reaped: vec![Reaped::default(); targets.len()],
        };
        for (index, target) in targets.iter().enumerate() {
            match &target.launcher {
                Some(launcher) if launcher.boot_id != host.boot_id => continue,
                Some(launcher) if launcher.pid_ns != host.pid_ns => {
                    let because = "its launcher belongs to another pid namespace, which can't be seen from here; \
                                   run factory-tick where the launcher was started";
                    hunt.reaped[index].survivors.push(unseen(target, because));
                    continue;
                }
                Some(launcher) => hunt.by_launcher.entry(launcher.pid).or_default().push(index),
                None => {}
            }
            hunt.by_marker.insert(target.marker.as_bytes(), index);
        }
        hunt
    }

    /// Both rounds. `Ok` means that `alive` tells the truth; an error, that nobody knows.
    fn run(&mut self, grace: Duration, until: Instant) -> io::Result<()> {
        if self.by_marker.is_empty() {
            return Ok(());
        }
        // Absent when the grace has no end that a clock could show.
        let grace_end = Instant::now().checked_add(grace);
        let end = grace_end.map_or(until, |grace_end| grace_end.min(until));
        let mut looks = 0;
        loop {
            if self.nobody_is_left(AtSight::Note)? {
                return Ok(());
            }
            if self.alive.iter().all(|key| self.members[key].told.is_none()) {
                for key in self.alive.clone() {
                    self.tell(key, Signal::TERM);
                }
            }
            looks += 1;
            // Usually the second look confirms that all are gone.
            if looks > 2 {
                signal::pause(STEP.min(end.saturating_duration_since(Instant::now())));
            }
            self.wait_for_all(end.min(Instant::now() + LOOK_EVERY));
            if Instant::now() >= end {
                break;
            }
        }
        if grace_end.is_none_or(|grace_end| Instant::now() < grace_end) {
            // No time for the whole grace: no SIGKILL, but a last look at what is left of them.
            return self.look(AtSight::Note);
        }
        loop {
            if self.nobody_is_left(AtSight::Kill)? || Instant::now() >= until {
                return Ok(());
            }
            let only_refused = self.alive.iter().all(|key| self.members[key].refused.is_some());
            if only_refused {
                return Ok(());
            }
            self.wait_for_all(until.min(Instant::now() + STEP));
        }
    }

    /// Looks until somebody is seen, at most twice: what starts itself again and again can slip through one look,
    /// and "nobody" is what a run's record is cleared on.
    fn nobody_is_left(&mut self, at_sight: AtSight) -> io::Result<bool> {
        self.look(at_sight)?;
        if self.alive.is_empty() {
            self.look(at_sight)?;
        }
        Ok(self.alive.is_empty())
    }

    /// Looks at every process once. Afterwards `alive` holds the live members, children first.
    fn look(&mut self, at_sight: AtSight) -> io::Result<()> {
        let mut scan = Scan::default();
        let mut here: HashMap<u32, usize> = HashMap::new();
        scan::walk(|entry| {
            self.count_mismatch(&entry);
            // The dead have no children: those were handed on when it ended.
            if entry.is_dead() || entry.kernel {
                return;
            }
            if let Some(evidence) = self.evidence(&entry, &here) {
                self.found(&entry, &evidence, at_sight, &mut here);
            }
            scan.insert(entry);
        })?;
        // Once ids have wrapped around, a child can come before its parent.
        loop {
            let before = here.len();
            for entry in scan.entries() {
                if let Some(&target) = here.get(&entry.ppid)
                    && !here.contains_key(&entry.pid)
                {
                    self.found(entry, &Evidence::Child(target), at_sight, &mut here);
                }
            }
            if here.len() == before {
                break;
            }
        }
        let mut alive: Vec<(usize, Key)> = scan
            .entries()
            .filter(|entry| here.contains_key(&entry.pid))
            .map(|entry| (scan.ancestors(entry.pid).len(), Key::of(entry)))
            .collect();
        alive.sort_by_key(|&(depth, _)| std::cmp::Reverse(depth));
        self.alive = alive.into_iter().map(|(_, key)| key).collect();
        Ok(())
    }

    /// Why a live process belongs to a target, if it does. `here` are the members of this look.
    fn evidence(&self, entry: &Entry, here: &HashMap<u32, usize>) -> Option<Evidence> {
        if let Some(member) = self.members.get(&Key::of(entry)) {
            return Some(Evidence::Known(member.target));
        }
        if let Some(target) = self.launched_as(entry.pid).find(|&(_, ticks)| ticks == entry.start_ticks) {
            return Some(Evidence::Launcher(target.0));
        }
        // Before descent: a process that one run started for another belongs to the other.
        if let Some(marker) = scan::run_marker(entry.pid)
            && let Some(&target) = self.by_marker.get(marker.as_slice())
        {
            return Some(Evidence::Marker(target));
        }
        here.get(&entry.ppid).map(|&target| Evidence::Child(target))
    }

    /// Takes a process in, unless it is protected, or turns out not to be what the evidence says.
    fn found(
        &mut self,
        entry: &Entry,
        evidence: &Evidence,
        at_sight: AtSight,
        here: &mut HashMap<u32, usize>,
    ) {
        let target = evidence.target();
        if let Some(why) = self.guard.protects(entry.pid) {
            self.skip(target, entry.pid, why);
            return;
        }
        let key = Key::of(entry);
        if !self.members.contains_key(&key) {
            let Some(member) = self.verified(entry, evidence) else { return };
            self.members.insert(key, member);
        }
        here.insert(entry.pid, target);
        if at_sight == AtSight::Kill {
            self.tell(key, Signal::KILL);
        }
    }

    /// Proves the evidence: stat, environment and parent were read one after the other, and a pid
    /// may have changed hands in between.
    fn verified(&self, entry: &Entry, evidence: &Evidence) -> Option<Member> {
        let target = evidence.target();
        let member = |process, refused| Member { target, process, told: None, line: None, refused };
        let process = match identify(entry.pid, self.host) {
            Ok(Some(process)) if process.start_ticks == entry.start_ticks => process,
            Ok(_) => return None,
            // It belongs, but can't be told apart well enough to be signalled.
            Err(error) => {
                let process = Process {
                    pid: entry.pid,
                    start_ticks: entry.start_ticks,
                    boot_id: self.host.boot_id.clone(),
                    pid_ns: self.host.pid_ns,
                    uid: self.host.uid,
                };
                return Some(member(process, Some(format!("cannot identify it: {error}"))));
            }
        };
        let proven = match evidence {
            Evidence::Known(_) | Evidence::Marker(_) => true,
            Evidence::Launcher(target) => self.targets[*target].launcher.as_ref() == Some(&process),
            Evidence::Child(_) => self.is_still_member(entry.ppid),
        };
        proven.then(|| member(process, None))
    }

    /// Whether no stranger has this pid now: a member still has it, or nobody.
    fn is_still_member(&self, pid: u32) -> bool {
        match Entry::read(pid) {
            Ok(Some(entry)) => self.members.contains_key(&Key::of(&entry)),
            Ok(None) => true,
            Err(_) => false,
        }
    }

    /// Signals a member, unless it was told as much before. SIGCONT follows a SIGTERM: a stopped
    /// process would not see it.
    fn tell(&mut self, key: Key, signal: Signal) {
        let Some(member) = self.members.get_mut(&key) else { return };
        if member.told == Some(signal) || member.told == Some(Signal::KILL) {
            return;
        }
        let target = member.target;
        match deliver(member, self.host, self.guard, signal) {
            Sent::Yes => {
                member.told = Some(signal);
                member.refused = None;
                let lines = &mut self.reaped[target].signalled;
                let line = *member.line.get_or_insert(lines.len());
                if line == lines.len() {
                    lines.push(Signalled { pid: key.pid, signals: Vec::new() });
                }
                lines[line].signals.push(if signal == Signal::KILL { "KILL" } else { "TERM" });
                if signal != Signal::KILL {
                    // Its failure would be that of the signal before it.
                    let _ = deliver(member, self.host, self.guard, Signal::CONT);
                }
            }
            Sent::Gone | Sent::Mismatch => {}
            Sent::Protected(why) => self.skip(target, key.pid, why),
            Sent::Refused(why) => member.refused = Some(why),
        }
    }

    /// Waits until all live members have ended, or until `until`.
    fn wait_for_all(&self, until: Instant) {
        // One after the other is as good as all at once: the last one decides.
        for key in &self.alive {
            signal::wait_gone(&self.members[key].process, self.host, until);
        }
    }

    fn count_mismatch(&mut self, entry: &Entry) {
        let others: Vec<usize> = self
            .launched_as(entry.pid)
            .filter(|&(_, ticks)| ticks != entry.start_ticks)
            .map(|(target, _)| target)
            .collect();
        for target in others {
            self.reaped[target].identity_mismatches = 1;
        }
    }

    /// The targets whose launcher has this pid, with its start ticks.
    fn launched_as(&self, pid: u32) -> impl Iterator<Item = (usize, u64)> {
        let targets = self.by_launcher.get(&pid).into_iter().flatten();
        targets.filter_map(|&target| Some((target, self.targets[target].launcher.as_ref()?.start_ticks)))
    }

    fn skip(&mut self, target: usize, pid: u32, reason: String) {
        let skipped = &mut self.reaped[target].skipped;
        if skipped.iter().all(|before| before.pid != pid) {
            skipped.push(Skipped { pid, reason });
        }
    }

    fn report(mut self, outcome: io::Result<()>) -> Vec<Reaped> {
        if let Err(error) = outcome {
            let because = format!(
                "/proc could not be searched ({error}), so nobody knows what lives; a later tick tries again"
            );
            for &target in self.by_marker.values() {
                self.reaped[target].survivors.push(unseen(&self.targets[target], &because));
            }
        }
        for key in &self.alive {
            let member = &self.members[key];
            let (comm, because) = match Entry::read(key.pid) {
                Ok(Some(entry)) if Key::of(&entry) == *key && !entry.is_dead() => {
                    (entry.comm.clone(), member.why_alive(&entry))
                }
                // It ended after the last look.
                Ok(_) => continue,
                Err(error) => (String::new(), format!("cannot tell whether it lives: {error}")),
            };
            self.reaped[member.target].survivors.push(Survivor {
                pid: key.pid,
                start_ticks: key.start_ticks,
                comm,
                because,
            });
        }
        self.reaped
    }
}

impl Member {
    fn why_alive(&self, now: &Entry) -> String {
        match (&self.refused, self.told) {
            (Some(why), _) => why.clone(),
            (None, Some(Signal::KILL)) => format!("still alive after SIGKILL (state {})", now.state),
            (None, Some(_)) => "the time was up before its grace after SIGTERM was over".to_owned(),
            (None, None) => "the time was up before it could be signalled".to_owned(),
        }
    }
}

/// Signals a member. Its user id may have changed since it was found; it is still the same process.
fn deliver(member: &mut Member, host: &Host, guard: &Guard, signal: Signal) -> Sent {
    let sent = signal::send(&member.process, host, guard, signal);
    if sent == Sent::Mismatch
        && let Ok(Some(now)) = identify(member.process.pid, host)
        && now.start_ticks == member.process.start_ticks
    {
        member.process = now;
        return signal::send(&member.process, host, guard, signal);
    }
    sent
}

/// A survivor that stands for a look that was not possible.
fn unseen(target: &Target, because: &str) -> Survivor {
    let (pid, start_ticks) =
        target.launcher.as_ref().map_or((0, 0), |launcher| (launcher.pid, launcher.start_ticks));
    Survivor { pid, start_ticks, comm: String::new(), because: because.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;

    use super::super::identity::{Life, life};
    use super::super::tests::{Respawner, Spawned, unique_marker};
    use super::*;

    const LONG: Duration = Duration::from_secs(20);
    const SHORT: Duration = Duration::from_millis(200);

    fn host() -> Host {
        Host::read().unwrap()
    }

    fn target(marker: &str) -> Target {
        Target { marker: marker.to_owned(), launcher: None }
    }

    fn launched(launcher: &Process) -> Target {
        Target { marker: unique_marker(), launcher: Some(launcher.clone()) }
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

    #[test]
    fn a_wiped_environment_is_found_by_descent_and_remembered() {
        let marker = unique_marker();
        // The parent ends at once; the child hears no SIGTERM, so that it is an orphan by then.
        let script = "trap '' TERM; env -i /bin/sh -c 'echo $$; exec sleep 60' & trap - TERM; wait";
        let mut child = Spawned::of_run(&marker, script);
        let wiped = child.process(&host());
        assert_eq!(scan::run_marker(wiped.pid), None);
        let reaped = end(&[target(&marker)], SHORT);
        assert_eq!(reaped[0].survivors, []);
        assert_eq!(signals(&reaped[0], wiped.pid), Some(["TERM", "KILL"].as_slice()));
        assert_eq!(signals(&reaped[0], child.pid()), Some(["TERM"].as_slice()));
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
            if !entry.is_dead() && scan::run_marker(entry.pid).as_deref() == Some(marker.as_bytes()) {
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
        let targets = [Target { marker, launcher: Some(process) }];
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
        while scan::run_marker(below.pid).is_some() {
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
    fn each_target_has_its_own_report_and_all_share_one_grace() {
        let markers = [unique_marker(), unique_marker()];
        let script = "trap '' TERM; echo $$; exec sleep 60";
        let mut children = markers.each_ref().map(|marker| Spawned::of_run(marker, script));
        let processes = children.each_mut().map(|child| child.process(&host()));
        let started = Instant::now();
        let grace = Duration::from_millis(1500);
        let reaped = end(&[target(&markers[1]), target(&unique_marker()), target(&markers[0])], grace);
        assert!(started.elapsed() >= grace);
        assert!(started.elapsed() < 2 * grace, "{:?}", started.elapsed());
        assert_eq!(signals(&reaped[0], processes[1].pid), Some(["TERM", "KILL"].as_slice()));
        assert_eq!(reaped[1], Reaped::default());
        assert_eq!(signals(&reaped[2], processes[0].pid), Some(["TERM", "KILL"].as_slice()));
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
                Target { marker: marker.clone(), launcher: Some(earlier) },
                Target { marker, launcher: Some(inside) },
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
        let reaped = Hunt::new(&targets, &host, &guard).report(Err(io::Error::other("no descriptors")));
        for one in reaped {
            assert_eq!(one.survivors.len(), 1);
            assert!(one.survivors[0].because.contains("no descriptors"), "{one:?}");
        }
    }
}
