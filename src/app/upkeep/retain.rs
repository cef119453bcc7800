//! What a tick does last, now and then: takes away what [`crate::workspace::retention`] says may go.
//!
//! Renaming is all that it does itself, a bounded number of times. What takes long, it leaves to a process of its
//! own ([`mod@crate::commands::remove`]).

use std::time::Instant;

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};

use crate::app::context::Context;
use crate::app::shutdown::Shutdown;
use crate::durable::Trash;
use crate::fleet::remover;
use crate::fleet::run_store::{Discarded, RunStore};
use crate::model::{ClockTracker, RunId, RunTrace};
use crate::state::event::{Detail, Event, Subject};
use crate::state::heartbeat::{HeartbeatState, Retained};
use crate::state::{self, State};
use crate::workspace::retention::{self, Removal};
use crate::workspace::root::WorkspaceRoot;

/// How often it is looked what may go. Nothing gets old within a minute, and a look reads each run's directory.
const LOOK_EVERY: SignedDuration = SignedDuration::from_hours(1);

/// Run directories taken away by one tick: each costs a few system calls, together less than starting an agent.
const MOVES_MAX: usize = 200;

/// Looks, where it is time for it; `None` where it is not.
pub(crate) fn retain(context: &Context, state: &State, shutdown: &Shutdown) -> Option<Retained> {
    let clock = state::steady(&state.heartbeat_state, &context.now.boot_id, context.config.retention.age);
    let now = clock.now.at;
    if !is_due(&state.heartbeat_state, now) || shutdown.asked() {
        return None;
    }
    let until = state.held_since + context.config.tick.deadline;
    let runs = context.run_store(&state.lineage);
    let look = Look { context, state, runs, clock, until };
    let (moved, started) = (look.move_runs(&|| shutdown.asked()), look.start_remover());
    let (all, error) = moved.unwrap_or_else(|error| (true, Some(error)));
    let error = error.or(started.err()).map(|error| format!("{error:#}"));
    if let Some(error) = &error {
        log::warn!("what is old could not be removed: {error}");
    }
    Some(Retained { looked_at: all.then_some(now), error })
}

/// A look from the future tells nothing: then the clock was set back.
fn is_due(heartbeat_state: &HeartbeatState, now: Timestamp) -> bool {
    let HeartbeatState::Beat(beat) = heartbeat_state else { return true };
    let last = beat.retained.as_ref().and_then(|retained| retained.looked_at);
    last.is_none_or(|last| last > now || now.duration_since(last) >= LOOK_EVERY)
}

struct Look<'a> {
    context: &'a Context,
    state: &'a State,
    runs: Box<dyn RunStore>,
    clock: ClockTracker,
    until: Instant,
}

impl Look<'_> {
    /// Whether everything that may go is on its way, and the first thing that could not be moved.
    fn move_runs(&self, stop: &dyn Fn() -> bool) -> anyhow::Result<(bool, Option<anyhow::Error>)> {
        // Before a listing that may be long.
        if Instant::now() >= self.until {
            return Ok((false, None));
        }
        let (traces, trash) = (self.runs.list()?, self.state.dir.trash());
        let (mut moved, mut error) = (0, None);
        for removal in self.removals(&traces) {
            if moved == MOVES_MAX || stop() || Instant::now() >= self.until {
                return Ok((false, error));
            }
            match self.runs.discard(&removal.what, &trash) {
                Ok(Discarded::Gone) => {
                    moved += 1;
                    self.state.log_event(self.event(&removal));
                }
                Ok(Discarded::Kept(why)) => log::info!("the directory of {} stays: {why}", removal.what),
                Err(failed) => drop(error.get_or_insert(failed)),
            }
        }
        Ok((true, error))
    }

    fn removals(&self, traces: &[RunTrace]) -> Vec<Removal<RunId>> {
        retention::runs(&self.state.registry, traces, &self.context.config.retention, &self.clock)
    }

    fn event(&self, removal: &Removal<RunId>) -> Event {
        let Removal { what, item, because } = removal;
        let key = item.as_ref().and_then(|item| self.state.registry.key(item));
        let subject = Subject {
            item: item.as_ref().map(ToString::to_string),
            key: key.map(str::to_owned),
            agent: Some(what.agent.to_string()),
            run: Some(what.to_string()),
            session: None,
        };
        Event::new(self.clock.now.at, "remove", Detail::Because { because: because.clone() }).about(subject)
    }

    /// Starts the process that does the rest, where there is any.
    fn start_remover(&self) -> anyhow::Result<()> {
        let (registry, rules) = (&self.state.registry, &self.context.config.retention);
        let (config, state) = (&self.context.config, &self.context.state_path);
        let root = WorkspaceRoot::new(config, state, &self.state.lineage);
        let (owned, of_workspaces) = (root.owned()?, root.trash()?);
        if !retention::workspaces(registry, &owned, rules, &self.clock).is_empty()
            || self.state.dir.trash().is_there()?
            || of_workspaces.as_ref().map_or(Ok(false), Trash::is_there)?
        {
            let (sets, vars) = (&self.context.options.set, &self.context.vars);
            remover::start(config, state, sets, vars).context("cannot start the process that removes")?;
        }
        Ok(())
    }
}
