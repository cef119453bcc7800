//! Which factory a workspace belongs to.
//!
//! Two factories may share a folder of workspaces, and have items of the same key. The first launcher that wants a
//! workspace links a mark, `<root>/.factory-tick/<workspace>`, which holds the lineage of its factory. The link decides a
//! race. A factory whose lineage is not in the mark neither works in that workspace nor removes it.
//!
//! The mark lies outside the workspace, because an agent's `git clean -ffdx` deletes a file inside. A factory removes its
//! mark after the workspace is gone, so the workspace is never removed under another factory.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::durable::atomic;

/// The folder of marks, in the folder of workspaces. No workspace has this name, because no workspace is hidden.
const MARKS: &str = ".factory-tick";

/// More than any mark takes: a lineage and a path.
const MARK_BYTES_MAX: u64 = 8 << 10;

/// How often a mark may vanish between the link that finds it and the read, before that is an error.
const VANISHES_MAX: u32 = 100;

/// The content of a mark.
#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    /// The factory that the workspace belongs to.
    lineage: String,
    /// Its state directory, for people.
    state: PathBuf,
}

/// The marks of one folder of workspaces, as one factory sees them.
#[derive(Debug)]
pub struct Marks {
    dir: PathBuf,
    lineage: String,
}

/// Who has a workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Owner {
    Nobody,
    /// This factory.
    Us,
    /// Another factory, or a mark that can't be read; the reason for people.
    Other(String),
}

impl Marks {
    /// The marks below the real path of a folder of workspaces, for the factory with this lineage.
    pub fn of(root: &Path, lineage: &str) -> Marks {
        Marks { dir: root.join(MARKS), lineage: lineage.to_owned() }
    }

    /// Makes a workspace this factory's, durably, unless another factory has it. `state`: the state directory, for people
    /// of the other factory.
    ///
    /// # Errors
    ///
    /// That another factory has it ([`Taken`]), or that the mark can't be made.
    pub(crate) fn claim(&self, name: &str, state: &Path) -> anyhow::Result<()> {
        let mark = Mark { lineage: self.lineage.clone(), state: state.to_owned() };
        let mark = format!("{}\n", serde_json::to_string(&mark)?);
        self.make_dir()?;
        for _ in 0..VANISHES_MAX {
            if atomic::link_new(atomic::open_dir(&self.dir)?, name, mark.as_bytes())? {
                return Ok(());
            }
            match self.owner(name)? {
                Owner::Us => return Ok(()),
                Owner::Other(because) => return Err(Taken(because).into()),
                // The other factory has released it just now.
                Owner::Nobody => {}
            }
        }
        anyhow::bail!("{} is removed again and again; look who removes it", self.dir.join(name).display())
    }

    /// Makes every marked workspace this factory's: for a folder inside a state directory, which no other factory shares.
    ///
    /// # Errors
    ///
    /// That a mark can't be written.
    pub fn take_over(&self, state: &Path) -> io::Result<()> {
        let mark = Mark { lineage: self.lineage.clone(), state: state.to_owned() };
        let mark = format!("{}\n", serde_json::to_string(&mark)?);
        self.names()?
            .iter()
            .try_for_each(|name| atomic::replace(atomic::open_dir(&self.dir)?, name, mark.as_bytes(), true))
    }

    /// Of these workspaces those that another factory has, each with the reason for people. `wanted` is asked only where
    /// any mark exists.
    pub fn taken(&self, wanted: impl FnOnce() -> BTreeSet<String>) -> BTreeMap<String, String> {
        let marked = match self.names() {
            Ok(marked) if marked.is_empty() => return BTreeMap::new(),
            Ok(marked) => marked,
            Err(error) => {
                // No workspace can be told to be ours. A launcher would find the same, and its item would be charged.
                let because = format!("which factory it belongs to can't be told: {error}");
                return wanted().into_iter().map(|name| (name, because.clone())).collect();
            }
        };
        let taken = |name: &String| match self.owner(name) {
            Ok(Owner::Nobody | Owner::Us) => None,
            Ok(Owner::Other(because)) => Some(because),
            Err(error) => Some(format!("which factory it belongs to can't be told: {error}")),
        };
        wanted().intersection(&marked).filter_map(|name| Some((name.clone(), taken(name)?))).collect()
    }

    /// The workspaces of this factory.
    ///
    /// # Errors
    ///
    /// That the marks can't be listed.
    pub fn ours(&self) -> io::Result<BTreeSet<String>> {
        Ok(self.names()?.into_iter().filter(|name| self.is_ours(name)).collect())
    }

    /// Whether this factory has the workspace.
    pub fn is_ours(&self, name: &str) -> bool {
        matches!(self.owner(name), Ok(Owner::Us))
    }

    /// Gives a workspace of this factory up, durably: any factory may have it.
    ///
    /// # Errors
    ///
    /// That the mark can't be removed.
    pub fn release(&self, name: &str) -> io::Result<()> {
        if !self.is_ours(name) {
            return Ok(());
        }
        atomic::remove(atomic::open_dir(&self.dir)?, name)
    }

    fn make_dir(&self) -> io::Result<()> {
        match fs::DirBuilder::new().mode(0o700).create(&self.dir) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(()),
            made => made?,
        }
        let root = self.dir.parent().unwrap_or(&self.dir);
        fs::File::open(root)?.sync_all()
    }

    fn names(&self) -> io::Result<BTreeSet<String>> {
        // Marks are read and written without following a link here. A list by a link would miss them.
        if fs::symlink_metadata(&self.dir).is_ok_and(|data| data.is_symlink()) {
            let error = format!("{} is a symbolic link; remove it", self.dir.display());
            return Err(io::Error::new(ErrorKind::InvalidData, error));
        }
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeSet::new()),
            entries => entries?,
        };
        entries
            .filter_map(|entry| entry.map(|entry| entry.file_name().into_string().ok()).transpose())
            .collect()
    }

    fn owner(&self, name: &str) -> io::Result<Owner> {
        let read = || match atomic::open_dir(&self.dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            dir => Ok::<_, io::Error>(atomic::read_bounded(dir?, name, MARK_BYTES_MAX)?),
        };
        let path = self.dir.join(name);
        let bytes = match read() {
            Ok(None) => return Ok(Owner::Nobody),
            Ok(Some(bytes)) => bytes,
            // A link, a folder, another user's: nothing that this factory has made.
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                return Ok(Owner::Other(format!(
                    "which factory it belongs to can't be told: {}: {error}",
                    path.display()
                )));
            }
            Err(error) => return Err(error),
        };
        Ok(match serde_json::from_slice::<Mark>(&bytes) {
            Ok(mark) if mark.lineage == self.lineage => Owner::Us,
            Ok(mark) => Owner::Other(format!(
                "its workspace belongs to another factory, whose state is {}; give this one a [workspace] root of its own, \
                 or remove {} once that factory does not need it",
                mark.state.display(),
                path.display()
            )),
            Err(error) => Owner::Other(format!(
                "which factory its workspace belongs to can't be told: {}: {error}",
                path.display()
            )),
        })
    }
}

/// That another factory has a workspace; the reason for people.
#[derive(Debug)]
pub(crate) struct Taken(String);

impl std::fmt::Display for Taken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Taken {}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn marks(root: &Path, lineage: &str) -> Marks {
        Marks::of(root, lineage)
    }

    fn wanted() -> BTreeSet<String> {
        BTreeSet::from(["AR-1", "AR-2"].map(str::to_owned))
    }

    // covers: P08c
    #[test]
    fn one_of_many_factories_claims_a_workspace() {
        let root = tempfile::tempdir().unwrap();
        let start = std::sync::Barrier::new(8);
        let won: Vec<String> = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..8)
                .map(|racer| {
                    let (root, start) = (root.path(), &start);
                    scope.spawn(move || {
                        let lineage = format!("factory-{racer}");
                        start.wait();
                        let claimed = marks(root, &lineage).claim("AR-1", Path::new("/state"));
                        claimed.is_ok().then_some(lineage)
                    })
                })
                .collect();
            racers.into_iter().filter_map(|racer| racer.join().unwrap()).collect()
        });
        assert_eq!(won.len(), 1, "{won:?}");
        assert!(marks(root.path(), &won[0]).is_ours("AR-1"));
    }

    // covers: P08
    #[test]
    fn mark_of_another_factory_is_taken_and_stays() {
        let root = tempfile::tempdir().unwrap();
        let (ours, other) = (marks(root.path(), "us"), marks(root.path(), "other"));
        assert_eq!(ours.taken(|| panic!("nothing is marked")), BTreeMap::new());
        other.claim("AR-1", Path::new("/srv/other")).unwrap();
        ours.claim("AR-2", Path::new("/srv/us")).unwrap();
        ours.claim("AR-2", Path::new("/srv/us")).unwrap();
        let taken = ours.taken(wanted);
        assert_eq!(taken.keys().collect::<Vec<_>>(), ["AR-1"]);
        assert!(taken["AR-1"].contains("/srv/other"), "{taken:?}");
        let refused = ours.claim("AR-1", Path::new("/srv/us")).unwrap_err();
        assert!(refused.is::<Taken>(), "{refused:#}");
        ours.release("AR-1").unwrap();
        assert!(other.is_ours("AR-1"), "released by its own factory alone");
        assert_eq!(ours.ours().unwrap(), BTreeSet::from(["AR-2".to_owned()]));
        other.release("AR-1").unwrap();
        ours.claim("AR-1", Path::new("/srv/us")).unwrap();
    }

    // covers: P08
    #[test]
    fn mark_that_cannot_be_read_is_taken() {
        let root = tempfile::tempdir().unwrap();
        let ours = marks(root.path(), "us");
        ours.claim("AR-1", Path::new("/srv/us")).unwrap();
        let dir = root.path().join(MARKS);
        for damage in [&b""[..], b"{\"lineage\":\"us\"", b"\xff"] {
            fs::File::create(dir.join("AR-1")).unwrap().write_all(damage).unwrap();
            assert_eq!(ours.taken(wanted).len(), 1, "{damage:?}");
            assert!(ours.claim("AR-1", Path::new("/srv/us")).is_err());
            ours.release("AR-1").unwrap();
            assert!(dir.join("AR-1").exists());
        }
        fs::create_dir(dir.join("AR-2")).unwrap();
        assert_eq!(ours.taken(wanted).len(), 2);
        fs::remove_dir_all(&dir).unwrap();
        fs::File::create(&dir).unwrap();
        assert_eq!(ours.taken(wanted).len(), 2, "the folder of marks is none");
    }
}
