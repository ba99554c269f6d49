//! A store whose watches break and fall behind compaction on demand.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use super::fake::extent;
use crate::store::{
    Error, Extent, LeaseId, Outcome, Probe, RangeRequest, RangeResponse, Renewal, Revision, Status,
    Store, Txn, TxnResponse, Watch, WatchItem, embedded::Embedded,
};

pub(crate) struct Flaky {
    store: Arc<Embedded>,
    fault: watch::Sender<Fault>,
    /// Says how far it is by the extent of its keys alone.
    mute: bool,
}

struct Mute {
    store: Arc<Embedded>,
    prefix: Bytes,
    probe: Arc<dyn Probe>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Nothing is delivered.
    Stall,
    /// The watch says that it was interrupted, and goes on.
    Interrupt,
    /// The watch ends, and can be opened again.
    End,
    /// The watch ends because what it has not delivered is compacted.
    Forget,
}

// === impl Flaky ===

impl Flaky {
    pub(crate) fn new(store: Arc<Embedded>, mute: bool) -> Arc<Self> {
        Arc::new(Self {
            store,
            mute,
            fault: watch::Sender::new(Fault::None),
        })
    }

    pub(crate) fn fault(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }
}

#[async_trait]
impl Store for Flaky {
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Error> {
        self.store.range(request).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, Error> {
        self.store.txn(txn).await
    }

    async fn grant(&self, id: LeaseId, ttl: Duration) -> Result<Duration, Error> {
        self.store.grant(id, ttl).await
    }

    async fn keep_alive(&self, id: LeaseId) -> Result<Renewal, Error> {
        self.store.keep_alive(id).await
    }

    async fn revoke(&self, id: LeaseId) -> Result<(), Error> {
        self.store.revoke(id).await
    }

    async fn watch(&self, prefix: Bytes, from: Revision) -> Result<Watch, Error> {
        let Watch {
            mut items,
            mut probe,
        } = self.store.watch(prefix.clone(), from).await?;
        let mute = self.mute;
        if mute {
            let store = self.store.clone();
            probe = Arc::new(Mute {
                store,
                prefix,
                probe,
            });
        }
        let (sender, passed) = mpsc::channel(4);
        let mut fault = self.fault.subscribe();
        tokio::spawn(async move {
            loop {
                let now = *fault.borrow_and_update();
                let item = match now {
                    Fault::None => tokio::select! {
                        biased;
                        _ = fault.changed() => continue,
                        item = items.recv() => match item {
                            Some(Ok(WatchItem::Progress(_))) if mute => continue,
                            Some(item) => item,
                            None => return,
                        },
                        () = sender.closed() => return,
                    },
                    Fault::Interrupt => Ok(WatchItem::Interrupted),
                    Fault::Stall => Ok(WatchItem::Progress(0)),
                    Fault::End => Err(Error::Unavailable {
                        message: "scripted".into(),
                        outcome: Outcome::NotDone,
                    }),
                    Fault::Forget => Err(Error::Compacted { oldest: 0 }),
                };
                let ends = item.is_err();
                if sender.send(item).await.is_err() || ends {
                    return;
                }
                if now != Fault::None {
                    tokio::select! {
                        changed = fault.changed() => if changed.is_err() { return },
                        () = sender.closed() => return,
                    }
                }
            }
        });
        Ok(Watch {
            items: passed,
            probe,
        })
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        self.store.compact(revision).await
    }

    async fn status(&self) -> Result<Status, Error> {
        self.store.status().await
    }
}

#[async_trait]
impl Probe for Mute {
    async fn current_revision(&self) -> Result<Revision, Error> {
        self.probe.current_revision().await
    }

    async fn request_progress(&self) {}

    async fn extent(&self, applied: Revision) -> Result<Option<Extent>, Error> {
        extent(self.store.as_ref(), &self.prefix, applied).await
    }
}
