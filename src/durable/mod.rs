//! Files that survive a kill and a power cut, and locks. No policy: nothing here knows what a file means.

pub mod atomic;
pub mod disk;
pub mod lock;
pub mod open;
pub mod seal;
pub mod trash;

use std::io;
use std::path::Path;

pub use lock::{Lock, LockError, Probe};
pub use open::Links;
pub use trash::Trash;

/// The same error with its path: the system's own text names no file.
pub(crate) fn naming(path: &Path, error: &io::Error) -> io::Error {
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
    fn naming_a_file_keeps_the_kind() {
        let named = naming(Path::new("/state/x"), &io::Error::from_raw_os_error(28));
        assert_eq!(named.kind(), io::ErrorKind::StorageFull);
        assert_eq!(named.to_string(), "/state/x: No space left on device (os error 28)");
    }
}
