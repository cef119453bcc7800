//! House rules as a test: which room may know which, and what no file may hold.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Rooms that must not know each other: from, to, and what would be lost.
const WRONG_ARROWS: &[(&str, &[&str], &str)] = &[
    (
        "decide",
        &["store", "source", "fleet", "process", "state", "commands", "views", "tick", "clock", "cli"],
        "a decision is made of values alone, so that it can be repeated and simulated",
    ),
    (
        "retention",
        &[
            "decide", "store", "source", "fleet", "process", "state", "commands", "views", "tick", "clock",
            "cli",
        ],
        "what may be deleted for ever is decided of values alone",
    ),
    (
        "registry",
        &["decide", "tick", "fleet", "source", "store", "process"],
        "what is remembered knows nobody who remembers it",
    ),
    ("backoff", &["decide", "tick", "fleet", "source", "store", "registry"], "a rule of arithmetic"),
    (
        "config",
        &["decide", "tick", "fleet", "source", "store", "registry"],
        "what was typed means the same to everybody",
    ),
    (
        "harness",
        &[
            "registry", "decide", "tick", "fleet", "source", "store", "state", "commands", "views", "clock",
            "cli",
        ],
        "what a program's words mean does not depend on who asks",
    ),
    ("store", &["config", "registry", "decide", "tick", "fleet", "source"], "files, and no policy"),
    (
        "process",
        &["config", "registry", "decide", "tick", "fleet", "source", "store"],
        "signals, and no policy",
    ),
    (
        "source",
        &["config", "registry", "decide", "tick", "fleet", "store"],
        "a source only tells what is there",
    ),
    ("fleet", &["registry", "decide", "retention", "tick", "source"], "a fleet only tells and does"),
    (
        "tick",
        &["process", "commands", "views", "report"],
        "the story of a tick, and nothing of how it is told",
    ),
    ("views", &["decide", "tick", "fleet", "source", "process"], "views read"),
];

/// Who may look at processes and send signals.
const USERS_OF_PROCESS: &[&str] = &["process", "fleet", "state", "store", "commands"];

/// Crates that the nouns may use.
const CRATES_OF_MODEL: &[&str] = &["std", "serde", "jiff"];

/// Rooms whose answers depend on their arguments alone.
const PURE: &[&str] = &["decide", "harness", "retention"];

/// What would make an answer depend on anything else.
const IMPURE: &[&str] = &["Instant", "SystemTime", "std::fs", "std::env", "std::thread", "log::"];

/// Of code, tests aside. A file that is longer usually hides two.
const LINES_MAX: usize = 450;

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
        for (from, to, why) in WRONG_ARROWS.iter().filter(|(from, ..)| *from == room) {
            let named = to.iter().filter(|to| knows.contains(*to));
            wrong.extend(named.map(|to| format!("{}: {from} must not know {to}: {why}", self.path)));
        }
        if knows.contains("process") && !USERS_OF_PROCESS.contains(&room) && room != "main" {
            wrong.push(format!("{}: only {USERS_OF_PROCESS:?} use process", self.path));
        }
        if room == "model" {
            wrong.extend(self.foreign().map(|name| format!("{}: a noun that needs {name}", self.path)));
        }
        if PURE.contains(&room) {
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

#[test]
fn every_room_knows_only_whom_it_may() {
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
    let wrong: Vec<_> = sources.iter().flat_map(Source::wrong).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_wrong_arrow_is_seen() {
    let wrong = |path: &str, code: &str| Source::new(path.to_owned(), code).wrong().len();
    assert_eq!(wrong("src/decide/runs.rs", "use crate::model::{Action, Class};\n"), 0);
    assert_eq!(wrong("src/decide/runs.rs", "use factory_tick::durable::Lock;\n"), 1);
    assert_eq!(wrong("src/decide/runs.rs", "use crate::{model::Action, fleet::{Fleet, local}, tick};\n"), 2);
    assert_eq!(wrong("src/decide/runs.rs", "let now = std::time::Instant::now();\n"), 1);
    assert_eq!(wrong("src/decide/runs.rs", "// factory_tick::state::files is not for us\n"), 0);
    assert_eq!(
        wrong("src/decide/runs.rs", "#[cfg(test)]\nmod tests {\nuse factory_tick::state::files;\n}\n"),
        0
    );
    assert_eq!(
        wrong("src/model/plan.rs", "use std::fmt;\nuse serde::Serialize;\nuse super::names::RunId;\n"),
        0
    );
    assert_eq!(wrong("src/model/plan.rs", "use anyhow::Result;\n"), 1);
    assert_eq!(wrong("src/model/plan.rs", "fn f(_: crate::config::Config) {}\n"), 1);
    assert_eq!(wrong("src/views/status.rs", "use crate::process::identity;\n"), 2);
    assert_eq!(wrong("src/utils.rs", ""), 1);
    assert_eq!(wrong("src/text.rs", &"x\n".repeat(LINES_MAX + 1)), 1);
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
