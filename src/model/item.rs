//! Items, as their source tells them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ItemId;

/// Whether a tracker calls an item open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ItemState {
    /// Work to do.
    Open,
    /// Nothing to do any more.
    Closed,
}

/// Why an item is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gone {
    /// It was absent from its source.
    Absent,
    /// It was closed, or left the scope.
    Left,
}

/// One piece of work as its source tells it. Every field is present; nothing is invented.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WorkItem {
    /// Canonical id.
    pub id: ItemId,
    /// What people call it; two items may share one.
    pub key: String,
    /// One line. Untrusted.
    pub title: String,
    /// The text. Untrusted.
    pub body: String,
    /// Trimmed, lower-case, no blanks, no duplicates, sorted.
    pub labels: Vec<String>,
    /// 1 is most urgent; 1 to 4 go before all others.
    pub priority: Option<i64>,
    /// Open or closed.
    pub state: ItemState,
    /// Ids or keys of items that must be resolved first.
    pub blocked_by: Vec<String>,
    /// When the item was made.
    pub created_at: Option<Timestamp>,
    /// When the item was last edited. Never used to tell a change: our own note would be one.
    pub updated_at: Option<Timestamp>,
    /// Where the item was read, within its source: a file name for `dir`.
    #[serde(skip)]
    pub origin: String,
    /// sha256 of title, body, labels, state, blockers and priority.
    #[serde(skip)]
    pub hash: String,
    /// sha256 of title and body alone: what makes finished work worth doing again.
    #[serde(skip)]
    pub content_hash: String,
}

/// Something in a source that may be an item but could not be read as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadableItem {
    /// Where it was found: a file name for `dir`.
    pub origin: String,
    /// The id that it has or would have, where that can be told.
    pub id: Option<ItemId>,
    /// What is wrong with it, and what to do.
    pub why: String,
}

/// One complete read of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceView {
    /// Well-formed items, open and closed, in and out of scope; ids are unique.
    pub items: Vec<WorkItem>,
    /// What could not be read as an item: neither present nor gone.
    pub unreadable: Vec<UnreadableItem>,
}
