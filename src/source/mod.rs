//! Where work comes from, and where word about it goes.
//!
//! A source only tells what is there. Which items matter, and what an absent one means, is
//! decided elsewhere; so a source never shortens a list that it could not read to its end.
//!
//! A new kind of source is a folder here, a variant of [`SourceConfig`] and an arm of [`build`]. The
//! suite in `tests/support/source_suite.rs` holds for every kind.

use std::time::Instant;

use crate::config::SourceConfig;
use crate::model::{SourceView, Unavailable, Writeback};

mod dir;
mod last_read;

pub use last_read::{LastRead, Version};

/// A tracker of work items.
pub trait Source {
    /// Reads everything there is, in a stable order; `Unknown` when that could not be finished
    /// before `until` or at all.
    ///
    /// `known` is the version of a view that the caller still holds. Callers go through [`LastRead`], which holds both.
    fn read(&self, known: Option<&Version>, until: Instant) -> Read;

    /// Says what became of an item, where people look for it. Saying it again changes nothing.
    ///
    /// # Errors
    /// What failed, where, and what to do: nothing was said, or it is not certain that it will last.
    fn notify(&self, note: &Writeback, until: Instant) -> Result<(), String>;

    /// Looks for reasons why [`Source::notify`] would fail, and changes nothing.
    ///
    /// # Errors
    /// The first reason found. `Ok` is no promise: only a note shows whether a tracker takes it.
    fn can_notify(&self) -> Result<(), Obstacle>;

    /// What people are told about the source as a whole.
    fn describe(&self) -> Description;

    /// Where a person edits an item, for a text such as "to release it, edit …". `origin` is the item's
    /// [`WorkItem::origin`](crate::model::WorkItem::origin).
    fn place(&self, origin: &str) -> String;
}

/// The answer of one read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// A read would show the same view as the read that the given version is of. A source answers this only where it
    /// is certain: an edit that is missed here is missed until the item changes again.
    Unchanged,
    /// Everything there is.
    Known {
        /// The items, in a stable order.
        view: SourceView,
        /// By which a later read can tell that nothing has changed; `None` where the source can't tell that.
        version: Option<Version>,
    },
    /// The list could not be read to its end.
    Unknown(Unavailable),
}

/// A source as people know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Where its items are: a path, or an address.
    pub place: String,
    /// How a person files the first item, as a hint.
    pub first_item: &'static str,
}

/// A reason why a source would take no note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// Where notes go: a path, or an address.
    pub place: String,
    /// What is wrong there.
    pub why: String,
    /// What to do.
    pub hint: &'static str,
}

/// The source that a configuration names. Nothing is read or opened yet.
pub fn build(config: &SourceConfig) -> Box<dyn Source> {
    match config {
        SourceConfig::Dir { path } => Box::new(dir::DirSource::new(path.clone())),
    }
}
