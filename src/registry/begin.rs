//! How a run is put on record: one that is intended, and one that was found.

use super::Registry;
use super::records::{AgentPhase, AgentRecord, ItemPhase, ItemRecord, Named};
use crate::model::{ClockReading, ItemSnapshot, Launch, RunId, RunSpec, UnrecordedSpec};

/// Stands for a hash, and is none.
const OF_MORE_THAN_ONE_TEXT: &str = "of more than one text";

impl AgentRecord {
    /// The record of an agent with a run that is intended. What earlier runs of the agent have used stays used.
    fn starting(spec: &RunSpec, since: &ClockReading, before: Option<&AgentRecord>) -> AgentRecord {
        let mut agent = AgentRecord {
            spec: spec.clone(),
            state: AgentPhase::Starting,
            run: Some(spec.id.clone()),
            since: Some(since.clone()),
            handle: None,
            session: spec.first_session().cloned(),
            resumes: spec.resumes,
            stopped_at: None,
            succeeded: false,
            follow_ups: Vec::new(),
            fingerprints: before.map(|agent| agent.fingerprints.clone()).unwrap_or_default(),
            credentials: None,
            cost: before.and_then(|agent| agent.cost),
            tokens: before.and_then(|agent| agent.tokens),
            session_tokens: None,
            last_success: None,
            run_usd: None,
            question: None,
            unfinished: before.map_or(0, |agent| agent.unfinished),
            after_run: None,
        };
        agent.consume(&spec.follow_ups);
        agent
    }
}

impl Registry {
    pub(super) fn start(&mut self, launch: &Launch, now: &ClockReading) {
        self.names.raise(&launch.spec.id);
        self.count_start(&launch.spec.item, now);
        self.names.take_up(&launch.spec.item);
        let Some(record) = self.items.get_mut(&launch.spec.item) else { return };
        record.state = ItemPhase::Active;
        let anew = launch.spec.dispatch > record.dispatch;
        record.dispatch = record.dispatch.max(launch.spec.dispatch);
        if !launch.spec.is_resume() {
            give(&mut record.hash, &launch.snapshot.hash, anew);
            give(&mut record.content_hash, &launch.snapshot.content_hash, anew);
            record.due_at = None;
            record.outbox.tracker_note.try_anew();
        }
        let before = self.agents.get(&launch.spec.id.agent);
        let agent = AgentRecord {
            credentials: launch.credentials.clone(),
            session_tokens: before.filter(|_| launch.spec.is_resume()).and_then(|agent| agent.session_tokens),
            last_success: before.and_then(|agent| agent.last_success.clone()),
            ..AgentRecord::starting(&launch.spec, now, before)
        };
        self.agents.insert(launch.spec.id.agent.clone(), agent);
    }

    pub(super) fn adopt_stray(&mut self, run: &RunId, found: &UnrecordedSpec) {
        self.names.raise(run);
        let named = Named {
            slug: found.snapshot.slug.clone(),
            workspace: found.snapshot.workspace.clone(),
            starts: None,
            finished_at: None,
        };
        let slug = self.names.items.entry(found.spec.item.clone()).or_insert(named).slug.clone();
        self.names.take_up(&found.spec.item);
        self.done.remove(&found.spec.item);
        let record = self.items.entry(found.spec.item.clone()).or_insert_with(|| ItemRecord::new(slug));
        if record.key.is_empty() {
            record.key = found.snapshot.key.clone();
        }
        let anew = found.spec.dispatch > record.dispatch;
        // What is parked was not, when this was started. If an edit had brought it back, that edit is still to count.
        if record.state != ItemPhase::Parked {
            record.state = ItemPhase::Active;
            self.given_as(run, found, anew);
        }
        if let Some(record) = self.items.get_mut(&found.spec.item) {
            record.dispatch = record.dispatch.max(found.spec.dispatch);
        }
        let before = self.agents.get(&run.agent);
        let same_session =
            before.filter(|agent| found.spec.is_resume() && agent.session == found.spec.session);
        let agent = AgentRecord {
            session_tokens: same_session.and_then(|agent| agent.session_tokens),
            ..AgentRecord::starting(&found.spec, &found.since, before)
        };
        self.agents.insert(run.agent.clone(), agent);
    }

    /// Which text a forgotten run of an item was given, so that a later edit of it counts.
    fn given_as(&mut self, run: &RunId, found: &UnrecordedSpec, anew: bool) {
        // Where others are still at what they were given before, this text is not that of all.
        let alone =
            !self.agents_of(&found.spec.item).any(|(name, agent)| *name != run.agent && agent.is_busy());
        let Some(record) = self.items.get_mut(&found.spec.item) else { return };
        let ItemSnapshot { hash, content_hash, .. } = &found.snapshot;
        let edited = record.hash.as_ref().is_some_and(|recorded| recorded != hash);
        give(&mut record.hash, hash, anew && alone);
        give(&mut record.content_hash, content_hash, anew && alone);
        if anew && edited {
            // What was done of the text before it was not done of this one.
            for agent in self.agents.values_mut().filter(|agent| agent.spec.item == found.spec.item) {
                agent.succeeded = false;
            }
        }
    }
}

impl Registry {
    /// Lets go of every run, recorded or `found`: they belong to the state that this one was copied from, and so do their
    /// sessions. Their numbers stay used.
    pub fn let_go_of_runs(&mut self, found: &[RunId]) {
        found.iter().filter(|run| run.may_be_found()).for_each(|run| self.names.raise(run));
        self.handoffs.clear();
        for agent in self.agents.values_mut() {
            agent.state = AgentPhase::Idle;
            agent.run = None;
            agent.since = None;
            agent.handle = None;
            agent.follow_ups.clear();
            agent.session = None;
            agent.session_tokens = None;
            agent.resumes = 0;
        }
        let items: Vec<_> = self.items.keys().cloned().collect();
        items.iter().for_each(|item| self.recompute_phase(item));
    }
}

/// Records what a run is given. One that starts again alone may be given a later text than its crew was: then
/// no text is that of the whole dispatch, not even where the edit is taken back.
fn give(recorded: &mut Option<String>, hash: &str, anew: bool) {
    let same = recorded.as_deref().is_none_or(|recorded| recorded == hash);
    let given = if anew || same { hash } else { OF_MORE_THAN_ONE_TEXT };
    *recorded = Some(given.to_owned());
}
