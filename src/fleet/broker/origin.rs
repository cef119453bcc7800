//! To whom a key may be sent.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ureq::http::Uri;

/// Something that is sent, and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A secret that fits into the header of a request.
    ///
    /// # Errors
    ///
    /// It is empty, or holds what a header can't.
    pub fn new(text: impl Into<String>) -> Result<Secret, String> {
        let text = text.into();
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(
                "it is empty or holds a blank, a control character or a letter that is not ASCII".into()
            );
        }
        Ok(Secret(text))
    }

    /// The secret itself: for the header of a request, and for nobody who prints.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// A text that somebody else wrote, with the secret taken out of it.
    pub(super) fn scrub(&self, text: &str) -> String {
        text.replace(&self.0, "***")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Scheme, host and port of a broker: the only place that its key is sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(String);

impl Origin {
    /// Reads `http://127.0.0.1:3888`. Unless `any_host`, a key leaves this machine only where it is encrypted.
    ///
    /// # Errors
    ///
    /// It is no such URL, or one to which a key would be sent in the clear.
    pub fn parse(url: &str, any_host: bool) -> Result<Origin, String> {
        // What stands before an @ could be a password: then the URL is not quoted.
        if url.contains('@') {
            return Err("the URL of the broker holds an @: a user or password has no place in it".into());
        }
        let wrong = |what: &str| Err(format!("{url:?} is no URL of a broker: {what}"));
        let Ok(uri) = url.parse::<Uri>() else { return wrong("it can't be read") };
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return wrong("it begins with http:// or https:// and a host");
        };
        if uri.path() != "/" || uri.query().is_some() {
            return wrong("it ends after the port");
        }
        let host = unbracketed(authority.host());
        match scheme {
            "https" => {}
            "http" if any_host || is_this_machine(host) => {}
            "http" => {
                return wrong("its key would be sent in the clear; use https, or a broker on this machine");
            }
            _ => return wrong("it begins with http:// or https://"),
        }
        Ok(Origin(format!("{scheme}://{authority}")))
    }

    /// Its port, where it is on this machine.
    pub(super) fn local_port(&self) -> Option<u16> {
        let uri: Uri = self.0.parse().ok()?;
        let authority = uri.authority()?;
        let port = authority.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        is_this_machine(unbracketed(authority.host())).then_some(port)
    }

    /// A URL there; `path` begins with a slash.
    pub(super) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `::1` of `[::1]`.
pub(super) fn unbracketed(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// Whether what is sent to this host stays on this machine. A broker that listens everywhere calls itself 0.0.0.0,
/// and a connection to that is one to this machine.
fn is_this_machine(host: &str) -> bool {
    let is_ours = |ip: &IpAddr| ip.is_loopback() || ip.is_unspecified();
    known_addresses(host).is_some_and(|all| all.iter().all(is_ours))
}

/// The addresses of a host that need nobody to be asked: its own number, or the loopback ones.
///
/// `localhost` is not looked up: whatever else some file says that it is would be sent the key.
pub(super) fn known_addresses(host: &str) -> Option<Vec<IpAddr>> {
    if host.eq_ignore_ascii_case("localhost") {
        return Some(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    host.parse().ok().map(|ip| vec![ip])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stays_on_this_machine_or_is_encrypted() {
        let here = [
            "http://127.0.0.1:1",
            "http://localhost:2/",
            "http://[::1]:3",
            "http://0.0.0.0:4",
            "http://127.9.9.9",
        ];
        for url in here.into_iter().chain(["https://broker.example:5", "https://10.0.0.1"]) {
            assert!(Origin::parse(url, false).is_ok(), "{url}");
        }
        for url in [
            "http://10.0.0.1:1",
            "http://localhost.example",
            "http://127.0.0.1.example",
            "http://[fe80::1]:1",
        ] {
            let refused = Origin::parse(url, false).unwrap_err();
            assert!(refused.contains("in the clear"), "{refused}");
            assert!(Origin::parse(url, true).is_ok(), "{url}");
        }
    }

    #[test]
    fn what_is_more_or_less_than_an_origin_is_refused() {
        for url in [
            "",
            "127.0.0.1:1",
            "ftp://127.0.0.1",
            "http://127.0.0.1:1/api",
            "http://127.0.0.1:1/?a=b",
            "http://",
            "/x",
        ] {
            assert!(Origin::parse(url, false).is_err(), "{url}");
        }
        let with_password = Origin::parse("http://me:s3cret@127.0.0.1:1", false).unwrap_err();
        assert!(!with_password.contains("s3cret"), "{with_password}");
        let origin = Origin::parse("http://[::1]:3/", false).unwrap();
        assert_eq!(origin.to_string(), "http://[::1]:3");
        assert_eq!(origin.at("/api/x"), "http://[::1]:3/api/x");
        let port = |url| Origin::parse(url, false).unwrap().local_port();
        assert_eq!(port("http://[::1]:3/"), Some(3));
        assert_eq!((port("http://localhost"), port("https://127.0.0.1")), (Some(80), Some(443)));
        assert_eq!(port("https://broker.example:5"), None);
    }

    #[test]
    fn a_secret_is_never_shown() {
        let secret = Secret::new("br_0123456789").unwrap();
        assert_eq!(format!("{secret:?}"), "***");
        assert_eq!(secret.scrub("key br_0123456789 is wrong"), "key *** is wrong");
        for wrong in ["", "a b", "a\nX-Other: 1", "schlüssel"] {
            assert!(Secret::new(wrong).is_err(), "{wrong:?}");
        }
    }
}
