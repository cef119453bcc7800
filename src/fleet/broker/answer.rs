//! A reply of a broker.

use std::time::Duration;

use super::origin::Secret;

/// A reply, whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// For how long not to ask again.
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Takes a secret out of a complaint, which could quote the request that it complains of.
    pub(super) fn scrub(&mut self, secret: &Secret) {
        self.body = secret.scrub(&String::from_utf8_lossy(&self.body)).into_bytes();
    }
}
