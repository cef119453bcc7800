//! Public JSON: a type of its own for each document of `--format json`.
//!
//! Every field is a plain value: a text, a number, a time, or another type of this folder. Files here name no other
//! room but `ui`, so that a renamed field of the registry or of a receipt changes no document. Each change of a key is a
//! change of the contract with scripts.
//!
//! Times are UTC in RFC 3339. A key whose value is unknown is null, never absent.

mod check;
mod explain;
mod orders;
mod report;
mod status;

pub use check::{Check, CheckFinding};
pub use explain::{
    AgentUse, Explain, Hook, Message, NextRun, Notified, Record, RecordFailure, Rule, TrackerNote, Wanted,
};
pub use orders::{Init, KillTick, Relocate};
pub use report::{Counters, Decision, Held, Outcome, Reaped, Report, Skipped, Survivor};
pub use status::{
    Breaker, CoolOff, DailySpend, Handoff, Health, Heartbeat, InFlight, Note, Parked, Pause, Retention,
    Status, Stopped, Stuck, Waiting,
};

use serde::Serialize;

use crate::text::escape;

/// The layout of every document.
pub const SCHEMA: u32 = 1;

/// A document on one line, its keys sorted.
pub fn one_line(document: &impl Serialize) -> String {
    // Plain values always serialise: no key is anything but a text.
    escape::one_json_line(&serde_json::to_value(document).unwrap_or_default())
}
