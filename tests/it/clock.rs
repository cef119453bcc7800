//! The wall clock is wrong for a while, by an hour, a year or ten of them, and right again; and the machine comes back with
//! another boot. Agents live in real time meanwhile: only what the clock says moves.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::{Factory, NOTE_START, Ran, is_root, kill_9, put, skipped, toml_text};
use crate::wall_clock::WallClock;

const HOUR: i64 = 60 * 60;
const YEAR: i64 = 365 * 24 * HOUR;

/// By how much a clock is wrong.
const LEAPS: [i64; 3] = [-YEAR, -HOUR, 10 * YEAR];

/// A factory that goes by a clock which can be set. Its agents are this script.
struct Ticking {
    clock: WallClock,
    factory: Factory,
    /// Lines that cron would have mailed, one text for each tick that printed anything.
    mails: Vec<String>,
    _folder: tempfile::TempDir,
}

impl Ticking {
    /// `None`, said aloud, where no clock can be set.
    fn new(script: &str) -> Option<Ticking> {
        let folder = tempfile::tempdir().unwrap();
        let clock = WallClock::new(folder.path(), false)?;
        let mut factory = Factory::with_agent(&[NOTE_START, script].concat());
        clock.vars.iter().for_each(|(name, value)| factory.var(name, value));
        let lab = ("LAB", factory.lab("").display().to_string());
        let set = clock.vars.iter().chain([&lab]);
        let set: Vec<_> = set.map(|(name, value)| format!("{name} = {}", toml_text(value))).collect();
        factory.set("env", "set", &format!("{{ {} }}", set.join(", ")));
        Some(Ticking { clock, factory, mails: Vec::new(), _folder: folder })
    }

    /// A tick as cron runs it.
    fn tick(&mut self) {
        let ran = self.factory.run(&["-q"]);
        assert!(matches!(ran.code, Some(0 | 3 | 4)), "{ran:?}");
        if !ran.stdout.is_empty() {
            self.mails.push(format!("{:?}: {}", ran.code, ran.stdout));
        }
    }

    fn ticks(&mut self, count: usize) {
        (0..count).for_each(|_| self.tick());
    }

    /// Failures that were seen, as `<run> <class>`.
    fn fails(&self) -> Vec<String> {
        let events = fs::read_to_string(self.factory.state("events.jsonl")).unwrap();
        let events = events.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let fails = events.filter(|event| event["event"] == "fail");
        fails.map(|event| format!("{} {}", word(&event["run"]), word(&event["code"]))).collect()
    }

    /// Whether the launchers of all other runs have ended too.
    fn only_long_runs(&self) -> bool {
        self.factory.processes().iter().all(|one| one.run.starts_with("run-"))
    }

    fn is_removing(&self) -> bool {
        self.factory.processes().iter().any(|one| one.run.is_empty())
    }

    fn alive(&self) -> BTreeSet<String> {
        self.factory.agents_alive().into_iter().collect()
    }
}

fn listed(path: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(path).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    // The marks of ownership are no workspace.
    names.filter(|name| name != ".factory-tick").collect()
}

// Origin: JARVIS#65631, claude-code#55056 - the clock moved, and everything was judged dead; and each due time of the
// future was waited for.
// covers: F61
#[test]
fn a_clock_that_is_wrong_for_a_while_kills_nobody_starts_no_storm_and_holds_nobody_for_long() {
    const AGENT: &str = r#"
case $FACTORY_ITEM in
  *run-*) exec sleep 600 ;;
  *fail-*) exit 1 ;;
  *ask-*) echo "FACTORY_PARK=which one?" ;;
esac
"#;
    for leap in LEAPS {
        let Some(mut ticking) = Ticking::new(AGENT) else { return };
        // The wait after a first failure.
        ticking.factory.set("attempts", "backoff_base", "\"40m\"");
        ticking.factory.set("attempts", "max", "5");
        for key in ["run-1", "fail-1", "fail-2", "ask-1", "ok-1"] {
            ticking.factory.item(key);
        }
        ticking.tick();
        ["fail-1", "fail-2", "ask-1", "ok-1"].iter().for_each(|key| {
            ticking.factory.wait_swept(&format!("{key}-impl.1"));
        });
        ticking.factory.wait_for("run-1 is at work", || ticking.alive().contains("run-1-impl.1"));
        ticking.tick();
        ticking.factory.item("run-2");
        ticking.tick();
        assert_eq!(ticking.factory.agent("run-2-impl")["state"], "starting");
        let (starts, mails) = (ticking.factory.starts().len() + 1, ticking.mails.len());
        let standing = |ticking: &Ticking| {
            ["run-1", "ask-1", "ok-1", "run-2"].map(|key| ticking.factory.recorded(key)["state"].clone())
        };
        let before = standing(&ticking);
        assert_eq!(before, ["active", "parked", "done", "active"]);

        for step in [leap, -leap] {
            ticking.clock.go(step);
            ticking.ticks(3);
            ticking.factory.wait_for("only the long runs are left", || ticking.only_long_runs());
        }
        ticking.ticks(2);
        // A run that ended after the last look would be charged after the next step of the clock.
        ticking.factory.wait_for("only the long runs are left", || ticking.only_long_runs());
        ticking.tick();
        assert_eq!(standing(&ticking), before, "{leap}");
        let alive = BTreeSet::from(["run-1-impl.1", "run-2-impl.1"].map(str::to_owned));
        assert_eq!(ticking.alive(), alive, "{leap}");
        let fails = ticking.fails();
        let odd = fails.iter().filter(|fail| !fail.ends_with(" agent") && !fail.ends_with(" needs_input"));
        assert_eq!(odd.collect::<Vec<_>>(), [""; 0], "{leap}");
        // A leap forward ends a wait, and so does the way back from one; the wait after it is longer.
        let more = ticking.factory.starts().len() - starts;
        assert!(more <= 2, "{leap}: {:?}", ticking.factory.starts());
        assert!(ticking.mails.len() - mails <= 2, "{leap}: {:?}", ticking.mails);

        // Within the longest wait there is, what waits goes on.
        ticking.clock.go(HOUR + 60);
        ticking.tick();
        for key in ["fail-1", "fail-2"] {
            let run = format!("{key}-impl.{}", 2 + more / 2);
            ticking.factory.wait_for("it goes on", || ticking.factory.starts().contains(&run));
        }
    }
}

// covers: V60 V41
#[test]
fn a_clock_that_is_wrong_for_a_while_ends_no_pause_and_gives_one_more_budget_at_most() {
    for leap in LEAPS {
        let Some(mut ticking) = Ticking::new("exit 0") else { return };
        ticking.factory.set("budget", "starts_per_day", "2");
        ticking.factory.run(&["pause", "--for", "12h"]).expect(0);
        (1..=9).for_each(|n| ticking.factory.item(&format!("AR-{n}")));
        for step in [leap, -leap] {
            ticking.clock.go(step);
            ticking.ticks(2);
            assert_eq!(ticking.factory.starts(), [""; 0], "{leap}: a person has paused it");
        }
        ticking.factory.run(&["unpause"]).expect(0);
        for _ in 0..3 {
            for step in [leap, -leap] {
                ticking.tick();
                ticking.factory.wait_all_gone();
                ticking.clock.go(step);
            }
        }
        ticking.tick();
        let starts = ticking.factory.starts().len();
        let most = if leap > 0 { 4 } else { 2 };
        assert!((2..=most).contains(&starts), "{leap}: {starts}");
        // And the next day there is one again.
        ticking.clock.go(24 * HOUR);
        ticking.tick();
        ticking.factory.wait_for("two more", || ticking.factory.starts().len() == starts + 2);
    }
}

// A clock that was ten years ahead for a minute: everything that was finished, a moment ago too, was old, and gone with all
// that was in it, pushed or not.
// covers: K21
#[test]
fn a_clock_that_leaps_and_returns_deletes_nothing() {
    for (leap, is_rebooted) in [(10 * YEAR, false), (10 * YEAR, true), (-YEAR, false)] {
        if is_rebooted && !is_root() {
            skipped("only root can give a process another boot");
            continue;
        }
        let Some(mut ticking) =
            Ticking::new("echo work > made; case $FACTORY_ITEM in *run-*) exec sleep 600 ;; esac")
        else {
            return;
        };
        ["run-1", "ok-1"].iter().for_each(|key| ticking.factory.item(key));
        for time in 1..=3 {
            ticking.factory.edit("ok-1", &format!("for the {time}th time"));
            ticking.tick();
            ticking.factory.wait_swept(&format!("ok-1-impl.{time}"));
            ticking.tick();
            assert_eq!(ticking.factory.recorded("ok-1")["state"], "done");
        }
        let places = |ticking: &Ticking| {
            [listed(&ticking.factory.state("runs")), listed(&ticking.factory.state("workspaces"))]
        };
        let before = places(&ticking);
        assert_eq!(before.each_ref().map(BTreeSet::len), [4, 2]);
        if is_rebooted {
            kill_9(ticking.factory.launcher("run-1-impl.1"));
            ticking.factory.wait_all_gone();
        }
        for (step, looks) in [(leap, 3), (-leap, 3)] {
            ticking.clock.go(step);
            for _ in 0..looks {
                if is_rebooted {
                    Ran::of(&mut under_boot(&ticking.factory, 9)).expect(0);
                } else {
                    ticking.tick();
                }
                // An hour and a bit later it looks again.
                ticking.clock.go(HOUR + 60);
            }
        }
        ticking.factory.wait_for("the remover has ended", || !ticking.is_removing());
        let after = places(&ticking);
        assert!(before[0].is_subset(&after[0]) && before[1] == after[1], "{leap}: {after:?}");
        assert!(ticking.factory.state("workspaces/ok-1/made").exists());

        // And when its age has passed by a clock that is left alone, it goes.
        ticking.factory.run(&["park", "run-1"]).expect(0);
        ticking.alive().iter().for_each(|run| kill_9(ticking.factory.launcher(run)));
        ticking.factory.wait_all_gone();
        // The machine is off for days, again and again: only so can a test let thirty of them pass.
        let weeks = if is_root() { 6 } else { 0 };
        for week in 1..=weeks {
            ticking.clock.go(6 * 24 * HOUR);
            Ran::of(&mut under_boot(&ticking.factory, week)).expect(0);
        }
        let workspace = ticking.factory.state("workspaces/ok-1");
        ticking.factory.wait_for("it is gone", || weeks == 0 || !workspace.exists());
        ticking.factory.wait_for("the remover has ended", || !ticking.is_removing());
    }
}

// The word of a boot id is taken for the death of all agents. Where it lies, as to a tick that was given another `/proc`, the
// locks of their launchers are what is left.
// covers: D02
#[test]
fn a_boot_that_is_none_doubles_nobody_and_kills_nobody() {
    if !is_root() {
        return skipped("only root can give a process another boot");
    }
    let factory = Factory::with_agent(&[NOTE_START, "exec sleep 600"].concat());
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_for("it runs", || factory.starts().len() == 1);
    factory.tick().expect(0);
    for _ in 0..3 {
        Ran::of(&mut under_boot(&factory, 7)).expect(0);
        let refused =
            || factory.receipt("ar-1-impl.2", "claim").is_some_and(|claim| claim["refused"].is_object());
        factory.wait_for("the launcher that was started beside it declines", refused);
        factory.wait_for("and is gone", || factory.processes().len() == 2);
        assert_eq!(factory.agents_alive(), ["ar-1-impl.1"]);
    }
    assert_eq!(factory.starts(), ["ar-1-impl.1"]);
    // Nobody has it on record any more: it would go on until its own end.
    kill_9(factory.launcher("ar-1-impl.1"));
    factory.wait_all_gone();
}

// A tick in a container whose clocks are shifted was shown all launchers as others than those on record: it took them for
// dead, ended their agents and charged for that.
// covers: D16
#[test]
fn a_tick_whose_clocks_are_shifted_judges_nobody_that_was_started_outside() {
    let factory = Factory::with_agent(&[NOTE_START, "exec sleep 600"].concat());
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_for("it runs", || factory.starts().len() == 1);
    factory.tick().expect(0);
    let shifted = |script: &str| {
        factory.shell(&format!("exec unshare --time --boottime 864000 --monotonic 864000 --fork {script}"))
    };
    if Ran::of(&mut shifted("true")).code != Some(0) {
        return skipped("there is no time namespace to be had here");
    }
    for _ in 0..2 {
        let ran = Ran::of(&mut shifted(r#""$TICK" --format json"#)).expect(3);
        assert_eq!((ran.decided(), ran.held()), (vec![], vec!["fleet_unknown dir:AR-1".to_owned()]));
        assert!(ran.stdout.contains("another pid or time namespace"), "{}", ran.stdout);
    }
    assert_eq!(factory.agents_alive(), ["ar-1-impl.1"]);
    assert_eq!(factory.tick().expect(0).decided(), [""; 0]);
    // And one that it starts itself it knows.
    factory.run(&["stop", "AR-1"]).expect(0);
    factory.item("AR-2");
    for _ in 0..2 {
        Ran::of(&mut shifted(r#""$TICK" --format json"#)).expect(0);
        factory.wait_for("it runs", || factory.agents_alive() == ["ar-2-impl.1"]);
    }
    assert_eq!(factory.agent("ar-2-impl")["state"], "running");
    let stopped = shifted(r#""$TICK" stop AR-2"#).output().unwrap();
    assert!(stopped.status.success() && factory.processes().is_empty(), "{stopped:?}");
}

/// A tick on the machine as it is after it was restarted so often.
fn under_boot(factory: &Factory, times: u32) -> Command {
    put(&factory.path("boot_id"), &format!("{times}{times}{times}11111-2222-4333-8444-555555555555\n"));
    let script = r#"mount --bind "$BOOT_ID" /proc/sys/kernel/random/boot_id && exec "$TICK" --format json"#;
    let mut shell = factory.shell(r#"exec unshare --mount sh -c "$SCRIPT""#);
    shell.env("SCRIPT", script).env("BOOT_ID", factory.path("boot_id"));
    shell
}
