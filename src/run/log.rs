//! Bounded logs: the head and the tail of a stream, whatever an agent prints.
//!
//! The head goes to `<name>`. Past half the bound, the rest goes in turn to `<name>.tail` and, when that is
//! full, to a new one while the old becomes `<name>.tail.old`; together they never pass the bound. When the
//! stream ends they are put behind the head, with a line that says how much is missing between.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, OFlags};
use rustix::io::Errno;

use crate::durable::open::{Links, open_at};

/// How the line begins that says how much is missing.
pub(crate) const GAP_LINE: &str = "\n[factory-tick: ";

/// One stream's log.
#[derive(Debug)]
pub struct BoundedLog {
    path: PathBuf,
    /// 0 is no bound.
    bytes_max: u64,
    /// Kept open: the tails go behind it, whatever has its name by then.
    head: Option<File>,
    current: File,
    /// Bytes in `current`.
    written: u64,
    /// Whether `current` is the head still.
    in_head: bool,
    /// Bytes of tails that were thrown away.
    dropped: u64,
    /// Bytes in the old tail.
    old: u64,
}

impl BoundedLog {
    /// A new log; whatever stood there is gone.
    pub fn create(path: PathBuf, bytes_max: u64) -> io::Result<BoundedLog> {
        let current = create(&path)?;
        Ok(BoundedLog { path, bytes_max, head: None, current, written: 0, in_head: true, dropped: 0, old: 0 })
    }

    /// Appends. A full disk loses this part of the log and nothing else.
    pub fn append(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let room = self.room();
            if room == 0 {
                self.turn()?;
                continue;
            }
            let now = &bytes[..bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX))];
            // By what was taken: a disk that fills up takes a part, and the end of the log is found by counting.
            match self.current.write(now) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(taken) => {
                    self.written += taken as u64;
                    bytes = &bytes[taken..];
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn room(&self) -> u64 {
        let share = match (self.bytes_max, self.in_head) {
            (0, _) => u64::MAX,
            (max, true) => head_bytes(max),
            (max, false) => (max / 4).max(1),
        };
        share.saturating_sub(self.written)
    }

    /// The file in hand is full: on to the next tail.
    fn turn(&mut self) -> io::Result<()> {
        if !self.in_head {
            fs::rename(self.tail(), self.old_tail())?;
            self.dropped += self.old;
            self.old = self.written;
        }
        let tail = create(&self.tail())?;
        let full = std::mem::replace(&mut self.current, tail);
        if self.in_head {
            self.head = Some(full);
        }
        self.written = 0;
        self.in_head = false;
        Ok(())
    }

    /// Puts the tails behind the head.
    pub fn finish(mut self) -> io::Result<()> {
        let Some(mut whole) = self.head.take() else { return Ok(()) };
        if self.dropped > 0 {
            writeln!(whole, "{GAP_LINE}{} bytes left out here]", self.dropped)?;
        }
        for (part, length) in [(self.old_tail(), self.old), (self.tail(), self.written)] {
            let Some(file) = open_part(&part)? else { continue };
            // No more than was written: a device in its place has no end.
            io::copy(&mut file.take(length), &mut whole)?;
            fs::remove_file(&part)?;
        }
        Ok(())
    }

    fn tail(&self) -> PathBuf {
        tail_of(&self.path)
    }

    fn old_tail(&self) -> PathBuf {
        old_tail_of(&self.path)
    }
}

/// The length of a head that is full.
pub(crate) fn head_bytes(bytes_max: u64) -> u64 {
    if bytes_max == 0 { u64::MAX } else { (bytes_max / 2).max(1) }
}

/// The tail that is being written.
pub(crate) fn tail_of(path: &Path) -> PathBuf {
    with_suffix(path, ".tail")
}

/// The tail before it, which is full.
pub(crate) fn old_tail_of(path: &Path) -> PathBuf {
    with_suffix(path, ".tail.old")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// A tail as it was written; the directory is one that the agent can write to, so it may be anything else by now.
fn open_part(path: &Path) -> io::Result<Option<File>> {
    match open_at(CWD, path, OFlags::RDONLY, Links::Refuse) {
        Err(Errno::NOENT) => Ok(None),
        opened => Ok(Some(File::from(opened?))),
    }
}

/// A new file; whatever stands there is replaced, never written through or waited for.
fn create(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logged(bytes_max: u64, chunks: &[&[u8]]) -> (String, usize) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stdout.log");
        let mut log = BoundedLog::create(path.clone(), bytes_max).unwrap();
        for chunk in chunks {
            log.append(chunk).unwrap();
            let on_disk: u64 =
                fs::read_dir(dir.path()).unwrap().map(|f| f.unwrap().metadata().unwrap().len()).sum();
            assert!(bytes_max == 0 || on_disk <= bytes_max.max(3), "{on_disk} bytes on disk");
        }
        log.finish().unwrap();
        let mut text = String::new();
        File::open(&path).unwrap().read_to_string(&mut text).unwrap();
        (text, fs::read_dir(dir.path()).unwrap().count())
    }

    #[test]
    fn a_short_stream_is_kept_whole() {
        assert_eq!(logged(100, &[b"one\n", b"two\n"]), ("one\ntwo\n".to_owned(), 1));
    }

    #[test]
    fn no_bound_keeps_everything() {
        let line = [b'x'; 1000];
        assert_eq!(logged(0, &[&line, &line, &line]).0.len(), 3000);
    }

    #[test]
    fn past_the_bound_head_and_tail_stay_and_the_gap_is_named() {
        let all: Vec<u8> = (0..1000u32).flat_map(|n| format!("{n:03}\n").into_bytes()).collect();
        let (text, files) = logged(80, &[&all]);
        assert_eq!(files, 1);
        assert!(text.starts_with("000\n001\n"), "{text}");
        assert!(text.ends_with("998\n999\n"), "{text}");
        let kept: usize =
            text.len() - text.find("\n[factory").map_or(0, |at| text[at + 1..].find('\n').unwrap() + 2);
        assert!(
            text.contains(&format!("[factory-tick: {} bytes left out here]", all.len() - kept)),
            "{text}"
        );
        assert!(kept <= 80);
    }

    // Origin: read - the tails were appended to whatever had the head's name by then, and copied from whatever had
    // theirs: an agent that puts a link or a device there wrote through its launcher, or filled the disk.
    #[test]
    fn what_an_agent_puts_in_the_place_of_a_part_is_neither_written_to_nor_read_without_end() {
        let dir = tempfile::tempdir().unwrap();
        let (path, precious) = (dir.path().join("stdout.log"), dir.path().join("precious"));
        let mut log = BoundedLog::create(path.clone(), 80).unwrap();
        log.append(&[b'x'; 200]).unwrap();
        create(&precious).unwrap().write_all(&[b'p'; 5000]).unwrap();
        for name in [path, tail_of(&log.path), old_tail_of(&log.path)] {
            fs::remove_file(&name).unwrap();
            fs::hard_link(&precious, &name).unwrap();
        }
        let head = log.head.as_ref().unwrap().try_clone().unwrap();
        log.finish().unwrap();
        assert_eq!(fs::metadata(&precious).unwrap().len(), 5000);
        assert!(head.metadata().unwrap().len() < 200, "{:?}", head.metadata());
    }

    // Origin: read - of a part that the disk took before it was full nothing was counted, and when there was room again so
    // many bytes were missing at the end of the log: an agent's last line, by which it is judged.
    #[test]
    fn what_a_full_disk_took_a_part_of_costs_no_byte_of_the_end() {
        const SELF: &str = "run::log::tests::what_a_full_disk_took_a_part_of_costs_no_byte_of_the_end";
        if !crate::durable::tests::alone_in_a_process(SELF) {
            return;
        }
        let mut refused = nix::sys::signal::SigSet::empty();
        refused.add(nix::sys::signal::Signal::SIGXFSZ);
        refused.thread_block().unwrap();
        let limit = |current| {
            let limit = rustix::process::Rlimit { current, maximum: None };
            rustix::process::setrlimit(rustix::process::Resource::Fsize, limit).unwrap();
        };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stdout.log");
        let mut log = BoundedLog::create(path.clone(), 80).unwrap();
        log.append(&[b'h'; 40]).unwrap();
        // Of the tail's 20 bytes 10 are taken.
        limit(Some(10));
        log.append(&[b'm'; 15]).unwrap_err();
        limit(None);
        log.append(b"the end").unwrap();
        log.finish().unwrap();
        let text = fs::read_to_string(path).unwrap();
        assert_eq!(text, ["h".repeat(40), "m".repeat(10), "the end".to_owned()].concat());
    }

    #[test]
    fn exactly_between_head_and_tail_nothing_is_left_out() {
        let (text, _) = logged(80, &[&[b'h'; 40], &[b't'; 20], &[b'u'; 20]]);
        assert_eq!(text, "h".repeat(40) + &"t".repeat(20) + &"u".repeat(20));
    }
}
