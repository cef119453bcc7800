//! From a TOML document to a [`Config`]: one function per table, each a list of its keys with defaults and limits.
//!
//! A function first reads all its keys, so that every problem is noted, and only then gives up on the first `None`.

use std::path::PathBuf;
use std::time::Duration;

use ::toml::de::DeTable;

use super::fields::{OWN_VARIABLES, Place, argv, env_name, optional_path, path, without_nul};
use super::hooks::hooks;
use super::roles::roles;
use super::{
    Attempts, BrokerConfig, Budget, Config, Done, EnvConfig, FleetConfig, FleetKind, Limits, Retention,
    Scope, SourceConfig, Tick, WritebackMode, WritebackModes,
};
use crate::config::toml::section::{Report, Section};
use crate::config::toml::value::Value;

/// What a tick needs beside two graces to end what hangs.
const REAP_SLACK: Duration = Duration::from_secs(5);

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Items in flight that any limit may allow.
const ITEMS_MAX: u32 = 1000;

/// Agents that one tick may start.
const STARTS_MAX: u32 = 100;

/// Beyond a third, an earlier backoff could be longer than a later one.
const JITTER_MAX: f64 = 0.3;

pub(super) fn config(report: &Report<'_>, table: &DeTable<'_>, place: &Place<'_>) -> Option<Config> {
    let document = Section::document(report, table);
    let tick = tick(document.table("tick", "[tick]"));
    let allow_network_fs = state(document.table("state", "[state]"));
    let limits = limits(document.table("limits", "[limits]"));
    let attempts = attempts(document.table("attempts", "[attempts]"));
    let budget = budget(document.table("budget", "[budget]"));
    let source = source(document.table("source", "[source]"), place);
    let writeback = writeback(document.table("writeback", "[writeback]"));
    let deadline = tick.as_ref().map(|tick| tick.deadline);
    let fleet = fleet(document.table("fleet", "[fleet]"), place, deadline);
    let workspace_root = workspace(document.table("workspace", "[workspace]"), place);
    let hooks = hooks(document.table("hooks", "[hooks]"), place);
    let env = env(document.table("env", "[env]"), place);
    let done = done(document.table("done", "[done]"), place);
    let retention = retention(document.table("retention", "[retention]"));
    let limits_of_crew = [
        ("[tick] starts_max", tick.as_ref().map_or(0, |tick| tick.starts_max)),
        ("[budget] starts_per_day", budget.map_or(0, |budget| budget.starts_per_day)),
        ("[budget] item_starts_per_day", budget.map_or(0, |budget| budget.item_starts_per_day)),
    ];
    let roles = roles(&document, place, &limits_of_crew);
    document.close();

    let (source, scope) = source?;
    let (retention, log_bytes_max, events_bytes_max) = retention?;
    Some(Config {
        path: place.path.to_owned(),
        dir: place.dir.to_owned(),
        tick: tick?,
        allow_network_fs: allow_network_fs?,
        limits: limits?,
        attempts: attempts?,
        budget: budget?,
        source,
        scope,
        writeback: writeback?,
        fleet: fleet?,
        workspace_root: workspace_root?,
        hooks: hooks?,
        env: env?,
        retention,
        done: done?,
        log_bytes_max,
        events_bytes_max,
        roles: roles?,
    })
}

fn tick(section: Section<'_, '_>) -> Option<Tick> {
    let every = section.or("every", MINUTE, Value::positive_duration);
    let deadline = section.or("deadline", Duration::from_secs(50), Value::positive_duration);
    let starts_max = section.or("starts_max", 5, |value| value.integer(1..=STARTS_MAX));
    let heartbeat_stale = section.or("heartbeat_stale", Duration::ZERO, Value::duration);
    section.close();

    let every = every?;
    let heartbeat_stale = heartbeat_stale?;
    Some(Tick {
        every,
        deadline: deadline?,
        starts_max: starts_max?,
        heartbeat_stale: if heartbeat_stale.is_zero() { every * 3 } else { heartbeat_stale },
    })
}

fn state(section: Section<'_, '_>) -> Option<bool> {
    let allow_network_fs = section.or("allow_network_fs", false, Value::boolean);
    section.close();
    allow_network_fs
}

fn limits(section: Section<'_, '_>) -> Option<Limits> {
    let items_max = section.or("items_max", 3, |value| value.integer(1..=ITEMS_MAX));
    let per_label = section.or("per_label", Default::default(), |value| {
        value.map(|label, value| {
            let items = value.integer(1..=ITEMS_MAX)?;
            match normal_label(label) {
                label if label.is_empty() => {
                    value.refuse("is a limit for a blank label", "no item carries one; remove it")
                }
                label => Some((label, items)),
            }
        })
    });
    let disk_free_min_bytes = section.or("disk_free_min", 5 * GIB, Value::size);
    section.close();
    Some(Limits { items_max: items_max?, per_label: per_label?, disk_free_min_bytes: disk_free_min_bytes? })
}

fn attempts(section: Section<'_, '_>) -> Option<Attempts> {
    let max = section.or("max", 3, |value| value.integer(1..=100));
    let backoff_base = section.or("backoff_base", 5 * MINUTE, Value::positive_duration);
    let backoff_max = section.or("backoff_max", HOUR, Value::positive_duration);
    if let (Some(base), Some(longest)) = (backoff_base, backoff_max)
        && longest < base
    {
        section.problem_of(
            &["backoff_max", "backoff_base"],
            "`[attempts] backoff_max` is shorter than `backoff_base`".to_owned(),
            "set both; unless told otherwise they are \"1h\" and \"5m\"",
        );
    }
    let jitter = section.or("jitter", 0.2, |value| value.number(0.0..=JITTER_MAX));
    let resumes_max = section.or("resumes_max", 1, |value| value.integer(0..=100));
    let breaker = section.or("breaker", 5, |value| value.integer(0..=1000));
    section.close();
    Some(Attempts {
        max: max?,
        backoff_base: backoff_base?,
        backoff_max: backoff_max?,
        jitter: jitter?,
        resumes_max: resumes_max?,
        breaker: breaker?,
    })
}

fn budget(section: Section<'_, '_>) -> Option<Budget> {
    const USD_MAX: f64 = 1_000_000.0;
    let starts_per_day = section.or("starts_per_day", 200, |value| value.integer(0..=1_000_000));
    let item_starts_per_day = section.or("item_starts_per_day", 20, |value| value.integer(0..=1_000_000));
    let usd_per_day = section.or("usd_per_day", 0.0, |value| value.number(0.0..=USD_MAX));
    let usd_per_run = section.or("usd_per_run", 0.0, |value| value.number(0.0..=USD_MAX));
    section.close();
    Some(Budget {
        starts_per_day: starts_per_day?,
        item_starts_per_day: item_starts_per_day?,
        usd_per_day: usd_per_day?,
        usd_per_run: usd_per_run?,
    })
}

fn source(section: Section<'_, '_>, place: &Place<'_>) -> Option<(SourceConfig, Scope)> {
    let kind = section.or("kind", SourceKind::Dir, |value| value.one_of(&[("dir", SourceKind::Dir)]));
    let path = section.or("path", place.dir.join("issues"), |value| path(value, place));
    let scope = scope(section.table("scope", "[source.scope]"));
    section.close();
    let source = match kind? {
        SourceKind::Dir => SourceConfig::Dir { path: path? },
    };
    Some((source, scope?))
}

/// The word behind `[source] kind`: its keys are read before it is known which of them count.
#[derive(Clone, Copy)]
enum SourceKind {
    Dir,
}

fn scope(section: Section<'_, '_>) -> Option<Scope> {
    let labels = section.or("labels", Vec::new(), |value| {
        // A blank one is kept: it is on no item. Without it the scope would be wider than what was typed.
        value.list(|value| value.string().map(|label| normal_label(&label)))
    });
    let title_prefix = section.or("title_prefix", String::new(), Value::string);
    section.close();
    Some(Scope { labels: labels?, title_prefix: title_prefix? })
}

fn writeback(section: Section<'_, '_>) -> Option<WritebackModes> {
    let modes = [
        ("required", WritebackMode::Required),
        ("best-effort", WritebackMode::BestEffort),
        ("off", WritebackMode::Off),
    ];
    let [started, done, parked] = ["started", "done", "parked"]
        .map(|status| section.or(status, WritebackMode::BestEffort, |value| value.one_of(&modes)));
    section.close();
    Some(WritebackModes { started: started?, done: done?, parked: parked? })
}

fn fleet_kind(section: &Section<'_, '_>, place: &Place<'_>) -> Option<FleetKind> {
    let is_broker = section.or("kind", false, |value| value.one_of(&[("local", false), ("broker", true)]))?;
    let url = section.or("broker_url", None, |value| {
        let url = value.string()?;
        Some(Some(url).filter(|url| !url.is_empty()))
    })?;
    let state_dir = section.or("broker_state_dir", None, |value| optional_path(value, place))?;
    if is_broker {
        return Some(FleetKind::Broker(BrokerConfig { url, state_dir }));
    }
    if url.is_some() || state_dir.is_some() {
        let what = "there is a place for a broker, and agents do not run under one".to_owned();
        section.problem_of(&["broker_url", "broker_state_dir"], what, "add kind = \"broker\", or remove it");
    }
    Some(FleetKind::Local)
}

/// `deadline` is the tick's, where it is known.
fn fleet(section: Section<'_, '_>, place: &Place<'_>, deadline: Option<Duration>) -> Option<FleetConfig> {
    let kind = fleet_kind(&section, place);
    let grace = section.or("grace", Duration::from_secs(10), Value::duration);
    // A launcher that hangs has one grace, and what it leaves behind another: a tick that has to end before
    // could never kill anything that does not end by itself.
    if let (Some(grace), Some(deadline)) = (grace, deadline)
        && deadline < 2 * grace + REAP_SLACK
    {
        let what = "`[tick] deadline` is shorter than two times `[fleet] grace` and 5 s".to_owned();
        let hint =
            "lengthen the deadline or shorten the grace; unless told otherwise they are \"50s\" and \"10s\"";
        section.problem_of(&["grace"], what, hint);
    }
    let start_grace = section.or("start_grace", Duration::from_secs(30), Value::positive_duration);
    let protected_pids = section.or("protected_pids", Vec::new(), |value| {
        value.list(|value| value.integer(1..=i32::MAX.unsigned_abs()))
    });
    let protected_pidfiles =
        section.or("protected_pidfiles", Vec::new(), |value| value.list(|value| path(value, place)));
    section.close();
    Some(FleetConfig {
        kind: kind?,
        grace: grace?,
        start_grace: start_grace?,
        protected_pids: protected_pids?,
        protected_pidfiles: protected_pidfiles?,
    })
}

fn workspace(section: Section<'_, '_>, place: &Place<'_>) -> Option<Option<PathBuf>> {
    let root = section.or("root", None, |value| optional_path(value, place));
    section.close();
    root
}

fn env(section: Section<'_, '_>, place: &Place<'_>) -> Option<EnvConfig> {
    let path_prepend = section.or("path_prepend", Vec::new(), |value| {
        value.list(|value| {
            let folder = path(value, place)?;
            if folder.as_os_str().as_encoded_bytes().contains(&b':') {
                return value
                    .refuse("has a `:` in it", "PATH can't hold such a folder; give one folder per string");
            }
            Some(folder)
        })
    });
    let file = section.or("file", None, |value| optional_path(value, place));
    let set = section.or("set", Default::default(), |value| {
        value.map(|name, value| {
            let literal = without_nul(value);
            let name = env_name(value, name)?;
            if name.starts_with("FACTORY_") || OWN_VARIABLES.contains(&name.as_str()) {
                return value.refuse("can't be set", "factory-tick sets it itself; remove it");
            }
            Some((name, literal?))
        })
    });
    section.close();
    Some(EnvConfig { path_prepend: path_prepend?, file: file?, set: set? })
}

fn done(section: Section<'_, '_>, place: &Place<'_>) -> Option<Done> {
    let kinds = ["exit", "source", "command"].map(|kind| (kind, kind));
    let when = section.or("when", "exit", |value| value.one_of(&kinds));
    let command = section.or("command", Vec::new(), |value| match value.strings()? {
        typed if typed.is_empty() => Some(typed),
        _ => argv(value, place),
    });
    let (when, command) = (when?, command?);
    match (when, command.is_empty()) {
        ("command", true) => {
            let hint = "command = [\"./is-done.sh\"]; 0 is done, 1 is not yet";
            section.problem_of(&["when"], "`[done] when` is \"command\", and there is none".to_owned(), hint);
        }
        ("exit" | "source", false) => {
            let what = format!("`[done] command` is never asked while `when` is \"{when}\"");
            section.problem_of(&["command"], what, "set when = \"command\", or remove it");
        }
        _ => {}
    }
    section.close();
    Some(match when {
        "source" => Done::Source,
        "command" => Done::Command(command),
        _ => Done::Exit,
    })
}

/// With `log_bytes_max` and `events_bytes_max`.
fn retention(section: Section<'_, '_>) -> Option<(Retention, u64, u64)> {
    let runs_per_item = section.or("runs_per_item", 10, |value| value.integer(0..=1_000_000));
    let age = section.or("age", 30 * DAY, Value::duration);
    let log_bytes_max = section.or("log_bytes_max", 50 * MIB, Value::size);
    let events_bytes_max = section.or("events_bytes_max", 64 * MIB, Value::size);
    section.close();
    let retention = Retention {
        runs_per_item: Some(runs_per_item? as usize).filter(|count| *count > 0),
        age: Some(age?).filter(|age| !age.is_zero()),
    };
    Some((retention, log_bytes_max?, events_bytes_max?))
}

/// Labels are compared trimmed and lower-case.
fn normal_label(label: &str) -> String {
    label.trim().to_lowercase()
}
