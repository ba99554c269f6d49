//! Flap damping: an instance whose health changes too often is held back until it has been quiet.
//!
//! The rule and the penalties are those of route flap damping (RFC 2439, as routers ship it: 1000 a
//! flap); the half-life is a minute instead of a quarter of an hour, since an instance recovers
//! faster than a network.

use std::time::{Duration, SystemTime};

use crate::domain::registry::Damping;

/// What a change of health adds.
const PENALTY: u32 = 1000;
/// Above which an instance is held back.
const HOLD_ABOVE: u32 = 3000;
/// Below which it is let go.
const RELEASE_BELOW: u32 = 1000;
/// The time in which the penalty halves.
const HALF_LIFE: Duration = Duration::from_secs(60);
/// How long an instance that does not change any more is held back at most.
const MAX_HOLD: Duration = Duration::from_secs(300);
/// What decays to the release within [`MAX_HOLD`].
const MAX_PENALTY: u32 = RELEASE_BELOW << (MAX_HOLD.as_secs() / HALF_LIFE.as_secs());

// === impl Damping ===

impl Damping {
    /// Counts a change of health at `now`.
    pub(super) fn count(before: Option<Self>, now: SystemTime) -> Self {
        let decayed = before.map_or(0, |before| before.penalty_at(now));
        let penalty = (decayed + PENALTY).min(MAX_PENALTY);
        let held = penalty > HOLD_ABOVE || before.is_some_and(|before| before.held_until.is_some());
        Self {
            penalty,
            updated: now,
            held_until: held.then(|| now + time_to(RELEASE_BELOW, penalty)),
        }
    }

    /// The penalty as of `now`. A clock that went back makes it no smaller.
    pub fn penalty_at(&self, now: SystemTime) -> u32 {
        let quiet = now.duration_since(self.updated).unwrap_or_default();
        let halvings = quiet.as_secs_f64() / HALF_LIFE.as_secs_f64();
        // Rounded down, it is never above what it was.
        (f64::from(self.penalty) / halvings.exp2()) as u32
    }
}

/// How long until `penalty` has decayed to `level`.
fn time_to(level: u32, penalty: u32) -> Duration {
    let halvings = (f64::from(penalty) / f64::from(level)).log2().max(0.0);
    HALF_LIFE.mul_f64(halvings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn changes(times: &[u64]) -> Damping {
        let counted = times
            .iter()
            .fold(None, |before, time| Some(Damping::count(before, at(*time))));
        counted.unwrap()
    }

    #[test]
    fn a_penalty_halves_every_minute() {
        let damping = changes(&[0, 0]);
        let penalties = [0, 60, 120, 600].map(|time| damping.penalty_at(at(time)));
        assert_eq!(penalties, [2000, 1000, 500, 1]);
    }

    #[test]
    fn four_changes_in_a_moment_hold_an_instance_back_and_four_in_five_minutes_do_not() {
        assert_eq!(changes(&[0, 0, 0]).held_until, None);
        assert_eq!(changes(&[0, 0, 0, 0]).held_until, Some(at(120)));
        assert_eq!(changes(&[0, 100, 200, 300]).held_until, None);
    }

    #[test]
    fn further_changes_prolong_the_hold_but_never_above_its_longest() {
        let held = changes(&[0, 0, 0, 0, 100]);
        assert!(held.penalty < HOLD_ABOVE);
        assert!(held.held_until > Some(at(120)));
        let restless = changes(&[0; 100]);
        assert_eq!(restless.held_until, Some(at(MAX_HOLD.as_secs())));
    }

    #[test]
    fn a_clock_that_goes_back_takes_nothing_away() {
        assert_eq!(changes(&[100]).penalty_at(at(0)), 1000);
    }
}
