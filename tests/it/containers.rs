//! A container is replaced while a run is in flight: same machine, same boot, another pid namespace. And the lock of an
//! agent, by which such a run is told.
//!
//! The containers are real pid namespaces, which only root can make. Elsewhere these tests say that they were skipped.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use nix::sys::signal::{Signal, kill};
use serde_json::Value;

use crate::support::{Factory, NOTE_START, Ran, is_alive, is_root, pid_of, put, skipped, system};

/// Runs one line of arguments after the other through the program, as pid 1 of its namespace: everything ends with it.
const INIT: &str = r#"while read -r line; do
    out=$("$TICK" $line 2>/dev/null </dev/null); code=$?
    printf '%s %s\n' "$code" "$(printf %s "$out" | tr '\n' ' ')"
done"#;

/// A pid namespace with a `/proc` of its own, in which the program runs.
struct Container {
    init: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Container {
    fn new(factory: &Factory) -> Container {
        let shell = factory.shell(INIT);
        let mut command = system("unshare");
        command.args(["--pid", "--fork", "--mount-proc"]).arg(shell.get_program()).args(shell.get_args());
        command.env_clear().current_dir(shell.get_current_dir().unwrap());
        command.envs(shell.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut init = command.spawn().unwrap();
        let (stdin, stdout) = (init.stdin.take(), BufReader::new(init.stdout.take().unwrap()));
        Container { init, stdin, stdout }
    }

    /// Runs the program to its end, reporting in JSON.
    #[track_caller]
    fn run(&mut self, arguments: &str) -> Ran {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(format!("--format json {arguments}\n").as_bytes()).unwrap();
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        let (code, report) = line.split_once(' ').unwrap_or_else(|| panic!("the container said {line:?}"));
        Ran { code: code.parse().ok(), stdout: format!("{}\n", report.trim()), stderr: String::new() }
    }

    #[track_caller]
    fn tick(&mut self) -> Ran {
        self.run("")
    }
}

impl Drop for Container {
    /// Its init ends for want of input, and the kernel kills everything else in it.
    fn drop(&mut self) {
        drop(self.stdin.take());
        self.init.wait().unwrap();
    }
}

/// One item, one slot, and an agent that ends well once the lab holds `go`. `None` where no namespace can be made.
fn factory() -> Option<Factory> {
    if !is_root() {
        skipped("only root can make a pid namespace");
        return None;
    }
    let script = format!(r#"{NOTE_START} while [ ! -e "$LAB/go" ]; do sleep 0.1; done"#);
    let mut factory = Factory::with_agent(&script);
    factory.set("limits", "items_max", "1");
    factory.item("A");
    Some(factory)
}

/// Has a run started and seen in a container.
#[track_caller]
fn running_in(factory: &Factory) -> Container {
    let mut container = Container::new(factory);
    assert!(container.tick().expect(0).decided().contains(&"start a-impl.1".to_owned()));
    factory.wait_told("starts");
    assert_eq!(container.tick().expect(0).decided(), ["adopt a-impl.1"]);
    container
}

fn events(factory: &Factory) -> Vec<Value> {
    let text = fs::read_to_string(factory.state("events.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

// Origin: attacked - the container was replaced while a run was in flight: the run was unknown for ever and its slot taken,
// and stop, reap, restart and drain failed.
// covers: P02
#[test]
fn replaced_container_frees_its_slot() {
    let Some(factory) = factory() else { return };
    drop(running_in(&factory));
    put(&factory.lab("go"), "\n");
    let mut container = Container::new(&factory);
    let seen = container.tick().expect(0);
    assert_eq!(seen.decided(), ["stop a-impl.1", "fail a-impl.1"]);
    assert_eq!(seen.json()["decisions"][1]["code"], "infra");
    assert_eq!(factory.recorded("A")["attempts"], 0);
    let told = events(&factory);
    let gap = |event: &&Value| event["because"].as_str().is_some_and(|text| text.contains("can't be seen"));
    let named = told.iter().find(gap).unwrap_or_else(|| panic!("no event names the gap: {told:?}"));
    assert_eq!(named["run"], "a-impl.1");
    // The hand-off ends by a look at this namespace's own processes.
    assert_eq!(container.tick().expect(0).decided(), ["reap a-impl.1"]);
    assert_eq!(factory.receipt("a-impl.1", "swept").unwrap()["by"], "tick");
    let next = container.tick().expect(0).decided();
    assert!(next.contains(&"forget a-impl.1".to_owned()), "{next:?}");
    factory.wait_for("A is done", || {
        container.tick().expect(0);
        factory.recorded("A")["state"] == "done"
    });
    assert_eq!(factory.starts(), ["a-impl.1", "a-impl.2"]);
}

// covers: P02
#[test]
fn launcher_of_another_container_is_alive_by_its_lock() {
    let Some(factory) = factory() else { return };
    let _first = running_in(&factory);
    let mut second = Container::new(&factory);
    let seen = second.tick().expect(0);
    assert!(seen.decided().is_empty(), "{:?}", seen.decided());
    put(&factory.lab("go"), "\n");
    // Its claim holds a pid of the other namespace.
    let is_over = || factory.receipt("a-impl.1", "swept").is_some();
    factory.wait_for("the run is over", || is_over() && factory.processes_of("a-impl.1").is_empty());
    factory.wait_for("A is done", || {
        second.tick().expect(0);
        factory.recorded("A")["state"] == "done"
    });
    assert_eq!(factory.starts(), ["a-impl.1"]);
}

// covers: P02b
#[test]
fn stop_ends_a_launcher_of_another_container_by_a_file() {
    let Some(factory) = factory() else { return };
    let _first = running_in(&factory);
    let mut second = Container::new(&factory);
    second.run("stop --all").expect(0);
    assert_eq!(factory.receipt("a-impl.1", "exit").unwrap()["reason"], "stopped");
    assert_eq!(factory.receipt("a-impl.1", "swept").unwrap()["by"], "launcher");
    assert!(factory.processes_of("a-impl.1").is_empty());
    assert!(factory.registry()["handoffs"].as_object().unwrap().is_empty());
    assert_eq!(factory.recorded("A")["state"], "parked");
}

// covers: P02b
#[test]
fn local_run_ends_by_the_stop_file_alone() {
    let factory = Factory::with_agent(&format!("{NOTE_START} sleep 600"));
    factory.item("A");
    factory.tick().expect(0);
    factory.wait_told("starts");
    put(&factory.state("runs/a-impl.1/stop"), "");
    factory.wait_swept("a-impl.1");
    assert_eq!(factory.receipt("a-impl.1", "exit").unwrap()["reason"], "stopped");
}

// covers: P02c
#[test]
fn forget_accepts_a_hand_off_that_is_unknown() {
    let Some(factory) = factory() else { return };
    let _first = running_in(&factory);
    // As a full disk leaves it: the lock is held, and the file does not say by which process.
    put(&factory.state("live/a-impl"), "");
    let mut second = Container::new(&factory);
    second.run("stop A").expect(3);
    assert!(factory.registry()["handoffs"].as_object().unwrap().contains_key("a-impl.1"));
    second.run("reap --forget a-impl.1").expect(0);
    assert!(factory.registry()["handoffs"].as_object().unwrap().is_empty());
    let told = events(&factory);
    let given_up = |event: &Value| event["because"].as_str().is_some_and(|text| text.contains("gave it up"));
    assert!(told.iter().any(given_up), "{told:?}");
}

/// Has a run started whose claim is damaged before any tick has seen it, and then removed, as README advises.
#[track_caller]
fn without_claim(factory: &Factory) {
    factory.item("A");
    factory.tick().expect(0);
    factory.wait_told("starts");
    let claim = factory.state("runs/a-impl.1/claim");
    fs::remove_file(&claim).unwrap();
    put(&claim, "{");
    let seen = factory.tick().expect(3);
    assert!(seen.stdout.contains("remove the damaged file"), "{}", seen.stdout);
    fs::remove_file(&claim).unwrap();
}

// Origin: attacked - a damaged claim was removed, as README advises: the fence was won while the launcher lived, and a
// second agent worked on the item.
// covers: P07
#[test]
fn fence_is_refused_while_the_launcher_holds_its_lock() {
    let script = format!(r#"{NOTE_START} while [ ! -e "$LAB/go" ]; do sleep 0.1; done"#);
    let mut factory = Factory::with_agent(&script);
    factory.set("fleet", "start_grace", "\"1s\"");
    without_claim(&factory);
    let refused = factory.tick_until("the start grace is over", |ran| ran.decided() == ["fence a-impl.1"]);
    assert_eq!(refused.code, Some(3), "{}", refused.stdout);
    assert!(refused.stdout.contains("its agent's lock is held"), "{}", refused.stdout);
    assert!(!factory.state("runs/a-impl.1/claim").exists());
    // The run ends by itself, and its own receipt tells how.
    put(&factory.lab("go"), "\n");
    factory.wait_all_gone();
    factory.tick_until("A is done", |_| factory.recorded("A")["state"] == "done");
    assert_eq!(factory.starts(), ["a-impl.1"]);
}

// covers: P07b
#[test]
fn fenced_run_with_live_processes_is_handed_off() {
    let script = format!(
        r#"{NOTE_START} [ -e "$LAB/go" ] && exit 0
        setsid sleep 600 & echo $! > "$LAB/left"; sleep 600"#
    );
    let mut factory = Factory::with_agent(&script);
    factory.set("fleet", "start_grace", "\"1s\"");
    without_claim(&factory);
    let left = factory.wait_pid("left");
    let launcher = factory.processes().into_iter().find(|one| one.command.contains(" __launch ")).unwrap();
    kill(pid_of(launcher.pid), Signal::SIGKILL).unwrap();
    factory.wait_for("the launcher is dead", || !is_alive(launcher.pid));
    put(&factory.lab("go"), "\n");
    factory.tick_until("the start grace is over", |ran| ran.decided() == ["fence a-impl.1"]);
    let handoffs = factory.registry()["handoffs"].clone();
    assert!(handoffs.as_object().unwrap().contains_key("a-impl.1"), "{handoffs}");
    assert!(is_alive(left), "a fence ends nothing");
    assert_eq!(factory.tick().expect(0).decided(), ["reap a-impl.1"]);
    assert!(!is_alive(left));
    factory.tick_until("A is done", |_| factory.recorded("A")["state"] == "done");
    assert_eq!(factory.starts(), ["a-impl.1", "a-impl.2"]);
}
