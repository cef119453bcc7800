//! How far anything may have been counted. What is beyond was counted by nobody, and counting on from there would end
//! in a panic, or begin at 0 again.

use super::Registry;
use crate::model::{COUNT_MAX, RunId};

impl Registry {
    /// The first count that nobody can have reached, in words.
    pub(super) fn beyond_count(&self) -> Option<String> {
        let items = self.items.iter().flat_map(|(id, item)| {
            let counts = [item.attempts, item.tell_tries, item.infra_row, item.missing_reads, item.continued];
            let counts = counts.map(u64::from).into_iter().chain([item.dispatch]);
            counts.map(move |count| (id.to_string(), count))
        });
        let agents = self.agents.iter().map(|(name, agent)| (name.to_string(), u64::from(agent.resumes)));
        let counters = self.counters.all().map(|count| ("the counters".to_owned(), count));
        let mut counts = items.chain(agents).chain(counters);
        let count = counts.find(|(_, count)| *count > COUNT_MAX);
        count.map(|(what, count)| format!("{what} counts up to {count}")).or_else(|| self.beyond_number())
    }

    fn beyond_number(&self) -> Option<String> {
        let current = self.agents.iter().map(|(name, agent)| (name, agent.n));
        let mut numbers = current.chain(self.names.last_n.iter().map(|(name, n)| (name, *n)));
        let number = numbers.find(|(_, n)| !RunId::may_be_followed(*n));
        number.map(|(name, n)| format!("agent {name} has had a run of the number {n}"))
    }
}
