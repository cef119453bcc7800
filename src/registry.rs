//! What is remembered between ticks, and the only transitions it may make.
//!
//! [`Registry::intend`] applies a plan before any of its effects, [`Registry::note`] applies what became
//! of them. `decide` folds its own steps through [`Registry::apply`] while it plans, so the plan that is
//! committed and the plan that was reasoned about cannot differ.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::backoff::backoff;
use crate::config::Attempts;
use crate::model::{
    Action, AgentName, Class, Happened, ItemId, Launch, Moment, Next, Outcome, Plan, Process, Reaped,
    Refresh, RunId, Status, Step, StraySpec, Survivor, WorkItem, Writeback,
};
use crate::names;

/// Best-effort notes are dropped after this many tries: a tracker that is gone for good must not cost
/// a request per item and tick for ever.
pub const NOTE_TRIES_MAX: u32 = 5;

/// Everything that is remembered. Written whole, read whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    /// Items that were ever dispatched or parked and still matter.
    pub items: BTreeMap<ItemId, ItemRecord>,
    /// Their agents.
    pub agents: BTreeMap<AgentName, AgentRecord>,
    /// Runs that must end, until zero survivors were seen.
    pub handoffs: BTreeMap<RunId, Handoff>,
    /// Names once given; never forgotten.
    pub names: Names,
    /// Cumulative counters.
    pub counters: Counters,
    /// What starts nothing for now, by `role:<name>`.
    pub cool_offs: BTreeMap<String, CoolOff>,
}

/// Where an item stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ItemStanding {
    /// Not in flight; to be dispatched when due.
    Waiting,
    /// A run of it is in flight, or about to follow one by itself.
    Active,
    /// Out of the rotation.
    Parked,
    /// Finished, until it changes.
    Done,
}

/// Who took an item out of the rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParkedBy {
    /// A rule: a change of the item brings it back.
    Rule,
    /// A person: only a person brings it back.
    Person,
}

/// An item.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ItemRecord {
    /// What people call it.
    pub key: String,
    /// Its part of its agents' names.
    pub slug: String,
    /// Where it was read last, within its source.
    pub origin: String,
    /// Where it stands.
    pub state: ItemStanding,
    /// Charged failures since it last changed.
    pub attempts: u32,
    /// No fresh dispatch before this.
    pub due_at: Option<Timestamp>,
    /// Hash of the item as its latest runs were given it.
    pub hash: Option<String>,
    /// Hash of title and body as its latest runs were given them.
    pub content_hash: Option<String>,
    /// How often it was dispatched.
    pub dispatch: u64,
    /// What its tracker was told last.
    pub told: Option<Told>,
    /// How often telling it the next thing has failed in a row.
    pub tell_tries: u32,
    /// Uncharged failures in a row.
    pub infra_row: u32,
    /// Who parked it.
    pub parked_by: Option<ParkedBy>,
    /// The last thing that went wrong or parked it.
    pub last: Option<Last>,
    /// Complete reads in a row that it was missing from.
    pub missing_reads: u32,
}

/// The last thing that went wrong with an item.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Last {
    /// What it means; `None` where a person did it.
    pub class: Option<Class>,
    /// In words.
    pub because: String,
    /// When.
    pub at: Timestamp,
}

/// A note that needs no telling any more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Told {
    /// What was said.
    pub status: Status,
    /// Of which dispatch.
    pub dispatch: u64,
    /// True where it was given up instead.
    pub dropped: bool,
}

/// Whether an agent has a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentStanding {
    /// No run.
    Idle,
    /// A run was intended; nobody has seen it yet.
    Starting,
    /// Its run was seen.
    Running,
}

/// An agent: one role at one item.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentRecord {
    /// The item.
    pub item: ItemId,
    /// The role's name.
    pub role: String,
    /// The harness of its latest run.
    pub harness: String,
    /// Number of its latest run.
    pub n: u64,
    /// Whether it has a run.
    pub state: AgentStanding,
    /// That run.
    pub run: Option<RunId>,
    /// When the run was intended; once it was seen, when it was claimed.
    pub since: Option<Moment>,
    /// The launcher's pid, for people.
    pub pid: Option<u32>,
    /// The launcher.
    pub process: Option<Process>,
    /// Its latest session.
    pub session: Option<String>,
    /// How often that session was resumed.
    pub resumes: u32,
    /// Whether its latest run is a resume.
    pub resumed: bool,
    /// When its latest run was over for us.
    pub stopped_at: Option<Timestamp>,
    /// Whether the role is done for this item.
    pub ok: bool,
    /// What it does next by itself.
    pub next: Option<Next>,
    /// The item's dispatch that its latest run belongs to.
    pub dispatch: u64,
    /// Longest life of its run, in milliseconds from the claim.
    pub deadline_ms: Option<u64>,
    /// Cost of its runs in US dollars, where the harness tells it.
    pub cost: Option<f64>,
    /// Tokens of its runs, where the harness tells them.
    pub tokens: Option<u64>,
}

/// A run that must end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Handoff {
    /// The item; `None` where nobody knows any more.
    pub item: Option<ItemId>,
    /// The agent.
    pub agent: AgentName,
    /// Why it must end.
    pub why: String,
    /// Since when.
    pub since: Timestamp,
    /// Its launcher, if it was ever seen.
    pub process: Option<Process>,
    /// What could not be ended so far.
    pub survivors: Vec<Survivor>,
    /// Whether a failed dispatch left it.
    pub dispatch_failed: bool,
    /// Whether protected processes among its own were counted already.
    pub skips_counted: bool,
}

/// Names once given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Names {
    /// By item.
    pub items: BTreeMap<ItemId, Named>,
    /// The highest run number ever used, by agent.
    pub last_n: BTreeMap<AgentName, u64>,
}

/// The names of one item.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    /// Its part of its agents' names.
    pub slug: String,
    /// The directory name of its workspace.
    pub workspace: String,
}

impl Names {
    fn raise(&mut self, run: &RunId) {
        let last = self.last_n.entry(run.agent.clone()).or_default();
        *last = (*last).max(run.n);
    }

    /// The run that this agent would have next.
    pub fn next_run(&self, agent: &AgentName) -> RunId {
        RunId { agent: agent.clone(), n: self.last_n.get(agent).copied().unwrap_or(0) + 1 }
    }
}

/// Something that starts nothing for now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoolOff {
    /// Why.
    pub because: String,
    /// Since when.
    pub since: Timestamp,
    /// Until when; `None`: until its reason is gone.
    pub until: Option<Timestamp>,
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What was ever counted. Units are runs; survivors and skips count once per hand-off.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct Counters { $($(#[$doc])* pub $name: u64,)* }
    };
}

counters! {
    /// Runs whose claim was seen.
    dispatched,
    /// Starts that a live or unseen run of the same agent suppressed.
    dispatch_duplicate_suppressed,
    /// Charged failures that were backed off.
    dispatch_backoffs,
    /// Items that a rule parked.
    dispatch_terminal_failures,
    /// Runs that a failed dispatch handed off.
    dispatch_failure_reaper_handoffs,
    /// Those of them whose processes could not all be ended at the first try.
    dispatch_failure_reaper_handoff_failures,
    /// Hand-offs that ended with zero survivors.
    handoffs_reaped,
    /// Runs that went on with a session and whose claim was seen.
    resumes,
    /// Resumes whose name was taken.
    resume_name_collisions,
    /// Resumes whose session was gone.
    sessions_not_found,
    /// Runs whose left-over processes a tick ended.
    agents_reaped,
    /// Hand-offs with processes that could not be ended.
    survivors,
    /// Recorded processes whose pid was somebody else's by then.
    pid_identity_mismatches,
    /// Hand-offs with a process that was left alone because it is protected.
    protected_pid_skips,
    /// Runs fenced off because nobody had claimed them in time.
    fences,
    /// Ticks that died in the middle.
    crashed_ticks,
}

impl Registry {
    /// The agents of an item. Agents are keyed by slug, so this reads its neighbours only.
    pub fn agents_of<'a>(&'a self, id: &'a ItemId) -> impl Iterator<Item = (&'a AgentName, &'a AgentRecord)> {
        let prefix = self.names.items.get(id).map(|named| format!("{}-", named.slug)).unwrap_or_default();
        let from = AgentName(prefix.clone());
        self.agents
            .range(from..)
            .take_while(move |(name, _)| name.0.starts_with(&prefix))
            .filter(move |(_, agent)| agent.item == *id)
    }

    /// Whether a run of the item may be alive: intended, seen, or handed off.
    pub fn in_flight(&self, id: &ItemId) -> bool {
        self.running(id) || self.handoffs_of(id).next().is_some()
    }

    /// Whether an agent of the item has a run.
    pub fn running(&self, id: &ItemId) -> bool {
        self.agents_of(id).any(|(_, agent)| agent.state != AgentStanding::Idle)
    }

    /// The hand-offs of an item.
    pub fn handoffs_of<'a>(&'a self, id: &'a ItemId) -> impl Iterator<Item = (&'a RunId, &'a Handoff)> {
        self.handoffs.iter().filter(move |(_, handoff)| handoff.item.as_ref() == Some(id))
    }

    /// The record of an item that is to be remembered, with the names that it has or gets now.
    pub fn seen_as(&self, item: &WorkItem) -> Refresh {
        let given = &self.names.items;
        let (slug, workspace) = match given.get(&item.id) {
            Some(named) => (named.slug.clone(), named.workspace.clone()),
            None => (
                names::slug(&item.key, &item.id, |slug| given.values().any(|named| named.slug == slug)),
                names::workspace(&item.key, &item.id, |name| {
                    given.values().any(|named| named.workspace == name)
                }),
            ),
        };
        let (key, origin) = (item.key.clone(), item.origin.clone());
        Refresh::Seen { item: item.id.clone(), key, origin, slug, workspace }
    }

    /// Writes a plan down before any of its effects.
    pub fn intend(&mut self, plan: &Plan, now: &Moment) {
        for step in &plan.steps {
            self.apply(step, now);
        }
    }

    /// Applies one step of a plan.
    pub fn apply(&mut self, step: &Step, now: &Moment) {
        match step {
            Step::Refresh(refresh) => self.refresh(refresh),
            Step::Decide(decision) => {
                self.act(&decision.action, decision.item.as_ref(), &decision.because, now);
                if let Some(item) = &decision.item {
                    self.settle(item);
                }
            }
        }
    }

    fn act(&mut self, action: &Action, item: Option<&ItemId>, because: &str, now: &Moment) {
        match action {
            Action::Adopt { run, launcher } => {
                let Some(agent) = self.current(run) else { return };
                agent.state = AgentStanding::Running;
                agent.since = Some(launcher.since.clone());
                agent.pid = Some(launcher.process.pid);
                agent.process = Some(launcher.process.clone());
                let resumed = agent.resumed;
                self.counters.dispatched += 1;
                self.counters.resumes += u64::from(resumed);
            }
            Action::AdoptStray { run, spec } => self.adopt_stray(run, spec),
            Action::Start(launch) => self.start(launch, now, false),
            Action::Resume(launch) => self.start(launch, now, true),
            Action::Fence { run } => self.names.raise(run),
            Action::Stop { run, survivors, dispatch_failed } => {
                self.hand_off(run, item, because, now, survivors, *dispatch_failed);
            }
            Action::Done { run: Some(run), item, said } => {
                self.end_run(run, now);
                if let Some(agent) = self.agents.get_mut(&run.agent) {
                    agent.ok = true;
                    agent.next = None;
                    note_session(agent, said.session.as_deref());
                }
                if let Some(record) = self.items.get_mut(item) {
                    record.infra_row = 0;
                }
            }
            Action::Done { run: None, item, .. } => {
                let Some(record) = self.items.get_mut(item) else { return };
                record.state = ItemStanding::Done;
                record.due_at = None;
                record.tell_tries = 0;
            }
            Action::Fail { item, run, class, said, next, due_at, duplicate } => {
                self.counters.dispatch_duplicate_suppressed += u64::from(*duplicate);
                match run {
                    Some(run) => self.fail_run(run, *class, said.session.as_deref(), next.clone(), now),
                    // Whatever was to follow by itself follows with the item's next dispatch.
                    None => self.forget_next(item),
                }
                self.blame(item, *class, because, *due_at, now);
            }
            Action::Park { item, class, by_person } => self.park(item, *class, *by_person, because, now),
            Action::Forget { item } => {
                let gone: Vec<_> = self.agents_of(item).map(|(name, _)| name.clone()).collect();
                gone.iter().for_each(|name| drop(self.agents.remove(name)));
                self.items.remove(item);
            }
            Action::Release { run } => {
                if self.handoffs.remove(run).is_some() {
                    self.counters.handoffs_reaped += 1;
                }
            }
            Action::CoolOff { scope, reason: Some(reason) } => {
                let cool_off = CoolOff { because: reason.clone(), since: now.at, until: None };
                self.cool_offs.insert(scope.clone(), cool_off);
            }
            Action::CoolOff { scope, reason: None } => drop(self.cool_offs.remove(scope)),
            Action::Reap(_) | Action::Writeback(_) => {}
        }
    }

    fn refresh(&mut self, refresh: &Refresh) {
        match refresh {
            Refresh::Seen { item, key, origin, slug, workspace } => {
                let named = Named { slug: slug.clone(), workspace: workspace.clone() };
                let slug = self.names.items.entry(item.clone()).or_insert(named).slug.clone();
                let record = self.items.entry(item.clone()).or_insert_with(|| ItemRecord::new(slug));
                record.key = key.clone();
                record.origin = origin.clone();
                record.missing_reads = 0;
            }
            Refresh::Missing { item, reads } => {
                if let Some(record) = self.items.get_mut(item) {
                    record.missing_reads = *reads;
                }
            }
            Refresh::Used { run } => self.names.raise(run),
            Refresh::Given { item, hash, content_hash } => {
                if let Some(record) = self.items.get_mut(item) {
                    record.hash = Some(hash.clone());
                    record.content_hash = Some(content_hash.clone());
                }
            }
            Refresh::Renew { item, .. } => {
                let Some(record) = self.items.get_mut(item) else { return };
                *record = ItemRecord {
                    key: record.key.clone(),
                    origin: record.origin.clone(),
                    hash: record.hash.clone(),
                    content_hash: record.content_hash.clone(),
                    dispatch: record.dispatch,
                    told: record.told.clone(),
                    ..ItemRecord::new(record.slug.clone())
                };
                for agent in self.agents.values_mut().filter(|agent| agent.item == *item) {
                    agent.ok = false;
                    agent.next = None;
                }
            }
            Refresh::Clamp { item, due_at } => {
                if let Some(record) = self.items.get_mut(item) {
                    record.due_at = Some(*due_at);
                }
            }
            Refresh::Session { run, session } => {
                if let Some(agent) = self.current(run) {
                    note_session(agent, Some(session));
                }
            }
            Refresh::RoleGone { agent } => drop(self.agents.remove(agent)),
        }
    }

    /// Writes down what became of a plan's effects.
    pub fn note(&mut self, plan: &Plan, outcomes: &[Outcome], attempts: &Attempts, now: &Moment) {
        self.withdraw_all(plan, outcomes, now);
        for outcome in outcomes {
            let Some(Step::Decide(decision)) = plan.steps.get(outcome.step) else { continue };
            match (&decision.action, &outcome.happened) {
                (Action::Start(launch) | Action::Resume(launch), happened) => {
                    self.note_start(launch, happened, attempts, now);
                }
                (Action::Fence { run }, Happened::FenceWon) => {
                    self.counters.fences += 1;
                    self.names.raise(run);
                }
                // A run that nobody knew and that does live: from now on it is known, as one to end.
                (Action::Fence { run }, Happened::FenceLost) if !self.knows(run) => {
                    self.hand_off(run, decision.item.as_ref(), &decision.because, now, &[], false);
                }
                (Action::Reap(reap), Happened::Reaped(reaped)) => self.note_reaped(&reap.run, reaped, now),
                (Action::Writeback(note), Happened::Told) => self.note_told(note, false),
                (Action::Writeback(note), Happened::Failed(error)) => {
                    self.note_untold(note, error, attempts, now);
                }
                _ => {}
            }
            if let Some(item) = &decision.item {
                self.settle(item);
            }
        }
    }

    /// Everything that was not started, before anything is made of it: whether one of a crew starts again by
    /// itself depends on whether any other of them was started.
    fn withdraw_all(&mut self, plan: &Plan, outcomes: &[Outcome], now: &Moment) {
        for outcome in outcomes {
            if let Happened::NotTried(_) | Happened::NotStarted { .. } = outcome.happened
                && let Some(Step::Decide(decision)) = plan.steps.get(outcome.step)
                && let Action::Start(launch) | Action::Resume(launch) = &decision.action
            {
                self.withdraw(&launch.run, now);
            }
        }
    }

    fn note_start(&mut self, launch: &Launch, happened: &Happened, attempts: &Attempts, now: &Moment) {
        let resume = launch.session.is_some();
        // Due at once, whatever the wall clock does meanwhile.
        let again = Next { resume, due_at: Timestamp::MIN };
        match happened {
            Happened::NotTried(_) => self.try_again(launch, again),
            Happened::NotStarted { class: Class::Infra, error } => {
                self.try_again(launch, again);
                self.blame(&launch.item, Class::Infra, error, None, now);
            }
            Happened::NotStarted { class, error } if resume => {
                self.charge(&launch.item, *class, error, attempts, now);
            }
            Happened::NotStarted { class, error } => {
                self.fail_dispatch(&launch.item, *class, error, attempts, now);
            }
            _ => {}
        }
    }

    /// What was not started is still to be started: a resume, or one of a crew that runs, by itself; any
    /// other with its item's next dispatch.
    fn try_again(&mut self, launch: &Launch, again: Next) {
        let alone = again.resume || self.running(&launch.item);
        if let Some(agent) = self.agents.get_mut(&launch.run.agent) {
            agent.next = alone.then_some(again);
        }
    }

    fn note_reaped(&mut self, run: &RunId, reaped: &Reaped, now: &Moment) {
        self.counters.pid_identity_mismatches += reaped.identity_mismatches;
        if reaped.survivors.is_empty() && !reaped.signalled.is_empty() {
            self.counters.agents_reaped += 1;
        }
        let Some(handoff) = self.handoffs.get_mut(run) else { return };
        let first_survivors = handoff.survivors.is_empty() && !reaped.survivors.is_empty();
        handoff.survivors = reaped.survivors.clone();
        if !reaped.skipped.is_empty() && !handoff.skips_counted {
            handoff.skips_counted = true;
            self.counters.protected_pid_skips += 1;
        }
        if first_survivors {
            let dispatch_failed = handoff.dispatch_failed;
            let item = handoff.item.clone();
            self.counters.survivors += 1;
            self.counters.dispatch_failure_reaper_handoff_failures += u64::from(dispatch_failed);
            if let Some(item) = item {
                let why =
                    format!("processes of {run} could not be ended: {}", name_survivors(&reaped.survivors));
                self.park(&item, None, false, &why, now);
            }
        }
    }

    fn note_told(&mut self, note: &Writeback, dropped: bool) {
        let Some(record) = self.items.get_mut(&note.item) else { return };
        record.told = Some(Told { status: note.status, dispatch: note.dispatch, dropped });
        record.tell_tries = 0;
    }

    fn note_untold(&mut self, note: &Writeback, error: &str, attempts: &Attempts, now: &Moment) {
        if note.required && note.status == Status::Started {
            // Tried once per dispatch: told or not, this dispatch is over.
            self.note_told(note, true);
            return self.fail_dispatch(&note.item, Class::Writeback, error, attempts, now);
        }
        let Some(record) = self.items.get_mut(&note.item) else { return };
        record.tell_tries += 1;
        if record.tell_tries >= NOTE_TRIES_MAX && !note.required {
            self.note_told(note, true);
        }
    }

    /// One charge on the item, and every run of the dispatch is handed off.
    fn fail_dispatch(
        &mut self,
        item: &ItemId,
        class: Class,
        because: &str,
        attempts: &Attempts,
        now: &Moment,
    ) {
        let Some(dispatch) = self.items.get(item).map(|record| record.dispatch) else { return };
        let ours: Vec<_> = self
            .agents_of(item)
            .filter(|(_, agent)| agent.dispatch == dispatch)
            .map(|(name, agent)| (name.clone(), agent.run.clone()))
            .collect();
        for (name, run) in ours {
            if let Some(run) = run {
                self.hand_off(&run, Some(item), because, now, &[], true);
            }
            let Some(agent) = self.agents.get_mut(&name) else { continue };
            agent.next = None;
            // What was never announced must not count as done.
            agent.ok &= class != Class::Writeback;
        }
        self.charge(item, class, because, attempts, now);
    }

    fn charge(&mut self, item: &ItemId, class: Class, because: &str, attempts: &Attempts, now: &Moment) {
        let Some(record) = self.items.get(item) else { return };
        let due_at = now.after(backoff(attempts, item, record.attempts + 1));
        self.blame(item, class, because, Some(due_at), now);
    }

    /// Writes a failure down at the item, charged or not as its class says.
    fn blame(&mut self, item: &ItemId, class: Class, because: &str, due_at: Option<Timestamp>, now: &Moment) {
        let Some(record) = self.items.get_mut(item) else { return };
        if class.charged() {
            record.attempts += 1;
            record.infra_row = 0;
            self.counters.dispatch_backoffs += u64::from(due_at.is_some());
        } else {
            record.infra_row += 1;
        }
        record.due_at = due_at.or(record.due_at);
        record.last = Some(Last { class: Some(class), because: because.to_owned(), at: now.at });
    }

    fn start(&mut self, launch: &Launch, now: &Moment, resumed: bool) {
        self.names.raise(&launch.run);
        let Some(record) = self.items.get_mut(&launch.item) else { return };
        record.state = ItemStanding::Active;
        // One that starts again alone may be given a later text than its crew was. The first one counts: that
        // there is a later one must not be forgotten.
        if launch.dispatch > record.dispatch {
            record.dispatch = launch.dispatch;
            record.hash = Some(launch.hash.clone());
            record.content_hash = Some(launch.content_hash.clone());
        }
        if !resumed {
            record.due_at = None;
            record.tell_tries = 0;
        }
        let before = self.agents.get(&launch.run.agent);
        let resumes = if resumed { before.map_or(0, |agent| agent.resumes) + 1 } else { 0 };
        let agent = AgentRecord {
            item: launch.item.clone(),
            role: launch.role.clone(),
            harness: launch.harness.clone(),
            n: launch.run.n,
            state: AgentStanding::Starting,
            run: Some(launch.run.clone()),
            since: Some(now.clone()),
            pid: None,
            process: None,
            session: launch.session.clone(),
            resumes,
            resumed,
            stopped_at: None,
            ok: false,
            next: None,
            dispatch: launch.dispatch,
            deadline_ms: launch.deadline.map(|deadline| deadline.as_millis() as u64),
            cost: before.and_then(|agent| agent.cost),
            tokens: before.and_then(|agent| agent.tokens),
        };
        self.agents.insert(launch.run.agent.clone(), agent);
    }

    fn adopt_stray(&mut self, run: &RunId, spec: &StraySpec) {
        self.names.raise(run);
        let named = Named { slug: spec.slug.clone(), workspace: spec.workspace.clone() };
        let slug = self.names.items.entry(spec.item.clone()).or_insert(named).slug.clone();
        let record = self.items.entry(spec.item.clone()).or_insert_with(|| ItemRecord::new(slug));
        if record.key.is_empty() {
            record.key = spec.key.clone();
        }
        if record.state != ItemStanding::Parked {
            record.state = ItemStanding::Active;
        }
        record.dispatch = record.dispatch.max(spec.dispatch);
        let resumed = spec.session.is_some();
        let agent = AgentRecord {
            item: spec.item.clone(),
            role: spec.role.clone(),
            harness: spec.harness.clone(),
            n: run.n,
            state: AgentStanding::Starting,
            run: Some(run.clone()),
            since: Some(spec.since.clone()),
            pid: None,
            process: None,
            session: spec.session.clone(),
            resumes: u32::from(resumed),
            resumed,
            stopped_at: None,
            ok: false,
            next: None,
            dispatch: spec.dispatch,
            deadline_ms: None,
            cost: None,
            tokens: None,
        };
        self.agents.insert(run.agent.clone(), agent);
    }

    /// The agent whose current run this is.
    fn current(&mut self, run: &RunId) -> Option<&mut AgentRecord> {
        self.agents.get_mut(&run.agent).filter(|agent| agent.run.as_ref() == Some(run))
    }

    fn knows(&self, run: &RunId) -> bool {
        let current = self.agents.get(&run.agent).is_some_and(|agent| agent.run.as_ref() == Some(run));
        current || self.handoffs.contains_key(run)
    }

    /// Between runs nothing of a run is left in the agent but its number and its session.
    fn end_run(&mut self, run: &RunId, now: &Moment) {
        let Some(agent) = self.current(run) else { return };
        agent.state = AgentStanding::Idle;
        agent.run = None;
        agent.since = None;
        agent.pid = None;
        agent.process = None;
        agent.stopped_at = Some(now.at);
    }

    /// A start that is known not to have happened. Its number stays used; its resume was none.
    fn withdraw(&mut self, run: &RunId, now: &Moment) {
        if let Some(agent) = self.current(run).filter(|agent| agent.resumed) {
            agent.resumes = agent.resumes.saturating_sub(1);
        }
        self.end_run(run, now);
    }

    fn fail_run(
        &mut self,
        run: &RunId,
        class: Class,
        session: Option<&str>,
        next: Option<Next>,
        now: &Moment,
    ) {
        let never_claimed = self.current(run).is_some_and(|agent| agent.state == AgentStanding::Starting);
        if class == Class::Infra && never_claimed {
            self.withdraw(run, now);
        } else {
            self.end_run(run, now);
        }
        let Some(agent) = self.agents.get_mut(&run.agent) else { return };
        note_session(agent, session);
        agent.next = next;
        if class == Class::SessionGone {
            agent.session = None;
            agent.resumes = 0;
            self.counters.sessions_not_found += 1;
        }
    }

    fn hand_off(
        &mut self,
        run: &RunId,
        item: Option<&ItemId>,
        why: &str,
        now: &Moment,
        survivors: &[Survivor],
        dispatch_failed: bool,
    ) {
        self.names.raise(run);
        let of_agent = self.agents.get(&run.agent).map(|agent| &agent.item);
        let item = item.or(of_agent).cloned();
        let process = self.current(run).and_then(|agent| agent.process.clone());
        let handoff = Handoff {
            item,
            agent: run.agent.clone(),
            why: why.to_owned(),
            since: now.at,
            process,
            survivors: survivors.to_vec(),
            dispatch_failed,
            skips_counted: false,
        };
        self.end_run(run, now);
        if let Some(agent) = self.agents.get_mut(&run.agent) {
            agent.next = None;
        }
        self.counters.survivors += u64::from(!survivors.is_empty());
        self.counters.dispatch_failure_reaper_handoffs += u64::from(dispatch_failed);
        self.handoffs.entry(run.clone()).or_insert(handoff);
    }

    fn park(&mut self, item: &ItemId, class: Option<Class>, by_person: bool, because: &str, now: &Moment) {
        let Some(record) = self.items.get_mut(item) else { return };
        // A rule never takes over what a person parked: the person's word must hold. Nor what is done: that it
        // is must be remembered, or the work is done again.
        let settled = record.parked_by == Some(ParkedBy::Person) || record.state == ItemStanding::Done;
        if settled && !by_person {
            return;
        }
        record.state = ItemStanding::Parked;
        record.parked_by = Some(if by_person { ParkedBy::Person } else { ParkedBy::Rule });
        record.due_at = None;
        record.tell_tries = 0;
        record.last = Some(Last { class, because: because.to_owned(), at: now.at });
        self.counters.dispatch_terminal_failures += u64::from(!by_person);
        self.forget_next(item);
    }

    fn forget_next(&mut self, item: &ItemId) {
        for agent in self.agents.values_mut().filter(|agent| agent.item == *item) {
            agent.next = None;
        }
    }

    /// An active item of which nothing runs or follows by itself waits for its next dispatch.
    fn settle(&mut self, item: &ItemId) {
        let busy =
            self.agents_of(item).any(|(_, agent)| agent.state != AgentStanding::Idle || agent.next.is_some());
        if let Some(record) = self.items.get_mut(item)
            && record.state == ItemStanding::Active
            && !busy
        {
            record.state = ItemStanding::Waiting;
        }
    }
}

impl ItemRecord {
    fn new(slug: String) -> ItemRecord {
        ItemRecord {
            key: String::new(),
            slug,
            origin: String::new(),
            state: ItemStanding::Waiting,
            attempts: 0,
            due_at: None,
            hash: None,
            content_hash: None,
            dispatch: 0,
            told: None,
            tell_tries: 0,
            infra_row: 0,
            parked_by: None,
            last: None,
            missing_reads: 0,
        }
    }
}

/// Another session than before has not been resumed yet.
fn note_session(agent: &mut AgentRecord, session: Option<&str>) {
    if let Some(session) = session.filter(|session| agent.session.as_deref() != Some(session)) {
        agent.session = Some(session.to_owned());
        agent.resumes = 0;
    }
}

/// `4711 (sleep): operation not permitted`, for people.
pub fn name_survivors(survivors: &[Survivor]) -> String {
    let names: Vec<_> =
        survivors.iter().map(|one| format!("{} ({}): {}", one.pid, one.comm, one.because)).collect();
    names.join(", ")
}
