//! That the work of an item was done: it outlives the item's record.

use super::Registry;
use super::outbox::{Notified, Outbox, TrackerNote};
use super::records::{DoneWork, ItemPhase, ItemRecord};
use crate::model::{ClockReading, Gone, ItemId, Status};

impl Registry {
    /// Keeps of an item that is about to be forgotten that its work was done.
    pub(super) fn keep_done(&mut self, id: &ItemId, now: &ClockReading) {
        let Some(record) = self.items.get(id).filter(|record| record.state == ItemPhase::Done) else {
            return;
        };
        let work = DoneWork {
            key: Some(record.key.clone()).filter(|key| key != id.plain()),
            content_hash: record.content_hash.clone().unwrap_or_default(),
            at: now.at,
            facts: record.gone == Some(Gone::RunFacts),
        };
        self.done.insert(id.clone(), work);
    }

    /// The item came back as it was: its work is still done, and its tracker knows.
    pub(super) fn restore_done(&mut self, id: &ItemId, key: &str, origin: &str) {
        let Some(slug) = self.names.items.get(id).map(|named| named.slug.clone()) else { return };
        let Some(work) = self.done.remove(id) else { return };
        let told = Notified { status: Status::Done, dispatch: 0, at: work.at, dropped: false };
        let record = ItemRecord {
            key: key.to_owned(),
            origin: origin.to_owned(),
            state: ItemPhase::Done,
            content_hash: Some(work.content_hash),
            outbox: Outbox { tracker_note: TrackerNote { notified: Some(told), ..TrackerNote::default() } },
            ..ItemRecord::new(slug)
        };
        self.items.insert(id.clone(), record);
    }
}
