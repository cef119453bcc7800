//! Which items and sessions start now, and with which launch.

pub(super) mod blockers;
pub(super) mod crews;
pub(super) mod gates;
pub(super) mod launch;
pub(super) mod messages;
pub(super) mod queue;
pub(super) mod run_numbers;
pub(super) mod slots;
