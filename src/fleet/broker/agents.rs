//! Agents below a broker's terminals.
//!
//! What the broker starts is this program's own launcher, so claims, receipts and marks are those of local runs, and a
//! run is judged by them alone. The broker is asked for two things: to start, and which names are taken. While it can't
//! be asked, nothing is started and nobody is judged.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::discover::{Asked, Found, NotFound};
use super::{Client, Failure, Listed, Session, Spawn};
use crate::config::{BrokerConfig, Config};
use crate::fleet::Fleet;
use crate::fleet::env::Vars;
use crate::fleet::feed;
use crate::fleet::local::LocalFleet;
use crate::fleet::rundir::RunDir;
use crate::fleet::terminal::Terminal;
use crate::harness;
use crate::model::{AgentName, Class, FleetView, Happened, Launch, Observed, Quarry, Reap, RunId};
use crate::process::scan::Entry;

/// How long the broker may take to say who it is: it does at once, whatever else it is at.
const MEET_PATIENCE: Duration = Duration::from_secs(3);

/// How long its list may take, which stands in a queue with all starts.
const LIST_PATIENCE: Duration = Duration::from_secs(15);

/// How long a start may take until its outcome counts as unknown. An ordinary one takes a quarter of a second.
const START_PATIENCE: Duration = Duration::from_secs(8);

/// How long giving a name back may take. It hangs where the service behind the broker does, and nothing depends on it.
const RELEASE_PATIENCE: Duration = Duration::from_secs(3);

/// How often the list is looked at for an end that the broker has not noticed yet.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Agents that a broker starts.
pub struct BrokerFleet {
    local: LocalFleet,
    found: Result<Found, NotFound>,
    /// Whether runs are looked at without it.
    is_unasked: bool,
    /// Whom the first look met.
    met: OnceCell<Result<(Client, Session), Failure>>,
}

impl BrokerFleet {
    /// The agents of a broker. Looks for its address, and asks it nothing yet.
    pub fn new(local: LocalFleet, config: &Config, broker: &BrokerConfig) -> BrokerFleet {
        let found = find(config, broker, &local);
        let mut fleet = BrokerFleet { local, found, is_unasked: false, met: OnceCell::new() };
        // What the file names may be anybody by now; but a broker that is taken for one is never signalled.
        if let Ok(Found { process: Some(process), .. }) = &fleet.found {
            fleet.local.settings.protected_pids.push(process.pid);
        }
        fleet
    }

    /// The same agents, for ending what is on record: for that nobody waits for the broker, nor needs it.
    pub fn unasked(self) -> BrokerFleet {
        BrokerFleet { is_unasked: true, ..self }
    }

    /// Who the broker is, asked once.
    ///
    /// # Errors
    ///
    /// For people: that it can't be found, or did not answer.
    pub fn meet(&self, until: Instant) -> Result<(&Client, &Session), String> {
        let found = self.found.as_ref().map_err(ToString::to_string)?;
        let met = self.met.get_or_init(|| found.meet(until.min(Instant::now() + MEET_PATIENCE)));
        match met {
            Ok((client, session)) => Ok((client, session)),
            Err(failure) => Err(format!("the broker at {} ({}): {failure}", found.origin, found.by)),
        }
    }

    /// All agents that the broker has.
    fn list(&self, until: Instant) -> Result<Vec<Listed>, String> {
        let (client, _) = self.meet(until)?;
        let listed = client.list(until.min(Instant::now() + LIST_PATIENCE));
        listed.map_err(|failure| format!("the broker's list of agents: {failure}"))
    }

    /// What the broker has under the name of a run that could not start for that name's sake.
    fn names_held(&self, quarry: &[Quarry], listed: &[Listed]) -> BTreeMap<AgentName, String> {
        let waiting = quarry.iter().filter(|quarry| quarry.name_taken).map(|quarry| &quarry.run.agent);
        let held = waiting.filter_map(|name| {
            let agent = listed.iter().find(|agent| agent.name == name.0)?;
            let pid = agent.pid.map_or_else(String::new, |pid| format!(", pid {pid}"));
            Some((name.clone(), format!("the broker has an agent of that name{pid}")))
        });
        held.collect()
    }

    /// Asks for the start, and hands over the environment meanwhile: the broker would write it down.
    fn ask(&self, launch: &Launch, dir: &RunDir, vars: &Vars, client: &Client) -> Result<Asking> {
        let until = Instant::now() + START_PATIENCE;
        let program = own_program()?;
        let command = program.to_str().context("the path of this program is not UTF-8")?;
        let path = dir.path().to_str().context("the path of the run's directory is not UTF-8")?;
        // The broker's own key is of its environment: an agent that has it could start and end all others.
        let env = BTreeMap::from([("RELAY_BROKER_API_KEY".to_owned(), String::new())]);
        let args = ["__relay".to_owned(), path.to_owned()];
        let spawn = Spawn {
            name: &launch.run.agent.0,
            label: &launch.harness,
            command,
            args: &args,
            env: &env,
            cwd: dir.path(),
            task: None,
            agent_token: None,
        };
        feed::open(dir)?;
        Ok(thread::scope(|scope| {
            let given = scope.spawn(|| feed::give(dir, vars, until));
            let answer = client.spawn(&spawn, until);
            if answer.as_ref().is_err_and(Failure::is_certain) {
                // Nobody will come for it.
                if let Err(error) = feed::remove(dir) {
                    log::warn!("cannot remove the environment's FIFO of {}: {error}", launch.run);
                }
            }
            if let Ok(Err(error)) = given.join() {
                // Its launcher, if there is one, says so too: the claim decides.
                log::debug!("{}: {error:#}", launch.run);
            }
            answer.map(drop)
        }))
    }

    fn try_to_start(&self, launch: &Launch) -> Result<Happened, Happened> {
        let means = self.local.means(launch)?;
        let not_started =
            |class, error: String| Happened::NotStarted { class, error: format!("{}: {error}", launch.run) };
        let infra = |error: anyhow::Error| not_started(Class::Infra, format!("{error:#}"));
        let (client, _) =
            self.meet(Instant::now() + MEET_PATIENCE).map_err(|error| not_started(Class::Infra, error))?;
        let terminal =
            if harness::preset(&launch.harness).is_some() { Terminal::Copy } else { Terminal::Own };
        let dir = self.local.prepare(launch, &means, Some(terminal)).map_err(infra)?;
        let mut asked = self.ask(launch, &dir, &means.vars, client).map_err(infra)?;
        if asked == Err(Failure::NameTaken) && waits_out(&launch.run.agent.0, client) {
            asked = self.ask(launch, &dir, &means.vars, client).map_err(infra)?;
        }
        match asked {
            Ok(()) => Ok(Happened::Tried),
            // Whether it runs, its claim will tell.
            Err(failure) if !failure.is_certain() => {
                log::warn!("{}: {failure}; its claim will tell", launch.run);
                Ok(Happened::Tried)
            }
            Err(failure @ (Failure::NameTaken | Failure::NameHeld(_))) => {
                Err(not_started(Class::NameTaken, failure.to_string()))
            }
            Err(failure) => Err(not_started(Class::Infra, failure.to_string())),
        }
    }

    /// Gives back the names of runs that were seen dead, as far as the broker still has them. That it could not is no
    /// failure: the next start under that name finds out.
    fn release(&self, dead: &[&RunId], until: Instant) {
        let patience = || until.min(Instant::now() + RELEASE_PATIENCE);
        if dead.is_empty() {
            return;
        }
        let Ok((client, session)) = self.meet(patience()) else { return };
        let Ok(listed) = client.list(patience()) else { return };
        for run in dead {
            let name = &run.agent.0;
            let is_ours = match listed.iter().find(|agent| agent.name == *name) {
                // Somebody else's by now, unless its process is gone: ours all are.
                Some(agent) => is_left_over(agent),
                // Without a service behind the broker nothing more is known of a name.
                None => !session.is_local_only,
            };
            if is_ours && let Err(failure) = client.release(name, &format!("{run} has ended"), patience()) {
                log::info!("the name {name} could not be given back: {failure}");
            }
        }
    }
}

/// Whether what the broker has under this name is only what it has not noticed the end of yet, and now is gone: a run
/// that ended a moment ago stays in its list for some tenths of a second.
fn waits_out(name: &str, client: &Client) -> bool {
    let until = Instant::now() + RELEASE_PATIENCE;
    loop {
        let Ok(listed) = client.list(until) else { return false };
        match listed.iter().find(|agent| agent.name == name) {
            None => return true,
            Some(agent) if !is_left_over(agent) => return false,
            Some(_) if Instant::now() + LOOK_EVERY < until => {
                #[expect(clippy::disallowed_methods, reason = "at most for RELEASE_PATIENCE")]
                thread::sleep(LOOK_EVERY);
            }
            // It will never notice by itself.
            Some(_) => return client.release(name, "its process is gone", until + RELEASE_PATIENCE).is_ok(),
        }
    }
}

/// Whether the process of an agent in the list is gone.
fn is_left_over(agent: &Listed) -> bool {
    agent.pid.is_some_and(|pid| Entry::read(pid).is_ok_and(|entry| entry.is_none_or(|entry| entry.is_dead())))
}

/// What came of asking for a start.
type Asking = Result<(), Failure>;

fn find(config: &Config, broker: &BrokerConfig, local: &LocalFleet) -> Result<Found, NotFound> {
    let var = |name: &str| local.inherited.get(OsStr::new(name)).filter(|value| !value.is_empty());
    let text = |name: &str| var(name).and_then(|value| value.to_str());
    let state_dir = broker.state_dir.as_deref().or_else(|| var("AGENT_RELAY_STATE_DIR").map(Path::new));
    let asked = Asked {
        url: broker.url.as_deref(),
        key: None,
        // A place that is configured is not overruled by where the shell's own broker is.
        env_url: text("RELAY_BROKER_URL").filter(|_| broker.state_dir.is_none()),
        env_key: text("RELAY_BROKER_API_KEY"),
        state_dir,
        cwd: &config.dir,
        any_host: false,
    };
    asked.find(&local.host)
}

/// This program, as the broker is to start it.
fn own_program() -> Result<PathBuf> {
    let program = std::fs::read_link("/proc/self/exe").context("cannot read /proc/self/exe")?;
    let there = program.is_file();
    there.then_some(program).context(
        "this program was replaced or removed while it ran; the next tick starts it from where it is then",
    )
}

impl Fleet for BrokerFleet {
    fn observe(
        &self,
        quarry: &[Quarry],
        known: &BTreeMap<AgentName, u64>,
        until: Instant,
    ) -> Observed<FleetView> {
        if self.is_unasked {
            return self.local.observe(quarry, known, until);
        }
        let listed = match self.list(until) {
            Ok(listed) => listed,
            Err(why) => return Observed::Unknown(why),
        };
        match self.local.observe(quarry, known, until) {
            Observed::Known(view) => {
                Observed::Known(FleetView { names_held: self.names_held(quarry, &listed), ..view })
            }
            unknown => unknown,
        }
    }

    fn start(&self, launch: &Launch) -> Happened {
        self.try_to_start(launch).unwrap_or_else(|not_started| not_started)
    }

    fn fence(&self, run: &RunId) -> Happened {
        self.local.fence(run)
    }

    fn reap(&self, reaps: &[&Reap], until: Instant) -> Vec<Happened> {
        let happened = self.local.reap(reaps, until);
        let dead = reaps.iter().zip(&happened).filter(
            |(_, happened)| matches!(happened, Happened::Reaped(reaped) if reaped.survivors.is_empty()),
        );
        self.release(&dead.map(|(reap, _)| &reap.run).collect::<Vec<_>>(), until);
        happened
    }

    fn is_denied(&self) -> bool {
        matches!(self.met.get(), Some(Err(Failure::Denied(_))))
    }
}
