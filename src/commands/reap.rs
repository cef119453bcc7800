//! `factory-tick reap`: cleans up after dead launchers and failed starts, and nothing else.

use super::order::Order;
use super::{Context, Outside, Shutdown, tick};
use crate::decide::Request;
use crate::exit::{ExitStatus, Failure};
use crate::report::TickReport;
use crate::state::State;

/// Ending takes one round, seeing that it ended another, and a lost fence one more.
const ROUNDS_MAX: u32 = 3;

const REQUEST: Request = Request { item: None, reap_only: true };

pub(super) fn run(context: &Context) -> Result<ExitStatus, Failure> {
    if context.options.dry_run {
        return context.preview(|registry, fleet, dir| {
            let (source, stop, clock) = (context.source(), || false, || context.now.clone());
            let since = context.began;
            let outside = Outside { source: &source, fleet, dir, stop: &stop, clock: &clock, since };
            Ok((crate::tick::plan(&context.tick(&outside, REQUEST), registry).0, ExitStatus::Ok))
        });
    }
    let mut order = Order::begin(context, "reap")?;
    order.reap()?;
    Ok(order.end())
}

/// Reaps until there is nothing left to reap, or nothing more can be done about it now.
pub(super) fn rounds(
    context: &Context,
    state: &mut State,
    shutdown: &Shutdown,
    report: &mut TickReport,
) -> Result<(), Failure> {
    for _ in 0..ROUNDS_MAX {
        let ticked = tick::once(context, state, shutdown, report, REQUEST)?;
        if ticked.plan.is_empty() || shutdown.asked() {
            break;
        }
    }
    Ok(())
}
