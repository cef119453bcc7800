//! The reading end of the registry's file: a whole generation, or why there is none.

use std::os::fd::AsFd;
use std::path::PathBuf;

use serde::de::DeserializeOwned;

use super::{BACKUP, BYTES_MAX, REGISTRY, RegistryFile, Standing, random_lineage};
use crate::durable::atomic::{self, ReadError};
use crate::state::bound::Bound;
use crate::state::files::generation::{self, Generation, OPENING_BYTES, SCHEMA, schema_of};
use crate::state::files::heartbeat;
use crate::state::heartbeat::HeartbeatState;
use crate::state::{HostDir, Loaded, Origin, StoreError};

/// Reads the registry and changes nothing. `heartbeat_serial` tells the serial of the last heartbeat:
/// so that a generation loaded from the backup is not numbered like one that was lost.
///
/// # Errors
///
/// [`StoreError::BadState`] when there is no good generation although there must be one, or one was
/// written by a newer version; [`StoreError::Io`] when the system refused to read.
pub fn load<T>(
    dir: &HostDir,
    heartbeat_serial: impl FnOnce() -> Option<u64>,
) -> Result<(Loaded<T>, RegistryFile), StoreError>
where
    T: DeserializeOwned + Default,
{
    let (standing, damage) = match look(dir, REGISTRY)? {
        Found::Good(generation) => {
            refuse_newer_backup(dir)?;
            return opened(dir, generation, Origin::Registry, heartbeat_serial);
        }
        Found::Newer(schema) => return Err(newer(dir, REGISTRY, schema)),
        Found::Damaged(why) => (Standing::Damaged, format!("{REGISTRY} is damaged: {why}")),
        Found::Nothing => (Standing::Nothing, format!("{REGISTRY} is missing")),
    };
    match look(dir, BACKUP)? {
        Found::Good(generation) => {
            let (loaded, mut file) =
                opened(dir, generation, Origin::Backup { why: damage }, heartbeat_serial)?;
            file.standing = standing;
            Ok((loaded, file))
        }
        Found::Newer(schema) => Err(newer(dir, BACKUP, schema)),
        Found::Damaged(why) => Err(lost(dir, &format!("{damage}; {BACKUP} is damaged too: {why}"))),
        Found::Nothing if standing == Standing::Damaged => {
            Err(lost(dir, &format!("{damage}; there is no {BACKUP}")))
        }
        Found::Nothing => {
            if dir.has_runs().map_err(|error| StoreError::io("list", &dir.runs(), &error))? {
                let why =
                    format!("{damage}, and so is {BACKUP}, but runs/ is not empty: agents were started");
                return Err(lost(dir, &why));
            }
            fresh(dir)
        }
    }
}

fn opened<T: DeserializeOwned>(
    dir: &HostDir,
    generation: Generation,
    origin: Origin,
    heartbeat_serial: impl FnOnce() -> Option<u64>,
) -> Result<(Loaded<T>, RegistryFile), StoreError> {
    let name = if origin == Origin::Registry { REGISTRY } else { BACKUP };
    let body: T = serde_json::from_str(&generation.body).map_err(|error| {
        let version = env!("CARGO_PKG_VERSION");
        lost(dir, &format!("{name} is whole, but factory-tick {version} cannot read what is in it: {error}"))
    })?;
    let Generation { lineage, serial, config, binding, body: raw } = generation;
    let file = RegistryFile {
        dir: dir.clone(),
        lineage: lineage.clone(),
        // The lost generation may have been acknowledged: its number is not given out again.
        serial: match origin {
            Origin::Backup { .. } => serial.max(heartbeat_serial().unwrap_or(0)),
            Origin::Fresh | Origin::Registry => serial,
        },
        config: config.clone(),
        binding: binding.clone(),
        standing: Standing::Good,
        // Loading from the backup is a change in itself: whatever is committed next is written.
        body: (origin == Origin::Registry).then_some(raw),
        unknown: false,
        may_spend_reserve: false,
        quarantined: None,
    };
    let bound = Bound { config: config.map(PathBuf::from), binding };
    Ok((Loaded { body, lineage, serial, bound, origin }, file))
}

fn fresh<T: Default>(dir: &HostDir) -> Result<(Loaded<T>, RegistryFile), StoreError> {
    let lineage = random_lineage()?;
    let file = RegistryFile {
        dir: dir.clone(),
        lineage: lineage.clone(),
        serial: 0,
        config: None,
        binding: None,
        standing: Standing::Nothing,
        body: None,
        unknown: false,
        may_spend_reserve: false,
        quarantined: None,
    };
    let bound = Bound::default();
    Ok((Loaded { body: T::default(), lineage, serial: 0, bound, origin: Origin::Fresh }, file))
}

/// What the registry belongs to, and its lineage, without its records; `None` where no good generation stands.
///
/// # Errors
///
/// [`StoreError::Io`] when the system refused to read.
pub fn bound(dir: &HostDir) -> Result<Option<(Bound, String)>, StoreError> {
    for name in [REGISTRY, BACKUP] {
        if let Found::Good(Generation { lineage, config, binding, .. }) = look(dir, name)? {
            return Ok(Some((Bound { config: config.map(PathBuf::from), binding }, lineage)));
        }
    }
    Ok(None)
}

enum Found {
    Nothing,
    Damaged(String),
    Newer(u64),
    Good(Generation),
}

fn look(dir: &HostDir, name: &str) -> Result<Found, StoreError> {
    let bytes = match atomic::read_bounded(dir, name, BYTES_MAX) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(Found::Nothing),
        // "The system would not let me read" says nothing about the file: no descriptors left is no damage.
        Err(ReadError::Io(error)) => return Err(StoreError::io("read", &dir.path().join(name), &error)),
        Err(error) => return Ok(Found::Damaged(error.to_string())),
    };
    if let Some(schema) = generation::newer(&bytes) {
        return Ok(Found::Newer(schema));
    }
    Ok(match Generation::from_bytes(&bytes) {
        Ok(generation) => Found::Good(generation),
        Err(why) => Found::Damaged(why),
    })
}

/// Only the opening of the backup is looked at: it is about to be replaced, and a generation that a
/// newer version wrote must not be.
fn refuse_newer_backup(dir: &HostDir) -> Result<(), StoreError> {
    match atomic::read_start(dir.as_fd(), BACKUP, OPENING_BYTES) {
        Ok(start) => match start.as_deref().and_then(schema_of) {
            Some(schema) if schema > SCHEMA => match look(dir, BACKUP)? {
                Found::Newer(schema) => Err(newer(dir, BACKUP, schema)),
                _ => Ok(()),
            },
            _ => Ok(()),
        },
        Err(ReadError::Io(error)) => Err(StoreError::io("read", &dir.path().join(BACKUP), &error)),
        Err(_) => Ok(()),
    }
}

fn newer(dir: &HostDir, name: &str, schema: u64) -> StoreError {
    let writer = match heartbeat::read(dir) {
        HeartbeatState::Beat(beat) if beat.version != env!("CARGO_PKG_VERSION") => {
            format!("factory-tick {}", beat.version)
        }
        _ => "a newer factory-tick".to_owned(),
    };
    StoreError::BadState(format!(
        "{}: written by {writer} with schema {schema}; this is {} and knows schema {SCHEMA}. Nothing was \
         touched. Upgrade factory-tick, or pass another --state-dir",
        dir.path().join(name).display(),
        env!("CARGO_PKG_VERSION"),
    ))
}

fn lost(dir: &HostDir, why: &str) -> StoreError {
    let dir = dir.path().display();
    StoreError::BadState(format!(
        "{dir}: {why}. Nothing was touched and nothing was signalled. Look at {dir}/{REGISTRY}* and \
         {dir}/registry.corrupt-*. If one of them, or a copy of your own, is good, copy it over \
         {dir}/{REGISTRY}. Otherwise end the agents that still run ({dir}/runs/*/claim names them) and \
         move {dir} away: the next tick begins anew"
    ))
}
