//! The environment of a run whose launcher is started by somebody else, who may write down what it is asked to set. So
//! the tick hands it over by itself, through a FIFO in the run directory: values pass, and never reach a disk.
//!
//! The tick calls [`open`], asks for the start, and calls [`give`]. Handed over once or never: the launcher that does
//! not get it ends without an agent, and whoever looks at the run later finds no FIFO to fill.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::clock;
use crate::run::directory::RunDir;
use crate::run::env::Vars;

/// The FIFO in the run directory.
pub const ENV: &str = "env";

/// No program can be given near as much: the kernel takes 6 MiB of arguments and variables together.
const BYTES_MAX: u64 = 8 << 20;

/// What stands before the variables: their length, little-endian.
const LENGTH_BYTES: usize = size_of::<u64>();

/// How often a tick looks whether the launcher has come to read.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// One read from the FIFO.
const READ_BYTES: usize = 64 << 10;

/// Makes the FIFO, readable for its user alone. To be called before the launcher is asked for.
///
/// # Errors
///
/// Those of the system, and that there is one already: its run was asked for before.
pub fn open(run_dir: &RunDir) -> Result<()> {
    let make = || -> io::Result<()> {
        let mode = Mode::RUSR | Mode::WUSR;
        Ok(rustix::fs::mknodat(run_dir.dir()?, ENV, FileType::Fifo, mode, 0)?)
    };
    make().with_context(|| format!("cannot make {}", run_dir.file(ENV).display()))
}

/// Hands the variables over to the launcher, waiting for it until `until`. Whatever comes of it, the FIFO is gone then:
/// a launcher that comes later ends without an agent.
///
/// # Errors
///
/// That nobody came, or not to the end, and those of the system. Whether the run was claimed is not said by that.
pub fn send(run_dir: &RunDir, vars: &Vars, until: Instant) -> Result<()> {
    let give = || -> Result<()> {
        let bytes = frame(vars)?;
        let mut fifo = wait_for_reader(run_dir, until)?;
        write_all(&mut fifo, &bytes, until)
    };
    let sent = give()
        .with_context(|| format!("cannot hand the environment over through {}", run_dir.file(ENV).display()));
    let removed = remove(run_dir);
    sent?;
    removed.with_context(|| format!("cannot remove {}", run_dir.file(ENV).display()))
}

/// Takes the FIFO away, if it is there. Not durable: after a crash of the machine nobody is left to read it.
pub(crate) fn remove(run_dir: &RunDir) -> io::Result<()> {
    match rustix::fs::unlinkat(run_dir.dir()?, ENV, rustix::fs::AtFlags::empty()) {
        Err(Errno::NOENT) | Ok(()) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Opens the FIFO, without waiting for its other end. What is not a FIFO of this user, closed to others, is refused:
/// who could read or write there would see secrets, or set variables.
fn open_ours(dir: &OwnedFd, ways: OFlags) -> io::Result<File> {
    let ways = ways | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(dir, ENV, ways, Mode::empty())?;
    let data = rustix::fs::fstat(&file)?;
    let is_fifo = FileType::from_raw_mode(data.st_mode) == FileType::Fifo;
    let is_private = Mode::from_raw_mode(data.st_mode).intersection(Mode::RWXG | Mode::RWXO).is_empty();
    if !is_fifo || !is_private || data.st_uid != rustix::process::geteuid().as_raw() {
        return Err(io::Error::new(ErrorKind::InvalidData, "it is not a FIFO of this user's own"));
    }
    Ok(file.into())
}

fn wait_for_reader(run_dir: &RunDir, until: Instant) -> Result<File> {
    let dir = run_dir.dir()?;
    let opened = clock::poll(LOOK_EVERY, until, || match open_ours(&dir, OFlags::WRONLY) {
        // Without a reader.
        Err(error) if Errno::from_io_error(&error) == Some(Errno::NXIO) => None,
        opened => Some(opened),
    });
    Ok(opened.context("no launcher came to read it in time")??)
}

fn write_all(fifo: &mut File, mut bytes: &[u8], until: Instant) -> Result<()> {
    while !bytes.is_empty() {
        match fifo.write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // It holds 64 KiB: the rest goes as it is read.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    bail!("the launcher did not read all of it in time");
                }
                let timeout = Timespec::try_from(left).ok();
                let _ = poll(&mut [PollFd::new(fifo, PollFlags::OUT)], timeout.as_ref());
            }
            Err(error) if error.kind() == ErrorKind::BrokenPipe => bail!("the launcher has gone"),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The length of what follows, and each variable as `NAME=value` with a NUL behind it.
fn frame(vars: &Vars) -> Result<Vec<u8>> {
    let mut bytes = vec![0; LENGTH_BYTES];
    for (name, value) in vars {
        let (name, value) = (name.as_bytes(), value.as_bytes());
        if name.is_empty() || name.contains(&b'=') || name.contains(&0) || value.contains(&0) {
            bail!("{:?} can't be a variable, or its value holds a NUL", String::from_utf8_lossy(name));
        }
        bytes.extend_from_slice(name);
        bytes.push(b'=');
        bytes.extend_from_slice(value);
        bytes.push(0);
    }
    let length = (bytes.len() - LENGTH_BYTES) as u64;
    if length > BYTES_MAX {
        bail!("its variables take {length} bytes, and no program can be given that much");
    }
    bytes[..LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
    Ok(bytes)
}

/// The variables of a frame; `None` while it is not whole.
fn read_frame(bytes: &[u8]) -> io::Result<Option<Vars>> {
    let malformed = || io::Error::new(ErrorKind::InvalidData, "what was written to it is no environment");
    let Some((length, body)) = bytes.split_first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let length = u64::from_le_bytes(*length);
    let have = body.len() as u64;
    if length > BYTES_MAX || have > length {
        return Err(malformed());
    }
    if have < length {
        return Ok(None);
    }
    let Some((last, body)) = body.split_last() else { return Ok(Some(Vars::new())) };
    if *last != 0 {
        return Err(malformed());
    }
    let text = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    let variable = |entry: &[u8]| {
        let at = entry.iter().position(|byte| *byte == b'=').filter(|at| *at > 0)?;
        Some((text(&entry[..at]), text(&entry[at + 1..])))
    };
    let vars: Option<Vars> = body.split(|byte| *byte == 0).map(variable).collect();
    vars.map(Some).ok_or_else(malformed)
}

/// The launcher's end of it.
#[derive(Debug)]
pub(crate) struct Receiver {
    fifo: File,
    bytes: Vec<u8>,
}

impl Receiver {
    /// Opens it, and waits for nobody.
    ///
    /// # Errors
    ///
    /// Those of the system; that there is none, or what is there is not a FIFO of this user's own.
    pub(crate) fn open(run_dir: &RunDir) -> io::Result<Receiver> {
        Ok(Receiver { fifo: open_ours(&run_dir.dir()?, OFlags::RDONLY)?, bytes: Vec::new() })
    }

    /// What has come by now; `None`: not everything yet.
    ///
    /// # Errors
    ///
    /// Those of the system; that the tick has gone before the end, or that it is no environment.
    pub(crate) fn recv(&mut self) -> io::Result<Option<Vars>> {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            // Asked first: reading tells a tick that has not come yet from one that has gone by nothing.
            let mut files = [PollFd::new(&self.fifo, PollFlags::IN)];
            let ready = poll(&mut files, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
            if ready == 0 {
                return Ok(None);
            }
            match self.fifo.read(&mut buffer) {
                Ok(0) => {
                    return Err(io::Error::new(
                        ErrorKind::UnexpectedEof,
                        "the tick ended before it was through",
                    ));
                }
                Ok(count) => self.bytes.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
            if let Some(vars) = read_frame(&self.bytes)? {
                return Ok(Some(vars));
            }
        }
    }
}

impl AsFd for Receiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fifo.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn vars(pairs: &[(&str, &str)]) -> Vars {
        pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    fn run_dir() -> (tempfile::TempDir, RunDir) {
        let home = tempfile::tempdir().unwrap();
        let run_dir = RunDir::new(home.path().to_owned());
        (home, run_dir)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    /// As a launcher receives it.
    fn receive(run_dir: &RunDir) -> io::Result<Vars> {
        let mut receiver = Receiver::open(run_dir)?;
        loop {
            if let Some(vars) = receiver.recv()? {
                return Ok(vars);
            }
            let _ = poll(&mut [PollFd::new(&receiver, PollFlags::IN)], None);
        }
    }

    proptest! {
        #[test]
        fn what_is_framed_is_read_again_and_never_before_it_is_whole(
            pairs in prop::collection::btree_map("[A-Z_][A-Z0-9_]{0,4}", "[^\0]{0,20}", 0..8),
        ) {
            let vars: Vars = pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
            let bytes = frame(&vars).unwrap();
            for end in 0..bytes.len() {
                prop_assert_eq!(read_frame(&bytes[..end]).unwrap(), None);
            }
            prop_assert_eq!(read_frame(&bytes).unwrap(), Some(vars));
        }

        #[test]
        fn rubbish_is_refused_or_waited_for(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = read_frame(&bytes);
        }
    }

    #[test]
    fn what_is_no_environment_is_refused() {
        let framed = |body: &[u8]| [&(body.len() as u64).to_le_bytes(), body].concat();
        assert_eq!(read_frame(&framed(b"")).unwrap(), Some(Vars::new()));
        assert_eq!(read_frame(&framed(b"A=b=c\0")).unwrap(), Some(vars(&[("A", "b=c")])));
        for body in [&b"A=b"[..], b"A\0", b"=b\0", b"A=b\0\0"] {
            assert!(read_frame(&framed(body)).is_err(), "{body:?}");
        }
        assert!(read_frame(&(BYTES_MAX + 1).to_le_bytes()).is_err(), "an endless one is not waited for");
        assert!(read_frame(&[framed(b"A=b\0"), b"more".to_vec()].concat()).is_err());
        for pair in [("", "x"), ("A=B", "x"), ("A", "\0"), ("A\0", "x")] {
            assert!(frame(&vars(&[pair])).is_err(), "{pair:?}");
        }
    }

    #[test]
    fn more_than_a_fifo_holds_is_handed_over_and_nothing_is_left_of_it() {
        let (_home, run_dir) = run_dir();
        let big = "x".repeat(1 << 20);
        let given = vars(&[("BIG", &big), ("SMALL", "1")]);
        open(&run_dir).unwrap();
        let received = std::thread::scope(|scope| {
            let receiver = scope.spawn(|| receive(&run_dir));
            send(&run_dir, &given, soon()).unwrap();
            receiver.join().unwrap()
        });
        assert_eq!(received.unwrap(), given);
        assert!(!run_dir.file(ENV).exists());
        assert_eq!(receive(&run_dir).unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_launcher_that_does_not_come_gets_nothing_later() {
        let (_home, run_dir) = run_dir();
        open(&run_dir).unwrap();
        assert!(open(&run_dir).is_err(), "it was made before");
        let error = send(&run_dir, &vars(&[("A", "b")]), Instant::now()).unwrap_err();
        assert!(format!("{error:#}").contains("no launcher came"), "{error:#}");
        assert!(!run_dir.file(ENV).exists());
        assert!(send(&run_dir, &vars(&[("A", "b")]), Instant::now()).is_err());
    }

    // What a tick leaves that is killed while it writes: half of it must be taken for nothing.
    #[test]
    fn half_an_environment_is_none() {
        let (_home, run_dir) = run_dir();
        open(&run_dir).unwrap();
        let mut receiver = Receiver::open(&run_dir).unwrap();
        assert_eq!(receiver.recv().unwrap(), None, "nobody has come yet");
        let bytes = frame(&vars(&[("A", "b"), ("C", "d")])).unwrap();
        let mut tick = open_ours(&run_dir.dir().unwrap(), OFlags::WRONLY).unwrap();
        assert_eq!(receiver.recv().unwrap(), None);
        tick.write_all(&bytes[..bytes.len() - 2]).unwrap();
        assert_eq!(receiver.recv().unwrap(), None);
        drop(tick);
        assert_eq!(receiver.recv().unwrap_err().kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn only_a_fifo_of_our_own_is_used() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let (home, run_dir) = run_dir();
        let refused = |what: &str| {
            let error = receive(&run_dir).unwrap_err();
            assert_ne!(error.kind(), ErrorKind::NotFound, "{what}");
            assert!(send(&run_dir, &vars(&[("A", "b")]), Instant::now()).is_err(), "{what}");
        };
        File::create(run_dir.file(ENV)).unwrap();
        refused("a file");
        open(&run_dir).unwrap();
        std::fs::rename(run_dir.file(ENV), home.path().join("other")).unwrap();
        symlink("other", run_dir.file(ENV)).unwrap();
        refused("a link");
        open(&run_dir).unwrap();
        std::fs::set_permissions(run_dir.file(ENV), std::fs::Permissions::from_mode(0o622)).unwrap();
        let reader = receive(&run_dir);
        assert_eq!(reader.unwrap_err().kind(), ErrorKind::InvalidData, "one that others may write to");
    }
}
