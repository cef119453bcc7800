//! State files of earlier versions: each is kept as it was written, and read for ever.

use std::path::Path;

use factory_tick::model::Gone;
use factory_tick::registry::{AgentPhase, ItemPhase, ParkedBy};
use factory_tick::state::files::{RegistryFile, registry_file};
use factory_tick::state::{HostDir, Loaded, Origin};

/// Written by factory-tick 0.1.0: an item in each state, two done items of the index, two runs that must end, and each
/// reason for which nothing starts. Later versions may add files beside it, and never change it.
const FIRST: &str = include_str!("../../fixtures/registry/first.json");

fn load(dir: &Path) -> (Loaded, RegistryFile) {
    let dir = HostDir::create_or_open(dir, true).expect("a state directory");
    registry_file::load(&dir, || None).expect("the registry is read")
}

fn first() -> (tempfile::TempDir, Loaded, RegistryFile) {
    let holder = tempfile::tempdir().expect("a temporary folder");
    let dir = holder.path().join("state");
    HostDir::create_or_open(&dir, true).expect("a state directory");
    #[expect(clippy::disallowed_methods, reason = "a test lays out the files that the program finds")]
    std::fs::write(dir.join("registry.json"), FIRST).expect("the fixture is laid out");
    let (loaded, file) = load(&dir);
    (holder, loaded, file)
}

#[test]
fn the_first_registry_is_read_for_ever() {
    let (_holder, loaded, file) = first();
    assert_eq!(loaded.origin, Origin::Registry, "not repaired from anything: it is whole");
    assert_eq!(loaded.lineage, "0031613d5f4ee17b7ab1743048d3a7a7");
    assert_eq!((loaded.serial, file.serial()), (14, 14));
    assert!(loaded.bound.is_config(Path::new("/srv/factory/factory.toml")));
    let binding = loaded.bound.binding.as_ref().expect("the state is bound to a repository and a directory");
    assert_eq!(binding.directory.path, "/srv/factory/.factory-tick");

    let registry = &loaded.body;
    let standing: Vec<_> = registry
        .items
        .iter()
        .map(|(id, item)| (id.0.as_str(), item.key.as_str(), item.state, item.attempts, item.parked_by))
        .collect();
    use ItemPhase::{Active, Done, Parked, Waiting};
    assert_eq!(
        standing,
        [
            ("dir:AR-1", "AR-1", Done, 0, None),
            ("dir:AR-2", "AR-2", Waiting, 1, None),
            ("dir:AR-3", "AR-3", Parked, 0, Some(ParkedBy::Rule)),
            ("dir:AR-4", "AR-4", Active, 0, None),
            ("dir:AR-5", "AR-5", Waiting, 0, None),
            ("dir:AR-6", "AR-6", Parked, 0, Some(ParkedBy::Person)),
            ("dir:AR-7", "AR-7", Active, 1, None),
            ("dir:AR-8", "AR-8", Active, 0, None),
            ("dir:uuid-9", "Web#9 ü", Active, 0, None),
        ]
    );

    let in_flight: Vec<_> = registry
        .agents
        .values()
        .filter(|agent| agent.state != AgentPhase::Idle)
        .map(|agent| (agent.run.as_ref().map(ToString::to_string), agent.handle.is_some()))
        .collect();
    let running = |run: &str| (Some(run.to_owned()), true);
    assert_eq!(
        in_flight,
        [
            running("ar-4-impl.1"),
            running("ar-4-rev.1"),
            running("ar-7-impl.2"),
            running("ar-7-rev.1"),
            running("ar-8-impl.1"),
            running("ar-8-rev.1"),
            running("web-9-e944c9369a07fd28-rev.1"),
        ]
    );
    let handoffs: Vec<_> = registry.handoffs.keys().map(ToString::to_string).collect();
    assert_eq!(handoffs, ["ar-5-impl.1", "ar-5-rev.1"]);
    let done: Vec<_> =
        registry.done.iter().map(|(id, done)| (id.0.as_str(), done.key(id), done.gone)).collect();
    assert_eq!(done, [("dir:AR-10", "AR-10", None), ("dir:AR-11", "Old#11", Some(Gone::Absent))]);
    let owed = registry.items.values().filter(|item| item.outbox.tracker_note.wanted.is_some()).count();
    assert_eq!(owed, 1, "a note that its tracker was not told");
    let cool_offs: Vec<_> = registry.cool_offs.keys().map(String::as_str).collect();
    assert_eq!(cool_offs, ["harness:claude", "role:implementer"]);
    assert!(registry.paused.is_some() && registry.failure_streak.is_some() && registry.daily_spend.is_some());
    assert_eq!(registry.refusals["reviewer"].streak, 1);
    assert_eq!((registry.counters.dispatched, registry.counters.resumes), (19, 1));
}

#[test]
fn what_is_written_next_holds_all_of_the_first() {
    let (holder, loaded, mut file) = first();
    let mut changed = loaded.body.clone();
    changed.counters.crashed_ticks += 1;
    file.commit(&changed).expect("the next generation is written");
    let (again, _) = load(&holder.path().join("state"));
    assert_eq!(again.body, changed);
    assert_eq!((again.lineage, again.serial), (loaded.lineage, loaded.serial + 1));
}
