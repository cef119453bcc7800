//! Where work comes from, and where word about it goes.
//!
//! A source only tells what is there. Which items matter, and what an absent one means, is
//! decided elsewhere; so a source never shortens a list that it could not read to its end.

use std::time::Instant;

use crate::model::{Observed, SourceView, Writeback};

pub mod dir;
mod markdown;
mod note;
mod record;

/// A tracker of work items.
pub trait Source {
    /// Reads everything there is, in a stable order; `Unknown` when that could not be finished
    /// before `until` or at all.
    fn read(&self, until: Instant) -> Observed<SourceView>;

    /// Says what became of an item, where people look for it. Saying it again changes nothing.
    ///
    /// # Errors
    /// What failed, where, and what to do: nothing was said, or it is not certain that it will last.
    fn notify(&self, note: &Writeback, until: Instant) -> Result<(), String>;
}

/// What goes into a message: on one line and not endless, whatever the file's name or text holds.
fn one_line(text: &str) -> String {
    const CHARS_MAX: usize = 1000;
    let mut line = String::with_capacity(text.len().min(CHARS_MAX));
    for c in text.chars().take(CHARS_MAX) {
        if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
    }
    if text.chars().nth(CHARS_MAX).is_some() {
        line.push('…');
    }
    line
}
