//! The factories of a night, their items, and what is to become of those.

use std::fs;
use std::path::{Path, PathBuf};

use crate::model::{self, Model, QUIET};
use crate::sim::dice::Dice;
use crate::support::{Factory, install, put, skipped, toml_text};

/// What an agent that is a shell script does, by the first part of its item's key. `result` is what makes an item done.
const AGENT: &str = r#"
echo "$FACTORY_RUN" >> "$LAB/starts"
grep 'Max realtime timeout' /proc/self/limits >> "$LAB/limits"
echo x >> tries
tries=$(wc -l < tries)
kind=${FACTORY_ITEM#dir:}
kind=${kind%-*}
case $kind in
  flaky1 | flaky2) [ "$tries" -gt "${kind#flaky}" ] || { echo "the build fails" >&2; exit 1; } ;;
  forks) setsid sleep 600 & (setsid sh -c 'sleep 600 & exec true' &); env -i setsid sleep 600 & ;;
  shot) [ "$tries" -gt 1 ] || { env -i setsid sleep 600 & kill -KILL $PPID; exec sleep 600; } ;;
  asks) [ -e "$LAB/morning" ] || { echo "FACTORY_PARK=which database?"; exit 0; } ;;
  idle) [ -e "$LAB/morning" ] || { echo "there is nothing to do"; exit 0; } ;;
  long) until [ -e "$LAB/released" ]; do sleep 0.1; done ;;
  work) until [ -e "$LAB/morning" ]; do sleep 0.1; done ;;
  hangs) [ -e "$LAB/morning" ] || exec sleep 600 ;;
  deaf) trap '' TERM; until [ -e "$LAB/morning" ]; do sleep 0.1; done ;;
esac
echo made > result
"#;

/// In the place of claude and codex where they are not there: prints what was recorded of them.
const STAND_IN: &str = r#"#!/bin/sh
name=${0##*/}
mode=$(cat "$MODEL/mode")
if [ "$mode" = ok ]; then
  mode=$(grep -o 'MODEL_MODE=[a-z]*' | tail -n 1)
  mode=${mode#MODEL_MODE=}
fi
case ${mode:-ok} in
  ok) recorded=fresh ;;
  tool) recorded=tools-allowed; touch made-by-the-agent ;;
  *) recorded=$mode ;;
esac
cat "$RECORDED/$name-$recorded.stdout"
case $mode in 500 | 529) exit 1 ;; esac
"#;

/// What an item is to come to before the morning.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum End {
    Done,
    /// Of this class.
    Parked(&'static str),
}

/// An item that somebody files in the night.
pub(super) struct Filed {
    /// Of the night.
    pub(super) minute: u64,
    pub(super) key: String,
    pub(super) body: String,
    pub(super) end: End,
    /// Charged failures.
    pub(super) attempts: u64,
}

impl Filed {
    fn new(minute: u64, key: &str, body: &str, end: End, attempts: u64) -> Filed {
        Filed { minute, key: key.to_owned(), body: body.to_owned(), end, attempts }
    }
}

/// One factory: one line of the crontab.
pub(super) struct House {
    pub(super) name: &'static str,
    pub(super) factory: Factory,
    pub(super) filed: Vec<Filed>,
    /// Its provider, where it has one.
    pub(super) harness: Option<&'static str>,
}

/// What all of them have in common: the machine, its clock, and how often cron runs.
pub(super) struct Ground<'a> {
    pub(super) vars: &'a [(&'static str, String)],
    pub(super) seconds_per_tick: u64,
}

impl Ground<'_> {
    /// With the defaults where the night allows it, and the few variables that cron gives.
    fn factory(&self, more: &[(&str, String)]) -> Factory {
        let mut factory = Factory::new();
        let home = factory.path("").display().to_string();
        for (name, value) in
            [("PATH", "/usr/bin:/bin"), ("HOME", &home), ("LOGNAME", "factory"), ("SHELL", "/bin/sh")]
        {
            factory.var(name, value);
        }
        self.vars.iter().for_each(|(name, value)| factory.var(name, value));
        // A clock is everybody's, agents' too.
        let lab = ("LAB", factory.lab("").display().to_string());
        let set = self.vars.iter().chain([&lab]).chain(more);
        let set: Vec<_> = set.map(|(name, value)| format!("{name} = {}", toml_text(value))).collect();
        factory.set("env", "set", &format!("{{ {} }}", set.join(", ")));
        factory.set("tick", "every", &format!("\"{}s\"", self.seconds_per_tick));
        factory.set("limits", "items_max", "5");
        factory.set("attempts", "backoff_base", "\"5m\"");
        factory.set("attempts", "jitter", "0.2");
        // Most agents of this night are there to fail.
        factory.set("attempts", "breaker", "0");
        factory.set("fleet", "grace", "\"500ms\"");
        factory
    }

    /// Agents that are scripts. Those of `limits` are there to come to their deadline.
    pub(super) fn scripts(&self, dice: &mut Dice) -> [House; 2] {
        let mut factory = self.factory(&[]);
        factory.set("done", "when", "\"command\"");
        factory.set("done", "command", r#"["test", "-e", "result"]"#);
        factory.role("impl", &["sh", "-c", AGENT], "");
        let mut filed = vec![
            // To be under way when the clock is set back.
            Filed::new(110, "long-1", "", End::Done, 0),
            Filed::new(0, "forks-1", "", End::Done, 0),
        ];
        let kinds = [
            ("ok", 3, End::Done, 0),
            ("flaky1", 2, End::Done, 1),
            ("flaky2", 2, End::Done, 2),
            ("forks", 2, End::Done, 0),
            ("shot", 1, End::Done, 1),
            ("asks", 2, End::Parked("needs_input"), 0),
            ("idle", 1, End::Parked("no_effect"), 0),
        ];
        for (kind, count, end, attempts) in kinds {
            filed
                .extend((0..count).map(|n| {
                    Filed::new(dice.range(0, 150), &format!("{kind}-{}", n + 2), "", end, attempts)
                }));
        }
        let shells = House { name: "shells", factory, filed, harness: None };
        let mut factory = self.factory(&[]);
        factory.role("impl", &["sh", "-c", AGENT], "deadline = \"1s\"");
        let overdue = End::Parked("deadline");
        let filed = vec![
            Filed::new(0, "hangs-1", "", overdue, 3),
            Filed::new(dice.range(0, 60), "hangs-2", "", overdue, 3),
            Filed::new(dice.range(0, 60), "deaf-1", "", overdue, 3),
        ];
        [shells, House { name: "limits", factory, filed, harness: None }]
    }

    /// Agents of a preset: the real program, or what stands in for it.
    pub(super) fn preset(&self, harness: &'static str, args: &str, model: &Played) -> House {
        let mut vars: Vec<_> = QUIET.iter().map(|name| (*name, "1".to_owned())).collect();
        for (name, value) in [("LANG", "C.UTF-8"), ("TZ", "UTC"), ("CLAUDE_CODE_MAX_RETRIES", "0")] {
            vars.push((name, value.to_owned()));
        }
        vars.push(("ANTHROPIC_API_KEY", "sk-ant-dummy".to_owned()));
        vars.push(("STUB_KEY", "sk-ant-dummy".to_owned()));
        vars.push(("MODEL", model.folder.display().to_string()));
        vars.push(("RECORDED", format!("{}/fixtures/harness", env!("CARGO_MANIFEST_DIR"))));
        vars.push(("ANTHROPIC_BASE_URL", format!("http://127.0.0.1:{}", model.port())));
        let mut factory = self.factory(&vars);
        let program = model.program(harness);
        factory.set("env", "path_prepend", &format!("[{}]", toml_text(&program.display().to_string())));
        fs::create_dir(factory.path(".codex")).unwrap();
        put(&factory.path(".codex/config.toml"), &model::codex_config(model.port(), false));
        factory.preset(harness, args);
        let filed = vec![
            Filed::new(0, "tool-1", "MODEL_MODE=tool", End::Done, 0),
            Filed::new(10, "question-1", "MODEL_MODE=question", End::Parked("needs_input"), 0),
            Filed::new(30, "empty-1", "MODEL_MODE=empty", End::Parked("no_effect"), 0),
            // As an outage begins, in the middle of it, and as the next one begins.
            Filed::new(60, "ok-1", "", End::Done, 0),
            Filed::new(75, "ok-2", "", End::Done, 0),
            Filed::new(115, "ok-3", "", End::Done, 0),
        ];
        House { name: harness, factory, filed, harness: Some(harness) }
    }
}

/// The model that all providers have, and where programs are that ask it.
pub(super) struct Played {
    folder: PathBuf,
    /// None where nothing asks it.
    stub: Option<Model>,
}

impl Played {
    /// `real`: with the real programs, where they are there. What is not gets a stand-in, said aloud.
    pub(super) fn new(folder: &Path, real: bool) -> Played {
        let (folder, bin) = (folder.to_owned(), folder.join("bin"));
        put(&folder.join("mode"), "ok");
        put(&folder.join("stand-in"), STAND_IN);
        fs::create_dir(&bin).unwrap();
        let is_there = |name: &&str| real && model::program(name).is_some();
        let (there, missing): (Vec<_>, Vec<_>) = ["claude", "codex"].into_iter().partition(is_there);
        for name in missing {
            skipped(&format!("the real {name}: a script prints what was recorded of it"));
            install(&folder.join("stand-in"), &bin.join(name));
        }
        let stub = (!there.is_empty()).then(|| Model::start(&folder));
        Played { folder, stub }
    }

    /// The folder of a program.
    fn program(&self, harness: &str) -> PathBuf {
        let stand_ins = self.folder.join("bin");
        if stand_ins.join(harness).exists() {
            return stand_ins;
        }
        model::program(harness).unwrap().parent().unwrap().to_owned()
    }

    fn port(&self) -> u16 {
        self.stub.as_ref().map_or(model::NOBODY, |stub| stub.port)
    }

    /// How it answers from now on.
    pub(super) fn mode(&self, mode: &str) {
        match &self.stub {
            Some(stub) => stub.mode(mode),
            None => put(&self.folder.join("mode"), mode),
        }
    }
}
