//! A day's mixture at a fixed rate: of 100 operations 80 are reads of a service, 15 are changes
//! delivered to watchers, 4 are heartbeats, and 1 is a write. Each write changes a service that 15
//! connections watch, so that the deliveries follow from the writes.

mod growth;
mod paced;
mod watchers;
mod writes;

use std::time::Duration;

use futures_util::future::try_join_all;
use stanchion_client::proto::Consistency;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use self::{
    paced::{Pace, call_at},
    writes::{write, write_often},
};
use super::{
    heartbeats,
    instances::{list, range, register},
};
use crate::{
    BenchError,
    http2::{Call, Connection, Windows},
    meter::Meter,
    sample::{CPU_WITH_ETCD, Goal, Metric, P50, P99, Sample},
    target::{Site, Target},
    wire::Dialect,
};

/// Services, and instances of each.
const SERVICES: u64 = 20;
const INSTANCES: u64 = 10;

/// Connections that read, in turns.
const READERS: u32 = 8;
/// Connections that watch all services: as many as deliveries of a write.
const WATCHERS: u32 = 15;
/// Connections that send heartbeats.
const BEATING: u32 = 4;

const TTL: u32 = 15;

/// How long the watches may take to stand.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often memory is looked at.
const MEMORY_EVERY: Duration = Duration::from_millis(500);

/// How many revisions that changed instances Stanchion remembers by default. Until there were so
/// many, it grows, so that many are written before anything is measured.
const CHANGE_LOG: u64 = 10_000;

/// Growth of the measured process.
const GROWTH: Metric = Metric::small("growth_kib_per_minute", "KiB/min grown");

/// Its memory at the end.
const MEMORY: Metric = Metric::small("memory_mib", "memory MiB");

/// What a run of the workload is like.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Operations in a second, deliveries and heartbeats included.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(100..=100_000))]
    rate: u32,
    /// Seconds before anything is measured.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=3600))]
    warm_up: u32,
    /// Seconds that are measured.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(2..=86_400))]
    seconds: u32,
}

/// What is wanted of it.
pub(crate) const GOALS: &[Goal] = &[
    Goal::against(Target::Etcd, CPU_WITH_ETCD, 4.0, 2.5),
    Goal::at_most(GROWTH, 0.0, 0.0),
];

/// Runs the mixture on one target.
pub(crate) async fn measure(site: &Site, options: &Options) -> Result<Sample, BenchError> {
    let (port, dialect) = (site.port(), site.dialect());
    let connect =
        |count| try_join_all((0..count).map(move |_| Connection::open(port, Windows::Large)));
    let services: Vec<_> = (0..SERVICES).map(|n| format!("service-{n}")).collect();
    for service in &services {
        register(port, dialect, service, INSTANCES).await?;
    }
    let mut writer = connect(1).await?;
    for connection in &mut writer {
        write_often(connection, dialect, &services, CHANGE_LOG).await?;
    }
    let mut beating = connect(BEATING).await?;
    let sessions = (options.rate / 25).max(BEATING);
    let beats = heartbeats::open(&mut beating, dialect, sessions, TTL).await?;

    let beat_counts = heartbeats::Counts::new();
    let (reads, writes) = (paced::Counts::new(), paced::Counts::new());
    let deliveries = watchers::Counts::default();
    let (mut readers, mut watching) = (connect(READERS).await?, connect(WATCHERS).await?);

    let beating = beating.iter_mut().zip(beats);
    let beating = beating.map(|(connection, beats)| beats.send(connection, &beat_counts));
    let watching = watching
        .iter_mut()
        .map(|connection| watchers::watch(connection, dialect, &services, &deliveries));
    let pause = Duration::from_secs(READERS.into()) * 5 / (options.rate * 4);
    let reading = (0..).zip(readers.iter_mut()).map(|(index, connection)| {
        let offset = pause * index / READERS;
        let calls: Vec<_> = services.iter().map(|name| read(dialect, name)).collect();
        let mut turn = 0;
        let next = move || {
            turn += 1;
            calls[turn % calls.len()].clone()
        };
        call_at(Pace { pause, offset }, connection, next, &reads)
    });
    let pace = Pace {
        pause: Duration::from_secs(100) / options.rate,
        offset: Duration::ZERO,
    };
    let writing = writer.iter_mut().map(|connection| {
        let (mut turn, services) = (CHANGE_LOG, &services);
        let next = move || {
            turn += 1;
            write(dialect, services, turn)
        };
        // After the watches stand, so that each write is delivered to all.
        let counts = &writes;
        let stand = wait_for(&deliveries, SERVICES * u64::from(WATCHERS));
        async move {
            stand.await?;
            call_at(pace, connection, next, counts).await
        }
    });

    let operations = || {
        reads.answered.get()
            + writes.answered.get()
            + deliveries.delivered.get()
            + beat_counts.answered.get()
    };
    let measure = async {
        wait_for(&deliveries, SERVICES * u64::from(WATCHERS)).await?;
        sleep(Duration::from_secs(options.warm_up.into())).await;
        reads.clear();
        writes.clear();
        beat_counts.clear();
        deliveries.delivered.set(0);
        let meter = Meter::start(site).await?;
        let memory = watch_memory(site, options.seconds).await?;
        let usage = meter.stop(operations).await?;
        Ok::<_, BenchError>((usage, memory))
    };
    let (usage, memory) = tokio::select! {
        measured = measure => measured?,
        Err(error) = try_join_all(beating) => return Err(error),
        Err(error) = try_join_all(watching) => return Err(error),
        Err(error) = try_join_all(reading) => return Err(error),
        Err(error) = try_join_all(writing) => return Err(error),
    };

    let mut sample = Sample::of(usage);
    sample.set(P50, reads.latency.quantile_ms(0.5));
    sample.set(P99, reads.latency.quantile_ms(0.99));
    let kib: Vec<_> = memory.iter().map(|bytes| *bytes as f64 / 1024.0).collect();
    sample.set(GROWTH, growth::per_minute(&kib, MEMORY_EVERY.as_secs_f64()));
    sample.set(MEMORY, kib.last().copied().unwrap_or_default() / 1024.0);
    let expected = usage.elapsed.as_secs_f64() * f64::from(options.rate);
    let done = usage.operations as f64 * 100.0 / expected;
    if !(99.0..=101.0).contains(&done) {
        sample.warn(format!("{done:.1} % of the intended operations were done"));
    }
    Ok(sample)
}

/// The call that reads a service. The proxy serves only reads from its cache cheaply; etcd's are
/// linearizable, which is its default.
fn read(dialect: Dialect, service: &str) -> Call {
    match dialect {
        Dialect::Etcd => range(service, false),
        Dialect::Stanchion => list(service, Consistency::Cached),
    }
}

async fn wait_for(counts: &watchers::Counts, standing: u64) -> Result<(), BenchError> {
    let all = async {
        while counts.standing.get() < standing {
            sleep(Duration::from_millis(5)).await;
        }
    };
    let stand = timeout(PATIENCE, all).await;
    stand.map_err(|_| BenchError::failed("not all watches stand in time"))
}

/// The memory of the measured process over so many seconds.
async fn watch_memory(site: &Site, seconds: u32) -> Result<Vec<u64>, BenchError> {
    let begun = Instant::now();
    let mut memory = Vec::new();
    for tick in 1.. {
        let due = MEMORY_EVERY * tick;
        if due > Duration::from_secs(seconds.into()) {
            break;
        }
        sleep_until(begun + due).await;
        memory.push(site.server().rss()?);
    }
    Ok(memory)
}
