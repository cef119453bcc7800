//! An explanation for scripts.

use super::{ExplainView, Rule};
use crate::registry::{ItemRecord, TrackerNote};
use crate::views::{json, words};

impl ExplainView {
    /// For a script: one line.
    pub fn to_json(&self) -> String {
        json::one_line(&self.document())
    }

    fn document(&self) -> json::Explain<'_> {
        json::Explain {
            schema: json::SCHEMA,
            item: &self.item.0,
            key: &self.key,
            title: self.title.as_deref(),
            rules: self.rules.iter().map(rule).collect(),
            errors: &self.errors,
            record: self.record.as_ref().map(record),
            agents: &self.agents,
            next_runs: &self.next_runs,
            next_runs_error: self.next_runs_error.as_deref(),
            events: &self.events,
        }
    }
}

fn rule(rule: &Rule) -> json::Rule<'_> {
    json::Rule {
        name: rule.name,
        run: rule.run.as_ref().map(ToString::to_string),
        verdict: rule.verdict.name(),
        because: &rule.because,
        until: rule.until,
        decides: rule.decides,
    }
}

fn record(record: &ItemRecord) -> json::Record {
    json::Record {
        phase: words::phase(record.state),
        origin: record.origin.clone(),
        attempts: record.attempts,
        uncharged_streak: record.uncharged_streak,
        continuations: record.continued,
        due_at: record.due_at,
        dispatches: record.dispatch,
        parked_by: record.parked_by.map(words::parked_by),
        last: record.last.as_ref().map(|last| json::RecordFailure {
            class: last.class.map(|class| class.name()),
            because: last.because.clone(),
            at: last.at,
        }),
        tracker_note: tracker_note(&record.outbox.tracker_note),
        missing_reads: record.missing_reads,
        workspace_taken: record.taken.clone(),
        messages: record
            .messages
            .iter()
            .map(|message| json::Message { text: message.text.clone(), heard: message.heard })
            .collect(),
    }
}

fn tracker_note(note: &TrackerNote) -> json::TrackerNote {
    json::TrackerNote {
        wanted: note.wanted.as_ref().map(|wanted| json::Wanted {
            status: wanted.status.name(),
            at: wanted.at,
            because: wanted.because.clone(),
        }),
        notified: note.notified.as_ref().map(|notified| json::Notified {
            status: notified.status.name(),
            at: notified.at,
            given_up: notified.dropped,
        }),
        tries: note.tries,
        due_at: note.due_at,
        last_error: note.last_error.clone(),
    }
}
