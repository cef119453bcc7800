//! `factory-tick __remove <configuration> <state directory>`: clears workspaces and empties the trash.
//!
//! A process of its own, because it may take long and a tick holds the lock. It may come late, or be killed: it asks
//! what may go itself, of the registry as it stands then, and a later one goes on.

use std::collections::BTreeSet;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::config::{self, Config};
use crate::durable::{Lock, LockError, Trash, atomic};
use crate::fleet::local::before_remove::{BeforeRemove, Then};
use crate::model::{AgentName, ClockTracker, ItemId, Process};
use crate::process::identity::{self, Host};
use crate::registry::Registry;
use crate::run::env::Vars;
use crate::state::event::{Detail, Event, Subject};
use crate::state::{self, HostDir, Origin, Standing, StateBackend};
use crate::workspace::ledger::WorkspaceLedger;
use crate::workspace::ownership::Marks;
use crate::workspace::retention::{self, Removal};
use crate::workspace::root::{self, WorkspaceRoot};
use crate::{clock, launcher};

/// Held by the one that is at work: a second one would only be in its way.
const LOCK: &str = "remover";

/// What the hook before a removal printed, the last time that any was run.
const HOOK_LOG: &str = "before_remove.log";

/// Removes what may go by now.
///
/// # Errors
///
/// What keeps it from beginning. Nobody but a person who starts it by hand hears of that, so it is told in the events as
/// well, as what goes wrong later is, wherever the state directory can be opened.
pub fn run(config: &Path, state: &Path, sets: &[String], vars: Vars) -> Result<()> {
    launcher::detach()?;
    let config = config::load(config, sets).map_err(|problems| anyhow::anyhow!("{problems}"))?.config;
    let host = Host::read()?;
    let me = identity::own(&host)?;
    let Some(dir) = HostDir::open_existing(state, config.allow_network_fs)? else { return Ok(()) };
    let remover = Remover { config, dir, host, me };
    remover.work(vars, state).inspect_err(|error| remover.tell_failure(None, error))
}

struct Remover {
    config: Config,
    dir: HostDir,
    host: Host,
    me: Process,
}

impl Remover {
    /// Clears what may go, and empties the trash. An error: it could not begin.
    fn work(&self, vars: Vars, state: &Path) -> Result<()> {
        let _alone = match Lock::try_take(&self.dir, LOCK, &self.me) {
            Err(LockError::Busy(_)) => return Ok(()),
            taken => taken?,
        };
        self.note_error(None, self.dir.trash().empty().context("the trash can't be emptied"));
        let folder = root::folder(&self.config, state);
        let unreadable = || format!("the folder of workspaces {} can't be read", folder.display());
        let root = match folder.canonicalize() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            root => root.with_context(unreadable)?,
        };
        let (registry, lineage) = self.registry()?;
        let workspaces = WorkspaceRoot::new(&self.config, state, &lineage);
        let Some(trash) = workspaces.trash().with_context(unreadable)? else { return Ok(()) };
        let marks = Marks::of(&root, &lineage);
        let owned = workspaces.owned().with_context(unreadable)?;
        let rules = &self.config.retention;
        let mut hook = BeforeRemove::new(&self.config, &self.host, vars, state.join(HOOK_LOG));
        for Removal { what, item, .. } in retention::workspaces(&registry, &owned, rules, &self.clock()) {
            let Some(id) = item else { continue };
            let about = Some((id.clone(), what.clone()));
            match self.clear(&id, &root, &trash, &marks, &mut hook) {
                Ok(ControlFlow::Continue(())) => {}
                // What is left is for a later one.
                Ok(ControlFlow::Break(())) => {
                    hook.finish();
                    return Ok(());
                }
                Err(error) => self.note_error(about.as_ref(), Err(error)),
            }
        }
        hook.finish();
        self.note_error(None, trash.empty().context("the trash of workspaces can't be emptied"));
        Ok(())
    }

    /// The registry as it stands. Nothing is removed on the word of an earlier one.
    fn registry(&self) -> Result<(Registry, String)> {
        let mut backend = self.backend();
        let (loaded, heartbeat_state) = (backend.load()?, backend.heartbeat());
        let (standing, _) =
            state::standing(&self.config.path, &self.dir, &loaded, &heartbeat_state, &self.host)
                .map_err(|failure| anyhow::anyhow!("{failure}"))?;
        if loaded.origin != Origin::Registry || standing != Standing::Ours {
            bail!("there is no whole registry of {} to go by", self.config.path.display());
        }
        loaded.body.check().map_err(anyhow::Error::msg)?;
        Ok((loaded.body, loaded.lineage))
    }

    fn backend(&self) -> Box<dyn StateBackend> {
        state::backend(&self.dir, self.config.events_bytes_max)
    }

    /// How old something is. Asked anew each time: the clock may leap while a hook runs.
    fn clock(&self) -> ClockTracker {
        state::steady(&self.backend().heartbeat(), &self.me.boot_id, self.config.retention.age)
    }

    /// The workspace of an item, if it may go as things stand, and whom to keep away from it.
    fn ask(&self, id: &ItemId) -> Result<Option<(Removal<String>, BTreeSet<AgentName>)>> {
        let (registry, _) = self.registry()?;
        let roles: Vec<_> = self.config.roles.iter().map(|role| (&*role.name, &*role.suffix)).collect();
        let removal = retention::workspace(&registry, id, &self.config.retention, &self.clock());
        Ok(removal.map(|removal| (removal, retention::agents(&registry, id, &roles))))
    }

    /// Moves an item's workspace into the trash, unless somebody is in it or needs it by now, and then gives it up: any
    /// factory may have it. One that no launcher of this factory made is only given up. `Break`: this process was told to
    /// end.
    fn clear(
        &self,
        id: &ItemId,
        root: &Path,
        trash: &Trash,
        marks: &Marks,
        hook: &mut BeforeRemove<'_>,
    ) -> Result<ControlFlow<()>> {
        const NEXT: Result<ControlFlow<()>> = Ok(ControlFlow::Continue(()));
        let Some((_, agents)) = self.ask(id)? else { return NEXT };
        let Some(_locks) = self.keep_away(&agents)? else { return NEXT };
        // Once more: a start is on record before its launcher asks for its lock, so either it is seen now, or that
        // launcher is refused.
        let Some((Removal { what, because, .. }, _)) = self.ask(id)? else { return NEXT };
        let (folder, made) = (root.join(&what), WorkspaceLedger::at(self.dir.made()));
        // No other factory claims it before it is given up.
        if !marks.is_ours(&what) {
            return NEXT;
        }
        if !made.is_noted(&folder) {
            marks.release(&what)?;
            return NEXT;
        }
        // A hook may take long, and each tick that starts the item meanwhile is refused: so it does not go on then.
        let then = hook.run(id, &folder, &mut || !matches!(self.ask(id), Ok(Some(_))))?;
        let ended = match &then {
            Then::Remove => None,
            Then::RemoveAfter(ended) => Some(ended.as_str()),
            Then::Keep => Some("ended, because its item needs its workspace again"),
            Then::End => return Ok(ControlFlow::Break(())),
        };
        if let Some(because) = ended {
            self.tell("before_remove", id, &what, because);
            if then == Then::Keep || self.ask(id)?.is_none() {
                return NEXT;
            }
        }
        let was_there = match made.take(&folder, || trash.take(&folder)) {
            // One that is gone was gone before, or its hook has removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => ended.is_some(),
            taken => taken.map(|()| true)?,
        };
        marks.release(&what)?;
        if !was_there {
            return NEXT;
        }
        self.tell("remove", id, &what, &because);
        NEXT
    }

    /// The locks of these agents' launchers; `None` where one of them lives.
    fn keep_away(&self, agents: &BTreeSet<AgentName>) -> Result<Option<Vec<Lock>>> {
        let live = atomic::open_dir(&self.dir.live())?;
        let mut locks = Vec::new();
        for agent in agents {
            match Lock::try_take(&live, &agent.0, &self.me) {
                Err(LockError::Busy(_)) => return Ok(None),
                taken => locks.push(taken?),
            }
        }
        Ok(Some(locks))
    }

    /// `about`: the item and its workspace.
    fn note_error(&self, about: Option<&(ItemId, String)>, result: Result<()>) {
        if let Err(error) = result {
            self.tell_failure(about, &error);
        }
    }

    fn tell_failure(&self, about: Option<&(ItemId, String)>, error: &anyhow::Error) {
        let workspace = about.map(|(_, workspace)| workspace.clone());
        let detail = Detail::NotRemoved { workspace, error: format!("{error:#}") };
        let event = Event::new(clock::wall(), "remove_failed", detail);
        self.log(match about {
            Some((id, _)) => event.about(subject(id)),
            None => event,
        });
    }

    fn tell(&self, event: &str, id: &ItemId, workspace: &str, because: &str) {
        let detail = Detail::Workspace { workspace: workspace.to_owned(), because: because.to_owned() };
        self.log(Event::new(clock::wall(), event, detail).about(subject(id)));
    }

    /// The log of events is all that tells of this process.
    fn log(&self, event: Event) {
        state::log_events(&*self.backend(), &[event]);
    }
}

fn subject(id: &ItemId) -> Subject {
    Subject { item: Some(id.to_string()), ..Subject::default() }
}
