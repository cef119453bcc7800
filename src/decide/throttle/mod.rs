//! What keeps a role, a harness or the machine from starting for a while.

pub(super) mod cool_offs;
