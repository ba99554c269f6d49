//! A store whose watch can be told what happened.
//!
//! Registrations go the usual way into an embedded store. What happens while it is counted is put
//! into the watch by hand: so neither the store's work nor its thread is part of the count.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use stanchion::store::{
    Error, LeaseId, RangeRequest, RangeResponse, Renewal, Revision, Status, Store, Txn,
    TxnResponse, Watch, WatchItem, embedded::Embedded,
};
use tokio::sync::mpsc;

/// As many as the embedded store's watch buffers.
const BUFFER: usize = 16;

type Items = mpsc::Sender<Result<WatchItem, Error>>;

/// A store whose watch can be told what happened.
pub(crate) struct Relay {
    inner: Embedded,
    /// Where the watch is fed that was opened last.
    items: Mutex<Option<Items>>,
}

// === impl Relay ===

impl Relay {
    /// Relays to `inner`.
    pub(crate) fn new(inner: Embedded) -> Self {
        Self {
            inner,
            items: Mutex::new(None),
        }
    }

    /// Tells the watch of something that the store does not know of. Says false if it does not
    /// take it.
    pub(crate) fn tell(&self, item: WatchItem) -> bool {
        let items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        items
            .as_ref()
            .is_some_and(|items| items.try_send(Ok(item)).is_ok())
    }
}

#[async_trait]
impl Store for Relay {
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Error> {
        self.inner.range(request).await
    }

    async fn txn(&self, request: Txn) -> Result<TxnResponse, Error> {
        self.inner.txn(request).await
    }

    async fn grant(&self, id: LeaseId, ttl: Duration) -> Result<Duration, Error> {
        self.inner.grant(id, ttl).await
    }

    async fn keep_alive(&self, id: LeaseId) -> Result<Renewal, Error> {
        self.inner.keep_alive(id).await
    }

    async fn revoke(&self, id: LeaseId) -> Result<(), Error> {
        self.inner.revoke(id).await
    }

    async fn watch(&self, prefix: Bytes, from: Revision) -> Result<Watch, Error> {
        let mut inner = self.inner.watch(prefix, from).await?;
        let (sender, items) = mpsc::channel(BUFFER);
        *self.items.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender.clone());
        tokio::spawn(async move {
            while let Some(item) = inner.items.recv().await {
                if sender.send(item).await.is_err() {
                    return;
                }
            }
        });
        Ok(Watch {
            items,
            probe: inner.probe,
        })
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        self.inner.compact(revision).await
    }

    async fn status(&self) -> Result<Status, Error> {
        self.inner.status().await
    }
}
