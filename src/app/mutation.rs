//! What a person orders: a plan of its own, decided on the state as it is and written down as a tick's is.
//!
//! Every order about items judges first: a run that ended since the last tick is taken for what it came to, and not for
//! one in flight.

use crate::app::context::{Context, WAIT_LOCK};
use crate::app::iteration;
use crate::app::shutdown::Shutdown;
use crate::decide::Request;
use crate::exit::{ExitStatus, Failure};
use crate::model::{Action, Decision, ItemId, Plan};
use crate::registry::Registry;
use crate::state::State;
use crate::tick::Ticked;
use crate::views::report::TickReport;

/// A run whose launcher was killed is ended in the first round, and judged in the second.
const JUDGE_ROUNDS_MAX: u32 = 2;

/// The items whose ended runs an order judges first.
pub(crate) enum Judged {
    /// No item: the order is about the factory.
    Nothing,
    /// One item.
    Item(ItemId),
    /// Every item.
    All,
}

impl Judged {
    fn request(&self, context: &Context) -> Option<Request> {
        let item = match self {
            Judged::Nothing => return None,
            Judged::Item(id) => Some(id.clone()),
            Judged::All => None,
        };
        Some(Request { item, judge_only: true, ..context.request() })
    }
}

/// An order under way: it holds the lock until it ends.
pub(crate) struct Mutation<'a> {
    context: &'a Context,
    pub(crate) state: State,
    pub(crate) shutdown: Shutdown,
    report: TickReport,
}

impl<'a> Mutation<'a> {
    /// Waits for the lock. `title` is how the report begins.
    pub(crate) fn begin(context: &'a Context, title: &'static str) -> Result<Mutation<'a>, Failure> {
        let shutdown = Shutdown::listen()?;
        let state = context.lock(WAIT_LOCK, &shutdown)?;
        Ok(Mutation { context, state, shutdown, report: TickReport::new(title, &context.now, false) })
    }

    /// Waits for the lock, for an order that must be obeyed on a full disk too: it may spend the reserve.
    pub(crate) fn begin_without_room(
        context: &'a Context,
        title: &'static str,
    ) -> Result<Mutation<'a>, Failure> {
        let mut mutation = Mutation::begin(context, title)?;
        mutation.state.may_spend_reserve();
        Ok(mutation)
    }

    /// Judges the runs that have ended, and returns the registry as it was before. Starts nothing.
    pub(crate) fn judge(&mut self, judged: &Judged) -> Result<Registry, Failure> {
        let before = self.state.registry.clone();
        let Some(request) = judged.request(self.context) else { return Ok(before) };
        for _ in 0..JUDGE_ROUNDS_MAX {
            let mut seen = TickReport::new("tick", &self.context.now, false);
            // An item that a rule parks here is news to a person who ordered something about all items. The person who
            // named the item decides about it now.
            let report = if request.item.is_some() { &mut seen } else { &mut self.report };
            let ticked =
                iteration::run(self.context, &mut self.state, &self.shutdown, report, request.clone())?;
            if request.item.is_some() {
                let told = Plan { errors: Vec::new(), ..ticked.plan.clone() };
                self.report.add_plan(&told, &self.state.registry);
            }
            let is_reaped = |(_, decision): (_, &Decision)| matches!(decision.action, Action::Reap(_));
            if !ticked.plan.decisions().any(is_reaped) || self.shutdown.asked() {
                break;
            }
        }
        Ok(before)
    }

    /// Makes a plan durable. It has no effects of its own: what must end is ended from the hand-offs.
    pub(crate) fn commit(&mut self, plan: &Plan) -> Result<(), Failure> {
        let now = &self.context.now;
        let mut registry = self.state.registry.clone();
        registry.intend(plan, now);
        self.state.commit(&mut registry)?;
        self.state.log_plan(plan, now);
        self.report.add_plan(plan, &registry);
        self.state.registry = registry;
        Ok(())
    }

    /// Ends what is to be ended.
    pub(crate) fn reap(&mut self) -> Result<(), Failure> {
        iteration::reap(self.context, &mut self.state, &self.shutdown, &mut self.report)
    }

    /// Carries out an order to end runs, and ends them. The plan is made a second time after the first reap: an unrecorded
    /// run comes on record only then.
    pub(crate) fn end_runs(&mut self, plan: impl Fn(&Registry) -> Plan) -> Result<(), Failure> {
        self.commit(&plan(&self.state.registry))?;
        self.reap()?;
        let found = plan(&self.state.registry);
        if found.decisions().any(|(_, decision)| matches!(decision.action, Action::Stop { .. })) {
            self.commit(&found)?;
            self.reap()?;
        }
        Ok(())
    }

    /// What a tick does, of which this order's report tells nothing.
    pub(crate) fn look(&mut self) -> Result<Ticked, Failure> {
        let mut report = TickReport::new("tick", &self.context.now, false);
        iteration::run(self.context, &mut self.state, &self.shutdown, &mut report, self.context.request())
    }

    /// Lets go of the lock, waits, and takes up the state again as somebody else may have left it.
    pub(crate) fn unlock(self, wait: impl FnOnce(&Shutdown)) -> Result<Mutation<'a>, Failure> {
        let Mutation { context, state, shutdown, report } = self;
        drop(state);
        wait(&shutdown);
        let state = context.lock(WAIT_LOCK, &shutdown)?;
        Ok(Mutation { context, state, shutdown, report })
    }

    /// Something that went wrong and that a later tick or a person can get over.
    pub(crate) fn note(&mut self, error: String) {
        self.report.note(error);
    }

    /// Tells what was done.
    pub(crate) fn end(mut self) -> ExitStatus {
        if let Some(damage) = self.state.damage_note() {
            self.report.note(damage);
        }
        self.report.worsen(self.shutdown.status());
        self.report.finish(Some(self.state.serial()), self.context.began.elapsed());
        self.context.print(&self.report)
    }
}

/// Carries out an order that is nothing but a plan; with `--dry-run` it is only told. `plan` is given the registry before
/// and after the judgement of ended runs.
pub(crate) fn apply(
    context: &Context,
    title: &'static str,
    judged: impl FnOnce(&Registry) -> Result<Judged, Failure>,
    plan: impl FnOnce(&Registry, &Registry) -> Result<Plan, Failure>,
) -> Result<ExitStatus, Failure> {
    apply_to(context, || Mutation::begin(context, title), judged, plan)
}

/// The same on a full disk too: it may spend the reserve.
pub(crate) fn apply_without_room(
    context: &Context,
    title: &'static str,
    judged: impl FnOnce(&Registry) -> Result<Judged, Failure>,
    plan: impl FnOnce(&Registry, &Registry) -> Result<Plan, Failure>,
) -> Result<ExitStatus, Failure> {
    apply_to(context, || Mutation::begin_without_room(context, title), judged, plan)
}

fn apply_to<'a>(
    context: &Context,
    begin: impl FnOnce() -> Result<Mutation<'a>, Failure>,
    judged: impl FnOnce(&Registry) -> Result<Judged, Failure>,
    plan: impl FnOnce(&Registry, &Registry) -> Result<Plan, Failure>,
) -> Result<ExitStatus, Failure> {
    if context.options.dry_run {
        return preview(context, judged, plan);
    }
    let mut mutation = begin()?;
    let judged = judged(&mutation.state.registry)?;
    let before = mutation.judge(&judged)?;
    let plan = plan(&before, &mutation.state.registry)?;
    mutation.commit(&plan)?;
    Ok(mutation.end())
}

/// Tells what an order would do, its judgement of ended runs included.
pub(crate) fn preview(
    context: &Context,
    judged: impl FnOnce(&Registry) -> Result<Judged, Failure>,
    plan: impl FnOnce(&Registry, &Registry) -> Result<Plan, Failure>,
) -> Result<ExitStatus, Failure> {
    iteration::preview(context, |snapshot| {
        let registry = &snapshot.registry;
        let judgement = match judged(registry)?.request(context) {
            Some(request) => iteration::plan(context, snapshot, request).0,
            None => Plan::default(),
        };
        let mut after = registry.clone();
        after.intend(&judgement, &context.now);
        let mut plan = plan(registry, &after)?;
        plan.steps.splice(0..0, judgement.steps);
        Ok((plan, ExitStatus::Ok))
    })
}
