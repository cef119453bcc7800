//! The temporary directory of a run: its own, so that what it leaves there goes with it, and no other run finds it.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rustix::fs::{AtFlags, Mode, Stat};
use rustix::io::Errno;

use crate::durable::{Trash, atomic};
use crate::run::directory::{RunDir, TMP};
use crate::run::notes::TmpNote;

/// A socket's path has at most 108 bytes. This leaves 59 for a `/` and the socket's name.
const PATH_BYTES_MAX: usize = 48;

/// Where it lies when the configured place is of no use.
const USUAL: &str = "/tmp";

/// How its name begins.
const PREFIX: &str = "ft-";

/// How many names are tried in one place. Names are random: the second one is free already.
const TRIES: u32 = 3;

/// How long one caller deletes. What is left is deleted with the run's own directory.
pub(crate) const REMOVAL_MAX: Duration = Duration::from_secs(5);

/// Makes the temporary directory of a run. `wanted`: where its program would have it.
///
/// # Errors
///
/// That there is no place for it.
pub(crate) fn make(run_dir: &RunDir, wanted: Option<&Path>) -> Result<PathBuf> {
    let mut last = None;
    for place in wanted.into_iter().chain([Path::new(USUAL)]) {
        match make_in(run_dir, place) {
            Ok(path) => return Ok(path),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| anyhow::anyhow!("there is no place for it")))
}

fn make_in(run_dir: &RunDir, place: &Path) -> Result<PathBuf> {
    if !place.is_absolute() {
        bail!("{} is no absolute path", place.display());
    }
    if !is_safe(&rustix::fs::stat(place)?) {
        bail!("another user may replace what lies in {}", place.display());
    }
    for _ in 0..TRIES {
        let path = place.join(format!("{PREFIX}{}", atomic::random_hex::<8>()?));
        if path.as_os_str().as_bytes().len() > PATH_BYTES_MAX {
            bail!("paths in {} are too long for a socket", place.display());
        }
        run_dir.put(TMP, &TmpNote { path: path.clone() })?;
        // Fails where anything has that name: nobody else's directory is ever taken.
        match rustix::fs::mkdir(&path, Mode::RWXU) {
            Ok(()) => return Ok(path),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    bail!("every name that was tried in {} is taken", place.display())
}

/// Whether nobody but root and this user can replace a directory in it.
fn is_safe(place: &Stat) -> bool {
    let sticky = Mode::from_raw_mode(place.st_mode).contains(Mode::SVTX);
    let shared = Mode::from_raw_mode(place.st_mode).intersects(Mode::WGRP | Mode::WOTH);
    let owner = place.st_uid;
    (!shared || sticky) && (owner == 0 || owner == rustix::process::geteuid().as_raw())
}

/// Removes it, for as long as [`REMOVAL_MAX`] and not beyond that instant. True: it is gone, and its note with it.
///
/// # Errors
///
/// What could not be deleted.
pub(crate) fn remove(run_dir: &RunDir, until: Option<Instant>) -> io::Result<bool> {
    let noted = run_dir.open().ok().flatten().and_then(|files| files.tmp());
    noted.map_or(Ok(true), |path| remove_at(run_dir, path, until))
}

/// The same of a directory that is known without its note: that may have been taken away with the run's directory.
///
/// # Errors
///
/// As those of [`remove`].
pub(crate) fn remove_at(run_dir: &RunDir, path: PathBuf, until: Option<Instant>) -> io::Result<bool> {
    let latest = Instant::now() + REMOVAL_MAX;
    if is_ours(&path)? && !Trash::at(path).empty_until(until.map_or(latest, |until| until.min(latest)))? {
        return Ok(false);
    }
    match rustix::fs::unlinkat(run_dir.dir()?, TMP, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Whether something lies there that a launcher can have made. A link in its place is not followed later.
fn is_ours(path: &Path) -> io::Result<bool> {
    let named = path.file_name().is_some_and(|name| name.as_bytes().starts_with(PREFIX.as_bytes()));
    match rustix::fs::lstat(path) {
        Ok(stat) => Ok(named && stat.st_uid == rustix::process::geteuid().as_raw()),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn run_dir(home: &Path) -> RunDir {
        let path = home.join("run");
        fs::create_dir(&path).unwrap();
        RunDir::new(path)
    }

    // A place in which others may rename is one in which they put a directory of theirs under an agent.
    // covers: P15e
    #[test]
    fn place_where_others_may_rename_is_not_used() {
        let home = tempfile::Builder::new().prefix("ft").rand_bytes(4).tempdir_in("/tmp").unwrap();
        let run_dir = run_dir(home.path());
        for (mode, is_used) in [(0o777, false), (0o1777, true), (0o770, false), (0o755, true)] {
            fs::set_permissions(home.path(), fs::Permissions::from_mode(mode)).unwrap();
            let path = make(&run_dir, Some(home.path())).unwrap();
            assert_eq!(path.starts_with(home.path()), is_used, "{mode:o}: {}", path.display());
            assert!(remove(&run_dir, None).unwrap() && !path.exists());
        }
        let relative = make(&run_dir, Some(Path::new("tmp"))).unwrap();
        assert!(relative.starts_with("/tmp") && remove(&run_dir, None).unwrap());
    }

    // covers: P15f
    #[test]
    fn link_in_the_place_of_the_directory_is_not_followed() {
        let home = tempfile::Builder::new().prefix("ft").rand_bytes(4).tempdir_in("/tmp").unwrap();
        let run_dir = run_dir(home.path());
        let path = make(&run_dir, Some(home.path())).unwrap();
        fs::remove_dir(&path).unwrap();
        fs::create_dir(home.path().join("precious")).unwrap();
        fs::File::create(home.path().join("precious/file")).unwrap();
        symlink(home.path().join("precious"), &path).unwrap();
        assert!(remove(&run_dir, None).is_err());
        assert!(home.path().join("precious/file").exists());
    }
}
