//! House rules as a test: which room may know which, and what no file may hold.

mod circles;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Every room, and the rooms that it may use: an arrow that is not listed here is wrong, and so is a listed arrow that
/// nothing uses any more. Rooms are listed from the bottom up, and use rooms above themselves in this list only.
const ROOMS: &[(&str, &[&str])] = &[
    ("text", &[]),
    ("ui", &["text"]),
    ("model", &[]),
    ("fingerprint", &["model"]),
    ("clock", &["model"]),
    ("durable", &["clock", "fingerprint", "model"]),
    ("harness", &["fingerprint", "model", "text"]),
    ("config", &["durable", "harness", "model", "text", "ui"]),
    ("process", &["durable", "fingerprint", "model"]),
    ("source", &["config", "durable", "fingerprint", "model", "text"]),
    ("registry", &["config", "fingerprint", "model"]),
    ("decide", &["config", "fingerprint", "harness", "model", "registry", "text"]),
    ("run", &["clock", "config", "durable", "fingerprint", "harness", "model", "process"]),
    ("workspace", &["config", "durable", "model", "registry", "text"]),
    ("launcher", &["clock", "config", "durable", "harness", "model", "process", "run", "text", "workspace"]),
    (
        "fleet",
        &[
            "clock",
            "config",
            "durable",
            "harness",
            "launcher",
            "model",
            "process",
            "run",
            "text",
            "workspace",
        ],
    ),
    ("exit", &["ui"]),
    (
        "state",
        &["clock", "config", "durable", "exit", "fingerprint", "model", "process", "registry", "run", "text"],
    ),
    ("tick", &["config", "decide", "fleet", "model", "registry", "source", "state"]),
    ("views", &["config", "exit", "harness", "model", "registry", "state", "text", "tick", "ui"]),
    ("cli", &["config", "fleet", "model", "run", "text", "ui"]),
    (
        "app",
        &[
            "cli",
            "clock",
            "config",
            "decide",
            "durable",
            "exit",
            "fingerprint",
            "fleet",
            "model",
            "process",
            "registry",
            "run",
            "source",
            "state",
            "text",
            "tick",
            "ui",
            "views",
            "workspace",
        ],
    ),
    (
        "commands",
        &[
            "app",
            "cli",
            "clock",
            "config",
            "decide",
            "durable",
            "exit",
            "fleet",
            "harness",
            "launcher",
            "model",
            "process",
            "registry",
            "run",
            "source",
            "state",
            "text",
            "tick",
            "ui",
            "views",
            "workspace",
        ],
    ),
];

/// Arrows that run back up [`ROOMS`], each with its reason.
const UPWARD: &[(&str, &str, &str)] = &[];

/// Crates that the nouns may use.
const CRATES_OF_MODEL: &[&str] = &["std", "serde", "jiff"];

/// Rooms and files whose answers depend on their arguments alone.
const PURE: &[&str] = &["src/decide/", "src/harness/", "src/registry/", "src/workspace/retention.rs"];

/// What would make an answer depend on anything else.
const IMPURE: &[&str] = &["Instant", "SystemTime", "std::fs", "std::env", "std::thread", "log::"];

/// Of code, tests aside. A file that is longer usually hides two.
const LINES_MAX: usize = 450;

/// Of all code, in per cent. A room that is larger hides another.
const SHARE_MAX: f64 = 12.0;

/// Longer files, and why.
const LONG_FILES: &[(&str, &str)] = &[];

/// A source file, without its tests.
struct Source {
    /// From the root of the crate, with `/`.
    path: String,
    code: String,
}

impl Source {
    fn new(path: String, text: &str) -> Source {
        let tests = text.find("\nmod tests {").and_then(|at| text[..at].rfind("#[cfg(test)]"));
        let tests = tests.unwrap_or(text.len());
        let is_code = |line: &&str| !line.trim_start().starts_with("//");
        let code = text[..tests].lines().filter(is_code).map(|line| format!("{line}\n")).collect();
        Source { path, code }
    }

    /// `decide` for `src/decide/mod.rs` and `src/decide.rs`.
    fn room(&self) -> &str {
        let inside = self.path.strip_prefix("src/").unwrap_or(&self.path);
        inside.split(['/', '.']).next().unwrap_or(inside)
    }

    /// Lines of code that are not empty.
    fn lines(&self) -> usize {
        self.code.lines().filter(|line| !line.trim().is_empty()).count()
    }

    /// Every room that it names, in imports and in paths.
    fn knows(&self) -> BTreeSet<&str> {
        let mut rooms = BTreeSet::new();
        for (at, _) in self.code.match_indices("crate::") {
            let rest = &self.code[at + "crate::".len()..];
            match rest.strip_prefix('{') {
                Some(group) => rooms.extend(first_names(group)),
                None => rooms.extend(word(rest)),
            }
        }
        rooms
    }

    fn wrong(&self) -> Vec<String> {
        let (room, knows) = (self.room(), self.knows());
        let mut wrong = Vec::new();
        if let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) {
            let other = knows.iter().filter(|to| **to != room && !allowed.contains(to));
            wrong.extend(other.map(|to| format!("{}: {room} must not know {to}", self.path)));
        } else if !["lib", "main"].contains(&room) {
            wrong.push(format!("{}: {room} is not in the list of rooms", self.path));
        }
        if room == "model" {
            wrong.extend(self.foreign().map(|name| format!("{}: a noun that needs {name}", self.path)));
        }
        if PURE.iter().any(|pure| self.path.starts_with(pure)) {
            let named = IMPURE.iter().filter(|name| self.code.contains(*name));
            wrong.extend(named.map(|name| format!("{}: {room} that needs {name}", self.path)));
        }
        if room == "utils" || self.path.contains("/utils") {
            wrong.push(format!("{}: a bag; its things have better places", self.path));
        }
        let lines = self.code.lines().count();
        let reason = LONG_FILES.iter().find(|(path, _)| *path == self.path);
        match (lines > LINES_MAX, reason) {
            (true, None) => wrong.push(format!("{}: {lines} lines hide two files", self.path)),
            (false, Some(_)) => wrong.push(format!("{}: is listed as long, and is not", self.path)),
            _ => {}
        }
        let keyword = concat!("un", "safe ");
        if ["{", "fn", "impl", "extern"].iter().any(|what| self.code.contains(&format!("{keyword}{what}"))) {
            wrong.push(format!("{}: {keyword}code", self.path));
        }
        wrong
    }

    /// Rooms and crates that a noun imports and may not.
    fn foreign(&self) -> impl Iterator<Item = &str> {
        let imports =
            self.code.lines().filter_map(|line| line.trim().trim_start_matches("pub ").strip_prefix("use "));
        let own = ["crate", "super", "self"];
        let crates = imports.filter_map(word).filter(move |name| {
            !CRATES_OF_MODEL.contains(name) && !own.contains(name) && name.starts_with(char::is_lowercase)
        });
        crates
            .filter(|name| !self.is_own_module(name))
            .chain(self.knows().into_iter().filter(|room| *room != "model"))
    }

    fn is_own_module(&self, name: &str) -> bool {
        self.code.contains(&format!("mod {name};"))
    }
}

fn word(text: &str) -> Option<&str> {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    Some(&text[..end]).filter(|word| !word.is_empty())
}

/// The first name of each path in `{a::b, c::{d, e}, f}`, its first brace already gone.
fn first_names(group: &str) -> Vec<&str> {
    let (mut names, mut depth, mut expects) = (Vec::new(), 0, true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => expects = true,
            _ if depth == 0 && expects && (c.is_alphanumeric() || c == '_') => {
                names.extend(word(&group[at..]));
                expects = false;
            }
            _ => {}
        }
    }
    names
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below a folder, or the file itself; none where there is neither.
fn files(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
    let mut files: Vec<_> = entries.flat_map(|entry| files(&entry.unwrap().path())).collect();
    files.sort();
    files
}

fn name(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).to_str().unwrap().to_owned()
}

/// The source files of the crate, without tests.
fn sources() -> Vec<Source> {
    let is_code = |path: &PathBuf| {
        let name = name(path);
        name.ends_with(".rs") && !name.contains("/tests/") && !name.ends_with("/tests.rs")
    };
    let sources: Vec<_> = files(&root().join("src"))
        .iter()
        .filter(|path| is_code(path))
        .map(|path| Source::new(name(path), &fs::read_to_string(path).unwrap()))
        .collect();
    assert!(sources.iter().any(|source| source.room() == "decide"), "the rooms were not found");
    sources
}

#[test]
fn room_knows_only_the_rooms_of_its_list() {
    let sources = sources();
    let mut wrong: Vec<_> = sources.iter().flat_map(Source::wrong).collect();
    wrong.extend(wrong_rooms(&sources));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_form_no_circle() {
    let circles = circles::found(&sources());
    assert!(circles.is_empty(), "{}", circles.join("\n"));
}

/// Lines of code, tests and comments aside. Shown with `--nocapture`.
#[test]
#[expect(clippy::print_stdout, reason = "shares are for people")]
fn room_holds_at_most_12_percent_of_the_code() {
    let sources = sources();
    let mut lines: BTreeMap<&str, usize> = BTreeMap::new();
    for source in &sources {
        *lines.entry(source.room()).or_default() += source.lines();
    }
    let all: usize = lines.values().sum();
    let mut too_large = Vec::new();
    for (room, lines) in &lines {
        let share = *lines as f64 * 100.0 / all as f64;
        println!("{room:12} {lines:6} {share:5.1} %");
        if share > SHARE_MAX {
            too_large.push(format!("{room} holds {share:.1} % of the code: it is two rooms"));
        }
    }
    assert!(too_large.is_empty(), "{}", too_large.join("\n"));
}

/// Arrows of the list that nothing uses, and arrows that run back up without a reason.
fn wrong_rooms(sources: &[Source]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (place, (room, allowed)) in ROOMS.iter().enumerate() {
        let of_room = sources.iter().filter(|source| source.room() == *room);
        let used: BTreeSet<_> = of_room.flat_map(Source::knows).collect();
        for to in allowed.iter().filter(|to| !used.contains(*to)) {
            wrong.push(format!("{room} may know {to}, and does not"));
        }
        for to in allowed.iter().filter(|to| ROOMS[place..].iter().any(|(later, _)| later == *to)) {
            if !UPWARD.iter().any(|(from, upward, _)| (from, upward) == (room, to)) {
                wrong.push(format!("{room} knows {to}, which stands above it"));
            }
        }
    }
    let listed =
        |from: &&str, to: &&str| ROOMS.iter().any(|(room, to_all)| room == from && to_all.contains(to));
    let gone = UPWARD.iter().filter(|(from, to, _)| !listed(from, to));
    wrong.extend(gone.map(|(from, to, _)| format!("{from} does not know {to} any more")));
    wrong
}

#[test]
fn wrong_arrow_is_reported() {
    let wrong = |path: &str, code: &str| Source::new(path.to_owned(), code).wrong().len();
    assert_eq!(wrong("src/decide/runs.rs", "use crate::model::{Action, FailureClass};\n"), 0);
    assert_eq!(wrong("src/decide/runs.rs", "use crate::durable::Lock;\n"), 1);
    assert_eq!(wrong("src/decide/runs.rs", "use crate::{model::Action, fleet::{Fleet, local}, tick};\n"), 2);
    assert_eq!(wrong("src/decide/runs.rs", "let now = std::time::Instant::now();\n"), 1);
    assert_eq!(wrong("src/decide/runs.rs", "// crate::state::files is not for us\n"), 0);
    assert_eq!(wrong("src/decide/runs.rs", "#[cfg(test)]\nmod tests {\nuse crate::state::files;\n}\n"), 0);
    assert_eq!(
        wrong("src/model/plan.rs", "use std::fmt;\nuse serde::Serialize;\nuse super::names::RunId;\n"),
        0
    );
    assert_eq!(wrong("src/model/plan.rs", "use anyhow::Result;\n"), 1);
    assert_eq!(wrong("src/model/plan.rs", "fn f(_: crate::config::Config) {}\n"), 2);
    assert_eq!(wrong("src/views/status.rs", "use crate::process::identity;\n"), 1);
    assert_eq!(wrong("src/utils.rs", ""), 2);
    assert_eq!(wrong("src/clock.rs", &"x\n".repeat(LINES_MAX + 1)), 1);
}

/// Which kind of fleet there is, one function decides.
#[test]
fn no_room_but_fleet_names_a_kind_of_fleet() {
    let kinds = ["LocalFleet", "BrokerFleet"];
    let names_kind = |one: &Source| kinds.iter().any(|kind| one.code.contains(kind));
    let wrong: Vec<_> =
        sources().into_iter().filter(|one| one.room() != "fleet" && names_kind(one)).collect();
    assert!(wrong.is_empty(), "{:?}", wrong.iter().map(|one| &one.path).collect::<Vec<_>>());
}

/// What nobody came back for, and what means something on one machine only.
#[test]
fn nothing_is_left_lying_about() {
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    let outside = concat!("../", "shared");
    let mut wrong = Vec::new();
    for place in ["src", "tests", "scripts", "README.md"] {
        for path in files(&root().join(place)) {
            // Fixtures may be anything.
            let Ok(text) = fs::read_to_string(&path) else { continue };
            for (number, line) in text.lines().enumerate() {
                let mut tokens = line.split(|c: char| !c.is_alphanumeric());
                if tokens.any(|token| words.contains(&token)) && !line.contains("mktemp")
                    || line.contains(outside)
                {
                    wrong.push(format!("{}:{}: {line}", name(&path), number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
