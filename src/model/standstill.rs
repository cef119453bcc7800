//! What does not go on by itself.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{HoldReason, ItemId};

/// What the latest complete tick found that does not go on by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Standstill {
    /// What keeps every item from starting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Stopped>,
    /// Items that a person alone can release.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub stuck: BTreeMap<ItemId, Stuck>,
}

impl Standstill {
    /// Whether there is nothing of the kind.
    pub fn is_none(&self) -> bool {
        self.stopped.is_none() && self.stuck.is_empty()
    }
}

/// A condition of the machine that keeps every item from starting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stopped {
    /// The gate that holds.
    pub code: HoldReason,
    /// In words, as it was when it began.
    pub because: String,
    /// When it began.
    pub since: Timestamp,
}

/// An item that waits for a person and is not parked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stuck {
    /// What people call the item.
    pub key: String,
    /// Where it was read, within its source.
    pub origin: String,
    /// The gate that holds it.
    pub code: HoldReason,
    /// In words.
    pub because: String,
    /// When that was found first.
    pub since: Timestamp,
}
