//! The clock that a session's life is counted on: it goes on while the machine sleeps.
//!
//! A laptop that wakes up, or a virtual machine that is thawed, must see that its lease is over.
//! `std::time::Instant` stands still during suspend on Linux, so it will not do.

use std::time::Duration;

/// The longest nap of [`sleep_until`]. Timers stand still during suspend; this bounds how late a
/// sleeper notices that the machine woke up.
const NAP: Duration = Duration::from_millis(500);

/// A moment on the clock that counts suspend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BootInstant(Duration);

// === impl BootInstant ===

impl BootInstant {
    pub(crate) fn now() -> Self {
        Self(since_boot())
    }

    /// The time from now until then; zero if it is past.
    pub(crate) fn remaining(self) -> Duration {
        self.0.saturating_sub(since_boot())
    }

    pub(crate) fn is_past(self) -> bool {
        self.remaining().is_zero()
    }
}

impl std::ops::Add<Duration> for BootInstant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

/// Completes once the moment has passed, at most half a second late after a suspend.
pub(crate) async fn sleep_until(moment: BootInstant) {
    loop {
        let remaining = moment.remaining();
        if remaining.is_zero() {
            return;
        }
        tokio::time::sleep(remaining.min(NAP)).await;
    }
}

#[cfg(unix)]
fn since_boot() -> Duration {
    use rustix::time::{ClockId, clock_gettime};

    #[cfg(any(target_os = "linux", target_os = "android"))]
    const CLOCK: ClockId = ClockId::Boottime;
    // Elsewhere the monotonic clock counts suspend, or nothing does.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    const CLOCK: ClockId = ClockId::Monotonic;

    let time = clock_gettime(CLOCK);
    // Neither is ever negative on a clock that counts from the start of the machine.
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

#[cfg(not(unix))]
fn since_boot() -> Duration {
    use std::{sync::OnceLock, time::Instant};

    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_past_only_when_its_time_has_come() {
        let now = BootInstant::now();
        assert!(now.is_past());
        let later = now + Duration::from_secs(60);
        assert!(!later.is_past());
        assert!(later.remaining() > Duration::from_secs(59));
    }

    /// The kernel says in `/proc/uptime` how long the machine is up, its sleep included: neither the
    /// time of day, which may jump, nor the monotonic clock, which stands still meanwhile.
    #[cfg(target_os = "linux")]
    #[test]
    fn the_clock_counts_since_the_start_of_the_machine() {
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let uptime = uptime.split_whitespace().next().unwrap();
        let uptime = Duration::from_secs_f64(uptime.parse().unwrap());
        let now = since_boot();
        assert!(
            now + Duration::from_millis(10) >= uptime,
            "{now:?} {uptime:?}"
        );
        assert!(now < uptime + Duration::from_secs(5), "{now:?} {uptime:?}");
    }
}
