//! Runs that are started in a terminal which somebody else made, ends and kills. The test is that somebody: it lays out
//! the run as a tick does, makes the terminal, starts the program in it and hands over the environment.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::time::{Duration, Instant};

use factory_tick::clock;
use factory_tick::model::{DoneWhen, ItemId, ItemSnapshot, RunId, RunSpec};
use factory_tick::run::directory::RunDir;
use factory_tick::run::env::Vars;
use factory_tick::run::env_pipe;
use factory_tick::run::hooks::RunHooks;
use factory_tick::run::spec::{Spec, Terminal};
use nix::sys::signal::Signal;
use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use serde_json::{Value, json};

use crate::support::{
    Factory, HeldLock, NOTE_START, Running, binary, is_alive, kill_9, put, put_sealed, system,
};

const RUN: &str = "ar-1-impl.1";

/// What the role was to have, and nobody else may see.
const SECRET: &str = "the-role's-secret";

/// What the broker has for its agents, and for itself.
const BROKERS: [(&str, &str); 4] = [
    ("RELAY_AGENT_TOKEN", "the-agent's-token"),
    ("TERM", "xterm-256color"),
    ("RELAY_BROKER_API_KEY", "the-broker's-key"),
    ("GITHUB_TOKEN", "the-broker's-own"),
];

/// Deaf to whatever can be ignored, with a child that is so too and has left its session.
const DEAF: &str = r#"trap '' HUP INT TERM
    setsid sh -c 'echo $$ > "$LAB/far"; while :; do sleep 600; done' &
    echo $$ > "$LAB/agent"; while :; do sleep 600; done"#;

/// One run, laid out for somebody to start.
struct Case {
    factory: Factory,
    spec: Spec,
}

impl Case {
    /// The agent runs this shell script.
    fn new(script: &str, terminal: Terminal) -> Case {
        let factory = Factory::new();
        let run: RunId = RUN.parse().unwrap();
        let argv = ["/bin/sh", "-c", script].map(str::to_owned).into();
        let spec = Spec {
            schema: 1,
            lineage: "0123456789abcdef".to_owned(),
            run: RunSpec {
                id: run,
                item: ItemId("dir:AR-1".to_owned()),
                role: "impl".to_owned(),
                harness: "command".to_owned(),
                dispatch: 1,
                session: None,
                chosen_session: None,
                resumes: 0,
                prelude_ms: 0,
                deadline_ms: None,
                stall_ms: None,
                follow_ups: Vec::new(),
                done_when: DoneWhen::Exit,
            },
            snapshot: ItemSnapshot {
                key: "AR-1".to_owned(),
                slug: "ar-1".to_owned(),
                workspace: "AR-1".to_owned(),
                ..ItemSnapshot::default()
            },
            since: clock::moment("00000000-0000-0000-0000-000000000000"),
            argv,
            env: vec!["SECRET".to_owned()],
            workspace_root: factory.state("workspaces"),
            tmp_root: None,
            live: factory.state("live"),
            made: factory.state("made"),
            session_pattern: None,
            hooks: RunHooks::default(),
            grace_ms: 300,
            log_bytes_max: 0,
            terminal: Some(terminal),
            done: Vec::new(),
            protected_pids: Vec::new(),
            protected_pidfiles: Vec::new(),
        };
        Case { factory, spec }
    }

    fn hook(script: &str) -> Vec<String> {
        ["/bin/sh", "-c", script].map(str::to_owned).into()
    }

    fn run_dir(&self) -> RunDir {
        RunDir::new(self.factory.state("runs").join(RUN))
    }

    /// Writes down what is asked for, as a tick does before it asks.
    fn lay_out(&self) {
        for folder in ["live", "workspaces"] {
            fs::create_dir_all(self.factory.state(folder)).unwrap();
        }
        let run_dir = self.run_dir();
        fs::create_dir_all(run_dir.path()).unwrap();
        put(&run_dir.file("prompt.md"), "the task\n");
        put_sealed(&run_dir.file("spec.json"), &serde_json::to_value(&self.spec).unwrap());
        env_pipe::open(&run_dir).unwrap();
    }

    /// Starts it in a terminal, as a broker does.
    fn start(&self) -> Broker {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        unlockpt(&master).unwrap();
        let slave = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::CLOEXEC).unwrap();
        rustix::fs::fcntl_setfl(&master, OFlags::NONBLOCK).unwrap();
        let mut broker = Broker { master: Some(master.into()), shown: String::new(), relay: None };
        broker.resize(31, 117);
        let dup = |slave: &OwnedFd| slave.try_clone().unwrap();
        let mut command = system("setsid");
        command.arg("--ctty").arg(binary()).arg("__relay").arg(self.run_dir().path());
        command.env_clear().envs(BROKERS);
        command.stdin(dup(&slave)).stdout(dup(&slave)).stderr(slave);
        broker.relay = Some(Running::start(&mut command));
        broker
    }

    /// Hands the environment over.
    fn give(&self) {
        env_pipe::send(&self.run_dir(), &self.vars(), Instant::now() + Duration::from_secs(60)).unwrap();
    }

    fn vars(&self) -> Vars {
        let lab = self.factory.lab("");
        let program = self.factory.program(&[]);
        let path = program.get_envs().find(|(name, _)| *name == "PATH").unwrap().1.unwrap();
        let vars = [("LAB", lab.as_os_str()), ("PATH", path), ("SECRET", SECRET.as_ref())];
        vars.map(|(name, value)| (name.into(), value.to_owned())).into()
    }

    /// All of it.
    fn begin(&self) -> Broker {
        self.lay_out();
        let broker = self.start();
        self.give();
        broker
    }

    fn wait_claimed(&self) -> u32 {
        self.factory.wait_for("it is claimed", || self.receipt("claim").is_some());
        self.factory.launcher(RUN)
    }

    fn receipt(&self, name: &str) -> Option<Value> {
        self.factory.receipt(RUN, name)
    }

    /// Waits for the end of the run, and returns how it ended.
    #[track_caller]
    fn wait_over(&self, broker: Broker) -> Value {
        self.factory.wait_for("it is claimed", || self.receipt("claim").is_some());
        self.factory.wait_swept(RUN);
        let swept = self.receipt("swept").unwrap();
        assert_eq!((&swept["by"], &swept["survivors"]), (&json!("launcher"), &json!([])));
        let exit = self.receipt("exit").unwrap();
        // It has ended, or ends: its launcher has.
        broker.relay.unwrap().end();
        exit
    }

    fn log(&self, name: &str) -> String {
        fs::read_to_string(self.run_dir().file(name)).unwrap()
    }
}

/// Whoever made the terminal and started the program in it.
struct Broker {
    master: Option<File>,
    shown: String,
    relay: Option<Running>,
}

impl Broker {
    fn relay(&self) -> &Running {
        self.relay.as_ref().unwrap()
    }

    fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(self.master.as_ref().unwrap(), size).unwrap();
    }

    fn type_in(&mut self, text: &str) {
        self.master.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// All that the terminal shows so far.
    fn shows(&mut self) -> &str {
        let mut buffer = [0; 4096];
        loop {
            match self.master.as_mut().unwrap().read(&mut buffer) {
                Ok(count) if count > 0 => self.shown += &String::from_utf8_lossy(&buffer[..count]),
                // Nothing more at the moment, or ever.
                _ => return &self.shown,
            }
        }
    }

    #[track_caller]
    fn wait_shown(&mut self, case: &Case, text: &str) {
        case.factory.wait_for(&format!("{text:?} is shown"), || self.shows().contains(text));
    }

    /// As if it were killed: its end of the terminal is closed.
    fn die(&mut self) {
        self.master = None;
    }
}

fn environ(pid: u32) -> String {
    String::from_utf8(fs::read(format!("/proc/{pid}/environ")).unwrap()).unwrap().replace('\0', "\n")
}

/// The signals that wait for a process, a bit each.
fn pending(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let pending = status.lines().find_map(|line| line.strip_prefix("ShdPnd:")).unwrap();
    u64::from_str_radix(pending.trim(), 16).unwrap()
}

#[test]
fn an_agent_in_a_terminal_has_one_like_any_other() {
    let script = r#"trap 'stty size' WINCH
        for fd in 0 1 2; do [ -t $fd ] && echo "$fd is one"; done
        tty; stty size; cat "$FACTORY_PROMPT_FILE"
        echo "group $(ps -o pgid= -p $$) $(ps -o tpgid= -p $$)" > "$LAB/group"
        read -r line; echo "heard $line"; echo to stderr >&2
        while [ ! -e "$LAB/go" ]; do sleep 0.02; done"#;
    let case = Case::new(script, Terminal::Own);
    let mut broker = case.begin();
    broker.wait_shown(&case, "the task\r\n");
    let shown = broker.shows().to_owned();
    assert!(shown.starts_with("0 is one\r\n1 is one\r\n2 is one\r\n/dev/"), "{shown:?}");
    assert!(shown.ends_with("\r\n31 117\r\nthe task\r\n"), "{shown:?}");
    case.factory.wait_told("group");
    let group = case.factory.told("group");
    let group: Vec<_> = group.split_whitespace().collect();
    assert_eq!(group[1], group[2], "it is in the foreground");
    broker.type_in("word\n");
    broker.wait_shown(&case, "to stderr\r\n");
    let rest = broker.shows()[shown.len()..].to_owned();
    assert_eq!(rest, "word\r\nheard word\r\nto stderr\r\n", "echoed once, by its own terminal");
    broker.resize(24, 80);
    broker.wait_shown(&case, "24 80\r\n");
    put(&case.factory.lab("go"), "");
    let exit = case.wait_over(broker);
    assert_eq!((&exit["code"], &exit["reason"]), (&json!(0), &json!("exited")));
    let log = case.log("stdout.log");
    assert!(log.starts_with(&shown) && log.contains(&rest) && log.contains("24 80\r\n"), "{log:?}");
}

#[test]
fn what_is_typed_to_interrupt_reaches_the_agent_and_nobody_else() {
    let script = r#"trap 'echo interrupted; exit 7' INT; echo ready; while :; do sleep 0.05; done"#;
    let case = Case::new(script, Terminal::Own);
    let mut broker = case.begin();
    broker.wait_shown(&case, "ready\r\n");
    // The first of them is to stop it, for a shell to let it go on: there is none.
    broker.type_in("\x1a\x03");
    let exit = case.wait_over(broker);
    assert_eq!((&exit["code"], &exit["reason"]), (&json!(7), &json!("exited")));
    assert!(case.log("stdout.log").ends_with("^Cinterrupted\r\n"));
}

#[test]
fn what_an_agent_says_in_its_terminal_is_heard_and_kept_to_the_last_line() {
    // The shell left behind says "Killed" on stderr where its sleep is killed before itself.
    let script = r#"echo FACTORY_SESSION=s-1; echo "FACTORY_PARK=which database?"
        setsid sh -c 'trap "" HUP TERM; while :; do sleep 600; done' 2>/dev/null &
        seq 1 30000; echo "No conversation found" >&2; exit 3"#;
    let case = Case::new(script, Terminal::Own);
    let exit = case.wait_over(case.begin());
    assert_eq!((&exit["code"], &exit["reason"]), (&json!(3), &json!("exited")));
    assert_eq!(exit["reported"], json!({"session": "s-1", "park": "which database?"}));
    let numbers: String = (1..=30000).map(|n| format!("{n}\r\n")).collect();
    let words = "FACTORY_SESSION=s-1\r\nFACTORY_PARK=which database?\r\n";
    let (log, expected) = (case.log("stdout.log"), format!("{words}{numbers}No conversation found\r\n"));
    let same = log.bytes().zip(expected.bytes()).take_while(|(one, other)| one == other).count();
    let rest = String::from_utf8_lossy(&log.as_bytes()[same..]);
    assert!(log == expected, "{} of {} bytes, then {:.200?}", same, expected.len(), rest);
    // That a session is gone is looked for on stderr, and a terminal has one stream.
    let output = case.run_dir().open().unwrap().unwrap().output().unwrap();
    assert!(output.stderr_tail.ends_with("30000\r\nNo conversation found\r\n"));
}

// covers: H01 S34
#[test]
fn secrets_reach_the_agent_and_neither_a_file_nor_anybody_above_it() {
    let script = r#"env > "$LAB/vars.new"; mv "$LAB/vars.new" "$LAB/vars"; while [ ! -e "$LAB/go" ]; do sleep 0.02; done"#;
    let mut case = Case::new(script, Terminal::Own);
    case.spec.hooks.before_run = Case::hook(r#"env > "$LAB/hook""#);
    case.spec.hooks.timeout_ms = 60_000;
    let broker = case.begin();
    case.factory.wait_told("vars");
    let run_dir = case.run_dir();
    for entry in fs::read_dir(run_dir.path()).unwrap() {
        let path = entry.unwrap().path();
        assert!(!path.metadata().unwrap().file_type().is_fifo(), "what was handed over is gone");
        let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
        assert!(!text.contains(SECRET) && !text.contains("the-"), "{}: {text}", path.display());
    }
    let launcher = environ(case.factory.launcher(RUN));
    let mut launcher: Vec<_> = launcher.lines().map(|line| line.split_once('=').unwrap().0).collect();
    launcher.sort_unstable();
    let own = ["FACTORY_ITEM", "FACTORY_ROLE", "FACTORY_RUN", "FACTORY_WORKSPACE"];
    assert_eq!(launcher, [&own[..], &["RELAY_AGENT_TOKEN", "TERM"]].concat());
    let relay = environ(broker.relay().pid());
    assert!(!relay.contains(SECRET) && !relay.contains("FACTORY_RUN"), "{relay}");
    put(&case.factory.lab("go"), "");
    case.wait_over(broker);

    let told = |name: &str| -> Vec<(String, String)> {
        let text = case.factory.told(name);
        let vars = text.lines().map(|line| line.split_once('=').unwrap());
        // A shell's own.
        let mut vars: Vec<_> =
            vars.filter(|(name, _)| !["PWD", "OLDPWD", "SHLVL", "_"].contains(name)).collect();
        vars.sort_unstable();
        vars.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    let agent = told("vars");
    let names: Vec<_> = agent.iter().map(|(name, _)| name.as_str()).collect();
    let all = [
        "FACTORY_ITEM",
        "FACTORY_PROMPT_FILE",
        "FACTORY_ROLE",
        "FACTORY_RUN",
        "FACTORY_WORKSPACE",
        "GIT_CEILING_DIRECTORIES",
        "LAB",
        "PATH",
        "RELAY_AGENT_TOKEN",
        "SECRET",
        "TERM",
        "TMPDIR",
    ];
    assert_eq!(names, all);
    let has =
        |name: &str, value: &str| assert!(agent.contains(&(name.to_owned(), value.to_owned())), "{agent:?}");
    has("SECRET", SECRET);
    has("FACTORY_RUN", "0123456789abcdef/ar-1-impl.1");
    has("FACTORY_ITEM", "dir:AR-1");
    has("FACTORY_ROLE", "impl");
    has("TERM", "xterm-256color");
    let of_agent_alone = |(name, _): &(String, String)| name == "FACTORY_PROMPT_FILE";
    let expected: Vec<_> = agent.iter().filter(|var| !of_agent_alone(var)).cloned().collect();
    assert_eq!(told("hook"), expected, "a hook has the same");
}

/// Ends a run with an agent that can only be killed, and looks that nobody is left.
#[track_caller]
fn ends_to_the_last(end: impl FnOnce(&mut Broker)) {
    let case = Case::new(DEAF, Terminal::Own);
    let mut broker = case.begin();
    let (agent, far) = (case.factory.wait_pid("agent"), case.factory.wait_pid("far"));
    let (launcher, relay) = (case.factory.launcher(RUN), broker.relay().pid());
    end(&mut broker);
    let exit = case.wait_over(broker);
    assert_eq!((&exit["signal"], &exit["reason"]), (&json!(9), &json!("stopped")));
    for pid in [agent, far, launcher, relay] {
        assert!(!is_alive(pid), "{pid}");
    }
    assert!(case.factory.processes().is_empty());
}

#[test]
fn a_terminal_that_is_released_ends_its_run_to_the_last_process() {
    ends_to_the_last(|broker| broker.relay().signal(Signal::SIGHUP));
}

// A broker that was killed leaves nobody who would wait for a grace: what it started in the terminal is killed 0.2 s later,
// and a launcher in its place would leave no receipts.
#[test]
fn a_leader_that_is_killed_ends_its_run_to_the_last_process() {
    ends_to_the_last(|broker| broker.relay().signal(Signal::SIGKILL));
}

#[test]
fn a_terminal_that_is_hung_up_ends_its_run_to_the_last_process() {
    ends_to_the_last(Broker::die);
}

// One end of a terminal is told three times: by the broker, by the kernel when the broker is gone, and by the death of the
// session's leader, whom the broker kills. The second word ended the hook after the agent.
#[test]
fn the_hook_after_an_agent_ends_by_itself_however_often_the_end_of_the_terminal_is_told() {
    let mut case = Case::new(r#"echo ready > "$LAB/agent"; exec sleep 600"#, Terminal::Own);
    case.spec.hooks = RunHooks {
        after_run: Case::hook(
            r#"echo begun > "$LAB/begun"; while [ ! -e "$LAB/go" ]; do sleep 0.02; done; echo done > "$LAB/done""#,
        ),
        timeout_ms: 120_000,
        each_ms: 120_000,
        ..RunHooks::default()
    };
    let mut broker = case.begin();
    case.factory.wait_told("agent");
    broker.relay().signal(Signal::SIGHUP);
    case.factory.wait_told("begun");
    broker.die();
    broker.relay().signal(Signal::SIGHUP);
    let relay = broker.relay().pid();
    case.factory.wait_for("the leader has heard it", || pending(relay) == 0);
    broker.relay().signal(Signal::SIGKILL);
    case.factory.wait_for("the leader is gone", || !is_alive(relay));
    put(&case.factory.lab("go"), "");
    let exit = case.wait_over(broker);
    assert_eq!(exit["reason"], "stopped");
    assert_eq!(case.factory.told("done"), "done\n", "{}", case.log("hooks.log"));
}

#[test]
fn a_launcher_that_is_killed_takes_its_agent_and_the_leader_along() {
    let case = Case::new(r#"echo $$ > "$LAB/agent"; exec sleep 600"#, Terminal::Own);
    let mut broker = case.begin();
    let agent = case.factory.wait_pid("agent");
    kill_9(case.factory.launcher(RUN));
    broker.relay.take().unwrap().end();
    case.factory.wait_for("the agent is gone", || !is_alive(agent));
    assert!(case.receipt("exit").is_none() && case.receipt("swept").is_none());
}

#[test]
fn without_its_environment_a_run_has_no_agent_and_nobody_is_charged() {
    let ended = |case: Case, broker: Broker, reason: &str, why: &str| {
        let exit = case.wait_over(broker);
        assert_eq!(exit["reason"], reason, "{exit}");
        assert!(exit["error"].as_str().unwrap().contains(why), "{exit}");
        assert!(!case.run_dir().file(env_pipe::ENV).exists(), "nobody is to fill it later");
        assert_eq!(case.factory.starts(), [""; 0]);
    };
    // The tick was killed, half of it written.
    let case = Case::new(NOTE_START, Terminal::Own);
    case.lay_out();
    let broker = case.start();
    case.wait_claimed();
    // Fails while nobody reads it.
    let mut tick = None;
    case.factory.wait_for("it is read", || {
        let (fifo, ways) =
            (case.run_dir().file(env_pipe::ENV), OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC);
        tick = rustix::fs::open(fifo, ways, rustix::fs::Mode::empty()).ok();
        tick.is_some()
    });
    let mut tick = File::from(tick.unwrap());
    tick.write_all(&[9, 0, 0, 0, 0, 0, 0, 0, b'A']).unwrap();
    drop(tick);
    ended(case, broker, "infra", "nobody gave it its environment: the tick ended before");

    // Somebody has cleaned up.
    let case = Case::new(NOTE_START, Terminal::Own);
    case.lay_out();
    fs::remove_file(case.run_dir().file(env_pipe::ENV)).unwrap();
    let broker = case.start();
    ended(case, broker, "infra", "nobody gave it its environment");

    // The terminal is hung up while it waits.
    let case = Case::new(NOTE_START, Terminal::Own);
    case.lay_out();
    let mut broker = case.start();
    case.wait_claimed();
    broker.die();
    ended(case, broker, "stopped", "told to stop before it had its environment");
}

#[test]
fn a_run_that_is_started_again_runs_once() {
    let script = format!(r#"{NOTE_START} while [ ! -e "$LAB/go" ]; do sleep 0.02; done"#);
    let case = Case::new(&script, Terminal::Own);
    let first = case.begin();
    let launcher = case.wait_claimed();
    case.start().relay.unwrap().end();
    put(&case.factory.lab("go"), "");
    let exit = case.wait_over(first);
    assert_eq!(exit["reason"], "exited");
    // Not even with what it was given the first time.
    case.start().relay.unwrap().end();
    assert_eq!((case.factory.starts(), case.factory.launcher(RUN)), (vec![RUN.to_owned()], launcher));
}

// A tick waited to the end of its time for a launcher that had declined.
#[test]
fn a_launcher_that_declines_keeps_no_tick_waiting() {
    let case = Case::new(NOTE_START, Terminal::Own);
    case.lay_out();
    let _other = HeldLock::take(&case.factory.state("live/ar-1-impl"));
    let broker = case.start();
    let ended = env_pipe::send(&case.run_dir(), &case.vars(), Instant::now() + Duration::from_secs(3600));
    assert!(ended.is_err());
    broker.relay.unwrap().end();
    assert_eq!(case.receipt("claim").unwrap()["refused"]["duplicate"], true);
    assert_eq!(case.factory.starts(), [""; 0]);
}

#[test]
fn neither_a_watcher_that_does_not_read_nor_an_agent_that_does_not_keeps_anybody_waiting() {
    let script = r#"echo ready > "$LAB/ready"; while [ ! -e "$LAB/go" ]; do sleep 0.02; done
        head -c 3000000 /dev/zero | tr '\0' x"#;
    for terminal in [Terminal::Own, Terminal::Copy] {
        let case = Case::new(script, terminal);
        let mut broker = case.begin();
        case.factory.wait_told("ready");
        // As much as is taken at once.
        if let Err(error) = broker.master.as_mut().unwrap().write_all(&[b'x'; 4_000_000]) {
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
        }
        put(&case.factory.lab("go"), "");
        let exit = case.wait_over(broker);
        assert_eq!((&exit["code"], &exit["reason"]), (&json!(0), &json!("exited")), "{terminal:?}");
        let log = case.log("stdout.log");
        assert!(log.bytes().filter(|byte| *byte == b'x').count() >= 3_000_000, "{terminal:?}: {}", log.len());
    }
}

#[test]
fn an_agent_with_pipes_is_shown_to_whoever_watches_and_can_not_be_typed_to() {
    let script = r#"echo ready > "$LAB/ready"; while [ ! -e "$LAB/go" ]; do sleep 0.02; done
        cat; for fd in 0 1 2; do [ -t $fd ] || echo "$fd is none"; done; tty
        echo FACTORY_SESSION=s-2; echo "to stderr" >&2"#;
    let case = Case::new(script, Terminal::Copy);
    let mut broker = case.begin();
    case.factory.wait_told("ready");
    broker.type_in("typed\n\x03\x1a\x1c");
    put(&case.factory.lab("go"), "");
    broker.wait_shown(&case, "FACTORY_SESSION=s-2\r\n");
    broker.wait_shown(&case, "to stderr\r\n");
    let shown = broker.shows().to_owned();
    assert!(shown.starts_with("the task\r\n0 is none\r\n1 is none\r\n2 is none\r\n"), "{shown:?}");
    let exit = case.wait_over(broker);
    assert_eq!((&exit["code"], &exit["reason"]), (&json!(0), &json!("exited")));
    assert_eq!(exit["reported"]["session"], "s-2");
    assert!(case.log("stdout.log").starts_with("the task\n0 is none\n"));
    assert_eq!(case.log("stderr.log"), "to stderr\n");
}

// It said so to a log that nobody had opened.
#[test]
fn what_keeps_a_launcher_from_being_started_is_said_where_it_was_to_run() {
    let case = Case::new(NOTE_START, Terminal::Own);
    let mut broker = case.start();
    broker.wait_shown(&case, "factory-tick: there is no spec.json in ");
    assert_eq!(broker.relay.unwrap().end().code, Some(1));
}
