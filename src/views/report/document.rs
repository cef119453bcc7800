//! A report for scripts.

use super::{DecisionLine, OutcomeLine, SurvivorLine, TickReport};
use crate::model::{Held, RunId, Signalled};
use crate::views::{counters, json};

impl TickReport {
    /// For a script: one line.
    pub fn to_json(&self) -> String {
        json::one_line(&self.document())
    }

    fn document(&self) -> json::Report {
        json::Report {
            schema: json::SCHEMA,
            dry_run: self.dry_run,
            status: self.exit.name(),
            exit_code: self.exit.code(),
            serial: self.serial,
            started_at: self.started_at,
            duration_ms: self.duration_ms,
            counts: self.counts.clone(),
            decisions: self.decisions.iter().map(decision).collect(),
            held: self.held.iter().map(held).collect(),
            outcomes: self.outcomes.iter().map(outcome).collect(),
            reaped: self.reaped.iter().map(reaped).collect(),
            survivors: self.survivors.iter().map(survivor).collect(),
            skipped: self
                .skipped
                .iter()
                .map(|skipped| json::Skipped { pid: skipped.pid, reason: skipped.reason.clone() })
                .collect(),
            counters: counters::document(&self.counters),
            errors: self.errors.clone(),
        }
    }
}

fn decision(line: &DecisionLine) -> json::Decision {
    json::Decision {
        action: line.action,
        item: line.item.as_ref().map(ToString::to_string),
        agent: line.run.as_ref().map(|run| run.agent.to_string()),
        run: line.run.as_ref().map(ToString::to_string),
        code: line.code,
        because: line.because.clone(),
    }
}

fn held(held: &Held) -> json::Held {
    json::Held {
        item: held.item.to_string(),
        code: held.code.name(),
        because: held.because.clone(),
        until: held.until,
    }
}

fn outcome(line: &OutcomeLine) -> json::Outcome {
    json::Outcome {
        action: line.action,
        item: line.item.as_ref().map(ToString::to_string),
        agent: line.run.as_ref().map(|run| run.agent.to_string()),
        run: line.run.as_ref().map(ToString::to_string),
        ok: line.ok,
        class: line.class.map(|class| class.name()),
        error: line.error.clone(),
    }
}

fn reaped((run, signalled): &(RunId, Signalled)) -> json::Reaped {
    json::Reaped { run: run.to_string(), pid: signalled.pid, signals: signalled.signals.clone() }
}

fn survivor(line: &SurvivorLine) -> json::Survivor {
    json::Survivor { run: line.run.to_string(), pid: line.pid, because: line.because.clone() }
}
