//! The proofs: each tries one promise of the program at length, against real processes and files or in the simulator.
//!
//! `cargo prove --help` shows them and their arguments. A plain `cargo test` runs a part of each that ends soon
//! (`ordinary`). A proof prints its seeds and its table, and ends with code 1 where a promise is broken.

mod all;
mod corrupt;
mod fleets;
mod fuzz;
mod hostile;
mod kill;
mod night;
mod ordinary;
mod power;
mod race;
mod reaper;
mod sim;
mod sweep;

#[path = "../it/coverage.rs"]
mod coverage;

// Shared with the tests of `tests/it`.
#[path = "../it/broker.rs"]
#[expect(dead_code, unused_imports, reason = "tests/it uses the rest")]
mod broker;
#[path = "../support/fleet_suite.rs"]
mod fleet_suite;
#[path = "../support/model.rs"]
#[expect(dead_code, reason = "tests/it uses the rest")]
mod model;
#[path = "../support/pty.rs"]
mod pty;
#[path = "../support/source_suite.rs"]
mod source_suite;
#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "tests/it uses the rest; there the compiler finds dead code")]
mod support;
#[path = "../support/wall_clock.rs"]
mod wall_clock;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use clap::{Parser, Subcommand};
use factory_tick::cli::{self, Start};
use factory_tick::launcher::{self, exec, relay};

/// The first argument of `cargo prove`. Without it the arguments are those of `cargo test`.
const COMMAND: &str = "prove";

/// Tries the promises of factory-tick at length.
///
/// Each proof prints its seeds and what it found, and ends with code 1 where a promise is broken. Without a
/// command it runs the part of each proof that cargo test runs.
#[derive(Parser)]
#[command(name = "prove", bin_name = "cargo prove", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    proof: Option<Proof>,
    /// Pass, and say so, where this machine lacks what a proof needs
    #[arg(long, global = true)]
    may_skip: bool,
}

#[derive(Subcommand)]
enum Proof {
    /// Kill the program and its launchers before each system call that changes anything, or make each call fail. Needs
    /// strace
    Sweep(sweep::Order),
    /// Cut every file that the program reads at a byte, or flip a bit of it
    Corrupt(corrupt::Order),
    /// Cut the power at every point of some 20 ticks and commands. Needs root, /dev/fuse, loop devices and strace
    Power(power::Order),
    /// Run agents that misbehave, and count the processes that are left. Needs pid namespaces; half of it needs
    /// root
    Reaper(reaper::Order),
    /// Give pids of runs and ticks to other processes, and count those that are signalled. Needs pid namespaces
    Pids(reaper::reuse::Order),
    /// Give hostile input to the program: texts, names, bytes, bombs, and something else in the place of each file
    Hostile(hostile::Order),
    /// Kill ticks with SIGKILL at moments spread over all of a tick
    Kill(kill::Order),
    /// Run 8 ticks at once, round after round
    Race(race::Order),
    /// Give orders to each kind of fleet and to the simulator's machine: each must keep every promise of a fleet
    Fleets(fleets::Order),
    /// Live through simulated factories in which everything fails. "cargo sim" is the same, built to be fast
    Sim(sim::Order),
    /// Play a night of 200 minutes in 4 factories, and the morning after it. Needs faketime. "cargo night" is the same,
    /// built to be fast
    Night(night::Order),
    /// Give random bytes and records to everything that reads
    Fuzz(fuzz::Order),
    /// Run all of these, each with its log in target/prove
    All(all::Order),
    /// Check that each rule of tests/rules has a test or a reason, and write the table of them
    Coverage {
        /// Where to write the table. Without it: COVERAGE.md in the target directory
        file: Option<PathBuf>,
    },
    #[command(hide = true)]
    Inside(reaper::alone::Order),
}

/// Whether a proof passes where this machine lacks what it needs.
static MAY_SKIP: AtomicBool = AtomicBool::new(false);

#[expect(clippy::disallowed_methods, reason = "the only reader of the proofs' arguments")]
fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    if arguments.get(1).is_some_and(|first| STAGES.iter().any(|stage| first == stage)) {
        return become_stage();
    }
    if arguments.get(1).is_none_or(|first| first != COMMAND) {
        return ordinary::run(&ordinary::Choice::parse_from(arguments));
    }
    let Cli { proof, may_skip } = Cli::parse_from(&arguments[1..]);
    MAY_SKIP.store(may_skip, Ordering::Relaxed);
    let Some(proof) = proof else { return ordinary::run(&ordinary::Choice::default()) };
    // The hook has told the reason when a panic arrives here.
    match catch_unwind(AssertUnwindSafe(|| prove(&proof))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// The hidden commands with which a fleet in this process starts this program again, for its launchers and agents.
const STAGES: [&str; 3] = ["__launch", "__exec", "__relay"];

/// Does what the program does with such a command: the same functions of the library, see `src/main.rs`.
fn become_stage() -> ExitCode {
    let error = match cli::read() {
        Ok(Start::Launcher { run_dir, relay }) => launcher::launch(run_dir, relay).err(),
        Ok(Start::Relay { run_dir, vars }) => relay::relay(&run_dir, &vars).err(),
        Ok(Start::Exec { parent, run_dir, hook }) => Some(exec::become_program(parent, run_dir, hook)),
        Ok(Start::Remover { .. } | Start::Command(_)) => panic!("no such command is passed on"),
        Err(error) => Some(error.into()),
    };
    // The receipts of the run tell why.
    if error.is_none() { ExitCode::SUCCESS } else { ExitCode::from(exec::EXEC_FAILED) }
}

fn prove(proof: &Proof) {
    match proof {
        Proof::Sweep(order) => sweep::clean_ticks_recover_from_each_fault(order),
        Proof::Corrupt(order) => corrupt::damaged_file_loses_doubles_and_ends_nothing(order),
        Proof::Power(order) => power::power_cut_loses_no_promise(order),
        Proof::Reaper(order) => reaper::misbehaving_agent_leaves_nothing_untold(order),
        Proof::Pids(order) => reaper::reuse::reused_pid_is_not_signalled(order),
        Proof::Hostile(order) => hostile::prove(order),
        Proof::Kill(order) => kill::killed_tick_loses_and_doubles_no_agent(order),
        Proof::Race(order) => race::racing_ticks_start_each_run_once(order),
        Proof::Fleets(order) => fleets::every_fleet_keeps_its_promises(order),
        Proof::Sim(order) => sim::every_rule_holds_after_every_tick(order),
        Proof::Night(order) => night::night_and_morning_end_as_they_should(order),
        Proof::Fuzz(order) => fuzz::prove(order),
        Proof::All(order) => all::prove(order),
        Proof::Coverage { file } => coverage::write(file.as_deref().unwrap_or(&target().join("COVERAGE.md"))),
        Proof::Inside(order) => reaper::alone::play(order),
    }
}

/// Prints a line of a proof.
#[expect(clippy::print_stdout, reason = "tables and seeds are what a proof is run for")]
fn say(line: &str) {
    println!("{line}");
}

/// This machine lacks what a proof needs. The proof fails, or with `--may-skip` it passes and says why.
fn lacking(why: &str) {
    assert!(MAY_SKIP.load(Ordering::Relaxed), "{why}");
    support::skipped(why);
}

/// A seed that no run had before: 30 bits, short enough to be typed again.
fn fresh_seed() -> u64 {
    let mut bytes = [0; 4];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).unwrap();
    u64::from(u32::from_le_bytes(bytes) >> 2) + 1
}

/// An argument that is a number from 1 up.
fn at_least_1(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("it must be a whole number from 1 up".to_owned()),
        Ok(number) => Ok(number),
    }
}

/// Cargo, in this project. Without the variables that the outer cargo sets for its tests: with them a dependency such as
/// ring is built again.
#[expect(clippy::disallowed_methods, reason = "the names of the variables to remove")]
fn cargo() -> Command {
    let mut command = support::system(env!("CARGO"));
    let told = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_EXE_", "LD_LIBRARY_PATH"];
    for (name, _) in std::env::vars_os() {
        if told.iter().any(|told| name.to_string_lossy().starts_with(told)) {
            command.env_remove(name);
        }
    }
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

/// The target directory of this build.
fn target() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap()
}

/// Runs these checks, 2 at a time, and fails with the names of those that fail.
fn run_each(checks: &[(&str, fn())]) {
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    let work = || {
        while let Some((name, check)) = checks.get(next.fetch_add(1, Ordering::Relaxed)) {
            if catch_unwind(check).is_err() {
                failed.lock().unwrap().push(*name);
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        scope.spawn(work);
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "failed: {}", failed.join(", "));
}
