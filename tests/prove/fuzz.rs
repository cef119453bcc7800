//! Whatever stands in a file that the program reads: it panics at nothing, waits for nothing, takes nothing that is
//! beyond its limits, and what it writes it reads again as what it was.
//!
//! Each round has a seed of its own. It runs the properties of this folder, and those beside the code, whose names begin
//! with `any_`. proptest keeps each failure below `tests/proptest-regressions`: make a test of it.

mod change;
mod harness;
mod items;
mod receipts;
mod registry;
mod state;

use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;
use proptest::test_runner::{Config, RngSeed};

use crate::{cargo, fresh_seed, run_each, say};

/// The arguments of `cargo prove fuzz`.
#[derive(Args)]
pub(crate) struct Order {
    /// How long to begin new rounds
    #[arg(value_name = "MINUTES", default_value_t = 5)]
    minutes: u64,
    /// Run one round of this seed alone, to see a failure again
    #[arg(long)]
    seed: Option<u64>,
    /// How many cases to make of each property in a round. 2000 take a minute or two
    #[arg(long, value_name = "COUNT", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
    cases: u32,
    /// Leave out the properties beside the code, which cargo test runs as unit tests
    #[arg(long)]
    files: bool,
}

/// The seed and the number of cases of this round.
static ROUND: Mutex<(u64, u32)> = Mutex::new((1, 1));

pub(crate) fn prove(order: &Order) {
    let until = Instant::now() + Duration::from_secs(order.minutes * 60);
    let parts = [
        harness::PROPERTIES,
        items::PROPERTIES,
        receipts::PROPERTIES,
        registry::PROPERTIES,
        state::PROPERTIES,
    ];
    let properties = parts.concat();
    let mut rounds = 0;
    loop {
        let seed = order.seed.unwrap_or_else(fresh_seed);
        rounds += 1;
        say(&format!("round {rounds}: seed {seed}, {} cases of each property", order.cases));
        *ROUND.lock().unwrap() = (seed, order.cases);
        if !order.files {
            beside_the_code(seed, order.cases);
        }
        run_each(&properties);
        if order.seed.is_some() || Instant::now() >= until {
            break;
        }
    }
    say(&format!("rounds: {rounds}, cases of each property: {}", rounds * u64::from(order.cases)));
}

fn beside_the_code(seed: u64, cases: u32) {
    let mut command = cargo();
    command.args(["test", "--quiet", "--locked", "--lib", "--", "::any_"]);
    command.env("PROPTEST_RNG_SEED", seed.to_string()).env("PROPTEST_CASES", cases.to_string());
    let passed = command.status().unwrap().success();
    assert!(passed, "a property beside the code fails with seed {seed}");
}

/// The cases of this round.
fn cases() -> Config {
    let (seed, cases) = *ROUND.lock().unwrap_or_else(PoisonError::into_inner);
    Config { rng_seed: RngSeed::Fixed(seed), cases, ..Config::default() }
}

/// Puts a file of a case in its place.
#[expect(clippy::disallowed_methods, reason = "files of a test need not survive anything")]
fn lay(path: &Path, bytes: &[u8]) {
    let _ = fs::remove_file(path);
    fs::write(path, bytes).unwrap();
}
