//! What people and scripts look at. Read-only: nothing here changes a byte.

pub mod check;
mod counters;
pub mod explain;
pub mod json;
pub mod report;
pub mod status;
mod takeover;
mod words;
