//! Names that dead runs left on the books of the service behind a broker: the real broker, with a stand-in for its
//! service, and both of them reached through doors that note what comes by, lose replies, or answer themselves.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use factory_tick::fleet::broker::reclaim::Reclaim;
use factory_tick::fleet::broker::{Client, Failure, Origin, Session, Spawn, Spawned};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::broker::{Process, find_in, names, program, soon, wait_for};
use crate::support::{Factory, number_from, put, skipped, system, toml_text};

/// What the stand-in's workspace is asked with.
const KEY: &str = "rk_live_workspace";

/// A stand-in for the service.
struct Service {
    stub: Child,
    port: u16,
}

impl Service {
    fn start(home: &Path) -> Service {
        let port = home.join("port");
        let stub = system("python3")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/broker/service_stub.py"))
            .arg(&port)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        wait_for("the service listens", || port.exists());
        let port = fs::read_to_string(port).unwrap().parse().unwrap();
        Service { stub, port }
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// One request of the tests' own.
    fn ask(&self, method: &str, body: &Value) -> Value {
        let body = body.to_string();
        let length = body.len();
        let request = format!(
            "{method} /agents HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        let reply = passed_on(&self.address(), request.as_bytes());
        let reply = String::from_utf8(reply).unwrap();
        let (_, body) = reply.split_once("\r\n\r\n").unwrap();
        serde_json::from_str::<Value>(body).unwrap()["data"].take()
    }

    /// Somebody else's agent, or one of a broker that is no more.
    fn put(&self, agent: &Value) -> Value {
        self.ask("POST", agent)
    }

    fn agent(&self, name: &str) -> Value {
        self.ask("GET", &json!({}))[name].take()
    }
}

impl Drop for Service {
    /// The stub ends with its stdin.
    fn drop(&mut self) {
        drop(self.stub.stdin.take());
        let _ = self.stub.wait();
    }
}

/// What a door does with a request.
#[derive(Clone)]
enum Way {
    /// Passes it on, and its reply back.
    Open,
    /// Passes it on, and keeps the reply.
    Lost,
    /// Answers it.
    Reported(&'static str, String),
}

/// What came by, in its order: at which door, method and path, and the body.
type Notes = Arc<Mutex<Vec<(String, String, Value)>>>;

/// Which requests, by a part of their note, go which way: each entry once, in order.
type Ways = Arc<Mutex<Vec<(&'static str, Way)>>>;

/// A door to a server.
fn door(to: String, prefix: &'static str, notes: Notes, ways: Ways) -> Origin {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = Origin::parse(&format!("http://{}", listener.local_addr().unwrap()), false).unwrap();
    thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let (head, body) = request(&mut client);
            let line = head.lines().next().unwrap().trim_end_matches(" HTTP/1.1");
            let sent = serde_json::from_str(&body).unwrap_or(Value::Null);
            let with = if sent["agentToken"].is_string() { " with a token" } else { "" };
            let note = format!("{prefix}: {line}{with}");
            let way = {
                let mut ways = ways.lock().unwrap();
                let at = ways.iter().position(|(part, _)| note.contains(part));
                at.map_or(Way::Open, |at| ways.remove(at).1)
            };
            notes.lock().unwrap().push((note, head.clone(), sent));
            let reply = match way {
                Way::Reported(status, body) => format!(
                    "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                )
                .into_bytes(),
                Way::Open => passed_on(&to, format!("{head}\r\n\r\n{body}").as_bytes()),
                Way::Lost => {
                    passed_on(&to, format!("{head}\r\n\r\n{body}").as_bytes());
                    Vec::new()
                }
            };
            // Its client may not want it any more.
            let _ = client.write_all(&reply);
            let _ = client.shutdown(Shutdown::Both);
        }
    });
    origin
}

fn passed_on(to: &str, request: &[u8]) -> Vec<u8> {
    let (mut server, mut reply) = (TcpStream::connect(to).unwrap(), Vec::new());
    server.write_all(request).unwrap();
    server.read_to_end(&mut reply).unwrap();
    reply
}

/// A whole request: its head, and its body.
fn request(from: &mut TcpStream) -> (String, String) {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                |line: &str| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok();
            if body.len() >= head.lines().find_map(length).unwrap_or(0_usize) {
                return (head.to_owned(), body.to_owned());
            }
        }
        let mut some = [0; 4096];
        let n = from.read(&mut some).unwrap();
        assert!(n > 0, "a request that ends too early: {text}");
        read.extend_from_slice(&some[..n]);
    }
}

/// A broker with its service.
struct Lab {
    // In this order they end.
    broker: Process,
    service: Service,
    home: TempDir,
    notes: Notes,
    ways: Ways,
}

impl Lab {
    /// `None`, said aloud, where the broker was not fetched.
    fn start() -> Option<Lab> {
        let program = program()?;
        if !system("python3").arg("--version").stdout(Stdio::null()).status().is_ok_and(|ran| ran.success()) {
            let why = "there is no python3, in which the broker's service is played";
            assert!(number_from("FACTORY_TICK_REQUIRE_BROKER", 0) == 0, "{why}");
            skipped(why);
            return None;
        }
        let home =
            tempfile::Builder::new().prefix("reclaim-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let service = Service::start(home.path());
        let broker = run(&program, home.path(), &service);
        let lab = Lab { broker, service, home, notes: Notes::default(), ways: Ways::default() };
        lab.ready();
        Some(lab)
    }

    fn ready(&self) {
        let found = || find_in(self.home.path()).ok();
        let pid = || Some(found()?.process?.pid);
        wait_for("the broker left its file", || pid() == Some(self.broker.0.id()));
        wait_for("the broker answers", || found().is_some_and(|found| found.meet(soon()).is_ok()));
    }

    /// Kills the broker, and starts another one in its place.
    fn restart(&mut self) {
        self.broker.end(Signal::SIGKILL);
        self.broker = run(&program().unwrap(), self.home.path(), &self.service);
        self.ready();
    }

    /// A client of the broker, and what that says of itself: both lead through doors.
    fn meet(&self) -> (Client, Session) {
        let found = find_in(self.home.path()).unwrap();
        let (_, mut session) = found.meet(soon()).unwrap();
        let address = |origin: &Origin| origin.to_string().replace("http://", "");
        assert_eq!(session.service.as_deref(), Some(&*format!("http://{}", self.service.address())));
        assert_eq!(session.workspace_key.as_ref().map(|key| key.reveal()), Some(KEY));
        let door = |to, prefix| door(to, prefix, self.notes.clone(), self.ways.clone());
        session.service = Some(door(self.service.address(), "service").to_string());
        (Client::new(door(address(&found.origin), "broker"), found.key), session)
    }

    /// Starts an agent under a name, whoever has it. What came by on the way, and what came of it.
    fn spawn(
        &self,
        (client, session): &(Client, Session),
        name: &str,
        script: &str,
    ) -> (Vec<String>, Result<Spawned, Failure>) {
        self.notes.lock().unwrap().clear();
        let spawn = Spawn {
            name,
            label: "impl",
            command: "/bin/sh",
            args: &["-c".to_owned(), script.to_owned()],
            env: &BTreeMap::new(),
            cwd: self.home.path(),
            task: None,
            agent_token: None,
        };
        let reclaim = Reclaim {
            client,
            session,
            env_url: None,
            env_key: None,
            actor: "factory-tick",
            reason: "its run is dead",
            session_ref: Some("lab/ag.1"),
            node_id: session.node_id.as_deref(),
        };
        let spawned = reclaim.spawn(&spawn, soon());
        (self.notes.lock().unwrap().iter().map(|(note, ..)| note.clone()).collect(), spawned)
    }

    /// The first request that such a note was made of: its head and its body.
    fn noted(&self, part: &str) -> (String, Value) {
        let notes = self.notes.lock().unwrap();
        let (_, head, body) = notes.iter().find(|(note, ..)| note.contains(part)).expect(part);
        (head.clone(), body.clone())
    }

    /// The next request with this in its note goes this way.
    fn once(&self, part: &'static str, way: Way) {
        self.ways.lock().unwrap().push((part, way));
    }
}

fn run(program: &Path, home: &Path, service: &Service) -> Process {
    let child = system(program.to_str().unwrap())
        .args(["init", "--persist", "--api-bind", "127.0.0.1", "--instance-name", "lab"])
        .current_dir(home)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("HOME", home)
        .env("RELAY_BASE_URL", format!("http://{}", service.address()))
        .envs([("AGENT_RELAY_WORKSPACE_KEY", KEY), ("RELAY_API_KEY", KEY)])
        .envs([("AGENT_RELAY_TELEMETRY_DISABLED", "1"), ("DO_NOT_TRACK", "1")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Process(child)
}

/// The requests of a whole ladder for a name, of which a part is made.
fn ladder(name: &str, upto: usize) -> Vec<String> {
    let all = [
        "broker: POST /api/spawn".to_owned(),
        format!("service: GET /v1/agents/{name}"),
        format!("broker: DELETE /api/spawned/{name}"),
        "broker: POST /api/spawn".to_owned(),
        format!("service: GET /v1/agents/{name}"),
        format!("service: POST /v1/agents/{name}/takeover"),
    ];
    all[..upto].to_vec()
}

const WITH_TOKEN: &str = "broker: POST /api/spawn with a token";

/// An agent that ends by itself leaves its name taken. That is every agent's usual end: without this no run had a second.
// covers: N01
#[test]
fn the_name_of_an_agent_that_ended_is_released_by_its_broker() {
    let Some(lab) = Lab::start() else { return };
    let met = lab.meet();
    // One that ends at once can be seen to have ended by its very start.
    let (requests, spawned) = lab.spawn(&met, "ag", "until [ -e end ]; do sleep 0.05; done");
    assert!(spawned.is_ok() && requests == ladder("ag", 1), "{requests:?} {spawned:?}");
    let first = lab.service.agent("ag");
    put(&lab.home.path().join("end"), "");
    wait_for("it ended", || names(&met.0).is_empty());
    wait_for("the service was told", || lab.service.agent("ag")["status"] == "offline");

    let (requests, spawned) = lab.spawn(&met, "ag", "exec sleep 600");
    assert!(spawned.is_ok(), "{spawned:?}");
    assert_eq!(requests, ladder("ag", 4));
    let second = lab.service.agent("ag");
    assert!(second["id"].is_string() && second["id"] != first["id"], "{first} {second}");
    assert_eq!(names(&met.0), ["ag"]);
}

// covers: N01 N06
#[test]
fn a_name_from_before_the_brokers_death_is_taken_over_by_its_id() {
    let Some(mut lab) = Lab::start() else { return };
    let met = lab.meet();
    assert!(lab.spawn(&met, "ag", "exec sleep 600").1.is_ok());
    wait_for("it works", || lab.service.agent("ag")["status"] == "active");
    let before = lab.service.agent("ag");
    lab.restart();
    wait_for("the service saw the broker die", || lab.service.agent("ag")["status"] == "offline");

    let met = lab.meet();
    let (requests, spawned) = lab.spawn(&met, "ag", "exec sleep 600");
    assert!(spawned.is_ok(), "{spawned:?}");
    assert_eq!(requests, [ladder("ag", 6), vec![WITH_TOKEN.to_owned()]].concat());
    let after = lab.service.agent("ag");
    assert_eq!(after["id"], before["id"]);
    let (head, body) = lab.noted("takeover");
    let expected = json!({
        "expected_agent_id": before["id"], "actor": "factory-tick", "reason": "its run is dead",
        "session_ref": "lab/ag.1", "node_id": met.1.node_id,
    });
    assert_eq!(body, expected);
    // Each key goes to the one whom it is for, and nowhere else.
    let broker_key = find_in(lab.home.path()).unwrap().key;
    assert!(head.to_ascii_lowercase().contains(&format!("\r\nauthorization: bearer {KEY}")), "{head}");
    assert!(!head.contains(broker_key.reveal()));
    let (head, body) = lab.noted(WITH_TOKEN);
    assert!(head.contains(broker_key.reveal()) && !head.contains(KEY), "{head}");
    assert_eq!(body["agentToken"], after["token"]);
    wait_for("it is listed", || names(&met.0) == ["ag"]);
}

// covers: N01 N05
#[test]
fn failed_second_look_leaves_the_token_as_it_was() {
    let Some(lab) = Lab::start() else { return };
    let met = lab.meet();
    let before = lab.service.put(&json!({"name": "unseen"}));
    lab.once("service: GET", Way::Open);
    lab.once("service: GET", Way::Reported("500 Internal Server Error", String::new()));
    let (requests, spawned) = lab.spawn(&met, "unseen", "exec sleep 600");
    assert!(matches!(spawned, Err(Failure::NoService(_))), "{spawned:?}");
    assert_eq!(requests, ladder("unseen", 5));
    assert_eq!(lab.service.agent("unseen")["token"], before["token"]);
    assert_eq!(names(&met.0), Vec::<String>::new());
}

/// A workspace is shared: another machine's agent can have the same name, and a release alone would end it there.
// covers: N02
#[test]
fn nobody_who_works_and_no_person_loses_a_name() {
    let Some(lab) = Lab::start() else { return };
    let met = lab.meet();
    for status in ["active", "online", "idle", "blocked", "waiting"] {
        let before = lab.service.put(&json!({"name": status, "status": status}));
        let (requests, spawned) = lab.spawn(&met, status, "exec sleep 600");
        assert!(matches!(spawned, Err(Failure::PendingCleanup(_))), "{spawned:?}");
        assert_eq!(requests, ladder(status, 2));
        assert_eq!(lab.service.agent(status), before);
    }
    let before = lab.service.put(&json!({"name": "khaliq", "type": "human"}));
    let (requests, spawned) = lab.spawn(&met, "khaliq", "exec sleep 600");
    assert!(matches!(spawned, Err(Failure::Withheld(_))), "{spawned:?}");
    assert_eq!((requests, lab.service.agent("khaliq")), (ladder("khaliq", 2), before));

    // Of a live service only the id is certain.
    lab.service.put(&json!({"name": "bare"}));
    let bare = format!(r#"{{"ok":true,"data":{{"id":{}}}}}"#, lab.service.agent("bare")["id"]);
    lab.once("service: GET", Way::Reported("200 OK", bare.clone()));
    lab.once("service: GET", Way::Reported("200 OK", bare));
    let (_, spawned) = lab.spawn(&met, "bare", "exec sleep 600");
    assert!(spawned.is_ok(), "{spawned:?}");
    assert_eq!(names(&met.0), ["bare"]);
}

// covers: N03
#[test]
fn another_agents_name_or_token_is_not_taken() {
    let Some(lab) = Lab::start() else { return };
    let met = lab.meet();
    let other = lab.service.put(&json!({"name": "other"}));
    let withheld = |name: &'static str, ways: Vec<(&'static str, String)>, upto: Vec<String>| {
        lab.service.put(&json!({ "name": name }));
        for (part, said) in ways {
            lab.once(part, Way::Reported("200 OK", said));
        }
        let (requests, spawned) = lab.spawn(&met, name, "exec sleep 600");
        let Err(Failure::Withheld(why)) = spawned else { panic!("{name}: {spawned:?}") };
        assert_eq!(requests, upto, "{name}");
        assert!(!why.contains(other["token"].as_str().unwrap()) && !why.contains(KEY), "{why}");
    };
    let seat = |id: &str| format!(r#"{{"ok":true,"data":{{"id":"{id}"}}}}"#);
    let issued = |more: &str| format!(r#"{{"ok":true,"data":{{"token":{}{more}}}}}"#, other["token"]);
    // Somebody else came between the looks.
    withheld("changed", vec![("service: GET", seat("agent_before"))], ladder("changed", 5));
    // And after them: the service itself says no.
    let gone = || ("service: GET", seat("agent_gone"));
    withheld("late", vec![gone(), gone()], ladder("late", 6));
    withheld("id", vec![("takeover", issued(r#","agent_id":"agent_other""#))], ladder("id", 6));
    // The broker would start an agent with that, and it would be the other one to everybody.
    withheld("unsaid", vec![("takeover", issued(""))], ladder("unsaid", 6));
    assert_eq!(names(&met.0), Vec::<String>::new());
}

// covers: N04
#[test]
fn what_the_service_refuses_is_not_asked_for_in_another_way() {
    let Some(lab) = Lab::start() else { return };
    let met = lab.meet();
    let said = r#"{"ok":false,"error":{"code":"rate_limit_exceeded","message":"slow down"}}"#;
    let steps = [("service: GET", 2), ("takeover", 6)];
    for (step, upto) in steps {
        for status in ["401 Unauthorized", "403 Forbidden", "429 Too Many Requests\r\nRetry-After: 7"] {
            let name = "refused";
            lab.service.put(&json!({ "name": name }));
            lab.once(step, Way::Reported(status, said.to_owned()));
            let (requests, spawned) = lab.spawn(&met, name, "exec sleep 600");
            assert_eq!(requests, ladder(name, upto), "{step} {status}");
            let failure = spawned.unwrap_err();
            assert!(failure.is_certain());
            let is_right = match &failure {
                Failure::RateLimited { retry_after, .. } => {
                    status.starts_with("429") && *retry_after == Some(Duration::from_secs(7))
                }
                Failure::Withheld(why) => status.starts_with("40") && why.contains("slow down"),
                _ => false,
            };
            assert!(is_right, "{step} {status}: {failure:?}");
        }
    }
    // A service without takeovers leaves the name held: no other request could name the agent by its id.
    let before = lab.service.agent("refused");
    lab.once("takeover", Way::Reported("404 Not Found", "404 Not Found".to_owned()));
    let (requests, spawned) = lab.spawn(&met, "refused", "exec sleep 600");
    assert!(matches!(spawned, Err(Failure::NameHeld(_))), "{spawned:?}");
    assert_eq!(requests, ladder("refused", 6));
    assert_eq!(lab.service.agent("refused"), before);
    assert_eq!(names(&met.0), Vec::<String>::new());
}

// covers: N05
#[test]
fn after_a_lost_reply_nothing_more_is_sent() {
    let Some(lab) = Lab::start() else { return };
    let met = lab.meet();
    let takeover = r#"{"ok":false,"error":{"code":"internal","message":"oops"}}"#.to_owned();
    let oops = Way::Reported("500 Internal Server Error", takeover);
    let rubbish = Way::Reported("200 OK", "<html>".to_owned());
    let lost = [
        ("service: GET", Way::Lost, 2),
        ("service: GET", rubbish.clone(), 2),
        ("service: GET", oops.clone(), 2),
        ("DELETE", Way::Lost, 3),
        ("takeover", Way::Lost, 6),
        ("takeover", rubbish, 6),
        ("takeover", oops, 6),
    ];
    for (at, (part, way, upto)) in lost.into_iter().enumerate() {
        let name = format!("ag-{at}");
        lab.service.put(&json!({ "name": name }));
        lab.once(part, way);
        let (requests, spawned) = lab.spawn(&met, &name, "exec sleep 600");
        assert_eq!(requests, ladder(&name, upto), "{part}");
        let failure = spawned.unwrap_err();
        // A look that failed has done nothing.
        let is_right = match failure {
            Failure::NoService(_) => upto == 2,
            Failure::Unknown(_) => upto > 2,
            _ => false,
        };
        assert!(is_right, "{part}: {failure:?}");
        assert_eq!(names(&met.0), Vec::<String>::new());
    }

    // A service that is not there was not asked either.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    lab.service.put(&json!({"name": "absent"}));
    let absent = Session { service: Some(format!("http://{nobody}")), ..met.1.clone() };
    let (requests, spawned) = lab.spawn(&(met.0.clone(), absent), "absent", "exec sleep 600");
    assert!(matches!(spawned, Err(Failure::NoService(_))), "{spawned:?}");
    assert_eq!(requests, ladder("absent", 1));

    lab.service.put(&json!({"name": "ag"}));
    lab.once("with a token", Way::Lost);
    let (requests, spawned) = lab.spawn(&met, "ag", "exec sleep 600");
    assert!(matches!(spawned, Err(Failure::Unknown(_))), "{spawned:?}");
    assert_eq!(requests, [ladder("ag", 6), vec![WITH_TOKEN.to_owned()]].concat());
    assert_eq!(names(&met.0), ["ag"], "it was started all the same");
}

/// A broker that keeps its service to itself may still be able to release the name.
// covers: N01
#[test]
fn without_the_service_only_the_broker_is_asked() {
    let Some(lab) = Lab::start() else { return };
    let (client, session) = lab.meet();
    let untold = (client, Session { service: None, workspace_key: None, ..session });
    lab.service.put(&json!({"name": "ag"}));
    let (requests, spawned) = lab.spawn(&untold, "ag", "exec sleep 600");
    let Err(Failure::NameHeld(why)) = spawned else { panic!("{spawned:?}") };
    assert!(why.contains("RELAY_BASE_URL"), "{why}");
    let asked = ["broker: POST /api/spawn", "broker: DELETE /api/spawned/ag", "broker: POST /api/spawn"];
    assert_eq!(requests, asked);
}

/// The seat can go while it is asked for: then the name is free, and nothing is in the way of a plain start.
// covers: N01
#[test]
fn a_name_that_comes_free_on_the_way_is_used() {
    let Some(lab) = Lab::start() else { return };
    let met = lab.meet();
    let held = r#"{"error":"failed to pre-register worker 'NAME': agent 'NAME' already exists and registration is create-only; x","name":"NAME","success":false}"#;
    let refused = |name: &str| Way::Reported("500 Internal Server Error", held.replace("NAME", name));
    for _ in 0..2 {
        lab.once("POST /api/spawn", refused("ag"));
    }
    let (requests, spawned) = lab.spawn(&met, "ag", "exec sleep 600");
    assert!(spawned.is_ok(), "{spawned:?}");
    assert_eq!(requests, [ladder("ag", 5), vec!["broker: POST /api/spawn".to_owned()]].concat());

    // However often it is held: each step is taken once.
    for _ in 0..3 {
        lab.once("POST /api/spawn", refused("held"));
    }
    lab.service.put(&json!({"name": "held"}));
    let (requests, spawned) = lab.spawn(&met, "held", "exec sleep 600");
    assert!(matches!(spawned, Err(Failure::NameHeld(_))), "{spawned:?}");
    assert_eq!(requests, [ladder("held", 6), vec![WITH_TOKEN.to_owned()]].concat());
}

// Each attempt of an item has its agent's name, which the attempt before it left on the books.
// covers: N01
#[test]
fn an_item_is_tried_again_under_the_name_that_its_first_attempt_left_at_the_service() {
    let Some(lab) = Lab::start() else { return };
    let mut factory = Factory::new();
    let folder = lab.home.path().join(".agentworkforce/relay").display().to_string();
    factory.set("fleet", "kind", "\"broker\"");
    factory.set("fleet", "broker_state_dir", &toml_text(&folder));
    factory.set("attempts", "backoff_base", "\"1ms\"");
    factory.role(
        "impl",
        &["sh", "-c", r#"echo "$FACTORY_RUN" >> "$LAB/starts"; mkdir "$LAB/first" && exit 1; true"#],
        "",
    );
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_swept("ar-1-impl.1");
    wait_for("the service was told", || lab.service.agent("ar-1-impl")["status"] == "offline");
    let first = lab.service.agent("ar-1-impl");
    factory.tick_until("AR-1 was tried again", |_| factory.starts().len() == 2);
    assert_ne!(lab.service.agent("ar-1-impl")["id"], first["id"]);
    assert_eq!(factory.recorded("AR-1")["attempts"], 1);
    assert_eq!(factory.registry()["counters"]["resume_name_collisions"], 0);
}
