//! The state as a command holds it: locked, loaded, its heartbeat beating.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::binding::{self, Access, Standing};
use super::bound::Directory;
use super::{
    Binding, Bound, Committed, HostDir, Loaded, Origin, StateBackend, StoreError, log_events, of_plan,
    repository, reserve,
};
use crate::clock;
use crate::config::Config;
use crate::durable::LockError;
use crate::exit::{ExitStatus, Failure};
use crate::model::{ClockReading, ClockTracker, Plan, Process, RunHandle, RunId};
use crate::process::identity::{self, Host, Life};
use crate::registry::Registry;
use crate::run::env::Vars;
use crate::run::lives;
use crate::state::event::{Detail, Event, Place};
use crate::state::heartbeat::{Heartbeat, HeartbeatState, Status};

/// The state of one factory, held by one command.
pub struct State {
    /// What of it belongs to this host.
    pub dir: HostDir,
    /// What was loaded; what is committed next. Until a plan was carried out, as it was before.
    pub registry: Registry,
    /// Names this factory.
    pub lineage: String,
    /// The heartbeat as it was before this command wrote its own.
    pub heartbeat_state: HeartbeatState,
    /// Since when it is held; what a tick may take counts from here, not from when it began to wait.
    pub held_since: Instant,
    /// What is wrong with the registry's latest generation, where its backup was read.
    pub damage: Option<String>,
    /// What it is to the configuration.
    pub standing: Standing,
    /// What keeps the rest of it.
    pub(crate) backend: Box<dyn StateBackend>,
}

/// The state directory of a configuration in this folder, unless the command line names one.
pub fn directory(folder: &Path, named: Option<&Path>) -> PathBuf {
    named.map_or_else(|| folder.join(".factory-tick"), Path::to_path_buf)
}

impl State {
    /// Takes the lock and loads. `waiting` is told, about once a second, for whom.
    pub fn lock(
        config: &Config,
        path: &Path,
        host: &Host,
        access: Access,
        wait: Duration,
        called_off: &dyn Fn() -> bool,
        mut waiting: impl FnMut(Option<&Process>, Duration),
    ) -> Result<State, Failure> {
        let dir = HostDir::create_or_open(path, config.allow_network_fs)?;
        let me = identity::own(host)
            .map_err(|error| Failure::new(ExitStatus::IoError, format!("cannot read /proc/self: {error}")))?;
        let mut backend = super::backend(&dir, config.events_bytes_max);
        match backend.lock(&me, wait, called_off, &mut waiting) {
            Ok(()) => State::load(config, dir, backend, true, host, access),
            Err(error @ LockError::Busy(_)) => {
                let now = clock::moment(&host.boot_id);
                let detail = Detail::Busy { pid: me.pid, because: error.to_string() };
                let event = Event::new(now.at, "busy", detail);
                log_events(&*backend, &[event]);
                Err(Failure::new(ExitStatus::Busy, error.to_string()))
            }
            Err(error @ LockError::CalledOff) => {
                Err(Failure::new(ExitStatus::Interrupted, error.to_string()))
            }
            Err(error @ LockError::Io(_)) => Err(Failure::new(ExitStatus::IoError, error.to_string())),
        }
    }

    /// Loads without the lock, for reading: changes nothing, creates nothing. `None`: there is no state yet.
    pub fn open_read_only(
        config: &Config,
        path: &Path,
        host: &Host,
        access: Access,
    ) -> Result<Option<State>, Failure> {
        match HostDir::open_existing(path, config.allow_network_fs)? {
            Some(dir) => {
                let backend = super::backend(&dir, config.events_bytes_max);
                State::load(config, dir, backend, false, host, access).map(Some)
            }
            None => Ok(None),
        }
    }

    fn load(
        config: &Config,
        dir: HostDir,
        mut backend: Box<dyn StateBackend>,
        is_locked: bool,
        host: &Host,
        access: Access,
    ) -> Result<State, Failure> {
        // Before it is overwritten: it tells whether the last tick died.
        let heartbeat_state = backend.heartbeat();
        let loaded = backend.load()?;
        let (standing, binding) = standing(&config.path, &dir, &loaded, &heartbeat_state, host)?;
        if let Some(text) = binding::refusal(&standing, access, &loaded.bound, dir.path(), &config.path) {
            return Err(Failure::new(ExitStatus::BadConfig, text));
        }
        if let Err(why) = loaded.body.check() {
            let text = format!(
                "{}: the registry is whole, but its records contradict each other: {why}. Nothing was touched. Put \
                 an earlier registry.json back, or move the directory away once no agent of it runs",
                dir.path().join("registry.json").display()
            );
            return Err(Failure::new(ExitStatus::BadState, text));
        }
        if standing == Standing::Moved && is_locked {
            if let Some(event) = move_event(&dir, &loaded.bound, &binding, config, host) {
                log_events(&*backend, &[event]);
            }
            backend.bind(&config.path, binding);
        }
        let damage = match loaded.origin {
            Origin::Backup { why } => Some(why),
            Origin::Fresh | Origin::Registry => None,
        };
        Ok(State {
            dir,
            registry: loaded.body,
            lineage: loaded.lineage,
            heartbeat_state,
            held_since: Instant::now(),
            damage,
            standing,
            backend,
        })
    }

    /// The generation that stands.
    pub fn serial(&self) -> u64 {
        self.backend.serial()
    }

    /// Binds the state to this configuration. A copy begins a lineage of its own and lets go of every run: the original
    /// ends those.
    ///
    /// `own` is called with a new lineage before that is committed: what it did is done again where the command is killed.
    pub fn relocate(
        &mut self,
        config: &Config,
        own: impl FnOnce(&str) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let binding = found_binding(&config.path, &self.dir)?;
        let mut registry = self.registry.clone();
        if self.standing == Standing::Copy {
            self.lineage = self.backend.begin_lineage()?;
            own(&self.lineage)?;
            registry.let_go_of_runs(&lives::runs_in(&self.dir.runs()));
        }
        self.backend.bind(&config.path, binding);
        self.commit(&mut registry)?;
        self.registry = registry;
        Ok(())
    }

    /// The launchers of this state that live, for people.
    pub fn living(&self, host: &Host) -> Vec<String> {
        living(&self.dir, &self.registry, host).alive
    }

    /// Refuses a command that would change the state from inside one of its own runs: an agent could give itself
    /// attempts back, and a launcher that it starts would be ended with it.
    pub fn refuse_inside(&self, host: &Host) -> Result<(), Failure> {
        let registry = &self.registry;
        let current = registry.agents.values().filter_map(|agent| {
            Some((agent.run.clone()?, agent.handle.as_ref().and_then(RunHandle::process).cloned()))
        });
        let handed_off = registry.handoffs.iter().map(|(run, handoff)| {
            (run.clone(), handoff.handle.as_ref().and_then(RunHandle::process).cloned())
        });
        let runs: BTreeMap<_, _> = handed_off.chain(current).collect();
        match lives::inner_run(&self.dir.runs(), &self.lineage, &runs, &registry.names.last_n, host) {
            Some(run) => Err(inside(&run.to_string())),
            None => Ok(()),
        }
    }

    /// That the registry was damaged, and what became of it; `None` where it was not.
    pub fn damage_note(&self) -> Option<String> {
        let damage = self.damage.as_ref()?;
        let kept = self
            .backend
            .quarantined()
            .map_or_else(String::new, |name| format!(" and what was there is kept as {name}"));
        Some(format!("{damage}: its backup was read{kept}"))
    }

    /// Whether the last tick said `running` and its process is gone.
    pub fn last_tick_died(&self, host: &Host) -> bool {
        match &self.heartbeat_state {
            HeartbeatState::Beat(beat) => {
                beat.status == Status::Running && !is_alive(host, beat.pid, beat.start_ticks, &beat.boot_id)
            }
            HeartbeatState::Absent | HeartbeatState::Unreadable(_) => false,
        }
    }

    /// Writes the heartbeat. It tells of now; that it can't be written fails no tick whose state is safe.
    pub fn beat(&self, beat: &Heartbeat) {
        if let Err(error) = self.backend.beat(beat) {
            log::error!("cannot write the heartbeat: {error}");
        }
    }

    /// From now on a commit that finds no room spends the reserve.
    pub fn may_spend_reserve(&mut self) {
        self.backend.may_spend_reserve();
    }

    /// Makes the reserve where it is not whole and there is room for it.
    pub fn keep_reserve(&self, free_min: u64) {
        if self.dir.free().is_some_and(|free| free.bytes < free_min) {
            return;
        }
        if let Err(error) = reserve::keep(&self.dir) {
            log::info!("there is no reserve for a full disk: {error}");
        }
    }

    /// Appends one event of the tick itself.
    pub fn log_event(&self, event: Event) {
        log_events(self.backend(), &[event]);
    }

    /// Appends what a plan decides to the log of events.
    pub fn log_plan(&self, plan: &Plan, now: &ClockReading) {
        log_events(self.backend(), &of_plan(&self.registry, plan, now));
    }

    /// Makes a registry durable, and the details of the done items that it holds since the last commit.
    ///
    /// # Errors
    ///
    /// Those of [`StateBackend::commit`].
    pub fn commit(&mut self, registry: &mut Registry) -> Result<Committed, StoreError> {
        let details = registry.take_details();
        self.backend.commit(registry, &details)
    }

    /// What keeps it.
    pub fn backend(&self) -> &dyn StateBackend {
        &*self.backend
    }

    /// What keeps it, to commit through.
    pub fn backend_mut(&mut self) -> &mut dyn StateBackend {
        &mut *self.backend
    }
}

/// The same by the environment alone, without a look at the records: before anything is waited for.
pub fn refuse_by_environment(dir: &HostDir, vars: &Vars) -> Result<(), Failure> {
    // Whether the registry is whole is for whoever loads it.
    let Ok(Some((_, lineage))) = super::backend(dir, 0).bound() else { return Ok(()) };
    match lives::run_of_environment(&lineage, vars) {
        Some(run) => Err(inside(&run)),
        None => Ok(()),
    }
}

fn inside(run: &str) -> Failure {
    let text = format!(
        "this is inside {run}, a run of this factory; a command that changes the factory's state is for a person or \
         for cron. `status`, `explain`, `logs` and --dry-run work here"
    );
    Failure::new(ExitStatus::Refused, text)
}

/// What a state is to a configuration, and what it would be bound to.
pub fn standing(
    config: &Path,
    dir: &HostDir,
    loaded: &Loaded,
    heartbeat_state: &HeartbeatState,
    host: &Host,
) -> Result<(Standing, Binding), Failure> {
    let binding = found_binding(config, dir)?;
    let bound = &loaded.bound;
    let recorded = bound.binding.as_ref().map(|binding| Path::new(&binding.directory.path));
    let directory = recorded.map_or(binding::There::Same, |path| {
        binding::there(path, (binding.directory.device, binding.directory.inode))
    });
    let may_live = || {
        let living = living(dir, &loaded.body, host);
        !living.alive.is_empty() || living.is_unreadable || lives::is_any_process_of(&loaded.lineage)
    };
    let found = binding::Found {
        binding: &binding,
        config: there_of_config(bound, config),
        directory,
        is_this_boot: match heartbeat_state {
            HeartbeatState::Beat(beat) => beat.boot_id == host.boot_id,
            // A tick of this boot may have been killed before its heartbeat.
            HeartbeatState::Absent | HeartbeatState::Unreadable(_) => true,
        },
        may_live: &may_live,
    };
    Ok((binding::standing(bound, &found), binding))
}

/// Whether a state belongs to another configuration than this one, without its records; `None` where nobody can tell.
pub fn belongs_elsewhere(config: &Path, dir: &HostDir) -> Option<bool> {
    let (bound, _) = super::backend(dir, 0).bound().ok()??;
    let ours = repository::of(config);
    let recorded = bound.binding.as_ref().and_then(|binding| binding.repository.as_ref());
    let is_same_repository = recorded.is_some() && recorded == ours.as_ref();
    Some(!is_same_repository && there_of_config(&bound, config) == binding::There::Other)
}

fn there_of_config(bound: &Bound, config: &Path) -> binding::There {
    match &bound.config {
        Some(recorded) if bound.is_config(config) || recorded == config => binding::There::Same,
        Some(recorded) => match rustix::fs::stat(config) {
            Ok(stat) => binding::there(recorded, (stat.st_dev, stat.st_ino)),
            Err(_) => binding::There::Other,
        },
        None => binding::There::Gone,
    }
}

fn found_binding(config: &Path, dir: &HostDir) -> Result<Binding, Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(ExitStatus::IoError, format!("{}: {error}", dir.path().display()))
    };
    let (device, inode) = dir.identity().map_err(failed)?;
    let path = std::fs::canonicalize(dir.path()).map_err(failed)?.to_string_lossy().into_owned();
    Ok(Binding { repository: repository::of(config), directory: Directory { path, device, inode } })
}

/// The launchers that may live: by their claims and locks, and by the records.
fn living(dir: &HostDir, registry: &Registry, host: &Host) -> lives::Living {
    lives::launchers(&dir.runs(), &dir.live(), &launchers(registry), host)
}

/// The launchers on record.
fn launchers(registry: &Registry) -> Vec<(RunId, Process)> {
    let current = registry
        .agents
        .values()
        .filter_map(|agent| Some((agent.run.clone()?, agent.handle.as_ref()?.process()?.clone())));
    let handed_off = registry
        .handoffs
        .iter()
        .filter_map(|(run, one)| Some((run.clone(), one.handle.as_ref()?.process()?.clone())));
    current.chain(handed_off).collect()
}

/// That a state goes on in another place, or with another configuration. Two clones that take turns are no news.
fn move_event(dir: &HostDir, before: &Bound, now: &Binding, config: &Config, host: &Host) -> Option<Event> {
    let (was, binding) = (before.config.as_ref()?, before.binding.as_ref()?);
    if binding == now && now.repository.is_some() {
        return None;
    }
    let was = Place { config: was.to_string_lossy().into_owned(), directory: binding.directory.path.clone() };
    let (config, directory) = (config.path.to_string_lossy(), dir.path().to_string_lossy());
    let detail = Detail::Moved { config: config.into_owned(), directory: directory.into_owned(), was };
    Some(Event::new(clock::moment(&host.boot_id).at, "moved", detail))
}

/// The wall clock now, and how steady it was since the tick that wrote this heartbeat. `age`: what it is asked for.
pub fn steady(heartbeat_state: &HeartbeatState, boot_id: &str, age: Option<Duration>) -> ClockTracker {
    let now = clock::moment(boot_id);
    match heartbeat_state {
        HeartbeatState::Absent => ClockTracker::first(now),
        HeartbeatState::Unreadable(_) => ClockTracker::after_loss(now),
        HeartbeatState::Beat(beat) => beat.steady.next(now, age),
    }
}

/// Whether that process still is the one that it was.
pub fn is_alive(host: &Host, pid: u32, start_ticks: u64, boot_id: &str) -> bool {
    let process =
        Process { pid, start_ticks, boot_id: boot_id.to_owned(), pid_ns: host.pid_ns, uid: host.uid };
    identity::life(&process, host) == Life::Alive
}
