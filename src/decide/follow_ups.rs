//! Whether an agent goes on by itself, by the bound of each reason.

use jiff::Timestamp;

use crate::config::Config;
use crate::decide::planner::Planner;
use crate::model::{FollowUp, FollowUpReason, RunFacts};
use crate::registry::AgentRecord;

/// The session that goes on after the run of an agent, if it may. `charged`: the attempts of its item that are used up
/// then.
pub(super) fn after_run(
    planner: &Planner,
    agent: &AgentRecord,
    facts: &RunFacts,
    reason: FollowUpReason,
    charged: u32,
    due_at: Timestamp,
) -> Option<FollowUp> {
    // The session that was chosen for it never began.
    let known = agent.session.as_ref().filter(|_| agent.spec.is_resume() || !facts.never_began);
    let session = facts.session.as_ref().or(known)?;
    let may = may_follow(planner.config, agent, session, reason, charged);
    may.then(|| FollowUp::new(reason, true, due_at))
}

/// Whether this session of an agent may go on for this reason: the bounds of all reasons.
pub(super) fn may_follow(
    config: &Config,
    agent: &AgentRecord,
    session: &str,
    reason: FollowUpReason,
    charged: u32,
) -> bool {
    let is_bounded = match reason {
        FollowUpReason::Failure => {
            let resumes = if agent.session.as_deref() == Some(session) { agent.resumes } else { 0 };
            resumes < config.attempts.resumes_max && charged < config.attempts.max
        }
        FollowUpReason::Unfinished => charged < config.attempts.max,
        // A person gives each answer once. How often an item that is not done goes on, its own count bounds.
        FollowUpReason::Answer | FollowUpReason::NotDone => true,
    };
    is_bounded && can_resume(config, agent)
}

/// Whether sessions of an agent can be gone on with at all: its role names the harness of the session, and how to resume.
pub(super) fn can_resume(config: &Config, agent: &AgentRecord) -> bool {
    let role = config.roles.iter().find(|role| role.name == agent.spec.role);
    role.is_some_and(|role| role.can_resume() && role.harness == agent.spec.harness)
}

/// The session that an agent goes on with by itself. The configuration may have made a start of it meanwhile.
pub(super) fn session_to_resume<'a>(config: &Config, agent: &'a AgentRecord) -> Option<&'a String> {
    let resumes = agent.follow_ups.iter().any(|one| one.resume) && can_resume(config, agent);
    agent.session.as_ref().filter(|_| resumes)
}

/// The charged failures of an agent's item.
pub(super) fn attempts_of_item(planner: &Planner, agent: &AgentRecord) -> u32 {
    planner.registry.items.get(&agent.spec.item).map_or(0, |record| record.attempts)
}
