//! The small files that a launcher leaves in a run's directory beside its receipts.

use std::path::PathBuf;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::model::ExitReason;
use crate::run::machine;

/// `runs/<run>/cgroup`: the control group that the processes of the run are put in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Its directory.
    pub dir: PathBuf,
}

/// `tmp` in a run's directory: which directory it is. Written before that is made, so that a kill leaves none behind
/// that nobody knows.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TmpNote {
    /// The directory.
    pub(crate) path: PathBuf,
}

/// Why a program could not be executed.
#[derive(Debug, Serialize, Deserialize)]
pub struct ExecError {
    /// For people.
    pub text: String,
    /// The system's error number.
    pub os: Option<i32>,
}

impl ExecError {
    /// Why there is no agent: the machine was short of something, the program was being written at that moment, or it
    /// is not to be had.
    pub(crate) fn reason(&self) -> ExitReason {
        match self.os {
            Some(os) if machine::is_fault(os) => ExitReason::Machine,
            Some(os) if Errno::from_raw_os_error(os) == Errno::TXTBSY => ExitReason::Infra,
            _ => ExitReason::Launch,
        }
    }
}
