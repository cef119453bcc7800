//! Files that somebody else may have put in their place, opened without waiting for anything.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};

/// What becomes of a symbolic link in the place of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// It is followed: a person names the file.
    Follow,
    /// It is refused with `ELOOP`: an agent may have put it there.
    Refuse,
}

/// Opens `name` in `dir`, whatever it is. A FIFO would make the open itself wait for its other end, and a terminal would
/// become that of this process: neither happens. A file that is made is for its owner alone.
///
/// # Errors
///
/// Those of `open(2)`.
pub fn open_at(
    dir: impl AsFd,
    name: impl rustix::path::Arg,
    how: OFlags,
    links: Links,
) -> rustix::io::Result<OwnedFd> {
    let links = if links == Links::Refuse { OFlags::NOFOLLOW } else { OFlags::empty() };
    let mode = if how.contains(OFlags::CREATE) { Mode::RUSR | Mode::WUSR } else { Mode::empty() };
    let flags = how | links | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, mode)
}

/// Opens the regular file at `path` for reading, whoever owns it.
///
/// # Errors
///
/// Those of the system, and that it is no regular file.
pub fn open_file(path: &Path, links: Links) -> io::Result<File> {
    let file = File::from(open_at(CWD, path, OFlags::RDONLY, links)?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test makes a file")]
    fn only_a_regular_file_is_opened_and_nothing_is_waited_for() {
        let holder = tempfile::tempdir().unwrap();
        let path = |name: &str| holder.path().join(name);
        std::fs::write(path("file"), "text").unwrap();
        symlink("file", path("link")).unwrap();
        rustix::fs::mknodat(CWD, path("fifo"), rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        let mut text = String::new();
        open_file(&path("link"), Links::Follow).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "text");
        assert!(open_file(&path("file"), Links::Refuse).is_ok());
        assert!(open_file(&path("link"), Links::Refuse).is_err());
        assert_eq!(open_file(&path("absent"), Links::Follow).unwrap_err().kind(), io::ErrorKind::NotFound);
        for name in ["fifo", ""] {
            let error = open_file(&path(name), Links::Refuse).unwrap_err();
            assert_eq!(error.to_string(), "it is not a regular file");
        }
    }
}
