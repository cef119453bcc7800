//! The places on disk that a tick needs: the state directory, workspaces, free space, files with pids.

use std::path::{Path, PathBuf};
use std::slice;

use rustix::fs::{Access, AtFlags, CWD};

use super::subject::Subject;
use crate::durable::disk;
use crate::exit::{ExitStatus, Failure};
use crate::model::Free;
use crate::process::identity::Host;
use crate::process::protected;
use crate::state::{self, HostDir, State};
use crate::views::check::Finding;
use crate::workspace::root;

/// Loaded as a tick would, without its lock: owner, mode, file system, whose it is, whether it is whole.
pub(super) fn state(subject: &Subject<'_>) -> Vec<Finding> {
    let (config, path) = (subject.config, &subject.state_path);
    let shown = path.display().to_string();
    let peeked = Host::read()
        .map_err(|error| Failure::new(ExitStatus::IoError, format!("{error:#}")))
        .and_then(|host| State::open_read_only(config, path, &host, state::Access::Act));
    let finding = match peeked {
        Err(failure) => Finding::problem(failure.status, shown, failure.text),
        Ok(Some(state)) => match &state.damage {
            Some(why) => Finding::note(shown, format!("{why}; the next tick goes on from its backup")),
            None => Finding::ok(shown, format!("generation {} stands", state.serial())),
        },
        Ok(None) => match HostDir::could_be_made(path, config.allow_network_fs) {
            Ok(()) => Finding::ok(shown, "the first tick makes it"),
            Err(error) => Finding::problem(ExitStatus::CannotCreate, shown, error.to_string())
                .hint("make it possible, or pass another --state-dir"),
        },
    };
    vec![finding]
}

pub(super) fn workspaces(subject: &Subject<'_>) -> Vec<Finding> {
    // The folder inside the state directory is made and kept with it.
    let Some(root) = &subject.config.workspace_root else { return Vec::new() };
    let folder = existing(root);
    let shown = root.display().to_string();
    let because = match (may_write(&folder), folder == *root) {
        (Err(why), _) => format!("nothing can be made in {}: {why}", folder.display()),
        (Ok(()), true) => return vec![Finding::ok(shown, "workspaces are made in it")],
        (Ok(()), false) => return vec![Finding::ok(shown, "the first start makes it")],
    };
    let hint =
        "give the user that runs the tick the permissions w and x on it, or set another [workspace] root";
    vec![Finding::problem(ExitStatus::CannotCreate, shown, because).hint(hint)]
}

/// The disks of the state and of the workspaces, which may be one.
pub(super) fn disk(subject: &Subject<'_>) -> Vec<Finding> {
    let workspaces = root::folder(subject.config, &subject.state_path);
    let places = [existing(&subject.state_path), existing(&workspaces)];
    let disk = |place: &PathBuf| rustix::fs::stat(place).map(|stat| stat.st_dev).ok();
    let is_one = disk(&places[0]) == disk(&places[1]);
    places.iter().take(if is_one { 1 } else { 2 }).map(|place| disk_of(subject, place)).collect()
}

fn disk_of(subject: &Subject<'_>, place: &Path) -> Finding {
    let least = subject.config.limits.disk_free_min_bytes;
    let shown = place.display().to_string();
    let Some(Free { bytes: free, .. }) = disk::free_at(place) else {
        return Finding::note(shown, "the system does not tell how much space is free");
    };
    let gib = |bytes: u64| format!("{}.{} GiB", bytes >> 30, (bytes >> 20) % 1024 * 10 / 1024);
    if free < least {
        let because = format!("{} are free, and nothing starts with less than {}", gib(free), gib(least));
        let hint = "free some space, or lower [limits] disk_free_min";
        return Finding::problem(ExitStatus::Partial, shown, because).hint(hint);
    }
    Finding::ok(shown, format!("{} are free", gib(free)))
}

/// Where it can't be used, no role starts anything.
pub(super) fn env_file(subject: &Subject<'_>) -> Vec<Finding> {
    let Some(path) = &subject.config.env.file else { return Vec::new() };
    let shown = path.display().to_string();
    // Names alone: values are nobody's business.
    vec![match &subject.file {
        Ok(vars) => {
            let names: Vec<_> = vars.keys().map(String::as_str).collect();
            Finding::ok(shown, format!("gives every agent {}", names.join(", ")))
        }
        Err(why) => Finding::problem(ExitStatus::Denied, shown, why),
    }]
}

/// One that can't be read keeps ticks from signalling anybody.
pub(super) fn pidfiles(subject: &Subject<'_>) -> Vec<Finding> {
    let files = subject.config.fleet.protected_pidfiles.iter();
    let look = |file: &PathBuf| {
        let shown = file.display().to_string();
        match protected::guard(&[], slice::from_ref(file)) {
            Ok(_) if file.exists() => Finding::ok(shown, "its process is never signalled"),
            Ok(_) => Finding::ok(shown, "is not there: its process does not run"),
            Err(error) => {
                let because = format!("no agent can be ended: {error:#}");
                Finding::problem(ExitStatus::Partial, shown, because).hint("correct the file, or remove it")
            }
        }
    };
    files.map(look).collect()
}

/// The path itself, or the folder above it in which the first missing one would be made.
fn existing(path: &Path) -> PathBuf {
    path.ancestors().find(|folder| folder.exists()).unwrap_or(path).to_owned()
}

/// Whether the user that runs this can make something in a folder.
fn may_write(folder: &Path) -> Result<(), String> {
    if !folder.is_dir() {
        return Err("it is not a folder".to_owned());
    }
    rustix::fs::accessat(CWD, folder, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)
        .map_err(|error| std::io::Error::from(error).to_string())
}
