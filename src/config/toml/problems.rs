//! What is wrong with a configuration, for the person who wrote it.

use std::fmt;
use std::path::{Path, PathBuf};

use unicode_width::UnicodeWidthStr;

use crate::text::escape;
use crate::ui::layout::{Layout, Span};
use crate::ui::style::Style;

/// Why there is no configuration where there is no file.
const ABSENT: &str = "there is no such file";

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
        /// What was read.
        text: String,
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
            Problems::Absent { path } => format!("{}: {ABSENT}", path.display()),
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
                write!(f, "{}: {ABSENT}\n  hint: {ABSENT_HINT}", path.display())
            }
            Problems::Unreadable { path, why } => {
                write!(f, "{}: {why}\n  hint: {UNREADABLE_HINT}", path.display())
            }
            Problems::Found { path, list, .. } => {
                for problem in list {
                    writeln!(f, "{} {}\n  hint: {}", problem.place(path), problem.what, problem.hint)?;
                }
                f.write_str(&count(path, list))
            }
        }
    }
}

impl std::error::Error for Problems {}

impl Problems {
    /// The same for a terminal of this width, with the lines that it is about. Each problem begins with its place in
    /// the file, as editors want it.
    pub fn to_page(&self, width: usize) -> Layout {
        let mut page = Layout::new(width);
        let tell = |page: &mut Layout, place: &str, what: &str, quote: Option<[String; 2]>, hint: &str| {
            page.paragraph(0, &[Span::whole(place).style(Style::Bad), Span::words(what)]);
            quote.iter().flatten().for_each(|line| page.verbatim(2, line));
            page.paragraph(2, &[Span::words("hint:").style(Style::Good), Span::words(hint)]);
        };
        match self {
            Problems::Absent { path } => {
                tell(&mut page, &format!("{}:", path.display()), ABSENT, None, ABSENT_HINT);
            }
            Problems::Unreadable { path, why } => {
                tell(&mut page, &format!("{}:", path.display()), why, None, UNREADABLE_HINT);
            }
            Problems::Found { path, list, text } => {
                for problem in list {
                    let quote = problem.quote(text, width);
                    tell(&mut page, &problem.place(path), &problem.what, quote, &problem.hint);
                }
                page.paragraph(0, &[Span::words(count(path, list))]);
            }
        }
        page
    }
}

/// How much is wrong, and where.
fn count(path: &Path, list: &[Problem]) -> String {
    let noun = if list.len() == 1 { "problem" } else { "problems" };
    let (path, of_sets) = (path.display(), list.iter().filter(|problem| problem.set.is_some()).count());
    match of_sets {
        0 => format!("{} {noun} in {path}", list.len()),
        all if all == list.len() => format!("{all} {noun} in what --set sets"),
        some => format!("{} {noun} in {path}, {some} of them in what --set sets", list.len()),
    }
}

impl Problem {
    /// `factory.toml:2:9:`
    fn place(&self, path: &Path) -> String {
        match &self.set {
            Some(set) => format!("--set {set}:"),
            None => format!("{}:{}:{}:", path.display(), self.line, self.column),
        }
    }

    /// Its line of the file, and one with a caret below its column. `None` where that would help nobody or tell too
    /// much, and where it is wider than the terminal.
    fn quote(&self, text: &str, width: usize) -> Option<[String; 2]> {
        let is_about_the_file = (self.line, self.column) == (1, 1) && !self.key.contains('.');
        let source = text.lines().nth(self.line.checked_sub(1)?).filter(|_| self.set.is_none())?;
        let is_of_env = self.key.split('.').any(|part| part == "env") || may_hold_secrets(text, self.line);
        if is_about_the_file || is_of_env || source.trim().is_empty() {
            return None;
        }
        let before: String = source.chars().take(self.column - 1).collect();
        let number = self.line.to_string();
        let gutter = " ".repeat(number.len());
        let quoted = format!("{number} | {}", escape::plain(source.trim_end()));
        let caret = format!("{gutter} | {}^", " ".repeat(escape::plain(&before).width()));
        (quoted.width() + 2 <= width && caret.width() + 2 <= width).then_some([quoted, caret])
    }
}

/// Whether a line may hold the value of a variable: `[env]` sets some, and what is printed may end up in a mail. A
/// file that is no TOML has no keys, so the line and its table are told by their looks.
fn may_hold_secrets(text: &str, line: usize) -> bool {
    let lines: Vec<_> = text.lines().take(line).collect();
    let table = lines.iter().rposition(|line| line.trim_start().starts_with('[')).unwrap_or(0);
    lines[table..].iter().any(|line| line.contains("env"))
}

/// Line and column, both from 1, of a byte in a text. Columns count characters, as editors do.
pub(in crate::config) fn position(text: &[u8], offset: usize) -> (usize, usize) {
    let before = &text[..offset.min(text.len())];
    let line_start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
    let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
    let is_first_of_character = |byte: &&u8| **byte & 0b1100_0000 != 0b1000_0000;
    let column = before[line_start..].iter().filter(is_first_of_character).count() + 1;
    (line, column)
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
        let one = Problems::Found { path: path.clone(), list: vec![problem(1, "bad")], text: String::new() };
        assert_eq!(one.to_string(), "factory.toml:1:7: bad\n  hint: do better\n1 problem in factory.toml");
        let list = vec![problem(1, "bad"), problem(12, "worse")];
        let two = Problems::Found { path: path.clone(), list, text: String::new() };
        assert!(
            two.to_string()
                .ends_with("\nfactory.toml:12:7: worse\n  hint: do better\n2 problems in factory.toml")
        );
        assert_eq!(
            Problems::Absent { path }.to_string(),
            "factory.toml: there is no such file\n  hint: `factory-tick init` writes one; `--config PATH` names another"
        );
    }

    fn shown(text: &str, line: usize, column: usize, key: &str, width: usize) -> String {
        let (key, what) = (key.to_owned(), "it is wrong".to_owned());
        let problem = Problem { line, column, set: None, key, what, hint: "make it right".to_owned() };
        let found = Problems::Found { path: "f.toml".into(), list: vec![problem], text: text.to_owned() };
        found.to_page(width).to_text()
    }

    #[test]
    fn a_problem_is_shown_where_it_stands() {
        assert_eq!(
            shown("[tick]\nevery\t= 1\n", 2, 9, "tick.every", 100),
            "f.toml:2:9: it is wrong\n  2 | every = 1\n    |         ^\n  hint: make it right\n1 problem in f.toml\n"
        );
        assert!(shown("[x]\n日本 = 1\n", 2, 6, "x.日本", 100).contains("\n  2 | 日本 = 1\n    |        ^\n"));
        assert_eq!(
            shown("[tick]\nevery = 1\n", 2, 9, "tick.every", 14),
            "f.toml:2:9: it\n  is wrong\n  hint: make\n    it right\n1 problem in\n  f.toml\n",
            "too narrow for the line"
        );
        assert!(!shown("x = 1\n", 1, 1, "role", 100).contains('|'), "it is not this line that is wrong");
    }

    // What `--set` sets may be a secret as well, and stands in no line of the file.
    #[test]
    fn what_the_command_line_sets_is_not_looked_for_in_the_file() {
        let problem = Problem {
            line: 0,
            column: 1,
            set: Some("tick.every".to_owned()),
            key: "tick.every".to_owned(),
            what: "it is wrong".to_owned(),
            hint: "make it right".to_owned(),
        };
        let text = "[tick]\nevery = \"1m\"\n".to_owned();
        let found = Problems::Found { path: "f.toml".into(), list: vec![problem], text };
        let told = "--set tick.every: it is wrong\n  hint: make it right\n1 problem in what --set sets";
        assert_eq!((found.to_string(), found.to_page(100).to_text()), (told.to_owned(), format!("{told}\n")));
    }

    // A line such as `TOKEN = 1` was quoted in the complaint that a variable must be a string: cron mailed the token.
    #[test]
    fn a_line_that_may_hold_a_secret_is_not_quoted() {
        for (text, line, key) in [
            ("[env.set]\nTOKEN = 12345\n", 2, "env.set.TOKEN"),
            ("[[role]]\nenv = { TOKEN = 12345 }\n", 2, "role.env"),
            ("env.set.TOKEN = 12345\n", 1, "env.set.TOKEN"),
            ("env = { set = {\n  TOKEN = 12345\n} }\n", 2, "env.set.TOKEN"),
            // No TOML, so nobody knows the key.
            ("[env]\nset = {\n  TOKEN = 12345,,\n}\n", 3, ""),
        ] {
            assert!(!shown(text, line, 3, key, 100).contains("12345"), "{text}");
        }
        let other = shown("[env]\nset = {}\n[tick]\nevery = 12345\n", 4, 9, "tick.every", 100);
        assert!(other.contains("\n  4 | every = 12345\n"), "{other}");
    }
}
