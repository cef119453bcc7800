//! The documents of commands that are neither ticks nor reports.

use jiff::Timestamp;
use serde::Serialize;

/// The document of `init`.
#[derive(Debug, Serialize)]
pub struct Init {
    /// The layout, 1.
    pub schema: u32,
    /// Whether nothing was written.
    pub dry_run: bool,
    /// Name of the exit code.
    pub status: &'static str,
    /// The exit code.
    pub exit_code: u8,
    /// Paths of the files.
    pub made: [String; 2],
    /// The harness of the role that was written.
    pub harness: &'static str,
}

/// The document of `relocate`.
#[derive(Debug, Serialize)]
pub struct Relocate {
    /// The layout, 1.
    pub schema: u32,
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// Name of the exit code.
    pub status: &'static str,
    /// The exit code.
    pub exit_code: u8,
    /// Path of the state directory.
    pub state: String,
    /// Path of the configuration that the state belongs to by now.
    pub config: String,
    /// The identity of the state. The runs of a state carry it.
    pub lineage: String,
}

/// The document of `kill-tick`.
#[derive(Debug, Serialize)]
pub struct KillTick {
    /// The layout, 1.
    pub schema: u32,
    /// Name of the exit code.
    pub status: &'static str,
    /// The exit code.
    pub exit_code: u8,
    /// The tick that was signalled.
    pub pid: u32,
    /// Name of the signal, without `SIG`.
    pub signal: &'static str,
    /// When that tick began.
    pub started_at: Timestamp,
}
