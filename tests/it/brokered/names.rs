//! A name that somebody else took, and names that are given back.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::proxy::{self, Asked, Proxy, claims_a_service, passes_on};
use super::{Case, WORKS, above, counter};
use crate::broker::{names, soon, spawn_in};
use crate::support::{Factory, NOTE_START, is_alive, kill_9};

/// Somebody else's agent; it writes down what it is told.
const STRANGER: &str = r#"for signal in HUP INT TERM; do trap "echo $signal >> told" $signal; done
    echo up > up; while :; do sleep 0.05; done"#;

/// One whose agent fails with a session, and whose name is a stranger's then. With the stranger's pid.
fn taken(answers: fn(&Asked, &mut TcpStream, &dyn Fn() -> Vec<u8>)) -> Option<(Case, Proxy, u32)> {
    let mut factory = Factory::new();
    let agent = format!(r#"{NOTE_START} [ -e "$LAB/go" ] && exit 0; echo FACTORY_SESSION=s-1; exit 1"#);
    factory.role("impl", &["sh", "-c", &agent], r#"resume = ["sh", "-c", 'echo "$0" > "$LAB/resumed"']"#);
    let mut case = Case::new(factory)?;
    let proxy = Proxy::start(&case.url(), Box::new(answers));
    case.at(&proxy.url);
    case.factory.item("AR-1");
    case.factory.tick().expect(0);
    case.factory.wait_swept("ar-1-impl.1");
    let (client, _) = case.broker.meet();
    case.factory.wait_for("its name is free", || names(&client).is_empty());
    spawn_in(case.broker.cwd(), &client, "ar-1-impl", STRANGER, soon()).unwrap();
    case.factory.wait_for("the stranger is up", || case.broker.cwd().join("up").exists());
    let mut pid = None;
    case.factory.wait_for("its pid is known", || {
        pid = client.list(soon()).unwrap()[0].pid;
        pid.is_some()
    });

    let ran = case.factory.tick().expect(3);
    assert!(ran.decided().contains(&"resume ar-1-impl.2".to_owned()), "{}", ran.stdout);
    let told = ran.json()["errors"].to_string();
    assert!(told.contains("an agent of that name runs in the broker already"), "{told}");
    Some((case, proxy, pid.unwrap()))
}

/// The stranger ends, and the item goes on.
#[track_caller]
fn goes_on(case: &Case, stranger: u32) {
    let (client, _) = case.broker.meet();
    assert!(is_alive(stranger) && names(&client) == ["ar-1-impl"]);
    kill_9(stranger);
    case.factory.wait_for("the name is free", || names(&client).is_empty());
    case.go();
    case.tick_until_done("AR-1");
    assert_eq!(case.factory.starts(), ["ar-1-impl.1", "ar-1-impl.3"]);
    assert_eq!(case.factory.told("resumed"), "", "that session is given up");
    assert_eq!(counter(&case.factory, "resume_name_collisions"), 1);
}

// Origin: pear#331 - "name already exists" was retried on every exit: an endless loop of refused starts.
// covers: B04 F17 V15
#[test]
fn a_name_that_a_stranger_took_is_asked_for_once_and_its_item_goes_on_when_it_is_free() {
    let Some((case, proxy, stranger)) = taken(passes_on) else { return };
    for _ in 0..20 {
        let ran = case.factory.tick();
        assert_eq!(ran.held(), ["handoff_pending dir:AR-1"], "{}", ran.stdout);
        assert_eq!((ran.stderr.as_str(), &ran.json()["errors"]), ("", &json!([])), "it was told once");
    }
    assert_eq!(proxy.count("POST /api/spawn"), 2, "the start, and one resume: {:?}", proxy.asked());
    // The stranger is not what ran there before: nobody tells it anything.
    let told = std::fs::read_to_string(case.broker.cwd().join("told")).unwrap_or_default();
    assert_eq!((told.as_str(), proxy.count("DELETE ")), ("", 0), "{:?}", proxy.asked());
    goes_on(&case, stranger);
}

// A run that could not start for its name's sake was put away like all others, and its name "given back": it was that of
// the stranger, whom the service behind the broker would have forgotten.
// covers: B05
#[test]
fn a_name_that_never_was_ours_is_not_given_back_to_the_service_either() {
    let Some((case, proxy, stranger)) = taken(claims_a_service) else { return };
    goes_on(&case, stranger);
    assert_eq!(proxy.count("DELETE "), 0, "{:?}", proxy.asked());
}

/// The one that is told when a terminal is hung up, standing still.
struct Stopped(Pid);

impl Stopped {
    fn relay(case: &Case, run: &str) -> Stopped {
        let relay = Pid::from_raw(above(case.factory.launcher(run))[0].try_into().unwrap());
        kill(relay, Signal::SIGSTOP).unwrap();
        Stopped(relay)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGCONT);
    }
}

/// The same list, in the first moment after a start.
fn without_pids(reply: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(reply);
    let mut list: Value = serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap();
    list["agents"].as_array_mut().unwrap().iter_mut().for_each(|agent| agent["pid"] = Value::Null);
    proxy::reply("200 OK", "", list.to_string().as_bytes())
}

// A launcher ends before its relay does, and a tick that came in between took the relay of its own last run for a stranger
// with the same name: the session was given up for nothing.
// covers: B04
#[test]
fn a_relay_that_outlives_its_run_is_no_stranger() {
    let mut factory = Factory::new();
    let agent = format!(
        r#"{NOTE_START} echo FACTORY_SESSION=s-1; until [ -e "$LAB/go" ]; do sleep 0.05; done; exit 1"#
    );
    factory.role(
        "impl",
        &["sh", "-c", &agent],
        r#"resume = ["sh", "-c", 'echo "$0" > "$LAB/resumed"', "{session}"]"#,
    );
    let Some(mut case) = Case::new(factory) else { return };
    case.factory.item("AR-1");
    case.factory.tick().expect(0);
    case.wait_started(1);
    let relay = Mutex::new(Some(Stopped::relay(&case, "ar-1-impl.1")));
    case.go();
    case.factory.wait_swept("ar-1-impl.1");
    let (is_refused, lists) = (AtomicBool::new(false), AtomicUsize::new(0));
    let answers = Box::new(move |request: &Asked, client: &mut TcpStream, broker: &dyn Fn() -> Vec<u8>| {
        let after = is_refused.fetch_or(request.line == "POST /api/spawn", Ordering::SeqCst);
        let looks = if after && request.line == "GET /api/spawned" {
            lists.fetch_add(1, Ordering::SeqCst) + 1
        } else {
            0
        };
        if looks == 1 {
            // For a moment the broker does not know which process it has started.
            let _ = client.write_all(&without_pids(&broker()));
        } else {
            passes_on(request, client, broker);
        }
        if looks == 3 {
            relay.lock().unwrap().take();
        }
    });
    let proxy = Proxy::start(&case.url(), answers);
    case.at(&proxy.url);
    let ran = case.factory.tick().expect(0);
    assert!(ran.decided().contains(&"resume ar-1-impl.2".to_owned()), "{}", ran.stdout);
    case.factory.wait_swept("ar-1-impl.2");
    assert_eq!((case.factory.told("resumed").as_str(), proxy.count("POST /api/spawn")), ("s-1\n", 2));
    assert_eq!(counter(&case.factory, "resume_name_collisions"), 0);
}

// covers: B05
#[test]
fn a_release_whose_reply_was_lost_is_asked_for_once() {
    let Some(mut case) = Case::new(Factory::with_agent(WORKS)) else { return };
    let proxy = Proxy::start(
        &case.url(),
        Box::new(|request, client, broker| {
            if request.line.starts_with("DELETE ") {
                // Done, and nobody hears of it.
                broker();
                let _ = client.flush();
            } else {
                claims_a_service(request, client, broker);
            }
        }),
    );
    case.at(&proxy.url);
    case.factory.item("AR-1");
    case.factory.tick().expect(0);
    case.wait_started(1);
    // It outlives its run: what then is in the broker's list is no stranger.
    let _relay = Stopped::relay(&case, "ar-1-impl.1");
    case.factory.run(&["stop", "AR-1"]).expect(0);
    assert!(case.marked().is_empty());
    for _ in 0..5 {
        case.factory.tick();
    }
    assert_eq!(proxy.count("DELETE /api/spawned/ar-1-impl"), 1, "{:?}", proxy.asked());
    let (client, _) = case.broker.meet();
    case.factory.wait_for("it is gone all the same", || names(&client).is_empty());
}
