//! Programs by name, as an agent's PATH finds them; and what a script needs besides.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, OFlags};

use crate::durable::open::{Links, open_at};
use crate::run::program;

/// The kernel reads no more of a script's first line.
const FIRST_LINE_BYTES_MAX: u64 = 256;

/// A program that is looked for, and where it is.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// As it is named.
    pub(crate) name: String,
    /// The script whose first line names it; `None` for the command itself.
    pub(crate) by: Option<PathBuf>,
    /// Where it was found, or why it was not.
    pub(crate) found: Result<PathBuf, String>,
}

/// The program of a command, and where it is a script what runs it.
pub(crate) fn wanted(name: &str, path: &OsStr) -> Vec<Wanted> {
    let program = find(name, path);
    let interpreter = program.as_ref().ok().and_then(|script| Some((script.clone(), interpreter(script)?)));
    let mut all = vec![Wanted { name: name.to_owned(), by: None, found: program }];
    all.extend(interpreter.map(|(script, name)| {
        let found = find(&name, path);
        Wanted { name, by: Some(script), found }
    }));
    all
}

/// The program that a name means, if this user may execute it.
pub(crate) fn find(name: &str, path: &OsStr) -> Result<PathBuf, String> {
    let program = program::find(name, Some(&OsString::from(path)))?;
    rustix::fs::accessat(CWD, &program, Access::EXEC_OK, AtFlags::EACCESS)
        .map_err(|error| format!("{}: {}", program.display(), std::io::Error::from(error)))?;
    Ok(program)
}

/// Whether two paths lead to one program: `/bin` is often the same as `/usr/bin`.
pub(crate) fn is_same(one: &Path, other: &Path) -> bool {
    one == other || one.canonicalize().is_ok_and(|one| other.canonicalize().is_ok_and(|other| one == other))
}

/// What runs a script: the program that its first line names, or has `env` look for.
fn interpreter(script: &Path) -> Option<String> {
    named_by(&head(script, FIRST_LINE_BYTES_MAX)?)
}

/// The first bytes of a file; never waits for the other end of a pipe.
pub(crate) fn head(path: &Path, bytes_max: u64) -> Option<Vec<u8>> {
    let file = open_at(CWD, path, OFlags::RDONLY, Links::Follow).ok()?;
    let mut head = Vec::new();
    File::from(file).take(bytes_max).read_to_end(&mut head).ok()?;
    Some(head)
}

fn named_by(head: &[u8]) -> Option<String> {
    let line = head.strip_prefix(b"#!")?.split(|&byte| byte == b'\n').next()?;
    let line = String::from_utf8_lossy(line).into_owned();
    // A carriage return of another system's editor is part of the name, to the kernel as well.
    let mut words = line.split([' ', '\t']).filter(|word| !word.is_empty());
    let program = words.next()?;
    if !program.ends_with("/env") {
        return Some(program.to_owned());
    }
    words.find(|word| !word.starts_with('-') && !word.contains('=')).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_a_script_is_in_its_first_line() {
        let named = |head: &str| named_by(head.as_bytes());
        assert_eq!(named("#!/bin/sh\nexit\n").as_deref(), Some("/bin/sh"));
        assert_eq!(named("#! /usr/bin/python3 -u\n").as_deref(), Some("/usr/bin/python3"));
        assert_eq!(named("#!/usr/bin/env node\n").as_deref(), Some("node"));
        assert_eq!(named("#!/usr/bin/env -S NODE_ENV=x node --x\n").as_deref(), Some("node"));
        assert_eq!(named("\u{7f}ELF"), None);
        assert_eq!(named("#!\n"), None);
        assert_eq!(named("#!/bin/sh\r\n").as_deref(), Some("/bin/sh\r"));
    }
}
