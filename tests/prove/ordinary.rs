//! The part of each proof that a plain `cargo test` runs: always the same cases, a line for each proof.

use std::process::{ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;

use crate::support::system;
use crate::{COMMAND, say};

/// A name to choose it by, and the arguments of `cargo prove`.
struct Part {
    name: &'static str,
    arguments: &'static [&'static str],
}

const fn part(name: &'static str, arguments: &'static [&'static str]) -> Part {
    Part { name, arguments }
}

/// The longest ones first, so that none of them is left for the end.
const PARTS: &[Part] = &[
    part("sim", &["sim", "500", "100", "--first-seed", "1"]),
    part("hostile::places", &["hostile", "1", "places"]),
    part("corrupt", &["corrupt", "--samples", "2"]),
    part("sweep", &["sweep", "dispatch", "--every", "4"]),
    part("reaper", &["reaper", "--ordinary", "--crowd", "100"]),
    part("fleets", &["fleets"]),
    part("power", &["power", "6", "--ordinary"]),
    part("night", &["night", "40", "--seed", "1", "--stand-ins"]),
    part("hostile::texts", &["hostile", "1", "texts"]),
    part("hostile::said", &["hostile", "1", "said"]),
    part("hostile::machine", &["hostile", "1", "machine"]),
    part("hostile::full", &["hostile", "1", "full"]),
    part("pids", &["pids", "30"]),
    part("kill", &["kill", "8", "--seed", "1"]),
    part("race", &["race", "5"]),
    part("fuzz", &["fuzz", "--files", "--cases", "128", "--seed", "1"]),
];

/// Which parts to run, in the words of `cargo test -- …`.
#[derive(Default, Parser)]
#[command(name = "prove")]
pub(crate) struct Choice {
    /// Run only the proofs whose name holds one of these texts
    filters: Vec<String>,
    /// A name must be the whole text
    #[arg(long)]
    exact: bool,
    /// Leave out the proofs whose name holds this text
    #[arg(long, value_name = "TEXT")]
    skip: Vec<String>,
    /// Print the names, and run nothing
    #[arg(long)]
    list: bool,
    /// No proof is ignored, so this runs nothing
    #[arg(long)]
    ignored: bool,
    /// How many proofs run at a time
    #[arg(long, value_name = "COUNT")]
    test_threads: Option<usize>,
    /// Print the output of each proof, not only of those that fail
    #[arg(long, visible_aliases = ["no-capture", "show-output"])]
    nocapture: bool,
    /// Arguments of `cargo test` that change nothing here
    #[arg(long, hide = true)]
    include_ignored: bool,
    #[arg(long, short, hide = true)]
    quiet: bool,
    #[arg(long, hide = true)]
    format: Option<String>,
    #[arg(long, hide = true)]
    color: Option<String>,
    #[arg(short = 'Z', hide = true)]
    unstable: Vec<String>,
}

impl Choice {
    fn is_chosen(&self, part: &Part) -> bool {
        let fits =
            |text: &String| if self.exact { part.name == text } else { part.name.contains(text.as_str()) };
        let is_wanted = self.filters.is_empty() || self.filters.iter().any(fits);
        is_wanted && !self.ignored && !self.skip.iter().any(fits)
    }
}

/// The outcome of a part.
struct Outcome {
    passed: bool,
    printed: String,
    took: Duration,
}

impl Part {
    /// Runs it in a process of its own, and keeps the output.
    fn run(&self) -> Outcome {
        let begun = Instant::now();
        let mut command = system(std::env::current_exe().unwrap().to_str().unwrap());
        command.args([COMMAND, "--may-skip"]).args(self.arguments).stdin(Stdio::null());
        let output = command.output().unwrap();
        let printed =
            [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Outcome { passed: output.status.success(), printed: printed.concat(), took: begun.elapsed() }
    }
}

/// Runs the chosen parts, and fails where one of them fails.
pub(crate) fn run(choice: &Choice) -> ExitCode {
    let chosen: Vec<_> = PARTS.iter().filter(|part| choice.is_chosen(part)).collect();
    if choice.list {
        chosen.iter().for_each(|part| say(&format!("{}: test", part.name)));
        return ExitCode::SUCCESS;
    }
    say(&format!("\nrunning {} proofs", chosen.len()));
    let begun = Instant::now();
    let jobs =
        choice.test_threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, chosen.len().max(1)) {
            scope.spawn(|| {
                while let Some(part) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = part.run();
                    print(part, &outcome, choice.nocapture);
                    if !outcome.passed {
                        failed.lock().unwrap().push((*part, outcome.printed));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    for (part, printed) in &failed {
        say(&format!(
            "\n---- {} ----\n{printed}\nagain: cargo prove {}",
            part.name,
            part.arguments.join(" ")
        ));
    }
    let (verdict, passed) = (if failed.is_empty() { "ok" } else { "FAILED" }, chosen.len() - failed.len());
    let seconds = begun.elapsed().as_secs_f64();
    say(&format!(
        "\nproof result: {verdict}. {passed} passed; {} failed; finished in {seconds:.2}s\n",
        failed.len()
    ));
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print(part: &Part, outcome: &Outcome, all: bool) {
    let verdict = if outcome.passed { "ok" } else { "FAILED" };
    let mut lines = format!("proof {} ... {verdict} ({:.1} s)", part.name, outcome.took.as_secs_f64());
    let told = outcome.printed.lines().filter(|line| all || line.starts_with("SKIPPED"));
    told.for_each(|line| lines += &format!("\n    {line}"));
    say(&lines);
}
