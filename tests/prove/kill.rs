//! Ticks that are killed at moments spread over all of a tick.

use std::time::{Duration, Instant};

use clap::Args;
use nix::sys::signal::Signal;

use crate::race::assert_unique;
use crate::support::{Factory, NOTE_START, Running, pause};
use crate::{fresh_seed, say};

/// The arguments of `cargo prove kill`.
#[derive(Args)]
pub(crate) struct Order {
    /// How many ticks to kill, each at another moment
    #[arg(default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    moments: u64,
    /// Draw the moments of this seed again. Without it the seed is a new one
    #[arg(long)]
    seed: Option<u64>,
}

// Origin: dot-agent-deck#471 - a claim after the spawn allows duplicates. And the TypeScript factory, which
// kept its intents in memory.
// covers: F03
pub(crate) fn killed_tick_loses_and_doubles_no_agent(order: &Order) {
    let moments = order.moments;
    let seed = order.seed.unwrap_or_else(fresh_seed);
    say(&format!("moments: {moments}, seed: {seed}"));
    let span = undisturbed();
    let mut random = Random(seed);
    for moment in 0..moments {
        // One in each of as many parts of the tick as there are moments.
        let at = span.mul_f64((moment as f64 + random.fraction()) / moments as f64);
        let killed = std::panic::catch_unwind(|| kill_at(at));
        assert!(killed.is_ok(), "seed {seed}, moment {moment}: killed after {at:?} of {span:?}");
    }
}

/// How long a tick takes that starts five agents, here and now.
fn undisturbed() -> Duration {
    let factory = five_items();
    let begun = Instant::now();
    factory.tick().expect(0);
    begun.elapsed()
}

fn five_items() -> Factory {
    let mut factory = Factory::with_agent(&[NOTE_START, "exec sleep 600"].concat());
    factory.set("fleet", "start_grace", "\"1s\"");
    (1..=5).for_each(|n| factory.item(&format!("AR-{n}")));
    factory
}

fn kill_at(at: Duration) {
    let factory = five_items();
    let tick = Running::start(&mut factory.program(&[]));
    pause(at);
    tick.signal(Signal::SIGKILL);
    tick.end();
    let running = || {
        let agents = factory.registry()["agents"].as_object().unwrap().clone();
        agents.values().filter(|agent| agent["state"] == "running").count()
    };
    factory.wait_for("five agents run and are on record", || {
        // For an instant what the tick was about to start, a fork of it still, holds its lock.
        let code = factory.tick().code;
        if code == Some(75) {
            return false;
        }
        assert_eq!(code, Some(0));
        let alive = factory.agents_alive();
        let agents: Vec<_> = alive.iter().map(|run| run.split_once('.').unwrap().0.to_owned()).collect();
        assert_unique(&agents);
        running() == 5
    });
    factory.wait_for("all of them are at work", || factory.starts().len() >= 5);
    assert_eq!(factory.agents_alive().len(), 5);
    let starts = factory.starts();
    assert_unique(&starts);
    assert_eq!(starts.len(), 5, "{starts:?}");
    // It is over: nothing is left to decide.
    assert_eq!(factory.tick().expect(0).decided(), [""; 0]);
    assert_eq!(
        factory.registry()["items"]
            .as_object()
            .unwrap()
            .values()
            .filter(|item| item["attempts"] != 0)
            .count(),
        0
    );
}

/// SplitMix64: a seed replays exactly.
struct Random(u64);

impl Random {
    fn fraction(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}
