//! The state as a command holds it: locked, loaded, its heartbeat beating.

mod about;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Value, json};

use self::about::About;
use crate::clock;
use crate::config::Config;
use crate::exit::{ExitStatus, Failure};
use crate::model::{Action, Moment, Outcome, Plan, Process, Refresh, Steady, Step};
use crate::process::identity::{self, Host, Life};
use crate::registry::Registry;
use crate::report::{self, TickReport};
use crate::store::heartbeat::{self, GroupsLook, Heartbeat, Leg, Pulse, Retained, Status};
use crate::store::{
    Committed, Loaded, Lock, LockError, Origin, RegistryFile, StateDir, StoreError, events, reserve,
};
use crate::tick::{Store, Ticked};

/// The state of one factory, held by one command.
pub struct State {
    /// Where it lies.
    pub dir: StateDir,
    /// What was loaded; what is committed next. Until a plan was carried out, as it was before.
    pub registry: Registry,
    /// Names this factory.
    pub lineage: String,
    /// The heartbeat as it was before this command wrote its own.
    pub pulse: Pulse,
    /// Since when it is held; what a tick may take counts from here, not from when it began to wait.
    pub held_since: Instant,
    /// What is wrong with the registry's latest generation, where its backup was read.
    pub damage: Option<String>,
    file: RegistryFile,
    events_bytes_max: u64,
    _lock: Option<Lock>,
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
        wait: Duration,
        called_off: &dyn Fn() -> bool,
        waiting: impl FnMut(Option<&Process>, Duration),
    ) -> Result<State, Failure> {
        let dir = StateDir::create_or_open(path, config.allow_network_fs)?;
        let me = identity::own(host)
            .map_err(|error| Failure::new(ExitStatus::IoError, format!("cannot read /proc/self: {error}")))?;
        let lock = match Lock::take(&dir, &me, wait, called_off, waiting) {
            Ok(lock) => lock,
            Err(error @ LockError::Busy(_)) => {
                let now = clock::moment(&host.boot_id);
                let event =
                    json!({"at": now.at, "pid": me.pid, "event": "busy", "because": error.to_string()});
                log_lines(&dir, &[event], config.events_bytes_max);
                return Err(Failure::new(ExitStatus::Busy, error.to_string()));
            }
            Err(error @ LockError::CalledOff) => {
                return Err(Failure::new(ExitStatus::Interrupted, error.to_string()));
            }
            Err(error @ LockError::Io(_)) => {
                return Err(Failure::new(ExitStatus::IoError, error.to_string()));
            }
        };
        State::load(config, dir, Some(lock))
    }

    /// Loads without the lock, for reading: changes nothing, creates nothing. `None`: there is no state yet.
    pub fn peek(config: &Config, path: &Path) -> Result<Option<State>, Failure> {
        match StateDir::open_existing(path, config.allow_network_fs)? {
            Some(dir) => State::load(config, dir, None).map(Some),
            None => Ok(None),
        }
    }

    fn load(config: &Config, dir: StateDir, lock: Option<Lock>) -> Result<State, Failure> {
        // Before it is overwritten: it tells whether the last tick died, and how far the serials had come.
        let pulse = heartbeat::read(&dir);
        let serial = match &pulse {
            Pulse::Beat(beat) => Some(beat.serial),
            Pulse::Absent | Pulse::Unreadable(_) => None,
        };
        let (loaded, mut file): (Loaded<Registry>, _) = crate::store::registry_file::load(&dir, serial)?;
        if !loaded.belongs_to(&config.path) {
            let owner = loaded.config.as_deref().unwrap_or(Path::new("?")).display();
            let text = format!(
                "the state in {} belongs to {owner}; pass --state-dir to give {} a state of its own",
                dir.path().display(),
                config.path.display()
            );
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
        if loaded.config.is_none() {
            file.set_config(&config.path);
        }
        let damage = match loaded.origin {
            Origin::Backup { why } => Some(why),
            Origin::Fresh | Origin::Registry => None,
        };
        Ok(State {
            dir,
            registry: loaded.body,
            lineage: loaded.lineage,
            pulse,
            held_since: Instant::now(),
            damage,
            file,
            events_bytes_max: config.events_bytes_max,
            _lock: lock,
        })
    }

    /// The generation that stands.
    pub fn serial(&self) -> u64 {
        self.file.serial()
    }

    /// That the registry was damaged, and what became of it; `None` where it was not.
    pub fn damage_note(&self) -> Option<String> {
        let damage = self.damage.as_ref()?;
        let kept = self
            .file
            .quarantined()
            .map_or_else(String::new, |name| format!(" and what was there is kept as {name}"));
        Some(format!("{damage}: its backup was read{kept}"))
    }

    /// Whether the last tick said `running` and its process is gone.
    pub fn last_tick_died(&self, host: &Host) -> bool {
        match &self.pulse {
            Pulse::Beat(beat) => {
                beat.status == Status::Running && !is_alive(host, beat.pid, beat.start_ticks, &beat.boot_id)
            }
            Pulse::Absent | Pulse::Unreadable(_) => false,
        }
    }

    /// Writes the heartbeat. It tells of now; that it can't be written fails no tick whose state is safe.
    pub fn beat(&self, beat: &Heartbeat) {
        if let Err(error) = heartbeat::write(&self.dir, beat) {
            log::error!("cannot write the heartbeat: {error}");
        }
    }

    /// From now on a commit that finds no room spends the reserve.
    pub fn may_spend_reserve(&mut self) {
        self.file.may_spend_reserve();
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
    pub fn log_event(&self, event: &impl Serialize) {
        log_lines(&self.dir, &[event], self.events_bytes_max);
    }
}

/// The wall clock now, and how steady it was since the tick that wrote this heartbeat. `age`: what it is asked for.
pub fn steady(pulse: &Pulse, boot_id: &str, age: Option<Duration>) -> Steady {
    let now = clock::moment(boot_id);
    match pulse {
        Pulse::Absent => Steady::first(now),
        Pulse::Unreadable(_) => Steady::after_loss(now),
        Pulse::Beat(beat) => match &beat.steady {
            Some(before) => before.next(now, age),
            None => Steady::first(now),
        },
    }
}

/// Whether that process still is the one that it was.
pub fn is_alive(host: &Host, pid: u32, start_ticks: u64, boot_id: &str) -> bool {
    let process =
        Process { pid, start_ticks, boot_id: boot_id.to_owned(), pid_ns: host.pid_ns, uid: host.uid };
    identity::life(&process, host) == Life::Alive
}

fn log_lines(dir: &StateDir, lines: &[impl Serialize], bytes_max: u64) {
    if let Err(error) = events::append(dir, lines, bytes_max) {
        log::warn!("cannot append to the event log: {error}");
    }
}

impl Store for State {
    fn commit(&mut self, registry: &Registry) -> Result<Committed, StoreError> {
        self.file.commit(registry)
    }

    fn log_plan(&mut self, plan: &Plan, now: &Moment) {
        let about = About { before: &self.registry, plan };
        let event = |step| Some(about.add_to(step_event(step, now)?, step));
        let lines: Vec<_> = plan.steps.iter().filter_map(event).collect();
        log_lines(&self.dir, &lines, self.events_bytes_max);
    }

    fn log_outcomes(&mut self, plan: &Plan, outcomes: &[Outcome], now: &Moment) {
        let about = About { before: &self.registry, plan };
        let event = |outcome: &Outcome| {
            let step = plan.steps.get(outcome.step)?;
            Some(about.add_to(report::outcome_event(plan, outcome, now)?, step))
        };
        let lines: Vec<_> = outcomes.iter().filter_map(event).collect();
        log_lines(&self.dir, &lines, self.events_bytes_max);
    }
}

fn step_event(step: &Step, now: &Moment) -> Option<Value> {
    match step {
        Step::Decide(decision) => Some(json!({
            "at": now.at,
            "event": decision.action.name(),
            "item": decision.item,
            "run": decision.action.run(),
            "code": decision.action.code(),
            "because": decision.because,
            "argv": match &decision.action {
                Action::Start(launch) | Action::Resume(launch) => Some(&launch.argv),
                _ => None,
            },
        })),
        Step::Refresh(Refresh::Renew { item, because }) => {
            Some(json!({"at": now.at, "event": "renew", "item": item, "because": because}))
        }
        Step::Refresh(_) => None,
    }
}

/// The heartbeats of one tick.
pub struct Beats {
    beat: Heartbeat,
}

impl Beats {
    /// The first: the tick runs.
    pub fn begin(state: &State, config: &Config, me: &Process, now: &Moment) -> Beats {
        let before = match &state.pulse {
            Pulse::Beat(beat) => Some(beat.as_ref()),
            Pulse::Absent | Pulse::Unreadable(_) => None,
        };
        let unseen = Leg { ok: true, since: None, error: None };
        let beat = Heartbeat {
            schema: heartbeat::SCHEMA,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            config: config.path.to_string_lossy().into_owned(),
            pid: me.pid,
            start_ticks: me.start_ticks,
            boot_id: me.boot_id.clone(),
            host: hostname(),
            status: Status::Running,
            serial: state.serial(),
            ticks: before.map_or(0, |beat| beat.ticks).saturating_add(1),
            started_at: now.at,
            updated_at: now.at,
            updated_at_ms: now.at.as_millisecond(),
            exit_code: before.and_then(|beat| beat.exit_code),
            paused: state.registry.paused.is_some(),
            source: before.map_or_else(|| unseen.clone(), |beat| beat.source.clone()),
            fleet: before.map_or(unseen, |beat| beat.fleet.clone()),
            reason: before.and_then(|beat| beat.reason.clone()),
            reported_at: before.and_then(|beat| beat.reported_at),
            retained: before.and_then(|beat| beat.retained.clone()),
            groups: before.and_then(|beat| beat.groups.clone()),
            steady: Some(steady(&state.pulse, &me.boot_id, config.retention.age)),
        };
        state.beat(&beat);
        Beats { beat }
    }

    /// What became of a look at what may be removed.
    pub fn retained(&mut self, retained: Retained) {
        self.beat.retained = Some(retained);
    }

    /// What became of a look for left-over control groups.
    pub fn groups(&mut self, groups: GroupsLook) {
        self.beat.groups = Some(groups);
    }

    /// The last: how it ended.
    pub fn end(
        mut self,
        state: &State,
        report: &TickReport,
        ticked: Option<&Ticked>,
        told: bool,
        now: &Moment,
    ) {
        let beat = &mut self.beat;
        beat.status = match report.exit() {
            ExitStatus::Interrupted | ExitStatus::Terminated => Status::Stopping,
            ExitStatus::Failed | ExitStatus::IoError => Status::Failed,
            _ => Status::Idle,
        };
        beat.serial = state.serial();
        beat.paused = state.registry.paused.is_some();
        beat.exit_code = Some(report.exit().code());
        beat.reason = Some(report.reason());
        if told {
            beat.reported_at = Some(now.at);
        }
        if let Some(ticked) = ticked {
            if let Some(answer) = &ticked.source {
                beat.source = leg(&beat.source, answer, now);
            }
            beat.fleet = leg(&beat.fleet, &ticked.fleet, now);
        }
        beat.updated_at = now.at;
        beat.updated_at_ms = now.at.as_millisecond();
        state.beat(beat);
    }
}

/// `since` moves only when the answer does.
fn leg(before: &Leg, answer: &Result<(), String>, now: &Moment) -> Leg {
    let ok = answer.is_ok();
    let since = before.since.filter(|_| before.ok == ok).unwrap_or(now.at);
    Leg { ok, since: Some(since), error: answer.as_ref().err().cloned() }
}

fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
