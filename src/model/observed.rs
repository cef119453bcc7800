//! A look at something outside: its answer, or why there is none.

use std::fmt;

use jiff::Timestamp;

/// The answer of a look, or why there is none. An absent thing is not an unknown thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observed<T> {
    /// The look saw everything.
    Known(T),
    /// The look failed, so nothing is known.
    Unknown(Unavailable),
}

impl<T> Observed<T> {
    /// The answer, if there is one.
    pub fn known(&self) -> Option<&T> {
        match self {
            Observed::Known(value) => Some(value),
            Observed::Unknown(_) => None,
        }
    }

    /// Why there is no answer.
    pub fn unknown(&self) -> Option<&Unavailable> {
        match self {
            Observed::Known(_) => None,
            Observed::Unknown(why) => Some(why),
        }
    }

    /// A look that failed for a reason which no kind but [`UnavailableKind::Broken`] fits.
    pub fn broken(text: impl Into<String>) -> Observed<T> {
        Observed::Unknown(Unavailable::broken(text))
    }
}

/// Why a source or a fleet gives no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// Which kind of failure it is; the exit status depends on it.
    pub kind: UnavailableKind,
    /// The earliest time of the next try, where the other side named one.
    pub retry_at: Option<Timestamp>,
    /// What failed, for people.
    pub text: String,
}

/// The kinds of failure of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnavailableKind {
    /// The credentials were refused, or there are none.
    Denied,
    /// The other side asks for fewer requests.
    RateLimited,
    /// The other side did not answer, or not in time.
    Unreachable,
    /// Anything else: an answer that can't be read, a file that can't be opened.
    Broken,
}

impl Unavailable {
    /// [`UnavailableKind::Broken`], without a time of the next try.
    pub fn broken(text: impl Into<String>) -> Unavailable {
        Unavailable::new(UnavailableKind::Broken, text)
    }

    /// Of this kind, without a time of the next try.
    pub fn new(kind: UnavailableKind, text: impl Into<String>) -> Unavailable {
        Unavailable { kind, retry_at: None, text: text.into() }
    }

    /// The same, with the earliest time of the next try.
    pub fn retry_at(self, retry_at: Option<Timestamp>) -> Unavailable {
        Unavailable { retry_at, ..self }
    }

    /// The same failure, with words before its own.
    pub fn context(self, before: impl fmt::Display) -> Unavailable {
        Unavailable { text: format!("{before}: {}", self.text), ..self }
    }

    /// Whether a person has to give other credentials.
    pub fn is_denied(&self) -> bool {
        self.kind == UnavailableKind::Denied
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
