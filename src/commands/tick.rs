//! `factory-tick`, `factory-tick --dry-run`: one bounded iteration, or a few.

use std::time::Duration;

use crate::app::context::{BY_THE_LAST_GOOD, Context};
use crate::app::iteration;
use crate::app::output::{bad_config, tell_failure};
use crate::app::quiet::{self, ChangeFilter, Verdict};
use crate::app::resolve;
use crate::app::shutdown::Shutdown;
use crate::app::upkeep::{groups, retain};
use crate::cli::{Format, TickArgs};
use crate::config::Problems;
use crate::decide::Request;
use crate::exit::{ExitStatus, Failure};
use crate::model::ItemId;
use crate::registry::Registry;
use crate::state::event::{Detail, Event};
use crate::state::heartbeat::HeartbeatState;
use crate::state::{Ended, HeartbeatWriter, State};
use crate::tick::Ticked;
use crate::ui::layout::Span;
use crate::views::report::TickReport;

pub(super) fn run(context: &Context, args: &TickArgs) -> Result<ExitStatus, Failure> {
    match (&context.broken, context.options.dry_run) {
        (broken, true) => preview(context, args, broken.as_ref()),
        (None, false) => iteration(context, args),
        (Some(problems), false) => reconciliation(context, args, problems),
    }
}

fn preview(context: &Context, args: &TickArgs, broken: Option<&Problems>) -> Result<ExitStatus, Failure> {
    iteration::preview(context, |snapshot| {
        let item = wanted_item(context, args, &snapshot.registry)?;
        let (mut plan, world) = iteration::plan(context, snapshot, request(context, args, item));
        if let Some(problems) = broken {
            tell_problems(context, problems);
            plan.errors.extend(notes(context, problems));
            return Ok((plan, ExitStatus::BadConfig));
        }
        let blind = world.source.known().is_none() && world.fleet.known().is_none();
        Ok((plan, if blind { ExitStatus::Unavailable } else { ExitStatus::Ok }))
    })
}

fn iteration(context: &Context, args: &TickArgs) -> Result<ExitStatus, Failure> {
    let shutdown = Shutdown::listen()?;
    let mut state = context.lock(Duration::ZERO, &shutdown)?;
    // Before anything is touched: a name that means nothing refuses the command, not the tick.
    let item = wanted_item(context, args, &state.registry)?;
    state.backend().keep_config(&context.original);
    let mut beats = HeartbeatWriter::begin(&state, &context.config, &context.me()?, &context.now);
    note_crash(context, &mut state);
    // Before anything starts: the first agent of a new factory may be the one that fills the disk.
    state.keep_reserve(context.config.limits.disk_free_min_bytes);
    let mut report = TickReport::new("tick", &context.now, false);
    let last = iterate(context, &mut state, &shutdown, &mut report, args, item.as_ref());
    match &last {
        Err(failure) => report.fail(failure),
        // What can't be told whether it lives is not removed; and one item alone is one item alone.
        Ok(Some(ticked)) if item.is_none() && ticked.fleet.is_ok() => {
            if let Some(retained) = retain::retain(context, &state, &shutdown) {
                beats.retained(retained);
            }
            if let Some(groups) = groups::look(context, &state, &shutdown) {
                beats.groups(groups);
            }
        }
        Ok(_) => {}
    }
    finish(context, &state, &shutdown, &mut report);
    let now = context.clock();
    let change_filter = ChangeFilter::new(&state.dir, &context.config.path, &state.heartbeat_state);
    let verdict = Verdict::new(report.exit(), &report.reason());
    let tell = !context.options.quiet || report.is_alarming() || change_filter.has_changed(&verdict, now.at);
    let ticked = last.ok().flatten();
    let ended = Ended {
        exit: report.exit(),
        reason: report.reason(),
        told: tell,
        source: ticked.as_ref().and_then(|ticked| ticked.source.as_ref()),
        fleet: ticked.as_ref().map(|ticked| &ticked.fleet),
    };
    beats.end(&state, ended, &now);
    if tell {
        context.print(&report);
    }
    Ok(report.exit())
}

/// The configuration is broken. What runs is watched, judged and cleaned up after by the last good one; nothing is
/// started. There is no heartbeat: nobody is to think that all is well.
fn reconciliation(context: &Context, args: &TickArgs, problems: &Problems) -> Result<ExitStatus, Failure> {
    let shutdown = Shutdown::listen()?;
    let mut state = match context.lock(Duration::ZERO, &shutdown) {
        Ok(state) => state,
        // Another tick does what this one would have done, and tells it.
        Err(other) if context.options.quiet && other.status == ExitStatus::Busy => {
            return Ok(ExitStatus::BadConfig);
        }
        Err(other) => return Err(with(context, problems, &other)),
    };
    let item =
        wanted_item(context, args, &state.registry).map_err(|other| with(context, problems, &other))?;
    let mut report = TickReport::new("tick", &context.now, false);
    report.worsen(ExitStatus::BadConfig);
    notes(context, problems).into_iter().for_each(|text| report.note(text));
    if let Err(failure) = iterate(context, &mut state, &shutdown, &mut report, args, item.as_ref()) {
        report.fail(&failure);
    }
    finish(context, &state, &shutdown, &mut report);
    let reason = format!("{}\n{problems}", report.reason());
    let has_changed = || quiet::has_changed_without_heartbeat(&context.options, report.exit(), &reason);
    if !context.options.quiet || has_changed() || report.is_alarming() {
        tell_problems(context, problems);
        context.print(&report);
    }
    Ok(report.exit())
}

fn finish(context: &Context, state: &State, shutdown: &Shutdown, report: &mut TickReport) {
    if let Some(damage) = state.damage_note() {
        report.note(damage);
    }
    report.worsen(shutdown.status());
    report.finish(Some(state.serial()), context.began.elapsed());
}

/// What a report has to say of a broken configuration. People are told its problems beside it, as an editor wants them.
fn notes(context: &Context, problems: &Problems) -> Vec<String> {
    let (text, note) = (problems.to_string(), format!("nothing is started; {BY_THE_LAST_GOOD}"));
    match context.options.format {
        Format::Json => vec![text, note],
        Format::Text => vec![note],
    }
}

fn tell_problems(context: &Context, problems: &Problems) {
    if context.options.format == Format::Text {
        tell_failure(&context.options, &bad_config(problems, context.width));
    }
}

/// The problems of the configuration, and what kept even the last good one from being of use. Another tick does what
/// this one would have done.
fn with(context: &Context, problems: &Problems, other: &Failure) -> Failure {
    let failure = bad_config(problems, context.width);
    if other.status == ExitStatus::Busy {
        return failure;
    }
    let page = failure.page.map(|mut page| {
        other.text.lines().for_each(|line| page.paragraph(0, &[Span::words(line)]));
        page
    });
    Failure {
        status: failure.status.worse(other.status),
        text: format!("{}\n{other}", failure.text),
        page,
        no_room: false,
    }
}

/// Ticks in a row, as long as each decides something. The last one's answers are for the heartbeat.
fn iterate(
    context: &Context,
    state: &mut State,
    shutdown: &Shutdown,
    report: &mut TickReport,
    args: &TickArgs,
    item: Option<&ItemId>,
) -> Result<Option<Ticked>, Failure> {
    let mut last = None;
    for _ in 0..args.iterations {
        let request = request(context, args, item.cloned());
        let ticked = iteration::run(context, state, shutdown, report, request)?;
        let idle = ticked.plan.is_empty();
        last = Some(ticked);
        if idle || shutdown.asked() {
            break;
        }
    }
    Ok(last)
}

fn request(context: &Context, args: &TickArgs, item: Option<ItemId>) -> Request {
    Request { item, accept_missing: args.accept_missing, ..context.request() }
}

fn wanted_item(context: &Context, args: &TickArgs, registry: &Registry) -> Result<Option<ItemId>, Failure> {
    let wanted = args.item.as_ref();
    wanted.map(|wanted| resolve::item(wanted, registry, &context.items())).transpose()
}

/// A heartbeat that says `running` for a process that is gone: the last tick died. What it left behind is an
/// ordinary state; that it died is worth knowing.
fn note_crash(context: &Context, state: &mut State) {
    if !state.last_tick_died(&context.host) {
        return;
    }
    let HeartbeatState::Beat(beat) = &state.heartbeat_state else { return };
    log::warn!("the last tick, pid {}, died in the middle (it began at {})", beat.pid, beat.started_at);
    let detail = Detail::Crashed { pid: beat.pid, started_at: beat.started_at };
    state.log_event(Event::new(context.now.at, "crashed_tick", detail));
    state.registry.counters.crashed_ticks += 1;
}
