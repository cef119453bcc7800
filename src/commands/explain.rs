//! `factory-tick explain`: what the next tick would make of one item, and why. It looks, and changes nothing.

use crate::app::context::Context;
use crate::app::iteration;
use crate::app::output::{say, say_page};
use crate::app::resolve;
use crate::cli::{ExplainArgs, Format};
use crate::decide;
use crate::exit::{ExitStatus, Failure};
use crate::fleet::Fleet;
use crate::model::{ItemId, Launch, Observed, RunPreview, WorkItem};
use crate::views::explain::ExplainView;
use crate::views::json::{Hook, NextRun};

pub(super) fn run(context: &Context, args: &ExplainArgs) -> Result<ExitStatus, Failure> {
    let snapshot = context.snapshot()?;
    let registry = &snapshot.registry;
    let world = iteration::observe(context, &snapshot, context.request());
    let items: &[WorkItem] = match &world.source {
        Observed::Known(view) => &view.items,
        Observed::Unknown(_) => &[],
    };
    let id = resolve::item(&args.target, registry, items)?;
    // Of everything: what others take before it is among the reasons.
    let (mut plan, gates) = decide::explain(&context.config, registry, &world, &id);
    // Of a done item that has no record any more, as it was.
    let details = match &snapshot.backend {
        Some(backend) if !registry.items.contains_key(&id) && registry.done.contains_key(&id) => {
            backend.done_details(&id).unwrap_or_else(|why| {
                plan.errors.push(why);
                None
            })
        }
        _ => None,
    };
    let item = items.iter().find(|item| item.id == id);
    let record = registry.items.get(&id).or(details.as_ref().map(|details| &details.record));
    let agents = registry.agents_of(&id).chain(details.iter().flat_map(|details| &details.agents));
    let fleet = context.fleet(&snapshot.lineage, &context.request());
    let runs = decide::next_launches(&context.config, registry, &world, &id);
    let runs = runs.map(|launches| launches.into_iter().map(|launch| next_run(&*fleet, launch)).collect());
    let mut view = ExplainView::new(&id, key(&id, item, record), title(item), &plan, &gates, record)
        .with_agents(agents)
        .with_next_runs(runs);
    if let Some(backend) = &snapshot.backend {
        let events =
            backend.events().map_err(|error| Failure::new(ExitStatus::IoError, error.to_string()))?;
        view = view.with_events(events);
    }
    match context.options.format {
        Format::Json => say(&view.to_json()),
        Format::Text => say_page(&view.to_page(context.width)),
    }
    Ok(ExitStatus::Ok)
}

fn key(id: &ItemId, item: Option<&WorkItem>, record: Option<&crate::registry::ItemRecord>) -> String {
    let seen = item.map(|item| item.key.clone());
    seen.or_else(|| record.map(|record| record.key.clone())).unwrap_or_else(|| id.plain().to_owned())
}

fn title(item: Option<&WorkItem>) -> Option<String> {
    item.map(|item| item.title.clone())
}

/// As the fleet would start it.
fn next_run(fleet: &dyn Fleet, launch: Launch) -> NextRun {
    let RunPreview { argv, cwd, env, hooks } = fleet.preview(&launch);
    NextRun {
        hooks: hooks.into_iter().map(|(name, argv)| Hook { name, argv }).collect(),
        argv,
        run: launch.spec.id.to_string(),
        role: launch.spec.role,
        session: launch.spec.session,
        cwd,
        env,
        prompt: launch.prompt,
    }
}
