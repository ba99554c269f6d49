//! Time, injected: the process reads the machine's clocks, tests move their own by hand.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use futures_util::future::BoxFuture;
use tokio::sync::watch;

/// What store, cache and domain know of time.
///
/// `now` is monotonic and serves every duration; `system_time` is what people read in records and
/// decides nothing.
pub trait Clock: Send + Sync + 'static {
    /// Returns the monotonic time.
    fn now(&self) -> Instant;

    /// Returns the time of day.
    fn system_time(&self) -> SystemTime;

    /// Completes once `now` has reached `deadline`.
    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()>;

    /// Completes once `duration` has passed.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.sleep_until(self.now() + duration)
    }
}

/// The machine's clocks.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

/// A clock that stands still until it is moved. Clones share the time.
#[derive(Debug, Clone)]
pub struct ManualClock {
    start: Instant,
    start_system: SystemTime,
    elapsed: Arc<Mutex<watch::Sender<Duration>>>,
}

// === impl SystemClock ===

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn system_time(&self) -> SystemTime {
        SystemTime::now()
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep_until(deadline.into()))
    }
}

// === impl ManualClock ===

impl Default for ManualClock {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            start_system: SystemTime::now(),
            elapsed: Arc::new(Mutex::new(watch::Sender::new(Duration::ZERO))),
        }
    }
}

impl ManualClock {
    /// Moves the time forward and wakes whoever slept until then.
    pub fn advance(&self, by: Duration) {
        self.elapsed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .send_modify(|elapsed| *elapsed += by);
    }

    fn elapsed(&self) -> watch::Receiver<Duration> {
        self.elapsed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .subscribe()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        self.start + *self.elapsed().borrow()
    }

    fn system_time(&self) -> SystemTime {
        self.start_system + *self.elapsed().borrow()
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        let mut elapsed = self.elapsed();
        let wanted = deadline.saturating_duration_since(self.start);
        Box::pin(async move {
            if elapsed
                .wait_for(|elapsed| *elapsed >= wanted)
                .await
                .is_err()
            {
                // The clock is gone, so its time will never come.
                std::future::pending::<()>().await;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_manual_clock_wakes_sleepers_only_when_it_is_moved_far_enough() {
        let clock = ManualClock::default();
        let mut sleep = tokio_test_task(clock.sleep(Duration::from_secs(5)));
        clock.advance(Duration::from_secs(4));
        tokio::task::yield_now().await;
        assert!(!sleep.is_finished());
        clock.advance(Duration::from_secs(1));
        (&mut sleep).await.unwrap();
    }

    fn tokio_test_task(future: BoxFuture<'static, ()>) -> tokio::task::JoinHandle<()> {
        tokio::spawn(future)
    }
}
