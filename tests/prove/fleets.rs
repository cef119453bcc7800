//! Each kind of fleet and the simulator's machine against the suite that holds for all of them.

mod liar;
mod real;

use clap::{Args, ValueEnum};

use crate::fleet_suite::{self, Subject};
use crate::sim::SimulatedFleet;
use crate::{broker, say};
use liar::{Liar, Lie};
use real::RealFleet;

/// The arguments of `cargo prove fleets`.
#[derive(Args)]
pub(crate) struct Order {
    /// Try only these kinds of fleets
    #[arg(value_enum)]
    kinds: Vec<Kind>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// The simulator's machine
    Simulated,
    /// A simulated machine that lies in one answer, once for each lie: the suite must find each
    Lying,
    /// Processes of this machine
    Local,
    /// A real broker, where scripts/broker.sh has fetched it
    Broker,
}

// covers: D20 F31 P07 P07b
pub(crate) fn every_fleet_keeps_its_promises(order: &Order) {
    let kinds = Kind::value_variants();
    for kind in kinds.iter().filter(|kind| order.kinds.is_empty() || order.kinds.contains(kind)) {
        match kind {
            Kind::Simulated => keeps_its_promises("simulated", || Box::new(SimulatedFleet::new())),
            Kind::Lying => Lie::ALL.iter().for_each(|lie| lie_is_found(*lie)),
            Kind::Local => keeps_its_promises("local", || Box::new(RealFleet::local())),
            // Without the broker it says so, and fails where FACTORY_TICK_REQUIRE_BROKER=1 asks for the broker.
            Kind::Broker => {
                if broker::program().is_some() {
                    keeps_its_promises("broker", || Box::new(RealFleet::of_a_broker()));
                }
            }
        }
    }
}

fn keeps_its_promises(kind: &str, subject: impl Fn() -> Box<dyn Subject>) {
    let failures = fleet_suite::failures(subject);
    assert!(failures.is_empty(), "the {kind} fleet fails: {}", failures.join(", "));
    say(&format!("{kind:<10} keeps {} promises", fleet_suite::checks()));
}

/// A suite that does not find a lie proves nothing of a fleet that passes it.
fn lie_is_found(lie: Lie) {
    // The panics of checks that must fail would read like failures.
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let failures = fleet_suite::failures(|| Box::new(Liar::new(lie)));
    std::panic::set_hook(told);
    let found = lie.found_by();
    assert!(failures.contains(&found), "{lie:?} passes {found}; it fails only: {failures:?}");
    say(&format!("{lie:?} fails {}", failures.join(", ")));
}
