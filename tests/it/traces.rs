//! What a tick ends when a launcher was killed: everything that its run had started, and nobody else.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::json;

use crate::support::{
    Factory, NOTE_START, Ran, Running, hard_limit, install, is_alive, is_root, kill_9, put, skipped, system,
};

/// A process that has left its session and its parents, and has no environment; it writes its pid into `far`.
const FAR: &str = r#"env -i LAB2="$LAB" setsid sh -c 'env -i setsid sh -c "echo \$\$ >> \"$LAB2/far\"; exec sleep 600" &' & "#;

/// The same with a file in place of `sleep` that may be executed and not read: such a process is not dumpable, and but
/// for root nobody may read its environment.
const HIDDEN: &str = r#"install -m 111 "$(command -v sleep)" "$LAB/hidden"
    env -i LAB2="$LAB" setsid sh -c 'env -i setsid sh -c "echo \$\$ >> \"$LAB2/far\"; exec \"$LAB2/hidden\" 600" &' & "#;

/// The same, stopped.
const STOPPED: &str = r#"env -i LAB2="$LAB" setsid sh -c 'env -i setsid sh -c "echo \$\$ >> \"$LAB2/far\"; kill -STOP \$\$; exec sleep 600" &' & "#;

/// Starts itself anew a thousand times a second, deaf to SIGTERM, as long as there is a file `go` and at most 100,000 times.
const RESPAWNER: &str = r#"touch "$LAB/go"
    next='[ -e "$0" ] && [ "$2" -lt 100000 ] && /bin/sh -c "$1" "$0" "$1" $(($2 + 1)) &'
    (trap '' TERM; exec env -i setsid /bin/sh -c "$next" "$LAB/go" "$next" 0) & "#;

/// One that stays what it is, for the launcher to lose.
const WORKS: &str = "exec sleep 600";

/// Every live process with that limit.
fn limited_to(limit: u64) -> Vec<u32> {
    let pids = fs::read_dir("/proc").unwrap();
    let pids = pids.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| hard_limit(*pid) == Some(limit) && is_alive(*pid)).collect()
}

/// Processes that no environment tells from others, ended where the test did not get that far.
struct Far<'a>(&'a Factory);

impl Far<'_> {
    fn pids(&self, count: usize) -> Vec<u32> {
        self.0.wait_for("all of them run", || self.0.told("far").lines().count() == count);
        self.0.told("far").lines().map(|line| line.parse().unwrap()).collect()
    }
}

impl Drop for Far<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.0.lab("go"));
        for pid in self.0.told("far").lines().filter_map(|line| line.parse().ok()) {
            if is_alive(pid) {
                kill_9(pid);
            }
        }
    }
}

/// Kills the launcher, and waits until the agent has followed it.
fn lose_launcher(factory: &Factory, run: &str) {
    let launcher = factory.launcher(run);
    kill_9(launcher);
    factory.wait_for("its launcher and its agent are dead", || factory.processes().is_empty());
}

// After a SIGKILL of its launcher, an agent's process with another session, no parent and no environment was nobody's. The
// run was taken for swept, its item started anew, and two agents worked in one workspace.
// covers: H08 H09 F36
#[test]
fn of_a_run_that_lost_its_launcher_nothing_survives_and_nobody_else_is_hit() {
    if hard_limit(std::process::id()).is_some() {
        return skipped("this process has a smaller hard RLIMIT_RTTIME");
    }
    let agent = [NOTE_START, FAR, HIDDEN, STOPPED, RESPAWNER, WORKS].concat();
    let mut factory = Factory::with_agent(&agent);
    factory.set("fleet", "grace", "\"200ms\"");
    factory.item("AR-1");
    let far = Far(&factory);
    // The same item in another factory, with its launcher alive.
    let other = Factory::with_agent(&[NOTE_START, FAR, WORKS].concat());
    other.item("AR-1");
    let others = Far(&other);
    other.tick().expect(0);
    factory.tick().expect(0);
    let (pids, strangers) = (far.pids(3), others.pids(1));
    let limit = hard_limit(factory.launcher("ar-1-impl.1")).unwrap();
    assert!(limit >= 1 << 62, "{limit}");
    let alike =
        Running::start(system("prlimit").arg(format!("--rttime={0}:{0}", limit - 1)).args(["sleep", "600"]));
    factory.wait_for("it respawns", || limited_to(limit).len() > 5);
    factory.tick().expect(0);
    lose_launcher(&factory, "ar-1-impl.1");
    assert!(pids.iter().all(|pid| is_alive(*pid)), "nothing but evidence ends them");

    let report = factory.tick().expect(0).json();
    assert!(limited_to(limit).is_empty(), "{report}");
    assert!(!pids.iter().any(|pid| is_alive(*pid)), "{report}");
    assert!(report["survivors"].as_array().unwrap().is_empty(), "{report}");
    assert!(factory.lab("go").exists(), "the one that respawns did not end by itself");
    assert_eq!(factory.receipt("ar-1-impl.1", "swept").unwrap()["by"], "tick");
    factory.tick().expect(0);
    assert_eq!(factory.recorded("AR-1")["last"]["class"], "vanished");
    assert!(is_alive(alike.pid()) && is_alive(other.launcher("ar-1-impl.1")));
    assert!(strangers.iter().all(|pid| is_alive(*pid)));
    other.run(&["stop", "--all"]).expect(0);
    assert!(!strangers.iter().any(|pid| is_alive(*pid)));
}

/// A tick under a hard limit that nobody can raise, as below a run of another factory.
fn tick_limited(factory: &Factory) -> Ran {
    let without_privilege = if is_root() { "setpriv --bounding-set=-sys_resource" } else { "" };
    let script = format!(r#"exec {without_privilege} prlimit --rttime=200000:200000 "$TICK" --format json"#);
    let mut shell: Command = factory.shell(&script);
    Ran::of(&mut shell)
}

// covers: H08
#[test]
fn a_run_that_may_not_have_a_limit_of_its_own_goes_without() {
    let factory = Factory::with_agent(&[NOTE_START, "cat /proc/self/limits > \"$LAB/limits\""].concat());
    factory.item("AR-1");
    tick_limited(&factory).expect(0);
    factory.wait_swept("ar-1-impl.1");
    let limits = factory.told("limits");
    let line = limits.lines().find(|line| line.starts_with("Max realtime timeout")).unwrap();
    assert_eq!(line.split_whitespace().collect::<Vec<_>>()[3..5], ["200000", "200000"]);
    factory.tick().expect(0);
    assert_eq!(factory.recorded("AR-1")["state"], "done");
}

/// Where the group of a run is or was.
fn group(factory: &Factory, run: &str) -> Option<PathBuf> {
    let receipt = factory.receipt(run, "cgroup")?;
    Some(PathBuf::from(receipt["dir"].as_str().unwrap()))
}

// covers: H10
#[test]
fn the_group_of_a_run_tells_what_nothing_else_does_and_is_removed_with_it() {
    let factory = Factory::with_agent(&[NOTE_START, FAR, WORKS].concat());
    factory.item("AR-1");
    let far = Far(&factory);
    tick_limited(&factory).expect(0);
    let pids = far.pids(1);
    let Some(group) = group(&factory, "ar-1-impl.1") else {
        drop(far);
        return skipped("there is no cgroup v2 that may be written to");
    };
    let listed = fs::read_to_string(group.join("cgroup.procs")).unwrap();
    let launcher = factory.launcher("ar-1-impl.1").to_string();
    assert!(listed.lines().any(|line| line == pids[0].to_string()), "{listed}");
    assert!(!listed.lines().any(|line| line == launcher), "it stays outside, to remove it in the end");
    factory.tick().expect(0);
    lose_launcher(&factory, "ar-1-impl.1");
    assert!(is_alive(pids[0]));

    let report = factory.tick().expect(0).json();
    assert!(!is_alive(pids[0]), "{report}");
    assert!(!group.exists());
}

// What a hook had started far away was nobody's once its launcher was killed: the hook was in no group, and an agent
// began beside it.
#[test]
fn what_a_hook_starts_is_in_the_group_of_its_run_too() {
    let ends_well = [NOTE_START, "exit 0"].concat();
    let script = [FAR, WORKS].concat();
    let hook = json!(["sh", "-c", script]).to_string();
    for what in ["after_create", "before_run", "after_run", "done"] {
        let mut factory = Factory::with_agent(&ends_well);
        match what {
            "done" => {
                factory.set("done", "when", "\"command\"");
                factory.set("done", "command", &hook);
            }
            name => factory.set("hooks", name, &hook),
        }
        factory.item("AR-1");
        let far = Far(&factory);
        tick_limited(&factory).expect(0);
        let pids = far.pids(1);
        let Some(group) = group(&factory, "ar-1-impl.1") else {
            drop(far);
            return skipped("there is no cgroup v2 that may be written to");
        };
        let listed = fs::read_to_string(group.join("cgroup.procs"));
        let is_in = |listed: &String| listed.lines().any(|line| line == pids[0].to_string());
        assert!(listed.as_ref().is_ok_and(is_in), "{what}: {listed:?}");
        factory.tick().expect(0);
        lose_launcher(&factory, "ar-1-impl.1");
        assert!(is_alive(pids[0]), "{what}");

        factory.tick_until("the run is judged", |_| factory.receipt("ar-1-impl.1", "swept").is_some());
        assert!(!is_alive(pids[0]), "{what}");
    }
}

/// A hook that leaves the group of its run and removes it, as systemd removes empty groups below a unit that has become
/// inactive.
const TRIM: &str = r#"g=$(sed 's/.*"dir":"\([^"]*\)".*/\1/' "$RUN/cgroup")
    echo 0 > "${g%/*}/cgroup.procs" && rmdir "$g" && echo "$g" > "$LAB/trimmed""#;

// Of 12 runs under systemd 5 had no control group: systemd had removed the empty group before the agent joined it.
// covers: P14
#[test]
fn agent_whose_group_was_trimmed_is_in_it() {
    let script = "cat > /dev/null; echo $$ > \"$LAB/pid\"; exec sleep 600";
    let mut factory = Factory::with_agent(&[NOTE_START, script].concat());
    let run = factory.state("runs/ar-1-impl.1").display().to_string();
    let trim = format!("RUN={run}; {TRIM}");
    factory.set("hooks", "before_run", &json!(["sh", "-c", trim]).to_string());
    factory.item("AR-1");
    tick_limited(&factory).expect(0);
    factory.wait_for("the agent runs", || factory.told("pid").ends_with('\n'));
    let Some(group) = group(&factory, "ar-1-impl.1") else {
        return skipped("there is no cgroup v2 that may be written to");
    };
    assert_eq!(factory.told("trimmed").trim(), group.to_str().unwrap(), "the hook removed the group");
    let listed = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    assert!(listed.lines().any(|pid| pid == factory.told("pid").trim()), "the group holds {listed:?}");
    factory.run(&["stop", "--all"]).expect(0);
    assert!(!group.exists());
}

/// A control group around the ticks of one test, so that no other test's tick looks at the groups in it.
struct Around {
    dir: PathBuf,
}

impl Around {
    /// `None` where there is no cgroup v2 that may be written to.
    fn new(name: &str) -> Option<Around> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "))?.split(' ').nth(4)?.to_owned();
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?.to_owned();
        let dir = PathBuf::from(mount).join(own).join(format!("{name}-{}", std::process::id()));
        fs::create_dir(&dir).ok()?;
        Some(Around { dir })
    }

    fn tick(&self, factory: &Factory) -> Ran {
        let script =
            format!(r#"echo 0 > "{}/cgroup.procs" && exec "$TICK" --format json"#, self.dir.display());
        Ran::of(&mut factory.shell(&script))
    }
}

impl Drop for Around {
    fn drop(&mut self) {
        let below = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        below.filter(|entry| entry.path().is_dir()).for_each(|entry| drop(fs::remove_dir(entry.path())));
        let _ = fs::remove_dir(&self.dir);
    }
}

/// Makes the next tick look for left-over groups, as if an hour had passed.
fn let_an_hour_pass(factory: &Factory) {
    let path = factory.state("heartbeat.json");
    let mut beat: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    beat.as_object_mut().unwrap().remove("groups").expect("the tick notes its look");
    put(&path, &beat.to_string());
}

// Each launcher visited the groups of all other runs: 13,983 system calls beside 1,350 groups.
// covers: P14b
#[test]
fn left_over_groups_are_removed_by_a_tick_each_hour() {
    let factory = Factory::with_agent(&[NOTE_START, "exit 0"].concat());
    let Some(around) = Around::new("left-over") else {
        return skipped("there is no cgroup v2 that may be written to");
    };
    around.tick(&factory).expect(0);
    let left_over = around.dir.join(format!("factory-tick-{}", "0".repeat(32)));
    fs::create_dir(&left_over).unwrap();
    let made = fs::metadata(&left_over).unwrap().modified().unwrap();
    let long_ago = made - std::time::Duration::from_secs(600);
    fs::File::open(&left_over).unwrap().set_modified(long_ago).unwrap();
    factory.item("AR-1");
    around.tick(&factory).expect(0);
    factory.wait_swept("ar-1-impl.1");
    factory.wait_all_gone();
    assert!(group(&factory, "ar-1-impl.1").unwrap().starts_with(&around.dir));
    around.tick(&factory).expect(0);
    assert!(left_over.exists(), "neither a launcher nor a tick within the hour looks at it");
    let_an_hour_pass(&factory);
    around.tick(&factory).expect(0);
    assert!(!left_over.exists());
}

// covers: H10
#[test]
fn a_launcher_leaves_no_group_behind() {
    let mut factory = Factory::with_agent(&[NOTE_START, "exit 0"].concat());
    factory.role("never", &["./never"], "");
    put(&factory.path("never.txt"), "#!/no/such/interpreter\n");
    install(&factory.path("never.txt"), &factory.path("never"));
    factory.tick().expect(0);
    ["AR-1", "AR-2"].iter().for_each(|key| factory.item(key));
    // Nothing is even tried in a workspace that is none.
    fs::create_dir_all(factory.state("workspaces")).unwrap();
    put(&factory.state("workspaces/AR-2"), "");
    factory.tick().expect(0);
    for run in ["ar-1-impl.1", "ar-1-never.1", "ar-2-impl.1"] {
        factory.wait_swept(run);
        match group(&factory, run) {
            Some(group) => assert!(!group.exists(), "{run}"),
            None => return skipped("there is no cgroup v2 that may be written to"),
        }
    }
    assert_eq!(factory.receipt("ar-2-impl.1", "exit").unwrap()["reason"], "launch");
}
