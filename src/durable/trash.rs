//! The trash: where what is deleted lies until it is gone.
//!
//! Deleting a tree takes as long as it is large. Moving it is one rename, and from then on nobody finds it under its
//! name any more: what was moved is as good as deleted, and whoever is killed in the middle leaves nothing half
//! deleted where somebody looks.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::{AtFlags, Dir, FileType, Mode};
use rustix::io::Errno;

use crate::durable::{atomic, naming};

/// A directory in which everything may be deleted. It is there only while something lies in it.
#[derive(Clone, Debug)]
pub struct Trash {
    path: PathBuf,
}

impl Trash {
    /// The trash at this path, which nothing else may use. It must be on the file system of what is put into it.
    pub fn at(path: PathBuf) -> Trash {
        Trash { path }
    }

    /// Moves the file, directory or symbolic link at `path` into the trash, whatever it holds.
    ///
    /// # Errors
    ///
    /// Those of the system, naming the path. Then it is where it was.
    pub fn take(&self, path: &Path) -> io::Result<()> {
        let take = || {
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
                return Err(io::Error::other("it has no name"));
            };
            let (parent, trash) = (atomic::open_dir(parent)?, self.open_or_make()?);
            let aside = format!("{}.{}", name.to_string_lossy(), atomic::random_hex::<8>()?);
            let name = CString::new(name.as_bytes())?;
            move_to(parent.as_fd(), &name, trash.as_fd(), &aside)
        };
        take().map_err(|error| naming(path, &error))
    }

    /// Whether there is anything to [`Trash::empty`]: something lies in it, or it was left behind by somebody who was
    /// killed after making it or before removing it.
    ///
    /// # Errors
    ///
    /// Those of the system, naming the trash.
    pub fn is_there(&self) -> io::Result<bool> {
        self.open().map(|trash| trash.is_some()).map_err(|error| naming(&self.path, &error))
    }

    /// Deletes everything in it. Follows no symbolic link and enters no file system that is mounted in it.
    ///
    /// # Errors
    ///
    /// The first thing that could not be deleted, naming it. Everything else is gone.
    pub fn empty(&self) -> io::Result<()> {
        self.empty_while(|| true).map(drop)
    }

    /// The same, and no longer than until that instant. True: everything is gone.
    ///
    /// # Errors
    ///
    /// As those of [`Trash::empty`].
    pub fn empty_until(&self, until: Instant) -> io::Result<bool> {
        self.empty_while(|| Instant::now() < until)
    }

    fn empty_while(&self, goes_on: impl Fn() -> bool) -> io::Result<bool> {
        let Some(trash) = self.open().map_err(|error| naming(&self.path, &error))? else { return Ok(true) };
        let (mut failed, mut first) = (BTreeSet::new(), None);
        // Directories are moved up before they are looked into, so each is as shallow as any other: neither memory
        // nor open files grow with the depth of a tree, and a kill leaves nothing that a later turn does not find.
        loop {
            let found = names(&trash).map_err(|error| naming(&self.path, &error))?;
            let left: Vec<_> = found.into_iter().filter(|name| !failed.contains(name)).collect();
            if left.is_empty() {
                break;
            }
            for name in left {
                if !goes_on() {
                    return Ok(false);
                }
                match delete(trash.as_fd(), &name, &goes_on) {
                    Ok(true) => {}
                    Ok(false) => return Ok(false),
                    Err(error) => {
                        let path = self.path.join(name.to_string_lossy().as_ref());
                        first.get_or_insert_with(|| naming(&path, &error));
                        failed.insert(name);
                    }
                }
            }
        }
        match first {
            Some(error) => Err(error),
            None => {
                // One that just got something again stays.
                let _ = std::fs::remove_dir(&self.path);
                Ok(true)
            }
        }
    }

    fn open(&self) -> io::Result<Option<OwnedFd>> {
        match atomic::open_dir(&self.path) {
            Ok(trash) => Ok(Some(trash)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn open_or_make(&self) -> io::Result<OwnedFd> {
        match rustix::fs::mkdir(&self.path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => atomic::open_dir(&self.path),
            Err(error) => Err(error.into()),
        }
    }
}

/// Deletes one entry of the trash; the directories in it become entries of their own. False: it was called off, which 400,000
/// files in one directory must not put off.
fn delete(trash: BorrowedFd<'_>, name: &CStr, goes_on: &impl Fn() -> bool) -> io::Result<bool> {
    if unlinked(trash, name)? {
        return Ok(true);
    }
    make_ours(trash, name)?;
    let dir = rustix::fs::openat(trash, name, atomic::DIRECTORY, Mode::empty())?;
    let mut first = None;
    for inner in names(&dir)? {
        if !goes_on() {
            return Ok(false);
        }
        let gone = unlinked(dir.as_fd(), &inner).and_then(|unlinked| match unlinked {
            true => Ok(()),
            // A place where something is mounted can't be moved, so nothing beyond it is ever looked at.
            false => move_to(dir.as_fd(), &inner, trash, &atomic::random_hex::<16>()?),
        });
        if let Err(error) = gone {
            first.get_or_insert(naming(Path::new(inner.to_string_lossy().as_ref()), &error));
        }
    }
    match first {
        Some(error) => Err(error),
        None => Ok(rustix::fs::unlinkat(trash, name, AtFlags::REMOVEDIR).map(|()| true)?),
    }
}

/// Unlinks what is no directory; false where it is one.
fn unlinked(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<bool> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::ISDIR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Renames. A directory that its owner may not write to can't be moved elsewhere.
fn move_to(dir: BorrowedFd<'_>, name: &CStr, trash: BorrowedFd<'_>, aside: &str) -> io::Result<()> {
    if is_dir(dir, name) {
        make_ours(dir, name)?;
    }
    // Over nothing that is there: the name is random. And if it were, it would lie in the trash all the same.
    Ok(rustix::fs::renameat(dir, name, trash, aside)?)
}

/// Build tools leave directories that nobody may write to; their owner may change that. Not for a symbolic link,
/// which would be followed.
fn make_ours(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let mode = Mode::from_raw_mode(stat.st_mode);
    if !mode.contains(Mode::RWXU) {
        rustix::fs::chmodat(dir, name, mode | Mode::RWXU, AtFlags::empty())?;
    }
    Ok(())
}

fn is_dir(dir: BorrowedFd<'_>, name: &CStr) -> bool {
    rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

fn names(dir: &OwnedFd) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use nix::sys::resource::{Resource, getrlimit, setrlimit};

    use super::*;
    use crate::durable::tests::alone_in_a_process;

    const ORDINARY: u32 = 4711;

    /// Root may do anything, whatever modes say. To be called in a process of its own.
    fn as_an_ordinary_user() {
        if rustix::process::geteuid().is_root() {
            nix::unistd::seteuid(nix::unistd::Uid::from_raw(ORDINARY)).unwrap();
        }
    }

    struct Place {
        home: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Place {
            Place { home: tempfile::tempdir().unwrap() }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.home.path().join(name)
        }

        fn trash(&self) -> Trash {
            Trash::at(self.path("trash"))
        }
    }

    #[expect(clippy::disallowed_methods, reason = "a test makes a file")]
    fn put(path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "content").unwrap();
    }

    fn listed(path: &Path) -> Vec<String> {
        let entries = fs::read_dir(path).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn what_was_taken_is_gone_from_its_place_and_deleted_later() {
        let place = Place::new();
        assert!(!place.trash().is_there().unwrap());
        put(&place.path("a/b/c"));
        put(&place.path("a/d"));
        place.trash().take(&place.path("a")).unwrap();
        assert_eq!(listed(place.home.path()), ["trash"]);
        assert!(place.trash().is_there().unwrap());
        // The same name again, beside the first one.
        put(&place.path("a"));
        place.trash().take(&place.path("a")).unwrap();
        assert_eq!(listed(&place.path("trash")).len(), 2);
        place.trash().empty().unwrap();
        assert_eq!(listed(place.home.path()), [""; 0]);
        place.trash().empty().unwrap();
        let error = place.trash().take(&place.path("a")).unwrap_err().to_string();
        assert!(error.starts_with(&place.path("a").display().to_string()), "{error}");
    }

    // Origin: whoever emptied the trash was killed before the last step. Nothing lay in it, so no later tick saw anything
    // to do, and the folder stayed among the workspaces for ever.
    #[test]
    fn an_empty_trash_that_was_left_behind_is_there_to_be_removed() {
        let place = Place::new();
        fs::create_dir(place.path("trash")).unwrap();
        assert!(place.trash().is_there().unwrap());
        place.trash().empty().unwrap();
        assert_eq!(listed(place.home.path()), [""; 0]);
    }

    // Origin: an agent that linked its home into its workspace must not cost it.
    #[test]
    fn a_symbolic_link_is_deleted_and_what_it_stands_for_stays() {
        let place = Place::new();
        put(&place.path("home/kept"));
        fs::create_dir(place.path("work")).unwrap();
        symlink(place.path("home"), place.path("work/link")).unwrap();
        symlink(place.path("home"), place.path("whole")).unwrap();
        place.trash().take(&place.path("work")).unwrap();
        place.trash().take(&place.path("whole")).unwrap();
        place.trash().empty().unwrap();
        assert_eq!(listed(place.home.path()), ["home"]);
        assert_eq!(listed(&place.path("home")), ["kept"]);
    }

    #[test]
    fn no_depth_is_too_deep_and_a_later_turn_goes_on_where_one_was_killed() {
        let place = Place::new();
        let mut inner = atomic::open_dir(place.home.path()).unwrap();
        // Deeper than any path can name, and than files can be open.
        for _ in 0..1200 {
            rustix::fs::mkdirat(&inner, "deep", Mode::RWXU).unwrap();
            inner = rustix::fs::openat(&inner, "deep", atomic::DIRECTORY, Mode::empty()).unwrap();
        }
        drop(inner);
        place.trash().take(&place.path("deep")).unwrap();
        // As a kill would leave it: one level is gone, the rest lies beside it.
        let trash = place.trash().open().unwrap().unwrap();
        let first = names(&trash).unwrap().remove(0);
        delete(trash.as_fd(), &first, &|| true).unwrap();
        assert_eq!(listed(&place.path("trash")).len(), 1);
        place.trash().empty().unwrap();
        assert_eq!(listed(place.home.path()), [""; 0]);
    }

    // Origin: module caches are made read-only, and `rm -rf` fails on them.
    #[test]
    fn directories_that_nobody_may_write_to_are_deleted_too() {
        const NAME: &str = "durable::trash::tests::directories_that_nobody_may_write_to_are_deleted_too";
        if !alone_in_a_process(NAME) {
            return;
        }
        as_an_ordinary_user();
        let place = Place::new();
        put(&place.path("cache/module/file"));
        put(&place.path("cache/shut/file"));
        let set = |name: &str, mode| {
            fs::set_permissions(place.path(name), fs::Permissions::from_mode(mode)).unwrap();
        };
        set("cache/module", 0o555);
        set("cache/shut", 0);
        set("cache", 0o555);
        place.trash().take(&place.path("cache")).unwrap();
        place.trash().empty().unwrap();
        assert_eq!(listed(place.home.path()), [""; 0]);
    }

    // A container leaves files of root's in the workspace: whoever owns the directory may move and delete them, and may
    // not change their mode.
    #[test]
    fn a_file_of_another_user_in_a_directory_of_ours_is_deleted_too() {
        const NAME: &str =
            "durable::trash::tests::a_file_of_another_user_in_a_directory_of_ours_is_deleted_too";
        if !alone_in_a_process(NAME) || !rustix::process::geteuid().is_root() {
            return;
        }
        let place = Place::new();
        put(&place.path("work"));
        fs::set_permissions(place.path("work"), fs::Permissions::from_mode(0o444)).unwrap();
        std::os::unix::fs::chown(place.home.path(), Some(ORDINARY), None).unwrap();
        as_an_ordinary_user();
        place.trash().take(&place.path("work")).unwrap();
        place.trash().empty().unwrap();
        assert_eq!(listed(place.home.path()), [""; 0]);
        nix::unistd::seteuid(nix::unistd::Uid::from_raw(0)).unwrap();
    }

    #[test]
    fn what_can_not_be_deleted_is_named_and_keeps_nothing_else_from_it() {
        const NAME: &str =
            "durable::trash::tests::what_can_not_be_deleted_is_named_and_keeps_nothing_else_from_it";
        if !alone_in_a_process(NAME) {
            return;
        }
        let place = Place::new();
        for name in ["a", "b/file", "c"] {
            put(&place.path("work").join(name));
        }
        fs::rename(place.path("work"), place.path("trash")).unwrap();
        // So few files that a directory can't be opened beside the trash and read.
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let free = fs::File::open("/").unwrap().as_raw_fd().unsigned_abs();
        setrlimit(Resource::RLIMIT_NOFILE, u64::from(free) + 2, hard).unwrap();
        let error = place.trash().empty().unwrap_err().to_string();
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
        assert!(error.starts_with(&place.path("trash/b").display().to_string()), "{error}");
        assert_eq!(listed(&place.path("trash")), ["b"]);
        place.trash().empty().unwrap();
        assert_eq!(listed(place.home.path()), [""; 0]);
    }

    #[test]
    fn a_trash_that_is_a_link_is_refused() {
        let place = Place::new();
        put(&place.path("home/kept"));
        put(&place.path("a"));
        symlink(place.path("home"), place.path("trash")).unwrap();
        assert!(place.trash().take(&place.path("a")).is_err());
        assert!(place.trash().empty().is_err());
        assert!(place.path("a").exists() && place.path("home/kept").exists());
    }
}
