//! The state as it is, read without its lock.

use crate::registry::Registry;
use crate::state::{HostDir, State, StateBackend};

/// What a command that changes nothing goes by. Empty where no tick has written a state yet.
#[derive(Default)]
pub(crate) struct Snapshot {
    pub(crate) registry: Registry,
    pub(crate) lineage: String,
    pub(crate) dir: Option<HostDir>,
    /// Where its events and details are read from.
    pub(crate) backend: Option<Box<dyn StateBackend>>,
    /// Why the newest generation can't be read; the one before was read instead.
    pub(crate) damage: Option<String>,
    /// Number of the generation.
    pub(crate) serial: Option<u64>,
}

impl Snapshot {
    pub(crate) fn new(state: Option<State>) -> Snapshot {
        let Some(state) = state else { return Snapshot::default() };
        let serial = Some(state.serial());
        let State { registry, lineage, dir, damage, backend, .. } = state;
        Snapshot { registry, lineage, dir: Some(dir), backend: Some(backend), damage, serial }
    }
}
