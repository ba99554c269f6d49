//! A program that comes and goes, and its services with it.

use std::time::Duration;

use stanchion_client::Client;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

/// Where it registers, one after the other.
const SERVICES: [&str; 3] = ["guest-a", "guest-b", "guest-c"];
/// How long it stays, and stays away.
const PAUSE: Duration = Duration::from_millis(100);

/// Comes and goes until it is dropped.
pub struct Guest {
    _task: AbortOnDropHandle<()>,
}

// === impl Guest ===

impl Guest {
    pub fn start(client: Client) -> Self {
        let task = tokio::spawn(async move {
            for service in SERVICES.into_iter().cycle() {
                // While the store is away it cannot come; others say what that is worth.
                if let Ok(visit) = client.register(service, "10.0.0.2").start().await {
                    sleep(PAUSE).await;
                    let _ = visit.deregister().await;
                }
                sleep(PAUSE).await;
            }
        });
        Self {
            _task: AbortOnDropHandle::new(task),
        }
    }
}
