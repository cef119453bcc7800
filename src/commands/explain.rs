//! `factory-tick explain`: what the next tick would make of one item, and why. It looks, and changes nothing.

use crate::app::context::Context;
use crate::app::iteration;
use crate::app::output::{say, say_page};
use crate::app::resolve;
use crate::cli::{ExplainArgs, Format};
use crate::config::{self, Done, prompt};
use crate::exit::{ExitStatus, Failure};
use crate::fleet::local;
use crate::model::{ItemId, Launch, Observed, WorkItem};
use crate::run::env;
use crate::views::explain::ExplainView;
use crate::views::json::{Hook, NextRun};
use crate::{decide, workspace};

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
    let runs = decide::next_launches(&context.config, registry, &world, &id);
    let runs = runs.map(|launches| launches.into_iter().map(|launch| next_run(context, launch)).collect());
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
fn next_run(context: &Context, launch: Launch) -> NextRun {
    let workspaces = local::workspaces(&context.config, &context.state_path);
    let cwd = workspaces.join(&launch.snapshot.workspace).to_string_lossy().into_owned();
    let run = launch.spec.id.to_string();
    let prompt_file = context.state_path.join("runs").join(&run).join(crate::run::directory::PROMPT);
    let prompt_file = prompt_file.to_string_lossy();
    // Where it can't be read, nothing starts, and that is among the reasons.
    let file = env::of_file(&context.config.env).unwrap_or_default();
    let mut vars = env::of_role(&context.vars, &context.config.env, &file, &launch.env);
    env::of_preset(&mut vars, &launch.spec.harness);
    let mut env: Vec<_> = vars.keys().map(|name| name.to_string_lossy().into_owned()).collect();
    env.extend(config::OWN_VARIABLES.map(str::to_owned));
    env.sort();
    NextRun {
        hooks: hooks(context, &launch, &run, &cwd),
        argv: prompt::fill(
            &launch.argv,
            launch.spec.session.as_deref(),
            Some(&run),
            Some(&cwd),
            Some(&prompt_file),
        ),
        run,
        role: launch.spec.role,
        session: launch.spec.session,
        cwd,
        env,
        prompt: launch.prompt,
    }
}

/// What its launcher would run around it.
fn hooks(context: &Context, launch: &Launch, run: &str, cwd: &str) -> Vec<Hook> {
    let config = &context.config;
    let root = local::workspaces(config, &context.state_path);
    let after_create: &[String] = if workspace::is_set_up(&root, &launch.snapshot.workspace) {
        &[]
    } else {
        &config.hooks.after_create
    };
    let done: &[String] = if let Done::Command(argv) = &config.done { argv } else { &[] };
    let all = [
        ("after_create", after_create),
        ("before_run", &config.hooks.before_run),
        ("done", done),
        ("after_run", &config.hooks.after_run),
    ];
    all.into_iter()
        .filter(|(_, argv)| !argv.is_empty())
        .map(|(name, argv)| Hook { name, argv: prompt::fill(argv, None, Some(run), Some(cwd), None) })
        .collect()
}
