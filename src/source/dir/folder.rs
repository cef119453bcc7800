//! One read of a folder of items, from the listing to the items of all files.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::Instant;

use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, openat};
use rustix::io::Errno;

use super::file::{as_item, fill, not_a_file, open_file, unreadable_file};
use super::record::{Problem, id_of_stem};
use crate::model::{SourceView, Unavailable, UnavailableKind, UnreadableItem, WorkItem};
use crate::text::cut::one_line;

/// The most files with an item's ending: beyond it a tick could not read them all within its minute.
const FILES_MAX: usize = 100_000;

/// The most bytes in all files together: all of them are in memory at once.
const TOTAL_BYTES_MAX: u64 = 256 << 20;

/// Directory entries between two looks at the clock.
const ENTRIES_PER_LOOK: usize = 1024;

/// Reads the whole folder.
///
/// # Errors
/// Why the list of items is unknown, where, and what to do.
pub(super) fn read(path: &Path, until: Instant) -> Result<SourceView, Unavailable> {
    Reading { path, until }.whole(FILES_MAX, TOTAL_BYTES_MAX)
}

/// One read of the folder. An `Err` of its methods is why the whole list is unknown.
pub(super) struct Reading<'a> {
    pub(super) path: &'a Path,
    pub(super) until: Instant,
}

/// What one file turned out to be.
pub(super) enum Found {
    Item(Box<WorkItem>),
    UnreadableItem(UnreadableItem),
    /// It went away after it had been listed.
    Nothing,
}

impl Reading<'_> {
    pub(super) fn whole(&self, files_max: usize, bytes_max: u64) -> Result<SourceView, Unavailable> {
        self.check_time(0)?;
        let mut dir = self.open_folder()?;
        let names = self.list(&mut dir, files_max)?;
        let folder = dir.fd().map_err(|error| self.unreadable(error))?;

        let mut items = Vec::with_capacity(names.len());
        let mut unreadable = Vec::new();
        let mut buffer = Vec::new();
        let mut bytes_read = 0;
        for (done, (name, kind)) in names.iter().enumerate() {
            self.check_time(done)?;
            buffer.clear();
            match self.file(folder, name, *kind, &mut buffer)? {
                Found::Item(item) => items.push(*item),
                Found::UnreadableItem(one) => unreadable.push(one),
                Found::Nothing => {}
            }
            bytes_read += buffer.len() as u64;
            if bytes_read > bytes_max {
                return Err(Unavailable::broken(format!(
                    "{}: its items have more than {bytes_max} bytes together; move closed ones elsewhere",
                    one_line(&self.path.display().to_string())
                )));
            }
        }
        let items = self.without_shared_ids(items, &mut unreadable);
        unreadable.sort_by(|a, b| a.origin.cmp(&b.origin));
        Ok(SourceView { items, unreadable })
    }

    pub(super) fn open_folder(&self) -> Result<Dir, Unavailable> {
        // "/." needs the permission to search the folder, without which each of its files would
        // look broken by itself.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        openat(CWD, self.path.join("."), flags, Mode::empty())
            .and_then(Dir::new)
            .map_err(|error| self.unreadable(error))
    }

    /// The files that are to be items, in the order of their names, each with what the listing
    /// says it is.
    fn list(&self, dir: &mut Dir, files_max: usize) -> Result<Vec<(CString, FileType)>, Unavailable> {
        let mut names = Vec::new();
        let mut entries = 0;
        while let Some(entry) = dir.read() {
            let entry = entry.map_err(|error| self.unreadable(error))?;
            entries += 1;
            if entries % ENTRIES_PER_LOOK == 0 {
                self.check_time(0)?;
            }
            if stem(entry.file_name()).is_none() {
                continue;
            }
            if names.len() == files_max {
                return Err(Unavailable::broken(format!(
                    "{}: it holds more than {files_max} items; move closed ones elsewhere",
                    one_line(&self.path.display().to_string())
                )));
            }
            names.push((entry.file_name().to_owned(), entry.file_type()));
        }
        names.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(names)
    }

    pub(super) fn file(
        &self,
        folder: BorrowedFd<'_>,
        name: &CStr,
        listed_as: FileType,
        buffer: &mut Vec<u8>,
    ) -> Result<Found, Unavailable> {
        let origin = name.to_string_lossy().into_owned();
        let problem = |problem| Found::UnreadableItem(self.unreadable_item(&origin, problem));
        if !matches!(listed_as, FileType::RegularFile | FileType::Unknown) {
            // Not even opened: opening alone is an act for some devices.
            return Ok(problem(Problem::new(not_a_file(listed_as))));
        }
        let file = match open_file(folder, name) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(Found::Nothing),
            Err(Errno::LOOP) => return Ok(problem(Problem::new(not_a_file(FileType::Symlink)))),
            Err(Errno::NXIO) => return Ok(problem(Problem::new(not_a_file(FileType::Unknown)))),
            // It is us who lack something; the file may be in perfect order.
            Err(error @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM)) => return Err(self.unreadable(error)),
            Err(error) => return Ok(problem(unreadable_file(error.into()))),
        };
        if let Err(found) = fill(buffer, file) {
            return Ok(problem(found));
        }
        Ok(match as_item(name, buffer) {
            Ok(item) => Found::Item(Box::new(item)),
            Err(found) => problem(found),
        })
    }

    /// Items whose id no other item has. Of those that share one none is kept: which of them an
    /// agent had been given could only be guessed.
    fn without_shared_ids(
        &self,
        items: Vec<WorkItem>,
        unreadable: &mut Vec<UnreadableItem>,
    ) -> Vec<WorkItem> {
        let mut origins: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for item in &items {
            origins.entry(item.id.0.clone()).or_default().push(item.origin.clone());
        }
        origins.retain(|_, origins| origins.len() > 1);
        let (shared, unique): (Vec<_>, Vec<_>) =
            items.into_iter().partition(|item| origins.contains_key(&item.id.0));
        for item in shared {
            let others: Vec<&str> = origins[&item.id.0]
                .iter()
                .filter(|&origin| *origin != item.origin)
                .map(String::as_str)
                .collect();
            let what = format!(
                "has the id {} like {}; give each its own `id`, or delete all but one",
                item.id,
                others.join(", ")
            );
            unreadable.push(UnreadableItem {
                id: Some(item.id),
                ..self.unreadable_item(&item.origin, Problem::new(what))
            });
        }
        unique
    }

    fn unreadable_item(&self, origin: &str, problem: Problem) -> UnreadableItem {
        let file = self.path.join(origin);
        let place = match problem.at {
            Some((line, column)) => format!("{}:{line}:{column}", file.display()),
            None => file.display().to_string(),
        };
        let stem = origin.strip_suffix(".json").or_else(|| origin.strip_suffix(".md"));
        UnreadableItem {
            origin: origin.to_owned(),
            id: stem.and_then(id_of_stem),
            why: one_line(&format!("{place}: {}", problem.what)),
        }
    }

    /// An `Err` when the time is up, after `done` files.
    fn check_time(&self, done: usize) -> Result<(), Unavailable> {
        if Instant::now() < self.until {
            return Ok(());
        }
        let path = one_line(&self.path.display().to_string());
        Err(Unavailable::new(
            UnavailableKind::Unreachable,
            format!(
                "{path}: the time for reading it was up after {done} items; the next tick reads it again"
            ),
        ))
    }

    pub(super) fn unreadable(&self, error: Errno) -> Unavailable {
        let hint = match error {
            Errno::NOENT => "create it, or set [source] path to the folder of the items",
            Errno::NOTDIR => "set [source] path to a folder",
            Errno::ACCESS | Errno::PERM => "give the user that runs the tick the permissions r and x on it",
            Errno::MFILE | Errno::NFILE => "raise the limit of open files (ulimit -n)",
            _ => "the next tick tries again",
        };
        let path = one_line(&self.path.display().to_string());
        let text = format!("{path}: the folder of items can't be read: {}; {hint}", io::Error::from(error));
        Unavailable::new(kind(error), text)
    }
}

/// Which kind of failure an error of the whole folder is.
fn kind(error: Errno) -> UnavailableKind {
    match error {
        Errno::ACCESS | Errno::PERM => UnavailableKind::Denied,
        // The server of a mounted folder is away.
        Errno::STALE | Errno::TIMEDOUT | Errno::NOTCONN | Errno::HOSTDOWN | Errno::HOSTUNREACH => {
            UnavailableKind::Unreachable
        }
        _ => UnavailableKind::Broken,
    }
}

/// The name without its ending, where it is that of an item: no dot file, `.json` or `.md`.
fn stem(name: &CStr) -> Option<&[u8]> {
    let name = name.to_bytes();
    let stem = name.strip_suffix(b".json").or_else(|| name.strip_suffix(b".md"))?;
    (!name.starts_with(b".")).then_some(stem)
}
