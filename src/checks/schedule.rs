//! When each check is due.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use crate::domain::registry::HealthCheck;

/// Within what time a check is first made of which nothing is known.
const SOON: Duration = Duration::from_secs(1);
/// By how much an interval varies, so that checks that began together do not stay together.
const JITTER: f64 = 0.1;

/// Names a check among those that this replica makes; never used twice.
pub(super) type CheckId = u64;

/// A queue of times.
#[derive(Debug, Default)]
pub(super) struct Schedule(BTreeSet<(Instant, CheckId)>);

// === impl Schedule ===

impl Schedule {
    pub(super) fn add(&mut self, due: Instant, id: CheckId) {
        self.0.insert((due, id));
    }

    pub(super) fn remove(&mut self, due: Instant, id: CheckId) {
        self.0.remove(&(due, id));
    }

    /// When the first one is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.first().map(|(due, _)| *due)
    }

    /// Takes out the first one that is due at `now`.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(Instant, CheckId)> {
        if self.next()? > now {
            return None;
        }
        self.0.pop_first()
    }
}

/// How long until a check is made that this replica has not made before: soon if nothing is known,
/// else at any point of an interval, which spreads those that are taken over together.
pub(super) fn first(check: &HealthCheck, known: bool, age: Duration) -> Duration {
    let spread = match known {
        true => check.interval,
        false => check.interval.min(SOON),
    };
    check.initial_delay.saturating_sub(age) + spread.mul_f64(rand::random_range(0.0..1.0))
}

/// How long from the beginning of a check until the next one begins. Those that were made for the
/// first time, soon and thus together, spread over an interval before the second time.
pub(super) fn again(check: &HealthCheck, is_first: bool) -> Duration {
    let least = if is_first { JITTER } else { 1.0 - JITTER };
    let part = rand::random_range(least..1.0 + JITTER);
    check.interval.mul_f64(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_comes_in_the_order_of_its_times() {
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        let mut schedule = Schedule::default();
        for (due, id) in [(3, 1), (1, 2), (2, 3), (1, 4)] {
            schedule.add(at(due), id);
        }
        schedule.remove(at(1), 4);
        assert_eq!(schedule.next(), Some(at(1)));
        assert_eq!(schedule.pop(at(0)), None);
        assert_eq!(schedule.pop(at(2)), Some((at(1), 2)));
        assert_eq!(schedule.pop(at(2)), Some((at(2), 3)));
        assert_eq!(schedule.pop(at(2)), None);
        assert_eq!(schedule.next(), Some(at(3)));
    }
}
