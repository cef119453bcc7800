//! A line of the event log. Lines are public: they hold plain values alone, so that a renamed field of a record changes
//! none.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

/// Something that happened.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    /// When, in UTC.
    pub at: Timestamp,
    /// The kind: the name of an action, with `_outcome` for what became of it, or another word.
    pub event: String,
    /// What it is about, where it is about an item.
    #[serde(flatten)]
    pub subject: Option<Subject>,
    /// The rest.
    #[serde(flatten)]
    pub detail: Detail,
}

impl Event {
    /// An event about no item.
    pub fn new(at: Timestamp, event: impl Into<String>, detail: Detail) -> Event {
        Event { at, event: event.into(), subject: None, detail }
    }

    /// The same, about an item or a run.
    pub fn about(self, subject: Subject) -> Event {
        Event { subject: Some(subject), ..self }
    }

    /// As the log holds it.
    pub fn line(&self) -> Value {
        // Plain values always serialise: every key is a text.
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// The names by which a line may be looked for; null where there is none, or where it is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Subject {
    /// Id of the item.
    pub item: Option<String>,
    /// Key of the item.
    pub key: Option<String>,
    /// Name of the agent.
    pub agent: Option<String>,
    /// Name of the run.
    pub run: Option<String>,
    /// Session of the run.
    pub session: Option<String>,
}

/// What an event tells besides its names.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Detail {
    /// A decision.
    Decision {
        /// The class of a failure, the status of a note, or the scope of a cool-off.
        code: Option<&'static str>,
        /// In words.
        because: String,
        /// Program and arguments of a start.
        argv: Option<Vec<String>>,
    },
    /// What became of a decision.
    Outcome(Box<Outcome>),
    /// A reason: an item has all its attempts again, or a run's directory was removed.
    Because {
        /// In words.
        because: String,
    },
    /// A workspace was removed, or its hook did not end well.
    Workspace {
        /// Name of its folder.
        workspace: String,
        /// In words.
        because: String,
    },
    /// Something could not be removed.
    NotRemoved {
        /// Name of the workspace's folder, where it is one.
        #[serde(skip_serializing_if = "Option::is_none")]
        workspace: Option<String>,
        /// In words.
        error: String,
    },
    /// Another tick held the lock.
    Busy {
        /// The process that did not get it.
        pid: u32,
        /// Which process holds it, in words.
        because: String,
    },
    /// A tick died in the middle.
    Crashed {
        /// Its process.
        pid: u32,
        /// When it began.
        started_at: Timestamp,
    },
    /// The state goes on in another place, or with another configuration.
    Moved {
        /// Path of the configuration.
        config: String,
        /// Path of the state directory.
        directory: String,
        /// Both as they were.
        was: Place,
    },
    /// A copy became a state of its own.
    Relocated {
        /// Its lineage.
        lineage: String,
        /// The lineage of the state that it was copied from.
        was: String,
    },
}

/// Where a state was.
#[derive(Clone, Debug, Serialize)]
pub struct Place {
    /// Path of its configuration.
    pub config: String,
    /// Path of its directory.
    pub directory: String,
}

/// What became of a decision. What does not apply is absent.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Outcome {
    /// Whether nothing of it has to be tried again.
    pub ok: bool,
    /// The class of a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<&'static str>,
    /// A failure, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Of a fence: `won`, `lost` or `late`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fence: Option<&'static str>,
    /// What a reap did.
    #[serde(flatten)]
    pub reaped: Option<Reaped>,
}

/// What a reap did.
#[derive(Clone, Debug, Serialize)]
pub struct Reaped {
    /// Processes that were signalled.
    pub signalled: Vec<Signalled>,
    /// Processes that could not be ended.
    pub survivors: Vec<Survivor>,
    /// Processes that were left alone.
    pub skipped: Vec<Skipped>,
}

/// A process that was signalled.
#[derive(Clone, Debug, Serialize)]
pub struct Signalled {
    /// The process.
    pub pid: u32,
    /// Names of the signals in order, without `SIG`.
    pub signals: Vec<&'static str>,
}

/// A process that could not be ended.
#[derive(Clone, Debug, Serialize)]
pub struct Survivor {
    /// The process.
    pub pid: u32,
    /// Name of its command.
    pub command: String,
    /// Why it lives, in words.
    pub because: String,
}

/// A process that was left alone.
#[derive(Clone, Debug, Serialize)]
pub struct Skipped {
    /// The process.
    pub pid: u32,
    /// Why, in words.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_keys(detail: Detail, keys: &str) {
        let event = Event::new(Timestamp::UNIX_EPOCH, "x", detail).about(Subject::default());
        let line = event.line();
        let found: Vec<_> = line.as_object().unwrap().keys().cloned().collect();
        let mut want: Vec<_> = keys.split_whitespace().chain(NAMES.split_whitespace()).collect();
        want.sort_unstable();
        assert_eq!(found, want);
    }

    const NAMES: &str = "at event item key agent run session";

    // A key that changes breaks the tools of people who read the log.
    #[test]
    fn lines_have_the_documented_keys_and_no_others() {
        let (x, at) = (String::new, Timestamp::UNIX_EPOCH);
        assert_keys(Detail::Decision { code: None, because: x(), argv: None }, "code because argv");
        assert_keys(Detail::Because { because: x() }, "because");
        assert_keys(Detail::Workspace { workspace: x(), because: x() }, "workspace because");
        assert_keys(Detail::NotRemoved { workspace: Some(x()), error: x() }, "workspace error");
        assert_keys(Detail::NotRemoved { workspace: None, error: x() }, "error");
        assert_keys(Detail::Busy { pid: 1, because: x() }, "pid because");
        assert_keys(Detail::Crashed { pid: 1, started_at: at }, "pid started_at");
        let was = Place { config: x(), directory: x() };
        assert_keys(Detail::Moved { config: x(), directory: x(), was }, "config directory was");
        assert_keys(Detail::Relocated { lineage: x(), was: x() }, "lineage was");
        assert_keys(Detail::Outcome(Box::default()), "ok");
        let failed = Outcome { class: Some("infra"), error: Some(x()), ..Outcome::default() };
        assert_keys(Detail::Outcome(Box::new(failed)), "ok class error");
        let fenced = Outcome { fence: Some("won"), ..Outcome::default() };
        assert_keys(Detail::Outcome(Box::new(fenced)), "ok fence");
        let survivors = vec![Survivor { pid: 1, command: x(), because: x() }];
        let reaped = Reaped { signalled: Vec::new(), survivors, skipped: Vec::new() };
        let reaped = Outcome { reaped: Some(reaped), ..Outcome::default() };
        assert_keys(Detail::Outcome(Box::new(reaped)), "ok signalled survivors skipped");
    }

    #[test]
    fn event_about_nothing_has_no_names() {
        let event =
            Event::new(Timestamp::UNIX_EPOCH, "busy", Detail::Busy { pid: 1, because: String::new() });
        let line = event.line();
        assert_eq!(line.as_object().unwrap().keys().collect::<Vec<_>>(), ["at", "because", "event", "pid"]);
    }
}
