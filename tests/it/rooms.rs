//! ARCHITECTURE.md is true: its paths and functions exist, and it and src/lib.rs name every room.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Folders whose paths are checked wherever a document names them between backticks.
const FOLDERS: [&str; 4] = ["src/", "tests/", "fixtures/", "scripts/"];

const LINES_MAX: usize = 250;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// What is wrong with the paths of a document: `src/a.rs`, or `src/a.rs#f` for a function.
fn wrong_paths(document: &str, code: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let named = document.split('`').skip(1).step_by(2);
    let paths = named.filter(|name| FOLDERS.iter().any(|folder| name.starts_with(folder)));
    let mut wrong = Vec::new();
    // A place for something new is no path yet.
    for name in paths.filter(|name| !name.contains('<') && *name != "src/forge/") {
        let (path, function) = name.split_once('#').map_or((name, None), |(path, f)| (path, Some(f)));
        match (code(path), function) {
            (None, _) => wrong.push(format!("there is no {path}")),
            (Some(code), Some(function))
                if !["(", "<"].iter().any(|next| code.contains(&format!("fn {function}{next}"))) =>
            {
                wrong.push(format!("there is no {function} in {path}"));
            }
            _ => {}
        }
    }
    wrong
}

/// The text of a file; the empty text for a folder.
fn code(path: &str) -> Option<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if path.is_dir() { Some(String::new()) } else { fs::read_to_string(path).ok() }
}

fn rooms() -> BTreeSet<String> {
    let entries = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let rooms = names.map(|name| name.trim_end_matches(".rs").to_owned());
    rooms.filter(|name| !["lib", "main"].contains(&name.as_str())).collect()
}

#[test]
fn architecture_names_only_paths_and_functions_that_exist() {
    let document = read("ARCHITECTURE.md");
    let wrong = wrong_paths(&document, code);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let lines = document.lines().count();
    assert!(lines <= LINES_MAX, "{lines} lines are too many to read at once");
}

#[test]
fn every_room_has_its_line_and_every_line_its_room() {
    let rooms = rooms();
    assert!(rooms.contains("decide") && rooms.contains("tick"), "{rooms:?}");
    let document = read("ARCHITECTURE.md");
    let section = document.split("\n## Rooms\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let line = |line: &str| Some(line.strip_prefix("- `")?.split('`').next()?.to_owned());
    assert_eq!(section.lines().filter_map(line).collect::<BTreeSet<_>>(), rooms, "ARCHITECTURE.md");
    let lib = read("src/lib.rs");
    let line = |line: &str| Some(line.strip_prefix("//! - [`")?.split('`').next()?.to_owned());
    assert_eq!(lib.lines().filter_map(line).collect::<BTreeSet<_>>(), rooms, "src/lib.rs");
}

#[test]
fn path_or_function_that_is_gone_is_reported() {
    let code = |path: &str| (path == "src/a.rs").then(|| "fn f(x: u8) {}\nfn g<T>() {}\n".to_owned());
    assert_eq!(wrong_paths("`src/a.rs`, `src/a.rs#f` and `src/a.rs#g`", code), Vec::<String>::new());
    assert_eq!(wrong_paths("`src/b.rs` or `x/y`", code), ["there is no src/b.rs"]);
    assert_eq!(wrong_paths("`src/a.rs#h`", code), ["there is no h in src/a.rs"]);
}
