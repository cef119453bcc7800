//! One tick: observe the world, decide purely, write the intent down, perform it, write down what was seen.
//!
//! The only orchestration in the program. Recovery is no separate code: an intent that was never performed
//! is an ordinary observation of the next tick.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::config::Config;
use crate::decide::{Request, decide};
use crate::fleet::Fleet;
use crate::model::{
    Action, ClockReading, Decision, FenceOutcome, LocalFacts, NotifyOutcome, Observed, Outcome, Plan, Reap,
    ReapOutcome, RunId, RunQuery, Step, StepOutcome, Unavailable, World,
};
use crate::registry::Registry;
use crate::source::{LastRead, Source};
use crate::state::{self, StateBackend, StoreError};

/// What a tick works with. Everything in it was made before the tick began.
pub struct Tick<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// Where items come from.
    pub source: &'a dyn Source,
    /// What this process has read of the source last.
    pub last_read: &'a LastRead,
    /// Where agents run.
    pub fleet: &'a dyn Fleet,
    /// What is asked.
    pub request: Request,
    /// When it began.
    pub now: ClockReading,
    /// When it must be over.
    pub until: Instant,
    /// What was read of this machine and of the state before it began.
    pub local: LocalFacts,
    /// Whether somebody asked the program to end.
    pub stop: &'a dyn Fn() -> bool,
    /// The clock, for what is written down after the effects.
    pub clock: &'a dyn Fn() -> ClockReading,
}

/// What a tick did.
#[derive(Clone, Debug)]
pub struct Ticked {
    /// What was decided.
    pub plan: Plan,
    /// What became of its effects.
    pub outcomes: Vec<StepOutcome>,
    /// Whether the items could be read, or why not; `None` where nobody looked.
    pub source: Option<Result<(), Unavailable>>,
    /// Whether the agents could be seen, or why not.
    pub fleet: Result<(), Unavailable>,
}

/// Observes and decides: all that a dry run does.
pub fn plan(tick: &Tick<'_>, registry: &Registry) -> (Plan, World) {
    let world = observe(tick, registry);
    (decide(tick.config, registry, &world, &tick.request), world)
}

/// Runs one tick on the registry `before`, which was loaded under the lock. Returns what it did, and the registry as it
/// stands by then.
///
/// # Errors
///
/// A commit that failed. No effect was performed after it.
pub fn run(
    tick: &Tick<'_>,
    backend: &mut dyn StateBackend,
    before: &Registry,
) -> Result<(Ticked, Registry), StoreError> {
    let (mut plan, world) = plan(tick, before);
    let mut registry = before.clone();
    let refused = registry.intend(&plan, &tick.now);
    plan.withdraw(refused);
    let details = registry.take_details();
    backend.commit(&registry, &details)?;
    state::log_events(backend, &state::of_plan(before, &plan, &tick.now));
    let outcomes = perform(&plan, tick.source, tick.fleet, tick.until, tick.stop);
    let seen_at = (tick.clock)();
    registry.note(&plan, &outcomes, &tick.config.attempts, &seen_at);
    backend.commit(&registry, &[])?;
    state::log_events(backend, &state::of_outcomes(before, &plan, &outcomes, &seen_at));
    let read = tick.request.needs_source();
    let ticked =
        Ticked { source: read.then(|| answer(&world.source)), fleet: answer(&world.fleet), plan, outcomes };
    Ok((ticked, registry))
}

fn answer<T>(observed: &Observed<T>) -> Result<(), Unavailable> {
    observed.unknown().map_or(Ok(()), |why| Err(why.clone()))
}

/// One look at everything outside.
pub fn observe(tick: &Tick<'_>, registry: &Registry) -> World {
    let current = registry.agents.values().filter_map(|agent| {
        let (run, handle) = (agent.run.clone()?, agent.handle.clone());
        Some(RunQuery { run, handle, name_taken: false, done_when: Some(agent.spec.done_when) })
    });
    let done_when = |run: &RunId| {
        let agent = registry.agents.get(&run.agent).filter(|agent| agent.spec.id.n == run.n);
        agent.map(|agent| agent.spec.done_when)
    };
    let handed_off = registry.handoffs.iter().map(|(run, handoff)| RunQuery {
        run: run.clone(),
        handle: handoff.handle.clone(),
        name_taken: handoff.name_taken,
        done_when: done_when(run),
    });
    let queries: Vec<_> = current.chain(handed_off).collect();
    let source = if tick.request.needs_source() {
        tick.last_read.read(tick.source, tick.until)
    } else {
        Observed::broken("not asked")
    };
    let wanted = || match source.known() {
        Some(view) => registry.workspaces_wanted(&view.items),
        None => BTreeSet::new(),
    };
    World {
        workspaces_taken: tick.fleet.workspaces_taken(&wanted),
        fleet: tick.fleet.observe(&queries, &registry.names.last_n, tick.until),
        source,
        now: tick.now.clone(),
        local: tick.local.clone(),
    }
}

/// Performs a plan. Dumb on purpose: it knows neither configuration nor world, and decides nothing.
///
/// Starts come first, because they are quick; what must end is ended last, all within one grace.
fn perform(
    plan: &Plan,
    source: &dyn Source,
    fleet: &dyn Fleet,
    until: Instant,
    stop: &dyn Fn() -> bool,
) -> Vec<StepOutcome> {
    let mut outcomes = Vec::new();
    let mut failed_group = None;
    let mut reaps: Vec<(usize, &Reap)> = Vec::new();
    for (step, decision) in plan.decisions() {
        let Some(effect) = Effect::of(decision) else { continue };
        if let Effect::Reap(reap) = effect {
            reaps.push((step, reap));
            continue;
        }
        let hindrance =
            hindrance(until, stop).or((failed_group == Some(decision.group)).then_some("its group failed"));
        let outcome: Outcome = match (hindrance, effect) {
            (Some(why), _) => Outcome::NotTried(why),
            (None, Effect::Start(launch)) => fleet.start(launch, until).into(),
            (None, Effect::Fence(run)) => fleet.fence(run).into(),
            (None, Effect::Tell(note)) => match source.notify(note, until) {
                Ok(()) => NotifyOutcome::Notified.into(),
                Err(error) => NotifyOutcome::Failed(error).into(),
            },
            (None, Effect::Reap(_)) => continue,
        };
        if outcome.has_failed() {
            failed_group = Some(decision.group);
        }
        outcomes.push(StepOutcome { step, outcome });
    }
    look_for_fenced(plan, fleet, &mut outcomes);
    outcomes.extend(end_all(&reaps, fleet, until, stop));
    outcomes
}

/// One look for all fences: after them none of these runs starts anything any more.
fn look_for_fenced(plan: &Plan, fleet: &dyn Fleet, outcomes: &mut [StepOutcome]) {
    let run = |outcome: &StepOutcome| decision_of(plan, outcome).and_then(|decision| decision.action.run());
    let is_won = |outcome: &StepOutcome| outcome.outcome == Outcome::Fence(FenceOutcome::Won);
    let runs: Vec<_> = outcomes.iter().filter(|outcome| is_won(outcome)).filter_map(run).collect();
    if runs.is_empty() {
        return;
    }
    let won = outcomes.iter_mut().filter(|outcome| is_won(outcome));
    for (outcome, lives) in won.zip(fleet.look_for(&runs)) {
        if lives {
            outcome.outcome = FenceOutcome::Late.into();
        }
    }
}

fn end_all(
    reaps: &[(usize, &Reap)],
    fleet: &dyn Fleet,
    until: Instant,
    stop: &dyn Fn() -> bool,
) -> Vec<StepOutcome> {
    if reaps.is_empty() {
        return Vec::new();
    }
    let outcomes = match hindrance(until, stop) {
        Some(why) => vec![ReapOutcome::NotTried(why); reaps.len()],
        None => fleet.reap(&reaps.iter().map(|(_, reap)| *reap).collect::<Vec<_>>(), until),
    };
    reaps
        .iter()
        .zip(outcomes)
        .map(|((step, _), outcome)| StepOutcome { step: *step, outcome: outcome.into() })
        .collect()
}

fn hindrance(until: Instant, stop: &dyn Fn() -> bool) -> Option<&'static str> {
    if stop() {
        Some("the tick was told to end")
    } else if Instant::now() >= until {
        Some("the tick's deadline")
    } else {
        None
    }
}

/// What a decision does outside the registry.
enum Effect<'a> {
    Start(&'a crate::model::Launch),
    Fence(&'a crate::model::RunId),
    Tell(&'a crate::model::Writeback),
    Reap(&'a Reap),
}

impl Effect<'_> {
    fn of(decision: &Decision) -> Option<Effect<'_>> {
        match &decision.action {
            Action::Start(launch) | Action::Resume(launch) => Some(Effect::Start(launch)),
            Action::Fence { run } => Some(Effect::Fence(run)),
            Action::Writeback(note) => Some(Effect::Tell(note)),
            Action::Reap(reap) => Some(Effect::Reap(reap)),
            Action::Adopt { .. }
            | Action::AdoptUnrecorded { .. }
            | Action::Stop { .. }
            | Action::Done { .. }
            | Action::Fail { .. }
            | Action::Park { .. }
            | Action::Retry { .. }
            | Action::Pause { .. }
            | Action::Unpause
            | Action::Forget { .. }
            | Action::Release { .. }
            | Action::GiveUp { .. }
            | Action::CoolOff { .. } => None,
        }
    }
}

/// The decision that an outcome belongs to.
pub fn decision_of<'a>(plan: &'a Plan, outcome: &StepOutcome) -> Option<&'a Decision> {
    match plan.steps.get(outcome.step) {
        Some(Step::Decide(decision)) => Some(decision),
        _ => None,
    }
}
