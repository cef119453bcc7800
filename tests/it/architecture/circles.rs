//! Circles between files: two files that need each other can only be read together.
//!
//! An arrow is a path that starts with `crate`, `super` or `self`; it leads to the file that defines the name, also where
//! a `mod.rs` passes the name on. Arrows between a folder's `mod.rs` and the folder's own files are not counted: the `mod`
//! line ties them already.

use std::collections::{BTreeMap, BTreeSet};

use super::Source;

/// Circles that stay, by one of their files, each with its reason.
const ALLOWED: &[(&str, &str)] =
    &[("src/config/toml/section.rs", "a value holds sections, a section holds values")];

type Module = Vec<String>;

/// The files of the crate, by module.
struct Files<'a> {
    sources: BTreeMap<Module, &'a Source>,
    /// By module: a name that it passes on, and the path behind that name.
    passed_on: BTreeMap<Module, BTreeMap<String, Module>>,
}

impl Files<'_> {
    fn new(sources: &[Source]) -> Files<'_> {
        let sources: BTreeMap<_, _> = sources.iter().map(|source| (module(&source.path), source)).collect();
        let passed_on = sources
            .iter()
            .map(|(module, source)| {
                let uses = use_paths(&source.code, "pub use ").into_iter();
                let names = uses.filter_map(|path| {
                    let path = absolute(&path, module, &sources).unwrap_or_else(|| joined(module, &path));
                    Some((path.last()?.clone(), path))
                });
                (module.clone(), names.collect())
            })
            .collect();
        Files { sources, passed_on }
    }

    /// The module whose file defines what the path names.
    fn defining(&self, path: &[String]) -> Option<Module> {
        let mut path = path.to_vec();
        // A name is passed on by a few modules at most.
        for _ in 0..8 {
            let length = (0..=path.len()).rev().find(|length| self.sources.contains_key(&path[..*length]))?;
            let module = path[..length].to_vec();
            let passed_on = path.get(length).and_then(|name| self.passed_on[&module].get(name));
            match passed_on {
                Some(behind) if behind[..] != path[..length + 1] => {
                    path = behind.iter().chain(&path[length + 1..]).cloned().collect();
                }
                _ => return Some(module),
            }
        }
        None
    }

    fn arrows(&self) -> BTreeMap<Module, BTreeSet<Module>> {
        let arrows_of = |from: &Module, source: &Source| {
            let mut paths = use_paths(&source.code, "use ");
            paths.extend(inline_paths(&source.code));
            let to = paths.iter().filter_map(|path| self.defining(&absolute(path, from, &self.sources)?));
            to.filter(|to| to != from && !to.is_empty() && !is_own(from, to, &self.sources)).collect()
        };
        self.sources.iter().map(|(from, source)| (from.clone(), arrows_of(from, source))).collect()
    }
}

/// Whether one of the two is the `mod.rs` of the folder in which the other one lies.
fn is_own(one: &Module, other: &Module, sources: &BTreeMap<Module, &Source>) -> bool {
    let holds = |outer: &Module, inner: &Module| {
        inner.len() == outer.len() + 1 && inner.starts_with(outer) && sources[outer].path.ends_with("/mod.rs")
    };
    holds(one, other) || holds(other, one)
}

/// `["decide", "items"]` for `src/decide/items/mod.rs`.
fn module(path: &str) -> Module {
    let inside = path.strip_prefix("src/").unwrap_or(path).trim_end_matches(".rs");
    let inside = inside.trim_end_matches("/mod");
    inside.split('/').filter(|name| !["lib", "main"].contains(name)).map(str::to_owned).collect()
}

fn joined(module: &Module, path: &[String]) -> Module {
    module.iter().chain(path).cloned().collect()
}

/// The path from the root of the crate; `None` where it leads out of the crate.
fn absolute(path: &[String], from: &Module, sources: &BTreeMap<Module, &Source>) -> Option<Module> {
    let (first, rest) = path.split_first()?;
    match first.as_str() {
        "crate" => Some(rest.to_vec()),
        "self" => Some(joined(from, rest)),
        "super" => {
            let ups = path.iter().take_while(|name| *name == "super").count();
            let base = from.get(..from.len().checked_sub(ups)?)?;
            Some(joined(&base.to_vec(), &path[ups..]))
        }
        // A child module is named without a prefix.
        child => sources.contains_key(&joined(from, &[child.to_owned()])).then(|| joined(from, path)),
    }
}

/// The paths of all `use` lines that begin so, groups taken apart.
fn use_paths(code: &str, begins: &str) -> Vec<Module> {
    let mut paths = Vec::new();
    for (at, _) in code.match_indices(begins) {
        let line = code[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let before = code[line..at].trim_start();
        if !(before.is_empty() || before.starts_with("pub") && before.ends_with(' ')) {
            continue;
        }
        let rest = &code[at + begins.len()..];
        let tree = &rest[..rest.find(';').unwrap_or(0)];
        take_apart(tree, &mut Vec::new(), &mut paths);
    }
    paths
}

fn take_apart(tree: &str, prefix: &mut Module, paths: &mut Vec<Module>) {
    let depth = prefix.len();
    let (head, group) = match tree.find('{') {
        Some(at) => (&tree[..at], Some(&tree[at + 1..tree.rfind('}').unwrap_or(tree.len())])),
        None => (tree, None),
    };
    let head = head.split(" as ").next().unwrap_or(head);
    prefix.extend(head.split("::").map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned));
    match group {
        Some(group) => branches(group).into_iter().for_each(|branch| take_apart(branch, prefix, paths)),
        None => {
            let ends_with_self = prefix.len() > 1 && prefix.last().is_some_and(|name| name == "self");
            paths.push(prefix[..prefix.len() - usize::from(ends_with_self)].to_vec());
        }
    }
    prefix.truncate(depth);
}

/// The parts between the commas of the outermost level.
fn branches(group: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut from) = (Vec::new(), 0, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&group[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&group[from..]);
    parts.into_iter().filter(|part| !part.trim().is_empty()).collect()
}

/// Paths outside of `use` lines: `crate::a::b`, `super::b`, and `b::f` of a child module.
fn inline_paths(code: &str) -> Vec<Module> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut paths = Vec::new();
    for (at, _) in code.match_indices("::") {
        let begin = code[..at].rfind(|c| !is_word(c)).map_or(0, |before| before + 1);
        // A visibility names a room, and uses nothing of it.
        if begin == at || code[..begin].ends_with("::") || code[..begin].ends_with("pub(in ") {
            continue;
        }
        let end = code[at..].find(|c| !(is_word(c) || c == ':')).map_or(code.len(), |length| at + length);
        // The names of the group were read with its `use` line.
        if code[end..].starts_with('{') {
            continue;
        }
        let names = code[begin..end].split("::").filter(|name| !name.is_empty());
        paths.push(names.map(|name| name.trim_matches(':').to_owned()).collect());
    }
    paths
}

/// Every set of files of which each can be reached from each other.
fn circles(arrows: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<BTreeSet<Module>> {
    let reach = |from: &Module| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(at) = next.pop() {
            next.extend(arrows.get(at).into_iter().flatten().filter(|to| seen.insert((*to).clone())));
        }
        seen
    };
    let reached: BTreeMap<_, _> = arrows.keys().map(|from| (from, reach(from))).collect();
    let circle_of = |file: &Module| -> BTreeSet<Module> {
        let back = |to: &&Module| reached.get(*to).is_some_and(|seen| seen.contains(file));
        reached[file].iter().filter(back).cloned().collect()
    };
    let circles: BTreeSet<_> =
        arrows.keys().map(circle_of).filter(|circle: &BTreeSet<Module>| circle.len() > 1).collect();
    circles.into_iter().collect()
}

/// The circles among these files, each with its arrows, for people.
pub(super) fn found(sources: &[Source]) -> Vec<String> {
    found_but(sources, ALLOWED)
}

fn found_but(sources: &[Source], allowed: &[(&'static str, &str)]) -> Vec<String> {
    let files = Files::new(sources);
    let arrows = files.arrows();
    let mut allowed: BTreeSet<_> = allowed.iter().map(|(path, _)| *path).collect();
    let mut found = Vec::new();
    for circle in circles(&arrows) {
        let is_of = |path: &str| circle.contains(&module(path));
        if let Some(path) = allowed.iter().copied().find(|path| is_of(path)) {
            allowed.remove(path);
            continue;
        }
        let mut text = format!("a circle of {} files:", circle.len());
        for from in &circle {
            let to = arrows[from].intersection(&circle).map(|to| files.sources[to].path.as_str());
            text += &format!("\n  {} -> {}", files.sources[from].path, to.collect::<Vec<_>>().join(", "));
        }
        found.push(text);
    }
    found.extend(allowed.iter().map(|path| format!("{path} is allowed a circle and is in none")));
    found
}

#[test]
fn circle_through_a_passed_on_name_is_found() {
    let source = |path: &str, code: &str| Source { path: path.to_owned(), code: code.to_owned() };
    let files = |of_c: &str| {
        [
            source("src/a/mod.rs", "mod b;\npub use b::B;\n"),
            source("src/a/b.rs", "use crate::c::{self, D};\nstruct B;\n"),
            source("src/c.rs", of_c),
        ]
    };
    let found_of = |sources: &[Source]| found_but(sources, &[]);
    assert_eq!(found_of(&files("struct D;\n")), Vec::<String>::new());
    assert_eq!(found_of(&files("fn f() { crate::d::g() }\n")), Vec::<String>::new());
    assert_eq!(found_of(&files("pub(in crate::a::b) struct D;\n")), Vec::<String>::new());
    let circle = found_of(&files("use crate::a::B;\nstruct D;\n"));
    assert_eq!(circle, ["a circle of 2 files:\n  src/a/b.rs -> src/c.rs\n  src/c.rs -> src/a/b.rs"]);
    assert_eq!(found_of(&files("fn f(_: crate::a::B) {}\n")).len(), 1);
}
