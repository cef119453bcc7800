//! The beginning of a text that may be as long as a file, for a message in which more has to be said.

/// What [`shortened`] and [`quoted`] show of a text, in characters.
const QUOTED_CHARS_MAX: usize = 60;

/// What [`excerpt`] shows of the words of an agent or a hook, in bytes.
const EXCERPT_BYTES_MAX: usize = 200;

/// What [`one_line`] shows of a text, in characters: more than any message, less than a file.
const LINE_CHARS_MAX: usize = 1000;

/// The longest beginning of a text that has at most `bytes_max` bytes and ends with a whole character.
pub fn head(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// The text, or its beginning of at most `bytes_max` bytes and an ellipsis.
pub fn clip(text: &str, bytes_max: usize) -> String {
    let head = head(text, bytes_max);
    let more = if head.len() < text.len() { "…" } else { "" };
    format!("{head}{more}")
}

/// The text, or its first 200 bytes and an ellipsis: the words of others within a message.
pub fn excerpt(text: &str) -> String {
    clip(text, EXCERPT_BYTES_MAX)
}

/// The last line that holds anything, without blanks around it.
pub fn last_line(text: &str) -> Option<&str> {
    text.lines().map(str::trim).rfind(|line| !line.is_empty())
}

/// The text on one line: control characters are escaped.
pub fn escaped(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
    }
    line
}

/// The text on one line, or its first 1,000 characters and an ellipsis.
pub fn one_line(text: &str) -> String {
    first(text, LINE_CHARS_MAX, escaped)
}

/// The text as a programmer writes it in a string, or its first 60 characters and an ellipsis.
pub fn shortened(text: &str) -> String {
    first(text, QUOTED_CHARS_MAX, |head| {
        // A quote of the other kind needs no escape within double quotes.
        let shown = |c: char| if c == '\'' { "'".to_owned() } else { c.escape_debug().to_string() };
        head.chars().map(shown).collect()
    })
}

/// [`shortened`], in double quotes.
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", shortened(text))
}

fn first(text: &str, chars_max: usize, shown: impl FnOnce(&str) -> String) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => shown(&text[..end]) + "…",
        None => shown(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_text_ends_with_a_whole_character() {
        assert_eq!((head("aé", 2), head("aé", 3), head("", 5)), ("a", "aé", ""));
        assert_eq!((clip("aéb", 2).as_str(), clip("aéb", 4).as_str()), ("a…", "aéb"));
    }

    #[test]
    fn long_text_is_shown_by_its_beginning() {
        let long = "é".repeat(1001);
        assert_eq!(one_line(&long), format!("{}…", "é".repeat(1000)));
        assert_eq!(one_line(&long[2..]), "é".repeat(1000));
        assert_eq!(quoted(&long), format!("\"{}…\"", "é".repeat(60)));
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(escaped("a\nb\u{1b}\0'\""), "a\\nb\\u{1b}\\u{0}'\"");
        assert_eq!(quoted("it's \"x\"\n"), r#""it's \"x\"\n""#);
    }

    #[test]
    fn last_line_is_the_last_that_holds_anything() {
        assert_eq!(last_line("a\n b \n\n"), Some("b"));
        assert_eq!(last_line(" \n"), None);
    }
}
