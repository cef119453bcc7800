//! What an agent says of itself on lines of its stdout, heard while it speaks: the log is bounded, and the
//! line that names the session may be the one that is left out.

use regex::Regex;

use crate::harness::{self, Preset};
use crate::model::Reported;
use crate::run::spec::Spec;
use crate::text::cut::head;

const SESSION: &str = "FACTORY_SESSION=";
const PARK: &str = "FACTORY_PARK=";

/// A longer line says nothing that is meant for us.
const LINE_BYTES_MAX: usize = 256 << 10;

/// Session ids of every harness known are far shorter.
const SESSION_BYTES_MAX: usize = 256;

/// A reason for a person to read.
const PARK_BYTES_MAX: usize = 1 << 10;

/// How a line names a session.
#[derive(Debug)]
enum Naming {
    /// `FACTORY_SESSION=<id>`.
    Own,
    /// The first group of this pattern.
    Pattern(Regex),
    /// As this program does.
    Preset(&'static Preset),
}

/// Reads a stream line by line.
#[derive(Debug)]
pub struct StdoutParser {
    naming: Naming,
    /// The command line of the program that speaks.
    argv: Vec<String>,
    reported: Reported,
    line: Vec<u8>,
    too_long: bool,
    news: bool,
}

impl StdoutParser {
    /// For the output of this run.
    pub fn of(spec: &Spec) -> StdoutParser {
        let listener =
            StdoutParser::new(&spec.run.harness, spec.session_pattern.as_deref(), spec.run.session.clone());
        StdoutParser { argv: spec.argv.clone(), ..listener }
    }

    /// `harness`: by its name; a preset names its session in its own way. For any other the first group of `pattern`
    /// is the session id, and without one `FACTORY_SESSION=<id>` lines are. A run that goes on with a session has it
    /// from the beginning.
    fn new(harness: &str, pattern: Option<&str>, session: Option<String>) -> StdoutParser {
        // The configuration was checked; an older one's pattern that no longer compiles hears nothing.
        let pattern = pattern.and_then(|pattern| Regex::new(pattern).ok());
        let naming = harness::preset(harness).map(Naming::Preset);
        let naming = naming.or_else(|| pattern.map(Naming::Pattern)).unwrap_or(Naming::Own);
        let reported = Reported { session, ..Reported::default() };
        StdoutParser { naming, argv: Vec::new(), reported, line: Vec::new(), too_long: false, news: false }
    }

    /// Everything so far.
    pub fn said(&self) -> &Reported {
        &self.reported
    }

    /// Everything so far, if something was added since the last call.
    pub fn news(&mut self) -> Option<&Reported> {
        std::mem::take(&mut self.news).then_some(&self.reported)
    }

    /// Takes the next bytes of the stream. True: something goes on. A program that only says again that it waits for
    /// its provider is as silent as one that says nothing.
    pub fn feed(&mut self, bytes: &[u8]) -> bool {
        let mut progress = false;
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let ends = part.ends_with(b"\n");
            if self.line.len() + part.len() > LINE_BYTES_MAX {
                self.too_long = true;
                self.line.clear();
            }
            if !self.too_long {
                self.line.extend_from_slice(part);
                // The last line counts although nobody ended it: what is not whole yet is heard again.
                self.hear_line();
            }
            progress |= self.is_progress(ends);
            if ends {
                self.too_long = false;
                self.line.clear();
            }
        }
        progress
    }

    /// Whether the line so far says that something goes on: of a preset's, whole lines tell.
    fn is_progress(&self, ends: bool) -> bool {
        match self.naming {
            Naming::Own | Naming::Pattern(_) => true,
            Naming::Preset(_) if self.too_long => true,
            Naming::Preset(preset) => ends && harness::is_progress(preset, &self.line),
        }
    }

    fn hear_line(&mut self) {
        let ends = self.line.ends_with(b"\n");
        let text = String::from_utf8_lossy(&self.line);
        let line = text.trim();
        let mut reported = self.reported.clone();
        if let Some(reason) = line.strip_prefix(PARK) {
            reported.park =
                Some(head(reason.trim(), PARK_BYTES_MAX).to_owned()).filter(|reason| !reason.is_empty());
        }
        // Half a line may hold half an id: only whole lines name sessions.
        if let Some(session) = self.session_on(line).filter(|id| ends && is_session(id)) {
            reported.session = Some(session);
        }
        if let Some(unconnected) = self.unconnected_on(line).filter(|_| ends) {
            reported.unconnected = unconnected;
        }
        if reported != self.reported {
            self.reported = reported;
            self.news = true;
        }
    }

    fn unconnected_on(&self, line: &str) -> Option<Vec<String>> {
        match &self.naming {
            Naming::Own | Naming::Pattern(_) => None,
            Naming::Preset(preset) => harness::unconnected_on(preset, &self.argv, line.as_bytes()),
        }
    }

    fn session_on(&self, line: &str) -> Option<String> {
        match &self.naming {
            Naming::Own => line.strip_prefix(SESSION).map(|id| id.trim().to_owned()),
            Naming::Pattern(pattern) => Some(pattern.captures(line)?.get(1)?.as_str().to_owned()),
            Naming::Preset(preset) => harness::session_on(preset, line.as_bytes()),
        }
    }
}

/// An id becomes an argument of a command: it must not read as an option, nor hide anything.
fn is_session(id: &str) -> bool {
    !id.is_empty() && id.len() <= SESSION_BYTES_MAX && !id.starts_with('-') && !id.contains(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(pattern: Option<&str>, chunks: &[&str]) -> Reported {
        let mut listener = StdoutParser::new("command", pattern, None);
        for chunk in chunks {
            listener.feed(chunk.as_bytes());
        }
        listener.said().clone()
    }

    fn said(session: Option<&str>, park: Option<&str>) -> Reported {
        Reported { session: session.map(Into::into), park: park.map(Into::into), ..Reported::default() }
    }

    #[test]
    fn lines_are_heard_across_reads() {
        assert_eq!(heard(None, &["x\nFACTORY_SES", "SION=ab", "c\ny"]), said(Some("abc"), None));
        assert_eq!(heard(None, &["FACTORY_PARK=which database?\n"]), said(None, Some("which database?")));
        assert_eq!(heard(None, &["say FACTORY_SESSION=no\n"]), said(None, None));
    }

    #[test]
    fn the_last_session_wins_and_half_an_id_is_none() {
        assert_eq!(
            heard(None, &["FACTORY_SESSION=a\nFACTORY_SESSION=b\nFACTORY_SESSION=c"]),
            said(Some("b"), None)
        );
    }

    #[test]
    fn a_last_line_without_an_end_still_parks() {
        assert_eq!(heard(None, &["FACTORY_PARK=help", " me"]), said(None, Some("help me")));
    }

    #[test]
    fn a_pattern_names_the_session() {
        let pattern = Some(r#""thread_id":"([^"]+)""#);
        assert_eq!(
            heard(pattern, &["{\"thread_id\":\"t-1\"}\nFACTORY_SESSION=x\n"]),
            said(Some("t-1"), None)
        );
    }

    #[test]
    fn what_would_read_as_an_option_is_no_session() {
        for id in ["", "-rf", "--yolo", "a\u{1b}[0m", &"x".repeat(257)] {
            assert_eq!(heard(None, &[&format!("FACTORY_SESSION={id}\n")]), said(None, None), "{id:?}");
        }
    }

    #[test]
    fn an_endless_line_costs_no_memory_and_hides_nothing_after_it() {
        let mut listener = StdoutParser::new("command", None, None);
        for _ in 0..100 {
            listener.feed(&[b'x'; 8192]);
            assert!(listener.line.len() <= LINE_BYTES_MAX);
        }
        listener.feed(b"\nFACTORY_SESSION=s\n");
        assert_eq!(listener.said().session.as_deref(), Some("s"));
    }

    // covers: F77
    #[test]
    fn a_preset_names_its_session_and_waiting_is_no_progress() {
        let mut listener = StdoutParser::new("codex", None, None);
        assert!(listener.feed(b"{\"type\":\"thread.started\",\"thread_id\":\"t-1\"}\n"));
        assert_eq!(listener.said().session.as_deref(), Some("t-1"));
        let waiting: &[u8] = b"{\"type\":\"error\",\"message\":\"Reconnecting... 1/5\"}\n";
        assert!(!listener.feed(waiting));
        // Half a line is none yet, whatever it may become.
        assert!(!listener.feed(&waiting[..20]));
        assert!(!listener.feed(&waiting[20..]));
        assert!(listener.feed(b"{\"type\":\"turn.started\"}\n"));
        assert!(listener.feed(&[b'x'; LINE_BYTES_MAX + 1]), "what is so long is no waiting");
    }
}
