//! One look at `/proc`: who is there, who is whose parent, who carries the marker of a run.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::time::Duration;

use rustix::io::Errno;

use super::wait;

/// The variable in which a process of a run carries `<lineage>/<run>`.
const MARKER: &[u8] = b"FACTORY_RUN=";

/// As much of an environment as is looked at. The kernel's own limit for arguments and
/// environment together is 2 MiB under an ordinary stack limit.
const ENVIRON_BYTES_MAX: u64 = 2 * 1024 * 1024;

/// How often one walk lists `/proc`, where processes are started all the time. Each listing after the
/// first is read within a millisecond or two, so little evades them all.
const LISTINGS_MAX: u32 = 20;

/// How many of those that were started last are looked up by themselves after a listing. One that is replaced by the next
/// one within a tenth of a millisecond is gone before its turn in a listing comes.
const FORKS_MAX: u32 = 50;

/// While a process replaces its program it has no environment for a moment: how often to look
/// again, and how long to wait in between.
const EXEC_LOOKS: u32 = 200;
const EXEC_PAUSE: Duration = Duration::from_micros(100);

/// `PF_KTHREAD`: a thread of the kernel's own. Pid 2 and its children say so only outside containers.
const KERNEL_THREAD: u64 = 0x0020_0000;

/// One process, as its `/proc/<pid>/stat` told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Process id.
    pub pid: u32,
    /// Its parent; 0 where the parent is outside the pid namespace.
    pub ppid: u32,
    /// Start time, in clock ticks since boot.
    pub start_ticks: u64,
    /// The kernel's letter: `R`unning, `S`leeping, `D`isk sleep, s`T`opped, `Z`ombie and so on.
    pub state: char,
    /// Command name as the process set it: untrusted, lossily decoded.
    pub comm: String,
    /// How many threads are left.
    pub threads: u64,
    /// Whether it is a thread of the kernel, which has no environment and takes no signal.
    pub kernel: bool,
    /// Whether it was given an environment without a variable. False while it replaces its
    /// program, and where we may not know.
    bare: bool,
}

impl Entry {
    /// Reads one process; `None` when there is no such process.
    ///
    /// # Errors
    /// When the file exists but can't be read (a `/proc` mounted with `hidepid`, no descriptors
    /// left) or is not what the kernel writes.
    pub fn read(pid: u32) -> io::Result<Option<Entry>> {
        let stat = File::open(format!("/proc/{pid}/stat"));
        read_stat(pid, stat)
    }

    /// Whether nothing of it runs any more.
    ///
    /// A process whose first thread has ended looks like a zombie while its other threads work on;
    /// a real zombie has one thread left, the one whose status is still to be fetched.
    pub fn is_dead(&self) -> bool {
        match self.state {
            'Z' => self.threads <= 1,
            'X' | 'x' => true,
            _ => false,
        }
    }

    /// Reads the line of `stat`. The command name may hold blanks, newlines and parentheses, so
    /// the fields begin after the *last* one.
    fn parse(pid: u32, stat: &[u8]) -> Option<Entry> {
        let open = stat.iter().position(|&byte| byte == b'(')?;
        let close = stat.iter().rposition(|&byte| byte == b')')?;
        let comm = String::from_utf8_lossy(stat.get(open + 1..close)?).into_owned();
        let rest = std::str::from_utf8(&stat[close + 1..]).ok()?;
        // proc_pid_stat(5) counts from 1 and the state is its field 3.
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3).copied();
        Some(Entry {
            pid,
            ppid: field(4)?.parse().ok()?,
            start_ticks: field(22)?.parse().ok()?,
            state: field(3)?.chars().next()?,
            comm,
            threads: field(20)?.parse().ok()?,
            kernel: field(9)?.parse::<u64>().ok()? & KERNEL_THREAD != 0,
            // Where its environment begins and ends in memory; 0 while there is none.
            bare: field(50)? == field(51)? && field(51)? != "0",
        })
    }
}

/// Reads a `stat` file that was just opened, or not. The kernel hands it out whole in one read.
pub(super) fn read_stat(pid: u32, stat: io::Result<File>) -> io::Result<Option<Entry>> {
    let mut buffer = [0; 4096];
    let Some(length) = unless_gone(stat.and_then(|mut file| file.read(&mut buffer)))? else {
        return Ok(None);
    };
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, format!("/proc/{pid}/stat is malformed"));
    Entry::parse(pid, &buffer[..length]).map(Some).ok_or_else(malformed)
}

/// Turns "there is no such process" into `None`: the file is absent (ENOENT), or the process
/// ended after the file was opened (ESRCH).
pub(super) fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) => match Errno::from_io_error(&error) {
            Some(Errno::NOENT | Errno::SRCH) => Ok(None),
            _ => Err(error),
        },
    }
}

/// Every process, at about one moment.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    entries: BTreeMap<u32, Entry>,
}

impl Scan {
    /// Looks at every process once.
    ///
    /// # Errors
    /// When `/proc` can't be listed or no file in it can be opened for want of descriptors.
    pub fn take() -> io::Result<Scan> {
        let mut scan = Scan::default();
        walk(|entry| scan.insert(entry))?;
        Ok(scan)
    }

    /// The process with this id.
    pub fn get(&self, pid: u32) -> Option<&Entry> {
        self.entries.get(&pid)
    }

    /// Everything below `root`, at any depth, deepest first; without `root` itself.
    pub fn descendants(&self, root: u32) -> Vec<u32> {
        self.descendants_outside(root, |_| false)
    }

    /// Everything below `root`, deepest first, leaving out what is `beyond` a border together with
    /// everything below that.
    pub(super) fn descendants_outside(&self, root: u32, beyond: impl Fn(u32) -> bool) -> Vec<u32> {
        let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for entry in self.entries.values() {
            children.entry(entry.ppid).or_default().push(entry.pid);
        }
        // The processes were not all read at one moment, so parents may even form a circle.
        let mut seen = BTreeSet::from([root]);
        let mut found = vec![root];
        let mut next = 0;
        while let Some(&parent) = found.get(next) {
            next += 1;
            for &child in children.get(&parent).into_iter().flatten() {
                if !beyond(child) && seen.insert(child) {
                    found.push(child);
                }
            }
        }
        found.remove(0);
        found.reverse();
        found
    }

    /// The parent of `pid`, its parent, and so on.
    pub fn ancestors(&self, pid: u32) -> Vec<u32> {
        let mut seen = BTreeSet::from([pid]);
        let mut above = Vec::new();
        let mut current = pid;
        while let Some(parent) = self.entries.get(&current).map(|entry| entry.ppid) {
            if parent == 0 || !seen.insert(parent) {
                break;
            }
            above.push(parent);
            current = parent;
        }
        above
    }

    pub(super) fn insert(&mut self, entry: Entry) {
        self.entries.insert(entry.pid, entry);
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }
}

/// Visits every process, each right after it was read. True if nobody can have been missed: nothing was started
/// while the last listing was made and read.
///
/// One listing is not enough: what was forked since is not in it, and its parent may have ended
/// before its turn came, so that a process which lives a millisecond and leaves a child behind
/// could slip through for good. A walk is over when a fresh listing names nobody who was not visited, and the
/// kernel has given no pid meanwhile.
///
/// A process that may not be read at all (another user's, under `hidepid`) is passed over.
pub(super) fn walk(visit: impl FnMut(Entry)) -> io::Result<bool> {
    walk_while(visit, last_pid)
}

/// The same, where `last_pid` tells who was started last.
fn walk_while(mut visit: impl FnMut(Entry), mut last_pid: impl FnMut() -> Option<u32>) -> io::Result<bool> {
    let mut visited = HashSet::new();
    for _ in 0..LISTINGS_MAX {
        let last = last_pid();
        let mut news = false;
        for dir in fs::read_dir("/proc")? {
            let Some(pid) = dir?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            if visited.insert(pid) {
                news = true;
                visit_one(pid, &mut visit)?;
            }
        }
        if !news && last_pid() == last {
            return Ok(true);
        }
        for _ in 0..FORKS_MAX {
            // The number may be that of a thread.
            match last_pid().filter(|pid| visited.insert(*pid)) {
                Some(pid) if wait::open_pidfd(pid).is_ok() => visit_one(pid, &mut visit)?,
                Some(_) => {}
                None => break,
            }
        }
    }
    Ok(false)
}

fn visit_one(pid: u32, visit: &mut impl FnMut(Entry)) -> io::Result<()> {
    match Entry::read(pid) {
        Ok(Some(entry)) => visit(entry),
        Ok(None) => {}
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

/// The pid that the kernel gave last in this pid namespace; `None` where it does not say.
fn last_pid() -> Option<u32> {
    let loadavg = fs::read_to_string("/proc/loadavg").ok()?;
    loadavg.split_ascii_whitespace().last()?.parse().ok()
}

/// The marker in the environment of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunMarker {
    /// The whole value of `FACTORY_RUN` that it was started with: the first one, where it has several.
    Is(Vec<u8>),
    /// It has none, its environment can't be read, or it has ended.
    Absent,
    /// It was replacing its program as long as we cared to wait, and had no environment meanwhile.
    ExecUnderWay,
}

/// Reads the marker of a process.
pub fn run_marker(pid: u32) -> RunMarker {
    let mut bare_before = false;
    for _ in 0..EXEC_LOOKS {
        let mut environ = Vec::new();
        let file = File::open(format!("/proc/{pid}/environ"));
        if file.and_then(|file| file.take(ENVIRON_BYTES_MAX).read_to_end(&mut environ)).is_err() {
            return RunMarker::Absent;
        }
        if !environ.is_empty() {
            return marker_in(&environ).map_or(RunMarker::Absent, |marker| RunMarker::Is(marker.to_vec()));
        }
        // Empty for good, or in the middle of an exec? What starts itself again and again would
        // otherwise be overlooked now and then. The end of an exec looks bare for a moment too,
        // so that has to be seen twice.
        let Ok(Some(entry)) = Entry::read(pid) else { return RunMarker::Absent };
        if entry.is_dead() || entry.kernel || (entry.bare && bare_before) {
            return RunMarker::Absent;
        }
        bare_before = entry.bare;
        wait::pause(EXEC_PAUSE);
    }
    RunMarker::ExecUnderWay
}

/// The marker in a block of NUL-terminated variables. What is not terminated was cut off, and a
/// part of a value must never pass for the whole.
fn marker_in(environ: &[u8]) -> Option<&[u8]> {
    environ
        .split_inclusive(|&byte| byte == 0)
        .filter_map(|variable| variable.strip_suffix(&[0]))
        .find_map(|variable| variable.strip_prefix(MARKER))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{Spawned, passes_alone};
    use super::*;

    fn stat(comm: &[u8], state: char, ppid: u32, threads: u32, flags: u64) -> Vec<u8> {
        let mut line = b"77 (".to_vec();
        line.extend_from_slice(comm);
        let rest = format!(
            ") {state} {ppid} 1 1 0 -1 {flags} 0 0 0 0 0 0 0 0 20 0 {threads} 0 4711 2342912 227 18446744073709551615 \
             1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0 1 1 1 1 1 140722345678000 140722345678848 0\n"
        );
        line.extend_from_slice(rest.as_bytes());
        line
    }

    fn entry(pid: u32, ppid: u32) -> Entry {
        Entry { pid, ppid, ..Entry::parse(pid, &stat(b"x", 'S', ppid, 1, 0)).unwrap() }
    }

    fn scan(pairs: &[(u32, u32)]) -> Scan {
        let mut scan = Scan::default();
        for &(pid, ppid) in pairs {
            scan.insert(entry(pid, ppid));
        }
        scan
    }

    #[test]
    fn a_command_name_can_hold_anything() {
        for comm in [&b"sleep"[..], b"a b", b") Z 1 (", b"a\nb", b"tmux: server)", b"", b"\xff\xfe"] {
            let entry = Entry::parse(77, &stat(comm, 'S', 12, 3, 0)).unwrap();
            assert_eq!((entry.ppid, entry.state, entry.start_ticks, entry.threads), (12, 'S', 4711, 3));
            assert_eq!(entry.comm, String::from_utf8_lossy(comm));
            assert!(!entry.bare);
        }
    }

    #[test]
    fn a_cut_line_is_no_process() {
        let line = stat(b"sleep", 'S', 12, 1, 0);
        assert_eq!(Entry::parse(77, b""), None);
        assert_eq!(Entry::parse(77, &line[..20]), None);
        assert_eq!(Entry::parse(77, b"77 )("), None);
    }

    // Origin: hermes-agent#20015 - a zombie counts as alive
    // covers: F40
    #[test]
    fn a_zombie_is_dead_unless_other_threads_go_on() {
        let dead = |state, threads| Entry::parse(77, &stat(b"x", state, 1, threads, 0)).unwrap().is_dead();
        assert!(dead('Z', 1));
        assert!(dead('X', 1));
        assert!(!dead('Z', 2), "its first thread has ended, the process has not");
        for state in ['R', 'S', 'D', 'T', 't', 'I'] {
            assert!(!dead(state, 1), "{state}");
        }
    }

    #[test]
    fn a_kernel_thread_is_known_by_its_flag_not_by_pid_2() {
        assert!(Entry::parse(77, &stat(b"kworker", 'I', 2, 1, 0x0020_8040)).unwrap().kernel);
        assert!(!Entry::parse(2, &stat(b"sh", 'S', 1, 1, 0x0040_0000)).unwrap().kernel);
    }

    #[test]
    fn descendants_come_deepest_first() {
        let scan = scan(&[(1, 0), (10, 1), (11, 10), (12, 11), (13, 10), (20, 1)]);
        let below = scan.descendants(10);
        assert_eq!(below.iter().copied().collect::<BTreeSet<_>>(), BTreeSet::from([11, 12, 13]));
        assert_eq!(below[0], 12);
        assert!(scan.descendants(12).is_empty());
        assert!(scan.descendants(999).is_empty());
    }

    #[test]
    fn a_border_hides_everything_below_it() {
        let scan = scan(&[(10, 1), (11, 10), (12, 11), (13, 10)]);
        assert_eq!(scan.descendants_outside(10, |pid| pid == 11), [13]);
    }

    #[test]
    fn a_circle_of_parents_ends() {
        let scan = scan(&[(10, 12), (11, 10), (12, 11)]);
        assert_eq!(scan.descendants(10), [12, 11]);
        assert_eq!(scan.ancestors(10), [12, 11]);
    }

    #[test]
    fn ancestors_end_where_the_namespace_does() {
        assert_eq!(scan(&[(1, 0), (10, 1), (11, 10)]).ancestors(11), [10, 1]);
    }

    #[test]
    fn the_marker_is_one_whole_variable() {
        let marker = |environ: &[u8]| marker_in(environ).map(<[u8]>::to_vec);
        assert_eq!(marker(b"A=1\0FACTORY_RUN=x/a.1\0B=2\0"), Some(b"x/a.1".to_vec()));
        assert_eq!(marker(b"FACTORY_RUN=x/a.1\0FACTORY_RUN=x/b.1\0"), Some(b"x/a.1".to_vec()));
        assert_eq!(marker(b"FACTORY_RUN=\0"), Some(Vec::new()));
        assert_eq!(marker(b"OLD_FACTORY_RUN=x/a.1\0"), None);
        assert_eq!(marker(b"A=FACTORY_RUN=x/a.1\0"), None);
        assert_eq!(marker(b"FACTORY_RUNS=x/a.1\0"), None);
        assert_eq!(marker(b"FACTORY_RUN=x/a.1"), None, "cut off: it may go on");
        assert_eq!(marker(b""), None);
    }

    #[test]
    fn a_scan_shows_this_process_and_its_parents() {
        let scan = Scan::take().unwrap();
        let own = scan.get(std::process::id()).expect("this process is not in /proc");
        assert_eq!(Entry::read(own.pid).unwrap().unwrap().start_ticks, own.start_ticks);
        assert!(!own.is_dead() && !own.kernel);
        assert_eq!(scan.ancestors(own.pid).first(), Some(&own.ppid));
    }

    // Listings named nobody new, while between any two reads of one somebody came and went.
    #[test]
    fn a_walk_during_which_pids_were_given_is_not_whole() {
        let mut pid = 0x4000_0000;
        let always_another = || {
            pid += 1;
            Some(pid)
        };
        assert!(!walk_while(|_| {}, always_another).unwrap());
        assert!(last_pid().is_some_and(|pid| pid > 0));
    }

    #[test]
    fn an_empty_environment_is_told_from_an_exec_under_way() {
        let mut child = Spawned::new("exec env -i /bin/sh -c 'read line; echo $line; read line'", &[]);
        child.say("ready");
        assert_eq!(child.line(), "ready");
        assert!(Entry::read(child.pid()).unwrap().unwrap().bare);
        assert_eq!(run_marker(child.pid()), RunMarker::Absent);
    }

    #[test]
    fn a_zombie_has_no_marker_and_is_not_waited_for() {
        let mut child = Spawned::of_run("x/a.1", "read line");
        child.end_without_reaping();
        assert_eq!(run_marker(child.pid()), RunMarker::Absent);
    }

    // "The system would not let me look" is not "nobody is there".
    // covers: F31
    #[test]
    #[expect(clippy::disallowed_methods, reason = "the test is told by its environment that it is alone")]
    fn a_look_without_descriptors_is_an_error() {
        use std::os::fd::AsRawFd;
        const SELF: &str = "process::scan::tests::a_look_without_descriptors_is_an_error";
        const ALONE: &str = "FACTORY_TEST_ALONE";
        if std::env::var_os(ALONE).is_none() {
            return passes_alone(SELF, (ALONE, "1"));
        }
        // So few that `/proc` can be listed, and nothing in it read.
        let free = File::open("/").unwrap().as_raw_fd().unsigned_abs();
        let before = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let few = rustix::process::Rlimit { current: Some(u64::from(free) + 1), ..before };
        rustix::process::setrlimit(rustix::process::Resource::Nofile, few).unwrap();
        let looked = Scan::take().map(drop);
        rustix::process::setrlimit(rustix::process::Resource::Nofile, before).unwrap();
        assert!(looked.unwrap_err().to_string().contains("Too many open files"));
        Scan::take().unwrap();
    }

    #[test]
    fn the_marker_of_a_live_process_is_read() {
        let mut child = Spawned::of_run("x/a.1", "echo $$; read line");
        child.line();
        assert_eq!(run_marker(child.pid()), RunMarker::Is(b"x/a.1".to_vec()));
    }

    proptest! {
        // Noise, and a line of the kernel's with a name that is noise.
        #[test]
        fn any_line_of_stat_is_a_process_or_none(
            noise in any::<Vec<u8>>(),
            comm in any::<Vec<u8>>(),
            (state, ppid, threads) in ("[RSDTtZXI]", any::<u32>(), any::<u32>()),
            cut in any::<prop::sample::Index>(),
        ) {
            let _ = Entry::parse(77, &noise);
            let line = stat(&comm, state.chars().next().unwrap(), ppid, threads, 0);
            let entry = Entry::parse(77, &line).unwrap();
            prop_assert_eq!((entry.ppid, entry.threads, entry.start_ticks), (ppid, threads.into(), 4711));
            prop_assert_eq!(entry.comm, String::from_utf8_lossy(&comm));
            // Cut anywhere it is none, or what it still tells of these fields is right.
            let cut = Entry::parse(77, &line[..cut.index(line.len())]);
            prop_assert!(cut.is_none_or(|cut| cut.ppid == ppid && cut.start_ticks == 4711));
        }

        #[test]
        fn any_environment_has_the_whole_marker_or_none(
            variables in prop::collection::vec(("(FACTORY_RUN|OLD_FACTORY_RUN|A|)", "[a-z0-9/.=]{0,8}"), 0..5),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut environ: Vec<u8> = Vec::new();
            for (name, value) in &variables {
                environ.extend_from_slice(format!("{name}={value}\0").as_bytes());
            }
            let first = variables.iter().find(|(name, _)| name == "FACTORY_RUN").map(|(_, value)| value.as_bytes());
            prop_assert_eq!(marker_in(&environ), first);
            let cut = &environ[..cut.index(environ.len() + 1)];
            prop_assert!(marker_in(cut).is_none_or(|marker| Some(marker) == first));
        }
    }
}
