//! Which item a person means: at 3 a.m. nobody knows which noun a verb wants.

use std::collections::{BTreeMap, BTreeSet};

use crate::exit::{ExitStatus, Failure};
use crate::model::{ItemId, WorkItem};
use crate::registry::Registry;

/// Names that are nearer than this are worth suggesting.
const NEAR: f64 = 0.8;

/// The item that an id, key, agent, run, or a unique prefix of one names.
///
/// # Errors
///
/// Refused, when it names none or more than one; the text says which.
pub(crate) fn item(wanted: &str, registry: &Registry, items: &[WorkItem]) -> Result<ItemId, Failure> {
    let names = names(registry, items);
    let exact: BTreeSet<&ItemId> = names.get(wanted).into_iter().flatten().collect();
    let by_prefix = || {
        let matching = names.range(wanted.to_owned()..).take_while(|(name, _)| name.starts_with(wanted));
        matching.flat_map(|(_, ids)| ids).collect()
    };
    let found: BTreeSet<&ItemId> = if exact.is_empty() { by_prefix() } else { exact };
    let refuse = |text: String| Err(Failure::new(ExitStatus::Refused, text));
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one.clone()),
        (None, _) => refuse(format!("nothing here is called {wanted:?}{}", suggestion(wanted, &names))),
        (Some(one), Some(other)) => {
            let more = if found.next().is_some() { " and others" } else { "" };
            refuse(format!("{wanted:?} could be {one} or {other}{more}; name one of them"))
        }
    }
}

/// Every name that means an item.
fn names(registry: &Registry, items: &[WorkItem]) -> BTreeMap<String, BTreeSet<ItemId>> {
    let mut names: BTreeMap<String, BTreeSet<ItemId>> = BTreeMap::new();
    let mut add = |name: &str, id: &ItemId| {
        names.entry(name.to_owned()).or_default().insert(id.clone());
    };
    let recorded = registry.items.iter().map(|(id, record)| (id, record.key.as_str()));
    for (id, key) in recorded.chain(items.iter().map(|item| (&item.id, item.key.as_str()))) {
        add(&id.0, id);
        add(id.plain(), id);
        add(key, id);
    }
    for (name, agent) in &registry.agents {
        add(&name.0, &agent.spec.item);
        add(&format!("{name}.{}", agent.spec.id.n), &agent.spec.item);
    }
    let indexed = registry.done.iter().filter(|(id, _)| !registry.items.contains_key(id));
    for (id, done) in indexed {
        add(&id.0, id);
        add(id.plain(), id);
        add(done.key(id), id);
        for run in registry.latest_runs_of(id) {
            add(&run.agent.0, id);
            add(&run.to_string(), id);
        }
    }
    for (run, handoff) in &registry.handoffs {
        if let Some(item) = &handoff.item {
            add(&run.to_string(), item);
        }
    }
    names.remove("");
    names
}

fn suggestion(wanted: &str, names: &BTreeMap<String, BTreeSet<ItemId>>) -> String {
    let nearness = |name: &str| strsim::jaro_winkler(&wanted.to_lowercase(), &name.to_lowercase());
    let near = names.keys().map(|name| (nearness(name), name)).filter(|(score, _)| *score > NEAR);
    let nearest = near.max_by(|a, b| a.0.total_cmp(&b.0));
    nearest.map_or_else(String::new, |(_, name)| format!("; did you mean {name}?"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Names;

    fn registry(keys: &[(&str, &str)]) -> Registry {
        let mut registry = Registry { names: Names::default(), ..Registry::default() };
        for (id, key) in keys {
            let seen = crate::model::RecordUpdate::Seen {
                item: ItemId((*id).to_owned()),
                key: (*key).to_owned(),
                origin: String::new(),
                slug: key.to_lowercase(),
                workspace: (*key).to_owned(),
            };
            let now = crate::model::ClockReading {
                at: jiff::Timestamp::UNIX_EPOCH,
                mono_ms: 0,
                boot_id: String::new(),
                slept_ms: 0,
            };
            registry.apply(&crate::model::Step::RecordUpdate(seen), &now).unwrap();
        }
        registry
    }

    #[test]
    fn any_noun_will_do_and_nothing_is_guessed() {
        let registry = registry(&[("dir:AR-1", "AR-1"), ("dir:AR-12", "AR-12"), ("dir:x", "web#2")]);
        let find = |wanted: &str| item(wanted, &registry, &[]).map(|id| id.0).map_err(|failure| failure.text);
        assert_eq!(find("AR-1").as_deref(), Ok("dir:AR-1"));
        assert_eq!(find("dir:AR-12").as_deref(), Ok("dir:AR-12"));
        assert_eq!(find("web").as_deref(), Ok("dir:x"));
        assert_eq!(find("AR-"), Err("\"AR-\" could be dir:AR-1 or dir:AR-12; name one of them".to_owned()));
        assert_eq!(find("AR-3"), Err("nothing here is called \"AR-3\"; did you mean AR-1?".to_owned()));
        assert_eq!(find("zzz"), Err("nothing here is called \"zzz\"".to_owned()));
    }
}
