//! What is free on a file system.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::StatVfs;

use crate::model::Free;

/// What is free where a path lies, or would lie: a folder that is not there yet is made in the one above it.
pub fn free_at(path: &Path) -> Option<Free> {
    let existing = path.ancestors().find(|folder| folder.exists())?;
    rustix::fs::statvfs(existing).ok().map(of)
}

/// What is free where an open file lies.
pub(crate) fn free_of(file: impl AsFd) -> Option<Free> {
    rustix::fs::fstatvfs(file).ok().map(of)
}

fn of(stat: StatVfs) -> Free {
    Free {
        bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        // Where inodes are made as they are needed, their number is told as 0.
        inodes: (stat.f_files > 0).then_some(stat.f_favail),
    }
}
