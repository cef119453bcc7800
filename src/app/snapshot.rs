//! The state as it is, read without its lock.

use crate::registry::Registry;
use crate::state::State;
use crate::state::files::StateDir;

/// What a command that changes nothing goes by. Empty where no tick has written a state yet.
#[derive(Default)]
pub(crate) struct Snapshot {
    pub(crate) registry: Registry,
    pub(crate) lineage: String,
    pub(crate) dir: Option<StateDir>,
    /// Why the newest generation can't be read; the one before was read instead.
    pub(crate) damage: Option<String>,
    /// Number of the generation.
    pub(crate) serial: Option<u64>,
}

impl Snapshot {
    pub(crate) fn new(state: Option<State>) -> Snapshot {
        let Some(state) = state else { return Snapshot::default() };
        let serial = Some(state.serial());
        let State { registry, lineage, dir, damage, .. } = state;
        Snapshot { registry, lineage, dir: Some(dir), damage, serial }
    }
}
