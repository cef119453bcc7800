//! What people look at. Read-only: nothing here changes a byte.

pub mod check;
pub mod explain;
pub mod report;
pub mod status;
mod takeover;
