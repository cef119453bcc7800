//! Those who answer the known programs, one for each harness: out of capacity, out of reach, or not content with the
//! credentials, now and then; and the people who log in again.

use std::collections::BTreeMap;

use factory_tick::config::{Config, Role};

use super::dice::Dice;

/// What a program gets to hear when it asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Works,
    /// There is no room, for so long.
    Full {
        left_ms: u64,
        tells: bool,
    },
    Down,
    Refuses,
}

#[derive(Clone, Copy, Debug)]
struct Trouble {
    until_ms: u64,
    what: Answer,
}

#[derive(Clone, Copy, Debug, Default)]
struct Provider {
    /// Number of the key that agents are given.
    key: u64,
    /// Keys below this one are refused.
    good_from: u64,
    trouble: Option<Trouble>,
}

#[derive(Clone, Debug)]
pub(super) struct Providers {
    pub(super) dice: Dice,
    by_harness: BTreeMap<String, Provider>,
    /// How likely trouble begins between two ticks.
    troubled_percent: u64,
}

impl Providers {
    /// From dice of its own.
    pub(super) fn new(mut dice: Dice, config: &Config) -> Providers {
        let known = config.roles.iter().filter(|role| role.preset().is_some());
        let by_harness = known.map(|role| (role.harness.clone(), Provider::default())).collect();
        let troubled_percent = dice.pick(&[0, 3, 10, 25]);
        Providers { dice, by_harness, troubled_percent }
    }

    /// Between two ticks. `now_ms`: by a clock that nobody sets.
    pub(super) fn live(&mut self, now_ms: u64) {
        for provider in self.by_harness.values_mut() {
            provider.trouble = provider.trouble.filter(|trouble| trouble.until_ms > now_ms);
            if provider.key < provider.good_from && self.dice.percent(15)
                || self.dice.percent(self.troubled_percent / 3)
            {
                // Somebody logs in: because that was needed, or because it is Monday.
                provider.key = provider.good_from.max(provider.key + 1);
            }
            if provider.key < provider.good_from && self.dice.percent(3) {
                // The account is paid, and nobody has touched a key.
                provider.good_from = provider.key;
            }
            if provider.trouble.is_some() || !self.dice.percent(self.troubled_percent) {
                continue;
            }
            let until_ms = now_ms + self.dice.pick(&[20_000, 300_000, 1_800_000, 14_400_000]);
            let what = match self.dice.range(0, 9) {
                0..=4 => Answer::Full { left_ms: 0, tells: self.dice.percent(50) },
                5..=7 => Answer::Down,
                _ => {
                    provider.good_from = provider.key + 1;
                    continue;
                }
            };
            provider.trouble = Some(Trouble { until_ms, what });
        }
    }

    /// Other credentials, which are refused as well.
    pub(super) fn refresh_refused(&mut self) {
        for provider in self.by_harness.values_mut().filter(|one| one.key < one.good_from) {
            provider.key += 1;
            provider.good_from = provider.key + 1;
        }
    }

    /// From now on they answer everybody, and everybody has logged in.
    pub(super) fn end(&mut self) {
        self.troubled_percent = 0;
        for provider in self.by_harness.values_mut() {
            *provider = Provider { key: provider.good_from + provider.key + 1, ..Provider::default() };
        }
    }

    pub(super) fn answer(&self, harness: &str, credentials: Option<&String>, now_ms: u64) -> Answer {
        let Some(provider) = self.by_harness.get(harness) else { return Answer::Works };
        let key = credentials.and_then(|text| text.rsplit(' ').next()?.parse().ok());
        match provider.trouble.filter(|trouble| trouble.until_ms > now_ms) {
            Some(Trouble { until_ms, what: Answer::Full { tells, .. } }) => {
                Answer::Full { left_ms: until_ms - now_ms, tells }
            }
            Some(Trouble { what, .. }) => what,
            None if key.is_none_or(|key: u64| key < provider.good_from) => Answer::Refuses,
            None => Answer::Works,
        }
    }

    /// The fingerprints that a tick is told, by role.
    pub(super) fn credentials(&self, roles: &[Role]) -> BTreeMap<String, String> {
        let key = |role: &Role| Some(format!("{} {}", role.harness, self.by_harness.get(&role.harness)?.key));
        roles.iter().filter_map(|role| Some((role.name.clone(), key(role)?))).collect()
    }
}
