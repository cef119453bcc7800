//! One stream's log, read in order while its launcher writes it: head, tails, and what was put together of them at
//! the end (see [`logs`](crate::run::log)). Whoever looks often enough misses nothing.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::durable::open::{Links, open_file};
use crate::run::log::{GAP_LINE, head_bytes, old_tail_of, tail_of};

/// How much is taken at a time.
const CHUNK_BYTES: usize = 64 << 10;

/// How often a look at the tails is repeated where they are turned meanwhile.
const LOOKS_MAX: u32 = 10;

/// What was left out between two tails, or is not known to be whole.
const GAP: &[u8] = b"\n[factory-tick: something may be left out here]\n";

/// Reads on from where it was.
#[derive(Debug)]
pub struct LogReader {
    path: PathBuf,
    /// Longer than this a head never is while its run is under way.
    head_max: u64,
    head: Option<File>,
    head_read: u64,
    /// Opened tails that are still to be read. The last one is kept open when it was: as long as it is, no other file
    /// can have its inode.
    tails: VecDeque<File>,
    /// Whether the tails were put behind the head, and what of that was not read before is read.
    is_whole: bool,
}

impl LogReader {
    /// The log at this path, whose bound is `bytes_max`; 0 is none.
    pub fn new(path: PathBuf, bytes_max: u64) -> LogReader {
        LogReader {
            path,
            head_max: head_bytes(bytes_max),
            head: None,
            head_read: 0,
            tails: VecDeque::new(),
            is_whole: false,
        }
    }

    /// The file that is read.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives `take` everything that there is by now and was not given before.
    ///
    /// # Errors
    ///
    /// Those of the system, and of `take`.
    pub fn read(&mut self, take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        if self.head.is_none() {
            self.head = open(&self.path)?;
        }
        let Some(head) = &mut self.head else { return Ok(()) };
        self.head_read += copy(head, self.head_max - self.head_read, take)?;
        if self.head_read < self.head_max {
            return Ok(());
        }
        self.look_for_tails(take)?;
        if self.tails.is_empty() {
            // There is no more of it, or it was put together behind the head.
            if let Some(head) = &mut self.head {
                copy(head, u64::MAX, take)?;
            }
            return Ok(());
        }
        loop {
            if let Some(tail) = self.tails.front_mut() {
                copy(tail, u64::MAX, take)?;
            }
            if self.tails.len() < 2 {
                return self.read_end(take);
            }
            self.tails.pop_front();
        }
    }

    /// Once the tails were put behind the head and removed: what was never read of them.
    fn read_end(&mut self, take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let Some(last) = self.tails.back().filter(|_| !self.is_whole) else { return Ok(()) };
        if !matches!(look(&self.path)?, Some((None, None))) {
            return Ok(());
        }
        let Some(whole) = open(&self.path)? else { return Ok(()) };
        let (behind, last) = (from(&whole, self.head_max)?, from(last, 0)?);
        let behind = without_gap_line(&behind);
        self.is_whole = true;
        if behind.ends_with(&last) {
            return Ok(());
        }
        match behind.strip_prefix(last.as_slice()) {
            Some(rest) => take(rest),
            None => take(GAP).and_then(|()| take(behind)),
        }
    }

    /// Opens what was begun since the last look.
    fn look_for_tails(&mut self, take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let Some((old, tail)) = look(&self.path)? else { return Ok(()) };
        let last = self.tails.back().map(inode).transpose()?;
        let is_last = |file: &Option<File>| match (file, last) {
            (Some(file), Some(last)) => inode(file).is_ok_and(|found| found == last),
            _ => false,
        };
        if is_last(&tail) || (is_last(&old) && tail.is_none()) {
            return Ok(());
        }
        if is_last(&old) {
            self.tails.extend(tail);
            return Ok(());
        }
        // From here on nobody knows how many there were in between, except where the first of all is the only one.
        if old.is_some() {
            if let Some(last) = self.tails.back_mut() {
                copy(last, u64::MAX, take)?;
            }
            self.tails.clear();
            take(GAP)?;
        }
        self.tails.extend(old.into_iter().chain(tail));
        Ok(())
    }
}

/// The tails as they are at one instant; `None` where they change faster than they can be looked at.
fn look(path: &Path) -> io::Result<Option<(Option<File>, Option<File>)>> {
    for _ in 0..LOOKS_MAX {
        let old = open(&old_tail_of(path))?;
        let tail = open(&tail_of(path))?;
        let again = open(&old_tail_of(path))?;
        let inodes = (old.as_ref().map(inode).transpose()?, again.as_ref().map(inode).transpose()?);
        if inodes.0 == inodes.1 {
            return Ok(Some((old, tail)));
        }
    }
    Ok(None)
}

/// The directory is one that its agent can write to: nothing but a regular file is waited for.
fn open(path: &Path) -> io::Result<Option<File>> {
    match open_file(path, Links::Refuse) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some),
    }
}

fn from(file: &File, offset: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(file.metadata()?.len().saturating_sub(offset)).unwrap_or(0)];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

/// What follows the line that says how much is left out, where there is one.
fn without_gap_line(bytes: &[u8]) -> &[u8] {
    let line = bytes.strip_prefix(GAP_LINE.as_bytes());
    let end = line.and_then(|rest| Some(GAP_LINE.len() + rest.iter().position(|byte| *byte == b'\n')? + 1));
    &bytes[end.unwrap_or(0)..]
}

fn inode(file: &File) -> io::Result<u64> {
    Ok(file.metadata()?.ino())
}

fn copy(file: &mut File, max: u64, take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<u64> {
    let (mut file, mut chunk, mut copied) = (file.take(max), vec![0; CHUNK_BYTES], 0);
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok(copied),
            Ok(length) => {
                take(&chunk[..length])?;
                copied += length as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::log::BoundedLog;

    struct Lab {
        _dir: tempfile::TempDir,
        log: BoundedLog,
        reader: LogReader,
        heard: String,
    }

    impl Lab {
        fn new(bytes_max: u64) -> Lab {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("stdout.log");
            let log = BoundedLog::create(path.clone(), bytes_max).unwrap();
            Lab { _dir: dir, log, reader: LogReader::new(path, bytes_max), heard: String::new() }
        }

        fn print(&mut self, text: &str) {
            self.log.append(text.as_bytes()).unwrap();
        }

        fn hear(&mut self) {
            let heard = &mut self.heard;
            let take = &mut |bytes: &[u8]| {
                heard.push_str(std::str::from_utf8(bytes).unwrap());
                Ok(())
            };
            self.reader.read(take).unwrap();
        }
    }

    #[test]
    fn what_is_followed_closely_is_heard_whole_and_once_however_long_it_is() {
        for (bytes_max, every) in [(0, 1), (80, 1), (80, 3), (80, 5), (81, 2), (1 << 20, 7)] {
            let (mut lab, mut printed) = (Lab::new(bytes_max), String::new());
            for n in 0..200 {
                let word = format!("{n:03}\n");
                lab.print(&word);
                printed += &word;
                if n % every == 0 {
                    lab.hear();
                }
            }
            lab.hear();
            let Lab { _dir, log, mut reader, mut heard } = lab;
            log.finish().unwrap();
            reader
                .read(&mut |bytes| {
                    heard.push_str(&String::from_utf8_lossy(bytes));
                    Ok(())
                })
                .unwrap();
            assert_eq!(heard, printed, "at most {bytes_max} bytes, a look at every {every}.");
        }
    }

    #[test]
    fn the_end_is_heard_although_nobody_looked_between_it_and_what_came_before() {
        for until in 15..40 {
            let mut lab = Lab::new(80);
            (0..15).for_each(|n| lab.print(&format!("{n:03}\n")));
            lab.hear();
            (15..until).for_each(|n| lab.print(&format!("{n:03}\n")));
            let Lab { _dir, log, mut reader, mut heard } = lab;
            log.finish().unwrap();
            for _ in 0..2 {
                let take = &mut |bytes: &[u8]| {
                    heard.push_str(&String::from_utf8_lossy(bytes));
                    Ok(())
                };
                reader.read(take).unwrap();
            }
            let missing = (0..until).filter(|n| heard.matches(&format!("{n:03}\n")).count() != 1).count();
            let is_said = heard.contains("something may be left out here");
            assert!(heard.ends_with(&format!("{:03}\n", until - 1)), "{until}: {heard}");
            assert!(missing == 0 || is_said, "{until}: {heard}");
        }
    }

    #[test]
    fn who_comes_late_hears_head_and_tails_and_where_something_is_missing() {
        let mut lab = Lab::new(80);
        (0..200).for_each(|n| lab.print(&format!("{n:03}\n")));
        lab.hear();
        assert!(lab.heard.starts_with("000\n001\n") && lab.heard.ends_with("198\n199\n"), "{}", lab.heard);
        assert!(lab.heard.contains("something may be left out here"));
        lab.print("more\n");
        lab.hear();
        assert!(lab.heard.ends_with("199\nmore\n"));
    }

    #[test]
    fn who_looks_away_too_long_is_told_so() {
        let mut lab = Lab::new(80);
        (0..15).for_each(|n| lab.print(&format!("{n:03}\n")));
        lab.hear();
        (15..200).for_each(|n| lab.print(&format!("{n:03}\n")));
        lab.hear();
        assert!(lab.heard.contains("014\n") && lab.heard.ends_with("199\n"), "{}", lab.heard);
        assert_eq!(lab.heard.matches("something may be left out here").count(), 1);
    }

    #[test]
    fn what_is_over_is_read_as_it_was_put_together() {
        let mut lab = Lab::new(80);
        (0..200).for_each(|n| lab.print(&format!("{n:03}\n")));
        let Lab { _dir, log, mut reader, mut heard } = lab;
        log.finish().unwrap();
        reader
            .read(&mut |bytes| {
                heard.push_str(&String::from_utf8_lossy(bytes));
                Ok(())
            })
            .unwrap();
        assert_eq!(heard, std::fs::read_to_string(_dir.path().join("stdout.log")).unwrap());
        assert!(heard.contains("bytes left out here]"));
    }

    #[test]
    fn what_has_not_begun_is_nothing_yet() {
        let dir = tempfile::tempdir().unwrap();
        let mut reader = LogReader::new(dir.path().join("stdout.log"), 80);
        reader.read(&mut |_| panic!("there is nothing")).unwrap();
    }
}
