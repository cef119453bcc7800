//! Which items may be worked on, and which of their roles are still to be started.

use crate::config::Role;
use crate::decide::planner::Planner;
use crate::model::{ItemId, ItemState, SourceView, WorkItem};

/// Open, and inside the scope that the configuration names.
pub(super) fn is_eligible(planner: &Planner, item: &WorkItem) -> bool {
    item.state == ItemState::Open && planner.config.scope.holds(item)
}

/// A malformed file is neither present nor gone.
pub(super) fn is_unreadable(view: &SourceView, id: &ItemId, origin: &str) -> bool {
    view.unreadable.iter().any(|one| one.id.as_ref() == Some(id) || one.origin == origin)
}

/// The roles of an item that are not done.
pub(super) fn roles_to_start<'a>(planner: &Planner<'a>, item: &WorkItem) -> Vec<&'a Role> {
    let is_ok = |role: &Role| {
        planner.registry.agents_of(&item.id).any(|(_, agent)| agent.spec.role == role.name && agent.succeeded)
    };
    planner.config.roles.iter().filter(|role| !is_ok(role)).collect()
}
