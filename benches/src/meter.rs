//! What the processes use while operations run.

use std::time::{Duration, Instant};

use crate::{
    BenchError,
    counters::EtcdCounters,
    due::waited,
    process::own_cpu,
    sample::{CPU, CPU_WITH_ETCD, Metric, RATE},
    target::Site,
};

/// CPU of etcd behind the measured process, for each operation.
const ETCD_CPU: Metric = Metric::neither("etcd_us", "etcd us");
/// CPU of this program for each operation.
const GENERATOR_CPU: Metric = Metric::neither("generator_us", "generator us");

/// Runs from [`Meter::start`] to [`Meter::stop`].
pub(crate) struct Meter<'a> {
    site: &'a Site,
    begun: Instant,
    reading: Reading,
}

/// All that is read at one time.
#[derive(Debug, Clone, Copy)]
struct Reading {
    server: Duration,
    etcd: Duration,
    generator: Duration,
    counters: EtcdCounters,
}

/// What was used for some operations.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    /// How many operations those were.
    pub(crate) operations: u64,
    /// How long it took.
    pub(crate) elapsed: Duration,
    /// CPU of the measured process.
    pub(crate) server: Duration,
    /// CPU of the etcd behind it; nothing if that is what is measured.
    pub(crate) etcd: Duration,
    /// CPU of this program.
    pub(crate) generator: Duration,
    /// By how much etcd's counters grew.
    pub(crate) counters: EtcdCounters,
}

// === impl Meter ===

impl<'a> Meter<'a> {
    /// Begins to count.
    pub(crate) async fn start(site: &'a Site) -> Result<Self, BenchError> {
        let counters = EtcdCounters::read(site.etcd_port()).await?;
        let reading = Reading::now(site, counters)?;
        let begun = Instant::now();
        Ok(Self {
            site,
            begun,
            reading,
        })
    }

    /// Ends it. `operations` is asked for first, so that it counts those of the same time.
    pub(crate) async fn stop(self, operations: impl FnOnce() -> u64) -> Result<Usage, BenchError> {
        let elapsed = self.begun.elapsed();
        let operations = operations();
        let mut after = Reading::now(self.site, EtcdCounters::default())?;
        after.counters = EtcdCounters::read(self.site.etcd_port()).await?;
        let before = self.reading;
        if operations == 0 {
            let name = self.site.target().name();
            return Err(BenchError::failed(format!("{name} does nothing")));
        }
        Ok(Usage {
            operations,
            elapsed,
            server: after.server - before.server,
            etcd: after.etcd - before.etcd,
            generator: after.generator.saturating_sub(before.generator),
            counters: after.counters.since(before.counters),
        })
    }
}

// === impl Reading ===

impl Reading {
    fn now(site: &Site, counters: EtcdCounters) -> Result<Self, BenchError> {
        Ok(Self {
            server: site.server().cpu()?,
            etcd: match site.etcd_behind() {
                Some(etcd) => etcd.cpu()?,
                None => Duration::ZERO,
            },
            generator: own_cpu()?.saturating_sub(waited()),
            counters,
        })
    }
}

// === impl Usage ===

impl Usage {
    /// Microseconds for each operation.
    pub(crate) fn each(&self, cpu: Duration) -> f64 {
        cpu.as_secs_f64() * 1e6 / self.operations as f64
    }

    /// What was used in two times.
    pub(crate) fn and(self, later: Self) -> Self {
        Self {
            operations: self.operations + later.operations,
            elapsed: self.elapsed + later.elapsed,
            server: self.server + later.server,
            etcd: self.etcd + later.etcd,
            generator: self.generator + later.generator,
            counters: self.counters.and(later.counters),
        }
    }

    /// What there is to say of it.
    pub(crate) fn metrics(&self) -> [(Metric, f64); 5] {
        [
            (CPU, self.each(self.server)),
            (CPU_WITH_ETCD, self.each(self.server + self.etcd)),
            (ETCD_CPU, self.each(self.etcd)),
            (GENERATOR_CPU, self.each(self.generator)),
            (RATE, self.operations as f64 / self.elapsed.as_secs_f64()),
        ]
    }
}
