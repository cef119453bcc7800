//! What was spent on one day.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::config::Budget;

/// A day recorded as so many days ahead, or fewer, may be right: the clock was set back, perhaps for a moment.
const DAYS_AHEAD_MAX: i32 = 1;

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
    pub(super) fn begin(at: Timestamp) -> DailySpend {
        DailySpend { day: date(at), starts: 0, usd: None, tokens: None, taken_back_from: None, held: false }
    }

    /// The same at a later time: a new day begins with nothing. One that is further ahead than a clock is set back in
    /// passing was recorded by a clock that was wrong: what was spent counts today instead. Unless it is this clock that is
    /// wrong: when that day is back, it counts there.
    pub(super) fn at(&self, at: Timestamp) -> DailySpend {
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
