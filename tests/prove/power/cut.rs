//! Where the power goes, what the disk holds then, and what had been promised until then.

use std::collections::BTreeSet;
use std::fmt;

use super::disk::{Record, SECTOR};
use crate::sim::dice::Dice;

/// What became of what no flush had reached.
#[derive(Clone, Copy, Debug)]
enum Cache {
    /// It was written all the same.
    Written,
    /// None of it was.
    Gone,
    /// Some sectors of it were: those that this seed draws.
    Torn(u64),
}

/// One power cut: after so many records.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    after: usize,
    cache: Cache,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cache {
            Cache::Written => write!(f, "after {}", self.after),
            Cache::Gone => write!(f, "after {}, the cache lost", self.after),
            Cache::Torn(seed) => write!(f, "after {}, a part of the cache lost (seed {seed})", self.after),
        }
    }
}

/// What had been promised until then.
#[derive(Debug, Default)]
pub(super) struct Promised {
    /// The latest generation of which a commit had returned.
    pub(super) serial: u64,
    /// Runs whose agents had begun, `<agent>.<n>`.
    pub(super) starts: BTreeSet<String>,
    /// Those of them whose directory nobody has removed, then or later.
    pub(super) kept: BTreeSet<String>,
}

/// All that a disk was told, from when it was new.
pub(super) struct Recording {
    /// What it held then.
    pub(super) base: Vec<u8>,
    pub(super) records: Vec<Record>,
    /// Runs that have a directory in the end.
    pub(super) runs: BTreeSet<String>,
}

impl Recording {
    pub(super) fn counts(&self) -> (usize, usize) {
        let count = |is: fn(&Record) -> bool| self.records.iter().filter(|record| is(record)).count();
        (count(|one| matches!(one, Record::Write { .. })), count(|one| matches!(one, Record::Flush)))
    }

    /// No cut at all.
    pub(super) fn whole(&self) -> Cut {
        Cut { after: self.records.len(), cache: Cache::Written }
    }

    /// So many cuts, evenly over all of it. The cache is at its fullest right before each flush; where it was written
    /// all the same, or in part, each write makes another disk. What was promised most is right before the next of them.
    pub(super) fn cuts(&self, count: usize) -> Vec<Cut> {
        let before = |is: fn(&Record) -> bool| {
            let end = self.records.len();
            let found = self.records.iter().enumerate().filter(move |(_, record)| is(record));
            found.map(|(at, _)| at).chain([end]).collect::<Vec<_>>()
        };
        let flushes = before(|one| matches!(one, Record::Flush));
        let writes = before(|one| matches!(one, Record::Write { .. }));
        let gone = evenly(&flushes, count / 3).map(|after| Cut { after, cache: Cache::Gone });
        let torn = evenly(&writes, count / 3).map(|after| Cut { after, cache: Cache::Torn(after as u64) });
        let mut cuts: Vec<_> = gone.chain(torn).collect();
        let rest = count - cuts.len();
        cuts.extend(evenly(&writes, rest).map(|after| Cut { after, cache: Cache::Written }));
        cuts
    }

    /// The disk as it is when the power is back.
    pub(super) fn image(&self, cut: &Cut) -> Vec<u8> {
        let told = &self.records[..cut.after];
        let safe = told.iter().rposition(|record| matches!(record, Record::Flush)).unwrap_or(0);
        let mut dice = match cut.cache {
            Cache::Torn(seed) => Some(Dice::new(seed)),
            Cache::Written | Cache::Gone => None,
        };
        let mut image = self.base.clone();
        for (index, record) in told.iter().enumerate() {
            let Record::Write { at, bytes } = record else { continue };
            for (number, sector) in bytes.chunks(SECTOR).enumerate() {
                let is_written = index < safe
                    || match cut.cache {
                        Cache::Written => true,
                        Cache::Gone => false,
                        Cache::Torn(_) => dice.as_mut().is_some_and(|dice| dice.range(0, 1) == 0),
                    };
                if is_written {
                    let at = at + number * SECTOR;
                    image[at..at + sector.len()].copy_from_slice(sector);
                }
            }
        }
        image
    }

    pub(super) fn promised(&self, cut: &Cut) -> Promised {
        let (mut promised, mut written, mut published) = (Promised::default(), 0, 0);
        for record in &self.records[..cut.after] {
            let Record::Mark(line) = record else { continue };
            if let Some(run) = line.strip_prefix("start ").and_then(|marker| marker.split_once('/')) {
                promised.starts.insert(run.1.to_owned());
            } else if let Some(serial) = line.strip_prefix("acked ") {
                promised.serial = promised.serial.max(serial.parse().unwrap());
            } else if line.starts_with("write(") && line.contains("/registry.json.tmp>") {
                written = serial_of(line).unwrap_or(written);
            } else if line.starts_with("rename") && line.contains("\"registry.json\") = 0") {
                published = written;
            } else if line.starts_with("fsync(") && line.ends_with("/state>) = 0") {
                // Whatever has its name by now has it for ever.
                promised.serial = promised.serial.max(published);
            }
        }
        promised.kept = promised.starts.intersection(&self.runs).cloned().collect();
        promised
    }
}

/// `…\"serial\":7,…` as strace prints it.
fn serial_of(line: &str) -> Option<u64> {
    let (_, rest) = line.split_once(r#"\"serial\":"#)?;
    rest.split_once(',')?.0.parse().ok()
}

/// So many of them, or all.
fn evenly(of: &[usize], count: usize) -> impl Iterator<Item = usize> + '_ {
    let count = count.min(of.len());
    (0..count).map(move |n| of[(n * 2 + 1) * of.len() / (count * 2)])
}
