//! The files of items, as a folder of them is read.

use std::time::{Duration, Instant};

use factory_tick::config::SourceConfig;
use factory_tick::model::{ItemState, Observed, SourceView, WorkItem};
use factory_tick::source::{self, LastRead};
use proptest::prelude::*;
use serde_json::json;

use super::change::bytes_like;
use super::{cases, lay};

/// The longest id, by the README, and what the name of its source adds.
const ID_BYTES_MAX: usize = 512 + "dir:".len();

const TEXTS: &[&str] = &[
    include_str!("../../../fixtures/items/AR-1.json"),
    include_str!("../../../fixtures/items/AR-2.md"),
    include_str!("../../../fixtures/items/AR-3.md"),
    include_str!("../../../fixtures/items/AR-4.json"),
];

fn read(name: &str, bytes: &[u8]) -> SourceView {
    let folder = tempfile::tempdir().unwrap();
    lay(&folder.path().join(name), bytes);
    let source = source::build(&SourceConfig::Dir { path: folder.path().to_owned() });
    match LastRead::default().read(&*source, Instant::now() + Duration::from_secs(60)) {
        Observed::Known(view) => view,
        Observed::Unknown(why) => panic!("one bad file hides the folder: {why}"),
    }
}

fn is_line(text: &str) -> bool {
    !text.is_empty() && text.trim() == text && !text.contains(char::is_control)
}

fn is_within_limits(item: &WorkItem) -> bool {
    let is_label =
        |label: &String| !label.is_empty() && label.trim() == label && *label == label.to_lowercase();
    item.id.0.len() <= ID_BYTES_MAX
        && item.id.0.starts_with("dir:")
        && is_line(&item.id.0)
        && is_line(&item.key)
        && is_line(&item.title)
        && !item.body.contains('\0')
        && item.labels.iter().all(is_label)
        && item.labels.is_sorted()
}

/// The same item, written down in full.
fn printed(item: &WorkItem) -> String {
    let state = if item.state == ItemState::Open { "open" } else { "closed" };
    json!({
        "id": item.id.plain(), "key": item.key, "title": item.title, "body": item.body, "labels": item.labels,
        "priority": item.priority, "state": state, "blocked_by": item.blocked_by, "created_at": item.created_at,
        "updated_at": item.updated_at,
    })
    .to_string()
}

pub(super) const PROPERTIES: &[(&str, fn())] = &[
    ("items", any_file_is_an_item_within_its_limits_or_told_to_be_none),
    ("names", any_name_of_a_file_is_an_id_or_told_to_be_none),
];

proptest! {
    #![proptest_config(cases())]

    fn any_file_is_an_item_within_its_limits_or_told_to_be_none(
        ending in prop_oneof![Just("json"), Just("md")],
        bytes in bytes_like(TEXTS.iter().map(|text| text.as_bytes().to_vec()).collect()),
    ) {
        let view = read(&format!("AR-1.{ending}"), &bytes);
        prop_assert_eq!(view.items.len() + view.unreadable.len(), 1);
        for unclear in &view.unreadable {
            prop_assert!(!unclear.why.contains(char::is_control), "{}", unclear.why);
            prop_assert_eq!(unclear.id.as_ref().map(|id| id.0.as_str()), Some("dir:AR-1"));
        }
        for item in &view.items {
            prop_assert!(is_within_limits(item), "{item:?}");
            let again = read("AR-1.json", printed(item).as_bytes());
            let [again] = &again.items[..] else { panic!("{item:?} is none when it is printed: {again:?}") };
            prop_assert_eq!(again, &WorkItem { origin: again.origin.clone(), ..item.clone() });
        }
    }

    fn any_name_of_a_file_is_an_id_or_told_to_be_none(name in "[^/\u{0}]{0,40}") {
        let view = read(&format!("{name}.md"), b"# Title");
        prop_assert_eq!(view.items.len() + view.unreadable.len(), usize::from(!name.starts_with('.') && !name.is_empty()));
        prop_assert!(view.items.iter().all(is_within_limits));
        prop_assert!(view.unreadable.iter().all(|one| !one.why.contains(char::is_control)));
    }
}
