//! Pids that are given to somebody else: whoever has one now that a process of a run had, or a tick, lives.
//!
//! The kernel is told which pid comes next, so that within one pid namespace each of them comes round at once. What a
//! signal to the bare number would have hit is counted with it: everybody.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use clap::Args;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::alone::{self, Answer, Groups, Inside, answer, ask_for_pid, others};
use super::rows::User;
use super::{ITEMS, Kit, RUNS, Stage, Way};
use crate::support::{HeldLock, Running, is_alive, kill_9, kill_9_if_alive, pause, system};
use crate::{lacking, say};

/// The arguments of `cargo prove pids`.
#[derive(Args)]
pub(crate) struct Order {
    /// How many pids to give away, of each of 3 kinds
    #[arg(default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    pids: u64,
}

/// Other processes that are there meanwhile.
const CROWD: u32 = 100;

/// What `many` of `misbehave.c` starts.
const MEMBERS: usize = 33;

/// Somebody else's processes, each under a pid that was one of ours.
#[derive(Default)]
struct Innocents(Vec<Running>);

impl Innocents {
    /// Gives that pid to somebody. False where somebody else had it first.
    fn place(&mut self, pid: u32) -> bool {
        ask_for_pid(pid);
        let one = Running::start(system("sleep").arg("600"));
        if one.pid() != pid {
            return false;
        }
        self.0.push(one);
        true
    }

    fn dead(&self) -> usize {
        self.0.iter().filter(|one| !is_alive(one.pid())).count()
    }
}

/// Waits until nobody has it, not even a zombie.
fn is_free(pid: u32) -> bool {
    !Path::new("/proc").join(pid.to_string()).exists()
}

// Origin: openclaw#132745, shepherd#1925, hojinzs#517, pear#248 review - a recycled pid was killed, by a reaper and by
// kill-loop.
// covers: F38 F45
pub(crate) fn reused_pid_is_not_signalled(order: &Order) {
    if let Err(why) = alone::is_possible() {
        return lacking(&why);
    }
    let dir = tempfile::tempdir().unwrap();
    let kit = Kit::build(dir.path());
    let order = json!({ "kit": kit.0, "times": order.pids });
    let sums: Value = match alone::run(Inside::Pids, &order.to_string(), Groups::Hidden, &kit.agent()) {
        Answer::Reported(answer) => serde_json::from_str(&answer).unwrap(),
        Answer::Failed(how) => panic!("{how}"),
        Answer::Impossible(why) => return lacking(&why),
    };
    let by = ["a tick that ends what is left of a run", "a launcher that ends its run", "kill-tick"];
    for (what, sum) in by.iter().zip(sums.as_array().unwrap()) {
        say(&format!(
            "{what}: {} pids given to others, whom the bare number would hit; {} of them signalled",
            sum[0], sum[1]
        ));
        assert!(sum[0].as_u64() >= order["times"].as_u64(), "{what}: {sum}");
        assert_eq!(sum[1], 0, "{what}");
    }
}

/// Does what the order says, in a namespace of its own.
pub(crate) fn play_inside(order: &Value) {
    let kit = || Kit::of(order);
    let times = order["times"].as_u64().unwrap();
    let sums = [
        ended(&kit, Way::KilledWithoutGroup, times),
        ended(&kit, Way::Stopped, times),
        kill_ticked(kit(), times),
    ];
    answer(&json!(sums).to_string());
}

/// Runs that end, until that many of their pids were given away: those on record before anybody ends them, the others
/// while somebody does. How many, and how many of those who were given one are dead.
fn ended(kit: &impl Fn() -> Kit, way: Way, times: u64) -> (usize, usize) {
    let (mut given, mut dead) = (0, 0);
    while given < usize::try_from(times).unwrap() {
        let (more, hit) = one_run(kit(), way);
        given += more;
        dead += hit;
    }
    (given, dead)
}

fn one_run(kit: Kit, way: Way) -> (usize, usize) {
    let stage = Stage::new("many", User::Root, way, kit, CROWD);
    let factory = &stage.factory;
    factory.item(ITEMS[0]);
    stage.tick(&[]).expect(0);
    factory.wait_for("all have told their pids", || factory.told("ready").lines().count() == MEMBERS);
    stage.tick(&[]).expect(0);
    let told = factory.told("ready");
    let far: BTreeSet<u32> = told.lines().map(|line| line.parse().unwrap()).collect();
    let launcher = factory.launcher(RUNS[0]);
    let near: BTreeSet<u32> = factory.processes_of(RUNS[0]).into_iter().collect();
    let near = near.into_iter().filter(|pid| !far.contains(pid) && !stage.bystanders().contains(pid));
    let near: Vec<_> = near.collect();
    assert!(near.contains(&launcher) && near.len() == 2, "launcher and agent: {near:?}");

    let mut innocents = Innocents::default();
    let mut wanted: BTreeSet<u32> = near.iter().copied().collect();
    let ends = if way == Way::Stopped {
        Running::start(&mut stage.command(&["stop", ITEMS[0]]))
    } else {
        kill_9(launcher);
        factory.wait_for("both are gone", || near.iter().all(|pid| is_free(*pid)));
        wanted.retain(|pid| !innocents.place(*pid));
        Running::start(&mut stage.command(&[]))
    };
    wanted.extend(&far);
    while is_alive(ends.pid()) {
        wanted.retain(|pid| !is_free(*pid) || !innocents.place(*pid));
        pause(Duration::from_millis(1));
    }
    let report = ends.end().expect(0).json();
    let is_over = |pid: &u32| innocents.0.iter().any(|one| one.pid() == *pid) || !is_alive(*pid);
    assert!(far.iter().all(is_over), "{report}");
    for arguments in [["reap"].as_slice(), &["stop", "--all"], &[]] {
        let ran = stage.tick(arguments);
        assert!(matches!(ran.code, Some(0 | 4)), "{ran:?}");
    }
    assert!(stage.bystanders().iter().all(|pid| is_alive(*pid)));
    (innocents.0.len(), innocents.dead())
}

/// A tick that was killed while it held the lock, which somebody else holds by now; its pid goes from hand to hand.
fn kill_ticked(kit: Kit, times: u64) -> (usize, usize) {
    let stage = Stage::new("deaf", User::Root, Way::KilledWithoutGroup, kit, CROWD);
    let factory = &stage.factory;
    factory.item(ITEMS[0]);
    stage.tick(&[]).expect(0);
    factory.wait_told("ready");
    let launcher = factory.launcher(RUNS[0]);
    kill_9(launcher);
    factory.wait_for("its launcher is gone", || is_free(launcher));
    let tick = Running::start(&mut stage.command(&["--set", "fleet.grace=10m", "--set", "tick.deadline=1h"]));
    let beat = || -> Option<Value> {
        let text = fs::read_to_string(factory.state("heartbeat.json")).ok()?;
        serde_json::from_str(&text).ok()
    };
    let pid = tick.pid();
    factory.wait_for("it is under way", || beat().is_some_and(|beat| beat["pid"] == pid));
    tick.signal(Signal::SIGKILL);
    drop(tick);
    let beat = beat().unwrap();
    assert_eq!((&beat["pid"], &beat["status"]), (&json!(pid), &json!("running")));
    let _held = HeldLock::take(&factory.state("lock"));
    let (mut given, mut dead) = (0, 0);
    for _ in 0..times {
        let mut innocents = Innocents::default();
        factory.wait_for("it has that pid", || innocents.place(pid));
        let ran = stage.tick(&["kill-tick"]).expect(5);
        assert!(ran.stdout.contains("nobody was signalled"), "{ran:?}");
        given += 1;
        dead += innocents.dead();
    }
    for _ in 0..10 {
        others(&[]).into_iter().for_each(kill_9_if_alive);
    }
    (given, dead)
}
