//! A control group (cgroup v2) for each run, where one can be made.
//!
//! Whatever is started in a group is in it, and in groups below it: no process leaves on its own unless it may
//! write to the groups around. The group of a run is made below the one that its launcher is in, and only if the
//! kernel lets us: for root, or where a part of the hierarchy was delegated to the user, as `systemd --user` has it.
//! It limits nothing and is for finding processes alone. Each is signalled by itself, never the group with `cgroup.kill`:
//! there may be a protected one among them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::Access;
use rustix::io::Errno;

use super::wait;
use crate::fingerprint::sha256_hex;

/// Lists the processes of a group, takes one in.
const PROCS: &str = "cgroup.procs";

/// What `statfs` calls a file system of cgroup v2.
const CGROUP2_MAGIC: u64 = 0x6367_7270;

/// How much of one list is read: 100,000 pids.
const LIST_BYTES_MAX: u64 = 1 << 20;

/// How many groups below one of a run are looked at. Container engines and nested factories make a few.
const GROUPS_MAX: usize = 1000;

/// How often to try to remove a group that holds nothing any more, and the pause between: what was just buried
/// still counts for a moment.
const REMOVALS: u32 = 20;
const REMOVAL_PAUSE: Duration = Duration::from_millis(1);

/// How often a process that joins a group makes it again. systemd removes the empty groups below a unit that has
/// become inactive, at any moment between the `mkdir` of a launcher and the write of its agent.
const JOINS_MAX: u32 = 10;

/// How many groups one look for left-over groups visits: each costs about 10 system calls, together some 30 ms.
const VISITS_MAX: usize = 2_000;

/// How old an empty group has to be to count as left over: a launcher makes one and has its first hook, or its agent,
/// join it within moments. One that is removed too early is made again by the process that joins it.
const LEFT_OVER_AFTER: Duration = Duration::from_secs(60);

/// What the groups of all runs of all factories are called, up to a hash.
const PREFIX: &str = "factory-tick-";

/// The group of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    dir: PathBuf,
}

impl Cgroup {
    /// Where the group of a run that this process starts has its place: in the group of this process. Makes nothing.
    /// `None` where there is no cgroup v2, or we may not make groups in it.
    pub fn of_run(marker: &str) -> Option<Cgroup> {
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let pid = std::process::id();
        let above = group_dirs(&own, &mounts).into_iter().find(|dir| {
            // Another file system may be mounted over it.
            is_cgroup2(dir) && pids_in(dir).contains(&pid)
        })?;
        // To put a process elsewhere takes the right to write to the list of the group around both.
        let may_write = |path: &Path| rustix::fs::access(path, Access::WRITE_OK).is_ok();
        let may_make = may_write(&above) && may_write(&above.join(PROCS));
        may_make.then(|| Cgroup { dir: above.join(name(marker)) })
    }

    /// The group that a receipt names. `None` if it is none of this run, or is not there: agents may write to the state
    /// directory, and a line there must not make anybody's processes this run's.
    pub fn recorded(dir: &Path, marker: &str) -> Option<Cgroup> {
        let is_there = fs::symlink_metadata(dir).is_ok_and(|data| data.is_dir());
        Cgroup::to_join(dir, marker).filter(|group| is_there && is_cgroup2(&group.dir))
    }

    /// The group that a receipt names, for a process of the run to join. It need not be there: see [`Cgroup::join`].
    pub fn to_join(dir: &Path, marker: &str) -> Option<Cgroup> {
        let is_ours = dir.is_absolute()
            && dir.file_name().is_some_and(|found| *found == *name(marker))
            && dir.parent().is_some_and(is_cgroup2);
        is_ours.then(|| Cgroup { dir: dir.to_owned() })
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Removes the groups of other runs beside it that hold nobody, unless they were made just before it. Such are
    /// left where a protected process has outlived its run, or a run directory was deleted by hand. Nothing, where it is
    /// not there itself.
    ///
    /// It visits groups in the order of their names, those behind `after`, at most [`VISITS_MAX`] and until `until`.
    /// The answer is the name of the last one where more are left; then the next look begins behind it.
    pub fn remove_left_over(&self, after: Option<&str>, until: Instant) -> Option<String> {
        // By the kernel's own stamps: what this process takes for now may be years off.
        let now = fs::metadata(&self.dir).and_then(|data| data.modified()).ok()?;
        let beside = self.dir.parent().and_then(|above| fs::read_dir(above).ok());
        let names =
            beside.into_iter().flatten().flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<_> = names
            .filter(|name| name.starts_with(PREFIX) && after.is_none_or(|after| name.as_str() > after))
            .collect();
        names.sort_unstable();
        for (visited, name) in names.iter().enumerate() {
            let group = Cgroup { dir: self.dir.with_file_name(name) };
            let made = fs::symlink_metadata(&group.dir).and_then(|data| data.modified()).ok();
            let age = made.and_then(|made| now.duration_since(made).ok());
            let is_old = age.is_some_and(|age| age > LEFT_OVER_AFTER);
            if is_old && group.pids().is_empty() {
                group.remove();
            }
            let is_last = visited + 1 == names.len();
            if !is_last && (visited + 1 == VISITS_MAX || Instant::now() >= until) {
                return Some(name.clone());
            }
        }
        None
    }

    /// Makes it.
    ///
    /// # Errors
    /// Those of `mkdir(2)`. What an earlier launcher left empty under the same name is replaced.
    pub fn create(&self) -> io::Result<()> {
        let make = || fs::DirBuilder::new().mode(0o755).create(&self.dir);
        match make() {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_dir(&self.dir)?;
                make()
            }
            made => made,
        }
    }

    /// Puts this process in, and with it all that it will ever start. Makes the group again where somebody has removed
    /// it meanwhile, at most [`JOINS_MAX`] times.
    ///
    /// # Errors
    /// Those of `mkdir(2)` and `write(2)`: the group is removed again and again, or the kernel allows no processes in it.
    pub fn join(&self) -> io::Result<()> {
        for _ in 0..JOINS_MAX {
            match self.enter() {
                Err(error) if is_gone(&error) => self.make()?,
                entered => return entered,
            }
        }
        self.enter()
    }

    fn enter(&self) -> io::Result<()> {
        OpenOptions::new().write(true).open(self.dir.join(PROCS))?.write_all(b"0")
    }

    fn make(&self) -> io::Result<()> {
        match fs::DirBuilder::new().mode(0o755).create(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => made,
        }
    }

    /// All processes in it and in the groups below it, as of now.
    pub(super) fn pids(&self) -> Vec<u32> {
        self.groups().iter().flat_map(|group| pids_in(group)).collect()
    }

    /// Removes it with all groups below it, if no process is left in any. Otherwise it stays.
    pub fn remove(&self) {
        for _ in 0..REMOVALS {
            let mut busy = false;
            for group in self.groups().iter().rev() {
                busy |= matches!(rustix::fs::rmdir(group), Err(Errno::BUSY));
            }
            if !busy || !self.pids().is_empty() {
                return;
            }
            wait::pause(REMOVAL_PAUSE);
        }
    }

    /// Its directory and those of all groups below it, each before the ones below.
    fn groups(&self) -> Vec<PathBuf> {
        let mut groups = vec![self.dir.clone()];
        let mut next = 0;
        while next < groups.len() && groups.len() < GROUPS_MAX {
            let entries = fs::read_dir(&groups[next]).into_iter().flatten().flatten();
            let below: Vec<_> = entries
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .map(|entry| entry.path())
                .collect();
            groups.extend(below);
            next += 1;
        }
        groups
    }
}

/// What the group of a run is called: more of the hash than anybody guesses.
fn name(marker: &str) -> String {
    format!("{PREFIX}{}", &sha256_hex(&[marker.as_bytes()])[..32])
}

/// Whether an error of joining says that the group is not there: it was removed before the open, or before the write.
fn is_gone(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::NOENT | Errno::NODEV))
}

fn is_cgroup2(dir: &Path) -> bool {
    rustix::fs::statfs(dir).is_ok_and(|statfs| statfs.f_type as u64 == CGROUP2_MAGIC)
}

/// The processes of one group. A process outside our pid namespace has no number: 0.
fn pids_in(group: &Path) -> Vec<u32> {
    let mut list = String::new();
    let read = File::open(group.join(PROCS))
        .and_then(|file| file.take(LIST_BYTES_MAX).read_to_string(&mut list).map(drop));
    match read {
        Ok(()) => list.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid != 0).collect(),
        Err(_) => Vec::new(),
    }
}

/// The directories at which the group of a process may be seen, from its `/proc/<pid>/cgroup` and `mountinfo`.
fn group_dirs(cgroup: &str, mountinfo: &str) -> Vec<PathBuf> {
    let Some(path) = cgroup.lines().find_map(|line| line.strip_prefix("0::")) else { return Vec::new() };
    mountinfo.lines().filter_map(|line| seen_at(line, Path::new(path))).collect()
}

/// Where one mount shows the group with this path, if it is one of cgroup v2 and shows that part of the hierarchy.
fn seen_at(mount: &str, path: &Path) -> Option<PathBuf> {
    // proc_pid_mountinfo(5): id, parent, device, root, mount point, options, optional fields, "-", type.
    let (fields, rest) = mount.split_once(" - ")?;
    if rest.split(' ').next()? != "cgroup2" {
        return None;
    }
    let mut fields = fields.split(' ').skip(3);
    let (root, point) = (unescaped(fields.next()?), unescaped(fields.next()?));
    let below = path.strip_prefix(root).ok()?;
    let is_plain = below.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    is_plain.then(|| Path::new(&point).join(below))
}

/// A path of mountinfo as it is: the kernel writes blanks and the like in octal.
fn unescaped(text: &str) -> String {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    // The backslash comes last: what it brings back begins no escape.
    escapes.iter().fold(text.to_owned(), |text, (escape, meant)| text.replace(escape, meant))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Spawned, passes_alone, skipped, unique_marker};
    use super::*;

    const MOUNTS: &str = "\
        23 1 0:22 / /proc rw,nosuid - proc proc rw\n\
        32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 master:2 - cgroup2 cgroup2 rw,nsdelegate\n\
        42 31 0:38 /user.slice /srv/a\\040b ro - cgroup2 none rw\n";

    fn dirs(cgroup: &str) -> Vec<String> {
        let dirs = group_dirs(cgroup, MOUNTS);
        dirs.iter().map(|dir| dir.to_str().unwrap().trim_end_matches('/').to_owned()).collect()
    }

    #[test]
    fn a_group_is_seen_through_every_mount_that_shows_it() {
        let mixed = "8:pids:/x\n1:cpu:/\n0::/user.slice/user-1000.slice\n";
        assert_eq!(
            dirs(mixed),
            ["/sys/fs/cgroup/unified/user.slice/user-1000.slice", "/srv/a b/user-1000.slice"]
        );
        assert_eq!(dirs("0::/\n"), ["/sys/fs/cgroup/unified"]);
        assert_eq!(dirs("0::/user.slices\n"), ["/sys/fs/cgroup/unified/user.slices"]);
        assert_eq!(dirs("0::/user.slice\n"), ["/sys/fs/cgroup/unified/user.slice", "/srv/a b"]);
    }

    #[test]
    fn a_group_outside_of_what_we_see_has_no_place() {
        assert_eq!(dirs("0::/../system.slice/cron.service\n"), [""; 0], "above our cgroup namespace");
        assert_eq!(dirs("8:pids:/x\n1:cpu:/\n"), [""; 0], "only the older cgroups");
        assert_eq!(dirs(""), [""; 0]);
        assert!(group_dirs("0::/\n", "41 31 0:38 / /x rw cgroup2 cgroup2 rw").is_empty());
    }

    #[test]
    fn an_escaped_backslash_escapes_nothing() {
        assert_eq!(unescaped("/a\\134040b"), "/a\\040b");
        assert_eq!(unescaped("/a\\040\\011b\\012"), "/a \tb\n");
    }

    #[test]
    fn only_what_is_empty_and_old_is_left_over() {
        let Some(around) = Cgroup::of_run(&unique_marker()) else {
            return skipped("there is no cgroup v2 that may be written to");
        };
        around.create().unwrap();
        let within = |name: String| Cgroup { dir: around.dir().join(name) };
        let [ours, empty, lived_in] = ["x/a.1", "x/a.2", "x/a.3"].map(|run| within(name(run)));
        let foreign = within("somebody".to_owned());
        let all = [&ours, &empty, &lived_in, &foreign];
        let there = || all.map(|group| group.dir().exists());
        all.iter().for_each(|group| group.create().unwrap());
        let script = format!("echo 0 > {}/{PROCS}; echo on; read line", lived_in.dir().display());
        let mut child = Spawned::new(&script, &[]);
        child.line();
        let hour = Duration::from_secs(60 * 60);
        let made = |group: &Cgroup| fs::metadata(group.dir()).unwrap().modified().unwrap();
        let set_made = |at| File::open(ours.dir()).unwrap().set_modified(at).unwrap();
        let look = |group: &Cgroup| assert_eq!(group.remove_left_over(None, Instant::now() + hour), None);
        let now = made(&ours);
        for at in [now, now - hour] {
            set_made(at);
            look(&ours);
        }
        assert_eq!(there(), [true; 4], "young, or the clock was set back");
        look(&within(name("x/a.4")));
        assert_eq!(there(), [true; 4], "by the stamp of none that is not there");
        set_made(made(&empty) + LEFT_OVER_AFTER);
        look(&ours);
        assert_eq!(there(), [true; 4], "not old yet");
        set_made(now + hour);
        look(&ours);
        assert_eq!(there(), [true, false, true, true]);
        child.end_without_reaping();
        around.remove();
        assert!(!around.dir().exists());
    }

    #[test]
    fn an_empty_group_of_an_earlier_launcher_is_replaced_and_one_that_is_lived_in_is_not() {
        let Some(group) = Cgroup::of_run(&unique_marker()) else {
            return skipped("there is no cgroup v2 that may be written to");
        };
        group.create().unwrap();
        group.create().unwrap();
        let below = Cgroup { dir: group.dir().join("below") };
        below.create().unwrap();
        let script = format!("echo 0 > {}/{PROCS}; echo on; read line", below.dir().display());
        let mut child = Spawned::new(&script, &[]);
        child.line();
        assert_eq!(group.pids(), [child.pid()], "also in a group below");
        group.create().unwrap_err();
        group.remove();
        assert!(below.dir().exists(), "somebody lives in it");
        child.end_without_reaping();
        group.remove();
        assert!(!group.dir().exists());
        Cgroup { dir: group.dir().join("x") }.create().unwrap_err();
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the test is told which one by its environment")]
    fn whoever_joins_is_in_it_with_all_that_it_starts() {
        const SELF: &str = "process::cgroup::tests::whoever_joins_is_in_it_with_all_that_it_starts";
        const JOIN: &str = "FACTORY_TEST_JOIN";
        if let Some(dir) = std::env::var_os(JOIN) {
            let group = Cgroup { dir: dir.into() };
            group.join().unwrap();
            let child = Spawned::new("read line", &[]);
            let pids = group.pids();
            return assert!(
                [std::process::id(), child.pid()].iter().all(|pid| pids.contains(pid)),
                "{pids:?}"
            );
        }
        let Some(group) = Cgroup::of_run(&unique_marker()) else {
            return skipped("there is no cgroup v2 that may be written to");
        };
        group.create().unwrap();
        passes_alone(SELF, (JOIN, group.dir().to_str().unwrap()));
        group.remove();
        assert!(!group.dir().exists());
    }

    // covers: P14b
    #[test]
    fn look_that_is_out_of_time_goes_on_behind_the_last() {
        let Some(around) = Cgroup::of_run(&unique_marker()) else {
            return skipped("there is no cgroup v2 that may be written to");
        };
        around.create().unwrap();
        let mut names = ["x/a.1", "x/a.2", "x/a.3"].map(name);
        names.sort();
        let groups = names.clone().map(|name| Cgroup { dir: around.dir().join(name) });
        groups.iter().for_each(|group| group.create().unwrap());
        let now = Cgroup { dir: around.dir().join("now") };
        now.create().unwrap();
        let hour = Duration::from_secs(60 * 60);
        let made = fs::metadata(now.dir()).unwrap().modified().unwrap();
        File::open(now.dir()).unwrap().set_modified(made + hour).unwrap();
        let there = || groups.each_ref().map(|group| group.dir().exists());
        let out_of_time = Instant::now();
        assert_eq!(now.remove_left_over(None, out_of_time), Some(names[0].clone()));
        assert_eq!(there(), [false, true, true]);
        assert_eq!(now.remove_left_over(Some(&names[0]), out_of_time), Some(names[1].clone()));
        assert_eq!(there(), [false, false, true]);
        assert_eq!(now.remove_left_over(Some(&names[1]), out_of_time), None);
        assert_eq!(there(), [false; 3]);
        around.remove();
        assert!(!around.dir().exists());
    }

    // covers: P14
    #[test]
    fn joining_a_removed_group_makes_it_again() {
        const SELF: &str = "process::cgroup::tests::joining_a_removed_group_makes_it_again";
        const JOIN: &str = "FACTORY_TEST_JOIN_AGAIN";
        #[expect(clippy::disallowed_methods, reason = "the test is told which one by its environment")]
        if let Some(dir) = std::env::var_os(JOIN) {
            let group = Cgroup { dir: dir.into() };
            assert!(!group.dir().exists());
            group.join().unwrap();
            return assert_eq!(group.pids(), [std::process::id()]);
        }
        let Some(group) = Cgroup::of_run(&unique_marker()) else {
            return skipped("there is no cgroup v2 that may be written to");
        };
        passes_alone(SELF, (JOIN, group.dir().to_str().unwrap()));
        group.remove();
        assert!(!group.dir().exists());
        Cgroup { dir: group.dir().join("x") }.join().unwrap_err();
    }

    // An agent can write to the state directory: whatever it puts there must not point us to other groups.
    #[test]
    fn a_receipt_can_name_no_group_but_the_runs_own() {
        let dir = tempfile::tempdir().unwrap();
        let named = dir.path().join(name("x/a.1"));
        fs::create_dir(&named).unwrap();
        assert_eq!(Cgroup::recorded(&named, "x/a.1"), None, "no cgroup file system");
        assert_eq!(Cgroup::recorded(Path::new("/sys/fs/cgroup"), "x/a.1"), None);
        let Some(group) = Cgroup::of_run("x/a.1") else {
            return skipped("there is no cgroup v2 that may be written to");
        };
        group.create().unwrap();
        assert_eq!(Cgroup::recorded(group.dir(), "x/a.1"), Some(group.clone()));
        assert_eq!(Cgroup::recorded(group.dir(), "x/a.10"), None);
        group.remove();
        assert!(!group.dir().exists());
    }

    proptest::proptest! {
        #[test]
        fn any_group_is_seen_below_a_mount_or_nowhere(
            cgroup in "(0::|1:cpu:|)(/|[.]{1,2}|[a-z]{1,3}|\n){0,6}",
            mount in "(41 31 0:38 )?(/|/[a-z]{1,2}|[.]{2}) (/m|/\\\\040m|m) rw - (cgroup2|proc) x y\n?",
        ) {
            for dir in group_dirs(&cgroup, &mount) {
                let text = dir.display().to_string();
                proptest::prop_assert!(["/m", "/ m", "m", "/", ".."].iter().any(|point| text.starts_with(point)));
                let below = dir.components().skip(1);
                proptest::prop_assert!(!below.into_iter().any(|part| part == std::path::Component::ParentDir));
            }
        }
    }
}
