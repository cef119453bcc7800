//! Fleets whose agents are real processes, for the suite that holds for every fleet.
//!
//! The launchers are this proof's own program, as `main` of the proofs passes their hidden commands on to the library.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use factory_tick::clock;
use factory_tick::config::{self, Config};
use factory_tick::durable::Trash;
use factory_tick::fleet::run_store::Discarded;
use factory_tick::fleet::{self, Fleet, Home};
use factory_tick::model::{RunHandle, RunId, RunObservation, StartOutcome};
use factory_tick::process::identity::Host;
use factory_tick::run::env::Vars;
use factory_tick::state::HostDir;
use tempfile::TempDir;

use crate::broker::Broker;
use crate::fleet_suite::{self, Agent, Subject};
use crate::support::{kill_9, kill_9_if_alive, live_processes, pause, put, toml_text};

/// A state directory and a folder where agents and the suite meet.
pub(super) struct RealFleet {
    home: TempDir,
    config: Config,
    vars: Vars,
    // Its agents end before the broker does: they are ended in `drop`.
    _broker: Option<Broker>,
}

impl RealFleet {
    /// Processes of this machine.
    pub(super) fn local() -> RealFleet {
        RealFleet::new(None)
    }

    /// Agents below the terminals of a broker of their own.
    pub(super) fn of_a_broker() -> RealFleet {
        RealFleet::new(Some(Broker::start().expect("the broker is there")))
    }

    fn new(broker: Option<Broker>) -> RealFleet {
        let home = tempfile::Builder::new().prefix("fleet-").tempdir().unwrap();
        fs::create_dir(home.path().join("lab")).unwrap();
        HostDir::create_or_open(&home.path().join("state"), false).unwrap();
        let place =
            |broker: &Broker| toml_text(&broker.cwd().join(".agentworkforce/relay").display().to_string());
        let of_broker = broker.as_ref().map(place);
        let of_broker = of_broker
            .map_or(String::new(), |place| format!("kind = \"broker\"\nbroker_state_dir = {place}\n"));
        let lab = toml_text(&home.path().join("lab").display().to_string());
        let text = format!(
            "[fleet]\ngrace = \"300ms\"\n{of_broker}[env]\nset = {{ LAB = {lab} }}\n\
             [[role]]\nname = \"implementer\"\nsuffix = \"impl\"\ncommand = [\"agent\"]\n"
        );
        let path = home.path().join("factory.toml");
        let mut config = config::parse(&text, &path, &|_| Err(String::new()))
            .unwrap_or_else(|problems| panic!("{text}\n{problems:?}"));
        config.workspace_root = Some(home.path().join("state/workspaces"));
        let vars = [("PATH", "/usr/local/bin:/usr/bin:/bin"), ("HOME", home.path().to_str().unwrap())];
        let vars = vars.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        RealFleet { home, config, vars, _broker: broker }
    }

    /// Of this state directory, and of this process.
    fn home(&self, state: &str, lineage: &str) -> Home {
        let host = Host::read().unwrap();
        let now = clock::moment(&host.boot_id);
        Home { state: self.path(state), lineage: lineage.to_owned(), host, now, vars: self.vars.clone() }
    }

    fn own_home(&self) -> Home {
        self.home("state", &self.lineage())
    }

    /// No other fleet of this machine may have it: a reap ends every process with its markers.
    fn lineage(&self) -> String {
        self.home.path().file_name().unwrap().to_str().unwrap().to_owned()
    }

    fn marker(&self, run: &RunId) -> String {
        format!("{}/{run}", self.lineage())
    }

    fn workspaces(&self) -> PathBuf {
        self.path("state/workspaces")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn run_dir(&self, run: &RunId) -> PathBuf {
        self.path("state/runs").join(run.to_string())
    }

    /// Every live process that was started here, with the marker of its run. A zombie shows nothing.
    fn live(&self) -> Vec<(u32, String)> {
        let ours = format!("LAB={}", self.path("lab").display());
        let marker = |vars: &BTreeSet<String>| {
            let own = vars.iter().find_map(|var| var.strip_prefix("FACTORY_RUN="));
            vars.contains(&ours).then(|| own.unwrap_or_default().to_owned())
        };
        let live = live_processes().into_iter();
        live.filter_map(|(pid, vars)| Some((pid, marker(&vars).or_else(|| self.launched(pid))?))).collect()
    }

    /// The marker of the run whose launcher a process is. Below a broker a launcher is handed its variables after its start,
    /// so `/proc` does not show them.
    fn launched(&self, pid: u32) -> Option<String> {
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        let mut words = command.split('\0').skip_while(|word| *word != "__launch").skip(1);
        let run = Path::new(words.next()?).strip_prefix(self.path("state/runs")).ok()?;
        Some(format!("{}/{}", self.lineage(), run.display()))
    }

    fn live_of(&self, run: &RunId) -> Vec<u32> {
        let marker = self.marker(run);
        self.live().into_iter().filter(|(_, of)| *of == marker).map(|(pid, _)| pid).collect()
    }

    /// Puts an empty file in the place of this folder, or the folder back.
    fn hide(&self, folder: PathBuf, hide: bool) {
        let aside = self.path("aside");
        if hide {
            fs::rename(&folder, &aside).unwrap();
            put(&folder, "");
        } else {
            fs::remove_file(&folder).unwrap();
            fs::rename(&aside, &folder).unwrap();
        }
    }
}

impl Subject for RealFleet {
    fn fleet(&self) -> Box<dyn Fleet + '_> {
        fleet::build(&self.config, self.own_home(), false)
    }

    fn order(&self, run: &RunId, agent: Agent) -> Vec<String> {
        let begins = r#"echo "$FACTORY_RUN" >> "$LAB/begun"; echo FACTORY_SESSION=s1; "#;
        let script = match agent {
            Agent::Exits(code) => format!("{begins} exit {code}"),
            Agent::Crashes => format!("ulimit -c 0; {begins} kill -SEGV $$"),
            Agent::Works => format!("sleep 600 & setsid sleep 600 & {begins} wait"),
            Agent::NeverBegins => {
                fs::create_dir_all(self.workspaces()).unwrap();
                put(&self.workspaces().join(&run.agent.0), "A file stands where the workspace belongs.\n");
                begins.to_owned()
            }
        };
        ["sh", "-c", &script].map(str::to_owned).to_vec()
    }

    fn pause(&self) {
        pause(Duration::from_millis(10));
    }

    fn begun(&self, run: &RunId) -> usize {
        let marker = self.marker(run);
        let begun = fs::read_to_string(self.path("lab/begun")).unwrap_or_default();
        begun.lines().filter(|line| *line == marker).count()
    }

    fn processes(&self, run: &RunId) -> usize {
        self.live_of(run).len()
    }

    fn kill_launcher(&self, run: &RunId, handle: &RunHandle) {
        let launcher = handle.pid().unwrap();
        assert!(self.live_of(run).contains(&launcher), "{launcher} was not started here");
        kill_9(launcher);
    }

    fn remove_claim(&self, run: &RunId) {
        fs::remove_file(self.run_dir(run).join("claim")).unwrap();
    }

    fn set_unreadable(&self, run: &RunId, unreadable: bool) {
        self.hide(self.run_dir(run), unreadable);
    }

    fn set_broken(&self, broken: bool) {
        self.hide(self.path("state/runs"), broken);
    }

    /// Lives through a run of another factory that has the same folder of workspaces.
    fn take_workspace(&self, name: &str) {
        HostDir::create_or_open(&self.path("other"), false).unwrap();
        let other =
            fleet::build(&self.config, self.home("other", &format!("{}-other", self.lineage())), false);
        let run: RunId = "ar-9-impl.1".parse().unwrap();
        let until = Instant::now() + Duration::from_secs(60);
        let mut launch = fleet_suite::launch(self, &run, Agent::Exits(0));
        launch.snapshot.workspace = name.to_owned();
        assert_eq!(other.start(&launch, until), StartOutcome::Tried);
        let queries = [fleet_suite::query(&run, None)];
        let is_over = || {
            let seen = other.observe(&queries, &BTreeMap::new(), until);
            matches!(seen.known().unwrap().runs[&run], RunObservation::Ended(_))
        };
        while !is_over() {
            assert!(Instant::now() < until, "the run of the other factory never ends");
            self.pause();
        }
    }

    fn discard(&self, run: &RunId) -> bool {
        let trash = Trash::at(self.path("state/trash"));
        let store = fleet::run_store(&self.config, self.own_home());
        store.discard(run, &trash).unwrap() == Discarded::Gone
    }
}

impl Drop for RealFleet {
    /// A check that failed may leave processes. Each has this folder's path in its environment.
    fn drop(&mut self) {
        for _ in 0..100 {
            let live = self.live();
            if live.is_empty() {
                return;
            }
            live.iter().for_each(|(pid, _)| kill_9_if_alive(*pid));
            pause(Duration::from_millis(10));
        }
    }
}
