//! Everything outside of a tick, and the hands through which it reaches it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use factory_tick::config::{Config, Original};
use factory_tick::durable::LockError;
use factory_tick::fleet::Fleet;
use factory_tick::model::{
    AgentName, FailureClass, FenceOutcome, FleetView, ItemId, Launch, Observed, Process, Reap, ReapOutcome,
    Reaped, RunId, RunObservation, RunQuery, Signalled, StartOutcome, Status, Unavailable, UnavailableKind,
    Writeback,
};
use factory_tick::registry::{DoneDetails, Registry};
use factory_tick::source::{Description, Obstacle, Read, Source, Version};
use factory_tick::state::heartbeat::{Heartbeat, HeartbeatState};
use factory_tick::state::{Binding, Bound, Committed, Loaded, Origin, StateBackend, StoreError};
use serde_json::Value;

use super::check::Broken;
use super::dice::Dice;
use super::disk::Disk;
use super::faults::{Fault, Faults};
use super::keeper::Keeper;
use super::machine::Machine;
use super::provider::Providers;
use super::tracker::Tracker;

/// What is wrong during the whole of one tick.
#[derive(Clone, Debug, Default)]
pub(super) struct Today {
    pub(super) fleet_unknown: bool,
    pub(super) source_unknown: bool,
    /// One unrecorded run is looked at, and no more.
    pub(super) look_cut: bool,
    /// Picks one run that can't be told.
    pub(super) unknown_run: Option<u64>,
    /// Another factory has the workspace of an item: which one is told by this.
    pub(super) taken_workspace: Option<u64>,
    /// Lasting steps until the tick is killed.
    pub(super) killed_after: Option<u64>,
    /// Effects until the tick's time is up.
    pub(super) stopped_after: Option<u64>,
}

pub(super) struct World {
    pub(super) dice: Dice,
    pub(super) faults: Faults,
    pub(super) machine: Machine,
    pub(super) tracker: Tracker,
    pub(super) disk: Disk,
    pub(super) today: Today,
    /// The tick was killed: nothing that it still does lasts.
    pub(super) dead: bool,
    /// Everything that was ever done to this world.
    pub(super) effects: u64,
    /// Runs that a start was asked for.
    pub(super) started: BTreeSet<RunId>,
    /// The run that could not be told at the last look.
    pub(super) untold: Option<RunId>,
    /// Agents of which the last look left unrecorded runs.
    pub(super) unexamined: BTreeMap<AgentName, usize>,
    /// Required `started` notes of this tick that failed.
    pub(super) refused_notes: Vec<(ItemId, u64)>,
    /// A rule that was broken in the middle of an effect.
    pub(super) broken: Option<Broken>,
    pub(super) keeper: Keeper,
    /// Names that somebody else has, and until when on the simulator's own clock.
    strangers: BTreeMap<AgentName, u64>,
    /// Of these the last look at the fleet has shown so many.
    pub(super) names_shown: BTreeSet<AgentName>,
    /// Workspaces that a tick was told to be another factory's.
    pub(super) workspaces_shown: RefCell<BTreeSet<String>>,
    /// The ids that fresh starts gave their sessions.
    chosen: BTreeMap<String, RunId>,
    start_grace_ms: u64,
}

impl World {
    pub(super) fn new(mut dice: Dice, config: &Config) -> World {
        let faults = Faults::draw(&mut dice);
        World {
            faults,
            machine: Machine::new(config, Providers::new(Dice::new(dice.aside().throw()), config)),
            tracker: Tracker::new(&mut dice, &config.scope),
            disk: Disk::default(),
            today: Today::default(),
            dead: false,
            effects: 0,
            started: BTreeSet::new(),
            untold: None,
            unexamined: BTreeMap::new(),
            refused_notes: Vec::new(),
            broken: None,
            strangers: BTreeMap::new(),
            names_shown: BTreeSet::new(),
            workspaces_shown: RefCell::default(),
            chosen: BTreeMap::new(),
            keeper: Keeper::new(dice.aside(), config),
            start_grace_ms: config.fleet.start_grace.as_millis() as u64,
            dice,
        }
    }

    pub(super) fn strike(&mut self, fault: Fault) -> bool {
        self.faults.strike(fault, &mut self.dice)
    }

    /// What goes wrong during the tick that begins now.
    pub(super) fn begin_tick(&mut self) {
        self.dead = false;
        self.names_shown.clear();
        self.workspaces_shown.borrow_mut().clear();
        self.refused_notes.clear();
        self.tracker.begin_tick(self.machine.clock_ms);
        if self.strike(Fault::Blink) {
            self.tracker.blink(&mut self.dice);
        }
        if self.strike(Fault::FolderAway) {
            self.tracker.empty_folder(&mut self.dice);
        }
        self.today = Today {
            fleet_unknown: self.strike(Fault::FleetUnknown),
            source_unknown: self.strike(Fault::SourceUnknown),
            look_cut: self.strike(Fault::LookCut),
            unknown_run: self.strike(Fault::RunUnknown).then(|| self.dice.throw()),
            taken_workspace: self.strike(Fault::WorkspaceTaken).then(|| self.dice.throw()),
            killed_after: self.strike(Fault::TickKilled).then(|| {
                let longest = self.dice.pick(&[1, 3, 8, 20]);
                self.dice.range(0, longest)
            }),
            stopped_after: self.strike(Fault::TickStopped).then(|| self.dice.range(0, 4)),
        };
    }

    /// Who else has that name, if anybody.
    fn holder_of(&self, name: &AgentName) -> Option<String> {
        let until = self.strangers.get(name).filter(|until| self.machine.clock_ms < **until)?;
        Some(format!("a stranger has it until {until}"))
    }

    /// From now on nothing goes wrong.
    pub(super) fn calm_down(&mut self) {
        self.strangers.clear();
        self.machine.calm_down();
    }

    pub(super) fn advance(&mut self, ms: u64) {
        self.machine.advance(ms, &mut self.faults, &mut self.dice);
        self.removers_work();
    }

    /// One step of the tick that lasts. False: it is killed before it, now or some time ago.
    pub(super) fn step(&mut self) -> bool {
        match &mut self.today.killed_after {
            _ if self.dead => false,
            Some(0) => {
                self.dead = true;
                false
            }
            left => {
                left.iter_mut().for_each(|left| *left -= 1);
                self.effects += 1;
                true
            }
        }
    }

    /// While the tick works, so does everybody else.
    fn lapse(&mut self) {
        if !self.dead && self.dice.percent(40) {
            let ms = self.dice.pick(&[10, 500, 3_000]);
            self.advance(ms);
        }
    }

    /// Asked before each effect.
    pub(super) fn time_is_up(&mut self) -> bool {
        match &mut self.today.stopped_after {
            Some(0) => true,
            left => {
                left.iter_mut().for_each(|left| *left -= 1);
                false
            }
        }
    }

    pub(super) fn breaks(&mut self, rule: &'static str, what: String) {
        if !self.dead {
            self.broken.get_or_insert(Broken { rule, what });
        }
    }

    fn start(&mut self, launch: &Launch) -> StartOutcome {
        self.lapse();
        let run = &launch.spec.id;
        let on_record = self.disk.standing.agents.get(&run.agent);
        if on_record.is_none_or(|agent| agent.run.as_ref() != Some(run)) {
            self.breaks("intent_before_effect", format!("{run} is started, and no registry says so"));
        }
        self.look_at_session(launch);
        if self.strike(Fault::NoProgram) {
            let error = "the program is missing".to_owned();
            return StartOutcome::NotStarted { class: FailureClass::Infra, error };
        }
        let class = if self.dice.percent(70) { FailureClass::Machine } else { FailureClass::Infra };
        let refused = |error: &str| StartOutcome::NotStarted { class, error: error.to_owned() };
        if !self.step() {
            return StartOutcome::Tried;
        }
        if self.machine.runs.contains_key(run) || !self.started.insert(run.clone()) {
            self.breaks("a_run_id_is_used_once", format!("{run} is started, and its directory is there"));
            return refused("the directory is there");
        }
        self.machine.make_dir(run);
        if self.strike(Fault::NoProcess) {
            return refused("no space for spec.json");
        }
        if !self.step() {
            return StartOutcome::Tried;
        }
        let now = self.machine.moment();
        self.machine.write_spec(launch, now);
        if self.strike(Fault::NameTaken) {
            let minutes = self.dice.pick(&[1, 5, 60]);
            self.strangers.insert(run.agent.clone(), self.machine.clock_ms + minutes * 60_000);
        }
        if let Some(error) = self.holder_of(&run.agent) {
            return StartOutcome::NotStarted { class: FailureClass::NameTaken, error };
        }
        if self.strike(Fault::NoProcess) {
            return refused("no process could be made");
        }
        if !self.step() {
            return StartOutcome::Tried;
        }
        let lost = self.strike(Fault::StartLost);
        self.machine.spawn(launch, self.start_grace_ms, lost, &mut self.faults, &mut self.dice);
        self.lapse();
        StartOutcome::Tried
    }

    /// A session that a start chose is of that run alone, and of those of its agent that go on with it.
    fn look_at_session(&mut self, launch: &Launch) {
        let (run, argv) = (&launch.spec.id, &launch.argv);
        let session = launch.spec.session.as_ref().or(launch.spec.chosen_session.as_ref());
        let owner = session.and_then(|session| self.chosen.get(session));
        let wrong = match owner {
            Some(owner) if launch.spec.session.is_some() => owner.agent != run.agent,
            Some(owner) => owner != run,
            None => false,
        };
        if wrong {
            self.breaks("a_session_is_of_one_run", format!("{run} has {session:?} of {owner:?}"));
        }
        let is_preset = factory_tick::harness::preset(&launch.spec.harness).is_some();
        if is_preset && session.is_some_and(|session| argv.iter().filter(|one| *one == session).count() != 1)
        {
            self.breaks(
                "a_session_is_of_one_run",
                format!("{run} has {session:?} and is started with {argv:?}"),
            );
        }
        if let Some(chosen) = &launch.spec.chosen_session {
            self.chosen.insert(chosen.clone(), run.clone());
        }
    }

    fn fence(&mut self, run: &RunId) -> FenceOutcome {
        self.lapse();
        let fails = self.strike(Fault::FenceFails);
        let failed = || FenceOutcome::Failed("cannot write the claim".to_owned());
        if fails && self.dice.percent(50) {
            return failed();
        }
        if !self.step() {
            return failed();
        }
        if self.machine.is_locked(&run.agent) {
            return FenceOutcome::Failed("its agent's lock is held".to_owned());
        }
        let won = self.machine.fence(run);
        match won {
            _ if fails => failed(),
            true => FenceOutcome::Won,
            false => FenceOutcome::Lost,
        }
    }

    fn reap(&mut self, reap: &Reap) -> ReapOutcome {
        let failed = || ReapOutcome::Failed("nobody may be signalled".to_owned());
        let fails = self.strike(Fault::ReapFails);
        if fails && self.dice.percent(50) || !self.step() {
            return failed();
        }
        let mut reaped = Reaped::default();
        let launcher = reap.handle.as_ref().and_then(factory_tick::model::RunHandle::process);
        let told = launcher.filter(|launcher| {
            let run = self.machine.runs.get(&reap.run);
            run.is_some_and(|run| run.process.as_ref() == Some(*launcher) && run.is_live())
        });
        let is_elsewhere = launcher.is_some_and(|launcher| self.machine.is_elsewhere(launcher));
        if let Some(launcher) = told {
            reaped.signalled.push(Signalled { pid: launcher.pid, signals: vec!["TERM"] });
            self.machine.stop_launcher(&reap.run);
            let grace = self.dice.pick(&[0, 1_000, 12_000]);
            self.advance(grace);
            let (run, handle) = (reap.run.clone(), Some(launcher.clone().into()));
            let queries = RunQuery { run, handle, name_taken: false, done_when: None };
            let swept = self.machine.sight(&queries);
            match swept {
                RunObservation::Ended(ended) if ended.survivors.is_empty() => {
                    return ReapOutcome::Reaped(reaped);
                }
                RunObservation::Sweeping { exit, .. } if reap.spares_hook && exit.after_run_ms.is_some() => {
                    return ReapOutcome::NotTried("its after_run hook has not ended yet");
                }
                // No signal reaches it.
                RunObservation::Alive { .. } | RunObservation::Sweeping { .. } if is_elsewhere => {
                    return failed();
                }
                _ => {}
            }
        }
        if !self.step() {
            return failed();
        }
        reaped.survivors = self.machine.kill_tree(&reap.run);
        if fails || !self.step() {
            return failed();
        }
        self.machine.leave_swept(&reap.run, &reaped.survivors);
        ReapOutcome::Reaped(reaped)
    }

    fn notify(&mut self, note: &Writeback) -> Result<(), String> {
        self.lapse();
        let refused = |world: &mut World, why: &str| {
            if note.required && note.status == Status::Started {
                world.refused_notes.push((note.item.clone(), note.dispatch));
            }
            Err(why.to_owned())
        };
        if self.strike(Fault::NoteFails) || !self.step() {
            return refused(self, "the tracker is full");
        }
        if self.strike(Fault::NoteLost) {
            return refused(self, "the tracker did not answer");
        }
        self.tracker.take(note);
        Ok(())
    }

    fn commit(&mut self, registry: &Registry) -> Result<Committed, StoreError> {
        let failed = || StoreError::Io("cannot save".to_owned());
        if self.disk.unknown || self.dead {
            return Err(failed());
        }
        let body = serde_json::to_string(registry).map_err(|error| StoreError::Io(error.to_string()))?;
        if self.disk.is(&body) {
            return Ok(Committed::Unchanged);
        }
        let fails = self.strike(Fault::CommitFails);
        if fails && self.dice.percent(50) {
            self.disk.unknown = true;
            return Err(failed());
        }
        if !self.step() {
            return Err(failed());
        }
        self.disk.keep_backup();
        if !self.step() {
            return Err(failed());
        }
        self.disk.publish(body, registry);
        self.disk.unknown = fails;
        if fails || !self.step() { Err(failed()) } else { Ok(Committed::Written { serial: 0 }) }
    }
}

/// The world, as a tick holds it.
pub(super) struct Hands<'a>(pub(super) &'a RefCell<World>);

impl Fleet for Hands<'_> {
    fn observe(
        &self,
        queries: &[RunQuery],
        known: &BTreeMap<AgentName, u64>,
        until: Instant,
    ) -> Observed<FleetView> {
        if Instant::now() >= until {
            return Observed::broken("the time is up");
        }
        let mut world = self.0.borrow_mut();
        world.untold = None;
        world.unexamined.clear();
        if world.today.fleet_unknown {
            return Observed::broken("it can't be seen");
        }
        let mut unrecorded = world.machine.unrecorded(queries, known);
        if world.today.look_cut && unrecorded.len() > 1 {
            for unrecorded in unrecorded.drain(1..) {
                *world.unexamined.entry(unrecorded.run.agent).or_default() += 1;
            }
        }
        let unexamined = world.unexamined.clone();
        let mut runs: BTreeMap<_, _> =
            queries.iter().map(|queries| (queries.run.clone(), world.machine.sight(queries))).collect();
        for unrecorded in &unrecorded {
            let done_when = unrecorded.spec.as_ref().map(|spec| spec.spec.done_when);
            let queries =
                RunQuery { run: unrecorded.run.clone(), handle: None, name_taken: false, done_when };
            runs.insert(unrecorded.run.clone(), world.machine.sight(&queries));
        }
        if let Some(pick) = world.today.unknown_run
            && !runs.is_empty()
        {
            let nth = (pick % runs.len() as u64) as usize;
            if let Some((run, observation)) = runs.iter_mut().nth(nth) {
                world.untold = Some(run.clone());
                *observation = RunObservation::Unknown("its claim can't be read".to_owned());
            }
        }
        let names = queries.iter().map(|queries| &queries.run.agent);
        let names_held: BTreeMap<_, _> =
            names.filter_map(|name| Some((name.clone(), world.holder_of(name)?))).collect();
        world.names_shown = names_held.keys().cloned().collect();
        Observed::Known(FleetView { runs, unrecorded, unexamined, names_held })
    }

    fn workspaces_taken(&self, wanted: &dyn Fn() -> BTreeSet<String>) -> BTreeMap<String, String> {
        let world = self.0.borrow();
        let Some(pick) = world.today.taken_workspace else { return BTreeMap::new() };
        let wanted = wanted();
        let taken = wanted.iter().nth(pick as usize % wanted.len().max(1));
        world.workspaces_shown.borrow_mut().extend(taken.cloned());
        taken.map(|name| (name.clone(), "another factory has it".to_owned())).into_iter().collect()
    }

    fn start(&self, launch: &Launch, until: Instant) -> StartOutcome {
        if Instant::now() >= until {
            return StartOutcome::NotTried("the time is up");
        }
        self.0.borrow_mut().start(launch)
    }

    fn preview(&self, launch: &Launch) -> factory_tick::model::RunPreview {
        factory_tick::model::RunPreview { argv: launch.argv.clone(), ..Default::default() }
    }

    fn fence(&self, run: &RunId) -> FenceOutcome {
        self.0.borrow_mut().fence(run)
    }

    fn look_for(&self, fenced: &[&RunId]) -> Vec<bool> {
        let mut world = self.0.borrow_mut();
        let mut look = |run: &RunId| {
            let lives = world.machine.runs.get(run).is_some_and(|run| run.is_live());
            if !lives && world.step() {
                world.machine.leave_swept(run, &[]);
            }
            lives
        };
        fenced.iter().map(|run| look(run)).collect()
    }

    fn reap(&self, reaps: &[&Reap], until: Instant) -> Vec<ReapOutcome> {
        if Instant::now() >= until {
            return vec![ReapOutcome::NotTried("the time is up"); reaps.len()];
        }
        let mut world = self.0.borrow_mut();
        reaps.iter().map(|reap| world.reap(reap)).collect()
    }
}

impl Source for Hands<'_> {
    fn read(&self, known: Option<&Version>, until: Instant) -> Read {
        if Instant::now() >= until {
            return Read::Unknown(Unavailable::new(UnavailableKind::Unreachable, "the time is up"));
        }
        let world = self.0.borrow();
        match world.today.source_unknown {
            true => Read::Unknown(Unavailable::broken("it can't be read")),
            false => {
                let view = world.tracker.view();
                let version = Version::new(format!("{view:?}"));
                if known == Some(&version) {
                    return Read::Unchanged;
                }
                Read::Known { view, version: Some(version) }
            }
        }
    }

    fn notify(&self, note: &Writeback, until: Instant) -> Result<(), String> {
        if Instant::now() >= until {
            return Err("the time is up".to_owned());
        }
        self.0.borrow_mut().notify(note)
    }

    fn can_notify(&self) -> Result<(), Obstacle> {
        Ok(())
    }

    fn describe(&self) -> Description {
        Description { place: "the simulated tracker".to_owned(), first_item: "file one" }
    }

    fn place(&self, origin: &str) -> String {
        format!("the simulated tracker, {origin}")
    }
}

/// The registry alone can be lost, damaged or refused here; nothing else of a state tells a tick what to do.
impl StateBackend for Hands<'_> {
    fn lock(
        &mut self,
        _me: &Process,
        _wait: Duration,
        _called_off: &dyn Fn() -> bool,
        _waiting: &mut dyn FnMut(Option<&Process>, Duration),
    ) -> Result<(), LockError> {
        Ok(())
    }

    fn load(&mut self) -> Result<Loaded, StoreError> {
        let (body, lineage) = (self.0.borrow_mut().disk.load(), "simulated".to_owned());
        Ok(Loaded { body, lineage, serial: 0, bound: Bound::default(), origin: Origin::Registry })
    }

    fn bound(&self) -> Result<Option<(Bound, String)>, StoreError> {
        Ok(None)
    }

    fn serial(&self) -> u64 {
        0
    }

    fn bind(&mut self, _config: &Path, _binding: Binding) {}

    fn begin_lineage(&mut self) -> Result<String, StoreError> {
        Ok("simulated".to_owned())
    }

    fn commit(&mut self, registry: &Registry, _details: &[DoneDetails]) -> Result<Committed, StoreError> {
        self.0.borrow_mut().commit(registry)
    }

    fn done_details(&self, _item: &ItemId) -> Result<Option<DoneDetails>, String> {
        Ok(None)
    }

    fn may_spend_reserve(&mut self) {}

    fn quarantined(&self) -> Option<&str> {
        None
    }

    fn heartbeat(&self) -> HeartbeatState {
        HeartbeatState::Absent
    }

    fn beat(&self, _beat: &Heartbeat) -> io::Result<()> {
        Ok(())
    }

    fn append_events(&self, _lines: &[Value]) -> io::Result<()> {
        Ok(())
    }

    fn events(&self) -> io::Result<Box<dyn Iterator<Item = Value>>> {
        Ok(Box::new(std::iter::empty()))
    }

    fn keep_config(&self, _original: &Original) {}

    fn kept_config(&self) -> Option<Original> {
        None
    }
}
