//! A night in short: four factories with thirty items, ticked as cron would do it, while agents fail, hang, fork and
//! ask, their provider is down for half an hour and the clock is set back and forth; and the morning after that.
//!
//! A night has 200 minutes, however many ticks it has. Between two ticks the wall clock is set on by its share; agents live
//! in real time, and so do their deadlines. With 200 ticks it has one per minute. The real claude and codex take their
//! time; scripts stand in for those where that is asked for, or where they can't be fetched.

mod book;
mod house;

use std::collections::BTreeSet;
use std::time::Duration;

use book::Book;
use clap::Args;
use factory_tick::clock;
use house::{End, Ground, House, Played};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::sim::dice::Dice;
use crate::support::{Factory, assert_has, hard_limit, is_alive, pause, put, skipped, system};
use crate::wall_clock::WallClock;
use crate::{fresh_seed, say};

/// The arguments of `cargo prove night`.
#[derive(Args)]
pub(crate) struct Order {
    /// How many rounds of ticks the night has. 200 is a tick per minute
    #[arg(default_value_t = 200, value_parser = clap::value_parser!(u64).range(20..=400))]
    ticks: u64,
    /// File the same items at the same minutes as this seed did. Without it the seed is a new one
    #[arg(long)]
    seed: Option<u64>,
    /// Use scripts in place of claude and codex. Without this they are fetched, which takes about 250 MB
    #[arg(long)]
    stand_ins: bool,
}

/// How long a night is.
const MINUTES: u64 = 200;

/// How the model answers from which minute on: it is down for half an hour, and once more while the clock is set back.
const MODES: [(u64, &str); 5] = [(60, "500"), (75, "529"), (90, "ok"), (115, "529"), (126, "ok")];

/// The clock is set back by an hour, in the middle of a cool-off, and right again.
const STEPS: [(u64, i64); 2] = [(120, -3600), (160, 3600)];

/// Real time between two rounds of ticks: so that agents come to something meanwhile. Nothing depends on how much.
const PACE: Duration = Duration::from_millis(50);

/// More rounds than any wait of this night takes.
const ROUNDS_MAX: u64 = 1000;

/// Dropped in this order: the end of the houses takes a clock, and all have files in the folder.
struct Night {
    houses: Vec<House>,
    model: Played,
    clock: WallClock,
    book: Book,
    seconds_per_tick: u64,
    rounds: u64,
    _folder: tempfile::TempDir,
}

impl Night {
    /// `None`, said aloud, where no clock can be set. `full`: that is a failure, and agents are the real programs.
    fn new(ticks: u64, seed: u64, full: bool) -> Option<Night> {
        let folder = tempfile::Builder::new().prefix("factory-tick-night-").tempdir().unwrap();
        let clock = WallClock::new(folder.path(), full)?;
        let model = Played::new(folder.path(), full);
        let seconds_per_tick = MINUTES * 60 / ticks;
        let ground = Ground { vars: &clock.vars, seconds_per_tick };
        let mut houses = Vec::from(ground.scripts(&mut Dice::new(seed)));
        let allowed = r#"args = ["--permission-mode", "acceptEdits", "--allowedTools", "Bash"]"#;
        houses.push(ground.preset("claude", allowed, &model));
        houses.push(ground.preset("codex", r#"args = ["--sandbox", "danger-full-access"]"#, &model));
        assert_eq!(houses.iter().map(|house| house.filed.len()).sum::<usize>(), 30);
        let book = Book::default();
        Some(Night { houses, model, clock, book, seconds_per_tick, rounds: 0, _folder: folder })
    }

    /// All lines of the crontab, and the time until the next minute that has any.
    fn round(&mut self) -> Vec<Value> {
        self.rounds += 1;
        assert!(self.rounds < ROUNDS_MAX, "it never comes to an end");
        let (book, clock) = (&mut self.book, &self.clock);
        let news = self
            .houses
            .iter()
            .flat_map(|house| book.tick(house, self.rounds, || clock::wall() + clock.ahead));
        let news = news.collect();
        pause(PACE);
        self.clock.go(self.seconds_per_tick as i64);
        news
    }

    /// Rounds until that holds; how often is no matter.
    fn rounds_until(&mut self, holds: impl Fn(&Night) -> bool) {
        while !holds(self) {
            self.round();
        }
    }

    fn house(&self, name: &str) -> &Factory {
        &self.houses.iter().find(|house| house.name == name).unwrap().factory
    }

    fn files(&self, from: u64, to: u64) {
        for house in &self.houses {
            let filed = house.filed.iter().filter(|filed| (from..to).contains(&filed.minute));
            filed.for_each(|filed| house.factory.edit(&filed.key, &filed.body));
        }
    }

    /// Whether every item of every house has come to an end.
    fn is_quiet(&self) -> bool {
        let is_over = |item: &Value| item["state"] == "done" || item["state"] == "parked";
        self.houses.iter().all(|house| {
            let items = house.factory.items();
            items.len() >= house.filed.len() && items.values().all(is_over)
        })
    }

    /// Every provider is known to fail.
    fn all_cool_off(&self) -> bool {
        let mut with_provider = self.houses.iter().filter(|house| house.harness.is_some());
        with_provider.all(|house| house.factory.registry()["cool_offs"] != json!({}))
    }

    /// Whatever waits for its provider began to in the past.
    fn assert_no_cool_off_of_the_future(&self) {
        let now = clock::wall() + self.clock.ahead;
        for house in &self.houses {
            for (scope, cool_off) in house.factory.registry()["cool_offs"].as_object().unwrap() {
                let since: Timestamp = cool_off["begun"]["at"].as_str().unwrap().parse().unwrap();
                assert!(since <= now, "{}: {scope} cools off since {since}, and now it is {now}", house.name);
            }
        }
    }

    /// The clock is set, and nothing that runs is the worse for it.
    fn step(&mut self, seconds: i64) {
        let runs = |night: &Night| night.house("shells").agent("long-1-impl")["run"].clone();
        let alive =
            |night: &Night| night.house("shells").agents_alive().contains(&"long-1-impl.1".to_owned());
        let held_over = !self.house("shells").lab("released").exists();
        if held_over {
            self.rounds_until(|night| alive(night) && night.all_cool_off());
        }
        self.clock.go(seconds);
        for house in &self.houses {
            let why = if seconds < 0 { "future" } else { "stale" };
            let status = house.factory.run(&["status"]).expect(3);
            assert_has(&status.stdout, &[why]);
        }
        for _ in 0..2 {
            let news = self.round();
            self.assert_no_cool_off_of_the_future();
            let lost = news.iter().filter(|event| {
                event["event"] == "fail"
                    && ["vanished", "infra"].contains(&event["code"].as_str().unwrap_or(""))
                    && event["item"].as_str().is_some_and(|item| !item.starts_with("dir:shot-"))
            });
            assert_eq!(lost.collect::<Vec<_>>(), [&Value::Null; 0]);
            if held_over {
                assert!(alive(self) && runs(self) == "long-1-impl.1", "{}", runs(self));
            }
        }
        for house in &self.houses {
            house.factory.run(&["status"]).expect(0);
        }
        put(&self.house("shells").lab("released"), "\n");
    }

    fn night(&mut self, ticks: u64) {
        let mut before = 0;
        for tick in 0..ticks {
            let minute = tick * MINUTES / ticks;
            let is_now = |at: u64| tick == 0 && at == 0 || (before < at && at <= minute);
            self.files(if tick == 0 { 0 } else { before + 1 }, minute + 1);
            for (at, mode) in MODES.iter().filter(|(at, _)| is_now(*at)) {
                // On a slow machine an outage lasts until everybody has felt it; for the second one the step waits.
                if *mode == "ok" && *at < STEPS[0].0 {
                    self.rounds_until(Night::all_cool_off);
                }
                self.model.mode(mode);
            }
            if let Some((_, seconds)) = STEPS.iter().find(|(at, _)| is_now(*at)) {
                self.step(*seconds);
            }
            before = minute;
            self.round();
        }
        self.rounds_until(Night::is_quiet);
        // It is over: nothing is left to decide.
        assert_eq!(self.round(), [Value::Null; 0]);
    }

    fn assert_ends(&self) {
        for house in &self.houses {
            let (name, ticks) = (house.name, &self.book.houses[house.name]);
            for filed in &house.filed {
                let (record, id) = (house.factory.recorded(&filed.key), format!("dir:{}", filed.key));
                let end = match record["state"].as_str().unwrap() {
                    "done" => json!("done"),
                    _ => record["last"]["class"].clone(),
                };
                let want = match filed.end {
                    End::Done => "done",
                    End::Parked(class) => class,
                };
                assert_eq!(end, want, "{name}: {record}");
                assert_eq!(record["attempts"], filed.attempts, "{name}: {record}");
                let fails = ticks.fails.get(&id).map_or(0, |fails| fails.len() as u64);
                let well = ticks.well.get(&id).copied().unwrap_or(0);
                assert_eq!(ticks.starts[&id], fails + well, "{name}: {id}: each start has one end");
            }
            if house.harness.is_some() {
                assert!(ticks.provider.trials > 0, "{name}: nobody tried whether its provider answers again");
                assert_eq!(house.factory.registry()["cool_offs"], json!({}), "{name}: it answers again");
            }
            let mut starts = house.factory.starts();
            starts.sort();
            let count = starts.len();
            starts.dedup();
            assert_eq!(starts.len(), count, "{name}: a run was started twice");
            self.book.assert_news(name);
            let odd: Vec<_> = ticks.codes.keys().filter(|code| ![0, 3, 4].contains(*code)).collect();
            assert!(odd.is_empty(), "{name}: {odd:?}");
        }
        for harness in ["claude", "codex"] {
            assert!(self.house(harness).state("workspaces/tool-1/made-by-the-agent").exists(), "{harness}");
        }
    }

    fn morning(&mut self) {
        let count = 5;
        let key = |n: u64| format!("work-{n}");
        (1..=count).for_each(|n| self.house("shells").item(&key(n)));
        let at_work = move |factory: &Factory| {
            factory.starts().iter().filter(|run| run.starts_with("work-")).count() as u64
        };
        self.rounds_until(|night| at_work(night.house("shells")) == count);
        let shells = self.house("shells");
        shells.item(&key(count + 1));
        let drained = shells.run(&["drain", "--wait", "0s"]).expect(3);
        assert_has(&format!("{}{}", drained.stdout, drained.stderr), &["still in flight", "work-5-impl.1"]);
        self.round();
        let shells = self.house("shells");
        assert_eq!(at_work(shells), count, "nothing starts any more, and what runs goes on");
        let alive: BTreeSet<_> = shells.agents_alive().into_iter().collect();
        assert_eq!(alive.len() as u64, count, "{alive:?}");
        shells.run(&["stop", "--all"]).expect(0);
        assert!(shells.processes().is_empty(), "{:?}", shells.processes());
        for house in &self.houses {
            house.factory.run(&["pause", "--reason", "the night is over"]).expect(0);
        }
        self.round();
        self.round();
        let shells = self.house("shells");
        assert_eq!(at_work(shells), count);
        (1..=count).for_each(|n| assert_eq!(shells.recorded(&key(n))["parked_by"], "person"));

        self.clock.go(8 * 3600);
        for house in &self.houses {
            put(&house.factory.lab("morning"), "\n");
            house.factory.run(&["unpause"]).expect(0);
            house.factory.run(&["retry", "--all", "--message", "MODEL_MODE=ok"]).expect(0);
        }
        self.rounds_until(|night| night.is_quiet() && at_work(night.house("shells")) == 2 * count + 1);
        self.rounds_until(Night::is_quiet);
        for house in &self.houses {
            for (id, item) in house.factory.items() {
                assert_eq!(item["state"], "done", "{}: {id}: {item}", house.name);
            }
        }
    }

    /// Nothing of it lives: by its environment, nor by the limit that every process of a run has.
    fn assert_nothing_is_left(&self) {
        for house in &self.houses {
            house.factory.run(&["drain", "--stop", "--wait", "1m"]).expect(0);
            assert!(house.factory.processes().is_empty(), "{}: {:?}", house.name, house.factory.processes());
            let told = house.factory.told("limits");
            let limits = told.lines().filter_map(|line| line.split_whitespace().nth(4)?.parse::<u64>().ok());
            let limits: Vec<_> = limits.filter(|limit| *limit >= 1 << 62).collect();
            let pids = std::fs::read_dir("/proc").unwrap();
            let pids = pids.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
            // A zombie keeps its limits until init has taken notice.
            let ours = pids.filter(|pid| hard_limit(*pid).is_some_and(|limit| limits.contains(&limit)));
            let alive = ours.filter(|pid| is_alive(*pid));
            let told =
                alive.map(|pid| std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default());
            assert_eq!(told.collect::<Vec<_>>(), [""; 0], "{}: processes of its runs", house.name);
        }
    }
}

pub(crate) fn night_and_morning_end_as_they_should(order: &Order) {
    let ticks = order.ticks;
    let seed = order.seed.unwrap_or_else(fresh_seed);
    say(&format!("ticks: {ticks}, seed: {seed}"));
    if !order.stand_ins {
        let root = env!("CARGO_MANIFEST_DIR");
        let fetched = system("scripts/harness.sh").current_dir(root).status();
        if !fetched.is_ok_and(|status| status.success()) {
            skipped("no real claude and codex: scripts stand in for them");
        }
    }
    let Some(mut night) = Night::new(ticks, seed, !order.stand_ins) else { return };
    night.night(ticks);
    say(&format!("\n== the night: {} rounds of ticks, seed {seed}", night.rounds));
    night.book.print(&night.houses);
    night.assert_ends();
    night.morning();
    night.assert_nothing_is_left();
    say(&format!("\n== after the morning: {} rounds, all is done, and no process is left", night.rounds));
    night.book.print(&night.houses);
}
