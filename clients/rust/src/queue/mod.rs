//! What locks and elections share: a place in a queue on the server, and what is held once it is
//! the first one.

mod held;
mod place;

use std::time::Duration;

use tokio::time::Instant;

pub use self::held::LockLoss;
pub(crate) use self::{held::Held, place::Place};
use crate::call::{Caller, Patience};

/// What one queues for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Queue {
    Lock(String),
    Election(String),
}

// === impl Queue ===

impl Queue {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Lock(name) | Self::Election(name) => name,
        }
    }
}

/// How long a call goes on that waits in a queue for `timeout`, or for ever, from now; and until
/// when the server is to wait.
pub(crate) fn patience(caller: &Caller, timeout: Option<Duration>) -> (Patience, Option<Instant>) {
    let until = timeout.map(|timeout| Instant::now() + timeout);
    let patience = Patience {
        // The server ends the wait; the rest is for the way there and back.
        deadline: until.map(|until| until + caller.options.call_timeout),
        waits_until: until,
        attempts: match timeout {
            Some(timeout) if timeout.is_zero() => caller.options.attempts,
            _ => u32::MAX,
        },
    };
    (patience, until)
}
