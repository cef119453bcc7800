//! That the work of an item was done: it outlives the item's record.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Registry;
use super::records::{ItemPhase, ItemRecord, Notified};
use crate::model::{ClockReading, Gone, ItemId, Status};

/// The work of an item that is no longer remembered was done. Small, for it is kept for ever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DoneWork {
    /// The item's key, where that is not its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Hash of the title and body that the work was done of.
    pub content_hash: String,
    /// When the item was forgotten.
    pub at: Timestamp,
    /// Whether it was closed or left the scope: open and in scope again, it is to be done again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub facts: bool,
}

impl DoneWork {
    /// What people called the item.
    pub fn key<'a>(&'a self, id: &'a ItemId) -> &'a str {
        self.key.as_deref().unwrap_or_else(|| id.plain())
    }
}

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
        let record = ItemRecord {
            key: key.to_owned(),
            origin: origin.to_owned(),
            state: ItemPhase::Done,
            content_hash: Some(work.content_hash),
            notified: Some(Notified { status: Status::Done, dispatch: 0, dropped: false, at: None }),
            ..ItemRecord::new(slug)
        };
        self.items.insert(id.clone(), record);
    }
}
