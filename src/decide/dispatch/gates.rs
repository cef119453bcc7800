//! Every rule that may keep an item from being started, in the order in which they are asked: one table, read up to
//! the first that holds by each tick, and to its end by `explain`.

use jiff::Timestamp;

use crate::config::Role;
use crate::decide::dispatch::run_numbers::number_untold;
use crate::decide::dispatch::slots::Slots;
use crate::decide::eligibility::{self, is_eligible};
use crate::decide::planner::Planner;
use crate::decide::throttle::budget::item_starts_used_up;
use crate::decide::throttle::cool_offs;
use crate::model::{AgentName, GateVerdict, HoldReason, ItemState, RecordUpdate, WorkItem};
use crate::registry::{ItemPhase, ItemRecord};

/// Why an item waits.
pub(in crate::decide) struct Hold {
    pub(in crate::decide) code: HoldReason,
    pub(in crate::decide) because: String,
    pub(in crate::decide) until: Option<Timestamp>,
}

/// What is asked of the gates.
pub(in crate::decide) struct Asked<'a> {
    pub(in crate::decide) planner: &'a Planner<'a>,
    pub(in crate::decide) slots: &'a Slots,
    pub(in crate::decide) item: &'a WorkItem,
    /// None of an item that was never started.
    pub(in crate::decide) record: Option<&'a ItemRecord>,
    pub(in crate::decide) wanted: Wanted<'a>,
}

/// What is wanted for an item.
pub(in crate::decide) enum Wanted<'a> {
    /// A fresh dispatch: every role of it that is not done.
    Dispatch,
    /// Anything at all of what its agents do next by themselves.
    GoingOn,
    /// What this agent does next by itself.
    FollowUp { agent: &'a AgentName, role: &'a Role, due_at: Timestamp },
}

/// What a gate is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    /// The item, whatever is wanted for it.
    Item,
    /// A fresh dispatch alone.
    Dispatch,
    /// Each start and each resume.
    Start,
}

/// One rule.
struct Gate {
    /// What it is called where it holds.
    code: HoldReason,
    of: Of,
    /// Why it holds; `None`: it lets pass.
    holds: fn(&Asked) -> Option<Wait>,
    /// What there is to say where it lets pass. Asked by `explain` alone.
    passes: fn(&Asked) -> String,
}

/// Without so many free inodes nothing starts, unless `disk_free_min` is 0: a run takes about 12, its workspace more.
const INODES_MIN: u64 = 100;

/// For what, and until when if that is known.
struct Wait(String, Option<Timestamp>);

const fn gate(
    code: HoldReason,
    of: Of,
    holds: fn(&Asked) -> Option<Wait>,
    passes: fn(&Asked) -> String,
) -> Gate {
    Gate { code, of, holds, passes }
}

/// The rules, the first one first.
const GATES: [Gate; 18] = [
    gate(HoldReason::NotInScope, Of::Item, not_in_scope, |_| "open, and within the scope".to_owned()),
    gate(HoldReason::FleetUnknown, Of::Item, fleet_unknown, |_| "what runs for it can be told".to_owned()),
    gate(HoldReason::Parked, Of::Item, parked, |_| "nobody took it out of the rotation".to_owned()),
    gate(HoldReason::Done, Of::Item, done, |_| "not finished".to_owned()),
    gate(HoldReason::HandoffPending, Of::Item, handoff_pending, |_| {
        "nothing of it must end first".to_owned()
    }),
    gate(HoldReason::AlreadyActive, Of::Dispatch, already_active, |_| {
        "nothing of it is in flight".to_owned()
    }),
    gate(HoldReason::Backoff, Of::Start, backoff, attempts_failed),
    gate(HoldReason::Blocked, Of::Dispatch, blocked, |_| "no blocker of it is open".to_owned()),
    gate(HoldReason::WorkspaceTaken, Of::Start, workspace_taken, |_| {
        "no other factory has its workspace".to_owned()
    }),
    gate(HoldReason::Paused, Of::Start, paused, |_| "starts are not paused".to_owned()),
    gate(HoldReason::Breaker, Of::Start, breaker, failures_in_a_row),
    gate(HoldReason::Budget, Of::Start, budget, spent),
    gate(HoldReason::DiskFloor, Of::Start, disk_floor, disk_free),
    gate(HoldReason::CoolingOff, Of::Start, cooling_off, |_| "no role of it cools off".to_owned()),
    gate(HoldReason::NoSlot, Of::Start, no_slot, |asked| {
        if asked.slots.holds(&asked.item.id) { "it has its slot".to_owned() } else { items_in_flight(asked) }
    }),
    gate(HoldReason::NoLabelSlot, Of::Start, no_label_slot, |_| "no limit of a label is reached".to_owned()),
    gate(HoldReason::StartsExhausted, Of::Start, starts_exhausted, starts_used),
    // Last, for the name of an item that was never started has to be made up for it.
    gate(HoldReason::FleetUnknown, Of::Dispatch, name_untold, |_| "the name of its runs is free".to_owned()),
];

/// Whether it can start.
///
/// # Errors
///
/// The first gate that holds.
pub(in crate::decide) fn pass(asked: &Asked) -> Result<(), Hold> {
    let first = applying(asked).find_map(|gate| Some((gate.code, (gate.holds)(asked)?)));
    first.map_or(Ok(()), |(code, Wait(because, until))| Err(Hold { code, because, until }))
}

/// What every gate says, those behind the first one that holds too.
pub(in crate::decide) fn verdicts(asked: &Asked) -> Vec<GateVerdict> {
    let run = match &asked.wanted {
        Wanted::FollowUp { agent, .. } => Some(asked.planner.registry.names.next_run(agent)),
        Wanted::Dispatch | Wanted::GoingOn => None,
    };
    let verdict = |gate: &Gate| {
        let hold = (gate.holds)(asked);
        let holds = hold.is_some();
        let Wait(because, until) = hold.unwrap_or_else(|| Wait((gate.passes)(asked), None));
        GateVerdict { code: gate.code, run: run.clone(), holds, because, until }
    };
    applying(asked).map(verdict).collect()
}

fn applying(asked: &Asked) -> impl Iterator<Item = &'static Gate> {
    GATES.iter().filter(|gate| match asked.wanted {
        Wanted::Dispatch => true,
        Wanted::GoingOn => gate.of == Of::Item,
        Wanted::FollowUp { .. } => gate.of == Of::Start,
    })
}

impl<'a> Asked<'a> {
    /// The roles that would be started.
    fn roles(&self) -> Vec<&'a Role> {
        match &self.wanted {
            // The index of done items knows no agents.
            Wanted::Dispatch if self.record.is_none() && self.standing().is_some() => Vec::new(),
            Wanted::Dispatch => eligibility::roles_to_start(self.planner, self.item),
            Wanted::GoingOn => Vec::new(),
            Wanted::FollowUp { role, .. } => vec![role],
        }
    }

    /// The last thing that went wrong.
    fn last_words(&self) -> &'a str {
        self.record.and_then(|record| record.last.as_ref()).map_or("", |last| last.because.as_str())
    }

    fn standing(&self) -> Option<ItemPhase> {
        self.planner.registry.phase(&self.item.id)
    }
}

fn not_in_scope(asked: &Asked) -> Option<Wait> {
    let because = match asked.item.state {
        _ if is_eligible(asked.planner, asked.item) => return None,
        ItemState::Closed => "it is closed",
        ItemState::Open => "outside the configured scope",
    };
    Some(Wait(because.to_owned(), None))
}

fn fleet_unknown(asked: &Asked) -> Option<Wait> {
    let planner = asked.planner;
    if let Some(why) = planner.world.fleet.unknown() {
        return Some(Wait(why.text.clone(), why.retry_at));
    }
    if planner.uncertain.contains(&asked.item.id) {
        return Some(Wait("what runs for it can't be told".to_owned(), None));
    }
    Some(Wait(number_untold(planner, &asked.record?.slug)?, None))
}

fn parked(asked: &Asked) -> Option<Wait> {
    (asked.standing() == Some(ItemPhase::Parked)).then(|| Wait(asked.last_words().to_owned(), None))
}

fn done(asked: &Asked) -> Option<Wait> {
    (asked.standing() == Some(ItemPhase::Done)).then(|| Wait("finished".to_owned(), None))
}

/// What is to end of an item that has no name yet is of the name that it would get.
fn handoff_pending(asked: &Asked) -> Option<Wait> {
    let registry = &asked.planner.registry;
    let of_nobody = || {
        // A name is looked for among all that were given, so only where it matters.
        let mut handoffs = registry.handoffs.iter().filter(|(_, handoff)| handoff.item.is_none()).peekable();
        handoffs.peek()?;
        let RecordUpdate::Seen { slug, .. } = registry.upsert_for(asked.item) else { return None };
        handoffs.find(|(_, handoff)| handoff.agent.slug() == slug)
    };
    let (run, handoff) = registry.handoffs_of(&asked.item.id).next().or_else(of_nobody)?;
    Some(Wait(format!("{run} must end first: {}", handoff.why), None))
}

fn already_active(asked: &Asked) -> Option<Wait> {
    let (registry, id) = (&asked.planner.registry, &asked.item.id);
    if !registry.in_flight(id) && asked.standing() != Some(ItemPhase::Active) {
        let nothing_to_start = asked.standing().is_some() && asked.roles().is_empty();
        return nothing_to_start
            .then(|| Wait("every role ended well; a later tick sees whether it is done".to_owned(), None));
    }
    let runs: Vec<_> =
        registry.agents_of(id).filter_map(|(_, agent)| Some(agent.run.as_ref()?.to_string())).collect();
    let what =
        if runs.is_empty() { "its session goes on".to_owned() } else { runs.join(", ") + " in flight" };
    Some(Wait(what, None))
}

/// Its turn has not come yet.
fn backoff(asked: &Asked) -> Option<Wait> {
    let now = asked.planner.now;
    if let Wanted::FollowUp { due_at, .. } = &asked.wanted {
        // Later than any backoff reaches: the clock was set back, and nobody knows how long it has waited.
        let latest = now.after(asked.planner.config.attempts.backoff_max);
        let waits = *due_at > now.at && *due_at <= latest;
        return waits.then(|| Wait("its session goes on later".to_owned(), Some(*due_at)));
    }
    let due_at = asked.record?.due_at.filter(|due_at| *due_at > now.at)?;
    Some(Wait(attempts_failed(asked), Some(due_at)))
}

fn attempts_failed(asked: &Asked) -> String {
    let max = asked.planner.config.attempts.max;
    match asked.record {
        Some(record) if record.attempts > 0 => {
            format!("{} of {max} attempts failed: {}", record.attempts, asked.last_words())
        }
        Some(record) if record.due_at.is_some() => asked.last_words().to_owned(),
        _ => format!("none of {max} attempts failed"),
    }
}

fn blocked(asked: &Asked) -> Option<Wait> {
    Some(Wait(asked.slots.blocker(asked.planner, asked.item)?, None))
}

/// Only a person can release it: the other factory may be at work in there.
fn workspace_taken(asked: &Asked) -> Option<Wait> {
    Some(Wait(taken(asked.planner, asked.item)?.to_owned(), None))
}

/// Why an item waits whose workspace another factory has.
pub(in crate::decide) fn taken<'a>(planner: &Planner<'a>, item: &WorkItem) -> Option<&'a str> {
    let taken = &planner.world.workspaces_taken;
    if taken.is_empty() {
        return None;
    }
    match planner.registry.upsert_for(item) {
        RecordUpdate::Seen { workspace, .. } => taken.get(&workspace).map(String::as_str),
        _ => None,
    }
}

fn paused(asked: &Asked) -> Option<Wait> {
    if let Some(why) = &asked.planner.request.hold_starts {
        return Some(Wait(why.clone(), None));
    }
    let paused = asked.planner.registry.paused.as_ref()?;
    Some(Wait(paused.because.clone(), paused.until()))
}

/// Whatever is wrong, it is not one item: what is left is kept for when that is known.
fn breaker(asked: &Asked) -> Option<Wait> {
    let failing = asked.planner.registry.open_breaker(asked.planner.config.attempts.breaker)?;
    let because = format!(
        "{}, the last of {}: {}; when its cause is gone: `factory-tick unpause`, or retry an item",
        failures_in_a_row(asked),
        failing.item,
        failing.because
    );
    Some(Wait(because, None))
}

fn failures_in_a_row(asked: &Asked) -> String {
    let failures = asked.planner.registry.failure_streak.as_ref().map_or(0, |failing| failing.failures);
    match asked.planner.config.attempts.breaker {
        0 => "any number of failures in a row".to_owned(),
        max => format!("{failures} of {max} failures in a row"),
    }
}

fn budget(asked: &Asked) -> Option<Wait> {
    if let Some(used) = item_starts_used_up(asked.planner, &asked.item.id, asked.roles().len() as u32) {
        return Some(Wait(used, None));
    }
    let today = asked.planner.registry.daily_spend(asked.planner.now.at);
    let because = today.exhausted(&asked.planner.config.budget, asked.roles().len() as u32)?;
    Some(Wait(because, Some(today.ends())))
}

fn spent(asked: &Asked) -> String {
    let today = asked.planner.registry.daily_spend(asked.planner.now.at);
    match asked.planner.config.budget.starts_per_day {
        0 => "any number of starts a day".to_owned(),
        max => format!("{} of {max} starts of the day used", today.starts),
    }
}

fn disk_floor(asked: &Asked) -> Option<Wait> {
    let floor = asked.planner.config.limits.disk_free_min_bytes;
    asked.planner.world.local.room.disks().find_map(|(name, free)| {
        if free.bytes < floor {
            return Some(Wait(
                format!("{} MiB free for {name}, less than disk_free_min", free.bytes >> 20),
                None,
            ));
        }
        let inodes = free.inodes.filter(|inodes| floor > 0 && *inodes < INODES_MIN)?;
        Some(Wait(format!("{inodes} inodes free for {name}, less than {INODES_MIN}"), None))
    })
}

fn disk_free(asked: &Asked) -> String {
    let least = asked.planner.world.local.room.disks().map(|(_, free)| free.bytes).min();
    least.map_or_else(|| "the system does not tell".to_owned(), |free| format!("{} MiB free", free >> 20))
}

fn cooling_off(asked: &Asked) -> Option<Wait> {
    if asked.planner.registry.cool_offs.is_empty() {
        return None;
    }
    let (because, until) = asked.roles().into_iter().find_map(|role| cool_offs::gate(asked.planner, role))?;
    Some(Wait(because, until))
}

fn no_slot(asked: &Asked) -> Option<Wait> {
    let full = asked.slots.items() >= asked.planner.config.limits.items_max as usize;
    (full && !asked.slots.holds(&asked.item.id)).then(|| Wait(items_in_flight(asked), None))
}

fn items_in_flight(asked: &Asked) -> String {
    format!("{} of {} items in flight", asked.slots.items(), asked.planner.config.limits.items_max)
}

fn no_label_slot(asked: &Asked) -> Option<Wait> {
    if asked.slots.holds(&asked.item.id) {
        return None;
    }
    let per_label = &asked.planner.config.limits.per_label;
    asked.item.labels.iter().find_map(|label| {
        let taken = asked.slots.labelled(label);
        let max = per_label.get(label).filter(|max| taken >= **max)?;
        Some(Wait(format!("{taken} of {max} items labelled {label:?} in flight"), None))
    })
}

fn starts_exhausted(asked: &Asked) -> Option<Wait> {
    let wanted = asked.roles().len() as u32;
    let exhausted = asked.slots.starts() + wanted > asked.planner.config.tick.starts_max;
    exhausted.then(|| Wait(starts_used(asked), None))
}

fn starts_used(asked: &Asked) -> String {
    format!("{} of {} starts of this tick used", asked.slots.starts(), asked.planner.config.tick.starts_max)
}

/// The name that it would get may be that of a directory which can't be told.
fn name_untold(asked: &Asked) -> Option<Wait> {
    if asked.record.is_some() {
        return None;
    }
    match asked.planner.registry.upsert_for(asked.item) {
        RecordUpdate::Seen { slug, .. } => Some(Wait(number_untold(asked.planner, &slug)?, None)),
        _ => None,
    }
}
