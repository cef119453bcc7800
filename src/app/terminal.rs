//! Where the result is shown, and how a person there calls this program.

use std::ffi::OsStr;

use rustix::termios;

use crate::cli::{CONFIG, Options};
use crate::run::env::Vars;
use crate::text::escape;
use crate::ui::layout;

/// Less than this no terminal has; a page needs some room.
const WIDTH_MIN: usize = 20;

/// Columns of the terminal that stdout is, else what `COLUMNS` says, else 100.
pub(crate) fn width(vars: &Vars) -> usize {
    let of_terminal = termios::tcgetwinsize(std::io::stdout()).ok().map(|size| usize::from(size.ws_col));
    let named = || vars.get(OsStr::new("COLUMNS"))?.to_str()?.trim().parse().ok();
    choose(of_terminal, named)
}

/// A terminal that doesn't know its size says 0.
fn choose(of_terminal: Option<usize>, named: impl FnOnce() -> Option<usize>) -> usize {
    let known = |width: &usize| *width > 0;
    of_terminal.filter(known).or_else(|| named().filter(known)).unwrap_or(layout::WIDTH).max(WIDTH_MIN)
}

/// The program with the options that make it mean this factory, for commands to copy.
pub(crate) fn this_program(options: &Options) -> String {
    let mut words = vec!["factory-tick".to_owned()];
    if options.config.as_os_str() != CONFIG {
        words.extend(["-c".to_owned(), escape::shell_word(&options.config.to_string_lossy())]);
    }
    if let Some(dir) = &options.state_dir {
        words.extend(["--state-dir".to_owned(), escape::shell_word(&dir.to_string_lossy())]);
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_terminal_knows_its_width_best() {
        assert_eq!(choose(Some(80), || Some(120)), 80);
        assert_eq!(choose(None, || Some(120)), 120);
        assert_eq!(choose(Some(0), || None), 100);
        assert_eq!(choose(None, || Some(0)), 100);
        assert_eq!(choose(Some(5), || None), 20);
    }
}
