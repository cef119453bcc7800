//! Pages for a terminal: columns where they fit its width, blocks below each other where they don't.
//!
//! What a person may want to copy (an id, a path, a command) is never broken or cut, however narrow the terminal is;
//! prose is broken at spaces. Everything is escaped when it becomes a [`Span`], so nothing here can steer a terminal.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::text::escape;
use crate::ui::style::{Style, Styler};

/// Width of a page, in columns, where no terminal tells its own.
pub const WIDTH: usize = 100;

/// On less columns than these, rows become blocks.
const BLOCKS_BELOW: usize = 60;

/// Prose in a narrower column than this is harder to read than prose in a block.
const PROSE_MIN: usize = 24;

/// A piece of text.
#[derive(Clone, Debug)]
pub struct Span {
    style: Style,
    text: String,
    is_whole: bool,
}

impl Span {
    /// Prose.
    pub fn words(text: impl AsRef<str>) -> Span {
        Span { style: Style::Plain, text: escape::plain(text.as_ref().trim_end()), is_whole: false }
    }

    /// Something to copy, which stays on one line.
    pub fn whole(text: impl AsRef<str>) -> Span {
        Span { is_whole: true, ..Span::words(text) }
    }

    /// The same with a meaning.
    pub fn style(self, style: Style) -> Span {
        Span { style, ..self }
    }

    fn width(&self) -> usize {
        self.text.width()
    }
}

/// What belongs together: cells that stand in columns, prose after them, and fields below.
#[derive(Clone, Debug, Default)]
pub struct Row {
    cells: Vec<Span>,
    prose: Option<Span>,
    is_clipped: bool,
    fields: Vec<(Span, Span)>,
}

impl Row {
    /// A row of cells. All rows of a table have as many.
    pub fn new(cells: impl IntoIterator<Item = Span>) -> Row {
        Row { cells: cells.into_iter().collect(), ..Row::default() }
    }

    /// Prose after the cells.
    pub fn prose(self, text: impl AsRef<str>) -> Row {
        Row { prose: Some(Span::words(text)).filter(|prose| !prose.text.is_empty()), ..self }
    }

    /// All of it in this tone, but the fields.
    pub fn style(mut self, style: Style) -> Row {
        self.cells.iter_mut().chain(&mut self.prose).for_each(|span| span.style = style);
        self
    }

    /// Where rows stand in columns, the prose gets one line and an ellipsis.
    pub fn clipped(self) -> Row {
        Row { is_clipped: true, ..self }
    }

    /// A field below it.
    pub fn field(mut self, label: impl AsRef<str>, value: Span) -> Row {
        self.fields.push((Span::words(label).style(Style::Dim), value));
        self
    }
}

/// What stands on one line, and how much room it takes before it.
struct Piece {
    style: Style,
    text: String,
    gap: usize,
}

type Line = Vec<(Style, String)>;

/// Lines for a terminal of some width.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    width: usize,
    lines: Vec<Line>,
}

impl Layout {
    /// An empty page of this width, in columns.
    pub fn new(width: usize) -> Layout {
        Layout { width, lines: Vec::new() }
    }

    /// How many lines it has.
    pub fn height(&self) -> usize {
        self.lines.len()
    }

    /// A headline.
    pub fn heading(&mut self, text: impl AsRef<str>) {
        self.paragraph(0, &[Span::words(text).style(Style::Heading)]);
    }

    /// Spans with a space between them; what does not fit on the first line is indented by two columns more.
    pub fn paragraph(&mut self, indent: usize, spans: &[Span]) {
        let pieces = spans.iter().flat_map(pieces).collect();
        self.flow(Vec::new(), indent, indent + 2, pieces);
    }

    /// One line as it is, however long.
    pub fn verbatim(&mut self, indent: usize, text: &str) {
        self.lines.push(vec![(Style::Plain, " ".repeat(indent) + escape::plain(text).trim_end())]);
    }

    /// An empty line.
    pub fn gap(&mut self) {
        self.lines.push(Line::new());
    }

    /// Labels, and their values beside them in one column; a value that would be broken there stands below.
    pub fn fields(&mut self, indent: usize, fields: &[(Span, Span)]) {
        let beside = fields.iter().map(|(label, _)| label.width() + 2).max().unwrap_or_default() + indent;
        for (label, value) in fields {
            let named: Vec<_> = pieces(label).collect();
            let pieces: Vec<_> = pieces(value).collect();
            let room = self.width.saturating_sub(beside);
            if value.width() <= room || (room >= PROSE_MIN && longest(&pieces) <= room) {
                let begun = vec![(Style::Plain, " ".repeat(indent)), (label.style, label.text.clone())];
                self.flow(begun, beside, beside, pieces);
            } else {
                if !named.is_empty() {
                    self.flow(Vec::new(), indent, indent + 2, named);
                }
                self.flow(Vec::new(), indent + 2, indent + 2, pieces);
            }
        }
    }

    /// Rows in columns where they fit, else as blocks.
    pub fn table(&mut self, rows: &[Row]) {
        let columns = self.columns(rows);
        for row in rows {
            match &columns {
                Some(columns) => self.in_columns(row, columns),
                None => self.as_block(row),
            }
            self.fields(4, &row.fields);
        }
    }

    /// Widths of the columns; `None` where rows don't fit beside each other. Empty columns take no room.
    fn columns(&self, rows: &[Row]) -> Option<Vec<usize>> {
        let count = rows.iter().map(|row| row.cells.len()).max()?;
        let width = |at| rows.iter().filter_map(|row| row.cells.get(at)).map(Span::width).max().unwrap_or(0);
        let columns: Vec<_> = (0..count).map(width).collect();
        let longest = |row: &Row| row.prose.as_ref().map_or(0, Span::width);
        let prose = rows.iter().map(longest).max()?.min(PROSE_MIN);
        (self.width >= BLOCKS_BELOW && start_of_prose(&columns) + prose <= self.width).then_some(columns)
    }

    fn in_columns(&mut self, row: &Row, columns: &[usize]) {
        let mut line = vec![(Style::Plain, "  ".to_owned())];
        for (cell, width) in row.cells.iter().zip(columns).filter(|(_, width)| **width > 0) {
            line.push((cell.style, cell.text.clone()));
            line.push((Style::Plain, " ".repeat(width - cell.width() + 2)));
        }
        let start = start_of_prose(columns);
        let mut pieces: Vec<_> = row.prose.iter().flat_map(pieces).collect();
        if row.is_clipped {
            clip(&mut pieces, self.width - start);
        }
        if longest(&pieces) > self.width - start {
            // A path, say, for which only the next line has room.
            self.lines.push(line);
            self.flow(Vec::new(), 4, 4, pieces);
        } else {
            self.flow(line, start, start, pieces);
        }
    }

    fn as_block(&mut self, row: &Row) {
        let cells = row.cells.iter().filter(|cell| !cell.text.is_empty());
        let cells = cells.flat_map(|cell| {
            // Whole if that is possible at all: "in 5 s" reads better on one line.
            let is_short = cell.width() + 4 <= self.width;
            let mut pieces: Vec<_> =
                pieces(&Span { is_whole: cell.is_whole || is_short, ..cell.clone() }).collect();
            pieces.iter_mut().take(1).for_each(|first| first.gap = 2);
            pieces
        });
        let cells = cells.collect();
        self.flow(Vec::new(), 2, 4, cells);
        if let Some(prose) = &row.prose {
            self.flow(Vec::new(), 4, 4, pieces(prose).collect());
        }
    }

    /// Sets pieces one after the other, the first at column `start`, each further line at `indent`. `begun` is what
    /// the first line has already.
    fn flow(&mut self, begun: Line, start: usize, indent: usize, pieces: Vec<Piece>) {
        let mut line = begun;
        pad(&mut line, start);
        let (mut column, mut is_empty) = (start, true);
        for Piece { style, mut text, gap } in pieces {
            let gap = if is_empty { 0 } else { gap };
            if !is_empty && column + gap + text.width() > self.width {
                self.lines.push(std::mem::take(&mut line));
                pad(&mut line, indent);
                column = indent;
                // Now it begins a line, where a CI runner could take it for a command.
                text = escape::plain(&text);
            } else {
                // Of one colour with what stands on both sides, so that it is painted as one.
                let is_amid = line.last().is_some_and(|(before, _)| *before == style);
                line.push((if is_amid { style } else { Style::Plain }, " ".repeat(gap)));
                column += gap;
            }
            column += text.width();
            line.push((style, text));
            is_empty = false;
        }
        self.lines.push(line);
    }

    /// The page in its colours; without anything that only fills the end of a line.
    pub fn painted(&self, paint: Styler) -> String {
        let mut out = String::new();
        for line in &self.lines {
            let used = line.iter().rposition(|(_, text)| !text.trim_end().is_empty()).map_or(0, |at| at + 1);
            for same in line[..used].chunk_by(|(one, _), (next, _)| one == next) {
                let text: String = same.iter().map(|(_, text)| text.as_str()).collect();
                out.push_str(&paint.put(same[0].0, &text));
            }
            out.push('\n');
        }
        out
    }

    /// The page without colours.
    pub fn to_text(&self) -> String {
        self.painted(Styler::OFF)
    }
}

/// Fills a line with spaces up to a column.
fn pad(line: &mut Line, column: usize) {
    let used: usize = line.iter().map(|(_, text)| text.width()).sum();
    line.push((Style::Plain, " ".repeat(column.saturating_sub(used))));
}

fn start_of_prose(columns: &[usize]) -> usize {
    columns.iter().filter(|width| **width > 0).map(|width| width + 2).sum::<usize>() + 2
}

/// What of a span must stay on one line. Prose can be broken at spaces, and beside a character of East Asian
/// writing, which has none.
fn pieces(span: &Span) -> impl Iterator<Item = Piece> + '_ {
    let piece = |text: &str, gap| Piece { style: span.style, text: text.to_owned(), gap };
    let whole = span.is_whole.then(|| piece(&span.text, 1));
    let prose = if span.is_whole { "" } else { &span.text };
    let words = prose.split(' ').filter(|word| !word.is_empty());
    whole.into_iter().chain(words.flat_map(move |word| {
        let parts = parts(word).into_iter().enumerate();
        parts.map(move |(at, part)| piece(part, usize::from(at == 0)))
    }))
}

fn parts(word: &str) -> Vec<&str> {
    let (mut parts, mut from, mut after_wide) = (Vec::new(), 0, false);
    for (at, c) in word.char_indices() {
        let width = c.width().unwrap_or(0);
        if at > from && (width == 2 || (after_wide && width > 0)) {
            parts.push(&word[from..at]);
            from = at;
        }
        // What takes no room belongs to the character before it.
        after_wide = width == 2 || (after_wide && width == 0);
    }
    parts.push(&word[from..]);
    parts
}

fn longest(pieces: &[Piece]) -> usize {
    pieces.iter().map(|piece| piece.text.width()).max().unwrap_or_default()
}

/// Drops what is more than one line, and says that it did.
fn clip(pieces: &mut Vec<Piece>, room: usize) {
    let mut ends = Vec::new();
    for piece in pieces.iter() {
        let gap = if ends.is_empty() { 0 } else { piece.gap };
        ends.push(ends.last().unwrap_or(&0) + gap + piece.text.width());
    }
    if ends.last().is_some_and(|end| *end > room) {
        let fit = ends.iter().take_while(|end| **end < room).count().max(1);
        pieces.truncate(fit);
        pieces.extend(pieces.last().map(|last| last.style).map(|style| Piece {
            style,
            text: "…".to_owned(),
            gap: 0,
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(width: usize, rows: &[Row]) -> String {
        let mut page = Layout::new(width);
        page.table(rows);
        page.to_text()
    }

    fn row(cells: [&str; 2], prose: &str) -> Row {
        Row::new(cells.map(Span::whole)).prose(prose)
    }

    // Columns were padded by characters: after a title in Chinese or Japanese, of which each takes two columns, nothing
    // stood below anything.
    #[test]
    fn columns_line_up_in_every_writing_and_empty_ones_take_no_room() {
        let rows = [row(["移行", ""], "x"), row(["Grüße", ""], "y"), row(["e\u{301}", ""], "z")];
        assert_eq!(table(100, &rows), "  移行   x\n  Grüße  y\n  e\u{301}      z\n");
        let rows = [row(["a", "b"], ""), row(["long", ""], "")];
        assert_eq!(table(100, &rows), "  a     b\n  long\n", "nothing fills the end of a line");
    }

    #[test]
    fn prose_goes_on_below_itself() {
        let long = "one two three four five six seven eight nine ten eleven";
        assert_eq!(
            table(60, &[row(["AR-1", "ar-1-impl.1"], long)]),
            "  AR-1  ar-1-impl.1  one two three four five six seven eight\n                     nine ten eleven\n"
        );
        let clipped = table(60, &[row(["AR-1", "ar-1-impl.1"], long).clipped()]);
        assert_eq!(clipped, "  AR-1  ar-1-impl.1  one two three four five six seven…\n");
        assert_eq!(table(60, &[row(["AR-1", ""], "short").clipped()]), "  AR-1  short\n");
    }

    #[test]
    fn rows_are_blocks_where_they_do_not_fit() {
        let block = "  AR-1  ar-1-impl.1\n    one two three\n    four five\n";
        assert_eq!(table(20, &[row(["AR-1", "ar-1-impl.1"], "one two three four five")]), block);
        let path = format!("/srv/{}", "x".repeat(50));
        assert_eq!(
            table(60, &[row(["AR-1", &path], "one two three four five")]),
            format!("  AR-1\n    {path}\n    one two three four five\n"),
            "beside it no prose has room"
        );
        assert_eq!(
            table(
                60,
                &[row(["AR-1", "ar-1-impl.1"], &format!("gone: {path}")), row(["AR-2", ""], "as ever")]
            ),
            format!("  AR-1  ar-1-impl.1\n    gone:\n    {path}\n  AR-2               as ever\n"),
            "one of them needs more"
        );
    }

    #[test]
    fn what_is_to_be_copied_is_never_broken() {
        let command = "cd '/srv/a b' && agent --resume s-1";
        let with_command =
            row(["AR-1", ""], "").field("take over", Span::whole(command)).field("log", Span::whole("/x"));
        assert_eq!(
            table(30, std::slice::from_ref(&with_command)),
            format!("  AR-1\n    take over\n      {command}\n    log        /x\n")
        );
        assert_eq!(
            table(60, &[with_command]),
            format!("  AR-1\n    take over  {command}\n    log        /x\n")
        );
    }

    // These writings have no spaces: a sentence was one word, and ran out of every page.
    #[test]
    fn writing_without_spaces_is_broken_between_its_characters() {
        let prose = "データベースの移行e\u{301}に失敗";
        assert_eq!(
            table(20, &[row(["AR-1", ""], prose)]),
            "  AR-1\n    データベースの移\n    行e\u{301}に失敗\n"
        );
        assert_eq!(parts("ar-1-impl.1"), ["ar-1-impl.1"]);
        assert_eq!(parts("第2版e\u{301}x"), ["第", "2", "版", "e\u{301}x"]);
    }

    // A runner of GitHub takes a line that begins with `::` for a command: a line break must not make one.
    #[test]
    fn a_line_break_makes_no_command_for_a_ci_runner() {
        let mut page = Layout::new(24);
        page.paragraph(2, &[Span::words("the agent said: then ::error::boo")]);
        assert_eq!(page.to_text(), "  the agent said: then\n    \\u{3a}:error::boo\n");
    }

    #[test]
    fn colour_means_something_and_changes_no_word() {
        let mut page = Layout::new(60);
        page.heading("Parked: 1");
        page.paragraph(2, &[Span::words("!").style(Style::Bad), Span::words("it is \u{1b}[2J gone")]);
        let (heading, bad) = (Styler::ON.put(Style::Heading, "Parked: 1"), Styler::ON.put(Style::Bad, "!"));
        assert_eq!(page.painted(Styler::ON), format!("{heading}\n  {bad} it is \\u{{1b}}[2J gone\n"));
        assert_eq!(page.to_text(), "Parked: 1\n  ! it is \\u{1b}[2J gone\n");
    }

    proptest::proptest! {
        #[test]
        fn nothing_is_lost_and_no_line_is_too_wide_that_could_be_broken(
            cells in proptest::collection::vec("(e\u{301}|[a-zé移行 ./-]){0,30}", 3),
            prose in "(e\u{301}|[a-zé移行 ./\u{1b}-]){0,300}",
            value in "[a-z /&]{0,60}",
            width in 20usize..140,
        ) {
            let row = Row::new(cells.iter().map(Span::whole)).prose(&prose).field("label", Span::whole(&value));
            let shown = table(width, &[row]);
            let ink = |text: &str| escape::plain(text).split_whitespace().collect::<String>();
            let all = format!("{}{prose}label{value}", cells.concat());
            proptest::prop_assert_eq!(ink(&shown.replace('\n', " ")), ink(&all));
            for line in shown.lines().filter(|line| line.width() > width) {
                let line = line.trim();
                let is_whole = cells.iter().chain([&value]).any(|one| one.trim().contains(line));
                let is_word = !line.contains(' ') && parts(line).len() == 1;
                proptest::prop_assert!(is_whole || is_word, "{}", line);
            }
        }
    }
}
