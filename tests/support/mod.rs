//! A factory in a folder of its own, driven through the real program.
//!
//! Tests wait for what the state files or `/proc` show, never for a time to pass: a limit that is reached
//! is a failure, and far above anything that a loaded machine needs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use factory_tick::durable::seal::seal;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// How long anything may take before it counts as never happening.
const LIMIT: Duration = Duration::from_secs(120);

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(10);

/// First words of an agent's script: it writes its run down, in one append.
pub(crate) const NOTE_START: &str = r#"echo "$FACTORY_RUN" >> "$LAB/starts"; "#;

/// A configuration, items, a state directory, and a lab: a folder where agents and the test meet.
pub(crate) struct Factory {
    home: TempDir,
    tables: BTreeMap<String, BTreeMap<String, String>>,
    roles: Vec<String>,
    vars: BTreeMap<String, String>,
}

impl Factory {
    /// No role and no item yet; the limits of a machine that runs tests.
    pub(crate) fn new() -> Factory {
        let home = tempfile::Builder::new().prefix("factory-tick-").tempdir().unwrap();
        let vars = BTreeMap::from([
            ("PATH".to_owned(), path_variable()),
            ("HOME".to_owned(), home.path().display().to_string()),
        ]);
        let mut factory = Factory { home, tables: BTreeMap::new(), roles: Vec::new(), vars };
        fs::create_dir(factory.issues()).unwrap();
        fs::create_dir(factory.lab("")).unwrap();
        // The only variable of this test in its agents' environment: it tells its processes from all others.
        let lab = format!("{{ LAB = {} }}", toml_text(&factory.lab("").display().to_string()));
        factory.set("env", "set", &lab);
        factory.set("limits", "disk_free_min", "\"0\"");
        factory.set("limits", "items_max", "10");
        factory.set("attempts", "jitter", "0");
        factory.set("attempts", "backoff_base", "\"1h\"");
        factory.set("fleet", "grace", "\"2s\"");
        factory
    }

    /// One role, `impl`, whose agents run this shell script.
    pub(crate) fn with_agent(script: &str) -> Factory {
        let mut factory = Factory::new();
        factory.role("impl", &["sh", "-c", script], "");
        factory
    }

    /// Sets a key of the configuration, as TOML.
    pub(crate) fn set(&mut self, table: &str, key: &str, value: &str) {
        self.tables.entry(table.to_owned()).or_default().insert(key.to_owned(), value.to_owned());
        self.write_config();
    }

    /// Adds a role of this suffix and name; `more` are further lines of it.
    pub(crate) fn role(&mut self, suffix: &str, command: &[&str], more: &str) {
        let command: Vec<_> = command.iter().map(|argument| toml_text(argument)).collect();
        let command = command.join(", ");
        self.roles.push(format!(
            "[[role]]\nname = \"{suffix}\"\nsuffix = \"{suffix}\"\ncommand = [{command}]\n{more}\n"
        ));
        self.write_config();
    }

    /// Adds a role, `impl`, with a preset; `more` are further lines of it.
    pub(crate) fn preset(&mut self, harness: &str, more: &str) {
        self.roles
            .push(format!("[[role]]\nname = \"impl\"\nsuffix = \"impl\"\nharness = \"{harness}\"\n{more}\n"));
        self.write_config();
    }

    /// From now on a dispatch fails after its starts: the note of it is required and can't be written.
    pub(crate) fn refuse_started_notes(&mut self) {
        let _ = fs::remove_dir_all(self.issues().join(".factory"));
        put(&self.issues().join(".factory"), "A file stands where the notes belong.\n");
        self.set("writeback", "started", "\"required\"");
    }

    /// A variable of the program's own environment.
    pub(crate) fn var(&mut self, name: &str, value: &str) {
        self.vars.insert(name.to_owned(), value.to_owned());
    }

    /// Takes such a variable away again.
    pub(crate) fn unset(&mut self, name: &str) {
        self.vars.remove(name);
    }

    fn write_config(&self) {
        let mut text = String::new();
        for (table, keys) in &self.tables {
            text.push_str(&format!("[{table}]\n"));
            keys.iter().for_each(|(key, value)| text.push_str(&format!("{key} = {value}\n")));
        }
        put(&self.path("factory.toml"), &(text + &self.roles.concat()));
    }

    /// A file of the factory's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// A file of the state directory.
    pub(crate) fn state(&self, name: &str) -> PathBuf {
        self.path(".factory-tick").join(name)
    }

    /// A file where agents and the test meet: `$LAB/<name>`.
    pub(crate) fn lab(&self, name: &str) -> PathBuf {
        self.path("lab").join(name)
    }

    /// The folder of items.
    pub(crate) fn issues(&self) -> PathBuf {
        self.path("issues")
    }

    /// An ordinary item.
    pub(crate) fn item(&self, key: &str) {
        self.edit(key, "Do what it says.");
    }

    /// An item with this text, new or edited.
    pub(crate) fn edit(&self, key: &str, body: &str) {
        put(&self.issues().join(format!("{key}.md")), &format!("# Title of {key}\n\n{body}\n"));
    }

    // -----------------------------------------------------------------------------------------
    // The program

    /// The program with these arguments, in the factory's folder, under nothing but the test's variables.
    pub(crate) fn program(&self, arguments: &[&str]) -> Command {
        let mut command = command(binary());
        self.furnish(&mut command);
        command.args(arguments);
        command
    }

    /// A shell in the same place; the program is `"$TICK"` in it.
    pub(crate) fn shell(&self, script: &str) -> Command {
        let mut command = command(Path::new("/bin/sh"));
        self.furnish(&mut command);
        command.args(["-c", script]).env("TICK", binary());
        command
    }

    fn furnish(&self, command: &mut Command) {
        command.env_clear().envs(&self.vars).current_dir(self.home.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(&mut self.program(arguments))
    }

    /// Runs one tick, reporting in JSON.
    pub(crate) fn tick(&self) -> Ran {
        self.run(&["--format", "json"])
    }

    /// Ticks until `done`, and returns what the last tick reported.
    pub(crate) fn tick_until(&self, what: &str, mut done: impl FnMut(&Ran) -> bool) -> Ran {
        let mut last = None;
        self.wait_for(what, || {
            let ran = self.tick();
            let is_done = done(&ran);
            last = Some(ran);
            is_done
        });
        last.unwrap()
    }

    // -----------------------------------------------------------------------------------------
    // What it left behind

    /// `registry.json` as it stands.
    pub(crate) fn registry(&self) -> Value {
        json_file(&self.state("registry.json")).expect("there is no registry")["body"].clone()
    }

    /// What every marker of this factory begins with.
    pub(crate) fn lineage(&self) -> String {
        let registry = json_file(&self.state("registry.json")).expect("there is no registry");
        registry["lineage"].as_str().unwrap().to_owned()
    }

    /// The records of all items that the registry knows. That of an item in the index of done items is as it was when it
    /// went there.
    pub(crate) fn items(&self) -> serde_json::Map<String, Value> {
        let registry = self.registry();
        let mut items = registry["items"].as_object().unwrap().clone();
        for (id, details) in self.done_details(&registry) {
            items.entry(id).or_insert(details["record"].clone());
        }
        items
    }

    /// Of each item of the index that is in its source: what `done.jsonl` keeps of it.
    fn done_details(&self, registry: &Value) -> Vec<(String, Value)> {
        let text = fs::read_to_string(self.state("done.jsonl")).unwrap_or_default();
        let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let indexed = registry["done"].as_object().into_iter().flatten();
        let indexed = indexed.filter(|(_, done)| done["gone"].is_null());
        let details = |id: &String| lines.iter().rev().find(|line| line["item"] == *id).cloned();
        indexed.filter_map(|(id, _)| Some((id.clone(), details(id)?))).collect()
    }

    /// The record of an item.
    pub(crate) fn recorded(&self, key: &str) -> Value {
        self.items().get(&format!("dir:{key}")).cloned().unwrap_or_default()
    }

    /// The record of an agent, also of an item in the index of done items.
    pub(crate) fn agent(&self, name: &str) -> Value {
        let registry = self.registry();
        let indexed = || {
            let details = self.done_details(&registry).into_iter();
            details.map(|(_, details)| details["agents"][name].clone()).find(|agent| !agent.is_null())
        };
        registry["agents"].get(name).cloned().or_else(indexed).unwrap_or_default()
    }

    /// A receipt of a run; `None` where there is none yet.
    pub(crate) fn receipt(&self, run: &str, name: &str) -> Option<Value> {
        json_file(&self.state("runs").join(run).join(name))
    }

    /// Rewrites `registry.json` as a person with an editor and `sha256sum` would.
    pub(crate) fn forge_registry(&self, change: impl Fn(&str) -> String) {
        let path = self.state("registry.json");
        let text = change(&fs::read_to_string(&path).unwrap());
        let (before, rest) = text.split_once("\"sha256\":\"").unwrap();
        let before = format!("{before}\"sha256\":\"");
        let after = &rest[64..];
        let digest = Sha256::new().chain_update(&before).chain_update(after).finalize();
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        put(&path, &format!("{before}{digest}{after}"));
    }

    /// Makes the registry say that items which are missing were missed so many seconds earlier.
    pub(crate) fn miss_since(&self, seconds: u64) {
        self.forge_registry(|text| {
            let mut parts = text.split("\"missing_since\":");
            let mut forged = parts.next().unwrap().to_owned();
            for part in parts {
                let (before, rest) = part.split_once("\"mono_ms\":").unwrap();
                let (mono_ms, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap());
                let mono_ms = mono_ms.parse::<u64>().unwrap().saturating_sub(seconds * 1000);
                forged += &format!("\"missing_since\":{before}\"mono_ms\":{mono_ms}{after}");
            }
            forged
        });
    }

    /// The process of a run's launcher.
    #[track_caller]
    pub(crate) fn launcher(&self, run: &str) -> u32 {
        let claim = self.receipt(run, "claim").expect("nobody has claimed that run");
        u32::try_from(claim["launcher"]["handle"]["local"]["process"]["pid"].as_u64().unwrap()).unwrap()
    }

    /// What agents wrote into a file of the lab so far.
    pub(crate) fn told(&self, name: &str) -> String {
        fs::read_to_string(self.lab(name)).unwrap_or_default()
    }

    /// Every start that an agent noted, as `<agent>.<n>`, in order.
    pub(crate) fn starts(&self) -> Vec<String> {
        self.told("starts").lines().map(|line| line.split_once('/').unwrap().1.to_owned()).collect()
    }

    // -----------------------------------------------------------------------------------------
    // Waiting

    /// Waits until a condition holds; where it never does, fails with what the factory has logged.
    #[track_caller]
    pub(crate) fn wait_for(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !holds() {
            if begun.elapsed() > LIMIT {
                let events = fs::read_to_string(self.state("events.jsonl")).unwrap_or_default();
                panic!("never happened: {what}\nprocesses: {:?}\nevents:\n{events}", self.processes());
            }
            pause(POLL);
        }
    }

    /// Waits until a run is over and everything it started was looked for.
    #[track_caller]
    pub(crate) fn wait_swept(&self, run: &str) {
        // Its launcher's last act: a tick takes a run for over once that is gone too.
        let is_over = || self.receipt(run, "swept").is_some() && !is_alive(self.launcher(run));
        self.wait_for(&format!("{run} is swept"), is_over);
    }

    /// Waits until an agent or the test has put something into a file of the lab.
    #[track_caller]
    pub(crate) fn wait_told(&self, name: &str) {
        self.wait_for(&format!("somebody writes {name}"), || self.told(name).ends_with('\n'));
    }

    /// The pid that an agent's child wrote into a file of the lab.
    #[track_caller]
    pub(crate) fn wait_pid(&self, name: &str) -> u32 {
        self.wait_told(name);
        self.told(name).trim().parse().unwrap()
    }

    /// Waits until no process of this factory is left.
    #[track_caller]
    pub(crate) fn wait_all_gone(&self) {
        self.wait_for("no process is left", || self.processes().is_empty());
    }

    // -----------------------------------------------------------------------------------------
    // Processes

    /// Every live process of one run, its launcher among them.
    pub(crate) fn processes_of(&self, run: &str) -> Vec<u32> {
        self.processes().into_iter().filter(|one| one.run == run).map(|one| one.pid).collect()
    }

    /// Every live process that this factory started: whatever has its lab in the environment.
    pub(crate) fn processes(&self) -> Vec<Seen> {
        let ours = format!("LAB={}", self.lab("").display());
        let is_ours = |vars: &BTreeSet<String>| vars.contains(&ours);
        live_processes().into_iter().filter(|(_, vars)| is_ours(vars)).map(Seen::of).collect()
    }

    /// Their pids: what stays the same while one becomes its program.
    pub(crate) fn pids(&self) -> BTreeSet<u32> {
        self.processes().iter().map(|one| one.pid).collect()
    }

    /// Those of them that are agents, not launchers: `<agent>.<n>` each.
    pub(crate) fn agents_alive(&self) -> Vec<String> {
        let agents = self.processes().into_iter().filter(|one| !one.is_launcher());
        agents.map(|one| one.run).collect()
    }
}

impl Drop for Factory {
    /// Nothing may outlive its test. That `stop --all` ends everything is itself a promise of the program;
    /// where a test broke the state on purpose, what is left is known by its environment.
    fn drop(&mut self) {
        if self.processes().is_empty() {
            return;
        }
        let stopped = self.run(&["stop", "--all"]);
        let left = self.processes();
        for one in &left {
            let _ = kill(pid_of(one.pid), Signal::SIGKILL);
        }
        let state_is_whole = self.state("registry.json").exists() && stopped.code == Some(0);
        if state_is_whole && !left.is_empty() && !std::thread::panicking() {
            panic!("stop --all left {left:?}: {}{}", stopped.stdout, stopped.stderr);
        }
    }
}

/// A live process of a factory.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Its pid.
    pub(crate) pid: u32,
    /// Its run, `<agent>.<n>`; empty where it has none.
    pub(crate) run: String,
    /// Its command line.
    pub(crate) command: String,
}

impl Seen {
    fn of((pid, vars): (u32, BTreeSet<String>)) -> Seen {
        let marker = vars.iter().find_map(|var| var.strip_prefix("FACTORY_RUN=")).unwrap_or_default();
        let run = marker.split_once('/').map_or("", |(_, run)| run).to_owned();
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        Seen { pid, run, command: String::from_utf8_lossy(&command).replace('\0', " ") }
    }

    fn is_launcher(&self) -> bool {
        self.command.contains(" __launch ") || self.command.contains(" __exec ")
    }
}

/// What a run of the program came to.
#[derive(Debug)]
pub(crate) struct Ran {
    /// Its exit code; `None` where a signal killed it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Runs a command to its end.
    pub(crate) fn of(command: &mut Command) -> Ran {
        command.output().unwrap().into()
    }

    /// The same, where it ended with this code.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Ran {
        let Ran { stdout, stderr, .. } = &self;
        assert_eq!(self.code, Some(code), "stdout: {stdout}\nstderr: {stderr}");
        self
    }

    /// The report, where one was asked for in JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.stdout.lines().count(), 1, "a report is one line: {:?}", self.stdout);
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }

    /// What was decided, as `<action> <run or item>` each, in order.
    #[track_caller]
    pub(crate) fn decided(&self) -> Vec<String> {
        let report = self.json();
        let name = |line: &Value| line["run"].as_str().or(line["item"].as_str()).unwrap_or("-").to_owned();
        let lines = report["decisions"].as_array().unwrap().clone();
        lines.iter().map(|line| format!("{} {}", line["action"].as_str().unwrap(), name(line))).collect()
    }

    /// What waits, as `<code> <item>` each.
    #[track_caller]
    pub(crate) fn held(&self) -> Vec<String> {
        let report = self.json();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let lines = report["held"].as_array().unwrap().clone();
        lines.iter().map(|line| format!("{} {}", text(&line["code"]), text(&line["item"]))).collect()
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the program prints UTF-8");
        Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// A lock file of the program's, held by a test.
pub(crate) struct HeldLock(fs::File);

impl HeldLock {
    /// Takes it, made where it is missing.
    #[track_caller]
    pub(crate) fn take(path: &Path) -> HeldLock {
        let file =
            OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path).unwrap();
        fs2::FileExt::try_lock_exclusive(&file).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        HeldLock(file)
    }
}

impl Drop for HeldLock {
    /// Closing would not do: a process that another test is about to start still has a copy.
    fn drop(&mut self) {
        fs2::FileExt::unlock(&self.0).unwrap();
    }
}

/// A child that never outlives its test.
pub(crate) struct Running(Child);

impl Running {
    /// Starts a command.
    pub(crate) fn start(command: &mut Command) -> Running {
        Running(command.spawn().unwrap())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(pid_of(self.0.id()), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Ran {
        let read = |pipe: Option<&mut dyn Read>| {
            let mut bytes = Vec::new();
            pipe.map(|pipe| pipe.read_to_end(&mut bytes)).transpose().unwrap();
            bytes
        };
        let stdout = read(self.0.stdout.as_mut().map(|pipe| pipe as &mut dyn Read));
        let stderr = read(self.0.stderr.as_mut().map(|pipe| pipe as &mut dyn Read));
        let status = self.0.wait().unwrap();
        Output { status, stdout, stderr }.into()
    }

    /// Reads its stderr up to and with a line that holds `text`.
    #[track_caller]
    pub(crate) fn wait_stderr(&mut self, text: &str) -> String {
        let pipe = self.0.stderr.as_mut().unwrap();
        let (mut line, mut byte) = (Vec::new(), [0]);
        // Byte by byte: what follows is for whoever reads the rest.
        while pipe.read(&mut byte).unwrap() == 1 {
            line.push(byte[0]);
            if byte == *b"\n" {
                let heard = String::from_utf8(std::mem::take(&mut line)).unwrap();
                if heard.contains(text) {
                    return heard;
                }
            }
        }
        panic!("it ended without saying {text:?}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Everything below a path: what it is, its content, and when it last changed in any way.
pub(crate) fn everything(path: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let Ok(data) = path.symlink_metadata() else { return found };
    let content = if data.is_file() { fs::read(path).unwrap() } else { Vec::new() };
    let digest = Sha256::digest(&content);
    let (mtime, ctime) = ((data.mtime(), data.mtime_nsec()), (data.ctime(), data.ctime_nsec()));
    let seen = format!("{:o} {} {mtime:?} {ctime:?} {} {digest:x?}", data.mode(), data.ino(), data.len());
    found.insert(path.to_owned(), seen);
    if data.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            found.extend(everything(&entry.unwrap().path()));
        }
    }
    found
}

/// Whether a process lives: it exists and is no zombie.
pub(crate) fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}

/// The hard `RLIMIT_RTTIME` of a process; `None` where it is unlimited or the process is gone.
pub(crate) fn hard_limit(pid: u32) -> Option<u64> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max realtime timeout"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Kills a process that this test started, through the factory or by itself.
pub(crate) fn kill_9(pid: u32) {
    kill(pid_of(pid), Signal::SIGKILL).unwrap();
}

/// The same, for one that may have ended by now.
pub(crate) fn kill_9_if_alive(pid: u32) {
    let _ = kill(pid_of(pid), Signal::SIGKILL);
}

/// Whether a text has all these parts.
#[track_caller]
pub(crate) fn assert_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in: {text}");
    }
}

/// Writes a file of the test.
#[expect(clippy::disallowed_methods, reason = "files of a test need not survive anything")]
pub(crate) fn put(path: &Path, content: &str) {
    fs::write(path, content).unwrap();
}

/// Writes a receipt with its digest, as the program does.
pub(crate) fn put_sealed(path: &Path, receipt: &Value) {
    put(path, std::str::from_utf8(&seal(receipt.to_string().as_bytes())).unwrap());
}

/// Puts a program where it can be executed. Copied by a process of its own: a file that this one had open for
/// writing could not be executed as long as a process which another test starts has a copy of that.
pub(crate) fn install(from: &Path, to: &Path) {
    let installed = system("install").args(["-m", "755"]).args([from, to]).status().unwrap();
    assert!(installed.success());
}

/// Whether this test runs as root, which no permission stops and who can become others.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Says aloud that a test could not be done here.
#[expect(clippy::print_stderr, reason = "what was not tested must be seen")]
pub(crate) fn skipped(why: &str) {
    eprintln!("SKIPPED: {why}");
}

/// A switch from the environment, for tests that take no arguments.
#[expect(clippy::disallowed_methods, reason = "the tests' own switches")]
pub(crate) fn number_from(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("it must be a whole number"))
}

/// A JSON file, read whole or not at all.
fn json_file(path: &Path) -> Option<Value> {
    let text = fs::read_to_string(path).ok()?;
    Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// Every process that shows its environment, with that.
pub(crate) fn live_processes() -> Vec<(u32, BTreeSet<String>)> {
    let pids = fs::read_dir("/proc").unwrap();
    let pids = pids.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let vars = |pid: u32| {
        // Gone by now, another user's, or a zombie, which has no environment any more.
        let bytes = fs::read(format!("/proc/{pid}/environ")).ok()?;
        let vars = bytes.split(|byte| *byte == 0).map(|var| String::from_utf8_lossy(var).into_owned());
        Some((pid, vars.collect()))
    };
    pids.filter_map(vars).collect()
}

pub(crate) fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_factory-tick"))
}

#[expect(clippy::disallowed_methods, reason = "these tests are about real processes")]
fn command(program: &Path) -> Command {
    Command::new(program)
}

/// A command of the system, by name.
pub(crate) fn system(program: &str) -> Command {
    command(Path::new(program))
}

#[expect(clippy::disallowed_methods, reason = "agents are found where the tests' own programs are")]
fn path_variable() -> String {
    std::env::var("PATH").unwrap()
}

#[expect(clippy::disallowed_methods, reason = "between two looks at a condition that has a limit")]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

pub(crate) fn pid_of(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).unwrap())
}

/// A text as TOML writes it; JSON's way is one of TOML's.
pub(crate) fn toml_text(text: &str) -> String {
    Value::from(text).to_string()
}
