//! From what was heard to what it means.

use std::time::Duration;

use jiff::Timestamp;

use super::{Meaning, Preset, Reading, ResetHint, SessionFrom};
use crate::harness::schema::{OutputSchema, of_status};
use crate::harness::transcript::{Ended, Transcript, parse};
use crate::model::{Exit, ExitReason, Output, Reported};
use crate::text::cut::{clip, excerpt, last_line};

/// Longest of a question that is kept, in bytes: it goes into the prompt with its answer.
const QUESTION_BYTES_MAX: usize = 1 << 10;

/// Longest of a last message that is kept, in bytes: it is for a person to read.
const MESSAGE_BYTES_MAX: usize = 4 << 10;

/// Reads the end of a run: its exit receipt, what its agent said of itself, and its last output. `resumed`: it went
/// on with a session.
///
/// A run that its launcher ended has a reason already, in its receipt. For one that was ended for its deadline or its
/// silence anything but [`Meaning::Agent`] says that it was waiting for its provider then, and on what: that is not its
/// agent's fault. With [`Meaning::Agent`] the receipt says more.
///
/// Tolerates half lines, lines that are no JSON, unknown fields and missing ones: versions differ, and the output is
/// the end of a bounded log.
pub fn read(preset: &Preset, exit: &Exit, reported: &Reported, output: &Output, resumed: bool) -> Reading {
    let talk = &preset.talk;
    let mut heard = parse(talk, &output.stdout_tail);
    if let Some(end) = heard.end.as_ref().filter(|end| !end.failed)
        && let Some(words) = end.words.clone()
    {
        heard.say(&words);
    }
    let run = Run { talk, exit, reported, heard: &heard, stderr: &output.stderr_tail, resumed };
    let (verdict, because) = run.verdict();
    let question = (verdict == Meaning::NeedsInput).then(|| run.question()).flatten();
    let end = heard.end.as_ref();
    // The launcher has heard all of stdout; here is only its end.
    let session = match preset.session {
        SessionFrom::Chosen => heard.session.or_else(|| reported.session.clone()),
        SessionFrom::Reported => reported.session.clone().or(heard.session),
    };
    Reading {
        reset_at: (verdict == Meaning::RateLimited)
            .then(|| reset(heard.reset, end.and_then(|end| end.words.as_deref())))
            .flatten(),
        session: session.filter(|_| verdict != Meaning::SessionGone),
        usd: end.and_then(|end| end.usd),
        tokens: end.and_then(|end| end.tokens),
        last_message: heard.message.as_deref().map(|message| clip(message.trim(), MESSAGE_BYTES_MAX)),
        question,
        verdict,
        because,
    }
}

/// Everything that is known of one run.
struct Run<'a> {
    talk: &'a OutputSchema,
    exit: &'a Exit,
    reported: &'a Reported,
    heard: &'a Transcript,
    stderr: &'a str,
    resumed: bool,
}

impl Run<'_> {
    fn verdict(&self) -> (Meaning, String) {
        if self.exit.reason != ExitReason::Exited {
            return self.ended_by_launcher();
        }
        if let Some(reason) = self.reported.park.as_ref().or(self.heard.park.as_ref()) {
            return (Meaning::NeedsInput, format!("the agent asks for a person: {}", excerpt(reason)));
        }
        match &self.heard.end {
            Some(end) if !end.failed && self.exit.code == Some(0) => self.success(end),
            None if self.exit.code == Some(0) => self.no_end(),
            end => self.failure(end.as_ref()),
        }
    }

    fn ended_by_launcher(&self) -> (Meaning, String) {
        let timed_out = matches!(self.exit.reason, ExitReason::Deadline | ExitReason::Stalled);
        match self.heard.waits.filter(|_| timed_out && self.heard.end.is_none()) {
            Some(meaning) => (meaning, "it was waiting for its provider until it was ended".to_owned()),
            None => (Meaning::Agent, "its launcher ended it".to_owned()),
        }
    }

    /// It says that all went well. Whether that is so it can't know; that it isn't, it often can.
    fn success(&self, end: &Ended) -> (Meaning, String) {
        if !end.denied.is_empty() {
            let because = format!(
                "the agent was not allowed to use {}: allow it in the role's `args`, or tell the agent to do without",
                end.denied.join(", ")
            );
            return (Meaning::NeedsInput, because);
        }
        let last = self.heard.message.as_deref().and_then(last_line);
        if end.turns == Some(0) || (last.is_none() && !self.heard.worked) {
            return (
                Meaning::NoEffect,
                "it ended with success, without a word and without any work".to_owned(),
            );
        }
        if let Some(question) = last.filter(|line| is_question(line)) {
            return (Meaning::NeedsInput, format!("the agent asks: {}", excerpt(question)));
        }
        let unfinished = self.heard.unfinished();
        if !unfinished.is_empty() {
            let work = excerpt(&unfinished.join(", "));
            return (Meaning::Unfinished, format!("the session ended while work of it still ran: {work}"));
        }
        if !self.reported.unconnected.is_empty() {
            let servers = excerpt(&self.reported.unconnected.join(", "));
            let because = format!("the session had no connection to the tools of {servers}");
            return (Meaning::Unfinished, because);
        }
        (Meaning::Ok, "it says that it is done".to_owned())
    }

    /// What the agent asks a person, in its own words.
    fn question(&self) -> Option<String> {
        let parked = self.reported.park.as_deref().or(self.heard.park.as_deref());
        let last = || self.heard.message.as_deref().and_then(last_line).filter(|line| is_question(line));
        parked.or_else(last).map(|question| clip(question, QUESTION_BYTES_MAX))
    }

    /// Code 0, and no line that says how the session ended.
    fn no_end(&self) -> (Meaning, String) {
        let because = if self.heard.torn {
            "exit code 0, but the line with its result is too long to be read: see the log of the run"
        } else {
            "exit code 0, but it never said that its session had ended"
        };
        (Meaning::NoEffect, because.to_owned())
    }

    fn failure(&self, end: Option<&Ended>) -> (Meaning, String) {
        let code = match (self.exit.code, self.exit.signal) {
            (Some(0), _) => "exit code 0, but it reports an error".to_owned(),
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => format!("killed by signal {signal}"),
            (None, None) => "ended in an unknown way".to_owned(),
        };
        let words = end.and_then(|end| end.words.as_deref()).and_then(last_line);
        let because = match words.or_else(|| last_line(self.stderr)) {
            Some(words) => format!("{code}: {}", excerpt(words)),
            None => code,
        };
        (self.cause(end), because)
    }

    fn is_refused(&self, end: Option<&Ended>) -> bool {
        let words = end.and_then(|end| end.words.as_deref()).unwrap_or(self.stderr);
        let status = end.and_then(|end| end.status).or_else(|| self.talk.status_in(words));
        status == Some(BAD_REQUEST) || self.talk.refused.iter().any(|text| words.contains(text))
    }

    /// What a failure is due to: the program's own fields first, then its words, then what it last waited for.
    fn cause(&self, end: Option<&Ended>) -> Meaning {
        let by_status = end.and_then(|end| end.status).map(of_status);
        let by_words = || {
            // What is logged to stderr on the way is no cause once the program has named one.
            self.talk.of_words(end.and_then(|end| end.words.as_deref()).unwrap_or(self.stderr))
        };
        let cause = by_status
            .filter(|meaning| *meaning != Meaning::Agent)
            .or(self.heard.code)
            .or_else(by_words)
            .or(self.heard.waits.filter(|_| end.is_none()))
            .unwrap_or(Meaning::Agent);
        match cause {
            // A session that was never to be resumed can't be missing, and one that was can't be in the way.
            Meaning::SessionGone if !self.resumed => Meaning::Agent,
            Meaning::SessionTaken if self.resumed => Meaning::Agent,
            // The provider does not take what is in the session, and never will.
            Meaning::Agent if self.resumed && !self.heard.worked && self.is_refused(end) => {
                Meaning::SessionGone
            }
            cause => cause,
        }
    }
}

/// The provider's word on a request that is no good, whoever sends it again.
const BAD_REQUEST: u64 = 400;

/// Whether a message that ends with this line asks something, with the marks that may close it left aside.
fn is_question(line: &str) -> bool {
    line.trim_end_matches(['*', '_', '`', '"', '\'', ')', ']', '”', '’', ' ']).ends_with(['?', '？'])
}

fn reset(at: Option<i64>, words: Option<&str>) -> Option<ResetHint> {
    let at = at.and_then(|seconds| Timestamp::from_second(seconds).ok()).map(ResetHint::At);
    at.or_else(|| words.and_then(try_again_in).map(ResetHint::After))
}

/// The time in `… try again in 11.054s`, as providers word it.
fn try_again_in(words: &str) -> Option<Duration> {
    const BEFORE: &str = "try again in ";
    let rest = words.get(words.to_ascii_lowercase().find(BEFORE)? + BEFORE.len()..)?;
    let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let number: f64 = rest[..digits].trim_end_matches('.').parse().ok()?;
    let unit = rest[digits..].trim_start();
    let unit = &unit[..unit.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(unit.len())];
    let seconds = match unit {
        "ms" => 0.001,
        "s" | "second" | "seconds" => 1.0,
        "m" | "min" | "minute" | "minutes" => 60.0,
        "h" | "hour" | "hours" => 3600.0,
        "d" | "day" | "days" => 86_400.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number * seconds).ok()
}
