//! `factory-tick relocate`: makes a copied state one of its own. Its runs were the original's, and are let go of. The state
//! of another configuration is given to this one, with nothing in flight: no other state would end that.

use crate::app::context::{Context, WAIT_LOCK};
use crate::app::output::say;
use crate::app::shutdown::Shutdown;
use crate::cli::Format;
use crate::exit::{ExitStatus, Failure};
use crate::state::event::{Detail, Event};
use crate::state::{Standing, State};
use crate::views::json;
use crate::workspace::ownership::Marks;
use crate::workspace::root;

pub(super) fn run(context: &Context) -> Result<ExitStatus, Failure> {
    // Looked for first: to take the lock makes the directory.
    let state = context.open_read_only()?.ok_or_else(|| refused("there is no state yet"))?;
    if context.options.dry_run {
        refuse(context, &state)?;
        return Ok(tell(context, &state, "would be"));
    }
    let shutdown = Shutdown::listen()?;
    let mut state = context.lock(WAIT_LOCK, &shutdown)?;
    refuse(context, &state)?;
    let was = state.lineage.clone();
    state.relocate(&context.config, |lineage| own_workspaces(context, lineage))?;
    let detail = Detail::Relocated { lineage: state.lineage.clone(), was };
    state.log_event(Event::new(context.now.at, "relocate", detail));
    Ok(tell(context, &state, "is"))
}

/// Workspaces inside the copied state were copied with it, and so were their marks. Those in a folder of their own stay the
/// original's.
fn own_workspaces(context: &Context, lineage: &str) -> Result<(), Failure> {
    if context.config.workspace_root.is_some() {
        return Ok(());
    }
    let root = root::folder(&context.config, &context.state_path);
    let (Ok(real_root), Ok(state)) = (root.canonicalize(), context.state_path.canonicalize()) else {
        return Ok(());
    };
    // A link to a folder elsewhere was copied as a link: that folder is still the original's.
    if !real_root.starts_with(&state) {
        return Ok(());
    }
    Marks::of(&root, lineage).take_over(&context.state_path).map_err(|error| {
        Failure::new(
            ExitStatus::IoError,
            format!("the marks of {} can't be written: {error}", root.display()),
        )
    })
}

/// A moved state whose agents live would lose them.
fn refuse(context: &Context, state: &State) -> Result<(), Failure> {
    let registry = &state.registry;
    match state.standing {
        Standing::Ours | Standing::Moved => {
            return Err(refused(
                "this state is no copy and belongs to this configuration; there is nothing to relocate",
            ));
        }
        Standing::Foreign
            if registry.items.keys().any(|id| registry.in_flight(id)) || !registry.handoffs.is_empty() =>
        {
            return Err(refused("agents are in flight; `factory-tick stop --all` ends them"));
        }
        Standing::Foreign | Standing::Copy => {}
    }
    match state.living(&context.host).as_slice() {
        [] => Ok(()),
        living => Err(refused(&format!(
            "agents of this state live: {}. End them where it was copied from, or wait for their end",
            living.join("; ")
        ))),
    }
}

fn refused(why: &str) -> Failure {
    Failure::new(ExitStatus::Refused, why)
}

fn tell(context: &Context, state: &State, verb: &str) -> ExitStatus {
    let (dir, config) = (state.dir.path().display(), context.config.path.display());
    match context.options.format {
        Format::Json => say(&json::one_line(&json::Relocate {
            schema: json::SCHEMA,
            dry_run: context.options.dry_run,
            status: ExitStatus::Ok.name(),
            exit_code: ExitStatus::Ok.code(),
            state: dir.to_string(),
            config: config.to_string(),
            lineage: state.lineage.clone(),
        })),
        Format::Text => {
            say(&format!("the state in {dir} {verb} one of its own, and {config} is its configuration"))
        }
    }
    ExitStatus::Ok
}
