//! The configuration: whether it reads, and who else could write it.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::subject::Subject;
use crate::config::{ABSENT_HINT, Problem, Problems, UNREADABLE_HINT};
use crate::exit::ExitStatus;
use crate::views::check::Finding;

/// Everything that is wrong with one that can't be used.
pub(super) fn problems(problems: &Problems) -> Vec<Finding> {
    let bad = |subject, because: &str, hint: &str| {
        Finding::problem(ExitStatus::BadConfig, subject, because).hint(hint)
    };
    match problems {
        Problems::Absent { path } => {
            vec![bad(path.display().to_string(), "there is no such file", ABSENT_HINT)]
        }
        Problems::Unreadable { path, why } => vec![bad(path.display().to_string(), why, UNREADABLE_HINT)],
        Problems::Found { path, list, .. } => {
            let place = |one: &Problem| match &one.set {
                Some(set) => format!("--set {set}"),
                None => format!("{}:{}:{}", path.display(), one.line, one.column),
            };
            list.iter().map(|one| bad(place(one), &one.what, &one.hint)).collect()
        }
    }
}

/// What it names as a command is run as whoever runs the tick: who can write it is that user.
pub(super) fn file(subject: &Subject<'_>) -> Vec<Finding> {
    let config = subject.config;
    let templates = config.roles.iter().filter_map(|role| role.prompt_path.as_ref());
    let mut findings: Vec<_> = [&config.path, &config.dir].into_iter().chain(templates).collect();
    findings.dedup();
    let mut findings: Vec<_> = findings.into_iter().filter_map(|path| open_to_others(path)).collect();
    if findings.is_empty() {
        let roles: Vec<_> = config.roles.iter().map(|role| role.name.as_str()).collect();
        let noun = if roles.len() == 1 { "role" } else { "roles" };
        let because = format!("reads without a problem: {noun} {}", roles.join(", "));
        findings.push(Finding::ok(config.path.display().to_string(), because));
    }
    findings
}

/// That everybody, or a group, could write a file, or put another one into a folder.
pub(super) fn open_to_others(path: &Path) -> Option<Finding> {
    const ALL: u32 = 0o002;
    const GROUP: u32 = 0o020;
    const STICKY: u32 = 0o1000;
    let data = path.metadata().ok()?;
    let (mode, shown) = (data.mode(), path.display().to_string());
    // In a sticky folder, such as /tmp, nobody replaces what another one owns.
    if data.is_dir() && mode & STICKY != 0 {
        return None;
    }
    let hint = format!("run: chmod go-w {shown}");
    if mode & ALL != 0 {
        let because =
            format!("everybody can write to it (mode {:o}), and so decide what is run", mode & 0o777);
        return Some(Finding::problem(ExitStatus::BadConfig, shown, because).hint(hint));
    }
    // The group of a user's own, which many systems have, looks like any other.
    let because = format!("the group {} can write to it, and so decide what is run", data.gid());
    (mode & GROUP != 0).then(|| Finding::note(shown, because).hint(format!("unless that is meant, {hint}")))
}
