//! Items as files: `*.json` and `*.md` directly in one folder.
//!
//! The files belong to people, who edit, move and break them at any moment, and to agents, who
//! may put anything there. So nothing is ever followed, waited for or written back; one bad file
//! hides no other; and whatever keeps the whole list from being read makes it unknown, not shorter.

use std::path::PathBuf;
use std::time::Instant;

use super::{Description, Obstacle, Read, Source, Version};
use crate::model::Writeback;

mod file;
mod folder;
mod markdown;
mod note;
mod record;

#[cfg(test)]
mod tests;

/// A folder of items.
#[derive(Clone, Debug)]
pub(super) struct DirSource {
    path: PathBuf,
}

impl DirSource {
    /// A source that reads the folder at `path`; nothing is looked at yet.
    pub(super) fn new(path: PathBuf) -> DirSource {
        DirSource { path }
    }
}

impl Source for DirSource {
    /// Always all files, and never a version. The kernel shows an edit in nothing cheaper than the bytes: two edits
    /// within one tick of the clock of the file system (up to 10 ms, 2 s on FAT) have one time, `touch -r` and
    /// `rsync -t` set an old time, and a write through a mapping sets it late. A debug build reads
    /// 1,000 files in 80 ms.
    fn read(&self, _known: Option<&Version>, until: Instant) -> Read {
        match folder::read(&self.path, until) {
            Ok(view) => Read::Known { view, version: None },
            Err(why) => Read::Unknown(why),
        }
    }

    fn notify(&self, note: &Writeback, until: Instant) -> Result<(), String> {
        note::write(&self.path, note, until)
    }

    fn can_notify(&self) -> Result<(), Obstacle> {
        note::could_write(&self.path)
    }

    fn describe(&self) -> Description {
        Description {
            place: self.path.display().to_string(),
            first_item: "an item is a file such as AR-1.md: a line `# Title`, an empty line, and what is to be done",
        }
    }

    fn place(&self, origin: &str) -> String {
        self.path.join(origin).display().to_string()
    }
}
