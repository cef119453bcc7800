//! `factory-tick park`: a person takes an item out of the rotation. What runs of it goes on, and is judged when it
//! ends; nothing follows.

use crate::app::context::Context;
use crate::app::mutation::{self, Judged};
use crate::app::{orders, resolve};
use crate::cli::ParkArgs;
use crate::exit::{ExitStatus, Failure};
use crate::model::Action;
use crate::registry::Registry;

const BECAUSE: &str = "a person parked it";

pub(super) fn run(context: &Context, args: &ParkArgs) -> Result<ExitStatus, Failure> {
    let items = context.items();
    let id = |registry: &Registry| resolve::item(&args.target, registry, &items);
    let plan = |before: &Registry, registry: &Registry| {
        // As it was found at first: a judged run may be known by no name any more.
        let id = id(before)?;
        if orders::is_done(registry, &items, &id) {
            return Err(orders::refuse_done(&id, "there is nothing to park"));
        }
        let mut plan = orders::of_item(registry, &items, &id);
        let because = args.reason.as_deref().unwrap_or(BECAUSE);
        let park = Action::Park { item: id.clone(), class: None, by_person: true };
        plan.steps.push(orders::decided(&id, because, park));
        Ok(plan)
    };
    mutation::apply_without_room(context, "park", |registry| Ok(Judged::Item(id(registry)?)), plan)
}
