//! Many ticks at once.

use std::collections::BTreeSet;
use std::fs;

use clap::Args;

use crate::support::{Factory, NOTE_START, Running};

/// The arguments of `cargo prove race`.
#[derive(Args)]
pub(crate) struct Order {
    /// How many rounds to run. In each round 8 ticks race for 1 new item
    #[arg(default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
}

// Origin: gastown#1752 - two schedulers spawn in the "spawning" window.
// covers: F01 S08
pub(crate) fn racing_ticks_start_each_run_once(order: &Order) {
    const TICKS: usize = 8;
    let factory = Factory::with_agent(&[NOTE_START, "exit 0"].concat());
    let mut losers = 0;
    for round in 1..=order.rounds {
        factory.item(&format!("AR-{round}"));
        let ticks: Vec<_> = (0..TICKS).map(|_| Running::start(&mut factory.program(&[]))).collect();
        let codes: Vec<_> = ticks.into_iter().map(|tick| tick.end().code).collect();
        assert!(codes.iter().all(|code| matches!(code, Some(0 | 75))), "round {round}: {codes:?}");
        assert!(codes.contains(&Some(0)), "round {round}: {codes:?}");
        losers += codes.iter().filter(|code| **code == Some(75)).count();
        factory.wait_swept(&format!("ar-{round}-impl.1"));
        let starts = factory.starts();
        assert_unique(&starts);
        assert_eq!(starts.len() as u64, round, "{starts:?}");
    }
    let events = fs::read_to_string(factory.state("events.jsonl")).unwrap();
    assert_eq!(events.matches("\"event\":\"busy\"").count(), losers, "each loser leaves a line");
}

/// Fails where a name is there twice.
#[track_caller]
pub(crate) fn assert_unique(names: &[String]) {
    let unique: BTreeSet<_> = names.iter().collect();
    assert_eq!(unique.len(), names.len(), "{names:?}");
}
