//! What it means when a broker did not do what it was asked.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::answer::Answer;
use crate::model::{Unavailable, UnavailableKind};
use crate::text::cut::clip;
use crate::text::escape;

/// No complaint is near this long; of what is longer only this much is read.
const COMPLAINT_BYTES_MAX: usize = 64 << 10;

/// How much of the words of others goes into a message.
const QUOTE_BYTES_MAX: usize = 300;

/// Why a broker did not do what it was asked, or why that is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The request never left.
    Unreachable(String),
    /// It has only just begun to run and answers nothing yet: a matter of milliseconds.
    Starting,
    /// It refused the key, or the service behind it refused the broker's.
    Denied(String),
    /// An agent of this very name runs in this broker.
    NameTaken,
    /// The service behind the broker has an agent of this very name on its books.
    NameHeld(String),
    /// The name belongs to an agent whose end the service behind the broker has not confirmed yet, or knows nothing of.
    PendingCleanup(String),
    /// The service behind the broker gives the name to nobody here: it is another agent's, or the key is not enough.
    Withheld(String),
    /// The service behind the broker could not be asked about the name.
    NoService(String),
    /// It is to be asked later.
    RateLimited {
        /// When, where it was said.
        retry_after: Option<Duration>,
        /// In its words.
        message: String,
    },
    /// It said no.
    Refused {
        /// Of the reply.
        status: u16,
        /// Its name for the reason, where it has one.
        code: Option<String>,
        /// In its words.
        message: String,
    },
    /// It started the program, which ended at once. Whether it did anything before that, only the program can tell.
    EndedAtOnce(String),
    /// The request may have been performed, or still be.
    Unknown(String),
}

impl Failure {
    /// Whether it is certain that nothing was done.
    pub fn is_certain(&self) -> bool {
        !matches!(self, Failure::Unknown(_) | Failure::EndedAtOnce(_))
    }

    /// The same failure as that of a look which was made at `now`.
    pub fn unavailable(&self, now: Timestamp) -> Unavailable {
        let kind = match self {
            Failure::Denied(_) => UnavailableKind::Denied,
            Failure::RateLimited { .. } => UnavailableKind::RateLimited,
            Failure::Unreachable(_) | Failure::Starting | Failure::Unknown(_) => UnavailableKind::Unreachable,
            _ => UnavailableKind::Broken,
        };
        let retry_at = match self {
            // A wait beyond the end of time is no time at all.
            Failure::RateLimited { retry_after: Some(wait), .. } => now.checked_add(*wait).ok(),
            _ => None,
        };
        Unavailable::new(kind, self.to_string()).retry_at(retry_at)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Unreachable(why) => write!(f, "the broker was not asked: {why}"),
            Failure::Starting => f.write_str("the broker is starting and answers nothing yet"),
            Failure::Denied(message) => write!(f, "the broker refused the key: {message}"),
            Failure::NameTaken => f.write_str("an agent of that name runs in the broker already"),
            Failure::NameHeld(message) => {
                write!(f, "the broker's service has that name on its books: {message}")
            }
            Failure::PendingCleanup(message) => write!(f, "the name is not free yet: {message}"),
            Failure::Withheld(message) => write!(f, "the name can't be taken back: {message}"),
            Failure::NoService(why) => write!(f, "nobody could be asked whose the name is: {why}"),
            Failure::RateLimited { retry_after: Some(wait), message } => {
                write!(f, "the broker asks for {} s of patience: {message}", wait.as_secs())
            }
            Failure::RateLimited { retry_after: None, message } => {
                write!(f, "the broker asks for patience: {message}")
            }
            Failure::Refused { status, message, .. } => write!(f, "the broker refused ({status}): {message}"),
            Failure::EndedAtOnce(message) => write!(f, "the broker saw the program end at once: {message}"),
            Failure::Unknown(why) => write!(f, "what the broker did is not known: {why}"),
        }
    }
}

/// What a reply complains of, in whichever of the broker's shapes: `{"error":"…","success":false,"name":"…"}`,
/// `{"code":"…","message":"…"}`, `{"error":{"code":"…","message":"…"}}`, a line of text, nothing.
pub(super) struct Complaint {
    /// Its name for the reason.
    pub(super) code: Option<String>,
    /// For people.
    pub(super) message: String,
    /// Which agent it is about.
    about: Option<String>,
    /// Whether it came in a shape of the broker's own: whoever else stands on the way has other ones.
    its_own: bool,
}

impl Complaint {
    pub(super) fn of(body: &[u8]) -> Complaint {
        let start = &body[..body.len().min(COMPLAINT_BYTES_MAX)];
        let read: Option<Value> = serde_json::from_slice(start).ok();
        read.as_ref().and_then(Complaint::structured).unwrap_or_else(|| {
            let message = String::from_utf8_lossy(start).trim().to_owned();
            Complaint { code: None, message, about: None, its_own: false }
        })
    }

    fn structured(body: &Value) -> Option<Complaint> {
        let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        let complaint = |code, message, about| Complaint { code, message, about, its_own: true };
        match body.get("error") {
            Some(Value::String(message)) => Some(complaint(None, message.clone(), text(body, "name"))),
            Some(error) => Some(complaint(text(error, "code"), text(error, "message")?, None)),
            None => Some(complaint(Some(text(body, "code")?), text(body, "message")?, None)),
        }
    }

    /// In its own words, made fit for a terminal and a log.
    pub(super) fn quote(&self) -> String {
        if self.message.is_empty() { "it did not say why".into() } else { quote(&self.message) }
    }
}

/// Somebody else's words, made fit for a terminal and a log.
pub(super) fn quote(words: &str) -> String {
    escape::plain(&clip(words, QUOTE_BYTES_MAX))
}

/// What a reply means that is no success, whatever had been asked.
pub(super) fn of(answer: &Answer) -> Failure {
    let complaint = Complaint::of(&answer.body);
    let status = answer.status;
    let refused = || Failure::Refused { status, code: complaint.code.clone(), message: complaint.quote() };
    match status {
        401 | 403 => Failure::Denied(complaint.quote()),
        429 => Failure::RateLimited { retry_after: answer.retry_after, message: complaint.quote() },
        400..=499 => refused(),
        503 if complaint.message.starts_with("Broker is starting") => Failure::Starting,
        500..=599 if complaint.its_own => refused(),
        // Whoever that was: the broker may have been asked by then.
        _ => Failure::Unknown(format!("it answered {status}: {}", complaint.quote())),
    }
}

/// What a reply to a start means that is no success.
pub(super) fn of_spawn(answer: &Answer, name: &str) -> Failure {
    let complaint = Complaint::of(&answer.body);
    if answer.status != 500 || !complaint.its_own {
        return of(answer);
    }
    let message = complaint.message.as_str();
    // The whole message, and this very name: the same words occur in other errors, and about other agents.
    if message == format!("agent '{name}' already exists") && complaint.about.as_deref() == Some(name) {
        return Failure::NameTaken;
    }
    if message.starts_with("worker name has pending owned cleanup") {
        return Failure::PendingCleanup(complaint.quote());
    }
    if message.starts_with(&format!("agent '{name}' process exited during startup")) {
        return Failure::EndedAtOnce(complaint.quote());
    }
    let of_service = message.strip_prefix(&format!("failed to pre-register worker '{name}': "));
    of_service.and_then(|said| of_registration(said, name, &complaint)).unwrap_or_else(|| of(answer))
}

/// What the service behind the broker said when it was told the name of a new agent.
fn of_registration(said: &str, name: &str, complaint: &Complaint) -> Option<Failure> {
    let begins = |with: String| said.starts_with(&with);
    if begins(format!("agent '{name}' already exists and registration is create-only")) {
        return Some(Failure::NameHeld(complaint.quote()));
    }
    if begins(format!("registration for '{name}' was rate-limited")) {
        return Some(Failure::RateLimited { retry_after: patience(said), message: complaint.quote() });
    }
    let denied = [401, 403].iter().any(|code| begins(format!("registration failed for '{name}' ({code})")));
    denied.then(|| Failure::Denied(complaint.quote()))
}

/// The two seconds of `rate-limited; retry after 2s: slow down`.
fn patience(said: &str) -> Option<Duration> {
    let (_, after) = said.split_once("retry after ")?;
    let (seconds, _) = after.split_once('s')?;
    seconds.parse().ok().map(Duration::from_secs)
}
