//! Waiting: the descriptor of a process, its end, and a pause.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::PidfdFlags;

/// A descriptor of whoever has this pid now; it never becomes anybody else's.
pub(super) fn open_pidfd(pid: u32) -> Result<OwnedFd, Errno> {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).ok_or(Errno::SRCH)?;
    rustix::process::pidfd_open(pid, PidfdFlags::empty())
}

/// Whether the process behind a descriptor has ended: zombies have.
pub(super) fn has_ended(pidfd: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    matches!(rustix::event::poll(&mut fds, Some(&Timespec::default())), Ok(1))
}

/// Does nothing for a while: between two looks of a loop that is bounded by a deadline.
pub fn pause(duration: Duration) {
    // A signal may cut it short; the next look then comes sooner.
    let _ = rustix::event::poll(&mut [], Some(&timespec(duration)));
}

/// For a poll; the longest wait where the duration does not fit.
pub(super) fn timespec(duration: Duration) -> Timespec {
    Timespec::try_from(duration).unwrap_or(Timespec { tv_sec: i32::MAX.into(), tv_nsec: 0 })
}
