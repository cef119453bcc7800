//! The items: whether the folder reads, what in it does not, and whether any of them would be worked on.

use super::places::may_write;
use super::subject::Subject;
use crate::config::WritebackMode;
use crate::exit::ExitStatus;
use crate::model::{ItemState, Observed, SourceView, WorkItem};
use crate::source::Source;
use crate::source::dir::DirSource;
use crate::views::check::Finding;

pub(super) fn items(subject: &Subject<'_>) -> Vec<Finding> {
    let folder = subject.config.source_path.display().to_string();
    let view = match read(subject) {
        Observed::Unknown(why) => return vec![Finding::problem(ExitStatus::Unavailable, folder, why.text)],
        Observed::Known(view) => view,
    };
    let unclear = view
        .unreadable
        .iter()
        .map(|one| Finding::problem(ExitStatus::Partial, &one.origin, one.why.as_str()));
    let mut findings: Vec<_> = unclear.collect();
    findings.push(in_scope(subject, &view, folder));
    findings.extend(notes(subject));
    findings
}

fn read(subject: &Subject<'_>) -> Observed<SourceView> {
    let source = DirSource::new(subject.config.source_path.clone());
    source.read(subject.began + subject.config.tick.deadline)
}

/// The item whose prompt is looked at: the first that would be worked on.
pub(super) fn first(subject: &Subject<'_>) -> Option<WorkItem> {
    let view = read(subject).known()?.clone();
    view.items.into_iter().find(|item| is_in_scope(subject, item))
}

fn is_in_scope(subject: &Subject<'_>, item: &WorkItem) -> bool {
    item.state == ItemState::Open && subject.config.scope.holds(item)
}

fn in_scope(subject: &Subject<'_>, view: &SourceView, folder: String) -> Finding {
    let (all, open) = (view.items.len(), |item: &&WorkItem| item.state == ItemState::Open);
    match view.items.iter().filter(|item| is_in_scope(subject, item)).count() {
        0 if all == 0 => Finding::note(folder, "it holds no item yet").hint(
            "an item is a file such as AR-1.md: a line `# Title`, an empty line, and what is to be done",
        ),
        0 => {
            let open = view.items.iter().filter(open).count();
            let because = format!("open: {open} of {all}, and none of them is in scope");
            Finding::note(folder, because).hint("see [source.scope]: labels and title_prefix must all hold")
        }
        count => Finding::ok(folder, format!("open and in scope: {count} of {all}")),
    }
}

/// Whether what became of an item can be told beside it.
fn notes(subject: &Subject<'_>) -> Option<Finding> {
    let modes = &subject.config.writeback;
    let modes = [modes.started, modes.done, modes.parked];
    let folder = &subject.config.source_path;
    let notes = folder.join(".factory");
    let why = may_write(if notes.exists() { &notes } else { folder }).err()?;
    let because = format!("what becomes of items can't be told there: {why}");
    let hint =
        "give the user that runs the tick the permissions w and x on it, or set [writeback] to \"off\"";
    let shown = notes.display().to_string();
    if modes.contains(&WritebackMode::Required) {
        return Some(Finding::problem(ExitStatus::Partial, shown, because).hint(hint));
    }
    modes.contains(&WritebackMode::BestEffort).then(|| Finding::note(shown, because).hint(hint))
}
