//! `factory-tick reap`: cleans up after dead launchers and failed starts, and nothing else.

use std::time::Instant;

use crate::app::context::Context;
use crate::app::iteration;
use crate::app::mutation::Mutation;
use crate::cli::ReapArgs;
use crate::exit::{ExitStatus, Failure};
use crate::model::{Action, Decision, Observed, Plan, RunId, RunObservation, RunQuery, Step};
use crate::registry::{Registry, name_survivors};

pub(super) fn run(context: &Context, args: &ReapArgs) -> Result<ExitStatus, Failure> {
    if let Some(run) = &args.forget {
        return forget(context, run);
    }
    if context.options.dry_run {
        return iteration::preview(context, |snapshot| {
            Ok((iteration::plan(context, snapshot, iteration::REAP).0, ExitStatus::Ok))
        });
    }
    let mut mutation = Mutation::begin_without_room(context, "reap")?;
    mutation.reap()?;
    Ok(mutation.end())
}

/// A person's way out of a hand-off that never ends. `give_up` needs the run as it is seen now.
fn forget(context: &Context, wanted: &str) -> Result<ExitStatus, Failure> {
    if context.options.dry_run {
        return iteration::preview(context, |snapshot| {
            let (registry, lineage) = (&snapshot.registry, snapshot.lineage.as_str());
            let unknown = |run: &RunId| why_unknown(context, lineage, registry, run);
            Ok((give_up(wanted, registry, unknown)?, ExitStatus::Ok))
        });
    }
    let mut mutation = Mutation::begin_without_room(context, "reap")?;
    let (registry, lineage) = (&mutation.state.registry, &mutation.state.lineage);
    let plan = give_up(wanted, registry, |run| why_unknown(context, lineage, registry, run))?;
    mutation.commit(&plan)?;
    Ok(mutation.end())
}

/// Why nobody can tell whether a handed-off run lives; `None` where it can be told.
fn why_unknown(context: &Context, lineage: &str, registry: &Registry, run: &RunId) -> Option<String> {
    let handle = registry.handoffs.get(run)?.handle.clone();
    let queries = [RunQuery { run: run.clone(), handle, name_taken: false, done_when: None }];
    let until = Instant::now() + context.config.tick.deadline;
    match context.fleet(lineage, &iteration::REAP).observe(&queries, &registry.names.last_n, until) {
        Observed::Unknown(why) => Some(why.text),
        Observed::Known(view) => match view.runs.get(run)? {
            RunObservation::Unknown(why) => Some(why.clone()),
            _ => None,
        },
    }
}

fn give_up(
    wanted: &str,
    registry: &Registry,
    why_unknown: impl Fn(&RunId) -> Option<String>,
) -> Result<Plan, Failure> {
    let refuse = |why: String| Err(Failure::new(ExitStatus::Refused, why));
    let handoff = registry.handoffs.iter().find(|(run, _)| run.to_string() == wanted);
    let Some((run, handoff)) = handoff else {
        let runs: Vec<_> = registry.handoffs.keys().map(ToString::to_string).collect();
        let which =
            if runs.is_empty() { "none is".to_owned() } else { format!("only {} is", runs.join(", ")) };
        return refuse(format!("{wanted} is no run that must end; {which}"));
    };
    let unknown = why_unknown(run);
    if handoff.survivors.is_empty() && !handoff.name_taken && unknown.is_none() {
        return refuse(format!("nothing says yet that {run} can't be ended; `factory-tick reap` tries to"));
    }
    let because = match (handoff.survivors.as_slice(), unknown) {
        ([], Some(why)) => format!("a person gave it up; nobody can tell whether it lives: {why}"),
        ([], None) => "a person gave it up; its name may be somebody else's still".to_owned(),
        (survivors, _) => format!("a person gave it up; these live on: {}", name_survivors(survivors)),
    };
    let action = Action::GiveUp { run: run.clone() };
    let decision = Decision { action, item: handoff.item.clone(), because, group: 0 };
    Ok(Plan { steps: vec![Step::Decide(decision)], ..Plan::default() })
}
