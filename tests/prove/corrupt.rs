//! Every file that the program reads, cut at each byte and with each of its bits flipped: what is loaded is the truth, an
//! earlier generation of it or nothing at all, and says so. Nothing that lives is ended, nothing starts a second time,
//! nothing is lost.
//!
//! A scene is played once and kept; then each corruption is laid into it, the real program runs, and what it did and
//! left is held against the rules. The registry is also loaded in this process, each corruption of it.

mod scenes;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use factory_tick::registry::Registry;
use factory_tick::state::files::registry_file;
use factory_tick::state::{HostDir, Origin, StoreError};
use serde_json::Value;

use crate::support::{Factory, Ran, is_alive, kill_9_if_alive};
use crate::{at_least_1, say};
use scenes::{Group, SCENES, Scene};

/// The codes of README's table that a tick may end with, whatever is damaged. Not 1: that is a bug.
const CODES: &[i32] = &[0, 3, 4, 65, 69, 73, 74, 77, 78];

/// With `--samples`: each so many-th damaged registry is loaded in this process.
const LOADED_EVERY: usize = 401;

/// The arguments of `cargo prove corrupt`.
#[derive(Args)]
pub(crate) struct Order {
    /// A part of the name of a group of files: registry, backup, state, run, items or configuration; or all
    #[arg(value_name = "FILES", default_value = "all")]
    what: String,
    /// Try only each N-th corruption of each file. All files with 1 take many hours
    #[arg(long, value_name = "N", default_value_t = 97, value_parser = at_least_1)]
    every: usize,
    /// Try this many corruptions of each file, instead of each N-th: the first one with every command, the others with one
    #[arg(long, value_name = "COUNT", conflicts_with = "every")]
    samples: Option<usize>,
}

/// One way in which a file is damaged.
#[derive(Clone, Copy, Debug)]
enum Damage {
    /// It ends after so many bytes.
    Cut(usize),
    /// This bit is another one.
    Flip(usize),
    /// It is not there.
    Gone,
}

impl Damage {
    /// Each that a file of this length can have.
    fn all(length: usize) -> Vec<Damage> {
        let cuts = (0..length).map(Damage::Cut);
        cuts.chain((0..length * 8).map(Damage::Flip)).chain([Damage::Gone]).collect()
    }

    fn of(self, whole: &[u8]) -> Option<Vec<u8>> {
        match self {
            Damage::Cut(length) => Some(whole[..length].to_vec()),
            Damage::Flip(bit) => {
                let mut bytes = whole.to_vec();
                bytes[bit / 8] ^= 1 << (bit % 8);
                Some(bytes)
            }
            Damage::Gone => None,
        }
    }
}

/// So many of them, spread evenly over cuts and flips; the first cut is always one.
fn sample(all: Vec<Damage>, count: usize) -> Vec<Damage> {
    let step = (all.len() / count.max(1)).max(1) | 1;
    all.into_iter().step_by(step).collect()
}

/// What became of the corruptions of one file.
#[derive(Default)]
struct Tally {
    cases: usize,
    /// The tick went by what is true, or by the generation before it.
    loaded: usize,
    /// The same, and the damaged file was kept under another name.
    quarantined: usize,
    /// Nothing was done, with a code that says so.
    refused: usize,
    violations: Vec<String>,
    took: Duration,
}

enum Became {
    Loaded,
    Quarantined,
    Refused,
}

impl Tally {
    fn count(&mut self, what: &str, became: Result<Became, String>) {
        self.cases += 1;
        match became {
            Ok(Became::Loaded) => self.loaded += 1,
            Ok(Became::Quarantined) => self.quarantined += 1,
            Ok(Became::Refused) => self.refused += 1,
            Err(why) => self.violations.push(format!("{what}: {why}")),
        }
    }

    fn row(&self, name: &str) -> String {
        let Tally { cases, loaded, quarantined, refused, violations, took } = self;
        let (violations, seconds) = (violations.len(), took.as_secs_f64());
        format!(
            "{name:<76} {cases:>7} {loaded:>7} {quarantined:>11} {refused:>8} {violations:>10} {seconds:>7.1}"
        )
    }
}

// Origin: agentsys#50, pueue - what did not parse was replaced by nothing. And found so: see the tests of the claim, of the
// exit and of the schema.
// covers: F53 F46 D20 D21 D22
pub(crate) fn damaged_file_loses_doubles_and_ends_nothing(order: &Order) {
    let Order { what, samples, .. } = order;
    // No divisor of 8, or it would be the same bit of every byte.
    let every = order.every | 1;
    let header = ["file", "cases", "loaded", "quarantined", "refused", "violations", "s"];
    let [file, cases, loaded, quarantined, refused, violations, s] = header;
    say(&format!("{file:<76} {cases:>7} {loaded:>7} {quarantined:>11} {refused:>8} {violations:>10} {s:>7}"));
    let (mut broken, mut files) = (String::new(), 0);
    let mut report = |name: String, tally: Tally| {
        say(&tally.row(&name));
        tally.violations.iter().take(20).for_each(|text| writeln!(broken, "{name}: {text}").unwrap());
        files += 1;
    };
    let wanted = |name: &str| what == "all" || name.contains(what);
    for scene in SCENES {
        let groups: Vec<_> = scene.groups.iter().filter(|group| wanted(group.name)).collect();
        if groups.is_empty() {
            continue;
        }
        let mut stage = Stage::new(scene);
        for group in groups {
            if group.is_registry {
                let every = if samples.is_some() { LOADED_EVERY } else { every };
                report(format!("{} (loaded alone)", stage.label(group)), stage.load_each(group, every));
            }
            for name in (group.files)(&stage.factory) {
                if stage.is_over() {
                    stage = Stage::new(scene);
                }
                let path = stage.factory.path(&name);
                let mut all = Damage::all(fs::read(&path).unwrap().len());
                // Whoever holds a lock holds its file.
                all.retain(|damage| !(is_lock(&path) && matches!(damage, Damage::Gone)));
                let damages = match samples {
                    Some(samples) => sample(all, *samples),
                    None => all.into_iter().step_by(every).collect(),
                };
                report(
                    format!("{}: {name}", stage.label(group)),
                    stage.run_each(group, &name, &damages, samples.is_some()),
                );
            }
        }
    }
    assert!(files > 0, "nothing is called {what:?}; see tests/prove/corrupt/scenes.rs");
    assert!(broken.is_empty(), "\n{broken}");
}

/// A scene that was played, and everything in it as it was then.
struct Stage {
    scene: &'static Scene,
    factory: Factory,
    /// By path.
    before: BTreeMap<PathBuf, Vec<u8>>,
    /// The same when a group's own damage was laid into it.
    arranged: BTreeMap<PathBuf, Vec<u8>>,
    folders: Vec<PathBuf>,
    /// Who lives in it.
    alive: Vec<u32>,
    starts: Vec<String>,
}

impl Stage {
    fn new(scene: &'static Scene) -> Stage {
        let factory = (scene.play)();
        let alive: Vec<_> = factory.pids().into_iter().collect();
        let before = read_all(&factory);
        let stage = Stage {
            scene,
            starts: factory.starts(),
            folders: below(&factory.path("")).into_iter().filter(|path| path.is_dir()).collect(),
            arranged: before.clone(),
            before,
            alive,
            factory,
        };
        // Undamaged, it is the scene that it is to be.
        let ran = stage.factory.tick();
        let truth = scene.groups[0].truth;
        let told = stage.check_rules(None, &ran).and_then(|()| truth(&stage.factory, &ran));
        assert!(told.is_ok(), "{}, undamaged: {told:?}: {ran:?}", scene.name);
        stage.restore();
        stage
    }

    fn label(&self, group: &Group) -> String {
        format!("{}, {}", self.scene.name, group.name)
    }

    /// Whether somebody who lived in it does not.
    fn is_over(&self) -> bool {
        self.alive.iter().any(|pid| !is_alive(*pid))
    }

    /// Puts back whatever is another by now.
    fn restore(&self) {
        for path in below(&self.factory.path("")).iter().rev() {
            if path.is_dir() && !self.folders.contains(path) {
                fs::remove_dir(path).unwrap();
            } else if path.is_file() && !self.before.contains_key(path) {
                fs::remove_file(path).unwrap();
            }
        }
        for folder in &self.folders {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).unwrap();
        }
        for (path, bytes) in &self.before {
            if fs::read(path).ok().as_ref() != Some(bytes) {
                lay(path, Some(bytes));
            }
        }
    }

    fn run_each(&mut self, group: &Group, name: &str, damages: &[Damage], only_samples: bool) -> Tally {
        let begun = Instant::now();
        let mut tally = Tally::default();
        let path = self.factory.path(name);
        let whole = self.before[&path].clone();
        for (at, damage) in damages.iter().enumerate() {
            let laid = damage.of(&whole);
            let is_short = only_samples && at > 0;
            for arguments in group.runs.iter().take(if is_short { 1 } else { usize::MAX }) {
                (group.arrange)(&self.factory);
                self.arranged = read_all(&self.factory);
                lay(&path, laid.as_deref());
                let ran = self.factory.run(arguments);
                let became = self.check(group, arguments, &path, laid.as_deref(), &ran);
                tally.count(
                    &format!("{damage:?} {arguments:?}"),
                    became.map_err(|why| format!("{why}: {}", told(&ran))),
                );
                let others = self.factory.pids().into_iter().filter(|pid| !self.alive.contains(pid));
                others.for_each(kill_9_if_alive);
                self.restore();
                if self.is_over() {
                    return tally;
                }
            }
        }
        tally.took = begun.elapsed();
        tally
    }

    fn check(
        &self,
        group: &Group,
        arguments: &[&str],
        path: &Path,
        laid: Option<&[u8]>,
        ran: &Ran,
    ) -> Result<Became, String> {
        self.check_rules(laid.map(|laid| (path, laid)), ran)?;
        let there = fs::read(path).ok();
        let is_tick = arguments.first().is_some_and(|first| first.starts_with('-'));
        if ran.code == Some(65) || !is_tick {
            // Nothing of what is remembered may be touched then, the damaged file least of all.
            ensure(there.as_deref() == laid, || "the damaged file is another now".into())?;
            let is_changed = |name: &PathBuf| {
                let tells_of_itself =
                    ["lock", "events.jsonl", "mail.json"].iter().any(|own| name.ends_with(own));
                name != path && !tells_of_itself && self.arranged.get(name) != fs::read(name).ok().as_ref()
            };
            if let Some(name) = self.arranged.keys().find(|name| is_changed(name)) {
                return Err(format!("{} is another now", name.display()));
            }
            return Ok(if ran.code == Some(0) { Became::Loaded } else { Became::Refused });
        }
        let is_kept = |name: &PathBuf| name.to_string_lossy().contains(".corrupt-");
        let kept: Vec<_> = below(&self.factory.state("")).into_iter().filter(is_kept).collect();
        if group.is_registry && laid.is_some() && path.ends_with("registry.json") && there.as_deref() != laid
        {
            let is_there = kept.iter().any(|kept| fs::read(kept).ok().as_deref() == laid);
            ensure(is_there, || "the damaged file is lost".into())?;
        }
        (group.truth)(&self.factory, ran)?;
        Ok(match ran.code {
            Some(69 | 73 | 77 | 78) => Became::Refused,
            _ if !kept.is_empty() => Became::Quarantined,
            _ => Became::Loaded,
        })
    }

    /// What must hold whatever was damaged.
    fn check_rules(&self, laid: Option<(&Path, &[u8])>, ran: &Ran) -> Result<(), String> {
        ensure(!ran.stderr.contains("panicked") && !ran.stdout.contains("panicked"), || {
            "it panicked".into()
        })?;
        let code = ran.code.ok_or("it was killed")?;
        ensure(CODES.contains(&code) || (code == 5 && ran.stdout.is_empty()), || format!("code {code}"))?;
        let dead: Vec<_> = self.alive.iter().filter(|pid| !is_alive(**pid)).collect();
        ensure(dead.is_empty(), || format!("{dead:?} are dead"))?;
        let live: Vec<_> = self.factory.pids().into_iter().filter(|pid| !self.alive.contains(pid)).collect();
        ensure(live.is_empty(), || format!("{live:?} were started"))?;
        ensure(self.factory.starts() == self.starts, || "something was started".into())?;
        let Some(report) = ran.stdout.lines().find_map(|line| serde_json::from_str::<Value>(line).ok())
        else {
            return Ok(());
        };
        let signalled = report["reaped"].as_array().is_some_and(|reaped| {
            reaped.iter().any(|one| one["signals"].as_array().is_some_and(|signals| !signals.is_empty()))
        });
        ensure(!signalled, || "somebody was signalled".into())?;
        if code == 65 {
            let names = report["errors"].to_string();
            let dir = self.factory.state("").display().to_string();
            let is_helpful = names.contains(dir.trim_end_matches('/')) || laid.is_none();
            ensure(is_helpful, || "it does not say where".into())?;
        }
        Ok(())
    }

    /// Loads each corruption of the registry in this process: as the truth, as the generation before, or not at all.
    fn load_each(&self, group: &Group, every: usize) -> Tally {
        let begun = Instant::now();
        let mut tally = Tally::default();
        let holder = tempfile::tempdir().unwrap();
        let dir = HostDir::create_or_open(&holder.path().join("state"), true).unwrap();
        (group.arrange)(&self.factory);
        let names = ["registry.json", "registry.json.bak"];
        let standing = names.map(|name| fs::read(self.factory.state(name)).ok());
        self.restore();
        // As after any start.
        fs::DirBuilder::new().create(dir.runs().join("ar-1-impl.1")).unwrap();
        for (name, bytes) in names.iter().zip(&standing) {
            lay(&dir.path().join(name), bytes.as_deref());
        }
        for (at, name) in names.iter().enumerate() {
            let Some(whole) = &standing[at] else { continue };
            let path = dir.path().join(name);
            for damage in Damage::all(whole.len()).into_iter().step_by(every) {
                let laid = damage.of(whole);
                lay(&path, laid.as_deref());
                let became = loaded(&dir, &standing, at);
                let kept = fs::read(&path).ok() == laid;
                tally.count(
                    &format!("{name} {damage:?}"),
                    became.and_then(|became| ensure(kept, || "it was touched".into()).map(|()| became)),
                );
            }
            lay(&path, Some(whole));
        }
        tally.took = begun.elapsed();
        tally
    }
}

impl Drop for Stage {
    /// What lives in a scene is nobody's to stop once its files are damaged.
    fn drop(&mut self) {
        self.factory.pids().into_iter().for_each(kill_9_if_alive);
        self.factory.wait_all_gone();
    }
}

/// What comes of a load where the file at `damaged`, of registry and backup, is damaged.
fn loaded(dir: &HostDir, standing: &[Option<Vec<u8>>; 2], damaged: usize) -> Result<Became, String> {
    let body = |bytes: &Option<Vec<u8>>| -> Option<Registry> {
        let file: Value = serde_json::from_slice(bytes.as_ref()?).ok()?;
        serde_json::from_value(file["body"].clone()).ok()
    };
    let other = body(&standing[1 - damaged]);
    match registry_file::load::<Registry>(dir, || None) {
        Ok((found, _)) => {
            let is_right = match found.origin {
                Origin::Fresh => return Err("it was taken for a new factory".into()),
                Origin::Registry => damaged == 1 && Some(&found.body) == other.as_ref(),
                Origin::Backup { .. } => damaged == 0 && Some(&found.body) == other.as_ref(),
            };
            ensure(is_right, || format!("it was loaded as something else: {:?}", found.origin))?;
            Ok(Became::Loaded)
        }
        Err(StoreError::BadState(_)) if other.is_none() => Ok(Became::Refused),
        Err(error) => Err(format!("refused beside a whole one: {error}")),
    }
}

/// The beginning of what a run of the program came to.
fn told(ran: &Ran) -> String {
    let report = ran.stdout.lines().find_map(|line| serde_json::from_str::<Value>(line).ok());
    let report = report.map(|report| format!("{} {}", report["decisions"], report["errors"]));
    let text = format!("{:?} {} {}", ran.code, report.unwrap_or_default(), ran.stderr);
    text.chars().take(600).collect()
}

/// Every file of a factory, by its path.
fn read_all(factory: &Factory) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = below(&factory.path("")).into_iter().filter(|path| path.is_file());
    files.map(|path| (path.clone(), fs::read(&path).unwrap())).collect()
}

/// Everything below a folder that is no link, each folder before what is in it.
fn below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.map(|entry| entry.unwrap()) {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            found.push(path.clone());
            found.extend(below(&path));
        } else if kind.is_file() {
            found.push(path);
        }
    }
    found
}

/// Puts a file there as a damaged disk would show it, or takes it away. Locks keep their inode, by which they are held; any
/// other is a new file: `registry.json` and its backup may be one.
#[expect(clippy::disallowed_methods, reason = "files of a test need not survive anything")]
fn lay(path: &Path, bytes: Option<&[u8]>) {
    let is_lock = is_lock(path);
    let mode = fs::metadata(path).map_or(0o600, |data| data.permissions().mode());
    if !is_lock {
        let _ = fs::remove_file(path);
    }
    if let Some(bytes) = bytes {
        fs::write(path, bytes).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
}

fn is_lock(path: &Path) -> bool {
    path.ends_with("lock") || path.parent().is_some_and(|folder| folder.ends_with("live"))
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}
