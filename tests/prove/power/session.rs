//! What is recorded: some twenty ticks and commands, with real agents.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::cut::Recording;
use super::disk::Disk;
use crate::support::{Factory, Ran, kill_9_if_alive, put, system};

/// Small, and with a journal that has to wrap around.
const DISK_BYTES: u64 = 32 << 20;

/// AR-1 ends well, AR-2 fails once, AR-3 is under way when the power goes, AR-4 asks for a person, AR-5 goes well each
/// time that it is edited.
const AGENT: &str = r#"
echo "start $FACTORY_RUN" >> "$LAB/marks/mark"
case $FACTORY_ITEM in
  *-2) [ -e tried ] || { touch tried; echo FACTORY_SESSION=s-2; exit 1; } ;;
  *-3) [ -e "$LAB/marks/after" ] || exec sleep 600 ;;
  *-4) echo "FACTORY_PARK=which one?" ;;
esac
"#;

/// What is recorded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// In the table.
    pub(super) name: &'static str,
    /// How the file system is mounted.
    pub(super) options: &'static str,
    /// Each flush of the state directory is said to have been done, and nothing was: as if the program did not ask for
    /// it.
    pub(super) flushes_lost: bool,
}

/// A factory whose state lies on a disk of its own.
pub(super) fn factory() -> Factory {
    let mut factory = Factory::with_agent(AGENT);
    let resume = [AGENT, "exit 0"].concat();
    let resume = serde_json::json!(["sh", "-c", resume, "resume", "{session}"]);
    factory.role("rev", &["sh", "-c", AGENT], &format!("resume = {resume}"));
    factory.set("attempts", "backoff_base", "\"1ms\"");
    factory.set("attempts", "breaker", "0");
    factory.set("retention", "runs_per_item", "2");
    for folder in ["disk", "lab/marks"] {
        fs::create_dir(factory.path(folder)).unwrap();
    }
    std::os::unix::fs::symlink(factory.path("disk/state"), factory.path(".factory-tick")).unwrap();
    factory.var("FACTORY_TICK_STATE_DIR", &factory.path("disk/state").display().to_string());
    factory
}

/// A new file system, made in a file.
fn new_file_system(path: &Path) -> Vec<u8> {
    fs::File::create(path).unwrap().set_len(DISK_BYTES).unwrap();
    let made = system("mkfs.ext4")
        .args(["-q", "-F", "-b", "4096", "-J", "size=4", "-E", "lazy_itable_init=0,lazy_journal_init=0"])
        .arg(path)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    fs::read(path).unwrap()
}

/// Plays it, and cuts the power in the end.
pub(super) fn record(plan: Plan) -> (Factory, Recording) {
    let factory = factory();
    let base = new_file_system(&factory.path("new-disk"));
    let disk = Disk::mount(&factory.lab("marks"), base.clone()).expect("the recorder can be mounted");
    let mounted = FileSystem::mount(&disk.file(), &factory, plan.options);
    let session = Session { factory: &factory, disk: &disk, flushes_lost: plan.flushes_lost };
    session.play();
    let (records, runs) = (disk.records(), session.runs());
    factory.pids().into_iter().for_each(kill_9_if_alive);
    factory.wait_all_gone();
    drop(mounted);
    drop(disk);
    (factory, Recording { base, records, runs })
}

/// The file system on the recorded disk.
///
/// It is unmounted before its disk is dropped, also where a test fails: else the disk's server waits for ever, and the loop
/// device of a killed test keeps every later `mount -o loop` of the machine waiting.
struct FileSystem<'a> {
    factory: &'a Factory,
    device: String,
}

impl FileSystem<'_> {
    fn mount<'a>(file: &Path, factory: &'a Factory, options: &str) -> FileSystem<'a> {
        // Not `mount -o loop`: that asks every loop device of the machine for its file, and waits for one that is stuck.
        let device = said(system("losetup").args(["--find", "--show"]).arg(file));
        let file_system = FileSystem { factory, device };
        said(
            system("mount")
                .args(["-t", "ext4", "-o", options, &file_system.device])
                .arg(factory.path("disk")),
        );
        file_system
    }
}

impl Drop for FileSystem<'_> {
    fn drop(&mut self) {
        self.factory.pids().into_iter().for_each(kill_9_if_alive);
        self.factory.wait_all_gone();
        let unmounted = system("umount").arg(self.factory.path("disk")).status().unwrap();
        let detached = system("losetup").args(["--detach", &self.device]).status().unwrap();
        assert!(unmounted.success() && detached.success() || std::thread::panicking());
    }
}

/// What a command that must succeed prints.
fn said(command: &mut std::process::Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

struct Session<'a> {
    factory: &'a Factory,
    disk: &'a Disk,
    flushes_lost: bool,
}

impl Session<'_> {
    fn play(&self) {
        let factory = self.factory;
        (1..=5).for_each(|n| factory.item(&format!("AR-{n}")));
        self.tick();
        self.tick_until(|| self.is("AR-1", "done") && self.is("AR-2", "done") && self.is("AR-4", "parked"));
        self.run(&["park", "AR-4", "--reason", "for later"]);
        self.run(&["retry", "AR-4", "--message", "this one"]);
        self.tick_until(|| self.is("AR-4", "parked"));
        for n in 1..=3 {
            let before = self.runs().len();
            factory.edit("AR-5", &format!("text {n}"));
            self.tick();
            self.tick_until(|| self.is("AR-5", "done") && self.runs().len() != before);
        }
        self.let_an_hour_pass();
        self.tick();
        self.run(&["retry", "AR-1"]);
        self.tick_until(|| self.is("AR-1", "done"));
        self.run(&["pause", "--reason", "for the night"]);
        self.tick();
        self.run(&["unpause"]);
        self.tick();
    }

    fn is(&self, key: &str, state: &str) -> bool {
        self.factory.recorded(key)["state"] == state
    }

    /// Runs that have a directory.
    fn runs(&self) -> std::collections::BTreeSet<String> {
        let entries = fs::read_dir(self.factory.state("runs")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    fn tick(&self) {
        self.run(&[]);
    }

    fn tick_until(&self, holds: impl Fn() -> bool) {
        self.factory.wait_for("what is recorded comes to its end", || {
            let is_quiet = || self.factory.processes().iter().all(|one| one.run.starts_with("ar-3-"));
            self.factory.wait_for("all but one item are quiet", is_quiet);
            self.tick();
            holds()
        });
    }

    fn run(&self, arguments: &[&str]) {
        // What returned is told before the program goes on; or, of what is said to have returned, nothing.
        let traced = if self.flushes_lost {
            r#"exec strace -qq -o /dev/null -P "$FACTORY_TICK_STATE_DIR" -e trace=fsync -e inject=fsync:retval=0 "$TICK" "$@""#
        } else {
            r#"exec strace -qq -y -s 160 -o "$MARKS" -e trace=write,renameat,renameat2,fsync -e signal=none "$TICK" "$@""#
        };
        let mut shell = self.factory.shell(traced);
        shell.arg("sh").args(arguments).env("MARKS", self.disk.marks());
        let ran = Ran::of(&mut shell);
        assert!(matches!(ran.code, Some(0 | 3 | 4)), "{arguments:?}: {ran:?}");
        let registry = fs::read_to_string(self.factory.state("registry.json")).unwrap();
        let registry: Value = serde_json::from_str(&registry).unwrap();
        self.disk.mark(format!("acked {}", registry["serial"]));
    }

    /// Makes the next tick look what may go.
    fn let_an_hour_pass(&self) {
        let path = self.factory.state("heartbeat.json");
        let mut beat: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        beat.as_object_mut().unwrap().remove("retained");
        put(&path, &beat.to_string());
    }
}
