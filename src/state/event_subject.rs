//! Whom an event is about, by every name that somebody may search the log for.

use std::collections::HashMap;

use crate::model::{Action, ItemId, Plan, RecordUpdate, RunId, Step};
use crate::registry::Registry;
use crate::state::event::Subject;

/// The names of what a plan is about.
pub(crate) struct EventSubject<'a> {
    /// From before the plan: by its end what is forgotten has no key any more, and what starts anew no session.
    before: &'a Registry,
    plan: &'a Plan,
    /// What the plan tells of sessions, by run. To search the plan for each of its events took 60 s of 20,000.
    sessions: HashMap<&'a RunId, &'a str>,
}

impl<'a> EventSubject<'a> {
    pub(crate) fn new(before: &'a Registry, plan: &'a Plan) -> EventSubject<'a> {
        // The later step knows better: a run may have told its session only when it was seen to be over.
        let sessions = plan.steps.iter().filter_map(session_in).collect();
        EventSubject { before, plan, sessions }
    }

    /// The names of what a step is about.
    pub(crate) fn of(&self, step: &Step) -> Subject {
        let (item, run) = match step {
            Step::Decide(decision) => (decision.item.as_ref(), decision.action.run()),
            Step::RecordUpdate(RecordUpdate::Renew { item, .. }) => (Some(item), None),
            Step::RecordUpdate(_) => (None, None),
        };
        Subject {
            item: item.map(ToString::to_string),
            key: item.and_then(|item| self.key(item)).map(str::to_owned),
            agent: run.map(|run| run.agent.to_string()),
            run: run.map(ToString::to_string),
            session: run.and_then(|run| self.session(run)).map(str::to_owned),
        }
    }

    fn key(&self, item: &ItemId) -> Option<&str> {
        let recorded = self.before.key(item);
        let planned = || self.plan.steps.iter().find_map(|step| key_in(step, item));
        recorded.filter(|key| !key.is_empty()).or_else(planned)
    }

    fn session(&self, run: &RunId) -> Option<&str> {
        self.sessions.get(run).copied().or_else(|| {
            let agent = self.before.agents.get(&run.agent)?;
            agent.session.as_deref().filter(|_| agent.spec.id.n == run.n)
        })
    }
}

/// The key of an item that is new with this step.
fn key_in<'a>(step: &'a Step, wanted: &ItemId) -> Option<&'a str> {
    let (item, key) = match step {
        Step::RecordUpdate(RecordUpdate::Seen { item, key, .. }) => (item, key),
        Step::Decide(decision) => match &decision.action {
            Action::AdoptUnrecorded { spec, .. } => (&spec.spec.item, &spec.snapshot.key),
            _ => return None,
        },
        Step::RecordUpdate(_) => return None,
    };
    (item == wanted).then_some(key)
}

/// A run and its session, where this step tells it.
fn session_in(step: &Step) -> Option<(&RunId, &str)> {
    let (run, session) = match step {
        Step::RecordUpdate(RecordUpdate::Session { run, session }) => (run, Some(session)),
        Step::Decide(decision) => match &decision.action {
            Action::Start(launch) | Action::Resume(launch) => (&launch.spec.id, launch.spec.first_session()),
            Action::AdoptUnrecorded { run, spec } => (run, spec.spec.first_session()),
            Action::Done { run: Some(run), facts, .. } | Action::Fail { run: Some(run), facts, .. } => {
                (run, facts.session.as_ref())
            }
            _ => return None,
        },
        Step::RecordUpdate(_) => return None,
    };
    Some((run, session?.as_str()))
}
