//! The program: parse, log, run, exit. No logic.

fn main() {}
