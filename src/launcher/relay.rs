//! `factory-tick __relay <run directory>`: what is started in a terminal that somebody else made, as the leader of its
//! session.
//!
//! Whoever made the terminal hangs it up, and kills that leader soon after: no time to end an agent in, and to write down
//! what came of it. So this process is nothing but the leader. It starts the launcher in a session of the launcher's
//! own, tells it when the terminal is hung up, and ends with it. The launcher hears of its death too.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::launcher::{child, terminal};
use crate::process::identity::{self, Host};
use crate::process::signal::{self, Guard, Signal};
use crate::run::directory::RunDir;
use crate::run::env::Vars;
use crate::run::spec::Spec;

/// How long to sleep where nothing is to be expected but signals.
const LONG: Duration = Duration::from_secs(60 * 60);

/// What a broker sets for its agents begins with one of these.
const BROKER_PREFIXES: [&str; 2] = ["RELAY_", "AGENT_RELAY_"];

/// With the broker's own key an agent could start and end all others.
const BROKER_KEY: &str = "RELAY_BROKER_API_KEY";

/// Starts the launcher of a run, and stays until it has ended.
///
/// # Errors
///
/// What kept the launcher from being started: nothing has happened then.
pub fn relay(run_dir: &Path, inherited: &Vars) -> Result<()> {
    let _ = rustix::thread::set_name(c"factory-relay");
    // From here on: what is said before there is a launcher is told to it then.
    let signals = child::watch_signals()?;
    let host = Host::read()?;
    let guard = Guard::new([])?;
    let spec = RunDir::new(run_dir.to_owned()).spec()?;
    if let Some(terminal) = spec.terminal {
        terminal::make_ready(terminal);
    }
    let launcher = start(run_dir, &spec, inherited)?;
    let process = identity::identify(launcher.id(), &host)?;
    let tell = |signal| process.as_ref().map(|process| signal::send(process, &host, &guard, signal));
    let mut is_told = false;
    loop {
        let (news, ended) = child::look(|| child::news(&signals), child::pid(&launcher));
        if ended.is_some() {
            return Ok(());
        }
        // Once: a hang-up is told by more than one signal, and another one would end the hook after the agent.
        if news.stop && !is_told {
            is_told = true;
            tell(Signal::TERM);
        }
        if news.resized {
            tell(Signal::WINCH);
        }
        child::wait(&signals, &[], Instant::now() + LONG);
    }
}

fn start(run_dir: &Path, spec: &Spec, inherited: &Vars) -> Result<Child> {
    #[expect(clippy::disallowed_methods, reason = "the fleet is what starts launchers")]
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("factory-tick")
        .arg("__launch")
        .arg(run_dir)
        .arg(std::process::id().to_string())
        .env_clear()
        .envs(inherited.iter().filter(|(name, _)| is_for_agents(name)))
        .envs(spec.variables())
        .current_dir("/")
        // Its complaints are not to wait for somebody to read them.
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start a launcher")
}

/// Whether a variable of the broker's is for its agents: what terminal they are in, and who they are to the broker. The
/// others are its own, secrets among them.
fn is_for_agents(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    let is_relays = BROKER_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    name == "TERM" || is_relays && name != BROKER_KEY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_brokers_variables_an_agent_gets_those_that_are_meant_for_it() {
        for name in ["TERM", "RELAY_AGENT_TOKEN", "RELAY_API_KEY", "AGENT_RELAY_RESULT_URL"] {
            assert!(is_for_agents(OsStr::new(name)), "{name}");
        }
        let others =
            ["RELAY_BROKER_API_KEY", "GITHUB_TOKEN", "PATH", "TERMINFO", "FACTORY_RUN", "MY_RELAY_KEY"];
        for name in others {
            assert!(!is_for_agents(OsStr::new(name)), "{name}");
        }
    }
}
