//! A moment that a stream waits for, however often it is looked at before.

use std::{
    task::{Context, Poll, Waker},
    time::Instant,
};

use futures_util::{FutureExt, future::BoxFuture};

use crate::clock::Clock;

/// A moment that is waited for.
pub(super) struct Alarm {
    at: Instant,
    timer: BoxFuture<'static, ()>,
    /// Whom the timer wakes: it is set again for somebody else only.
    sleeper: Option<Waker>,
}

// === impl Alarm ===

impl Alarm {
    pub(super) fn new(clock: &dyn Clock, at: Instant) -> Self {
        Self {
            at,
            timer: clock.sleep_until(at),
            sleeper: None,
        }
    }

    /// Completes at its time. To look at the clock costs less than to look at a timer.
    pub(super) fn poll(&mut self, context: &mut Context<'_>, now: Instant) -> Poll<()> {
        if now >= self.at {
            return Poll::Ready(());
        }
        let set = self.sleeper.as_ref();
        if set.is_some_and(|sleeper| sleeper.will_wake(context.waker())) {
            return Poll::Pending;
        }
        self.sleeper = Some(context.waker().clone());
        self.timer.poll_unpin(context)
    }
}
