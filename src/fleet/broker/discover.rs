//! Where the broker is.
//!
//! The first place that says anything decides: the configuration, then `RELAY_BROKER_URL` with
//! `RELAY_BROKER_API_KEY`, then the file `connection.json` that a broker leaves in its state directory. To go on where a
//! place is wrong would be to start agents in another broker than the one that was meant.

use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{fmt, io};

use serde::Deserialize;

use super::client::Client;
use super::failure::Failure;
use super::origin::{Origin, Secret};
use super::wire::{Session, unread};
use crate::durable::atomic;
use crate::model::{Process, Unavailable, UnavailableKind};
use crate::process::identity::{self, Host};
use crate::process::listener;

/// The name of the file that a broker leaves.
const CONNECTION: &str = "connection.json";

/// The folder for it below the one that the broker was started in.
const STATE_DIR: &str = ".agentworkforce/relay";

/// A broker writes some hundred bytes.
const CONNECTION_BYTES_MAX: u64 = 64 << 10;

/// What was said of where the broker is.
#[derive(Clone, Debug)]
pub struct Asked<'a> {
    /// URL, of the configuration.
    pub url: Option<&'a str>,
    /// Key, of the configuration.
    pub key: Option<&'a str>,
    /// `RELAY_BROKER_URL`.
    pub env_url: Option<&'a str>,
    /// `RELAY_BROKER_API_KEY`.
    pub env_key: Option<&'a str>,
    /// `AGENT_RELAY_STATE_DIR`.
    pub state_dir: Option<&'a Path>,
    /// The folder that the broker was started in, where it was not told of another state directory.
    pub cwd: &'a Path,
    /// Whether the key may be sent over a network in the clear.
    pub any_host: bool,
}

/// Where a broker is said to be.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its address.
    pub origin: Origin,
    /// Its key.
    pub key: Secret,
    /// The process that its file names: it could be anybody's until the broker was met.
    pub process: Option<Process>,
    /// Who said so, for people.
    pub by: String,
}

/// Why nobody knows where the broker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotFound {
    /// Nobody said. For people: where it was looked for.
    Nowhere(String),
    /// What was said is wrong; it stays so until a person does something.
    Wrong(String),
    /// Its address is known, and no key for it.
    Keyless(String),
    /// Its file is there, and the broker that left it is not.
    Stale(String),
    /// Its file can't be read, now.
    Unreadable(String),
}

impl NotFound {
    /// The same as the failure of a look.
    pub fn unavailable(&self) -> Unavailable {
        let kind = match self {
            NotFound::Keyless(_) => UnavailableKind::Denied,
            NotFound::Nowhere(_) | NotFound::Stale(_) => UnavailableKind::Unreachable,
            NotFound::Wrong(_) | NotFound::Unreadable(_) => UnavailableKind::Broken,
        };
        Unavailable::new(kind, self.to_string())
    }
}

impl fmt::Display for NotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (NotFound::Nowhere(why)
        | NotFound::Wrong(why)
        | NotFound::Keyless(why)
        | NotFound::Stale(why)
        | NotFound::Unreadable(why)) = self;
        f.write_str(why)
    }
}

impl Asked<'_> {
    /// Finds out where the broker is said to be. Sends nothing.
    ///
    /// # Errors
    ///
    /// [`NotFound`].
    pub fn find(&self, host: &Host) -> Result<Found, NotFound> {
        if let Some(url) = self.url {
            let key = self.key.or(self.env_key);
            return self.said(url, key, "the configuration", "[fleet] has a url for the broker");
        }
        if let Some(url) = self.env_url {
            return self.said(url, self.env_key, "RELAY_BROKER_URL", "RELAY_BROKER_URL is set");
        }
        let dir = self.state_dir.map_or_else(|| self.cwd.join(STATE_DIR), Path::to_owned);
        self.left_in(&dir, host)
    }

    fn said(&self, url: &str, key: Option<&str>, by: &str, is_set: &str) -> Result<Found, NotFound> {
        let key =
            key.ok_or_else(|| NotFound::Keyless(format!("{is_set}, and RELAY_BROKER_API_KEY is not")))?;
        let key = Secret::new(key)
            .map_err(|why| NotFound::Wrong(format!("the broker's key can't be sent: {why}")))?;
        let origin =
            Origin::parse(url, self.any_host).map_err(|why| NotFound::Wrong(format!("{by}: {why}")))?;
        Ok(Found { origin, key, process: None, by: by.to_owned() })
    }

    /// What a broker left in its state directory.
    fn left_in(&self, dir: &Path, host: &Host) -> Result<Found, NotFound> {
        let file: PathBuf = dir.join(CONNECTION);
        let shown = file.display();
        let Connection { url, api_key, pid } = read(dir).map_err(|why| why.of(&file))?;
        let wrong = |why: String| NotFound::Wrong(format!("{shown}: {why}"));
        let origin = Origin::parse(&url, self.any_host).map_err(wrong)?;
        let key = Secret::new(api_key).map_err(|why| wrong(format!("its api_key can't be sent: {why}")))?;
        // A killed broker leaves its file, and so does one that could not start.
        let stale = |why: &str| {
            Err(NotFound::Stale(format!("{shown} names a broker, pid {pid}, {why}: is the broker running?")))
        };
        match identity::identify(pid, host) {
            Ok(Some(process)) if process.uid == host.uid => {
                Ok(Found { origin, key, process: Some(process), by: shown.to_string() })
            }
            Ok(Some(_)) => stale("which is another user's process by now"),
            Ok(None) => stale("which is gone"),
            Err(error) => {
                Err(NotFound::Unreadable(format!("{shown}: cannot look at its pid {pid}: {error}")))
            }
        }
    }
}

impl Found {
    /// Who is taken for the broker, and so is never signalled: whoever listens at its address. Seen without asking it, so
    /// that it is spared while it does not answer; and its file alone makes nobody a broker, for what it names may be a
    /// process of a run by now.
    ///
    /// # Errors
    ///
    /// That nobody can tell who listens.
    pub fn processes(&self) -> io::Result<Vec<u32>> {
        self.origin.local_port().map_or(Ok(Vec::new()), listener::on_port)
    }

    /// Makes sure that a broker is there and accepts the key. The pid in a file alone does not say so: another
    /// process may have it by now.
    ///
    /// # Errors
    ///
    /// [`Failure`].
    pub fn meet(&self, until: Instant) -> Result<(Client, Session), Failure> {
        let client = Client::new(self.origin.clone(), self.key.clone());
        let session = client.session(until)?;
        Ok((client, session))
    }
}

#[derive(Deserialize)]
struct Connection {
    url: String,
    api_key: String,
    pid: u32,
}

/// Why there is nothing to read.
enum Unread {
    Absent,
    Foreign(String),
    NotNow(String),
}

impl Unread {
    fn of(self, file: &Path) -> NotFound {
        let file = file.display();
        match self {
            Unread::Absent => NotFound::Nowhere(format!(
                "no broker was found: RELAY_BROKER_URL is not set, and there is no {file}; is the broker running?"
            )),
            Unread::Foreign(why) => NotFound::Wrong(format!("{file}: {why}")),
            Unread::NotNow(why) => NotFound::Unreadable(format!("{file}: {why}")),
        }
    }
}

/// The file, if it is one of ours and whole: a stranger's would have the agents start wherever he likes.
fn read(dir: &Path) -> Result<Connection, Unread> {
    use atomic::ReadError;
    let opened = rustix::fs::open(
        dir,
        rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    );
    let dir = match opened {
        Ok(dir) => dir,
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Err(Unread::Absent),
        Err(error) => return Err(Unread::NotNow(error.to_string())),
    };
    match atomic::read_bounded(&dir, CONNECTION, CONNECTION_BYTES_MAX) {
        // A broker writes over what is there: for an instant it is a part of itself.
        Ok(Some(bytes)) => serde_json::from_slice(&bytes)
            .map_err(|error| Unread::NotNow(format!("it can't be read: {}", unread(&error)))),
        Ok(None) => Err(Unread::Absent),
        Err(ReadError::Io(error)) => Err(Unread::NotNow(error.to_string())),
        Err(error) => Err(Unread::Foreign(error.to_string())),
    }
}
