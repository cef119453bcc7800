//! How a run is put on record: one that is intended, and one that was found.

use super::Registry;
use super::records::{AgentPhase, AgentRecord, ItemPhase, ItemRecord, Named};
use crate::model::{ClockReading, Launch, RunId, UnrecordedSpec};

/// Stands for a hash, and is none.
const OF_MORE_THAN_ONE_TEXT: &str = "of more than one text";

impl Registry {
    pub(super) fn start(&mut self, launch: &Launch, now: &ClockReading, resumed: bool) {
        self.names.raise(&launch.run);
        self.count_start(&launch.item, now);
        self.names.take_up(&launch.item);
        let Some(record) = self.items.get_mut(&launch.item) else { return };
        record.state = ItemPhase::Active;
        let anew = launch.dispatch > record.dispatch;
        record.dispatch = record.dispatch.max(launch.dispatch);
        if !resumed {
            give(&mut record.hash, &launch.hash, anew);
            give(&mut record.content_hash, &launch.content_hash, anew);
            record.due_at = None;
            record.outbox.tracker_note.try_anew();
        }
        let before = self.agents.get(&launch.run.agent);
        let agent = AgentRecord {
            item: launch.item.clone(),
            role: launch.role.clone(),
            harness: launch.harness.clone(),
            n: launch.run.n,
            state: AgentPhase::Starting,
            run: Some(launch.run.clone()),
            since: Some(now.clone()),
            pid: None,
            process: None,
            session: launch.session.clone().or_else(|| launch.chosen_session.clone()),
            resumes: launch.resumes,
            resumed,
            stopped_at: None,
            succeeded: false,
            follow_up: None,
            dispatch: launch.dispatch,
            deadline_ms: launch.latest_ms(),
            credentials: launch.credentials.clone(),
            cost: before.and_then(|agent| agent.cost),
            tokens: before.and_then(|agent| agent.tokens),
            session_tokens: before.filter(|_| resumed).and_then(|agent| agent.session_tokens),
            last_success: before.and_then(|agent| agent.last_success.clone()),
            run_usd: None,
            follows: launch.follow_up.clone(),
            question: None,
            unfinished: before.map_or(0, |agent| agent.unfinished),
            done: Some(launch.done),
            after_run: None,
        };
        self.agents.insert(launch.run.agent.clone(), agent);
    }

    pub(super) fn adopt_stray(&mut self, run: &RunId, spec: &UnrecordedSpec) {
        self.names.raise(run);
        let named = Named {
            slug: spec.slug.clone(),
            workspace: spec.workspace.clone(),
            starts: None,
            finished_at: None,
        };
        let slug = self.names.items.entry(spec.item.clone()).or_insert(named).slug.clone();
        self.names.take_up(&spec.item);
        self.done.remove(&spec.item);
        let record = self.items.entry(spec.item.clone()).or_insert_with(|| ItemRecord::new(slug));
        if record.key.is_empty() {
            record.key = spec.key.clone();
        }
        let anew = spec.dispatch > record.dispatch;
        // What is parked was not, when this was started. If an edit had brought it back, that edit is still to count.
        if record.state != ItemPhase::Parked {
            record.state = ItemPhase::Active;
            self.given_as(run, spec, anew);
        }
        if let Some(record) = self.items.get_mut(&spec.item) {
            record.dispatch = record.dispatch.max(spec.dispatch);
        }
        let resumed = spec.session.is_some();
        let before = self.agents.get(&run.agent);
        let same_session = before.filter(|agent| resumed && agent.session == spec.session);
        let agent = AgentRecord {
            item: spec.item.clone(),
            role: spec.role.clone(),
            harness: spec.harness.clone(),
            n: run.n,
            state: AgentPhase::Starting,
            run: Some(run.clone()),
            since: Some(spec.since.clone()),
            pid: None,
            process: None,
            session: spec.session.clone().or_else(|| spec.chosen_session.clone()),
            resumes: spec.resumes.unwrap_or(u32::from(resumed)),
            resumed,
            stopped_at: None,
            succeeded: false,
            follow_up: None,
            dispatch: spec.dispatch,
            deadline_ms: spec.deadline_ms,
            credentials: None,
            // What earlier runs have used stays used.
            cost: before.and_then(|agent| agent.cost),
            tokens: before.and_then(|agent| agent.tokens),
            session_tokens: same_session.and_then(|agent| agent.session_tokens),
            last_success: None,
            run_usd: None,
            follows: spec.follow_up.clone(),
            question: None,
            unfinished: before.map_or(0, |agent| agent.unfinished),
            done: spec.done,
            after_run: None,
        };
        self.agents.insert(run.agent.clone(), agent);
    }

    /// Which text a forgotten run of an item was given, so that a later edit of it counts.
    fn given_as(&mut self, run: &RunId, spec: &UnrecordedSpec, anew: bool) {
        // Where others are still at what they were given before, this text is not that of all.
        let alone = !self.agents_of(&spec.item).any(|(name, agent)| {
            *name != run.agent && (agent.state != AgentPhase::Idle || agent.follow_up.is_some())
        });
        let Some(record) = self.items.get_mut(&spec.item) else { return };
        let (Some(hash), Some(content_hash)) = (&spec.hash, &spec.content_hash) else { return };
        let edited = record.hash.as_ref().is_some_and(|recorded| recorded != hash);
        give(&mut record.hash, hash, anew && alone);
        give(&mut record.content_hash, content_hash, anew && alone);
        if anew && edited {
            // What was done of the text before it was not done of this one.
            for agent in self.agents.values_mut().filter(|agent| agent.item == spec.item) {
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
            agent.pid = None;
            agent.process = None;
            agent.follow_up = None;
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
