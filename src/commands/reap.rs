//! `factory-tick reap`: cleans up after dead launchers and failed starts, and nothing else.

use super::order::{self, Order};
use super::{Context, Outside, Shutdown, tick};
use crate::cli::ReapArgs;
use crate::decide::Request;
use crate::exit::{ExitStatus, Failure};
use crate::model::{Action, Decision, Plan, Step};
use crate::registry::{Registry, name_survivors};
use crate::report::TickReport;
use crate::state::State;

/// Ending takes one round, seeing that it ended another, and a lost fence one more.
const ROUNDS_MAX: u32 = 3;

const REQUEST: Request = Request { item: None, reap_only: true, hold_starts: None, accept_missing: false };

pub(super) fn run(context: &Context, args: &ReapArgs) -> Result<ExitStatus, Failure> {
    if let Some(run) = &args.forget {
        return order::give_without_room(context, "reap", |registry| give_up(run, registry));
    }
    if context.options.dry_run {
        return context.preview(|registry, lineage, dir| {
            let (source, stop, clock) = (context.source(), || false, || context.now.clone());
            let since = context.began;
            let fleet = context.agents(lineage, &REQUEST);
            let outside =
                Outside { source: &source, fleet: &*fleet, lineage, dir, stop: &stop, clock: &clock, since };
            Ok((crate::tick::plan(&context.tick(&outside, REQUEST), registry).0, ExitStatus::Ok))
        });
    }
    let mut order = Order::begin_without_room(context, "reap")?;
    order.reap()?;
    Ok(order.end())
}

/// A person's way out of a hand-off that never ends.
fn give_up(wanted: &str, registry: &Registry) -> Result<Plan, Failure> {
    let refuse = |why: String| Err(Failure::new(ExitStatus::Refused, why));
    let handoff = registry.handoffs.iter().find(|(run, _)| run.to_string() == wanted);
    let Some((run, handoff)) = handoff else {
        let runs: Vec<_> = registry.handoffs.keys().map(ToString::to_string).collect();
        let which =
            if runs.is_empty() { "none is".to_owned() } else { format!("only {} is", runs.join(", ")) };
        return refuse(format!("{wanted} is no run that must end; {which}"));
    };
    if handoff.survivors.is_empty() && !handoff.name_taken {
        return refuse(format!("nothing says yet that {run} can't be ended; `factory-tick reap` tries to"));
    }
    let because = match handoff.survivors.as_slice() {
        [] => "a person gave it up; its name may be somebody else's still".to_owned(),
        survivors => format!("a person gave it up; these live on: {}", name_survivors(survivors)),
    };
    let action = Action::GiveUp { run: run.clone() };
    let decision = Decision { action, item: handoff.item.clone(), because, group: 0 };
    Ok(Plan { steps: vec![Step::Decide(decision)], ..Plan::default() })
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
