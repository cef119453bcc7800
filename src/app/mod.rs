//! What the commands share. Every command is a file of `commands`.

pub(crate) mod context;
pub(crate) mod iteration;
pub(crate) mod mutation;
pub(crate) mod orders;
pub(crate) mod output;
pub(crate) mod programs;
pub(crate) mod quiet;
pub(crate) mod resolve;
pub(crate) mod shutdown;
pub(crate) mod snapshot;
pub(crate) mod terminal;
pub(crate) mod upkeep;
