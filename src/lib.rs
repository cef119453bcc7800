//! factory-tick: one bounded, durable iteration of a coding-agent factory.

pub mod model;

pub mod config;

pub mod prompt;
