//! The state as files of the directory of this host: the only backend there is so far.

pub mod done_file;
pub mod events;
mod generation;
pub mod heartbeat;
pub mod last_good;
mod lines;
pub mod registry_file;

use std::io;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

pub use self::registry_file::RegistryFile;
use crate::config::Original;
use crate::durable::{Lock, LockError};
use crate::model::{ItemId, Process};
use crate::registry::{DoneDetails, Registry};
use crate::state::heartbeat::{Heartbeat, HeartbeatState};
use crate::state::{Binding, Bound, Committed, HostDir, Loaded, StateBackend, StoreError};

/// A state that lies in the directory of its host, and whose lock is the lock of that directory.
#[derive(Debug)]
pub struct Files {
    dir: HostDir,
    events_bytes_max: u64,
    /// What was loaded.
    registry: Option<RegistryFile>,
    lock: Option<Lock>,
}

impl Files {
    /// The state in this directory. `events_bytes_max`: the log of events is rotated beyond this many bytes; 0 never.
    pub fn new(dir: HostDir, events_bytes_max: u64) -> Files {
        Files { dir, events_bytes_max, registry: None, lock: None }
    }

    fn loaded(&mut self) -> Result<&mut RegistryFile, StoreError> {
        let unread = || StoreError::Io(format!("{}: nothing was loaded", self.dir.path().display()));
        self.registry.as_mut().ok_or_else(unread)
    }
}

impl StateBackend for Files {
    fn lock(
        &mut self,
        me: &Process,
        wait: Duration,
        called_off: &dyn Fn() -> bool,
        waiting: &mut dyn FnMut(Option<&Process>, Duration),
    ) -> Result<(), LockError> {
        self.lock = Some(self.dir.lock(me, wait, called_off, waiting)?);
        Ok(())
    }

    fn load(&mut self) -> Result<Loaded, StoreError> {
        let serial = || match heartbeat::read(&self.dir) {
            HeartbeatState::Beat(beat) => Some(beat.serial),
            HeartbeatState::Absent | HeartbeatState::Unreadable(_) => None,
        };
        let (loaded, file) = registry_file::load(&self.dir, serial)?;
        self.registry = Some(file);
        Ok(loaded)
    }

    fn bound(&self) -> Result<Option<(Bound, String)>, StoreError> {
        registry_file::bound(&self.dir)
    }

    fn serial(&self) -> u64 {
        self.registry.as_ref().map_or(0, RegistryFile::serial)
    }

    fn bind(&mut self, config: &Path, binding: Binding) {
        if let Some(file) = &mut self.registry {
            file.bind(config, binding);
        }
    }

    fn begin_lineage(&mut self) -> Result<String, StoreError> {
        self.loaded()?.begin_lineage()
    }

    fn commit(&mut self, registry: &Registry, details: &[DoneDetails]) -> Result<Committed, StoreError> {
        let dir = self.dir.clone();
        let file = self.loaded()?;
        let serial = file.serial().saturating_add(1);
        let append = || done_file::append(&dir, serial, details);
        append()
            .or_else(|error| match file.spends_reserve_for(&error) {
                true => append(),
                false => Err(error),
            })
            .map_err(|error| StoreError::of_write(&dir.path().join(done_file::DONE), &error))?;
        let committed = file.commit(registry)?;
        if !details.is_empty() {
            done_file::compact(&dir, |item| registry.done.contains_key(item), registry.done.len());
        }
        Ok(committed)
    }

    fn done_details(&self, item: &ItemId) -> Result<Option<DoneDetails>, String> {
        done_file::find(&self.dir, item)
    }

    fn may_spend_reserve(&mut self) {
        if let Some(file) = &mut self.registry {
            file.may_spend_reserve();
        }
    }

    fn quarantined(&self) -> Option<&str> {
        self.registry.as_ref()?.quarantined()
    }

    fn heartbeat(&self) -> HeartbeatState {
        heartbeat::read(&self.dir)
    }

    fn beat(&self, beat: &Heartbeat) -> io::Result<()> {
        heartbeat::write(&self.dir, beat)
    }

    fn append_events(&self, lines: &[Value]) -> io::Result<()> {
        events::append(&self.dir, lines, self.events_bytes_max)
    }

    fn events(&self) -> io::Result<Box<dyn Iterator<Item = Value>>> {
        Ok(Box::new(events::read(&self.dir)?))
    }

    fn keep_config(&self, original: &Original) {
        last_good::keep(&self.dir, original);
    }

    fn kept_config(&self) -> Option<Original> {
        last_good::find(&self.dir)
    }
}
