//! `factory-tick pause`: nothing is started or resumed. All else goes on.

use crate::app::context::Context;
use crate::app::mutation::{self, Judged};
use crate::app::orders;
use crate::cli::PauseArgs;
use crate::exit::{ExitStatus, Failure};
use crate::model::Action;

const BECAUSE: &str = "a person paused it";

pub(super) fn run(context: &Context, args: &PauseArgs) -> Result<ExitStatus, Failure> {
    let because = args.reason.as_deref().unwrap_or(BECAUSE);
    let until = args.duration.map(|duration| context.now.after(duration));
    let plan = orders::of_factory(because, Action::Pause { until });
    mutation::apply(context, "pause", |_| Ok(Judged::Nothing), |_, _| Ok(plan))
}
