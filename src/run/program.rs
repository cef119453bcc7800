//! The program that a name means, looked for immediately before it is started.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::config::{Config, Done, Role};
use crate::run::env::{self, Vars};
use crate::run::env_file::FileVars;

/// By role: the first program that its agents, their hooks or the `[done]` command need and that is not there, in words.
/// Looked for as a start does.
pub fn missing(inherited: &Vars, config: &Config, file: &FileVars) -> BTreeMap<String, String> {
    let hooks = &config.hooks;
    let done: &[String] = match &config.done {
        Done::Command(argv) => argv,
        Done::Exit | Done::Source => &[],
    };
    let beside = [
        ("its after_create hook: ", hooks.after_create.as_slice()),
        ("its before_run hook: ", &hooks.before_run),
        ("its after_run hook: ", &hooks.after_run),
        ("its [done] command: ", done),
    ];
    let missing_of = |role: &Role| {
        let vars = env::of_role(inherited, &config.env, file, &role.env);
        let path = vars.get(OsStr::new("PATH"));
        let of_role = role.commands().into_iter().map(|argv| ("", argv.first().cloned()));
        let beside = beside.iter().map(|(name, argv)| (*name, argv.first().cloned()));
        of_role.chain(beside).find_map(|(name, program)| {
            let why = find(&program?, path).err()?;
            Some(format!("{name}{why}"))
        })
    };
    config.roles.iter().filter_map(|role| Some((role.name.clone(), missing_of(role)?))).collect()
}

/// Finds a program by its name in PATH, or by its path.
///
/// # Errors
///
/// That there is none, and where it was looked for.
pub fn find(name: &str, path: Option<&OsString>) -> Result<PathBuf, String> {
    let is_program = |path: &Path| {
        fs::metadata(path).is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
    };
    if name.contains('/') {
        let path = PathBuf::from(name);
        return if is_program(&path) { Ok(path) } else { Err(format!("{name} is not an executable file")) };
    }
    let folders: Vec<_> = path.map(std::env::split_paths).into_iter().flatten().collect();
    // A relative folder in PATH would mean another program in each workspace.
    let found = folders
        .iter()
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|p| is_program(p));
    found.ok_or_else(|| {
        let searched: Vec<_> = folders.iter().map(|folder| folder.display().to_string()).collect();
        format!("{name:?} is not in PATH ({})", searched.join(":"))
    })
}
