//! The program that a name means, looked for immediately before it is started.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

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
