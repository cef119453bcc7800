//! What is started: sessions that go on, single roles again, and items whose turn it is, within every limit.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::config::Role;
use crate::decide::dispatch::gates::{self, Asked, Hold, Wanted};
use crate::decide::dispatch::launch;
use crate::decide::dispatch::slots::Slots;
use crate::decide::eligibility::is_eligible;
use crate::decide::planner::Planner;
use crate::decide::throttle::cool_offs;
use crate::decide::throttle::{budget, pause};
use crate::decide::{eligibility, endings, follow_ups, writeback};
use crate::model::{
    Action, AgentName, FailureClass, FollowUp, FollowUpReason, HoldReason, ItemId, ItemState, Launch,
    RecordUpdate, WorkItem,
};
use crate::registry::backoff::backoff;
use crate::registry::{ItemPhase, ItemRecord};

pub(in crate::decide) fn dispatch(planner: &mut Planner) {
    pause::end_pause(planner);
    budget::right_the_day(planner);
    cool_offs::follow(planner);
    let Some(view) = planner.source() else { return hold_unread(planner) };
    let mut queue: Vec<&WorkItem> = view.items.iter().filter(|item| planner.is_selected(&item.id)).collect();
    queue.sort_by_cached_key(|item| rank(item));
    note_taken(planner, &queue);
    let mut slots = Slots::count(planner);
    // First what is under way: a session that waits for its turn holds work that is half done.
    let mut settled = BTreeSet::new();
    for item in &queue {
        match go_on(planner, &mut slots, item) {
            Ok(false) => continue,
            Ok(true) => {}
            Err(Hold { code, because, until }) => planner.hold(&item.id, code, because, until),
        }
        settled.insert(&item.id);
    }
    for item in queue.iter().filter(|item| !settled.contains(&item.id)) {
        if let Err(Hold { code, because, until }) = begin(planner, &mut slots, item) {
            planner.hold(&item.id, code, because, until);
        }
    }
}

/// Remembers which items wait because another factory has their workspace: `status` tells of them without a look outside.
fn note_taken(planner: &mut Planner, queue: &[&WorkItem]) {
    for item in queue {
        let record = planner.registry.items.get(&item.id);
        let before = record.and_then(|record| record.taken.clone());
        let waits = || {
            let is_done = planner.registry.phase(&item.id) == Some(ItemPhase::Done);
            is_eligible(planner, item) && !is_done && !planner.registry.running(&item.id)
        };
        let because = gates::taken(planner, item).filter(|_| waits()).map(str::to_owned);
        if before == because {
            continue;
        }
        if record.is_none() {
            let seen = planner.registry.upsert_for(item);
            planner.refresh(seen);
        }
        planner.refresh(RecordUpdate::Taken { item: item.id.clone(), because });
    }
}

/// Priorities 1 to 4 first, in that order; then the oldest; then by key. The id makes it total.
fn rank(item: &WorkItem) -> (i64, Timestamp, String, ItemId) {
    let priority = item.priority.filter(|priority| (1..=4).contains(priority)).unwrap_or(5);
    (priority, item.created_at.unwrap_or(Timestamp::MAX), item.key.clone(), item.id.clone())
}

/// The source could not be read: nothing is started, whatever runs goes on.
fn hold_unread(planner: &mut Planner) {
    let waiting: Vec<_> = planner
        .registry
        .items
        .iter()
        .filter(|(id, record)| record.state == ItemPhase::Waiting && planner.is_selected(id))
        .map(|(id, _)| id.clone())
        .collect();
    for id in waiting {
        planner.hold(&id, HoldReason::SourceUnknown, "its source could not be read", None);
    }
}

/// Sessions of an item that go on, and single roles that start again beside their crew. False: there are none.
fn go_on(planner: &mut Planner, slots: &mut Slots, item: &WorkItem) -> Result<bool, Hold> {
    let follows = planner.registry.agents_of(&item.id).filter(|(_, agent)| !agent.follow_ups.is_empty());
    let agents: Vec<_> = follows.map(|(name, _)| name.clone()).collect();
    if agents.is_empty() || !is_eligible(planner, item) {
        return Ok(false);
    }
    let Some(record) = planner.registry.items.get(&item.id).cloned() else { return Ok(false) };
    if planner.explains(&item.id) {
        explain_going_on(planner, slots, item, &agents);
    }
    gates::pass(&Asked { planner, slots, item, record: Some(&record), wanted: Wanted::GoingOn })?;
    // All are worked out before any is started: one that can't be fails the dispatch of them all.
    let follows: Vec<_> =
        agents.iter().filter_map(|name| follow_up(planner, slots, item, &record, name)).collect();
    if let Some(Follow::Fails(error)) = follows.iter().find(|follow| matches!(follow, Follow::Fails(_))) {
        return unlaunchable(planner, item, error).map(|()| true);
    }
    // One that has to wait holds up none of the others.
    let mut first_hold = None;
    for follow in follows {
        let hold = match follow {
            Follow::Ready(due, launch) => one_more_run(planner, slots, item, &due, launch).err(),
            Follow::Waits(hold) => Some(hold),
            Follow::Fails(_) => None,
        };
        first_hold = first_hold.or(hold);
    }
    first_hold.map_or(Ok(true), Err)
}

/// What one agent does next by itself.
enum Follow<'a> {
    Ready(Due<'a>, Box<Launch>),
    Waits(Hold),
    /// Its prompt can't be rendered.
    Fails(String),
}

/// What is due of an agent, for the gates.
struct Due<'a> {
    agent: AgentName,
    role: &'a Role,
    follow_ups: Vec<FollowUp>,
    /// When the first of them is due: it takes the others with it.
    due_at: Timestamp,
}

impl<'a> Due<'a> {
    /// `None` where its role is gone.
    fn of(planner: &Planner<'a>, name: &AgentName) -> Option<Due<'a>> {
        let agent = planner.registry.agents.get(name)?;
        Some(Due {
            agent: name.clone(),
            role: planner.role(&agent.spec.role)?,
            follow_ups: agent.follow_ups.clone(),
            due_at: FollowUp::first_due(&agent.follow_ups)?,
        })
    }

    fn wanted(&self) -> Wanted<'_> {
        Wanted::FollowUp { agent: &self.agent, role: self.role, due_at: self.due_at }
    }
}

/// `None` where its role is gone.
fn follow_up<'a>(
    planner: &Planner<'a>,
    slots: &Slots,
    item: &WorkItem,
    record: &ItemRecord,
    name: &AgentName,
) -> Option<Follow<'a>> {
    let due = Due::of(planner, name)?;
    let asked = Asked { planner, slots, item, record: Some(record), wanted: due.wanted() };
    if let Err(hold) = gates::pass(&asked) {
        return Some(Follow::Waits(hold));
    }
    let agent = planner.registry.agents.get(name)?;
    // Another harness, or one without a resume command by now, can't go on with this session.
    let session = follow_ups::session_to_resume(planner.config, agent).cloned();
    let follow_ups = due.follow_ups.clone();
    Some(match launch::launch(planner, due.role, item, record, agent.spec.dispatch, session, follow_ups) {
        Ok(launch) => Follow::Ready(due, Box::new(launch)),
        Err(error) => Follow::Fails(error),
    })
}

fn one_more_run(
    planner: &mut Planner,
    slots: &mut Slots,
    item: &WorkItem,
    due: &Due,
    launch: Box<Launch>,
) -> Result<(), Hold> {
    let record = planner.registry.items.get(&item.id);
    // Once more: another one of the item may have taken the last start.
    gates::pass(&Asked { planner, slots, item, record, wanted: due.wanted() })?;
    refuse_overwriting(planner, &item.id, &launch)?;
    slots.take(planner, item, 1);
    if launch.spec.session.is_some() {
        let because: Vec<_> =
            due.follow_ups.iter().map(|one| why_it_goes_on(planner, &due.agent, one.reason)).collect();
        let because = because.join("; ");
        planner.decide(Some(&item.id), because, Action::Resume(launch));
    } else {
        planner.decide(Some(&item.id), "it never ran: it alone starts again", Action::Start(launch));
    }
    Ok(())
}

fn why_it_goes_on(planner: &Planner, agent: &AgentName, reason: FollowUpReason) -> String {
    let resumes = planner.registry.agents.get(agent).map_or(0, |agent| agent.resumes);
    let max = planner.config.attempts.resumes_max;
    match reason {
        FollowUpReason::Failure => format!("its session goes on (resume {} of {max})", resumes + 1),
        FollowUpReason::Answer => "its session goes on with a person's answer".to_owned(),
        FollowUpReason::Unfinished => "its session goes on: its work was unfinished".to_owned(),
        FollowUpReason::NotDone => "it is not done: its session goes on".to_owned(),
    }
}

/// Holds an item of which a start would overwrite the record of a run that may live, and reports it.
fn refuse_overwriting(planner: &mut Planner, item: &ItemId, launch: &Launch) -> Result<(), Hold> {
    let Some(because) = planner.registry.start_refusal(launch) else { return Ok(()) };
    planner.mark_unknown(Some(item), because.clone());
    Err(Hold { code: HoldReason::FleetUnknown, because, until: None })
}

/// A fresh dispatch of every role that is not done yet; `started` is told with it.
fn begin(planner: &mut Planner, slots: &mut Slots, item: &WorkItem) -> Result<(), Hold> {
    park_returned(planner, item);
    let record = planner.registry.items.get(&item.id);
    let asked = Asked { planner, slots, item, record, wanted: Wanted::Dispatch };
    let passed = gates::pass(&asked);
    if planner.explains(&item.id) {
        let verdicts = gates::verdicts(&asked);
        planner.explain(verdicts);
    }
    match passed {
        // What is closed waits for nothing; what is open outside the scope may puzzle its author.
        Err(hold) if hold.code == HoldReason::NotInScope && item.state == ItemState::Closed => return Ok(()),
        passed => passed?,
    }
    if !planner.registry.items.contains_key(&item.id) {
        let seen = planner.registry.upsert_for(item);
        planner.refresh(seen);
    }
    let roles = eligibility::roles_to_start(planner, item);
    start_crew(planner, slots, item, &roles)
}

/// What all gates say of everything that follows by itself, each as if those before it were started.
fn explain_going_on(planner: &mut Planner, slots: &Slots, item: &WorkItem, agents: &[AgentName]) {
    let mut slots = slots.clone();
    let record = planner.registry.items.get(&item.id);
    let mut verdicts =
        gates::verdicts(&Asked { planner, slots: &slots, item, record, wanted: Wanted::GoingOn });
    for due in agents.iter().filter_map(|name| Due::of(planner, name)) {
        let each = gates::verdicts(&Asked { planner, slots: &slots, item, record, wanted: due.wanted() });
        if !each.iter().any(|verdict| verdict.holds) {
            slots.take(planner, item, 1);
        }
        verdicts.extend(each);
    }
    planner.explain(verdicts);
}

fn start_crew(
    planner: &mut Planner,
    slots: &mut Slots,
    item: &WorkItem,
    roles: &[&Role],
) -> Result<(), Hold> {
    let Some(record) = planner.registry.items.get(&item.id).cloned() else { return Ok(()) };
    let dispatch = record.dispatch + 1;
    let launches: Result<Vec<Launch>, String> = roles
        .iter()
        .map(|role| launch::launch(planner, role, item, &record, dispatch, None, Vec::new()))
        .collect();
    let launches = match launches {
        Ok(launches) => launches,
        Err(error) => {
            // The text that can't be used: an edit of it is a reason to try again, and without one there is none.
            let (hash, content_hash) = (item.hash.clone(), item.content_hash.clone());
            planner.refresh(RecordUpdate::Given { item: item.id.clone(), hash, content_hash });
            return unlaunchable(planner, item, &error);
        }
    };
    for launch in &launches {
        refuse_overwriting(planner, &item.id, launch)?;
    }
    slots.take(planner, item, launches.len());
    planner.group += 1;
    for launch in launches {
        let (attempt, max) = (record.attempts + 1, planner.config.attempts.max);
        let because = match record.continued {
            0 => format!("attempt {attempt} of {max}"),
            times if record.attempts == 0 => format!("it is not done: it goes on ({times} of {max})"),
            _ => format!("it is not done: attempt {attempt} of {max}"),
        };
        planner.decide_in_group(Some(&item.id), because, Action::Start(Box::new(launch)));
    }
    if let Some(note) = writeback::started(planner, &item.id) {
        let because = note.because.clone();
        planner.decide_in_group(Some(&item.id), because, Action::Writeback(Box::new(note)));
    }
    Ok(())
}

/// What the next runs of an item would be started with: its sessions where they go on, else every role of it that
/// is not done.
pub(in crate::decide) fn next_launches(planner: &mut Planner, id: &ItemId) -> Result<Vec<Launch>, String> {
    let Some(item) = planner.seen.get(id).copied() else { return Ok(Vec::new()) };
    if !planner.registry.items.contains_key(id) {
        let seen = planner.registry.upsert_for(item);
        planner.refresh(seen);
    }
    let record = planner.registry.items[id].clone();
    let agents: Vec<_> = planner.registry.agents_of(id).map(|(_, agent)| agent.clone()).collect();
    let follows = agents.iter().any(|agent| !agent.follow_ups.is_empty());
    let roles = planner.config.roles.iter().filter_map(|role| {
        let agent = agents.iter().find(|agent| agent.spec.role == role.name);
        let follow_ups = agent.map_or_else(Vec::new, |agent| agent.follow_ups.clone());
        let session = agent.and_then(|agent| follow_ups::session_to_resume(planner.config, agent).cloned());
        let is_due =
            if follows { !follow_ups.is_empty() } else { agent.is_none_or(|agent| !agent.succeeded) };
        is_due.then_some((role, session, follow_ups))
    });
    roles
        .map(|(role, session, follow_ups)| {
            launch::launch(planner, role, item, &record, record.dispatch + 1, session, follow_ups)
        })
        .collect()
}

/// Its prompt can't be rendered: the attempt is charged, and as a role of it can't be started, so is nobody else
/// of its dispatch kept.
fn unlaunchable(planner: &mut Planner, item: &WorkItem, error: &str) -> Result<(), Hold> {
    let charged = planner.registry.items.get(&item.id).map_or(0, |record| record.attempts) + 1;
    let due_at = planner.now.after(backoff(&planner.config.attempts, &item.id, charged));
    let action = Action::Fail {
        item: item.id.clone(),
        run: None,
        class: FailureClass::Launch,
        facts: Default::default(),
        follow_ups: Vec::new(),
        due_at: Some(due_at),
        duplicate: false,
    };
    planner.decide(Some(&item.id), error, action);
    endings::stop_dispatch(planner, &item.id, error);
    Ok(())
}

/// Parks an item that was forgotten, is back, and used up its starts of the day.
fn park_returned(planner: &mut Planner, item: &WorkItem) {
    if planner.registry.phase(&item.id).is_some() {
        return;
    }
    let Some(because) = budget::starts_used_up(planner, &item.id) else { return };
    let seen = planner.registry.upsert_for(item);
    planner.refresh(seen);
    let park = Action::Park { item: item.id.clone(), class: Some(FailureClass::Budget), by_person: false };
    planner.decide(Some(&item.id), because, park);
}
