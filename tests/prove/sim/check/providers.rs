//! What must hold of agents that need a provider: nobody pays for its troubles, nobody hammers on it, and everybody goes
//! on when it answers again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use factory_tick::model::{Action, FailureClass, Launch, RunFacts, RunId};
use factory_tick::registry::{AgentRecord, CoolOff};
use jiff::Timestamp;

use super::super::machine::Ending;
use super::{Scene, ensure};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// What costs an item an attempt.
const PAID: [FailureClass; 6] = [
    FailureClass::Agent,
    FailureClass::Vanished,
    FailureClass::Deadline,
    FailureClass::Stalled,
    FailureClass::Launch,
    FailureClass::Writeback,
];

/// What is remembered of earlier ticks.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Memory {
    /// By role: the credentials that a provider refused.
    refused: BTreeMap<String, String>,
    /// By harness: the latest time that its provider told to come back at.
    told: BTreeMap<String, Timestamp>,
    /// By session: what was counted of it so far, where its program tells what all of it has used.
    counted: BTreeMap<String, u64>,
    /// When the last tick began.
    last: Option<factory_tick::model::ClockReading>,
}

impl Memory {
    /// A person wants providers asked again.
    pub(in super::super) fn ask_again(&mut self) {
        self.refused.clear();
        self.told.clear();
    }

    /// Takes in what a tick made durable.
    pub(super) fn learn(&mut self, scene: &Scene<'_>) {
        for judged in scene.judged().filter(|judged| is_durable(scene, judged.run)) {
            let Some(ending) = judged.ending else { continue };
            if let (Some(session), Some(tokens)) = (&ending.session, judged.facts.usage.tokens) {
                *self.counted.entry(session.clone()).or_default() += tokens;
            }
        }
        self.told = tellings(scene, |run| is_durable(scene, run));
        self.refused = refusals(scene, |run| is_durable(scene, run));
        self.last = Some(scene.now.clone());
    }
}

/// A verdict on a run.
struct Judged<'a> {
    run: &'a RunId,
    /// `None`: it ended well.
    class: Option<FailureClass>,
    facts: &'a RunFacts,
    record: Option<&'a AgentRecord>,
    /// What was true of it, where it was over when the tick began and left a receipt.
    ending: Option<&'a Ending>,
}

impl Judged<'_> {
    fn is_of_provider(&self) -> bool {
        matches!(self.class, Some(FailureClass::RateLimited | FailureClass::Unreachable))
    }

    /// Whether a provider must have answered it.
    fn was_answered(&self) -> bool {
        matches!(
            self.class,
            None | Some(
                FailureClass::Agent
                    | FailureClass::NeedsInput
                    | FailureClass::NoEffect
                    | FailureClass::Unfinished
            )
        )
    }
}

impl<'a> Scene<'a> {
    fn judged(&self) -> impl Iterator<Item = Judged<'a>> {
        let (before, world, receipts) = (self.before, self.world, self.receipts);
        self.actions().filter_map(move |action| {
            let (run, class, facts) = match action {
                Action::Done { run: Some(run), facts, .. } => (run, None, facts),
                Action::Fail { run: Some(run), class, facts, .. } => (run, Some(*class), facts),
                _ => return None,
            };
            let record = before.agents.get(&run.agent).filter(|agent| agent.run.as_ref() == Some(run));
            // A run whose claim was taken away counts as one that never ran where its required note was never told.
            let is_untold = world.machine.unclaimed.contains(run) && class == Some(FailureClass::Infra);
            let ending = world.machine.ends.get(run).filter(|_| receipts.contains(run) && !is_untold);
            Some(Judged { run, class, facts, record, ending })
        })
    }

    pub(super) fn launches(&self) -> impl Iterator<Item = &'a Launch> {
        self.actions().filter_map(|action| match action {
            Action::Start(launch) | Action::Resume(launch) => Some(&**launch),
            _ => None,
        })
    }

    fn harnesses(&self) -> BTreeSet<&'a str> {
        self.config.roles.iter().filter(|role| role.preset().is_some()).map(|role| &*role.harness).collect()
    }

    fn removes(&self, scope: &str) -> bool {
        self.actions().any(
            |action| matches!(action, Action::CoolOff { scope: removed, cooling: None } if removed == scope),
        )
    }

    /// The wait that the tick found, as it should be understood: one that begins later than now begins now.
    fn waits(&self, scope: &str) -> Option<(&'a CoolOff, Timestamp)> {
        let cool_off = self.before.cool_offs.get(scope)?;
        let until = cool_off.until?;
        let wait = Duration::try_from(until.duration_since(cool_off.begun.at)).unwrap_or_default();
        Some((cool_off, if cool_off.begun.at > self.now.at { self.now.after(wait) } else { until }))
    }

    /// Whether a run was claimed when a wait had begun; `None`: nobody can tell.
    fn is_later(&self, judged: &Judged<'_>, cool_off: &CoolOff) -> Option<bool> {
        let (claimed, begun) = (&judged.ending?.claimed, &cool_off.begun);
        let boots = [&claimed.boot_id, &begun.boot_id, &self.now.boot_id];
        // Two earlier boots: the program can't know which was the first.
        (boots[0] == boots[1] || boots[0] == boots[2] || boots[1] == boots[2])
            .then(|| self.world.machine.is_not_before(claimed, begun))
    }

    /// What the end of a run told, where the clock was left alone since.
    fn reset_told(&self, ending: &Ending) -> Option<Timestamp> {
        let by_wall = self.now.at.duration_since(ending.ended.at).as_millis();
        let age = self.now.since(&ending.ended)?.as_millis() as i128;
        ending.reset.filter(|_| by_wall == age)
    }

    fn clock_was_set(&self) -> bool {
        self.history.providers.last.as_ref().is_some_and(|last| {
            let passed = self.now.since(last).map(|age| age.as_millis() as i128);
            passed != Some(self.now.at.duration_since(last.at).as_millis())
        })
    }
}

fn is_durable(scene: &Scene<'_>, run: &RunId) -> bool {
    scene.after.agents.get(&run.agent).is_none_or(|agent| agent.run.as_ref() != Some(run))
}

fn scope_of(harness: &str) -> String {
    format!("harness:{harness}")
}

/// By harness: the latest reset that was told so far, and not overtaken by an answer.
fn tellings(scene: &Scene<'_>, counts: impl Fn(&RunId) -> bool) -> BTreeMap<String, Timestamp> {
    let mut told = match scene.clock_was_set() {
        true => BTreeMap::new(),
        false => scene.history.providers.told.clone(),
    };
    for judged in scene.judged().filter(|judged| judged.is_of_provider() && counts(judged.run)) {
        let Some(ending) = judged.ending else { continue };
        if let Some(reset) = scene.reset_told(ending) {
            let latest = told.entry(ending.harness.clone()).or_insert(reset);
            *latest = (*latest).max(reset);
        }
    }
    told.retain(|harness, _| scene.intended.cool_offs.contains_key(&scope_of(harness)));
    told
}

/// By role: the credentials that were refused and are still those that it would be given.
fn refusals(scene: &Scene<'_>, counts: impl Fn(&RunId) -> bool) -> BTreeMap<String, String> {
    let mut refused = scene.history.providers.refused.clone();
    for judged in scene.judged().filter(|judged| counts(judged.run)) {
        let Some((ending, record)) = judged.ending.zip(judged.record) else { continue };
        if judged.class == Some(FailureClass::Denied) && record.credentials.is_some() {
            refused.extend(ending.credentials.clone().map(|key| (record.spec.role.clone(), key)));
        } else if judged.was_answered() {
            // With the same credentials: it was a mistake.
            refused
                .retain(|role, key| *role != record.spec.role || Some(&*key) != ending.credentials.as_ref());
        }
    }
    refused.retain(|role, key| scene.credentials.get(role) == Some(key));
    refused
}

/// The verdict is what the program printed or its launcher did, and costs an attempt only where it is the agent's fault.
pub(super) fn what_a_program_says_is_understood(scene: &Scene<'_>) -> Result<(), String> {
    for (id, before) in &scene.before.items {
        let of_item = |action: &&Action| match action {
            Action::Fail { item, class, .. } if item == id => {
                // One that is unfinished is free the first time.
                PAID.contains(class) || *class == FailureClass::Unfinished && scene.is_charged(action)
            }
            _ => false,
        };
        let paid = scene.actions().filter(of_item).count();
        let attempts = scene.intended.items.get(id).map_or(0, |item| item.attempts);
        ensure(attempts as usize <= before.attempts as usize + paid, || {
            format!(
                "{id} had {} attempts and has {attempts}, for {paid} failures of its own",
                before.attempts
            )
        })?;
    }
    scene.judged().try_for_each(|judged| {
        let Some(ending) = judged.ending else { return Ok(()) };
        let Some(class) = ending.means() else { return Ok(()) };
        let is_full = scene.world.machine.room_of(judged.run).is_some_and(|free| free.is_full());
        if is_full && judged.class == Some(FailureClass::Machine) {
            return Ok(());
        }
        ensure(judged.class == class, || {
            format!("{} is {:?}: {ending:?} means {class:?}", judged.run, judged.class)
        })
    })
}

/// What ends of runs told of their cost is on record at the agent and the day, once, and stays.
pub(super) fn what_is_told_is_spent(scene: &Scene<'_>) -> Result<(), String> {
    let mut counted = scene.history.providers.counted.clone();
    let mut of_agents: BTreeMap<_, (f64, u64)> = BTreeMap::new();
    for judged in scene.judged() {
        let usage = &judged.facts.usage;
        let told = judged.ending.and_then(|ending| ending.micro_usd);
        ensure(usage.micro_usd == told, || {
            format!("{} told of {told:?} millionths, and {:?} are counted", judged.run, usage.micro_usd)
        })?;
        let spent = of_agents.entry(judged.run.agent.clone()).or_default();
        spent.0 += told.unwrap_or(0) as f64 / 1e6;
        spent.1 += usage.tokens.unwrap_or(0);
        let Some(ending) = judged.ending else { continue };
        let all = match &ending.session {
            Some(session) if ending.harness == "codex" => {
                let all = counted.entry(session.clone()).or_default();
                *all += usage.tokens.unwrap_or(0);
                // What was counted of it may have been lost.
                (scene.world.disk.losses == 0).then_some(*all)
            }
            _ => usage.tokens,
        };
        ensure(ending.tokens.is_none() || all.is_none() || all == ending.tokens, || {
            format!("{} told of {:?} tokens, and {all:?} are counted", judged.run, ending.tokens)
        })?;
    }
    let same = |one: Option<f64>, other: f64| (one.unwrap_or(0.0) - other).abs() < 1e-6;
    let (before, now) = (scene.before.daily_spend(scene.now.at), scene.intended.daily_spend(scene.now.at));
    let (usd, tokens) = of_agents.values().fold((0.0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    let right = same(now.usd, before.usd.unwrap_or(0.0) + usd)
        && now.tokens.unwrap_or(0) == before.tokens.unwrap_or(0) + tokens;
    ensure(right, || format!("{usd} USD and {tokens} tokens: {before:?} becomes {now:?}"))?;
    for (name, before) in &scene.before.agents {
        let spent = of_agents.get(name).copied().unwrap_or_default();
        let Some(now) = scene.intended.agents.get(name) else { continue };
        let right = same(now.cost, before.cost.unwrap_or(0.0) + spent.0)
            && now.tokens.unwrap_or(0) == before.tokens.unwrap_or(0) + spent.1;
        ensure(right, || {
            format!("{name} used {spent:?}: {:?} {:?} becomes {now:?}", before.cost, before.tokens)
        })?;
        let Some(after) = scene.after.agents.get(name) else { continue };
        ensure(after.cost >= before.cost && after.tokens >= before.tokens, || {
            format!("what {name} has used shrinks: {before:?} becomes {after:?}")
        })?;
    }
    Ok(())
}

/// Nothing of a harness starts while it waits, nor before its provider told to come back.
pub(super) fn a_wait_is_waited_for(scene: &Scene<'_>) -> Result<(), String> {
    let told = tellings(scene, |_| true);
    scene.launches().try_for_each(|launch| {
        let waits = scene.intended.cool_offs.get(&scope_of(&launch.spec.harness)).and_then(|one| one.until);
        let until = waits.max(told.get(&launch.spec.harness).copied());
        ensure(until.is_none_or(|until| until <= scene.now.at), || {
            format!("{} is started before {}", launch.spec.id, until.unwrap())
        })
    })
}

/// After a wait one run or one crew is tried, until it has ended, was answered or has gone on for long.
pub(super) fn one_run_tries_first(scene: &Scene<'_>) -> Result<(), String> {
    for harness in scene.harnesses() {
        let Some(cool_off) = scene.intended.cool_offs.get(&scope_of(harness)) else { continue };
        let started: Vec<_> = scene.launches().filter(|launch| launch.spec.harness == harness).collect();
        let Some(first) = started.first() else { continue };
        let crew = started.len() == 1
            || started.iter().all(|one| one.spec.item == first.spec.item && one.spec.session.is_none());
        ensure(crew, || format!("{} runs of {harness} try at once", started.len()))?;
        let tries = |agent: &&AgentRecord| {
            let Some(since) = agent.since.as_ref().filter(|_| agent.spec.harness == harness) else {
                return false;
            };
            let is_new = started.iter().any(|one| agent.run.as_ref() == Some(&one.spec.id));
            let later = scene.world.machine.is_not_before(since, &cool_off.begun);
            !is_new && later && scene.now.since(since).is_some_and(|age| age < 5 * MINUTE)
        };
        let trying = scene.intended.agents.values().find(tries);
        ensure(trying.is_none(), || format!("{} is started while {trying:?} tries", first.spec.id))?;
    }
    Ok(())
}

/// From a minute, twice as long with each failure, to at most an hour, unless a reset was told; and never shorter than
/// what stands.
pub(super) fn waits_grow(scene: &Scene<'_>) -> Result<(), String> {
    for harness in scene.harnesses() {
        let scope = scope_of(harness);
        let Some(after) = scene.intended.cool_offs.get(&scope) else { continue };
        let before = scene.waits(&scope).filter(|_| !scene.removes(&scope));
        let failed: Vec<_> = scene
            .judged()
            .filter(|judged| judged.is_of_provider())
            .filter_map(|judged| judged.ending.filter(|ending| ending.harness == harness))
            .collect();
        let Some(until) = after.until else { return Err(format!("{harness} waits for ever")) };
        let told: Vec<_> = failed.iter().map(|ending| (ending.reset, scene.reset_told(ending))).collect();
        if told.iter().any(|(told, known)| told.is_some() && known.is_none()) {
            continue;
        }
        let told = told.into_iter().filter_map(|(_, known)| known).max();
        let doublings = after.streak.saturating_sub(1).min(16);
        let grown = scene.now.after((MINUTE * (1 << doublings)).min(HOUR));
        let anew = before.is_none_or(|(before, _)| after.streak > before.streak);
        let least = told.map(|told| told.max(scene.now.after(MINUTE))).max(anew.then_some(grown));
        let least = least.max(before.map(|(_, until)| until));
        let most = least.max(anew.then_some(grown));
        ensure(Some(until) >= least && Some(until) <= most, || {
            format!(
                "{harness} waits until {until}, not {least:?}: {before:?} becomes {after:?}, told {told:?}"
            )
        })?;
    }
    Ok(())
}

/// One outage is one failure, however many runs it fails; and a run that was tried after it is another one.
pub(super) fn one_outage_counts_once(scene: &Scene<'_>) -> Result<(), String> {
    for harness in scene.harnesses() {
        let scope = scope_of(harness);
        let before = scene.before.cool_offs.get(&scope).filter(|_| !scene.removes(&scope));
        let Some(after) = scene.intended.cool_offs.get(&scope) else { continue };
        let failed: Vec<_> =
            scene.judged().filter(|judged| judged.is_of_provider() && is_of(judged, harness)).collect();
        let Some(before) = before else {
            ensure(after.streak == 1 && !failed.is_empty(), || {
                format!("{harness} waits, row {}", after.streak)
            })?;
            continue;
        };
        let later: Vec<_> = failed.iter().map(|judged| scene.is_later(judged, before)).collect();
        let may = later.iter().any(|later| *later != Some(false));
        let must = later.contains(&Some(true));
        // The wall time of a beginning moves where the clock was set back.
        let begun = |cool_off: &CoolOff| (cool_off.begun.boot_id.clone(), cool_off.begun.mono_ms);
        let right = match after.streak - before.streak {
            0 => !must && begun(after) == begun(before),
            1 => may && after.begun == *scene.now,
            _ => false,
        };
        ensure(right, || {
            format!("{before:?} becomes {after:?}, and {} runs of {harness} failed: {later:?}", failed.len())
        })?;
    }
    Ok(())
}

/// A wait goes off the record when a run that was tried since was answered, when nobody needs its harness, or an hour
/// after its end; and it does.
pub(super) fn a_wait_ends_when_it_is_answered(scene: &Scene<'_>) -> Result<(), String> {
    for (scope, before) in &scene.before.cool_offs {
        let Some(harness) = scope.strip_prefix("harness:") else { continue };
        let answers: Vec<_> = scene
            .judged()
            .filter(|judged| judged.was_answered() && is_of(judged, harness))
            .map(|judged| scene.is_later(&judged, before))
            .collect();
        let unused = !scene.harnesses().contains(harness);
        let over = scene.waits(scope).is_none_or(|(_, until)| until + HOUR <= scene.now.at);
        let removed = scene.removes(scope);
        let may = unused || over || answers.iter().any(|later| *later != Some(false));
        ensure(!removed || may, || {
            format!("{harness} waits no longer, and nobody was answered: {before:?}")
        })?;
        // Of a crew one may be answered and another not.
        let failed = scene.judged().any(|judged| judged.is_of_provider() && is_of(&judged, harness));
        let must = answers.contains(&Some(true)) && !failed;
        ensure(removed || !must, || format!("a run of {harness} was answered, and it still waits"))?;
    }
    Ok(())
}

fn is_of(judged: &Judged<'_>, harness: &str) -> bool {
    // One that was forgotten and found in this very tick is on no record before it.
    let harness_of =
        judged.ending.map(|ending| &ending.harness).or(judged.record.map(|record| &record.spec.harness));
    harness_of.is_some_and(|of| of == harness)
}

/// A role whose credentials were refused starts nothing with them, and goes on with others.
pub(super) fn a_denied_role_waits(scene: &Scene<'_>) -> Result<(), String> {
    let refused = refusals(scene, |_| true);
    scene.launches().try_for_each(|launch| {
        let key = refused.get(&launch.spec.role);
        ensure(key.is_none() || launch.credentials.as_ref() != key, || {
            format!("{} is started with {key:?}, which was refused", launch.spec.id)
        })
    })?;
    // A tick that starts anything has looked at the credentials.
    let refusal = |role: &String| scene.intended.cool_offs.get(&format!("login:{role}"));
    let stale = scene.credentials.iter().find(|(role, given)| {
        refusal(role).is_some_and(|cool_off| {
            let waits = cool_off.until.is_some_and(|until| until > scene.now.at);
            !waits && cool_off.credentials.as_ref() != Some(*given)
        })
    });
    ensure(stale.is_none() || scene.launches().next().is_none(), || {
        format!("{stale:?} waits, and its credentials have changed")
    })
}

/// From the second refusal in a row, other credentials are tried only after a wait that grows.
pub(super) fn refusals_slow_down(scene: &Scene<'_>) -> Result<(), String> {
    scene.intended.refusals.iter().try_for_each(|(role, refusals)| {
        let anew = refusals.streak >= 2 && refusals.at == *scene.now;
        let waits = scene.intended.cool_offs.get(&format!("login:{role}")).and_then(|one| one.until);
        let doublings = (refusals.streak.max(2) - 2).min(16);
        let least = scene.now.after((MINUTE * (1 << doublings)).min(HOUR));
        ensure(!anew || waits >= Some(least), || {
            format!("{role} was refused {} times in a row and waits until {waits:?}", refusals.streak)
        })
    })
}
