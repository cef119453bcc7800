//! What the records and the source mean for an item: its phase, its absence, its completion.

pub(super) mod absence;
pub(super) mod completion;
pub(super) mod index;
pub(super) mod lifecycle;
pub(super) mod standstill;
