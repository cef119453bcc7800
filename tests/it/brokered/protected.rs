//! The broker and whatever it started for others are never signalled, though they bear a run's mark: a broker that an
//! agent started has it, and so has whatever that broker starts.

use std::collections::BTreeMap;
use std::fs;

use factory_tick::fleet::broker::Spawn;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::proxy::{Proxy, passes_on};
use super::{Case, DEAF_CHILD, WORKS};
use crate::broker::{Broker, names, soon};
use crate::support::{Factory, is_alive, kill_9, put};

/// How the program knows where the broker is.
enum Known {
    File,
    Url,
    UrlOfAnother,
}

fn a_broker_with_the_mark_of_a_run_lives_on(known: Known) {
    let factory = Factory::with_agent(&[DEAF_CHILD, WORKS].concat());
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_for("all of it runs", || factory.starts().len() == 1);
    let child = factory.wait_pid("far");
    let marker = format!("{}/ar-1-impl.1", factory.lineage());
    let Some(broker) = Broker::start_with(&[("FACTORY_RUN", &marker)]) else { return };
    let mut case = Case::under(factory, broker);
    let url = case.url();
    let proxy;
    match known {
        Known::File => {}
        Known::Url => case.at(&url),
        Known::UrlOfAnother => {
            proxy = Proxy::start(&url, Box::new(passes_on));
            case.at(&proxy.url);
        }
    }
    let (client, _) = case.broker.meet();
    let stranger = || client.list(soon()).unwrap().iter().find_map(|one| Some((one.pid?, one.worker_pid?)));
    let spawn = Spawn {
        name: "stranger",
        label: "sleep",
        command: "sleep",
        args: &["600".to_owned()],
        env: &BTreeMap::new(),
        cwd: case.broker.cwd(),
        task: None,
        agent_token: None,
    };
    client.spawn(&spawn, soon()).unwrap();
    case.factory.wait_for("the stranger's pid is known", || stranger().is_some());
    let (stranger, worker) = stranger().unwrap();
    kill_9(case.factory.launcher("ar-1-impl.1"));

    case.go();
    case.tick_until_done("AR-1");
    assert!(!is_alive(child), "what is left of the run is ended");
    for (pid, who) in [(case.broker.pid(), "the broker"), (worker, "its worker"), (stranger, "the stranger")]
    {
        assert!(is_alive(pid), "{who}");
    }
    case.factory.wait_for("only the stranger is left", || names(&client) == ["stranger"]);
}

// covers: B06
#[test]
fn a_broker_that_is_known_by_its_file_is_never_signalled() {
    a_broker_with_the_mark_of_a_run_lives_on(Known::File);
}

// Of a broker with a URL nothing named the process, and the look for what was left of a run ended it with all agents.
// covers: B06
#[test]
fn a_broker_that_is_known_by_its_url_is_never_signalled() {
    a_broker_with_the_mark_of_a_run_lives_on(Known::Url);
}

// Where something stands in front of the broker, that is what listens: the broker is whose child holds a terminal.
// covers: B06
#[test]
fn a_broker_behind_something_else_is_never_signalled() {
    a_broker_with_the_mark_of_a_run_lives_on(Known::UrlOfAnother);
}

// The file of a broker that was killed names its number for ever, and numbers come again: what of a run had got that one
// was spared for a broker, and the run was called ended while it lived.
// covers: B06 F29
#[test]
fn what_has_the_number_of_a_broker_that_is_gone_is_ended_like_all_of_its_run() {
    let Some(mut case) = Case::new(Factory::with_agent(&[DEAF_CHILD, WORKS].concat())) else { return };
    case.factory.item("AR-1");
    case.factory.tick().expect(0);
    case.wait_started(1);
    let child = case.factory.wait_pid("far");
    let file = case.broker.cwd().join(".agentworkforce/relay/connection.json");
    let mut connection: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    connection["pid"] = json!(child);
    case.broker.end(Signal::SIGKILL);
    put(&file, &connection.to_string());
    case.factory.tick().expect(3);
    kill_9(case.factory.launcher("ar-1-impl.1"));
    let report = case.factory.run(&["stop", "AR-1", "--format", "json"]).expect(0).json();
    assert!(!is_alive(child) && case.marked().is_empty(), "{report}");
}
