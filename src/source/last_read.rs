//! The last whole read of a source, kept for the next iteration of the same process.

use std::cell::RefCell;
use std::fmt;
use std::time::Instant;

use super::{Read, Source};
use crate::model::{Observed, SourceView, Unavailable};

/// A mark of what a source held at one read, such as an `ETag`. Only the source that made it can tell what it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(String);

impl Version {
    /// A version that the source itself calls `mark`.
    pub fn new(mark: impl Into<String>) -> Version {
        Version(mark.into())
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The last view of one source, together with its version.
///
/// A source may answer [`Read::Unchanged`] instead of everything that it holds. That answer is of use only to a
/// caller that still holds the view, so version and view are kept and lost together: this type is the only caller that
/// passes a version to a source. It lives in memory, for the iterations of one process. The registry holds neither: a
/// view on disk could outlive an edit that the source does not show in its version.
///
/// One `LastRead` belongs to one source.
#[derive(Debug, Default)]
pub struct LastRead(RefCell<Option<(Version, SourceView)>>);

impl LastRead {
    /// Everything that the source holds now, whether it sends that again or not.
    pub fn read(&self, source: &dyn Source, until: Instant) -> Observed<SourceView> {
        let mut last = self.0.borrow_mut();
        match (source.read(last.as_ref().map(|(version, _)| version), until), last.as_ref()) {
            (Read::Unchanged, Some((_, view))) => Observed::Known(view.clone()),
            (Read::Unchanged, None) => Observed::Unknown(Unavailable::broken(format!(
                "{}: it answers \"unchanged\" to a first read; this is a bug of factory-tick",
                source.describe().place
            ))),
            (Read::Known { view, version }, _) => {
                // Without a version the view is of no use later, and may be large.
                *last = version.map(|version| (version, view.clone()));
                Observed::Known(view)
            }
            (Read::Unknown(why), _) => Observed::Unknown(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::model::{UnreadableItem, Writeback};
    use crate::source::{Description, Obstacle};

    /// Answers what the test asks for, and keeps the version that it was given.
    struct Scripted {
        answers: RefCell<Vec<Read>>,
        given: Cell<Option<Version>>,
    }

    impl Source for Scripted {
        fn read(&self, known: Option<&Version>, _until: Instant) -> Read {
            self.given.set(known.cloned());
            self.answers.borrow_mut().remove(0)
        }

        fn notify(&self, _note: &Writeback, _until: Instant) -> Result<(), String> {
            Ok(())
        }

        fn can_notify(&self) -> Result<(), Obstacle> {
            Ok(())
        }

        fn describe(&self) -> Description {
            Description { place: "here".to_owned(), first_item: "" }
        }

        fn place(&self, origin: &str) -> String {
            origin.to_owned()
        }
    }

    fn view(origin: &str) -> SourceView {
        let one = UnreadableItem { origin: origin.to_owned(), id: None, why: String::new() };
        SourceView { items: Vec::new(), unreadable: vec![one] }
    }

    fn known(origin: &str, version: Option<&str>) -> Read {
        Read::Known { view: view(origin), version: version.map(Version::new) }
    }

    /// What each of a few reads shows, and the version that the source was given for it.
    fn read_all(answers: Vec<Read>) -> Vec<(Option<String>, Option<String>)> {
        let (count, last) = (answers.len(), LastRead::default());
        let source = Scripted { answers: RefCell::new(answers), given: Cell::default() };
        let read = |_| {
            let shown = match last.read(&source, Instant::now()) {
                Observed::Known(view) => Some(view.unreadable[0].origin.clone()),
                Observed::Unknown(_) => None,
            };
            (shown, source.given.take().map(|version| version.to_string()))
        };
        (0..count).map(read).collect()
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn unchanged_source_shows_its_last_view() {
        let answers = vec![known("a", Some("1")), Read::Unchanged, known("b", Some("2")), Read::Unchanged];
        assert_eq!(
            read_all(answers),
            [(some("a"), None), (some("a"), some("1")), (some("b"), some("1")), (some("b"), some("2"))]
        );
    }

    #[test]
    fn failed_read_keeps_the_last_view_for_the_next() {
        let answers = vec![known("a", Some("1")), Read::Unknown(Unavailable::broken("x")), Read::Unchanged];
        assert_eq!(read_all(answers), [(some("a"), None), (None, some("1")), (some("a"), some("1"))]);
    }

    #[test]
    fn view_without_a_version_is_not_kept() {
        let answers = vec![known("a", Some("1")), known("b", None), known("c", None)];
        assert_eq!(read_all(answers), [(some("a"), None), (some("b"), some("1")), (some("c"), None)]);
    }

    #[test]
    fn unchanged_as_the_first_answer_is_unknown() {
        assert_eq!(read_all(vec![Read::Unchanged]), [(None, None)]);
    }
}
