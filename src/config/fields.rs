//! What the tables of a configuration have in common: command lines, paths and names of variables.

use std::path::{Path, PathBuf};

use crate::config::toml::value::Value;
use crate::text::cut::quoted;

/// What `fill` replaces in a command line.
const PLACEHOLDERS: [&str; 4] = ["{session}", "{run}", "{workspace}", "{prompt_file}"];

/// Where a configuration lies, and how a prompt template named in it is read.
pub(super) struct Place<'a> {
    /// The file, absolute.
    pub(super) path: &'a Path,
    /// The folder it lies in.
    pub(super) dir: &'a Path,
    /// Reads a prompt template; the error says why it can't be.
    pub(super) read_prompt: &'a dyn Fn(&Path) -> Result<String, String>,
}

/// A command line. A program with a `/` becomes absolute; any other is looked up in PATH when it is started.
pub(super) fn argv(value: &Value<'_, '_>, place: &Place<'_>) -> Option<Vec<String>> {
    const HINT: &str = "one string per argument: [\"./agent.sh\", \"--fast\"]";
    let mut program = true;
    let argv = value.list(|value| {
        if std::mem::take(&mut program) { self::program(value, place) } else { without_nul(value) }
    })?;
    if argv.is_empty() { value.refuse("is empty", HINT) } else { Some(argv) }
}

fn program(value: &Value<'_, '_>, place: &Place<'_>) -> Option<String> {
    let text = without_nul(value)?;
    if text.trim().is_empty() {
        return value.refuse("begins with a blank program", "name the program first: [\"./agent.sh\"]");
    }
    if let Some(placeholder) = PLACEHOLDERS.iter().find(|placeholder| text.contains(*placeholder)) {
        // An agent can write into its workspace. What is run outside of it is not for the agent to say.
        return value.refuse(
            &format!("has {placeholder} in its program"),
            "name a program, and use placeholders in its arguments",
        );
    }
    if !text.contains('/') {
        return Some(text);
    }
    match path(value, place)?.into_os_string().into_string() {
        Ok(absolute) => Some(absolute),
        Err(_) => value.refuse(
            "lies in a folder whose name is not UTF-8",
            "rename the folder of the configuration, or use a program from PATH",
        ),
    }
}

/// Variables that every agent is given, besides those that begin with `FACTORY_`.
pub const OWN_VARIABLES: [&str; 6] = [
    "FACTORY_RUN",
    "FACTORY_ITEM",
    "FACTORY_ROLE",
    "FACTORY_WORKSPACE",
    "FACTORY_PROMPT_FILE",
    "GIT_CEILING_DIRECTORIES",
];

/// The name of a variable that is passed through.
pub(super) fn passed_name(value: &Value<'_, '_>) -> Option<String> {
    let name = env_name(value, &value.string()?)?;
    if OWN_VARIABLES.contains(&name.as_str()) {
        return value.refuse(&format!("can't pass {name}"), "factory-tick sets it itself; remove it");
    }
    Some(name)
}

pub(super) fn env_name(value: &Value<'_, '_>, name: &str) -> Option<String> {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    if first && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Some(name.to_owned());
    }
    value.refuse(
        &format!("names no variable: {}", quoted(name)),
        "use letters, digits and _, and begin with no digit",
    )
}

/// A string that the system can take as an argument, a variable or a path.
pub(super) fn without_nul(value: &Value<'_, '_>) -> Option<String> {
    let text = value.string()?;
    if text.contains('\0') {
        return value.refuse("has a NUL character in it", "remove it: the system can't pass it on");
    }
    Some(text)
}

/// A path, made absolute from the folder of the configuration.
pub(super) fn path(value: &Value<'_, '_>, place: &Place<'_>) -> Option<PathBuf> {
    let text = without_nul(value)?;
    if text.is_empty() {
        return value.refuse("is an empty path", "name a file or a folder; `.` is the folder of this file");
    }
    if text == "~" || text.starts_with("~/") {
        return value.refuse("begins with `~`, which stands for nothing here", "write the absolute path");
    }
    // Collecting the components drops a `.` in between: what is shown later reads as a person would write it.
    Some(place.dir.join(text).components().collect())
}

/// The same, or `""` for none.
pub(super) fn optional_path(value: &Value<'_, '_>, place: &Place<'_>) -> Option<Option<PathBuf>> {
    if value.string()?.is_empty() { Some(None) } else { path(value, place).map(Some) }
}
