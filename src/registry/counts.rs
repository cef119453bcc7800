//! How far anything may have been counted. What is beyond was counted by nobody, and counting on from there would end
//! in a panic, or begin at 0 again.

use super::Registry;
use crate::model::{COUNT_MAX, RunId};

impl Registry {
    /// The first count that nobody can have reached, in words.
    pub(super) fn beyond_count(&self) -> Option<String> {
        let items = self.items.iter().flat_map(|(id, item)| {
            let counts = [
                item.attempts,
                item.outbox.tracker_note.tries,
                item.uncharged_streak,
                item.missing_reads,
                item.continued,
            ];
            let counts = counts.map(u64::from).into_iter().chain([item.dispatch]);
            counts.map(move |count| (id.to_string(), count))
        });
        let agents = self.agents.iter().flat_map(|(name, agent)| {
            let counts = [agent.resumes, agent.unfinished, agent.spec.resumes].map(u64::from);
            counts.into_iter().chain([agent.spec.dispatch]).map(|count| (name.to_string(), count))
        });
        let done = self.done.iter().map(|(id, done)| (id.to_string(), done.dispatch));
        let counters = self.counters.all().map(|count| ("the counters".to_owned(), count));
        let mut counts = items.chain(agents).chain(done).chain(counters);
        let count = counts.find(|(_, count)| *count > COUNT_MAX);
        count.map(|(what, count)| format!("{what} counts up to {count}")).or_else(|| self.beyond_number())
    }

    fn beyond_number(&self) -> Option<String> {
        let current = self.agents.iter().map(|(name, agent)| (name, agent.spec.id.n));
        let mut numbers = current.chain(self.names.last_n.iter().map(|(name, n)| (name, *n)));
        let number = numbers.find(|(_, n)| !RunId::may_be_followed(*n));
        number.map(|(name, n)| format!("agent {name} has had a run of the number {n}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by the first version, with something of everything.
    fn registry() -> Registry {
        let file: serde_json::Value =
            serde_json::from_str(include_str!("../../fixtures/registry/first.json")).unwrap();
        serde_json::from_value(file["body"].clone()).unwrap()
    }

    // Origin: found by fuzzing - such records were taken, and counting on from them made the tick panic, or began at 0 again.
    #[test]
    fn what_nobody_can_have_counted_is_refused() {
        assert_eq!(registry().check(), Ok(()));
        let changes: [fn(&mut Registry, u64); 7] = [
            |registry, count| registry.counters.dispatched = count,
            |registry, count| registry.items.values_mut().for_each(|item| item.dispatch = count),
            |registry, count| registry.done.values_mut().for_each(|item| item.dispatch = count),
            |registry, count| registry.items.values_mut().for_each(|item| item.attempts = count as u32),
            |registry, count| registry.items.values_mut().for_each(|item| item.missing_reads = count as u32),
            |registry, count| registry.agents.values_mut().for_each(|agent| agent.resumes = count as u32),
            |registry, count| registry.agents.values_mut().for_each(|agent| agent.spec.dispatch = count),
        ];
        for (at, change) in changes.iter().enumerate() {
            for (count, is_good) in [(COUNT_MAX, true), (COUNT_MAX + 1, false)] {
                let mut registry = registry();
                change(&mut registry, count);
                assert_eq!(registry.check().is_ok(), is_good, "{at}: {count}");
            }
        }
    }

    #[test]
    fn an_agent_that_could_have_no_further_run_is_refused() {
        for (n, is_good) in [((1 << 53) - 1, true), (1 << 53, false), (u64::MAX, false)] {
            let mut given = registry();
            given.names.last_n.values_mut().for_each(|last| *last = n);
            assert_eq!(given.check().is_ok(), is_good, "{n}");
            let mut current = registry();
            current.agents.values_mut().for_each(|agent| agent.spec.id.n = n);
            assert_eq!(current.check().is_ok(), is_good, "{n}");
        }
    }
}
