//! A proof in a pid namespace of its own: whatever lives in it afterwards was started by the test, and ends with it.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use clap::{Args, ValueEnum};

use crate::support::{Ran, is_root, pause, put, system};
use crate::{COMMAND, say};

/// An ordinary user that nobody else is.
pub(super) const USER: u32 = 54_321;

/// A part of a proof, for the process that runs it in a namespace of its own.
#[derive(Args)]
pub(crate) struct Order {
    /// Which part.
    part: Inside,
    /// What it is about, in JSON.
    order: String,
    /// The namespace that it was started from.
    outside: String,
}

/// The parts that run in a namespace of their own.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Inside {
    /// One cell of the matrix.
    Cell,
    /// Pids that are given to others.
    Pids,
}

/// Whether this process is in a namespace of its own.
static IS_ALONE: AtomicBool = AtomicBool::new(false);

/// What the test says in there for the test out here.
const ANSWER: &str = "ANSWER ";

/// Which control groups a run can make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Groups {
    /// Below one that was made for the test, and belongs to this user.
    Of(u32),
    /// None: where they were there is an empty folder.
    Hidden,
}

/// What came of a test in there.
pub(super) enum Answer {
    /// What it said.
    Reported(String),
    /// It failed, and how.
    Failed(String),
    /// This machine has no such namespaces, or no such groups.
    Impossible(String),
}

/// Hides those folders, and becomes the first process of the namespace.
const BEGIN: &str = r#"
    hide=$1; shift
    for dir in $hide; do mount -t tmpfs none "$dir"; done
    exec "$@"
"#;

/// Does such a part.
pub(crate) fn play(order: &Order) {
    // It goes on to kill whatever it finds.
    assert_ne!(order.outside, namespace(), "this is no namespace of its own");
    IS_ALONE.store(true, Ordering::Relaxed);
    let about = serde_json::from_str(&order.order).unwrap();
    match order.part {
        Inside::Cell => super::play_inside(&about),
        Inside::Pids => super::reuse::play_inside(&about),
    }
}

/// Says it to the test outside.
pub(super) fn answer(text: &str) {
    say(&format!("\n{ANSWER}{text}"));
}

/// Runs a part of a proof in there. `agent` is `misbehave.c`.
pub(super) fn run(part: Inside, order: &str, groups: Groups, agent: &Path) -> Answer {
    let mounts = cgroup_mounts();
    let group = match groups {
        Groups::Of(user) => match Group::make(&mounts, user) {
            Ok(group) => Some(group),
            Err(why) => return Answer::Impossible(why),
        },
        Groups::Hidden => None,
    };
    let hide: Vec<_> = mounts.iter().map(|(_, point)| point.as_str()).collect();
    let hide = if group.is_some() { String::new() } else { hide.join(" ") };
    let mut unshare = vec!["unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc"];
    if !is_root() {
        unshare.extend(["--user", "--map-current-user"]);
    }
    let join = r#"[ -z "$1" ] || echo 0 > "$1/cgroup.procs"; shift; exec "$@""#;
    let mut command = system("sh");
    command.args(["-ec", join, "sh"]).arg(group.as_ref().map_or(Path::new(""), |group| &group.0));
    command.args(unshare).args(["sh", "-ec", BEGIN, "sh", &hide]);
    command.arg(agent).arg("init").arg(own_program());
    let part = part.to_possible_value().unwrap();
    command.args([COMMAND, "inside", part.get_name(), order, &namespace()]);
    let ran = Ran::of(&mut command);
    drop(group);
    if ran.stderr.contains("unshare failed") {
        return Answer::Impossible(format!("this machine allows no pid namespace: {}", ran.stderr.trim()));
    }
    match ran.stdout.lines().find_map(|line| line.strip_prefix(ANSWER)) {
        Some(answer) => Answer::Reported(answer.to_owned()),
        None => Answer::Failed(format!("{}{}", ran.stdout, ran.stderr)),
    }
}

/// Whether this machine lets us try at all.
pub(super) fn is_possible() -> Result<(), String> {
    let mut unshare = system("unshare");
    unshare.args(["--pid", "--fork", "--mount", "--mount-proc"]);
    if !is_root() {
        unshare.args(["--user", "--map-current-user"]);
    }
    let ran = Ran::of(unshare.arg("true"));
    if ran.code == Some(0) {
        Ok(())
    } else {
        Err(format!("this machine allows no pid namespace: {}", ran.stderr))
    }
}

/// Every live process of the namespace but the first one, this one, and those.
pub(super) fn others(but: &[u32]) -> Vec<u32> {
    assert!(IS_ALONE.load(Ordering::Relaxed), "only in a namespace of its own");
    let own = [1, std::process::id()];
    let pids = fs::read_dir("/proc").unwrap();
    let pids = pids.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| !own.contains(pid) && !but.contains(pid) && lives(*pid)).collect()
}

/// Whether anything of a process runs, its first thread or another one. What has only a status to be fetched does not.
fn lives(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<_> = stat.rsplit_once(") ").map_or(Vec::new(), |(_, rest)| rest.split(' ').collect());
    // proc_pid_stat(5): the state is field 3, the number of threads field 20.
    match fields.first() {
        None | Some(&"X") => false,
        Some(&"Z") => fields[17] != "1",
        Some(_) => true,
    }
}

fn namespace() -> String {
    fs::metadata("/proc/self/ns/pid").unwrap().ino().to_string()
}

fn own_program() -> PathBuf {
    std::env::current_exe().unwrap()
}

/// A control group of a test, with all below it; every process in it is the test's.
struct Group(PathBuf);

impl Group {
    fn make(mounts: &[(String, String)], user: u32) -> Result<Group, String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let own = own.lines().find_map(|line| line.strip_prefix("0::")).ok_or("there is no cgroup v2")?;
        let (root, point) = mounts.first().ok_or("no cgroup v2 is mounted")?;
        let below = Path::new(own).strip_prefix(root).map_err(|_| "our group is not to be seen")?;
        let name = format!("factory-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = Path::new(point).join(below).join(name);
        fs::create_dir(&dir).map_err(|error| format!("no group can be made: {error}"))?;
        for path in [dir.clone(), dir.join("cgroup.procs")] {
            chown(&path, Some(user), Some(user)).map_err(|error| error.to_string())?;
        }
        Ok(Group(dir))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The namespace is gone; the kernel buries its last processes at this moment.
        for _ in 0..1000 {
            remove(&self.0);
            if !self.0.exists() {
                break;
            }
            pause(std::time::Duration::from_millis(5));
        }
    }
}

fn remove(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    let _ = fs::remove_dir(group);
}

/// Where cgroup v2 is mounted: the part that is shown, and where.
fn cgroup_mounts() -> Vec<(String, String)> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let read = |line: &str| {
        let (fields, rest) = line.split_once(" - ")?;
        let mut fields = fields.split(' ').skip(3).map(str::to_owned);
        rest.starts_with("cgroup2 ").then_some((fields.next()?, fields.next()?))
    };
    mounts.lines().filter_map(read).collect()
}

/// Gives a file, or a folder with all in it, to the ordinary user.
pub(super) fn give_away(path: &Path) {
    chown(path, Some(USER), Some(USER)).unwrap();
    if path.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| give_away(&entry.unwrap().path()));
    }
}

/// The last pid that was given to anybody in this namespace.
const LAST_PID: &str = "/proc/sys/kernel/ns_last_pid";

/// See [`LAST_PID`].
pub(super) fn last_pid() -> String {
    fs::read_to_string(LAST_PID).unwrap()
}

/// Makes the kernel give this pid next, where nobody has it.
pub(super) fn ask_for_pid(pid: u32) {
    put(Path::new(LAST_PID), &(pid - 1).to_string());
}
