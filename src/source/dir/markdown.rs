//! Items as people like to write them: a heading and a text, with TOML before it where more is
//! to be said.

use super::record::{Problem, RawItem};

/// Alone on the first line and again below: what lies between is TOML.
const FENCE: &str = "+++";

/// Reads a Markdown file.
///
/// The first line of the text, where it is a heading `# …`, is the title unless the front matter
/// has one; all the rest is the body, without blank lines around it.
pub(super) fn read(text: &str) -> Result<RawItem, Problem> {
    if text.trim().is_empty() {
        // An editor that empties a file before it fills it must not look like an edit.
        return Err(Problem::new("is empty; write a line `# Title`, or delete it"));
    }
    let (mut raw, rest) = match line_at(text, 0).0 {
        FENCE => front_matter(text)?,
        "---" => {
            let what = "front matter in YAML (`---`) is not read; write it as TOML between two lines `+++`";
            return Err(Problem::at_byte(text, 0, what));
        }
        _ => (RawItem::default(), 0),
    };

    let mut body = after_blank_lines(text, rest);
    if raw.title.is_none() {
        let (line, below) = line_at(text, body);
        if let Some(title) = line.strip_prefix("# ").map(str::trim).filter(|title| !title.is_empty()) {
            if let Some(control) = title.chars().find(|c| c.is_control()) {
                let what =
                    format!("the title holds the control character {}; remove it", control.escape_default());
                return Err(Problem::at_byte(text, body, what));
            }
            raw.title = Some(title.to_owned());
            body = after_blank_lines(text, below);
        }
    }
    let rest = text[body..].trim_end();
    if raw.body.is_some() && !rest.is_empty() {
        let what = "here is a text, but the front matter has a `body` too; keep one of them";
        return Err(Problem::at_byte(text, body, what));
    }
    if let Some(nul) = rest.find('\0') {
        return Err(Problem::at_byte(text, body + nul, "the text holds a NUL character; remove it"));
    }
    raw.body.get_or_insert_with(|| rest.to_owned());
    Ok(raw)
}

/// What the front matter says, and where the text below it begins.
fn front_matter(text: &str) -> Result<(RawItem, usize), Problem> {
    let (_, start) = line_at(text, 0);
    let mut end = start;
    while end < text.len() {
        let (line, next) = line_at(text, end);
        if line == FENCE {
            return Ok((RawItem::from_toml(text, start..end)?, next));
        }
        end = next;
    }
    Err(Problem::at_byte(text, 0, "front matter begins here and never ends; close it with a line `+++`"))
}

/// The line that begins at `start`, without what ends it, and where the next one begins.
fn line_at(text: &str, start: usize) -> (&str, usize) {
    let rest = &text[start..];
    let end = rest.find('\n').map_or(rest.len(), |newline| newline + 1);
    (rest[..end].trim_end(), start + end)
}

/// Where the first line begins, from `start` on, that is not blank; the end where all are.
fn after_blank_lines(text: &str, mut start: usize) -> usize {
    while start < text.len() {
        let (line, next) = line_at(text, start);
        if !line.is_empty() {
            break;
        }
        start = next;
    }
    start
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Title and body.
    fn told(text: &str) -> (Option<String>, String) {
        let raw = read(text).unwrap();
        (raw.title, raw.body.unwrap())
    }

    fn wrong(text: &str) -> (Option<(usize, usize)>, String) {
        let problem = read(text).unwrap_err();
        (problem.at, problem.what)
    }

    #[test]
    fn a_heading_is_the_title_and_the_rest_the_body() {
        for (text, title, body) in [
            ("# One\n\nTwo\n", Some("One"), "Two"),
            ("# One", Some("One"), ""),
            ("\n\n#   One  \r\n\r\nTwo\r\nThree\r\n\r\n", Some("One"), "Two\r\nThree"),
            ("# One\n\n    code first\n", Some("One"), "    code first"),
            ("# One\n# Two\n", Some("One"), "# Two"),
            ("no heading\n# Two\n", None, "no heading\n# Two"),
            ("## Sub\n", None, "## Sub"),
            ("#hashtag\n", None, "#hashtag"),
            ("# One\n---\nTwo\n", Some("One"), "---\nTwo"),
            ("+++\n+++\n# One\nTwo\n", Some("One"), "Two"),
            ("+++\ntitle = 'Zero'\n+++\n# One\nTwo\n", Some("Zero"), "# One\nTwo"),
            ("+++\r\ntitle = 'Zero'\r\n+++\r\n\r\nTwo\r\n", Some("Zero"), "Two"),
            ("+++\ntitle = 'Zero'\nbody = 'B'\n+++", Some("Zero"), "B"),
            ("+++\nbody = 'B'\n+++\n# One\n\n", Some("One"), "B"),
        ] {
            assert_eq!(told(text), (title.map(str::to_owned), body.to_owned()), "{text:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, at, what) in [
            ("", None, "is empty; write"),
            (" \n\n", None, "is empty; write"),
            ("---\ntitle: x\n---\n", Some((1, 1)), "(`---`) is not read; write it as TOML"),
            ("+++\ntitle = 'x'\n", Some((1, 1)), "never ends; close it with a line `+++`"),
            ("+++", Some((1, 1)), "never ends"),
            ("+++\ntitle = 'x'\nlables = []\n+++\n", Some((3, 1)), "`lables`; did you mean `labels`?"),
            ("+++\n\ntitle = 1\n+++\n", Some((3, 9)), "integer `1`, expected a string for `title`"),
            ("+++\ntitle = 'é' x\n+++\n", Some((2, 13)), ""),
            ("+++\nbody = 'B'\n+++\n\nText\n", Some((5, 1)), "the front matter has a `body` too"),
            ("# a\u{7}b\n", Some((1, 1)), "the control character \\u{7}"),
            ("# One\n\na\nb\0\n", Some((4, 2)), "NUL"),
        ] {
            let (found_at, found) = wrong(text);
            assert!(found.contains(what), "{text:?}: {found}");
            assert_eq!(found_at, at, "{text:?}: {found}");
        }
    }
}
