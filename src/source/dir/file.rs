//! One file of the folder: opened without a wait, bounded, and read as the item that its name promises.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, OFlags, fstat};
use rustix::io::Errno;

use super::markdown;
use super::record::{Problem, RawItem};
use crate::durable::open::{Links, open_at};
use crate::model::WorkItem;

/// The largest file that is read, in bytes. An item is a text for a prompt; a log or a dump that
/// strayed into the folder must not fill the memory of a cron job.
pub(super) const FILE_BYTES_MAX: u64 = 4 << 20;

/// Opens without following a link and without waiting for the other end of a pipe.
pub(super) fn open_file(folder: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    open_at(folder, name, OFlags::RDONLY, Links::Refuse)
}

/// Reads a file to its end, if it is one and not too large.
pub(super) fn fill(buffer: &mut Vec<u8>, file: OwnedFd) -> Result<(), Problem> {
    let too_large = || {
        Problem::new(format!(
            "has more than {FILE_BYTES_MAX} bytes; an item is a text, move the rest elsewhere"
        ))
    };
    let stat = fstat(file.as_fd()).map_err(|error| unreadable_file(error.into()))?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    if kind != FileType::RegularFile {
        return Err(Problem::new(not_a_file(kind)));
    }
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    if size > FILE_BYTES_MAX {
        return Err(too_large());
    }
    // One byte more than needed: the read that finds the end then asks for no more memory.
    buffer.reserve(usize::try_from(size).map_or(0, |size| size + 1));
    // It may still grow, and a file system may not tell its size.
    File::from(file).take(FILE_BYTES_MAX + 1).read_to_end(buffer).map_err(unreadable_file)?;
    if buffer.len() as u64 > FILE_BYTES_MAX { Err(too_large()) } else { Ok(()) }
}

/// Reads the bytes of a file as what its name promises.
pub(super) fn as_item(name: &CStr, bytes: &[u8]) -> Result<WorkItem, Problem> {
    let name = name.to_str().map_err(|_| Problem::new("has a name that is not UTF-8; rename it"))?;
    let text = as_text(bytes)?;
    let (stem, raw) = match name.strip_suffix(".json") {
        Some(stem) => (stem, RawItem::from_json(text)?),
        None => (name.strip_suffix(".md").unwrap_or(name), markdown::read(text)?),
    };
    raw.into_item(stem, name)
}

/// The bytes as text, without the mark that some editors put before it.
fn as_text(bytes: &[u8]) -> Result<&str, Problem> {
    match str::from_utf8(bytes) {
        Ok(text) => Ok(text.strip_prefix('\u{feff}').unwrap_or(text)),
        Err(error) => {
            let line = bytes[..error.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count() + 1;
            Err(Problem::new(format!("is not UTF-8 in line {line}; save it as UTF-8")))
        }
    }
}

pub(super) fn unreadable_file(error: io::Error) -> Problem {
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => "give the user that runs the tick the permission r on it",
        _ => "the next tick tries again",
    };
    Problem::new(format!("can't be read: {error}; {hint}"))
}

pub(super) fn not_a_file(kind: FileType) -> String {
    let kind = match kind {
        FileType::Symlink => "a symbolic link, which is never followed",
        FileType::Directory => "a folder",
        FileType::Fifo => "a named pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        _ => "no regular file",
    };
    format!("is {kind}; put a file here, or give it another name")
}
