//! Every noun of the program: what an item, a run, a sighting, an action and an outcome are.
//!
//! Nothing here acts. The only imports are serde and the timestamp of jiff, so every room may use it.

mod clock_reading;
mod clock_tracker;
mod deadline;
mod follow_up;
mod item;
mod names;
mod observed;
mod outcome;
mod plan;
mod receipt;
mod run_spec;
mod standstill;
mod verdict;
mod world;

pub use clock_reading::ClockReading;
pub use clock_tracker::ClockTracker;
pub use deadline::Deadline;
pub use follow_up::{FollowUp, FollowUpReason};
pub use item::{Gone, ItemState, SourceView, UnreadableItem, WorkItem};
pub use names::{AgentName, COUNT_MAX, ItemId, RunId};
pub use observed::{Observed, Unavailable, UnavailableKind};
pub use outcome::{
    FenceOutcome, NotifyOutcome, Outcome, ReapOutcome, Reaped, Signalled, Skipped, StartOutcome, StepOutcome,
};
pub use plan::{
    Action, Cooling, Decision, Launch, Plan, Reap, RecordUpdate, RunFacts, Status, Step, Usage, Writeback,
};
pub use receipt::{
    Claim, Claimed, CleanupReceipt, Exit, ExitReason, Free, LocalLauncher, Output, Process, Refusal,
    Reported, Room, RunHandle, Survivor,
};
pub use run_spec::{DoneWhen, ItemSnapshot, RunPreview, RunSpec};
pub use standstill::{Standstill, Stopped, Stuck};
pub use verdict::{FailureClass, GateVerdict, Gates, Held, HoldReason};
pub use world::{
    Ended, FleetView, LocalFacts, RunObservation, RunQuery, RunTrace, UnrecordedRun, UnrecordedSpec, World,
};
