//! Runs of the presets: what their programs said, as recorded, and what the next ticks make of it.

mod credentials;
mod runs;
mod waits;

use super::*;
use crate::harness;
use crate::model::{AgentName, UnrecordedRun};
use crate::registry::{AgentPhase, ItemPhase, ParkedBy};

/// The first id of each recording.
const ID: &str = "00000000-0000-4000-8000-000000000001";

/// What is believed of the year 2100, in which the recorded limit ends.
const LONGEST_TOLD: Duration = Duration::from_secs(8 * 24 * 60 * 60);

/// One role with this preset.
fn factory(preset: &str, keys: &[&str]) -> Factory {
    with("", preset, keys)
}

fn with(tables: &str, preset: &str, keys: &[&str]) -> Factory {
    let role = format!("[[role]]\nname = \"implementer\"\nsuffix = \"impl\"\nharness = \"{preset}\"\n");
    let mut factory = Factory::configured(&format!("{tables}\n{role}"), keys);
    factory.credentials.insert("implementer".into(), "key 1".into());
    factory
}

impl Factory {
    /// Its launcher is seen, and has claimed it now.
    fn claimed(&mut self, run: &str) {
        let claim = Some(Claimed { since: self.now.clone(), ..launcher() });
        self.see(run, alive_saying(claim, Reported::default()));
        self.tick_told();
    }

    /// It ended with this code a second after it was claimed, and printed this.
    fn printed(&mut self, run: &str, code: i32, output: Output) {
        self.ends(run, code, ExitReason::Exited, output);
    }

    fn ends(&mut self, run: &str, code: i32, reason: ExitReason, output: Output) {
        self.later(1);
        let reported = Reported::default();
        let exit = Exit { ended: self.now.clone(), ..exit(code, reason, reported.clone()) };
        let claim = Some(launcher());
        self.see(
            run,
            RunObservation::Ended(Box::new(Ended {
                claim,
                exit: Some(exit),
                survivors: vec![],
                reported,
                output,
                after_run: None,
            })),
        );
    }

    /// Started, claimed, ended, judged: the plan of the tick that sees the end.
    fn runs(&mut self, run: &str, code: i32, output: Output) -> Plan {
        self.claimed(run);
        self.printed(run, code, output);
        self.tick_told()
    }

    fn cools_off_until(&self, scope: &str) -> Option<u64> {
        let until = self.registry.cool_offs.get(scope)?.until?;
        Some(until.duration_since(self.now.at).as_secs().unsigned_abs())
    }
}

fn started(plan: &Plan) -> usize {
    plan.decisions().filter(|(_, one)| matches!(one.action, Action::Start(_) | Action::Resume(_))).count()
}

fn cool_off(begun: ClockReading) -> crate::registry::CoolOff {
    let because = "busy".to_owned();
    crate::registry::CoolOff { because, begun, until: None, streak: 1, credentials: None }
}
