//! One request and its reply, within a deadline and a size.
//!
//! No proxy, no redirect, no second try, no compression, no connection that is kept: whatever could send the key
//! elsewhere, a request twice, or make more of a reply than its bytes, is not there.

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use ureq::config::Config;
use ureq::http::{Request, Uri, header};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Error, Timeout};

use super::answer::Answer;
use super::failure::{self, Failure};
use super::origin::{Origin, Secret, known_addresses, unbracketed};

/// The longest that a connection may take. A broker accepts within a millisecond, even one that hangs.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// More than a thousand agents or events take. A reply that is longer is none.
const REPLY_BYTES_MAX: u64 = 8 << 20;

/// What a broker takes. Of a request that is larger it reads a part and hangs up, and nobody knows which part.
const REQUEST_BYTES_MAX: usize = 2 << 20;

/// A way to one broker. May be used from several threads at once.
#[derive(Clone, Debug)]
pub(super) struct Wire {
    agent: Agent,
    origin: Origin,
    key: Secret,
    presented: Presented,
}

/// How a key is presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presented {
    /// As brokers want it, in `X-API-Key`.
    OwnHeader,
    /// As their service does, in `Authorization`.
    Bearer,
}

/// What one asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Post,
    Delete,
}

impl Wire {
    pub(super) fn new(origin: Origin, key: Secret, presented: Presented) -> Wire {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // Unasked, it would take the first of HTTP_PROXY and its relatives in the environment.
            .proxy(None)
            .max_redirects(0)
            .max_idle_connections(0)
            .user_agent(concat!("factory-tick/", env!("CARGO_PKG_VERSION")))
            .accept("application/json")
            .build();
        Wire { agent: Agent::with_parts(config, DefaultConnector::new(), Lookup), origin, key, presented }
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Sends one request, once, and reads its reply.
    ///
    /// # Errors
    ///
    /// [`Failure::Unreachable`] where it certainly never left, else [`Failure::Unknown`].
    pub(super) fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        until: Instant,
    ) -> Result<Answer, Failure> {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Failure::Unreachable(format!("no time was left to ask {}", self.origin)));
        }
        if body.as_ref().is_some_and(|body| body.len() > REQUEST_BYTES_MAX) {
            let limit = REQUEST_BYTES_MAX >> 20;
            return Err(Failure::Unreachable(format!(
                "the request is larger than the {limit} MiB that a broker takes"
            )));
        }
        let answer = self.send(method, path, body, left).map_err(|error| self.lost(&error))?;
        if (300..400).contains(&answer.status) {
            let origin = &self.origin;
            return Err(Failure::Unknown(format!(
                "{origin} answered {} and pointed elsewhere; the key goes nowhere else: is that the right address?",
                answer.status
            )));
        }
        Ok(answer)
    }

    fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        left: Duration,
    ) -> Result<Answer, Error> {
        let (header, key) = match self.presented {
            Presented::OwnHeader => ("x-api-key", self.key.reveal().to_owned()),
            Presented::Bearer => ("authorization", format!("Bearer {}", self.key.reveal())),
        };
        let request = Request::builder()
            .method(match method {
                Method::Get => "GET",
                Method::Post => "POST",
                Method::Delete => "DELETE",
            })
            .uri(self.origin.at(path))
            .header(header, key)
            .header(header::CONNECTION, "close");
        let reply = match body {
            Some(body) => {
                let request = request.header(header::CONTENT_TYPE, "application/json").body(body)?;
                self.agent.run(self.within(request, left))
            }
            None => self.agent.run(self.within(request.body(())?, left)),
        }?;
        let (parts, body) = reply.into_parts();
        let text = |name| parts.headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        if let Some(coding) =
            text(header::CONTENT_ENCODING).filter(|coding| !coding.eq_ignore_ascii_case("identity"))
        {
            let unasked = format!("its reply is compressed ({}), unasked", failure::quote(coding));
            return Err(Error::Io(io::Error::other(unasked)));
        }
        let retry_after =
            text(header::RETRY_AFTER).and_then(|wait| wait.parse().ok()).map(Duration::from_secs);
        let mut bytes = Vec::new();
        body.into_with_config().limit(REPLY_BYTES_MAX).reader().read_to_end(&mut bytes)?;
        let mut answer = Answer { status: parts.status.as_u16(), retry_after, body: bytes };
        if !answer.is_success() {
            answer.scrub(&self.key);
        }
        Ok(answer)
    }

    /// The request with all of its limits of time.
    fn within<B: ureq::AsSendBody>(&self, request: Request<B>, left: Duration) -> Request<B> {
        self.agent
            .configure_request(request)
            .timeout_global(Some(left))
            .timeout_resolve(Some(left.min(CONNECT_MAX)))
            .timeout_connect(Some(left.min(CONNECT_MAX)))
            .build()
    }

    /// What it means that there was no reply, or none that is one.
    fn lost(&self, error: &Error) -> Failure {
        let origin = &self.origin;
        let never_left = match error {
            Error::HostNotFound | Error::Timeout(Timeout::Resolve | Timeout::Connect) => true,
            // Only a connection that never came to be is refused.
            Error::Io(error) => error.kind() == io::ErrorKind::ConnectionRefused,
            _ => false,
        };
        let why = match error {
            Error::Timeout(_) if !never_left => format!("{origin} did not answer in time"),
            Error::Timeout(_) => format!("{origin} did not accept a connection in time"),
            Error::BodyExceedsLimit(_) => {
                format!(
                    "{origin} answered more than {} MiB; is that the right address?",
                    REPLY_BYTES_MAX >> 20
                )
            }
            error => format!("{origin}: {}", failure::quote(&error.to_string())),
        };
        if never_left { Failure::Unreachable(why) } else { Failure::Unknown(why) }
    }
}

/// Finds the addresses of a host.
///
/// The one that comes with the client starts a thread even for an address, and ends the whole program where the
/// machine has no thread left: then this one only fails.
#[derive(Debug)]
struct Lookup;

impl Resolver for Lookup {
    fn resolve(&self, uri: &Uri, _: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let authority = uri.authority().ok_or(Error::HostNotFound)?;
        let port = authority.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        let host = unbracketed(authority.host());
        let addresses = match known_addresses(host) {
            Some(known) => known,
            None => look_up(host.to_owned(), *timeout.after)?,
        };
        let mut found = self.empty();
        addresses.into_iter().take(MANY).for_each(|ip| found.push(SocketAddr::new(ip, port)));
        if found.is_empty() { Err(Error::HostNotFound) } else { Ok(found) }
    }
}

/// More addresses of one host than are ever tried.
const MANY: usize = 8;

/// Asks the system, which may take as long as it likes; its thread is left alone then.
fn look_up(host: String, within: Duration) -> Result<Vec<IpAddr>, Error> {
    let (found, wanted) = mpsc::sync_channel(1);
    thread::Builder::new().name("lookup".into()).spawn(move || {
        let addresses = (host.as_str(), 0).to_socket_addrs();
        // Nobody may be waiting any more.
        let _ = found.send(addresses.map(|all| all.map(|address| address.ip()).collect()));
    })?;
    match wanted.recv_timeout(within) {
        Ok(Ok(addresses)) => Ok(addresses),
        Ok(Err(_)) | Err(RecvTimeoutError::Disconnected) => Err(Error::HostNotFound),
        Err(RecvTimeoutError::Timeout) => Err(Error::Timeout(Timeout::Resolve)),
    }
}
