//! Processes, and what launchers write down of them.

use serde::{Deserialize, Serialize};

use super::ClockReading;

/// A process, so exactly that no other process can pass for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// Process id, within `pid_ns`.
    pub pid: u32,
    /// Start time in clock ticks since boot (field 22 of `/proc/<pid>/stat`).
    pub start_ticks: u64,
    /// The boot it belongs to.
    pub boot_id: String,
    /// Inode of its pid namespace (`/proc/<pid>/ns/pid`), marked where its clocks are not the machine's.
    pub pid_ns: u64,
    /// Real user id.
    pub uid: u32,
}

/// `runs/<run>/claim`: who may start this run. Linked into place once, so whole or absent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Claim {
    /// A launcher took it, at that moment.
    Launcher(Box<Claimed>),
    /// A tick took it, so that no launcher ever can.
    FencedBy(String),
    /// A launcher took it only to say that it will not start.
    Refused(Refusal),
}

/// Why a launcher did not start its run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// In words.
    pub because: String,
    /// Whether it was because another launcher of the same agent lives.
    pub duplicate: bool,
    /// Whether the machine was short of something, or refused writes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub machine: bool,
}

/// Where a run works, so that its fleet finds it again. Each kind of fleet has a variant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RunHandle {
    /// Below a launcher, a process of one host.
    Local(LocalLauncher),
}

impl RunHandle {
    /// The launcher's process, where the run has one.
    pub fn process(&self) -> Option<&Process> {
        let RunHandle::Local(launcher) = self;
        Some(&launcher.process)
    }

    /// The launcher's pid, for people.
    pub fn pid(&self) -> Option<u32> {
        self.process().map(|process| process.pid)
    }
}

/// A launcher of a host that has no id.
impl From<Process> for RunHandle {
    fn from(process: Process) -> RunHandle {
        RunHandle::Local(LocalLauncher { process, machine_id: None })
    }
}

/// A launcher and the host that it runs on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalLauncher {
    /// The launcher itself.
    pub process: Process,
    /// `/etc/machine-id` of the host, as the launcher saw it; `None` where the host has none. Containers of one host may
    /// differ here, so it says something only of processes of different boots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine_id: Option<String>,
}

/// The launcher that claimed a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claimed {
    /// Where the run works.
    pub handle: RunHandle,
    /// When.
    pub since: ClockReading,
}

/// Why the main process of a run is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitReason {
    /// By itself.
    Exited,
    /// The launcher ended it: it ran longer than its role's `deadline`.
    Deadline,
    /// The launcher ended it: nothing on stdout for longer than its role's `stall`.
    Stalled,
    /// The launcher was told to stop.
    Stopped,
    /// It never ran: its workspace or its command would not do.
    Launch,
    /// It never ran: a hook failed.
    Hook,
    /// It never ran: the machine could not make a process just then.
    Infra,
    /// It never ran: the machine was short of something, or refused writes.
    Machine,
}

/// What an agent said of itself on lines of its stdout.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reported {
    /// `FACTORY_SESSION=<id>`, or the first group of the role's `session` pattern; the last one wins.
    pub session: Option<String>,
    /// `FACTORY_PARK=<reason>`: it wants a person.
    pub park: Option<String>,
    /// Tool servers that its role needs and that its program could not connect to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unconnected: Vec<String>,
}

/// What is free on a file system for an ordinary user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Free {
    /// In bytes.
    pub bytes: u64,
    /// Inodes; `None` where the file system makes them as they are needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inodes: Option<u64>,
}

impl Free {
    /// Below this, in bytes, a disk is full: what an agent writes is larger.
    const FULL_BYTES: u64 = 1 << 20;

    /// Below this many inodes likewise.
    const FULL_INODES: u64 = 16;

    /// Whether nothing of any size can be written.
    pub fn is_full(&self) -> bool {
        self.bytes < Free::FULL_BYTES || self.inodes.is_some_and(|inodes| inodes < Free::FULL_INODES)
    }
}

/// What is free where a factory writes; `None` where the system does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Room {
    /// Where the state lies.
    pub state: Option<Free>,
    /// Where the workspaces lie.
    pub workspaces: Option<Free>,
}

impl Room {
    /// Both, each with its name.
    pub fn disks(&self) -> impl Iterator<Item = (&'static str, Free)> {
        let disks = [("the state", self.state), ("the workspaces", self.workspaces)];
        disks.into_iter().filter_map(|(name, free)| Some((name, free?)))
    }
}

/// `runs/<run>/exit`: how the main process ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exit {
    /// Exit code, when it exited.
    pub code: Option<i32>,
    /// Signal number, when it was killed.
    pub signal: Option<i32>,
    /// Why.
    pub reason: ExitReason,
    /// The error text where it never ran.
    pub error: Option<String>,
    /// When the main process was started; when the run was claimed, where it never ran.
    pub started: ClockReading,
    /// When it ended.
    pub ended: ClockReading,
    /// User and system time of the main process and the children it waited for, in milliseconds; that of the
    /// hooks before it is included.
    pub cpu_ms: u64,
    /// Largest resident set of any of them, in KiB.
    pub peak_kib: u64,
    /// What it said of itself.
    pub reported: Reported,
    /// How much longer than for a sweep alone its launcher may take from then on, in milliseconds: it runs the
    /// `after_run` hook. `None`: there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_run_ms: Option<u64>,
    /// What `[done] command` answered then; `None` where it was not asked, or did not answer in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<i32>,
    /// What was free when it ended.
    pub room: Room,
    /// The limit by which its launcher ended it, in milliseconds; `None`: no limit ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_ms: Option<u64>,
}

impl Exit {
    /// Whether there was no agent at all: a hook failed, or the program could not be started.
    pub fn never_began(&self) -> bool {
        self.error.is_some()
    }
}

/// `runs/<run>/swept`: what became of everything the run had started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CleanupReceipt {
    /// Who looked: `launcher`, or `tick` where the launcher had died.
    pub by: String,
    /// Processes that could not be ended; empty is the promise.
    pub survivors: Vec<Survivor>,
    /// Why the `after_run` hook did not end well; `None`: it did, or there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_run: Option<String>,
}

/// A process of a run that could not be ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Survivor {
    /// Which one.
    pub pid: u32,
    /// Its start ticks, so that a later reader knows whether it is still the same.
    pub start_ticks: u64,
    /// Its command name, for people.
    pub comm: String,
    /// Why it lives.
    pub because: String,
}

/// The last output of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Last 64 KiB of stdout, as text.
    pub stdout_tail: String,
    /// Last 64 KiB of stderr, as text.
    pub stderr_tail: String,
}
