//! Ending what is left of runs whose launcher is dead or late.
//!
//! A launcher that works ends its own tree, and better: it is told of every orphan. From outside
//! only traces are left ([`evidence`]). What was once seen to belong stays known for the length of
//! one hunt, so that a child whose parent ends first is not lost.

mod evidence;
mod target;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::time::{Duration, Instant};

use self::evidence::{Clues, Evidence};
pub use self::target::Target;
use super::identity::{Host, identify};
use super::scan::{self, Entry, Scan};
use super::signal::{self, Guard, Sent, Signal};
use super::wait;
use crate::model::{Process, Reaped, Signalled, Skipped, Survivor};

/// How often to look while the grace lasts: a child that is forked and orphaned between two looks
/// and carries no marker is lost. One look takes about 50 ms of one core with 2,000 processes.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long what was killed may take to end before the next look, and the pause that keeps a
/// process which forks all the time from making the grace a busy loop.
const STEP: Duration = Duration::from_millis(50);

/// How often to look again because some process was about to replace its program and could not be told (each look
/// has waited for it already), or was started and gone before it could be read: on a busy machine there is always one.
const LOOKS_MAX: u32 = 10;

/// How often to look again, when the time is up, because what the last look saw has gone since.
const LAST_LOOKS: u32 = 3;

/// What is said of a run of which a process was there at the last look, and gone before it could be told apart.
const TOO_FAST: &str = "its processes come and go faster than they can be looked at";

/// How often a look lists the groups of the runs, while their processes fork.
const LISTINGS_MAX: u32 = 20;

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
    let mut tree_kill = TreeKill::new(targets, host, guard);
    let outcome = tree_kill.run(grace, until);
    tree_kill.report(outcome)
}

/// Which of the targets have live processes, by one look at all processes. Signals none of them.
///
/// # Errors
///
/// That `/proc` can't be searched.
pub fn find(targets: &[Target], host: &Host, guard: &Guard) -> io::Result<Vec<bool>> {
    let mut tree_kill = TreeKill::new(targets, host, guard);
    tree_kill.look(AtSight::Note)?;
    let mut found: BTreeSet<usize> =
        tree_kill.alive.iter().map(|key| tree_kill.members[key].target).collect();
    found.extend(&tree_kill.glimpsed);
    Ok((0..targets.len()).map(|target| found.contains(&target)).collect())
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

/// What to do with a process at the moment it is found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AtSight {
    /// Only remember it.
    Note,
    /// Kill it. One that forks and ends every millisecond is gone before a look at all others is over.
    Kill,
}

struct TreeKill<'a> {
    targets: &'a [Target],
    host: &'a Host,
    guard: &'a Guard,
    evidence: Clues<'a>,
    members: BTreeMap<Key, Member>,
    /// Whether the last look met a process that could not be told, or may have missed one.
    undecided: bool,
    /// Targets of which the last look met a process that was gone before it could be told from all others: somebody
    /// started it, and it may have started somebody.
    glimpsed: BTreeSet<usize>,
    /// Members that lived at the last look, children first.
    alive: Vec<Key>,
    reaped: Vec<Reaped>,
}

impl<'a> TreeKill<'a> {
    fn new(targets: &'a [Target], host: &'a Host, guard: &'a Guard) -> TreeKill<'a> {
        let mut tree_kill = TreeKill {
            targets,
            host,
            guard,
            evidence: Clues::default(),
            members: BTreeMap::new(),
            undecided: false,
            glimpsed: BTreeSet::new(),
            alive: Vec::new(),
            reaped: vec![Reaped::default(); targets.len()],
        };
        for (index, target) in targets.iter().enumerate() {
            match &target.launcher {
                Some(launcher) if launcher.boot_id != host.boot_id => {}
                Some(launcher) if launcher.pid_ns != host.pid_ns => {
                    let because = "its launcher belongs to another pid or time namespace, which can't be seen from here; \
                                   run factory-tick where the launcher was started";
                    tree_kill.reaped[index].survivors.push(unseen(target, because));
                }
                _ => tree_kill.evidence.add(index, target),
            }
        }
        tree_kill
    }

    /// Ends them, and looks once more at what could not be ended in time: one that was seen last and is gone by
    /// now may have left another behind. `Ok` means that `alive` tells the truth; an error, that nobody knows.
    fn run(&mut self, grace: Duration, until: Instant) -> io::Result<()> {
        if self.evidence.targets().is_empty() {
            return Ok(());
        }
        self.end_all(grace, until)?;
        for _ in 0..LAST_LOOKS {
            if self.glimpsed.is_empty() && self.alive.iter().all(|key| is_there(*key)) {
                break;
            }
            self.look(AtSight::Note)?;
        }
        Ok(())
    }

    /// Both rounds.
    fn end_all(&mut self, grace: Duration, until: Instant) -> io::Result<()> {
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
                wait::pause(STEP.min(end.saturating_duration_since(Instant::now())));
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
            let is_refused = |key| self.members[key].refused.is_some();
            if !self.alive.is_empty() && self.alive.iter().all(is_refused) {
                return Ok(());
            }
            self.wait_for_all(until.min(Instant::now() + STEP));
        }
    }

    /// Looks until somebody is seen, at most twice: what starts itself again and again can slip through one look,
    /// and "nobody" is what a run's record is cleared on. Oftener only while a look leaves somebody undecided.
    fn nobody_is_left(&mut self, at_sight: AtSight) -> io::Result<bool> {
        for looks in 1..=LOOKS_MAX {
            self.look(at_sight)?;
            if self.somebody_was_seen() || (looks >= 2 && !self.undecided) {
                break;
            }
        }
        Ok(!self.somebody_was_seen())
    }

    /// Whether the last look met anybody of the targets.
    fn somebody_was_seen(&self) -> bool {
        !self.alive.is_empty() || !self.glimpsed.is_empty()
    }

    /// Looks at every process once. Afterwards `alive` holds the live members, children first.
    fn look(&mut self, at_sight: AtSight) -> io::Result<()> {
        let mut scan = Scan::default();
        let mut here: HashMap<u32, usize> = HashMap::new();
        self.undecided = false;
        self.glimpsed.clear();
        let is_whole = scan::walk(|entry| {
            for target in self.evidence.taken_over(&entry) {
                self.reaped[target].identity_mismatches = 1;
            }
            // The dead have no children: those were handed on when it ended.
            if entry.is_dead() || entry.kernel {
                return;
            }
            if let Some(evidence) = self.evidence(&entry, &here) {
                self.found(&entry, &evidence, at_sight, &mut here);
            }
            scan.insert(entry);
        })?;
        self.undecided |= !is_whole;
        self.look_into_groups(&mut scan, at_sight, &mut here);
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

    /// Finds what is in the groups of the runs, and nowhere else. After the walk, which is not over before a
    /// listing shows nobody new: by then most are known.
    fn look_into_groups(&mut self, scan: &mut Scan, at_sight: AtSight, here: &mut HashMap<u32, usize>) {
        for _ in 0..LISTINGS_MAX {
            let before = here.len();
            let (living, gone) = self.evidence.in_groups();
            gone.into_iter().for_each(|target| self.glimpse(target));
            for (entry, target) in living {
                if !here.contains_key(&entry.pid) {
                    self.found(&entry, &Evidence::Cgroup(target), at_sight, here);
                    scan.insert(entry);
                }
            }
            if here.len() == before {
                break;
            }
        }
    }

    /// Why a live process belongs to a target, if it does. `here` are the members of this look.
    fn evidence(&mut self, entry: &Entry, here: &HashMap<u32, usize>) -> Option<Evidence> {
        if let Some(member) = self.members.get(&Key::of(entry)) {
            return Some(Evidence::Known(member.target));
        }
        let carried = self.evidence.carried(entry, &mut self.undecided);
        // Last: a process that one run started for another belongs to the other.
        carried.or_else(|| here.get(&entry.ppid).map(|&target| Evidence::Child(target)))
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
        if evidence.is_inherited() && self.was_passed_on_by_protected(entry, target) {
            return;
        }
        let key = Key::of(entry);
        if !self.members.contains_key(&key) {
            let Some(member) = self.verified(entry, evidence) else {
                if evidence.is_inherited() {
                    self.glimpse(target);
                }
                return;
            };
            self.members.insert(key, member);
        }
        here.insert(entry.pid, target);
        if at_sight == AtSight::Kill {
            self.tell(key, Signal::KILL);
        }
    }

    /// Whether a protected process of the target is among the parents of this one: what it starts is its own, though
    /// it bears the same marks.
    fn was_passed_on_by_protected(&self, entry: &Entry, target: usize) -> bool {
        self.guard.configured_above(entry).iter().any(|pid| self.evidence.is_marked(*pid, target))
    }

    /// Remembers that one of the target was there and is gone. Not where it may have been a protected one's own.
    fn glimpse(&mut self, target: usize) {
        if !self.guard.configured().any(|pid| self.evidence.is_marked(pid, target)) {
            self.glimpsed.insert(target);
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
            Evidence::Known(_) | Evidence::Marker(_) | Evidence::Limit(_) | Evidence::Cgroup(_) => true,
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
            for target in self.evidence.targets() {
                self.reaped[target].survivors.push(unseen(&self.targets[target], &because));
            }
        }
        for key in &self.alive {
            let member = &self.members[key];
            let (comm, because) = match Entry::read(key.pid) {
                Ok(Some(entry)) if Key::of(&entry) == *key && !entry.is_dead() => {
                    (entry.comm.clone(), member.why_alive(&entry))
                }
                // It ended after the last look, and so did those of the looks before.
                Ok(_) => (String::new(), TOO_FAST.to_owned()),
                Err(error) => (String::new(), format!("cannot tell whether it lives: {error}")),
            };
            self.reaped[member.target].survivors.push(Survivor {
                pid: key.pid,
                start_ticks: key.start_ticks,
                comm,
                because,
            });
        }
        for target in self.glimpsed {
            let survivors = &mut self.reaped[target].survivors;
            if survivors.is_empty() {
                survivors.push(unseen(&self.targets[target], TOO_FAST));
            }
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

/// Whether a process of the last look still lives; what can't be read counts as alive.
fn is_there(key: Key) -> bool {
    match Entry::read(key.pid) {
        Ok(entry) => entry.is_some_and(|entry| Key::of(&entry) == key && !entry.is_dead()),
        Err(_) => true,
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
mod tests;
