//! What agents do next by themselves: how follow-ups are queued, started, put back and dropped.
//!
//! A run does all that its agent has pending, and the commit of its start empties the queue.

use jiff::Timestamp;

use super::Registry;
use super::records::{AgentPhase, AgentRecord, ItemPhase, Message};
use crate::model::{AgentName, ClockReading, FollowUp, FollowUpReason, ItemId, Launch};

impl AgentRecord {
    /// Whether it has a run, or goes on by itself.
    pub fn is_busy(&self) -> bool {
        self.state != AgentPhase::Idle || !self.follow_ups.is_empty()
    }

    /// Adds to what it does next. A follow-up of the same event replaces the older one, and one of an event that a run was
    /// started for is dropped.
    pub(super) fn queue(&mut self, follow_up: FollowUp) {
        let event = |one: &FollowUp| (one.reason, one.fingerprint.clone());
        if follow_up.fingerprint.is_some()
            && self.fingerprints.get(&follow_up.reason) == follow_up.fingerprint.as_ref()
        {
            return;
        }
        self.follow_ups.retain(|one| event(one) != event(&follow_up));
        self.follow_ups.push(follow_up);
    }

    /// Its run is started for these follow-ups: they are pending no more, and their events are no reason for another run.
    pub(super) fn consume(&mut self, follow_ups: &[FollowUp]) {
        self.follow_ups.clear();
        for follow_up in follow_ups {
            if let Some(fingerprint) = &follow_up.fingerprint {
                self.fingerprints.insert(follow_up.reason, fingerprint.clone());
            }
        }
    }

    /// Adds follow-ups that a run was to do, and perhaps never did: their events are no longer consumed.
    pub(super) fn queue_again(&mut self, follow_ups: &[FollowUp]) {
        for one in follow_ups {
            self.fingerprints.retain(|reason, consumed| {
                *reason != one.reason || Some(&*consumed) != one.fingerprint.as_ref()
            });
            self.queue(one.clone());
        }
    }
}

impl Registry {
    /// What was not started is still to be started: a resume, or one of a crew that runs, by itself; any
    /// other with its item's next dispatch.
    pub(super) fn try_again(&mut self, launch: &Launch, resume: bool) {
        let alone = resume || self.running(&launch.spec.item);
        // Due at once, whatever the wall clock does meanwhile.
        let again = FollowUp::again(&launch.spec.follow_ups, resume, Timestamp::MIN);
        if let Some(agent) = self.agents.get_mut(&launch.spec.id.agent) {
            agent.follow_ups.clear();
            if alone {
                agent.queue_again(&again);
            }
        }
    }

    /// Nothing follows by itself of an item.
    pub(super) fn drop_follow_ups(&mut self, item: &ItemId) {
        for agent in self.agents.values_mut().filter(|agent| agent.spec.item == *item) {
            agent.follow_ups.clear();
        }
    }

    /// A new life, as a person wants it. What is done of it stays done, unless all of it is.
    pub(super) fn retry(
        &mut self,
        item: &ItemId,
        go_on: &[AgentName],
        message: Option<&String>,
        now: &ClockReading,
    ) {
        let Some(record) = self.items.get_mut(item) else { return };
        // Somebody has looked.
        self.failure_streak = None;
        self.names.forget_starts(item);
        let again = record.state == ItemPhase::Done;
        // Whoever has nothing to go on with is settled as waiting.
        record.state = ItemPhase::Active;
        record.attempts = 0;
        record.uncharged_streak = 0;
        record.uncharged_at = None;
        record.continued = 0;
        record.due_at = None;
        record.outbox.tracker_note.try_anew();
        record.parked_by = None;
        let agents = self.agents.iter_mut().filter(|(_, agent)| agent.spec.item == *item);
        let asked = agents.filter_map(|(name, agent)| Some((name.clone(), agent.question.take()?))).collect();
        record.messages.extend(message.map(|text| Message { text: text.clone(), asked, heard: false }));
        let reason = if record.is_answered() { FollowUpReason::Answer } else { FollowUpReason::Failure };
        for (name, agent) in self.agents.iter_mut().filter(|(_, agent)| agent.spec.item == *item) {
            agent.succeeded &= !again;
            // A person knows what it cost, and wants more.
            agent.run_usd = None;
            agent.unfinished = 0;
            // How it ended well still tells whether the item is done.
            agent.last_success = agent.last_success.take().filter(|_| agent.succeeded);
            agent.follow_ups.clear();
            if go_on.contains(name) {
                agent.queue(FollowUp::new(reason, true, now.at));
            } else {
                agent.session = None;
                agent.resumes = 0;
            }
        }
    }

    /// Not done, although every role ended well. Where a session goes on, whoever has none starts anew beside it; where
    /// none does, all of them start with the item's next dispatch.
    pub(super) fn go_on(&mut self, item: &ItemId, sessions: &[AgentName], now: &ClockReading) {
        for (name, agent) in self.agents.iter_mut().filter(|(_, agent)| agent.spec.item == *item) {
            agent.succeeded = false;
            agent.follow_ups.clear();
            if !sessions.is_empty() {
                agent.queue(FollowUp::new(FollowUpReason::NotDone, sessions.contains(name), now.at));
            }
        }
        if let Some(record) = self.items.get_mut(item) {
            record.continued = record.continued.saturating_add(1);
            // Whatever had failed before, it was got over.
            record.due_at = None;
        }
        self.recompute_phase(item);
    }

    /// What a person had to say was said, once every run that was to hear it was seen to run.
    pub(super) fn hear_messages(&mut self, item: &ItemId) {
        let unheard =
            |agent: &AgentRecord| agent.state == AgentPhase::Starting || !agent.follow_ups.is_empty();
        if self.agents_of(item).any(|(_, agent)| unheard(agent)) {
            return;
        }
        if let Some(record) = self.items.get_mut(item) {
            record.messages.iter_mut().for_each(|message| message.heard = true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(reason: FollowUpReason, fingerprint: Option<&str>, text: &str) -> FollowUp {
        let (fingerprint, text) = (fingerprint.map(str::to_owned), Some(text.to_owned()));
        FollowUp { fingerprint, text, ..FollowUp::new(reason, true, Timestamp::MIN) }
    }

    fn texts(agent: &AgentRecord) -> Vec<&str> {
        agent.follow_ups.iter().filter_map(|one| one.text.as_deref()).collect()
    }

    fn agent() -> AgentRecord {
        let file: serde_json::Value =
            serde_json::from_str(include_str!("../../fixtures/registry/first.json")).unwrap();
        let agent = serde_json::from_value(file["body"]["agents"]["ar-2-impl"].clone()).unwrap();
        AgentRecord { follow_ups: Vec::new(), ..agent }
    }

    #[test]
    fn follow_ups_of_different_reasons_wait_side_by_side() {
        let mut agent = agent();
        agent.queue(of(FollowUpReason::Failure, None, "failed"));
        agent.queue(of(FollowUpReason::NotDone, Some("print 1"), "not done"));
        agent.queue(of(FollowUpReason::Failure, None, "failed again"));
        assert_eq!(texts(&agent), ["not done", "failed again"], "the newer one of the same event stays");
    }

    #[test]
    fn event_that_a_run_was_started_for_starts_no_other_run() {
        let mut agent = agent();
        let event = of(FollowUpReason::NotDone, Some("print 1"), "not done");
        agent.queue(event.clone());
        let started = agent.follow_ups.clone();
        agent.consume(&started);
        agent.queue(event.clone());
        assert_eq!(texts(&agent), [""; 0]);
        agent.queue(of(FollowUpReason::NotDone, Some("print 2"), "still not done"));
        agent.queue(of(FollowUpReason::Answer, Some("print 1"), "of another reason"));
        assert_eq!(texts(&agent), ["still not done", "of another reason"]);
        // The run never ran: the event is pending once more.
        agent.queue_again(&started);
        assert_eq!(texts(&agent).last(), Some(&"not done"));
    }
}
