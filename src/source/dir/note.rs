//! What the tick has to say about an item, in `.factory/<slug>.json` beside the items.
//!
//! Nothing of a user's is touched: the folder `.factory` is the tick's own, and the files in it
//! are replaced whole, so that a reader sees the old note or the new one.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

use jiff::Timestamp;
use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags, accessat, fsync, mkdirat, openat, renameat, unlinkat};
use rustix::io::Errno;
use serde::Serialize;

use crate::durable::open::{Links, open_at};
use crate::model::Writeback;
use crate::source::Obstacle;
use crate::text::cut::one_line;

/// The tick's own folder: a dot file, which is never an item.
const FOLDER: &str = ".factory";

/// The file's content, part of the public contract: plain values, which no renamed field of a record changes.
#[derive(Serialize)]
struct Note<'a> {
    /// The layout, 1.
    schema: u32,
    /// Id of the item.
    item: &'a str,
    /// `started`, `done` or `parked`.
    status: &'static str,
    /// Names of the runs that it is about.
    runs: Vec<String>,
    /// When the item became so, in UTC.
    at: Timestamp,
    /// In words.
    because: &'a str,
}

/// Writes the note of an item below the folder of items, unless it is there already.
///
/// # Errors
/// Which file could not be written, why, and what to do.
pub(super) fn write(items: &Path, note: &Writeback, until: Instant) -> Result<(), String> {
    let file_name = format!("{}.json", note.slug);
    let failed = |error: io::Error| {
        let path = items.join(FOLDER).join(&file_name);
        one_line(&format!("{}: the note can't be written: {error}; {}", path.display(), hint(&error)))
    };
    if Instant::now() >= until {
        return Err(failed(io::Error::new(io::ErrorKind::TimedOut, "the time of this tick is up")));
    }
    // Slugs are made for this; one that came out of a damaged record must not lead elsewhere.
    if note.slug.is_empty() || !note.slug.bytes().all(|c| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'-')) {
        return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "its slug is not one")));
    }
    let content = Note {
        schema: 1,
        item: &note.item.0,
        status: note.status.name(),
        runs: note.runs.iter().map(ToString::to_string).collect(),
        at: note.at,
        because: &note.because,
    };
    let mut bytes = serde_json::to_vec(&content).map_err(|error| failed(error.into()))?;
    bytes.push(b'\n');

    let folder = open_folder(items).map_err(|error| match error {
        Errno::LOOP | Errno::NOTDIR => failed(io::Error::new(
            io::ErrorKind::NotADirectory,
            format!("{FOLDER} is a symbolic link or a file, and only a real folder is written to"),
        )),
        error => failed(error.into()),
    })?;
    if !already_says(folder.as_fd(), &file_name, &bytes) {
        replace(folder.as_fd(), &file_name, &bytes).map_err(failed)?;
    }
    // It must last: once the registry remembers that a tracker was told, nobody tells it again.
    // Also for a note that was there, which a tick may have put there just before it was killed.
    fsync(&folder).map_err(|error| failed(error.into()))
}

/// Looks whether a note could be written below the folder of items, and makes nothing.
///
/// # Errors
/// Which folder refuses, and why.
pub(super) fn could_write(items: &Path) -> Result<(), Obstacle> {
    let notes = items.join(FOLDER);
    let folder = if notes.exists() { &notes } else { items };
    let may = if folder.is_dir() {
        accessat(CWD, folder, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)
            .map_err(|error| io::Error::from(error).to_string())
    } else {
        Err("it is not a folder".to_owned())
    };
    may.map_err(|why| Obstacle {
        place: notes.display().to_string(),
        why,
        hint: "give the user that runs the tick the permissions w and x on it, or set [writeback] to \"off\"",
    })
}

/// Opens the tick's own folder, made where it was missing; never through a symbolic link.
fn open_folder(items: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let items = openat(CWD, items, flags, Mode::empty())?;
    match mkdirat(&items, FOLDER, Mode::from_raw_mode(0o755)) {
        Ok(()) => fsync(&items)?,
        Err(Errno::EXIST) => {}
        Err(error) => return Err(error),
    }
    openat(&items, FOLDER, flags | OFlags::NOFOLLOW, Mode::empty())
}

/// Whether the file holds exactly these bytes. Whatever keeps that from being seen is a reason to
/// write it anew.
fn already_says(folder: BorrowedFd<'_>, name: &str, bytes: &[u8]) -> bool {
    let Ok(file) = open_at(folder, name, OFlags::RDONLY, Links::Refuse) else { return false };
    let mut found = Vec::with_capacity(bytes.len() + 1);
    let read = File::from(file).take(bytes.len() as u64 + 1).read_to_end(&mut found);
    read.is_ok() && found == bytes
}

/// Puts a file in place in one step.
fn replace(folder: BorrowedFd<'_>, name: &str, bytes: &[u8]) -> io::Result<()> {
    // One fixed name: whatever a killed tick left there is cleared away by the next note.
    let temporary = format!(".{name}.tmp");
    match unlinkat(folder, &temporary, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(openat(folder, &temporary, flags, Mode::from_raw_mode(0o644))?);
    let written = file
        .write_all(bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| Ok(renameat(folder, &temporary, folder, name)?));
    if written.is_err() {
        // Only tidiness: the error that matters is the first one.
        let _ = unlinkat(folder, &temporary, AtFlags::empty());
    }
    written
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room on that file system",
        io::ErrorKind::ReadOnlyFilesystem => "mount it writable, or switch [writeback] off",
        io::ErrorKind::PermissionDenied => {
            "give the user that runs the tick write permission on the folder, or switch [writeback] off"
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory => "move it away; the tick makes its own",
        io::ErrorKind::NotFound => "create the folder of items, or set [source] path to it",
        _ => "a later tick tries again",
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::time::Duration;

    use super::*;
    use crate::model::{ItemId, Status};

    fn note(because: &str) -> Writeback {
        Writeback {
            item: ItemId("dir:AR-1".to_owned()),
            slug: "ar-1".to_owned(),
            status: Status::Started,
            dispatch: 1,
            runs: vec!["ar-1-impl.1".parse().unwrap()],
            at: "2026-01-31T12:00:00Z".parse().unwrap(),
            because: because.to_owned(),
            required: false,
        }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn the_note_is_what_the_contract_says() {
        let items = tempfile::tempdir().unwrap();
        write(items.path(), &note("a \"reason\""), soon()).unwrap();
        let path = items.path().join(".factory/ar-1.json");
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            concat!(
                r#"{"schema":1,"item":"dir:AR-1","status":"started","runs":["ar-1-impl.1"],"#,
                r#""at":"2026-01-31T12:00:00Z","because":"a \"reason\""}"#,
                "\n"
            )
        );
        // Readable by whoever the umask lets, executable by nobody.
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o733, 0o600);
    }

    #[test]
    fn the_same_note_again_writes_nothing_and_another_replaces_it() {
        let items = tempfile::tempdir().unwrap();
        let path = items.path().join(".factory/ar-1.json");
        write(items.path(), &note("one"), soon()).unwrap();
        let first = fs::metadata(&path).unwrap().ino();
        write(items.path(), &note("one"), soon()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().ino(), first);
        write(items.path(), &note("two"), soon()).unwrap();
        assert_ne!(fs::metadata(&path).unwrap().ino(), first);
        assert!(fs::read_to_string(&path).unwrap().contains("two"));
        assert_eq!(fs::read_dir(items.path().join(".factory")).unwrap().count(), 1);
    }

    #[test]
    fn what_a_killed_tick_left_is_cleared_away_and_links_are_not_written_through() {
        let items = tempfile::tempdir().unwrap();
        let outside = tempfile::NamedTempFile::new().unwrap();
        let own = items.path().join(".factory");
        fs::create_dir(&own).unwrap();
        symlink(outside.path(), own.join(".ar-1.json.tmp")).unwrap();
        symlink(outside.path(), own.join("ar-1.json")).unwrap();
        write(items.path(), &note("one"), soon()).unwrap();
        assert_eq!(fs::read(outside.path()).unwrap(), b"");
        assert!(fs::symlink_metadata(own.join("ar-1.json")).unwrap().is_file());
        assert_eq!(fs::read_dir(&own).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_that_is_a_link_is_refused() {
        let items = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        symlink(outside.path(), items.path().join(".factory")).unwrap();
        let why = write(items.path(), &note("one"), soon()).unwrap_err();
        assert!(why.contains(".factory is a symbolic link") && why.contains("move it away"), "{why}");
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_cannot_be_written_is_told_with_file_cause_and_remedy() {
        let items = tempfile::tempdir().unwrap();
        let gone = items.path().join("gone");
        let why = write(&gone, &note("one"), soon()).unwrap_err();
        assert!(why.contains("gone/.factory/ar-1.json: ") && why.contains("No such file"), "{why}");
        assert!(why.contains("create the folder of items"), "{why}");

        fs::create_dir_all(items.path().join(".factory/ar-1.json")).unwrap();
        let why = write(items.path(), &note("one"), soon()).unwrap_err();
        assert!(why.contains("Is a directory") && why.contains("move it away"), "{why}");
        assert_eq!(fs::read_dir(items.path().join(".factory")).unwrap().count(), 1);

        let why = write(items.path(), &note("one"), Instant::now()).unwrap_err();
        assert!(why.contains("the time of this tick is up"), "{why}");
    }

    #[test]
    fn a_slug_that_leads_elsewhere_is_refused() {
        let items = tempfile::tempdir().unwrap();
        for slug in ["", "../x", "a/b", "A", ".x"] {
            let why =
                write(items.path(), &Writeback { slug: slug.to_owned(), ..note("one") }, soon()).unwrap_err();
            assert!(why.contains("its slug is not one"), "{why}");
        }
        assert_eq!(fs::read_dir(items.path()).unwrap().count(), 0);
    }

    #[test]
    fn full_and_read_only_file_systems_have_their_hints() {
        let hinted = |errno: Errno| hint(&io::Error::from(errno));
        assert!(hinted(Errno::NOSPC).contains("make room"));
        assert!(hinted(Errno::DQUOT).contains("make room"));
        assert!(hinted(Errno::ROFS).contains("writable"));
        assert!(hinted(Errno::ACCESS).contains("write permission"));
    }
}
