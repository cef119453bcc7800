//! The lock: `flock(2)`, which the kernel gives back whatever becomes of its holder.
//!
//! The file is never unlinked (whoever had it open would then hold a lock on nothing), and its
//! content means nothing to the lock: a dead holder's name in it blocks nobody.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::time::Duration;
use std::{fmt, io};

use jiff::Timestamp;
use rustix::fs::{AtFlags, OFlags};
use serde::{Deserialize, Serialize};

use crate::clock::{self, pause};
use crate::durable::atomic;
use crate::model::Process;

/// How often a waiter asks again. A person does not feel it, and ten calls a second cost nothing.
const POLL: Duration = Duration::from_millis(100);

/// How often a waiter says whom it waits for.
const REMIND: Duration = Duration::from_secs(1);

/// More than any identity takes. The content is for people, so nothing longer is of use.
const HOLDER_BYTES_MAX: usize = 4096;

/// How often a lock file may be replaced under us while we lock it, before that is called an error.
const REPLACED_MAX: u32 = 100;

/// A lock that is held until this is dropped or the process ends. No child inherits it.
#[derive(Debug)]
pub struct Lock {
    /// Never read again: holding it open is holding the lock.
    _file: File,
}

/// Why a lock was not taken.
#[derive(Debug)]
pub enum LockError {
    /// Another process holds it: the one that the file names, as far as that can be read. It is a
    /// hint for people; between taking the lock and writing its name a holder is anonymous.
    Busy(Option<Process>),
    /// Whoever waited was told to end; nothing was taken.
    CalledOff,
    /// Something else is wrong, and whether the lock is held is not known. Never to be taken for busy.
    Io(io::Error),
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LockError::Busy(Some(holder)) => write!(f, "the lock is held by pid {}", holder.pid),
            LockError::Busy(None) => f.write_str("the lock is held by another process"),
            LockError::CalledOff => {
                f.write_str("told to end while waiting for the lock; nothing was changed")
            }
            LockError::Io(error) => write!(f, "cannot take the lock: {error}"),
        }
    }
}

impl std::error::Error for LockError {}

/// The state of a lock that somebody else may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// No process holds it.
    Free,
    /// A process holds it: the one that the file names, as far as that can be read.
    Held(Option<Process>),
}

/// What the holder writes into its lock.
#[derive(Serialize, Deserialize)]
struct Holder {
    process: Process,
    started_at: Timestamp,
}

impl Lock {
    /// Takes the lock file `name` in `dir` for `me`, waiting for at most `wait`; zero fails fast.
    /// About once a second `waiting` is told for whom, and for how long already. `called_off` ends the wait.
    ///
    /// # Errors
    ///
    /// [`LockError::Busy`] when `wait` is over, [`LockError::CalledOff`], and [`LockError::Io`] for anything else.
    pub fn take(
        dir: impl AsFd,
        name: &str,
        me: &Process,
        wait: Duration,
        called_off: &dyn Fn() -> bool,
        mut waiting: impl FnMut(Option<&Process>, Duration),
    ) -> Result<Lock, LockError> {
        let begun = clock::monotonic();
        let mut remind = REMIND;
        loop {
            let holder = match Lock::try_take(&dir, name, me) {
                Err(LockError::Busy(holder)) => holder,
                other => return other,
            };
            let waited = clock::monotonic().saturating_sub(begun);
            if waited >= remind {
                waiting(holder.as_ref(), waited);
                remind = waited + REMIND;
            }
            if called_off() {
                return Err(LockError::CalledOff);
            }
            if waited >= wait {
                return Err(LockError::Busy(holder));
            }
            pause(POLL.min(wait - waited));
        }
    }

    /// Takes the lock file `name` in `dir` for `me`, at once or not at all.
    ///
    /// # Errors
    ///
    /// [`LockError::Busy`] for `EWOULDBLOCK` alone; everything else, such as no descriptors or no
    /// lock table left, is [`LockError::Io`].
    pub fn try_take(dir: impl AsFd, name: &str, me: &Process) -> Result<Lock, LockError> {
        let dir = dir.as_fd();
        for _ in 0..REPLACED_MAX {
            let file =
                atomic::open_regular_with(dir, name, OFlags::RDWR | OFlags::CREATE).map_err(LockError::Io)?;
            if let Some(lock) = Lock::hold(file, dir, name, me)? {
                return Ok(lock);
            }
        }
        let text = "the lock file is replaced again and again; look who removes it";
        Err(LockError::Io(io::Error::other(text)))
    }

    /// Locks `file`; `None` when it is no longer the one that the next process will try to lock.
    fn hold(file: File, dir: BorrowedFd<'_>, name: &str, me: &Process) -> Result<Option<Lock>, LockError> {
        if let Err(error) = fs2::FileExt::try_lock_exclusive(&file) {
            return Err(match error.kind() {
                io::ErrorKind::WouldBlock => LockError::Busy(read_holder(&file)),
                _ => LockError::Io(error),
            });
        }
        if !still_named(&file, dir, name).map_err(LockError::Io)? {
            return Ok(None);
        }
        introduce(&file, me);
        Ok(Some(Lock { _file: file }))
    }

    /// Whether some process holds the lock file `name` in `dir` now; a missing file is held by none. Changes nothing on
    /// disk.
    ///
    /// To ask the kernel is to take the lock, shared, for an instant; a tick that comes in that
    /// instant finds it busy. So this is for a person's command, not for anything periodic.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn is_held(dir: impl AsFd, name: &str) -> io::Result<bool> {
        let file = match atomic::open_regular_with(dir.as_fd(), name, OFlags::RDONLY) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        match fs2::FileExt::try_lock_shared(&file) {
            Ok(()) => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Whether a process holds the lock file `name` in `dir`. Writes nothing, and locks it shared for an instant.
    ///
    /// # Errors
    ///
    /// Those of the system. A file that is missing is one: its holder may live on without it.
    pub fn probe(dir: impl AsFd, name: &str) -> io::Result<Probe> {
        let dir = dir.as_fd();
        let file = atomic::open_regular_with(dir, name, OFlags::RDONLY)?;
        match fs2::FileExt::try_lock_shared(&file) {
            Ok(()) if still_named(&file, dir, name)? => Ok(Probe::Free),
            Ok(()) => Err(io::Error::other("the lock file was replaced")),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Probe::Held(read_holder(&file))),
            Err(error) => Err(error),
        }
    }

    /// Who took the lock file `name` in `dir` last, as far as its file tells. [`Lock::is_held`] says whether it is still
    /// held.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn last_holder(dir: impl AsFd, name: &str) -> io::Result<Option<Process>> {
        match atomic::open_regular_with(dir.as_fd(), name, OFlags::RDONLY) {
            Ok(file) => Ok(read_holder(&file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Whether `file` still has the name under which it was opened.
fn still_named(file: &File, dir: BorrowedFd<'_>, name: &str) -> io::Result<bool> {
    let locked = rustix::fs::fstat(file)?;
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(named) => Ok((named.st_dev, named.st_ino) == (locked.st_dev, locked.st_ino)),
        Err(rustix::io::Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Writes the holder's name into its lock. A failure is ignored: the lock is held all the same, and
/// a full disk must not keep a tick from reaping. It is only emptied where it could not be written, so that no dead
/// holder's name stays: to free the file's one block each time and take another costs a quarter of a millisecond.
/// Where the file has another name too, it may be somebody's whose content it is: then the holder stays anonymous.
fn introduce(file: &File, me: &Process) {
    if atomic::has_another_name(file.as_fd()).unwrap_or(true) {
        return;
    }
    let holder = Holder { process: me.clone(), started_at: clock::wall() };
    let write = || -> io::Result<()> {
        let mut text = serde_json::to_vec(&holder)?;
        text.push(b'\n');
        file.write_all_at(&text, 0)?;
        // What is left of a longer name makes no sense behind this one.
        file.set_len(text.len() as u64)
    };
    if write().is_err() {
        let _ = file.set_len(0);
    }
}

/// Who holds the lock, as far as the file tells.
fn read_holder(file: &File) -> Option<Process> {
    let mut bytes = [0; HOLDER_BYTES_MAX];
    let length = file.read_at(&mut bytes, 0).ok()?;
    serde_json::from_slice::<Holder>(&bytes[..length]).ok().map(|holder| holder.process)
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::path::Path;
    use std::process::Command;

    use super::*;

    /// Long enough for a neighbouring test's child, forked while we held the lock, to reach its exec.
    const PATIENT: Duration = Duration::from_secs(20);

    const LOCK: &str = "lock";

    /// An open folder.
    struct Folder {
        holder: tempfile::TempDir,
        fd: OwnedFd,
    }

    impl Folder {
        fn new() -> Folder {
            let holder = tempfile::tempdir().unwrap();
            let fd = atomic::open_dir(holder.path()).unwrap();
            Folder { holder, fd }
        }

        fn path(&self) -> &Path {
            self.holder.path()
        }
    }

    impl AsFd for Folder {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.fd.as_fd()
        }
    }

    fn process(pid: u32) -> Process {
        Process { pid, start_ticks: 7, boot_id: "boot".to_owned(), pid_ns: 1, uid: 0 }
    }

    fn take(dir: &Folder, pid: u32, wait: Duration) -> Result<Lock, LockError> {
        Lock::take(dir, LOCK, &process(pid), wait, &|| false, |_, _| {})
    }

    #[expect(clippy::disallowed_methods, reason = "a test makes a file")]
    fn put(path: &Path, bytes: &[u8]) {
        std::fs::write(path, bytes).unwrap();
    }

    #[test]
    fn the_second_is_busy_and_is_told_who_holds_it() {
        let dir = Folder::new();
        assert!(!Lock::is_held(&dir, LOCK).unwrap());
        let lock = take(&dir, 4711, Duration::ZERO).unwrap();
        assert!(Lock::is_held(&dir, LOCK).unwrap());
        let Err(LockError::Busy(Some(holder))) = take(&dir, 4712, Duration::ZERO) else { panic!() };
        assert_eq!(holder, process(4711));
        drop(lock);
        take(&dir, 4712, PATIENT).unwrap();
        assert!(dir.path().join("lock").exists(), "a lock file is never unlinked");
    }

    #[test]
    fn a_waiter_gets_it_when_it_is_free() {
        let dir = Folder::new();
        let lock = take(&dir, 4711, Duration::ZERO).unwrap();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| take(&dir, 4712, PATIENT));
            pause(POLL);
            drop(lock);
            waiter.join().unwrap().unwrap();
        });
    }

    #[test]
    fn a_waiter_says_for_whom_and_gives_up_in_the_end() {
        let dir = Folder::new();
        let _lock = take(&dir, 4711, Duration::ZERO).unwrap();
        let mut told = Vec::new();
        let wait = REMIND + 3 * POLL;
        let result = Lock::take(&dir, LOCK, &process(4712), wait, &|| false, |who, time| {
            told.push((who.map(|who| who.pid), time))
        });
        assert!(matches!(result, Err(LockError::Busy(Some(_)))));
        assert_eq!(told[0].0, Some(4711));
        assert!(told[0].1 >= REMIND, "{told:?}");
        assert!(told.windows(2).all(|pair| pair[1].1 - pair[0].1 >= REMIND), "not at each look: {told:?}");
    }

    #[test]
    fn whoever_took_it_last_is_known_when_it_is_free_again() {
        let dir = Folder::new();
        assert_eq!(Lock::last_holder(&dir, LOCK).unwrap(), None, "nobody has");
        let lock = take(&dir, 4711, Duration::ZERO).unwrap();
        assert_eq!(Lock::last_holder(&dir, LOCK).unwrap(), Some(process(4711)));
        drop(lock);
        assert_eq!(Lock::last_holder(&dir, LOCK).unwrap(), Some(process(4711)));
    }

    // A look that fails tells nothing: neither that the lock is free nor that it is held.
    // covers: F58
    #[test]
    fn what_cannot_be_looked_at_is_neither_free_nor_held() {
        let dir = Folder::new();
        std::os::unix::fs::symlink("elsewhere", dir.path().join(LOCK)).unwrap();
        Lock::is_held(&dir, LOCK).unwrap_err();
        Lock::last_holder(&dir, LOCK).unwrap_err();
    }

    // covers: P02
    #[test]
    fn probe_names_the_holder_and_leaves_the_file_alone() {
        let dir = Folder::new();
        assert!(Lock::probe(dir.as_fd(), LOCK).is_err(), "a missing file proves nothing");
        let lock = take(&dir, 4711, Duration::ZERO).unwrap();
        assert_eq!(Lock::probe(dir.as_fd(), LOCK).unwrap(), Probe::Held(Some(process(4711))));
        let path = dir.path().join(LOCK);
        let written = std::fs::read(&path).unwrap();
        put(&path, b"{");
        assert_eq!(Lock::probe(dir.as_fd(), LOCK).unwrap(), Probe::Held(None));
        put(&path, &written);
        drop(lock);
        // A neighbouring test may have forked while the lock was held: its child lets go at its exec.
        let begun = clock::monotonic();
        while Lock::probe(dir.as_fd(), LOCK).unwrap() != Probe::Free {
            assert!(clock::monotonic() - begun < PATIENT);
            pause(POLL);
        }
        assert_eq!(std::fs::read(&path).unwrap(), written);
    }

    #[test]
    fn why_it_was_not_taken_is_said_in_words() {
        let said = |error: LockError| error.to_string();
        assert_eq!(said(LockError::Busy(Some(process(4711)))), "the lock is held by pid 4711");
        assert_eq!(said(LockError::Busy(None)), "the lock is held by another process");
        assert!(said(LockError::CalledOff).starts_with("told to end while waiting for the lock"));
        assert_eq!(said(LockError::Io(io::Error::other("why"))), "cannot take the lock: why");
    }

    // Origin: Cronicle#789 - the lock file of a dead holder blocked everybody.
    // covers: F57
    #[test]
    fn a_dead_holders_file_blocks_nobody_and_its_name_does_not_stay() {
        let dir = Folder::new();
        let long = "x".repeat(9000);
        put(&dir.path().join("lock"), long.as_bytes());
        let _lock = take(&dir, 4711, Duration::ZERO).unwrap();
        let Err(LockError::Busy(Some(holder))) = take(&dir, 4712, Duration::ZERO) else { panic!() };
        assert_eq!(holder.pid, 4711);
    }

    // covers: F57
    #[test]
    fn a_holder_that_cannot_be_read_is_still_a_holder() {
        let dir = Folder::new();
        let _lock = take(&dir, 4711, Duration::ZERO).unwrap();
        for text in ["", "{", "{\"process\":{}}", "\u{0}\u{0}"] {
            put(&dir.path().join("lock"), text.as_bytes());
            assert!(matches!(take(&dir, 4712, Duration::ZERO), Err(LockError::Busy(None))), "{text:?}");
        }
    }

    // Origin: PMSS#663 - an agent inherited the lock and blocked all later ticks.
    // covers: F56
    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test starts a child")]
    fn a_child_does_not_inherit_it() {
        let dir = Folder::new();
        let lock = take(&dir, 4711, Duration::ZERO).unwrap();
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        drop(lock);
        let again = take(&dir, 4712, PATIENT);
        child.kill().unwrap();
        child.wait().unwrap();
        again.unwrap();
    }

    #[test]
    fn a_lock_on_a_file_that_lost_its_name_is_no_lock() {
        let dir = Folder::new();
        let opened = || atomic::open_regular_with(dir.as_fd(), LOCK, OFlags::RDWR | OFlags::CREATE).unwrap();
        let hold = |file| Lock::hold(file, dir.as_fd(), LOCK, &process(4711)).unwrap();
        let unlinked = opened();
        std::fs::remove_file(dir.path().join(LOCK)).unwrap();
        let replaced = opened();
        assert!(hold(unlinked).is_none());
        put(&dir.path().join("other"), b"");
        std::fs::rename(dir.path().join("other"), dir.path().join(LOCK)).unwrap();
        assert!(hold(replaced).is_none());
        assert!(hold(opened()).is_some());
    }

    // covers: F58
    #[test]
    fn a_lock_that_the_kernel_refuses_for_another_reason_is_not_busy() {
        let dir = Folder::new();
        // A descriptor that is only a path can't be locked: EBADF, as good as ENOLCK.
        put(&dir.path().join(LOCK), b"");
        let file = atomic::open_regular_with(dir.as_fd(), LOCK, OFlags::PATH).unwrap();
        let held = Lock::hold(file, dir.as_fd(), LOCK, &process(4711));
        assert!(matches!(held, Err(LockError::Io(_))), "{held:?}");
    }

    // Origin: measured - a hard link in the place of the lock, and what it led to was emptied and written over.
    #[test]
    fn what_has_another_name_is_locked_and_not_written_to() {
        let dir = Folder::new();
        put(&dir.path().join("precious"), b"precious");
        std::fs::hard_link(dir.path().join("precious"), dir.path().join(LOCK)).unwrap();
        let _lock = take(&dir, 4711, Duration::ZERO).unwrap();
        assert!(matches!(take(&dir, 4712, Duration::ZERO), Err(LockError::Busy(None))));
        assert_eq!(std::fs::read(dir.path().join("precious")).unwrap(), b"precious");
    }

    #[test]
    fn what_is_no_file_is_an_error_and_not_busy() {
        let dir = Folder::new();
        put(&dir.path().join("elsewhere"), b"precious");
        std::os::unix::fs::symlink("elsewhere", dir.path().join(LOCK)).unwrap();
        assert!(matches!(take(&dir, 4711, Duration::ZERO), Err(LockError::Io(_))));
        assert_eq!(std::fs::read(dir.path().join("elsewhere")).unwrap(), b"precious");
    }

    // Origin: hermes-agent#87644 - no descriptors left was read as "locked": green for 24 hours.
    // covers: F58
    #[test]
    fn no_descriptors_left_is_not_busy() {
        const SELF: &str = "durable::lock::tests::no_descriptors_left_is_not_busy";
        if !crate::durable::tests::alone_in_a_process(SELF) {
            return;
        }
        let dir = Folder::new();
        let none = rustix::process::Rlimit { current: Some(0), maximum: Some(1024) };
        rustix::process::setrlimit(rustix::process::Resource::Nofile, none).unwrap();
        let taken = take(&dir, 4711, Duration::ZERO);
        let many = rustix::process::Rlimit { current: Some(1024), maximum: Some(1024) };
        rustix::process::setrlimit(rustix::process::Resource::Nofile, many).unwrap();
        let Err(LockError::Io(error)) = taken else { panic!("{taken:?}") };
        assert!(error.to_string().contains("Too many open files"), "{error}");
    }
}
