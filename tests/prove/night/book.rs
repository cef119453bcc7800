//! What is written down of a night, and the table that it makes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde_json::Value;

use super::house::House;
use crate::support::Ran;

/// What a tick printed: cron mails it.
pub(super) struct Mail {
    tick: u64,
    house: &'static str,
    code: i32,
    first_line: String,
}

/// What was seen of a house's provider.
#[derive(Default)]
pub(super) struct Provider {
    /// When each of its cool-offs began or ended, and why.
    pub(super) cool_offs: Vec<String>,
    /// Runs that tried whether it answers again.
    pub(super) trials: u64,
    /// The trial that has not ended.
    trial: Option<String>,
}

/// One house, tick by tick.
#[derive(Default)]
pub(super) struct Ticks {
    walls: Vec<Duration>,
    cpus: Vec<Duration>,
    pub(super) codes: BTreeMap<i32, u64>,
    lines_read: usize,
    /// By item: starts and resumes.
    pub(super) starts: BTreeMap<String, u64>,
    /// By item: failures, as their class.
    pub(super) fails: BTreeMap<String, Vec<String>>,
    /// By item: runs that ended well.
    pub(super) well: BTreeMap<String, u64>,
    pub(super) provider: Provider,
}

#[derive(Default)]
pub(super) struct Book {
    pub(super) houses: BTreeMap<&'static str, Ticks>,
    pub(super) mails: Vec<Mail>,
}

/// CPU time of this process's children so far.
fn children() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Duration::from_micros(micros.unsigned_abs())
}

impl Book {
    /// One tick as cron would run it, written down and looked at.
    pub(super) fn tick(&mut self, house: &House, number: u64, now: impl Fn() -> Timestamp) -> Vec<Value> {
        let config = house.factory.path("factory.toml").display().to_string();
        let cooling = cooling(house);
        let (cpu, begun) = (children(), Instant::now());
        let ran = house.factory.run(&["-q", "-c", &config]);
        let ticks = self.houses.entry(house.name).or_default();
        ticks.walls.push(begun.elapsed());
        ticks.cpus.push(children() - cpu);
        let code = ran.code.expect("nobody kills ticks here");
        *ticks.codes.entry(code).or_default() += 1;
        let news = ticks.read(house);
        ticks.look(house, cooling, now(), &news);
        let Ran { stdout, stderr, .. } = ran;
        if let Some(first_line) = stdout.lines().chain(stderr.lines()).next() {
            let first_line = first_line.to_owned();
            self.mails.push(Mail { tick: number, house: house.name, code, first_line });
        }
        alone(house);
        news
    }

    /// That all is well is mailed after it was not, and never again.
    pub(super) fn assert_news(&self, house: &str) {
        let codes: Vec<_> =
            self.mails.iter().filter(|mail| mail.house == house).map(|mail| mail.code).collect();
        assert_ne!(codes.first(), Some(&0), "{house}: {codes:?}");
        assert!(!codes.windows(2).any(|pair| pair == [0, 0]), "{house}: {codes:?}");
    }

    #[expect(clippy::print_stdout, reason = "the tables of the night")]
    pub(super) fn print(&self, houses: &[House]) {
        println!("\nitem             state    class        attempts  starts  failures");
        for house in houses {
            let ticks = &self.houses[house.name];
            let items = house.factory.items();
            for (id, item) in items {
                let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
                let class = if item["state"] == "parked" { text(&item["last"]["class"]) } else { "-".into() };
                let fails = ticks.fails.get(&id).map(|fails| fails.join(" ")).unwrap_or_default();
                println!(
                    "{:6} {:10} {:8} {class:12} {:8}  {:6}  {fails}",
                    house.name,
                    text(&item["key"]),
                    text(&item["state"]),
                    item["attempts"],
                    ticks.starts[&id],
                );
            }
        }
        println!("\n{} mails", self.mails.len());
        for Mail { tick, house, code, first_line } in &self.mails {
            println!("  tick {tick:3}  {house:6}  exit {code}  {first_line}");
        }
        println!(
            "\n        ticks   wall ms: min  median     max    CPU ms: min  median     max   exit codes"
        );
        for (name, ticks) in &self.houses {
            let [wall, cpu] = [&ticks.walls, &ticks.cpus].map(|times| spread(times));
            println!("{name:6}  {:5}   {wall}       {cpu}   {:?}", ticks.walls.len(), ticks.codes);
        }
        for house in houses.iter().filter(|house| house.harness.is_some()) {
            let provider = &self.houses[house.name].provider;
            println!("\n{}: {} trials", house.name, provider.trials);
            provider.cool_offs.iter().for_each(|line| println!("  {line}"));
        }
        println!("\ncounters that are not 0");
        for house in houses {
            let counters = house.factory.registry()["counters"].as_object().unwrap().clone();
            let told = counters.iter().filter(|(_, count)| **count != 0);
            let told: Vec<_> = told.map(|(name, count)| format!("{name} {count}")).collect();
            println!("  {:6} {}", house.name, told.join(", "));
        }
    }
}

impl Ticks {
    /// What the log of events says since the last look.
    fn read(&mut self, house: &House) -> Vec<Value> {
        let text = fs::read_to_string(house.factory.state("events.jsonl")).unwrap_or_default();
        let news: Vec<Value> =
            text.lines().skip(self.lines_read).map(|line| serde_json::from_str(line).unwrap()).collect();
        self.lines_read += news.len();
        news
    }

    /// Counts what happened, and holds it against what may happen while a provider cools off. `cooling` is what was on
    /// record of that before the tick.
    fn look(&mut self, house: &House, cooling: Option<Timestamp>, now: Timestamp, news: &[Value]) {
        let mut cooling = cooling;
        for event in news {
            let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
            let (item, run, because) = (text("item"), text("run"), text("because"));
            match text("event").as_str() {
                "start" | "resume" => {
                    *self.starts.entry(item).or_default() += 1;
                    let Some(until) = cooling else { continue };
                    let provider = &mut self.provider;
                    assert!(until <= now, "{}: {run} was started before {until}: {news:?}", house.name);
                    assert_eq!(provider.trial, None, "{}: {run} is a second trial: {news:?}", house.name);
                    provider.trials += 1;
                    provider.trial = Some(run);
                }
                name @ ("done" | "fail") if !run.is_empty() => {
                    if self.provider.trial.as_ref() == Some(&run) {
                        self.provider.trial = None;
                    }
                    if name == "done" {
                        *self.well.entry(item).or_default() += 1;
                    } else {
                        self.fails.entry(item).or_default().push(text("code"));
                    }
                }
                "cool_off" => {
                    self.provider.cool_offs.push(format!("{}  {because}", text("at")));
                    let until = because.split_once("starts nothing before ").map(|(_, rest)| rest);
                    cooling = until.and_then(|rest| rest.split_once(": ")?.0.parse().ok());
                }
                _ => {}
            }
        }
    }
}

/// Until when the house's provider cools off; also one that is over, and waits for a trial.
fn cooling(house: &House) -> Option<Timestamp> {
    let harness = house.harness?;
    if !house.factory.state("registry.json").exists() {
        return None;
    }
    let until = house.factory.registry()["cool_offs"][format!("harness:{harness}")]["until"].clone();
    Some(until.as_str()?.parse().unwrap())
}

/// No two runs of one agent live.
fn alone(house: &House) {
    let mut runs: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for one in house.factory.processes() {
        if let Some((agent, _)) = one.run.split_once('.') {
            runs.entry(agent.to_owned()).or_default().insert(one.run.clone());
        }
    }
    let twins: Vec<_> = runs.values().filter(|runs| runs.len() > 1).collect();
    assert!(twins.is_empty(), "{}: two runs of one agent live: {twins:?}", house.name);
}

fn spread(times: &[Duration]) -> String {
    let mut ms: Vec<_> = times.iter().map(|time| time.as_secs_f64() * 1000.0).collect();
    ms.sort_by(f64::total_cmp);
    format!("{:10.1} {:7.1} {:7.1}", ms[0], ms[ms.len() / 2], ms[ms.len() - 1])
}
