//! What stops all starts at once.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::Registry;
use super::records::CoolOff;
use crate::config::Budget;
use crate::model::{ClockReading, FailureClass, ItemId, RunId};
use crate::registry::backoff::growing;

/// The scope of the cool-off that a fault of the machine begins: it holds for every role.
pub const MACHINE: &str = "machine";

/// A day recorded as so many days ahead, or fewer, may be right: the clock was set back, perhaps for a moment.
const DAYS_AHEAD_MAX: i32 = 1;

/// Charged failures of all items together since anything ended well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailureStreak {
    /// How many.
    pub failures: u32,
    /// When the first of them was seen.
    pub since: Timestamp,
    /// The item of the last one.
    pub item: ItemId,
    /// What happened to it.
    pub because: String,
}

/// Refusals of a role's credentials in a row, since a run of it was answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusals {
    /// How many. Runs that were under way at the latest one are no further refusal.
    pub streak: u32,
    /// When the latest was seen.
    pub at: ClockReading,
}

/// What was spent on one day, in UTC.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DailySpend {
    /// Which day.
    pub day: Date,
    /// Starts and resumes, with their intents: a brake does not ask what came of them. Those that are known not to have
    /// been tried are given back.
    pub starts: u32,
    /// US dollars, as far as agents told; `None`: none of them did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd: Option<f64>,
    /// Tokens, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// The day that this was counted for before the clock was set back. It may be that one after all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_back_from: Option<Date>,
    /// Whether what is left of it was too little for an item that wanted to start.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
}

impl DailySpend {
    fn begin(at: Timestamp) -> DailySpend {
        DailySpend { day: date(at), starts: 0, usd: None, tokens: None, taken_back_from: None, held: false }
    }

    /// The same at a later time: a new day begins with nothing. One that is further ahead than a clock is set back in
    /// passing was recorded by a clock that was wrong: what was spent counts today instead. Unless it is this clock that is
    /// wrong: when that day is back, it counts there.
    fn at(&self, at: Timestamp) -> DailySpend {
        let now = date(at);
        if self.taken_back_from == Some(now) {
            return DailySpend { day: now, taken_back_from: None, ..self.clone() };
        }
        if now > self.day {
            return DailySpend::begin(at);
        }
        if (self.day - now).get_days() <= DAYS_AHEAD_MAX {
            return self.clone();
        }
        DailySpend { day: now, taken_back_from: self.taken_back_from.or(Some(self.day)), ..self.clone() }
    }

    /// When the next day begins.
    pub fn ends(&self) -> Timestamp {
        let end = self.day.tomorrow().and_then(|day| day.to_zoned(TimeZone::UTC));
        end.map_or(Timestamp::MAX, |end| end.timestamp())
    }

    /// Whether it keeps anything from starting: an item that wanted to, or whatever will.
    pub fn is_spent(&self, budget: &Budget) -> bool {
        self.held || self.exhausted(budget, 1).is_some()
    }

    /// Why nothing more can be spent, if so many starts are wanted.
    pub fn exhausted(&self, budget: &Budget, starts: u32) -> Option<String> {
        if budget.starts_per_day > 0 && self.starts.saturating_add(starts) > budget.starts_per_day {
            return Some(format!("{} of {} starts of the day used", self.starts, budget.starts_per_day));
        }
        let usd = self.usd.filter(|usd| budget.usd_per_day > 0.0 && *usd >= budget.usd_per_day)?;
        Some(format!("{usd:.2} of {:.2} USD of the day spent", budget.usd_per_day))
    }
}

fn date(at: Timestamp) -> Date {
    at.to_zoned(TimeZone::UTC).date()
}

impl Registry {
    /// What was spent on the day of that instant.
    pub fn daily_spend(&self, at: Timestamp) -> DailySpend {
        self.daily_spend.as_ref().map_or_else(|| DailySpend::begin(at), |today| today.at(at))
    }

    /// Adds what a run is known to have cost, at its agent and to the day: US dollars and tokens, where its harness
    /// tells them. To be called once for each run, when it is over.
    pub fn spend(&mut self, run: &RunId, usd: Option<f64>, tokens: Option<u64>, now: &ClockReading) {
        // What an agent prints may be anything; a cost below nothing would buy more starts.
        let usd = usd.filter(|usd| usd.is_finite() && *usd >= 0.0);
        if let Some(agent) = self.agents.get_mut(&run.agent).filter(|agent| agent.n == run.n) {
            agent.run_usd = usd.or(agent.run_usd);
            agent.cost = sum(agent.cost, usd, |one, other| one + other);
            agent.tokens = sum(agent.tokens, tokens, u64::saturating_add);
        }
        if usd.is_some() || tokens.is_some() {
            let mut today = self.daily_spend(now.at);
            today.usd = sum(today.usd, usd, |one, other| one + other);
            today.tokens = sum(today.tokens, tokens, u64::saturating_add);
            self.daily_spend = Some(today);
        }
    }

    pub(super) fn count_start(&mut self, item: &ItemId, now: &ClockReading) {
        let mut today = self.daily_spend(now.at);
        today.starts = today.starts.saturating_add(1);
        self.names.count_start(item, today.day);
        self.daily_spend = Some(today);
    }

    /// A start that was counted and is known not to have been tried.
    pub(super) fn give_start_back(&mut self, item: &ItemId) {
        if let Some(today) = &mut self.daily_spend {
            today.starts = today.starts.saturating_sub(1);
        }
        self.names.give_start_back(item);
    }

    /// How often agents of an item were started or resumed on the day of that instant.
    pub fn item_starts(&self, item: &ItemId, at: Timestamp) -> u32 {
        self.names.starts_on(item, self.daily_spend(at).day)
    }

    /// The provider refused the credentials of an agent that began at that instant, or answered it.
    pub(super) fn count_refusal(
        &mut self,
        role: &str,
        begun: Option<&ClockReading>,
        class: Option<FailureClass>,
        now: &ClockReading,
    ) {
        if class.is_none_or(FailureClass::is_of_agent) {
            self.refusals.remove(role);
        }
        if class != Some(FailureClass::Denied) {
            return;
        }
        let streak = match self.refusals.get(role) {
            Some(before) if !before.at.precedes(begun, now) => return,
            before => before.map_or(0, |before| before.streak).saturating_add(1),
        };
        self.refusals.insert(role.to_owned(), Refusals { streak, at: now.clone() });
    }

    /// The machine could not start a run: nothing is started before the growing wait is over. All starts of one tick are
    /// one failure.
    pub(super) fn cool_machine(&mut self, because: &str, now: &ClockReading) {
        let before = self.cool_offs.get(MACHINE);
        if before.is_some_and(|before| before.begun.as_ref() == Some(now)) {
            return;
        }
        let streak = before.map_or(0, |before| before.streak).saturating_add(1);
        let cool_off = CoolOff {
            because: because.to_owned(),
            since: now.at,
            begun: Some(now.clone()),
            until: Some(now.after(growing(streak))),
            streak,
            credentials: None,
        };
        self.cool_offs.insert(MACHINE.to_owned(), cool_off);
    }

    /// What failed, where it is enough to start nothing any more. `max`: `[attempts] breaker`, 0 is off.
    pub fn open_breaker(&self, max: u32) -> Option<&FailureStreak> {
        self.failure_streak.as_ref().filter(|failing| max > 0 && failing.failures >= max)
    }

    pub(super) fn count_failure(&mut self, item: &ItemId, because: &str, now: &ClockReading) {
        let before = self.failure_streak.as_ref();
        self.failure_streak = Some(FailureStreak {
            failures: before.map_or(0, |failing| failing.failures).saturating_add(1),
            since: before.map_or(now.at, |failing| failing.since),
            item: item.clone(),
            because: because.to_owned(),
        });
    }
}

/// What is told of both; `None` where nothing is told of either.
fn sum<T>(one: Option<T>, other: Option<T>, add: fn(T, T) -> T) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(add(one, other)),
        (one, other) => one.or(other),
    }
}
