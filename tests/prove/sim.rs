//! The simulator: the real orchestration, decisions and registry over a world in which everything goes wrong
//! that can, from a seed that replays exactly.
//!
//! A seed draws a configuration, items and the likelihood of each fault, and then lives through ticks. After
//! each of them every rule of [`check`] must hold against what really lives. At last the faults end, and
//! within a bounded number of ticks everything must come to rest.

mod check;
pub(crate) mod dice;
mod disk;
mod faults;
mod fleet;
mod keeper;
mod machine;
mod provider;
mod setting;
mod subject;
mod tracker;
mod world;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use factory_tick::config::{Config, Done};
use factory_tick::decide::{Request, can_go_on, providers_cooling};
use factory_tick::model::{
    Action, Decision, Free, HoldReason, ItemId, LocalFacts, Plan, RecordUpdate, Room, RunId, Step,
};
use factory_tick::registry::{AgentPhase, AgentRecord, ItemPhase, ItemRecord, Registry};
use factory_tick::source::LastRead;
use factory_tick::tick::{self, Tick};

use crate::source_suite;
use crate::{fresh_seed, say};
use check::{Broken, History, Life, Scene};
use dice::Dice;
use faults::Fault;
pub(crate) use fleet::SimulatedFleet;
use machine::Words;
use world::{Hands, World};

/// The arguments of `cargo prove sim`.
#[derive(Args)]
pub(crate) struct Order {
    /// How many seeds to live through
    #[arg(default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// How many ticks each seed has, before everything must come to rest
    #[arg(default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    ticks: u64,
    /// Begin with this seed. Without it the first seed is a new one
    #[arg(long, value_name = "SEED")]
    first_seed: Option<u64>,
    /// Live through this seed alone, and tell each tick
    #[arg(long, value_name = "SEED", conflicts_with = "first_seed")]
    replay: Option<u64>,
}

/// So many seeds are lived through twice, which must come to the same.
const TWICE: u64 = 5;

/// Ticks of one process: the next process knows no view of the source any more.
const ITERATIONS: u64 = 3;

/// One fault in the code breaks many seeds; the first few tell enough, and which of them is the shortest.
const BROKEN_SEEDS_MAX: usize = 10;

// Origin: gastown#1752, autonomous-dev-team#32, dot-agent-deck#471, relay#1604, pear#248, midtown#2330 – and
// every crash that nobody has filed yet.
// covers: F03 F66 I03 V31 X09
pub(crate) fn every_rule_holds_after_every_tick(order: &Order) {
    // A tracker that promises less than a real source would prove nothing of one.
    source_suite::run(|| Box::new(subject::Simulated::new()));
    let ticks = order.ticks;
    if let Some(seed) = order.replay {
        let (_, broken) = Simulation::new(seed, true).live(ticks);
        return assert!(broken.is_none(), "{}", broken.unwrap_or_default());
    }
    let first = order.first_seed.unwrap_or_else(fresh_seed);
    let end = first.saturating_add(order.seeds);
    let mut tally = Tally::default();
    let mut broken_seeds = Vec::new();
    for seed in first..end {
        let (lived, broken) = Simulation::new(seed, false).live(ticks);
        tally.add(&lived);
        broken_seeds.extend(broken);
        if broken_seeds.len() >= BROKEN_SEEDS_MAX {
            break;
        }
    }
    say(&format!("seeds {first}..{end}\n{tally}"));
    assert!(
        broken_seeds.is_empty(),
        "{}\nreplay one: cargo prove sim 1 {ticks} --replay SEED",
        broken_seeds.join("\n")
    );
    (first..end.min(first.saturating_add(TWICE))).for_each(seed_replays_exactly);
}

fn seed_replays_exactly(seed: u64) {
    let story = || {
        let mut simulation = Simulation::new(seed, false);
        simulation.story = Some(String::new());
        let _ = simulation.run(60);
        simulation.story
    };
    assert!(story() == story(), "seed {seed} is another one the second time");
}

/// What a number of seeds lived through.
#[derive(Clone, Debug, Default)]
struct Tally {
    ticks: u64,
    /// Ticks that were killed in the middle.
    killed: u64,
    /// Ticks whose commit failed.
    failed: u64,
    /// Agents that really began.
    begun: u64,
    resumed: u64,
    done: u64,
    /// Directories of runs, and workspaces, that were removed.
    removed: (u64, u64),
    /// The most ticks that any seed took to come to rest.
    to_rest: u64,
    faults: BTreeMap<Fault, u64>,
    /// What known programs printed.
    printed: BTreeMap<(String, Words), u64>,
}

impl Tally {
    fn add(&mut self, other: &Tally) {
        self.ticks += other.ticks;
        self.killed += other.killed;
        self.failed += other.failed;
        self.begun += other.begun;
        self.resumed += other.resumed;
        self.done += other.done;
        self.removed.0 += other.removed.0;
        self.removed.1 += other.removed.1;
        self.to_rest = self.to_rest.max(other.to_rest);
        for (fault, times) in &other.faults {
            *self.faults.entry(*fault).or_default() += times;
        }
        for (what, times) in &other.printed {
            *self.printed.entry(what.clone()).or_default() += times;
        }
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Tally { ticks, killed, failed, begun, resumed, done, removed, to_rest, faults, printed } = self;
        writeln!(f, "{ticks} ticks, {killed} killed in the middle, {failed} with a commit that failed")?;
        writeln!(f, "{begun} agents began, {resumed} of them resumed; {done} times an item was done")?;
        writeln!(f, "{} runs and {} workspaces were removed", removed.0, removed.1)?;
        writeln!(f, "at rest after at most {to_rest} ticks without faults")?;
        faults.iter().try_for_each(|(fault, times)| writeln!(f, "{times:9} {fault:?}"))?;
        printed.iter().try_for_each(|((harness, words), times)| writeln!(f, "{times:9} {harness} {words:?}"))
    }
}

struct Simulation {
    seed: u64,
    aloud: bool,
    story: Option<String>,
    dice: Dice,
    full: Config,
    config: Config,
    world: RefCell<World>,
    history: History,
    tally: Tally,
    /// How likely people are to do something, several times between two ticks.
    busy_percent: u64,
    missing_env: BTreeMap<String, Vec<String>>,
    missing_programs: BTreeMap<String, String>,
    room: Room,
    last_read: LastRead,
}

impl Simulation {
    fn new(seed: u64, aloud: bool) -> Simulation {
        let mut dice = Dice::new(seed);
        let config = setting::draw(&mut dice);
        let world = World::new(Dice::new(dice.throw()), &config);
        let busy_percent = dice.pick(&[0, 5, 20, 40]);
        Simulation {
            seed,
            aloud,
            story: None,
            dice,
            full: config.clone(),
            config,
            world: RefCell::new(world),
            history: History::default(),
            tally: Tally::default(),
            busy_percent,
            missing_env: BTreeMap::new(),
            missing_programs: BTreeMap::new(),
            room: Room::default(),
            last_read: LastRead::default(),
        }
    }

    /// Lives through so many ticks and comes to rest. Tells the first rule that was broken, with seed and tick.
    fn live(mut self, ticks: u64) -> (Tally, Option<String>) {
        let broken = self.run(ticks).err();
        let (seed, tick) = (self.seed, self.tally.ticks);
        let world = self.world.borrow();
        self.tally.faults.clone_from(&world.faults.happened);
        self.tally.printed.clone_from(&world.machine.printed);
        self.tally.begun = world.machine.begun;
        self.tally.removed = world.keeper.removed;
        self.tally.resumed = world.machine.resumed.values().map(|times| u64::from(*times)).sum();
        (self.tally.clone(), broken.map(|broken| format!("seed {seed}, tick {tick}, rule {broken}")))
    }

    fn run(&mut self, ticks: u64) -> Result<(), Broken> {
        if self.aloud {
            say(&format!("{:#?}", self.config));
        }
        for _ in 0..ticks {
            self.wait();
            self.reconfigure();
            self.world.borrow_mut().begin_tick();
            self.lose_a_generation();
            self.a_person_orders_something();
            let request = self.request();
            self.tick(request)?;
        }
        self.come_to_rest()
    }

    // -----------------------------------------------------------------------------------------
    // Between ticks

    /// Everybody else's time until the next tick.
    fn wait(&mut self) {
        let world = &mut *self.world.borrow_mut();
        let pause_s = self.dice.pick(&[0, 5, 60, 60, 60, 60, 120, 600]);
        for _ in 0..3 {
            world.advance(pause_s * 1_000 / 3);
            if self.dice.percent(self.busy_percent) {
                world.tracker.work_goes_on(&mut world.dice);
            }
            if world.strike(Fault::Edit) {
                world.tracker.edit(&mut world.dice);
            }
            if world.strike(Fault::ClockSet) {
                const HOUR_MS: i64 = 3_600_000;
                let by = world.dice.pick(&[HOUR_MS, -HOUR_MS, -365 * 24 * HOUR_MS, 3_650 * 24 * HOUR_MS]);
                // Ten years forward again and again would leave the calendar.
                if (0..4_000_000_000_000).contains(&(world.machine.wall_ms + by)) {
                    world.machine.wall_ms += by;
                }
            }
            if world.strike(Fault::Reboot) {
                world.machine.reboot();
            }
            if world.strike(Fault::ContainerReplaced) {
                world.machine.replace_container();
            } else if world.strike(Fault::ContainerBeside) {
                world.machine.enter_container();
            }
            let now_ms = world.machine.clock_ms;
            world.machine.providers.live(now_ms);
            if world.strike(Fault::CredentialsRefreshed) {
                world.machine.providers.refresh_refused();
            }
            for run in world.machine.busy.clone() {
                let item = world.machine.runs[&run].spec.as_ref().map(|spec| spec.spec.item.clone());
                if let Some(item) = item.filter(|_| world.strike(Fault::AgentEditsItem)) {
                    world.tracker.edit_body(&item, &mut world.dice);
                }
                if world.strike(Fault::LauncherKilled) {
                    world.machine.kill_launcher(&run);
                } else if world.strike(Fault::SomebodyStops) {
                    world.machine.stop_launcher(&run);
                } else if world.strike(Fault::ClaimRemoved) {
                    world.machine.remove_claim(&run);
                }
            }
        }
    }

    fn reconfigure(&mut self) {
        let world = &mut *self.world.borrow_mut();
        if self.config.done == self.full.done && world.strike(Fault::DoneChanged) {
            self.config.done = match self.dice.index(3) {
                0 => Done::Exit,
                1 => Done::Source,
                _ => Done::Command(vec!["is-done".to_owned()]),
            };
        } else if self.config.done != self.full.done && self.dice.percent(30) {
            self.config.done = self.full.done.clone();
        }
        if self.config.roles != self.full.roles {
            if self.dice.percent(30) {
                self.config = self.full.clone();
            }
        } else if world.strike(Fault::Reconfigured) {
            if self.config.roles.len() > 1 && self.dice.percent(50) {
                self.config.roles.pop();
            } else {
                self.config.roles[0].resume.clear();
            }
        }
        if world.strike(Fault::SuffixRenamed) {
            let roles = self.full.roles.len();
            let (one, other) = (self.dice.index(roles), self.dice.index(roles));
            let suffix = self.full.roles[one].suffix.clone();
            let swapped = std::mem::replace(&mut self.full.roles[other].suffix, suffix);
            self.full.roles[one].suffix =
                if one == other { format!("x{}", self.tally.ticks) } else { swapped };
            for role in &mut self.config.roles {
                if let Some(now) = self.full.roles.iter().find(|full| full.name == role.name) {
                    role.suffix.clone_from(&now.suffix);
                }
            }
        }
        self.missing_env.clear();
        if world.strike(Fault::NoVariable) {
            self.missing_env.insert(self.config.roles[0].name.clone(), vec!["TOKEN".to_owned()]);
        }
        self.missing_programs.clear();
        if world.strike(Fault::ProgramMissing) {
            let role = self.dice.index(self.config.roles.len());
            let name = self.config.roles[role].name.clone();
            self.missing_programs.insert(name, "agent is not in PATH".to_owned());
        }
        let low = world.strike(Fault::DiskLow).then_some(Free { bytes: 1, inodes: None });
        // Either disk may be the one that is full.
        self.room = match self.dice.percent(50) {
            true => Room { state: low, workspaces: None },
            false => Room { state: None, workspaces: low },
        };
    }

    fn lose_a_generation(&mut self) {
        let world = &mut *self.world.borrow_mut();
        if world.strike(Fault::RegistryLost) && world.disk.damage() {
            self.history.lose();
            world.tracker.forget_a_read();
        }
    }

    /// What a person types between two ticks: `stop`, `park`, `pause` or `retry`.
    fn a_person_orders_something(&mut self) {
        let world = &mut *self.world.borrow_mut();
        let order = [Fault::PersonStops, Fault::PersonParks, Fault::PersonPauses, Fault::PersonRetries];
        let Some(order) = order.into_iter().find(|order| world.strike(*order)) else { return };
        let mut registry = world.disk.load();
        let nth = self.dice.index(world.tracker.items.len());
        let Some(tracked) = world.tracker.items.values().nth(nth).filter(|tracked| tracked.present) else {
            return;
        };
        let (id, mut plan) = (tracked.item.id.clone(), Plan::default());
        if !registry.items.contains_key(&id) {
            let update = match registry.is_done(&id, Some(&tracked.item)) {
                true => RecordUpdate::RestoreDone { item: id.clone() },
                false => registry.upsert_for(&tracked.item),
            };
            plan.steps.push(Step::RecordUpdate(update));
        }
        match order {
            Fault::PersonPauses => {
                let pause = Duration::from_secs(self.dice.pick(&[1, 90, 900]));
                let until = Some(world.machine.moment().after(pause));
                plan.steps.push(ordered(None, Action::Pause { until }));
            }
            Fault::PersonRetries if registry.running(&id) => return,
            Fault::PersonRetries => {
                let fresh = self.dice.percent(30);
                let message = self.dice.percent(50).then(|| format!("word {}", self.dice.range(0, 999)));
                let answered =
                    message.is_some() || registry.items.get(&id).is_some_and(ItemRecord::is_answered);
                let goes_on = |agent: &AgentRecord| !fresh && can_go_on(&self.config, agent, answered);
                let sessions = registry.agents_of(&id).filter(|(_, agent)| goes_on(agent));
                let go_on = sessions.map(|(name, _)| name.clone()).collect();
                plan.steps.push(ordered(Some(&id), Action::Retry { item: id.clone(), go_on, message }));
                let asked_again = providers_cooling(&registry).cloned();
                plan.steps
                    .extend(asked_again.map(|scope| ordered(None, Action::CoolOff { scope, cooling: None })));
                self.history.providers.ask_again();
            }
            _ => {
                let runs = registry.agents_of(&id).filter_map(|(_, agent)| agent.run.clone());
                let stops =
                    runs.map(|run| Action::Stop { run, survivors: Vec::new(), dispatch_failed: false });
                if order == Fault::PersonStops {
                    plan.steps.extend(stops.map(|stop| ordered(Some(&id), stop)));
                }
                let park = Action::Park { item: id.clone(), class: None, by_person: true };
                plan.steps.push(ordered(Some(&id), park));
            }
        }
        write_down(world, &mut registry, &plan);
    }

    fn request(&mut self) -> Request {
        let world = &mut *self.world.borrow_mut();
        let reap_only = world.strike(Fault::ReapOnly);
        let one = world.strike(Fault::OneItem).then(|| self.dice.index(world.tracker.items.len()));
        let item = one.and_then(|nth| world.tracker.items.keys().nth(nth).cloned());
        let judge_only = !reap_only && world.strike(Fault::JudgeOnly);
        Request { item: item.filter(|_| !reap_only), reap_only, judge_only, ..Request::default() }
    }

    // -----------------------------------------------------------------------------------------
    // A tick

    fn tick(&mut self, request: Request) -> Result<Came, Broken> {
        self.tally.ticks += 1;
        if self.tally.ticks.is_multiple_of(ITERATIONS) {
            self.last_read = LastRead::default();
        }
        let (before, now, lives, receipts) = {
            let world = &mut *self.world.borrow_mut();
            (world.disk.load(), world.machine.moment(), lives(world), receipts(world))
        };
        if before != self.world.borrow().disk.standing {
            let what = "what was committed is not what is loaded".to_owned();
            return Err(Broken { rule: "the_registry_reads_back", what });
        }
        let credentials = self.world.borrow().machine.providers.credentials(&self.config.roles);
        let hands = Hands(&self.world);
        let stop = || self.world.borrow_mut().time_is_up();
        let clock = || self.world.borrow().machine.moment();
        let tick = Tick {
            config: &self.config,
            source: &hands,
            last_read: &self.last_read,
            fleet: &hands,
            request: request.clone(),
            now: now.clone(),
            until: far_away(),
            local: LocalFacts {
                room: self.room,
                missing_env: self.missing_env.clone(),
                missing_programs: self.missing_programs.clone(),
                credentials: credentials.clone(),
                lineage: "simulated".to_owned(),
                env_error: None,
                workspaces: PathBuf::from("/simulated/workspaces"),
            },
            stop: &stop,
            clock: &clock,
        };
        let plan = self.plan_alone(&tick, &before)?;
        let result = tick::run(&tick, &mut Hands(&self.world), &before).map(|(ticked, _)| ticked);
        self.count_read(&request, result.is_ok());
        if result.is_ok() && request.item.is_none() && request.needs_source() {
            self.world.borrow_mut().retain();
        }
        let world = &*self.world.borrow();
        let ticked = match &result {
            _ if world.dead => {
                self.tally.killed += 1;
                None
            }
            Err(_) => {
                self.tally.failed += 1;
                None
            }
            Ok(ticked) => Some(ticked),
        };
        if let Some(ticked) = ticked
            && ticked.plan != plan
        {
            let what = format!("planned {plan:?}\nand then {:?}", ticked.plan);
            return Err(Broken { rule: "the_same_world_makes_the_same_plan", what });
        }
        let mut intended = before.clone();
        intended.intend(&plan, &now);
        // They are stored apart.
        intended.take_details();
        let scene = Scene {
            config: &self.config,
            request: &request,
            world,
            before: &before,
            now: &now,
            lives: &lives,
            receipts: &receipts,
            credentials: &credentials,
            missing_programs: &self.missing_programs,
            plan: &plan,
            intended: &intended,
            after: &world.disk.standing,
            ticked,
            history: &self.history,
            one_item: request.item.is_some(),
            reap_only: request.reap_only || request.judge_only,
        };
        if self.aloud || self.story.is_some() {
            let line = tell(self.tally.ticks, &request, &scene);
            if self.aloud {
                say(&line);
            }
            if let Some(story) = &mut self.story {
                story.push_str(&line);
            }
        }
        let done = plan.decisions().filter(|(_, one)| matches!(one.action, Action::Done { run: None, .. }));
        self.tally.done += done.count() as u64;
        let checked = check::check(&scene);
        let mut history = self.history.clone();
        history.learn(&scene, request.item.is_some());
        let quiet = plan.is_empty()
            && before == world.disk.standing
            && before.cool_offs.is_empty()
            && world.machine.busy.is_empty();
        self.history = history;
        checked.map(|()| Came { quiet, plan })
    }

    /// Keeps the true count of reads without an item. Nobody edits during a tick.
    fn count_read(&self, request: &Request, committed: bool) {
        let world = &mut *self.world.borrow_mut();
        if !world.today.source_unknown && request.needs_source() {
            let remembered = committed && !world.dead;
            let is_selected = |id: &ItemId| request.item.as_ref().is_none_or(|only| only == id);
            world.tracker.count_read(|id| remembered && is_selected(id));
        }
    }

    /// What a dry run does: it must change nothing, and nobody must notice.
    fn plan_alone(&self, tick: &Tick<'_>, registry: &Registry) -> Result<Plan, Broken> {
        let effects = self.world.borrow().effects;
        let untouched = registry.clone();
        let (plan, _) = tick::plan(tick, registry);
        let clean = self.world.borrow().effects == effects && untouched == *registry;
        let broken = || Broken { rule: "a_plan_changes_nothing", what: format!("{plan:?}") };
        if clean { Ok(plan) } else { Err(broken()) }
    }

    // -----------------------------------------------------------------------------------------
    // The end

    /// From here on nothing goes wrong but agents, and everything must come to rest.
    fn come_to_rest(&mut self) -> Result<(), Broken> {
        {
            let world = &mut *self.world.borrow_mut();
            world.faults.end();
            world.tracker.tidy();
            world.calm_down();
            world.machine.providers.end();
            // The clock may have been set back: nobody waits for the end of such a pause.
            let (mut registry, unpause) = (world.disk.load(), ordered(None, Action::Unpause));
            write_down(world, &mut registry, &Plan { steps: vec![unpause], ..Plan::default() });
        }
        self.config = self.full.clone();
        // Or each day would end the same way; and nobody has so many of them.
        self.config.budget.starts_per_day = 0;
        self.missing_env.clear();
        self.missing_programs.clear();
        self.room = Room::default();
        let pause = self.config.attempts.backoff_max + Duration::from_secs(600);
        let most = self.longest_way_to_rest();
        let mut last = None;
        for ticks in 1..=most {
            {
                let world = &mut *self.world.borrow_mut();
                let pause = pause.max(longest_wait(world));
                world.advance(pause.as_millis() as u64);
                world.begin_tick();
            }
            let one = self.tick(Request::default())?;
            if one.quiet {
                self.tally.to_rest = ticks;
                return self.is_at_rest(&one.plan);
            }
            last = Some(one.plan);
        }
        let what = format!("still at work after {most} ticks without faults: {last:?}");
        Err(Broken { rule: "everything_comes_to_rest", what })
    }

    /// The worst case: items come one after the other, and each uses up its attempts, every one of them with
    /// its uncharged failures (5 in a row park it), one tick to start, see, hand off, reap and release each,
    /// once more for an edit that counts when it ends; and the way out of whatever was under way.
    fn longest_way_to_rest(&self) -> u64 {
        let items = self.world.borrow().tracker.items.len() as u64;
        let attempts = u64::from(self.config.attempts.max);
        // A wait for a provider is over soon and forgotten an hour later.
        20 + 10 + items * (attempts * 5 * 4 + 10) * 2
    }

    /// At rest, nobody waits for something that will not come.
    fn is_at_rest(&self, plan: &Plan) -> Result<(), Broken> {
        let world = &*self.world.borrow();
        let registry = &world.disk.standing;
        let broken = |what: String| Err(Broken { rule: "at_rest_nothing_waits_in_vain", what });
        if let Some((run, handoff)) = registry.handoffs.first_key_value() {
            return broken(format!("the hand-off {run} stays: {handoff:?}"));
        }
        if let Some((name, agent)) = registry.agents.iter().find(|(_, one)| one.state != AgentPhase::Idle) {
            return broken(format!("{name} is not idle: {agent:?}"));
        }
        if let Some(error) = plan.errors.first() {
            return broken(format!("it still complains: {error}"));
        }
        for id in world.tracker.items.keys() {
            let held = plan.held.iter().find(|held| held.item == *id);
            let fine = match registry.phase(id) {
                Some(ItemPhase::Done | ItemPhase::Parked) => true,
                _ if !world.tracker.is_eligible(id) => !registry.items.contains_key(id),
                // What has failed too often waits for a person.
                _ => held.is_some_and(|held| matches!(held.code, HoldReason::Blocked | HoldReason::Breaker)),
            };
            if !fine {
                return broken(format!("{id}: {held:?}, {:?}", registry.items.get(id)));
            }
        }
        Ok(())
    }
}

/// What a command does that is nothing but a plan.
fn write_down(world: &mut World, registry: &mut Registry, plan: &Plan) {
    registry.intend(plan, &world.machine.moment());
    let body = serde_json::to_string(registry).unwrap_or_default();
    world.disk.keep_backup();
    world.disk.publish(body, registry);
}

fn ordered(id: Option<&ItemId>, action: Action) -> Step {
    Step::Decide(Decision { action, item: id.cloned(), because: "ordered".to_owned(), group: 0 })
}

/// What a tick came to.
struct Came {
    /// Nothing was decided, nothing changed, nothing lives.
    quiet: bool,
    plan: Plan,
}

/// What a provider told may be far away by now: the clock was set back since.
fn longest_wait(world: &World) -> Duration {
    let now = world.machine.moment().at;
    let ends = world.disk.standing.cool_offs.values().filter_map(|cool_off| cool_off.until);
    ends.max().and_then(|end| Duration::try_from(end.duration_since(now)).ok()).unwrap_or_default()
}

fn lives(world: &World) -> BTreeMap<RunId, Life> {
    let machine = &world.machine;
    let now = machine.moment();
    let life = |run: &RunId| {
        let one = &machine.runs[run];
        let healthy = one.is_healthy() && !one.is_stuck();
        (run.clone(), Life { live: one.is_live(), healthy, in_hook: one.is_in_hook(&now) })
    };
    machine.busy.iter().map(life).collect()
}

fn receipts(world: &World) -> BTreeSet<RunId> {
    let machine = &world.machine;
    machine.ends.keys().filter(|run| machine.has_receipt(run)).cloned().collect()
}

/// No simulated tick runs into a real clock.
fn far_away() -> Instant {
    Instant::now() + Duration::from_secs(24 * 3600)
}

/// One tick in a few lines.
fn tell(number: u64, request: &Request, scene: &Scene<'_>) -> String {
    let world = scene.world;
    let mut text = String::new();
    let _ = writeln!(
        text,
        "--- {number} at {} ({} ms of {}){}{}",
        scene.now.at,
        scene.now.mono_ms,
        scene.now.boot_id,
        request.item.as_ref().map_or(String::new(), |item: &ItemId| format!(" for {item} alone")),
        match (request.reap_only, request.judge_only) {
            (true, _) => " to reap",
            (_, true) => " to judge",
            _ => "",
        },
    );
    let _ = writeln!(text, "    {:?}", world.today);
    for (_, decision) in scene.plan.decisions() {
        let action = &decision.action;
        let about = action.run().map(ToString::to_string).or(decision.item.as_ref().map(ToString::to_string));
        let _ = writeln!(
            text,
            "    {} {} {}: {}",
            action.name(),
            about.unwrap_or_default(),
            action.code().unwrap_or(""),
            decision.because
        );
    }
    for step in &scene.plan.steps {
        if let Step::RecordUpdate(refresh) = step {
            let _ = writeln!(text, "    {refresh:?}");
        }
    }
    for error in &scene.plan.errors {
        let _ = writeln!(text, "    ! {error}");
    }
    for outcome in scene.ticked.iter().flat_map(|ticked| &ticked.outcomes) {
        let _ = writeln!(text, "    -> {:?}", outcome.outcome);
    }
    if scene.ticked.is_none() {
        let _ = writeln!(text, "    {}", if world.dead { "KILLED" } else { "COMMIT FAILED" });
    }
    for (id, record) in &scene.after.items {
        let _ = writeln!(
            text,
            "    = {id} {:?} attempts {} row {} due {:?} dispatch {} told {:?} missing {}",
            record.state,
            record.attempts,
            record.uncharged_streak,
            record.due_at.map(|due| due.to_string()),
            record.dispatch,
            record.outbox.tracker_note.notified.as_ref().map(|told| (
                told.status,
                told.dispatch,
                told.dropped
            )),
            record.missing_reads,
        );
        for (name, agent) in scene.after.agents_of(id) {
            let _ = writeln!(
                text,
                "      {name} {:?} {:?} ok {} next {:?} session {:?} resumes {}",
                agent.state,
                agent.run.as_ref().map(ToString::to_string),
                agent.succeeded,
                agent.follow_ups.iter().map(|next| next.resume).collect::<Vec<_>>(),
                agent.session,
                agent.resumes
            );
        }
    }
    for (id, tracked) in &world.tracker.items {
        let _ = writeln!(
            text,
            "    ? {id} eligible {} present {} malformed {} missing {} folder away {}",
            world.tracker.is_eligible(id),
            tracked.present,
            tracked.malformed,
            tracked.missing_reads,
            world.tracker.is_away(),
        );
    }
    for (run, handoff) in &scene.after.handoffs {
        let _ = writeln!(text, "      hand-off {run}: {}", handoff.why);
    }
    for run in &world.machine.busy {
        let one = &world.machine.runs[run];
        let _ = writeln!(
            text,
            "      really {run} {:?} main {} others {}",
            one.launcher, one.main_alive, one.others
        );
    }
    text
}
