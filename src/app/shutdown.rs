//! Signals that ask the program to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::exit::{ExitStatus, Failure};

/// Whether somebody asked the program to end, and how. The first signal lets the effect under way finish,
/// then the program commits and exits; a second one ends it at once.
pub(crate) struct Shutdown {
    pub(crate) signal: Arc<AtomicUsize>,
}

impl Shutdown {
    pub(crate) fn listen() -> Result<Shutdown, Failure> {
        let shutdown = Shutdown { signal: Arc::default() };
        let again: Arc<AtomicBool> = Arc::default();
        for (signal, status) in [(SIGINT, ExitStatus::Interrupted), (SIGTERM, ExitStatus::Terminated)] {
            // A second one ends the program where it is: whatever that leaves behind is a state that a kill may
            // leave behind. Registered first, so that the first one finds it unarmed.
            signal_hook::flag::register_conditional_shutdown(signal, status.code().into(), again.clone())
                .and_then(|_| signal_hook::flag::register(signal, again.clone()))
                .map_err(|error| {
                    Failure::new(ExitStatus::Failed, format!("cannot watch signals: {error}"))
                })?;
            signal_hook::flag::register_usize(
                signal,
                shutdown.signal.clone(),
                signal.unsigned_abs() as usize,
            )
            .map_err(|error| Failure::new(ExitStatus::Failed, format!("cannot watch signals: {error}")))?;
        }
        Ok(shutdown)
    }

    pub(crate) fn asked(&self) -> bool {
        self.status() != ExitStatus::Ok
    }

    pub(crate) fn status(&self) -> ExitStatus {
        match self.signal.load(Ordering::Relaxed) as i32 {
            0 => ExitStatus::Ok,
            SIGINT => ExitStatus::Interrupted,
            _ => ExitStatus::Terminated,
        }
    }
}
