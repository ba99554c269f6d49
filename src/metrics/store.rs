//! Every operation on the store, counted and timed.

use std::{future::Future, sync::Arc, time::Duration, time::Instant};

use async_trait::async_trait;
use bytes::Bytes;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};

use crate::store::{
    Error, Extent, LeaseId, Probe, RangeRequest, RangeResponse, Renewal, Revision, Status, Store,
    Txn, TxnResponse, Watch,
};

/// Upper bounds of the latency histogram, in seconds: a commit takes some 0.2 ms on a good disk and
/// some 20 ms on a bad one.
const LATENCIES: [f64; 12] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 3.0,
];

/// A store whose operations are counted.
pub struct ObservedStore {
    inner: Arc<dyn Store>,
    metrics: StoreMetrics,
}

/// Counts of operations, by operation and outcome.
#[derive(Clone, Debug)]
struct StoreMetrics {
    operations: Family<OperationLabels, Counter>,
    latency: Family<OperationLabel, Histogram, fn() -> Histogram>,
}

struct ObservedProbe {
    inner: Arc<dyn Probe>,
    metrics: StoreMetrics,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabel {
    operation: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    operation: &'static str,
    outcome: &'static str,
}

// === impl ObservedStore ===

impl ObservedStore {
    /// Counts the operations on `inner` in what `registry` shows.
    pub fn new(inner: Arc<dyn Store>, registry: &mut Registry) -> Self {
        let metrics = StoreMetrics {
            operations: Family::default(),
            latency: Family::new_with_constructor(|| Histogram::new(LATENCIES)),
        };
        registry.register(
            "store_operations",
            "Operations on the store that ended, by operation and outcome",
            metrics.operations.clone(),
        );
        registry.register(
            "store_seconds",
            "How long operations on the store took, by operation",
            metrics.latency.clone(),
        );
        Self { inner, metrics }
    }
}

#[async_trait]
impl Store for ObservedStore {
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Error> {
        self.metrics.count("range", self.inner.range(request)).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, Error> {
        self.metrics.count("txn", self.inner.txn(txn)).await
    }

    async fn grant(&self, id: LeaseId, ttl: Duration) -> Result<Duration, Error> {
        self.metrics.count("grant", self.inner.grant(id, ttl)).await
    }

    async fn keep_alive(&self, id: LeaseId) -> Result<Renewal, Error> {
        self.metrics
            .count("keep_alive", self.inner.keep_alive(id))
            .await
    }

    async fn revoke(&self, id: LeaseId) -> Result<(), Error> {
        self.metrics.count("revoke", self.inner.revoke(id)).await
    }

    async fn watch(&self, prefix: Bytes, from: Revision) -> Result<Watch, Error> {
        let opened = self.metrics.count("watch", self.inner.watch(prefix, from));
        let Watch { items, probe } = opened.await?;
        let probe = Arc::new(ObservedProbe {
            inner: probe,
            metrics: self.metrics.clone(),
        });
        Ok(Watch { items, probe })
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        self.metrics
            .count("compact", self.inner.compact(revision))
            .await
    }

    async fn status(&self) -> Result<Status, Error> {
        self.metrics.count("status", self.inner.status()).await
    }

    fn doubts_renewals(&self) -> bool {
        self.inner.doubts_renewals()
    }

    fn term(&self) -> u64 {
        self.inner.term()
    }
}

// === impl ObservedProbe ===

#[async_trait]
impl Probe for ObservedProbe {
    async fn current_revision(&self) -> Result<Revision, Error> {
        self.metrics
            .count("probe", self.inner.current_revision())
            .await
    }

    async fn request_progress(&self) {
        self.inner.request_progress().await;
    }

    async fn extent(&self, applied: Revision) -> Result<Option<Extent>, Error> {
        let begun = Instant::now();
        let answer = self.inner.extent(applied).await;
        // Most stores are not asked for it.
        if !matches!(answer, Ok(None)) {
            self.metrics.note("extent", begun, &answer);
        }
        answer
    }
}

// === impl StoreMetrics ===

impl StoreMetrics {
    /// Counts one operation. One that is dropped before its end is not counted.
    async fn count<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let begun = Instant::now();
        let result = call.await;
        self.note(operation, begun, &result);
        result
    }

    fn note<T>(&self, operation: &'static str, begun: Instant, result: &Result<T, Error>) {
        self.latency
            .get_or_create(&OperationLabel { operation })
            .observe(begun.elapsed().as_secs_f64());
        let outcome = result.as_ref().err().map_or("ok", outcome);
        self.operations
            .get_or_create(&OperationLabels { operation, outcome })
            .inc();
    }
}

fn outcome(error: &Error) -> &'static str {
    match error {
        Error::Unavailable { .. } => "unavailable",
        Error::NoQuorum { .. } => "no_quorum",
        Error::Timeout { .. } => "timeout",
        Error::Compacted { .. } => "compacted",
        Error::FutureRevision => "future_revision",
        Error::LeaseNotFound => "lease_not_found",
        Error::Full { .. } => "full",
        Error::Overloaded(_) => "overloaded",
        Error::Denied(_) => "denied",
        Error::Invalid(_) => "invalid",
        Error::Corrupt(_) => "corrupt",
    }
}
