//! The transitions of single steps: what a plan writes down before any of its effects.

use std::time::Duration;

use jiff::Timestamp;

use super::Registry;
use super::records::{AgentPhase, AgentRecord, CoolOff, Handoff, ItemPhase, Last, ParkedBy, Paused};
use crate::model::{
    Action, ClockReading, Cooling, Deadline, FailureClass, FollowUp, ItemId, RunFacts, RunId, Survivor,
};

/// The streak of uncharged failures grows at most once in this time, by the monotonic clock.
const STREAK_STEP: Duration = Duration::from_secs(30);

impl Registry {
    pub(super) fn act(&mut self, action: &Action, item: Option<&ItemId>, because: &str, now: &ClockReading) {
        match action {
            Action::Adopt { run, launcher, may_have_heard } => {
                let Some(agent) = self.current(run) else { return };
                agent.state = AgentPhase::Running;
                agent.since = Some(launcher.since.clone());
                agent.handle = Some(launcher.handle.clone());
                let (item, resumed) = (agent.spec.item.clone(), agent.spec.is_resume());
                self.counters.dispatched += 1;
                self.counters.resumes += u64::from(resumed);
                if *may_have_heard {
                    self.hear_messages(&item);
                }
            }
            Action::AdoptUnrecorded { run, spec } => self.adopt_stray(run, spec),
            Action::Start(launch) | Action::Resume(launch) => self.start(launch, now),
            Action::Fence { run } => self.names.raise(run),
            Action::Stop { run, survivors, dispatch_failed } => {
                self.hand_off(run, item, because, now, survivors, *dispatch_failed);
            }
            Action::Done { run: Some(run), item, facts } => {
                self.count_answer(run, None, facts, now);
                self.end_run(run, now);
                if let Some(agent) = self.agents.get_mut(&run.agent) {
                    agent.succeeded = true;
                    agent.follow_ups.clear();
                    agent.unfinished = 0;
                }
                self.keep(run, facts, now);
                if let Some(record) = self.items.get_mut(item) {
                    record.uncharged_streak = 0;
                    record.uncharged_at = None;
                }
                self.failure_streak = None;
            }
            Action::Done { run: None, item, .. } => {
                let Some(record) = self.items.get_mut(item) else { return };
                record.state = ItemPhase::Done;
                record.due_at = None;
                record.outbox.tracker_note.try_anew();
                record.messages.clear();
                self.names.finish(item, now.at);
            }
            Action::Fail { item, run, class, facts, follow_ups, due_at, duplicate } => {
                self.counters.dispatch_duplicate_suppressed += u64::from(*duplicate);
                let charged = class.charged() || run.as_ref().is_some_and(|run| self.repeats(run, *class));
                match run {
                    Some(run) => {
                        self.count_answer(run, Some(*class), facts, now);
                        self.fail_run(run, *class, facts, follow_ups, now);
                    }
                    // Whatever was to follow by itself follows with the item's next dispatch.
                    None => self.drop_follow_ups(item),
                }
                self.record_failure(item, *class, charged, because, *due_at, now);
            }
            Action::Park { item, class, by_person } => self.park(item, *class, *by_person, because, now),
            Action::Retry { item, go_on, message } => self.retry(item, go_on, message.as_ref(), now),
            Action::Pause { until } => {
                self.paused =
                    Some(Paused { because: because.to_owned(), deadline: Deadline::until(*until, now) });
            }
            Action::Unpause => self.paused = None,
            Action::Forget { item } => {
                // Also one that is not named after it: without its item's record it could not be loaded again.
                self.agents.retain(|_, agent| agent.spec.item != *item);
                self.items.remove(item);
                self.names.finish(item, now.at);
            }
            Action::Release { run } => {
                if self.handoffs.remove(run).is_some() {
                    self.counters.handoffs_reaped += 1;
                }
            }
            Action::GiveUp { run } => drop(self.handoffs.remove(run)),
            Action::CoolOff { scope, cooling: Some(Cooling { because, until, streak, credentials }) } => {
                // As many failures in a row as before are the same ones, and only its end has moved.
                let before =
                    self.cool_offs.get(scope).filter(|before| *streak > 0 && before.streak == *streak);
                let cool_off = CoolOff {
                    because: because.clone(),
                    begun: before.map_or_else(
                        || now.clone(),
                        // A clock that was set back since does not put its beginning ahead.
                        |before| ClockReading { at: before.begun.at.min(now.at), ..before.begun.clone() },
                    ),
                    until: *until,
                    streak: *streak,
                    credentials: credentials.clone(),
                };
                self.cool_offs.insert(scope.clone(), cool_off);
            }
            Action::CoolOff { scope, cooling: None } => drop(self.cool_offs.remove(scope)),
            Action::Writeback(writeback) => self.want_note(writeback),
            Action::Reap(_) => {}
        }
    }

    /// Whether a class that is free once befell this agent before.
    fn repeats(&self, run: &RunId, class: FailureClass) -> bool {
        class == FailureClass::Unfinished
            && self.agents.get(&run.agent).is_some_and(|agent| agent.unfinished > 0)
    }

    /// Writes a failure down at the item.
    pub(super) fn record_failure(
        &mut self,
        item: &ItemId,
        class: FailureClass,
        charged: bool,
        because: &str,
        due_at: Option<Timestamp>,
        now: &ClockReading,
    ) {
        let Some(record) = self.items.get_mut(item) else { return };
        if charged {
            record.attempts += 1;
            record.uncharged_streak = 0;
            record.uncharged_at = None;
            self.counters.dispatch_backoffs += u64::from(due_at.is_some());
        } else if class.counts_in_streak() {
            // One misfortune strikes a whole crew at once, or 5 ticks within 14 ms: it must not park the item.
            let age = record.uncharged_at.as_ref().and_then(|at| now.since(at));
            if age.is_none_or(|age| age >= STREAK_STEP) {
                record.uncharged_streak += 1;
                record.uncharged_at = Some(now.clone());
            }
        }
        record.due_at = due_at.or(record.due_at);
        record.last = Some(Last { class: Some(class), because: because.to_owned(), at: now.at });
        if charged {
            self.count_failure(item, because, now);
        }
    }

    /// The agent whose current run this is.
    pub(super) fn current(&mut self, run: &RunId) -> Option<&mut AgentRecord> {
        self.agents.get_mut(&run.agent).filter(|agent| agent.run.as_ref() == Some(run))
    }

    pub(super) fn knows(&self, run: &RunId) -> bool {
        let current = self.agents.get(&run.agent).is_some_and(|agent| agent.run.as_ref() == Some(run));
        current || self.handoffs.contains_key(run)
    }

    /// What a run leaves behind: the session that it named, and what it cost.
    fn keep(&mut self, run: &RunId, facts: &RunFacts, now: &ClockReading) {
        if let Some(agent) = self.agents.get_mut(&run.agent) {
            note_session(agent, facts.session.as_deref());
            agent.question = facts.question.clone();
            if facts.never_began && !agent.spec.is_resume() {
                agent.session = None;
            }
            agent.session_tokens = facts.usage.session_tokens.or(agent.session_tokens);
        }
        self.spend(run, facts.usage.usd(), facts.usage.tokens, now);
    }

    /// What the end of a run says of the credentials of its role. No start of the item is counted that the machine kept from
    /// becoming an agent.
    fn count_answer(
        &mut self,
        run: &RunId,
        class: Option<FailureClass>,
        facts: &RunFacts,
        now: &ClockReading,
    ) {
        let Some(agent) = self.agents.get(&run.agent).filter(|agent| agent.spec.id.n == run.n) else {
            return;
        };
        let (role, begun, item) = (agent.spec.role.clone(), agent.since.clone(), agent.spec.item.clone());
        // An agent that fills the disk itself did run: each of its starts counts.
        let never_ran = facts.never_began || agent.state == AgentPhase::Starting;
        self.count_refusal(&role, begun.as_ref(), class, now);
        if class == Some(FailureClass::Machine) && never_ran {
            self.names.give_start_back(&item);
        }
    }

    /// Between runs nothing of a run is left in the agent but its number and its session.
    pub(super) fn end_run(&mut self, run: &RunId, now: &ClockReading) {
        let Some(agent) = self.current(run) else { return };
        agent.state = AgentPhase::Idle;
        agent.run = None;
        agent.since = None;
        agent.handle = None;
        agent.stopped_at = Some(now.at);
    }

    /// A start that is known not to have happened. Its number stays used; its resume was none.
    pub(super) fn withdraw(&mut self, run: &RunId, now: &ClockReading) {
        if let Some(agent) = self.current(run) {
            let counted = FollowUp::counts_as_resume(&agent.spec.follow_ups);
            match agent.spec.is_resume() {
                true => agent.resumes = agent.resumes.saturating_sub(u32::from(counted)),
                // The session that was chosen for it never began.
                false => agent.session = None,
            }
        }
        self.end_run(run, now);
    }

    pub(super) fn fail_run(
        &mut self,
        run: &RunId,
        class: FailureClass,
        facts: &RunFacts,
        follow_ups: &[FollowUp],
        now: &ClockReading,
    ) {
        let never_claimed = self.current(run).is_some_and(|agent| agent.state == AgentPhase::Starting);
        if matches!(class, FailureClass::Infra | FailureClass::Machine) && never_claimed {
            self.withdraw(run, now);
        } else {
            self.end_run(run, now);
        }
        self.keep(run, facts, now);
        let Some(agent) = self.agents.get_mut(&run.agent) else { return };
        agent.queue_again(follow_ups);
        agent.unfinished = agent.unfinished.saturating_add(u32::from(class == FailureClass::Unfinished));
        if class == FailureClass::SessionGone {
            agent.session = None;
            agent.resumes = 0;
            self.counters.sessions_not_found += 1;
        }
    }

    pub(super) fn hand_off(
        &mut self,
        run: &RunId,
        item: Option<&ItemId>,
        why: &str,
        now: &ClockReading,
        survivors: &[Survivor],
        dispatch_failed: bool,
    ) {
        self.names.raise(run);
        let of_agent = self.agents.get(&run.agent).map(|agent| &agent.spec.item);
        let item = item.or(of_agent).cloned();
        let handle = self.current(run).and_then(|agent| agent.handle.clone());
        let handoff = Handoff {
            item,
            agent: run.agent.clone(),
            why: why.to_owned(),
            since: now.at,
            handle,
            survivors: survivors.to_vec(),
            dispatch_failed,
            skips_counted: false,
            name_taken: false,
        };
        self.end_run(run, now);
        if let Some(agent) = self.agents.get_mut(&run.agent) {
            agent.follow_ups.clear();
        }
        self.counters.survivors += u64::from(!survivors.is_empty());
        self.counters.dispatch_failure_reaper_handoffs += u64::from(dispatch_failed);
        self.handoffs.entry(run.clone()).or_insert(handoff);
    }

    pub(super) fn park(
        &mut self,
        item: &ItemId,
        class: Option<FailureClass>,
        by_person: bool,
        because: &str,
        now: &ClockReading,
    ) {
        let Some(record) = self.items.get_mut(item) else { return };
        // A rule never takes over what a person parked: the person's word must hold. Nobody parks what is done: that it
        // is must be remembered, or the work is done again.
        let is_settled = matches!(record.parked_by, Some(ParkedBy::Person | ParkedBy::Budget)) && !by_person;
        if is_settled || record.state == ItemPhase::Done {
            return;
        }
        record.state = ItemPhase::Parked;
        record.parked_by = Some(match class {
            _ if by_person => ParkedBy::Person,
            Some(FailureClass::Budget) => ParkedBy::Budget,
            _ => ParkedBy::Rule,
        });
        record.due_at = None;
        record.outbox.tracker_note.try_anew();
        record.last = Some(Last { class, because: because.to_owned(), at: now.at });
        self.counters.dispatch_terminal_failures += u64::from(!by_person);
        self.drop_follow_ups(item);
    }

    /// An item of which nothing runs or follows by itself waits for its next dispatch; any other is active.
    pub(super) fn recompute_phase(&mut self, item: &ItemId) {
        let busy = self.agents_of(item).any(|(_, agent)| agent.is_busy());
        if let Some(record) = self.items.get_mut(item) {
            record.state = match record.state {
                ItemPhase::Active | ItemPhase::Waiting if busy => ItemPhase::Active,
                ItemPhase::Active | ItemPhase::Waiting => ItemPhase::Waiting,
                settled => settled,
            };
        }
    }
}

/// Another session than before has not been resumed yet.
pub(super) fn note_session(agent: &mut AgentRecord, session: Option<&str>) {
    if let Some(session) = session.filter(|session| agent.session.as_deref() != Some(session)) {
        agent.session = Some(session.to_owned());
        agent.resumes = 0;
        agent.session_tokens = None;
    }
}
