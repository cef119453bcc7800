//! Exit codes. Each means something to a script, a unit file or a person; an unknown one is a failure.

use std::fmt;

use crate::ui::layout::Layout;

/// How the program ended. The order of severity is [`ExitStatus::worse`]'s, not the numbers'.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExitStatus {
    /// Committed, or nothing to do.
    Ok,
    /// A failure that nobody planned for.
    Failed,
    /// The command line is wrong.
    Usage,
    /// Committed; something failed or is unknown, a later tick tries again. `status`: not alive.
    Partial,
    /// Committed; something new needs a person.
    Attention,
    /// A command declined to act; nothing changed.
    Refused,
    /// `--dry-run --detailed-exitcode`: the plan is not empty.
    WouldAct,
    /// The registry is corrupt beyond its backup, or newer than this program.
    BadState,
    /// Neither the source nor the fleet could be reached.
    Unavailable,
    /// The state directory can't be made or is unsafe.
    CannotCreate,
    /// Writing the state failed.
    IoError,
    /// Another tick holds the lock.
    Busy,
    /// Credentials are missing or were refused.
    Denied,
    /// The configuration has problems.
    BadConfig,
    /// Ended by SIGINT; the effect under way was finished and committed.
    Interrupted,
    /// Ended by SIGTERM; the effect under way was finished and committed.
    Terminated,
}

impl ExitStatus {
    /// The number for the operating system. 65 to 78 are those of sysexits.h, 130 and 143 a shell's.
    pub fn code(self) -> u8 {
        match self {
            ExitStatus::Ok => 0,
            ExitStatus::Failed => 1,
            ExitStatus::Usage => 2,
            ExitStatus::Partial => 3,
            ExitStatus::Attention => 4,
            ExitStatus::Refused => 5,
            ExitStatus::WouldAct => 10,
            ExitStatus::BadState => 65,
            ExitStatus::Unavailable => 69,
            ExitStatus::CannotCreate => 73,
            ExitStatus::IoError => 74,
            ExitStatus::Busy => 75,
            ExitStatus::Denied => 77,
            ExitStatus::BadConfig => 78,
            ExitStatus::Interrupted => 130,
            ExitStatus::Terminated => 143,
        }
    }

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            ExitStatus::Ok => "ok",
            ExitStatus::Failed => "failed",
            ExitStatus::Usage => "usage",
            ExitStatus::Partial => "partial",
            ExitStatus::Attention => "attention",
            ExitStatus::Refused => "refused",
            ExitStatus::WouldAct => "would-act",
            ExitStatus::BadState => "bad-state",
            ExitStatus::Unavailable => "unavailable",
            ExitStatus::CannotCreate => "cannot-create",
            ExitStatus::IoError => "io-error",
            ExitStatus::Busy => "busy",
            ExitStatus::Denied => "denied",
            ExitStatus::BadConfig => "bad-config",
            ExitStatus::Interrupted | ExitStatus::Terminated => "interrupted",
        }
    }

    /// The one that a person must hear of where both hold: 1 > 74 > 65, 73, 77, 78 > 69 > 4 > 3 > 0. A signal
    /// is told only where nothing worse is.
    pub fn worse(self, other: ExitStatus) -> ExitStatus {
        if other.severity() > self.severity() { other } else { self }
    }

    fn severity(self) -> u8 {
        match self {
            ExitStatus::Ok => 0,
            ExitStatus::WouldAct => 1,
            ExitStatus::Partial => 2,
            ExitStatus::Attention => 3,
            ExitStatus::Interrupted | ExitStatus::Terminated => 4,
            ExitStatus::Unavailable => 5,
            ExitStatus::Usage | ExitStatus::Refused | ExitStatus::Busy => 6,
            ExitStatus::BadState | ExitStatus::CannotCreate | ExitStatus::Denied | ExitStatus::BadConfig => 7,
            ExitStatus::IoError => 8,
            ExitStatus::Failed => 9,
        }
    }
}

impl From<ExitStatus> for std::process::ExitCode {
    fn from(status: ExitStatus) -> Self {
        status.code().into()
    }
}

/// Why a command ended without a result: the status is for scripts, the text for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What kind.
    pub status: ExitStatus,
    /// What failed, where, and what to do next.
    pub text: String,
    /// The same for a terminal, where there is more to show than words.
    pub page: Option<Layout>,
    /// Whether the state could not be saved for want of room.
    pub no_room: bool,
}

impl Failure {
    /// A failure of a kind.
    pub fn new(status: ExitStatus, text: impl Into<String>) -> Failure {
        Failure { status, text: text.into(), page: None, no_room: false }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        Failure::new(ExitStatus::Failed, format!("{error:#}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_one_is_told() {
        use ExitStatus::*;
        let order = [Ok, Partial, Attention, Unavailable, BadConfig, IoError, Failed];
        for (at, milder) in order.iter().enumerate() {
            for worse in &order[at..] {
                assert_eq!(milder.worse(*worse), *worse);
                assert_eq!(worse.worse(*milder), *worse);
            }
        }
    }
}
