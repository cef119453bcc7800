//! How a done item goes into the index of done items, and comes back.

use std::collections::BTreeMap;

use super::Registry;
use super::done::{DoneDetails, DoneItem, GONE_MAX};
use super::outbox::Outbox;
use super::records::{ItemPhase, ItemRecord};
use crate::model::{AgentName, ClockReading, ItemId, RunId, WorkItem};

impl Registry {
    /// Where an item stands: done also where only the index knows it and it is in its source as it was.
    pub fn phase(&self, id: &ItemId) -> Option<ItemPhase> {
        let indexed = || self.done.get(id).filter(|done| done.gone.is_none()).map(|_| ItemPhase::Done);
        self.items.get(id).map(|record| record.state).or_else(indexed)
    }

    /// Whether an item is done, for a person who names it. `seen`: as its source has it now.
    pub fn is_done(&self, id: &ItemId, seen: Option<&WorkItem>) -> bool {
        match self.items.get(id) {
            Some(record) => record.state == ItemPhase::Done,
            None => self.done.get(id).is_some_and(|done| done.is_done_as(seen)),
        }
    }

    /// What people call an item, as far as it is remembered.
    pub fn key(&self, id: &ItemId) -> Option<&str> {
        let indexed = || self.done.get_key_value(id).map(|(id, done)| done.key(id));
        self.items.get(id).map(|record| record.key.as_str()).or_else(indexed)
    }

    /// The latest run of each agent that an item of the index ever had.
    pub fn latest_runs_of(&self, id: &ItemId) -> impl Iterator<Item = RunId> {
        let slug = self.names.items.get(id).map(|named| named.slug.clone()).unwrap_or_default();
        let from = AgentName(format!("{slug}-"));
        let ours = self.names.last_n.range(from..).take_while({
            let prefix = format!("{slug}-");
            move |(agent, _)| agent.0.starts_with(&prefix)
        });
        ours.filter(move |(agent, _)| agent.slug() == slug)
            .map(|(agent, n)| RunId { agent: agent.clone(), n: *n })
    }

    /// The details of the items that went into the index since the last call.
    pub fn take_details(&mut self) -> Vec<DoneDetails> {
        std::mem::take(&mut self.fresh_details)
    }

    /// Puts a done item into the index. Its record stays.
    pub(super) fn keep_done(&mut self, id: &ItemId, now: &ClockReading) {
        let Some(record) = self.items.get(id).filter(|record| record.state == ItemPhase::Done) else {
            return;
        };
        let done = DoneItem {
            key: Some(record.key.clone()).filter(|key| key != id.plain()),
            origin: record.origin.clone(),
            content_hash: record.content_hash.clone().unwrap_or_default(),
            dispatch: record.dispatch,
            at: now.at,
            gone: record.gone,
        };
        let agents = self.agents_of(id).map(|(name, agent)| (name.clone(), agent.clone()));
        let agents: BTreeMap<_, _> = agents.collect();
        // A record that the index gave back knows less than the details that are kept already.
        if !agents.is_empty() {
            let details = DoneDetails { item: id.clone(), record: record.clone(), agents };
            self.fresh_details.push(details);
        }
        self.done.insert(id.clone(), done);
        self.drop_oldest_gone();
    }

    /// Puts a done item of which nothing may act into the index, in place of its records.
    pub(super) fn archive(&mut self, id: &ItemId, now: &ClockReading) {
        self.keep_done(id, now);
        if self.done.contains_key(id) {
            self.agents.retain(|_, agent| agent.spec.item != *id);
            self.items.remove(id);
        }
    }

    /// A done item is in its source as it was done: the index alone needs to know it.
    pub(super) fn still_done(&mut self, id: &ItemId, key: &str, origin: &str) {
        if let Some(done) = self.done.get_mut(id) {
            done.key = Some(key.to_owned()).filter(|key| key != id.plain());
            origin.clone_into(&mut done.origin);
            done.gone = None;
        }
    }

    /// Gives a done item its record back: something may act of it again. Its tracker knows that it was done.
    pub(super) fn restore_done(&mut self, id: &ItemId, now: &ClockReading) {
        let Some(slug) = self.names.items.get(id).map(|named| named.slug.clone()) else { return };
        let Some(done) = self.done.remove(id) else { return };
        let record = ItemRecord {
            key: done.key(id).to_owned(),
            origin: done.origin.clone(),
            state: ItemPhase::Done,
            dispatch: done.dispatch,
            outbox: Outbox::told_done(done.dispatch, now.at),
            content_hash: Some(done.content_hash),
            ..ItemRecord::new(slug)
        };
        self.items.insert(id.clone(), record);
    }

    fn drop_oldest_gone(&mut self) {
        let gone = || self.done.iter().filter(|(_, done)| done.gone.is_some());
        if gone().count() <= GONE_MAX {
            return;
        }
        let oldest = gone().min_by_key(|(_, done)| done.at).map(|(id, _)| id.clone());
        oldest.map(|id| self.done.remove(&id));
    }
}
