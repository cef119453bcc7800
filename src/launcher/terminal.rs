//! The terminal that a run was given, and what its launcher makes of it for the agent: a terminal of the agent's own, or
//! a picture of what it prints.
//!
//! Whoever watches comes second. What the given terminal does not take is kept for a moment and then dropped, and
//! what is typed is read no faster than the agent reads: neither agent nor launcher ever waits for it.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags};
use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{OptionalActions, Winsize, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

use crate::run::spec::Terminal;

/// What is kept for a watcher that does not read at the moment, in bytes: several screens.
const UNSHOWN_BYTES_MAX: usize = 256 << 10;

/// What is taken from the given terminal at once, in bytes; the next is taken when the agent has it.
const TYPED_BYTES_MAX: usize = 4 << 10;

/// Makes the given terminal, stdin of this process, ready: it shows what it is sent and adds nothing by itself, neither
/// what is typed nor signals. What is no terminal stays what it is.
pub(crate) fn make_ready(terminal: Terminal) {
    let stdin = io::stdin();
    let Ok(mut modes) = tcgetattr(&stdin) else { return };
    let output_modes = modes.output_modes;
    modes.make_raw();
    if terminal == Terminal::Copy {
        // The lines of a pipe have no carriage returns.
        modes.output_modes = output_modes;
    }
    // One that is gone by now says so soon.
    let _ = tcsetattr(&stdin, OptionalActions::Now, &modes);
}

/// A launcher's hold on both terminals.
#[derive(Debug)]
pub(crate) struct Relay {
    /// Stdin of this process; `None` once it was hung up.
    given: Option<File>,
    unshown: VecDeque<u8>,
    own: Option<Own>,
}

/// The agent's own terminal.
#[derive(Debug)]
struct Own {
    master: File,
    /// Held as long as the agent lives: one that closes its terminal may open it again.
    slave: OwnedFd,
    untyped: VecDeque<u8>,
    size: Option<Winsize>,
}

impl Relay {
    /// Takes the given terminal, stdin of this process, and makes the agent's own if it is to have one.
    ///
    /// # Errors
    ///
    /// That the machine has no terminal or no descriptor left.
    pub(crate) fn new(terminal: Terminal) -> io::Result<Relay> {
        let given = rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3)?;
        // Shared with the one who started this process and does not read there.
        rustix::fs::fcntl_setfl(&given, OFlags::NONBLOCK)?;
        let own = match terminal {
            Terminal::Own => Some(Own::new()?),
            Terminal::Copy => None,
        };
        let mut relay = Relay { given: Some(given.into()), unshown: VecDeque::new(), own };
        relay.match_size();
        Ok(relay)
    }

    /// What the agent's own terminal shows, to be read.
    pub(crate) fn screen(&self) -> io::Result<Option<OwnedFd>> {
        self.own.as_ref().map(|own| Ok(own.master.try_clone()?.into())).transpose()
    }

    /// The agent's own terminal, as its stdin, stdout or stderr.
    pub(crate) fn slave(&self) -> io::Result<Option<OwnedFd>> {
        self.own.as_ref().map(|own| own.slave.try_clone()).transpose()
    }

    /// Shows this to whoever watches.
    pub(crate) fn show(&mut self, bytes: &[u8]) {
        if self.given.is_some() {
            let room = UNSHOWN_BYTES_MAX.saturating_sub(self.unshown.len());
            self.unshown.extend(&bytes[..room.min(bytes.len())]);
            self.flush();
        }
    }

    /// Takes what was typed to the agent, and the size of the given terminal; shows what is still to be shown.
    pub(crate) fn turn(&mut self) {
        self.match_size();
        self.flush();
        self.type_on();
    }

    /// What to wait for before the next turn.
    pub(crate) fn awaits(&self) -> impl Iterator<Item = PollFd<'_>> {
        let is_typed = self.own.as_ref().is_some_and(|own| !own.untyped.is_empty());
        let reads = if is_typed { PollFlags::empty() } else { PollFlags::IN };
        let shows = if self.unshown.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
        // With nothing to do there it would only say again and again that it was hung up.
        let given = self.given.as_ref().filter(|_| !(reads | shows).is_empty());
        let given = given.map(|file| PollFd::new(file, reads | shows));
        let master = self.own.as_ref().filter(|_| is_typed).map(|own| &own.master);
        given.into_iter().chain(master.map(|file| PollFd::new(file, PollFlags::OUT)))
    }

    /// The signal that a terminal has another size can be lost; the size can't.
    fn match_size(&mut self) {
        if let (Some(given), Some(own)) = (&self.given, &mut self.own)
            && let Ok(size) = tcgetwinsize(given)
            && !own.size.is_some_and(|own| is_same(&own, &size))
            && tcsetwinsize(&own.master, size).is_ok()
        {
            own.size = Some(size);
        }
    }

    fn flush(&mut self) {
        if let Some(given) = &mut self.given
            && !write_some(given, &mut self.unshown)
        {
            self.hang_up();
        }
    }

    fn type_on(&mut self) {
        let mut buffer = [0; TYPED_BYTES_MAX];
        // Bounded: somebody who never stops typing must not keep the launcher from the rest.
        for _ in 0..16 {
            if let Some(own) = &mut self.own {
                // One that was closed for good reads nothing; the agent's end is told elsewhere.
                let _ = write_some(&mut own.master, &mut own.untyped);
                if !own.untyped.is_empty() {
                    return;
                }
            }
            let Some(given) = &mut self.given else { return };
            match given.read(&mut buffer) {
                Ok(0) => return self.hang_up(),
                Ok(count) => {
                    if let Some(own) = &mut self.own {
                        own.untyped.extend(&buffer[..count]);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => return self.hang_up(),
            }
        }
    }

    /// Nobody watches any more. That the run is to end is not said by this but by a signal.
    fn hang_up(&mut self) {
        self.given = None;
        self.unshown.clear();
    }
}

impl Own {
    fn new() -> io::Result<Own> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        // By the master and not by its path: what is mounted at /dev/pts need not be the same.
        let slave = ioctl_tiocgptpeer(&master, flags)?;
        rustix::fs::fcntl_setfl(&master, OFlags::NONBLOCK)?;
        Ok(Own { master: master.into(), slave, untyped: VecDeque::new(), size: None })
    }
}

fn is_same(one: &Winsize, other: &Winsize) -> bool {
    let all = |size: &Winsize| (size.ws_row, size.ws_col, size.ws_xpixel, size.ws_ypixel);
    all(one) == all(other)
}

/// Writes as much as is taken at the moment. False: nothing ever will be.
fn write_some(file: &mut File, bytes: &mut VecDeque<u8>) -> bool {
    while !bytes.is_empty() {
        match file.write(bytes.as_slices().0) {
            Ok(count) => drop(bytes.drain(..count)),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
    true
}
