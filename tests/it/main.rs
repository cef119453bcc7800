//! Tests of the whole program and of what it promises to the world outside.

mod agents;
mod brakes;
mod check;
mod cli;
mod color;
mod compat;
mod configured;
mod coverage;
mod crash;
mod env_file;
mod handoff;
mod harness;
mod hooks;
mod init;
mod kill_tick;
mod model;
mod orders;
mod presets;
mod readme;
mod regression;
mod retention;
mod scheduler;
mod sim;
mod support;
mod tidy;
mod usage;
