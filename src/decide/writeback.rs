//! What trackers have to be told: the note that each item's state calls for, or that an earlier state still owes.

use crate::config::WritebackMode;
use crate::decide::done_rule;
use crate::decide::planner::Planner;
use crate::model::{Action, DoneWhen, ItemId, RecordUpdate, RunId, Status, Writeback};
use crate::registry::{AgentPhase, ItemPhase, ItemRecord, Note};

pub(super) fn notify(planner: &mut Planner) {
    let can_tell = planner.source().is_some();
    for id in planner.item_ids() {
        let Some(record) = planner.registry.items.get(&id) else { continue };
        let tracker_note = &record.outbox.tracker_note;
        let called_for = called_for(planner, &id, record);
        let Some(note) = called_for.or_else(|| still_owed(planner, &id, record)) else { continue };
        let is_stored = tracker_note.wanted.as_ref() == Some(&note);
        let is_due = !is_stored || tracker_note.is_due(planner.now);
        let Some(writeback) = writeback(planner, &id, note) else { continue };
        if can_tell && is_due {
            let because = writeback.because.clone();
            planner.decide(Some(&id), because, Action::Writeback(Box::new(writeback)));
        } else if !is_stored {
            // Its item may change before the tracker can be told.
            planner.refresh(RecordUpdate::NoteWanted(Box::new(writeback)));
        }
    }
}

/// The note that the state of an item calls for, unless its tracker knows that.
fn called_for(planner: &Planner, id: &ItemId, record: &ItemRecord) -> Option<Note> {
    let status = match record.state {
        // A dispatch is announced with its starts; here only by a tick after one that died before it could.
        // What a person parked meanwhile is no different: it is parked for the tracker when nothing of it runs.
        ItemPhase::Active | ItemPhase::Parked if announced_late(planner, id, record) => Status::Started,
        ItemPhase::Active | ItemPhase::Waiting => return None,
        ItemPhase::Done => Status::Done,
        ItemPhase::Parked if planner.registry.running(id) => return None,
        ItemPhase::Parked => Status::Parked,
    };
    let note = note(planner, id, record, status);
    let tracker_note = &record.outbox.tracker_note;
    if tracker_note.has_told(&note) {
        return None;
    }
    // The same note as before keeps its time and its words.
    let wanted = tracker_note.wanted.as_ref().filter(|wanted| wanted.says_the_same(&note));
    Some(wanted.cloned().unwrap_or(note))
}

/// The note that an earlier state of an item owes. What says that a dispatch started is owed only while that is so.
fn still_owed(planner: &Planner, id: &ItemId, record: &ItemRecord) -> Option<Note> {
    let note = record.outbox.tracker_note.wanted.as_ref()?;
    let holds = match note.status {
        Status::Started => false,
        // An item of which something runs needs no person.
        Status::Parked => !planner.registry.running(id),
        Status::Done => true,
    };
    holds.then(|| note.clone())
}

/// Whether there is nothing to tell of an item as it stands.
pub(super) fn owes_nothing(planner: &Planner, id: &ItemId, record: &ItemRecord) -> bool {
    let note = called_for(planner, id, record).or_else(|| still_owed(planner, id, record));
    note.and_then(|note| writeback(planner, id, note)).is_none()
}

fn announced_late(planner: &Planner, id: &ItemId, record: &ItemRecord) -> bool {
    planner
        .registry
        .agents_of(id)
        .any(|(_, agent)| agent.spec.dispatch == record.dispatch && agent.state == AgentPhase::Running)
}

/// What made an item done.
fn why_done(rule: DoneWhen) -> &'static str {
    match rule {
        DoneWhen::Exit => "every role ended well",
        DoneWhen::Command => "every role ended well, and the done command says so",
        DoneWhen::Source => "every role ended well, and it left its source",
    }
}

fn note(planner: &Planner, id: &ItemId, record: &ItemRecord, status: Status) -> Note {
    let because = match status {
        Status::Started => format!("dispatch {} was started", record.dispatch),
        Status::Done => why_done(done_rule::rule(planner, id)).to_owned(),
        Status::Parked => record.last.as_ref().map_or_else(String::new, |last| last.because.clone()),
    };
    let notified = record.outbox.tracker_note.notified.as_ref().map(|told| told.at);
    let at = match status {
        Status::Parked => record.last.as_ref().map(|last| last.at).or(notified),
        Status::Started | Status::Done => None,
    };
    Note { status, dispatch: record.dispatch, at: at.unwrap_or(planner.now.at), because }
}

/// The note that an item was dispatched, unless that kind of note is switched off.
pub(super) fn started(planner: &Planner, id: &ItemId) -> Option<Writeback> {
    let record = planner.registry.items.get(id)?;
    writeback(planner, id, note(planner, id, record, Status::Started))
}

/// How a note is told, unless its kind is switched off.
fn writeback(planner: &Planner, id: &ItemId, note: Note) -> Option<Writeback> {
    let record = planner.registry.items.get(id)?;
    let modes = &planner.config.writeback;
    let mode = match note.status {
        Status::Started => modes.started,
        Status::Done => modes.done,
        Status::Parked => modes.parked,
    };
    if mode == WritebackMode::Off {
        return None;
    }
    let of_dispatch =
        planner.registry.agents_of(id).filter(|(_, agent)| agent.spec.dispatch == note.dispatch);
    Some(Writeback {
        item: id.clone(),
        slug: record.slug.clone(),
        status: note.status,
        dispatch: note.dispatch,
        runs: of_dispatch.map(|(name, agent)| RunId { agent: name.clone(), n: agent.spec.id.n }).collect(),
        at: note.at,
        because: note.because,
        required: mode == WritebackMode::Required,
    })
}
