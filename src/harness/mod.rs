//! The agent programs that are known by name: how each is started and resumed, and what its end means.
//!
//! A program is one table ([`Preset`]): `claude.rs`, `codex.rs`. Everything else here reads any of them, so that
//! another program is another table and its recordings (`fixtures/harness`), from which the tables were written
//! and against which they are tested.
//!
//! Nothing here acts, looks at a clock or asks the machine for anything. What a program prints is its own word on
//! itself; what its agent prints is anybody's. The two are told apart by the line: each of these programs prints one
//! JSON object per line and escapes what its agent says inside of it.
//!
//! # What can't be told
//!
//! - Whether the work is done. A program says that its agent stopped talking, not that it was right to.
//! - Whether the agent asks something. No program marks a question that is asked in prose: a last message that ends
//!   with a question mark is taken for one. "Done. Shall I open a pull request?" is therefore put before a person,
//!   too; a question that ends with a full stop is not.
//! - What codex's sandbox kept its agent from doing: neither the command nor its failure is on stdout. claude lists
//!   its denials.
//! - When a limit ends, where the program keeps that to itself: claude with an API key drops the `retry-after` it
//!   was sent; codex names a time of day without its time zone.

mod claude;
mod codex;
mod permissions;
mod schema;
mod transcript;
mod verdict;

#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::Timestamp;

use crate::fingerprint::sha256_hex;
use crate::harness::schema::OutputSchema;
use crate::model::RunId;

pub use permissions::{Home, PermissionTable, Permitted};
pub use verdict::read;

/// Every preset; `command` is none, its words are the configuration's.
pub const PRESETS: [&Preset; 2] = [&claude::PRESET, &codex::PRESET];

/// Longest line that can be one of a program's own on its waiting, in bytes. The real ones have a few hundred; what
/// is longer need not be read to know that something happens.
const WAITING_BYTES_MAX: usize = 4 << 10;

/// Stands for the session's id in [`Preset::start`], [`Preset::resume`] and [`Preset::takeover`].
const SESSION: &str = "{session}";

/// Stands for the role's own arguments, one by one.
const ARGS: &str = "{args}";

/// A program whose sessions can be started, resumed and read.
#[derive(Debug)]
pub struct Preset {
    /// What `harness` is set to.
    pub name: &'static str,
    /// How a session is started. The prompt goes to stdin, which is then closed: both programs wait for its end.
    start: &'static [&'static str],
    /// How a session is gone on with; the prompt likewise.
    resume: &'static [&'static str],
    /// How a person goes on with a session.
    takeover: &'static [&'static str],
    /// Who names a session.
    pub session: SessionFrom,
    /// The longest silence on stdout that a healthy agent may need.
    pub stall: Duration,
    /// Variables that the program itself needs to reach its provider and its sessions. Passed where they are set;
    /// one that is not set is no error.
    pub env: &'static [&'static str],
    /// Variables that it is given where nothing else sets them.
    pub set: &'static [(&'static str, &'static str)],
    /// What its numbers of tokens count.
    pub counts: Counts,
    /// Of those the ones that hold a credential; any one is enough.
    pub credentials: &'static [&'static str],
    /// Where it keeps its settings and its login.
    pub home: Home,
    /// What allows its agent to act.
    pub grants: PermissionTable,
    /// How its lines are read.
    talk: OutputSchema,
}

/// Who names a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionFrom {
    /// We do, with [`chosen_session`]: it is known before the program runs, but may not exist after a crash.
    Chosen,
    /// The program does, on a line of its stdout: [`session_on`].
    Reported,
}

/// What a number of tokens is the number of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counts {
    /// Of one run.
    Run,
    /// Of everything that a session has used so far, its earlier runs included.
    Session,
}

/// What the end of a run means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Meaning {
    /// As far as the program can tell, it ended well.
    Ok,
    /// A failure of the agent, or one that nothing else explains.
    Agent,
    /// The session to resume does not exist: resuming can never work.
    SessionGone,
    /// The session to start exists already, made by an earlier start: resume it.
    SessionTaken,
    /// The provider is out of capacity, or the account of its share.
    RateLimited,
    /// The provider can't be reached, or fails.
    Unreachable,
    /// The provider refuses the credentials, or there are none.
    Denied,
    /// The agent asks for a person, or for permissions that only a person can give.
    NeedsInput,
    /// It said that all was well while work of its agent still ran, or without the tools that the agent needs.
    Unfinished,
    /// Nothing was done, and trying again would not change that: no prompt, no turn, no word.
    NoEffect,
}

/// What was read from the end of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// What it means.
    pub verdict: Meaning,
    /// In words, for people; what a program or an agent said in it is clipped, and not escaped.
    pub because: String,
    /// The session that can be resumed, where one was named.
    pub session: Option<String>,
    /// Cost of this run in US dollars, by the program's own account.
    pub usd: Option<f64>,
    /// Tokens read and written: of what, tells [`Preset::counts`].
    pub tokens: Option<u64>,
    /// When the provider is worth asking again, where that was told.
    pub reset_at: Option<ResetHint>,
    /// The agent's last message.
    pub last_message: Option<String>,
    /// What it asks a person.
    pub question: Option<String>,
}

/// When a limit ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetHint {
    /// At this time.
    At(Timestamp),
    /// This long after the end of the run.
    After(Duration),
}

/// The preset of that name; `None` for `command` and for any other.
pub fn preset(name: &str) -> Option<&'static Preset> {
    PRESETS.into_iter().find(|preset| preset.name == name)
}

/// The id for the session that a run starts, where we choose it: a UUID of version 4's shape that depends on the run
/// alone, so that a plan which is made again is the same plan.
///
/// `lineage` tells one registry from another: runs are numbered from 1 again when the state is wiped, and the old
/// sessions still lie in the person's home.
pub fn chosen_session(lineage: &str, run: &RunId) -> String {
    let hash = sha256_hex(&[b"session", lineage.as_bytes(), run.to_string().as_bytes()]);
    // Version 4, variant 1: the program refuses anything else.
    format!("{}-{}-4{}-8{}-{}", &hash[..8], &hash[8..12], &hash[12..15], &hash[15..18], &hash[18..30])
}

impl Preset {
    /// Program and arguments for a fresh start. `session`: for [`SessionFrom::Chosen`]; others leave it out.
    pub fn start_argv(&self, session: &str, args: &[String]) -> Vec<String> {
        fill(self.start, session, args)
    }

    /// Program and arguments for going on with a session.
    pub fn resume_argv(&self, session: &str, args: &[String]) -> Vec<String> {
        fill(self.resume, session, args)
    }

    /// Program and arguments for a person who goes on with a session at a terminal.
    pub fn takeover_argv(&self, session: &str) -> Vec<String> {
        fill(self.takeover, session, &[])
    }
}

fn fill(argv: &[&str], session: &str, args: &[String]) -> Vec<String> {
    let mut filled = Vec::with_capacity(argv.len() + args.len());
    for argument in argv {
        match *argument {
            ARGS => filled.extend_from_slice(args),
            SESSION => filled.push(session.to_owned()),
            plain => filled.push(plain.to_owned()),
        }
    }
    filled
}

/// The session that a line of stdout names, if it is the line that does.
pub fn session_on(preset: &Preset, line: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(line).ok()?;
    preset
        .talk
        .session
        .text_in(&serde_json::from_str(text).ok()?)
        .filter(|id| is_session(id))
        .map(str::to_owned)
}

/// The tool servers that a session needs by its arguments and has no connection to, if it is the line that says so.
pub fn unconnected_on(preset: &Preset, argv: &[String], line: &[u8]) -> Option<Vec<String>> {
    let servers = preset.talk.servers.as_ref()?;
    servers.unconnected(argv, &serde_json::from_slice(line).ok()?)
}

/// Whether a line of stdout says that something goes on. A program that waits for its provider says so again and
/// again, and codex for ever where there is no network: that must not keep its run from counting as stalled.
pub fn is_progress(preset: &Preset, line: &[u8]) -> bool {
    if line.len() > WAITING_BYTES_MAX {
        return true;
    }
    let Ok(text) = std::str::from_utf8(line) else { return true };
    let text = text.trim();
    let waits = || serde_json::from_str(text).is_ok_and(|line| preset.talk.wait_on(&line).is_some());
    !text.is_empty() && !waits()
}

/// An id becomes an argument of a command: it must not read as an option, nor hide anything.
fn is_session(id: &str) -> bool {
    /// Ids of the programs known have 36 bytes.
    const BYTES_MAX: usize = 256;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    !id.is_empty() && id.len() <= BYTES_MAX && !id.starts_with('-') && id.chars().all(plain)
}
