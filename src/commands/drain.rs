//! `factory-tick drain`: starts nothing more, and waits until nothing is in flight.
//!
//! The lock is never held while an agent is waited for: each look is a tick's, and between two looks any tick may run.

use std::time::{Duration, Instant};

use crate::app::context::Context;
use crate::app::mutation::{self, Judged, Mutation};
use crate::app::orders::{self, decided};
use crate::app::output::tell;
use crate::app::shutdown::Shutdown;
use crate::cli::DrainArgs;
use crate::clock;
use crate::exit::{ExitStatus, Failure};
use crate::model::{Action, Plan, Step};
use crate::registry::{AgentPhase, AgentRecord, Registry};
use crate::ui::style::Style;

/// How often it looks. An agent's end may be seen this much later, which nobody who drains for hours feels.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How soon a signal ends the wait.
const STEP: Duration = Duration::from_millis(50);

const BECAUSE: &str = "a person drains it";

pub(super) fn run(context: &Context, args: &DrainArgs) -> Result<ExitStatus, Failure> {
    if context.options.dry_run {
        return mutation::preview(context, |_| Ok(judged(args)), |_, registry| Ok(plan(registry, args.stop)));
    }
    let until = Instant::now() + args.wait;
    let mut mutation = Mutation::begin(context, "drain")?;
    mutation.judge(&judged(args))?;
    let plan = plan(&mutation.state.registry, args.stop);
    mutation.commit(&plan)?;
    let mut told = Vec::new();
    loop {
        let looked = mutation.look()?;
        // What an older registry had forgotten is on record only now.
        mutation.commit(&Plan { steps: stops(&mutation.state.registry, args.stop), ..Plan::default() })?;
        let left = in_flight(&mutation.state.registry);
        if left.is_empty() {
            return Ok(mutation.end());
        }
        if mutation.shutdown.asked() || Instant::now() >= until {
            mutation.note(format!("still in flight: {}", left.join(", ")));
            looked.plan.errors.into_iter().for_each(|error| mutation.note(error));
            return Ok(mutation.end());
        }
        if left != told {
            tell(Style::Dim, &format!("waiting for {}", left.join(", ")));
            told = left;
        }
        mutation = mutation.unlock(|shutdown| wait(shutdown, until))?;
    }
}

/// Only a drain that ends runs could throw one away that has ended well.
fn judged(args: &DrainArgs) -> Judged {
    if args.stop { Judged::All } else { Judged::Nothing }
}

/// No starts from now on; with `stop` every run is to end. Its item is not parked: after `unpause` it goes on.
fn plan(registry: &Registry, stop: bool) -> Plan {
    let mut plan = match &registry.paused {
        Some(paused) if paused.until().is_none() => Plan::default(),
        // One that would end by itself could end in the middle.
        paused => {
            let because = paused.as_ref().map_or(BECAUSE, |paused| paused.because.as_str());
            orders::of_factory(because, Action::Pause { until: None })
        }
    };
    plan.steps.extend(stops(registry, stop));
    plan
}

fn stops(registry: &Registry, stop: bool) -> Vec<Step> {
    let running = registry.agents.values().filter(|_| stop);
    let stop = |agent: &AgentRecord| {
        let run = agent.run.clone()?;
        let stop = Action::Stop { run, survivors: Vec::new(), dispatch_failed: false };
        Some(decided(&agent.spec.item, BECAUSE, stop))
    };
    running.filter_map(stop).collect()
}

fn in_flight(registry: &Registry) -> Vec<String> {
    let running = registry.agents.values().filter(|agent| agent.state != AgentPhase::Idle);
    // One that only waits for somebody else's name runs nothing.
    let ending = registry.handoffs.iter().filter(|(_, one)| !one.name_taken || !one.survivors.is_empty());
    let runs = running.filter_map(|agent| agent.run.as_ref()).chain(ending.map(|(run, _)| run));
    runs.map(ToString::to_string).collect()
}

/// Waits until the next look, or for a signal.
fn wait(shutdown: &Shutdown, until: Instant) {
    let until = until.min(Instant::now() + LOOK_EVERY);
    clock::poll(STEP, until, || shutdown.asked().then_some(()));
}
