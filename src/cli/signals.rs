//! The signals a command may get, and which of them its child must get too.

use std::io::{self, IsTerminal};

use rustix::process::Signal;
use tokio::signal::unix::{self, SignalKind};

/// Signals that would end this process, caught.
pub(crate) struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    hangup: unix::Signal,
    quit: unix::Signal,
    user1: unix::Signal,
    user2: unix::Signal,
}

// === impl Signals ===

impl Signals {
    /// Begins to catch.
    pub(crate) fn catch() -> io::Result<Self> {
        Ok(Self {
            interrupt: unix::signal(SignalKind::interrupt())?,
            terminate: unix::signal(SignalKind::terminate())?,
            hangup: unix::signal(SignalKind::hangup())?,
            quit: unix::signal(SignalKind::quit())?,
            user1: unix::signal(SignalKind::user_defined1())?,
            user2: unix::signal(SignalKind::user_defined2())?,
        })
    }

    /// The next signal.
    pub(crate) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::INT,
            _ = self.terminate.recv() => Signal::TERM,
            _ = self.hangup.recv() => Signal::HUP,
            _ = self.quit.recv() => Signal::QUIT,
            _ = self.user1.recv() => Signal::USR1,
            _ = self.user2.recv() => Signal::USR2,
        }
    }

    /// The next signal that asks to end.
    pub(crate) async fn ending(&mut self) -> Signal {
        loop {
            let signal = self.next().await;
            if ends(signal) {
                return signal;
            }
        }
    }

    /// What comes of `work`, unless a signal that asks to end comes first.
    pub(crate) async fn unless_ending<T>(
        &mut self,
        work: impl Future<Output = T>,
    ) -> Result<T, Signal> {
        tokio::select! {
            done = work => Ok(done),
            signal = self.ending() => Err(signal),
        }
    }
}

/// Whether a signal asks to end.
pub(crate) fn ends(signal: Signal) -> bool {
    matches!(
        signal,
        Signal::INT | Signal::TERM | Signal::HUP | Signal::QUIT
    )
}

/// Whether the terminal sends its signals (Ctrl-C, Ctrl-\) to the child as well as to us.
pub(crate) fn at_terminal() -> bool {
    io::stdin().is_terminal()
}
