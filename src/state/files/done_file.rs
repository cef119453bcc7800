//! `done.jsonl`: the details of the items of the index of done items, one sealed line each.
//!
//! A commit appends and syncs them before it publishes the registry that refers to them. A kill in between leaves a line
//! that nothing refers to. Of one item the line of the highest serial counts, of one serial the last line.

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::os::fd::AsFd;

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use crate::durable::seal::{seal, unseal};
use crate::durable::{atomic, naming};
use crate::model::ItemId;
use crate::registry::DoneDetails;
use crate::state::HostDir;
use crate::state::files::lines::{ends_in_the_middle, next_line};

pub(super) const DONE: &str = "done.jsonl";

/// The file is written anew beyond this many bytes and as many for each item of the index.
const BYTES_MIN: u64 = 1 << 20;
const BYTES_PER_ITEM: u64 = 8 << 10;

#[derive(Serialize)]
struct Line<'a> {
    serial: u64,
    #[serde(flatten)]
    details: &'a DoneDetails,
}

/// A line, as far as it must be known to choose among lines.
#[derive(Deserialize)]
struct Head {
    serial: u64,
    item: ItemId,
}

/// Appends the details of items that went into the index with the generation `serial`, durably.
///
/// # Errors
///
/// Those of the system. A part may have been written.
pub fn append(dir: &HostDir, serial: u64, details: &[DoneDetails]) -> io::Result<()> {
    if details.is_empty() {
        return Ok(());
    }
    let mut text = vec![b'\n'];
    for details in details {
        text.extend(seal(&serde_json::to_vec(&Line { serial, details })?));
        text.push(b'\n');
    }
    let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE;
    let mut file = atomic::open_regular_with(dir.as_fd(), DONE, flags)?;
    if atomic::has_another_name(file.as_fd())? {
        return Err(io::Error::other(
            "the file has another name too, a hard link; put a copy of it in its place",
        ));
    }
    // After a line that a kill or a full disk tore.
    let is_torn = ends_in_the_middle(&file)?;
    let is_new = file.metadata()?.len() == 0;
    file.write_all(if is_torn { &text } else { &text[1..] })?;
    file.sync_data()?;
    if is_new {
        rustix::fs::fsync(dir)?;
    }
    Ok(())
}

/// The details of an item; `None` where the file holds none.
///
/// # Errors
///
/// Why the file can't be read; or that it holds none, and lines that can't be read, for people.
pub fn find(dir: &HostDir, wanted: &ItemId) -> Result<Option<DoneDetails>, String> {
    let path = dir.path().join(DONE);
    let failed = |error: io::Error| naming(&path, &error).to_string();
    let Some(file) = open(dir).map_err(failed)? else { return Ok(None) };
    let (mut found, mut damaged) = (None, 0_u32);
    for line in lines(file) {
        match read(&line.map_err(failed)?) {
            Some((head, details)) if head.item == *wanted => {
                if found.as_ref().is_none_or(|(serial, _)| *serial <= head.serial) {
                    found = Some((head.serial, details));
                }
            }
            Some(_) => {}
            None => damaged += 1,
        }
    }
    match found {
        None if damaged > 0 => Err(format!("{}: {damaged} of its lines can't be read", path.display())),
        found => Ok(found.map(|(_, details)| details)),
    }
}

/// Drops the lines that a later line of their item replaces, or whose item `is_indexed` no more, once the file is long. A
/// line that can't be read stays as it is. A failure costs room alone.
pub fn compact(dir: &HostDir, is_indexed: impl Fn(&ItemId) -> bool, items: usize) {
    let most = BYTES_MIN.saturating_add(BYTES_PER_ITEM.saturating_mul(items as u64));
    if let Err(error) = compact_beyond(dir, is_indexed, most) {
        log::warn!("{}", naming(&dir.path().join(DONE), &error));
    }
}

fn compact_beyond(dir: &HostDir, is_indexed: impl Fn(&ItemId) -> bool, most: u64) -> io::Result<()> {
    let Some(file) = open(dir)? else { return Ok(()) };
    if file.metadata()?.len() <= most {
        return Ok(());
    }
    let lines = lines(file).collect::<io::Result<Vec<_>>>()?;
    let heads: Vec<_> = lines.iter().map(|line| read(line).map(|(head, _)| head)).collect();
    let mut latest = std::collections::BTreeMap::new();
    for (at, head) in heads.iter().enumerate() {
        let Some(head) = head else { continue };
        let newest = latest.entry(&head.item).or_insert((head.serial, at));
        if newest.0 <= head.serial {
            *newest = (head.serial, at);
        }
    }
    let stays = |(at, head): (usize, &Option<Head>)| match head {
        Some(head) => latest[&head.item].1 == at && is_indexed(&head.item),
        None => true,
    };
    let mut text = Vec::new();
    for (line, _) in lines.iter().zip(heads.iter().enumerate()).filter(|(_, one)| stays(*one)) {
        text.extend_from_slice(line.trim_ascii_end());
        text.push(b'\n');
    }
    atomic::replace(dir, DONE, &text, true)
}

fn open(dir: &HostDir) -> io::Result<Option<File>> {
    Ok(atomic::open_regular(dir.as_fd(), DONE)?.map(|(file, _)| file))
}

/// Every line that is not empty, with its end.
fn lines(file: File) -> impl Iterator<Item = io::Result<Vec<u8>>> {
    let mut reader = BufReader::new(file);
    let lines = std::iter::from_fn(move || next_line(&mut reader).transpose());
    lines.filter(|line| !matches!(line, Ok(line) if line.trim_ascii().is_empty()))
}

/// `None`: it is torn or damaged. Each line ends with its digest.
fn read(line: &[u8]) -> Option<(Head, DoneDetails)> {
    let line = line.trim_ascii_end();
    let object = unseal(line).ok()?;
    let mut object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&object).ok()?;
    let serial = object.remove("serial")?.as_u64()?;
    let details: DoneDetails = serde_json::from_value(object.into()).ok()?;
    Some((Head { serial, item: details.item.clone() }, details))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    fn state() -> (tempfile::TempDir, HostDir) {
        let holder = tempfile::tempdir().unwrap();
        let dir = HostDir::create_or_open(&holder.path().join("state"), true).unwrap();
        (holder, dir)
    }

    fn id(key: &str) -> ItemId {
        ItemId(format!("dir:{key}"))
    }

    fn details(key: &str, dispatch: u64) -> DoneDetails {
        let record = json!({
            "key": key, "slug": "a", "origin": "a.md", "state": "done", "attempts": 0, "due_at": null, "hash": null,
            "content_hash": "c", "dispatch": dispatch, "outbox": {}, "uncharged_streak": 0, "parked_by": null,
            "last": null, "missing_reads": 0,
        });
        let record = serde_json::from_value(record).unwrap();
        DoneDetails { item: id(key), record, agents: BTreeMap::new() }
    }

    fn dispatch_of(dir: &HostDir, key: &str) -> Option<u64> {
        find(dir, &id(key)).unwrap().map(|details| details.record.dispatch)
    }

    fn text(dir: &HostDir) -> Vec<u8> {
        std::fs::read(dir.path().join(DONE)).unwrap()
    }

    #[expect(clippy::disallowed_methods, reason = "a test breaks a file")]
    fn put(dir: &HostDir, bytes: &[u8]) {
        std::fs::write(dir.path().join(DONE), bytes).unwrap();
    }

    // covers: P11c
    #[test]
    fn last_line_of_the_highest_serial_counts() {
        let (_holder, dir) = state();
        assert_eq!(find(&dir, &id("A")), Ok(None));
        append(&dir, 1, &[]).unwrap();
        assert!(!dir.path().join(DONE).exists(), "nothing to keep makes no file");
        // A tick was killed after it appended, and the next one committed the same serial.
        append(&dir, 2, &[details("A", 1), details("B", 1)]).unwrap();
        append(&dir, 2, &[details("A", 2)]).unwrap();
        assert_eq!((dispatch_of(&dir, "A"), dispatch_of(&dir, "B")), (Some(2), Some(1)));
        // An earlier registry was put back.
        append(&dir, 1, &[details("A", 7)]).unwrap();
        assert_eq!(dispatch_of(&dir, "A"), Some(2));
    }

    // covers: P11c
    #[test]
    fn torn_line_costs_itself_and_is_reported() {
        let (_holder, dir) = state();
        append(&dir, 1, &[details("A", 1), details("B", 1)]).unwrap();
        let whole = text(&dir);
        put(&dir, &whole[..whole.len() - 30]);
        assert_eq!(dispatch_of(&dir, "A"), Some(1));
        assert!(find(&dir, &id("B")).unwrap_err().ends_with("1 of its lines can't be read"));
        append(&dir, 2, &[details("C", 1)]).unwrap();
        assert_eq!(dispatch_of(&dir, "C"), Some(1), "it begins on a line of its own");
        assert_eq!(dispatch_of(&dir, "A"), Some(1));
    }

    // covers: P11c
    #[test]
    fn flipped_bit_makes_no_other_truth() {
        let (_holder, dir) = state();
        append(&dir, 1, &[details("A", 1)]).unwrap();
        let whole = text(&dir);
        for bit in 0..(whole.len() - 1) * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            put(&dir, &flipped);
            assert!(matches!(find(&dir, &id("A")), Err(_) | Ok(None)), "bit {bit}");
        }
    }

    // covers: P11c
    #[test]
    fn compaction_keeps_what_the_index_refers_to() {
        let (_holder, dir) = state();
        for dispatch in 1..=50 {
            append(&dir, dispatch, &[details("A", dispatch), details("B", dispatch)]).unwrap();
        }
        put(&dir, &[text(&dir), b"damaged\n".to_vec()].concat());
        let before = text(&dir);
        compact(&dir, |_| true, 2);
        assert_eq!(text(&dir), before, "it is short");
        compact_beyond(&dir, |item| *item == id("A"), 1000).unwrap();
        assert_eq!(dispatch_of(&dir, "A"), Some(50));
        assert_eq!(text(&dir).split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count(), 2);
        assert!(text(&dir).ends_with(b"damaged\n"));
        assert!(find(&dir, &id("B")).is_err(), "its line may be the damaged one");
    }
}
