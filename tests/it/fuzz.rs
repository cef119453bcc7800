//! Whatever stands in a file that the program reads: it panics at nothing, waits for nothing, takes nothing that is
//! beyond its limits, and what it writes it reads again as what it was.
//!
//! Each property runs some hundred cases of one fixed seed here; `scripts/fuzz.sh` runs them, and those beside the code
//! whose names begin with `any_`, for as long as it is told and with a seed of its own each time. What fails is kept by
//! proptest below `tests/proptest-regressions`, and is to become a test of its own.

mod change;
mod harness;
mod items;
mod receipts;
mod registry;
mod state;

use std::fs;
use std::path::Path;

use proptest::test_runner::{Config, RngSeed};

/// So many that all of them together take seconds.
const CASES: u32 = 128;

/// Some hundred cases, always the same ones unless the environment (`PROPTEST_CASES`, `PROPTEST_RNG_SEED`) says else.
#[expect(clippy::disallowed_methods, reason = "proptest's own knob")]
fn cases() -> Config {
    let asked = Config::default();
    let rng_seed = match asked.rng_seed {
        RngSeed::Random => RngSeed::Fixed(1),
        fixed => fixed,
    };
    let is_asked_for = std::env::var_os("PROPTEST_CASES").is_some();
    Config { rng_seed, cases: if is_asked_for { asked.cases } else { CASES }, ..asked }
}

/// Puts a file of a case in its place.
#[expect(clippy::disallowed_methods, reason = "files of a test need not survive anything")]
fn lay(path: &Path, bytes: &[u8]) {
    let _ = fs::remove_file(path);
    fs::write(path, bytes).unwrap();
}
