//! One tick as a command runs it: planned on a snapshot, or performed on a state that is held.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::app::context::Context;
use crate::app::shutdown::Shutdown;
use crate::app::snapshot::Snapshot;
use crate::decide::Request;
use crate::durable::disk;
use crate::exit::{ExitStatus, Failure};
use crate::model::{ClockReading, LocalFacts, Plan, Room, World};
use crate::run::{credentials, env, program};
use crate::state::{HostDir, State};
use crate::tick::{self, Tick, Ticked};
use crate::views::report::TickReport;
use crate::workspace::root;

/// Ending a run takes 1 round, seeing its end 1 more, and a lost fence 1 more.
const REAP_ROUNDS_MAX: u32 = 3;

/// Ends what must end, and starts nothing.
pub(crate) const REAP: Request =
    Request { item: None, reap_only: true, hold_starts: None, judge_only: false, accept_missing: false };

/// How far a tick goes.
enum Reach<'a> {
    /// It only plans: the clock stands still, and no signal is waited for.
    Planned,
    /// It performs. Its deadline counts from the moment at which the lock was taken.
    Performed { held_since: Instant, shutdown: &'a Shutdown },
}

/// What a tick with this request would see.
pub(crate) fn observe(context: &Context, snapshot: &Snapshot, request: Request) -> World {
    let observe = |tick: &Tick<'_>| tick::observe(tick, &snapshot.registry);
    with_tick(context, &snapshot.lineage, snapshot.dir.as_ref(), request, &Reach::Planned, observe)
}

/// What a tick with this request would do, and what it would see.
pub(crate) fn plan(context: &Context, snapshot: &Snapshot, request: Request) -> (Plan, World) {
    let plan = |tick: &Tick<'_>| tick::plan(tick, &snapshot.registry);
    with_tick(context, &snapshot.lineage, snapshot.dir.as_ref(), request, &Reach::Planned, plan)
}

/// One tick on a state that is held, reported.
///
/// # Errors
///
/// A commit that failed.
pub(crate) fn run(
    context: &Context,
    state: &mut State,
    shutdown: &Shutdown,
    report: &mut TickReport,
    request: Request,
) -> Result<Ticked, Failure> {
    let (lineage, dir) = (state.lineage.clone(), state.dir.clone());
    let before = state.registry.clone();
    let reach = Reach::Performed { held_since: state.held_since, shutdown };
    let run = |tick: &Tick<'_>| tick::run(tick, state.backend_mut(), &before);
    let (ticked, registry) = with_tick(context, &lineage, Some(&dir), request, &reach, run)?;
    report.add(&ticked, &context.config, &before, &registry);
    state.registry = registry;
    Ok(ticked)
}

/// Reaps until nothing is left to reap, or nothing more can be done about it now.
///
/// # Errors
///
/// A commit that failed.
pub(crate) fn reap(
    context: &Context,
    state: &mut State,
    shutdown: &Shutdown,
    report: &mut TickReport,
) -> Result<(), Failure> {
    for _ in 0..REAP_ROUNDS_MAX {
        let ticked = run(context, state, shutdown, report, REAP)?;
        if ticked.plan.is_empty() || shutdown.asked() {
            break;
        }
    }
    Ok(())
}

/// Prints what a command would do, decided on the state as it is, and changes nothing.
///
/// # Errors
///
/// A state that can't be read, and what `plan` refuses.
pub(crate) fn preview(
    context: &Context,
    plan: impl FnOnce(&Snapshot) -> Result<(Plan, ExitStatus), Failure>,
) -> Result<ExitStatus, Failure> {
    let snapshot = context.snapshot()?;
    if let Some(why) = &snapshot.damage {
        log::warn!("{why}; its backup was read, and a tick would quarantine it");
    }
    let (plan, status) = plan(&snapshot)?;
    // As the command would leave it, so that new items have their keys.
    let mut after = snapshot.registry;
    after.intend(&plan, &context.now);
    let mut report = TickReport::new("dry run, nothing changed", &context.now, true);
    report.add_plan(&plan, &after);
    report.worsen(status);
    if context.options.detailed_exitcode && !plan.is_empty() {
        report.worsen(ExitStatus::WouldAct);
    }
    report.finish(snapshot.serial, context.began.elapsed());
    Ok(context.print(&report))
}

/// Assembles all that a tick works with. No other place does.
fn with_tick<T>(
    context: &Context,
    lineage: &str,
    dir: Option<&HostDir>,
    request: Request,
    reach: &Reach<'_>,
    then: impl FnOnce(&Tick<'_>) -> T,
) -> T {
    let (source, fleet) = (context.source(), context.fleet(lineage, &request));
    let since = match reach {
        Reach::Planned => context.began,
        Reach::Performed { held_since, .. } => *held_since,
    };
    let stop = || match reach {
        Reach::Planned => false,
        Reach::Performed { shutdown, .. } => shutdown.asked(),
    };
    let clock = || match reach {
        Reach::Planned => context.now.clone(),
        Reach::Performed { .. } => context.clock(),
    };
    let now: ClockReading = clock();
    then(&Tick {
        config: &context.config,
        source: &*source,
        last_read: &context.last_read,
        fleet: &*fleet,
        request,
        now,
        until: since + context.config.tick.deadline,
        local: local_facts(context, lineage, dir),
        stop: &stop,
        clock: &clock,
    })
}

fn local_facts(context: &Context, lineage: &str, dir: Option<&HostDir>) -> LocalFacts {
    let (config, vars) = (&context.config, &context.vars);
    let workspaces = root::folder(config, &context.state_path);
    let file = env::of_file(&config.env);
    let (file, env_error) = file.map_or_else(|error| (Default::default(), Some(error)), |file| (file, None));
    LocalFacts {
        room: Room { state: dir.and_then(HostDir::free), workspaces: disk::free_at(&workspaces) },
        missing_env: env::missing(vars, &config.env, &file, &config.roles),
        // Without the file of variables the PATH of the agents is unknown.
        missing_programs: match &env_error {
            Some(_) => BTreeMap::new(),
            None => program::missing(vars, config, &file),
        },
        credentials: credentials::of_roles(vars, config, &file, lineage),
        lineage: lineage.to_owned(),
        env_error,
        workspaces,
    }
}
