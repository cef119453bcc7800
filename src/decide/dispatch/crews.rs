//! Crews: roles of one item that start together, also where none of them ran.

use crate::decide::planner::Planner;
use crate::decide::throttle::cool_offs;
use crate::decide::{endings, follow_ups};
use crate::model::{FailureClass, FollowUp, ItemId, RecordUpdate, Refusal, RunFacts, RunId};
use crate::registry::{AgentPhase, AgentRecord};

/// A run that the machine ended or never began. Its verdict waits until those of its crew are known.
pub(in crate::decide) struct NeverRan {
    run: RunId,
    class: FailureClass,
    because: String,
    facts: RunFacts,
    /// Whether another run of its agent was alive.
    duplicate: bool,
    /// Whether its agent may have begun.
    began: bool,
    /// Whether processes of it may live where they can't be seen: it is handed off.
    unseen: bool,
    /// The resume that follows where it had begun, if its session can go on.
    resume: Vec<FollowUp>,
}

impl NeverRan {
    /// A launcher claimed it and could not start its agent.
    pub(in crate::decide) fn claimed(
        run: &RunId,
        class: FailureClass,
        because: String,
        facts: RunFacts,
    ) -> NeverRan {
        let run = run.clone();
        NeverRan {
            run,
            class,
            because,
            facts,
            duplicate: false,
            began: false,
            unseen: false,
            resume: Vec::new(),
        }
    }

    pub(in crate::decide) fn fenced(run: &RunId) -> NeverRan {
        let because = "fenced: nobody had claimed it in time".to_owned();
        NeverRan::claimed(run, FailureClass::Infra, because, RunFacts::default())
    }

    pub(in crate::decide) fn refused(run: &RunId, refusal: &Refusal) -> NeverRan {
        let class = if refusal.machine { FailureClass::Machine } else { FailureClass::Infra };
        let refused = NeverRan::claimed(run, class, refusal.because.clone(), RunFacts::default());
        NeverRan { duplicate: refusal.duplicate, ..refused }
    }

    pub(in crate::decide) fn rebooted(run: &RunId, facts: RunFacts, resume: Vec<FollowUp>) -> NeverRan {
        let because = "the machine was restarted".to_owned();
        NeverRan { began: true, resume, ..NeverRan::claimed(run, FailureClass::Infra, because, facts) }
    }

    pub(in crate::decide) fn replaced(run: &RunId, facts: RunFacts, resume: Vec<FollowUp>) -> NeverRan {
        let because = "its container was replaced".to_owned();
        NeverRan { because, unseen: true, ..NeverRan::rebooted(run, facts, resume) }
    }
}

/// Runs that never ran are tried again as what they were. A resume is tried again by itself; a start by itself where a
/// run of its crew goes on or is kept, else with the item's next dispatch, whole.
///
/// All verdicts of the tick come first: of two runs that were fenced together, the first was once started alone, and the
/// second only when the first had ended.
pub(in crate::decide) fn start_again(planner: &mut Planner, never_ran: Vec<NeverRan>) {
    let gone: Vec<_> = never_ran.iter().map(|one| one.run.clone()).collect();
    let resumes = |planner: &Planner, one: &NeverRan| {
        if one.began {
            return one.resume.clone();
        }
        let Some(agent) = planner.registry.agents.get(&one.run.agent) else { return Vec::new() };
        match agent.spec.is_resume() && agent.session.is_some() {
            true => FollowUp::again(&agent.spec.follow_ups, true, planner.now.at),
            false => Vec::new(),
        }
    };
    // Sessions first: a session that goes on is the crew of the starts.
    let (first, then): (Vec<_>, Vec<_>) =
        never_ran.into_iter().partition(|one| !resumes(planner, one).is_empty());
    for one in first.into_iter().chain(then) {
        let mut follow_ups = resumes(planner, &one);
        let NeverRan { run, class, because, facts, duplicate, unseen, .. } = one;
        let Some(agent) = planner.registry.agents.get(&run.agent).cloned() else { continue };
        // Another verdict has handed it off meanwhile.
        if agent.run.as_ref() != Some(&run) {
            continue;
        }
        if unseen {
            // First, while the record still tells the launcher.
            endings::stop(planner, &agent, &run, endings::REPLACED, false);
        }
        if follow_ups.is_empty() && has_crew(planner, &agent.spec.item, &gone) {
            follow_ups = FollowUp::again(&agent.spec.follow_ups, false, planner.now.at);
        }
        endings::fail(planner, &agent, &run, class, &because, &facts, follow_ups, None, duplicate);
        if class == FailureClass::Machine {
            cool_offs::begin(planner, &agent, class, &because, None);
        }
    }
}

/// A start that was to be made beside its crew waits for the item's next dispatch where no crew is left.
pub(in crate::decide) fn regroup(planner: &mut Planner) {
    for id in planner.item_ids() {
        let starts_alone = |agent: &AgentRecord| !agent.follow_ups.is_empty() && !resumes(planner, agent);
        let any = planner.registry.agents_of(&id).any(|(_, agent)| starts_alone(agent));
        if any && !has_crew(planner, &id, &[]) {
            planner.refresh(RecordUpdate::Regroup { item: id });
        }
    }
}

/// Whether anything of the item's dispatch is kept, or goes on: a run in flight but for these, or a session.
fn has_crew(planner: &Planner, item: &ItemId, without: &[RunId]) -> bool {
    planner.registry.agents_of(item).any(|(_, agent)| {
        let in_flight =
            agent.state != AgentPhase::Idle && agent.run.as_ref().is_none_or(|run| !without.contains(run));
        in_flight || agent.succeeded || resumes(planner, agent)
    })
}

/// Whether a session of this agent is about to go on.
fn resumes(planner: &Planner, agent: &AgentRecord) -> bool {
    follow_ups::session_to_resume(planner.config, agent).is_some()
}
