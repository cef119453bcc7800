//! `factory-tick status`: whether ticks come, what is in flight, what waits, what needs a person. Asks
//! neither source nor fleet, so it works when both are down.

use crate::app::context::Context;
use crate::app::output::{say, say_page};
use crate::app::terminal;
use crate::cli::Format;
use crate::exit::{ExitStatus, Failure};
use crate::state;
use crate::state::heartbeat::{self, Alive, HeartbeatState};
use crate::views::status::{StatusInput, StatusView};
use crate::workspace::root;

pub(super) fn run(context: &Context) -> Result<ExitStatus, Failure> {
    let state = context.open_read_only()?;
    let absent = HeartbeatState::Absent;
    let heartbeat_state = state.as_ref().map_or(&absent, |state| &state.heartbeat_state);
    let same_process =
        |pid: u32, start_ticks: u64, boot_id: &str| state::is_alive(&context.host, pid, start_ticks, boot_id);
    let alive =
        heartbeat::judge(heartbeat_state, &context.now, context.config.tick.heartbeat_stale, same_process);
    let registry = state.as_ref().map(|state| &state.registry);
    let source = context.source();
    let view = StatusView::new(&StatusInput {
        config: &context.config,
        state: &context.state_path,
        workspaces: &root::folder(&context.config, &context.state_path),
        item_place: &|origin| source.place(origin),
        program: &terminal::this_program(&context.options),
        registry,
        heartbeat_state,
        alive: &alive,
        now: &context.now,
    });
    match context.options.format {
        Format::Json => say(&view.to_json()),
        Format::Text => say_page(&view.to_page(context.width, context.options.verbose > 0)),
    }
    Ok(match alive {
        Alive::Yes if context.options.detailed_exitcode && view.anything_parked() => ExitStatus::Attention,
        Alive::Yes => ExitStatus::Ok,
        _ => ExitStatus::Partial,
    })
}
