//! What a table is made of: signs by which a line of JSON is known, and what such a line holds where.

use serde_json::Value;

use super::Meaning;

/// A kind of line: each of these JSON pointers holds a text that begins so.
pub(crate) type Kind = &'static [(&'static str, &'static str)];

/// Where lines of a kind hold a value.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) on: Kind,
    pub(crate) at: &'static str,
}

/// How a program's lines are read.
#[derive(Debug)]
pub(crate) struct OutputSchema {
    /// The session's id.
    pub(crate) session: Field,
    /// A message of the agent.
    pub(crate) message: Field,
    /// The agent did something: a tool answered it.
    pub(crate) work: &'static [Kind],
    /// It waits for its provider; `at`: the status that it got, if it got one.
    pub(crate) wait: Field,
    /// It waits for its provider, and the reason is inside the text at `at`.
    pub(crate) wait_text: Field,
    /// A class of failure in the program's own words, as [`OutputSchema::codes`] has them.
    pub(crate) code: Field,
    /// When the limit that was hit ends, in seconds since 1970.
    pub(crate) reset: Field,
    /// Work that the agent leaves running.
    pub(crate) tasks: Tasks,
    /// The tool servers of a session; `None`: the program refuses to begin without those that it needs.
    pub(crate) servers: Option<Servers>,
    /// The line that ends a session; where it may hold what.
    pub(crate) end: End,
    /// Meanings of the program's classes. What is not listed may be anything.
    pub(crate) codes: &'static [(&'static str, Meaning)],
    /// Words before the status that the provider answered with, in an error.
    pub(crate) status_after: &'static [&'static str],
    /// Texts in an error by which a provider says that the request is no good, where it names no status.
    pub(crate) refused: &'static [&'static str],
    /// Texts in an error, or on stderr of a run that failed, and what they mean; the first one found counts.
    pub(crate) texts: &'static [(&'static str, Meaning)],
}

/// How a program tells of work that goes on beside its agent's turns.
#[derive(Debug)]
pub(crate) struct Tasks {
    /// A task begins.
    pub(crate) begin: Kind,
    /// Its id, on each of its lines.
    pub(crate) id: &'static str,
    /// What it does, on its first line.
    pub(crate) does: &'static str,
    /// A task ends.
    pub(crate) end: Kind,
    /// What it did, on its last line.
    pub(crate) did: &'static str,
    /// A task ends because something stopped it.
    pub(crate) stopped: Kind,
}

/// How a program tells of the servers that it has tools from.
#[derive(Debug)]
pub(crate) struct Servers {
    /// A session begins, and this is the list of its servers.
    pub(crate) list: Field,
    /// Of one of them: its name.
    pub(crate) name: &'static str,
    /// Of one of them: its status.
    pub(crate) status: &'static str,
    /// Statuses of a server that serves, or that its owner has switched off.
    pub(crate) fine: &'static [&'static str],
    /// The option that gives servers to a session. With it the session needs all servers that it has.
    pub(crate) given_by: &'static str,
    /// How the name of a tool begins, before its server's name. Arguments that name a tool need its server.
    pub(crate) tool: &'static str,
}

impl Servers {
    /// The servers of a session that its arguments need and that it has no connection to; `None`: it is not the line.
    pub(crate) fn unconnected(&self, argv: &[String], line: &Value) -> Option<Vec<String>> {
        /// No name of a server is longer.
        const NAME_BYTES_MAX: usize = 64;
        /// For a person to read.
        const NAMES_MAX: usize = 20;
        let servers = self.list.value_in(line)?.as_array()?;
        let text =
            |server: &'_ Value, at: &str| server.pointer(at).and_then(Value::as_str).map(str::to_owned);
        let failed = |server: &Value| {
            text(server, self.status).is_some_and(|status| !self.fine.contains(&status.as_str()))
        };
        let names =
            servers.iter().filter(|server| failed(server)).filter_map(|server| text(server, self.name));
        let names = names.filter(|name| name.len() <= NAME_BYTES_MAX && self.needs(argv, name));
        Some(names.take(NAMES_MAX).collect())
    }

    fn needs(&self, argv: &[String], name: &str) -> bool {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let tool: String = name.chars().map(|c| if plain(c) { c } else { '_' }).collect();
        let tool = format!("{}{tool}", self.tool);
        let names = |argument: &String| {
            argument.match_indices(&tool).any(|(at, _)| {
                let rest = &argument[at + tool.len()..];
                rest.starts_with("__") || !rest.starts_with(plain)
            })
        };
        let gives = |argument: &String| argument.split('=').next() == Some(self.given_by);
        argv.iter().any(|argument| names(argument) || gives(argument))
    }
}

/// The line that ends a session. `None`: a program does not tell that.
#[derive(Debug)]
pub(crate) struct End {
    /// Any of these.
    pub(crate) on: &'static [Kind],
    /// Kinds that say that it failed.
    pub(crate) failed: &'static [Kind],
    /// A truth value: it failed.
    pub(crate) is_error: Option<&'static str>,
    /// The status that the provider answered with last.
    pub(crate) status: Option<&'static str>,
    /// The error in words, or else the last message: the first pointer that holds a text.
    pub(crate) words: &'static [&'static str],
    /// What the agent was not allowed to do: a list of objects.
    pub(crate) denials: Option<&'static str>,
    /// In each of them: of which tool.
    pub(crate) denied_tool: Option<&'static str>,
    /// How many turns there were.
    pub(crate) turns: Option<&'static str>,
    /// Cost in US dollars.
    pub(crate) usd: Option<&'static str>,
    /// Numbers of tokens, to be added up.
    pub(crate) tokens: &'static [&'static str],
}

impl Field {
    /// For a program that has no such line.
    pub(crate) const NONE: Field = Field { on: &[("", "never")], at: "" };

    pub(crate) fn value_in<'line>(&self, line: &'line Value) -> Option<&'line Value> {
        is(line, self.on).then(|| line.pointer(self.at)).flatten()
    }

    pub(crate) fn text_in<'line>(&self, line: &'line Value) -> Option<&'line str> {
        self.value_in(line)?.as_str()
    }
}

impl OutputSchema {
    /// That a line says its program waits for the provider, and what for.
    pub(crate) fn wait_on(&self, line: &Value) -> Option<Meaning> {
        if is(line, self.wait.on) {
            // No status: there was no answer.
            return Some(
                self.wait.value_in(line).and_then(Value::as_u64).map_or(Meaning::Unreachable, of_status),
            );
        }
        let words = self.wait_text.text_in(line)?;
        Some(self.of_words(words).unwrap_or(Meaning::Unreachable))
    }

    /// What an error means, by its words.
    pub(crate) fn of_words(&self, words: &str) -> Option<Meaning> {
        let by_text = self.texts.iter().find(|(text, _)| words.contains(text)).map(|(_, meaning)| *meaning);
        by_text.or_else(|| self.status_in(words).map(of_status))
    }

    /// The status that an error names.
    pub(crate) fn status_in(&self, words: &str) -> Option<u64> {
        self.status_after.iter().find_map(|before| number_after(words, before))
    }

    /// What a class of the program's own means.
    pub(crate) fn of_code(&self, code: &str) -> Option<Meaning> {
        self.codes.iter().find(|(name, _)| *name == code).map(|(_, meaning)| *meaning)
    }
}

/// Whether a line is of this kind.
pub(crate) fn is(line: &Value, kind: Kind) -> bool {
    kind.iter().all(|(at, begin)| {
        line.pointer(at).and_then(Value::as_str).is_some_and(|text| text.starts_with(begin))
    })
}

/// What an answer with this HTTP status means. 402 is an empty account: it can be filled without a change of
/// credentials, so it is asked again, slowly, like one that has used up its share.
pub(crate) fn of_status(status: u64) -> Meaning {
    match status {
        401 | 403 | 407 => Meaning::Denied,
        402 | 429 | 529 => Meaning::RateLimited,
        408 | 500..=599 => Meaning::Unreachable,
        _ => Meaning::Agent,
    }
}

fn number_after(text: &str, before: &str) -> Option<u64> {
    let rest = &text[text.find(before)? + before.len()..];
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}
