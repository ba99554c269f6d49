//! What etcd counts itself: no noise touches it.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{BenchError, sample::Metric};

/// Names of etcd's metrics, and ours for how much they grew.
const GROWING: [(&str, Metric); 7] = [
    (
        "etcd_mvcc_range_total",
        Metric::neither("etcd_ranges", "etcd ranges"),
    ),
    (
        "etcd_mvcc_txn_total",
        Metric::neither("etcd_txns", "etcd txns"),
    ),
    (
        "etcd_mvcc_put_total",
        Metric::neither("etcd_puts", "etcd puts"),
    ),
    (
        "etcd_debugging_lease_renewed_total",
        Metric::neither("etcd_renewals", "etcd renewals"),
    ),
    (
        "etcd_disk_wal_fsync_duration_seconds_count",
        Metric::neither("etcd_fsyncs", "etcd fsyncs"),
    ),
    (
        "etcd_mvcc_delete_total",
        Metric::neither("etcd_deletes", "etcd deletes"),
    ),
    (
        "etcd_server_proposals_applied_total",
        Metric::neither("etcd_writes", "etcd writes"),
    ),
];

/// The number of watchers now.
const WATCHERS: &str = "etcd_debugging_mvcc_watcher_total";

/// Lease renewals, for goals.
pub(crate) const RENEWALS: Metric = GROWING[3].1;
/// Ranges, for goals.
pub(crate) const RANGES: Metric = GROWING[0].1;
/// Writes of the log to the disk, for goals.
pub(crate) const FSYNCS: Metric = GROWING[4].1;
/// Requests that went through etcd's log, transactions and leases alike, for goals.
pub(crate) const WRITES: Metric = GROWING[6].1;

/// The counters at one time, or how much they grew.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct EtcdCounters {
    growing: [f64; GROWING.len()],
    /// Watchers at that time, or at the later of two.
    pub(crate) watchers: f64,
}

// === impl EtcdCounters ===

impl EtcdCounters {
    /// Reads them from the etcd at a port.
    pub(crate) async fn read(port: u16) -> Result<Self, BenchError> {
        let failed = |source| BenchError::io("cannot read etcd's metrics", source);
        let mut stream = TcpStream::connect(("127.0.0.1", port))
            .await
            .map_err(failed)?;
        let request = b"GET /metrics HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.map_err(failed)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.map_err(failed)?;
        Self::parse(&String::from_utf8_lossy(&answer))
            .ok_or_else(|| BenchError::failed("etcd does not count what it should"))
    }

    /// How much they grew since `before`.
    pub(crate) fn since(self, before: Self) -> Self {
        let mut growing = self.growing;
        for (now, then) in growing.iter_mut().zip(before.growing) {
            *now -= then;
        }
        Self { growing, ..self }
    }

    /// How much they grew in two times.
    pub(crate) fn and(self, later: Self) -> Self {
        let mut growing = later.growing;
        for (sum, before) in growing.iter_mut().zip(self.growing) {
            *sum += before;
        }
        Self { growing, ..later }
    }

    /// All that grow, with their names.
    pub(crate) fn metrics(&self) -> impl Iterator<Item = (Metric, f64)> {
        let names = GROWING.iter().map(|(_, metric)| *metric);
        names.zip(self.growing)
    }

    /// The value of one of [`Self::metrics`].
    pub(crate) fn get(&self, metric: Metric) -> f64 {
        let found = self.metrics().find(|(other, _)| *other == metric);
        found.map_or(0.0, |(_, value)| value)
    }

    fn parse(text: &str) -> Option<Self> {
        let value = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
                .and_then(|value| value.trim().parse::<f64>().ok())
        };
        let mut growing = [0.0; GROWING.len()];
        for (slot, (name, _)) in growing.iter_mut().zip(GROWING) {
            *slot = value(name)?;
        }
        let watchers = value(WATCHERS)?;
        Some(Self { growing, watchers })
    }
}
