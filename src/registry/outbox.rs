//! What an item owes to services outside, by kind.
//!
//! A note is stored before it is sent, so that it is still owed when its item changes or the tick dies. Of one kind the
//! newest note is owed alone: a tracker shows the state of now.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::backoff::GROWING_MAX;
use crate::model::{ClockReading, Status, Writeback};

/// What an item owes to services outside. Each kind has an entry of its own, so that one service that is down holds up
/// no other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outbox {
    /// The note for the item's tracker.
    #[serde(default, skip_serializing_if = "TrackerNote::is_empty")]
    pub tracker_note: TrackerNote,
}

/// What an item's tracker is to be told, and what it was told last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrackerNote {
    /// The note that is owed; `None`: the tracker knows all there is to say, or is never told of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<Note>,
    /// The last note that needs no telling any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notified: Option<Notified>,
    /// Failed tries to tell the wanted note.
    pub tries: u32,
    /// No try before this; `None`: the next tick tries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Timestamp>,
    /// Why the last try failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// A note for a tracker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Note {
    /// What became of the item.
    pub status: Status,
    /// In which dispatch.
    pub dispatch: u64,
    /// When.
    pub at: Timestamp,
    /// Why, in words.
    pub because: String,
}

/// A note that needs no telling any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notified {
    /// What became of the item.
    pub status: Status,
    /// In which dispatch.
    pub dispatch: u64,
    /// When. One dispatch can be parked twice.
    pub at: Timestamp,
    /// True where the note was given up instead.
    pub dropped: bool,
}

impl Note {
    /// The note of a write-back.
    pub fn of(writeback: &Writeback) -> Note {
        let Writeback { status, dispatch, at, .. } = *writeback;
        Note { status, dispatch, at, because: writeback.because.clone() }
    }

    /// Whether both say the same. A dispatch starts once and is done once; each time that it is parked is another note.
    pub fn says_the_same(&self, other: &Note) -> bool {
        is_same((self.status, self.dispatch, self.at), (other.status, other.dispatch, other.at))
    }
}

fn is_same(one: (Status, u64, Timestamp), other: (Status, u64, Timestamp)) -> bool {
    one.0 == other.0 && one.1 == other.1 && (one.0 != Status::Parked || one.2 == other.2)
}

impl Outbox {
    /// That of an item whose tracker knows that it was done.
    pub(super) fn told_done(dispatch: u64, at: Timestamp) -> Outbox {
        let notified = Some(Notified { status: Status::Done, dispatch, at, dropped: false });
        Outbox { tracker_note: TrackerNote { notified, ..TrackerNote::default() } }
    }
}

impl TrackerNote {
    fn is_empty(&self) -> bool {
        *self == TrackerNote::default()
    }

    /// Whether the last note that was told, or given up, is this one.
    pub fn has_told(&self, note: &Note) -> bool {
        let told = |told: &Notified| (told.status, told.dispatch, told.at);
        self.notified.as_ref().is_some_and(|last| is_same(told(last), (note.status, note.dispatch, note.at)))
    }

    /// Whether the wanted note may be tried now. A time further ahead than any wait was set by a clock that was wrong.
    pub fn is_due(&self, now: &ClockReading) -> bool {
        self.due_at.is_none_or(|due_at| due_at <= now.at || due_at > now.after(GROWING_MAX))
    }

    /// Owes this note from now on, in place of any older one.
    pub(super) fn want(&mut self, note: Note) {
        if self.wanted.as_ref().is_none_or(|wanted| !wanted.says_the_same(&note)) {
            self.wanted = Some(note);
            self.try_anew();
        }
    }

    /// Gives the wanted note all its tries back.
    pub(super) fn try_anew(&mut self) {
        self.tries = 0;
        self.due_at = None;
        self.last_error = None;
    }

    /// This note was told, or is `dropped`. A newer one is still owed.
    pub(super) fn settle(&mut self, note: &Note, dropped: bool) {
        let Note { status, dispatch, at, .. } = *note;
        self.notified = Some(Notified { status, dispatch, at, dropped });
        if self.wanted.as_ref().is_none_or(|wanted| wanted.says_the_same(note)) {
            self.wanted = None;
            self.try_anew();
        }
    }

    /// A try to tell this note failed.
    pub(super) fn fail(&mut self, note: &Note, error: &str) {
        if self.wanted.as_ref().is_some_and(|wanted| wanted.says_the_same(note)) {
            self.tries = self.tries.saturating_add(1);
            self.last_error = Some(error.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(status: Status, second: i64) -> Note {
        let at = Timestamp::from_second(1_800_000_000 + second).unwrap();
        Note { status, dispatch: 1, at, because: "because".to_owned() }
    }

    // covers: P18 I21
    #[test]
    fn second_parking_is_a_note_of_its_own() {
        let mut tracker_note = TrackerNote::default();
        let (first, second) = (note(Status::Parked, 0), note(Status::Parked, 60));
        tracker_note.want(first.clone());
        tracker_note.fail(&first, "no space left");
        tracker_note.want(first.clone());
        assert_eq!((tracker_note.tries, tracker_note.last_error.as_deref()), (1, Some("no space left")));
        tracker_note.want(second.clone());
        assert_eq!(
            (tracker_note.tries, &tracker_note.last_error),
            (0, &None),
            "the second note has all its tries"
        );
        tracker_note.fail(&first, "no space left");
        tracker_note.settle(&first, false);
        assert_eq!(tracker_note.wanted, Some(second.clone()), "an older note settles no newer one");
        assert!(!tracker_note.has_told(&second));
        tracker_note.settle(&second, false);
        assert!(tracker_note.has_told(&second) && tracker_note.wanted.is_none());
    }

    #[test]
    fn start_and_end_of_a_dispatch_are_told_once() {
        for status in [Status::Started, Status::Done] {
            let mut tracker_note = TrackerNote::default();
            tracker_note.want(note(status, 0));
            tracker_note.settle(&note(status, 0), false);
            assert!(tracker_note.has_told(&note(status, 60)), "{status:?}");
            assert!(!tracker_note.has_told(&Note { dispatch: 2, ..note(status, 60) }), "{status:?}");
        }
    }

    #[test]
    fn note_is_tried_when_it_is_due() {
        let at = |second| note(Status::Done, second).at;
        let now = ClockReading { at: at(0), mono_ms: 0, boot_id: String::new(), slept_ms: 0 };
        let due = |due_at| TrackerNote { due_at, ..TrackerNote::default() }.is_due(&now);
        assert!(due(None) && due(Some(at(0))) && !due(Some(at(60))));
        assert!(due(Some(at(2 * 60 * 60))), "the clock was set back");
    }
}
