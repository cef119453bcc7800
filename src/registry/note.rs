//! What became of a plan's effects, written down.

use super::outbox::Note;
use super::{NOTE_TRIES_MAX, Registry, name_survivors};
use crate::config::Attempts;
use crate::model::{
    Action, ClockReading, Decision, FailureClass, FenceOutcome, ItemId, Launch, NotifyOutcome, Outcome, Plan,
    ReapOutcome, Reaped, RunId, StartOutcome, Status, Step, StepOutcome, Writeback,
};
use crate::registry::backoff::backoff;

impl Registry {
    /// Writes down what became of a plan's effects.
    pub fn note(&mut self, plan: &Plan, outcomes: &[StepOutcome], attempts: &Attempts, now: &ClockReading) {
        self.withdraw_all(plan, outcomes, now);
        for outcome in outcomes {
            let Some(Step::Decide(decision)) = plan.steps.get(outcome.step) else { continue };
            match (&decision.action, &outcome.outcome) {
                (Action::Start(launch) | Action::Resume(launch), outcome) => {
                    self.note_start(launch, outcome, now);
                }
                (Action::Fence { run }, Outcome::Fence(FenceOutcome::Won)) => {
                    self.counters.fences += 1;
                    self.names.raise(run);
                }
                (Action::Fence { run }, Outcome::Fence(FenceOutcome::Late)) => {
                    self.counters.fences += 1;
                    let why = "it was fenced, and processes of it lived: its claim had been taken away";
                    self.hand_off(run, decision.item.as_ref(), why, now, &[], false);
                }
                // A run that nobody knew and that does live, or may: from now on it is known, as one to end. Its number counts
                // as used, so that no later tick would find it.
                (
                    Action::Fence { run },
                    Outcome::Fence(FenceOutcome::Lost | FenceOutcome::Failed(_)) | Outcome::NotTried(_),
                ) if !self.knows(run) => {
                    self.hand_off(run, decision.item.as_ref(), &decision.because, now, &[], false);
                }
                (Action::Reap(reap), Outcome::Reap(ReapOutcome::Reaped(reaped))) => {
                    self.note_reaped(&reap.run, reaped, now)
                }
                (Action::Writeback(note), Outcome::Notify(NotifyOutcome::Notified)) => {
                    self.note_told(note, false)
                }
                (Action::Writeback(note), Outcome::Notify(NotifyOutcome::Failed(error))) => {
                    self.note_untold(note, error, attempts, now);
                }
                _ => {}
            }
        }
        // Only now: what one of a crew does next may be all that its item waits for.
        let decisions = outcomes.iter().filter_map(|outcome| plan.steps.get(outcome.step));
        for step in decisions {
            if let Step::Decide(Decision { item: Some(item), .. }) = step {
                self.recompute_phase(item);
            }
        }
    }

    /// Everything that was not started, before anything is made of it: whether one of a crew starts again by
    /// itself depends on whether any other of them was started.
    fn withdraw_all(&mut self, plan: &Plan, outcomes: &[StepOutcome], now: &ClockReading) {
        for outcome in outcomes {
            if let Outcome::NotTried(_) | Outcome::Start(StartOutcome::NotStarted { .. }) = outcome.outcome
                && let Some(Step::Decide(decision)) = plan.steps.get(outcome.step)
                && let Action::Start(launch) | Action::Resume(launch) = &decision.action
            {
                self.withdraw(&launch.spec.id, now);
                self.give_start_back(&launch.spec.item);
            }
        }
    }

    fn note_start(&mut self, launch: &Launch, outcome: &Outcome, now: &ClockReading) {
        let resume = launch.spec.session.is_some();
        match outcome {
            Outcome::NotTried(_) => self.try_again(launch, resume),
            Outcome::Start(StartOutcome::NotStarted { class: FailureClass::NameTaken, error }) => {
                self.note_name_taken(launch, error, now);
            }
            Outcome::Start(StartOutcome::NotStarted { class, error }) => {
                self.try_again(launch, resume);
                self.record_failure(&launch.spec.item, *class, class.charged(), error, None, now);
                if *class == FailureClass::Machine {
                    self.cool_machine(error, now);
                }
            }
            _ => {}
        }
    }

    /// Terminal for the name: nobody asks for it again before it was seen to be free, and a session of it that could
    /// have gone on is given up for a fresh start then.
    fn note_name_taken(&mut self, launch: &Launch, error: &str, now: &ClockReading) {
        self.hand_off(&launch.spec.id, Some(&launch.spec.item), error, now, &[], false);
        if let Some(handoff) = self.handoffs.get_mut(&launch.spec.id) {
            handoff.name_taken = true;
        }
        if launch.spec.session.is_some() {
            self.counters.resume_name_collisions += 1;
            if let Some(agent) = self.agents.get_mut(&launch.spec.id.agent) {
                agent.session = None;
                agent.resumes = 0;
            }
        }
        self.try_again(launch, false);
        self.record_failure(&launch.spec.item, FailureClass::NameTaken, false, error, None, now);
    }

    fn note_reaped(&mut self, run: &RunId, reaped: &Reaped, now: &ClockReading) {
        self.counters.pid_identity_mismatches += reaped.identity_mismatches;
        if reaped.survivors.is_empty() && !reaped.signalled.is_empty() {
            self.counters.agents_reaped += 1;
        }
        let Some(handoff) = self.handoffs.get_mut(run) else { return };
        let first_survivors = handoff.survivors.is_empty() && !reaped.survivors.is_empty();
        handoff.survivors = reaped.survivors.clone();
        if !reaped.skipped.is_empty() && !handoff.skips_counted {
            handoff.skips_counted = true;
            self.counters.protected_pid_skips += 1;
        }
        if first_survivors {
            let dispatch_failed = handoff.dispatch_failed;
            let item = handoff.item.clone();
            self.counters.survivors += 1;
            self.counters.dispatch_failure_reaper_handoff_failures += u64::from(dispatch_failed);
            if let Some(item) = item {
                let why =
                    format!("processes of {run} could not be ended: {}", name_survivors(&reaped.survivors));
                self.park(&item, None, false, &why, now);
            }
        }
    }

    /// Remembers that the tracker is owed this note.
    pub(super) fn want_note(&mut self, writeback: &Writeback) {
        if let Some(record) = self.items.get_mut(&writeback.item) {
            record.outbox.tracker_note.want(Note::of(writeback));
        }
    }

    fn note_told(&mut self, writeback: &Writeback, dropped: bool) {
        if let Some(record) = self.items.get_mut(&writeback.item) {
            record.outbox.tracker_note.settle(&Note::of(writeback), dropped);
        }
    }

    fn note_untold(&mut self, writeback: &Writeback, error: &str, attempts: &Attempts, now: &ClockReading) {
        if writeback.required && writeback.status == Status::Started {
            // Tried once per dispatch: told or not, this dispatch is over.
            self.note_told(writeback, true);
            return self.fail_dispatch(&writeback.item, FailureClass::Writeback, error, attempts, now);
        }
        let Some(record) = self.items.get_mut(&writeback.item) else { return };
        record.outbox.tracker_note.fail(&Note::of(writeback), error);
        if record.outbox.tracker_note.tries >= NOTE_TRIES_MAX && !writeback.required {
            self.note_told(writeback, true);
        }
    }

    /// One charge on the item, and every run of the dispatch is handed off.
    fn fail_dispatch(
        &mut self,
        item: &ItemId,
        class: FailureClass,
        because: &str,
        attempts: &Attempts,
        now: &ClockReading,
    ) {
        let Some(dispatch) = self.items.get(item).map(|record| record.dispatch) else { return };
        let ours: Vec<_> = self
            .agents_of(item)
            .filter(|(_, agent)| agent.spec.dispatch == dispatch)
            .map(|(name, agent)| (name.clone(), agent.run.clone()))
            .collect();
        for (name, run) in ours {
            if let Some(run) = run {
                self.hand_off(&run, Some(item), because, now, &[], true);
            }
            let Some(agent) = self.agents.get_mut(&name) else { continue };
            agent.follow_ups.clear();
            // What was never announced must not count as done, nor go on after a person's retry.
            if class == FailureClass::Writeback {
                agent.succeeded = false;
                agent.session = None;
                agent.resumes = 0;
            }
        }
        self.charge(item, class, because, attempts, now);
    }

    fn charge(
        &mut self,
        item: &ItemId,
        class: FailureClass,
        because: &str,
        attempts: &Attempts,
        now: &ClockReading,
    ) {
        let Some(record) = self.items.get(item) else { return };
        let due_at = now.after(backoff(attempts, item, record.attempts + 1));
        self.record_failure(item, class, class.charged(), because, Some(due_at), now);
    }
}
