//! What must hold while the machine can start nothing, and of crews that it ended or never began.

use std::collections::BTreeSet;

use factory_tick::model::{Action, FailureClass, ItemId, RunId};
use factory_tick::registry::{AgentPhase, AgentRecord, MACHINE};

use super::{Scene, ensure};

impl<'a> Scene<'a> {
    /// The runs that this plan starts or resumes.
    fn started_runs(&self) -> BTreeSet<&'a RunId> {
        self.starts().map(|(_, run)| run).collect()
    }

    /// Agents of an item in the intended registry.
    fn agents(&self, item: &'a ItemId) -> impl Iterator<Item = &'a AgentRecord> {
        self.intended.agents_of(item).map(|(_, agent)| agent)
    }
}

/// Nothing starts before a fault of the machine has had its wait.
pub(super) fn machine_fault_starts_nothing_before_its_wait(scene: &Scene<'_>) -> Result<(), String> {
    let waits = scene.intended.cool_offs.get(MACHINE).and_then(|cool_off| cool_off.until);
    ensure(waits.is_none_or(|until| until <= scene.now.at) || scene.starts().count() == 0, || {
        format!("something starts before {waits:?}")
    })
}

/// After that wait one item is tried.
pub(super) fn machine_fault_is_tried_with_one_item(scene: &Scene<'_>) -> Result<(), String> {
    let items: BTreeSet<_> = scene.starts().map(|(item, _)| item).collect();
    ensure(!scene.intended.cool_offs.contains_key(MACHINE) || items.len() <= 1, || {
        format!("{items:?} try at once whether the machine starts agents")
    })
}

/// A fault of the machine costs no attempt, and does not count in the streak that parks.
pub(super) fn machine_fault_parks_nothing(scene: &Scene<'_>) -> Result<(), String> {
    for (id, before) in &scene.before.items {
        let failures: Vec<_> = scene
            .actions()
            .filter_map(|action| match action {
                Action::Fail { item, class, .. } if item == id => Some(*class),
                _ => None,
            })
            .collect();
        let only_machine = failures.iter().all(|class| *class == FailureClass::Machine);
        let Some(after) = scene.intended.items.get(id).filter(|_| only_machine) else { continue };
        ensure(
            after.attempts <= before.attempts && after.uncharged_streak <= before.uncharged_streak,
            || format!("{id} is charged for faults of the machine: {before:?} becomes {after:?}"),
        )?;
    }
    Ok(())
}

/// A role whose program is not there starts nothing.
pub(super) fn missing_program_starts_nothing(scene: &Scene<'_>) -> Result<(), String> {
    let missing = scene.actions().find_map(|action| match action {
        Action::Start(launch) | Action::Resume(launch) => {
            scene.missing_programs.contains_key(&launch.spec.role).then_some(&launch.spec.id)
        }
        _ => None,
    });
    ensure(missing.is_none(), || format!("{missing:?} starts without its program"))
}

/// Where nothing of an item goes on or is kept, all its roles start in one plan.
pub(super) fn crew_starts_together(scene: &Scene<'_>) -> Result<(), String> {
    let started = scene.started_runs();
    let items: BTreeSet<_> = scene.starts().map(|(item, _)| item).collect();
    items.into_iter().try_for_each(|item| {
        let is_new = |agent: &AgentRecord| agent.run.as_ref().is_some_and(|run| started.contains(run));
        let goes_on = scene.agents(item).any(|agent| {
            let in_flight = agent.state != AgentPhase::Idle && (!is_new(agent) || agent.spec.is_resume());
            in_flight || agent.succeeded || !agent.follow_ups.is_empty()
        });
        let missing = scene.config.roles.iter().find(|role| {
            !scene
                .agents(item)
                .any(|agent| agent.spec.role == role.name && (agent.succeeded || is_new(agent)))
        });
        ensure(goes_on || missing.is_none(), || {
            format!("{item} starts without its {:?}", missing.map(|role| &role.name))
        })
    })
}

/// A run that never ran does not wait for the end of the rest of its crew.
pub(super) fn run_that_never_ran_starts_with_its_crew(scene: &Scene<'_>) -> Result<(), String> {
    scene.actions().try_for_each(|action| {
        let Action::Fail {
            item,
            run: Some(run),
            class: class @ (FailureClass::Infra | FailureClass::Machine),
            ..
        } = action
        else {
            return Ok(());
        };
        // An agent that failed on a full disk has run.
        if *class == FailureClass::Machine
            && scene.world.machine.room_of(run).is_some_and(|free| free.is_full())
        {
            return Ok(());
        }
        let Some(agent) = scene.intended.agents.get(&run.agent) else { return Ok(()) };
        let waits = agent.state == AgentPhase::Idle && agent.follow_ups.is_empty();
        let is_active = scene
            .intended
            .items
            .get(item)
            .is_some_and(|record| record.state == factory_tick::registry::ItemPhase::Active);
        let others = scene.agents(item).any(|other| other.state != AgentPhase::Idle);
        ensure(!(waits && others && is_active), || format!("{run} never ran, and waits for its crew to end"))
    })
}
