//! Whether etcd itself can commit: writes that go straight to the members, past every bad link.

use std::time::{Duration, Instant};

use tokio::{sync::watch, time::timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::witness::Reach;

/// How often it is tried.
const INTERVAL: Duration = Duration::from_millis(20);
/// How long a member may take, before the next one is asked.
const PATIENCE: Duration = Duration::from_millis(400);

/// Tries all the time.
pub struct Canary {
    outages: watch::Receiver<Vec<Outage>>,
    _task: AbortOnDropHandle<()>,
}

/// A time without a commit.
#[derive(Debug, Clone, Copy)]
pub struct Outage {
    /// When the last write before it was answered.
    pub from: Instant,
    /// When the first one after it was; none while it lasts.
    pub to: Option<Instant>,
}

// === impl Canary ===

impl Canary {
    pub fn start(reach: Reach) -> Self {
        let (told, outages) = watch::channel(Vec::new());
        let task = tokio::spawn(async move {
            let mut asked = 0;
            let mut last = Instant::now();
            loop {
                if put(&reach, asked % reach.members.len()).await {
                    told.send_modify(|outages: &mut Vec<Outage>| match outages.last_mut() {
                        Some(outage) if outage.to.is_none() => outage.to = Some(Instant::now()),
                        _ => {}
                    });
                    last = Instant::now();
                    tokio::time::sleep(INTERVAL).await;
                    continue;
                }
                told.send_modify(|outages| {
                    if outages.last().is_none_or(|outage| outage.to.is_some()) {
                        outages.push(Outage {
                            from: last,
                            to: None,
                        });
                    }
                });
                asked += 1;
                tokio::time::sleep(INTERVAL).await;
            }
        });
        Self {
            outages,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// The times without a commit so far.
    pub fn outages(&self) -> Vec<Outage> {
        self.outages.borrow().clone()
    }
}

async fn put(reach: &Reach, member: usize) -> bool {
    let put = timeout(PATIENCE, async {
        let mut client = reach.client(member).await?;
        client.put("canary", "", None).await
    });
    matches!(put.await, Ok(Ok(_)))
}
