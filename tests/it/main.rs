//! Tests of the whole program and of what it promises to the world outside.

mod absence;
mod agents;
mod architecture;
mod brakes;
mod broker;
mod brokered;
mod check;
mod cli;
mod clock;
mod color;
mod compat;
mod configured;
mod containers;
mod coverage;
mod crash;
mod crowd;
mod documents;
mod done;
mod endings;
mod env_file;
mod handoff;
mod harness;
mod hooks;
mod init;
mod kill_tick;
mod machine_faults;
mod moved;
mod orders;
mod ownership;
mod presets;
mod readme;
mod reclaim;
mod regression;
mod retention;
mod rooms;
mod scheduler;
mod screens;
mod source;
mod stopped;
mod terminal;

mod traces;
mod usage;

// Shared with the proofs of `tests/prove`.
#[path = "../support/model.rs"]
mod model;
#[path = "../support/pty.rs"]
mod pty;
#[path = "../support/source_suite.rs"]
mod source_suite;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/wall_clock.rs"]
mod wall_clock;
