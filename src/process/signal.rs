//! Sending a signal: to exactly the process that is meant, and never to a protected one.

use std::collections::BTreeSet;
use std::io;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
pub use rustix::process::Signal;

use super::identity::{Host, identify};
use super::scan::Entry;
use super::wait::{has_ended, open_pidfd, pause, timespec};
use crate::model::Process;

/// A limit on the way from a process up; real trees are a hundred times flatter.
pub(super) const DEPTH_MAX: usize = 10_000;

/// Who must never be signalled: pids 0 and 1, this program, its ancestors, and the configured.
#[derive(Clone, Debug)]
pub struct Guard {
    own: u32,
    /// With their start times: this program may outlive a parent, whose pid then protects nobody.
    ancestors: Vec<Entry>,
    /// An ancestor that `/proc` hides from us (`hidepid`): whatever is above it is hidden too, and so out of
    /// reach of our signals.
    hidden: Option<u32>,
    configured: BTreeSet<u32>,
}

impl Guard {
    /// Looks up this program's ancestors and adds the `configured` pids.
    ///
    /// # Errors
    /// When `/proc` can't be read; the text names the process.
    pub fn new(configured: impl IntoIterator<Item = u32>) -> io::Result<Guard> {
        let own = std::process::id();
        let mut ancestors: Vec<Entry> = Vec::new();
        let mut hidden = None;
        let mut next = Entry::read(own)?.map_or(0, |entry| entry.ppid);
        while next > 1 && ancestors.iter().all(|above| above.pid != next) {
            // A parent that ended meanwhile has handed us to somebody above it, or to init.
            match Entry::read(next) {
                Ok(Some(entry)) => {
                    next = entry.ppid;
                    ancestors.push(entry);
                }
                Ok(None) => break,
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    hidden = Some(next);
                    break;
                }
                Err(error) => {
                    let text = format!("cannot read /proc/{next}/stat of a parent of this program: {error}");
                    return Err(io::Error::new(error.kind(), text));
                }
            }
        }
        Ok(Guard { own, ancestors, hidden, configured: configured.into_iter().collect() })
    }

    /// Why this pid must not be signalled now, if it must not.
    pub fn protects(&self, pid: u32) -> Option<String> {
        let why = match pid {
            0 | 1 => "init is never signalled",
            _ if pid == self.own => "it is factory-tick itself",
            _ if self.configured.contains(&pid) => "its pid is configured as protected",
            _ if self.is_ancestor(pid) || self.hidden == Some(pid) => "factory-tick was started by it",
            _ => return None,
        };
        Some(why.to_owned())
    }

    /// The configured pids.
    pub(super) fn configured(&self) -> impl Iterator<Item = u32> {
        self.configured.iter().copied()
    }

    /// Those among the parents of a process, as of now, that the configuration protects.
    pub(super) fn configured_above(&self, entry: &Entry) -> Vec<u32> {
        let mut found = Vec::new();
        let mut above = entry.ppid;
        for _ in 0..DEPTH_MAX {
            if above <= 1 || self.configured.is_empty() {
                break;
            }
            found.extend(self.configured.get(&above));
            above = Entry::read(above).ok().flatten().map_or(0, |entry| entry.ppid);
        }
        found
    }

    /// Every protected pid, sorted.
    pub fn pids(&self) -> Vec<u32> {
        let ancestors = self.ancestors.iter().map(|above| above.pid).filter(|&pid| self.is_ancestor(pid));
        let all: BTreeSet<u32> = [0, 1, self.own]
            .into_iter()
            .chain(ancestors)
            .chain(self.hidden)
            .chain(self.configured.iter().copied())
            .collect();
        all.into_iter().collect()
    }

    /// Whether `pid` is still the ancestor that it was. What can't be read stays protected.
    fn is_ancestor(&self, pid: u32) -> bool {
        let Some(above) = self.ancestors.iter().find(|above| above.pid == pid) else { return false };
        match Entry::read(pid) {
            Ok(Some(now)) => now.start_ticks == above.start_ticks,
            Ok(None) => false,
            Err(_) => true,
        }
    }
}

/// What became of a signal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It was delivered.
    Yes,
    /// There is no such process any more, or a zombie.
    Gone,
    /// It is protected, and why.
    Protected(String),
    /// The pid belongs to somebody else, or the record to another boot or pid namespace.
    Mismatch,
    /// It could not be sent, and why.
    Refused(String),
}

/// Sends `signal` to `process`, and to nobody else.
///
/// The order is the point. The descriptor is opened first and stays with whoever has the pid at
/// that moment; if that turns out to be the recorded process, it is the one that is signalled,
/// even when it ends in between and its pid is taken. Checking first and then signalling by pid
/// hits an innocent whenever the pid changes hands between the two.
pub fn send(process: &Process, host: &Host, guard: &Guard, signal: Signal) -> Sent {
    if let Some(why) = guard.protects(process.pid) {
        return Sent::Protected(why);
    }
    if process.boot_id != host.boot_id || process.pid_ns != host.pid_ns {
        return Sent::Mismatch;
    }
    let pidfd = match open_pidfd(process.pid) {
        Ok(pidfd) => pidfd,
        Err(Errno::SRCH) => return Sent::Gone,
        // The number is that of a thread now: of somebody else.
        Err(Errno::INVAL | Errno::NOENT) => return Sent::Mismatch,
        Err(error) => return Sent::Refused(format!("cannot open it for signalling: {error}")),
    };
    match identify(process.pid, host) {
        Ok(Some(now)) if now == *process => {}
        Ok(Some(_)) => return Sent::Mismatch,
        Ok(None) if has_ended(&pidfd) => return Sent::Gone,
        Ok(None) => return Sent::Refused("/proc hides it, so it can't be identified".to_owned()),
        Err(error) => return Sent::Refused(format!("cannot identify it: {error}")),
    }
    match rustix::process::pidfd_send_signal(&pidfd, signal) {
        Ok(()) => Sent::Yes,
        Err(Errno::SRCH) => Sent::Gone,
        Err(Errno::PERM) => Sent::Refused("not permitted: it runs as another user".to_owned()),
        Err(error) => Sent::Refused(format!("cannot signal it: {error}")),
    }
}

/// Waits for the end of a process, at the latest until `until`, and tells whether it ended.
pub(super) fn wait_gone(process: &Process, host: &Host, until: Instant) -> bool {
    let pidfd = match open_pidfd(process.pid) {
        Ok(pidfd) => pidfd,
        Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) => return true,
        // No descriptor to wait on: look again a little later.
        Err(_) => {
            pause(until.saturating_duration_since(Instant::now()).min(Duration::from_millis(20)));
            return false;
        }
    };
    match identify(process.pid, host) {
        Ok(Some(now)) if now.start_ticks == process.start_ticks => {}
        Ok(Some(_)) => return true,
        Ok(None) if has_ended(&pidfd) => return true,
        Ok(None) | Err(_) => {}
    }
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
        match rustix::event::poll(&mut fds, Some(&timespec(left))) {
            Ok(0) if left.is_zero() => return false,
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return true,
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::identity::{Life, life, own};
    use super::super::tests::Spawned;
    use super::*;

    fn subject() -> (Host, Guard, Spawned, Process) {
        let host = Host::read().unwrap();
        let guard = Guard::new([]).unwrap();
        let child = Spawned::new("read line", &[]);
        let process = identify(child.pid(), &host).unwrap().unwrap();
        (host, guard, child, process)
    }

    #[test]
    fn the_process_that_is_meant_gets_it() {
        let (host, guard, mut child, process) = subject();
        assert_eq!(send(&process, &host, &guard, Signal::KILL), Sent::Yes);
        assert!(wait_gone(&process, &host, Instant::now() + Duration::from_secs(20)));
        assert_eq!(send(&process, &host, &guard, Signal::KILL), Sent::Gone, "a zombie takes no signal");
        child.reap();
        assert_eq!(send(&process, &host, &guard, Signal::KILL), Sent::Gone);
    }

    // Origin: openclaw#132745, shepherd#1925 - a recycled pid is killed
    // covers: F38
    #[test]
    fn somebody_else_under_the_same_pid_does_not() {
        let (host, guard, _child, process) = subject();
        let others = [
            Process { start_ticks: process.start_ticks - 1, ..process.clone() },
            Process { uid: process.uid + 1, ..process.clone() },
            Process { boot_id: "another".to_owned(), ..process.clone() },
            Process { pid_ns: process.pid_ns + 1, ..process.clone() },
        ];
        for other in others {
            assert_eq!(send(&other, &host, &guard, Signal::KILL), Sent::Mismatch, "{other:?}");
        }
        assert_eq!(life(&process, &host), Life::Alive);
        // Nobody has it here: that says nothing of who has it there.
        let absent = Process { pid: u32::MAX, ..process };
        assert_eq!(send(&absent, &host, &guard, Signal::KILL), Sent::Gone);
        for elsewhere in [
            Process { boot_id: "another".to_owned(), ..absent.clone() },
            Process { pid_ns: absent.pid_ns + 1, ..absent },
        ] {
            assert_eq!(send(&elsewhere, &host, &guard, Signal::KILL), Sent::Mismatch, "{elsewhere:?}");
        }
    }

    #[test]
    fn a_number_that_is_of_a_thread_by_now_is_somebody_elses() {
        let (host, guard, _child, process) = subject();
        let thread = rustix::thread::gettid().as_raw_nonzero().get() as u32;
        // The test runner gives each test a thread; with a single one there is nothing to see.
        if thread != std::process::id() {
            let recorded = Process { pid: thread, ..process };
            assert_eq!(send(&recorded, &host, &guard, Signal::KILL), Sent::Mismatch);
            assert!(wait_gone(&recorded, &host, Instant::now() + Duration::from_secs(20)));
        }
    }

    #[test]
    fn only_the_configured_among_the_parents_are_told_as_such() {
        let (_, _, _child, process) = subject();
        let (own, entry) = (std::process::id(), Entry::read(process.pid).unwrap().unwrap());
        let above = Entry::read(own).unwrap().unwrap().ppid;
        let configured = |pids: &[u32]| Guard::new(pids.iter().copied()).unwrap().configured_above(&entry);
        assert_eq!(configured(&[]), [0; 0]);
        assert_eq!(configured(&[process.pid]), [0; 0], "not itself");
        assert_eq!(configured(&[own]), [own]);
        assert_eq!(configured(&[1]), [0; 0], "below init is everybody");
        if above > 1 {
            assert_eq!(configured(&[above, own]), [own, above], "at any height");
        }
    }

    #[test]
    fn this_program_its_parents_and_init_are_protected() {
        let (host, guard, _child, process) = subject();
        let own = own(&host).unwrap();
        let parent = Entry::read(own.pid).unwrap().unwrap().ppid;
        for pid in [0, 1, own.pid, parent] {
            assert!(guard.protects(pid).is_some(), "{pid}");
            assert!(guard.pids().contains(&pid), "{pid}");
        }
        assert_eq!(guard.protects(process.pid), None);
        assert!(!guard.pids().contains(&process.pid));
        assert!(matches!(send(&own, &host, &guard, Signal::KILL), Sent::Protected(_)));
    }

    #[test]
    fn a_configured_pid_is_protected() {
        let (host, _, _child, process) = subject();
        let guard = Guard::new([process.pid]).unwrap();
        assert!(matches!(send(&process, &host, &guard, Signal::KILL), Sent::Protected(_)));
        assert_eq!(life(&process, &host), Life::Alive);
        assert!(guard.pids().contains(&process.pid));
    }

    #[test]
    fn the_pid_of_a_parent_that_ended_protects_nobody() {
        let (_, mut guard, _child, process) = subject();
        let mut former = Entry::read(process.pid).unwrap().unwrap();
        guard.ancestors.push(former.clone());
        assert!(guard.protects(process.pid).is_some());
        former.start_ticks -= 1;
        guard.ancestors = vec![former];
        assert_eq!(guard.protects(process.pid), None);
    }

    #[test]
    fn waiting_for_a_process_that_goes_on_ends_in_time() {
        let (host, _, _child, process) = subject();
        let started = Instant::now();
        assert!(!wait_gone(&process, &host, started + Duration::from_millis(30)));
        assert!(started.elapsed() >= Duration::from_millis(30));
        let former = Process { start_ticks: process.start_ticks - 1, ..process };
        assert!(wait_gone(&former, &host, Instant::now() + Duration::from_secs(20)));
    }
}
