//! `factory-tick pause` and `unpause`: whether anything is started or resumed. All else goes on.

use crate::app::context::Context;
use crate::app::mutation::{self, Judged};
use crate::cli::PauseArgs;
use crate::exit::{ExitStatus, Failure};
use crate::model::{Action, Decision, Plan, RecordUpdate, Step};

const BECAUSE: &str = "a person paused it";

pub(super) fn run(context: &Context, args: &PauseArgs) -> Result<ExitStatus, Failure> {
    let because = args.reason.as_deref().unwrap_or(BECAUSE);
    let until = args.duration.map(|duration| context.now.after(duration));
    let plan = plan(because, Action::Pause { until });
    mutation::apply(context, "pause", |_| Ok(Judged::Nothing), |_, _| Ok(plan))
}

pub(super) fn end(context: &Context) -> Result<ExitStatus, Failure> {
    mutation::apply(
        context,
        "unpause",
        |_| Ok(Judged::Nothing),
        |_, registry| {
            let is_open = registry.open_breaker(context.config.attempts.breaker).is_some();
            if registry.paused.is_none() && !is_open {
                return Ok(Plan::default());
            }
            let mut plan = plan("a person said so", Action::Unpause);
            plan.steps.push(Step::RecordUpdate(RecordUpdate::Forgiven));
            Ok(plan)
        },
    )
}

/// A plan about the whole factory.
pub(super) fn plan(because: &str, action: Action) -> Plan {
    let decision = Decision { action, item: None, because: because.to_owned(), group: 0 };
    Plan { steps: vec![Step::Decide(decision)], ..Plan::default() }
}
