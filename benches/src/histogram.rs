//! Latencies, counted in buckets 3 % wide.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Buckets for each doubling.
const STEPS: u64 = 32;

/// Counts durations from 1 µs (what is shorter counts as that) to hours.
pub(crate) struct Histogram {
    buckets: Vec<AtomicU64>,
}

// === impl Histogram ===

impl Histogram {
    pub(crate) fn new() -> Self {
        Self {
            buckets: (0..40 * STEPS).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    pub(crate) fn record(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros())
            .unwrap_or(u64::MAX)
            .max(1);
        let doublings = u64::from(micros.ilog2());
        // Below 32 µs a step is less than a microsecond, and some buckets stay empty.
        let within = ((u128::from(micros) * u128::from(STEPS)) >> doublings) as u64 - STEPS;
        if let Some(bucket) = self.buckets.get((doublings * STEPS + within) as usize) {
            bucket.fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn clear(&self) {
        for bucket in &self.buckets {
            bucket.store(0, Relaxed);
        }
    }

    /// The duration in milliseconds which `share` (0 to 1) of all do not exceed; 0 if there is none.
    pub(crate) fn quantile_ms(&self, share: f64) -> f64 {
        let total: u64 = self.buckets.iter().map(|bucket| bucket.load(Relaxed)).sum();
        let rank = (total as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (index, bucket) in self.buckets.iter().enumerate() {
            seen += bucket.load(Relaxed);
            if seen >= rank && seen > 0 {
                let (doublings, within) = (index as u64 / STEPS, index as u64 % STEPS);
                let upper =
                    (1.0 + (within + 1) as f64 / STEPS as f64) * 2f64.powi(doublings as i32);
                return upper / 1000.0;
            }
        }
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_within_a_bucket() {
        let histogram = Histogram::new();
        for millis in 1..=1000 {
            histogram.record(Duration::from_millis(millis));
        }
        assert!((500.0..=520.0).contains(&histogram.quantile_ms(0.5)));
        assert!((990.0..=1030.0).contains(&histogram.quantile_ms(0.99)));
        histogram.clear();
        assert_eq!(histogram.quantile_ms(0.5), 0.0);
    }
}
