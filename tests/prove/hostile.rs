//! Hostile input: one table, input → expected, given to the real program.
//!
//! Whatever stands in an item, in a file's place or around the process: the program ends with a documented code and
//! soon, says which file it is about, prints nothing that steers a terminal or a runner, reads and writes nothing that
//! is not its own, and goes on with the items that are in order.

mod full;
mod machine;
mod odd;
mod places;
mod said;
mod texts;

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use crate::support::{Factory, Ran};
use crate::{run_each, say};

/// How long one call may take before it counts as hanging, in seconds. Only a call that hangs takes that long.
const HANGS_AFTER_S: u32 = 60;

/// Address space of each call, in KiB: whatever it is given, it never needs more.
const MEMORY_MAX_KIB: u64 = 1 << 20;

/// The codes of README's table, but 1: that is a bug.
const CODES: &[i32] = &[0, 2, 3, 4, 5, 10, 65, 69, 73, 74, 75, 77, 78];

/// The arguments of `cargo prove hostile`.
#[derive(Args)]
pub(crate) struct Order {
    /// How large sizes are. 100 is 100,000 items, 1 GB of output, a file of 50 MB. Below 100 neither rows nor peaks are
    /// told, and not everything is tried
    #[arg(value_name = "PERCENT", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    percent: u64,
    /// Try this part alone
    #[arg(value_enum)]
    part: Option<Part>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// What stands in items
    Texts,
    /// Something else in the place of each file
    Places,
    /// What agents print and people type
    Said,
    /// What is around a process: limits, memory, disks
    Machine,
    /// Agents that fill the disk
    Full,
}

impl Part {
    fn checks(self) -> &'static [(&'static str, fn())] {
        match self {
            Part::Texts => &[
                ("files", texts::whatever_a_file_holds_it_becomes_an_item_or_is_reported_and_the_others_go_on),
                ("tricks", texts::items_with_every_trick_get_what_is_theirs_and_no_screen_shows_it_raw),
                ("no files", texts::what_is_no_file_is_no_item_and_is_reported),
                ("many items", texts::as_many_items_as_are_allowed_take_bounded_time_and_memory),
            ],
            Part::Places => &[
                (
                    "places",
                    places::what_stands_in_the_place_of_a_file_is_never_waited_for_followed_or_written_through,
                ),
                ("runs", places::whatever_becomes_of_the_files_of_a_run_its_agent_goes_on_and_is_the_only_one),
                ("agents", places::whatever_an_agent_puts_in_place_of_its_own_files_its_run_comes_to_an_end),
                ("prompts", places::a_fifo_in_the_place_of_a_prompt_fails_the_start_instead_of_holding_it_up),
            ],
            Part::Said => &[
                ("printed", said::what_an_agent_prints_steers_neither_a_terminal_nor_a_runner),
                ("endless", said::output_without_end_is_bounded_on_disk_and_in_memory),
                ("typed", said::what_a_person_types_is_quoted_harmlessly),
            ],
            Part::Machine => &[
                ("around", machine::whatever_is_around_a_tick_the_next_one_goes_on_and_nobody_is_charged),
                ("no process", machine::a_tick_that_may_start_no_process_charges_nobody),
                ("no room", machine::a_disk_without_room_loses_and_doubles_nothing),
                ("end without room", machine::a_run_that_ends_on_a_full_disk_is_judged_by_its_end_once_there_is_room),
                (
                    "hook",
                    machine::the_hook_after_a_run_finds_its_receipt_where_what_was_left_had_filled_the_disk,
                ),
                ("no memory", machine::a_tick_without_memory_leaves_a_state_to_go_on_from),
            ],
            Part::Full => &[
                ("stop", full::agent_that_fills_the_disk_is_stopped),
                ("park", full::item_is_parked_on_a_full_disk),
                ("no reserve", full::agent_is_ended_where_even_the_reserve_is_gone),
                ("charge", full::agent_that_fails_on_a_full_disk_is_not_charged),
                ("workspaces", full::nothing_starts_without_room_for_workspaces),
            ],
        }
    }
}

pub(crate) fn prove(order: &Order) {
    PERCENT.store(order.percent, Ordering::Relaxed);
    if at_full_size() {
        say(&format!("{:<58} {:<22} {:>6} {:>7} {:>9}", "input", "expected", "seen", "ms", "peak MiB"));
    }
    let parts = Part::value_variants().iter().filter(|part| order.part.is_none_or(|only| only == **part));
    let checks: Vec<_> = parts.flat_map(|part| part.checks()).copied().collect();
    run_each(&checks);
}

static PERCENT: AtomicU64 = AtomicU64::new(100);

/// How large sizes are, in hundredths.
fn percent() -> u64 {
    PERCENT.load(Ordering::Relaxed)
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
    fn row(&self, input: &str, expected: &str, call: &Call, broken: Vec<String>) {
        if at_full_size() {
            let seen = call.ran.code.map_or("killed".to_owned(), |code| code.to_string());
            let peak = call.peak_kib.map_or_else(String::new, |kib| format!("{:.1}", kib as f64 / 1024.0));
            let mark = if broken.is_empty() { "" } else { "  BROKEN" };
            let ms = call.took.as_millis();
            say(&format!("{input:<58.58} {expected:<22} {seen:>6} {ms:>7} {peak:>9}{mark}"));
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
