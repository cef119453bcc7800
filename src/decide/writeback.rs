//! What trackers have to be told: what each item's state calls for against what was said last.

use jiff::Timestamp;

use crate::config::WritebackMode;
use crate::decide::done_rule;
use crate::decide::planner::Planner;
use crate::model::{Action, DoneWhen, ItemId, RunId, Status, Writeback};
use crate::registry::{AgentPhase, ItemPhase, ItemRecord};

pub(super) fn notify(planner: &mut Planner) {
    if planner.source().is_none() {
        return;
    }
    for id in planner.item_ids() {
        let Some(record) = planner.registry.items.get(&id) else { continue };
        let Some(status) = wanted(planner, &id, record) else { continue };
        if let Some(note) = note(planner, &id, status) {
            let because = note.because.clone();
            planner.decide(Some(&id), because, Action::Writeback(Box::new(note)));
        }
    }
}

/// The status that the tracker does not know yet.
fn wanted(planner: &Planner, id: &ItemId, record: &ItemRecord) -> Option<Status> {
    let status = match record.state {
        // A dispatch is announced with its starts; here only by a tick after one that died before it could.
        // What a person parked meanwhile is no different: it is parked for the tracker when nothing of it runs.
        ItemPhase::Active | ItemPhase::Parked if announced_late(planner, id, record) => Status::Started,
        ItemPhase::Active | ItemPhase::Waiting => return None,
        ItemPhase::Done => Status::Done,
        ItemPhase::Parked if planner.registry.running(id) => return None,
        ItemPhase::Parked => Status::Parked,
    };
    (!is_told(record, status)).then_some(status)
}

fn is_told(record: &ItemRecord, status: Status) -> bool {
    record.notified.as_ref().is_some_and(|told| {
        // A session that goes on can ask a second time within one dispatch.
        let again = status == Status::Parked && told.at.is_some_and(|at| at != parked_at(record, at));
        told.status == status && told.dispatch == record.dispatch && !again
    })
}

/// When an item was parked, or `now` where that is not on record.
fn parked_at(record: &ItemRecord, now: Timestamp) -> Timestamp {
    record.last.as_ref().map_or(now, |last| last.at)
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

/// The note for a status, unless that kind of note is switched off.
pub(super) fn note(planner: &Planner, id: &ItemId, status: Status) -> Option<Writeback> {
    let record = planner.registry.items.get(id)?;
    let modes = &planner.config.writeback;
    let mode = match status {
        Status::Started => modes.started,
        Status::Done => modes.done,
        Status::Parked => modes.parked,
    };
    if mode == WritebackMode::Off {
        return None;
    }
    let because = match status {
        Status::Started => format!("dispatch {} was started", record.dispatch),
        Status::Done => why_done(done_rule::rule(planner, id)).to_owned(),
        Status::Parked => record.last.as_ref().map_or_else(String::new, |last| last.because.clone()),
    };
    let of_dispatch =
        planner.registry.agents_of(id).filter(|(_, agent)| agent.spec.dispatch == record.dispatch);
    Some(Writeback {
        item: id.clone(),
        slug: record.slug.clone(),
        status,
        dispatch: record.dispatch,
        runs: of_dispatch.map(|(name, agent)| RunId { agent: name.clone(), n: agent.spec.id.n }).collect(),
        at: match status {
            Status::Parked => parked_at(record, planner.now.at),
            Status::Started | Status::Done => planner.now.at,
        },
        because,
        required: mode == WritebackMode::Required,
    })
}
