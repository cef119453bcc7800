//! Hostile input: one table, input → expected, given to the real program.
//!
//! Whatever stands in an item, in a file's place or around the process: the program ends with a documented code and
//! soon, says which file it is about, prints nothing that steers a terminal or a runner, reads and writes nothing that
//! is not its own, and goes on with the items that are in order. `scripts/hostile.sh` prints the table at full size.

mod full;
mod machine;
mod odd;
mod places;
mod said;
mod texts;

use std::fs;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::support::{Factory, Ran, number_from};

/// How long one call may take before it counts as hanging, in seconds. Only a call that hangs takes that long.
const HANGS_AFTER_S: u32 = 60;

/// Address space of each call, in KiB: whatever it is given, it never needs more.
const MEMORY_MAX_KIB: u64 = 1 << 20;

/// The codes of README's table, but 1: that is a bug.
const CODES: &[i32] = &[0, 2, 3, 4, 5, 10, 65, 69, 73, 74, 75, 77, 78];

/// How large sizes are, in hundredths of what `scripts/hostile.sh` tries.
fn percent() -> u64 {
    number_from("FACTORY_TEST_HOSTILE_PERCENT", 1)
}

/// Whether all of it is to be done, and told.
fn at_full_size() -> bool {
    percent() >= 100
}

/// One call of the program, and what it took.
struct Call {
    ran: Ran,
    took: Duration,
    /// Of its own memory, at its peak; measured at full size alone.
    peak_kib: Option<u64>,
}

/// Calls the program with bounds: what hangs is killed with 137, what takes too much memory gets none.
fn call(factory: &Factory, arguments: &[&str]) -> Call {
    call_under(factory, "", arguments)
}

/// The same, where a shell first does `around`.
fn call_under(factory: &Factory, around: &str, arguments: &[&str]) -> Call {
    // Not where the surroundings are the matter: who measures has the same.
    let measured = (at_full_size() && around.is_empty()).then(|| factory.lab("peak"));
    let measure = if measured.is_some() { r#"python3 -ISc "$MEASURE""# } else { "" };
    let script = format!(
        "ulimit -v {MEMORY_MAX_KIB}\n{around}\nexec {measure} timeout --foreground -s KILL {HANGS_AFTER_S} \"$TICK\" \"$@\""
    );
    let mut command = factory.shell(&script);
    command.env("MEASURE", MEASURE).arg("sh").args(arguments);
    if let Some(path) = &measured {
        command.env("PEAK", path);
    }
    let begun = Instant::now();
    let ran = Ran::of(&mut command);
    let took = begun.elapsed();
    let peak_kib = measured.and_then(|path| fs::read_to_string(path).ok()?.trim().parse().ok());
    Call { ran, took, peak_kib }
}

/// Runs a program as a child and writes down the peak of its memory, in KiB.
const MEASURE: &str = r#"
import os, resource, sys
child = os.spawnvp(os.P_WAIT, sys.argv[1], sys.argv[1:])
with open(os.environ["PEAK"], "w") as peak: peak.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(child if child >= 0 else 128 - child)
"#;

/// What is wrong with a call, whatever it was given.
fn wrong(call: &Call) -> Vec<String> {
    let Ran { code, stdout, stderr } = &call.ran;
    let mut wrong = Vec::new();
    match code {
        Some(137) => wrong.push("it hung".to_owned()),
        Some(code) if CODES.contains(code) => {}
        other => wrong.push(format!("it ended with {other:?}: {stderr}")),
    }
    for text in [stdout, stderr] {
        let steers = |c: char| c.is_control() && c != '\n' || HIDDEN.contains(c);
        if let Some(c) = text.chars().find(|c| steers(*c)) {
            wrong.push(format!("it printed {c:?} raw"));
        }
        if text.contains("##[") || text.lines().any(|line| line.trim_start().starts_with("::")) {
            wrong.push(format!("a runner would obey it: {text}"));
        }
    }
    wrong
}

/// Characters that turn the direction of text, or hide in it.
const HIDDEN: &str = "\u{ad}\u{61c}\u{180e}\u{200b}\u{200c}\u{200d}\u{200e}\u{200f}\u{202a}\u{202b}\u{202d}\u{202e}\
                      \u{2028}\u{2029}\u{2060}\u{2066}\u{2067}\u{2069}\u{206a}\u{feff}\u{fff9}\u{e0001}\u{e0041}";

/// The rows of one test, with what broke in each.
#[derive(Default)]
struct Table {
    rows: Mutex<Vec<(String, Vec<String>)>>,
}

impl Table {
    /// Adds a row. `broken` is what was not as expected.
    #[expect(clippy::print_stdout, reason = "the table is what the script is for")]
    fn row(&self, input: &str, expected: &str, call: &Call, broken: Vec<String>) {
        if at_full_size() {
            let seen = call.ran.code.map_or("killed".to_owned(), |code| code.to_string());
            let peak = call.peak_kib.map_or_else(String::new, |kib| format!("{:.1}", kib as f64 / 1024.0));
            let mark = if broken.is_empty() { "" } else { "  BROKEN" };
            println!("{input:<58.58} {expected:<22} {seen:>6} {:>7} {peak:>9}{mark}", call.took.as_millis());
        }
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).push((input.to_owned(), broken));
    }

    /// A call that ends with one of these codes and says all these words.
    fn expect(&self, input: &str, codes: &[i32], words: &[&str], call: &Call) {
        let mut broken = wrong(call);
        let Ran { code, stdout, stderr } = &call.ran;
        if !code.is_some_and(|code| codes.contains(&code)) {
            broken.push(format!("{code:?} and not {codes:?}: {stdout}{stderr}"));
        }
        let told = format!("{stdout}{stderr}");
        for word in words.iter().filter(|word| !told.contains(**word)) {
            broken.push(format!("{word:?} is missing in: {told}"));
        }
        let codes: Vec<_> = codes.iter().map(i32::to_string).collect();
        self.row(input, &codes.join(" or "), call, broken);
    }

    /// Fails with every row that broke.
    #[track_caller]
    fn close(self) {
        let rows = self.rows.into_inner().unwrap_or_else(PoisonError::into_inner);
        assert!(!rows.is_empty());
        let broken: Vec<_> = rows.iter().filter(|(_, broken)| !broken.is_empty()).collect();
        let told: String =
            broken.iter().map(|(input, broken)| format!("{input}:\n  {}\n", broken.join("\n  "))).collect();
        assert!(told.is_empty(), "{} of {} rows broke:\n{told}", broken.len(), rows.len());
    }
}
