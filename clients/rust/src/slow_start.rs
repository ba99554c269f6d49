//! How the weight of an instance grows after it was registered or recovered.

use std::time::{Duration, SystemTime};

use crate::{duration::from_wire, proto::Instance};

/// The weight of an instance that gives none.
const DEFAULT_WEIGHT: i32 = 100;

// === impl Instance ===

impl Instance {
    /// Share of the load it should get at `now`, relative to that of other instances: its weight,
    /// or what of it counts by its slow start. The clock of this machine should agree with that of
    /// the servers to within a small part of the window.
    pub fn weight_at(&self, now: SystemTime) -> i32 {
        let weight = self.weight.unwrap_or(DEFAULT_WEIGHT);
        let slow = self.slow_start.as_ref();
        let start = slow.and_then(|slow| SystemTime::try_from(slow.start_time?).ok());
        let window = slow.and_then(|slow| slow.window).map(from_wire);
        let (Some(start), Some(window)) = (start, window) else {
            return weight;
        };
        let passed = match now.duration_since(start) {
            Ok(passed) => passed,
            // Clocks differ by more than there is to wait for.
            Err(ahead) if ahead.duration() > window => return weight,
            Err(_) => Duration::ZERO,
        };
        if passed >= window {
            return weight;
        }
        // A tenth at once, and the rest evenly.
        let (passed, window) = (passed.as_nanos(), window.as_nanos());
        let all = u128::from(weight.unsigned_abs());
        let counts = all * (window + 9 * passed) / (10 * window);
        i32::try_from(counts).unwrap_or(weight).max(weight.min(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::SlowStart;

    const START: Duration = Duration::from_secs(1_000_000);

    fn weight_after(seconds: f64, weight: i32) -> i32 {
        let instance = Instance {
            weight: Some(weight),
            slow_start: Some(SlowStart {
                start_time: Some((SystemTime::UNIX_EPOCH + START).into()),
                window: Some(prost_types::Duration {
                    seconds: 60,
                    nanos: 0,
                }),
            }),
            ..Instance::default()
        };
        let now = START.as_secs_f64() + seconds;
        instance.weight_at(SystemTime::UNIX_EPOCH + Duration::from_secs_f64(now))
    }

    #[test]
    fn a_weight_grows_from_a_tenth_to_all_of_it() {
        let grown: Vec<_> = [0.0, 15.0, 30.0, 59.9, 60.0, 1e9]
            .map(|seconds| weight_after(seconds, 200))
            .into();
        assert_eq!(grown, [20, 65, 110, 199, 200, 200]);
    }

    #[test]
    fn a_small_weight_counts_from_the_first_moment_and_none_never() {
        assert_eq!(weight_after(0.0, 1), 1);
        assert_eq!(weight_after(0.0, 9), 1);
        assert_eq!(weight_after(30.0, 0), 0);
    }

    #[test]
    fn a_start_in_the_future_is_waited_for_no_longer_than_the_window() {
        assert_eq!(weight_after(-60.0, 200), 20);
        assert_eq!(weight_after(-60.1, 200), 200);
    }

    #[test]
    fn without_a_slow_start_all_of_the_weight_counts() {
        assert_eq!(Instance::default().weight_at(SystemTime::UNIX_EPOCH), 100);
    }
}
