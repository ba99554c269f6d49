//! Waiting between attempts: longer each time, never two clients at the same moment.

use std::time::Duration;

use rand::Rng;

/// The first wait, before jitter.
const FIRST: Duration = Duration::from_millis(50);

/// Doubles from 50 ms up to a maximum; each wait is spread over its upper half.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    max: Duration,
    next: Duration,
}

// === impl Backoff ===

impl Backoff {
    pub(crate) fn new(max: Duration) -> Self {
        Self {
            max,
            next: FIRST.min(max),
        }
    }

    /// How long to wait now.
    pub(crate) fn wait(&mut self) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(self.max);
        wait.mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    /// Begins anew after a success.
    pub(crate) fn reset(&mut self) {
        self.next = FIRST.min(self.max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_maximum_and_start_over_after_a_success() {
        let max = Duration::from_secs(1);
        let mut backoff = Backoff::new(max);
        assert!(backoff.wait() <= FIRST);
        for _ in 0..10 {
            assert!(backoff.wait() <= max);
        }
        assert!(backoff.wait() >= max / 2);
        backoff.reset();
        assert!(backoff.wait() <= FIRST);
    }
}
