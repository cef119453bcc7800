use std::collections::BTreeMap;

use super::*;
use crate::state::bound::{Bound, Directory, Repository};
use crate::state::{Loaded, Origin};

type Body = BTreeMap<String, u64>;

fn state() -> (tempfile::TempDir, HostDir) {
    let holder = tempfile::tempdir().unwrap();
    let dir = HostDir::create_or_open(&holder.path().join("state"), true).unwrap();
    (holder, dir)
}

fn body(value: u64) -> Body {
    BTreeMap::from([("agent".to_owned(), value)])
}

fn open(dir: &HostDir) -> (Loaded<Body>, RegistryFile) {
    load(dir, || None).unwrap()
}

/// Commits each of `values` in a tick of its own.
fn commit(dir: &HostDir, values: impl IntoIterator<Item = u64>) {
    for value in values {
        open(dir).1.commit(&body(value)).unwrap();
    }
}

fn generation(lineage: &str, serial: u64, body: &str) -> Generation {
    let (lineage, body) = (lineage.to_owned(), body.to_owned());
    Generation { lineage, serial, config: None, binding: None, body }
}

fn binding(inode: u64) -> Binding {
    let repository = Repository { origin: "host/owner/name".into(), path: "ci/factory.toml".into() };
    let directory = Directory { path: "/srv/\"state\"".into(), device: u64::MAX, inode };
    Binding { repository: Some(repository), directory }
}

fn bad_state(dir: &HostDir) -> String {
    let before = everything(dir);
    match load::<Body>(dir, || None) {
        Err(StoreError::BadState(text)) => {
            assert_eq!(everything(dir), before, "nothing may be touched");
            text
        }
        other => panic!("{other:?}"),
    }
}

fn everything(dir: &HostDir) -> BTreeMap<String, Vec<u8>> {
    std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_file())
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
        .collect()
}

fn get(dir: &HostDir, name: &str) -> Vec<u8> {
    std::fs::read(dir.path().join(name)).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "a test breaks a file")]
fn put(dir: &HostDir, name: &str, bytes: &[u8]) {
    // Unlinked first: writing in place would go through to every other name of the same file.
    let _ = std::fs::remove_file(dir.path().join(name));
    std::fs::write(dir.path().join(name), bytes).unwrap();
}

fn remove(dir: &HostDir, name: &str) {
    std::fs::remove_file(dir.path().join(name)).unwrap();
}

#[test]
fn what_was_committed_is_loaded() {
    let (_holder, dir) = state();
    let (loaded, mut file) = open(&dir);
    assert_eq!((loaded.origin, loaded.serial, loaded.body), (Origin::Fresh, 0, Body::new()));
    assert_eq!(loaded.lineage.len(), 32);
    file.bind(Path::new("/etc/factory \"1\".toml"), binding(7));
    assert_eq!(file.commit(&body(1)).unwrap(), Committed::Written { serial: 1 });
    assert_eq!(file.commit(&body(1)).unwrap(), Committed::Unchanged);
    assert_eq!(file.commit(&body(2)).unwrap(), Committed::Written { serial: 2 });
    assert_eq!(file.serial(), 2);

    let (again, file) = open(&dir);
    assert_eq!((again.origin, again.serial, again.body), (Origin::Registry, 2, body(2)));
    assert_eq!(again.lineage, loaded.lineage);
    assert!(again.bound.is_config(Path::new("/etc/factory \"1\".toml")));
    assert_eq!(again.bound.binding, Some(binding(7)));
    assert_eq!(bound(&dir).unwrap(), Some((again.bound, again.lineage)));
    assert_eq!(file.serial(), 2);
    assert!(!file.would_quarantine());
}

#[test]
fn two_fresh_factories_have_two_lineages() {
    let ((_one, one), (_other, other)) = (state(), state());
    assert_ne!(open(&one).0.lineage, open(&other).0.lineage);
}

#[test]
fn new_binding_is_written_with_an_unchanged_body() {
    let (_holder, dir) = state();
    let (loaded, mut file) = open(&dir);
    assert_eq!((loaded.bound, bound(&dir).unwrap()), (Bound::default(), None));
    file.bind(Path::new("/mine.toml"), binding(7));
    file.commit(&body(1)).unwrap();
    let (loaded, mut file) = open(&dir);
    assert!(loaded.bound.is_config(Path::new("/mine.toml")));
    assert!(!loaded.bound.is_config(Path::new("/other.toml")));
    file.bind(Path::new("/mine.toml"), binding(7));
    assert_eq!(file.commit(&loaded.body).unwrap(), Committed::Unchanged);
    file.bind(Path::new("/mine.toml"), binding(8));
    assert_eq!(file.commit(&loaded.body).unwrap(), Committed::Written { serial: 2 });
    assert_eq!(open(&dir).0.bound.binding, Some(binding(8)));
}

#[test]
fn new_lineage_is_written_with_an_unchanged_body() {
    let (_holder, dir) = state();
    commit(&dir, [1]);
    let (loaded, mut file) = open(&dir);
    let lineage = file.begin_lineage().unwrap();
    assert_ne!(lineage, loaded.lineage);
    assert_eq!(open(&dir).0.lineage, loaded.lineage, "the commit writes it");
    assert_eq!(file.commit(&loaded.body).unwrap(), Committed::Written { serial: 2 });
    assert_eq!(open(&dir).0.lineage, lineage);
}

#[test]
fn an_unchanged_commit_touches_nothing() {
    let (_holder, dir) = state();
    commit(&dir, [1, 2]);
    let inode = || rustix::fs::statat(&dir, REGISTRY, AtFlags::empty()).unwrap().st_ino;
    let (before, files) = (inode(), everything(&dir));
    let (loaded, mut file) = open(&dir);
    assert_eq!(file.commit(&loaded.body).unwrap(), Committed::Unchanged);
    assert_eq!((inode(), everything(&dir)), (before, files));
}

#[test]
fn the_first_commit_writes_even_an_empty_registry() {
    let (_holder, dir) = state();
    let (fresh, mut file) = open(&dir);
    assert_eq!(file.commit(&fresh.body).unwrap(), Committed::Written { serial: 1 });
    assert_eq!(open(&dir).0.lineage, fresh.lineage);
}

#[test]
fn the_backup_is_the_generation_before() {
    let (_holder, dir) = state();
    commit(&dir, [1]);
    assert!(!dir.path().join(BACKUP).exists());
    for value in 2..5 {
        let before = get(&dir, REGISTRY);
        commit(&dir, [value]);
        assert_eq!(get(&dir, BACKUP), before);
    }
    let mut names: Vec<String> = everything(&dir).into_keys().collect();
    names.retain(|name| name.starts_with("registry"));
    assert_eq!(names, [REGISTRY, BACKUP]);
}

// Origin: agentsys#50, pueue - a state file that did not parse was replaced by an empty one.
// covers: F53
#[test]
fn a_registry_cut_at_any_length_is_damage_and_never_empty() {
    let (_holder, dir) = state();
    commit(&dir, [1, 2]);
    let (whole, backup) = (get(&dir, REGISTRY), get(&dir, BACKUP));
    for length in 0..whole.len() {
        put(&dir, REGISTRY, &whole[..length]);
        let (loaded, file) = open(&dir);
        assert!(matches!(loaded.origin, Origin::Backup { .. }), "{length}");
        assert_eq!(loaded.body, body(1));
        assert!(file.would_quarantine());
        remove(&dir, BACKUP);
        assert!(bad_state(&dir).contains("registry.json is damaged"), "{length}");
        put(&dir, BACKUP, &backup);
    }
    // Neither may anything follow it.
    put(&dir, REGISTRY, &[&*whole, b"\n"].concat());
    assert!(matches!(open(&dir).0.origin, Origin::Backup { .. }));
}

#[test]
fn no_flipped_bit_goes_unnoticed() {
    let (_holder, dir) = state();
    let (_, mut file) = open(&dir);
    file.bind(Path::new("/srv/factory.toml"), binding(7));
    file.commit(&body(1)).unwrap();
    file.commit(&body(2)).unwrap();
    let whole = get(&dir, REGISTRY);
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        put(&dir, REGISTRY, &flipped);
        match load::<Body>(&dir, || None) {
            Ok((loaded, _)) => {
                assert!(matches!(loaded.origin, Origin::Backup { .. }), "bit {bit}");
                assert_eq!(loaded.body, body(1));
            }
            // One that makes the schema a larger number is not told from a newer version.
            Err(StoreError::BadState(text)) => assert!(text.contains("schema"), "bit {bit}: {text}"),
            Err(other) => panic!("bit {bit}: {other}"),
        }
    }
}

#[test]
fn a_damaged_registry_is_kept_and_its_successor_is_numbered_above_every_other() {
    let (_holder, dir) = state();
    commit(&dir, [1, 2]);
    let backup = get(&dir, BACKUP);
    put(&dir, REGISTRY, b"damaged");
    let (loaded, mut file) = load::<Body>(&dir, || Some(41)).unwrap();
    let Origin::Backup { why } = &loaded.origin else { panic!() };
    assert!(why.starts_with("registry.json is damaged: "), "{why}");
    assert_eq!(loaded.serial, 1);
    assert_eq!(get(&dir, REGISTRY), b"damaged", "to load is to read");

    // Unchanged, and yet written: one generation is lost, and the next tick must not lose it again.
    assert_eq!(file.commit(&loaded.body).unwrap(), Committed::Written { serial: 42 });
    assert_eq!(file.quarantined(), Some("registry.corrupt-42"));
    assert_eq!(get(&dir, "registry.corrupt-42"), b"damaged");
    assert_eq!(get(&dir, BACKUP), backup, "the damaged file may not become the backup");
    assert_eq!(file.commit(&body(3)).unwrap(), Committed::Written { serial: 43 });
    assert_eq!(open(&dir).0.body, body(3));
    put(&dir, REGISTRY, b"");
    assert_eq!(open(&dir).0.serial, 42, "the backup follows again");
}

#[test]
fn an_older_quarantine_is_never_overwritten() {
    let (_holder, dir) = state();
    commit(&dir, [1, 2]);
    put(&dir, REGISTRY, b"damaged");
    put(&dir, "registry.corrupt-2", b"older");
    let (loaded, mut file) = open(&dir);
    file.commit(&loaded.body).unwrap();
    assert_eq!(file.quarantined(), Some("registry.corrupt-2.2"));
    assert_eq!(get(&dir, "registry.corrupt-2"), b"older");
    assert_eq!(get(&dir, "registry.corrupt-2.2"), b"damaged");
}

#[test]
fn a_directory_in_its_place_is_moved_to_quarantine() {
    let (_holder, dir) = state();
    commit(&dir, [1, 2]);
    remove(&dir, REGISTRY);
    std::fs::create_dir(dir.path().join(REGISTRY)).unwrap();
    let (loaded, mut file) = open(&dir);
    file.commit(&loaded.body).unwrap();
    assert!(dir.path().join(file.quarantined().unwrap()).is_dir());
    assert_eq!(open(&dir).0.origin, Origin::Registry);
}

#[test]
fn a_fifo_in_its_place_blocks_nobody() {
    let (_holder, dir) = state();
    commit(&dir, [1, 2]);
    remove(&dir, REGISTRY);
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(&dir, REGISTRY, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let (loaded, mut file) = open(&dir);
    file.commit(&loaded.body).unwrap();
    assert_eq!(open(&dir).0.origin, Origin::Registry);
}

#[test]
fn without_a_registry_the_backup_counts() {
    let (_holder, dir) = state();
    commit(&dir, [1, 2]);
    remove(&dir, REGISTRY);
    std::fs::create_dir(dir.runs().join("ar-1-impl.1")).unwrap();
    let (loaded, mut file) = open(&dir);
    assert_eq!(loaded.origin, Origin::Backup { why: "registry.json is missing".to_owned() });
    assert!(!file.would_quarantine());
    assert_eq!(file.commit(&loaded.body).unwrap(), Committed::Written { serial: 2 });
    assert_eq!(file.quarantined(), None);
}

// covers: F53
#[test]
fn a_factory_that_started_agents_is_never_fresh() {
    let (_holder, dir) = state();
    std::fs::create_dir(dir.runs().join("ar-1-impl.1")).unwrap();
    assert!(bad_state(&dir).contains("runs/ is not empty"));
    std::fs::remove_dir_all(dir.runs()).unwrap();
    assert_eq!(open(&dir).0.origin, Origin::Fresh);
}

#[test]
fn two_damaged_files_are_left_to_a_person() {
    let (_holder, dir) = state();
    commit(&dir, [1, 2]);
    put(&dir, BACKUP, b"");
    assert_eq!(open(&dir).0.body, body(2), "a damaged backup alone is replaced by the next commit");
    put(&dir, REGISTRY, b"{");
    let text = bad_state(&dir);
    assert!(text.contains("registry.json.bak is damaged too: it is empty"), "{text}");
    assert!(text.contains("Nothing was touched"), "{text}");
    remove(&dir, REGISTRY);
    assert!(bad_state(&dir).contains("registry.json is missing"));
}

#[test]
fn what_a_newer_version_wrote_is_not_touched() {
    let newer = br#"{"schema":2,"quite":"different"}"#;
    for name in [REGISTRY, BACKUP] {
        for other in [None, Some(&b"damaged"[..])] {
            let (_holder, dir) = state();
            commit(&dir, [1, 2]);
            if let Some(other) = other {
                put(&dir, if name == REGISTRY { BACKUP } else { REGISTRY }, other);
            }
            put(&dir, name, newer);
            let text = bad_state(&dir);
            assert!(text.contains("schema 2") && text.contains("Upgrade"), "{text}");
            assert!(text.contains(name), "{text}");
        }
    }
}

#[test]
fn which_newer_version_wrote_it_is_said_where_its_heartbeat_tells() {
    let (_holder, dir) = state();
    put(&dir, REGISTRY, br#"{"schema":2,"quite":"different"}"#);
    assert!(bad_state(&dir).contains("written by a newer factory-tick with schema 2"));
    let beat = |version: &str| {
        serde_json::json!({
            "schema": 1, "version": version, "config": "/f.toml", "pid": 1, "start_ticks": 1, "boot_id": "b",
            "host": "h", "status": "idle", "serial": 1, "ticks": 1, "started_at": "1970-01-01T00:00:01Z",
            "updated_at": "1970-01-01T00:00:01Z", "updated_at_ms": 1000, "exit_code": 0, "paused": false,
            "source": {"ok": true, "since": null, "error": null}, "fleet": {"ok": true, "since": null, "error": null},
            "steady": {"now": {"at": "1970-01-01T00:00:01Z", "mono_ms": 0, "boot_id": "b"}, "since": null},
        })
    };
    put(&dir, "heartbeat.json", beat("9.8.7").to_string().as_bytes());
    assert!(bad_state(&dir).contains("written by factory-tick 9.8.7 with schema 2"));
    // Of a tick of this version that came since, and was refused.
    put(&dir, "heartbeat.json", beat(env!("CARGO_PKG_VERSION")).to_string().as_bytes());
    assert!(bad_state(&dir).contains("written by a newer factory-tick with schema 2"));
}

#[test]
fn a_whole_registry_that_means_nothing_to_us_is_not_replaced_by_its_backup() {
    let (_holder, dir) = state();
    commit(&dir, [1, 2]);
    put(&dir, REGISTRY, &generation("ab", 3, r#"["another","shape"]"#).to_bytes());
    assert!(bad_state(&dir).contains("registry.json is whole, but"));
}

/// The directory as a kill leaves it after each step of a commit, made by that very code.
// covers: F55
// Origin: a tick killed between the two renames of its commit. The next commit linked the generation that was its
// own backup by then, renamed that link onto itself, which does nothing, and left it lying about.
#[test]
fn a_commit_after_a_kill_between_the_renames_of_one_leaves_no_temporary() {
    let (_holder, dir) = state();
    commit(&dir, [1, 2]);
    open(&dir).1.keep_as_backup().unwrap();
    commit(&dir, [3]);
    assert!(!dir.path().join(BACKUP_ASIDE).exists());
}

#[test]
fn every_state_that_a_kill_leaves_behind_loads() {
    type Step = fn(&HostDir, &RegistryFile);
    fn aside(dir: &HostDir, file: &RegistryFile) {
        let json = serde_json::to_string(&body(3)).unwrap();
        let bytes = generation(&file.lineage, file.serial + 1, &json).to_bytes();
        atomic::stage(dir.as_fd(), REGISTRY, &bytes, false).unwrap();
    }
    fn torn_aside(dir: &HostDir, _: &RegistryFile) {
        put(dir, "registry.json.tmp", b"{\"schema\":1,\"lin");
    }
    fn linked_aside(dir: &HostDir, _: &RegistryFile) {
        rustix::fs::linkat(dir, REGISTRY, dir, BACKUP_ASIDE, AtFlags::empty()).unwrap();
    }
    fn kept(_: &HostDir, file: &RegistryFile) {
        file.keep_as_backup().unwrap();
    }
    fn quarantined(_: &HostDir, file: &RegistryFile) {
        file.quarantine(file.serial + 1).unwrap();
    }
    fn published(dir: &HostDir, _: &RegistryFile) {
        atomic::publish(dir.as_fd(), "registry.json.tmp", REGISTRY).unwrap();
    }

    let from_good: &[&[Step]] =
        &[&[torn_aside], &[aside], &[aside, linked_aside], &[aside, kept], &[aside, kept, published]];
    let from_damaged: &[&[Step]] =
        &[&[torn_aside], &[aside], &[aside, quarantined], &[aside, quarantined, published]];
    let from_nothing: &[&[Step]] = &[&[torn_aside], &[aside], &[aside, published]];

    for (start, sequences) in
        [(Standing::Good, from_good), (Standing::Damaged, from_damaged), (Standing::Nothing, from_nothing)]
    {
        for (number, steps) in sequences.iter().enumerate() {
            let (_holder, dir) = state();
            if start != Standing::Nothing {
                commit(&dir, [1, 2]);
            }
            if start == Standing::Damaged {
                put(&dir, REGISTRY, b"damaged");
            }
            let (before, file) = open(&dir);
            for step in *steps {
                step(&dir, &file);
            }
            let (after, mut file) = open(&dir);
            let which = format!("{start:?}, sequence {number}");
            let acceptable = [before.body, body(3)];
            assert!(acceptable.contains(&after.body), "{which}: {:?}", after.body);
            // And it goes on from there, with nothing in its way and nothing quarantined twice.
            file.commit(&body(9)).unwrap();
            assert_eq!(open(&dir).0.body, body(9), "{which}");
            commit(&dir, [10]);
            put(&dir, REGISTRY, b"");
            assert_eq!(open(&dir).0.body, body(9), "{which}: the backup");
            let corrupt = everything(&dir).into_keys().filter(|name| name.contains("corrupt")).count();
            assert_eq!(corrupt, usize::from(start == Standing::Damaged), "{which}");
        }
    }
}

#[test]
fn after_a_failed_commit_nothing_more_is_committed() {
    let (_holder, dir) = state();
    commit(&dir, [1, 2]);
    let (_, mut file) = open(&dir);
    // A directory can't be unlinked as a file: the save fails, for root too.
    let obstacle = dir.path().join("registry.json.tmp");
    std::fs::create_dir(&obstacle).unwrap();
    let Err(StoreError::Io(text)) = file.commit(&body(3)) else { panic!() };
    assert!(text.contains("cannot save") && text.contains("registry.json"), "{text}");
    std::fs::remove_dir(&obstacle).unwrap();
    assert!(matches!(file.commit(&body(3)), Err(StoreError::Io(_))));
    assert!(matches!(file.commit(&body(2)), Err(StoreError::Io(_))), "not even an unchanged one");
    assert_eq!(open(&dir).0.body, body(2));
}

#[test]
fn a_folder_in_the_place_of_the_backup_is_named() {
    let (_holder, dir) = state();
    commit(&dir, [1]);
    std::fs::create_dir(dir.path().join(BACKUP)).unwrap();
    let Err(StoreError::Io(text)) = open(&dir).1.commit(&body(2)) else { panic!() };
    assert!(text.contains("registry.json.bak is a directory; move it away"), "{text}");
    assert_eq!(open(&dir).0.body, body(1));
}

// Origin: egg#1510 - the disk was full, success was reported, and the state was gone.
// covers: F54
#[test]
fn a_full_disk_is_an_error_and_what_was_durable_stays() {
    const SELF: &str =
        "state::files::registry_file::tests::a_full_disk_is_an_error_and_what_was_durable_stays";
    if !crate::durable::tests::alone_in_a_process(SELF) {
        return;
    }
    let (_holder, dir) = state();
    commit(&dir, [1, 2]);
    let before = everything(&dir);
    let (_, mut file) = open(&dir);
    // The first bytes are accepted, the rest is refused: what a disk does as it fills up.
    let mut blocked = nix::sys::signal::SigSet::empty();
    blocked.add(nix::sys::signal::Signal::SIGXFSZ);
    blocked.thread_block().unwrap();
    let limit = rustix::process::Rlimit { current: Some(100), maximum: None };
    rustix::process::setrlimit(rustix::process::Resource::Fsize, limit).unwrap();
    assert!(matches!(file.commit(&body(3)), Err(StoreError::Io(_))));
    assert_eq!(everything(&dir), before);
    assert_eq!(open(&dir).0.body, body(2));
}

#[test]
fn what_could_not_be_read_again_is_not_written() {
    let (_holder, dir) = state();
    commit(&dir, [1]);
    let before = everything(&dir);
    let (_, mut file) = open(&dir);
    // To the step that writes: hashing as much takes seconds.
    let huge = vec![b' '; usize::try_from(BYTES_MAX + 1).unwrap()];
    let error = file.write(2, &huge).unwrap_err().to_string();
    assert!(error.contains("larger than 67108864 bytes"), "{error}");
    assert_eq!(everything(&dir), before);
    must_fit(BYTES_MAX).unwrap();
    must_fit(BYTES_MAX + 2).unwrap_err();
}

#[test]
fn a_read_that_the_system_refuses_is_no_damage() {
    const SELF: &str = "state::files::registry_file::tests::a_read_that_the_system_refuses_is_no_damage";
    if !crate::durable::tests::alone_in_a_process(SELF) {
        return;
    }
    let (_holder, dir) = state();
    commit(&dir, [1, 2]);
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(1024) };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, none).unwrap();
    let refused = load::<Body>(&dir, || None).map(drop);
    let many = rustix::process::Rlimit { current: Some(1024), maximum: Some(1024) };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, many).unwrap();
    let Err(StoreError::Io(text)) = refused else { panic!("{refused:?}") };
    assert!(text.contains("registry.json: Too many open files"), "{text}");
}

// covers: F52
#[test]
fn a_reader_without_the_lock_always_sees_a_whole_generation() {
    let (_holder, dir) = state();
    commit(&dir, [0]);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let (_, mut file) = open(&dir);
            for value in 1..=200 {
                file.commit(&body(value)).unwrap();
            }
        });
        let mut last = 0;
        while last < 200 && !writer.is_finished() {
            let (loaded, _) = open(&dir);
            assert_eq!(loaded.origin, Origin::Registry);
            let value = loaded.body["agent"];
            assert!(value >= last, "{value} after {last}");
            last = value;
        }
    });
    assert_eq!(open(&dir).0.body, body(200));
}
