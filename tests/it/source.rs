//! Each kind of source against the suite that holds for all of them.

use std::fs;
use std::path::PathBuf;

use factory_tick::config::SourceConfig;
use factory_tick::model::ItemId;
use factory_tick::source::{self, Source};
use tempfile::TempDir;

use crate::source_suite::{self, Subject};

/// A folder of files.
struct Folder {
    root: TempDir,
}

impl Folder {
    fn new() -> Folder {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("items")).unwrap();
        Folder { root }
    }

    fn path(&self, n: u32) -> PathBuf {
        self.root.path().join(format!("items/{n}.md"))
    }
}

#[expect(clippy::disallowed_methods, reason = "files of a test need not survive anything")]
impl Subject for Folder {
    fn kind(&self) -> &'static str {
        "dir"
    }

    fn source(&self) -> Box<dyn Source + '_> {
        source::build(&SourceConfig::Dir { path: self.root.path().join("items") })
    }

    fn id(&self, n: u32) -> ItemId {
        ItemId(format!("dir:{n}"))
    }

    fn file(&self, n: u32, title: &str) {
        fs::write(self.path(n), format!("# {title}\n\nThe body of {n}.\n")).unwrap();
    }

    fn spoil(&self, n: u32) {
        fs::write(self.path(n), "+++\nthis never ends\n").unwrap();
    }

    fn remove(&self, n: u32) {
        fs::remove_file(self.path(n)).unwrap();
    }

    fn set_broken(&self, broken: bool) {
        let (here, away) = (self.root.path().join("items"), self.root.path().join("away"));
        let (from, to) = if broken { (here, away) } else { (away, here) };
        fs::rename(from, to).unwrap();
    }

    fn notes(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.root.path().join("items/.factory")) else { return Vec::new() };
        let mut notes: Vec<_> =
            entries.map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap()).collect();
        notes.sort();
        notes
    }
}

// covers: S17
#[test]
fn folder_keeps_every_promise_of_a_source() {
    source_suite::run(|| Box::new(Folder::new()));
}
