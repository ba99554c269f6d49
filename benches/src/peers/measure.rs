//! All workloads on one server, which is warm by then.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;

use super::{
    Options,
    load::{Load, Operation},
    push::Push,
    site::Site,
};
use crate::{BenchError, histogram::Histogram, process::own_cpu};

/// One workload on one server in one round.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    /// Which workload.
    pub(super) workload: &'static str,
    /// How much was done: operations, or contents held.
    pub(super) operations: u64,
    /// How much was to be done, where that is fixed.
    pub(super) expected: Option<u64>,
    pub(super) seconds: f64,
    /// CPU of the server.
    pub(super) server: Duration,
    /// CPU of the process behind it; zero if there is none.
    pub(super) store: Duration,
    /// CPU of this program.
    pub(super) generator: Duration,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
}

/// What has been used up to a moment.
struct Meter {
    at: Instant,
    server: Duration,
    store: Duration,
    generator: Duration,
}

/// The workloads with one operation, in the order in which they are measured. Registrations come
/// last because they stay.
const OPERATIONS: [(&str, Operation); 4] = [
    ("get", Operation::Get),
    ("discover", Operation::Discover),
    ("lock", Operation::Lock),
    ("register", Operation::Register),
];

/// The workload with listeners.
const PUSH: &str = "push";

/// All workloads, in the order of the report.
pub(super) const WORKLOADS: [&str; 5] = ["get", "discover", "lock", "register", PUSH];

/// Keeps each workload up for `warm_up`, then measures one after the other.
pub(super) async fn measure<S: Site>(
    site: &S,
    options: &Options,
    warm_up: Duration,
) -> Result<Vec<Sample>, BenchError> {
    let connect = |count: u32| try_join_all((0..count).map(|_| site.connect()));
    let wanted = OPERATIONS.into_iter();
    let operations: Vec<_> = wanted.filter(|(name, _)| options.wants(name)).collect();
    let mut load = Load::new(connect(options.connections).await?);
    for (_, operation) in &operations {
        load.run(*operation, warm_up).await?;
    }

    let seconds = Duration::from_secs(u64::from(options.seconds));
    let mut samples = Vec::new();
    if options.wants(PUSH) {
        let mut push = Push::new(
            site.connect().await?,
            connect(options.listeners).await?,
            options.content_bytes,
        );
        push.listen().await?;
        push.run(options.pushes_in(warm_up), options.rate).await?;
        let writes = options.pushes_in(seconds);
        let before = Meter::read(site)?;
        let held = push.run(writes, options.rate).await?;
        let mut sample = before.sample(site, PUSH, held, &push.latency)?;
        sample.expected = Some(u64::from(writes) * u64::from(options.listeners));
        samples.push(sample);
        // Their sessions would cost heartbeats and memory.
    }

    for (workload, operation) in operations {
        let before = Meter::read(site)?;
        let done = load.run(operation, seconds).await?;
        samples.push(before.sample(site, workload, done, &load.latency)?);
    }
    Ok(samples)
}

// === impl Sample ===

impl Sample {
    /// CPU of the server for each operation, in microseconds.
    pub(super) fn server_us(&self) -> f64 {
        self.each(self.server)
    }

    /// The same with the process behind it.
    pub(super) fn total_us(&self) -> f64 {
        self.each(self.server + self.store)
    }

    /// The same of this program.
    pub(super) fn generator_us(&self) -> f64 {
        self.each(self.generator)
    }

    pub(super) fn per_second(&self) -> f64 {
        self.operations as f64 / self.seconds
    }

    /// How much of what was to be done was.
    pub(super) fn done_percent(&self) -> f64 {
        let expected = self.expected.unwrap_or(self.operations);
        self.operations as f64 * 100.0 / expected as f64
    }

    fn each(&self, cpu: Duration) -> f64 {
        cpu.as_secs_f64() * 1e6 / self.operations as f64
    }
}

// === impl Meter ===

impl Meter {
    fn read<S: Site>(site: &S) -> Result<Self, BenchError> {
        Ok(Self {
            at: Instant::now(),
            server: site.process().cpu()?,
            store: site
                .store()
                .map_or(Ok(Duration::ZERO), |store| store.cpu())?,
            generator: own_cpu()?,
        })
    }

    /// What was used since then.
    fn sample<S: Site>(
        self,
        site: &S,
        workload: &'static str,
        operations: u64,
        latency: &Histogram,
    ) -> Result<Sample, BenchError> {
        if operations == 0 {
            return Err(BenchError::Failed(format!("{workload}: nothing was done")));
        }
        let now = Self::read(site)?;
        Ok(Sample {
            workload,
            operations,
            expected: None,
            seconds: (now.at - self.at).as_secs_f64(),
            server: now.server - self.server,
            store: now.store - self.store,
            generator: now.generator - self.generator,
            p50_ms: latency.quantile_ms(0.5),
            p99_ms: latency.quantile_ms(0.99),
        })
    }
}
