//! Room that is kept free for the orders of a person.
//!
//! An agent can fill the disk of the state, or take its last inode. Then `stop` can write nothing down, and ends nothing.
//! So a tick keeps a reserve, `reserve/`: 1 MiB of written bytes, and 64 empty files for their inodes. An order deletes it
//! when its commit finds no room, and commits again. A later tick makes the reserve again, once there is room.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::durable::atomic;
use crate::state::HostDir;

const RESERVE: &str = "reserve";

/// The file that holds the bytes. It is made last: where it is whole, the inodes are there too.
const BYTES: &str = "bytes";

/// A commit takes as much as the registry: 1 kB for each item. Receipts take 1 kB for each run.
const SIZE: usize = 1 << 20;

/// A commit takes one inode, the receipts of a run take two.
const INODES: u32 = 64;

/// A reserve is made where so many of it would fit: its making must not be what fills the disk.
const ROOM: u64 = 4;

/// Makes the reserve where it is not whole and there is room for it. True: it is whole.
///
/// # Errors
///
/// Those of the system. Then there is none.
pub fn keep(dir: &HostDir) -> io::Result<bool> {
    if is_whole(dir) {
        return Ok(true);
    }
    if !has_room(dir) {
        return Ok(false);
    }
    match make(dir) {
        Ok(()) => Ok(true),
        Err(error) => {
            // A part of it would be room that nobody can use.
            spend(dir);
            Err(error)
        }
    }
}

/// Deletes the reserve, as far as it is there. True: something was.
pub(crate) fn spend(dir: &HostDir) -> bool {
    let Ok(reserve) = open(dir) else { return false };
    let mut spent = unlink(reserve.as_fd(), BYTES);
    for n in 0..INODES {
        spent |= unlink(reserve.as_fd(), &inode(n));
    }
    let _ = rustix::fs::unlinkat(dir, RESERVE, AtFlags::REMOVEDIR);
    spent
}

/// Whether an error says that there is no room: no block, no inode, no quota.
pub(crate) fn is_no_room(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

fn is_whole(dir: &HostDir) -> bool {
    let Ok(reserve) = open(dir) else { return false };
    let stat = rustix::fs::statat(&reserve, BYTES, AtFlags::SYMLINK_NOFOLLOW);
    stat.is_ok_and(|stat| usize::try_from(stat.st_size).is_ok_and(|size| size >= SIZE))
}

fn has_room(dir: &HostDir) -> bool {
    let Some(free) = dir.free() else { return false };
    let has_inodes = free.inodes.is_none_or(|inodes| inodes >= ROOM * u64::from(INODES));
    free.bytes >= ROOM * SIZE as u64 && has_inodes
}

fn make(dir: &HostDir) -> io::Result<()> {
    match rustix::fs::mkdirat(dir, RESERVE, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let reserve = open(dir)?;
    for n in 0..INODES {
        create(reserve.as_fd(), &inode(n))?;
    }
    // Random bytes: a file system that compresses or leaves out zeros would keep no room for them.
    let mut bytes = vec![0; SIZE];
    let mut filled = 0;
    while filled < SIZE {
        filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())?;
    }
    let mut file = create(reserve.as_fd(), BYTES)?;
    // Until it is synced, a file system may not have given it any block.
    file.write_all(&bytes).and_then(|()| file.sync_all())
}

fn open(dir: &HostDir) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(dir, RESERVE, atomic::DIRECTORY, Mode::empty())?)
}

/// A file of the reserve, empty.
fn create(reserve: BorrowedFd<'_>, name: &str) -> io::Result<File> {
    atomic::unlink_if_there(reserve, name)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::openat(reserve, name, flags, atomic::PRIVATE)?))
}

fn inode(n: u32) -> String {
    format!("inode-{n}")
}

fn unlink(reserve: BorrowedFd<'_>, name: &str) -> bool {
    rustix::fs::unlinkat(reserve, name, AtFlags::empty()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> (tempfile::TempDir, HostDir) {
        let holder = tempfile::tempdir().unwrap();
        let dir = HostDir::create_or_open(&holder.path().join("state"), true).unwrap();
        (holder, dir)
    }

    // covers: P24
    #[test]
    fn reserve_holds_blocks_and_inodes_until_it_is_spent() {
        use std::os::unix::fs::MetadataExt;
        let (_holder, dir) = state();
        let path = dir.path().join(RESERVE);
        assert!(!spend(&dir), "there is none");
        assert!(keep(&dir).unwrap());
        let files: Vec<_> = std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap()).collect();
        assert_eq!(files.len(), INODES as usize + 1);
        let data = path.join(BYTES).metadata().unwrap();
        assert!(data.blocks() * 512 >= SIZE as u64, "{} blocks", data.blocks());
        let before = data.ino();
        assert!(keep(&dir).unwrap());
        assert_eq!(path.join(BYTES).metadata().unwrap().ino(), before, "a whole reserve stays as it is");
        assert!(spend(&dir) && !path.exists());
        assert!(!spend(&dir));
    }

    // covers: P24
    #[test]
    fn part_of_a_reserve_is_made_whole() {
        let (_holder, dir) = state();
        let path = dir.path().join(RESERVE);
        std::fs::create_dir(&path).unwrap();
        File::create(path.join("inode-0")).unwrap();
        File::create(path.join(BYTES)).unwrap().write_all(b"short").unwrap();
        assert!(keep(&dir).unwrap());
        assert_eq!(path.join(BYTES).metadata().unwrap().len(), SIZE as u64);
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), INODES as usize + 1);
    }
}
