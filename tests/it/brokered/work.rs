//! What goes well, and what is ended.

use std::time::Instant;

use serde_json::json;

use super::{Case, DEAF_CHILD, WORKS, above, counter};
use crate::broker::{names, soon};
use crate::support::{Factory, NOTE_START, is_alive, put};

// covers: B01
#[test]
fn a_crew_gets_its_task_under_the_broker_and_its_item_is_done() {
    let mut factory = Factory::new();
    let script = format!(r#"cat "$FACTORY_PROMPT_FILE" > "$LAB/task-$FACTORY_ROLE"; {WORKS}"#);
    factory.role("impl", &["sh", "-c", &script], "");
    factory.role("review", &["sh", "-c", &script], "");
    let Some(case) = Case::new(factory) else { return };
    case.factory.item("AR-1");
    case.factory.tick().expect(0);
    case.wait_started(2);
    let (client, _) = case.broker.meet();
    let mut listed = names(&client);
    listed.sort();
    assert_eq!(listed, ["ar-1-impl", "ar-1-review"]);
    for role in ["impl", "review"] {
        let task = case.factory.told(&format!("task-{role}"));
        assert!(task.contains("Do what it says."), "{task}");
        let above = above(case.factory.launcher(&format!("ar-1-{role}.1")));
        assert_eq!(above[2], case.broker.pid(), "below a relay, which is below a process of the broker's");
    }
    assert!(case.factory.tick().expect(0).decided().iter().all(|line| line.starts_with("adopt ")));
    case.go();
    for run in ["ar-1-impl.1", "ar-1-review.1"] {
        case.factory.wait_swept(run);
    }
    case.tick_until_done("AR-1");
    assert_eq!(case.factory.starts().len(), 2);
}

// The broker has an agent that ended in its list for some tenths of a second more: a resume at once was refused for the
// sake of the name that it had itself.
// covers: B01 B04 V05
#[test]
fn an_agent_is_resumed_in_the_very_tick_that_sees_its_end() {
    let mut factory = Factory::new();
    let more = r#"resume = ["sh", "-c", 'echo "$FACTORY_RUN $0" >> "$LAB/resumed"', "{session}"]"#;
    factory.role("impl", &["sh", "-c", &format!("{NOTE_START} echo FACTORY_SESSION=s-1; exit 1")], more);
    let Some(case) = Case::new(factory) else { return };
    for key in ["AR-1", "AR-2"] {
        case.factory.item(key);
        case.factory.tick().expect(0);
        let slug = key.to_lowercase();
        case.factory.wait_swept(&format!("{slug}-impl.1"));
        let ran = case.factory.tick().expect(0);
        assert!(ran.decided().contains(&format!("resume {slug}-impl.2")), "{}", ran.stdout);
        case.factory.wait_swept(&format!("{slug}-impl.2"));
        case.tick_until_done(key);
    }
    let lines = case.factory.told("resumed");
    assert!(lines.lines().all(|line| line.ends_with("-impl.2 s-1")) && lines.lines().count() == 2, "{lines}");
    assert_eq!(counter(&case.factory, "resume_name_collisions"), 0);
}

// A start was told as required, and could not be: its agents live, and the next start would be their double.
// covers: B06 V11 X06
#[test]
fn agents_of_a_start_that_could_not_be_told_are_ended_to_the_last_and_the_broker_lives_on() {
    let mut factory = Factory::new();
    let script = [DEAF_CHILD, WORKS].concat();
    factory.role("impl", &["sh", "-c", &script], "");
    factory.role("review", &["sh", "-c", &script], "");
    factory.set("writeback", "started", "\"required\"");
    let Some(case) = Case::new(factory) else { return };
    // Where the note would go there is a file.
    put(&case.factory.issues().join(".factory"), "");
    case.factory.item("AR-1");
    case.factory.tick().expect(3);
    let handoffs = || case.factory.registry()["handoffs"].as_object().unwrap().len();
    assert_eq!(handoffs(), 2, "durable in the tick that failed");
    case.factory.wait_for("all run", || case.factory.told("far").lines().count() == 2);
    assert!(case.marked().len() >= 6, "two launchers, agents and children");

    std::fs::remove_file(case.factory.issues().join(".factory")).unwrap();
    let report = case.factory.run(&["reap", "--format", "json"]).expect(0).json();
    assert_eq!(report["survivors"], json!([]), "{report}");
    let left: Vec<_> = case.marked().into_iter().collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(is_alive(case.broker.pid()));
    let (client, _) = case.broker.meet();
    case.factory.wait_for("their names are free", || names(&client).is_empty());
    case.go();
    case.tick_until_done("AR-1");
    assert_eq!(handoffs(), 0);
    assert_eq!(case.factory.starts().len(), 4);
}

// The broker hangs a terminal up and calls that stopped: what ignores a hang-up went on under a free name.
// covers: F43
#[test]
fn an_agent_deaf_to_everything_is_stopped_with_all_that_it_started() {
    let script = format!(r#"trap '' HUP INT TERM; {DEAF_CHILD} {NOTE_START} while :; do sleep 600; done"#);
    let Some(case) = Case::new(Factory::with_agent(&script)) else { return };
    case.factory.item("AR-1");
    case.factory.tick().expect(0);
    case.wait_started(1);
    case.factory.wait_told("far");
    let ran = case.factory.run(&["stop", "AR-1"]).expect(0);
    assert!(case.marked().is_empty(), "{:?}: {}", case.marked(), ran.stdout);
    let (client, _) = case.broker.meet();
    case.factory.wait_for("its name is free", || names(&client).is_empty());
    assert!(!client.list(soon()).unwrap().iter().any(|agent| agent.name == "ar-1-impl"));
}

/// The larger the number, the longer it takes: the broker starts one agent after the other.
// covers: B01
#[test]
#[expect(clippy::print_stderr, reason = "a figure, for whoever asked")]
fn many_agents_are_started_one_by_one_within_one_tick() {
    let many = 6_u64;
    let mut factory = Factory::with_agent(WORKS);
    factory.set("limits", "items_max", "100");
    factory.set("tick", "starts_max", "100");
    let Some(case) = Case::new(factory) else { return };
    (1..=many).for_each(|n| case.factory.item(&format!("AR-{n}")));
    let begun = Instant::now();
    case.factory.tick().expect(0);
    let took = begun.elapsed().as_millis();
    eprintln!("{many} agents under the broker: {took} ms for the tick, {} ms each", took / u128::from(many));
    case.wait_started(usize::try_from(many).unwrap());
    case.go();
    (1..=many).for_each(|n| drop(case.tick_until_done(&format!("AR-{n}"))));
    assert_eq!(case.factory.starts().len(), usize::try_from(many).unwrap());
    assert_eq!(case.factory.told("doubles"), "");
}
