//! Agents below a broker's terminals.
//!
//! What the broker starts is this program's own launcher, so claims, receipts and marks are those of local runs, and a
//! run is judged by them alone. The broker is asked for two things: to start, and which names are taken. While it can't
//! be asked, nothing is started and nobody is judged.

use std::cell::{Cell, OnceCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::client::Client;
use super::discover::{Asked, Found, NotFound};
use super::failure::Failure;
use super::reclaim::Reclaim;
use super::wire::{Listed, Session, Spawn};
use crate::clock::pause;
use crate::config::{BrokerConfig, Config};
use crate::fleet::local::LocalFleet;
use crate::fleet::{Fleet, TOO_LATE};
use crate::harness;
use crate::model::{
    AgentName, FailureClass, FenceOutcome, FleetView, Launch, Observed, Reap, ReapOutcome, RunHandle, RunId,
    RunPreview, RunQuery, StartOutcome, Unavailable,
};
use crate::process::identity::Host;
use crate::process::scan::Entry;
use crate::run::directory::RunDir;
use crate::run::env::Vars;
use crate::run::spec::Terminal;
use crate::run::{env_pipe, machine};

/// How long the broker may take to say who it is: it does at once, whatever else it is at.
const MEET_PATIENCE: Duration = Duration::from_secs(3);

/// How long its list may take, which stands in a queue with all starts.
const LIST_PATIENCE: Duration = Duration::from_secs(15);

/// How long a start may take until its outcome counts as unknown. An ordinary one takes a quarter of a second.
const START_PATIENCE: Duration = Duration::from_secs(8);

/// The same where the service behind the broker may have to be asked for the name: a release alone can hang for 31 s.
const RECLAIM_PATIENCE: Duration = Duration::from_secs(35);

/// How long giving a name back may take. It hangs where the service behind the broker does, and nothing depends on it.
const RELEASE_PATIENCE: Duration = Duration::from_secs(3);

/// The same, where the broker is not needed for what a person asked for.
const UNASKED_PATIENCE: Duration = Duration::from_secs(1);

/// How often the list is looked at for an end that the broker has not noticed yet.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What the broker is told to run, by its name on the command line.
const RELAY: &str = "__relay";

/// How often, and how soon again, a process is looked at that at the moment shows no command line.
const LOOKS_MAX: u32 = 100;
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Agents that a broker starts.
pub struct BrokerFleet {
    local: LocalFleet,
    found: Result<Found, NotFound>,
    /// Whether runs are looked at without it.
    is_unasked: bool,
    /// Whom the first look met.
    met: OnceCell<Result<(Client, Session), Failure>>,
    /// Whether a start was not answered.
    is_silent: Cell<bool>,
}

impl BrokerFleet {
    /// The agents of a broker. Looks for its address, and asks it nothing yet.
    pub fn new(local: LocalFleet, config: &Config, broker: &BrokerConfig) -> BrokerFleet {
        let found = find(config, broker, &local.inherited, &local.host);
        match found.as_ref().map_or(Ok(Vec::new()), Found::processes) {
            Ok(pids) => local.protect(pids),
            Err(error) => log::warn!("cannot tell which process the broker is: {error}"),
        }
        BrokerFleet { local, found, is_unasked: false, met: OnceCell::new(), is_silent: Cell::new(false) }
    }

    /// The same agents, for ending what is on record: for that the broker is not needed.
    pub fn unasked(self) -> BrokerFleet {
        BrokerFleet { is_unasked: true, ..self }
    }

    /// Who the broker is, asked once.
    ///
    /// # Errors
    ///
    /// For people: that it can't be found, or did not answer.
    pub fn meet(&self, until: Instant) -> Result<(&Client, &Session), Unavailable> {
        let found = self.found.as_ref().map_err(NotFound::unavailable)?;
        let met = self.met.get_or_init(|| found.meet(until.min(Instant::now() + MEET_PATIENCE)));
        match met {
            Ok((client, session)) => Ok((client, session)),
            Err(failure) => Err(failure
                .unavailable(self.local.now.at)
                .context(format_args!("the broker at {} ({})", found.origin, found.by))),
        }
    }

    /// All agents that the broker has.
    fn list(&self, until: Instant) -> Result<Vec<Listed>, Unavailable> {
        let (client, _) = self.meet(until)?;
        let listed = client.list(until.min(Instant::now() + LIST_PATIENCE)).map_err(|failure| {
            failure.unavailable(self.local.now.at).context("the broker's list of agents")
        })?;
        self.local.protect(listed.iter().filter_map(|agent| agent.worker_pid).flat_map(with_parent));
        Ok(listed)
    }

    /// What the broker has under the name of a run that could not start for that name's sake.
    fn names_held(&self, queries: &[RunQuery], listed: &[Listed]) -> BTreeMap<AgentName, String> {
        let waiting = queries.iter().filter(|queries| queries.name_taken).map(|queries| &queries.run.agent);
        let held = waiting.filter_map(|name| {
            let agent = listed.iter().find(|agent| agent.name == name.0)?;
            let pid = agent.pid.map_or_else(String::new, |pid| format!(", pid {pid}"));
            Some((name.clone(), format!("the broker has an agent of that name{pid}")))
        });
        held.collect()
    }

    /// Asks for the start, and hands over the environment meanwhile: the broker would write it down.
    fn ask(
        &self,
        launch: &Launch,
        dir: &RunDir,
        vars: &Vars,
        met: (&Client, &Session),
        until: Instant,
    ) -> Result<Asking> {
        let (client, session) = met;
        let patience = if session.is_local_only { START_PATIENCE } else { RECLAIM_PATIENCE };
        let until = until.min(Instant::now() + patience);
        let program = own_program()?;
        let command = program.to_str().context("the path of this program is not UTF-8")?;
        let path = dir.path().to_str().context("the path of the run's directory is not UTF-8")?;
        // The broker's own key is of its environment: an agent that has it could start and end all others.
        let env = BTreeMap::from([("RELAY_BROKER_API_KEY".to_owned(), String::new())]);
        let args = [RELAY.to_owned(), path.to_owned()];
        let spawn = Spawn {
            name: &launch.spec.id.agent.0,
            label: &launch.spec.harness,
            command,
            args: &args,
            env: &env,
            cwd: dir.path(),
            task: None,
            agent_token: None,
        };
        let var =
            |name: &str| self.local.inherited.get(OsStr::new(name))?.to_str().filter(|text| !text.is_empty());
        let reason = format!("{} starts, and no earlier run of it lives", launch.spec.id);
        let asking = Reclaim {
            client,
            session,
            env_url: var("RELAY_BASE_URL"),
            env_key: var("RELAY_API_KEY"),
            actor: "factory-tick",
            reason: &reason,
            session_ref: launch.spec.session.as_deref(),
            node_id: session.node_id.as_deref(),
        };
        env_pipe::open(dir)?;
        Ok(thread::scope(|scope| {
            let giver = thread::Builder::new().name("environment".to_owned());
            let given = giver.spawn_scoped(scope, || env_pipe::send(dir, vars, until));
            let answer = match &given {
                Ok(_) => asking.spawn(&spawn, until),
                // The machine has no thread left.
                Err(error) => {
                    Err(Failure::Unreachable(format!("nobody can hand over an environment: {error}")))
                }
            };
            let nobody_comes =
                |failure: &Failure| failure.is_certain() || matches!(failure, Failure::EndedAtOnce(_));
            if answer.as_ref().is_err_and(nobody_comes) {
                // And nobody waits for that.
                if let Err(error) = env_pipe::remove(dir) {
                    log::warn!("cannot remove the environment's FIFO of {}: {error}", launch.spec.id);
                }
            }
            if let Ok(Ok(Err(error))) = given.map(|given| given.join()) {
                // Its launcher, if there is one, says so too: the claim decides.
                log::debug!("{}: {error:#}", launch.spec.id);
            }
            answer.map(drop)
        }))
    }

    fn try_to_start(&self, launch: &Launch, until: Instant) -> Result<StartOutcome, StartOutcome> {
        let means = self.local.means(launch)?;
        let not_started = |class, error: String| StartOutcome::NotStarted {
            class,
            error: format!("{}: {error}", launch.spec.id),
        };
        let infra = |error: anyhow::Error| not_started(machine::class_of_start(&error), format!("{error:#}"));
        let met = self
            .meet(Instant::now() + MEET_PATIENCE)
            .map_err(|error| not_started(FailureClass::Infra, error.text))?;
        let terminal =
            if harness::preset(&launch.spec.harness).is_some() { Terminal::Copy } else { Terminal::Own };
        let dir = self.local.prepare(launch, &means, Some(terminal)).map_err(infra)?;
        let mut asked = self.ask(launch, &dir, &means.vars, met, until).map_err(infra)?;
        if asked == Err(Failure::NameTaken) && self.waits_out(&launch.spec.id, met.0) {
            asked = self.ask(launch, &dir, &means.vars, met, until).map_err(infra)?;
        }
        match asked {
            Ok(()) => Ok(StartOutcome::Tried),
            // Whether it runs, its claim will tell.
            Err(failure) if !failure.is_certain() => {
                log::warn!("{}: {failure}; its claim will tell", launch.spec.id);
                self.is_silent.set(matches!(failure, Failure::Unknown(_)));
                Ok(StartOutcome::Tried)
            }
            Err(failure @ (Failure::NameTaken | Failure::NameHeld(_) | Failure::Withheld(_))) => {
                Err(not_started(FailureClass::NameTaken, failure.to_string()))
            }
            Err(failure) => Err(not_started(FailureClass::Infra, failure.to_string())),
        }
    }

    /// Gives back the names of runs that were seen dead, as far as the broker still has them. That it could not is no
    /// failure: the next start under that name finds out.
    fn release(&self, dead: &[&RunId], until: Instant) {
        let patience = if self.is_unasked { UNASKED_PATIENCE } else { RELEASE_PATIENCE };
        let patience = || until.min(Instant::now() + patience);
        if dead.is_empty() {
            return;
        }
        let Ok((client, _)) = self.meet(patience()) else { return };
        let Ok(listed) = client.list(patience()) else { return };
        for run in dead {
            let name = &run.agent.0;
            // Somebody else's by now, unless its process is gone: ours all are. Of what is not listed the service behind
            // the broker may know something: the next start finds out, and looks whose it is first.
            let agent = listed.iter().find(|agent| agent.name == *name);
            let is_ours = agent.is_some_and(|agent| self.is_left_over(agent, run) == Some(true));
            if is_ours && let Err(failure) = client.release(name, &format!("{run} has ended"), patience()) {
                log::info!("the name {name} could not be given back: {failure}");
            }
        }
    }

    /// Whether what the broker has under the name of a run to be started is only what it has not noticed the end of yet,
    /// and now is gone: a run that ended a moment ago stays in its list for some tenths of a second.
    fn waits_out(&self, run: &RunId, client: &Client) -> bool {
        let name = &run.agent.0;
        let until = Instant::now() + RELEASE_PATIENCE;
        loop {
            let Ok(listed) = client.list(until) else { return false };
            match listed.iter().find(|agent| agent.name == *name) {
                None => return true,
                Some(agent) => match self.is_left_over(agent, run) {
                    Some(false) => return false,
                    _ if Instant::now() + LOOK_EVERY < until => pause(LOOK_EVERY),
                    None => return false,
                    // It will never notice by itself.
                    Some(true) => {
                        return client.release(name, "its process is gone", until + RELEASE_PATIENCE).is_ok();
                    }
                },
            }
        }
    }

    /// Whether what the broker has under the name of a run is left over from that run, which is over, or from one before
    /// it: its process is gone, or nothing but the relay, which is about to be. `None`: that can't be told, now.
    fn is_left_over(&self, agent: &Listed, run: &RunId) -> Option<bool> {
        // Not known in the first moment after a start.
        let pid = agent.pid?;
        for _ in 0..LOOKS_MAX {
            match Entry::read(pid) {
                Ok(Some(entry)) if !entry.is_dead() => {}
                Ok(_) => return Some(true),
                Err(_) => return None,
            }
            // One that ends has none any more, and one that replaces its program none yet.
            if let Some(command) =
                std::fs::read(format!("/proc/{pid}/cmdline")).ok().filter(|it| !it.is_empty())
            {
                let relayed = relayed(&command, &self.local.runs);
                return Some(relayed.is_some_and(|other| other.agent == run.agent && other.n <= run.n));
            }
            pause(LOOK_AGAIN);
        }
        None
    }
}

/// A process of the broker's that holds an agent's terminal, and the broker itself, whose child it is: known by that also
/// where somebody else listens at its address and passes on what is asked.
fn with_parent(worker: u32) -> impl Iterator<Item = u32> {
    let entry = Entry::read(worker).ok().flatten();
    entry.into_iter().flat_map(|entry| [entry.pid, entry.ppid])
}

/// The run whose relay has this command line, if it is one of those in `runs`.
fn relayed(command: &[u8], runs: &Path) -> Option<RunId> {
    let mut words = command.split(|byte| *byte == 0).skip_while(|word| *word != RELAY.as_bytes()).skip(1);
    let dir = Path::new(OsStr::from_bytes(words.next()?));
    let run = dir.file_name()?.to_str()?.parse().ok()?;
    (dir.parent() == Some(runs)).then_some(run)
}

/// What came of asking for a start.
type Asking = Result<(), Failure>;

/// Where the broker is, by the configuration and the variables of whoever asks.
///
/// # Errors
///
/// [`NotFound`].
pub fn find(config: &Config, broker: &BrokerConfig, vars: &Vars, host: &Host) -> Result<Found, NotFound> {
    let var = |name: &str| vars.get(OsStr::new(name)).filter(|value| !value.is_empty());
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
    asked.find(host)
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
    fn workspaces_taken(&self, wanted: &dyn Fn() -> BTreeSet<String>) -> BTreeMap<String, String> {
        self.local.workspaces_taken(wanted)
    }

    fn observe(
        &self,
        queries: &[RunQuery],
        known: &BTreeMap<AgentName, u64>,
        until: Instant,
    ) -> Observed<FleetView> {
        if self.is_unasked {
            return self.local.observe(queries, known, until);
        }
        let listed = match self.list(until) {
            Ok(listed) => listed,
            Err(why) => return Observed::Unknown(why),
        };
        match self.local.observe(queries, known, until) {
            Observed::Known(view) => {
                Observed::Known(FleetView { names_held: self.names_held(queries, &listed), ..view })
            }
            unknown => unknown,
        }
    }

    fn start(&self, launch: &Launch, until: Instant) -> StartOutcome {
        if Instant::now() >= until {
            return StartOutcome::NotTried(TOO_LATE);
        }
        // Each further one would wait as long, and be performed some time later all the same.
        if self.is_silent.get() {
            return StartOutcome::NotTried("the broker did not answer the start before");
        }
        self.try_to_start(launch, until).unwrap_or_else(|not_started| not_started)
    }

    fn preview(&self, launch: &Launch) -> RunPreview {
        self.local.preview(launch)
    }

    fn fence(&self, run: &RunId) -> FenceOutcome {
        self.local.fence(run)
    }

    fn look_for(&self, fenced: &[&RunId]) -> Vec<bool> {
        self.local.look_for(fenced)
    }

    fn end_unrecorded(&self, runs: &[(RunId, Option<RunHandle>)]) -> anyhow::Result<Vec<RunId>> {
        self.local.end_unrecorded(runs)
    }

    fn reap(&self, reaps: &[&Reap], until: Instant) -> Vec<ReapOutcome> {
        let happened = self.local.reap(reaps, until);
        // One that never had a launcher never had its name either: whoever has it is somebody else.
        let dead = reaps.iter().zip(&happened).filter(|(reap, happened)| {
            let is_dead = matches!(happened, ReapOutcome::Reaped(reaped) if reaped.survivors.is_empty());
            is_dead && reap.handle.is_some()
        });
        self.release(&dead.map(|(reap, _)| &reap.run).collect::<Vec<_>>(), until);
        happened
    }
}
