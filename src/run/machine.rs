//! Which failures are the machine's: it is short of something, or its disks take no writes.

use std::io;

use rustix::io::Errno;

use crate::model::{ExitReason, FailureClass};

/// Error numbers of a machine that is short of processes, memory, files or room, or whose disk refuses writes. The next
/// start would fail in the same way, whichever item it is of.
const FAULTS: [Errno; 8] = [
    Errno::AGAIN,
    Errno::NOMEM,
    Errno::MFILE,
    Errno::NFILE,
    Errno::NOSPC,
    Errno::DQUOT,
    Errno::ROFS,
    Errno::IO,
];

/// Whether this error number of the system is a fault of the machine.
pub(crate) fn is_fault(os: i32) -> bool {
    FAULTS.contains(&Errno::from_raw_os_error(os))
}

/// The first error number of the system behind an error.
fn os_error(error: &anyhow::Error) -> Option<i32> {
    error.chain().find_map(|cause| {
        let of_std = cause.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
        of_std.or_else(|| cause.downcast_ref::<Errno>().map(|errno| errno.raw_os_error()))
    })
}

/// Whether a fault of the machine is behind an error.
pub(crate) fn is_behind(error: &anyhow::Error) -> bool {
    os_error(error).is_some_and(is_fault)
}

/// The class of a start that failed in the factory's own folders. Also one that may not be written to, or is not there,
/// fails every start.
pub(crate) fn class_of_start(error: &anyhow::Error) -> FailureClass {
    const OF_FOLDER: [Errno; 5] = [Errno::ACCESS, Errno::PERM, Errno::NOENT, Errno::NOTDIR, Errno::LOOP];
    let of_folder = |os: i32| OF_FOLDER.contains(&Errno::from_raw_os_error(os));
    match os_error(error) {
        Some(os) if is_fault(os) || of_folder(os) => FailureClass::Machine,
        _ => FailureClass::Infra,
    }
}

/// The reason of a run that never ran because of this error in the launcher's own work.
pub(crate) fn reason_of(error: &anyhow::Error) -> ExitReason {
    if is_behind(error) { ExitReason::Machine } else { ExitReason::Infra }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    fn error(errno: Errno) -> anyhow::Error {
        let error = io::Error::from_raw_os_error(errno.raw_os_error());
        Err::<(), _>(error).context("what was done").unwrap_err()
    }

    // covers: P05
    #[test]
    fn faults_of_the_machine_are_told_by_number() {
        for errno in FAULTS {
            assert_eq!(class_of_start(&error(errno)), FailureClass::Machine, "{errno}");
            assert_eq!(reason_of(&error(errno)), ExitReason::Machine, "{errno}");
        }
        for errno in [Errno::EXIST, Errno::TXTBSY, Errno::TOOBIG] {
            assert_eq!(class_of_start(&error(errno)), FailureClass::Infra, "{errno}");
            assert_eq!(reason_of(&error(errno)), ExitReason::Infra, "{errno}");
        }
        assert_eq!(class_of_start(&anyhow::anyhow!("its path is not UTF-8")), FailureClass::Infra);
    }

    // covers: P05
    #[test]
    fn unwritable_run_folder_is_a_fault_of_the_machine() {
        for errno in [Errno::ACCESS, Errno::PERM, Errno::NOTDIR] {
            assert_eq!(class_of_start(&error(errno)), FailureClass::Machine, "{errno}");
            assert_eq!(reason_of(&error(errno)), ExitReason::Infra, "an agent's own folder: {errno}");
        }
    }
}
