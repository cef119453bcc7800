//! Workspaces: made once, and set up by one launcher at a time.
//!
//! A workspace that the `after_create` hook had not finished with must never pass for one that it had. So before
//! the folder is made, a mark is written beside it, `<workspace>~unfinished`; it is removed when the hook has ended
//! well. A folder with a mark is removed and made anew: no agent was ever in it. `~` is in no workspace's name.
//!
//! Whoever sets up holds a lock on the mark, and its hook inherits that lock: as long as anything of it writes into
//! the folder, its launcher killed or not, nobody else begins.

pub(crate) mod ledger;
pub mod ownership;
pub mod retention;
pub mod root;

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{CWD, OFlags};
use rustix::io::FdFlags;

use crate::durable::Trash;
use crate::durable::open::{Links, open_at};
use crate::workspace::ownership::Marks;

/// The trash of a folder of workspaces, in it: it has to be on the same file system. No workspace is called so,
/// because none is hidden.
pub(crate) const TRASH: &str = ".factory-tick-trash";

/// What is put behind a workspace's name to name its mark.
const MARK_SUFFIX: &str = "~unfinished";

/// For a person who finds it.
const MARK: &[u8] =
    b"factory-tick: the after_create hook has not finished with the folder beside this file\n";

/// How often a mark may be replaced while it is being locked, before that is called an error.
const REPLACED_MAX: u32 = 100;

/// Where a workspace is, or is to be.
#[derive(Debug)]
pub(crate) struct Place {
    root: PathBuf,
    path: PathBuf,
    mark: PathBuf,
}

/// Who sets a workspace up.
#[derive(Debug)]
pub(crate) enum SetUp {
    /// Nobody: it is there.
    Done,
    /// Another run of the same item.
    Others,
    /// The caller. The folder is there, and empty.
    Ours(Unfinished),
}

/// The right to set a workspace up. It lasts until the file is closed here and in everything that inherited it.
#[derive(Debug)]
pub(crate) struct Unfinished {
    mark: File,
}

/// Whether a workspace is there and nothing is to be done in it before the next run: its `after_create` is over.
pub fn is_set_up(root: &Path, name: &str) -> bool {
    is_there(&root.join(name)) && !is_there(&mark(root, name))
}

impl Place {
    /// The place of a workspace below its root, which is made when missing.
    pub(crate) fn new(root: &Path, name: &str) -> Result<Place> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(root)?;
        let root = root.canonicalize()?;
        let (path, mark) = (root.join(name), mark(&root, name));
        Ok(Place { root, path, mark })
    }

    /// Makes the place this factory's, unless another factory has it. `state`: its state directory.
    pub(crate) fn claim(&self, lineage: &str, state: &Path) -> Result<()> {
        let name = self.path.file_name().and_then(|name| name.to_str()).context("it has no name")?;
        Marks::of(&self.root, lineage).claim(name, state)
    }

    /// The folder itself, certain to lie inside its root.
    pub(crate) fn folder(&self) -> Result<&Path> {
        let real = self.path.canonicalize()?;
        ensure!(real == self.path, "it is really {}, outside its root", real.display());
        ensure!(real.is_dir(), "it is not a directory");
        Ok(&self.path)
    }

    /// Makes the folder where it is missing and nothing is to be done in it first. Whether it was missing.
    pub(crate) fn make(&self) -> Result<bool> {
        match fs::DirBuilder::new().mode(0o700).create(&self.path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            made => Ok(made.map(|()| true)?),
        }
    }

    /// Whether somebody began to set it up and has not ended.
    pub(crate) fn is_marked(&self) -> bool {
        is_there(&self.mark)
    }

    /// Begins to set the workspace up, where that is to be done and nobody else does it.
    pub(crate) fn set_up(&self) -> Result<SetUp> {
        for _ in 0..REPLACED_MAX {
            // In this order: the mark is there before the folder, so a folder that was there without one is done.
            if is_there(&self.path) && !self.is_marked() {
                return Ok(SetUp::Done);
            }
            let mut mark = self.open_mark()?;
            match fs2::FileExt::try_lock_exclusive(&mark) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(SetUp::Others),
                locked => locked.with_context(|| format!("cannot lock {}", self.mark.display()))?,
            }
            if !self.is_still_mark(&mark)? {
                continue;
            }
            if mark.metadata()?.len() > 0 {
                self.remove_half().context("what an earlier set-up left cannot be removed")?;
            } else if is_there(&self.path) {
                // It was finished between the look and the lock: nobody has begun under this mark.
                self.remove_mark()?;
                return Ok(SetUp::Done);
            }
            mark.set_len(0)?;
            mark.write_all(MARK)?;
            mark.sync_all()?;
            self.sync_root()?;
            fs::DirBuilder::new().mode(0o700).create(&self.path)?;
            // What the hook starts is to hold the lock with us.
            rustix::io::fcntl_setfd(&mark, FdFlags::empty())?;
            return Ok(SetUp::Ours(Unfinished { mark }));
        }
        bail!("{} is replaced again and again; look who removes it", self.mark.display())
    }

    /// The hook has ended well. Durable before any agent begins: its work must never be taken for half a set-up.
    pub(crate) fn finish(&self, unfinished: Unfinished) -> Result<()> {
        self.remove_mark()?;
        drop(unfinished.mark);
        Ok(())
    }

    fn open_mark(&self) -> Result<File> {
        let how = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE;
        let mark = open_at(CWD, &self.mark, how, Links::Refuse);
        mark.map(File::from).with_context(|| format!("cannot open {}", self.mark.display()))
    }

    fn is_still_mark(&self, mark: &File) -> io::Result<bool> {
        let ours = mark.metadata()?;
        match self.mark.symlink_metadata() {
            Ok(there) => Ok((ours.dev(), ours.ino()) == (there.dev(), there.ino())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Into the trash, and no further: a hook may have mounted something in it, which whoever empties that leaves alone.
    fn remove_half(&self) -> io::Result<()> {
        match Trash::at(self.root.join(TRASH)).take(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn remove_mark(&self) -> io::Result<()> {
        fs::remove_file(&self.mark)?;
        self.sync_root()
    }

    fn sync_root(&self) -> io::Result<()> {
        File::open(&self.root)?.sync_all()
    }
}

fn mark(root: &Path, name: &str) -> PathBuf {
    root.join(format!("{name}{MARK_SUFFIX}"))
}

fn is_there(path: &Path) -> bool {
    // What can't be looked at is taken for there: whoever uses it next is told why not.
    !path.symlink_metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> (tempfile::TempDir, Place) {
        let root = tempfile::tempdir().unwrap();
        let place = Place::new(root.path(), "AR-1").unwrap();
        (root, place)
    }

    fn ours(place: &Place) -> Unfinished {
        match place.set_up().unwrap() {
            SetUp::Ours(unfinished) => unfinished,
            other => panic!("{other:?}"),
        }
    }

    // covers: H05
    #[test]
    fn one_sets_up_and_the_others_wait_until_it_is_done() {
        let (_root, place) = place();
        let unfinished = ours(&place);
        assert!(place.folder().unwrap().is_dir() && place.is_marked());
        assert!(matches!(place.set_up().unwrap(), SetUp::Others));
        place.finish(unfinished).unwrap();
        assert!(matches!(place.set_up().unwrap(), SetUp::Done));
        assert!(!place.is_marked());
    }

    // covers: H04
    #[test]
    fn what_was_not_finished_is_made_anew() {
        let (_root, place) = place();
        let unfinished = ours(&place);
        File::create(place.folder().unwrap().join("half")).unwrap();
        drop(unfinished);
        let unfinished = ours(&place);
        assert!(!place.folder().unwrap().join("half").exists());
        place.finish(unfinished).unwrap();
    }

    // Its launcher is killed, and what its hook has started goes on writing into the folder.
    // covers: H04
    #[test]
    fn whoever_inherited_the_right_to_set_up_keeps_it_when_the_launcher_is_gone() {
        let (_root, place) = place();
        let unfinished = ours(&place);
        assert!(!rustix::io::fcntl_getfd(&unfinished.mark).unwrap().contains(FdFlags::CLOEXEC));
        let inherited = unfinished.mark.try_clone().unwrap();
        drop(unfinished);
        assert!(matches!(place.set_up().unwrap(), SetUp::Others));
        drop(inherited);
    }

    // A run that looked before the set-up of another began, and asked for the lock after it had ended, would find
    // a mark of its own making beside a folder in which an agent is already at work.
    // covers: H05
    #[test]
    fn a_mark_under_which_nobody_began_condemns_no_folder() {
        let (_root, place) = place();
        assert!(place.make().unwrap() && !place.make().unwrap());
        File::create(place.folder().unwrap().join("work")).unwrap();
        drop(place.open_mark().unwrap());
        assert!(matches!(place.set_up().unwrap(), SetUp::Done));
        assert!(place.folder().unwrap().join("work").exists() && !place.is_marked());
    }

    // covers: H04
    #[test]
    fn a_link_in_place_of_a_half_folder_costs_nobody_else_anything() {
        let (_root, place) = place();
        let elsewhere = tempfile::tempdir().unwrap();
        File::create(elsewhere.path().join("precious")).unwrap();
        drop(ours(&place));
        fs::remove_dir(&place.path).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), &place.path).unwrap();
        assert!(place.folder().is_err());
        place.finish(ours(&place)).unwrap();
        assert!(elsewhere.path().join("precious").exists());
        assert!(place.folder().unwrap().is_dir());
    }
}
