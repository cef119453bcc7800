//! What a tick does now and then after its work: it removes old runs, workspaces and control groups.

pub(crate) mod groups;
pub(crate) mod retain;
