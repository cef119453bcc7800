//! What holds for every source of items: each test runs against each kind, and against the simulator's own tracker,
//! so that no kind can drift from what the simulator tries out.
//!
//! A new kind of source needs a [`Subject`] and a line in [`every_source`].

use std::fs;
use std::time::{Duration, Instant};

use factory_tick::config::SourceConfig;
use factory_tick::model::{ItemId, Observed, SourceView, Status, Writeback};
use factory_tick::source::{self, LastRead, Read, Source, Version};
use tempfile::TempDir;

use crate::sim;

/// A source, and the hands of a person who files and edits its items.
pub(crate) trait Subject {
    /// The kind of source.
    fn kind(&self) -> &'static str;
    /// The source, as a process opens it anew.
    fn source(&self) -> Box<dyn Source + '_>;
    /// The id of item `n`.
    fn id(&self, n: u32) -> ItemId;
    /// Files item `n`, or gives it another title.
    fn file(&self, n: u32, title: &str);
    /// Makes item `n` unreadable.
    fn spoil(&self, n: u32);
    /// Deletes item `n`.
    fn remove(&self, n: u32);
    /// Whether all reads fail from now on.
    fn set_broken(&self, broken: bool);
    /// The notes that people can see, in a stable order.
    fn notes(&self) -> Vec<String>;
}

fn every_source() -> Vec<Box<dyn Subject>> {
    vec![Box::new(Folder::new()), sim::subject()]
}

/// Runs a test against every source, each with the items 1, 2 and 3.
#[expect(clippy::print_stdout, reason = "a failed test shows which source it ran against")]
fn each(test: impl Fn(&dyn Subject)) {
    for subject in every_source() {
        println!("source: {}", subject.kind());
        for n in [2, 3, 1] {
            subject.file(n, &format!("title {n}"));
        }
        test(&*subject);
    }
}

/// A folder of files.
struct Folder {
    root: TempDir,
}

impl Folder {
    fn new() -> Folder {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("items")).unwrap();
        Folder { root }
    }

    fn path(&self, n: u32) -> std::path::PathBuf {
        self.root.path().join(format!("items/{n}.md"))
    }
}

#[expect(clippy::disallowed_methods, reason = "files of a test need not survive anything")]
impl Subject for Folder {
    fn kind(&self) -> &'static str {
        "dir"
    }

    fn source(&self) -> Box<dyn Source + '_> {
        source::build(&SourceConfig::Dir { path: self.root.path().join("items") })
    }

    fn id(&self, n: u32) -> ItemId {
        ItemId(format!("dir:{n}"))
    }

    fn file(&self, n: u32, title: &str) {
        fs::write(self.path(n), format!("# {title}\n\nThe body of {n}.\n")).unwrap();
    }

    fn spoil(&self, n: u32) {
        fs::write(self.path(n), "+++\nthis never ends\n").unwrap();
    }

    fn remove(&self, n: u32) {
        fs::remove_file(self.path(n)).unwrap();
    }

    fn set_broken(&self, broken: bool) {
        let (here, away) = (self.root.path().join("items"), self.root.path().join("away"));
        let (from, to) = if broken { (here, away) } else { (away, here) };
        fs::rename(from, to).unwrap();
    }

    fn notes(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.root.path().join("items/.factory")) else { return Vec::new() };
        let mut notes: Vec<_> =
            entries.map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap()).collect();
        notes.sort();
        notes
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

fn view(subject: &dyn Subject) -> SourceView {
    match subject.source().read(None, soon()) {
        Read::Known { view, .. } => view,
        other => panic!("{}: a first read answers {other:?}", subject.kind()),
    }
}

/// The ids of the items of a view, in its order.
fn ids(view: &SourceView) -> Vec<ItemId> {
    view.items.iter().map(|item| item.id.clone()).collect()
}

fn ids_of(subject: &dyn Subject, numbers: &[u32]) -> Vec<ItemId> {
    numbers.iter().map(|n| subject.id(*n)).collect()
}

fn note(item: ItemId, slug: &str) -> Writeback {
    Writeback {
        item,
        slug: slug.to_owned(),
        status: Status::Started,
        dispatch: 1,
        runs: vec!["ar-1-impl.1".parse().unwrap()],
        at: "2026-01-31T12:00:00Z".parse().unwrap(),
        because: "a reason".to_owned(),
        required: true,
    }
}

#[test]
fn whole_read_shows_every_item_in_a_stable_order() {
    each(|subject| {
        let first = view(subject);
        assert_eq!(ids(&first), ids_of(subject, &[1, 2, 3]));
        assert_eq!(first.items[1].title, "title 2");
        assert_eq!(view(subject), first);
        subject.file(4, "title 4");
        assert_eq!(ids(&view(subject)), ids_of(subject, &[1, 2, 3, 4]));
    });
}

#[test]
fn edited_item_keeps_its_id_and_changes_its_hash() {
    each(|subject| {
        let before = view(subject);
        subject.file(2, "another title");
        let after = view(subject);
        assert_eq!(ids(&after), ids(&before));
        assert_ne!(after.items[1].hash, before.items[1].hash);
        assert_ne!(after.items[1].content_hash, before.items[1].content_hash);
        assert_eq!(after.items[0], before.items[0]);
        subject.file(2, "title 2");
        assert_eq!(view(subject).items[1].content_hash, before.items[1].content_hash);
    });
}

#[test]
fn removed_item_is_absent_and_not_unreadable() {
    each(|subject| {
        subject.remove(2);
        let view = view(subject);
        assert_eq!(ids(&view), ids_of(subject, &[1, 3]));
        assert_eq!(view.unreadable, []);
    });
}

#[test]
fn unreadable_item_is_reported_and_hides_no_other() {
    each(|subject| {
        let origin = view(subject).items[1].origin.clone();
        subject.spoil(2);
        let view = view(subject);
        assert_eq!(ids(&view), ids_of(subject, &[1, 3]));
        let [one] = &view.unreadable[..] else { panic!("{:?}", view.unreadable) };
        assert_eq!((one.id.as_ref(), &one.origin), (Some(&subject.id(2)), &origin));
        assert!(!one.why.is_empty());
    });
}

#[test]
fn failed_read_is_unknown_and_no_shorter_list() {
    each(|subject| {
        subject.set_broken(true);
        match subject.source().read(None, soon()) {
            Read::Unknown(why) => assert!(!why.text.is_empty() && !why.text.contains('\n'), "{why}"),
            other => panic!("{other:?}"),
        }
        subject.set_broken(false);
        assert_eq!(ids(&view(subject)), ids_of(subject, &[1, 2, 3]));
    });
}

#[test]
fn read_and_note_after_the_deadline_fail_at_once() {
    each(|subject| {
        let began = Instant::now();
        assert!(matches!(subject.source().read(None, began), Read::Unknown(_)));
        let told = subject.source().notify(&note(subject.id(1), "1"), began);
        assert!(!told.unwrap_err().is_empty());
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        assert_eq!(subject.notes().len(), 0);
    });
}

#[test]
fn repeated_note_changes_nothing() {
    each(|subject| {
        let before = view(subject);
        subject.source().can_notify().unwrap();
        assert_eq!(subject.notes().len(), 0, "the look for obstacles wrote a note");
        let note = note(subject.id(1), "1");
        subject.source().notify(&note, soon()).unwrap();
        let notes = subject.notes();
        assert_eq!(notes.len(), 1);
        subject.source().notify(&note, soon()).unwrap();
        assert_eq!(subject.notes(), notes);
        assert_eq!(view(subject), before, "a note is no edit of an item");
    });
}

/// An item may be deleted before its end is told. A source takes such a note or says what to do; other items never change.
#[test]
fn note_to_an_unknown_item_is_kept_or_refused_with_a_hint() {
    each(|subject| {
        let before = view(subject);
        if let Err(why) = subject.source().notify(&note(subject.id(99), "99"), soon()) {
            assert!(why.contains("; "), "no hint: {why}");
        }
        assert_eq!(view(subject), before);
    });
}

#[test]
fn version_shows_no_edit_as_unchanged() {
    each(|subject| {
        let source = subject.source();
        let Read::Known { view: first, version } = source.read(None, soon()) else { panic!("no first view") };
        for edit in [0, 1, 2, 3] {
            match edit {
                0 => {}
                1 => subject.file(1, "another title"),
                2 => subject.spoil(2),
                _ => subject.remove(3),
            }
            match source.read(version.as_ref(), soon()) {
                Read::Unchanged => assert_eq!(edit, 0, "an edit was missed"),
                Read::Known { view, .. } => assert_eq!(view == first, edit == 0),
                Read::Unknown(why) => panic!("{why}"),
            }
        }
    });
}

#[test]
fn foreign_version_is_answered_with_everything() {
    each(|subject| {
        let foreign = Version::new("of another source");
        match subject.source().read(Some(&foreign), soon()) {
            Read::Known { view, .. } => assert_eq!(ids(&view), ids_of(subject, &[1, 2, 3])),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn kept_view_and_fresh_view_are_the_same() {
    each(|subject| {
        let (source, last) = (subject.source(), LastRead::default());
        for n in 1..=6 {
            if n % 2 == 0 {
                subject.file(1, &format!("title {n}"));
            }
            assert_eq!(last.read(&*source, soon()), Observed::Known(view(subject)));
        }
    });
}

#[test]
fn place_of_an_item_names_its_origin() {
    each(|subject| {
        let source = subject.source();
        let description = source.describe();
        assert!(!description.place.is_empty() && !description.first_item.is_empty());
        for item in view(subject).items {
            let place = source.place(&item.origin);
            assert!(place.contains(&item.origin) && place.contains(&description.place), "{place}");
        }
    });
}
