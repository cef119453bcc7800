//! What keeps starts back for a while: budgets, cool-offs, a pause.

pub(super) mod budget;
pub(super) mod cool_offs;
pub(super) mod pause;
