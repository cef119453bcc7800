//! What a person orders: a plan of its own, decided on the state as it is and written down as a tick's is.

use super::{Context, Shutdown, WAIT_LOCK, reap, tick};
use crate::exit::{ExitStatus, Failure};
use crate::model::{Action, Decision, ItemId, Plan, Step, WorkItem};
use crate::registry::Registry;
use crate::report::TickReport;
use crate::state::State;
use crate::tick::{Store, Ticked};

/// An order under way: it holds the lock until it ends.
pub(super) struct Order<'a> {
    context: &'a Context,
    pub(super) state: State,
    pub(super) shutdown: Shutdown,
    report: TickReport,
}

impl<'a> Order<'a> {
    /// Waits for the lock. `title` is how the report begins.
    pub(super) fn begin(context: &'a Context, title: &'static str) -> Result<Order<'a>, Failure> {
        let shutdown = Shutdown::listen()?;
        let state = context.lock(WAIT_LOCK, &shutdown)?;
        Ok(Order { context, state, shutdown, report: TickReport::new(title, &context.now, false) })
    }

    /// Waits for the lock, for an order that must be obeyed on a full disk too: it may spend the reserve.
    pub(super) fn begin_without_room(
        context: &'a Context,
        title: &'static str,
    ) -> Result<Order<'a>, Failure> {
        let mut order = Order::begin(context, title)?;
        order.state.may_spend_reserve();
        Ok(order)
    }

    /// Makes a plan durable. It has no effects of its own: what must end is ended from the hand-offs.
    pub(super) fn write_down(&mut self, plan: &Plan) -> Result<(), Failure> {
        let now = &self.context.now;
        let mut registry = self.state.registry.clone();
        registry.intend(plan, now);
        self.state.commit(&registry)?;
        self.state.log_plan(plan, now);
        self.report.add_plan(plan, &registry);
        self.state.registry = registry;
        Ok(())
    }

    /// Ends what is to be ended.
    pub(super) fn reap(&mut self) -> Result<(), Failure> {
        reap::rounds(self.context, &mut self.state, &self.shutdown, &mut self.report)
    }

    /// What a tick does, of which this order's report tells nothing.
    pub(super) fn look(&mut self) -> Result<Ticked, Failure> {
        let mut report = TickReport::new("tick", &self.context.now, false);
        tick::once(self.context, &mut self.state, &self.shutdown, &mut report, self.context.request())
    }

    /// Lets go of the lock, waits, and takes up the state again as somebody else may have left it.
    pub(super) fn let_go(self, wait: impl FnOnce(&Shutdown)) -> Result<Order<'a>, Failure> {
        let Order { context, state, shutdown, report } = self;
        drop(state);
        wait(&shutdown);
        let state = context.lock(WAIT_LOCK, &shutdown)?;
        Ok(Order { context, state, shutdown, report })
    }

    /// Something that went wrong and that a later tick or a person can get over.
    pub(super) fn note(&mut self, error: String) {
        self.report.note(error);
    }

    /// Tells what was done.
    pub(super) fn end(mut self) -> ExitStatus {
        if let Some(damage) = self.state.damage_note() {
            self.report.note(damage);
        }
        self.report.worsen(self.shutdown.status());
        self.report.finish(Some(self.state.serial()), self.context.began.elapsed());
        self.context.print(&self.report)
    }
}

/// Carries out an order that is nothing but a plan; with `--dry-run` it is only told.
pub(super) fn give(
    context: &Context,
    title: &'static str,
    plan: impl FnOnce(&Registry) -> Result<Plan, Failure>,
) -> Result<ExitStatus, Failure> {
    give_to(context, || Order::begin(context, title), plan)
}

/// The same on a full disk too: it may spend the reserve.
pub(super) fn give_without_room(
    context: &Context,
    title: &'static str,
    plan: impl FnOnce(&Registry) -> Result<Plan, Failure>,
) -> Result<ExitStatus, Failure> {
    give_to(context, || Order::begin_without_room(context, title), plan)
}

fn give_to<'a>(
    context: &Context,
    begin: impl FnOnce() -> Result<Order<'a>, Failure>,
    plan: impl FnOnce(&Registry) -> Result<Plan, Failure>,
) -> Result<ExitStatus, Failure> {
    if context.options.dry_run {
        return context.preview(|registry, _, _| Ok((plan(registry)?, ExitStatus::Ok)));
    }
    let mut order = begin()?;
    let plan = plan(&order.state.registry)?;
    order.write_down(&plan)?;
    Ok(order.end())
}

/// A step that a person decided.
pub(super) fn decided(id: &ItemId, because: &str, action: Action) -> Step {
    Step::Decide(Decision { action, item: Some(id.clone()), because: because.to_owned(), group: 0 })
}

/// A plan about one item. One that was never started gets a record, so that the person's word is kept.
pub(super) fn plan_of(registry: &Registry, items: &[WorkItem], id: &ItemId) -> Plan {
    let unknown = items.iter().find(|item| item.id == *id && !registry.items.contains_key(id));
    let steps = unknown.map(|item| Step::Refresh(registry.seen_as(item))).into_iter().collect();
    Plan { steps, ..Plan::default() }
}
