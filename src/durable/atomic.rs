//! Files that are whole or absent, whatever is killed and whenever the power goes.
//!
//! Every function takes an open directory: the state directory and the run directories are used
//! alike, and a directory that was renamed away under us is never confused with its successor.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::durable::open::{Links, open_at};
use crate::fingerprint;

/// What we make is for its owner alone: prompts and logs may hold secrets.
pub(crate) const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

/// How a directory is opened: to sync it and to reach what is in it.
pub(crate) const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens the directory at `path`, which must not be a symbolic link itself.
///
/// # Errors
///
/// Those of `open(2)`; `ENOTDIR` for a symbolic link.
pub fn open_dir(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, DIRECTORY, Mode::empty())?)
}

/// Replaces the file `name` in `dir` by one that holds `bytes`: a reader sees the old one or the new
/// one, never a part. With `durable` the new one survives a power cut once this returns.
///
/// Only one writer at a time may use a name: its temporary has the fixed name `<name>.tmp`, so that
/// what a killed writer left is found and removed by the next one instead of piling up.
///
/// # Errors
///
/// Those of the system calls. When making the directory durable was what failed, the new file
/// stands but may not survive a power cut.
pub fn replace(dir: impl AsFd, name: &str, bytes: &[u8], durable: bool) -> io::Result<()> {
    let dir = dir.as_fd();
    let aside = stage(dir, name, bytes, durable)?;
    publish(dir, &aside, name)?;
    if durable {
        rustix::fs::fsync(dir)?;
    }
    Ok(())
}

/// The first half of `replace`: writes the temporary and returns its name.
pub(crate) fn stage(dir: BorrowedFd<'_>, name: &str, bytes: &[u8], durable: bool) -> io::Result<String> {
    let aside = format!("{name}.tmp");
    unlink_if_there(dir, &aside)?;
    write_new(dir, &aside, bytes, durable)?;
    Ok(aside)
}

/// The second half of `replace`: the temporary takes the name.
pub(crate) fn publish(dir: BorrowedFd<'_>, aside: &str, name: &str) -> io::Result<()> {
    rustix::fs::renameat(dir, aside, dir, name).map_err(|error| {
        discard(dir, aside);
        error.into()
    })
}

/// Makes the file `name` in `dir` with the content `bytes`, durably, unless it exists: whole or
/// absent, and the first of any number of concurrent callers wins. True for the one that won.
///
/// Either answer is durable: when this returns, a file of that name survives a power cut.
///
/// # Errors
///
/// Those of the system calls. When making the directory durable was what failed, the file may
/// stand all the same.
pub fn link_new(dir: impl AsFd, name: &str, bytes: &[u8]) -> io::Result<bool> {
    let dir = dir.as_fd();
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let linked = match rustix::fs::openat(dir, ".", flags, PRIVATE) {
        // Without a name until it is whole: killed in between, nothing is left.
        Ok(file) => {
            let mut file = File::from(file);
            file.write_all(bytes)?;
            file.sync_all()?;
            let unnamed = format!("/proc/self/fd/{}", file.as_raw_fd());
            rustix::fs::linkat(rustix::fs::CWD, unnamed, dir, name, AtFlags::SYMLINK_FOLLOW)
        }
        // Not every file system has files without names.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => link_named(dir, name, bytes)?,
        Err(error) => Err(error),
    };
    let won = match linked {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(error) => return Err(error.into()),
    };
    rustix::fs::fsync(dir)?;
    Ok(won)
}

/// Links a file that has a name of its own meanwhile. Concurrent callers are the point here, so each has another one.
/// Random, not the pid: two pid namespaces that share a directory share pids too.
fn link_named(dir: BorrowedFd<'_>, name: &str, bytes: &[u8]) -> io::Result<rustix::io::Result<()>> {
    let aside = format!("{name}.{}", random_hex::<8>()?);
    write_new(dir, &aside, bytes, true)?;
    let linked = rustix::fs::linkat(dir, &aside, dir, name, AtFlags::empty());
    discard(dir, &aside);
    Ok(linked)
}

/// Removes the file `name` in `dir`, durably; none is as good.
///
/// # Errors
///
/// Those of the system calls.
pub fn remove(dir: impl AsFd, name: &str) -> io::Result<()> {
    let dir = dir.as_fd();
    unlink_if_there(dir, name)?;
    Ok(rustix::fs::fsync(dir)?)
}

/// Reads the whole file `name` in `dir`; `None` when there is none.
///
/// Only a regular file of ours is read, and at most `cap` bytes of it: a FIFO would block the tick
/// for ever, a symbolic link or a foreign file is somebody else's content.
///
/// # Errors
///
/// [`ReadError`] says whether the file is not one to read, or the system refused.
pub fn read_bounded(dir: impl AsFd, name: &str, cap: u64) -> Result<Option<Vec<u8>>, ReadError> {
    let Some((file, size)) = open_regular(dir.as_fd(), name)? else { return Ok(None) };
    if size > cap {
        return Err(ReadError::TooBig { cap });
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    // One more than allowed: a file that grew since it was measured is noticed, not cut.
    file.take(cap.saturating_add(1)).read_to_end(&mut bytes).map_err(ReadError::Io)?;
    if bytes.len() as u64 > cap {
        return Err(ReadError::TooBig { cap });
    }
    Ok(Some(bytes))
}

/// The first `length` bytes of the file `name` in `dir`, or fewer where it is shorter.
pub(crate) fn read_start(dir: BorrowedFd<'_>, name: &str, length: u64) -> Result<Option<Vec<u8>>, ReadError> {
    let Some((file, _)) = open_regular(dir, name)? else { return Ok(None) };
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes).map_err(ReadError::Io)?;
    Ok(Some(bytes))
}

/// Opens a file for reading if it is one to read, with its size in bytes; `None` where there is none.
///
/// # Errors
///
/// [`ReadError`]: a link, FIFO or device (never waited for), another user's, or the system's refusal.
pub fn open_regular(dir: BorrowedFd<'_>, name: &str) -> Result<Option<(File, u64)>, ReadError> {
    let fd = match open_at(dir, name, OFlags::RDONLY, Links::Refuse) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::LOOP) => return Err(ReadError::NotAFile("a symbolic link")),
        Err(Errno::NXIO) => return Err(ReadError::NotAFile("a socket or a device")),
        Err(error) => return Err(ReadError::Io(error.into())),
    };
    let size = must_be_ours(fd.as_fd())?;
    Ok(Some((File::from(fd), size)))
}

/// Opens a file in any way, if it is one to use: never waits, follows no link. `how`: the access, and whether to make it.
///
/// # Errors
///
/// Those of the system; `InvalidData` for a link, FIFO or device, and for another user's file.
pub fn open_regular_with(dir: BorrowedFd<'_>, name: &str, how: OFlags) -> io::Result<File> {
    let fd = open_at(dir, name, how, Links::Refuse)?;
    must_be_ours(fd.as_fd())?;
    Ok(File::from(fd))
}

/// Refuses what is no regular file, or not owned by the user we are; returns its size in bytes.
pub(crate) fn must_be_ours(file: BorrowedFd<'_>) -> Result<u64, ReadError> {
    let stat = rustix::fs::fstat(file).map_err(|error| ReadError::Io(error.into()))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {}
        FileType::Directory => return Err(ReadError::NotAFile("a directory")),
        FileType::Fifo => return Err(ReadError::NotAFile("a FIFO")),
        _ => return Err(ReadError::NotAFile("a socket or a device")),
    }
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(ReadError::Foreign { uid: stat.st_uid });
    }
    Ok(u64::try_from(stat.st_size).unwrap_or(0))
}

/// Whether a file has another name besides the one that it was opened by. Whatever is written into it then changes what
/// may be somebody else's: a link was put in our file's place, or ours was linked elsewhere to keep it as it is.
pub(crate) fn has_another_name(file: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(rustix::fs::fstat(file)?.st_nlink > 1)
}

/// Why a file was not read. The first three are about what stands there, the last about the system.
#[derive(Debug)]
pub enum ReadError {
    /// Something else has its name: what.
    NotAFile(&'static str),
    /// Another user owns it.
    Foreign {
        /// Which one.
        uid: u32,
    },
    /// It is longer than anything we would write there.
    TooBig {
        /// The most that is read, in bytes.
        cap: u64,
    },
    /// The system refused; nothing is known of the file.
    Io(io::Error),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::NotAFile(what) => write!(f, "it is {what}, not a regular file"),
            ReadError::Foreign { uid } => write!(f, "it belongs to another user (uid {uid})"),
            ReadError::TooBig { cap } => write!(f, "it is larger than {cap} bytes"),
            ReadError::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ReadError {}

impl From<ReadError> for io::Error {
    fn from(error: ReadError) -> io::Error {
        match error {
            ReadError::Io(error) => error,
            other => io::Error::new(io::ErrorKind::InvalidData, other.to_string()),
        }
    }
}

/// `N` random bytes from the kernel, in hexadecimal.
///
/// # Errors
///
/// That the kernel gives none.
pub fn random_hex<const N: usize>() -> io::Result<String> {
    let mut bytes = [0_u8; N];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(fingerprint::hex(&bytes))
}

/// Writes a file that must not exist yet. A failure leaves nothing behind, and a full disk is a failure.
fn write_new(dir: BorrowedFd<'_>, name: &str, bytes: &[u8], durable: bool) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::openat(dir, name, flags, PRIVATE)?);
    let written = file.write_all(bytes).and_then(|()| if durable { file.sync_all() } else { Ok(()) });
    written.inspect_err(|_| discard(dir, name))
}

pub(crate) fn unlink_if_there(dir: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR) => {
            let text = format!("{name} is a directory; move it away");
            Err(io::Error::new(io::ErrorKind::IsADirectory, text))
        }
        Err(error) => Err(error.into()),
    }
}

/// Removes a temporary on the way out. A failure is not reported: there is already a result to
/// report, and a temporary that stays is in nobody's way.
fn discard(dir: BorrowedFd<'_>, name: &str) {
    let _ = unlink_if_there(dir, name);
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::PathBuf;

    use super::*;

    fn folder() -> (tempfile::TempDir, PathBuf, OwnedFd) {
        let holder = tempfile::tempdir().unwrap();
        let path = holder.path().to_owned();
        let fd = open_dir(&path).unwrap();
        (holder, path, fd)
    }

    #[expect(clippy::disallowed_methods, reason = "a test makes a file")]
    fn put(path: &Path, bytes: &[u8]) {
        std::fs::write(path, bytes).unwrap();
    }

    fn names(path: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn replace_makes_a_private_file_and_leaves_nothing_else() {
        let (_holder, path, dir) = folder();
        for durable in [false, true] {
            for bytes in [&b"one"[..], b"", b"three"] {
                replace(&dir, "x", bytes, durable).unwrap();
                assert_eq!(std::fs::read(path.join("x")).unwrap(), bytes);
            }
        }
        assert_eq!(names(&path), ["x"]);
        assert_eq!(std::fs::metadata(path.join("x")).unwrap().permissions().mode() & 0o777, 0o600);
    }

    // Origin: pueue - a `.partial` left behind made every later save fail.
    // covers: F55
    #[test]
    fn a_temporary_left_by_a_kill_is_in_nobodys_way() {
        let (_holder, path, dir) = folder();
        put(&path.join("x.tmp"), b"half a fi");
        replace(&dir, "x", b"whole", true).unwrap();
        assert_eq!(names(&path), ["x"]);
        assert_eq!(std::fs::read(path.join("x")).unwrap(), b"whole");
    }

    #[test]
    fn a_link_under_the_temporary_name_is_not_written_through() {
        let (_holder, path, dir) = folder();
        put(&path.join("precious"), b"precious");
        symlink(path.join("precious"), path.join("x.tmp")).unwrap();
        replace(&dir, "x", b"new", true).unwrap();
        assert_eq!(std::fs::read(path.join("precious")).unwrap(), b"precious");
        assert!(!path.join("x").is_symlink());
    }

    #[test]
    fn a_failed_replace_keeps_the_old_file_and_cleans_up() {
        let (_holder, path, dir) = folder();
        std::fs::create_dir(path.join("x")).unwrap();
        replace(&dir, "x", b"new", true).unwrap_err();
        assert_eq!(names(&path), ["x"]);
    }

    // Origin: egg#1510 - a full disk was reported as success, and the state was gone.
    // covers: F54
    #[test]
    fn a_write_that_falls_short_is_an_error_and_keeps_the_old_file() {
        const SELF: &str =
            "durable::atomic::tests::a_write_that_falls_short_is_an_error_and_keeps_the_old_file";
        if !crate::durable::tests::alone_in_a_process(SELF) {
            return;
        }
        let (_holder, path, dir) = folder();
        replace(&dir, "x", b"old", true).unwrap();
        // The first 1000 bytes are accepted, the rest is refused: what a disk does as it fills up.
        let mut blocked = nix::sys::signal::SigSet::empty();
        blocked.add(nix::sys::signal::Signal::SIGXFSZ);
        blocked.thread_block().unwrap();
        let limit = rustix::process::Rlimit { current: Some(1000), maximum: None };
        rustix::process::setrlimit(rustix::process::Resource::Fsize, limit).unwrap();
        for durable in [false, true] {
            let error = replace(&dir, "x", &[b'n'; 5000], durable).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
            link_new(&dir, "y", &[b'n'; 5000]).unwrap_err();
        }
        assert_eq!(std::fs::read(path.join("x")).unwrap(), b"old");
        assert_eq!(names(&path), ["x"]);
    }

    // Origin: factory#323 - a reader saw a broken registry in 28 % of its reads.
    // covers: F52
    #[test]
    fn a_reader_never_sees_a_torn_file() {
        let (_holder, _path, dir) = folder();
        let contents = [vec![b'a'; 20_000], vec![b'b'; 30_000]];
        replace(&dir, "x", &contents[0], false).unwrap();
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for round in 0..1000 {
                    replace(&dir, "x", &contents[round % 2], false).unwrap();
                }
            });
            let mut reads = 0;
            while reads == 0 || !writer.is_finished() {
                let seen = read_bounded(&dir, "x", 1 << 20).unwrap().expect("it is always there");
                assert!(contents.contains(&seen), "torn: {} bytes", seen.len());
                reads += 1;
            }
        });
    }

    #[test]
    fn link_new_lets_exactly_one_of_many_win_and_its_content_stands() {
        let (_holder, path, dir) = folder();
        let start = std::sync::Barrier::new(8);
        let winners: Vec<String> = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..8)
                .map(|racer| {
                    let (dir, start) = (&dir, &start);
                    scope.spawn(move || {
                        let content = racer.to_string().repeat(100);
                        start.wait();
                        link_new(dir, "claim", content.as_bytes()).unwrap().then_some(content)
                    })
                })
                .collect();
            racers.into_iter().filter_map(|racer| racer.join().unwrap()).collect()
        });
        assert_eq!(winners.len(), 1);
        assert_eq!(std::fs::read_to_string(path.join("claim")).unwrap(), winners[0]);
        assert_eq!(names(&path), ["claim"]);
        assert!(!link_new(&dir, "claim", b"late").unwrap());
    }

    #[test]
    fn what_is_removed_is_gone_and_nothing_is_as_good() {
        let (_holder, path, dir) = folder();
        put(&path.join("x"), b"old");
        put(&path.join("y"), b"another");
        for _ in 0..2 {
            remove(&dir, "x").unwrap();
            assert_eq!(names(&path), ["y"]);
        }
        std::fs::create_dir(path.join("folder")).unwrap();
        remove(&dir, "folder").unwrap_err();
    }

    #[test]
    fn only_a_regular_file_of_bounded_size_is_read() {
        let (_holder, path, dir) = folder();
        assert!(read_bounded(&dir, "absent", 10).unwrap().is_none());

        put(&path.join("file"), b"0123456789");
        assert_eq!(read_bounded(&dir, "file", 10).unwrap().unwrap(), b"0123456789");
        assert_eq!(read_start(dir.as_fd(), "file", 4).unwrap().unwrap(), b"0123");
        let refusal = |name| read_bounded(&dir, name, 9).unwrap_err().to_string();
        assert_eq!(refusal("file"), "it is larger than 9 bytes");

        // A FIFO without a writer would block the read for ever.
        let mode = Mode::RUSR | Mode::WUSR;
        rustix::fs::mknodat(&dir, "fifo", FileType::Fifo, mode, 0).unwrap();
        symlink("file", path.join("link")).unwrap();
        std::fs::create_dir(path.join("folder")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(path.join("socket")).unwrap();
        assert_eq!(refusal("fifo"), "it is a FIFO, not a regular file");
        assert_eq!(refusal("link"), "it is a symbolic link, not a regular file");
        assert_eq!(refusal("folder"), "it is a directory, not a regular file");
        assert_eq!(refusal("socket"), "it is a socket or a device, not a regular file");
    }

    #[test]
    fn a_file_of_another_user_is_not_read() {
        let (_holder, path, dir) = folder();
        put(&path.join("x"), b"not yours");
        if std::os::unix::fs::chown(path.join("x"), Some(4711), None).is_err() {
            return; // Only root can give a file away; nobody else can be given one.
        }
        let refused = read_bounded(&dir, "x", 100);
        assert!(matches!(refused, Err(ReadError::Foreign { uid: 4711 })), "{refused:?}");
    }
}
