//! The limits that stop all starts at once: the breaker, the budget of the day, refused credentials, the machine.

use jiff::Timestamp;

use super::Registry;
use super::daily_spend::DailySpend;
use super::records::{CoolOff, FailureStreak, MACHINE, Refusals};
use crate::model::{ClockReading, FailureClass, ItemId, RunId};
use crate::registry::backoff::growing;

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
        if let Some(agent) = self.agents.get_mut(&run.agent).filter(|agent| agent.spec.id.n == run.n) {
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
        if before.is_some_and(|before| before.begun == *now) {
            return;
        }
        let streak = before.map_or(0, |before| before.streak).saturating_add(1);
        let cool_off = CoolOff {
            because: because.to_owned(),
            begun: now.clone(),
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
