//! What an agent does next by itself, and the bound of each reason for that.

use jiff::Timestamp;

use crate::config::Config;
use crate::decide::planner::Planner;
use crate::model::{FollowUp, RunFacts};
use crate::registry::AgentRecord;

/// The resume that may follow a run, if its session can go on.
pub(super) fn resume_at(
    planner: &Planner,
    agent: &AgentRecord,
    facts: &RunFacts,
    charged: u32,
    due_at: Timestamp,
) -> Option<FollowUp> {
    // The session that was chosen for it never began.
    let known = agent.session.as_ref().filter(|_| agent.spec.is_resume() || !facts.never_began);
    let session = facts.session.as_ref().or(known)?;
    let may = may_resume(planner.config, agent, session) && charged < planner.config.attempts.max;
    may.then(|| FollowUp::after_failure(true, due_at))
}

/// Whether this session of an agent can be gone on with once more after a failure.
pub(super) fn may_resume(config: &Config, agent: &AgentRecord, session: &str) -> bool {
    let resumes = if agent.session.as_deref() == Some(session) { agent.resumes } else { 0 };
    goes_on(config, agent) && resumes < config.attempts.resumes_max
}

/// Whether sessions of an agent can be gone on with at all.
pub(super) fn goes_on(config: &Config, agent: &AgentRecord) -> bool {
    let role = config.roles.iter().find(|role| role.name == agent.spec.role);
    role.is_some_and(|role| role.can_resume() && role.harness == agent.spec.harness)
}

pub(super) fn agent_attempts(planner: &Planner, agent: &AgentRecord) -> u32 {
    planner.registry.items.get(&agent.spec.item).map_or(0, |record| record.attempts)
}
