//! The folder of workspaces: which of them belong to a factory, and its trash.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::config::Config;
use crate::durable::Trash;
use crate::workspace::TRASH;
use crate::workspace::ownership::Marks;

/// The folder of workspaces that a configuration names, else the one in the state directory.
pub fn folder(config: &Config, state: &Path) -> PathBuf {
    config.workspace_root.clone().unwrap_or_else(|| state.join("workspaces"))
}

/// The folder of workspaces, as one factory sees it. It need not be there.
#[derive(Clone, Debug)]
pub struct WorkspaceRoot {
    path: PathBuf,
    lineage: String,
}

impl WorkspaceRoot {
    /// The folder of the factory of this lineage. Nothing is read yet.
    pub fn new(config: &Config, state: &Path, lineage: &str) -> WorkspaceRoot {
        WorkspaceRoot { path: folder(config, state), lineage: lineage.to_owned() }
    }

    /// The names of the workspaces that belong to this factory, those among them that are gone too.
    ///
    /// # Errors
    ///
    /// That their marks can't be listed.
    pub fn owned(&self) -> Result<BTreeSet<String>> {
        match self.path.canonicalize() {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(BTreeSet::new()),
            root => Ok(Marks::of(&root?, &self.lineage).ours()?),
        }
    }

    /// The trash of the folder; `None` where there is no such folder.
    ///
    /// # Errors
    ///
    /// That the folder can't be found out.
    pub fn trash(&self) -> io::Result<Option<Trash>> {
        // The folder may be configured by a link; what lies in it is then elsewhere.
        match self.path.canonicalize() {
            Ok(real) => Ok(Some(Trash::at(real.join(TRASH)))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}
