//! What the observed runs mean for the records.

pub(super) mod handoffs;
pub(super) mod runs;
pub(super) mod unrecorded;
pub(super) mod verdict;
