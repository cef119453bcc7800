//! What runs this command, and whether it would end the agents that a tick leaves behind.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User};

use super::subject::Subject;
use crate::exit::ExitStatus;
use crate::run::env::Vars;
use crate::views::check::Finding;

/// The PATH that cron gives, where the crontab says nothing.
pub(super) const CRON_PATH: &str = "/usr/bin:/bin";

/// The job that a runner of GitHub's is busy with; what carries its value is killed with the job.
const TRACKING: &str = "RUNNER_TRACKING_ID";

/// Everything that cron gives to a command, of the user that this runs as.
pub(super) fn cron(shell: &Vars) -> Vars {
    let user = User::from_uid(Uid::effective()).ok().flatten();
    let inherited = |name: &str| shell.get(OsStr::new(name)).cloned();
    let mut vars =
        Vars::from([("SHELL".into(), OsString::from("/bin/sh")), ("PATH".into(), OsString::from(CRON_PATH))]);
    let home = user.as_ref().map(|user| user.dir.clone().into_os_string());
    let name = user.map(|user| OsString::from(user.name));
    vars.extend(home.or_else(|| inherited("HOME")).map(|home| ("HOME".into(), home)));
    vars.extend(name.or_else(|| inherited("LOGNAME")).map(|name| ("LOGNAME".into(), name)));
    vars
}

pub(super) fn user(_: &Subject<'_>) -> Vec<Finding> {
    if !rustix::process::geteuid().is_root() {
        return Vec::new();
    }
    let because = "it is root, and so is every agent: nothing on this machine is safe from them";
    vec![Finding::note("root", because).hint("run it as a user of its own")]
}

/// A job of GitHub Actions: what of a factory outlives it.
pub(super) fn github_actions(subject: &Subject<'_>) -> Vec<Finding> {
    let var = |name: &str| subject.vars.get(OsStr::new(name)).filter(|value| !value.is_empty());
    if var("GITHUB_ACTIONS").is_none() {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let state = subject.state_path.display().to_string();
    let hint = "name one outside of it: --state-dir \"$HOME/factory-state\"";
    let lost = |because: &str| Finding::problem(ExitStatus::BadConfig, state.as_str(), because).hint(hint);
    if !subject.state_is_named {
        findings.push(lost(
            "the state directory is not named: a checkout deletes ignored folders, agents or not",
        ));
    } else if var("GITHUB_WORKSPACE").is_some_and(|checkout| subject.state_path.starts_with(checkout)) {
        findings
            .push(lost("it lies in the checkout, and the next one deletes ignored folders, agents or not"));
    }
    if var("RUNNER_ENVIRONMENT").is_some_and(|kind| kind == "github-hosted") {
        let because =
            "this machine is GitHub's, and is thrown away with the job: state, workspaces and agents";
        let hint = "use a runner of your own: runs-on: self-hosted";
        findings.push(Finding::problem(ExitStatus::Partial, "github-hosted", because).hint(hint));
    }
    findings.push(tracking(subject));
    findings
}

/// At the end of a job its runner kills every process that carries the job's id in its environment.
fn tracking(subject: &Subject<'_>) -> Finding {
    let roles = subject.config.roles.iter();
    let given = roles.filter(|role| subject.of_role(&subject.vars, role).contains_key(OsStr::new(TRACKING)));
    let given: Vec<_> = given.map(|role| role.name.as_str()).collect();
    if given.is_empty() {
        let because = format!(
            "the runner kills what carries its {TRACKING} when the job ends; agents are not given it, and live on"
        );
        let hint = format!("whatever else is to outlive the job must be started with {TRACKING}=\"\"");
        return Finding::note(TRACKING, because).hint(hint);
    }
    let because = format!(
        "the runner kills the agents of {} when the job ends: they are given its id",
        given.join(", ")
    );
    Finding::problem(ExitStatus::Partial, TRACKING, because)
        .hint(format!("take {TRACKING} out of the role's env and of [env] set"))
}

/// A service of systemd, which by default ends with everything that it has started.
pub(super) fn systemd(subject: &Subject<'_>) -> Vec<Finding> {
    let var = |name: &str| subject.vars.get(OsStr::new(name));
    if var("INVOCATION_ID").is_none() {
        return Vec::new();
    }
    let cgroup = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let runtime = var("XDG_RUNTIME_DIR").map(PathBuf::from);
    let home = var("HOME").map(PathBuf::from);
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    let list = |path: &Path| {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        let mut files: Vec<_> = entries.map(|entry| entry.path()).collect();
        files.sort();
        files
    };
    let Some(unit) = service(&cgroup) else { return Vec::new() };
    let folders = unit_folders(runtime.as_deref(), home.as_deref());
    vec![judge(unit, kill_mode(unit, &folders, &read, &list).as_deref())]
}

fn judge(unit: &str, kill_mode: Option<&str>) -> Finding {
    match kill_mode {
        Some(mode @ ("process" | "none")) => {
            Finding::ok(unit, format!("KillMode={mode}: agents live on when a tick ends"))
        }
        mode => {
            let mode = mode.unwrap_or("control-group");
            let because =
                format!("KillMode={mode}: when the tick ends, systemd kills every agent that it has started");
            Finding::problem(ExitStatus::Partial, unit, because)
                .hint("set KillMode=process in its [Service], or run ticks from cron")
        }
    }
}

/// The service that a process belongs to, by its `/proc/self/cgroup`. What a person starts is in a scope.
fn service(cgroup: &str) -> Option<&str> {
    let paths = cgroup.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    paths.filter_map(|path| path.rsplit('/').next()).find(|unit| unit.ends_with(".service"))
}

/// Where units are, the one that counts first.
fn unit_folders(runtime: Option<&Path>, home: Option<&Path>) -> Vec<PathBuf> {
    let user = [
        runtime.map(|runtime| runtime.join("systemd/transient")),
        home.map(|home| home.join(".config/systemd/user")),
    ];
    let system = [
        "/run/systemd/transient",
        "/etc/systemd/system",
        "/run/systemd/system",
        "/usr/local/lib/systemd/system",
        "/usr/lib/systemd/system",
        "/lib/systemd/system",
        "/etc/systemd/user",
        "/usr/lib/systemd/user",
    ];
    user.into_iter().flatten().chain(system.map(PathBuf::from)).collect()
}

/// What the unit's file says, and then its drop-ins; `None` where none of them says anything.
fn kill_mode(
    unit: &str,
    folders: &[PathBuf],
    read: &dyn Fn(&Path) -> Option<String>,
    list: &dyn Fn(&Path) -> Vec<PathBuf>,
) -> Option<String> {
    // Of an instance `x@1.service` the file is mostly that of its template.
    let template = unit.split_once('@').map(|(name, _)| format!("{name}@.service"));
    let names: Vec<_> = [Some(unit.to_owned()), template].into_iter().flatten().collect();
    let files = folders.iter().flat_map(|folder| names.iter().map(move |name| folder.join(name)));
    let own = files.into_iter().find_map(|file| read(&file)).and_then(|text| last_kill_mode(&text));
    let mut drop_ins: Vec<_> = folders
        .iter()
        .flat_map(|folder| names.iter().map(move |name| folder.join(format!("{name}.d"))))
        .flat_map(|folder| list(&folder))
        .filter(|file| file.extension() == Some(OsStr::new("conf")))
        .collect();
    drop_ins.sort_by(|a, b| a.file_name().cmp(&b.file_name()));
    let later = drop_ins.iter().rev().find_map(|file| last_kill_mode(&read(file)?));
    later.or(own)
}

fn last_kill_mode(text: &str) -> Option<String> {
    let values = text.lines().filter_map(|line| line.trim().strip_prefix("KillMode"));
    values
        .filter_map(|rest| rest.trim_start().strip_prefix('='))
        .next_back()
        .map(|value| value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers: C07
    #[test]
    fn a_service_is_told_from_a_session() {
        for (cgroup, unit) in [
            ("0::/system.slice/factory.service\n", Some("factory.service")),
            ("12:pids:/x\n1:name=systemd:/system.slice/factory.service\n", Some("factory.service")),
            (
                "0::/user.slice/user-1000.slice/user@1000.service/app.slice/tick.service\n",
                Some("tick.service"),
            ),
            // A terminal inherits the INVOCATION_ID of whatever has started it.
            ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-x.scope\n", None),
            ("0::/user.slice/user-1000.slice/session-4.scope\n", None),
            ("0::/\n", None),
        ] {
            assert_eq!(service(cgroup), unit, "{cgroup}");
        }
    }

    // Origin: a factory whose oneshot service ended all of its agents with each run.
    // covers: C07 F71
    #[test]
    fn a_service_that_kills_what_a_tick_leaves_behind_is_told() {
        let folders = [PathBuf::from("/etc"), PathBuf::from("/lib")];
        let mode = |files: &[(&str, &str)], unit: &str| {
            let files: Vec<_> = files.iter().map(|(path, text)| (PathBuf::from(path), *text)).collect();
            let read =
                |path: &Path| files.iter().find(|(file, _)| file == path).map(|(_, text)| (*text).to_owned());
            let list = |folder: &Path| {
                files
                    .iter()
                    .map(|(file, _)| file.clone())
                    .filter(|file| file.parent() == Some(folder))
                    .collect()
            };
            kill_mode(unit, &folders, &read, &list)
        };
        let process = "[Service]\nKillMode = process\n";
        assert_eq!(mode(&[("/lib/x.service", "[Service]\nType=oneshot\n")], "x.service"), None);
        assert_eq!(mode(&[("/lib/x.service", process)], "x.service").as_deref(), Some("process"));
        let overridden = [("/etc/x.service", "KillMode=mixed"), ("/lib/x.service", process)];
        assert_eq!(mode(&overridden, "x.service").as_deref(), Some("mixed"));
        let drop_in = [("/lib/x@.service", ""), ("/etc/x@.service.d/10.conf", process)];
        assert_eq!(mode(&drop_in, "x@1.service").as_deref(), Some("process"));
        let levels = ["process", "none", "mixed", "control-group"].map(|mode| judge("x", Some(mode)).level);
        assert_eq!(levels.map(|level| level.name()), ["ok", "ok", "problem", "problem"]);
        assert_eq!(judge("x", None).level.name(), "problem");
    }
}
