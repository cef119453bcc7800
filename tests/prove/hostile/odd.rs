//! What may stand in the place of a file, and somebody else's files that must stay as they are.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::sys::stat::Mode;

use crate::support::{Factory, everything, is_root, put, system};

/// Something that is not the file it is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Odd {
    Fifo,
    Socket,
    Folder,
    Dangling,
    Outward,
    HardLink,
    Zero,
    Full,
    Foreign,
    Sparse,
    Empty,
    Garbage,
}

impl Odd {
    pub(super) const ALL: [Odd; 12] = [
        Odd::Fifo,
        Odd::Socket,
        Odd::Folder,
        Odd::Dangling,
        Odd::Outward,
        Odd::HardLink,
        Odd::Zero,
        Odd::Full,
        Odd::Foreign,
        Odd::Sparse,
        Odd::Empty,
        Odd::Garbage,
    ];

    /// Puts it there. False where this machine or user can't.
    pub(super) fn put(self, path: &Path, outside: &Outside) -> bool {
        match self {
            Odd::Fifo => nix::unistd::mkfifo(path, Mode::S_IRWXU).unwrap(),
            Odd::Socket => drop(UnixListener::bind(path).unwrap()),
            Odd::Folder => {
                fs::create_dir(path).unwrap();
                put(&path.join("inside"), "inside");
            }
            Odd::Dangling => symlink(outside.path.join("nothing"), path).unwrap(),
            Odd::Outward => symlink(outside.path.join("linked"), path).unwrap(),
            Odd::HardLink => fs::hard_link(outside.path.join("linked"), path).unwrap(),
            Odd::Zero | Odd::Full => {
                let minor = if self == Odd::Zero { "5" } else { "7" };
                let made = system("mknod").arg(path).args(["c", "1", minor]).output().unwrap();
                if !made.status.success() {
                    return false;
                }
            }
            Odd::Foreign => {
                put(path, "{}");
                if !is_root() {
                    fs::remove_file(path).unwrap();
                    return false;
                }
                std::os::unix::fs::chown(path, Some(12345), None).unwrap();
            }
            Odd::Sparse => fs::File::create(path).unwrap().set_len(1 << 40).unwrap(),
            Odd::Empty => put(path, ""),
            Odd::Garbage => put(path, "\u{1b}[31m::error::{\"schema\":[[[\u{202e}"),
        }
        true
    }
}

/// Removes whatever is at a path.
pub(super) fn clear(path: &Path) {
    match path.symlink_metadata() {
        Ok(there) if there.is_dir() => fs::remove_dir_all(path).unwrap(),
        Ok(there) => {
            assert!(!there.file_type().is_block_device());
            fs::remove_file(path).unwrap();
        }
        Err(_) => {}
    }
}

/// Files of somebody else, to which links may lead.
pub(super) struct Outside {
    path: PathBuf,
}

impl Outside {
    pub(super) fn beside(factory: &Factory) -> Outside {
        let path = factory.path("outside");
        fs::create_dir(&path).unwrap();
        put(&path.join("linked"), "somebody's\n");
        Outside { path }
    }

    /// As it was before something was written into it.
    pub(super) fn mend(&self) {
        put(&self.path.join("linked"), "somebody's\n");
    }

    /// What is in it, as it would change by any write; what links to it is no matter.
    pub(super) fn content(&self) -> BTreeMap<PathBuf, String> {
        let seen = everything(&self.path);
        seen.into_keys()
            .map(|path| {
                let content = fs::read_to_string(&path).unwrap_or_default();
                (path, content)
            })
            .collect()
    }
}
