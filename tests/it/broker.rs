//! The client against the real agent-relay broker, offline and on loopback. `scripts/broker.sh` fetches it; where it is
//! not, these tests say that they were skipped, and fail with FACTORY_TICK_REQUIRE_BROKER=1.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use factory_tick::fleet::broker::discover::{Asked, Found, NotFound};
use factory_tick::fleet::broker::{Client, Failure, Listed, Origin, Seat, Secret, Session, Spawn, Spawned};
use factory_tick::process::identity::Host;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::support::{number_from, pause, skipped, system};

/// Far more than a loaded machine needs.
const LIMIT: Duration = Duration::from_secs(60);

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(10);

/// Named by this variable, a broker is asked who it is by a test that does nothing else.
const ASK: &str = "FACTORY_TEST_BROKER_URL";

/// A real broker in a folder of its own. Its agents end with it, if they heed a hang-up.
pub(crate) struct Broker {
    // Before its folder goes, it does.
    child: Process,
    home: TempDir,
}

/// A broker's process, ended with its test.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.0.id()).unwrap()), signal).unwrap();
    }

    pub(crate) fn end(&mut self, signal: Signal) {
        self.signal(signal);
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            // It may stand still.
            self.signal(Signal::SIGCONT);
            self.end(Signal::SIGTERM);
        }
    }
}

impl Broker {
    /// `None`, said aloud, where the broker was not fetched.
    pub(crate) fn start() -> Option<Broker> {
        Broker::start_with(&[])
    }

    /// The same, with these variables in its environment.
    pub(crate) fn start_with(vars: &[(&str, &str)]) -> Option<Broker> {
        let program = program()?;
        let home =
            tempfile::Builder::new().prefix("broker-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let child = run(&program, home.path(), "first", vars);
        let broker = Broker { child, home };
        broker.ready();
        Some(broker)
    }

    /// The folder that it was started in.
    pub(crate) fn cwd(&self) -> &Path {
        self.home.path()
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.0.id()
    }

    /// Ends it with this signal.
    pub(crate) fn end(&mut self, signal: Signal) {
        self.child.end(signal);
    }

    /// Starts it anew, in the same folder.
    pub(crate) fn restart(&mut self) {
        self.child = run(&program().unwrap(), self.home.path(), "first", &[]);
        self.ready();
    }

    /// Starts another one in the same folder, which takes its file over.
    pub(crate) fn second(&self) -> Process {
        run(&program().unwrap(), self.home.path(), "second", &[])
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        self.child.signal(signal);
    }

    /// Has it stand still, all of its threads: they stop one after the other, and later than they are told to.
    pub(crate) fn stop(&self) {
        self.signal(Signal::SIGSTOP);
        let stands = |task: std::fs::DirEntry| {
            let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
        };
        let tasks = || std::fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        wait_for("all of it stands still", || tasks().all(|task| stands(task.unwrap())));
    }

    /// Where it says that it is.
    pub(crate) fn find(&self) -> Result<Found, NotFound> {
        find_in(self.cwd())
    }

    /// A client of it, and which broker it is.
    pub(crate) fn meet(&self) -> (Client, Session) {
        self.find().unwrap().meet(soon()).unwrap()
    }

    fn ready(&self) {
        let process = || Some(self.find().ok()?.process?.pid);
        wait_for("the broker left its file", || process() == Some(self.pid()));
        wait_for("the broker answers", || match self.find().unwrap().meet(soon()) {
            Ok(_) => true,
            Err(failure) => {
                assert_eq!(failure, Failure::Starting);
                false
            }
        });
    }
}

pub(crate) fn program() -> Option<PathBuf> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/broker/agent-relay-broker");
    if program.exists() {
        return Some(program);
    }
    let why = "the broker is not in target/broker; scripts/broker.sh fetches it";
    assert!(number_from("FACTORY_TICK_REQUIRE_BROKER", 0) == 0, "{why}");
    skipped(why);
    None
}

fn run(program: &Path, home: &Path, instance: &str, vars: &[(&str, &str)]) -> Process {
    let child = system(program.to_str().unwrap())
        .args(["init", "--local-only", "--persist", "--api-bind", "127.0.0.1", "--instance-name", instance])
        .current_dir(home)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("HOME", home)
        .envs([("AGENT_RELAY_TELEMETRY_DISABLED", "1"), ("DO_NOT_TRACK", "1")])
        .envs(vars.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Process(child)
}

pub(crate) fn find_in(cwd: &Path) -> Result<Found, NotFound> {
    let asked =
        Asked { url: None, key: None, env_url: None, env_key: None, state_dir: None, cwd, any_host: false };
    asked.find(&Host::read().unwrap())
}

pub(crate) fn soon() -> Instant {
    Instant::now() + LIMIT
}

/// Waits until a condition holds.
#[track_caller]
pub(crate) fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < LIMIT, "never happened: {what}");
        pause(POLL);
    }
}

pub(crate) fn spawn_in(
    cwd: &Path,
    client: &Client,
    name: &str,
    script: &str,
    until: Instant,
) -> Result<Spawned, Failure> {
    let spawn = Spawn {
        name,
        label: "impl",
        command: "/bin/sh",
        args: &["-c".to_owned(), script.to_owned()],
        env: &BTreeMap::from([("FACTORY_RUN".to_owned(), format!("test/{name}.1"))]),
        cwd,
        task: None,
        agent_token: None,
    };
    client.spawn(&spawn, until)
}

pub(crate) fn names(client: &Client) -> Vec<String> {
    client.list(soon()).unwrap().into_iter().map(|agent| agent.name).collect()
}

#[test]
fn an_agent_is_started_listed_and_released() {
    let Some(broker) = Broker::start() else { return };
    let (client, session) = broker.meet();
    assert!(session.is_local_only && session.node_id.is_some(), "{session:?}");
    assert_eq!(broker.find().unwrap().process.unwrap().pid, broker.pid());
    assert_eq!(names(&client), Vec::<String>::new());
    let spawn = |script| spawn_in(broker.cwd(), &client, "ag-1-impl", script, soon());

    let spawned = spawn("echo \"$FACTORY_RUN\" >marker; exec sleep 600").unwrap();
    let mut agents: Vec<Listed> = Vec::new();
    wait_for("its pid is known", || {
        agents = client.list(soon()).unwrap();
        agents.iter().any(|agent| agent.pid.is_some())
    });
    let [agent] = &agents[..] else { panic!("{agents:?}") };
    assert_eq!((agent.name.as_str(), &agent.generation), ("ag-1-impl", &spawned.generation));
    assert!(agent.worker_pid.is_some_and(|pid| Some(pid) != agent.pid), "{agent:?}");
    wait_for("it ran", || {
        std::fs::read_to_string(broker.cwd().join("marker")).is_ok_and(|text| text == "test/ag-1-impl.1\n")
    });

    assert_eq!(spawn("exec sleep 600"), Err(Failure::NameTaken));
    assert_eq!(client.release("ag-1-impl", "a test", soon()).unwrap().seat, Seat::Retained);
    assert_eq!(names(&client), Vec::<String>::new());
    // One that is not there is released just so.
    assert_eq!(client.release("ag-1-impl", "a test", soon()).unwrap().seat, Seat::Retained);
}

#[test]
fn what_the_broker_refuses_it_has_not_done() {
    let Some(broker) = Broker::start() else { return };
    let (client, _) = broker.meet();
    let stranger = Client::new(client.origin().clone(), Secret::new("br_another").unwrap());
    assert!(matches!(stranger.session(soon()), Err(Failure::Denied(_))));
    assert!(matches!(stranger.release("ag", "a test", soon()), Err(Failure::Denied(_))));

    let nowhere = spawn_in(&broker.cwd().join("nowhere"), &client, "ag", "exit 0", soon());
    assert!(matches!(nowhere, Err(Failure::Refused { status: 500, .. })), "{nowhere:?}");
    let long = spawn_in(broker.cwd(), &client, "ag", &"x".repeat(200_000), soon());
    assert!(matches!(long, Err(Failure::Refused { status: 500, .. })), "{long:?}");
    // Larger than what it reads: it is not even asked.
    let larger = spawn_in(broker.cwd(), &client, "ag", &"x".repeat(3 << 20), soon());
    assert!(matches!(larger, Err(Failure::Unreachable(_))), "{larger:?}");
    let missing = Spawn {
        name: "ag",
        label: "impl",
        command: "/no/such/program",
        args: &[],
        env: &BTreeMap::new(),
        cwd: broker.cwd(),
        task: None,
        agent_token: None,
    };
    assert_eq!(names(&client), Vec::<String>::new());
    // It looks on for a quarter of a second: on a busy machine even that is too short to see that there is no program.
    let missing = client.spawn(&missing, soon());
    assert!(matches!(missing, Ok(_) | Err(Failure::EndedAtOnce(_))), "{missing:?}");
    wait_for("nothing is left of it", || names(&client).is_empty());
}

#[test]
fn a_name_that_would_be_another_path_is_one_agents_name_all_the_same() {
    let Some(broker) = Broker::start() else { return };
    let (client, _) = broker.meet();
    let name = "a b/%2F..?x=ä#";
    spawn_in(broker.cwd(), &client, name, "exec sleep 600", soon()).unwrap();
    assert_eq!(names(&client), [name]);
    client.release(name, "a test", soon()).unwrap();
    assert_eq!(names(&client), Vec::<String>::new());
}

/// Passes one request on to a broker, and keeps the reply for itself.
fn swallows_the_reply(of: &Origin) -> Origin {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = Origin::parse(&format!("http://{}", listener.local_addr().unwrap()), false).unwrap();
    let broker = of.to_string().replace("http://", "");
    thread::spawn(move || {
        let mut client = listener.accept().unwrap().0;
        let mut broker = TcpStream::connect(broker).unwrap();
        let mut to_broker = broker.try_clone().unwrap();
        let mut from_client = client.try_clone().unwrap();
        thread::spawn(move || std::io::copy(&mut from_client, &mut to_broker));
        broker.read_to_end(&mut Vec::new()).unwrap();
        client.flush().unwrap();
        client.shutdown(Shutdown::Both).unwrap();
    });
    origin
}

/// This is why a lost reply says nothing of what was done.
#[test]
fn a_start_whose_reply_was_lost_was_carried_out() {
    let Some(broker) = Broker::start() else { return };
    let (client, _) = broker.meet();
    let found = broker.find().unwrap();
    let through = Client::new(swallows_the_reply(client.origin()), found.key);
    let lost = spawn_in(broker.cwd(), &through, "ag-1-impl", "exec sleep 600", soon()).unwrap_err();
    assert!(matches!(lost, Failure::Unknown(_)) && !lost.is_certain(), "{lost:?}");
    assert_eq!(names(&client), ["ag-1-impl"]);
}

#[test]
fn a_broker_that_stands_still_is_not_waited_for() {
    let Some(broker) = Broker::start() else { return };
    let (client, _) = broker.meet();
    broker.stop();
    let until = || Instant::now() + Duration::from_millis(200);
    let failures = [
        client.session(until()).unwrap_err(),
        client.list(until()).unwrap_err(),
        client.release("ag-1-impl", "a test", until()).unwrap_err(),
    ];
    assert!(failures.iter().all(|failure| matches!(failure, Failure::Unknown(_))), "{failures:?}");
    broker.signal(Signal::SIGCONT);
    assert_eq!(names(&client), Vec::<String>::new());
}

// The broker starts one after the other, so to ask for several at once gains nothing: that is why nobody does.
#[test]
#[expect(clippy::print_stderr, reason = "a figure for whoever asks for it with --nocapture")]
fn eight_starts_at_once_are_eight_agents() {
    let Some(broker) = Broker::start() else { return };
    let (client, _) = broker.meet();
    let many = 8;
    let all: Vec<String> = (0..many).map(|n| format!("ag-{n:02}-impl")).collect();
    let start = |name: &String| spawn_in(broker.cwd(), &client, name, "exec sleep 600", soon()).unwrap();
    let begun = Instant::now();
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while let Some(name) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    start(name);
                }
            });
        }
    });
    let at_once = begun.elapsed().as_millis();
    let mut listed = names(&client);
    listed.sort();
    assert_eq!(listed, all);
    let begun = Instant::now();
    (0..many).for_each(|n| drop(start(&format!("after-{n:02}-impl"))));
    let in_turn = begun.elapsed().as_millis();
    eprintln!("{many} agents: {in_turn} ms one after the other, {at_once} ms with eight at a time");
}

#[test]
fn a_killed_broker_is_not_believed_and_its_successor_is_another() {
    let Some(mut broker) = Broker::start() else { return };
    let (client, session) = broker.meet();
    for n in 0..2 {
        spawn_in(broker.cwd(), &client, &format!("ag-{n}-impl"), "exec sleep 600", soon()).unwrap();
    }
    broker.end(Signal::SIGKILL);
    let unreachable = |met: Result<_, Failure>| matches!(met, Err(Failure::Unreachable(_)));
    // Its file outlives it; and now and then its number is another process's by now.
    match broker.find() {
        Err(why) => assert!(matches!(why, NotFound::Stale(_)), "{why:?}"),
        Ok(found) => assert!(unreachable(found.meet(soon()).map(drop))),
    }
    assert!(unreachable(client.list(soon()).map(drop)));

    broker.restart();
    let (client, successor) = broker.meet();
    assert_ne!(session.node_id, successor.node_id);
    assert_eq!(names(&client), Vec::<String>::new());
}

#[test]
fn a_second_broker_takes_the_file_of_the_first_away() {
    let Some(broker) = Broker::start() else { return };
    let first = broker.find().unwrap();
    let mut second = broker.second();
    let named = || Some(broker.find().ok()?.process?.pid);
    wait_for("the second wrote over the file", || named() == Some(second.pid()));
    // Its key is another: whoever had met the first can't be led to it.
    let other = Client::new(broker.find().unwrap().origin, first.key.clone());
    wait_for("it answers", || other.session(soon()) != Err(Failure::Starting));
    assert!(matches!(other.session(soon()), Err(Failure::Denied(_))));

    second.end(Signal::SIGTERM);
    assert!(matches!(broker.find(), Err(NotFound::Nowhere(_))));
    assert!(first.meet(soon()).is_ok(), "the first goes on");
}

/// Asks a broker whose address the environment has; without one there is nothing to do. See the test below.
#[test]
#[expect(clippy::disallowed_methods, reason = "this test is run by another one")]
fn asks_whom_the_environment_names() {
    let Ok(url) = std::env::var(ASK) else { return };
    let client = Client::new(Origin::parse(&url, false).unwrap(), Secret::new("br_a_key").unwrap());
    let failure = client.session(soon()).unwrap_err();
    assert!(matches!(failure, Failure::Unreachable(_)), "{failure:?}");
}

#[test]
fn a_proxy_is_never_given_the_key() {
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    proxy.set_nonblocking(true).unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let this = std::env::current_exe().unwrap();
    let mut command = system(this.to_str().unwrap());
    command.args(["--exact", "broker::asks_whom_the_environment_names"]);
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        command.env(name, format!("http://{}", proxy.local_addr().unwrap()));
    }
    let ran = command
        .env(ASK, format!("http://{nobody}"))
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success() && said.contains("1 passed"), "{said}");
    assert_eq!(proxy.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "nobody came by");
}
