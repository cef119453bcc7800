//! What a launcher is given that a relay has started: its environment comes from the tick, not from there.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};

use crate::launcher::child;
use crate::launcher::context::{Launcher, NeverRan};
use crate::launcher::setup::stopped;
use crate::model::ExitReason;
use crate::run::env::Vars;
use crate::run::env_pipe::{self, Receiver};

/// The tick hands it over when the start has been asked for; no tick waits longer for an answer to that.
const PATIENCE: Duration = Duration::from_secs(10);

impl Launcher {
    /// Waits for the environment, and takes it on for all that is started from here.
    pub(crate) fn take_environment(&mut self) -> Result<(), NeverRan> {
        if self.relay.is_none() {
            return Ok(());
        }
        let received = self.receive();
        // Nobody else is ever to find it, whoever was to take it away.
        let _ = env_pipe::remove(&self.run_dir);
        self.vars = received?;
        let own = self.spec.variables();
        self.vars.extend(own.into_iter().map(|(name, value)| (name.into(), value)));
        Ok(())
    }

    fn receive(&self) -> Result<Vars, NeverRan> {
        let nobody = |why: &dyn std::fmt::Display| {
            let error = format!("nobody gave it its environment: {why}");
            NeverRan { reason: ExitReason::Infra, error }
        };
        let mut receiver = Receiver::open(&self.run_dir).map_err(|error| nobody(&error))?;
        let until = self.claimed_at + PATIENCE;
        loop {
            if let Some(vars) = receiver.recv().map_err(|error| nobody(&error))? {
                return Ok(vars);
            }
            if self.called_off() {
                return Err(stopped("before it had its environment"));
            }
            if Instant::now() >= until {
                return Err(nobody(&format_args!("no tick came within {} s", PATIENCE.as_secs())));
            }
            child::wait_also(&self.signals, &[], [PollFd::new(&receiver, PollFlags::IN)], until);
        }
    }
}
