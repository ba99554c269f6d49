//! Times at which something is due, kept more exactly than timers do.

use std::time::{Duration, Instant};

use tokio::time::sleep_until;

/// The steps of tokio's timers.
const STEP: Duration = Duration::from_millis(1);

/// Waits until then. Sleeps up to the last millisecond and looks at the clock for the rest, because
/// what is late here would count as the server's latency.
pub(crate) async fn wait_until(due: Instant) {
    if let Some(early) = due.checked_sub(STEP) {
        sleep_until(early.into()).await;
    }
    while Instant::now() < due {
        tokio::task::yield_now().await;
    }
}
