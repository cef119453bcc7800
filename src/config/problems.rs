//! What is wrong with a configuration, for the person who wrote it.

use std::fmt;
use std::path::PathBuf;

/// What to do where there is no file.
pub const ABSENT_HINT: &str = "`factory-tick init` writes one; `--config PATH` names another";

/// What to do about a file that can't be read.
pub const UNREADABLE_HINT: &str = "make it readable, or name another one with `factory-tick --config PATH`";

/// Why there is no configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problems {
    /// There is no such file.
    Absent {
        /// The file, as it was named.
        path: PathBuf,
    },
    /// There is something, but it could not be read.
    Unreadable {
        /// The file, as it was named.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// It was read and is wrong.
    Found {
        /// The file, as it was named.
        path: PathBuf,
        /// Everything that is wrong, by position; never empty.
        list: Vec<Problem>,
    },
}

/// One thing that is wrong, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line in the file, from 1; 0 where it is about a `--set`.
    pub line: usize,
    /// Column in that line, in characters, from 1; for a `--set`: which one.
    pub column: usize,
    /// The `--set` that it is about: the key, as typed. One line, without control characters.
    pub set: Option<String>,
    /// The key it is about, dotted: `tick.every`, `role.suffix`; empty for the file as a whole.
    pub key: String,
    /// What is wrong. One line, without control characters.
    pub what: String,
    /// What to do. One line, without control characters.
    pub hint: String,
}

impl Problems {
    /// What is wrong in a few words.
    pub fn brief(&self) -> String {
        match self {
            Problems::Absent { path } => format!("{}: there is no such file", path.display()),
            Problems::Unreadable { path, why } => format!("{}: {why}", path.display()),
            Problems::Found { .. } => self.to_string().lines().last().unwrap_or_default().to_owned(),
        }
    }
}

impl fmt::Display for Problems {
    /// Several lines, without a line break at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problems::Absent { path } => {
                write!(f, "{}: there is no such file\n  hint: {ABSENT_HINT}", path.display())
            }
            Problems::Unreadable { path, why } => {
                write!(f, "{}: {why}\n  hint: {UNREADABLE_HINT}", path.display())
            }
            Problems::Found { path, list } => {
                let path = path.display();
                for Problem { line, column, set, what, hint, .. } in list {
                    match set {
                        Some(set) => writeln!(f, "--set {set}: {what}\n  hint: {hint}")?,
                        None => writeln!(f, "{path}:{line}:{column}: {what}\n  hint: {hint}")?,
                    }
                }
                let noun = if list.len() == 1 { "problem" } else { "problems" };
                let of_sets = list.iter().filter(|problem| problem.set.is_some()).count();
                match of_sets {
                    0 => write!(f, "{} {noun} in {path}", list.len()),
                    all if all == list.len() => write!(f, "{all} {noun} in what --set sets"),
                    some => write!(f, "{} {noun} in {path}, {some} of them in what --set sets", list.len()),
                }
            }
        }
    }
}

impl std::error::Error for Problems {}

/// Line and column, both from 1, of a byte in a text. Columns count characters, as editors do.
pub(super) fn position(text: &[u8], offset: usize) -> (usize, usize) {
    let before = &text[..offset.min(text.len())];
    let line_start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
    let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
    let is_first_of_character = |byte: &&u8| **byte & 0b1100_0000 != 0b1000_0000;
    let column = before[line_start..].iter().filter(is_first_of_character).count() + 1;
    (line, column)
}

/// The same text on one line, with nothing in it that a terminal would obey.
pub(super) fn printable(text: &str) -> String {
    let escaped = |c: char| if c.is_control() { c.escape_debug().to_string() } else { c.to_string() };
    text.chars().map(escaped).collect()
}

/// The beginning of a text from the file, without control characters.
pub(super) fn shortened(text: &str) -> String {
    const SHOWN_CHARS: usize = 60;
    let head: String = text.chars().take(SHOWN_CHARS).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN_CHARS).is_some() { head + "…" } else { head }
}

/// A text from the file, in quotes, short and without control characters.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", shortened(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters() {
        let text = "ab\nüx\n".as_bytes();
        let at = |offset| position(text, offset);
        assert_eq!(
            [at(0), at(2), at(3), at(5), at(7), at(99)],
            [(1, 1), (1, 3), (2, 1), (2, 2), (3, 1), (3, 1)]
        );
    }

    #[test]
    fn problems_print_as_editors_read_them() {
        let problem = |line, what: &str| Problem {
            line,
            column: 7,
            set: None,
            key: String::new(),
            what: what.to_owned(),
            hint: "do better".to_owned(),
        };
        let path = PathBuf::from("factory.toml");
        let one = Problems::Found { path: path.clone(), list: vec![problem(1, "bad")] };
        assert_eq!(one.to_string(), "factory.toml:1:7: bad\n  hint: do better\n1 problem in factory.toml");
        let two = Problems::Found { path: path.clone(), list: vec![problem(1, "bad"), problem(12, "worse")] };
        assert!(
            two.to_string()
                .ends_with("\nfactory.toml:12:7: worse\n  hint: do better\n2 problems in factory.toml")
        );
        assert_eq!(
            Problems::Absent { path }.to_string(),
            "factory.toml: there is no such file\n  hint: `factory-tick init` writes one; `--config PATH` names another"
        );
    }
}
