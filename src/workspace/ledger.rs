//! Which workspaces a launcher of this factory made: nothing else is ever deleted as one.
//!
//! A folder that has an item's name may have been there before the item: somebody's own project. So who makes a
//! workspace notes it, in a file `made/<workspace>` that holds its real path: beside another root it says nothing. Between
//! two instructions a folder without its note may be left, which stays for ever, but never a note without its folder.

use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::durable::atomic;

/// As long as any path that a system call takes.
const PATH_BYTES_MAX: u64 = 4096;

/// The notes of one state directory.
#[derive(Debug)]
pub(crate) struct WorkspaceLedger {
    dir: PathBuf,
}

impl WorkspaceLedger {
    /// The notes in `made/`.
    pub(crate) fn at(dir: PathBuf) -> WorkspaceLedger {
        WorkspaceLedger { dir }
    }

    /// The folder at this real path was made just now, by the caller. Durable.
    ///
    /// # Errors
    ///
    /// That it can't be written.
    pub(crate) fn note(&self, workspace: &Path) -> io::Result<()> {
        let (dir, name, content) =
            (atomic::open_dir(&self.dir)?, name(workspace)?, workspace.as_os_str().as_bytes());
        // What an earlier one under the same name says is of another root, or gone.
        atomic::remove(&dir, name)?;
        // Whoever is killed at it must leave nothing lying about: its item may never come by again.
        if !atomic::link_new(&dir, name, content)? {
            atomic::replace(&dir, name, content, true)?;
        }
        Ok(())
    }

    /// Whether the workspace at this real path was noted. What can't be read is no note.
    pub(crate) fn is_noted(&self, workspace: &Path) -> bool {
        let read = || {
            let dir = atomic::open_dir(&self.dir)?;
            Ok::<_, io::Error>(atomic::read_bounded(dir, name(workspace)?, PATH_BYTES_MAX)?)
        };
        let noted = read().inspect_err(|error| {
            if error.kind() != ErrorKind::NotFound {
                log::debug!("whether {} was made can't be read: {error}", workspace.display());
            }
        });
        noted.is_ok_and(|content| content.is_some_and(|path| path == workspace.as_os_str().as_bytes()))
    }

    /// Has the folder taken away, and its note before it: killed in between, the folder stays. What could not be taken
    /// is noted again.
    ///
    /// # Errors
    ///
    /// Those of `take`, and that the note can't be removed.
    pub(crate) fn take(&self, workspace: &Path, take: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        atomic::remove(atomic::open_dir(&self.dir)?, name(workspace)?)?;
        match take() {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                self.note(workspace)?;
                Err(error)
            }
            taken => taken,
        }
    }
}

fn name(workspace: &Path) -> io::Result<&str> {
    let name = workspace.file_name().and_then(|name| name.to_str());
    name.ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "a workspace without a name"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn made() -> (tempfile::TempDir, WorkspaceLedger) {
        let dir = tempfile::tempdir().unwrap();
        let made = WorkspaceLedger::at(dir.path().to_owned());
        (dir, made)
    }

    #[test]
    fn only_what_was_noted_is_made_and_only_where_it_was() {
        let (_dir, made) = made();
        assert!(!made.is_noted(Path::new("/work/AR-1")));
        made.note(Path::new("/work/AR-1")).unwrap();
        assert!(made.is_noted(Path::new("/work/AR-1")));
        assert!(!made.is_noted(Path::new("/work/AR-10")));
        assert!(!made.is_noted(Path::new("/projects/AR-1")), "another root");
        made.note(Path::new("/projects/AR-1")).unwrap();
        assert!(made.is_noted(Path::new("/projects/AR-1")) && !made.is_noted(Path::new("/work/AR-1")));
    }

    #[test]
    fn without_a_place_for_notes_nothing_is_made() {
        let (dir, made) = made();
        fs::remove_dir(dir.path()).unwrap();
        assert!(made.note(Path::new("/work/AR-1")).is_err());
        assert!(!made.is_noted(Path::new("/work/AR-1")));
    }

    #[test]
    fn a_note_goes_before_its_folder_and_is_back_when_that_could_not_be_taken() {
        let (_dir, made) = made();
        let workspace = Path::new("/work/AR-1");
        made.note(workspace).unwrap();
        let refused = made.take(workspace, || {
            assert!(!made.is_noted(workspace));
            Err(io::Error::other("refused"))
        });
        assert_eq!(refused.unwrap_err().to_string(), "refused");
        assert!(made.is_noted(workspace));
        made.take(workspace, || Ok(())).unwrap();
        assert!(!made.is_noted(workspace));
        made.note(workspace).unwrap();
        assert!(made.take(workspace, || Err(ErrorKind::NotFound.into())).is_err());
        assert!(!made.is_noted(workspace), "it is gone, by whatever hand");
    }
}
