//! `factory-tick park`: a person takes an item out of the rotation. What runs of it goes on, and is judged when it
//! ends; nothing follows.

use super::order::{self, decided, plan_of};
use super::{Context, resolve};
use crate::cli::ParkArgs;
use crate::exit::{ExitStatus, Failure};
use crate::model::Action;

const BECAUSE: &str = "a person parked it";

pub(super) fn run(context: &Context, args: &ParkArgs) -> Result<ExitStatus, Failure> {
    order::give_without_room(context, "park", |registry| {
        let items = context.items();
        let id = resolve::item(&args.target, registry, &items)?;
        let mut plan = plan_of(registry, &items, &id);
        let because = args.reason.as_deref().unwrap_or(BECAUSE);
        let park = Action::Park { item: id.clone(), class: None, by_person: true };
        plan.steps.push(decided(&id, because, park));
        Ok(plan)
    })
}
