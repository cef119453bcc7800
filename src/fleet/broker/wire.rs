//! What is said to a broker and what it says, as far as anybody here needs it: that part has to be right, whatever
//! else it says may be anything.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::error::Category;

use super::answer::Answer;
use super::failure::{Complaint, Failure, quote};
use super::origin::Secret;

/// An agent to be started below a pseudo terminal.
///
/// The broker keeps `command`, `args` and `env` in a file of its state: no secret belongs in them. It adds `env` to its
/// own environment, which every agent inherits. It adds arguments of its own where the file name of `command` is that
/// of a harness it knows.
#[derive(Clone, Debug)]
pub struct Spawn<'a> {
    /// What it is to be called: unique among the agents of this broker.
    pub name: &'a str,
    /// What people are shown as its program. Means nothing else.
    pub label: &'a str,
    /// The program: an absolute path, or a name to be found on the broker's `PATH`.
    pub command: &'a str,
    /// Its arguments.
    pub args: &'a [String],
    /// Variables.
    pub env: &'a BTreeMap<String, String>,
    /// An absolute path of a folder that is there.
    pub cwd: &'a Path,
    /// A message to be typed into the terminal, once the broker thinks that somebody reads there.
    pub task: Option<&'a str>,
    /// The token of the agent whose name it takes over.
    pub agent_token: Option<&'a Secret>,
}

impl Spawn<'_> {
    /// The body of the request.
    pub(super) fn body(&self) -> Result<Vec<u8>, Failure> {
        let Some(cwd) = self.cwd.to_str() else {
            let path = self.cwd.display();
            return Err(Failure::Unreachable(format!(
                "the broker takes UTF-8 alone, and a path is not: {path}"
            )));
        };
        let harness = HarnessConfig { runtime: "pty", command: self.command, args: self.args, env: self.env };
        Ok(json(&SpawnBody {
            name: self.name,
            cli: self.label,
            channels: [],
            cwd,
            harness_config: harness,
            skip_relay_prompt: true,
            task: self.task,
            agent_token: self.agent_token.map(Secret::reveal),
        }))
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SpawnBody<'a> {
    name: &'a str,
    cli: &'a str,
    /// Left out, it joins the channel that all brokers of a workspace share.
    channels: [&'a str; 0],
    cwd: &'a str,
    harness_config: HarnessConfig<'a>,
    skip_relay_prompt: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent_token: Option<&'a str>,
}

#[derive(Serialize)]
struct HarnessConfig<'a> {
    runtime: &'static str,
    command: &'a str,
    args: &'a [String],
    env: &'a BTreeMap<String, String>,
}

/// The body of a request that is only texts by name.
pub(super) fn body(fields: &[(&str, &str)]) -> Vec<u8> {
    json(&fields.iter().copied().collect::<BTreeMap<_, _>>())
}

/// Texts, lists and maps of texts: nothing in them can fail.
fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// A start that was accepted. Not a proof that anything runs: it may have ended since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spawned {
    /// Which agent of that name it is; older brokers don't say.
    pub generation: Option<String>,
    /// The session that the broker chose or found in the arguments.
    pub session: Option<String>,
    /// What people should know.
    pub warning: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SpawnedBody {
    success: bool,
    name: String,
    #[serde(default)]
    generation: Option<String>,
    #[serde(default)]
    session_id: Option<String>,
    #[serde(default)]
    warning: Option<String>,
}

impl Spawned {
    pub(super) fn read(answer: &Answer, name: &str) -> Result<Spawned, Failure> {
        let body: SpawnedBody = read(answer)?;
        if !body.success || body.name != name {
            return Err(unknown(format!("its reply is about {:?}, not about {name:?}", quote(&body.name))));
        }
        Ok(Spawned { generation: body.generation, session: body.session_id, warning: body.warning })
    }
}

/// An agent that a broker has in its list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Its program: known some tenths of a second after its start.
    pub pid: Option<u32>,
    /// The broker's own process that holds its terminal. It is in the broker's process group.
    pub worker_pid: Option<u32>,
    /// Which agent of that name it is; older brokers don't say.
    pub generation: Option<String>,
    /// Its session, where the broker knows one.
    pub session: Option<String>,
    /// Since when its terminal is silent: it printed nothing, and nothing was typed.
    pub silent: Option<Duration>,
}

#[derive(Deserialize)]
struct ListBody {
    agents: Vec<ListedBody>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListedBody {
    name: String,
    // Which one it is decides over signals: of any other type it is no list.
    #[serde(default)]
    pid: Option<u32>,
    #[serde(default)]
    worker_pid: Option<u32>,
    #[serde(default)]
    generation: Option<String>,
    #[serde(default)]
    session_id: Option<String>,
    #[serde(default, rename = "last_activity_ms")]
    last_activity_ms: Option<u64>,
}

impl Listed {
    pub(super) fn read(answer: &Answer) -> Result<Vec<Listed>, Failure> {
        let body: ListBody = read(answer)?;
        let mut names = BTreeSet::new();
        for agent in &body.agents {
            let name = quote(&agent.name);
            if !names.insert(&agent.name) {
                return Err(unknown(format!("it lists {name:?} twice")));
            }
            // Nobody's program, and to a signal much more than one process.
            if [agent.pid, agent.worker_pid].into_iter().flatten().any(|pid| pid < 2) {
                return Err(unknown(format!("it lists {name:?} with a pid that is none")));
            }
        }
        let listed = |body: ListedBody| Listed {
            name: body.name,
            pid: body.pid,
            worker_pid: body.worker_pid,
            generation: body.generation,
            session: body.session_id,
            silent: body.last_activity_ms.map(Duration::from_millis),
        };
        Ok(body.agents.into_iter().map(listed).collect())
    }
}

/// A release that was carried out. Not a proof that anything ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Released {
    /// What became of the name at the service behind the broker.
    pub seat: Seat,
}

/// What became of a name at the service behind a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seat {
    /// It is free there.
    Free,
    /// Nothing was done about it: without a service there was nothing to do, with one it may be on its books.
    Retained,
    /// The broker still owes the service the word of it, and starts nobody under this name before.
    Owed(String),
    /// The broker could not find out.
    MayBeHeld(String),
    /// An older broker, which does not say.
    Unsaid,
}

#[derive(Deserialize)]
struct ReleasedBody {
    success: bool,
    #[serde(default)]
    identity: Option<String>,
}

impl Released {
    pub(super) fn read(answer: &Answer) -> Result<Released, Failure> {
        let body: ReleasedBody = read(answer)?;
        if !body.success {
            return Err(unknown("its reply says neither that it was done nor why not".to_owned()));
        }
        let seat = match body.identity.as_deref() {
            Some("deleted") => Seat::Free,
            Some("retained") => Seat::Retained,
            Some(other) => Seat::MayBeHeld(quote(other)),
            None => Seat::Unsaid,
        };
        Ok(Released { seat })
    }

    /// What a reply means that is no success, and yet says that the agent is gone from the broker.
    pub(super) fn in_spite_of(answer: &Answer) -> Option<Released> {
        let complaint = Complaint::of(&answer.body);
        let begins = |with| answer.status == 500 && complaint.message.starts_with(with);
        if begins("owned identity cleanup unconfirmed for ") {
            return Some(Released { seat: Seat::Owed(complaint.quote()) });
        }
        if begins("worker was already gone locally") {
            // The service does not know the name: then nobody has it.
            let nobody = complaint.message.contains("API error (agent_not_found)");
            let seat = if nobody { Seat::Free } else { Seat::MayBeHeld(complaint.quote()) };
            return Some(Released { seat });
        }
        None
    }
}

/// Which broker this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its version.
    pub version: String,
    /// Its number for itself. Without a service it is a new one after each start; older brokers have none.
    pub node_id: Option<String>,
    /// Whether it works without the service: names are then its own business alone.
    pub is_local_only: bool,
    /// Where its service is.
    pub service: Option<String>,
    /// With which its service is asked.
    pub workspace_key: Option<Secret>,
    /// For how long it has been running, in whole seconds.
    pub uptime: Option<Duration>,
}

#[derive(Deserialize)]
struct SessionBody {
    broker_version: String,
    #[serde(default)]
    node_id: Option<String>,
    #[serde(default)]
    operation_mode: Option<String>,
    #[serde(default)]
    relay_base_url: Option<String>,
    #[serde(default)]
    workspace_key: Option<String>,
    #[serde(default)]
    uptime_secs: Option<u64>,
}

impl Session {
    pub(super) fn read(answer: &Answer) -> Result<Session, Failure> {
        let body: SessionBody = read(answer)?;
        let workspace_key = body.workspace_key.filter(|key| !key.is_empty()).map(Secret::new).transpose();
        Ok(Session {
            version: body.broker_version,
            node_id: body.node_id,
            is_local_only: body.operation_mode.as_deref() == Some("local_only"),
            service: body.relay_base_url,
            workspace_key: workspace_key
                .map_err(|why| unknown(format!("its workspace key can't be sent: {why}")))?,
            uptime: body.uptime_secs.map(Duration::from_secs),
        })
    }
}

/// The body of a reply that is a success.
fn read<T: DeserializeOwned>(answer: &Answer) -> Result<T, Failure> {
    serde_json::from_slice(&answer.body)
        .map_err(|error| unknown(format!("its reply can't be read: {}", unread(&error))))
}

/// Why a text can't be read, without a word of it: it may hold keys.
pub(super) fn unread(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        Category::Eof => "it ends too early",
        Category::Data => "it is not what a broker says",
        Category::Syntax | Category::Io => "it is no JSON",
    };
    format!("{what} (line {}, column {})", error.line(), error.column())
}

fn unknown(why: String) -> Failure {
    Failure::Unknown(why)
}
