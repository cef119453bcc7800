//! Words for a terminal. Titles, bodies and agents' output are untrusted: no byte of them may steer a
//! terminal, a log or a CI runner.

use jiff::Timestamp;
use serde_json::Value;

/// The text with every control character escaped, on one line, and without anything that a CI runner would
/// take for a command: GitHub's runs `::…` at the start of a line and `##[…]` anywhere.
pub fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\t' => out.push(' '),
            c if c.is_control() || is_invisible(c) => out.push_str(&format!("\\u{{{:x}}}", c as u32)),
            c => out.push(c),
        }
    }
    let out = out.replace("##[", "#\\u{23}[");
    // The runner skips whatever is blank before it, in any script.
    let command = out.trim_start();
    match command.strip_prefix("::") {
        Some(rest) => format!("{}\\u{{3a}}:{rest}", &out[..out.len() - command.len()]),
        None => out,
    }
}

/// Characters that turn the direction of text, end a line of it, or hide in it: those that Unicode lets a program show as
/// nothing, but for the selectors (U+FE00 to U+FE0F) that belong to emoji.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}'
    )
}

/// One line of JSON, in ASCII where it matters to a CI runner or a terminal.
pub fn one_json_line(value: &Value) -> String {
    let text = serde_json::to_string(value).unwrap_or_default();
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if (c.is_control() && c != '\n') || is_invisible(c) {
            // As JSON has it: two escapes for one beyond 16 bits.
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
        } else {
            out.push(c);
        }
    }
    out.replace("##[", "#\\u0023[")
}

/// `2026-11-20 08:30:11Z`
pub fn time(at: Timestamp) -> String {
    let text = at.to_string();
    let seconds = text.split(['.', 'Z']).next().unwrap_or(&text);
    format!("{}Z", seconds.replacen('T', " ", 1))
}

/// `3 s`, `4 min 10 s`, `2 h`, `3 d 4 h`: two units at most, as people say it.
pub fn duration(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let units =
        [(seconds / 86400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "min"), (seconds % 60, "s")];
    let first = units.iter().position(|(count, _)| *count > 0).unwrap_or(units.len() - 1);
    let (count, unit) = units[first];
    match units.get(first + 1) {
        Some((smaller, name)) if *smaller > 0 => format!("{count} {unit} {smaller} {name}"),
        _ => format!("{count} {unit}"),
    }
}

/// The same for a limit, which may be shorter than a second: `500 ms`.
pub fn milliseconds(ms: u64) -> String {
    match i64::try_from(ms / 1000) {
        Ok(seconds) if ms.is_multiple_of(1000) => duration(seconds),
        Ok(seconds) if seconds >= 60 => duration(seconds),
        _ => format!("{ms} ms"),
    }
}

/// `0.42 USD, 48123 tokens`; `None` where neither is known.
pub fn used(usd: Option<f64>, tokens: Option<u64>) -> Option<String> {
    let tokens = tokens.map(|count| format!("{count} token{}", if count == 1 { "" } else { "s" }));
    let known: Vec<_> = usd.map(|usd| format!("{usd:.2} USD")).into_iter().chain(tokens).collect();
    (!known.is_empty()).then(|| known.join(", "))
}

/// The words as a list of JSON: where one ends and the next begins is certain.
pub fn json_words(words: &[String]) -> String {
    Value::from(words).to_string()
}

/// The text as one word of a shell's command line.
pub fn shell_word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._:/-@%+=,".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Origin: GitHub runs a line that starts with `::` and any `##[…]` as a workflow command, wherever the
    // text came from.
    // covers: F72
    #[test]
    fn untrusted_text_can_steer_nothing() {
        assert_eq!(plain("::set-env name=PATH::/evil"), "\\u{3a}:set-env name=PATH::/evil");
        assert_eq!(plain("  ::error::x"), "  \\u{3a}:error::x");
        for blank in ["\u{a0}", "\u{2003}", "\u{3000} "] {
            assert_eq!(plain(&format!("{blank}::error::x")), format!("{blank}\\u{{3a}}:error::x"));
        }
        assert_eq!(plain("a ##[error]b"), "a #\\u{23}[error]b");
        assert_eq!(plain("a\n::stop-commands::x"), "a\\n::stop-commands::x");
        assert_eq!(plain("\u{1b}[2J\u{7}\r"), "\\u{1b}[2J\\u{7}\\u{d}");
        assert_eq!(plain("\u{202e}evil"), "\\u{202e}evil");
        assert_eq!(plain("\u{2028}::error::x"), "\\u{2028}::error::x");
        // A letter that no terminal shows, from the block of tags: a model reads it, a person does not.
        assert_eq!(plain("a\u{61c}b\u{e0041}"), "a\\u{61c}b\\u{e0041}");
        assert_eq!(plain("\u{2764}\u{fe0f}"), "\u{2764}\u{fe0f}");
        let line = one_json_line(&serde_json::json!("\u{e0041}\u{ad}"));
        assert_eq!(line, "\"\\udb40\\udc41\\u00ad\"");
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), "\u{e0041}\u{ad}");
        assert_eq!(plain("Grüße 日本"), "Grüße 日本");
        let line = one_json_line(&serde_json::json!({"t": "##[x]\u{9b}\n"}));
        assert_eq!(line, "{\"t\":\"#\\u0023[x]\\u009b\\n\"}");
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["t"], "##[x]\u{9b}\n");
    }

    #[test]
    fn times_and_durations_read_well() {
        assert_eq!(time("2026-11-20T08:30:11.5Z".parse().unwrap()), "2026-11-20 08:30:11Z");
        let told: Vec<_> = [-5, 3, 60, 250, 7200, 7500, 86_399, 273_600].map(duration).into();
        let want = ["0 s", "3 s", "1 min", "4 min 10 s", "2 h", "2 h 5 min", "23 h 59 min", "3 d 4 h"];
        assert_eq!(told, want);
    }

    #[test]
    fn what_was_used_reads_well() {
        assert_eq!(used(None, None), None);
        assert_eq!(used(Some(1.257), None).unwrap(), "1.26 USD");
        assert_eq!(used(None, Some(1)).unwrap(), "1 token");
        assert_eq!(used(Some(0.0), Some(48_123)).unwrap(), "0.00 USD, 48123 tokens");
    }

    #[test]
    fn a_word_means_itself_to_a_shell() {
        let typed = ["AR-1", "web#2", "it's; rm", "", "/srv/a b", "~/x"].map(shell_word);
        assert_eq!(typed, ["AR-1", "'web#2'", "'it'\\''s; rm'", "''", "'/srv/a b'", "'~/x'"]);
    }
}
