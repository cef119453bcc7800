//! Who starts nothing for now: a role without its variables, or whose credentials were refused; a harness whose
//! provider has no room or can't be reached. None of it is an item's fault, so none of it costs an attempt.

use std::time::Duration;

use jiff::Timestamp;

use crate::config::Role;
use crate::decide::planner::Planner;
use crate::model::{Action, Cooling, FailureClass};
use crate::registry::backoff::{GROWING_FIRST, GROWING_MAX, growing};
use crate::registry::{AgentRecord, CoolOff, MACHINE};

/// The longest that a provider's word is taken for: the longest limits are of a week. A garbled date, or one by a clock
/// that is wrong, must not hold up a harness for years; to ask once too early costs no attempt.
const TOLD_MAX: Duration = Duration::from_secs(8 * 24 * 60 * 60);

/// After a wait one run is tried before all others. One that has gone on for so long was answered, or has a limit of
/// its own that ends it: it holds up nobody any more.
const TRIAL: Duration = Duration::from_secs(5 * 60);

/// What keeps a role from starting anything, and until when.
pub(in crate::decide) fn gate(planner: &Planner, role: &Role) -> Option<(String, Option<Timestamp>)> {
    let cool_offs = &planner.registry.cool_offs;
    let of_role = [of_variables(role), of_program(role), of_login(&role.name)];
    let of_role = of_role.iter().find_map(|scope| cool_offs.get(scope));
    if let Some(CoolOff { because, until, .. }) = of_role {
        return Some((because.clone(), *until));
    }
    if let Some(cool_off) = cool_offs.get(MACHINE) {
        let again = "whether the machine can start agents again";
        if let Some(hold) = wait_or_trial(planner, cool_off, again, |_| true) {
            return Some(hold);
        }
    }
    let cool_off = cool_offs.get(&of_harness(&role.harness))?;
    let again = "whether its provider answers again";
    wait_or_trial(planner, cool_off, again, |agent| agent.spec.harness == role.harness)
}

/// A cool-off with an end: nothing starts before that, and after it one run before all others.
fn wait_or_trial(
    planner: &Planner,
    cool_off: &CoolOff,
    again: &str,
    is_concerned: impl Fn(&AgentRecord) -> bool,
) -> Option<(String, Option<Timestamp>)> {
    let CoolOff { because, until, .. } = cool_off;
    if let Some(until) = until.filter(|until| *until > planner.now.at) {
        return Some((because.clone(), Some(until)));
    }
    let on_trial = |agent: &AgentRecord| {
        let age = agent.since.as_ref().and_then(|begun| planner.now.since(begun));
        is_concerned(agent)
            && cool_off.precedes(agent.since.as_ref(), planner.now)
            && age.is_some_and(|age| age < TRIAL)
    };
    let trial =
        planner.registry.agents.values().find_map(|agent| agent.run.as_ref().filter(|_| on_trial(agent)));
    trial.map(|run| (format!("{run} tries first {again}: {because}"), None))
}

/// A wait that has not begun yet: the clock was set back. Nobody knows how much of it is over; it begins again now, so
/// that it lasts as long as it was to, and not as much longer as the clock was wrong.
pub(in crate::decide) fn right_the_clock(planner: &mut Planner) {
    let now = planner.now;
    let ahead = planner.registry.cool_offs.iter().filter(|(_, cool_off)| cool_off.begun.at > now.at);
    let ahead: Vec<_> = ahead.map(|(scope, cool_off)| (scope.clone(), cool_off.clone())).collect();
    for (scope, CoolOff { because, begun, until, streak, credentials }) in ahead {
        let Some(until) = until else { continue };
        let wait = Duration::try_from(until.duration_since(begun.at)).unwrap_or_default();
        let until = Some(now.after(wait));
        let why = format!("the clock was set back, and {scope} waits anew: {because}");
        let cooling = Some(Cooling { because, until, streak, credentials });
        planner.decide(None, why, Action::CoolOff { scope, cooling });
    }
}

/// What the look outside says of the cool-offs on record: variables that are set or not, credentials that changed,
/// and what is about nobody any more.
pub(in crate::decide) fn follow(planner: &mut Planner) {
    for role in &planner.config.roles {
        follow_variables(planner, role);
        follow_programs(planner, role);
    }
    let over: Vec<_> = planner
        .registry
        .cool_offs
        .iter()
        .filter_map(|(scope, cool_off)| Some((scope.clone(), why_over(planner, scope, cool_off)?)))
        .collect();
    for (scope, because) in over {
        planner.decide(None, because, Action::CoolOff { scope, cooling: None });
    }
}

/// A role with a variable that is not set starts nothing until it is.
fn follow_variables(planner: &mut Planner, role: &Role) {
    let missing = planner.world.local.missing_env.get(&role.name);
    let reason = match (&planner.world.local.env_error, missing) {
        (Some(why), _) => Some(format!("role {:?} can't be given its variables: {why}", role.name)),
        (None, Some(names)) => {
            Some(format!("role {:?} needs {}, which is not set", role.name, names.join(", ")))
        }
        (None, None) => None,
    };
    follow_need(planner, of_variables(role), reason, "its variables are set again");
}

/// A role with a program that is not there starts nothing until it is: no item is to blame.
fn follow_programs(planner: &mut Planner, role: &Role) {
    let missing = planner.world.local.missing_programs.get(&role.name);
    let reason = missing.map(|why| format!("role {:?} cannot start: {why}", role.name));
    follow_need(planner, of_program(role), reason, "its programs are there again");
}

/// A cool-off that lasts as long as its reason does.
fn follow_need(planner: &mut Planner, scope: String, reason: Option<String>, met: &str) {
    let recorded = planner.registry.cool_offs.get(&scope).map(|cool_off| &cool_off.because);
    if recorded == reason.as_ref() {
        return;
    }
    let because = reason.clone().unwrap_or_else(|| met.to_owned());
    let cooling = reason.map(|because| Cooling { because, until: None, streak: 0, credentials: None });
    planner.decide(None, because, Action::CoolOff { scope, cooling });
}

fn why_over(planner: &Planner, scope: &str, cool_off: &CoolOff) -> Option<&'static str> {
    let mut roles = planner.config.roles.iter();
    if scope == MACHINE {
        let latest = cool_off.until.and_then(|until| until.checked_add(GROWING_MAX).ok());
        return latest.is_some_and(|latest| latest <= planner.now.at).then_some("nothing was to start since");
    }
    if let Some(name) = scope.strip_prefix("harness:") {
        if roles.all(|role| role.harness != name) {
            return Some("no role uses it any more");
        }
        let latest = cool_off.until.and_then(|until| until.checked_add(GROWING_MAX).ok());
        return latest.is_some_and(|latest| latest <= planner.now.at).then_some("nobody has needed it since");
    }
    if let Some(name) = scope.strip_prefix("login:") {
        if roles.all(|role| role.name != name) {
            return Some("its role is no longer configured");
        }
        if planner.world.local.env_error.is_some() {
            // What its agents would get can't be told, so nor can whether that changed.
            return None;
        }
        let now = planner.world.local.credentials.get(name);
        let waits = cool_off.until.is_some_and(|until| until > planner.now.at);
        return (!waits && now != cool_off.credentials.as_ref()).then_some("its credentials have changed");
    }
    let known = roles.any(|role| of_variables(role) == scope || of_program(role) == scope);
    (!known).then_some("its role is no longer configured")
}

/// The provider or the machine failed a run: nothing that needs it is started until it is worth trying again.
pub(in crate::decide) fn begin(
    planner: &mut Planner,
    agent: &AgentRecord,
    class: FailureClass,
    because: &str,
    reset: Option<Timestamp>,
) {
    match class {
        FailureClass::Denied => refuse_login(planner, agent, because),
        FailureClass::Machine => wait(planner, agent, MACHINE, because, None),
        _ => wait(planner, agent, &of_harness(&agent.spec.harness), because, reset),
    }
}

/// From the second refusal in a row, other credentials count only after the growing wait. An agent that refreshes its
/// credentials while it runs was once started 74 times in 25 ticks, refused each time.
fn refuse_login(planner: &mut Planner, agent: &AgentRecord, because: &str) {
    let scope = of_login(&agent.spec.role);
    let now = planner.world.local.credentials.get(&agent.spec.role);
    let is_old = agent.credentials.as_ref() != now;
    let streak = planner.registry.refusals.get(&agent.spec.role).map_or(1, |refusals| refusals.streak);
    let before = planner.registry.cool_offs.get(&scope);
    // They were changed while the run went on: the next run gets others, and gets them at once for the first time.
    if streak < 2 && is_old || before.is_some_and(|before| before.streak >= streak) {
        return;
    }
    let refused = if is_old { agent.credentials.clone() } else { now.cloned() };
    let until = (streak >= 2).then(|| planner.now.after(growing(streak - 1)));
    let because = format!("role {:?} was denied by its provider: {because}", agent.spec.role);
    let cooling = Cooling { because: because.clone(), until, streak, credentials: refused };
    planner.decide(None, because, Action::CoolOff { scope, cooling: Some(cooling) });
}

fn wait(planner: &mut Planner, agent: &AgentRecord, scope: &str, because: &str, reset: Option<Timestamp>) {
    let before = planner.registry.cool_offs.get(scope);
    // Runs that were under way when it began fail with it; they are no further failure, but may tell a later reset.
    let tried = before.is_none_or(|before| before.precedes(agent.since.as_ref(), planner.now));
    let streak = before.map_or(0, |before| before.streak).saturating_add(u32::from(tried));
    let told = reset.map(|reset| reset.clamp(planner.now.after(GROWING_FIRST), planner.now.after(TOLD_MAX)));
    // A provider that always says "in 1.2 s" is asked more and more seldom, too.
    let grown = tried.then(|| planner.now.after(growing(streak)));
    let Some(own) = told.max(grown) else { return };
    // One that had begun before may be heard late, and know less.
    let told = before.and_then(|before| before.until);
    let until = told.map_or(own, |until| own.max(until));
    if !tried && told == Some(until) {
        return;
    }
    let cooling = Cooling { because: because.to_owned(), until: Some(until), streak, credentials: None };
    let subject = scope.strip_prefix("harness:").unwrap_or("the machine");
    let because = format!("{subject} starts nothing before {until}: {because}");
    planner.decide(None, because, Action::CoolOff { scope: scope.to_owned(), cooling: Some(cooling) });
}

/// The provider answered a run that began since: what it failed others with is over.
pub(in crate::decide) fn answered(planner: &mut Planner, agent: &AgentRecord) {
    for scope in [of_harness(&agent.spec.harness), of_login(&agent.spec.role)] {
        end_if_older(planner, agent, scope, "its provider answers again");
    }
}

/// The machine started the agent of a run that began since: its fault is over.
pub(in crate::decide) fn machine_started(planner: &mut Planner, agent: &AgentRecord) {
    end_if_older(planner, agent, MACHINE.to_owned(), "the machine starts agents again");
}

fn end_if_older(planner: &mut Planner, agent: &AgentRecord, scope: String, because: &str) {
    let cool_off = planner.registry.cool_offs.get(&scope);
    if cool_off.is_some_and(|cool_off| cool_off.precedes(agent.since.as_ref(), planner.now)) {
        planner.decide(None, because, Action::CoolOff { scope, cooling: None });
    }
}

/// Whether a person may know better: a provider or the machine caused it, and not a variable that is not set.
pub(in crate::decide) fn is_lifted_by_retry(scope: &str) -> bool {
    scope == MACHINE || scope.starts_with("login:") || scope.starts_with("harness:")
}

fn of_variables(role: &Role) -> String {
    format!("role:{}", role.name)
}

fn of_program(role: &Role) -> String {
    format!("program:{}", role.name)
}

fn of_login(role: &str) -> String {
    format!("login:{role}")
}

fn of_harness(harness: &str) -> String {
    format!("harness:{harness}")
}
