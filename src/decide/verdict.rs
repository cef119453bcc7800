//! What the end of a run means: one reading of its receipt and its last words.

use crate::config::Role;
use crate::model::{Class, Exit, ExitReason, Output, Said};

/// How much of an agent's own words goes into a reason, in bytes.
const QUOTE_BYTES: usize = 200;

/// What a run's end means.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// `None`: it ended well.
    pub class: Option<Class>,
    /// In words.
    pub because: String,
}

/// Reads the end of a run. `resumed`: it went on with a session.
///
/// The receipt's reason beats a code of 0: a program that tidies up after a TERM and exits with 0 did not
/// do its work.
pub(super) fn verdict(
    role: &Role,
    resumed: bool,
    exit: Option<&Exit>,
    said: &Said,
    output: &Output,
) -> Verdict {
    let failed = |class, because: String| Verdict { class: Some(class), because };
    let Some(exit) = exit else {
        return failed(
            Class::Vanished,
            "it is gone and left no exit receipt: its launcher was killed".into(),
        );
    };
    let error = || exit.error.clone().unwrap_or_else(|| "no reason given".to_owned());
    match exit.reason {
        ExitReason::Deadline => {
            failed(Class::Deadline, format!("ended after its deadline of {}", limit(role.deadline)))
        }
        ExitReason::Stalled => failed(Class::Stalled, format!("nothing on stdout for {}", limit(role.stall))),
        ExitReason::Stopped => failed(Class::Killed, "somebody told its launcher to stop".into()),
        ExitReason::Launch | ExitReason::Hook => failed(Class::Launch, error()),
        ExitReason::Infra => failed(Class::Infra, error()),
        ExitReason::Exited => match &said.park {
            Some(reason) => {
                failed(Class::NeedsInput, format!("the agent asks for a person: {}", quote(reason)))
            }
            None => own_end(role, resumed, exit, output),
        },
    }
}

fn own_end(role: &Role, resumed: bool, exit: &Exit, output: &Output) -> Verdict {
    let because = match (exit.code, exit.signal) {
        (Some(0), _) => return Verdict { class: None, because: "exit code 0".into() },
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "ended in an unknown way".to_owned(),
    };
    let last_words = last_line(&output.stderr_tail).or_else(|| last_line(&output.stdout_tail));
    let because = match last_words {
        Some(words) => format!("{because}: {}", quote(words)),
        None => because,
    };
    let gone = resumed && role.session_gone.iter().any(|text| output.stderr_tail.contains(text.as_str()));
    Verdict { class: Some(if gone { Class::SessionGone } else { Class::Agent }), because }
}

fn limit(limit: Option<std::time::Duration>) -> String {
    limit.map_or_else(|| "an earlier configuration".to_owned(), |limit| format!("{limit:?}"))
}

fn last_line(text: &str) -> Option<&str> {
    text.lines().map(str::trim).rfind(|line| !line.is_empty())
}

fn quote(text: &str) -> String {
    let end = (0..=QUOTE_BYTES.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    let more = if end < text.len() { "…" } else { "" };
    format!("{}{more}", &text[..end])
}
