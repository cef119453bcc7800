//! Files of items that are away for a moment, and a folder that is empty for a while.

use std::fs;

use serde_json::json;

use crate::support::{Factory, NOTE_START, put};

/// Does AR-1 at once, and works on any other item until it is ended.
const WORKS: &str = r#"case $FACTORY_ITEM in *AR-1) exit 0;; esac; echo > "$LAB/up"; exec sleep 600"#;

/// AR-1 is done, and the agent of AR-2 is at work.
fn at_work() -> Factory {
    let factory = Factory::with_agent(&[NOTE_START, WORKS].concat());
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_swept("ar-1-impl.1");
    factory.item("AR-2");
    factory.tick().expect(0);
    factory.wait_told("up");
    assert_eq!(factory.tick().expect(0).decided(), ["adopt ar-2-impl.1"]);
    assert_eq!(factory.recorded("AR-1")["state"], "done");
    factory
}

fn starts(factory: &Factory) -> Vec<String> {
    factory.starts()
}

// Origin: an editor that renames into place, and a tick with `--iterations 5` that read the folder twice in 14 ms.
// covers: P03
#[test]
fn file_away_for_a_moment_ends_no_agent() {
    let factory = at_work();
    let (file, away) = (factory.issues().join("AR-2.md"), factory.path("AR-2.md"));
    fs::rename(&file, &away).unwrap();
    // Something else to decide, so that the second iteration comes: an item that is new.
    put(&factory.issues().join("AR-3.md"), "third");
    factory.run(&["--iterations", "5"]).expect(0);
    factory.tick().expect(0);
    factory.run(&["drain", "--wait", "2100ms"]).expect(3);
    assert!(factory.registry()["handoffs"].as_object().unwrap().is_empty());
    fs::rename(&away, &file).unwrap();
    factory.run(&["unpause"]).expect(0);
    factory.tick().expect(0);
    assert_eq!(factory.agent("ar-2-impl")["run"], "ar-2-impl.1");
    assert_eq!(factory.recorded("AR-2")["missing_reads"], 0);
}

// Origin: a folder that was not mounted for two ticks. Everything that was done was forgotten, and done again.
// covers: P11 P11b
#[test]
fn folder_that_is_empty_for_a_while_costs_nothing() {
    let factory = at_work();
    let (folder, away) = (factory.issues(), factory.path("away"));
    fs::rename(&folder, &away).unwrap();
    fs::create_dir(&folder).unwrap();
    for _ in 0..3 {
        let ran = factory.tick().expect(3);
        assert_eq!(ran.decided(), [""; 0]);
        let error = &ran.json()["errors"][0];
        let words = error.as_str().unwrap();
        assert!(words.starts_with("2 of 2 remembered items are absent at once: "), "{words}");
        assert!(words.ends_with("`factory-tick --accept-missing`"), "{words}");
    }
    fs::remove_dir_all(&folder).unwrap();
    fs::rename(&away, &folder).unwrap();
    assert_eq!(factory.tick().expect(0).decided(), [""; 0]);
    assert_eq!(starts(&factory), ["ar-1-impl.1", "ar-2-impl.1"]);

    // Now it is meant; and still nothing is done twice.
    fs::rename(&folder, &away).unwrap();
    fs::create_dir(&folder).unwrap();
    let ran = factory.run(&["--accept-missing", "--format", "json"]).expect(0);
    assert_eq!(ran.decided(), ["forget dir:AR-1", "stop ar-2-impl.1"]);
    factory.tick().expect(0);
    factory.wait_all_gone();
    factory.tick().expect(0);
    assert_eq!(factory.registry()["items"], json!({}));
    fs::remove_dir_all(&folder).unwrap();
    fs::rename(&away, &folder).unwrap();
    factory.run(&["pause"]).expect(0);
    let held = factory.tick().expect(0).held();
    assert_eq!(held, ["done dir:AR-1", "paused dir:AR-2"]);
    assert_eq!(factory.recorded("AR-1")["state"], "done");
}
