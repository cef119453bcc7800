//! Colour, by what it means. It never carries anything that the words beside it don't say.
//!
//! Whether there is any is asked of each stream: `--color` decides, else `NO_COLOR`, `CLICOLOR_FORCE`, `CLICOLOR`,
//! `TERM` and whether it is a terminal, as everywhere.

use anstream::{AutoStream, ColorChoice};
use anstyle::AnsiColor;
use clap::ValueEnum;

/// When there is colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// On a terminal, unless the environment says otherwise
    #[default]
    Auto,
    /// Also into a file or a pipe
    Always,
    /// Nowhere
    Never,
}

/// What a text in colour means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// What most text is.
    Plain,
    /// It went well.
    Good,
    /// It may need somebody.
    Warn,
    /// It failed.
    Bad,
    /// Not what one looks for first.
    Dim,
    /// What the lines below are about.
    Heading,
}

impl Style {
    fn style(self) -> anstyle::Style {
        let colored = |color: AnsiColor| anstyle::Style::new().fg_color(Some(color.into()));
        match self {
            Style::Plain => anstyle::Style::new(),
            Style::Good => colored(AnsiColor::Green),
            Style::Warn => colored(AnsiColor::Yellow),
            Style::Bad => colored(AnsiColor::Red).bold(),
            Style::Dim => anstyle::Style::new().dimmed(),
            Style::Heading => anstyle::Style::new().bold(),
        }
    }
}

/// Sets when there is colour, for the whole program: what the command line's own parser prints and the log too.
pub fn choose(when: When) {
    let choice = match when {
        When::Auto => ColorChoice::Auto,
        When::Always => ColorChoice::Always,
        When::Never => ColorChoice::Never,
    };
    choice.write_global();
}

/// A brush for one stream, which leaves text as it is where there is to be no colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Styler {
    on: bool,
}

impl Styler {
    /// The one that never colours.
    pub const OFF: Styler = Styler { on: false };

    /// The one that always does.
    pub const ON: Styler = Styler { on: true };

    /// For what goes to stdout.
    pub fn stdout() -> Styler {
        Styler { on: AutoStream::choice(&std::io::stdout()) != ColorChoice::Never }
    }

    /// For what goes to stderr.
    pub fn stderr() -> Styler {
        Styler { on: AutoStream::choice(&std::io::stderr()) != ColorChoice::Never }
    }

    /// The text in a tone. It must be fit for a terminal already: nothing is escaped here.
    pub fn put(self, style: Style, text: &str) -> String {
        if !self.on || style == Style::Plain || text.is_empty() {
            return text.to_owned();
        }
        let style = style.style();
        format!("{style}{text}{style:#}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_begins_and_ends_and_changes_no_word() {
        for style in [Style::Good, Style::Warn, Style::Bad, Style::Dim, Style::Heading] {
            assert_eq!(Styler::OFF.put(style, "held"), "held");
            let painted = Styler::ON.put(style, "held");
            assert!(painted.starts_with("\u{1b}[") && painted.ends_with("\u{1b}[0m"), "{painted:?}");
            assert_eq!(anstream::adapter::strip_str(&painted).to_string(), "held");
            assert_eq!(Styler::ON.put(style, ""), "", "nothing is no place for a style");
        }
        assert_eq!(Styler::ON.put(Style::Plain, "held"), "held");
    }
}
