//! factory-tick: one bounded, durable iteration of a coding-agent factory.

pub mod model;

pub mod cli;
pub mod clock;
pub mod exit;
pub mod text;

pub mod config;
pub mod fingerprint;
pub mod names;
pub mod prompt;

pub mod backoff;
pub mod registry;

pub mod decide;

pub mod tick;

pub mod report;

pub mod state;

pub mod commands;
pub mod views;

pub mod fleet;
pub mod process;
pub mod source;
pub mod store;
