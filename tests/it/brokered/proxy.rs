//! Somebody between the program and the broker: keeps a transcript, and may answer in the broker's place.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;

/// What becomes of a request: whoever answers is told what it is and has the client, and the broker's reply for asking.
pub(super) type Answers = dyn Fn(&Asked, &mut TcpStream, &dyn Fn() -> Vec<u8>) + Send + Sync;

/// A request.
pub(super) struct Asked {
    /// `METHOD /path`
    pub(super) line: String,
    /// What it holds, in JSON or not at all.
    pub(super) body: Value,
}

pub(super) struct Proxy {
    pub(super) url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// In front of the broker at this URL.
    pub(super) fn start(broker: &str, answers: Box<Answers>) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (transcript, broker, answers) = (asked.clone(), broker.replace("http://", ""), Arc::new(answers));
        thread::spawn(move || {
            for client in listener.incoming() {
                let (transcript, broker, answers) = (transcript.clone(), broker.clone(), answers.clone());
                thread::spawn(move || serve(client.unwrap(), &transcript, &broker, &**answers));
            }
        });
        Proxy { url, asked }
    }

    /// Every request so far, as `METHOD /path` each.
    pub(super) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// How many requests begin with this.
    pub(super) fn count(&self, with: &str) -> usize {
        self.asked().iter().filter(|one| one.starts_with(with)).count()
    }
}

fn serve(mut client: TcpStream, transcript: &Mutex<Vec<String>>, broker: &str, answers: &Answers) {
    let Some(request) = read_request(&mut client) else { return };
    let text = String::from_utf8_lossy(&request).into_owned();
    let line = text.lines().next().unwrap().rsplit_once(' ').unwrap().0.to_owned();
    transcript.lock().unwrap().push(line.clone());
    let body = serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap_or_default();
    answers(&Asked { line, body }, &mut client, &|| forward(broker, &request));
}

/// A request, whole: its head, and as much more as that says.
fn read_request(client: &mut TcpStream) -> Option<Vec<u8>> {
    let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let head = request.windows(4).position(|end| end == b"\r\n\r\n");
        if let Some(head) = head {
            let text = String::from_utf8_lossy(&request[..head]).to_lowercase();
            let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
            if request.len() >= head + 4 + length.map_or(0, |length| length.trim().parse().unwrap()) {
                return Some(request);
            }
        }
        match client.read(&mut buffer) {
            Ok(0) => return None,
            Ok(count) => request.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}

/// What the broker says to a request; nothing where it is not there.
fn forward(broker: &str, request: &[u8]) -> Vec<u8> {
    let mut reply = Vec::new();
    if let Ok(mut broker) = TcpStream::connect(broker) {
        broker.write_all(request).unwrap();
        let _ = broker.read_to_end(&mut reply);
    }
    reply
}

/// Passes everything on.
pub(super) fn passes_on(_: &Asked, client: &mut TcpStream, broker: &dyn Fn() -> Vec<u8>) {
    let _ = client.write_all(&broker());
}

/// Passes everything on, and has the broker claim that there is a service behind it: names are then the service's too.
pub(super) fn claims_a_service(request: &Asked, client: &mut TcpStream, broker: &dyn Fn() -> Vec<u8>) {
    let reply = broker();
    if request.line == "GET /api/session" {
        let reply = String::from_utf8(reply).unwrap();
        assert!(reply.contains("\"local_only\""), "{reply}");
        // Of the same length.
        let _ = client.write_all(reply.replace("\"local_only\"", "\"relaycast_\"").as_bytes());
    } else {
        let _ = client.write_all(&reply);
    }
}

/// A whole reply.
pub(super) fn reply(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head =
        format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}
