//! `factory-tick __launch <run directory>`: one run's own small supervisor.
//!
//! It claims the run, starts the agent, keeps its logs, ends it at its deadline, and writes down how it
//! ended and that nothing of it is left. As a child subreaper it stays the ancestor of everything the agent
//! starts, whatever that does to its session, group or environment. It needs nobody: no tick may ever come
//! back, and everything it is told or tells goes through files that are whole or absent.

mod agent;
pub(crate) mod child;
mod context;
mod done_check;
mod env_receiver;
pub mod exec;
pub mod hooks;
pub mod relay;
mod setup;
pub mod stdout;
mod stop_file;
mod supervise;
pub mod terminal;

pub(crate) use self::stop_file::STOP_FILE_CHECK;
pub use self::supervise::{detach, launch};
