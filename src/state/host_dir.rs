//! The state directory of this host: where it may lie, who may own it, what is in it. Runs, their locks and workspaces are
//! always local, whatever keeps the registry.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::durable::{Lock, LockError, Trash, atomic, disk, naming};
use crate::model::{Free, Process};
use crate::state::StoreError;

/// File systems whose locks and renames depend on another machine or another program, by the magic
/// number of `statfs(2)`. A lock that two hosts can both hold is no lock.
const UNTRUSTED: [(u32, &str); 6] = [
    (0x0000_6969, "NFS"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB2"),
    (0x0000_517b, "SMB"),
    (0x0102_1997, "9p"),
    (0x6573_5546, "FUSE"),
];

/// What tells a state directory from somebody's folder. `live` is made before anything else, so
/// every directory that a killed tick left behind is either empty or has it.
const SIGNS: [&str; 3] = [LIVE, "registry.json", "registry.json.bak"];

/// The lock of the tick.
const LOCK: &str = "lock";

const LIVE: &str = "live";
const RUNS: &str = "runs";
const MADE: &str = "made";

/// Files that keep version control and backups away, each with its content.
const MARKERS: [(&str, &str); 2] = [
    (
        "CACHEDIR.TAG",
        "Signature: 8a477f597d28d172789f06886806bc55\n\
         # The state of factory-tick: it belongs to this machine and this boot. Restored from a\n\
         # backup it would describe agents that do not exist.\n",
    ),
    (".gitignore", "*\n"),
];

/// An open state directory that was found safe.
#[derive(Clone, Debug)]
pub struct HostDir {
    path: PathBuf,
    fd: Arc<OwnedFd>,
}

impl HostDir {
    /// Opens the state directory at `path`, made with everything that belongs in it where that is missing.
    ///
    /// # Errors
    ///
    /// [`StoreError::CannotCreate`] when it can't be made, is a symbolic link, belongs to another user,
    /// can be written by others, holds somebody else's files, or lies on a network file system that
    /// was not allowed.
    pub fn create_or_open(path: &Path, allow_network_fs: bool) -> Result<HostDir, StoreError> {
        let path = plain(path)?;
        let dir = match open(&path, allow_network_fs)? {
            Some(dir) => dir,
            None => {
                make(&path, allow_network_fs)?;
                open(&path, allow_network_fs)?
                    .ok_or_else(|| refuse(&path, "it vanished as soon as it was made; look who removes it"))?
            }
        };
        dir.furnish()?;
        Ok(dir)
    }

    /// Opens the state directory at `path` and changes nothing; `None` where there is none.
    ///
    /// # Errors
    ///
    /// [`StoreError::CannotCreate`], for the same reasons as [`HostDir::create_or_open`].
    pub fn open_existing(path: &Path, allow_network_fs: bool) -> Result<Option<HostDir>, StoreError> {
        open(&plain(path)?, allow_network_fs)
    }

    /// Whether one could be made at `path`, where there is none yet; makes nothing.
    ///
    /// # Errors
    ///
    /// [`StoreError::CannotCreate`], for the reasons of [`HostDir::create_or_open`] that show beforehand.
    pub fn could_be_made(path: &Path, allow_network_fs: bool) -> Result<(), StoreError> {
        let path = plain(path)?;
        let failed = |error: io::Error| refuse(&path, &format!("it cannot be made: {error}"));
        let existing = path.ancestors().skip(1).find(|parent| parent.exists()).unwrap_or(&path);
        let fd = open_followed(existing).map_err(failed)?;
        let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
        rustix::fs::accessat(rustix::fs::CWD, existing, access, AtFlags::EACCESS).map_err(|error| {
            let why = io::Error::from(error);
            refuse(&path, &format!("it cannot be made in {}: {why}", existing.display()))
        })?;
        must_be_local(fd.as_fd(), &path, allow_network_fs)
    }

    /// Its absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its device and inode.
    ///
    /// # Errors
    ///
    /// That the system does not tell.
    pub fn identity(&self) -> io::Result<(u64, u64)> {
        let stat = rustix::fs::fstat(&self.fd)?;
        Ok((stat.st_dev, stat.st_ino))
    }

    /// Takes the lock of the tick for `me`, waiting for at most `wait`, as [`Lock::take`] does.
    ///
    /// # Errors
    ///
    /// Those of [`Lock::take`]; an error of the system names the file.
    pub fn lock(
        &self,
        me: &Process,
        wait: Duration,
        called_off: &dyn Fn() -> bool,
        waiting: &mut dyn FnMut(Option<&Process>, Duration),
    ) -> Result<Lock, LockError> {
        Lock::take(self, LOCK, me, wait, called_off, waiting).map_err(|error| match error {
            LockError::Io(error) => LockError::Io(self.named(LOCK, &error)),
            other => other,
        })
    }

    /// Whether a process holds the lock of the tick now. For a person's command: a tick that comes in the instant of the
    /// look finds the lock busy.
    ///
    /// # Errors
    ///
    /// Those of the system, naming the file.
    pub fn is_locked(&self) -> io::Result<bool> {
        Lock::is_held(self, LOCK).map_err(|error| self.named(LOCK, &error))
    }

    /// The process that took the lock of the tick last, as far as its file tells.
    ///
    /// # Errors
    ///
    /// Those of the system, naming the file.
    pub fn last_holder(&self) -> io::Result<Option<Process>> {
        Lock::last_holder(self, LOCK).map_err(|error| self.named(LOCK, &error))
    }

    fn named(&self, name: &str, error: &io::Error) -> io::Error {
        naming(&self.path.join(name), error)
    }

    /// Where each run has its directory.
    pub fn runs(&self) -> PathBuf {
        self.path.join(RUNS)
    }

    /// Where removed runs lie until they are deleted.
    pub fn trash(&self) -> Trash {
        Trash::at(self.path.join("trash"))
    }

    /// Where the launchers have their locks, one per agent.
    pub fn live(&self) -> PathBuf {
        self.path.join(LIVE)
    }

    /// Where launchers note which workspaces they made.
    pub fn made(&self) -> PathBuf {
        self.path.join(MADE)
    }

    /// The default root of workspaces. Not made here: another root may be configured.
    pub fn workspaces(&self) -> PathBuf {
        self.path.join("workspaces")
    }

    /// What is free where the state lies; `None` where the system does not tell.
    pub fn free(&self) -> Option<Free> {
        disk::free_of(&self.fd)
    }

    /// Whether any run has a directory.
    pub(crate) fn has_runs(&self) -> io::Result<bool> {
        match rustix::fs::openat(&self.fd, RUNS, atomic::DIRECTORY, Mode::empty()) {
            Ok(runs) => has_entries(runs.as_fd()),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes what belongs in a state directory and is missing.
    fn furnish(&self) -> Result<(), StoreError> {
        for name in [LIVE, RUNS, MADE] {
            self.furnish_folder(name).map_err(|error| refuse(&self.path.join(name), &error.to_string()))?;
        }
        for (name, content) in MARKERS {
            let made = match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => atomic::link_new(&self.fd, name, content.as_bytes()).map(drop),
                other => other.map(drop).map_err(io::Error::from),
            };
            made.map_err(|error| refuse(&self.path.join(name), &error.to_string()))?;
        }
        Ok(())
    }

    fn furnish_folder(&self, name: &str) -> io::Result<()> {
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => Ok(()),
            // Elsewhere it could be on another file system, where nothing can be renamed out of it.
            Ok(_) => Err(io::Error::other("it must be a directory; move what is there away")),
            Err(Errno::NOENT) => match rustix::fs::mkdirat(&self.fd, name, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => Ok(()),
                Err(error) => Err(error.into()),
            },
            Err(error) => Err(error.into()),
        }
    }

    /// Refuses a directory that others could change, or that is not ours to fill.
    fn must_be_safe(&self, allow_network_fs: bool) -> Result<(), StoreError> {
        let failed = |error: io::Error| refuse(&self.path, &error.to_string());
        let stat = rustix::fs::fstat(&self.fd).map_err(|error| failed(error.into()))?;
        let me = rustix::process::geteuid().as_raw();
        if stat.st_uid != me {
            let why = format!(
                "it belongs to uid {}, and this is uid {me}; run as its owner or pass another --state-dir",
                stat.st_uid
            );
            return Err(refuse(&self.path, &why));
        }
        if stat.st_mode & 0o022 != 0 {
            let why = format!("others can write to it; run: chmod go-w {}", self.path.display());
            return Err(refuse(&self.path, &why));
        }
        must_be_local(self.fd.as_fd(), &self.path, allow_network_fs)?;
        if !self.is_ours().map_err(failed)? {
            let why = "it is not empty and is no state directory of factory-tick; pass a new or empty one";
            return Err(refuse(&self.path, why));
        }
        Ok(())
    }

    /// A state directory, or an empty one. Anything else is somebody's folder, and an ignore-all
    /// `.gitignore` in somebody's repository would be an accident.
    fn is_ours(&self) -> io::Result<bool> {
        if self.has_a_sign()? || !has_entries(self.fd.as_fd())? {
            return Ok(true);
        }
        // Between the two looks another first tick may have begun to fill it.
        self.has_a_sign()
    }

    fn has_a_sign(&self) -> io::Result<bool> {
        for name in SIGNS {
            match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(_) => return Ok(true),
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(false)
    }
}

impl AsFd for HostDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Absolute, and without a trailing slash: with one the kernel would follow a symbolic link.
fn plain(path: &Path) -> Result<PathBuf, StoreError> {
    let absolute = std::path::absolute(path).map_err(|error| refuse(path, &error.to_string()))?;
    if absolute.to_str().is_none() {
        // Runs are asked for in files of text, which name places in it.
        return Err(refuse(path, "its path is not UTF-8; pass another --state-dir"));
    }
    Ok(absolute.components().collect())
}

fn open(path: &Path, allow_network_fs: bool) -> Result<Option<HostDir>, StoreError> {
    match atomic::open_dir(path) {
        Ok(fd) => {
            let dir = HostDir { path: path.to_owned(), fd: Arc::new(fd) };
            dir.must_be_safe(allow_network_fs)?;
            Ok(Some(dir))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(_) if path.is_symlink() => {
            Err(refuse(path, "it is a symbolic link; pass the directory that it stands for"))
        }
        Err(error) => Err(refuse(path, &error.to_string())),
    }
}

/// Makes the directory and its missing parents, durably, for the owner alone.
fn make(path: &Path, allow_network_fs: bool) -> Result<(), StoreError> {
    let failed = |error: io::Error| refuse(path, &format!("it cannot be made: {error}"));
    let parents: Vec<&Path> = path.ancestors().skip(1).collect();
    let missing = parents.iter().take_while(|parent| !parent.exists()).count();
    let touched = &parents[..parents.len().min(missing + 1)];
    // Looked at first, so that a refusal leaves nothing behind.
    if let Some(existing) = touched.last() {
        let fd = open_followed(existing).map_err(failed)?;
        must_be_local(fd.as_fd(), path, allow_network_fs)?;
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
    for parent in touched {
        let fd = open_followed(parent).map_err(failed)?;
        rustix::fs::fsync(fd).map_err(|error| failed(error.into()))?;
    }
    Ok(())
}

/// A directory above the state directory: where it leads is the business of whoever named it.
fn open_followed(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

fn must_be_local(fd: BorrowedFd<'_>, path: &Path, allow_network_fs: bool) -> Result<(), StoreError> {
    if allow_network_fs {
        return Ok(());
    }
    let stat = rustix::fs::fstatfs(fd).map_err(|error| refuse(path, &io::Error::from(error).to_string()))?;
    // The field is as wide as a long, the magic numbers are 32 bits: compare those, whatever the sign.
    match untrusted(stat.f_type as u32) {
        Some(name) => Err(refuse(
            path,
            &format!(
                "it lies on a network or user-space file system ({name}), where a lock may not hold; \
                 pass a --state-dir on a local disk, or set allow_network_fs = true under [state]"
            ),
        )),
        None => Ok(()),
    }
}

fn untrusted(magic: u32) -> Option<&'static str> {
    UNTRUSTED.iter().find(|(known, _)| *known == magic).map(|(_, name)| *name)
}

fn has_entries(dir: BorrowedFd<'_>) -> io::Result<bool> {
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            return Ok(true);
        }
    }
    Ok(false)
}

fn refuse(path: &Path, why: &str) -> StoreError {
    StoreError::CannotCreate(format!("state directory {}: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn refusal(path: &Path) -> String {
        let error = HostDir::create_or_open(path, true).unwrap_err();
        let StoreError::CannotCreate(text) = &error else { panic!("{error:?}") };
        // A reader refuses what a writer refuses.
        if path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) {
            assert_eq!(HostDir::open_existing(path, true).unwrap_err(), error);
        }
        text.clone()
    }

    /// Everything in a tree with what it is and when it last changed.
    fn everything(path: &Path) -> BTreeMap<PathBuf, String> {
        let mut found = BTreeMap::new();
        for entry in std::fs::read_dir(path).unwrap() {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() {
                found.extend(everything(&entry.path()));
            }
            found.insert(entry.path(), format!("{:?} {:?}", metadata.permissions(), metadata.modified()));
        }
        found
    }

    #[test]
    fn it_is_made_with_everything_that_belongs_in_it() {
        let holder = tempfile::tempdir().unwrap();
        let path = holder.path().join("a/b/state");
        let dir = HostDir::create_or_open(&path, true).unwrap();
        assert_eq!(dir.path(), path);
        for folder in [holder.path().join("a"), path.clone(), dir.runs(), dir.live(), dir.made()] {
            let mode = std::fs::metadata(&folder).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700, "{}", folder.display());
        }
        assert_eq!(std::fs::read_to_string(path.join(".gitignore")).unwrap(), "*\n");
        let tag = std::fs::read_to_string(path.join("CACHEDIR.TAG")).unwrap();
        assert!(tag.starts_with("Signature: 8a477f597d28d172789f06886806bc55\n"));
        assert_eq!(everything(&path).len(), 5);
        assert_eq!(dir.workspaces(), path.join("workspaces"));
        // More than a block: no file system that a test runs on is that full.
        assert!(dir.free().unwrap().bytes > 4096);
        assert!(!dir.has_runs().unwrap());
    }

    #[test]
    fn opening_it_again_changes_nothing() {
        let holder = tempfile::tempdir().unwrap();
        let path = holder.path().join("state");
        HostDir::create_or_open(&path, true).unwrap();
        let before = everything(holder.path());
        HostDir::create_or_open(&path, true).unwrap();
        HostDir::open_existing(&path, true).unwrap().unwrap();
        assert_eq!(everything(holder.path()), before);
    }

    #[test]
    fn a_reader_makes_nothing() {
        let holder = tempfile::tempdir().unwrap();
        assert!(HostDir::open_existing(&holder.path().join("state"), true).unwrap().is_none());
        assert!(everything(holder.path()).is_empty());
        assert!(HostDir::open_existing(holder.path(), true).unwrap().is_some());
        assert!(everything(holder.path()).is_empty());
    }

    #[test]
    fn where_one_could_be_made_is_told_without_making_it() {
        let holder = tempfile::tempdir().unwrap();
        HostDir::could_be_made(&holder.path().join("a/b/state"), true).unwrap();
        std::fs::File::create(holder.path().join("file")).unwrap();
        let before = everything(holder.path());
        let error = HostDir::could_be_made(&holder.path().join("file/state"), true).unwrap_err();
        assert!(error.to_string().contains("it cannot be made: Not a directory"), "{error}");
        assert_eq!(everything(holder.path()), before);
    }

    #[test]
    fn none_can_be_made_where_we_may_not_write() {
        const SELF: &str = "state::host_dir::tests::none_can_be_made_where_we_may_not_write";
        if !crate::durable::tests::alone_in_a_process(SELF) {
            return;
        }
        let holder = tempfile::tempdir().unwrap();
        let closed = holder.path().join("closed");
        std::fs::create_dir(&closed).unwrap();
        for (path, mode) in [(holder.path(), 0o755), (&closed, 0o555)] {
            std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        }
        if rustix::process::geteuid().is_root() {
            // Root may write anywhere.
            nix::unistd::seteuid(nix::unistd::Uid::from_raw(4711)).unwrap();
        }
        let error = HostDir::could_be_made(&closed.join("state"), true).unwrap_err().to_string();
        if rustix::process::getuid().is_root() {
            nix::unistd::seteuid(nix::unistd::Uid::from_raw(0)).unwrap();
        }
        std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o755)).unwrap();
        let why = format!("it cannot be made in {}: Permission denied", closed.display());
        assert!(error.contains(&why), "{error}");
    }

    #[test]
    fn what_a_kill_left_half_made_is_finished() {
        let steps: [&[&str]; 4] = [&[], &["live"], &["live", "runs"], &["live", "runs", "CACHEDIR.TAG.00ff"]];
        for step in steps {
            let holder = tempfile::tempdir().unwrap();
            for name in step {
                std::fs::create_dir(holder.path().join(name)).unwrap();
            }
            HostDir::create_or_open(holder.path(), true).unwrap();
            assert!(holder.path().join(".gitignore").exists(), "{step:?}");
        }
    }

    #[test]
    fn many_first_ticks_at_once_all_find_it() {
        let holder = tempfile::tempdir().unwrap();
        let path = holder.path().join("a/state");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| HostDir::create_or_open(&path, true).unwrap());
            }
        });
        assert_eq!(everything(&path).len(), 5);
    }

    #[test]
    fn unsafe_places_are_refused_and_left_alone() {
        let holder = tempfile::tempdir().unwrap();
        let real = holder.path().join("real");
        std::fs::create_dir(&real).unwrap();

        let link = holder.path().join("link");
        symlink(&real, &link).unwrap();
        assert!(refusal(&link).contains("symbolic link"));
        // With a slash at the end the kernel itself would follow it.
        assert!(refusal(&holder.path().join("link/")).contains("symbolic link"));

        let file = holder.path().join("file");
        std::fs::File::create(&file).unwrap();
        assert!(
            refusal(&file).ends_with(": Not a directory (os error 20)"),
            "no link, so nothing is said of one"
        );

        std::fs::set_permissions(&real, PermissionsExt::from_mode(0o770)).unwrap();
        assert!(refusal(&real).contains("chmod go-w"));
        assert!(everything(&real).is_empty());
    }

    #[test]
    fn a_directory_of_another_user_is_refused() {
        let holder = tempfile::tempdir().unwrap();
        if std::os::unix::fs::chown(holder.path(), Some(4711), None).is_err() {
            return; // Only root can give a directory away.
        }
        assert!(refusal(holder.path()).contains("it belongs to uid 4711"));
    }

    #[test]
    fn somebodys_folder_is_not_filled() {
        let holder = tempfile::tempdir().unwrap();
        std::fs::create_dir(holder.path().join("src")).unwrap();
        let before = everything(holder.path());
        assert!(refusal(holder.path()).contains("no state directory"));
        assert_eq!(everything(holder.path()), before);
    }

    #[test]
    fn what_must_be_a_folder_is_not_replaced() {
        let holder = tempfile::tempdir().unwrap();
        HostDir::create_or_open(holder.path(), true).unwrap();
        std::fs::remove_dir(holder.path().join("runs")).unwrap();
        symlink("live", holder.path().join("runs")).unwrap();
        let error = HostDir::create_or_open(holder.path(), true).unwrap_err();
        assert!(error.to_string().contains("it must be a directory"), "{error}");
    }

    // A look that fails tells nothing: neither that the lock is free nor that it is held.
    // covers: F58
    #[test]
    fn failed_look_at_the_lock_names_its_file() {
        let holder = tempfile::tempdir().unwrap();
        let dir = HostDir::create_or_open(&holder.path().join("state"), true).unwrap();
        symlink("elsewhere", dir.path().join(LOCK)).unwrap();
        let me = Process { pid: 1, start_ticks: 1, boot_id: String::new(), pid_ns: 1, uid: 0 };
        let taken = dir.lock(&me, Duration::ZERO, &|| false, &mut |_, _| {});
        let Err(LockError::Io(taken)) = taken else { panic!("{taken:?}") };
        for error in [dir.is_locked().unwrap_err(), dir.last_holder().unwrap_err(), taken] {
            assert!(error.to_string().contains("/state/lock: "), "{error}");
        }
    }

    #[test]
    fn file_systems_are_known_by_their_magic() {
        assert_eq!(untrusted(0x6969), Some("NFS"));
        assert_eq!(untrusted(0xff53_4d42), Some("CIFS"));
        assert_eq!(untrusted(0x6573_5546), Some("FUSE"));
        assert_eq!(untrusted(0xef53), None, "ext4");
        assert_eq!(untrusted(0x0102_1994), None, "tmpfs");
    }
}
