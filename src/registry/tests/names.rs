//! Names of items, agents and runs.

use super::*;

#[test]
fn two_items_with_one_key_share_neither_agents_nor_workspace() {
    let registry = Registry::of_a();
    let item = |id: &str, key: &str| WorkItem {
        id: ItemId(id.to_owned()),
        key: key.to_owned(),
        title: String::new(),
        body: String::new(),
        labels: Vec::new(),
        priority: None,
        state: crate::model::ItemState::Open,
        blocked_by: Vec::new(),
        created_at: None,
        updated_at: None,
        origin: String::new(),
        hash: String::new(),
        content_hash: String::new(),
    };
    let names = |id: &str, key: &str| match registry.upsert_for(&item(id, key)) {
        RecordUpdate::Seen { slug, workspace, .. } => (slug, workspace),
        other => panic!("{other:?}"),
    };
    assert_eq!(names("dir:A", "A"), ("a".to_owned(), "A".to_owned()), "its own, as before");
    assert_eq!(names("dir:b", "b"), ("b".to_owned(), "b".to_owned()));
    let (slug, workspace) = names("dir:x/A", "A");
    assert!(slug.starts_with("a-") && workspace.starts_with("A-"), "{slug} {workspace}");
}

#[test]
fn a_workspace_is_needed_by_nobody_since_its_item_was_first_done_and_by_somebody_from_any_start_on() {
    let mut registry = Registry::started();
    let finished = |registry: &Registry| registry.names.items[&id("A")].finished_at;
    assert_eq!(finished(&registry), None);
    let done = plan(Action::Done { item: id("A"), run: None, facts: RunFacts::default() });
    registry.intend(&done, &moment(10));
    registry.intend(&done, &moment(20));
    assert_eq!(finished(&registry), Some(moment(10).at));
    registry.does(Action::Start(launch("a-impl.2", 2, "text 1")));
    assert_eq!(finished(&registry), None);
    registry.intend(&plan(Action::Forget { item: id("A") }), &moment(30));
    assert_eq!(finished(&registry), Some(moment(30).at), "forgotten before it was done");
    registry.does(Action::AdoptUnrecorded { run: run("a-impl.3"), spec: unrecorded(3, "text 1", None) });
    assert_eq!(finished(&registry), None);
}

#[test]
fn survivors_are_named_for_people() {
    assert_eq!(
        name_survivors(&[survivor(7), survivor(8)]),
        "7 (sleep): not permitted, 8 (sleep): not permitted"
    );
}
