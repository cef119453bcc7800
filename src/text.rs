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
    match out.strip_prefix("::") {
        Some(rest) => format!("\\u{{3a}}:{rest}"),
        None => out,
    }
}

/// Characters that turn the direction of text or hide in it.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// One line of JSON, in ASCII where it matters to a CI runner or a terminal.
pub fn one_json_line(value: &Value) -> String {
    let text = serde_json::to_string(value).unwrap_or_default();
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if (c.is_control() && c != '\n') || is_invisible(c) {
            out.push_str(&format!("\\u{:04x}", c as u32));
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

/// Rows in aligned columns, indented by two spaces; the last column is as long as it is.
pub fn table<const N: usize>(rows: &[[String; N]]) -> String {
    painted_table(rows, |_, _, cell| cell.to_owned())
}

/// The same, each cell painted for its row and column once its width is known.
pub fn painted_table<const N: usize>(
    rows: &[[String; N]],
    paint: impl Fn(usize, usize, &str) -> String,
) -> String {
    let cells: Vec<[String; N]> = rows.iter().map(|row| row.each_ref().map(|cell| plain(cell))).collect();
    let mut widths = [0; N];
    for row in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    for (number, row) in cells.iter().enumerate() {
        let mut line = String::from(" ");
        for (at, (cell, width)) in row.iter().zip(widths).enumerate() {
            if width == 0 {
                continue;
            }
            let padding = if at + 1 == N { 0 } else { width - cell.chars().count() };
            line.push_str(&format!(" {}{} ", paint(number, at, cell), " ".repeat(padding)));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
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
        assert_eq!(plain("a ##[error]b"), "a #\\u{23}[error]b");
        assert_eq!(plain("a\n::stop-commands::x"), "a\\n::stop-commands::x");
        assert_eq!(plain("\u{1b}[2J\u{7}\r"), "\\u{1b}[2J\\u{7}\\u{d}");
        assert_eq!(plain("\u{202e}evil"), "\\u{202e}evil");
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
    fn columns_line_up_and_empty_ones_take_no_room() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned);
        assert_eq!(table(&[row(["a", "", "x"]), row(["long", "", "y"])]), "  a     x\n  long  y\n");
        let painted = painted_table(&[row(["a", "", "x"]), row(["long", "", "y"])], |row, column, cell| {
            if (row, column) == (0, 0) { format!("<<{cell}>>") } else { cell.to_owned() }
        });
        assert_eq!(painted, "  <<a>>     x\n  long  y\n", "what colours takes no room");
    }
}
