//! What the last lines of a run hold: facts, and no judgement.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Meaning, is_session};
use crate::harness::schema::{OutputSchema, Tasks, is};

/// A line by which an agent asks for a person. It never reaches stdout as a line of its own here: the program wraps
/// what its agent says.
const PARK: &str = "FACTORY_PARK=";

/// What was heard, the latest of each.
#[derive(Debug, Default)]
pub(crate) struct Transcript {
    pub(crate) session: Option<String>,
    /// The agent's last words.
    pub(crate) message: Option<String>,
    /// It asked for a person, with this reason.
    pub(crate) park: Option<String>,
    /// A tool answered the agent.
    pub(crate) worked: bool,
    /// What the program waits for; `None` again as soon as anything else is heard.
    pub(crate) waits: Option<Meaning>,
    /// What the program's own class of its last failure means.
    pub(crate) code: Option<Meaning>,
    /// When the limit ends, in seconds since 1970.
    pub(crate) reset: Option<i64>,
    pub(crate) end: Option<Ended>,
    /// What still runs, by its id.
    running: BTreeMap<String, String>,
    /// What was stopped after the session had ended.
    cut_off: Vec<String>,
    /// The last line is the end of one that is longer than the tail.
    pub(crate) torn: bool,
}

/// How the session ended, by the program's own account.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) failed: bool,
    pub(crate) status: Option<u64>,
    pub(crate) words: Option<String>,
    /// Tools that the agent was not allowed to use, each once.
    pub(crate) denied: Vec<String>,
    pub(crate) turns: Option<u64>,
    pub(crate) usd: Option<f64>,
    pub(crate) tokens: Option<u64>,
}

/// Listens to the end of stdout. What is no JSON is not the program's: half a line, or noise between lines.
pub(crate) fn parse(talk: &OutputSchema, stdout: &str) -> Transcript {
    let mut heard = Transcript::default();
    for line in stdout.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match serde_json::from_str::<Value>(line) {
            Ok(line) => heard.line(talk, &line),
            Err(_) => heard.torn = line.ends_with('}'),
        }
    }
    heard
}

impl Transcript {
    fn line(&mut self, talk: &OutputSchema, line: &Value) {
        self.torn = false;
        self.waits = talk.wait_on(line);
        if let Some(id) = talk.session.text_in(line).filter(|id| is_session(id)) {
            self.session = Some(id.to_owned());
        }
        if let Some(words) = talk.message.text_in(line) {
            self.say(words);
        }
        if talk.work.iter().any(|kind| is(line, kind)) {
            self.worked = true;
        }
        if is(line, talk.code.on) {
            // A line of that kind without one: it went on.
            self.code = talk.code.text_in(line).and_then(|code| talk.of_code(code));
        }
        if let Some(at) = talk.reset.value_in(line).and_then(Value::as_i64) {
            self.reset = Some(at);
        }
        self.follow_task(&talk.tasks, line);
        if talk.end.on.iter().any(|kind| is(line, kind)) {
            self.end = Some(Ended::read(talk, line));
            // The agent had another turn since: it knows what was stopped before.
            self.cut_off.clear();
        }
    }

    fn follow_task(&mut self, tasks: &Tasks, line: &Value) {
        let text = |at: &str| line.pointer(at).and_then(Value::as_str).map(str::to_owned);
        let Some(id) = text(tasks.id) else { return };
        if is(line, tasks.begin) {
            self.running.insert(id, text(tasks.does).unwrap_or_default());
        } else if is(line, tasks.end) {
            let known = self.running.remove(&id);
            // What its agent stops in a turn of its own is over, and what it waits for ends by itself.
            if self.end.is_some() && is(line, tasks.stopped) {
                self.cut_off.push(known.or_else(|| text(tasks.did)).unwrap_or_default());
            }
        }
    }

    /// What the agent had started and did not see the end of.
    pub(crate) fn unfinished(&self) -> Vec<&str> {
        self.cut_off.iter().chain(self.running.values()).map(String::as_str).collect()
    }

    /// The agent's words, and whether one of their lines asks for a person.
    pub(crate) fn say(&mut self, words: &str) {
        let mut reasons = words.lines().filter_map(|line| line.trim().strip_prefix(PARK)).map(str::trim);
        if let Some(reason) = reasons.rfind(|reason| !reason.is_empty()) {
            self.park = Some(reason.to_owned());
        }
        if !words.trim().is_empty() {
            self.message = Some(words.to_owned());
        }
    }
}

impl Ended {
    fn read(talk: &OutputSchema, line: &Value) -> Ended {
        let end = &talk.end;
        let at = |pointer: Option<&str>| pointer.and_then(|pointer| line.pointer(pointer));
        let numbers: Vec<u64> =
            end.tokens.iter().filter_map(|pointer| line.pointer(pointer)?.as_u64()).collect();
        let mut denied: Vec<String> = at(end.denials)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .map(|denial| end.denied_tool.and_then(|tool| denial.pointer(tool)?.as_str()).unwrap_or("a tool"))
            .map(str::to_owned)
            .collect();
        denied.sort();
        denied.dedup();
        Ended {
            failed: at(end.is_error).and_then(Value::as_bool).unwrap_or(false)
                || end.failed.iter().any(|kind| is(line, kind)),
            status: at(end.status).and_then(Value::as_u64),
            words: end.words.iter().find_map(|pointer| line.pointer(pointer)?.as_str()).map(str::to_owned),
            denied,
            turns: at(end.turns).and_then(Value::as_u64),
            usd: at(end.usd).and_then(Value::as_f64).filter(|usd| usd.is_finite() && *usd >= 0.0),
            tokens: (!numbers.is_empty()).then(|| numbers.into_iter().fold(0, u64::saturating_add)),
        }
    }
}
