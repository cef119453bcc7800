//! The real program, killed before each of its system calls that changes anything, or refused each of its calls:
//! whatever stands then, clean ticks reach the end that an undisturbed run has, and nothing happened twice on the way.
//!
//! A scene is run once under strace and its calls are written down; then once for each point, with strace as the
//! fault: `signal=KILL` before the k-th call of a kind, or `error=E` instead of it.

mod scenes;
mod trace;

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Factory, HeldLock, Ran, Running, is_alive, kill_9_if_alive, pause, put, system};
use crate::{at_least_1, lacking, say};
use scenes::{SCENES, Scene};
use trace::{Fault, Hit, Point};

/// Ticks that may follow until nothing is left to decide. The longest way: the rest of a start is fenced off, started
/// again, seen, judged, written back, and looked at once more; each once more where the fault hit an effect of its own.
const TICKS_MAX: u32 = 10;

/// How long a process that was swept may take before it counts as hanging.
const HANGS_AFTER: Duration = Duration::from_secs(60);

/// How long to wait for a scene's processes between two ticks, so that the ticks are few.
const QUIET_WITHIN: Duration = Duration::from_secs(10);

/// The codes of README's table that a tick may end with when a call fails. Not 1: that is a bug.
const CODES: &[i32] = &[0, 3, 4, 65, 69, 73, 74, 75, 77, 78];

/// One of so many points of a recording may lie where the next run does not come by: what it reads of `/proc` and how
/// often it wakes is never quite the same.
const UNREACHED_MAX: usize = 5;

/// The arguments of `cargo prove sweep`.
#[derive(Args)]
pub(crate) struct Order {
    /// The scene to sweep, or all
    #[arg(value_name = "SCENE", default_value = "all", value_parser = names())]
    scene: String,
    /// Make the call fail with this error, such as EIO, and let the process live. "all" tries EIO, ENOSPC, EINTR, EMFILE,
    /// EROFS and ENOMEM, one after the other. Without it the process is killed before the call
    #[arg(long, value_name = "ERROR")]
    errno: Option<String>,
    /// Try only each N-th system call
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_1)]
    every: usize,
    /// How many system calls to try at a time
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = at_least_1)]
    jobs: usize,
}

/// Errors that `--errno all` stands for.
const ERRNOS: [&str; 6] = ["EIO", "ENOSPC", "EINTR", "EMFILE", "EROFS", "ENOMEM"];

fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(["all"].into_iter().chain(SCENES.iter().map(|scene| scene.name)))
}

impl Order {
    fn scenes(&self) -> Vec<&'static Scene> {
        SCENES.iter().filter(|scene| self.scene == "all" || self.scene == scene.name).collect()
    }

    fn faults(&self) -> Vec<Fault> {
        match self.errno.as_deref() {
            None => vec![Fault::Kill],
            Some("all") => ERRNOS.iter().map(|errno| Fault::Error((*errno).to_owned())).collect(),
            Some(errno) => vec![Fault::Error(errno.to_owned())],
        }
    }
}

// Origin: the TypeScript factory, pear#264 review, pueue - state was lost, doubled or could not be loaded any more after
// a kill between two writes.
// covers: F03 F54 F55
pub(crate) fn clean_ticks_recover_from_each_fault(order: &Order) {
    if !system("strace").arg("-V").output().is_ok_and(|output| output.status.success()) {
        return lacking(
            "strace is not there (Debian package strace), so no process was killed at its system calls",
        );
    }
    say(&format!(
        "{:<14} {:<8} {:>6} {:>6} {:>10} {:>9} {:>10} {:>6} {:>6}",
        "scene", "fault", "points", "fired", "unreached", "elsewhere", "violations", "ticks", "s"
    ));
    let mut told = String::new();
    for fault in order.faults() {
        for scene in order.scenes() {
            let tally = sweep(scene, &fault, order);
            tally.print(scene, &fault);
            for text in &tally.violations {
                writeln!(told, "{}: {text}", scene.name).unwrap();
            }
            if tally.fired == 0 || tally.unreached > 1.max(tally.points / UNREACHED_MAX) {
                let (unreached, points) = (tally.unreached, tally.points);
                writeln!(told, "{}: {unreached} of {points} points were not reached", scene.name).unwrap();
            }
        }
    }
    assert!(told.is_empty(), "\n{told}");
}

/// What came of one scene.
#[derive(Default)]
struct Tally {
    points: usize,
    /// Points at which the fault happened.
    fired: usize,
    /// The run ended without coming by.
    unreached: usize,
    /// Of those that fired: the k-th call of that kind was another one than in the recording.
    elsewhere: usize,
    violations: Vec<String>,
    /// The most clean ticks that any point needed.
    ticks: u32,
    took: Duration,
}

fn sweep(scene: &'static Scene, fault: &Fault, order: &Order) -> Tally {
    let begun = Instant::now();
    let points = Stage::new(scene).record(fault);
    let points: Vec<_> = points.into_iter().step_by(order.every).collect();
    let tally = Mutex::new(Tally { points: points.len(), ..Tally::default() });
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..order.jobs.min(points.len()) {
            scope.spawn(|| {
                let mut stage = Stage::new(scene);
                while let Some(point) = points.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = stage.play(point, fault);
                    tally.lock().unwrap_or_else(PoisonError::into_inner).count(point, outcome);
                }
            });
        }
    });
    let mut tally = tally.into_inner().unwrap();
    tally.took = begun.elapsed();
    tally
}

impl Tally {
    fn print(&self, scene: &Scene, fault: &Fault) {
        say(&format!(
            "{:<14} {:<8} {:>6} {:>6} {:>10} {:>9} {:>10} {:>6} {:>6}",
            scene.name,
            fault.name(),
            self.points,
            self.fired,
            self.unreached,
            self.elsewhere,
            self.violations.len(),
            self.ticks,
            self.took.as_secs()
        ));
        self.violations.iter().for_each(|text| say(&format!("  {text}")));
    }

    fn count(&mut self, point: &Point, outcome: Outcome) {
        match outcome.hit {
            Hit::Not => self.unreached += 1,
            Hit::There => self.fired += 1,
            Hit::Elsewhere => {
                self.fired += 1;
                self.elsewhere += 1;
            }
        }
        match outcome.recovered {
            Ok(ticks) => self.ticks = self.ticks.max(ticks),
            Err(violation) => self.violations.push(format!("{point}: {violation}")),
        }
    }
}

/// What came of one point.
struct Outcome {
    hit: Hit,
    /// How many clean ticks it took, or what was broken.
    recovered: Result<u32, String>,
}

/// A factory in which a scene is played again and again.
struct Stage {
    scene: &'static Scene,
    factory: Factory,
    /// Traces, output, and the folder as it is before the swept process starts.
    aside: TempDir,
    /// Never to be signalled, though it carries a run's name.
    protected: Running,
}

impl Stage {
    fn new(scene: &'static Scene) -> Stage {
        let mut factory = scenes::factory();
        (scene.configure)(&mut factory);
        let aside = tempfile::Builder::new().prefix("factory-tick-sweep-").tempdir().unwrap();
        put(&factory.path("protected.pid"), "1\n");
        (scene.prepare)(&factory);
        // A process that would be taken for one of the run, were it not protected.
        let mut sleep = system("sleep");
        sleep.arg("6000");
        if factory.state("registry.json").exists() {
            sleep.env("FACTORY_RUN", format!("{}/ar-1-impl.1", factory.lineage()));
        }
        let protected = Running::start(&mut sleep);
        put(&factory.path("protected.pid"), &format!("{}\n", protected.pid()));
        if !scene.is_live {
            assert!(
                factory.processes().is_empty(),
                "{}: {:?} could not be copied",
                scene.name,
                factory.processes()
            );
            copy(&factory.path(""), &aside.path().join("before"));
        }
        Stage { scene, factory, aside, protected }
    }

    /// Puts everything back to where the swept process starts from.
    fn set(&mut self) {
        if self.scene.is_live {
            *self = Stage::new(self.scene);
            return;
        }
        let home = self.factory.path("");
        // The state directory itself stays: another one in its place is a copy as long as anything of the factory lives.
        let state = self.factory.state("");
        let inside = fs::read_dir(&state).into_iter().flatten();
        for entry in inside.chain(fs::read_dir(&home).unwrap()) {
            let path = entry.unwrap().path();
            if path == state {
                continue;
            }
            if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
        }
        copy(&self.aside.path().join("before"), &home);
    }

    /// Every point of an undisturbed run.
    fn record(&mut self, fault: &Fault) -> Vec<Point> {
        let traced = self.run_target(&[]);
        assert_eq!(traced.code, Some(self.scene.target.code()), "{}: {}", self.scene.name, traced.printed);
        let recovered = self.recover();
        assert!(recovered.is_ok(), "{}, undisturbed: {}", self.scene.name, recovered.unwrap_err());
        fault.points(&traced.calls)
    }

    fn play(&mut self, point: &Point, fault: &Fault) -> Outcome {
        self.set();
        let traced = self.run_target(&["-e".to_owned(), fault.injection(point)]);
        let hit = fault.hit(point, &traced.calls, traced.code);
        let recovered = self.judge(&traced, point, fault, &hit).and_then(|()| self.recover());
        let recovered = recovered.and_then(|ticks| {
            // Nothing was refused, so nothing can have failed to start.
            let class = &self.factory.recorded("AR-1")["last"]["class"];
            let blames = matches!(fault, Fault::Kill) && class == "launch" && self.scene.name != "handoff";
            ensure(!blames, || "a kill was taken for a failed start".into()).map(|()| ticks)
        });
        // Whatever a violation left running must not disturb the next point.
        self.factory.pids().into_iter().for_each(kill_9_if_alive);
        Outcome { hit, recovered }
    }

    /// What must hold at once.
    fn judge(&self, traced: &Traced, point: &Point, fault: &Fault, hit: &Hit) -> Result<(), String> {
        if traced.printed.contains("panicked") {
            return Err(format!("it panicked: {}", traced.printed));
        }
        let is_allowed = match (fault, traced.code) {
            (_, Some(_)) if traced.hangs => return Err("it hangs".into()),
            (Fault::Kill, None) => true,
            // Without memory a process can do nothing but end; it is a kill then.
            (Fault::Error(_), None) => point.is_of_memory(),
            (_, Some(code)) => self.scene.target.may_end_with(code),
        };
        if !is_allowed && *hit != Hit::Not {
            return Err(format!("it ended with {:?}: {}", traced.code, traced.errors()));
        }
        // What stands now loads, for whoever only reads.
        let status = self.run(&["status", "--format", "json"]);
        ensure(matches!(status.code, Some(0 | 3)), || format!("status: {status:?}"))?;
        let dry = self.run(&["-n", "--format", "json"]);
        ensure(matches!(dry.code, Some(0 | 3 | 4)), || format!("a dry run: {dry:?}"))
    }

    /// Clean ticks until nothing is left to do; how many.
    fn recover(&self) -> Result<u32, String> {
        let mut last = String::new();
        for ticks in 1..=TICKS_MAX {
            (self.scene.between)(&self.factory);
            let mut arguments = vec!["--format", "json"];
            if ticks > 1 {
                // Nobody is on the way any more who could claim a start: waited for, below.
                arguments.extend(["--set", "fleet.start_grace=1ms"]);
            }
            let ran = self.tick(&arguments)?;
            ensure(!ran.stderr.contains("panicked"), || format!("tick {ticks} panicked: {}", ran.stderr))?;
            ensure(matches!(ran.code, Some(0 | 3 | 4)), || format!("tick {ticks}: {ran:?}"))?;
            self.wait_quiet();
            self.check_starts()?;
            let open = match ran.decided().as_slice() {
                [] => self.left_over(),
                decided => Some(format!("it still decided {decided:?}")),
            };
            match open {
                None => return self.check_end().map(|()| ticks),
                Some(open) => last = open,
            }
        }
        Err(format!("not over after {TICKS_MAX} clean ticks: {last}"))
    }

    /// One tick, once nobody else is at it: for an instant what a killed one was about to start, a fork of it still,
    /// holds its lock.
    fn tick(&self, arguments: &[&str]) -> Result<Ran, String> {
        let begun = Instant::now();
        loop {
            let ran = self.run(arguments);
            if ran.code != Some(75) {
                return Ok(ran);
            }
            ensure(begun.elapsed() < QUIET_WITHIN, || format!("the lock is never free: {}", ran.stdout))?;
        }
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        self.factory.run(arguments)
    }

    /// Lets agents end that end by themselves.
    fn wait_quiet(&self) {
        let begun = Instant::now();
        let limit = if self.scene.agents_stay { Duration::from_millis(200) } else { QUIET_WITHIN };
        while !self.factory.processes().is_empty() && begun.elapsed() < limit {
            pause(Duration::from_millis(5));
        }
    }

    fn check_starts(&self) -> Result<(), String> {
        let doubled = self.factory.told("doubled");
        ensure(doubled.is_empty(), || format!("two runs of an agent lived at once: {doubled}"))?;
        let mut starts: Vec<_> = self.factory.told("starts").lines().map(str::to_owned).collect();
        starts.sort();
        let twice = starts.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0].clone());
        ensure(twice.is_none(), || format!("{twice:?} was started twice"))?;
        ensure(is_alive(self.protected.pid()), || "the protected process is dead".into())
    }

    /// What keeps the scene from being over.
    fn left_over(&self) -> Option<String> {
        let processes = self.factory.processes();
        if !processes.is_empty() {
            return Some(format!("{processes:?} live"));
        }
        let body = self.factory.registry();
        let in_flight = |(_, agent): &(&String, &Value)| !agent["run"].is_null();
        if let Some((name, _)) = body["agents"].as_object().unwrap().iter().find(in_flight) {
            return Some(format!("{name} is on record as in flight"));
        }
        if body["handoffs"] != serde_json::json!({}) {
            return Some(format!("hand-offs: {}", body["handoffs"]));
        }
        (self.scene.open)(&self.factory)
    }

    /// What must hold in the end.
    fn check_end(&self) -> Result<(), String> {
        drop(HeldLock::take(&self.factory.state("lock")));
        let state = self.factory.state("");
        let strange: Vec<_> =
            files(&state, &state).into_iter().filter(|name| !scenes::is_expected(name)).collect();
        ensure(strange.is_empty(), || format!("left lying about: {strange:?}"))?;
        let beside = files(&self.factory.issues(), &self.factory.issues());
        let strange: Vec<_> = beside.into_iter().filter(|name| name.ends_with(".tmp")).collect();
        ensure(strange.is_empty(), || format!("left beside the items: {strange:?}"))
    }

    /// Runs the process that is swept, under strace.
    fn run_target(&self, options: &[String]) -> Traced {
        let file = |name: &str| self.aside.path().join(name);
        let (trace, out) = (file("trace"), file("printed"));
        let printed = File::create(&out).unwrap();
        let mut command: Command = self.scene.target.command(&self.factory, &trace, options);
        command.stdout(printed.try_clone().unwrap()).stderr(printed);
        let mut child = command.spawn().unwrap();
        let begun = Instant::now();
        let (status, hangs) = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break (status, false);
            }
            if begun.elapsed() > HANGS_AFTER {
                self.factory.pids().into_iter().for_each(kill_9_if_alive);
                child.kill().unwrap();
                break (child.wait().unwrap(), true);
            }
            pause(Duration::from_millis(2));
        };
        let calls = trace::read(&fs::read_to_string(trace).unwrap());
        let printed = String::from_utf8_lossy(&fs::read(out).unwrap()).into_owned();
        Traced { calls, code: if hangs { Some(-1) } else { status.code() }, hangs, printed }
    }
}

/// What a traced process did.
struct Traced {
    calls: Vec<trace::Call>,
    code: Option<i32>,
    hangs: bool,
    printed: String,
}

impl Traced {
    /// What it said went wrong.
    fn errors(&self) -> String {
        let report = self.printed.lines().find_map(|line| serde_json::from_str::<Value>(line).ok());
        report.map_or_else(|| self.printed.clone(), |report| report["errors"].to_string())
    }
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

/// With times and rights, as `cp` does it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    let copied = system("cp").arg("-a").arg(from.join(".")).arg(to).status().unwrap();
    assert!(copied.success());
}

/// Everything below a folder that is no folder itself, by its path from `root`.
fn files(root: &Path, folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut found = Vec::new();
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() && !path.is_symlink() {
            found.extend(files(root, &path));
        } else {
            found.push(PathBuf::from(path.strip_prefix(root).unwrap()).display().to_string());
        }
    }
    found
}
