//! A status for scripts.

use super::StatusView;
use crate::registry::{CoolOff, FailureStreak, Paused};
use crate::state::heartbeat::{Health, Heartbeat, Retained, Status};
use crate::views::{counters, json};

impl StatusView {
    /// For a script: one line.
    pub fn to_json(&self) -> String {
        json::one_line(&self.document())
    }

    fn document(&self) -> json::Status<'_> {
        let daily_spend = &self.heading.daily_spend;
        json::Status {
            schema: json::SCHEMA,
            alive: self.alive,
            paused: self.pause.is_some(),
            pause: self.pause.as_ref().map(pause),
            breaker: self.breaker.as_ref().map(breaker),
            stopped: self.stopped.as_ref().map(|stopped| json::Stopped {
                code: stopped.code.name(),
                because: &stopped.because,
                since: stopped.since,
            }),
            cool_offs: self.heading.cool_offs.iter().map(cool_off).collect(),
            heartbeat: self.heartbeat.as_ref().map(heartbeat),
            in_flight: &self.in_flight,
            waiting: self.waiting.iter().map(|one| &one.line).collect(),
            parked: self.parked.iter().map(|one| &one.line).collect(),
            stuck: self.stuck.iter().map(|one| &one.line).collect(),
            handoffs: &self.handoffs,
            notes: &self.notes,
            daily_spend: json::DailySpend { starts: daily_spend.starts, usd: daily_spend.usd },
            counters: counters::document(&self.counters),
        }
    }
}

fn pause(pause: &Paused) -> json::Pause<'_> {
    json::Pause { because: &pause.because, since: pause.since(), until: pause.until() }
}

fn breaker(streak: &FailureStreak) -> json::Breaker<'_> {
    json::Breaker {
        failures: streak.failures,
        since: streak.since,
        item: &streak.item.0,
        because: &streak.because,
    }
}

fn cool_off((scope, cool_off): &(String, CoolOff)) -> json::CoolOff<'_> {
    json::CoolOff { scope, because: &cool_off.because, since: cool_off.begun.at, until: cool_off.until }
}

fn heartbeat(beat: &Heartbeat) -> json::Heartbeat<'_> {
    json::Heartbeat {
        version: &beat.version,
        config: &beat.config,
        pid: beat.pid,
        start_ticks: beat.start_ticks,
        boot_id: &beat.boot_id,
        host: &beat.host,
        status: match beat.status {
            Status::Running => "running",
            Status::Idle => "idle",
            Status::Stopping => "stopping",
            Status::Failed => "failed",
        },
        serial: beat.serial,
        ticks: beat.ticks,
        started_at: beat.started_at,
        updated_at: beat.updated_at,
        updated_at_ms: beat.updated_at_ms,
        exit_code: beat.exit_code,
        reason: beat.reason.as_deref(),
        reported_at: beat.reported_at,
        paused: beat.paused,
        source: health(&beat.source),
        fleet: health(&beat.fleet),
        retention: beat.retained.as_ref().map(retention),
    }
}

fn health(health: &Health) -> json::Health<'_> {
    json::Health { ok: health.ok, since: health.since, error: health.error.as_deref() }
}

fn retention(retained: &Retained) -> json::Retention<'_> {
    json::Retention { looked_at: retained.looked_at, error: retained.error.as_deref() }
}
