//! Fan-out: one key written at a fixed rate, and many streams that watch it.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::{
    task::JoinSet,
    time::{sleep, sleep_until, timeout},
};
use tonic::{Streaming, transport::Channel};

use crate::{
    BenchError,
    histogram::Histogram,
    process::own_cpu,
    report::{Report, Sample},
    target::{Programs, Site, Target},
};

/// The key all watch.
const KEY: &str = "fanout";

/// Comes before the intended time in each value, and nowhere else in a message.
const MARK: &[u8; 16] = b"<stanchion-time>";

/// How long the last deliveries may take, or all watches to stand.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a run of the workload is like.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// How many streams watch the key.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) streams: u32,
    /// Over how many connections.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) connections: u32,
    /// Writes in a second.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) rate: u32,
    /// Bytes of a value.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(24..=60_000))]
    pub(crate) value_bytes: u32,
    /// Seconds that are measured; less than 2 is too coarse for the kernel's clock.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(2..=600))]
    pub(crate) seconds: u32,
    /// Rounds, each over all targets.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
}

/// What the streams of one sample count together.
struct Tally {
    /// Intended times count from here.
    epoch: Instant,
    value_bytes: usize,
    standing: AtomicU64,
    delivered: AtomicU64,
    messages: AtomicU64,
    bytes: AtomicU64,
    latency: Histogram,
    /// Why a stream ended, if one did.
    failure: Mutex<Option<String>>,
}

/// Writes one after the other, each when it is due or as soon as the one before is answered.
struct Writer<'a> {
    site: &'a Site,
    channel: Channel,
    tally: &'a Tally,
    options: &'a Options,
}

/// Measures all targets in turns.
pub(crate) async fn run(programs: &Programs, options: &Options) -> Result<Report, BenchError> {
    let mut report = Report::new(programs, options)?;
    for round in 1..=options.rounds {
        for target in Target::ALL {
            report.add(round, measure(programs, options, target).await?);
        }
    }
    Ok(report)
}

async fn measure(
    programs: &Programs,
    options: &Options,
    target: Target,
) -> Result<Sample, BenchError> {
    let site = Site::start(programs, target).await?;
    let tally = Arc::new(Tally::new(options.value_bytes));
    let memory_before = site.server().rss()?;
    // Ends its tasks when dropped.
    let _watches = watch(&site, options, &tally).await?;
    sleep(Duration::from_millis(500)).await;
    let memory = site.server().rss()?.saturating_sub(memory_before);
    let etcd_watchers = site.etcd_watchers().await?;

    let writer = Writer {
        channel: site.connect().await?,
        site: &site,
        tally: &tally,
        options,
    };
    // The first second is for caches, pools and buffers to grow.
    writer.write(options.rate).await?;
    tally.latency.clear();
    tally.messages.store(0, Relaxed);
    tally.bytes.store(0, Relaxed);

    let before = (
        site.server().cpu()?,
        site.etcd().cpu()?,
        own_cpu()?,
        tally.delivered.load(Relaxed),
    );
    let begun = Instant::now();
    let writes = options.rate * options.seconds;
    writer.write(writes).await?;
    let elapsed = begun.elapsed();
    let after = (site.server().cpu()?, site.etcd().cpu()?, own_cpu()?);
    let delivered = tally.delivered.load(Relaxed) - before.3;
    if delivered == 0 {
        return Err(BenchError::Failed(format!(
            "{} delivers nothing",
            target.name()
        )));
    }
    let each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / delivered as f64;
    Ok(Sample {
        target,
        delivered,
        expected: u64::from(writes) * u64::from(options.streams),
        deliveries_per_second: delivered as f64 / elapsed.as_secs_f64(),
        server_seconds: (after.0 - before.0).as_secs_f64(),
        server_us: each(after.0 - before.0),
        etcd_us: each(after.1 - before.1),
        generator_us: each(after.2 - before.2),
        messages: tally.messages.load(Relaxed) as f64 / delivered as f64,
        bytes: tally.bytes.load(Relaxed) as f64 / delivered as f64,
        p50_ms: tally.latency.quantile_ms(0.5),
        p99_ms: tally.latency.quantile_ms(0.99),
        kib_per_watcher: memory as f64 / 1024.0 / f64::from(options.streams),
        etcd_watchers,
    })
}

/// Opens all watches and waits until they stand.
async fn watch(
    site: &Site,
    options: &Options,
    tally: &Arc<Tally>,
) -> Result<JoinSet<()>, BenchError> {
    let mut channels = Vec::new();
    for _ in 0..options.connections {
        channels.push(site.connect().await?);
    }
    let mut watches = JoinSet::new();
    let dialect = site.dialect();
    for channel in channels.iter().cycle().take(options.streams as usize) {
        let (channel, tally) = (channel.clone(), Arc::clone(tally));
        watches.spawn(async move {
            let ended = match dialect.watch(&channel, KEY).await {
                Ok(stream) => tally.count(stream).await,
                Err(status) => status.to_string(),
            };
            let mut failure = tally.failure.lock().unwrap_or_else(PoisonError::into_inner);
            failure.get_or_insert(ended);
        });
    }
    tally
        .wait_until(|tally| tally.standing.load(Relaxed) >= u64::from(options.streams))
        .await?
        .then_some(watches)
        .ok_or_else(|| BenchError::Failed("not all watches stand in time".to_owned()))
}

// === impl Tally ===

impl Tally {
    fn new(value_bytes: u32) -> Self {
        Self {
            epoch: Instant::now(),
            value_bytes: value_bytes as usize,
            standing: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            messages: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            latency: Histogram::new(),
            failure: Mutex::new(None),
        }
    }

    /// Counts what a stream delivers, and says why it ended.
    async fn count(&self, mut stream: Streaming<Bytes>) -> String {
        let mut first = true;
        loop {
            match stream.message().await {
                Ok(Some(message)) => {
                    if std::mem::take(&mut first) {
                        self.standing.fetch_add(1, Relaxed);
                    }
                    self.messages.fetch_add(1, Relaxed);
                    self.bytes.fetch_add(message.len() as u64, Relaxed);
                    self.take(&message);
                }
                Ok(None) => return "a watch ended".to_owned(),
                Err(status) => return format!("a watch ended: {status}"),
            }
        }
    }

    /// Counts the values in a message.
    fn take(&self, message: &[u8]) {
        let mut rest = message;
        while let Some(start) = find_mark(rest) {
            let Some((time, after)) = rest[start + MARK.len()..].split_first_chunk() else {
                return;
            };
            let due = self.epoch + Duration::from_nanos(u64::from_be_bytes(*time));
            self.latency.record(due.elapsed());
            self.delivered.fetch_add(1, Relaxed);
            // Another one needs this value's own bytes and as many again.
            rest = after;
            if rest.len() < 2 * self.value_bytes - MARK.len() - time.len() {
                return;
            }
        }
    }

    /// Waits, and tells whether it came true in time. Fails if a stream ends.
    async fn wait_until(&self, reached: impl Fn(&Self) -> bool) -> Result<bool, BenchError> {
        let poll = async {
            while !reached(self) {
                self.check()?;
                sleep(Duration::from_millis(2)).await;
            }
            self.check()
        };
        match timeout(PATIENCE, poll).await {
            Ok(done) => done.map(|()| true),
            Err(_) => Ok(false),
        }
    }

    fn check(&self) -> Result<(), BenchError> {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure
            .clone()
            .map_or(Ok(()), |why| Err(BenchError::Failed(why)))
    }
}

// === impl Writer ===

impl Writer<'_> {
    /// Writes so many values at the fixed rate, and waits until all are delivered.
    async fn write(&self, count: u32) -> Result<(), BenchError> {
        let delivered = self.tally.delivered.load(Relaxed);
        let begun = Instant::now();
        for number in 0..count {
            let due = begun + Duration::from_secs(1) * number / self.options.rate;
            sleep_until(due.into()).await;
            let value = self.value(due);
            self.site.dialect().put(&self.channel, KEY, value).await?;
        }
        let expected = delivered + u64::from(count) * u64::from(self.options.streams);
        // Too few is no error here: the sample tells how many.
        self.tally
            .wait_until(|tally| tally.delivered.load(Relaxed) >= expected)
            .await?;
        Ok(())
    }

    /// A value that says when it was due.
    fn value(&self, due: Instant) -> Bytes {
        let mut value = BytesMut::new();
        value.put_slice(MARK);
        value.put_u64((due - self.tally.epoch).as_nanos() as u64);
        value.resize(self.options.value_bytes as usize, b'.');
        value.freeze()
    }
}

/// Where the mark is. Looks for its first byte alone, which is rare, because this runs for each
/// delivery.
fn find_mark(message: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let start = from + message[from..].iter().position(|byte| *byte == MARK[0])?;
        if message[start..].starts_with(MARK) {
            return Some(start);
        }
        from = start + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(values: usize) -> Vec<u8> {
        let mut message = b"head".to_vec();
        for _ in 0..values {
            message.extend_from_slice(MARK);
            message.extend_from_slice(&[0; 8]);
            message.extend_from_slice(&[b'.'; 176]);
            message.extend_from_slice(b"<between");
        }
        message
    }

    #[test]
    fn every_value_of_a_message_counts() {
        let tally = Tally::new(200);
        for values in [1, 1, 3, 0, 2] {
            tally.take(&message(values));
        }
        assert_eq!(tally.delivered.load(Relaxed), 7);
    }
}
