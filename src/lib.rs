//! factory-tick: one bounded, durable iteration of a coding-agent factory.

pub mod config;
pub mod fingerprint;
pub mod model;
pub mod names;
pub mod prompt;
pub mod source;
