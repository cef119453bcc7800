//! `factory-tick unpause`: starts go on, after a pause or behind an open breaker.

use crate::app::context::Context;
use crate::app::mutation::{self, Judged};
use crate::app::orders;
use crate::exit::{ExitStatus, Failure};
use crate::model::{Action, Plan, RecordUpdate, Step};

pub(super) fn run(context: &Context) -> Result<ExitStatus, Failure> {
    mutation::apply(
        context,
        "unpause",
        |_| Ok(Judged::Nothing),
        |_, registry| {
            let is_open = registry.open_breaker(context.config.attempts.breaker).is_some();
            if registry.paused.is_none() && !is_open {
                return Ok(Plan::default());
            }
            let mut plan = orders::of_factory("a person said so", Action::Unpause);
            plan.steps.push(Step::RecordUpdate(RecordUpdate::Forgiven));
            Ok(plan)
        },
    )
}
