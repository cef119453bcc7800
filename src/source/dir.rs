//! Items as files: `*.json` and `*.md` directly in one folder.
//!
//! The files belong to people, who edit, move and break them at any moment, and to agents, who
//! may put anything there. So nothing is ever followed, waited for or written back; one bad file
//! hides no other; and whatever keeps the whole list from being read makes it unknown, not shorter.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;

use super::record::{Problem, RawItem, id_of_stem};
use super::{Source, markdown, note, one_line};
use crate::model::{Observed, SourceView, UnreadableItem, WorkItem, Writeback};

/// The largest file that is read, in bytes. An item is a text for a prompt; a log or a dump that
/// strayed into the folder must not fill the memory of a cron job.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// The most files with an item's ending: beyond it a tick could not read them all within its minute.
const FILES_MAX: usize = 100_000;

/// The most bytes in all files together: all of them are in memory at once.
const TOTAL_BYTES_MAX: u64 = 256 << 20;

/// Directory entries between two looks at the clock.
const ENTRIES_PER_LOOK: usize = 1024;

/// A folder of items.
#[derive(Clone, Debug)]
pub struct DirSource {
    path: PathBuf,
}

impl DirSource {
    /// A source that reads the folder at `path`; nothing is looked at yet.
    pub fn new(path: PathBuf) -> DirSource {
        DirSource { path }
    }
}

impl Source for DirSource {
    fn read(&self, until: Instant) -> Observed<SourceView> {
        let read = Reading { path: &self.path, until }.whole(FILES_MAX, TOTAL_BYTES_MAX);
        match read {
            Ok(view) => Observed::Known(view),
            Err(why) => Observed::broken(why),
        }
    }

    fn notify(&self, note: &Writeback, until: Instant) -> Result<(), String> {
        note::write(&self.path, note, until)
    }
}

/// One read of the folder. An `Err` of its methods is why the whole list is unknown.
struct Reading<'a> {
    path: &'a Path,
    until: Instant,
}

/// What one file turned out to be.
enum Found {
    Item(Box<WorkItem>),
    UnreadableItem(UnreadableItem),
    /// It went away after it had been listed.
    Nothing,
}

impl Reading<'_> {
    fn whole(&self, files_max: usize, bytes_max: u64) -> Result<SourceView, String> {
        self.check_time(0)?;
        let mut dir = self.open_folder()?;
        let names = self.list(&mut dir, files_max)?;
        let folder = dir.fd().map_err(|error| self.unreadable(error))?;

        let mut items = Vec::with_capacity(names.len());
        let mut unreadable = Vec::new();
        let mut buffer = Vec::new();
        let mut bytes_read = 0;
        for (done, (name, kind)) in names.iter().enumerate() {
            self.check_time(done)?;
            buffer.clear();
            match self.file(folder, name, *kind, &mut buffer)? {
                Found::Item(item) => items.push(*item),
                Found::UnreadableItem(one) => unreadable.push(one),
                Found::Nothing => {}
            }
            bytes_read += buffer.len() as u64;
            if bytes_read > bytes_max {
                return Err(format!(
                    "{}: its items have more than {bytes_max} bytes together; move closed ones elsewhere",
                    one_line(&self.path.display().to_string())
                ));
            }
        }
        let items = self.without_shared_ids(items, &mut unreadable);
        unreadable.sort_by(|a, b| a.origin.cmp(&b.origin));
        Ok(SourceView { items, unreadable })
    }

    fn open_folder(&self) -> Result<Dir, String> {
        // "/." needs the permission to search the folder, without which each of its files would
        // look broken by itself.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        openat(CWD, self.path.join("."), flags, Mode::empty())
            .and_then(Dir::new)
            .map_err(|error| self.unreadable(error))
    }

    /// The files that are to be items, in the order of their names, each with what the listing
    /// says it is.
    fn list(&self, dir: &mut Dir, files_max: usize) -> Result<Vec<(CString, FileType)>, String> {
        let mut names = Vec::new();
        let mut entries = 0;
        while let Some(entry) = dir.read() {
            let entry = entry.map_err(|error| self.unreadable(error))?;
            entries += 1;
            if entries % ENTRIES_PER_LOOK == 0 {
                self.check_time(0)?;
            }
            if stem(entry.file_name()).is_none() {
                continue;
            }
            if names.len() == files_max {
                return Err(format!(
                    "{}: it holds more than {files_max} items; move closed ones elsewhere",
                    one_line(&self.path.display().to_string())
                ));
            }
            names.push((entry.file_name().to_owned(), entry.file_type()));
        }
        names.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(names)
    }

    fn file(
        &self,
        folder: BorrowedFd<'_>,
        name: &CStr,
        listed_as: FileType,
        buffer: &mut Vec<u8>,
    ) -> Result<Found, String> {
        let origin = name.to_string_lossy().into_owned();
        let problem = |problem| Found::UnreadableItem(self.unreadable_item(&origin, problem));
        if !matches!(listed_as, FileType::RegularFile | FileType::Unknown) {
            // Not even opened: opening alone is an act for some devices.
            return Ok(problem(Problem::new(not_a_file(listed_as))));
        }
        let file = match open_file(folder, name) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(Found::Nothing),
            Err(Errno::LOOP) => return Ok(problem(Problem::new(not_a_file(FileType::Symlink)))),
            Err(Errno::NXIO) => return Ok(problem(Problem::new(not_a_file(FileType::Unknown)))),
            // It is us who lack something; the file may be in perfect order.
            Err(error @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM)) => return Err(self.unreadable(error)),
            Err(error) => return Ok(problem(unreadable_file(error.into()))),
        };
        if let Err(found) = fill(buffer, file) {
            return Ok(problem(found));
        }
        Ok(match as_item(name, buffer) {
            Ok(item) => Found::Item(Box::new(item)),
            Err(found) => problem(found),
        })
    }

    /// Items whose id no other item has. Of those that share one none is kept: which of them an
    /// agent had been given could only be guessed.
    fn without_shared_ids(
        &self,
        items: Vec<WorkItem>,
        unreadable: &mut Vec<UnreadableItem>,
    ) -> Vec<WorkItem> {
        let mut origins: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for item in &items {
            origins.entry(item.id.0.clone()).or_default().push(item.origin.clone());
        }
        origins.retain(|_, origins| origins.len() > 1);
        let (shared, unique): (Vec<_>, Vec<_>) =
            items.into_iter().partition(|item| origins.contains_key(&item.id.0));
        for item in shared {
            let others: Vec<&str> = origins[&item.id.0]
                .iter()
                .filter(|&origin| *origin != item.origin)
                .map(String::as_str)
                .collect();
            let what = format!(
                "has the id {} like {}; give each its own `id`, or delete all but one",
                item.id,
                others.join(", ")
            );
            unreadable.push(UnreadableItem {
                id: Some(item.id),
                ..self.unreadable_item(&item.origin, Problem::new(what))
            });
        }
        unique
    }

    fn unreadable_item(&self, origin: &str, problem: Problem) -> UnreadableItem {
        let file = self.path.join(origin);
        let place = match problem.at {
            Some((line, column)) => format!("{}:{line}:{column}", file.display()),
            None => file.display().to_string(),
        };
        let stem = origin.strip_suffix(".json").or_else(|| origin.strip_suffix(".md"));
        UnreadableItem {
            origin: origin.to_owned(),
            id: stem.and_then(id_of_stem),
            why: one_line(&format!("{place}: {}", problem.what)),
        }
    }

    /// An `Err` when the time is up, after `done` files.
    fn check_time(&self, done: usize) -> Result<(), String> {
        if Instant::now() < self.until {
            return Ok(());
        }
        let path = one_line(&self.path.display().to_string());
        Err(format!(
            "{path}: the time for reading it was up after {done} items; the next tick reads it again"
        ))
    }

    fn unreadable(&self, error: Errno) -> String {
        let hint = match error {
            Errno::NOENT => "create it, or set [source] path to the folder of the items",
            Errno::NOTDIR => "set [source] path to a folder",
            Errno::ACCESS | Errno::PERM => "give the user that runs the tick the permissions r and x on it",
            Errno::MFILE | Errno::NFILE => "raise the limit of open files (ulimit -n)",
            _ => "the next tick tries again",
        };
        let path = one_line(&self.path.display().to_string());
        format!("{path}: the folder of items can't be read: {}; {hint}", io::Error::from(error))
    }
}

/// The name without its ending, where it is that of an item: no dot file, `.json` or `.md`.
fn stem(name: &CStr) -> Option<&[u8]> {
    let name = name.to_bytes();
    let stem = name.strip_suffix(b".json").or_else(|| name.strip_suffix(b".md"))?;
    (!name.starts_with(b".")).then_some(stem)
}

/// Opens without following a link and without waiting for the other end of a pipe.
fn open_file(folder: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    openat(folder, name, flags, Mode::empty())
}

/// Reads a file to its end, if it is one and not too large.
fn fill(buffer: &mut Vec<u8>, file: OwnedFd) -> Result<(), Problem> {
    let too_large = || {
        Problem::new(format!(
            "has more than {FILE_BYTES_MAX} bytes; an item is a text, move the rest elsewhere"
        ))
    };
    let stat = fstat(file.as_fd()).map_err(|error| unreadable_file(error.into()))?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    if kind != FileType::RegularFile {
        return Err(Problem::new(not_a_file(kind)));
    }
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    if size > FILE_BYTES_MAX {
        return Err(too_large());
    }
    // One byte more than needed: the read that finds the end then asks for no more memory.
    buffer.reserve(usize::try_from(size).map_or(0, |size| size + 1));
    // It may still grow, and a file system may not tell its size.
    File::from(file).take(FILE_BYTES_MAX + 1).read_to_end(buffer).map_err(unreadable_file)?;
    if buffer.len() as u64 > FILE_BYTES_MAX { Err(too_large()) } else { Ok(()) }
}

/// Reads the bytes of a file as what its name promises.
fn as_item(name: &CStr, bytes: &[u8]) -> Result<WorkItem, Problem> {
    let name = name.to_str().map_err(|_| Problem::new("has a name that is not UTF-8; rename it"))?;
    let text = as_text(bytes)?;
    let (stem, raw) = match name.strip_suffix(".json") {
        Some(stem) => (stem, RawItem::from_json(text)?),
        None => (name.strip_suffix(".md").unwrap_or(name), markdown::read(text)?),
    };
    raw.into_item(stem, name)
}

/// The bytes as text, without the mark that some editors put before it.
fn as_text(bytes: &[u8]) -> Result<&str, Problem> {
    match str::from_utf8(bytes) {
        Ok(text) => Ok(text.strip_prefix('\u{feff}').unwrap_or(text)),
        Err(error) => {
            let line = bytes[..error.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count() + 1;
            Err(Problem::new(format!("is not UTF-8 in line {line}; save it as UTF-8")))
        }
    }
}

fn unreadable_file(error: io::Error) -> Problem {
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => "give the user that runs the tick the permission r on it",
        _ => "the next tick tries again",
    };
    Problem::new(format!("can't be read: {error}; {hint}"))
}

fn not_a_file(kind: FileType) -> String {
    let kind = match kind {
        FileType::Symlink => "a symbolic link, which is never followed",
        FileType::Directory => "a folder",
        FileType::Fifo => "a named pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        _ => "no regular file",
    };
    format!("is {kind}; put a file here, or give it another name")
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "files of a test need not survive anything")]
mod tests {
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;
    use std::time::Duration;

    use tempfile::TempDir;

    use super::*;
    use crate::model::{ItemId, ItemState};

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    fn view(path: &Path) -> SourceView {
        match DirSource::new(path.to_owned()).read(soon()) {
            Observed::Known(view) => view,
            Observed::Unknown(why) => panic!("unknown: {why}"),
        }
    }

    fn unknown(path: &Path, until: Instant) -> String {
        match DirSource::new(path.to_owned()).read(until) {
            Observed::Known(view) => panic!("known: {view:?}"),
            Observed::Unknown(why) => why.text,
        }
    }

    fn folder(files: &[(&str, &[u8])]) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        folder
    }

    fn ids(view: &SourceView) -> Vec<&str> {
        view.items.iter().map(|item| item.id.0.as_str()).collect()
    }

    /// Origin, id and reason of everything unclear.
    fn unreadable(view: &SourceView) -> Vec<(&str, Option<&str>, &str)> {
        view.unreadable
            .iter()
            .map(|one| (one.origin.as_str(), one.id.as_ref().map(|id| id.0.as_str()), one.why.as_str()))
            .collect()
    }

    // covers: S12
    #[test]
    fn well_formed_files_are_read_in_full() {
        let view = view(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/items"));
        assert_eq!(view.unreadable, []);
        assert_eq!(ids(&view), ["dir:AR-1", "dir:AR-2", "dir:AR-3", "dir:AR-4"]);
        let [first, second, third, fourth] = &view.items[..] else { unreachable!() };
        let (title, body) =
            ("Retry the upload", "An upload that meets a 503 is lost.\nTry it again, at most three times.\n");
        let (labels, blocked_by) =
            (vec!["backend".to_owned(), "network".to_owned()], vec!["AR-3".to_owned()]);
        let wanted = WorkItem {
            id: ItemId("dir:AR-1".to_owned()),
            key: "AR-1".to_owned(),
            title: title.to_owned(),
            body: body.to_owned(),
            priority: Some(2),
            state: ItemState::Open,
            created_at: Some("2026-01-31T12:00:00Z".parse().unwrap()),
            updated_at: Some("2026-02-01T08:30:00.5Z".parse().unwrap()),
            origin: "AR-1.json".to_owned(),
            hash: crate::fingerprint::item(title, body, &labels, ItemState::Open, &blocked_by, Some(2)),
            content_hash: crate::fingerprint::content(title, body),
            labels,
            blocked_by,
        };
        assert_eq!(*first, wanted);
        assert_eq!(second.title, "Say which file failed");
        assert_eq!(second.body, "The message names the upload, but not the file.");
        assert_eq!((third.key.as_str(), third.state, third.priority), ("web-3", ItemState::Closed, Some(1)));
        assert_eq!(third.created_at, Some("2026-01-30T07:00:00Z".parse().unwrap()));
        assert_eq!(third.body, "Count them, and how long they take.");
        assert_eq!((fourth.title.as_str(), fourth.body.as_str()), ("AR-4", ""));
    }

    #[test]
    fn only_items_are_looked_at() {
        let folder =
            folder(&[("a.json", b"{}"), (".b.json", b"x"), ("c.txt", b"x"), ("d.JSON", b"x"), (".md", b"x")]);
        fs::create_dir(folder.path().join(".factory")).unwrap();
        fs::write(folder.path().join(".factory/a.json"), b"x").unwrap();
        fs::create_dir(folder.path().join("archive")).unwrap();
        fs::write(folder.path().join("archive/old.json"), b"x").unwrap();
        let view = view(folder.path());
        assert_eq!(ids(&view), ["dir:a"]);
        assert_eq!(view.unreadable, []);
    }

    #[test]
    fn an_empty_folder_is_known_to_be_empty() {
        assert_eq!(view(tempfile::tempdir().unwrap().path()), SourceView::default());
    }

    // covers: I16 S16 F09
    #[test]
    fn a_bad_file_hides_no_other_and_is_told_with_its_place() {
        let folder = folder(&[
            ("a.json", b"{\n\"lables\": []}"),
            ("b.json", b"{}"),
            ("c.md", b"---\ntitle: c\n---\n"),
            ("d.json", b"{\"title\": \"\xff\"}"),
            ("e.md", b""),
            ("f.md", b"# F"),
        ]);
        let view = view(folder.path());
        assert_eq!(ids(&view), ["dir:b", "dir:f"]);
        let at = |name: &str| folder.path().join(name).display().to_string();
        assert_eq!(
            unreadable(&view),
            [
                (
                    "a.json",
                    Some("dir:a"),
                    &*format!("{}:2:8: unknown field `lables`; did you mean `labels`?", at("a.json"))
                ),
                (
                    "c.md",
                    Some("dir:c"),
                    &*format!(
                        "{}:1:1: front matter in YAML (`---`) is not read; write it as TOML between two lines `+++`",
                        at("c.md")
                    )
                ),
                (
                    "d.json",
                    Some("dir:d"),
                    &*format!("{}: is not UTF-8 in line 1; save it as UTF-8", at("d.json"))
                ),
                (
                    "e.md",
                    Some("dir:e"),
                    &*format!("{}: is empty; write a line `# Title`, or delete it", at("e.md"))
                ),
            ]
        );
    }

    #[test]
    fn a_byte_order_mark_is_no_text() {
        let folder = folder(&[("a.json", b"\xef\xbb\xbf{}"), ("b.md", b"\xef\xbb\xbf# B")]);
        assert_eq!(view(folder.path()).items.iter().map(|item| &*item.title).collect::<Vec<_>>(), ["a", "B"]);
    }

    #[test]
    fn of_items_that_share_an_id_none_is_kept() {
        let folder = folder(&[
            ("a.json", b"{}"),
            ("a.md", b"# A"),
            ("b.json", br#"{"id": " a "}"#),
            ("c.json", b"{}"),
            ("A.json", b"{}"),
        ]);
        let view = view(folder.path());
        assert_eq!(ids(&view), ["dir:A", "dir:c"]);
        let found = unreadable(&view);
        assert_eq!(
            found.iter().map(|(origin, id, _)| (*origin, *id)).collect::<Vec<_>>(),
            [("a.json", Some("dir:a")), ("a.md", Some("dir:a")), ("b.json", Some("dir:a"))]
        );
        assert!(found[0].2.ends_with(
            "a.json: has the id dir:a like a.md, b.json; give each its own `id`, or delete all but one"
        ));
        assert!(found[2].2.contains("like a.json, a.md;"), "{}", found[2].2);
    }

    #[test]
    fn what_is_no_file_is_neither_opened_nor_waited_for() {
        let folder = folder(&[("z.json", b"{}")]);
        let path = |name: &str| folder.path().join(name);
        symlink(path("z.json"), path("a.json")).unwrap();
        symlink(path("nowhere"), path("b.md")).unwrap();
        fs::create_dir(path("c.json")).unwrap();
        rustix::fs::mkfifoat(CWD, path("d.json"), Mode::from_raw_mode(0o600)).unwrap();
        let _socket = UnixListener::bind(path("e.md")).unwrap();
        let view = view(folder.path());
        assert_eq!(ids(&view), ["dir:z"]);
        for ((origin, id, why), (name, what)) in unreadable(&view).into_iter().zip([
            ("a.json", "is a symbolic link, which is never followed"),
            ("b.md", "is a symbolic link"),
            ("c.json", "is a folder"),
            ("d.json", "is a named pipe"),
            ("e.md", "is a socket"),
        ]) {
            assert_eq!(origin, name);
            assert!(id.is_some() && why.contains(what), "{why}");
        }
        assert_eq!(view.unreadable.len(), 5);
    }

    /// The listing may be older than the file, and some file systems list no kinds at all.
    #[test]
    fn a_file_that_became_something_else_is_found_out_when_it_is_opened() {
        let folder = folder(&[("z.json", b"{}")]);
        let path = |name: &str| folder.path().join(name);
        symlink(path("z.json"), path("a.json")).unwrap();
        fs::create_dir(path("b.json")).unwrap();
        rustix::fs::mkfifoat(CWD, path("c.json"), Mode::from_raw_mode(0o600)).unwrap();
        let _socket = UnixListener::bind(path("d.json")).unwrap();
        let reading = Reading { path: folder.path(), until: soon() };
        let dir = reading.open_folder().unwrap();
        let look =
            |name: &CStr| reading.file(dir.fd().unwrap(), name, FileType::Unknown, &mut Vec::new()).unwrap();
        for (name, what) in [
            (c"a.json", "a symbolic link"),
            (c"b.json", "a folder"),
            (c"c.json", "a named pipe"),
            (c"d.json", "no regular file"),
        ] {
            let Found::UnreadableItem(one) = look(name) else { panic!("{name:?} was not found out") };
            assert!(one.why.contains(what), "{}", one.why);
        }
        assert!(matches!(look(c"z.json"), Found::Item(_)));
        assert!(matches!(look(c"gone.json"), Found::Nothing));
    }

    #[test]
    fn hostile_names_stay_in_their_place() {
        let long = format!("{}.json", "n".repeat(250));
        let folder = folder(&[
            ("a\nb.json", b"{}"),
            ("c\nd.json", br#"{"id": "cd"}"#),
            ("....json", b"{}"),
            ("x.json", br#"{"id": "../x", "key": "../../etc/passwd"}"#),
            (&long, b"{}"),
            ("\u{1b}[2J.json", b"{"),
            (" .json", b"{}"),
        ]);
        fs::write(folder.path().join(OsStr::from_bytes(b"\xff.json")), b"{}").unwrap();
        let view = view(folder.path());
        assert_eq!(ids(&view), ["dir:cd", &*format!("dir:{}", "n".repeat(250)), "dir:../x"]);
        let found = unreadable(&view);
        assert_eq!(
            found.iter().map(|(origin, id, _)| (*origin, *id)).collect::<Vec<_>>(),
            [
                ("\u{1b}[2J.json", None),
                (" .json", None),
                ("a\nb.json", None),
                ("\u{fffd}.json", Some("dir:\u{fffd}"))
            ]
        );
        assert!(
            found[2].2.contains("a\\nb.json: the file's name would be its id, which holds"),
            "{}",
            found[2].2
        );
        assert!(found[3].2.contains("has a name that is not UTF-8; rename it"), "{}", found[3].2);
        assert!(found.iter().all(|(_, _, why)| !why.chars().any(char::is_control)));
    }

    #[test]
    fn a_file_may_be_as_large_as_the_limit_and_no_larger() {
        let json = |bytes: u64| {
            let body = "b".repeat(usize::try_from(bytes).unwrap() - r#"{"body":""}"#.len());
            format!(r#"{{"body":"{body}"}}"#).into_bytes()
        };
        let folder = folder(&[("a.json", &json(FILE_BYTES_MAX)), ("b.json", &json(FILE_BYTES_MAX + 1))]);
        let view = view(folder.path());
        assert_eq!(ids(&view), ["dir:a"]);
        assert!(unreadable(&view)[0].2.contains("has more than 4194304 bytes"));
    }

    /// A field that holds a whole file must not become a message as long as the file.
    #[test]
    fn messages_are_short() {
        let folder =
            folder(&[("a.json", format!(r#"{{"priority": "{}"}}"#, "x".repeat(100_000)).as_bytes())]);
        let view = view(folder.path());
        assert!(view.unreadable[0].why.chars().count() <= 1001);
    }

    // Origin: symphony#43 - a refresh that was cut off would have stopped healthy workers: an
    // incomplete read is unknown, not a shorter list.
    // covers: S17 F68
    #[test]
    fn an_incomplete_read_is_unknown_and_no_shorter_list() {
        let folder = folder(&[("a.json", b"{}"), ("b.json", b"{}"), ("c.json", b"{}")]);
        let why = unknown(folder.path(), Instant::now());
        assert!(why.contains("the time for reading it was up"), "{why}");

        let reading = Reading { path: folder.path(), until: soon() };
        assert_eq!(reading.whole(3, 6).unwrap().items.len(), 3);
        let why = reading.whole(2, 6).unwrap_err();
        assert!(why.contains("more than 2 items") && why.contains("move closed ones elsewhere"), "{why}");
        let why = reading.whole(3, 5).unwrap_err();
        assert!(why.contains("more than 5 bytes together"), "{why}");
    }

    #[test]
    fn a_folder_that_cannot_be_read_is_unknown_and_says_what_to_do() {
        let folder = folder(&[("a.json", b"{}")]);
        let why = unknown(&folder.path().join("gone"), soon());
        assert!(why.contains("gone: the folder of items can't be read: No such file"), "{why}");
        assert!(why.contains("create it, or set [source] path"), "{why}");
        let why = unknown(&folder.path().join("a.json"), soon());
        assert!(why.contains("Not a directory") && why.contains("set [source] path to a folder"), "{why}");
        let reading = Reading { path: folder.path(), until: soon() };
        assert!(reading.unreadable(Errno::ACCESS).contains("the permissions r and x"));
        assert!(reading.unreadable(Errno::MFILE).contains("ulimit -n"));
    }

    #[test]
    fn the_same_folder_reads_the_same_again() {
        let names: Vec<String> = (0..300).map(|n| format!("{:03}.json", (n * 7) % 300)).collect();
        let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b"{}"[..])).collect();
        let folder = folder(&files);
        let first = view(folder.path());
        assert!(first.items.is_sorted_by(|a, b| a.origin < b.origin));
        assert_eq!(first.items.len(), 300);
        assert_eq!(first, view(folder.path()));
    }

    #[test]
    fn a_note_is_no_item_and_changes_no_file_of_the_user() {
        let folder = folder(&[("AR-1.json", b"{}")]);
        let source = DirSource::new(folder.path().to_owned());
        let before = view(folder.path());
        let note = Writeback {
            item: before.items[0].id.clone(),
            slug: "ar-1".to_owned(),
            status: crate::model::Status::Done,
            dispatch: 1,
            runs: Vec::new(),
            at: "2026-01-31T12:00:00Z".parse().unwrap(),
            because: String::new(),
            required: true,
        };
        source.notify(&note, soon()).unwrap();
        assert_eq!(view(folder.path()), before);
        assert!(folder.path().join(".factory/ar-1.json").is_file());
    }
}
