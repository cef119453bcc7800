//! What a registry is bound to, beside the real path of its configuration: enough to tell a state that was moved from one
//! that was copied.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// What a registry belongs to, as far as that is recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    /// The real path of its configuration.
    pub config: Option<PathBuf>,
    /// The rest.
    pub binding: Option<Binding>,
}

impl Bound {
    /// Whether this is the real path of its configuration.
    pub fn is_config(&self, config: &Path) -> bool {
        self.config.as_deref() == Some(Path::new(&recorded_path(config)))
    }
}

/// What a registry is bound to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// The repository of its configuration; `None`: the configuration lies in none that has an origin.
    pub repository: Option<Repository>,
    /// The state directory.
    pub directory: Directory,
}

/// A configuration by its repository: the same in every clone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repository {
    /// The address of its origin, without credentials.
    pub origin: String,
    /// The configuration's path below the top level.
    pub path: String,
}

/// A state directory. Device and inode tell it from a copy of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Directory {
    /// Where it was.
    pub path: String,
    /// Its device. A boot or another mount may give it another number.
    pub device: u64,
    /// Its inode.
    pub inode: u64,
}

impl Binding {
    /// As a field of the registry's file.
    pub(crate) fn to_field(&self) -> String {
        // A struct of strings and numbers has nothing that can't be written.
        let json = serde_json::to_string(self).unwrap_or_default();
        format!(r#""binding":{json},"#)
    }
}

/// How a config file's path is recorded: JSON has no way to write what is not UTF-8.
pub(crate) fn recorded_path(config: &Path) -> String {
    config.to_string_lossy().into_owned()
}
