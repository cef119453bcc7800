//! The client against what real brokers have answered, and against servers that wish it ill.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::discover::{Asked, NotFound};
use super::*;
use crate::process::identity::{self, Host};

const KEY: &str = "br_0123456789abcdef";

/// Far more than a loaded machine needs.
fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// For those who never answer: all of it has to be waited for.
fn at_once() -> Instant {
    Instant::now() + Duration::from_millis(300)
}

/// A server on loopback that answers every request as it is told, and its client.
fn served(answer: impl Fn(&mut TcpStream, &str) + Send + Sync + 'static) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = origin_of(&listener);
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let answer = answer.clone();
            thread::spawn(move || {
                let mut stream = stream.unwrap();
                let request = request(&mut stream);
                answer(&mut stream, &request);
            });
        }
    });
    Client::new(origin, Secret::new(KEY).unwrap())
}

/// The same, with these bytes for an answer.
fn answered(bytes: impl Into<Vec<u8>>) -> Client {
    let bytes = bytes.into();
    served(move |stream, _| drop(stream.write_all(&bytes)))
}

fn origin_of(listener: &TcpListener) -> Origin {
    Origin::parse(&format!("http://{}", listener.local_addr().unwrap()), false).unwrap()
}

/// Reads a whole request.
fn request(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                |line: &str| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok();
            if body.len() >= head.lines().find_map(length).unwrap_or(0_usize) {
                return text;
            }
        }
        let mut some = [0; 4096];
        match stream.read(&mut some) {
            Ok(0) | Err(_) => return text,
            Ok(n) => read.extend_from_slice(&some[..n]),
        }
    }
}

fn reply(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}Connection: close\r\n\r\n{body}", body.len())
}

fn spawn_as(client: &Client, name: &str, until: Instant) -> Result<Spawned, Failure> {
    let spawn = Spawn {
        name,
        label: "impl",
        command: "/bin/true",
        args: &["a b".to_owned()],
        env: &BTreeMap::from([("FACTORY_RUN".to_owned(), format!("x/{name}.1"))]),
        cwd: Path::new("/srv"),
        task: None,
        agent_token: None,
    };
    client.spawn(&spawn, until)
}

/// A request and its answer, as they were recorded.
struct Recorded {
    label: String,
    method: String,
    path: String,
    name: Option<String>,
    answer: String,
}

fn recorded(text: &str) -> Vec<Recorded> {
    let one = |text: &str| {
        let (label, rest) = text.split_once('\n')?;
        let (asked, answered) = rest.split_once("\n<<< ")?;
        let (_, answer) = answered.split_once('\n')?;
        let (head, body) = answer.split_once("\n\n").unwrap_or((answer.trim_end(), ""));
        // Paths in it were shortened: it is counted anew.
        let headers = head.lines().filter(|line| !line.starts_with("content-length"));
        let head: String = headers.map(|line| format!("{line}\r\n")).collect();
        let body = body.trim_end();
        let (_, asked_body) = asked.split_once("\n\n").unwrap_or((asked, ""));
        let name = asked_body.split("\"name\": \"").nth(1).and_then(|rest| rest.split('"').next());
        let mut words = asked.split(' ');
        Some(Recorded {
            label: label.to_owned(),
            method: words.next()?.to_owned(),
            path: words.next()?.to_owned(),
            name: name.map(str::to_owned),
            answer: format!("{head}content-length: {}\r\n\r\n{body}", body.len()),
        })
    };
    text.split("### ").skip(1).map(|text| one(text).expect("a recording")).collect()
}

/// What the client makes of it.
fn heard(recorded: &Recorded) -> String {
    let (method, path) = (recorded.method.clone(), recorded.path.clone());
    let answer = recorded.answer.clone();
    let client = served(move |stream, _| drop(stream.write_all(answer.as_bytes())));
    let name = path.strip_prefix("/api/spawned/");
    let or_failure = |heard: Result<String, Failure>| {
        heard.unwrap_or_else(|failure| {
            let certain = if failure.is_certain() { "certain" } else { "UNCERTAIN" };
            format!("{certain}: {failure:?}")
        })
    };
    or_failure(match (method.as_str(), path.as_str(), name) {
        (_, "/api/session", ..) => client.session(soon()).map(|session| format!("{session:?}")),
        ("POST", "/api/spawn", ..) => {
            let name = recorded.name.as_deref().unwrap_or("ag");
            spawn_as(&client, name, soon()).map(|mut spawned| {
                spawned.warning = spawned.warning.map(|warning| warning.chars().take(40).collect());
                format!("{spawned:?}")
            })
        }
        ("DELETE", _, Some(name)) => {
            client.release(name, "done", soon()).map(|released| format!("{released:?}"))
        }
        _ => client.list(soon()).map(|agents| {
            let agents = agents.iter().map(|agent| {
                let pids = (agent.pid, agent.worker_pid);
                format!("{} {pids:?} {:?} {}", agent.name, agent.silent, agent.generation.is_some())
            });
            format!("{:?}", agents.collect::<Vec<_>>())
        }),
    })
}

/// A new recording changes the index: what is printed then is the new one.
#[test]
fn every_recorded_answer_is_understood_as_the_index_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/broker");
    let index = std::fs::read_to_string(folder.join("INDEX")).unwrap_or_default();
    let (about, _) = index.split_once("\n\n").unwrap_or_default();
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let mut heard_of_all = format!("{about}\n");
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "http")) {
        writeln!(heard_of_all, "\n{}", file.file_name().unwrap().display()).unwrap();
        for recorded in recorded(&std::fs::read_to_string(file).unwrap()) {
            let path = recorded.path.split(['?']).next().unwrap();
            writeln!(heard_of_all, "  {} {path} ({})", recorded.method, recorded.label).unwrap();
            writeln!(heard_of_all, "    {}", heard(&recorded)).unwrap();
        }
    }
    assert!(index == heard_of_all, "the index should be:\n{heard_of_all}");
}

#[test]
fn a_request_says_what_the_broker_needs_and_the_key_is_in_its_header_alone() {
    let body = r#"{"success":true,"name":"ag-1-impl"}"#;
    let client = served(move |stream, request| {
        let (head, sent) = request.split_once("\r\n\r\n").unwrap();
        let expected = concat!(
            r#"{"name":"ag-1-impl","cli":"impl","channels":[],"cwd":"/srv","harnessConfig":{"runtime":"pty","#,
            r#""command":"/bin/true","args":["a b"],"env":{"FACTORY_RUN":"x/ag-1-impl.1"}},"skipRelayPrompt":true}"#
        );
        let head = head.to_ascii_lowercase();
        let is_right = head.starts_with("post /api/spawn http/1.1\r\n")
            && sent == expected
            && request.matches(KEY).count() == 1
            && head.contains(&format!("\r\nx-api-key: {KEY}\r\n"))
            && !head.contains("accept-encoding")
            && !head.contains("expect");
        let _ = stream.write_all(
            if is_right { reply("200 OK", "", body) } else { reply("400 Wrong", "", request) }.as_bytes(),
        );
    });
    assert_eq!(
        spawn_as(&client, "ag-1-impl", soon()),
        Ok(Spawned { generation: None, session: None, warning: None })
    );
}

#[test]
fn any_name_is_one_segment_of_a_path() {
    let client = served(|stream, request| {
        let is_right = request.starts_with("DELETE /api/spawned/%2E%2E%2Fa%20%C3%A4%3F%25x HTTP/1.1\r\n")
            && request.ends_with(r#"{"reason":"done"}"#);
        let body = format!(r#"{{"success":{is_right},"identity":"deleted"}}"#);
        let _ = stream.write_all(reply("200 OK", "", &body).as_bytes());
    });
    assert_eq!(client.release("../a ä?%x", "done", soon()), Ok(Released { seat: Seat::Free }));
}

// Origin: pear#331 review - any error with "already exists" in it was taken for the leaked name, and the agent given up.
// covers: F19
#[test]
fn only_the_brokers_own_words_about_this_very_name_say_that_it_is_taken() {
    let said = |status: &str, body: &str| {
        spawn_as(&answered(reply(status, "", body)), "ag-1-impl", soon()).unwrap_err()
    };
    let of =
        |message: &str, name: &str| format!(r#"{{"error":"{message}","name":"{name}","success":false}}"#);
    let own = of("agent 'ag-1-impl' already exists", "ag-1-impl");
    assert_eq!(said("500 Internal Server Error", &own), Failure::NameTaken);
    for (status, body) in [
        ("500 Internal Server Error", of("agent 'ag-1-impl-2' already exists", "ag-1-impl-2")),
        ("500 Internal Server Error", of("agent 'ag-1-impl' already exists", "ag-2-impl")),
        ("500 Internal Server Error", of("folder 'x' already exists", "ag-1-impl")),
        ("500 Internal Server Error", of("cannot say whether agent 'ag-1-impl' already exists", "ag-1-impl")),
        ("500 Internal Server Error", "agent 'ag-1-impl' already exists".to_owned()),
        ("502 Bad Gateway", own.clone()),
        ("409 Conflict", own),
    ] {
        assert_ne!(said(status, &body), Failure::NameTaken, "{status} {body}");
    }
}

// Whoever stands between, or whatever broke halfway: the broker may have started the agent all the same.
#[test]
fn what_is_no_answer_of_a_broker_leaves_it_unknown_what_was_done() {
    let truncated = "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"success\":true,";
    let json = r#"{"success":true,"name":"ag"}"#;
    for answer in [
        String::new(),
        "HTTP/1.1 200 OK\r\n\r\n".into(),
        "HTTP/0.9 what\r\n\r\n".into(),
        "\u{0}\u{1}\u{2}".repeat(999),
        truncated.into(),
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{json}\r\n0\r\n\r\n"),
        reply("200 OK", "", ""),
        reply("200 OK", "", "<html>"),
        reply("200 OK", "", r#"{"success":true}"#),
        reply("200 OK", "", r#"{"success":false,"name":"ag"}"#),
        reply("200 OK", "", r#"{"success":true,"name":"another"}"#),
        reply("200 OK", "", &format!("{json}{json}")),
        reply("200 OK", "Content-Encoding: gzip\r\n", json),
        reply("204 No Content", "", ""),
        reply("302 Found", "Location: /x\r\n", json),
        reply("304 Not Modified", "", ""),
        reply("500 Internal Server Error", "", "oops"),
        reply("502 Bad Gateway", "", "<html>nginx"),
        reply("503 Service Unavailable", "", ""),
        reply("504 Gateway Timeout", "", r#"{"message":"upstream"}"#),
        reply("999 What", "", json),
        format!("HTTP/1.1 200 OK\r\n{}\r\n\r\n", "X-Filler: 0123456789\r\n".repeat(50_000)),
    ] {
        let failure = spawn_as(&answered(answer.clone()), "ag", soon()).unwrap_err();
        assert!(
            matches!(failure, Failure::Unknown(_)),
            "{failure:?} of {:?}",
            &answer[..answer.len().min(200)]
        );
    }
}

#[test]
fn a_list_that_is_not_wholly_right_is_none() {
    let listed =
        |agents: &str| answered(reply("200 OK", "", &format!(r#"{{"agents":[{agents}]}}"#))).list(soon());
    let good = r#"{"name":"a","pid":null,"workerPid":7,"last_activity_ms":5,"new":{"x":[]}}"#;
    assert_eq!(listed(good).unwrap().len(), 1);
    assert_eq!(listed(r#"{"name":"a"}"#).unwrap()[0].pid, None);
    for wrong in [
        format!("{good},{good}"),
        format!("{good},{{}}"),
        format!("{good},null"),
        r#"{"name":5}"#.into(),
        r#"{"name":"a","pid":"7"}"#.into(),
        r#"{"name":"a","pid":-1}"#.into(),
        r#"{"name":"a","pid":0}"#.into(),
        r#"{"name":"a","pid":1}"#.into(),
        r#"{"name":"a","workerPid":1}"#.into(),
        r#"{"name":"a","pid":4294967296}"#.into(),
        r#"{"name":"a","name":"b"}"#.into(),
    ] {
        assert!(matches!(listed(&wrong), Err(Failure::Unknown(_))), "{wrong}");
    }
    assert!(matches!(answered(reply("200 OK", "", "{}")).list(soon()), Err(Failure::Unknown(_))));
    let deep = "[".repeat(1 << 20);
    assert!(matches!(listed(&deep), Err(Failure::Unknown(_))));
}

#[test]
fn nobody_is_waited_for_beyond_the_deadline() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let key = || Secret::new(KEY).unwrap();
    let unknown = |client: Client| {
        let failure = spawn_as(&client, "ag", at_once()).unwrap_err();
        assert!(
            matches!(&failure, Failure::Unknown(why) if why.contains("did not answer in time")),
            "{failure:?}"
        );
    };
    // Accepted by the system, and by nobody else.
    unknown(Client::new(origin_of(&silent), key()));
    // One byte at a time, for ever.
    unknown(served(|stream, _| trickle(stream, "HTTP/1.1 200 OK\r\nX-Long: ", "a")));
    unknown(served(|stream, _| trickle(stream, "HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", " ")));
    // Always about to answer.
    unknown(served(|stream, _| trickle(stream, "", "HTTP/1.1 100 Continue\r\n\r\n")));

    let past = spawn_as(&Client::new(origin_of(&silent), key()), "ag", Instant::now()).unwrap_err();
    assert!(matches!(past, Failure::Unreachable(_)), "{past:?}");
    silent.set_nonblocking(true).unwrap();
    silent.accept().expect("the one that was waited for");
    assert_eq!(
        silent.accept().unwrap_err().kind(),
        ErrorKind::WouldBlock,
        "nothing is sent when no time is left"
    );
}

/// Sends a beginning, and then a little now and then, for as long as the other side is there.
fn trickle(stream: &mut TcpStream, beginning: &str, little: &str) {
    let pause = Some(Duration::from_millis(5));
    stream.set_read_timeout(pause).unwrap();
    let mut sent = stream.write_all(beginning.as_bytes());
    while sent.is_ok() && !matches!(stream.read(&mut [0]), Ok(0)) {
        sent = stream.write_all(little.as_bytes());
    }
}

#[test]
fn what_never_left_is_known_to_have_done_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = Client::new(origin_of(&listener), Secret::new(KEY).unwrap());
    drop(listener);
    let failure = spawn_as(&client, "ag", soon()).unwrap_err();
    assert!(matches!(failure, Failure::Unreachable(_)) && failure.is_certain(), "{failure:?}");

    // A broker reads a part of what is too large, and hangs up: nobody could tell what it made of it.
    let client = served(|_, _| panic!("nothing was to be sent"));
    let failure = spawn_as(&client, &"x".repeat(3 << 20), soon()).unwrap_err();
    assert!(matches!(failure, Failure::Unreachable(_)), "{failure:?}");
}

#[test]
fn no_more_is_read_than_any_answer_needs() {
    let sent = Arc::new(AtomicU64::new(0));
    let counted = sent.clone();
    let client = served(move |stream, _| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 209715200\r\n\r\n");
        let piece = vec![b' '; 1 << 20];
        while counted.load(Ordering::Relaxed) < 200 && stream.write_all(&piece).is_ok() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let failure = client.list(soon()).unwrap_err();
    assert!(matches!(&failure, Failure::Unknown(why) if why.contains("more than 8 MiB")), "{failure:?}");
    assert!(sent.load(Ordering::Relaxed) < 50, "what nobody reads can't be sent");

    // A length alone makes nobody set memory aside for it.
    let huge = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{{}}", u64::MAX / 2);
    assert!(matches!(answered(huge).list(soon()), Err(Failure::Unknown(_))));
    // Ten bytes that would be a gigabyte, said to be so or not.
    let bomb = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03";
    for headers in ["Content-Encoding: gzip\r\n", ""] {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{headers}\r\n", bomb.len());
        assert!(matches!(answered([head.as_bytes(), bomb].concat()).list(soon()), Err(Failure::Unknown(_))));
    }
}

#[test]
fn the_key_is_taken_nowhere_else_and_shown_to_nobody() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let location = format!("Location: http://{}/api/session\r\n", elsewhere.local_addr().unwrap());
    for status in
        ["301 Moved", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"]
    {
        let client = answered(reply(status, &location, "{}"));
        for failure in [client.session(soon()).unwrap_err(), spawn_as(&client, "ag", soon()).unwrap_err()] {
            assert!(
                matches!(&failure, Failure::Unknown(why) if why.contains("pointed elsewhere")),
                "{failure:?}"
            );
        }
    }
    assert_eq!(elsewhere.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "nobody came here");

    for status in ["401 Unauthorized", "400 Bad Request", "500 Internal Server Error"] {
        let echo =
            served(move |stream, request| drop(stream.write_all(reply(status, "", request).as_bytes())));
        let failure = echo.session(soon()).unwrap_err();
        assert!(!format!("{failure:?} {failure}").contains(KEY), "{failure}");
    }
    assert!(!format!("{:?}", answered("")).contains(KEY));
    let steering = answered(reply("400 Bad Request", "", "::error::\u{1b}[2J"));
    assert!(!steering.session(soon()).unwrap_err().to_string().contains('\u{1b}'));
}

/// A broker that complains of a request may quote it, and in it the token that lets an agent be another one.
// covers: N06
#[test]
fn the_token_of_an_agent_is_shown_to_nobody() {
    let token = Secret::new("at_live_0123456789").unwrap();
    for status in ["400 Bad Request", "500 Internal Server Error", "502 Bad Gateway"] {
        let echo =
            served(move |stream, request| drop(stream.write_all(reply(status, "", request).as_bytes())));
        let spawn = Spawn {
            name: "ag",
            label: "impl",
            command: "/bin/true",
            args: &[],
            env: &BTreeMap::new(),
            cwd: Path::new("/srv"),
            task: None,
            agent_token: Some(&token),
        };
        let failure = echo.spawn(&spawn, soon()).unwrap_err();
        let shown = format!("{failure:?} {failure} {spawn:?}");
        assert!(shown.contains("***") && !shown.contains(token.reveal()), "{shown}");
    }
}

#[test]
fn an_encrypted_connection_is_not_taken_for_a_plain_one() {
    let (tell, told) = std::sync::mpsc::channel();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = Origin::parse(&format!("https://{}", listener.local_addr().unwrap()), false).unwrap();
    thread::spawn(move || {
        let (mut stream, mut greeting) = (listener.accept().unwrap().0, [0; 5]);
        stream.read_exact(&mut greeting).unwrap();
        tell.send(greeting).unwrap();
        let _ = stream.write_all(reply("200 OK", "", r#"{"broker_version":"12.4.1"}"#).as_bytes());
    });
    let failure = Client::new(origin, Secret::new(KEY).unwrap()).session(soon()).unwrap_err();
    assert!(matches!(failure, Failure::Unknown(_)), "{failure:?}");
    // A handshake, in any of the versions that there are.
    assert_eq!(told.recv().unwrap()[..2], [0x16, 3]);
}

#[test]
fn it_is_asked_again_when_it_said_so() {
    let limited =
        |headers: &str| answered(reply("429 Too Many Requests", headers, "slow down")).session(soon());
    let after = |wait| Err(Failure::RateLimited { retry_after: wait, message: "slow down".into() });
    assert_eq!(limited("Retry-After: 7\r\n"), after(Some(Duration::from_secs(7))));
    assert_eq!(limited("Retry-After: Fri, 20 Nov 2026 06:27:46 GMT\r\n"), after(None));
    assert_eq!(limited(""), after(None));
}

/// What a release that ended in an error did before that is not known.
#[test]
fn an_error_at_the_end_of_a_release_is_not_a_no_to_all_of_it() {
    let released = |status: &str, body: &str| answered(reply(status, "", body)).release("ag", "done", soon());
    let unknown =
        released("500 Internal Server Error", r#"{"error":"something new","name":"ag","success":false}"#);
    assert!(matches!(unknown, Err(Failure::Unknown(_))), "{unknown:?}");
    let refused = released("400 Bad Request", r#"{"error":"no","success":false}"#);
    assert!(matches!(refused, Err(Failure::Refused { status: 400, .. })), "{refused:?}");
    assert!(matches!(released("200 OK", r#"{"success":false}"#), Err(Failure::Unknown(_))));
}

fn nothing(cwd: &Path) -> Asked<'_> {
    Asked { url: None, key: None, env_url: None, env_key: None, state_dir: None, cwd, any_host: false }
}

#[expect(clippy::disallowed_methods, reason = "a test writes what brokers write in life")]
fn leave(dir: &Path, connection: &str) {
    std::fs::create_dir_all(dir).unwrap();
    std::fs::write(dir.join("connection.json"), connection).unwrap();
}

fn connection(url: &str, pid: u32) -> String {
    format!(r#"{{"api_key":"{KEY}","operation_mode":"local_only","pid":{pid},"port":1,"url":"{url}"}}"#)
}

#[test]
fn the_first_place_that_says_where_the_broker_is_decides() {
    let (home, host) = (tempfile::tempdir().unwrap(), Host::read().unwrap());
    let (cwd, state) = (home.path(), home.path().join("state"));
    assert!(matches!(nothing(cwd).find(&host), Err(NotFound::Nowhere(_))));
    let ours = std::process::id();
    leave(&cwd.join(".agentworkforce/relay"), &connection("http://127.0.0.1:1", ours));
    leave(&state, &connection("http://127.0.0.1:2", ours));

    let of = |asked: &Asked<'_>| {
        asked.find(&host).map(|found| found.origin.to_string()).map_err(|why| why.to_string())
    };
    let mut asked = nothing(cwd);
    assert_eq!(of(&asked).unwrap(), "http://127.0.0.1:1");
    assert_eq!(asked.find(&host).unwrap().process, identity::identify(ours, &host).unwrap());
    // A key alone is what its broker was given at its start; the file has the same.
    asked.env_key = Some("br_env");
    asked.state_dir = Some(&state);
    assert_eq!(of(&asked).unwrap(), "http://127.0.0.1:2");
    asked.env_url = Some("http://127.0.0.1:3");
    let found = asked.find(&host).unwrap();
    assert_eq!((found.origin.to_string().as_str(), found.key.reveal()), ("http://127.0.0.1:3", "br_env"));
    assert_eq!(found.process, None);
    asked.url = Some("http://127.0.0.1:4");
    assert_eq!(of(&asked).unwrap(), "http://127.0.0.1:4");
    asked.key = Some("br_configured");
    assert_eq!(asked.find(&host).unwrap().key.reveal(), "br_configured");

    // Half of it is no reason to go on to another broker.
    asked = Asked { env_url: Some("http://127.0.0.1:3"), ..nothing(cwd) };
    assert!(of(&asked).unwrap_err().contains("RELAY_BROKER_API_KEY is not"));
    asked = Asked { env_url: Some("http://10.1.2.3:3"), env_key: Some("br_env"), ..nothing(cwd) };
    assert!(of(&asked).unwrap_err().contains("in the clear"));
}

#[test]
fn a_file_that_no_living_broker_of_ours_left_is_not_believed() {
    let (home, host) = (tempfile::tempdir().unwrap(), Host::read().unwrap());
    let dir = home.path().join(".agentworkforce/relay");
    let find = || nothing(home.path()).find(&host).map(|found| found.by);
    let ours = std::process::id();
    // Beyond the kernel's largest.
    leave(&dir, &connection("http://127.0.0.1:1", 4_194_305));
    assert!(matches!(find(), Err(NotFound::Stale(_))));
    for torn in ["", "{", "[]", r#"{"url":5}"#, r#"{"url":"http://127.0.0.1:1","api_key":"k"}"#] {
        leave(&dir, torn);
        assert!(matches!(find(), Err(NotFound::Unreadable(_))), "{torn}");
    }
    leave(&dir, &connection("http://10.1.2.3:1", ours));
    assert!(matches!(find(), Err(NotFound::Wrong(_))));
    leave(&dir, &format!(r#"{{"url":"http://127.0.0.1:1","api_key":"a\nb","pid":{ours}}}"#));
    assert!(matches!(find(), Err(NotFound::Wrong(why)) if !why.contains("a\nb")));
    leave(&dir, &" ".repeat(1 << 20));
    assert!(matches!(find(), Err(NotFound::Wrong(_))));
    std::fs::remove_file(dir.join("connection.json")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", dir.join("connection.json")).unwrap();
    assert!(matches!(find(), Err(NotFound::Wrong(why)) if why.contains("symbolic link")));
    std::fs::remove_file(dir.join("connection.json")).unwrap();
    assert!(matches!(find(), Err(NotFound::Nowhere(_))));
}

#[test]
fn a_broker_is_met_when_it_accepts_the_key() {
    let home = tempfile::tempdir().unwrap();
    let host = Host::read().unwrap();
    let met = |client: &Client| {
        leave(
            &home.path().join(".agentworkforce/relay"),
            &connection(&client.origin().to_string(), std::process::id()),
        );
        nothing(home.path()).find(&host).unwrap().meet(soon()).map(|(_, session)| session.version)
    };
    let session = served(|stream, request| {
        let is_right = request.contains(KEY) && request.starts_with("GET /api/session ");
        let status = if is_right { "200 OK" } else { "401 Unauthorized" };
        let _ = stream.write_all(reply(status, "", r#"{"broker_version":"12.4.1"}"#).as_bytes());
    });
    assert_eq!(met(&session), Ok("12.4.1".to_owned()));
    assert!(matches!(met(&answered(reply("401 Unauthorized", "", ""))), Err(Failure::Denied(_))));
    // Whoever has its port by now.
    assert!(matches!(met(&answered(reply("200 OK", "", "{}"))), Err(Failure::Unknown(_))));
}

#[test]
fn failure_of_a_look_keeps_its_kind_and_its_wait() {
    use crate::model::UnavailableKind::{Broken, Denied, RateLimited, Unreachable};
    let now = "2026-07-31T08:00:00Z".parse().unwrap();
    let text = || "why".to_owned();
    let limited = |seconds: u64| Failure::RateLimited {
        retry_after: Some(Duration::from_secs(seconds)),
        message: text(),
    };
    let refused = Failure::Refused { status: 400, code: None, message: text() };
    let kinds = [
        (Failure::Denied(text()), Denied),
        (limited(30), RateLimited),
        (Failure::Unknown(text()), Unreachable),
        (Failure::Starting, Unreachable),
        (refused, Broken),
    ];
    for (failure, kind) in kinds {
        assert_eq!(failure.unavailable(now).kind, kind, "{failure}");
    }
    assert_eq!(limited(30).unavailable(now).retry_at, Some("2026-07-31T08:00:30Z".parse().unwrap()));
    assert_eq!(limited(u64::MAX).unavailable(now).retry_at, None, "a wait without end");
    assert!(NotFound::Keyless(text()).unavailable().is_denied());
}
