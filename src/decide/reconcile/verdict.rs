//! What the end of a run means: one reading of its receipt and its last words.

use jiff::Timestamp;

use crate::config::Role;
use crate::harness::{self, Counts, Meaning, Preset, Reading, ResetHint};
use crate::model::{ClockReading, Exit, ExitReason, FailureClass, Output, Reported, RunFacts, Usage};
use crate::registry::AgentRecord;
use crate::text::cut::{excerpt, last_line};
use crate::text::escape;

/// What a run's end means.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::decide) struct Verdict {
    /// `None`: it ended well.
    pub class: Option<FailureClass>,
    /// In words.
    pub because: String,
    /// What it leaves behind.
    pub facts: RunFacts,
    /// When its provider is worth asking again, where it said so.
    pub reset: Option<Timestamp>,
}

/// Reads the end of an agent's run.
///
/// The receipt's reason beats a code of 0: a program that tidies up after a TERM and exits with 0 did not
/// do its work.
pub(in crate::decide) fn verdict(
    agent: &AgentRecord,
    role: &Role,
    exit: Option<&Exit>,
    reported: &Reported,
    output: &Output,
    now: &ClockReading,
) -> Verdict {
    // What ran was the harness on record, whatever is configured by now.
    let preset = harness::preset(&agent.spec.harness);
    let reading = preset.zip(exit).map(|(preset, exit)| {
        (preset, exit, harness::read(preset, exit, reported, output, agent.spec.is_resume()))
    });
    let (class, because) = match &reading {
        Some((_, exit, reading)) if reads_better(exit, reading) => {
            (class_of(reading.verdict), reading.because.clone())
        }
        _ => of_receipt(role, agent.spec.is_resume(), exit, reported, output),
    };
    let (class, because) = match exit.and_then(full_disk) {
        Some(full) if class.is_some_and(FailureClass::charged) => {
            (Some(FailureClass::Machine), format!("{because}; no room was left for {full}"))
        }
        _ => (class, because),
    };
    let never_began = exit.is_some_and(Exit::never_began);
    let ended = exit.is_some_and(|exit| exit.reason == ExitReason::Exited);
    let asked = reported.park.clone().filter(|_| ended);
    match reading {
        Some((preset, exit, reading)) => Verdict {
            class,
            because,
            reset: reading.reset_at.map(|hint| match hint {
                ResetHint::At(at) => at,
                // The wall clock may have been set since it ended.
                ResetHint::After(wait) => {
                    now.after(wait.saturating_sub(now.since(&exit.ended).unwrap_or_default()))
                }
            }),
            facts: RunFacts {
                usage: usage(preset, agent, &reading),
                session: reading.session,
                question: reading.question.or(asked),
                never_began,
            },
        },
        None => Verdict {
            class,
            because,
            reset: None,
            facts: RunFacts {
                session: reported.session.clone(),
                usage: Usage::default(),
                question: asked,
                never_began,
            },
        },
    }
}

/// What had no room when a run ended, by the measure of its launcher. An agent may talk of a full disk that is none.
fn full_disk(exit: &Exit) -> Option<&'static str> {
    exit.room.disks().find_map(|(name, free)| free.is_full().then_some(name))
}

/// Whether the program's own account says more than the receipt: of its own end always, of one that its launcher
/// made of it only where it was waiting for its provider then.
fn reads_better(exit: &Exit, reading: &Reading) -> bool {
    match exit.reason {
        ExitReason::Exited => true,
        ExitReason::Deadline | ExitReason::Stalled => reading.verdict != Meaning::Agent,
        ExitReason::Stopped
        | ExitReason::Launch
        | ExitReason::Hook
        | ExitReason::Infra
        | ExitReason::Machine => false,
    }
}

fn class_of(meaning: Meaning) -> Option<FailureClass> {
    match meaning {
        Meaning::Ok => None,
        Meaning::Agent => Some(FailureClass::Agent),
        Meaning::SessionGone => Some(FailureClass::SessionGone),
        Meaning::SessionTaken => Some(FailureClass::SessionTaken),
        Meaning::RateLimited => Some(FailureClass::RateLimited),
        Meaning::Unreachable => Some(FailureClass::Unreachable),
        Meaning::Denied => Some(FailureClass::Denied),
        Meaning::NeedsInput => Some(FailureClass::NeedsInput),
        Meaning::NoEffect => Some(FailureClass::NoEffect),
        Meaning::Unfinished => Some(FailureClass::Unfinished),
    }
}

/// What this run used. A program that counts by session counts what its earlier runs have used again.
fn usage(preset: &Preset, agent: &AgentRecord, reading: &Reading) -> Usage {
    let before = match preset.counts {
        Counts::Run => 0,
        Counts::Session => agent.session_tokens.filter(|_| agent.spec.is_resume()).unwrap_or(0),
    };
    Usage {
        micro_usd: reading.usd.map(|usd| (usd * 1e6).round() as u64),
        tokens: reading.tokens.map(|tokens| tokens.saturating_sub(before)),
        session_tokens: reading.tokens.filter(|_| preset.counts == Counts::Session),
    }
}

fn of_receipt(
    role: &Role,
    resumed: bool,
    exit: Option<&Exit>,
    reported: &Reported,
    output: &Output,
) -> (Option<FailureClass>, String) {
    let failed = |class, because: String| (Some(class), because);
    let Some(exit) = exit else {
        return failed(
            FailureClass::Vanished,
            "it is gone and left no exit receipt: its launcher was killed".into(),
        );
    };
    let error = || exit.error.clone().unwrap_or_else(|| "no reason given".to_owned());
    match exit.reason {
        ExitReason::Deadline => {
            failed(FailureClass::Deadline, format!("ended after its deadline{}", limit(" of ", exit)))
        }
        ExitReason::Stalled => {
            failed(FailureClass::Stalled, format!("nothing on stdout{}", limit(" for ", exit)))
        }
        ExitReason::Stopped => failed(FailureClass::Killed, "somebody told its launcher to stop".into()),
        ExitReason::Launch | ExitReason::Hook => failed(FailureClass::Launch, error()),
        ExitReason::Infra => failed(FailureClass::Infra, error()),
        ExitReason::Machine => failed(FailureClass::Machine, error()),
        ExitReason::Exited => match &reported.park {
            Some(reason) => {
                failed(FailureClass::NeedsInput, format!("the agent asks for a person: {}", excerpt(reason)))
            }
            None => own_end(role, resumed, exit, output),
        },
    }
}

fn own_end(role: &Role, resumed: bool, exit: &Exit, output: &Output) -> (Option<FailureClass>, String) {
    let because = match (exit.code, exit.signal) {
        (Some(0), _) => return (None, "exit code 0".into()),
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "ended in an unknown way".to_owned(),
    };
    let last_words = last_line(&output.stderr_tail).or_else(|| last_line(&output.stdout_tail));
    let because = match last_words {
        Some(words) => format!("{because}: {}", excerpt(words)),
        None => because,
    };
    let gone = resumed && role.session_gone.iter().any(|text| output.stderr_tail.contains(text.as_str()));
    (Some(if gone { FailureClass::SessionGone } else { FailureClass::Agent }), because)
}

/// The limit by which its launcher ended a run, by its receipt: the configuration may say something else by now.
fn limit(before: &str, exit: &Exit) -> String {
    exit.limit_ms.map_or_else(String::new, |ms| format!("{before}{}", escape::milliseconds(ms)))
}
