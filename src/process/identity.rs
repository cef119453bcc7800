//! Who a process is, so that nobody else can pass for it.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, bail};
use rustix::fs::{Mode, OFlags};

use super::scan::{self, Entry};
use super::wait;
use crate::fingerprint;
use crate::model::{LocalLauncher, Process};

/// Where the mark of shifted clocks begins in `pid_ns`: above the 32 bits of an inode.
const MARK_SHIFT: u32 = 32;

/// What every process on this machine has in common. Read once per program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// `/proc/sys/kernel/random/boot_id`: changes with every boot.
    pub boot_id: String,
    /// Inode of the pid namespace that this program, and its `/proc`, belong to; with a mark above it where this program's
    /// clocks are not the machine's.
    pub pid_ns: u64,
    /// Real user id of this program.
    pub uid: u32,
    /// `/etc/machine-id`; `None` where there is none, as in many containers.
    pub machine_id: Option<String>,
}

impl Host {
    /// Reads all of it.
    ///
    /// # Errors
    /// When `/proc` is not mounted, or shows the processes of another pid namespace: its numbers
    /// would then mean other processes to the kernel than to us.
    pub fn read() -> anyhow::Result<Host> {
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .context("cannot read /proc/sys/kernel/random/boot_id; is /proc mounted?")?;
        // Nothing in its place would make every process look like one of an earlier boot: dead.
        if !is_boot_id(boot_id.trim()) {
            bail!(
                "/proc/sys/kernel/random/boot_id holds {boot_id:?}, which is no boot id; mount /proc as it should be"
            );
        }
        let shown = fs::read_link("/proc/self").context("cannot read /proc/self; is /proc mounted?")?;
        if shown.to_str() != Some(&std::process::id().to_string()) {
            bail!(
                "/proc shows another pid namespace (it calls this process {}, the kernel {}); \
                 mount a /proc of this namespace: mount -t proc proc /proc",
                shown.display(),
                std::process::id()
            );
        }
        let inode = fs::metadata("/proc/self/ns/pid").context("cannot read /proc/self/ns/pid")?.ino();
        let pid_ns =
            inode | mark_of_clocks(&fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default());
        Ok(Host {
            boot_id: boot_id.trim().to_owned(),
            pid_ns,
            uid: rustix::process::getuid().as_raw(),
            machine_id: machine_id(),
        })
    }
}

/// In a time namespace of its own a program is shown the start of every process by its own clock: as another one than
/// those outside have on record. To both, what the other has started is as far away as in another pid namespace. `offsets`
/// is what `/proc/self/timens_offsets` holds: one line for each clock, its name, seconds and nanoseconds.
fn mark_of_clocks(offsets: &str) -> u64 {
    let shift = |line: &str| line.split_whitespace().skip(1).any(|number| number != "0");
    if !offsets.lines().any(shift) {
        return 0;
    }
    // Inodes of namespaces have 32 bits, and a number in JSON keeps 53.
    let digest = fingerprint::sha256_hex(&[offsets.as_bytes()]);
    u64::from_str_radix(&digest[..5], 16).map_or(1, |mark| mark | 1) << MARK_SHIFT
}

/// The id of this host. Images of containers hold an empty file, or the word `uninitialized`.
fn machine_id() -> Option<String> {
    let text = fs::read_to_string("/etc/machine-id").ok()?;
    let id = text.trim();
    (id.len() == 32 && id.bytes().all(|c| c.is_ascii_hexdigit())).then(|| id.to_owned())
}

/// Whether this is what the kernel calls a boot: a UUID.
fn is_boot_id(text: &str) -> bool {
    text.len() == 36 && text.bytes().all(|c| c.is_ascii_hexdigit() || c == b'-')
}

/// The identity of a live process; `None` when there is none with this pid, or only a zombie, or
/// the number is that of a thread.
///
/// # Errors
/// When the process exists but may not be read, or no descriptors are left.
pub fn identify(pid: u32, host: &Host) -> io::Result<Option<Process>> {
    // Both files through one directory: it stays bound to the process, so that they can't come
    // from two processes that had the same pid one after the other.
    let dir = rustix::fs::open(
        format!("/proc/{pid}"),
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    );
    let Some(dir) = scan::unless_gone(dir.map_err(io::Error::from))? else { return Ok(None) };
    let Some(entry) = scan::read_stat(pid, open_in(&dir, "stat"))? else { return Ok(None) };
    if entry.is_dead() {
        return Ok(None);
    }
    let Some(status) = scan::unless_gone(open_in(&dir, "status").and_then(read_text))? else {
        return Ok(None);
    };
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, format!("/proc/{pid}/status is malformed"));
    if status_field(&status, "Tgid:").ok_or_else(malformed)? != pid {
        return Ok(None);
    }
    Ok(Some(Process {
        pid,
        start_ticks: entry.start_ticks,
        boot_id: host.boot_id.clone(),
        pid_ns: host.pid_ns,
        uid: status_field(&status, "Uid:").ok_or_else(malformed)?,
    }))
}

/// The identity of this program itself.
///
/// # Errors
/// When `/proc` can't be read.
pub fn own(host: &Host) -> io::Result<Process> {
    let pid = std::process::id();
    identify(pid, host)?
        .ok_or_else(|| io::Error::other(format!("/proc/{pid}, this program itself, is not there")))
}

/// Whether a recorded process still lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Life {
    /// It does.
    Alive,
    /// It ended: nobody has its pid, or a zombie has, or somebody else.
    Dead,
    /// It belongs to an earlier boot, and so is dead.
    OtherBoot,
    /// It can't be told, and why: it must not be taken for dead.
    Unknown(String),
}

/// Whether `process` still lives. Reads one file.
pub fn life(process: &Process, host: &Host) -> Life {
    if process.boot_id != host.boot_id {
        return Life::OtherBoot;
    }
    if process.pid_ns != host.pid_ns {
        return Life::Unknown(format!("process {} belongs to another pid or time namespace", process.pid));
    }
    match Entry::read(process.pid) {
        Ok(Some(entry)) if entry.start_ticks == process.start_ticks && !entry.is_dead() => Life::Alive,
        Ok(Some(_)) => Life::Dead,
        Ok(None) if is_hidden(process.pid) => {
            Life::Unknown(format!("/proc hides process {} (mounted with hidepid)", process.pid))
        }
        Ok(None) => Life::Dead,
        Err(error) => Life::Unknown(format!("cannot read /proc/{}/stat: {error}", process.pid)),
    }
}

/// Whether a launcher still lives. Another boot of another host says nothing of a launcher: that host may run on.
pub fn launcher_life(launcher: &LocalLauncher, host: &Host) -> Life {
    let process = &launcher.process;
    let (theirs, ours) = (&launcher.machine_id, &host.machine_id);
    if process.boot_id != host.boot_id && theirs.is_some() && ours.is_some() && theirs != ours {
        let id = theirs.as_deref().unwrap_or_default();
        return Life::Unknown(format!(
            "its launcher, pid {}, runs on another host (machine id {id}), so that only a tick on that host can tell \
             whether it lives",
            process.pid
        ));
    }
    life(process, host)
}

/// Whether `process` belongs to this boot and to another pid or time namespace, so that no pid tells whether it lives.
pub fn is_elsewhere(process: &Process, host: &Host) -> bool {
    process.boot_id == host.boot_id && process.pid_ns != host.pid_ns
}

/// Whether the monotonic clock of `process` is not this program's, so that no age of it can be told.
pub fn has_other_clocks(process: &Process, host: &Host) -> bool {
    process.pid_ns >> MARK_SHIFT != host.pid_ns >> MARK_SHIFT
}

/// Whether the kernel knows a live process that `/proc` doesn't show: absent is not unknown.
fn is_hidden(pid: u32) -> bool {
    match wait::open_pidfd(pid) {
        // One that ended between the two looks is not hidden, and neither is one whose pid was
        // taken between them: its own file is there by now.
        Ok(pidfd) => !wait::has_ended(&pidfd) && matches!(Entry::read(pid), Ok(None)),
        Err(_) => false,
    }
}

fn open_in(dir: &OwnedFd, name: &str) -> io::Result<File> {
    let file = rustix::fs::openat(dir, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    Ok(File::from(file))
}

fn read_text(mut file: File) -> io::Result<String> {
    let mut bytes = Vec::with_capacity(2048);
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The first number of a line of `status`. The kernel escapes newlines in the command name, so
/// no line can be forged.
fn status_field(status: &str, name: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::signal::{Guard, Sent, Signal, send, wait_gone};
    use super::super::tests::{Spawned, skipped};
    use super::*;

    #[test]
    fn clocks_that_are_shifted_mark_a_place_of_their_own() {
        let text =
            |boottime: i64| format!("monotonic           0         0\nboottime       {boottime}         0\n");
        assert_eq!((mark_of_clocks(""), mark_of_clocks(&text(0))), (0, 0));
        let marks = [864_000, -5, 1].map(|boottime| mark_of_clocks(&text(boottime)));
        assert!(marks.iter().all(|mark| *mark >= 1 << 32 && *mark < 1 << 53), "{marks:?}");
        assert!(marks[0] != marks[1] && marks[1] != marks[2] && marks[0] != marks[2]);
    }

    #[test]
    fn what_stands_in_the_place_of_a_boot_id_is_none() {
        assert!(is_boot_id("a2569f14-2537-4f6c-b476-39591a1189e0"));
        for text in ["", "0", "a2569f14-2537-4f6c-b476-39591a1189e", "a2569f14-2537-4f6c-b476-39591a1189ez"] {
            assert!(!is_boot_id(text), "{text:?}");
        }
    }

    #[test]
    fn this_program_is_alive_and_itself() {
        let host = Host::read().unwrap();
        let own = own(&host).unwrap();
        assert_eq!(own.pid, std::process::id());
        assert_eq!(own.uid, host.uid);
        assert_eq!(own.boot_id.len(), 36, "{own:?}");
        assert_eq!(life(&own, &host), Life::Alive);
    }

    // Origin: openclaw#132745, shepherd#1925 - a recycled pid passes for the recorded process
    // covers: F38
    #[test]
    fn another_start_time_is_another_process() {
        let host = Host::read().unwrap();
        let own = own(&host).unwrap();
        assert_eq!(life(&Process { start_ticks: own.start_ticks - 1, ..own.clone() }, &host), Life::Dead);
        assert_eq!(life(&Process { start_ticks: own.start_ticks + 1, ..own }, &host), Life::Dead);
    }

    // covers: D23
    #[test]
    fn another_boot_is_dead_and_another_namespace_unknown() {
        let host = Host::read().unwrap();
        let own = own(&host).unwrap();
        let elsewhere = Process { boot_id: "another".to_owned(), ..own.clone() };
        assert_eq!(life(&elsewhere, &host), Life::OtherBoot);
        let hidden = Process { pid_ns: own.pid_ns + 1, ..own };
        assert!(matches!(life(&hidden, &host), Life::Unknown(_)));
    }

    // Origin: hermes-agent#20015 - a zombie counts as alive
    // covers: F40
    #[test]
    fn a_zombie_is_dead() {
        let host = Host::read().unwrap();
        let mut child = Spawned::new("read line", &[]);
        let process = identify(child.pid(), &host).unwrap().expect("it waits for a line");
        assert_eq!(life(&process, &host), Life::Alive);
        child.end_without_reaping();
        let stat = Entry::read(child.pid()).unwrap().expect("nobody has waited for it");
        assert_eq!(stat.state, 'Z');
        assert_eq!(life(&process, &host), Life::Dead);
        assert_eq!(identify(child.pid(), &host).unwrap(), None);
    }

    /// Runs the test called `name` again, as an ordinary user to whom a `/proc` mounted with this `hidepid` hides what is
    /// not his; `HIDDEN` is the pid of one.
    #[expect(clippy::disallowed_methods, reason = "the test runs itself again")]
    fn passes_where_others_are_hidden(name: &str, hidepid: u32, pid: u32) {
        // Where an ordinary user may not look for the program, it is inherited open.
        let script = r#"mount -t proc -o "hidepid=$2" proc /proc && exec 3<"$0" &&
            exec setpriv --reuid 4711 --regid 4711 --clear-groups --inh-caps=-all -- \
                /proc/self/fd/3 --exact "$1" --nocapture"#;
        let output = std::process::Command::new("unshare")
            .args(["--mount", "sh", "-c", script])
            .arg(std::env::current_exe().unwrap())
            .args([name, &hidepid.to_string()])
            .env("HIDDEN", pid.to_string())
            .output()
            .unwrap();
        let [said, complaint] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
        if complaint.contains("unshare failed") || complaint.contains("mount: ") {
            return skipped("only root can hide processes");
        }
        assert!(said.contains("1 passed"), "hidepid={hidepid}: {said}\n{complaint}");
    }

    // Nobody with that number is dead, and one whom we may not see is not: taken for dead, its agent would be started again
    // beside it.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "the test is told whom by its environment")]
    fn whom_proc_hides_is_neither_dead_nor_signalled() {
        const SELF: &str = "process::identity::tests::whom_proc_hides_is_neither_dead_nor_signalled";
        let child = Spawned::new("read line", &[]);
        let Some(pid) = std::env::var_os("HIDDEN") else {
            return [1, 2].into_iter().for_each(|hidepid| {
                passes_where_others_are_hidden(SELF, hidepid, child.pid());
            });
        };
        let pid = pid.to_str().unwrap().parse().unwrap();
        let host = Host::read().unwrap();
        let hidden =
            Process { pid, start_ticks: 1, boot_id: host.boot_id.clone(), pid_ns: host.pid_ns, uid: 0 };
        // With 1 it is listed and can't be read, with 2 there is nothing of it.
        assert!(matches!(Entry::read(pid), Ok(None) | Err(_)));
        assert!(matches!(identify(pid, &host), Ok(None) | Err(_)));
        assert!(matches!(life(&hidden, &host), Life::Unknown(_)));
        let guard = Guard::new([]).unwrap();
        assert!(matches!(send(&hidden, &host, &guard, Signal::CONT), Sent::Refused(_)));
        assert!(!wait_gone(&hidden, &host, Instant::now()));
        let parent = Entry::read(std::process::id()).unwrap().unwrap().ppid;
        if Entry::read(parent).is_err() {
            assert!(guard.protects(parent).is_some(), "whoever started us, whether we may look at it or not");
            assert!(guard.pids().contains(&parent));
        }
        assert_eq!(guard.protects(child.pid()), None);
        assert_eq!(
            life(&Process { pid: child.pid(), ..hidden }, &host),
            Life::Dead,
            "it is shown, and another one"
        );
        scan::Scan::take().unwrap();
    }

    #[test]
    fn who_is_shown_or_gone_is_not_hidden() {
        let mut child = Spawned::new("read line", &[]);
        let pid = child.pid();
        assert!(!is_hidden(pid));
        child.end_without_reaping();
        assert!(!is_hidden(pid));
        child.reap();
        assert!(!is_hidden(pid));
    }

    #[test]
    fn nobody_has_an_impossible_pid() {
        let host = Host::read().unwrap();
        for pid in [0, 0x4000_0000, u32::MAX] {
            assert_eq!(identify(pid, &host).unwrap(), None);
        }
        let process = Process { pid: u32::MAX, ..own(&host).unwrap() };
        assert_eq!(life(&process, &host), Life::Dead);
    }

    #[test]
    fn a_thread_is_no_process() {
        let host = Host::read().unwrap();
        let thread = rustix::thread::gettid().as_raw_nonzero().get() as u32;
        // The test runner gives each test a thread; with a single one there is nothing to see.
        if thread != std::process::id() {
            assert_eq!(identify(thread, &host).unwrap(), None);
        }
    }

    #[test]
    fn a_field_of_status_is_found_by_its_whole_name() {
        let status = "Name:\tx\\nUid: 7\nTgid:\t12\nUid:\t1000\t0\t0\t0\n";
        assert_eq!(status_field(status, "Uid:"), Some(1000));
        assert_eq!(status_field(status, "Tgid:"), Some(12));
        assert_eq!(status_field(status, "Pid:"), None);
    }

    proptest::proptest! {
        // The kernel escapes the line breaks of a name, and nothing else.
        #[test]
        fn any_name_of_a_process_forges_no_field_of_its_status(name in "[^\n]{0,20}", noise in ".*") {
            let status = format!("Name:\t{name}\nTgid:\t12\nUid:\t1000\t0\t0\t0\n");
            proptest::prop_assert_eq!(status_field(&status, "Tgid:"), Some(12));
            proptest::prop_assert_eq!(status_field(&status, "Uid:"), Some(1000));
            let _ = (status_field(&noise, "Tgid:"), is_boot_id(&noise));
        }
    }

    #[test]
    fn launcher_of_another_host_is_unknown_and_not_of_an_earlier_boot() {
        let host = Host { machine_id: Some("0".repeat(32)), ..Host::read().unwrap() };
        let ours = own(&host).unwrap();
        let earlier = Process { boot_id: "earlier".to_owned(), ..ours.clone() };
        let launcher = |process: &Process, machine_id: Option<&str>| LocalLauncher {
            process: process.clone(),
            machine_id: machine_id.map(str::to_owned),
        };
        let other = "1".repeat(32);
        match launcher_life(&launcher(&earlier, Some(&other)), &host) {
            Life::Unknown(why) => assert!(why.contains("another host") && why.contains(&other), "{why}"),
            life => panic!("{life:?}"),
        }
        for machine_id in [None, host.machine_id.as_deref()] {
            assert_eq!(launcher_life(&launcher(&earlier, machine_id), &host), Life::OtherBoot);
        }
        // Containers of one boot may show different ids.
        assert_eq!(launcher_life(&launcher(&ours, Some(&other)), &host), Life::Alive);
    }
}
