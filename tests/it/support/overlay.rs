//! Stores with a test's hand on them.

use std::{ops::Deref, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use stanchion::store::{
    Error, LeaseId, RangeRequest, RangeResponse, Renewal, Revision, Status, Store, Txn,
    TxnResponse, Watch,
};

/// Does as the store inside, but for the methods that an implementation brings itself.
#[async_trait]
pub trait Overlay: Send + Sync + 'static {
    fn inner(&self) -> &Arc<dyn Store>;

    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Error> {
        self.inner().range(request).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, Error> {
        self.inner().txn(txn).await
    }

    async fn keep_alive(&self, id: LeaseId) -> Result<Renewal, Error> {
        self.inner().keep_alive(id).await
    }

    async fn watch(&self, prefix: Bytes, from: Revision) -> Result<Watch, Error> {
        self.inner().watch(prefix, from).await
    }

    async fn status(&self) -> Result<Status, Error> {
        self.inner().status().await
    }

    fn doubts_renewals(&self) -> bool {
        self.inner().doubts_renewals()
    }
}

/// The store that an [`Overlay`] makes.
pub struct Overlaid<O>(pub O);

impl<O> Deref for Overlaid<O> {
    type Target = O;

    fn deref(&self) -> &O {
        &self.0
    }
}

#[async_trait]
impl<O: Overlay> Store for Overlaid<O> {
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Error> {
        self.0.range(request).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, Error> {
        self.0.txn(txn).await
    }

    async fn grant(&self, id: LeaseId, ttl: Duration) -> Result<Duration, Error> {
        self.0.inner().grant(id, ttl).await
    }

    async fn keep_alive(&self, id: LeaseId) -> Result<Renewal, Error> {
        self.0.keep_alive(id).await
    }

    async fn revoke(&self, id: LeaseId) -> Result<(), Error> {
        self.0.inner().revoke(id).await
    }

    async fn watch(&self, prefix: Bytes, from: Revision) -> Result<Watch, Error> {
        self.0.watch(prefix, from).await
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        self.0.inner().compact(revision).await
    }

    async fn status(&self) -> Result<Status, Error> {
        self.0.status().await
    }

    fn doubts_renewals(&self) -> bool {
        self.0.doubts_renewals()
    }
}
