//! Names that somebody else has in the fleet.

use super::*;
use crate::model::{AgentName, StartOutcome};

impl Factory {
    /// A tick in which the fleet refuses the start of `agent` for its name's sake, and performs everything else.
    fn tick_refusing(&mut self, agent: &str) -> Vec<String> {
        let taken = format!("agent '{agent}' already exists");
        let plan = self.tick();
        // Behind our back: when the tick looked, it was free.
        self.names_held.insert(AgentName(agent.to_owned()), taken.clone());
        let outcomes: Vec<_> = plan
            .decisions()
            .filter_map(|(step, one)| {
                let outcome = match &one.action {
                    Action::Start(launch) | Action::Resume(launch) if launch.spec.id.agent.0 == agent => {
                        Outcome::Start(StartOutcome::NotStarted {
                            class: FailureClass::NameTaken,
                            error: taken.clone(),
                        })
                    }
                    Action::Start(_) | Action::Resume(_) => StartOutcome::Tried.into(),
                    Action::Writeback(_) => NotifyOutcome::Notified.into(),
                    _ => return None,
                };
                Some(StepOutcome { step, outcome })
            })
            .collect();
        self.registry.note(&plan, &outcomes, &self.config.attempts, &self.now);
        told(&plan)
    }

    /// The collided run is fenced, and looked for.
    fn put_away(&mut self, run: &str) {
        assert_eq!(told(&self.tick()), [format!("fence {run}")]);
        self.see(run, RunObservation::Ended(Box::default()));
    }

    fn frees(&mut self, agent: &str) {
        self.names_held.remove(&AgentName(agent.to_owned()));
    }
}

// Origin: pear#331 - "name already exists" was retried on every exit: an endless loop of refused starts.
// covers: F17 F18 V15
#[test]
fn a_resume_whose_name_is_taken_is_tried_once_and_its_item_starts_fresh_when_the_name_is_free() {
    let mut factory = Factory::new(&["A"]).running("a-impl.1");
    factory.config.roles[0].resume = vec!["agent".into(), "{session}".into()];
    factory.see("a-impl.1", over(1, ExitReason::Exited, Some("s-1"), ""));
    let lines = factory.tick_refusing("a-impl");
    assert_eq!(lines, ["fail a-impl.1 agent", "resume a-impl.2"]);
    assert_eq!(factory.registry.counters.resume_name_collisions, 1);
    let agent = factory.agent("a-impl");
    assert_eq!((&agent.session, &agent.run, agent.follow_ups.len()), (&None, &None, 0));
    factory.put_away("a-impl.2");
    for _ in 0..20 {
        factory.later(3_600);
        let plan = factory.tick_told();
        assert!(plan.is_empty(), "{:?}", told(&plan));
        assert_eq!(held(&plan), [("A", HoldReason::HandoffPending)]);
    }
    assert_eq!(factory.registry.counters.resume_name_collisions, 1);
    assert_eq!(factory.record("A").attempts, 1, "the failure before it alone is charged");
    factory.frees("a-impl");
    assert_eq!(told(&factory.tick()), ["forget a-impl.2", "start a-impl.3", "writeback A started"]);
    assert_eq!(factory.agent("a-impl").session, None);
}

#[test]
fn one_of_a_crew_whose_name_is_taken_starts_alone_when_it_is_free_and_the_others_go_on() {
    let mut factory = Factory::crew("", &["A"]);
    let lines = factory.tick_refusing("a-rev");
    assert_eq!(lines, ["start a-impl.1", "start a-rev.1", "writeback A started"]);
    assert_eq!(factory.registry.counters.resume_name_collisions, 0, "it was no resume");
    factory.see("a-impl.1", alive());
    assert_eq!(told(&factory.tick()), ["adopt a-impl.1", "fence a-rev.1"]);
    factory.see("a-rev.1", RunObservation::Ended(Box::default()));
    assert!(factory.tick().is_empty());
    factory.frees("a-rev");
    assert_eq!(told(&factory.tick()), ["forget a-rev.1", "start a-rev.2"]);
    assert_eq!(factory.record("A").attempts, 0);
    assert!(factory.agent("a-impl").run.is_some());
}

#[test]
fn a_name_that_is_taken_again_and_again_parks_its_item_in_the_end() {
    let mut factory = Factory::new(&["A"]);
    for n in 1..=4 {
        let lines = factory.tick_refusing("a-impl");
        assert!(lines.contains(&format!("start a-impl.{n}")), "{lines:?}");
        factory.put_away(&format!("a-impl.{n}"));
        factory.frees("a-impl");
        factory.later(60);
    }
    factory.tick_refusing("a-impl");
    let lines = told(&factory.tick());
    assert_eq!(lines, ["fence a-impl.5", "park A name_taken", "writeback A parked"]);
    assert_eq!(factory.record("A").state, crate::registry::ItemPhase::Parked);
    assert_eq!(factory.record("A").attempts, 0);
}

// `reap` looks at processes alone: that it sees nobody with the name does not make it free.
#[test]
fn ending_what_is_left_over_gives_up_no_wait_for_a_name() {
    let mut factory = Factory::new(&["A"]);
    factory.tick_refusing("a-impl");
    factory.put_away("a-impl.1");
    factory.frees("a-impl");
    let only_reaps = Request { reap_only: true, ..Request::default() };
    let planned = decide(&factory.config, &factory.registry, &factory.world(), &only_reaps);
    assert!(planned.is_empty(), "{:?}", told(&planned));
    assert!(told(&factory.plan()).contains(&"forget a-impl.1".to_owned()));
}
