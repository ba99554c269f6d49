//! Waiting between attempts: longer each time, never two clients at the same moment.

use std::time::Duration;

use rand::Rng;

/// The first wait of one client, before jitter.
const FIRST: Duration = Duration::from_millis(50);
/// The first wait of many, before jitter.
const FIRST_OF_MANY: Duration = Duration::from_millis(400);

/// Doubles up to a maximum; each wait is spread.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    first: Duration,
    max: Duration,
    next: Duration,
    /// The shortest share of a wait.
    least: f64,
}

// === impl Backoff ===

impl Backoff {
    /// Waits from 25 to 50 ms first, and then in the upper half of what doubles.
    pub(crate) fn new(max: Duration) -> Self {
        Self::starting_with(FIRST, max, 0.5)
    }

    /// For what a replica ends for all of its clients at the same moment: the first waits are
    /// spread from nothing to 400 ms.
    pub(crate) fn of_many(max: Duration) -> Self {
        Self::starting_with(FIRST_OF_MANY, max, 0.0)
    }

    fn starting_with(first: Duration, max: Duration, least: f64) -> Self {
        let first = first.min(max);
        Self {
            first,
            max,
            next: first,
            least,
        }
    }

    /// How long to wait now.
    pub(crate) fn wait(&mut self) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(self.max);
        wait.mul_f64(rand::rng().random_range(self.least..=1.0))
    }

    /// Begins anew after a success.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
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

    #[test]
    fn many_who_begin_to_wait_together_end_apart() {
        let waits = (0..1000).map(|_| Backoff::of_many(Duration::from_secs(5)).wait());
        let mut tenths = [0; 10];
        for wait in waits {
            let share = wait.as_secs_f64() / FIRST_OF_MANY.as_secs_f64();
            tenths[((share * 10.0) as usize).min(9)] += 1;
        }
        assert!(tenths.iter().all(|count| *count > 30), "{tenths:?}");
    }
}
