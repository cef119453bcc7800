//! The registry: as bytes, and as records that are whole and say what no tick would have written.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use factory_tick::config::{self, Config};
use factory_tick::decide::{Request, decide};
use factory_tick::model::{
    COUNT_MAX, Claim, Claimed, ClockReading, ClockTracker, DoneWhen, Exit, FleetView, ItemId, ItemSnapshot,
    ItemState, LocalFacts, Observed, Reported, RunId, RunObservation, RunSpec, SourceView, UnrecordedRun,
    UnrecordedSpec, WorkItem, World,
};
use factory_tick::registry::Registry;
use factory_tick::state::files::registry_file;
use factory_tick::state::heartbeat::{Alive, HeartbeatState};
use factory_tick::state::{HostDir, Origin, StoreError};
use factory_tick::views::status::{StatusInput, StatusView};
use factory_tick::workspace::retention;
use jiff::Timestamp;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

use super::change::{apply, bytes_like, changes};
use super::{cases, lay};

const FIRST: &str = include_str!("../../../fixtures/registry/first.json");

/// What this version writes besides.
const LATER: &str = r#"{
    "paused": {"because": "x", "deadline": {
        "set": {"at": "2026-11-20T08:00:00Z", "mono_ms": 1, "boot_id": "b"}, "length_ms": 86400000
    }},
    "failure_streak": {"failures": 2, "since": "2026-11-20T08:00:00Z", "item": "dir:AR-2", "because": "x"},
    "daily_spend": {"day": "2026-11-20", "starts": 3, "usd": 1.5, "tokens": 100}
}"#;

const CONFIG: &str = r#"
    [budget]
    starts_per_day = 100
    usd_per_day = 10.0
    usd_per_run = 5.0
    [[role]]
    name = "implementer"
    suffix = "impl"
    command = ["agent"]
    resume = ["agent", "{session}"]
    [[role]]
    name = "reviewer"
    suffix = "rev"
    harness = "codex"
"#;

fn body() -> Value {
    let mut body = serde_json::from_str::<Value>(FIRST).unwrap()["body"].clone();
    let later: Value = serde_json::from_str(LATER).unwrap();
    for (name, value) in later.as_object().unwrap() {
        body[name] = value.clone();
    }
    body["cool_offs"]["harness:codex"] = json!({
        "because": "x", "until": "2026-11-20T09:00:00Z", "streak": 3,
        "begun": {"at": "2026-11-20T08:00:00Z", "mono_ms": 5, "boot_id": "b"}
    });
    body
}

fn configuration() -> Config {
    config::parse(CONFIG, Path::new("/factory/factory.toml"), &|_| Err(String::new()))
        .expect("it is a good one")
}

fn state() -> (tempfile::TempDir, HostDir) {
    let holder = tempfile::tempdir().unwrap();
    let dir = HostDir::create_or_open(&holder.path().join("state"), true).unwrap();
    (holder, dir)
}

/// What a look outside may show of a run; `pick` draws.
fn observation(pick: usize, boot_id: &str) -> RunObservation {
    let moment = |mono_ms| ClockReading {
        at: Timestamp::UNIX_EPOCH,
        mono_ms,
        slept_ms: 0,
        boot_id: boot_id.to_owned(),
    };
    let claimed = || {
        let text = json!({"launcher": {"handle": {"local": {"process": {"pid": 4711, "start_ticks": 99, "boot_id": boot_id,
            "pid_ns": 1, "uid": 0}}}, "since": moment(7)}});
        match serde_json::from_value(text).unwrap() {
            Claim::Launcher(claimed) => Some::<Claimed>(*claimed),
            other => panic!("{other:?}"),
        }
    };
    let exit = |code: i32, mono_ms: u64| -> Exit {
        let value = json!({"code": code, "signal": null, "reason": "exited", "error": null, "started": moment(0),
            "ended": moment(mono_ms), "cpu_ms": u64::MAX, "peak_kib": u64::MAX, "reported": {"session": "s", "park": null},
            "room": {"state": null, "workspaces": null},
            "after_run_ms": u64::MAX, "done": 0});
        serde_json::from_value(value).unwrap()
    };
    let said = Reported { session: Some("s-2".to_owned()), park: None, ..Reported::default() };
    let ended = |exit: Option<Exit>| {
        Box::new(factory_tick::model::Ended {
            claim: claimed(),
            exit,
            reported: said.clone(),
            ..Default::default()
        })
    };
    let late_after = Duration::from_millis(u64::MAX);
    match pick % 9 {
        0 => RunObservation::Unclaimed,
        1 => RunObservation::Fenced,
        2 => RunObservation::Alive { claim: claimed(), reported: said, late_after },
        3 => RunObservation::Sweeping { claim: claimed(), exit: Box::new(exit(0, u64::MAX)), late_after },
        4 => RunObservation::Ended(ended(Some(exit(0, 9)))),
        5 => RunObservation::Ended(ended(Some(exit(1, 9)))),
        6 => RunObservation::Rebooted(ended(None)),
        7 => RunObservation::Orphaned { claim: claimed() },
        _ => RunObservation::Unknown("it can't be told".to_owned()),
    }
}

fn world(registry: &Registry, now: Timestamp, boot_id: &str, picks: &[Index]) -> World {
    let mut pick = picks.iter().cycle().map(|pick| pick.index(1000));
    let mut next = || pick.next().unwrap_or_default();
    let runs: Vec<RunId> = registry.agents.values().filter_map(|agent| agent.run.clone()).collect();
    let runs = runs.into_iter().chain(registry.handoffs.keys().cloned());
    let mut runs: BTreeMap<_, _> = runs.map(|run| (run, observation(next(), boot_id))).collect();
    let item = |number: usize, changed: bool| WorkItem {
        id: ItemId(format!("dir:AR-{number}")),
        key: format!("AR-{number}"),
        title: "x".to_owned(),
        body: String::new(),
        labels: Vec::new(),
        priority: None,
        state: ItemState::Open,
        blocked_by: Vec::new(),
        created_at: None,
        updated_at: None,
        origin: format!("AR-{number}.md"),
        hash: if changed { "other".to_owned() } else { String::new() },
        content_hash: String::new(),
    };
    let unrecorded: RunId = "ar-9-impl.4503599627370496".parse().unwrap();
    let spec = UnrecordedSpec {
        spec: RunSpec {
            id: unrecorded.clone(),
            item: ItemId("dir:AR-9".to_owned()),
            role: "implementer".to_owned(),
            harness: "command".to_owned(),
            dispatch: COUNT_MAX / 2 - 1,
            session: Some("s".to_owned()),
            chosen_session: None,
            resumes: u32::try_from(COUNT_MAX / 2 - 1).unwrap(),
            prelude_ms: u64::MAX,
            deadline_ms: Some(u64::MAX),
            stall_ms: None,
            follow_ups: Vec::new(),
            done_when: DoneWhen::Exit,
        },
        snapshot: ItemSnapshot {
            key: "AR-9".to_owned(),
            slug: "ar-9".to_owned(),
            workspace: "AR-9".to_owned(),
            ..ItemSnapshot::default()
        },
        since: ClockReading {
            at: Timestamp::MAX,
            mono_ms: u64::MAX,
            slept_ms: 0,
            boot_id: boot_id.to_owned(),
        },
    };
    let is_known = registry.names.last_n.contains_key(&unrecorded.agent)
        || registry.agents.contains_key(&unrecorded.agent);
    let unrecorded = if is_known {
        Vec::new()
    } else {
        runs.insert(unrecorded.clone(), observation(next(), boot_id));
        vec![UnrecordedRun { run: unrecorded, spec: (next() % 2 == 0).then_some(spec) }]
    };
    let items = (1..=9).filter(|_| next() % 5 > 0).collect::<Vec<_>>();
    let items = items.into_iter().map(|number| item(number, next() % 3 == 0)).collect();
    World {
        now: ClockReading { at: now, mono_ms: 10_000_000, slept_ms: 0, boot_id: boot_id.to_owned() },
        source: Observed::Known(SourceView { items, unreadable: Vec::new() }),
        fleet: Observed::Known(FleetView { runs, unrecorded, ..FleetView::default() }),
        local: LocalFacts {
            lineage: "lineage".to_owned(),
            workspaces: "/factory/workspaces".into(),
            ..LocalFacts::default()
        },
        workspaces_taken: Default::default(),
    }
}

/// What `status` would show of it.
fn show(config: &Config, registry: &Registry, now: &ClockReading) {
    let looked = StatusInput {
        config,
        state: Path::new("/state"),
        workspaces: Path::new("/workspaces"),
        item_place: &str::to_owned,
        registry: Some(registry),
        heartbeat_state: &HeartbeatState::Absent,
        alive: &Alive::Absent,
        program: "factory-tick",
        now,
    };
    let view = StatusView::new(&looked);
    let _ = (view.to_json(), view.to_page(80, true));
}

pub(super) const PROPERTIES: &[(&str, fn())] = &[
    ("bytes of registries", any_bytes_are_a_generation_of_ours_or_refused),
    ("records", any_records_are_refused_or_decided_upon_and_what_comes_of_that_loads_again),
    ("original records", the_records_that_are_changed_are_good_ones),
];

proptest! {
    #![proptest_config(cases())]

    fn any_bytes_are_a_generation_of_ours_or_refused(
        registry in bytes_like(vec![FIRST.as_bytes().to_vec()]),
        backup in prop::option::of(bytes_like(vec![FIRST.as_bytes().to_vec()])),
    ) {
        let (_holder, dir) = state();
        fs::create_dir(dir.runs().join("ar-1-impl.1")).unwrap();
        lay(&dir.path().join("registry.json"), &registry);
        if let Some(backup) = &backup {
            lay(&dir.path().join("registry.json.bak"), backup);
        }
        let first: Registry = serde_json::from_value(serde_json::from_str::<Value>(FIRST).unwrap()["body"].clone()).unwrap();
        match registry_file::load::<Registry>(&dir, || Some(u64::MAX)) {
            Ok((loaded, _)) => {
                prop_assert!(loaded.origin != Origin::Fresh);
                prop_assert_eq!(loaded.body, first);
            }
            Err(error) => prop_assert!(matches!(error, StoreError::BadState(_)), "{error:?}"),
        }
        prop_assert_eq!(fs::read(dir.path().join("registry.json")).unwrap(), registry);
    }

    fn any_records_are_refused_or_decided_upon_and_what_comes_of_that_loads_again(
        changes in changes(),
        now in prop_oneof![
            4 => Just("2026-11-20T08:50:00Z".parse().unwrap()),
            1 => Just(Timestamp::MIN), 1 => Just(Timestamp::MAX), 1 => Just(Timestamp::UNIX_EPOCH),
        ],
        same_boot in any::<bool>(),
        picks in prop::collection::vec(any::<Index>(), 8),
    ) {
        let mut body = body();
        apply(&mut body, &changes);
        let (_holder, dir) = state();
        let (_, mut file) = registry_file::load::<Registry>(&dir, || None).unwrap();
        file.commit(&body).unwrap();
        let loaded = match registry_file::load::<Registry>(&dir, || None) {
            Ok((loaded, _)) => loaded,
            Err(error) => {
                prop_assert!(matches!(error, StoreError::BadState(_)), "{error:?}");
                return Ok(());
            }
        };
        let mut registry = loaded.body;
        assert_same_again(&registry);
        if registry.check().is_err() {
            return Ok(());
        }
        let config = configuration();
        let boot_id = if same_boot { "0b6e7c1a-5f7d-4d0e-9c3b-2a1f4e8d9c70" } else { "b" };
        for _ in 0..3 {
            let world = world(&registry, now, boot_id, &picks);
            show(&config, &registry, &world.now);
            let plan = decide(&config, &registry, &world, &Request::default());
            registry.intend(&plan, &world.now);
            registry.note(&plan, &[], &config.attempts, &world.now);
            prop_assert_eq!(registry.check(), Ok(()));
            let clock = ClockTracker::first(world.now.clone());
            let _ = retention::runs(&registry, &[], &config.retention, &clock);
            assert_same_again(&registry);
        }
    }
}

fn assert_same_again(registry: &Registry) {
    // A commit puts these into a file of their own.
    let registry = &Registry { fresh_details: Vec::new(), ..registry.clone() };
    let printed = serde_json::to_string(registry).unwrap();
    assert_eq!(&serde_json::from_str::<Registry>(&printed).unwrap(), registry);
}

fn the_records_that_are_changed_are_good_ones() {
    let registry: Registry = serde_json::from_value(body()).unwrap();
    assert_eq!(registry.check(), Ok(()));
}
