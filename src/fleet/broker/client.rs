//! What can be asked of a broker. Every call ends by its deadline, and sends one request, once.

use std::time::Instant;

use super::answer::Answer;
use super::failure::{self, Failure};
use super::http::{Method, Presented, Wire};
use super::origin::{Origin, Secret};
use super::wire::{self, Listed, Released, Session, Spawn, Spawned};

/// Speaks to one broker. May be used from several threads at once; but the broker starts one agent after the other, a
/// quarter of a second each, and its list waits in the same queue.
#[derive(Clone, Debug)]
pub struct Client {
    wire: Wire,
}

impl Client {
    /// A client of the broker at `origin`. Asks nothing yet.
    pub fn new(origin: Origin, key: Secret) -> Client {
        Client { wire: Wire::new(origin, key, Presented::OwnHeader) }
    }

    /// The broker's address.
    pub fn origin(&self) -> &Origin {
        self.wire.origin()
    }

    /// Asks which broker it is. Answered at once, also while it starts agents; and proof that it accepts the key.
    ///
    /// # Errors
    ///
    /// [`Failure`]; a broker that has only just begun to run is [`Failure::Starting`].
    pub fn session(&self, until: Instant) -> Result<Session, Failure> {
        Session::read(&self.get("/api/session", until)?)
    }

    /// Asks for the agents that run. Waits for all starts before it: one of a plain codex can take 15 seconds.
    ///
    /// # Errors
    ///
    /// [`Failure`]; a list that is not whole is [`Failure::Unknown`].
    pub fn list(&self, until: Instant) -> Result<Vec<Listed>, Failure> {
        Listed::read(&self.get("/api/spawned", until)?)
    }

    /// Asks for an agent to be started. That it was accepted is no proof that it runs, and of the failures only those
    /// that are certain are proof that it does not.
    ///
    /// # Errors
    ///
    /// [`Failure`].
    pub fn spawn(&self, spawn: &Spawn<'_>, until: Instant) -> Result<Spawned, Failure> {
        let mut answer = self.wire.exchange(Method::Post, "/api/spawn", Some(spawn.body()?), until)?;
        if !answer.is_success() {
            if let Some(token) = spawn.agent_token {
                answer.scrub(token);
            }
            return Err(failure::of_spawn(&answer, spawn.name));
        }
        Spawned::read(&answer, spawn.name)
    }

    /// Has an agent's terminal hung up, and its name given back to the service. One that is not there is released too.
    /// Takes up to 31 seconds where the service is in trouble.
    ///
    /// # Errors
    ///
    /// [`Failure`]: the next list tells what became of it.
    pub fn release(&self, name: &str, reason: &str, until: Instant) -> Result<Released, Failure> {
        let path = format!("/api/spawned/{}", escaped(name));
        let answer =
            self.wire.exchange(Method::Delete, &path, Some(wire::body(&[("reason", reason)])), until)?;
        if answer.is_success() {
            return Released::read(&answer);
        }
        if let Some(released) = Released::in_spite_of(&answer) {
            return Ok(released);
        }
        match failure::of(&answer) {
            // It kills first and asks its service then: a no at the end is not one to all of it.
            Failure::Refused { status: 500.., message, .. } => Err(Failure::Unknown(message)),
            failure => Err(failure),
        }
    }

    fn get(&self, path: &str, until: Instant) -> Result<Answer, Failure> {
        let answer = self.wire.exchange(Method::Get, path, None, until)?;
        if answer.is_success() { Ok(answer) } else { Err(failure::of(&answer)) }
    }
}

/// A name as one segment of a path, whatever it is.
pub(super) fn escaped(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}
