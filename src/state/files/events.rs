//! The event log: one JSON object per line, appended by every tick, read by people and their tools.
//!
//! Appending takes no lock: a tick that lost the lock has something to say too.

use std::fs::File;
use std::io::{self, BufReader, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use rustix::fs::{AtFlags, OFlags};
use serde::Serialize;
use serde_json::Value;

use crate::durable::{atomic, naming};
use crate::state::HostDir;
use crate::state::files::lines::{ends_in_the_middle, next_line};

const EVENTS: &str = "events.jsonl";
const EVENTS_OLD: &str = "events.jsonl.1";

/// How much of the end of each file is read: it is asked what happened lately, and where no bound is set for the log,
/// it may have grown for years.
const READ_BYTES_MAX: u64 = 256 << 20;

/// Appends `lines`, all of them in one write. A file that would grow beyond `max_bytes` first
/// becomes `events.jsonl.1`, in place of the previous one; 0 lets it grow for ever.
///
/// # Errors
///
/// Those of the system, naming the file. No tick should fail for it.
pub fn append(dir: &HostDir, lines: &[impl Serialize], max_bytes: u64) -> io::Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let mut text = vec![b'\n'];
    for line in lines {
        serde_json::to_writer(&mut text, line)?;
        text.push(b'\n');
    }
    append_text(dir, &text, max_bytes).map_err(|error| naming(&dir.path().join(EVENTS), &error))
}

/// `text` begins with the line break that is needed only after a torn line.
fn append_text(dir: &HostDir, text: &[u8], max_bytes: u64) -> io::Result<()> {
    let mut file = open(dir)?;
    let size = file.metadata()?.len();
    if size > 0 && max_bytes > 0 && size.saturating_add(text.len() as u64) > max_bytes && rotate(dir, &file)?
    {
        file = open(dir)?;
    }
    let torn = ends_in_the_middle(&file)?;
    let text = if torn { text } else { &text[1..] };
    // Not repeated where it falls short: by then another tick's line may stand in between, and the
    // next append begins on a line of its own.
    match file.write(text) {
        Ok(length) if length < text.len() => {
            Err(io::Error::new(io::ErrorKind::WriteZero, "only a part was written; is the disk full?"))
        }
        other => other.map(drop),
    }
}

/// Makes `file` the old generation. False when another tick does so, or has just done it: two that
/// rotate at once would drop a generation between them.
fn rotate(dir: &HostDir, file: &File) -> io::Result<bool> {
    if fs2::FileExt::try_lock_exclusive(file).is_err() {
        return Ok(false);
    }
    let named = match rustix::fs::statat(dir, EVENTS, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => (stat.st_dev, stat.st_ino),
        Err(rustix::io::Errno::NOENT) => return Ok(true),
        Err(error) => return Err(error.into()),
    };
    let opened = file.metadata()?;
    if named == (opened.dev(), opened.ino()) {
        rustix::fs::renameat(dir, EVENTS, dir, EVENTS_OLD)?;
    }
    Ok(true)
}

fn open(dir: &HostDir) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE;
    let file = atomic::open_regular_with(dir.as_fd(), EVENTS, flags)?;
    if atomic::has_another_name(file.as_fd())? {
        let text = "the file has another name too, a hard link, and what is not this log's alone is not written to; put a \
                    copy of it in its place";
        return Err(io::Error::other(text));
    }
    Ok(file)
}

/// The events, the oldest first; of a log that was never rotated, the last 256 MiB of them. A line that is no JSON (torn
/// by a kill or a full disk) is skipped, and nothing but that line.
///
/// # Errors
///
/// Those of opening the files, naming the file. One that can't be read further ends there.
pub fn read(dir: &HostDir) -> io::Result<impl Iterator<Item = Value> + use<>> {
    // The newer one first: rotated in between, it is the same file twice instead of one never seen.
    let newer = open_to_read(dir, EVENTS)?;
    let mut older = open_to_read(dir, EVENTS_OLD)?;
    if let (Some(one), Some(other)) = (&newer, &older) {
        let (one, other) = (one.metadata()?, other.metadata()?);
        if (one.dev(), one.ino()) == (other.dev(), other.ino()) {
            older = None;
        }
    }
    let files = older.into_iter().chain(newer);
    let lines = files.flat_map(|file| {
        let mut reader = BufReader::new(file);
        std::iter::from_fn(move || next_line(&mut reader).ok().flatten())
    });
    Ok(lines.filter_map(|line| serde_json::from_slice(&line).ok()))
}

fn open_to_read(dir: &HostDir, name: &str) -> io::Result<Option<File>> {
    let open = || {
        let Some((mut file, size)) = atomic::open_regular(dir.as_fd(), name)? else { return Ok(None) };
        file.seek(SeekFrom::Start(size.saturating_sub(READ_BYTES_MAX)))?;
        Ok(Some(file))
    };
    open().map_err(|error: io::Error| naming(&dir.path().join(name), &error))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::state::files::lines::LINE_BYTES_MAX;

    fn state() -> (tempfile::TempDir, HostDir) {
        let holder = tempfile::tempdir().unwrap();
        let dir = HostDir::create_or_open(&holder.path().join("state"), true).unwrap();
        (holder, dir)
    }

    fn all(dir: &HostDir) -> Vec<Value> {
        read(dir).unwrap().collect()
    }

    fn text(dir: &HostDir, name: &str) -> String {
        std::fs::read_to_string(dir.path().join(name)).unwrap()
    }

    #[expect(clippy::disallowed_methods, reason = "a test breaks a file")]
    fn put(dir: &HostDir, name: &str, bytes: &str) {
        std::fs::write(dir.path().join(name), bytes).unwrap();
    }

    #[test]
    fn what_was_appended_is_read_in_order() {
        let (_holder, dir) = state();
        assert!(all(&dir).is_empty());
        append(&dir, &[] as &[Value], 0).unwrap();
        assert!(!dir.path().join(EVENTS).exists(), "nothing to say makes no file");
        append(&dir, &[json!({"n": 1}), json!({"n": 2, "text": "a\nb"})], 0).unwrap();
        append(&dir, &[json!({"n": 3})], 0).unwrap();
        assert_eq!(text(&dir, EVENTS), "{\"n\":1}\n{\"n\":2,\"text\":\"a\\nb\"}\n{\"n\":3}\n");
        assert_eq!(all(&dir), [json!({"n": 1}), json!({"n": 2, "text": "a\nb"}), json!({"n": 3})]);
    }

    // Origin: midtown - the log was cut off after its first bad line.
    // covers: F60
    #[test]
    fn a_torn_line_costs_itself_and_nothing_else() {
        let (_holder, dir) = state();
        put(&dir, EVENTS, "{\"n\":1}\n{\"n\":2,\"te\n\n\u{0}\u{0}\n{\"n\":3}\n{\"n\":4,");
        assert_eq!(all(&dir), [json!({"n": 1}), json!({"n": 3})]);
        append(&dir, &[json!({"n": 5})], 0).unwrap();
        append(&dir, &[json!({"n": 6})], 0).unwrap();
        assert_eq!(all(&dir), [json!({"n": 1}), json!({"n": 3}), json!({"n": 5}), json!({"n": 6})]);
        assert!(text(&dir, EVENTS).ends_with("{\"n\":4,\n{\"n\":5}\n{\"n\":6}\n"));
    }

    // Origin: measured - one line of a gibibyte, zeros of a block that was never written, and `explain` was ended by the
    // kernel for the memory that it took.
    #[test]
    fn a_line_without_end_costs_itself_and_no_memory() {
        let (_holder, dir) = state();
        append(&dir, &[json!({"n": 1})], 0).unwrap();
        let file = File::options().write(true).open(dir.path().join(EVENTS)).unwrap();
        file.set_len(3 * LINE_BYTES_MAX).unwrap();
        append(&dir, &[json!({"n": 2}), json!({"long": "x".repeat(500_000)})], 0).unwrap();
        let read = all(&dir);
        assert_eq!((read.len(), &read[0], &read[1]), (3, &json!({"n": 1}), &json!({"n": 2})));
        // Of what is larger than anybody looks through, the end.
        file.set_len(READ_BYTES_MAX + 4 * LINE_BYTES_MAX).unwrap();
        append(&dir, &[json!({"n": 3})], 0).unwrap();
        assert_eq!(all(&dir), [json!({"n": 3})]);
    }

    // Origin: measured - a hard link in the place of the log, or of the lock, and a tick wrote into what it led to.
    #[test]
    fn what_has_another_name_is_not_written_to() {
        let (_holder, dir) = state();
        put(&dir, "precious", "precious\n");
        std::fs::hard_link(dir.path().join("precious"), dir.path().join(EVENTS)).unwrap();
        let error = append(&dir, &[json!({})], 0).unwrap_err().to_string();
        assert!(error.contains("events.jsonl: the file has another name too"), "{error}");
        assert_eq!(text(&dir, "precious"), "precious\n");
        std::fs::remove_file(dir.path().join("precious")).unwrap();
        append(&dir, &[json!({"n": 1})], 0).unwrap();
        assert_eq!(all(&dir), [json!({"n": 1})]);
    }

    #[test]
    fn a_log_that_grew_too_long_makes_room_and_one_generation_stays() {
        let (_holder, dir) = state();
        for n in 0..4 {
            append(&dir, &[json!({"n": n})], 17).unwrap();
        }
        assert_eq!(text(&dir, EVENTS_OLD), "{\"n\":0}\n{\"n\":1}\n");
        assert_eq!(text(&dir, EVENTS), "{\"n\":2}\n{\"n\":3}\n");
        assert_eq!(all(&dir).len(), 4);
        append(&dir, &[json!({"n": 4})], 17).unwrap();
        assert_eq!(text(&dir, EVENTS_OLD), "{\"n\":2}\n{\"n\":3}\n");
        // One line longer than allowed is still written, and alone.
        append(&dir, &[json!({"long": "x".repeat(100)})], 17).unwrap();
        assert_eq!(text(&dir, EVENTS_OLD), "{\"n\":4}\n");
        assert_eq!(all(&dir).len(), 2);
    }

    #[test]
    fn an_empty_log_makes_no_room_for_what_is_longer_than_allowed() {
        let (_holder, dir) = state();
        put(&dir, EVENTS_OLD, "{\"n\":1}\n");
        put(&dir, EVENTS, "");
        append(&dir, &[json!({"long": "x".repeat(100)})], 17).unwrap();
        assert_eq!(text(&dir, EVENTS_OLD), "{\"n\":1}\n", "what it held is not given up for nothing");
        assert_eq!(all(&dir).len(), 2);
    }

    // covers: F54
    #[test]
    fn a_line_of_which_the_disk_took_a_part_is_an_error_and_costs_itself() {
        const SELF: &str =
            "state::files::events::tests::a_line_of_which_the_disk_took_a_part_is_an_error_and_costs_itself";
        if !crate::durable::tests::alone_in_a_process(SELF) {
            return;
        }
        let (_holder, dir) = state();
        append(&dir, &[json!({"n": 1})], 0).unwrap();
        // The first bytes are accepted, the rest is refused: what a disk does as it fills up.
        let limit = |current| rustix::process::Rlimit { current, maximum: None };
        rustix::process::setrlimit(rustix::process::Resource::Fsize, limit(Some(50))).unwrap();
        let error = append(&dir, &[json!({"long": "x".repeat(100)})], 0).unwrap_err().to_string();
        rustix::process::setrlimit(rustix::process::Resource::Fsize, limit(None)).unwrap();
        assert!(error.ends_with("events.jsonl: only a part was written; is the disk full?"), "{error}");
        append(&dir, &[json!({"n": 2})], 0).unwrap();
        assert_eq!(all(&dir), [json!({"n": 1}), json!({"n": 2})]);
    }

    #[test]
    fn zero_never_makes_room() {
        let (_holder, dir) = state();
        for n in 0..100 {
            append(&dir, &[json!({"n": n})], 0).unwrap();
        }
        assert!(!dir.path().join(EVENTS_OLD).exists());
        assert_eq!(all(&dir).len(), 100);
    }

    #[test]
    fn one_that_opened_the_log_before_it_was_rotated_does_not_rotate_it_again() {
        let (_holder, dir) = state();
        append(&dir, &[json!({"n": 1})], 0).unwrap();
        let late = open(&dir).unwrap();
        assert!(rotate(&dir, &open(&dir).unwrap()).unwrap());
        append(&dir, &[json!({"n": 2})], 0).unwrap();
        assert!(rotate(&dir, &late).unwrap());
        assert_eq!(all(&dir), [json!({"n": 1}), json!({"n": 2})], "nothing was dropped");
    }

    #[test]
    fn while_another_one_rotates_nobody_else_does() {
        let (_holder, dir) = state();
        append(&dir, &[json!({"n": 1})], 0).unwrap();
        let other = open(&dir).unwrap();
        fs2::FileExt::lock_exclusive(&other).unwrap();
        append(&dir, &[json!({"n": 2})], 1).unwrap();
        assert_eq!(text(&dir, EVENTS), "{\"n\":1}\n{\"n\":2}\n");
    }

    #[test]
    fn many_may_append_at_once_and_nothing_is_lost() {
        let (_holder, dir) = state();
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let dir = &dir;
                scope.spawn(move || {
                    for n in 0..50 {
                        append(dir, &[json!({"writer": writer, "n": n})], 0).unwrap();
                    }
                });
            }
        });
        assert_eq!(all(&dir).len(), 200);
    }

    #[test]
    fn a_reader_in_the_middle_of_a_rotation_sees_no_event_twice() {
        let (_holder, dir) = state();
        append(&dir, &[json!({"n": 1})], 0).unwrap();
        std::fs::hard_link(dir.path().join(EVENTS), dir.path().join(EVENTS_OLD)).unwrap();
        assert_eq!(all(&dir), [json!({"n": 1})]);
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let (_holder, dir) = state();
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(&dir, EVENTS, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let error = append(&dir, &[json!({})], 0).unwrap_err().to_string();
        assert!(error.contains("events.jsonl: it is a FIFO"), "{error}");
        assert!(read(&dir).is_err());
        std::fs::remove_file(dir.path().join(EVENTS)).unwrap();
        put(&dir, "precious", "precious");
        std::os::unix::fs::symlink("precious", dir.path().join(EVENTS)).unwrap();
        append(&dir, &[json!({})], 0).unwrap_err();
        assert!(read(&dir).is_err());
        assert_eq!(text(&dir, "precious"), "precious");
    }
}
