//! The program is broken on purpose, one line at a time: the simulator must notice, or else a unit test.
//!
//! The mutants stand in `mutants.txt`. Each is tried in a copy of the tree below the target directory.

use std::fs;
use std::path::PathBuf;

use clap::Args;
use regex::Regex;

use crate::support::system;
use crate::{COMMAND, cargo, say, target};

/// The arguments of `cargo prove mutants`.
#[derive(Args)]
pub(crate) struct Order {
    /// Try only the mutants of these names
    names: Vec<String>,
    /// Try only the mutants of this room, such as decide or registry
    #[arg(long)]
    room: Option<String>,
    /// Try only so many, spread evenly over the list
    #[arg(long, value_name = "COUNT", value_parser = crate::at_least_1)]
    sample: Option<usize>,
    /// Print the names, and try nothing
    #[arg(long)]
    list: bool,
}

/// One way to break the program.
#[derive(Clone, Copy)]
struct Mutant {
    name: &'static str,
    file: &'static str,
    /// For sed. It may hold the separator too.
    script: &'static str,
}

impl Mutant {
    fn all() -> Vec<Mutant> {
        let lines = include_str!("mutants.txt").lines().filter(|line| !line.starts_with('#'));
        let read = |line: &'static str| {
            let mut parts = line.splitn(3, '|');
            let mut part = || parts.next().unwrap_or_else(|| panic!("mutants.txt: {line}"));
            Mutant { name: part(), file: part(), script: part() }
        };
        lines.map(read).collect()
    }

    fn is_of(&self, room: &str) -> bool {
        let inside = self.file.strip_prefix("src/").unwrap_or(self.file);
        inside.split(['/', '.']).next() == Some(room)
    }
}

impl Order {
    fn mutants(&self) -> Vec<Mutant> {
        let all = Mutant::all();
        for name in &self.names {
            assert!(all.iter().any(|mutant| mutant.name == name), "no mutant is called {name}");
        }
        let is_named =
            |mutant: &Mutant| self.names.is_empty() || self.names.iter().any(|name| mutant.name == name);
        let is_there = |mutant: &Mutant| self.room.as_deref().is_none_or(|room| mutant.is_of(room));
        let wanted: Vec<_> = all.into_iter().filter(|mutant| is_named(mutant) && is_there(mutant)).collect();
        assert!(!wanted.is_empty(), "no mutant is in {:?}", self.room);
        let step = self.sample.map_or(1, |sample| wanted.len().div_ceil(sample));
        wanted.into_iter().step_by(step).collect()
    }
}

pub(crate) fn every_mutant_is_noticed(order: &Order) {
    let mutants = order.mutants();
    if order.list {
        return mutants.iter().for_each(|mutant| say(&format!("{:<34} {}", mutant.name, mutant.file)));
    }
    let tree = Tree::copied();
    let mut missed = Vec::new();
    for mutant in &mutants {
        let outcome = tree.judge(mutant);
        let told = outcome.as_ref().map_or_else(|why| format!("NOT NOTICED: {why}"), Clone::clone);
        say(&format!("{:<34} {told}", mutant.name));
        missed.extend(outcome.is_err().then_some(mutant.name));
    }
    say(&format!("{} of {} noticed", mutants.len() - missed.len(), mutants.len()));
    assert!(missed.is_empty(), "not noticed: {}", missed.join(", "));
}

/// A copy of the tree, to be broken.
struct Tree {
    root: PathBuf,
    build: PathBuf,
}

impl Tree {
    /// Copies the files that git knows, as they are in the working tree.
    fn copied() -> Tree {
        let folder = target().join("mutants");
        let tree = Tree { root: folder.join("tree"), build: folder.join("build") };
        let _ = fs::remove_dir_all(&tree.root);
        fs::create_dir_all(&tree.root).unwrap();
        let copy = r#"git ls-files -z --cached --others --exclude-standard |
            while IFS= read -r -d '' file; do [ ! -e "$file" ] || cp --parents -p "$file" "$1" || exit; done"#;
        let mut command = system("bash");
        command.args(["-euo", "pipefail", "-c", copy, "copy"]).arg(&tree.root);
        assert!(
            command.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap().success(),
            "the tree can't be copied"
        );
        tree
    }

    /// Breaks the copy, and returns the test that notices; an error where none does.
    fn judge(&self, mutant: &Mutant) -> Result<String, String> {
        let path = self.root.join(mutant.file);
        let whole = fs::read(&path).map_err(|error| format!("{}: {error}", mutant.file))?;
        let edited = system("sed").args(["-i", mutant.script]).arg(&path).status().unwrap();
        assert!(edited.success(), "{}: sed fails", mutant.name);
        let outcome = if fs::read(&path).unwrap() == whole {
            Err(format!("the script no longer applies to {}", mutant.file))
        } else {
            self.noticed()
        };
        // A new time of change tells cargo to build it again.
        crate::support::put(&path, &String::from_utf8(whole).unwrap());
        outcome
    }

    fn noticed(&self) -> Result<String, String> {
        if let Some(printed) = self.failure(&["--test", "prove", "--no-run"]) {
            return Err(format!("does not compile: {}", first(&printed, r"(?m)^error.*")));
        }
        let sim = ["--test", "prove", "--", COMMAND, "sim", "500", "100", "--first-seed", "1"];
        if let Some(printed) = self.failure(&sim) {
            return Ok(format!("simulator: {}", first(&printed, "seed [0-9]+, tick [0-9]+, rule [a-z_]+")));
        }
        let unit_tests = ["--lib", "--", "decide::", "registry::", "retention::", "tick::"];
        if let Some(printed) = self.failure(&unit_tests) {
            return Ok(format!("unit test: {}", first(&printed, "(?m)^test .* FAILED")));
        }
        Err("all tests pass".to_owned())
    }

    /// The output of a cargo test that fails, or takes more than 600 s.
    fn failure(&self, arguments: &[&str]) -> Option<String> {
        let cargo = cargo();
        let mut command = system("timeout");
        for (name, _) in cargo.get_envs() {
            command.env_remove(name);
        }
        command.arg("600").arg(cargo.get_program()).args([
            "test",
            "--offline",
            "--locked",
            "--manifest-path",
        ]);
        command.arg(self.root.join("Cargo.toml")).arg("--target-dir").arg(&self.build).args(arguments);
        let output = command.output().unwrap();
        let printed =
            [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        (!output.status.success()).then(|| printed.concat())
    }
}

/// The first match of a pattern, or else the last line.
fn first(printed: &str, pattern: &str) -> String {
    let found = Regex::new(pattern).unwrap().find(printed).map(|found| found.as_str().to_owned());
    found.unwrap_or_else(|| printed.lines().last().unwrap_or_default().to_owned())
}
