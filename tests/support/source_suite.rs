//! The promises of every source of items, as one suite. `tests/it/source.rs` runs it against each kind of source, and
//! the proof `sim` against the simulator's own tracker, so that the two can't drift apart.
//!
//! A new kind of source needs a [`Subject`] and a test that gives it to [`run`].

use std::time::{Duration, Instant};

use factory_tick::model::{ItemId, Observed, SourceView, Status, Writeback};
use factory_tick::source::{LastRead, Read, Source, Version};

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

type Check = fn(&dyn Subject);

/// All of them, by name.
const SUITE: &[(&str, Check)] = &[
    ("whole_read_shows_every_item_in_a_stable_order", whole_read_shows_every_item_in_a_stable_order),
    ("edited_item_keeps_its_id_and_changes_its_hash", edited_item_keeps_its_id_and_changes_its_hash),
    ("removed_item_is_absent_and_not_unreadable", removed_item_is_absent_and_not_unreadable),
    ("unreadable_item_is_reported_and_hides_no_other", unreadable_item_is_reported_and_hides_no_other),
    ("failed_read_is_unknown_and_no_shorter_list", failed_read_is_unknown_and_no_shorter_list),
    ("read_and_note_after_the_deadline_fail_at_once", read_and_note_after_the_deadline_fail_at_once),
    ("repeated_note_changes_nothing", repeated_note_changes_nothing),
    (
        "note_to_an_unknown_item_is_kept_or_refused_with_a_hint",
        note_to_an_unknown_item_is_kept_or_refused_with_a_hint,
    ),
    ("version_shows_no_edit_as_unchanged", version_shows_no_edit_as_unchanged),
    ("foreign_version_is_answered_with_everything", foreign_version_is_answered_with_everything),
    ("kept_view_and_fresh_view_are_the_same", kept_view_and_fresh_view_are_the_same),
    ("place_of_an_item_names_its_origin", place_of_an_item_names_its_origin),
];

/// Runs the whole suite, each check against a new subject that holds the items 1, 2 and 3.
#[expect(clippy::print_stdout, reason = "a failed test shows its last check")]
pub(crate) fn run(subject: impl Fn() -> Box<dyn Subject>) {
    for (name, check) in SUITE {
        println!("{name}");
        let subject = subject();
        for n in [2, 3, 1] {
            subject.file(n, &format!("title {n}"));
        }
        check(&*subject);
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

fn whole_read_shows_every_item_in_a_stable_order(subject: &dyn Subject) {
    let first = view(subject);
    assert_eq!(ids(&first), ids_of(subject, &[1, 2, 3]));
    assert_eq!(first.items[1].title, "title 2");
    assert_eq!(view(subject), first);
    subject.file(4, "title 4");
    assert_eq!(ids(&view(subject)), ids_of(subject, &[1, 2, 3, 4]));
}

fn edited_item_keeps_its_id_and_changes_its_hash(subject: &dyn Subject) {
    let before = view(subject);
    subject.file(2, "another title");
    let after = view(subject);
    assert_eq!(ids(&after), ids(&before));
    assert_ne!(after.items[1].hash, before.items[1].hash);
    assert_ne!(after.items[1].content_hash, before.items[1].content_hash);
    assert_eq!(after.items[0], before.items[0]);
    subject.file(2, "title 2");
    assert_eq!(view(subject).items[1].content_hash, before.items[1].content_hash);
}

fn removed_item_is_absent_and_not_unreadable(subject: &dyn Subject) {
    subject.remove(2);
    let view = view(subject);
    assert_eq!(ids(&view), ids_of(subject, &[1, 3]));
    assert_eq!(view.unreadable, []);
}

fn unreadable_item_is_reported_and_hides_no_other(subject: &dyn Subject) {
    let origin = view(subject).items[1].origin.clone();
    subject.spoil(2);
    let view = view(subject);
    assert_eq!(ids(&view), ids_of(subject, &[1, 3]));
    let [one] = &view.unreadable[..] else { panic!("{:?}", view.unreadable) };
    assert_eq!((one.id.as_ref(), &one.origin), (Some(&subject.id(2)), &origin));
    assert!(!one.why.is_empty());
}

fn failed_read_is_unknown_and_no_shorter_list(subject: &dyn Subject) {
    subject.set_broken(true);
    match subject.source().read(None, soon()) {
        Read::Unknown(why) => assert!(!why.text.is_empty() && !why.text.contains('\n'), "{why}"),
        other => panic!("{other:?}"),
    }
    subject.set_broken(false);
    assert_eq!(ids(&view(subject)), ids_of(subject, &[1, 2, 3]));
}

fn read_and_note_after_the_deadline_fail_at_once(subject: &dyn Subject) {
    let began = Instant::now();
    assert!(matches!(subject.source().read(None, began), Read::Unknown(_)));
    let told = subject.source().notify(&note(subject.id(1), "1"), began);
    assert!(!told.unwrap_err().is_empty());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(subject.notes().len(), 0);
}

fn repeated_note_changes_nothing(subject: &dyn Subject) {
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
}

/// An item may be deleted before its end is told. A source takes such a note or says what to do; other items never change.
fn note_to_an_unknown_item_is_kept_or_refused_with_a_hint(subject: &dyn Subject) {
    let before = view(subject);
    if let Err(why) = subject.source().notify(&note(subject.id(99), "99"), soon()) {
        assert!(why.contains("; "), "no hint: {why}");
    }
    assert_eq!(view(subject), before);
}

fn version_shows_no_edit_as_unchanged(subject: &dyn Subject) {
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
}

fn foreign_version_is_answered_with_everything(subject: &dyn Subject) {
    let foreign = Version::new("of another source");
    match subject.source().read(Some(&foreign), soon()) {
        Read::Known { view, .. } => assert_eq!(ids(&view), ids_of(subject, &[1, 2, 3])),
        other => panic!("{other:?}"),
    }
}

fn kept_view_and_fresh_view_are_the_same(subject: &dyn Subject) {
    let (source, last) = (subject.source(), LastRead::default());
    for n in 1..=6 {
        if n % 2 == 0 {
            subject.file(1, &format!("title {n}"));
        }
        assert_eq!(last.read(&*source, soon()), Observed::Known(view(subject)));
    }
}

fn place_of_an_item_names_its_origin(subject: &dyn Subject) {
    let source = subject.source();
    let description = source.describe();
    assert!(!description.place.is_empty() && !description.first_item.is_empty());
    for item in view(subject).items {
        let place = source.place(&item.origin);
        assert!(place.contains(&item.origin) && place.contains(&description.place), "{place}");
    }
}
