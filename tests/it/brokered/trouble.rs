//! A broker that is down, hangs, or is somebody else: nothing is started, nobody is judged, nobody is killed.

use std::io::Write;
use std::net::TcpStream;
use std::process::Stdio;

use nix::sys::signal::Signal;
use serde_json::json;

use super::proxy::{Answers, Asked, Proxy, passes_on, reply};
use super::{Case, DEAF_CHILD, WORKS};
use crate::broker::{names, soon};
use crate::support::{Factory, Ran, assert_has, is_alive, kill_9, system, toml_text};

/// A case with AR-1 at work, and AR-2 new.
fn at_work() -> Option<Case> {
    let case = Case::new(Factory::with_agent(WORKS))?;
    case.factory.item("AR-1");
    case.factory.tick().expect(0);
    case.wait_started(1);
    assert_eq!(case.factory.tick().expect(0).decided(), ["adopt ar-1-impl.1"]);
    case.factory.item("AR-2");
    Some(case)
}

/// A tick that could not ask the broker.
#[track_caller]
fn assert_unknown(case: &Case, what: &str, code: i32, says: &[&str]) -> Ran {
    let ran = case.factory.tick();
    assert_eq!(ran.code, Some(code), "{what}: {}{}", ran.stdout, ran.stderr);
    assert_eq!(ran.decided(), [""; 0], "{what}");
    assert!(ran.held().contains(&"fleet_unknown dir:AR-2".to_owned()), "{what}: {}", ran.stdout);
    assert_has(&ran.stdout, says);
    assert_eq!(case.factory.starts(), ["ar-1-impl.1"], "{what}");
    assert!(is_alive(case.factory.launcher("ar-1-impl.1")), "{what}");
    ran
}

/// And now that it is well again everything goes on, and nothing was done twice.
#[track_caller]
fn assert_goes_on(case: &Case) {
    case.go();
    for key in ["AR-1", "AR-2"] {
        case.tick_until_done(key);
    }
    assert_eq!(case.factory.starts(), ["ar-1-impl.1", "ar-2-impl.1"]);
    assert_eq!(case.factory.told("doubles"), "");
}

// covers: B02 B03
#[test]
fn a_killed_broker_costs_no_item_and_doubles_none() {
    let factory =
        Factory::with_agent(&format!(r#"[ "$FACTORY_ITEM" = dir:AR-3 ] && {{ {DEAF_CHILD} }}; {WORKS}"#));
    let Some(mut case) = Case::new(factory) else { return };
    for key in ["AR-1", "AR-2", "AR-3"] {
        case.factory.item(key);
    }
    case.factory.tick().expect(0);
    case.wait_started(3);
    let far = case.factory.wait_pid("far");
    // Of this one not even a launcher is left to end what it started.
    kill_9(case.factory.launcher("ar-3-impl.1"));
    case.broker.end(Signal::SIGKILL);
    // Their terminals are gone, and so they end, by themselves.
    for run in ["ar-1-impl.1", "ar-2-impl.1"] {
        case.factory.wait_swept(run);
    }
    for _ in 0..3 {
        let ran = case.factory.tick().expect(3);
        assert_eq!(ran.decided(), [""; 0]);
        assert_eq!(ran.json()["decisions"], json!([]), "{}", ran.stdout);
    }
    assert!(is_alive(far), "an unknown fleet kills nobody");
    let status = case.factory.run(&["status"]).stdout;
    assert_has(&status, &["agents  unknown for ", ", since ", "is the broker running?"]);
    case.factory.run(&["kill-tick"]).expect(5);
    case.factory.run(&["stop", "AR-2"]).expect(0);
    assert_eq!(case.factory.starts().len(), 3);

    case.broker.restart();
    case.factory.run(&["retry", "AR-2"]).expect(0);
    case.factory.wait_for("all three are started anew", || {
        case.factory.tick();
        case.factory.starts().len() == 6
    });
    assert!(!is_alive(far), "the orphan was ended before its item went on");
    assert_eq!(case.factory.recorded("AR-1")["attempts"], 0, "that was nobody's failure");
    case.go();
    for key in ["AR-1", "AR-2", "AR-3"] {
        case.tick_until_done(key);
    }
    assert_eq!(case.factory.starts().len(), 6);
    assert_eq!(case.factory.told("doubles"), "");
    let (client, _) = case.broker.meet();
    case.factory.wait_for("nobody is left", || names(&client).is_empty() && case.marked().is_empty());
}

// covers: B02 F35
#[test]
fn a_broker_that_hangs_is_unknown_and_needed_by_nobody_who_only_looks_or_ends() {
    let Some(case) = at_work() else { return };
    case.broker.stop();
    let ran = assert_unknown(&case, "stopped", 3, &["did not answer in time"]);
    let held = ran.json()["held"].to_string();
    assert_has(&held, &["fleet_unknown", "the broker at http://127.0.0.1:"]);
    let status = case.factory.run(&["status"]).stdout;
    assert_has(&status, &["agents  unknown", "did not answer in time"]);
    // What is left of a run whose launcher was killed.
    kill_9(case.factory.launcher("ar-1-impl.1"));
    case.factory.run(&["reap"]).expect(0);
    assert!(case.marked().is_empty());
    case.factory.run(&["kill-tick"]).expect(5);
    case.factory.run(&["stop", "AR-1"]).expect(0);
    case.broker.signal(Signal::SIGCONT);
}

fn gzip_of_zeros() -> Vec<u8> {
    let script = "head -c 50000000 /dev/zero | gzip -1";
    system("sh").args(["-c", script]).stderr(Stdio::null()).output().unwrap().stdout
}

/// Answers requests of one path with these bytes, and has the broker answer all others.
fn instead(path: &'static str, bytes: Vec<u8>) -> Box<Answers> {
    Box::new(move |request, client, broker| {
        if request.line.ends_with(path) {
            let _ = client.write_all(&bytes);
        } else {
            passes_on(request, client, broker);
        }
    })
}

fn floods(_: &Asked, client: &mut TcpStream, _: &dyn Fn() -> Vec<u8>) {
    let head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 200000000\r\n\r\n{\"agents\":[";
    let _ = client.write_all(head);
    // Until it hangs up.
    while client.write_all(&[b' '; 1 << 16]).is_ok() {}
}

// covers: B02
#[test]
fn rubbish_in_place_of_a_broker_starts_nothing_and_kills_nobody() {
    let Some(mut case) = at_work() else { return };
    let broker = case.url();
    let elsewhere = Proxy::start(&broker, Box::new(passes_on));
    let redirect =
        reply("307 Temporary Redirect", &format!("location: {}/api/session\r\n", elsewhere.url), b"");
    let twice = br#"{"agents":[{"name":"a"},{"name":"a"}],"success":true}"#;
    let troubles: Vec<(&str, Box<Answers>, &str)> = vec![
        ("no words", instead("/api/session", Vec::new()), "what the broker did is not known"),
        ("no HTTP", instead("/api/session", b"SSH-2.0-x\r\n".to_vec()), "what the broker did is not known"),
        ("no JSON", instead("/api/session", reply("200 OK", "", b"<html>")), "it is no JSON"),
        ("no broker", instead("/api/session", reply("200 OK", "", b"{}")), "not what a broker says"),
        ("no list", instead("/api/spawned", reply("200 OK", "", b"[]")), "the broker's list of agents"),
        ("one twice", instead("/api/spawned", reply("200 OK", "", twice)), "twice"),
        ("an error", instead("/api/spawned", reply("502 Bad Gateway", "", b"upstream")), "502"),
        ("elsewhere", instead("/api/session", redirect), "the key goes nowhere else"),
        ("a flood", Box::new(floods), "answered more than"),
        (
            "a bomb",
            instead("/api/session", reply("200 OK", "content-encoding: gzip\r\n", &gzip_of_zeros())),
            "compressed",
        ),
    ];
    for (what, answers, says) in troubles {
        let proxy = Proxy::start(&broker, answers);
        case.at(&proxy.url);
        assert_unknown(&case, what, 3, &[says]);
        assert_eq!((proxy.count("POST "), proxy.count("DELETE ")), (0, 0), "{what}: {:?}", proxy.asked());
        assert!(proxy.asked().len() <= 2, "{what}: asked once: {:?}", proxy.asked());
    }
    assert_eq!(elsewhere.asked(), [""; 0], "the key was taken nowhere else");
    case.at(&broker);
    assert_goes_on(&case);
}

// covers: B02 B07
#[test]
fn a_key_that_is_refused_or_missing_is_told_by_its_own_code() {
    let Some(mut case) = at_work() else { return };
    let url = case.url();
    case.at(&url);
    case.factory.var("RELAY_BROKER_API_KEY", "br_another");
    assert_unknown(&case, "another key", 77, &["the broker refused the key"]);
    let check = |code| case.factory.run(&["check", "--format", "json"]).expect(code).json();
    let row = |report: serde_json::Value| {
        let rows = report["checks"].as_array().unwrap().clone();
        rows.into_iter().find(|row| row["name"] == "broker").unwrap().to_string()
    };
    assert_has(&row(check(77)), &["\"ok\":false", "the broker refused the key", "RELAY_BROKER_API_KEY"]);
    case.factory.unset("RELAY_BROKER_API_KEY");
    assert_unknown(&case, "no key", 77, &["RELAY_BROKER_API_KEY is not"]);
    let key = case.broker.find().unwrap().key;
    case.factory.var("RELAY_BROKER_API_KEY", key.reveal());
    case.factory.set("fleet", "broker_url", "\"http://127.0.0.1:9\"");
    assert_unknown(&case, "nobody there", 3, &["the broker was not asked"]);
    let explained = case.factory.run(&["explain", "AR-2"]).stdout;
    assert_has(&explained, &["fleet_unknown", "the broker was not asked"]);
    case.at(&url);
    assert_goes_on(&case);
}

// covers: B07 C02
#[test]
fn check_tells_whether_the_broker_is_there() {
    let Some(mut case) = Case::new(Factory::with_agent("true")) else { return };
    let row = |case: &Case, arguments: &[&str], code| {
        let report =
            case.factory.run(&[&["check", "--format", "json"], arguments].concat()).expect(code).json();
        let rows = report["checks"].as_array().unwrap().clone();
        rows.into_iter().find(|row| row["name"] == "broker").unwrap().to_string()
    };
    let (_, session) = case.broker.meet();
    let accepts = format!("agent-relay {} answers and accepts the key", session.version);
    assert_has(&row(&case, &[], 0), &["\"ok\":true", &accepts, "connection.json"]);
    let url = case.url();
    case.at(&url);
    assert_has(&row(&case, &[], 0), &[&accepts, &url]);
    // Cron has no variables.
    assert_has(&row(&case, &["--as-cron"], 77), &["RELAY_BROKER_API_KEY is not", "to the crontab"]);
    case.broker.end(Signal::SIGTERM);
    assert_has(&row(&case, &[], 69), &["the broker was not asked", "start the broker"]);
    case.factory.set("fleet", "broker_url", "\"\"");
    assert_has(&row(&case, &[], 69), &["no broker was found", "start the broker"]);
}

// A second broker writes over the file of the first, and takes it away when it ends.
// covers: B03
#[test]
fn a_second_broker_in_the_same_place_doubles_nothing() {
    let Some(mut case) = at_work() else { return };
    let first = case.broker.find().unwrap();
    let mut second = case.broker.second();
    let named = || Some(case.broker.find().ok()?.process?.pid);
    case.factory.wait_for("the second wrote over the file", || named() == Some(second.pid()));
    case.factory.wait_for("it answers", || case.broker.find().unwrap().meet(soon()).is_ok());
    // What runs under the first is judged by what it leaves, whoever is asked.
    assert_eq!(case.factory.tick().expect(0).decided(), ["start ar-2-impl.1", "writeback dir:AR-2"]);
    case.wait_started(2);
    second.end(Signal::SIGKILL);
    case.factory.wait_swept("ar-2-impl.1");
    case.factory.tick().expect(3);
    // The first goes on all the time: whoever knows its address can go on with it.
    case.factory.set("fleet", "broker_url", &toml_text(&first.origin.to_string()));
    case.factory.var("RELAY_BROKER_API_KEY", first.key.reveal());
    case.factory.tick().expect(0);
    assert!(is_alive(case.factory.launcher("ar-1-impl.1")));
    assert_eq!(case.factory.told("doubles"), "");
}

// A broker that hangs between its list and the first start held up a tick for as long as there were items to start.
// covers: B09
#[test]
fn a_start_whose_reply_was_lost_is_the_last_of_its_tick_and_is_not_made_again() {
    let Some(mut case) = Case::new(Factory::with_agent(WORKS)) else { return };
    let broker = case.url();
    let answers = Box::new(|request: &Asked, client: &mut TcpStream, broker: &dyn Fn() -> Vec<u8>| {
        let reply = broker();
        if request.line != "POST /api/spawn" {
            let _ = client.write_all(&reply);
        }
    });
    let proxy = Proxy::start(&broker, answers);
    case.at(&proxy.url);
    case.factory.item("AR-1");
    case.factory.item("AR-2");
    case.factory.tick();
    assert_eq!(proxy.count("POST /api/spawn"), 1, "{:?}", proxy.asked());
    case.wait_started(1);
    assert_eq!(case.factory.recorded("AR-2")["attempts"], 0);
    case.at(&broker);
    case.factory.wait_for("the other one is started", || {
        case.factory.tick();
        case.factory.starts().len() == 2
    });
    assert_eq!(case.factory.starts()[0], "ar-1-impl.1");
    case.go();
    for key in ["AR-1", "AR-2"] {
        case.tick_until_done(key);
    }
    assert_eq!((case.factory.starts().len(), case.factory.told("doubles").as_str()), (2, ""));
}

// Nobody came for the environment of a program that had ended at once, and each start waited in vain for somebody.
// covers: B09
#[test]
fn a_start_that_the_broker_saw_end_at_once_does_not_hold_up_the_next_ones() {
    let mut factory = Factory::with_agent(WORKS);
    factory.set("tick", "deadline", "\"20s\"");
    let Some(mut case) = Case::new(factory) else { return };
    let answers = Box::new(move |request: &Asked, client: &mut TcpStream, broker: &dyn Fn() -> Vec<u8>| {
        if request.line == "POST /api/spawn" {
            let name = request.body["name"].as_str().unwrap();
            let error =
                format!("agent '{name}' process exited during startup (exit status: 1); see worker log");
            let body = json!({"error": error, "name": name, "success": false}).to_string();
            let _ = client.write_all(&reply("500 Internal Server Error", "", body.as_bytes()));
        } else {
            passes_on(request, client, broker);
        }
    });
    let proxy = Proxy::start(&case.url(), answers);
    case.at(&proxy.url);
    for n in 1..=4 {
        case.factory.item(&format!("AR-{n}"));
    }
    case.factory.tick();
    assert_eq!(proxy.count("POST /api/spawn"), 4, "{:?}", proxy.asked());
}
