//! The way back to a name that the service behind a broker has on its books.
//!
//! An agent that ended by itself leaves its name there, and so does a broker that was killed: every further start under
//! that name is refused ([`Failure::NameHeld`]). What helps, in this order, each of it once:
//!
//! 1. The broker releases the name, which is enough if the agent was its own, and the start is asked for again.
//! 2. The service is asked for a new token of that very agent, by its id and on the record, and the start is asked for
//!    with the token.
//!
//! A workspace may be shared by several machines, and a release, like a new token, ends what an agent of that name does
//! on any of them. So the service is asked before each of the two whose the name is: nobody loses it who works, and no
//! person. Whatever is not certain ends the attempt, and nothing is sent twice.

use std::time::Instant;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::answer::Answer;
use super::client::{Client, escaped};
use super::failure::{self, Complaint, Failure};
use super::http::{Method, Presented, Wire};
use super::origin::{Origin, Secret};
use super::wire::{Session, Spawn, Spawned, body, unread};

/// What the service says of an agent that works, or is about to. Whatever else it says, or where it does not say: the
/// agent is not known to live.
const LIVES: &[&str] = &["active", "online", "idle", "blocked", "waiting"];

/// Starts agents under names that dead runs may have left on the books.
#[derive(Clone, Debug)]
pub struct Reclaim<'a> {
    /// The broker.
    pub client: &'a Client,
    /// What it said of its service.
    pub session: &'a Session,
    /// `RELAY_BASE_URL`, for a broker that does not say where its service is.
    pub env_url: Option<&'a str>,
    /// `RELAY_API_KEY`, for a broker that does not say with which key its service is asked. It is sent to the service of
    /// `env_url` if there is one, and to no other.
    pub env_key: Option<&'a str>,
    /// Who takes the name back. The service keeps this and the following, for everybody in the workspace to read.
    pub actor: &'a str,
    /// Why.
    pub reason: &'a str,
    /// For which session of which agent.
    pub session_ref: Option<&'a str>,
    /// On which machine.
    pub node_id: Option<&'a str>,
}

impl Reclaim<'_> {
    /// Asks for an agent to be started, and takes its name back where it is held. Only for a name whose last run here is
    /// known to be dead. At most seven requests, all by the deadline; the release alone may take 31 seconds.
    ///
    /// # Errors
    ///
    /// [`Failure`]: that of the start, or why the name could not be had. [`Failure::NameHeld`] and [`Failure::Withheld`]
    /// stay until somebody does something about them; [`Failure::PendingCleanup`], [`Failure::NoService`] and
    /// [`Failure::RateLimited`] pass. After [`Failure::Unknown`] the agent may run, or a token may be on its way that
    /// would take the place of the next one.
    pub fn spawn(&self, spawn: &Spawn<'_>, until: Instant) -> Result<Spawned, Failure> {
        let first = self.client.spawn(spawn, until);
        if !is_held(&first) {
            return first;
        }
        let service =
            self.address().map(|(origin, key)| Service { wire: Wire::new(origin, key, Presented::Bearer) });
        let before = match &service {
            Ok(service) => service.look(spawn.name, until)?,
            // The broker may be able to do it alone.
            Err(_) => None,
        };
        self.client.release(spawn.name, self.reason, until)?;
        let second = self.client.spawn(spawn, until);
        if !is_held(&second) {
            return second;
        }
        let service = service.map_err(Failure::NameHeld)?;
        let token = match service.look(spawn.name, until)? {
            Some(id) if Some(&id) == before.as_ref() => self.token(&service, spawn.name, &id, until)?,
            Some(_) => {
                return Err(Failure::Withheld("another agent has taken it meanwhile".to_owned()));
            }
            None => None,
        };
        // Without one, nobody has the name any more.
        let agent_token = token.as_ref().or(spawn.agent_token);
        self.client.spawn(&Spawn { agent_token, ..spawn.clone() }, until)
    }

    /// Where the service is, and with which key it is asked. Why not, for people.
    fn address(&self) -> Result<(Origin, Secret), String> {
        let untold = |what: &str, variable: &str| {
            format!("the broker does not say {what} its service is asked for the name; set {variable}")
        };
        let url = self.session.service.as_deref().or(self.env_url);
        let origin = origin(url.ok_or_else(|| untold("where", "RELAY_BASE_URL"))?)?;
        let key = match &self.session.workspace_key {
            Some(key) => key.clone(),
            None => {
                // What opens one service is no other one's business.
                let is_for_it =
                    |_: &&str| self.env_url.is_none_or(|url| self::origin(url).as_ref() == Ok(&origin));
                let key = self.env_key.filter(is_for_it);
                let key = key.ok_or_else(|| untold("with which key", "RELAY_API_KEY"))?;
                Secret::new(key).map_err(|why| format!("RELAY_API_KEY can't be sent: {why}"))?
            }
        };
        Ok((origin, key))
    }

    /// A new token of the agent that has this name and this id; `None` where nobody has the name any more.
    fn token(
        &self,
        service: &Service,
        name: &str,
        id: &str,
        until: Instant,
    ) -> Result<Option<Secret>, Failure> {
        let who = [("session_ref", self.session_ref), ("node_id", self.node_id)];
        let mut fields = vec![("expected_agent_id", id), ("actor", self.actor), ("reason", self.reason)];
        fields.extend(who.into_iter().filter_map(|(key, value)| Some((key, value?))));
        let body = body(&fields);
        let answer = service.ask(Method::Post, &format!("{}/takeover", path(name)), Some(body), until)?;
        if answer.status == 404 && !is_gone(&answer) {
            let unable = "its service knows no way to take it over, or is another service";
            return Err(Failure::NameHeld(unable.to_owned()));
        }
        token_of(&answer, id)
    }
}

/// The service behind a broker.
struct Service {
    wire: Wire,
}

/// Who has a name.
#[derive(Deserialize)]
struct Seat {
    id: String,
    // The service has been seen to leave each of these out.
    #[serde(default)]
    name: Value,
    #[serde(default, rename = "type")]
    kind: Value,
    #[serde(default)]
    status: Value,
}

/// A token, and whose it is: a broker starts an agent with any token that there is, also with another agent's.
#[derive(Deserialize)]
struct Issued {
    token: String,
    // A reply without it says of no agent that the token is that agent's.
    #[serde(default)]
    agent_id: String,
}

impl Service {
    /// The id of who has the name, if that is an agent that is not known to live.
    fn look(&self, name: &str, until: Instant) -> Result<Option<String>, Failure> {
        let not_asked = |failure| match failure {
            Failure::Unknown(why) => Failure::NoService(why),
            failure => failure,
        };
        let answer = self.ask(Method::Get, &path(name), None, until).map_err(not_asked)?;
        match answer.status {
            _ if answer.is_success() => {}
            _ if is_gone(&answer) => return Ok(None),
            401 | 403 | 429 => return Err(refusal(&answer)),
            _ => return Err(Failure::NoService(said(&answer))),
        }
        let seat: Seat = read(&answer).map_err(not_asked)?;
        if differs(&seat.name, name) || differs(&seat.kind, "agent") || seat.id.is_empty() {
            return Err(Failure::Withheld(
                "its service has somebody else under it, who is no agent".to_owned(),
            ));
        }
        match seat.status.as_str() {
            Some(status) if LIVES.contains(&status) => Err(Failure::PendingCleanup(format!(
                "its service says that an agent of that name is {status}"
            ))),
            _ => Ok(Some(seat.id)),
        }
    }

    fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        until: Instant,
    ) -> Result<Answer, Failure> {
        self.wire.exchange(method, path, body, until).map_err(|failure| match failure {
            Failure::Unreachable(why) => Failure::NoService(why),
            failure => failure,
        })
    }
}

fn origin(url: &str) -> Result<Origin, String> {
    Origin::parse(url, false).map_err(|why| format!("its service can't be asked for the name: {why}"))
}

fn path(name: &str) -> String {
    format!("/v1/agents/{}", escaped(name))
}

fn is_held(start: &Result<Spawned, Failure>) -> bool {
    matches!(start, Err(Failure::NameHeld(_)))
}

/// Whether it says that nobody has the name.
fn is_gone(answer: &Answer) -> bool {
    answer.status == 404 && Complaint::of(&answer.body).code.as_deref() == Some("agent_not_found")
}

/// Whether it says anything, and that is something else.
fn differs(said: &Value, expected: &str) -> bool {
    !said.is_null() && said.as_str() != Some(expected)
}

/// The token in a reply, if the reply says that the token is the agent's with this id; `None` where no agent has the name
/// any more.
fn token_of(answer: &Answer, id: &str) -> Result<Option<Secret>, Failure> {
    if is_gone(answer) {
        return Ok(None);
    }
    if !answer.is_success() {
        return Err(refusal(answer));
    }
    let issued: Issued = read(answer)?;
    if issued.agent_id != id {
        return Err(Failure::Withheld(
            "its service answered with a token that is not that agent's".to_owned(),
        ));
    }
    let unfit =
        |why| Failure::Unknown(format!("its service answered with a token that can't be sent: {why}"));
    Secret::new(issued.token).map(Some).map_err(unfit)
}

/// What it means that the service answered with no success.
fn refusal(answer: &Answer) -> Failure {
    match answer.status {
        429 => failure::of(answer),
        400..=499 => Failure::Withheld(said(answer)),
        // Perhaps at the end of having done it.
        _ => Failure::Unknown(said(answer)),
    }
}

fn said(answer: &Answer) -> String {
    format!("its service said {}: {}", answer.status, Complaint::of(&answer.body).quote())
}

/// What is in the envelope of a reply.
fn read<T: DeserializeOwned>(answer: &Answer) -> Result<T, Failure> {
    #[derive(Deserialize)]
    struct Envelope<T> {
        data: T,
    }
    let envelope: Result<Envelope<T>, _> = serde_json::from_slice(&answer.body);
    let unread = |error| Failure::Unknown(format!("its service's reply can't be read: {}", unread(&error)));
    envelope.map(|envelope| envelope.data).map_err(unread)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Where the service is asked and with what, for what the broker and the environment say of each.
    fn asked(
        of_broker: (Option<&str>, Option<&str>),
        of_env: (Option<&str>, Option<&str>),
    ) -> Result<(String, String), String> {
        let key = Secret::new("br_key").unwrap();
        let client = Client::new(Origin::parse("http://127.0.0.1:1", false).unwrap(), key);
        let session = Session {
            version: "12.4.1".to_owned(),
            node_id: None,
            is_local_only: false,
            service: of_broker.0.map(str::to_owned),
            workspace_key: of_broker.1.map(|key| Secret::new(key).unwrap()),
            uptime: Some(Duration::ZERO),
        };
        let reclaim = Reclaim {
            client: &client,
            session: &session,
            env_url: of_env.0,
            env_key: of_env.1,
            actor: "factory-tick",
            reason: "a test",
            session_ref: None,
            node_id: None,
        };
        reclaim.address().map(|(origin, key)| (origin.to_string(), key.reveal().to_owned()))
    }

    #[test]
    fn the_broker_says_where_its_service_is_and_the_environment_where_it_does_not() {
        let (here, there) = ("http://127.0.0.1:2", "https://service.example");
        let is = |url: &str, key: &str| Ok((url.to_owned(), key.to_owned()));
        assert_eq!(asked((Some(here), Some("rk_1")), (Some(there), Some("rk_2"))), is(here, "rk_1"));
        assert_eq!(asked((None, Some("rk_1")), (Some(there), None)), is(there, "rk_1"));
        assert_eq!(asked((None, None), (Some(there), Some("rk_2"))), is(there, "rk_2"));
        assert_eq!(asked((Some(there), None), (None, Some("rk_2"))), is(there, "rk_2"));
        let same = "https://service.example/";
        assert_eq!(asked((Some(there), None), (Some(same), Some("rk_2"))), is(there, "rk_2"));

        let why = |of_broker, of_env| asked(of_broker, of_env).unwrap_err();
        assert!(why((None, Some("rk_1")), (None, Some("rk_2"))).contains("RELAY_BASE_URL"));
        assert!(why((Some(here), None), (None, None)).contains("RELAY_API_KEY"));
        assert!(!why((Some(here), None), (None, Some("rk 2"))).contains("rk 2"));
    }

    // covers: N06
    #[test]
    fn no_key_goes_to_another_service_or_over_a_network_in_the_clear() {
        let why = |of_broker, of_env| asked(of_broker, of_env).unwrap_err();
        let (one, other) = ("https://one.example", "https://other.example");
        assert!(why((Some(one), None), (Some(other), Some("rk_2"))).contains("RELAY_API_KEY"));
        assert!(why((Some(one), None), (Some("rubbish"), Some("rk_2"))).contains("RELAY_API_KEY"));
        assert!(why((Some("http://10.0.0.1"), Some("rk_1")), (None, None)).contains("in the clear"));
        assert!(why((None, None), (Some("http://10.0.0.1"), Some("rk_2"))).contains("in the clear"));
        assert!(!why((Some("https://me:s3cret@one.example"), Some("rk_1")), (None, None)).contains("s3cret"));
    }
}
