//! Items whose work is done, and of which nothing may act: an index entry each, so that ten thousand of them cost a tick
//! little. The details of an entry are kept elsewhere.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::records::{AgentRecord, ItemRecord};
use crate::model::{AgentName, Gone, ItemId, WorkItem};

/// So many done items are remembered that are gone from their source; those that are there are remembered all.
pub(super) const GONE_MAX: usize = 10_000;

/// What a tick must know of an item whose work is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DoneItem {
    /// The item's key, where that is not its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Where it was read last, within its source.
    pub origin: String,
    /// Hash of the title and body that the work was done of.
    pub content_hash: String,
    /// How often it was dispatched.
    pub dispatch: u64,
    /// When it was put here. Of the items that are gone the oldest are dropped beyond 10,000 of them.
    pub at: Timestamp,
    /// Why it is gone from its source; `None` while it is there. One that had left its source is to be done again where it
    /// is back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone: Option<Gone>,
}

/// The records of an item as they were when it was put into the index. Kept beside the registry, and read for people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DoneDetails {
    /// Which item.
    pub item: ItemId,
    /// Its record.
    pub record: ItemRecord,
    /// Its agents.
    pub agents: BTreeMap<AgentName, AgentRecord>,
}

impl DoneItem {
    /// What people called the item.
    pub fn key<'a>(&'a self, id: &'a ItemId) -> &'a str {
        self.key.as_deref().unwrap_or_else(|| id.plain())
    }

    /// Whether the item is done as its source has it now; `None`: its source does not have it. A gone item that is back
    /// with another text, or after it had left its source, is to be done again.
    pub fn is_done_as(&self, seen: Option<&WorkItem>) -> bool {
        match (self.gone, seen) {
            (None, _) | (_, None) => true,
            (Some(Gone::Absent), Some(item)) => item.content_hash == self.content_hash,
            (Some(Gone::Left), Some(_)) => false,
        }
    }
}
