//! Times at which something is due, kept more exactly than timers do.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use tokio::time::sleep_until;

/// The steps of tokio's timers.
const STEP: Duration = Duration::from_millis(1);

/// A look at the clock that takes longer let other tasks run.
const IDLE: Duration = Duration::from_micros(20);

/// Nanoseconds spent looking at the clock.
static WAITED: AtomicU64 = AtomicU64::new(0);

/// Waits until then. Sleeps up to the last millisecond and looks at the clock for the rest, because
/// what is late here would count as the server's latency.
pub(crate) async fn wait_until(due: Instant) {
    if let Some(early) = due.checked_sub(STEP) {
        sleep_until(early.into()).await;
    }
    let mut now = Instant::now();
    while now < due {
        tokio::task::yield_now().await;
        let later = Instant::now();
        let step = later - now;
        if step < IDLE {
            WAITED.fetch_add(step.as_nanos() as u64, Relaxed);
        }
        now = later;
    }
}

/// How much CPU this program used only to look at the clock: nothing that a load costs.
pub(crate) fn waited() -> Duration {
    Duration::from_nanos(WAITED.load(Relaxed))
}
