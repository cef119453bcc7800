//! The rules: what must hold after every tick, whatever went wrong during it.
//!
//! Each is judged against what really lives and happened, never against what the registry believes.

mod machine;
mod providers;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use factory_tick::config::{Config, WritebackMode};
use factory_tick::decide::Request;
use factory_tick::model::{
    Action, AgentName, ClockReading, DoneWhen, FailureClass, HoldReason, ItemId, Outcome, Plan, RecordUpdate,
    RunFacts, RunId, StartOutcome, Step, WorkItem,
};
use factory_tick::registry::{AgentPhase, DailySpend, ItemPhase, ItemRecord, ParkedBy, Registry};
use factory_tick::tick::Ticked;

use super::world::World;

use machine::{
    crew_starts_together, machine_fault_is_tried_with_one_item, machine_fault_parks_nothing,
    machine_fault_starts_nothing_before_its_wait, missing_program_starts_nothing,
    run_that_never_ran_starts_with_its_crew,
};
use providers::{
    a_denied_role_waits, a_wait_ends_when_it_is_answered, a_wait_is_waited_for, one_outage_counts_once,
    one_run_tries_first, refusals_slow_down, waits_grow, what_a_program_says_is_understood,
    what_is_told_is_spent,
};

/// A rule that was broken, and how.
#[derive(Clone, Debug)]
pub(super) struct Broken {
    pub(super) rule: &'static str,
    pub(super) what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.what)
    }
}

/// What was true of a run just before a tick.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    pub(super) live: bool,
    pub(super) healthy: bool,
    /// Its agent has ended, and it has been promised the time for its hook.
    pub(super) in_hook: bool,
}

/// One tick, from outside.
pub(super) struct Scene<'a> {
    pub(super) config: &'a Config,
    /// What the tick was asked.
    pub(super) request: &'a Request,
    pub(super) world: &'a World,
    /// What the tick loaded.
    pub(super) before: &'a Registry,
    /// When it began.
    pub(super) now: &'a ClockReading,
    /// What really lived then.
    pub(super) lives: &'a BTreeMap<RunId, Life>,
    /// Runs of known programs that were over then, and whose receipts had not been removed.
    pub(super) receipts: &'a BTreeSet<RunId>,
    /// What it was told of credentials, by role.
    pub(super) credentials: &'a BTreeMap<String, String>,
    /// What it was told of programs, by role.
    pub(super) missing_programs: &'a BTreeMap<String, String>,
    /// What it decided.
    pub(super) plan: &'a Plan,
    /// `before` with the plan applied.
    pub(super) intended: &'a Registry,
    /// What stands now: what the next tick will load.
    pub(super) after: &'a Registry,
    /// How it ended, where it was neither killed nor failed.
    pub(super) ticked: Option<&'a Ticked>,
    pub(super) history: &'a History,
    pub(super) one_item: bool,
    pub(super) reap_only: bool,
}

/// What is remembered of earlier ticks.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    /// A generation was lost, and no tick has looked at the fleet since.
    pub(super) unreconciled: bool,
    /// Runs that cost an attempt.
    charged: BTreeSet<RunId>,
    /// By item: the text that its work was done of. Removed by whatever is a reason to do it again.
    done_of: BTreeMap<ItemId, String>,
    pub(super) providers: providers::Memory,
}

impl History {
    /// Takes in what a tick made durable.
    pub(super) fn learn(&mut self, scene: &Scene<'_>, one_item: bool) {
        self.charged.extend(newly_charged(scene).cloned());
        self.learn_done(scene);
        self.providers.learn(scene);
        let today = &scene.world.today;
        // Directories that the tick had no time for are looked at by a later one.
        if scene.ticked.is_some() && !today.fleet_unknown && !today.look_cut && !one_item {
            self.unreconciled = false;
        }
    }

    fn learn_done(&mut self, scene: &Scene<'_>) {
        // A person brought it back before the tick, which may have forgotten it: its record after it tells nothing.
        let brought_back =
            |id: &ItemId| scene.before.items.get(id).is_some_and(|record| record.state != ItemPhase::Done);
        self.done_of.retain(|id, _| !brought_back(id));
        for (id, record) in &scene.after.items {
            match &record.content_hash {
                Some(hash) if record.state == ItemPhase::Done => {
                    self.done_of.insert(id.clone(), hash.clone());
                }
                _ => drop(self.done_of.remove(id)),
            }
        }
        let indexed = scene.after.done.iter().filter(|(_, done)| done.gone.is_none());
        self.done_of.extend(indexed.map(|(id, done)| (id.clone(), done.content_hash.clone())));
        self.done_of.retain(|id, hash| !scene.world.tracker.shows_change(id, hash));
    }

    pub(super) fn lose(&mut self) {
        self.done_of.clear();
        self.unreconciled = true;
        // What it was charged for may have been lost with it.
        self.charged.clear();
        self.providers = providers::Memory::default();
    }
}

type Rule = fn(&Scene<'_>) -> Result<(), String>;

macro_rules! rules {
    ($($rule:ident,)*) => { const RULES: &[(&str, Rule)] = &[$((stringify!($rule), $rule),)*]; };
}

rules! {
    one_live_run_per_agent,
    one_live_run_per_role,
    a_run_starts_once,
    nothing_is_forgotten,
    limits_hold,
    labels_hold,
    starts_are_bounded,
    a_pause_holds,
    an_open_breaker_holds,
    a_taken_name_is_left_alone,
    taken_workspace_starts_nothing,
    failures_in_a_row_are_counted,
    a_day_has_so_many_starts,
    item_has_so_many_starts_a_day,
    item_without_starts_waits_for_a_person,
    what_ended_well_goes_on_so_often,
    done_is_what_was_asked_for,
    the_living_get_no_verdict,
    nothing_healthy_is_reaped,
    no_run_ends_without_a_reason,
    hand_offs_last_until_all_is_dead,
    an_item_with_a_hand_off_waits,
    attempts_only_grow,
    a_run_is_charged_once,
    failure_on_a_full_disk_charges_nothing,
    parked_and_done_stay_so,
    backoff_is_waited_for,
    sessions_are_resumed_so_often,
    unfinished_work_is_free_once,
    what_a_person_says_is_heard,
    a_required_note_comes_first,
    a_refused_dispatch_keeps_nothing,
    unknown_is_not_empty,
    what_cannot_be_told_is_left_alone,
    agents_that_were_not_looked_at_wait,
    a_start_gets_its_grace,
    a_group_stops_at_its_first_failure,
    gone_takes_two_reads_and_30_seconds,
    an_empty_folder_is_not_believed_at_once,
    done_survives_absence,
    what_stands_still_is_on_record,
    an_uncharged_streak_takes_time,
    done_work_is_of_this_text,
    names_are_never_shared,
    numbers_only_grow,
    between_runs_nothing_is_left,
    the_records_fit_together,
    the_registry_reads_back,
    counters_never_shrink,
    what_a_program_says_is_understood,
    what_is_told_is_spent,
    a_wait_is_waited_for,
    one_run_tries_first,
    waits_grow,
    one_outage_counts_once,
    a_wait_ends_when_it_is_answered,
    a_denied_role_waits,
    a_judgement_only_judges,
    refusals_slow_down,
    machine_fault_starts_nothing_before_its_wait,
    machine_fault_is_tried_with_one_item,
    machine_fault_parks_nothing,
    missing_program_starts_nothing,
    crew_starts_together,
    run_that_never_ran_starts_with_its_crew,
}

/// The judgement before a person's order starts nothing, tells no tracker, and knows nothing of the source.
fn a_judgement_only_judges(scene: &Scene<'_>) -> Result<(), String> {
    let is_beyond = |action: &&Action| {
        matches!(
            action,
            Action::Start(_)
                | Action::Resume(_)
                | Action::Writeback(_)
                | Action::Forget { .. }
                | Action::Release { .. }
        )
    };
    match scene.actions().find(is_beyond) {
        Some(action) if scene.request.judge_only => Err(format!("it decided to {}", action.name())),
        _ => Ok(()),
    }
}

/// The first rule that the tick broke.
pub(super) fn check(scene: &Scene<'_>) -> Result<(), Broken> {
    if let Some(broken) = &scene.world.broken {
        return Err(broken.clone());
    }
    RULES.iter().try_for_each(|(rule, holds)| holds(scene).map_err(|what| Broken { rule, what }))
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

impl<'a> Scene<'a> {
    fn actions(&self) -> impl Iterator<Item = &'a Action> {
        self.plan.decisions().map(|(_, decision)| &decision.action)
    }

    /// Whether a failure costs its item an attempt.
    fn is_charged(&self, action: &Action) -> bool {
        let Action::Fail { run, class, .. } = action else { return false };
        let agent = run.as_ref().and_then(|run| self.before.agents.get(&run.agent));
        class.charged()
            || *class == FailureClass::Unfinished && agent.is_some_and(|agent| agent.unfinished > 0)
    }

    /// Items for which something is started, with the run.
    fn starts(&self) -> impl Iterator<Item = (&'a ItemId, &'a RunId)> {
        self.actions().filter_map(|action| match action {
            Action::Start(launch) | Action::Resume(launch) => Some((&launch.spec.item, &launch.spec.id)),
            _ => None,
        })
    }

    fn renews(&self, id: &ItemId) -> bool {
        self.plan
            .steps
            .iter()
            .any(|step| matches!(step, Step::RecordUpdate(RecordUpdate::Renew { item, .. }) if item == id))
    }

    fn item(&self, id: &ItemId) -> Option<&'a WorkItem> {
        self.world.tracker.items.get(id).map(|tracked| &tracked.item)
    }

    fn is_gone(&self, id: &ItemId) -> bool {
        self.world.tracker.is_gone(id)
    }

    /// Whether the item itself gave a reason for a new life: it was edited since it was given to a run, or it
    /// came back.
    fn changed(&self, id: &ItemId) -> bool {
        let (Some(record), Some(item)) = (self.before.items.get(id), self.item(id)) else { return false };
        let edited = match record.state {
            ItemPhase::Done => record.content_hash.as_ref() != Some(&item.content_hash),
            _ => record.hash.as_ref() != Some(&item.hash),
        };
        edited || record.gone.is_some()
    }

    fn life(&self, run: &RunId) -> Life {
        self.lives.get(run).copied().unwrap_or(Life { live: false, healthy: false, in_hook: false })
    }
}

/// Two runs of one agent never live at once: not their launchers, not their agents, not what those forked.
fn one_live_run_per_agent(scene: &Scene<'_>) -> Result<(), String> {
    let machine = &scene.world.machine;
    let mut alive: BTreeMap<&AgentName, &RunId> = BTreeMap::new();
    for run in machine.busy.iter().filter(|run| machine.runs[*run].is_live()) {
        if let Some(other) = alive.insert(&run.agent, run) {
            return Err(format!("{other} and {run} are alive"));
        }
    }
    Ok(())
}

/// Nor do two runs of one role at one item, whatever their agents are called: while the registry was never lost.
fn one_live_run_per_role(scene: &Scene<'_>) -> Result<(), String> {
    let machine = &scene.world.machine;
    if scene.world.disk.losses > 0 {
        return Ok(());
    }
    let mut alive = BTreeMap::new();
    for run in machine.busy.iter().filter(|run| machine.runs[*run].is_live()) {
        let Some(spec) = &machine.runs[run].spec else { continue };
        if let Some(other) = alive.insert((&spec.spec.item, &spec.spec.role), run) {
            return Err(format!(
                "{other} and {run} are alive, both {:?} of {}",
                spec.spec.role, spec.spec.item
            ));
        }
    }
    Ok(())
}

/// Whatever is killed when: an agent is started at most once per run.
fn a_run_starts_once(scene: &Scene<'_>) -> Result<(), String> {
    let machine = &scene.world.machine;
    machine.busy.iter().try_for_each(|run| {
        ensure(machine.runs[run].begun <= 1, || format!("{run} began {} times", machine.runs[run].begun))
    })
}

/// Every process that the factory started, and every launcher that could still start one, is on record. Where
/// a generation was lost, its runs must at least be numbered so that the next look finds them.
fn nothing_is_forgotten(scene: &Scene<'_>) -> Result<(), String> {
    for run in &scene.world.machine.busy {
        let one = &scene.world.machine.runs[run];
        let matters = one.is_live() || (one.is_coming() && one.claim.is_none());
        let current = scene.after.agents.get(&run.agent).is_some_and(|agent| agent.run.as_ref() == Some(run));
        if !matters || current || scene.after.handoffs.contains_key(run) {
            continue;
        }
        let last = scene.after.names.last_n.get(&run.agent).copied().unwrap_or(0);
        ensure(scene.history.unreconciled && run.n > last, || {
            format!("{run} lives and is neither its agent's run nor a hand-off (last n {last})")
        })?;
    }
    Ok(())
}

/// Items that got a slot in this plan: something is started, and nothing of them was in flight otherwise.
fn newcomers<'a>(scene: &Scene<'a>) -> BTreeSet<&'a ItemId> {
    let started: BTreeSet<&RunId> = scene.starts().map(|(_, run)| run).collect();
    let goes_on = |id: &ItemId| {
        let runs = scene.intended.agents_of(id).filter_map(|(_, agent)| agent.run.as_ref());
        runs.into_iter().any(|run| !started.contains(run)) || scene.intended.handoffs_of(id).next().is_some()
    };
    scene.starts().map(|(id, _)| id).filter(|id| !goes_on(id)).collect()
}

/// No item takes a slot beyond `items_max`, counting agents that nobody has seen yet.
fn limits_hold(scene: &Scene<'_>) -> Result<(), String> {
    let max = scene.config.limits.items_max as usize;
    let flying = scene.intended.items.keys().filter(|id| scene.intended.in_flight(id)).count();
    ensure(newcomers(scene).is_empty() || flying <= max, || {
        format!("{flying} items in flight, at most {max} may be")
    })?;
    let machine = &scene.world.machine;
    let alive: BTreeSet<&ItemId> = machine
        .busy
        .iter()
        .filter(|run| machine.runs[*run].is_live())
        .filter_map(|run| Some(&machine.runs[run].spec.as_ref()?.spec.item))
        .collect();
    ensure(scene.world.disk.losses > 0 || alive.len() <= max, || {
        format!("{} items really live, at most {max} may", alive.len())
    })
}

/// Nor beyond the limit of one of its labels, as far as labels can be read.
fn labels_hold(scene: &Scene<'_>) -> Result<(), String> {
    let view = scene.world.tracker.view();
    for (label, max) in &scene.config.limits.per_label {
        let labelled: Vec<_> = view.items.iter().filter(|item| item.labels.contains(label)).collect();
        let flying = labelled.iter().filter(|item| scene.intended.in_flight(&item.id)).count();
        let newcomer = newcomers(scene).into_iter().find(|id| labelled.iter().any(|item| item.id == **id));
        ensure(newcomer.is_none() || flying <= *max as usize, || {
            format!("{flying} items labelled {label} in flight, at most {max} may be")
        })?;
    }
    Ok(())
}

/// Resumes are starts too.
fn starts_are_bounded(scene: &Scene<'_>) -> Result<(), String> {
    let (starts, max) = (scene.starts().count(), scene.config.tick.starts_max);
    ensure(starts <= max as usize, || format!("{starts} starts in one tick, at most {max} may be"))
}

/// The number of the next run of an agent is not known before all its directories were looked at.
fn agents_that_were_not_looked_at_wait(scene: &Scene<'_>) -> Result<(), String> {
    scene.starts().try_for_each(|(_, run)| {
        ensure(!scene.world.unexamined.contains_key(&run.agent), || {
            format!("{run} is started, and directories of its agent were not looked at")
        })
    })
}

/// While a person's pause lasts, nothing is started or resumed.
fn a_pause_holds(scene: &Scene<'_>) -> Result<(), String> {
    let paused = scene.before.paused.as_ref().is_some_and(|paused| paused.holds(scene.now));
    ensure(!paused || scene.starts().count() == 0, || "something was started during a pause".to_owned())
}

/// Nobody asks for a name that is known to be somebody else's before it is free.
fn a_taken_name_is_left_alone(scene: &Scene<'_>) -> Result<(), String> {
    let taken = scene.before.handoffs.values().filter(|handoff| handoff.name_taken);
    let mut held = taken.map(|one| &one.agent).filter(|agent| scene.world.names_shown.contains(agent));
    match held.find(|agent| scene.starts().any(|(_, run)| run.agent == **agent)) {
        Some(agent) => Err(format!("{agent} is asked for, and it is somebody else's")),
        None => Ok(()),
    }
}

/// No run is started in a workspace that another factory is known to have.
fn taken_workspace_starts_nothing(scene: &Scene<'_>) -> Result<(), String> {
    let shown = scene.world.workspaces_shown.borrow();
    let mut launches = scene.actions().filter_map(|action| match action {
        Action::Start(launch) | Action::Resume(launch) => Some(launch),
        _ => None,
    });
    match launches.find(|launch| shown.contains(&launch.snapshot.workspace)) {
        Some(launch) => Err(format!(
            "{} starts in {}, which another factory has",
            launch.spec.id, launch.snapshot.workspace
        )),
        None => Ok(()),
    }
}

fn a_run_ended_well(scene: &Scene<'_>) -> bool {
    scene.actions().any(|action| matches!(action, Action::Done { run: Some(_), .. }))
}

/// What was known to be too many failures in a row is enough to start nothing.
fn an_open_breaker_holds(scene: &Scene<'_>) -> Result<(), String> {
    let is_open = scene.before.open_breaker(scene.config.attempts.breaker).is_some();
    ensure(!is_open || a_run_ended_well(scene) || scene.starts().count() == 0, || {
        "something was started although the breaker is open".to_owned()
    })
}

/// Each charged failure counts until a run ends well.
fn failures_in_a_row_are_counted(scene: &Scene<'_>) -> Result<(), String> {
    if scene.ticked.is_none() || a_run_ended_well(scene) {
        return Ok(());
    }
    let count = |registry: &Registry| registry.failure_streak.as_ref().map_or(0, |failing| failing.failures);
    let failures = scene.actions().filter(|action| scene.is_charged(action)).count() as u32;
    ensure(count(scene.after) >= count(scene.before) + failures, || {
        format!("{failures} failed after {} and there are {}", count(scene.before), count(scene.after))
    })
}

/// Counting those that nobody has seen yet. A day is over when a later one has come, whatever the clock said in between;
/// only one further ahead than any that could be right is taken back, until it comes again.
fn a_day_has_so_many_starts(scene: &Scene<'_>) -> Result<(), String> {
    let (max, starts) = (scene.config.budget.starts_per_day, scene.starts().count() as u32);
    if starts == 0 {
        return Ok(());
    }
    let now = scene.now.at.to_zoned(jiff::tz::TimeZone::UTC).date();
    let is_over = |today: &DailySpend| today.day < now && today.taken_back_from != Some(now);
    let before = scene.before.daily_spend.as_ref().filter(|today| !is_over(today));
    let used = before.map_or(0, |today| today.starts) + starts;
    ensure(max == 0 || used <= max, || format!("{used} starts of one day, at most {max} may be"))?;
    let recorded = scene.intended.daily_spend.as_ref().map_or(0, |today| today.starts);
    ensure(recorded == used, || format!("{used} starts of one day, and {recorded} are on record"))
}

/// The same for each item, whatever became of its runs.
fn item_has_so_many_starts_a_day(scene: &Scene<'_>) -> Result<(), String> {
    let max = scene.config.budget.item_starts_per_day;
    let items: BTreeSet<_> = scene.starts().map(|(item, _)| item).collect();
    items.into_iter().try_for_each(|item| {
        let day = scene.intended.daily_spend.as_ref().map(|today| today.day);
        let recorded = |registry: &Registry| {
            let starts = registry.names.items.get(item).and_then(|named| named.starts);
            starts.filter(|one| Some(one.day) >= day).map_or(0, |one| one.starts)
        };
        let used = recorded(scene.before) + scene.starts().filter(|(of, _)| *of == item).count() as u32;
        // What the machine kept from becoming an agent in this very plan was given back.
        let never_ran = |run: &RunId, left: &RunFacts| {
            let adopted =
                scene.actions().any(|one| matches!(one, Action::Adopt { run: of, .. } if of == run));
            let agent = scene.before.agents.get(&run.agent);
            left.never_began || !adopted && agent.is_some_and(|agent| agent.state == AgentPhase::Starting)
        };
        let given_back = scene.actions().filter(|one| match one {
            Action::Fail { item: of, run: Some(run), class: FailureClass::Machine, facts, .. } => {
                of == item && never_ran(run, facts)
            }
            _ => false,
        });
        let given_back = given_back.count() as u32;
        ensure(max == 0 || used - given_back.min(used) <= max, || {
            format!("{used} starts of {item} on one day, at most {max} may be")
        })?;
        let now = recorded(scene.intended);
        ensure(now + given_back >= used, || format!("{used} starts of {item}, and {now} are on record"))
    })
}

/// An edit brings nothing back that was started too often: an agent may edit its own item.
fn item_without_starts_waits_for_a_person(scene: &Scene<'_>) -> Result<(), String> {
    let parked = scene.before.items.iter().filter(|(_, item)| item.parked_by == Some(ParkedBy::Budget));
    parked.into_iter().try_for_each(|(id, _)| {
        let started = scene.starts().find(|(item, _)| *item == id);
        ensure(started.is_none(), || format!("{id} used up its starts, and {started:?} is started"))
    })
}

/// An item whose agents end well and that is never done does not go on for ever.
fn what_ended_well_goes_on_so_often(scene: &Scene<'_>) -> Result<(), String> {
    let max = scene.config.attempts.max;
    scene.starts().try_for_each(|(id, run)| {
        let continued = scene.intended.items.get(id).map_or(0, |record| record.continued);
        ensure(continued <= max, || format!("{run} is started, and {id} went on {continued} times"))
    })
}

/// An item counts as done when every role ended well, and beside that: the last word of a command, or it is gone.
fn done_is_what_was_asked_for(scene: &Scene<'_>) -> Result<(), String> {
    for action in scene.actions() {
        let Action::Done { item, run: None, .. } = action else { continue };
        // What it was asked of: the runs as they were, for another life may begin in the same plan.
        let n = |agent: &AgentName| scene.before.agents.get(agent).map_or(0, |agent| agent.spec.id.n);
        let said_so = || {
            let agents = |registry: &'_ Registry| -> Vec<AgentName> {
                registry.agents_of(item).map(|(name, _)| name.clone()).collect()
            };
            let agents = [agents(scene.before), agents(scene.intended)].concat();
            let of_item = |name: &AgentName| agents.contains(name);
            let mut answers = scene.world.machine.answers.iter();
            answers.any(|(run, done)| of_item(&run.agent) && run.n >= n(&run.agent) && *done == 0)
        };
        // By the rules that the runs were given: what is configured since holds for later ones.
        let judged = scene.actions().filter_map(|action| match action {
            Action::Done { item: of, run, .. } if of == item => run.clone(),
            _ => None,
        });
        let recorded = scene.before.agents_of(item).filter(|(_, agent)| agent.succeeded);
        let recorded = recorded.map(|(name, agent)| RunId { agent: name.clone(), n: agent.spec.id.n });
        let runs: BTreeSet<RunId> = judged.chain(recorded).collect();
        let spec = |run: &RunId| Some(scene.world.machine.runs.get(run)?.spec.as_ref()?.spec.done_when);
        let given: Vec<_> = runs.iter().map(spec).collect();
        let right = given.iter().any(|rule| match rule {
            // A run whose directory was removed says nothing any more.
            None | Some(DoneWhen::Exit) => true,
            Some(DoneWhen::Source) => scene.is_gone(item),
            Some(DoneWhen::Command) => said_so(),
        });
        ensure(right, || format!("{item} counts as done, and its runs were given {given:?}"))?;
    }
    Ok(())
}

/// A run gets a verdict when nothing of it lives, or it is handed off with it.
fn the_living_get_no_verdict(scene: &Scene<'_>) -> Result<(), String> {
    let stopped: BTreeSet<&RunId> = scene
        .actions()
        .filter_map(|action| match action {
            Action::Stop { run, .. } => Some(run),
            _ => None,
        })
        .collect();
    scene.actions().try_for_each(|action| match action {
        Action::Done { run: Some(run), .. } | Action::Fail { run: Some(run), .. } => {
            ensure(!scene.life(run).live || stopped.contains(run), || {
                format!("{} {run}, and it lives", action.name())
            })
        }
        _ => Ok(()),
    })
}

/// What is reaped was handed off before, or has lost its launcher, or its launcher is late. One that runs its hook
/// after the agent is none of these, handed off or not.
fn nothing_healthy_is_reaped(scene: &Scene<'_>) -> Result<(), String> {
    scene.actions().try_for_each(|action| match action {
        Action::Reap(reap) if scene.life(&reap.run).in_hook => {
            Err(format!("{} is reaped in the middle of its hook", reap.run))
        }
        Action::Reap(reap) if !scene.before.handoffs.contains_key(&reap.run) => {
            ensure(!scene.life(&reap.run).healthy, || format!("{} is reaped, and is in order", reap.run))
        }
        _ => Ok(()),
    })
}

/// A run in order is ended only when its item is parked, gone or reconfigured, its dispatch failed, its time is
/// up, or its agent is past it.
fn no_run_ends_without_a_reason(scene: &Scene<'_>) -> Result<(), String> {
    for action in scene.actions() {
        let Action::Stop { run, survivors, dispatch_failed } = action else { continue };
        if !scene.life(run).healthy || *dispatch_failed || !survivors.is_empty() {
            continue;
        }
        let Some(spec) = scene.world.machine.runs.get(run).and_then(|run| run.spec.as_ref()) else {
            continue;
        };
        let parked =
            scene.intended.items.get(&spec.spec.item).is_some_and(|item| item.state == ItemPhase::Parked);
        let gone = scene.is_gone(&spec.spec.item);
        let role_gone = scene.config.roles.iter().all(|role| role.name != spec.spec.role);
        let past = scene.intended.agents.get(&run.agent).is_some_and(|agent| agent.spec.id.n > run.n);
        let timed_out = scene.actions().any(|action| {
            matches!(action, Action::Fail { run: Some(failed), class, .. }
                if failed == run && *class == factory_tick::model::FailureClass::Deadline)
        });
        ensure(parked || gone || role_gone || past || timed_out, || {
            format!("{run} is in order and is handed off")
        })?;
    }
    Ok(())
}

/// A hand-off leaves the record only by a decision, and only when nothing of its run lives or can still come.
fn hand_offs_last_until_all_is_dead(scene: &Scene<'_>) -> Result<(), String> {
    let released: BTreeSet<&RunId> = scene
        .actions()
        .filter_map(|action| match action {
            Action::Release { run } => Some(run),
            _ => None,
        })
        .collect();
    for run in scene.before.handoffs.keys() {
        ensure(released.contains(run) || scene.after.handoffs.contains_key(run), || {
            format!("the hand-off {run} is off the record, and nobody decided so")
        })?;
    }
    released.into_iter().try_for_each(|run| {
        let one = scene.world.machine.runs.get(run);
        let comes = one.is_some_and(|one| one.is_coming() && one.claim.is_none());
        ensure(!scene.life(run).live && !comes, || format!("the hand-off {run} is released, and it lives"))
    })
}

/// Nothing is started for an item while processes of an abandoned run of it are still to be ended.
fn an_item_with_a_hand_off_waits(scene: &Scene<'_>) -> Result<(), String> {
    scene.starts().try_for_each(|(id, run)| {
        let pending = scene.intended.handoffs_of(id).next();
        ensure(pending.is_none(), || format!("{run} is started while {} must end", pending.unwrap().0))
    })
}

/// Attempts shrink only by a change of the item.
fn attempts_only_grow(scene: &Scene<'_>) -> Result<(), String> {
    for (id, before) in &scene.before.items {
        let Some(after) = scene.after.items.get(id) else { continue };
        ensure(after.attempts >= before.attempts || scene.changed(id), || {
            format!("{id} had {} attempts and has {}", before.attempts, after.attempts)
        })?;
    }
    Ok(())
}

/// Charged failures of runs that this tick made durable.
fn newly_charged<'a>(scene: &Scene<'a>) -> impl Iterator<Item = &'a RunId> {
    let (before, after) = (scene.before, scene.after);
    let holds = |registry: &Registry, run: &RunId| {
        registry.agents.get(&run.agent).is_some_and(|agent| agent.run.as_ref() == Some(run))
    };
    scene.actions().filter_map(move |action| match action {
        Action::Fail { run: Some(run), .. }
            if scene.is_charged(action) && holds(before, run) && !holds(after, run) =>
        {
            Some(run)
        }
        _ => None,
    })
}

/// No attempt is charged for an agent that failed while its disk was full.
fn failure_on_a_full_disk_charges_nothing(scene: &Scene<'_>) -> Result<(), String> {
    let mut charged = scene.actions().filter_map(|action| match action {
        Action::Fail { run: Some(run), class: FailureClass::Agent, .. } => Some(run),
        _ => None,
    });
    let is_full = |run: &&RunId| scene.world.machine.room_of(run).is_some_and(|free| free.is_full());
    match charged.find(is_full) {
        Some(run) => Err(format!("{run} is charged, and its disk was full")),
        None => Ok(()),
    }
}

/// A run costs at most one attempt, and an item no more than its failures.
fn a_run_is_charged_once(scene: &Scene<'_>) -> Result<(), String> {
    newly_charged(scene).try_for_each(|run| {
        ensure(!scene.history.charged.contains(run), || format!("{run} is charged a second time"))
    })?;
    let Some(ticked) = scene.ticked else { return Ok(()) };
    for (id, after) in &scene.after.items {
        let before = scene.before.items.get(id).map_or(0, |before| before.attempts);
        let failures = scene
            .actions()
            .filter(|action| {
                scene.is_charged(action) && matches!(action, Action::Fail { item, .. } if item == id)
            })
            .count();
        let failed_effects = ticked.outcomes.iter().filter(|outcome| {
            let failed = match &outcome.outcome {
                Outcome::Start(StartOutcome::NotStarted { class, .. }) => class.charged(),
                Outcome::NotTried(_) => false,
                other => other.has_failed(),
            };
            let Some(Step::Decide(decision)) = scene.plan.steps.get(outcome.step) else { return false };
            failed && decision.item.as_ref() == Some(id)
        });
        let most = before as usize + failures + failed_effects.count();
        ensure(after.attempts as usize <= most, || {
            format!("{id} had {before} attempts and has {}, more than its failures", after.attempts)
        })?;
    }
    Ok(())
}

/// What is parked by a rule or done comes back only by a change of its own; what a person parked, by a person.
fn parked_and_done_stay_so(scene: &Scene<'_>) -> Result<(), String> {
    let indexed = scene.before.done.iter().filter(|(id, _)| !scene.before.items.contains_key(id));
    for (id, done) in indexed.filter(|(_, done)| done.gone.is_none()) {
        let is_same = scene.item(id).is_none_or(|item| item.content_hash == done.content_hash);
        if let Some((_, run)) = scene.starts().find(|(item, _)| *item == id && is_same) {
            return Err(format!("{id} is done and unchanged, and {run} is started"));
        }
        let is_kept = scene.after.phase(id) == Some(ItemPhase::Done) || scene.after.done.contains_key(id);
        let unrecorded = scene
            .actions()
            .any(|action| matches!(action, Action::AdoptUnrecorded { spec, .. } if spec.spec.item == *id));
        ensure(is_kept || !is_same || unrecorded, || format!("{id} was done, and nobody remembers it"))?;
    }
    for (id, before) in &scene.before.items {
        let by_person = matches!(before.parked_by, Some(ParkedBy::Person | ParkedBy::Budget));
        let out = before.state == ItemPhase::Done || before.state == ItemPhase::Parked;
        if !out || (scene.changed(id) && !by_person) {
            continue;
        }
        if let Some((_, run)) = scene.starts().find(|(item, _)| *item == id) {
            return Err(format!("{id} is {:?} and unchanged, and {run} is started", before.state));
        }
        let Some(after) = scene.after.items.get(id) else { continue };
        let unrecorded = scene
            .actions()
            .any(|action| matches!(action, Action::AdoptUnrecorded { spec, .. } if spec.spec.item == *id));
        ensure(after.state == before.state || unrecorded, || {
            format!("{id} was {:?} and is {:?}, unchanged", before.state, after.state)
        })?;
        ensure(!by_person || after.parked_by == before.parked_by, || {
            format!("{id} was parked by a person, and a rule took it over")
        })?;
    }
    Ok(())
}

/// No fresh dispatch before its time.
fn backoff_is_waited_for(scene: &Scene<'_>) -> Result<(), String> {
    for (id, before) in &scene.before.items {
        let waits = before.state == ItemPhase::Waiting && before.due_at.is_some_and(|due| due > scene.now.at);
        // A forgotten run that is found again makes it active: what follows in its dispatch is not fresh.
        let found = scene
            .actions()
            .any(|action| matches!(action, Action::AdoptUnrecorded { spec, .. } if spec.spec.item == *id));
        // What failed went on, and ended well.
        let goes_on =
            scene.plan.steps.iter().any(
                |step| matches!(step, Step::RecordUpdate(RecordUpdate::NotDone { item, .. }) if item == id),
            );
        if !waits || found || goes_on || scene.renews(id) {
            continue;
        }
        if let Some((_, run)) = scene.starts().find(|(item, _)| *item == id) {
            return Err(format!("{run} is started before {}", before.due_at.unwrap()));
        }
    }
    Ok(())
}

/// Counted where it happens: agents that were really started with that session.
fn sessions_are_resumed_so_often(scene: &Scene<'_>) -> Result<(), String> {
    let max = u64::from(scene.config.attempts.resumes_max);
    scene.world.machine.resumed.iter().try_for_each(|(session, times)| {
        ensure(u64::from(*times) <= max, || {
            format!("session {session} was resumed {times} times, at most {max} may be")
        })
    })
}

/// An unfinished end is on record until its agent ends well, and the next one of the agent is charged.
fn unfinished_work_is_free_once(scene: &Scene<'_>) -> Result<(), String> {
    if scene.ticked.is_none() {
        return Ok(());
    }
    let unfinished = scene.actions().filter_map(|action| match action {
        Action::Fail { run: Some(run), item, class: FailureClass::Unfinished, .. } => Some((run, item)),
        _ => None,
    });
    for (run, item) in unfinished.filter(|(_, item)| !scene.renews(item)) {
        let Some(agent) = scene.after.agents.get(&run.agent) else { continue };
        let before = scene.before.agents.get(&run.agent).map_or(0, |agent| agent.unfinished);
        ensure(agent.unfinished == before + 1, || {
            format!("{run}, {item}: its unfinished end is not on record")
        })?;
    }
    Ok(())
}

/// What a person says is kept until the item is done, and told to each session that has not heard it.
fn what_a_person_says_is_heard(scene: &Scene<'_>) -> Result<(), String> {
    for (id, before) in &scene.before.items {
        let Some(after) = scene.after.items.get(id) else { continue };
        let texts = |record: &ItemRecord| -> Vec<String> {
            record.messages.iter().map(|message| message.text.clone()).collect()
        };
        let is_done = after.state == ItemPhase::Done || after.messages.is_empty() && done_in(scene, id);
        ensure(is_done || texts(after).starts_with(&texts(before)), || {
            format!("{id}: {:?} became {:?}", texts(before), texts(after))
        })?;
        // As the plan leaves it: a tick that was killed made nothing of it durable.
        let planned = scene.intended.items.get(id).map_or(&after.messages, |record| &record.messages);
        let still_unheard = |at: usize| planned.get(at).is_some_and(|message| !message.heard);
        // What starts after the item was done in this plan is of its next life, also where no commit kept that.
        let is_over = is_done || done_in(scene, id);
        for launch in scene.launches().filter(|launch| launch.spec.item == *id && !is_over) {
            let mut messages = before.messages.iter().enumerate();
            let untold = messages.find(|(at, message)| {
                (launch.spec.session.is_none() || still_unheard(*at))
                    && !launch.prompt.contains(&message.text)
            });
            ensure(untold.is_none(), || format!("{} is not told {untold:?}", launch.spec.id))?;
        }
    }
    Ok(())
}

fn done_in(scene: &Scene<'_>, id: &ItemId) -> bool {
    scene.actions().any(|action| matches!(action, Action::Done { item, run: None, .. } if item == id))
}

/// Where `started` is required, nothing counts as done that was not announced.
fn a_required_note_comes_first(scene: &Scene<'_>) -> Result<(), String> {
    if scene.config.writeback.started != WritebackMode::Required {
        return Ok(());
    }
    scene.after.agents.iter().filter(|(_, agent)| agent.succeeded).try_for_each(|(name, agent)| {
        let told = scene.world.tracker.announced.contains(&(agent.spec.item.clone(), agent.spec.dispatch));
        ensure(told, || format!("{name} is ok, and dispatch {} was never announced", agent.spec.dispatch))
    })
}

/// A dispatch whose required `started` failed leaves nothing behind that runs or counts.
fn a_refused_dispatch_keeps_nothing(scene: &Scene<'_>) -> Result<(), String> {
    if scene.ticked.is_none() {
        return Ok(());
    }
    for (id, dispatch) in &scene.world.refused_notes {
        for (name, agent) in scene.after.agents_of(id).filter(|(_, agent)| agent.spec.dispatch == *dispatch) {
            ensure(!agent.succeeded && agent.run.is_none() && agent.follow_ups.is_empty(), || {
                format!("{name} goes on although dispatch {dispatch} could not be announced")
            })?;
        }
    }
    Ok(())
}

/// A fleet that can't be seen proves nothing of any run; a source that can't be read, nothing of any item.
fn unknown_is_not_empty(scene: &Scene<'_>) -> Result<(), String> {
    let today = &scene.world.today;
    for action in scene.actions() {
        let of_fleet = match action {
            Action::Start(_)
            | Action::Resume(_)
            | Action::Adopt { .. }
            | Action::AdoptUnrecorded { .. }
            | Action::Fence { .. }
            | Action::Reap(_)
            | Action::Release { .. } => true,
            Action::Done { run, .. } | Action::Fail { run, .. } => run.is_some(),
            _ => false,
        };
        ensure(!(today.fleet_unknown && of_fleet), || format!("{} with an unknown fleet", action.name()))?;
        let of_source = matches!(action, Action::Start(_) | Action::Resume(_) | Action::Forget { .. });
        ensure(!(today.source_unknown && of_source), || format!("{} with an unknown source", action.name()))?;
    }
    Ok(())
}

/// An item is given up only when two complete reads in a row did not have it, and 30 s have passed since the first.
fn gone_takes_two_reads_and_30_seconds(scene: &Scene<'_>) -> Result<(), String> {
    scene.actions().try_for_each(|action| match action {
        Action::Forget { item } => {
            ensure(scene.is_gone(item), || format!("{item} is forgotten, and it was not missed for long"))
        }
        _ => Ok(()),
    })
}

/// An empty folder is no reason to end or forget anything before it was empty for 10 minutes. What was gone before it
/// was emptied stays gone.
fn an_empty_folder_is_not_believed_at_once(scene: &Scene<'_>) -> Result<(), String> {
    scene.plan.decisions().try_for_each(|(_, decision)| {
        let absent = matches!(decision.action, Action::Forget { .. } | Action::Stop { .. })
            && decision.because == "its item is gone"
            && decision.item.as_ref().is_some_and(|id| scene.world.tracker.is_away_for_a_while(id));
        let known = decision.item.as_ref().and_then(|id| scene.before.items.get(id));
        ensure(!absent || known.is_some_and(|record| record.gone.is_some()), || {
            format!("{} of {:?} for an empty folder", decision.action.name(), decision.item)
        })
    })
}

/// Work that was done is not done again as long as its item was never seen closed, out of scope or with another text.
fn done_survives_absence(scene: &Scene<'_>) -> Result<(), String> {
    scene.actions().try_for_each(|action| match action {
        Action::Start(launch) => {
            let done_of = scene.history.done_of.get(&launch.spec.item);
            // A person may have brought it back since.
            let record = scene.before.items.get(&launch.spec.item);
            let is_done = record.is_none_or(|record| record.state == ItemPhase::Done);
            let again = done_of.filter(|_| is_done).is_some_and(|done_of| {
                *done_of == launch.snapshot.content_hash
                    && !scene.world.tracker.shows_change(&launch.spec.item, done_of)
            });
            ensure(!again, || format!("{} does again what was done", launch.spec.id))
        }
        _ => Ok(()),
    })
}

/// What a person alone can release, a disk that is too full and a budget that is too small are on record: a report tells
/// them once, and `status` as long as they last.
fn what_stands_still_is_on_record(scene: &Scene<'_>) -> Result<(), String> {
    let held = &scene.plan.held;
    let one = |code: HoldReason| held.iter().find(move |held| held.code == code);
    let today = scene.intended.daily_spend.as_ref();
    let day_holds = held.iter().any(|held| held.code == HoldReason::Budget && held.until.is_some());
    ensure(!day_holds || today.is_some_and(|today| today.held), || {
        format!("the budget holds an item, and the day has {today:?}")
    })?;
    if scene.one_item
        || scene.reap_only
        || scene.world.today.source_unknown
        || scene.world.today.fleet_unknown
    {
        return Ok(());
    }
    let standstill = &scene.intended.standstill;
    ensure(one(HoldReason::DiskFloor).is_some() == standstill.stopped.is_some(), || {
        format!("the disk is too full for something, or for nothing: {:?}", standstill.stopped)
    })?;
    let is_mass = scene.plan.errors.iter().any(|error| error.contains("--accept-missing"));
    let blocked = held.iter().filter(|held| held.code == HoldReason::Blocked);
    for id in blocked.map(|held| &held.item) {
        let stuck = standstill.stuck.contains_key(id);
        match scene.world.tracker.is_blocked_for_ever(id, |id| scene.intended.items.contains_key(id)) {
            Some(true) => ensure(stuck || is_mass, || format!("{id} waits for ever, and nobody is told"))?,
            Some(false) => ensure(!stuck, || format!("{id} waits for an open item, and is stuck"))?,
            None => {}
        }
    }
    Ok(())
}

/// The streak of uncharged failures grows at most once in 30 s of one boot.
fn an_uncharged_streak_takes_time(scene: &Scene<'_>) -> Result<(), String> {
    scene.before.items.iter().try_for_each(|(id, before)| {
        let Some(after) = scene.after.items.get(id) else { return Ok(()) };
        let grows = before.uncharged_streak > 0 && after.uncharged_streak > before.uncharged_streak;
        let age = after
            .uncharged_at
            .as_ref()
            .zip(before.uncharged_at.as_ref())
            .and_then(|(at, last)| at.since(last));
        ensure(!grows || age.is_none_or(|age| age.as_secs() >= 30), || {
            format!(
                "{id} had {} uncharged failures in a row and {age:?} later {}",
                before.uncharged_streak, after.uncharged_streak
            )
        })
    })
}

/// While the record says that an item is as its runs were given it, each role that counts as done was.
fn done_work_is_of_this_text(scene: &Scene<'_>) -> Result<(), String> {
    for (name, agent) in scene.after.agents.iter().filter(|(_, agent)| agent.succeeded) {
        let run = RunId { agent: name.clone(), n: agent.spec.id.n };
        let given = scene.world.machine.runs.get(&run).and_then(|run| run.given.as_ref());
        let recorded = scene.after.items.get(&agent.spec.item).and_then(|item| item.content_hash.as_ref());
        let now = scene.item(&agent.spec.item).map(|item| &item.content_hash);
        ensure(given.is_none() || recorded != now || given == now, || {
            format!("{run} counts as done, was given another text, and nobody will know")
        })?;
    }
    Ok(())
}

/// Nothing is decided about an item of which a run can't be told.
fn what_cannot_be_told_is_left_alone(scene: &Scene<'_>) -> Result<(), String> {
    let Some(untold) = &scene.world.untold else { return Ok(()) };
    let current = scene.before.agents.get(&untold.agent).filter(|agent| agent.run.as_ref() == Some(untold));
    let item = current.map(|agent| &agent.spec.item);
    let item = item.or(scene.before.handoffs.get(untold).and_then(|handoff| handoff.item.as_ref()));
    let verdict = scene.actions().find(|action| match action {
        Action::Start(launch) | Action::Resume(launch) => Some(&launch.spec.item) == item,
        Action::Stop { .. } => false,
        _ => action.run() == Some(untold) && !matches!(action, Action::AdoptUnrecorded { .. }),
    });
    ensure(verdict.is_none(), || format!("{untold} can't be told, and {verdict:?} is decided"))
}

/// A start that nobody has claimed is fenced only when its time is up, or its machine was restarted, or it is to
/// end anyway.
fn a_start_gets_its_grace(scene: &Scene<'_>) -> Result<(), String> {
    scene.actions().try_for_each(|action| {
        let Action::Fence { run } = action else { return Ok(()) };
        let Some(agent) = scene.before.agents.get(&run.agent) else { return Ok(()) };
        let since = agent.since.as_ref().filter(|_| agent.run.as_ref() == Some(run));
        let age = since.and_then(|since| scene.now.since(since));
        ensure(age.is_none_or(|age| age >= scene.config.fleet.start_grace), || {
            format!("{run} is fenced after {age:?}")
        })
    })
}

/// Effects that depend on each other: the first that fails stops the rest of its group, and nobody else.
fn a_group_stops_at_its_first_failure(scene: &Scene<'_>) -> Result<(), String> {
    let mut failed: BTreeSet<u32> = BTreeSet::new();
    for outcome in scene.ticked.iter().flat_map(|ticked| &ticked.outcomes) {
        let Some(Step::Decide(decision)) = scene.plan.steps.get(outcome.step) else { continue };
        let stopped = matches!(&outcome.outcome, Outcome::NotTried(why) if *why == "its group failed");
        let tried = !matches!(outcome.outcome, Outcome::NotTried(_));
        ensure(!tried || !failed.contains(&decision.group), || {
            format!("{} was tried although its group had failed", decision.action.name())
        })?;
        ensure(!stopped || failed.contains(&decision.group), || {
            format!("{} was not tried although nothing of its group failed", decision.action.name())
        })?;
        let bad = outcome.outcome.has_failed();
        if bad && !matches!(decision.action, Action::Reap(_)) {
            failed.insert(decision.group);
        }
    }
    Ok(())
}

/// A slug, a workspace and an agent belong to one item, for ever.
fn names_are_never_shared(scene: &Scene<'_>) -> Result<(), String> {
    let names = &scene.after.names.items;
    let slugs: BTreeSet<_> = names.values().map(|named| &named.slug).collect();
    let workspaces: BTreeSet<_> = names.values().map(|named| &named.workspace).collect();
    ensure(slugs.len() == names.len() && workspaces.len() == names.len(), || {
        format!("two items share a name: {names:?}")
    })?;
    let mut owners: BTreeMap<&AgentName, &ItemId> = BTreeMap::new();
    for (run, one) in &scene.world.machine.runs {
        let Some(spec) = &one.spec else { continue };
        let owner = owners.entry(&run.agent).or_insert(&spec.spec.item);
        ensure(*owner == &spec.spec.item, || {
            format!("{run} is of {}, and earlier ones of {owner}", spec.spec.item)
        })?;
    }
    Ok(())
}

/// A run's number is never given out again.
fn numbers_only_grow(scene: &Scene<'_>) -> Result<(), String> {
    scene.before.names.last_n.iter().try_for_each(|(agent, last)| {
        let after = scene.after.names.last_n.get(agent).copied().unwrap_or(0);
        ensure(after >= *last, || format!("{agent} was at {last} and is at {after}"))
    })
}

/// Between runs an agent has no run and no handle; during one it has what was seen of it.
fn between_runs_nothing_is_left(scene: &Scene<'_>) -> Result<(), String> {
    scene.after.agents.iter().try_for_each(|(name, agent)| {
        let (seen, unseen) = (agent.handle.is_some(), agent.handle.is_none());
        let right = match agent.state {
            AgentPhase::Idle => agent.run.is_none() && agent.since.is_none() && unseen,
            AgentPhase::Starting => agent.run.is_some() && agent.since.is_some() && unseen,
            AgentPhase::Running => agent.run.is_some() && agent.since.is_some() && seen,
        };
        let in_order = right
            && agent.stopped_at.is_some() == (agent.state == AgentPhase::Idle)
            && agent.run.as_ref().is_none_or(|run| run.agent == *name && run.n == agent.spec.id.n)
            && scene.after.items.contains_key(&agent.spec.item);
        ensure(in_order, || format!("{name}: {agent:?}"))
    })
}

/// No record contradicts another: a registry in which one does is refused at load.
fn the_records_fit_together(scene: &Scene<'_>) -> Result<(), String> {
    scene.intended.check().and_then(|()| scene.after.check())
}

/// What a tick makes durable loads as what it was; what stands is loaded and compared before each tick.
fn the_registry_reads_back(scene: &Scene<'_>) -> Result<(), String> {
    if scene.intended == scene.before {
        return Ok(());
    }
    let text = serde_json::to_string(scene.intended).map_err(|error| error.to_string())?;
    let read: Registry = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    ensure(read == *scene.intended, || format!("it reads back as another: {text}"))
}

fn counters_never_shrink(scene: &Scene<'_>) -> Result<(), String> {
    if scene.before.counters == scene.after.counters {
        return Ok(());
    }
    let count = |registry: &Registry| serde_json::to_value(&registry.counters).unwrap_or_default();
    let (before, after) = (count(scene.before), count(scene.after));
    before.as_object().into_iter().flatten().try_for_each(|(name, value)| {
        let after = after.get(name).and_then(serde_json::Value::as_u64);
        ensure(after >= value.as_u64(), || format!("{name} was {value} and is {after:?}"))
    })
}
