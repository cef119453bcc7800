//! The items: whether the folder reads, what in it does not, and whether any of them would be worked on.

use super::subject::Subject;
use crate::config::WritebackMode;
use crate::exit::ExitStatus;
use crate::model::{ItemState, Observed, SourceView, WorkItem};
use crate::source::{self, Description, LastRead, Obstacle, Source};
use crate::views::check::Finding;

pub(super) fn items(subject: &Subject<'_>) -> Vec<Finding> {
    let source = source::build(&subject.config.source);
    let description = source.describe();
    let view = match read(subject, &*source) {
        Observed::Unknown(why) => {
            let status = if why.is_denied() { ExitStatus::Denied } else { ExitStatus::Unavailable };
            return vec![Finding::problem(status, description.place, why.text)];
        }
        Observed::Known(view) => view,
    };
    let unclear = view
        .unreadable
        .iter()
        .map(|one| Finding::problem(ExitStatus::Partial, &one.origin, one.why.as_str()));
    let mut findings: Vec<_> = unclear.collect();
    findings.push(in_scope(subject, &view, description));
    findings.extend(notes(subject, &*source));
    findings
}

fn read(subject: &Subject<'_>, source: &dyn Source) -> Observed<SourceView> {
    LastRead::default().read(source, subject.began + subject.config.tick.deadline)
}

/// The item whose prompt is looked at: the first that would be worked on.
pub(super) fn first(subject: &Subject<'_>) -> Option<WorkItem> {
    let view = read(subject, &*source::build(&subject.config.source)).known()?.clone();
    view.items.into_iter().find(|item| is_in_scope(subject, item))
}

fn is_in_scope(subject: &Subject<'_>, item: &WorkItem) -> bool {
    item.state == ItemState::Open && subject.config.scope.holds(item)
}

fn in_scope(subject: &Subject<'_>, view: &SourceView, source: Description) -> Finding {
    let (all, open) = (view.items.len(), |item: &&WorkItem| item.state == ItemState::Open);
    match view.items.iter().filter(|item| is_in_scope(subject, item)).count() {
        0 if all == 0 => Finding::note(source.place, "it holds no item yet").hint(source.first_item),
        0 => {
            let open = view.items.iter().filter(open).count();
            let because = format!("open: {open} of {all}, and none of them is in scope");
            Finding::note(source.place, because)
                .hint("see [source.scope]: labels and title_prefix must all hold")
        }
        count => Finding::ok(source.place, format!("open and in scope: {count} of {all}")),
    }
}

/// Whether what became of an item can be told beside it.
fn notes(subject: &Subject<'_>, source: &dyn Source) -> Option<Finding> {
    let modes = &subject.config.writeback;
    let modes = [modes.started, modes.done, modes.parked];
    let Obstacle { place, why, hint } = source.can_notify().err()?;
    let because = format!("what becomes of items can't be told there: {why}");
    if modes.contains(&WritebackMode::Required) {
        return Some(Finding::problem(ExitStatus::Partial, place, because).hint(hint));
    }
    modes.contains(&WritebackMode::BestEffort).then(|| Finding::note(place, because).hint(hint))
}
