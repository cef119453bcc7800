//! Corrections of the record that are no decisions.

use super::intend::note_session;
use super::records::{ItemRecord, LastSuccess, Named};
use super::{DailySpend, Registry};
use crate::model::{ClockReading, RecordUpdate};

impl Registry {
    pub(super) fn refresh(&mut self, refresh: &RecordUpdate, now: &ClockReading) {
        match refresh {
            RecordUpdate::Seen { item, key, origin, slug, workspace } => {
                let named = Named {
                    slug: slug.clone(),
                    workspace: workspace.clone(),
                    starts: None,
                    finished_at: None,
                };
                let slug = self.names.items.entry(item.clone()).or_insert(named).slug.clone();
                let record = self.items.entry(item.clone()).or_insert_with(|| ItemRecord::new(slug));
                record.key = key.clone();
                record.origin = origin.clone();
                record.missing_reads = 0;
                record.missing_since = None;
                record.gone = None;
                self.done.remove(item);
            }
            RecordUpdate::Missing { item, reads, gone } => {
                if let Some(record) = self.items.get_mut(item) {
                    record.missing_reads = *reads;
                    record.gone = *gone;
                    if *reads == 1 {
                        record.missing_since = Some(now.clone());
                    }
                }
            }
            RecordUpdate::KeepDone { item } => self.keep_done(item, now),
            RecordUpdate::Archive { item } => self.archive(item, now),
            RecordUpdate::StillDone { item, key, origin } => self.still_done(item, key, origin),
            RecordUpdate::RestoreDone { item } => self.restore_done(item, now),
            RecordUpdate::Used { run } => self.names.raise(run),
            RecordUpdate::Given { item, hash, content_hash } => {
                if let Some(record) = self.items.get_mut(item) {
                    record.hash = Some(hash.clone());
                    record.content_hash = Some(content_hash.clone());
                }
            }
            RecordUpdate::Renew { item, .. } => {
                let Some(record) = self.items.get_mut(item) else { return };
                *record = ItemRecord {
                    key: record.key.clone(),
                    origin: record.origin.clone(),
                    hash: record.hash.clone(),
                    content_hash: record.content_hash.clone(),
                    dispatch: record.dispatch,
                    outbox: record.outbox.clone(),
                    messages: record.messages.clone(),
                    ..ItemRecord::new(record.slug.clone())
                };
                // What is owed stays owed, with all tries: the edit does not unmake it.
                record.outbox.tracker_note.try_anew();
                for agent in self.agents.values_mut().filter(|agent| agent.spec.item == *item) {
                    agent.succeeded = false;
                    agent.follow_ups.clear();
                    agent.run_usd = None;
                    agent.last_success = None;
                    agent.unfinished = 0;
                }
            }
            RecordUpdate::AfterRun { run, why } => {
                if let Some(agent) = self.agents.get_mut(&run.agent).filter(|agent| agent.spec.id.n == run.n)
                {
                    agent.after_run = Some(why.clone());
                }
            }
            RecordUpdate::LastSuccess { run, printed, answer } => {
                let Some(agent) = self.agents.get_mut(&run.agent).filter(|agent| agent.spec.id.n == run.n)
                else {
                    return;
                };
                let repeated = agent.last_success.as_ref().is_some_and(|before| before.printed == *printed);
                agent.last_success =
                    Some(LastSuccess { printed: printed.clone(), repeated, answer: *answer });
            }
            RecordUpdate::NoteWanted(writeback) => self.want_note(writeback),
            RecordUpdate::Regroup { item } => {
                self.drop_follow_ups(item);
                self.recompute_phase(item);
            }
            RecordUpdate::NotDone { item, go_on } => self.go_on(item, go_on, now),
            RecordUpdate::Taken { item, because } => {
                if let Some(record) = self.items.get_mut(item) {
                    record.taken.clone_from(because);
                }
            }
            RecordUpdate::Clamp { item, due_at } => {
                if let Some(record) = self.items.get_mut(item) {
                    record.due_at = Some(*due_at);
                }
            }
            RecordUpdate::DailySpend => self.daily_spend = Some(self.daily_spend(now.at)),
            RecordUpdate::BudgetHolds => {
                self.daily_spend = Some(DailySpend { held: true, ..self.daily_spend(now.at) })
            }
            RecordUpdate::Standstill(standstill) => self.standstill = standstill.clone(),
            RecordUpdate::Forgiven => self.failure_streak = None,
            RecordUpdate::Queued { run } => {
                if let Some(agent) = self.current(run) {
                    agent.since = Some(now.clone());
                }
            }
            RecordUpdate::Session { run, session } => {
                if let Some(agent) = self.current(run) {
                    note_session(agent, Some(session));
                }
            }
            RecordUpdate::RoleGone { agent } => {
                if let Some(gone) = self.agents.remove(agent) {
                    // What it would have done next by itself may have been all that its item waited for.
                    self.recompute_phase(&gone.spec.item);
                }
            }
        }
    }
}
