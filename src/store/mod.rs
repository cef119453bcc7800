//! What lasts between two ticks: the state directory, its lock, the registry, the heartbeat, the events.
//!
//! This room knows files and no policy. It never decides what a record means; it promises that a
//! record is whole, that a commit which was acknowledged survives a power cut, and that damage is
//! never mistaken for emptiness.

use std::fmt;
use std::io;
use std::path::Path;

pub mod atomic;
pub mod binding;
pub mod dir;
pub mod disk;
pub mod events;
mod generation;
pub mod heartbeat;
pub mod lock;
pub mod registry_file;
pub mod reserve;
pub mod seal;
pub mod trash;

pub use binding::{Binding, Directory, Repository};
pub use dir::StateDir;
pub use lock::{Lock, LockError, Probe};
pub use registry_file::{Bound, Committed, Loaded, Origin, RegistryFile};
pub use trash::Trash;

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

/// The same error, saying which file it is about: the system's own text never does.
fn naming(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::process::Command;

    use super::*;

    /// Runs the test called `name` alone in a process of its own, for limits that a process sets for
    /// itself and that would break its neighbours. True in that process, false in the one that started it.
    #[expect(clippy::disallowed_methods, reason = "a test starts itself again")]
    pub(crate) fn alone_in_a_process(name: &str) -> bool {
        const MARK: &str = "FACTORY_TICK_TEST_ALONE";
        if std::env::var_os(MARK).is_some_and(|value| value == name) {
            return true;
        }
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--test-threads=1"])
            .env(MARK, name)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{name}: {text}");
        false
    }

    #[test]
    fn an_error_is_its_text() {
        let error = StoreError::io("read", Path::new("/state/x"), &io::Error::from_raw_os_error(5));
        assert_eq!(error.to_string(), "cannot read /state/x: Input/output error (os error 5)");
    }

    #[test]
    fn naming_a_file_keeps_the_kind() {
        let named = naming(Path::new("/state/x"), &io::Error::from_raw_os_error(28));
        assert_eq!(named.kind(), io::ErrorKind::StorageFull);
        assert_eq!(named.to_string(), "/state/x: No space left on device (os error 28)");
    }
}
