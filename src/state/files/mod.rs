//! What lasts between two ticks: the state directory, its lock, the registry, the heartbeat, the events.
//!
//! This room knows files and no policy. It never decides what a record means; it promises that a
//! record is whole, that a commit which was acknowledged survives a power cut, and that damage is
//! never mistaken for emptiness.

use std::path::Path;
use std::{fmt, io};

pub mod binding;
pub mod dir;
pub mod events;
mod generation;
pub mod heartbeat;
pub mod last_good;
pub mod registry_file;
pub mod reserve;

pub use binding::{Binding, Directory, Repository};
pub use dir::StateDir;
pub use registry_file::{Bound, Committed, Loaded, Origin, RegistryFile};

/// Why the state could not be used. The variant is what code branches on (each is one exit code);
/// the text is for people: what failed, which file, what to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// The registry is damaged beyond its backup, or was written by a newer version. Nothing was touched. (65)
    BadState(String),
    /// The state directory can't be made, is unsafe, or lies where locks can't be trusted. (73)
    CannotCreate(String),
    /// The system refused to read or write. After a failed commit nothing is known of it. (74)
    Io(String),
    /// There is no room to write: no block, no inode or no quota. (74)
    NoRoom(String),
}

impl StoreError {
    /// A failed system call on `path`.
    fn io(verb: &str, path: &Path, error: &io::Error) -> StoreError {
        StoreError::Io(format!("cannot {verb} {}: {error}", path.display()))
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::BadState(text)
            | StoreError::CannotCreate(text)
            | StoreError::Io(text)
            | StoreError::NoRoom(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for StoreError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_its_text() {
        let error = StoreError::io("read", Path::new("/state/x"), &io::Error::from_raw_os_error(5));
        assert_eq!(error.to_string(), "cannot read /state/x: Input/output error (os error 5)");
    }
}
