//! So many a second, and a count of the rest.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Admits so many a second and counts what it does not.
pub(super) struct Throttle {
    limit: u32,
    window: Mutex<Window>,
}

struct Window {
    begun: Instant,
    admitted: u32,
    suppressed: u64,
}

// === impl Throttle ===

impl Throttle {
    pub(super) fn new(limit: u32) -> Self {
        Self {
            limit,
            window: Mutex::new(Window {
                begun: Instant::now(),
                admitted: 0,
                suppressed: 0,
            }),
        }
    }

    /// Admits one, and says how many were suppressed since the one before it; or suppresses it.
    pub(super) fn admit(&self) -> Option<u64> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if now.duration_since(window.begun) >= Duration::from_secs(1) {
            window.begun = now;
            window.admitted = 0;
        }
        if window.admitted == self.limit {
            window.suppressed += 1;
            return None;
        }
        window.admitted += 1;
        Some(std::mem::take(&mut window.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_counted_and_told_later() {
        let throttle = Throttle::new(2);
        assert_eq!(throttle.admit(), Some(0));
        assert_eq!(throttle.admit(), Some(0));
        assert_eq!(throttle.admit(), None);
        assert_eq!(throttle.admit(), None);
        throttle.window.lock().unwrap().begun -= Duration::from_secs(2);
        assert_eq!(throttle.admit(), Some(2));
        assert_eq!(throttle.admit(), Some(0));
    }
}
