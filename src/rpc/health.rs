//! `grpc.health.v1`: what serves, for load balancers.
//!
//! `""`, each service's name and `<service>/read` are SERVING while the cache serves;
//! `<service>/write` follows the store. All are NOT_SERVING while draining. That the store is away
//! never makes a replica look dead: cached reads go on.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tonic_health::{ServingStatus, server::HealthReporter};

use super::{Context, SERVICES};

/// How often the store is looked at.
const INTERVAL: Duration = Duration::from_millis(500);
/// How old the cache may be while the store counts as there. The cache asks a quiet store where it
/// is every second.
const STALE: Duration = Duration::from_secs(5);

/// Reports until told to stop, then reports that nothing serves.
pub async fn report(context: Context, reporter: HealthReporter, drain: CancellationToken) {
    let mut last = None;
    loop {
        let view = context.core.cache.view();
        let reads = view.is_ok();
        let writes = view.is_ok_and(|view| view.age < STALE);
        if last != Some((reads, writes)) {
            set(&reporter, reads, writes).await;
            last = Some((reads, writes));
        }
        if drain
            .run_until_cancelled(context.core.clock.sleep(INTERVAL))
            .await
            .is_none()
        {
            set(&reporter, false, false).await;
            return;
        }
    }
}

async fn set(reporter: &HealthReporter, reads: bool, writes: bool) {
    let status = |serving| match serving {
        true => ServingStatus::Serving,
        false => ServingStatus::NotServing,
    };
    reporter.set_service_status("", status(reads)).await;
    for service in SERVICES {
        reporter.set_service_status(service, status(reads)).await;
        let read = format!("{service}/read");
        reporter.set_service_status(read, status(reads)).await;
        let write = format!("{service}/write");
        reporter.set_service_status(write, status(writes)).await;
    }
}
