//! The same work over and over, as much as a target takes.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use futures_util::future::try_join_all;
use tokio::time::sleep;

use super::busy::{Tally, Work, keep_busy};
use crate::{
    BenchError,
    http2::{Call, Connection, Windows},
    meter::Meter,
    sample::{Metric, P50, P99, Sample},
    target::Site,
};

/// For caches, pools and buffers to grow.
const WARM_UP: Duration = Duration::from_secs(1);

/// Bytes of an answer's message.
const BYTES: Metric = Metric::neither("bytes", "bytes");

/// How much is under way.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Load {
    /// Over how many connections.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1000))]
    connections: u32,
    /// Calls under way on each connection.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=900))]
    in_flight: u32,
    /// Seconds that are measured; less than 2 is too coarse for the kernel's clock.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(2..=600))]
    seconds: u32,
}

/// The same call without an end.
struct Forever<'a>(&'a Call);

/// Makes the call so often as the target answers.
pub(super) async fn saturate(site: &Site, call: &Call, load: &Load) -> Result<Sample, BenchError> {
    keep_working(site, load, |_| Forever(call)).await
}

/// Gives each connection, by its number, work that does not end.
pub(super) async fn keep_working<W: Work>(
    site: &Site,
    load: &Load,
    work: impl Fn(u32) -> W,
) -> Result<Sample, BenchError> {
    let open = || Connection::open(site.port(), Windows::Large);
    let mut connections = try_join_all((0..load.connections).map(|_| open())).await?;
    let tally = Tally::new();
    let calls = connections.iter_mut().zip(0..).map(|(connection, number)| {
        let (tally, mut work) = (&tally, work(number));
        let in_flight = load.in_flight as usize;
        async move { keep_busy(connection, in_flight, &mut work, tally).await }
    });
    let measure = async {
        sleep(WARM_UP).await;
        tally.clear();
        let meter = Meter::start(site).await?;
        sleep(Duration::from_secs(u64::from(load.seconds))).await;
        meter.stop(|| tally.done.load(Relaxed)).await
    };
    let usage = tokio::select! {
        usage = measure => usage?,
        ended = try_join_all(calls) => {
            ended?;
            return Err(BenchError::failed("the load ended by itself"));
        }
    };
    let mut sample = Sample::of(usage);
    sample.set(P50, tally.latency.quantile_ms(0.5));
    sample.set(P99, tally.latency.quantile_ms(0.99));
    let bytes = tally.bytes.load(Relaxed) as f64;
    sample.set(BYTES, bytes / tally.done.load(Relaxed) as f64);
    Ok(sample)
}

// === impl Load ===

impl Load {
    /// One program that does one thing after the other.
    pub(super) fn one_at_a_time(seconds: u32) -> Self {
        Self {
            connections: 1,
            in_flight: 1,
            seconds,
        }
    }
}

// === impl Forever ===

impl Work for Forever<'_> {
    fn begin(&mut self, connection: &mut Connection) -> Option<(u64, u32)> {
        Some((0, connection.start(self.0)))
    }
}
