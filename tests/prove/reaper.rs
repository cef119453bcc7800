//! Agents that misbehave, each in a pid namespace of its own, in which every process can be counted afterwards.
//!
//! What an agent does (`reaper/misbehave.c`) is crossed with whose it is, and with how its run ends: by itself, by
//! `stop`, or because its launcher is killed, with and without a control group. In the end nothing of the run may live;
//! or what can't be ended is told, on record, and in a person's hands. Who is protected, and who only looks alike, lives.

pub(crate) mod alone;
pub(crate) mod reuse;
mod rows;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use crate::support::{
    Factory, Ran, Running, binary, install, is_alive, is_root, kill_9, kill_9_if_alive, pause, put, system,
};
use crate::{at_least_1, lacking, say};
use alone::{Answer, Groups, Inside, USER, answer, give_away, last_pid, others};
use rows::{Fate, ROWS, Row, User};

/// The arguments of `cargo prove reaper`.
#[derive(Args)]
pub(crate) struct Order {
    /// How often to try each cell. The worst outcome counts
    #[arg(default_value_t = 1, value_parser = at_least_1)]
    rounds: usize,
    /// Try only the cells whose name holds this text, such as "bare", "Root" or "bare Ordinary Killed"
    #[arg(long, value_name = "TEXT")]
    cells: Option<String>,
    /// Try only the agents that misbehave most, and only launchers that were killed
    #[arg(long, conflicts_with = "cells")]
    ordinary: bool,
    /// How many other processes are there. They make each look at all processes as long as it is in life
    #[arg(long, value_name = "COUNT", default_value_t = CROWD)]
    crowd: u32,
}

const CROWD: u32 = 500;

/// The items, and the run of each.
const ITEMS: [&str; 2] = ["AR-1", "AR-2"];
const RUNS: [&str; 2] = ["ar-1-impl.1", "ar-2-impl.1"];

/// Ticks after the run has ended, in which all must come to an end that will.
const TICKS: usize = 4;

/// What starts itself anew all the time has taken another pid after so long.
const BETWEEN_PIDS: Duration = Duration::from_millis(50);

/// How a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// The agent's first process ends, and its launcher ends the rest.
    Ends,
    /// A person stops it.
    Stopped,
    /// Its launcher is killed. A tick finds what is left.
    Killed,
    /// The same, where no control group can be made.
    KilledWithoutGroup,
    /// The same, where no limit can be set either: what is left is found by its environment or not at all.
    KilledWithoutMarks,
}

impl Way {
    /// Of several runs that lost their launchers at once it must be told whose each process is.
    fn runs(self) -> usize {
        if self.is_killed() { 2 } else { 1 }
    }

    fn is_killed(self) -> bool {
        !matches!(self, Way::Ends | Way::Stopped)
    }
}

const WAYS: [Way; 5] =
    [Way::Ends, Way::Stopped, Way::Killed, Way::KilledWithoutGroup, Way::KilledWithoutMarks];
const USERS: [User; 2] = [User::Root, User::Ordinary];

/// One place of the matrix.
#[derive(Clone, Copy)]
struct Cell {
    row: &'static Row,
    user: User,
    way: Way,
    fate: Fate,
}

impl Cell {
    fn name(&self) -> String {
        format!("{} {:?} {:?}", self.row.name, self.user, self.way)
    }

    /// All that are possible here.
    fn all() -> Vec<Cell> {
        let users: &[User] = if is_root() { &USERS } else { &[User::Ordinary] };
        let mut cells = Vec::new();
        for row in ROWS {
            for &user in users {
                let ways = WAYS.iter().filter_map(|&way| row.fate(user, way).map(|fate| (way, fate)));
                cells.extend(ways.map(|(way, fate)| Cell { row, user, way, fate }));
            }
        }
        cells
    }

    fn groups(&self) -> Groups {
        match (self.way, self.user) {
            (Way::KilledWithoutGroup | Way::KilledWithoutMarks, _) => Groups::Hidden,
            (_, User::Root) => Groups::Of(0),
            (_, User::Ordinary) => {
                Groups::Of(if is_root() { USER } else { rustix::process::getuid().as_raw() })
            }
        }
    }

    /// Plays it in a namespace of its own.
    fn play(&self, kit: &Kit, crowd: u32) -> Outcome {
        let order = json!({ "cell": self.name(), "kit": kit.0, "crowd": crowd }).to_string();
        let answer = match alone::run(Inside::Cell, &order, self.groups(), &kit.agent()) {
            Answer::Reported(answer) => answer,
            Answer::Failed(how) => return Outcome { wrong: Some(how), ..Outcome::default() },
            Answer::Impossible(why) => return Outcome { skipped: Some(why), ..Outcome::default() },
        };
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let count = |key: &str| answer[key].as_u64().unwrap_or_default();
        Outcome {
            left: count("left"),
            told: count("told"),
            wrong: answer["wrong"].as_str().map(str::to_owned),
            skipped: answer["skipped"].as_str().map(str::to_owned),
        }
    }
}

/// What came of a cell.
#[derive(Default)]
struct Outcome {
    left: u64,
    told: u64,
    wrong: Option<String>,
    skipped: Option<String>,
}

impl Outcome {
    fn text(&self) -> String {
        match self {
            Outcome { skipped: Some(_), .. } => "-".into(),
            Outcome { wrong: Some(_), .. } => format!("{}/{} !", self.left, self.told),
            Outcome { left: 0, .. } => "0".into(),
            Outcome { left, told, .. } => format!("{left}/{told}"),
        }
    }
}

// Origin: the TypeScript factory, mngr#1510, fabrik#1814, relay#1114 - children that had left their session or their
// parents survived, and a release was a success although something lived.
// covers: H08 H10 F31 F36 F37 F41 F43
pub(crate) fn misbehaving_agent_leaves_nothing_untold(order: &Order) {
    if let Err(why) = alone::is_possible() {
        return lacking(&why);
    }
    let dir = tempfile::tempdir().unwrap();
    let kit = Kit::build(dir.path());
    let is_asked = |cell: &Cell| match &order.cells {
        Some(cells) => cell.name().contains(cells),
        None if order.ordinary => {
            cell.row.is_ordinary && matches!(cell.way, Way::Killed | Way::KilledWithoutGroup)
        }
        None => true,
    };
    let cells: Vec<_> = Cell::all().into_iter().filter(is_asked).collect();
    assert!(!cells.is_empty(), "no cell is called {:?}", order.cells);
    let rounds = order.rounds;
    let outcomes: Vec<Mutex<Outcome>> = cells.iter().map(|_| Mutex::default()).collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= cells.len() * rounds {
                        break;
                    }
                    let played = cells[at % cells.len()].play(&kit, order.crowd);
                    let mut worst = outcomes[at % cells.len()].lock().unwrap();
                    // Of several rounds the worst counts.
                    if worst.wrong.is_none() {
                        *worst = played;
                    }
                }
            });
        }
    });
    let outcomes: Vec<_> = outcomes.into_iter().map(|outcome| outcome.into_inner().unwrap()).collect();
    tell(&cells, &outcomes);
    let wrong =
        cells.iter().zip(&outcomes).filter_map(|(cell, outcome)| Some((cell, outcome.wrong.as_ref()?)));
    let wrong = wrong.fold(String::new(), |mut told, (cell, wrong)| {
        writeln!(told, "{}: {wrong}", cell.name()).unwrap();
        told
    });
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// Plays the cell of that order, in a namespace of its own.
pub(crate) fn play_inside(order: &Value) {
    let cell = Cell::all().into_iter().find(|cell| order["cell"] == cell.name());
    let cell = cell.expect("there is a cell of that name");
    let crowd = u32::try_from(order["crowd"].as_u64().unwrap()).unwrap();
    answer(&act(&cell, Kit::of(order), crowd).to_string());
}

/// The matrix: what was left of a run, and how many of it were told.
fn tell(cells: &[Cell], outcomes: &[Outcome]) {
    let found = |row: &Row, user, way| {
        let at =
            cells.iter().position(|cell| cell.row.name == row.name && cell.user == user && cell.way == way);
        at.map_or("".into(), |at| outcomes[at].text())
    };
    say("left over/told of it; -: not possible here; !: not as promised");
    let heads = ["ends", "stopped", "killed", "no group", "nor limit"];
    let line = |name: &str, texts: &[[&str; 5]; 2]| {
        let texts = texts.iter().flatten().fold(String::new(), |line, text| format!("{line} {text:<9}"));
        say(format!("{name:<24}{texts}").trim_end());
    };
    line("", &[["root", "", "", "", ""], ["an ordinary user", "", "", "", ""]]);
    line("", &[heads, heads]);
    for row in ROWS.iter().filter(|row| cells.iter().any(|cell| cell.row.name == row.name)) {
        let texts = USERS.map(|user| WAYS.map(|way| found(row, user, way)));
        line(row.name, &texts.each_ref().map(|texts| texts.each_ref().map(String::as_str)));
    }
    let why: BTreeSet<_> = outcomes.iter().filter_map(|outcome| outcome.skipped.as_ref()).collect();
    why.iter().for_each(|why| say(&format!("-: {why}")));
    let (left, told) = outcomes.iter().fold((0, 0), |sum, one| (sum.0 + one.left, sum.1 + one.told));
    say(&format!("{} cells, {left} processes left over, {told} of them told", cells.len()));
}

// ---------------------------------------------------------------------------------------------
// In there

/// A command as the user whose agents these are.
fn as_user(user: User, ours: &Command) -> Command {
    under(user, None, ours)
}

/// The same under this hard limit, which is too small for any run to have its own below it.
fn under(user: User, rttime: Option<u64>, ours: &Command) -> Command {
    let mut argv: Vec<String> = Vec::new();
    match user {
        User::Ordinary if is_root() => {
            let id = USER.to_string();
            let words = ["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups", "--inh-caps=-all"];
            argv.extend(words.map(str::to_owned));
        }
        // Who has this privilege may raise it again.
        User::Root if rttime.is_some() => {
            argv.extend(["setpriv", "--bounding-set=-sys_resource"].map(str::to_owned));
        }
        _ => {}
    }
    if let Some(value) = rttime {
        argv.extend(["prlimit".to_owned(), format!("--rttime={value}:{value}")]);
    }
    argv.push(ours.get_program().to_str().unwrap().to_owned());
    let mut command = system(&argv[0]);
    command.args(&argv[1..]);
    command.args(ours.get_args()).env_clear();
    command.envs(ours.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.current_dir(ours.get_current_dir().unwrap());
    command.stdin(std::process::Stdio::null());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    command
}

/// A factory whose agents misbehave, and those who must not come to harm.
struct Stage {
    kit: Kit,
    factory: Factory,
    user: User,
    rttime: Option<u64>,
    /// Carries the whole name of the run, and is protected.
    protected: Running,
    /// The same program in the same place, of nobody's run.
    alike: Running,
    /// Many of those.
    crowd: Vec<u32>,
    _crowd: Running,
}

/// The programs, where everybody may execute them: built and copied once.
struct Kit(PathBuf);

impl Kit {
    /// The one that an order names.
    fn of(order: &Value) -> Kit {
        Kit(PathBuf::from(order["kit"].as_str().unwrap()))
    }

    /// It takes the compiler that links the tests.
    fn build(dir: &Path) -> Kit {
        let kit = Kit(dir.to_owned());
        fs::set_permissions(dir, Permissions::from_mode(0o755)).unwrap();
        let (source, set_uid) = (dir.join("misbehave.c"), dir.join("agent-root"));
        put(&source, include_str!("reaper/misbehave.c"));
        let built =
            system("cc").args(["-O1", "-pthread", "-o"]).args([&kit.agent(), &source]).status().unwrap();
        assert!(built.success());
        install(&kit.agent(), &set_uid);
        fs::set_permissions(&set_uid, Permissions::from_mode(0o4755)).unwrap();
        install(binary(), &kit.tick());
        kit
    }

    fn agent(&self) -> PathBuf {
        self.0.join("agent")
    }

    fn tick(&self) -> PathBuf {
        self.0.join("tick")
    }
}

impl Stage {
    fn new(act: &str, user: User, way: Way, kit: Kit, crowd: u32) -> Stage {
        let rttime = (way == Way::KilledWithoutMarks).then_some(200_000);
        let mut factory = Factory::new();
        let agent = kit.agent();
        let lab = factory.lab("").display().to_string();
        let lab = lab.trim_end_matches('/');
        factory.role("impl", &[agent.to_str().unwrap(), act, lab], "");
        factory.set("fleet", "grace", "\"300ms\"");
        if user == User::Ordinary && is_root() {
            give_away(&factory.path(""));
        }
        Ran::of(&mut tick_of(&kit, &factory, user, rttime, &[])).expect(0);
        let marker = format!("{}/{}", factory.lineage(), RUNS[0]);
        let bystander = |marker: &str| {
            let mut command = system(agent.to_str().unwrap());
            command.args(["stays-quietly", lab]).env("FACTORY_RUN", marker).current_dir(factory.path(""));
            Running::start(&mut as_user(user, &command))
        };
        let (protected, alike) = (bystander(&marker), bystander(&format!("{marker}0")));
        factory.set("fleet", "protected_pids", &format!("[{}]", protected.pid()));
        let _crowd = gather(&kit, &factory, user, crowd);
        let crowd = others(&[protected.pid(), alike.pid()]);
        Stage { kit, factory, user, rttime, protected, alike, crowd, _crowd }
    }

    fn tick(&self, arguments: &[&str]) -> Ran {
        Ran::of(&mut self.command(arguments))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        tick_of(&self.kit, &self.factory, self.user, self.rttime, arguments)
    }

    /// Everybody who must live.
    fn bystanders(&self) -> Vec<u32> {
        [&[self.protected.pid(), self.alike.pid()], self.crowd.as_slice()].concat()
    }

    /// Every process of the run that lives; 0 for one that no list shows, as it starts itself anew all the time.
    fn left(&self) -> Vec<u32> {
        let mut left = others(&self.bystanders());
        let last = last_pid();
        pause(BETWEEN_PIDS);
        left.extend((left.is_empty() && last_pid() != last).then_some(0));
        left
    }
}

/// Starts so many processes that a look at all of them takes its time.
fn gather(kit: &Kit, factory: &Factory, user: User, crowd: u32) -> Running {
    let lab = factory.lab("crowd");
    fs::create_dir(&lab).unwrap();
    if user == User::Ordinary && is_root() {
        give_away(&lab);
    }
    let mut command = system(kit.agent().to_str().unwrap());
    command.arg("crowd").arg(&lab).env("CROWD", crowd.to_string());
    let crowd = Running::start(&mut as_user(user, command.current_dir(factory.path(""))));
    factory.wait_told("crowd/ready");
    crowd
}

fn tick_of(kit: &Kit, factory: &Factory, user: User, rttime: Option<u64>, arguments: &[&str]) -> Command {
    let mut ours = system(kit.tick().to_str().unwrap());
    let program = factory.program(&[&["--format", "json"], arguments].concat());
    ours.args(program.get_args()).current_dir(factory.path(""));
    ours.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    under(user, rttime, &ours)
}

/// Plays one cell, and says what was left.
fn act(cell: &Cell, kit: Kit, crowd: u32) -> Value {
    let stage = Stage::new(cell.row.name, cell.user, cell.way, kit, crowd);
    let factory = &stage.factory;
    ITEMS[..cell.way.runs()].iter().for_each(|key| factory.item(key));
    stage.tick(&[]).expect(0);
    let ready = || factory.told("ready");
    factory.wait_for("all do it", || ready().ends_with('\n') && ready().lines().count() == cell.way.runs());
    if let Some(why) = ready().strip_prefix("no ") {
        let why = format!("{}: {}", cell.row.name, why.lines().next().unwrap());
        others(&[]).into_iter().for_each(kill_9_if_alive);
        return json!({ "skipped": why });
    }
    stage.tick(&[]).expect(0);
    let mut ticks = Vec::new();
    match cell.way {
        Way::Ends => {
            put(&factory.lab("end"), "");
            factory.wait_swept(RUNS[0]);
        }
        Way::Stopped => ticks.push(stage.tick(&["stop", ITEMS[0]])),
        Way::Killed | Way::KilledWithoutGroup | Way::KilledWithoutMarks => {
            for launcher in RUNS.map(|run| factory.launcher(run)) {
                kill_9(launcher);
                factory.wait_for("its launcher is dead", || !is_alive(launcher));
            }
            assert!(!stage.left().is_empty(), "all ended with their launchers");
        }
    }
    ticks.extend((0..TICKS).map(|_| stage.tick(&[])));
    let left = stage.left();
    let told = told_of(&ticks);
    let wrong = judge(cell, &stage, &ticks, &left, &told);
    others(&[]).into_iter().for_each(kill_9_if_alive);
    json!({ "left": left.len(), "told": told.len(), "wrong": wrong })
}

/// Every process that a report names as one that could not be ended.
fn told_of(ticks: &[Ran]) -> BTreeSet<u64> {
    ticks.iter().flat_map(|ran| survivors_in(&ran.json())).collect()
}

fn survivors_in(value: &Value) -> Vec<u64> {
    let survivors = value["survivors"].as_array().cloned().unwrap_or_default();
    survivors.iter().filter_map(|one| one["pid"].as_u64()).collect()
}

/// What is not as promised.
fn judge(cell: &Cell, stage: &Stage, ticks: &[Ran], left: &[u32], told: &BTreeSet<u64>) -> Option<String> {
    let factory = &stage.factory;
    let mut wrong = String::new();
    let mut expect = |holds: bool, otherwise: &str| {
        if !holds {
            write!(wrong, "{otherwise}; ").unwrap();
        }
    };
    expect(is_alive(stage.protected.pid()), "the protected process is dead");
    expect(stage.bystanders().iter().all(|pid| is_alive(*pid)), "somebody who looked alike is dead");
    let registry = factory.registry();
    let codes: Vec<_> = ticks.iter().filter_map(|ran| ran.code).collect();
    expect(codes.len() == ticks.len() && codes.iter().all(|code| [0, 3, 4].contains(code)), "a tick broke");
    if cell.fate == Fate::Told {
        expect(left.len() >= cell.way.runs(), "less is left than nobody could end");
        expect(left.iter().all(|pid| told.contains(&u64::from(*pid))), "a survivor was not told");
        expect(codes.iter().filter(|code| **code == 4).count() == 1, "a person was not told once");
        let named =
            RUNS.iter().flat_map(|run| survivors_in(&registry["handoffs"][run])).collect::<BTreeSet<_>>();
        expect(left.iter().all(|pid| named.contains(&u64::from(*pid))), "a survivor is not on record");
    } else {
        expect(left.is_empty() || cell.fate == Fate::Escaped, "something is left");
        expect(told.is_empty(), "what was ended, or never seen, was told as a survivor");
        expect(registry["handoffs"] == json!({}), "there is a hand-off");
    }
    for (key, run) in ITEMS.iter().zip(RUNS).take(cell.way.runs()) {
        let agent = &registry["agents"][run.trim_end_matches(".1")];
        expect(agent["spec"]["id"] == *run || agent.is_null(), "it was started again");
        expect(agent["run"].is_null(), "the run is on record as in flight");
        let group =
            factory.receipt(run, "cgroup").and_then(|group| Some(PathBuf::from(group["dir"].as_str()?)));
        let is_removed = group.is_none_or(|dir| !dir.exists());
        expect(is_removed || cell.fate != Fate::Gone, "its control group was not removed");
        let is_parked = registry["items"][format!("dir:{key}")]["state"] == "parked";
        expect(is_parked || cell.fate != Fate::Told, "the item is not parked");
    }
    if wrong.is_empty() {
        return None;
    }
    let who: Vec<_> = left.iter().map(|pid| stat(*pid)).collect();
    let reports: Vec<_> = ticks.iter().map(|ran| ran.stdout.trim().to_owned() + &ran.stderr).collect();
    Some(format!(
        "{wrong}codes {codes:?}, left {who:?}, hand-offs {}, {}",
        registry["handoffs"],
        reports.join("\n  ")
    ))
}

/// What it is called, and whose child it is.
fn stat(pid: u32) -> String {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).unwrap_or_default();
    stat.split(' ').take(4).collect::<Vec<_>>().join(" ")
}
