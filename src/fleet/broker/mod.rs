//! An agent-relay broker: where it is, and what can be asked of it over HTTP.
//!
//! The broker starts agents below pseudo terminals, one start after the other, and lists them. Three things about it
//! decide how it is spoken to here:
//!
//! - A request whose reply was lost was performed all the same, even one that only stood in its queue. So a failure
//!   says whether it is certain that nothing was done ([`Failure::is_certain`]), and nothing is ever sent twice.
//! - That it "stopped" an agent means that it hung up the agent's terminal: what ignores that goes on, and the name
//!   can be taken again at once. A release proves nothing; a look at the processes does.
//! - Its file `connection.json` outlives it, and a second broker overwrites and deletes that of the first. So what is
//!   found is believed only after its process was seen and it accepted the key ([`discover`]).

mod agents;
mod answer;
pub mod client;
pub mod discover;
mod failure;
mod http;
mod origin;
pub mod reclaim;
mod wire;

#[cfg(test)]
mod tests;

use super::local::LocalFleet;
use crate::config::{BrokerConfig, Config};

pub use agents::{BrokerFleet, find};
pub use client::Client;
pub use failure::Failure;
pub use origin::{Origin, Secret};
pub use wire::{Listed, Released, Seat, Session, Spawn, Spawned};

/// The agents of a broker. `only_ends`: to end what is on record nobody waits for it.
pub(super) fn build(
    local: LocalFleet,
    config: &Config,
    broker: &BrokerConfig,
    only_ends: bool,
) -> BrokerFleet {
    let fleet = BrokerFleet::new(local, config, broker);
    if only_ends { fleet.unasked() } else { fleet }
}
