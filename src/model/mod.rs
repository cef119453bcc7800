//! Every noun of the program: what an item, a run, a sighting, an action and an outcome are.
//!
//! Nothing here acts. The only imports are serde and the timestamp of jiff, so every room may use it.

mod clock_reading;
mod clock_tracker;
mod item;
mod names;
mod outcome;
mod plan;
mod receipt;
mod standstill;
mod verdict;
mod world;

pub use clock_reading::Moment;
pub use clock_tracker::Steady;
pub use item::{Gone, ItemState, Observed, SourceView, Unclear, WorkItem};
pub use names::{AgentName, COUNT_MAX, ItemId, RunId};
pub use outcome::{Happened, Outcome, Reaped, Signalled, Skipped};
pub use plan::{
    Action, Cooling, Decision, DoneWhen, FollowUpReason, Launch, Left, Next, Plan, Reap, Refresh, Status,
    Step, Usage, Writeback,
};
pub use receipt::{
    Claim, Claimed, Exit, ExitReason, Free, Output, Process, Refusal, Room, Said, Survivor, Swept,
};
pub use standstill::{Standstill, Stopped, Stuck};
pub use verdict::{Class, GateVerdict, Gates, Held, HeldCode};
pub use world::{Ended, FleetView, Quarry, RunTrace, Sighting, Stray, StraySpec, World};
