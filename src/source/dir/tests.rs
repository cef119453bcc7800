//! The folder as a whole. What holds for every source is in `tests/support/source_suite.rs`.
#![expect(clippy::disallowed_methods, reason = "files of a test need not survive anything")]

use std::ffi::{CStr, OsStr};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode};
use rustix::io::Errno;
use tempfile::TempDir;

use super::file::FILE_BYTES_MAX;
use super::folder::{Found, Reading};
use super::*;
use crate::model::{ItemId, ItemState, Observed, SourceView, Unavailable, UnavailableKind, WorkItem};
use crate::source::LastRead;

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

fn view(path: &Path) -> SourceView {
    match LastRead::default().read(&DirSource::new(path.to_owned()), soon()) {
        Observed::Known(view) => view,
        Observed::Unknown(why) => panic!("unknown: {why}"),
    }
}

fn unknown(path: &Path, until: Instant) -> Unavailable {
    match LastRead::default().read(&DirSource::new(path.to_owned()), until) {
        Observed::Known(view) => panic!("known: {view:?}"),
        Observed::Unknown(why) => why,
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
    let (labels, blocked_by) = (vec!["backend".to_owned(), "network".to_owned()], vec!["AR-3".to_owned()]);
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
    let folder = folder(&[("a.json", format!(r#"{{"priority": "{}"}}"#, "x".repeat(100_000)).as_bytes())]);
    let view = view(folder.path());
    assert!(view.unreadable[0].why.chars().count() <= 1001);
}

// Origin: symphony#43 - a refresh that was cut off would have stopped healthy workers: an
// incomplete read is unknown, not a shorter list.
// covers: S17 F68
#[test]
fn an_incomplete_read_is_unknown_and_no_shorter_list() {
    let folder = folder(&[("a.json", b"{}"), ("b.json", b"{}"), ("c.json", b"{}")]);
    let Unavailable { kind, text: why, .. } = unknown(folder.path(), Instant::now());
    assert_eq!(kind, UnavailableKind::Unreachable);
    assert!(why.contains("the time for reading it was up"), "{why}");

    let reading = Reading { path: folder.path(), until: soon() };
    assert_eq!(reading.whole(3, 6).unwrap().items.len(), 3);
    let why = reading.whole(2, 6).unwrap_err().text;
    assert!(why.contains("more than 2 items") && why.contains("move closed ones elsewhere"), "{why}");
    let why = reading.whole(3, 5).unwrap_err().text;
    assert!(why.contains("more than 5 bytes together"), "{why}");
}

#[test]
fn a_folder_that_cannot_be_read_is_unknown_and_says_what_to_do() {
    let folder = folder(&[("a.json", b"{}")]);
    let Unavailable { kind, text: why, .. } = unknown(&folder.path().join("gone"), soon());
    assert_eq!(kind, UnavailableKind::Broken);
    assert!(why.contains("gone: the folder of items can't be read: No such file"), "{why}");
    assert!(why.contains("create it, or set [source] path"), "{why}");
    let why = unknown(&folder.path().join("a.json"), soon()).text;
    assert!(why.contains("Not a directory") && why.contains("set [source] path to a folder"), "{why}");
    let reading = Reading { path: folder.path(), until: soon() };
    let denied = reading.unreadable(Errno::ACCESS);
    assert!(denied.is_denied() && denied.text.contains("the permissions r and x"), "{denied}");
    assert!(reading.unreadable(Errno::MFILE).text.contains("ulimit -n"));
    assert_eq!(reading.unreadable(Errno::STALE).kind, UnavailableKind::Unreachable);
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

#[test]
fn obstacle_to_notes_is_found_without_a_change() {
    let folder = folder(&[]);
    let source = DirSource::new(folder.path().to_owned());
    assert_eq!(source.can_notify(), Ok(()));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    fs::write(folder.path().join(".factory"), b"").unwrap();
    let obstacle = source.can_notify().unwrap_err();
    assert_eq!(obstacle.place, folder.path().join(".factory").display().to_string());
    assert_eq!(obstacle.why, "it is not a folder");
}

#[test]
fn place_of_an_item_is_the_path_of_its_file() {
    let source = DirSource::new("/items".into());
    assert_eq!(source.describe().place, "/items");
    assert_eq!(source.place("AR-1.md"), "/items/AR-1.md");
}
