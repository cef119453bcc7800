//! What is started: sessions that go on, single roles again, and items whose turn it is, within every limit.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::blockers::Blockers;
use super::{Draft, cool_offs, items, launch, notes, runs, strays};
use crate::backoff::backoff;
use crate::config::Role;
use crate::model::{
    Action, AgentName, Class, HeldCode, ItemId, ItemState, Launch, Refresh, Status, WorkItem,
};
use crate::registry::{AgentStanding, ItemRecord, ItemStanding};

/// Why an item waits.
struct Hold(HeldCode, String, Option<Timestamp>);

pub(super) fn dispatch(draft: &mut Draft) {
    end_pause(draft);
    cool_offs::follow(draft);
    let Some(view) = draft.source() else { return hold_unread(draft) };
    let mut queue: Vec<&WorkItem> = view.items.iter().filter(|item| draft.concerns(&item.id)).collect();
    queue.sort_by_cached_key(|item| rank(item));
    let mut slots = Slots::count(draft);
    // First what is under way: a session that waits for its turn holds work that is half done.
    let mut settled = BTreeSet::new();
    for item in &queue {
        match go_on(draft, &mut slots, item) {
            Ok(false) => continue,
            Ok(true) => {}
            Err(Hold(code, because, until)) => draft.hold(&item.id, code, because, until),
        }
        settled.insert(&item.id);
    }
    for item in queue.iter().filter(|item| !settled.contains(&item.id)) {
        if let Err(Hold(code, because, until)) = begin(draft, &mut slots, item) {
            draft.hold(&item.id, code, because, until);
        }
    }
}

/// Priorities 1 to 4 first, in that order; then the oldest; then by key. The id makes it total.
fn rank(item: &WorkItem) -> (i64, Timestamp, String, ItemId) {
    let priority = item.priority.filter(|priority| (1..=4).contains(priority)).unwrap_or(5);
    (priority, item.created_at.unwrap_or(Timestamp::MAX), item.key.clone(), item.id.clone())
}

/// The source could not be read: nothing is started, whatever runs goes on.
fn hold_unread(draft: &mut Draft) {
    let waiting: Vec<_> = draft
        .registry
        .items
        .iter()
        .filter(|(id, record)| record.state == ItemStanding::Waiting && draft.concerns(id))
        .map(|(id, _)| id.clone())
        .collect();
    for id in waiting {
        draft.hold(&id, HeldCode::SourceUnknown, "its source could not be read", None);
    }
}

/// A pause that was to last so long ends by itself.
fn end_pause(draft: &mut Draft) {
    if draft.registry.paused.as_ref().is_some_and(|paused| !paused.holds(draft.now.at)) {
        draft.decide(None, "its time is over", Action::Unpause);
    }
}

/// What is taken of each limit, counting runs that nobody has seen yet.
struct Slots {
    items: BTreeSet<ItemId>,
    labels: BTreeMap<String, u32>,
    starts: u32,
    /// Looked up when the first item asks for them.
    blockers: Option<Blockers>,
}

impl Slots {
    fn count(draft: &Draft) -> Slots {
        let mut slots = Slots { items: BTreeSet::new(), labels: BTreeMap::new(), starts: 0, blockers: None };
        let running = draft.registry.agents.values().filter(|agent| agent.state != AgentStanding::Idle);
        let handed_off = draft.registry.handoffs.values().filter_map(|handoff| handoff.item.as_ref());
        for id in running.map(|agent| &agent.item).chain(handed_off) {
            slots.take_item(draft, id);
        }
        slots
    }

    fn take_item(&mut self, draft: &Draft, id: &ItemId) {
        if self.items.insert(id.clone()) {
            for label in draft.seen.get(id).iter().flat_map(|item| &item.labels) {
                *self.labels.entry(label.clone()).or_default() += 1;
            }
        }
    }

    /// Whether this many agents can be started for the item now.
    fn admit(&self, draft: &Draft, item: &WorkItem, roles: &[&Role]) -> Result<(), Hold> {
        if let Some(paused) = &draft.registry.paused {
            return Err(Hold(HeldCode::Paused, paused.because.clone(), paused.until));
        }
        let limits = &draft.config.limits;
        if let (Some(free), floor) = (draft.world.disk_free_bytes, limits.disk_free_min_bytes)
            && free < floor
        {
            let because = format!("{} MiB free, less than disk_free_min", free >> 20);
            return Err(Hold(HeldCode::DiskFloor, because, None));
        }
        for role in roles {
            if let Some((because, until)) = cool_offs::gate(draft, role) {
                return Err(Hold(HeldCode::CoolingOff, because, until));
            }
        }
        if !self.items.contains(&item.id) {
            if self.items.len() >= limits.items_max as usize {
                let because = format!("{} of {} items in flight", self.items.len(), limits.items_max);
                return Err(Hold(HeldCode::NoSlot, because, None));
            }
            for label in &item.labels {
                let taken = self.labels.get(label).copied().unwrap_or(0);
                if let Some(max) = limits.per_label.get(label).filter(|max| taken >= **max) {
                    let because = format!("{taken} of {max} items labelled {label:?} in flight");
                    return Err(Hold(HeldCode::NoLabelSlot, because, None));
                }
            }
        }
        let max = draft.config.tick.starts_max;
        if self.starts + roles.len() as u32 > max {
            let because = format!("{} of {max} starts of this tick used", self.starts);
            return Err(Hold(HeldCode::StartsExhausted, because, None));
        }
        Ok(())
    }

    fn take(&mut self, draft: &Draft, item: &WorkItem, starts: usize) {
        self.take_item(draft, &item.id);
        self.starts += starts as u32;
    }
}

/// A number is given out only where every directory of its agent can be told.
fn told_apart(draft: &Draft, slug: &str) -> Result<(), Hold> {
    match strays::untold(draft, slug) {
        Some(run) => Err(Hold(HeldCode::FleetUnknown, format!("what {run} is can't be told"), None)),
        None => Ok(()),
    }
}

/// What keeps an item from any start at all.
fn barred(draft: &Draft, item: &WorkItem, record: &ItemRecord) -> Result<(), Hold> {
    if let Some(why) = draft.world.fleet.unknown() {
        return Err(Hold(HeldCode::FleetUnknown, why.to_owned(), None));
    }
    if draft.uncertain.contains(&item.id) {
        let because = "what runs for it can't be told".to_owned();
        return Err(Hold(HeldCode::FleetUnknown, because, None));
    }
    told_apart(draft, &record.slug)?;
    let words = record.last.as_ref().map_or_else(String::new, |last| last.because.clone());
    match record.state {
        ItemStanding::Parked => return Err(Hold(HeldCode::Parked, words, None)),
        ItemStanding::Done => return Err(Hold(HeldCode::Done, "finished".to_owned(), None)),
        ItemStanding::Waiting | ItemStanding::Active => {}
    }
    if let Some((run, handoff)) = draft.registry.handoffs_of(&item.id).next() {
        let because = format!("{run} must end first: {}", handoff.why);
        return Err(Hold(HeldCode::HandoffPending, because, None));
    }
    Ok(())
}

/// Sessions of an item that go on, and single roles that start again beside their crew. False: there are none.
fn go_on(draft: &mut Draft, slots: &mut Slots, item: &WorkItem) -> Result<bool, Hold> {
    let follows = draft.registry.agents_of(&item.id).filter(|(_, agent)| agent.next.is_some());
    let agents: Vec<_> = follows.map(|(name, _)| name.clone()).collect();
    if agents.is_empty() || !items::eligible(draft, item) {
        return Ok(false);
    }
    let Some(record) = draft.registry.items.get(&item.id).cloned() else { return Ok(false) };
    barred(draft, item, &record)?;
    // All are worked out before any is started: one that can't be fails the dispatch of them all.
    let follows: Vec<_> = agents.iter().filter_map(|name| follow_up(draft, item, &record, name)).collect();
    if let Some(Follow::Fails(error)) = follows.iter().find(|follow| matches!(follow, Follow::Fails(_))) {
        return unlaunchable(draft, item, error).map(|()| true);
    }
    // One that has to wait holds up none of the others.
    let mut first_hold = None;
    for follow in follows {
        let hold = match follow {
            Follow::Ready(launch) => one_more_run(draft, slots, item, launch).err(),
            Follow::Waits(hold) => Some(hold),
            Follow::Fails(_) => None,
        };
        first_hold = first_hold.or(hold);
    }
    first_hold.map_or(Ok(true), Err)
}

/// What one agent does next by itself.
enum Follow {
    Ready(Box<Launch>),
    Waits(Hold),
    /// Its prompt can't be rendered.
    Fails(String),
}

/// `None` where its role is gone.
fn follow_up(draft: &Draft, item: &WorkItem, record: &ItemRecord, name: &AgentName) -> Option<Follow> {
    let agent = draft.registry.agents.get(name)?;
    let next = agent.next.as_ref()?;
    // Later than any backoff reaches: the clock was set back, and nobody knows how long it has waited.
    let latest = draft.now.after(draft.config.attempts.backoff_max);
    if next.due_at > draft.now.at && next.due_at <= latest {
        let because = "its session goes on later".to_owned();
        return Some(Follow::Waits(Hold(HeldCode::Backoff, because, Some(next.due_at))));
    }
    let role = draft.role(&agent.role)?;
    // Another harness, or one without a resume command by now, can't go on with this session.
    let goes_on = next.resume && role.harness == agent.harness && role.can_resume();
    let session = agent.session.clone().filter(|_| goes_on);
    Some(match launch::launch(draft, role, item, record, agent.dispatch, session) {
        Ok(launch) => Follow::Ready(Box::new(launch)),
        Err(error) => Follow::Fails(error),
    })
}

fn one_more_run(
    draft: &mut Draft,
    slots: &mut Slots,
    item: &WorkItem,
    launch: Box<Launch>,
) -> Result<(), Hold> {
    let Some(role) = draft.role(&launch.role) else { return Ok(()) };
    slots.admit(draft, item, &[role])?;
    slots.take(draft, item, 1);
    if launch.session.is_some() {
        let resumes = draft.registry.agents.get(&launch.run.agent).map_or(0, |agent| agent.resumes);
        let because =
            format!("its session goes on (resume {} of {})", resumes + 1, draft.config.attempts.resumes_max);
        draft.decide(Some(&item.id), because, Action::Resume(launch));
    } else {
        draft.decide(Some(&item.id), "it never ran: it alone starts again", Action::Start(launch));
    }
    Ok(())
}

/// A fresh dispatch of every role that is not done yet; `started` is told with it.
fn begin(draft: &mut Draft, slots: &mut Slots, item: &WorkItem) -> Result<(), Hold> {
    if !items::eligible(draft, item) {
        // What is closed waits for nothing; what is open outside the scope may puzzle its author.
        return match item.state {
            ItemState::Closed => Ok(()),
            ItemState::Open => {
                Err(Hold(HeldCode::NotInScope, "outside the configured scope".to_owned(), None))
            }
        };
    }
    let known = draft.registry.items.get(&item.id).cloned();
    if let Some(record) = &known {
        barred(draft, item, record)?;
        if draft.registry.in_flight(&item.id) || record.state == ItemStanding::Active {
            return Err(Hold(HeldCode::AlreadyActive, what_runs(draft, &item.id), None));
        }
        if let Some(due_at) = record.due_at.filter(|due_at| *due_at > draft.now.at) {
            let words = record.last.as_ref().map_or("", |last| last.because.as_str());
            let because =
                format!("{} of {} attempts failed: {words}", record.attempts, draft.config.attempts.max);
            return Err(Hold(HeldCode::Backoff, because, Some(due_at)));
        }
    } else if let Some(why) = draft.world.fleet.unknown() {
        return Err(Hold(HeldCode::FleetUnknown, why.to_owned(), None));
    }
    if !item.blocked_by.is_empty() {
        let blockers = slots.blockers.get_or_insert_with(|| Blockers::new(draft));
        if let Some(blocker) = blockers.unresolved(item) {
            return Err(Hold(HeldCode::Blocked, blocker, None));
        }
    }
    let roles: Vec<_> = draft.config.roles.iter().filter(|role| !is_ok(draft, &item.id, role)).collect();
    slots.admit(draft, item, &roles)?;
    let seen = draft.registry.seen_as(item);
    if let Refresh::Seen { slug, .. } = &seen {
        told_apart(draft, slug)?;
    }
    if known.is_none() {
        draft.refresh(seen);
    }
    start_crew(draft, slots, item, &roles)
}

fn start_crew(draft: &mut Draft, slots: &mut Slots, item: &WorkItem, roles: &[&Role]) -> Result<(), Hold> {
    let Some(record) = draft.registry.items.get(&item.id).cloned() else { return Ok(()) };
    let dispatch = record.dispatch + 1;
    let launches: Result<Vec<Launch>, String> =
        roles.iter().map(|role| launch::launch(draft, role, item, &record, dispatch, None)).collect();
    let launches = match launches {
        Ok(launches) => launches,
        Err(error) => {
            // The text that can't be used: an edit of it is a reason to try again, and without one there is none.
            let (hash, content_hash) = (item.hash.clone(), item.content_hash.clone());
            draft.refresh(Refresh::Given { item: item.id.clone(), hash, content_hash });
            return unlaunchable(draft, item, &error);
        }
    };
    slots.take(draft, item, launches.len());
    draft.group += 1;
    for launch in launches {
        let because = format!("attempt {} of {}", record.attempts + 1, draft.config.attempts.max);
        draft.decide_in_group(Some(&item.id), because, Action::Start(Box::new(launch)));
    }
    if let Some(note) = notes::note(draft, &item.id, Status::Started) {
        let because = note.because.clone();
        draft.decide_in_group(Some(&item.id), because, Action::Writeback(Box::new(note)));
    }
    Ok(())
}

/// What the next runs of an item would be started with: its sessions where they go on, else every role of it that
/// is not done.
pub(super) fn next_launches(draft: &mut Draft, id: &ItemId) -> Result<Vec<Launch>, String> {
    let Some(item) = draft.seen.get(id).copied() else { return Ok(Vec::new()) };
    if !draft.registry.items.contains_key(id) {
        let seen = draft.registry.seen_as(item);
        draft.refresh(seen);
    }
    let record = draft.registry.items[id].clone();
    let agents: Vec<_> = draft.registry.agents_of(id).map(|(_, agent)| agent.clone()).collect();
    let follows = agents.iter().any(|agent| agent.next.is_some());
    let roles = draft.config.roles.iter().filter_map(|role| {
        let agent = agents.iter().find(|agent| agent.role == role.name);
        let next = agent.and_then(|agent| agent.next.as_ref());
        let session = agent.and_then(|agent| agent.session.clone());
        let is_due = if follows { next.is_some() } else { agent.is_none_or(|agent| !agent.ok) };
        let session = session.filter(|_| next.is_some_and(|next| next.resume) && role.can_resume());
        is_due.then_some((role, session))
    });
    roles
        .map(|(role, session)| launch::launch(draft, role, item, &record, record.dispatch + 1, session))
        .collect()
}

/// Its prompt can't be rendered: the attempt is charged, and as a role of it can't be started, so is nobody else
/// of its dispatch kept.
fn unlaunchable(draft: &mut Draft, item: &WorkItem, error: &str) -> Result<(), Hold> {
    let charged = draft.registry.items.get(&item.id).map_or(0, |record| record.attempts) + 1;
    let due_at = draft.now.after(backoff(&draft.config.attempts, &item.id, charged));
    let action = Action::Fail {
        item: item.id.clone(),
        run: None,
        class: Class::Launch,
        left: Default::default(),
        next: None,
        due_at: Some(due_at),
        duplicate: false,
    };
    draft.decide(Some(&item.id), error, action);
    runs::stop_dispatch(draft, &item.id, error);
    Ok(())
}

fn is_ok(draft: &Draft, id: &ItemId, role: &Role) -> bool {
    draft.registry.agents_of(id).any(|(_, agent)| agent.role == role.name && agent.ok)
}

fn what_runs(draft: &Draft, id: &ItemId) -> String {
    let runs: Vec<_> =
        draft.registry.agents_of(id).filter_map(|(_, agent)| Some(agent.run.as_ref()?.to_string())).collect();
    if runs.is_empty() { "its session goes on".to_owned() } else { format!("{} in flight", runs.join(", ")) }
}
