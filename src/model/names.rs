//! What things are called: items, agents, runs.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The canonical id of an item: `dir:AR-255`. Never shown to two items, never reused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ItemId(pub String);

/// The name of an agent: `<slug of the item's key>-<suffix of the role>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AgentName(pub String);

/// Nothing here is ever counted so far: once a second it would take 68 years.
pub const COUNT_MAX: u64 = 1 << 31;

/// No agent is ever started so often.
const RUN_NUMBER_MAX: u64 = 1 << 53;

/// A directory with a larger number was never a run: the numbers go on from the highest that was found, and must
/// neither come round nor become such as can't be read.
const FOUND_NUMBER_MAX: u64 = 1 << 52;

/// One start of one agent, `<agent>.<n>`: the idempotency key of that start, never reused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId {
    /// The agent that runs.
    pub agent: AgentName,
    /// The agent's own sequence number, from 1.
    pub n: u64,
}

impl RunId {
    /// Whether a directory of this name may be that of a run.
    pub fn may_be_found(&self) -> bool {
        self.n <= FOUND_NUMBER_MAX
    }

    /// Whether an agent that has used this number can have another one.
    pub fn may_be_followed(n: u64) -> bool {
        n < RUN_NUMBER_MAX
    }
}

impl ItemId {
    /// The id as its source knows it, without the source's name.
    pub fn plain(&self) -> &str {
        self.0.split_once(':').map_or(self.0.as_str(), |(_, plain)| plain)
    }
}

impl AgentName {
    /// Its item's part of it: the suffix of a role holds no `-`.
    pub fn slug(&self) -> &str {
        self.0.rsplit_once('-').map_or(self.0.as_str(), |(slug, _)| slug)
    }
}

impl fmt::Display for ItemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for AgentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.agent, self.n)
    }
}

impl std::str::FromStr for RunId {
    type Err = String;

    /// Reads the canonical form alone: `ar-1-impl.3`, no leading zero, no other characters.
    fn from_str(text: &str) -> Result<Self, String> {
        let not_a_run = || format!("{text:?} is not a run: <agent>.<number>");
        let (agent, n) = text.rsplit_once('.').ok_or_else(not_a_run)?;
        let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        let number: u64 = n.parse().map_err(|_| not_a_run())?;
        let in_range = (1..=RUN_NUMBER_MAX).contains(&number);
        if agent.is_empty() || !agent.bytes().all(plain) || !in_range || number.to_string() != n {
            return Err(not_a_run());
        }
        Ok(RunId { agent: AgentName(agent.to_owned()), n: number })
    }
}

impl Serialize for RunId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RunId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_read_in_its_canonical_form_alone() {
        let run: RunId = "ar-1-impl.3".parse().unwrap();
        assert_eq!((run.agent.0.as_str(), run.n, run.to_string().as_str()), ("ar-1-impl", 3, "ar-1-impl.3"));
        let largest = format!("a.{RUN_NUMBER_MAX}");
        assert!(largest.parse::<RunId>().is_ok());
        let too_large = format!("a.{}", RUN_NUMBER_MAX + 1);
        for text in [
            "",
            "a",
            "a.",
            ".1",
            "a.0",
            "a.01",
            "a.-1",
            "A.1",
            "a/b.1",
            "a b.1",
            "a.1 ",
            "a.18446744073709551615",
            &too_large,
        ] {
            assert!(text.parse::<RunId>().is_err(), "{text:?}");
        }
    }
}
