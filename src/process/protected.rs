//! Which processes the configuration says are never to be signalled, as of now: a pid file's process may have
//! been started long after the agent was.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::durable::open::{Links, open_file};
use crate::process::signal::Guard;

/// A pid and a line break take far less.
const PIDFILE_BYTES_MAX: u64 = 4096;

/// Who is not to be signalled: those pids, and the ones that these files hold.
///
/// # Errors
///
/// A file that can't be read or holds no pid: its process could be any, so nobody may be signalled on the
/// strength of this. A file that is not there says that its process does not run.
pub fn guard(pids: &[u32], files: &[PathBuf]) -> Result<Guard> {
    let mut all: BTreeSet<u32> = pids.iter().copied().collect();
    for file in files {
        match read(file) {
            Ok(text) => all.insert(text.trim().parse().with_context(|| {
                format!("{} of protected_pidfiles holds no pid: correct or remove it", file.display())
            })?),
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => {
                let file = file.display();
                return Err(error).with_context(|| format!("cannot read {file} of protected_pidfiles"));
            }
        };
    }
    Ok(Guard::new(all)?)
}

/// The text of a pid file. A FIFO in its place is never waited for.
fn read(path: &Path) -> io::Result<String> {
    let file = open_file(path, Links::Follow)?;
    let mut text = String::new();
    file.take(PIDFILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test writes what others write in life")]
    fn a_pid_file_is_read_as_it_is_now() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("broker.pid");
        let protects =
            |pid| guard(&[7], std::slice::from_ref(&file)).map(|guard| guard.protects(pid).is_some());
        assert!(protects(7).unwrap() && !protects(4_000_000).unwrap());
        std::fs::write(&file, "4000000\n").unwrap();
        assert!(protects(4_000_000).unwrap());
        std::fs::write(&file, "").unwrap();
        assert!(protects(7).is_err(), "an unknown process may be any");
    }
}
