//! A clock that stands still, and costs nothing to look at.

use std::time::{Duration, Instant, SystemTime};

use futures_util::future::{self, BoxFuture};
use stanchion::clock::Clock;

/// Time that does not pass: nothing becomes due while it is counted, however slowly callgrind runs.
pub(crate) struct StillClock {
    now: Instant,
    system_time: SystemTime,
}

// === impl StillClock ===

impl StillClock {
    /// Stands at the present moment, and at a fixed time of day.
    pub(crate) fn new() -> Self {
        Self {
            now: Instant::now(),
            // 2026-01-01, so that what is written has the same length in every run.
            system_time: SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600),
        }
    }
}

impl Clock for StillClock {
    fn now(&self) -> Instant {
        self.now
    }

    fn system_time(&self) -> SystemTime {
        self.system_time
    }

    fn sleep_until(&self, _deadline: Instant) -> BoxFuture<'static, ()> {
        Box::pin(future::pending())
    }
}
