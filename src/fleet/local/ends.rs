//! Waiting for launchers to end.

use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{PidfdFlags, pidfd_open};

use crate::model::{Process, Reap};
use crate::process::identity::{self, Host, Life};

/// Waits until all these launchers have ended, or that instant.
pub(super) fn wait(reaps: &[&Reap], until: Instant, host: &Host) {
    let open = |launcher: &Process| {
        let pid = rustix::process::Pid::from_raw(i32::try_from(launcher.pid).ok()?)?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        // Opened first, then compared: from here on the descriptor is that process and no other.
        (identity::life(launcher, host) == Life::Alive).then_some(pidfd)
    };
    let mut ends: Vec<_> = reaps.iter().filter_map(|reap| open(reap.handle.as_ref()?.process()?)).collect();
    while !ends.is_empty() && Instant::now() < until {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        let ended: Vec<bool> = {
            let mut files: Vec<_> = ends.iter().map(|end| PollFd::new(end, PollFlags::IN)).collect();
            if poll(&mut files, Some(&timeout)).is_err() {
                continue;
            }
            files.iter().map(|file| !file.revents().is_empty()).collect()
        };
        let mut ended = ended.into_iter();
        ends.retain(|_| !ended.next().unwrap_or(false));
    }
}
