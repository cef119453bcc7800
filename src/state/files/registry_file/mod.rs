//! The registry's file: one generation, its predecessor, and what to do when either is damaged.
//!
//! A commit goes: new generation aside and synced, old one to `.bak` by link and rename, new one into
//! place, directory synced. A process killed between any two of these leaves a directory that loads.

mod load;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, RenameFlags};
use rustix::io::Errno;
use serde::Serialize;

pub use self::load::{bound, load};
use crate::durable::atomic;
use crate::state::bound::{Binding, recorded_path};
use crate::state::files::generation::Generation;
use crate::state::{Committed, HostDir, StoreError, reserve};

const REGISTRY: &str = "registry.json";
const BACKUP: &str = "registry.json.bak";
const BACKUP_ASIDE: &str = "registry.json.bak.tmp";

/// The most that is read or written, in bytes. Ten thousand items are about 10 MB; what is larger
/// than this is a fault or a foreign file, and must not take the machine's memory each minute.
const BYTES_MAX: u64 = 64 << 20;

/// How many quarantined files of one serial are kept apart before a person should look.
const QUARANTINES_MAX: u32 = 1000;

/// What stands under the name `registry.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Nothing,
    Damaged,
    Good,
}

/// The writing end. Only the holder of the tick's lock may commit.
#[derive(Debug)]
pub struct RegistryFile {
    dir: HostDir,
    lineage: String,
    serial: u64,
    config: Option<String>,
    binding: Option<Binding>,
    standing: Standing,
    /// The body that stands, byte for byte; `None` when the next commit must write whatever it is given.
    body: Option<String>,
    /// A commit failed: what is on disk is not known, and nothing more may be built on it.
    unknown: bool,
    may_spend_reserve: bool,
    quarantined: Option<String>,
}

impl RegistryFile {
    /// The generation that stands, or, before the commit that follows a load from the backup, the
    /// highest that may have stood.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// Records what the registry belongs to. Where that is new, the next commit writes it, whatever it is given.
    pub fn bind(&mut self, config: &Path, binding: Binding) {
        let (config, binding) = (Some(recorded_path(config)), Some(binding));
        if (&self.config, &self.binding) != (&config, &binding) {
            (self.config, self.binding) = (config, binding);
            self.body = None;
        }
    }

    /// Begins a lineage of its own, with the next commit. Returns its name.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`], where the kernel gives no random bytes.
    pub fn begin_lineage(&mut self) -> Result<String, StoreError> {
        self.lineage = random_lineage()?;
        self.body = None;
        Ok(self.lineage.clone())
    }

    /// From now on a commit that finds no room deletes the reserve, and is tried again.
    pub fn may_spend_reserve(&mut self) {
        self.may_spend_reserve = true;
    }

    /// Deletes the reserve where an error says that there is no room, and that is allowed. True: room was made.
    pub(super) fn spends_reserve_for(&self, error: &io::Error) -> bool {
        reserve::is_no_room(error) && self.may_spend_reserve && reserve::spend(&self.dir)
    }

    /// Whether the next commit will put a damaged `registry.json` into quarantine.
    pub fn would_quarantine(&self) -> bool {
        self.standing == Standing::Damaged
    }

    /// The name under which this process put a damaged `registry.json` into quarantine, if it did.
    pub fn quarantined(&self) -> Option<&str> {
        self.quarantined.as_deref()
    }

    /// Makes `body` the current generation, durably, unless it already is.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`] and [`StoreError::NoRoom`]. Whether the new generation stands is then unknown: the caller performs
    /// nothing that depends on it, and every further commit of this process is refused.
    pub fn commit<T: Serialize>(&mut self, body: &T) -> Result<Committed, StoreError> {
        let path = self.dir.path().join(REGISTRY);
        if self.unknown {
            let text = format!("cannot save {}: an earlier save of this tick failed", path.display());
            return Err(StoreError::Io(text));
        }
        let body = serde_json::to_string(body)
            .map_err(|error| StoreError::Io(format!("cannot save {}: {error}", path.display())))?;
        if self.body.as_deref() == Some(&*body) {
            return Ok(Committed::Unchanged);
        }
        let serial = self.serial.saturating_add(1);
        let (lineage, config, binding) = (self.lineage.clone(), self.config.clone(), self.binding.clone());
        let next = Generation { lineage, serial, config, binding, body };
        self.unknown = true;
        let bytes = next.to_bytes();
        let written = match self.write(serial, &bytes) {
            // The same generation again: whether the first one stands does not matter.
            Err(error) if self.spends_reserve_for(&error) => self.write(serial, &bytes),
            written => written,
        };
        written.map_err(|error| StoreError::of_write(&path, &error))?;
        self.unknown = false;
        self.serial = serial;
        self.standing = Standing::Good;
        self.body = Some(next.body);
        Ok(Committed::Written { serial })
    }

    fn write(&mut self, serial: u64, bytes: &[u8]) -> io::Result<()> {
        must_fit(bytes.len() as u64)?;
        let aside = atomic::stage(self.dir.as_fd(), REGISTRY, bytes, true)?;
        match self.standing {
            Standing::Good => self.keep_as_backup()?,
            // The backup is the only good generation there is: it stays what it is.
            Standing::Damaged => self.quarantined = Some(self.quarantine(serial)?),
            Standing::Nothing => {}
        }
        atomic::publish(self.dir.as_fd(), &aside, REGISTRY)?;
        Ok(rustix::fs::fsync(&self.dir)?)
    }

    /// The generation that stands becomes the backup too, without ever leaving its own name.
    fn keep_as_backup(&self) -> io::Result<()> {
        atomic::unlink_if_there(self.dir.as_fd(), BACKUP_ASIDE)?;
        rustix::fs::linkat(&self.dir, REGISTRY, &self.dir, BACKUP_ASIDE, AtFlags::empty())?;
        match rustix::fs::renameat(&self.dir, BACKUP_ASIDE, &self.dir, BACKUP) {
            Err(Errno::ISDIR) => {
                let text = format!("{BACKUP} is a directory; move it away");
                return Err(io::Error::new(io::ErrorKind::IsADirectory, text));
            }
            renamed => renamed?,
        }
        // After a kill between this rename and the next both are names of one file already, and then a rename does
        // nothing. What stays is in nobody's way.
        let _ = atomic::unlink_if_there(self.dir.as_fd(), BACKUP_ASIDE);
        Ok(())
    }

    /// Gives the damaged file a second name, that of the generation which replaces it, and never
    /// takes a name that another one has. Returns that name.
    fn quarantine(&self, serial: u64) -> io::Result<String> {
        for attempt in 1..=QUARANTINES_MAX {
            let name = match attempt {
                1 => format!("registry.corrupt-{serial}"),
                _ => format!("registry.corrupt-{serial}.{attempt}"),
            };
            let linked = rustix::fs::linkat(&self.dir, REGISTRY, &self.dir, &name, AtFlags::empty());
            let kept = match linked {
                // What can't be linked (a directory, a foreign file) can be moved: the backup is good,
                // so a kill right after this loads from it just the same.
                Err(Errno::PERM) => {
                    let flags = RenameFlags::NOREPLACE;
                    rustix::fs::renameat_with(&self.dir, REGISTRY, &self.dir, &name, flags)
                }
                other => other,
            };
            match kept {
                Ok(()) => return Ok(name),
                // A tick that was killed right after this step had done it already.
                Err(Errno::EXIST) if self.is_same_file(REGISTRY, &name)? => return Ok(name),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(io::Error::other("too many files named registry.corrupt-*; look at them and remove them"))
    }

    fn is_same_file(&self, one: &str, other: &str) -> io::Result<bool> {
        let one = rustix::fs::statat(&self.dir, one, AtFlags::SYMLINK_NOFOLLOW)?;
        let other = rustix::fs::statat(&self.dir, other, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
    }
}

/// What is too large to be read must not be written: the next tick would call it damaged.
fn must_fit(length: u64) -> io::Result<()> {
    if length > BYTES_MAX {
        return Err(io::Error::other(format!("it would be larger than {BYTES_MAX} bytes")));
    }
    Ok(())
}

fn random_lineage() -> Result<String, StoreError> {
    atomic::random_hex::<16>()
        .map_err(|error| StoreError::Io(format!("cannot get random bytes from the kernel: {error}")))
}
