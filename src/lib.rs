//! factory-tick: one bounded, durable iteration of a coding-agent factory.
//!
//! A tick is one sentence: *observe the world, decide purely, write the intent down, perform it, write down
//! what was seen* ([`tick`]). Everything else serves that sentence.
//!
//! # The rooms, in reading order
//!
//! ARCHITECTURE.md says more of each, follows an item and a receipt through them, and says where something new goes.
//!
//! - [`model`]: every noun.
//! - [`config`]: what was typed, checked into what is meant.
//! - [`harness`]: the agent programs known by name, and what their ends mean. Pure.
//! - [`registry`]: what is remembered, and the only transitions it may make. Pure.
//! - [`decide`]: what to do, from what is remembered and what was seen. Pure.
//! - [`tick`]: the story.
//! - [`durable`]: file primitives without policy.
//! - [`state`]: what lasts between two ticks: a backend, and what belongs to this host.
//! - [`source`]: where items come from, and where word about them goes.
//! - [`fleet`]: where agents run.
//! - [`run`]: the protocol between a tick and a launcher.
//! - [`launcher`]: all that runs inside a run's own supervisor.
//! - [`workspace`]: where agents work, who owns it, and what may be removed.
//! - [`process`]: who a process is, and the only sender of signals.
//! - [`app`]: what commands share.
//! - [`commands`]: one file per command.
//! - [`views`]: what people and scripts look at; public JSON.
//! - [`exit`]: exit codes and failures.
//! - [`ui`]: layout and style of a terminal.
//! - [`text`]: words for people, cut, quoted and made harmless.
//! - [`cli`]: the only reader of arguments and environment.
//! - [`clock`]: the only reader of clocks.
//! - [`fingerprint`]: digests of items and credentials.
//!
//! # One start
//!
//! A run is `<agent>.<n>`; its number is used once, whatever happens. The tick commits the intent, then
//! starts a launcher ([`launcher`]). The launcher links its identity to `runs/<run>/claim`: the one
//! link that can be made decides whether the run exists, so a tick that links first has fenced it for ever.
//! Then it lays the traces by which its processes are found without it ([`run::tags`]), runs the hooks that come
//! first, starts the agent, and writes receipts of its end (`exit`) and, when the hook after it has ended too, of the end
//! of everything that it started (`swept`). No tick needs to be there for any of it, and none trusts anything else.
//!
//! A run that is started in a terminal which somebody else made and ends has the launcher a step further away, below a
//! process that is there to be killed with the terminal ([`launcher::relay`]). Its environment is handed over past whoever
//! starts it ([`run::env_pipe`]), and its agent has a terminal of its own, or is shown ([`launcher::terminal`]).
//!
//! # What always holds
//!
//! 1. Two runs of one agent never live at once; two items never share an agent's name.
//! 2. A run starts at most once, whatever is killed when.
//! 3. Limits hold at every instant, counting agents that nobody has seen yet.
//! 4. Nothing that performs decides; nothing that decides acts.
//! 5. Every process that was started is on record, in `agents` or `handoffs`, until zero survivors were seen.
//! 6. Protected processes are never signalled: 0, 1, the program, its ancestors, the configured.
//! 7. Attempts only grow until success, a person's retry or the item's own change; what is parked stays parked.
//! 8. A session is resumed after failures at most `resumes_max` times.
//! 9. Once faults stop, a bounded number of ticks reaches a state in which a further one decides nothing.
//! 10. Reading commands change no byte.
//! 11. No signal without the whole marker of the run, its limit, its control group or recorded descent.
//! 12. Every state that a kill can leave behind loads again.
//! 13. Nothing is started or resumed behind an open breaker or beyond the budget of a day.
//! 14. Nobody pays for a provider's trouble; nothing that needs it is started before its wait is over, and then one run
//!     or crew before all others.

pub mod model;

pub mod config;
pub mod harness;
pub mod registry;

pub mod decide;
pub mod tick;

pub mod durable;
pub mod state;

pub mod source;

pub mod fleet;
pub mod launcher;
pub mod process;
pub mod run;
pub mod workspace;

pub mod app;
pub mod commands;
pub mod exit;
pub mod ui;
pub mod views;

pub mod cli;
pub mod clock;
pub mod fingerprint;
pub mod text;
