//! The run whose processes a hunt looks for.

use crate::model::Process;
use crate::process::cgroup::Cgroup;

/// One run whose processes are to end.
#[derive(Clone, Debug)]
pub struct Target {
    /// The whole value of `FACTORY_RUN` in its processes: `<lineage>/<run>`.
    pub marker: String,
    /// Its launcher, if one was ever seen.
    pub launcher: Option<Process>,
    /// The group that its processes were put in, if there is one.
    pub cgroup: Option<Cgroup>,
}
