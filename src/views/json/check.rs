//! The document of `check`.

use serde::Serialize;

/// Every finding about what a tick needs.
#[derive(Debug, Serialize)]
pub struct Check<'a> {
    /// The layout, 1.
    pub schema: u32,
    /// Name of the exit code.
    pub status: &'static str,
    /// The exit code.
    pub exit_code: u8,
    /// Whether it was looked at in the few variables that cron gives.
    pub as_cron: bool,
    /// The findings, in the order in which a person corrects things.
    pub checks: Vec<CheckFinding<'a>>,
    /// The lines of a crontab that run the ticks; null where the configuration does not read.
    pub crontab: Option<&'a str>,
}

/// A finding about one thing.
#[derive(Debug, Serialize)]
pub struct CheckFinding<'a> {
    /// Name of the check.
    pub name: &'static str,
    /// The file, role or item that was checked.
    pub subject: &'a str,
    /// False for a problem.
    pub ok: bool,
    /// `ok`, `note` or `problem`.
    pub level: &'static str,
    /// In words.
    pub because: &'a str,
    /// What to do.
    pub hint: Option<&'a str>,
}
