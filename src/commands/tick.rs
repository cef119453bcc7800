//! `factory-tick`, `factory-tick --dry-run`: one bounded iteration, or a few.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::{Context, Outside, Shutdown, resolve};
use crate::decide::Request;
use crate::exit::{ExitStatus, Failure};
use crate::model::ItemId;
use crate::registry::Registry;
use crate::report::TickReport;
use crate::state::{Beats, State};
use crate::store::heartbeat::Pulse;
use crate::tick::{self, Ticked};

/// Under `-q`, what lasts is told again after this long.
const REMIND_AFTER: SignedDuration = SignedDuration::from_hours(24);

pub(super) fn run(context: &Context) -> Result<ExitStatus, Failure> {
    if context.options.dry_run {
        return context.preview(|registry, fleet, dir| {
            let item = wanted_item(context, registry)?;
            let (source, stop, clock) = (context.source(), || false, || context.now.clone());
            let since = context.began;
            let outside = Outside { source: &source, fleet, dir, stop: &stop, clock: &clock, since };
            let tick = context.tick(&outside, Request { item, reap_only: false });
            let (plan, world) = tick::plan(&tick, registry);
            let blind = world.source.known().is_none() && world.fleet.known().is_none();
            Ok((plan, if blind { ExitStatus::Unavailable } else { ExitStatus::Ok }))
        });
    }
    let shutdown = Shutdown::listen()?;
    let mut state = context.lock(Duration::ZERO, &shutdown)?;
    // Before anything is touched: a name that means nothing refuses the command, not the tick.
    let item = wanted_item(context, &state.registry)?;
    let beats = Beats::begin(&state, &context.config, &context.me()?, &context.now);
    note_crash(context, &mut state);
    let mut report = TickReport::new("tick", &context.now, false);
    let last = iterate(context, &mut state, &shutdown, &mut report, item.as_ref());
    if let Err(failure) = &last {
        report.fail(failure);
    }
    if let Some(damage) = state.damage_note() {
        report.note(damage);
    }
    report.worsen(shutdown.status());
    report.finish(Some(state.serial()), context.began.elapsed());
    let now = context.clock();
    let tell = !context.options.quiet || is_news(&state.pulse, &report, now.at);
    beats.end(&state, &report, last.ok().flatten().as_ref(), tell, &now);
    if tell {
        context.print(&report);
    }
    Ok(report.exit())
}

/// Ticks in a row, as long as each decides something. The last one's answers are for the heartbeat.
fn iterate(
    context: &Context,
    state: &mut State,
    shutdown: &Shutdown,
    report: &mut TickReport,
    item: Option<&ItemId>,
) -> Result<Option<Ticked>, Failure> {
    let mut last = None;
    for _ in 0..context.options.iterations {
        let request = Request { item: item.cloned(), reap_only: false };
        let ticked = once(context, state, shutdown, report, request)?;
        let idle = ticked.plan.is_empty();
        last = Some(ticked);
        if idle || shutdown.asked() {
            break;
        }
    }
    Ok(last)
}

/// One iteration on a state that is held, reported.
pub(super) fn once(
    context: &Context,
    state: &mut State,
    shutdown: &Shutdown,
    report: &mut TickReport,
    request: Request,
) -> Result<Ticked, Failure> {
    let (source, fleet) = (context.source(), context.fleet(&state.lineage));
    let (stop, clock, dir) = (|| shutdown.asked(), || context.clock(), state.dir.clone());
    let since = state.held_since;
    let outside =
        Outside { source: &source, fleet: &fleet, dir: Some(&dir), stop: &stop, clock: &clock, since };
    let before = state.registry.clone();
    let mut registry = before.clone();
    let ticked = tick::run(&context.tick(&outside, request), state, &mut registry)?;
    report.add(&ticked, &context.config, &before, &registry);
    state.registry = registry;
    Ok(ticked)
}

fn wanted_item(context: &Context, registry: &Registry) -> Result<Option<ItemId>, Failure> {
    let wanted = context.options.item.as_ref();
    wanted.map(|wanted| resolve::item(wanted, registry, &context.items())).transpose()
}

/// A heartbeat that says `running` for a process that is gone: the last tick died. What it left behind is an
/// ordinary state; that it died is worth knowing.
fn note_crash(context: &Context, state: &mut State) {
    if !state.last_tick_died(&context.host) {
        return;
    }
    let Pulse::Beat(beat) = &state.pulse else { return };
    log::warn!("the last tick, pid {}, died in the middle (it began at {})", beat.pid, beat.started_at);
    let event = json!({
        "at": context.now.at, "event": "crashed_tick", "pid": beat.pid, "started_at": beat.started_at,
    });
    state.log_event(&event);
    state.registry.counters.crashed_ticks += 1;
}

/// Under `-q` only what differs from the last tick is told, and what lasts once a day.
fn is_news(pulse: &Pulse, report: &TickReport, now: Timestamp) -> bool {
    let Pulse::Beat(before) = pulse else { return report.exit() != ExitStatus::Ok };
    let same = before.exit_code == Some(report.exit().code()) && before.reason == Some(report.reason());
    let told = before.reported_at.is_some_and(|at| now.duration_since(at) < REMIND_AFTER);
    !same || (report.exit() != ExitStatus::Ok && !told)
}
