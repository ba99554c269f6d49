//! What locks and elections share: a place in a queue on the server, and what it holds.

mod held;
mod place;
mod told;

use std::time::Duration;

use tokio::time::Instant;

pub(crate) use self::{
    held::Held,
    place::Place,
    told::{Tell, Told, acquire, campaign},
};
pub use self::{held::LockLoss, told::QueuePlace};
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

/// How long a call goes on that may wait at the server for `timeout`, or for ever, from now; and
/// until when the server is to wait.
pub(crate) fn patience(caller: &Caller, timeout: Option<Duration>) -> (Patience, Option<Instant>) {
    // Longer than the clock can count is for ever.
    let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let patience = Patience {
        // The server ends the wait; the rest is for the way there and back.
        deadline: until.and_then(|until| until.checked_add(caller.options.call_timeout)),
        waits_until: until,
        attempts: match timeout {
            Some(timeout) if timeout.is_zero() => caller.options.attempts,
            _ => u32::MAX,
        },
    };
    (patience, until)
}
