//! Many streams that watch, and what they count.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    BenchError,
    histogram::Histogram,
    http2::{Call, Connection, End, Event, Windows},
    mark::Clock,
    target::Site,
};

/// How long the last deliveries may take, or all watches to stand.
const PATIENCE: Duration = Duration::from_secs(30);

/// Connections that are opened at the same time.
const OPENING: usize = 64;

/// What the streams of one sample count together.
pub(crate) struct Tally {
    /// Reads the times of values.
    pub(crate) clock: Clock,
    /// Streams that had a message.
    pub(crate) standing: AtomicU64,
    /// Values that arrived.
    pub(crate) delivered: AtomicU64,
    /// Messages they came in.
    pub(crate) messages: AtomicU64,
    /// Bytes of those.
    pub(crate) bytes: AtomicU64,
    /// From when values were meant to be written to when they arrived.
    pub(crate) latency: Histogram,
    /// The time of the value that makes a stream current.
    pub(crate) last: AtomicU64,
    /// Streams that had it.
    pub(crate) current: AtomicU64,
    /// How late the latest of them had it, in nanoseconds.
    latest: AtomicU64,
    /// Streams that ended although nobody asked for it.
    pub(crate) ended: AtomicU64,
    /// Why a stream ended, if one did and that is a failure.
    failure: Mutex<Option<String>>,
    /// Whether such an end is only counted.
    tolerant: AtomicBool,
}

/// Streams that stay open until this is dropped.
pub(crate) struct Subscribers {
    tasks: JoinSet<()>,
}

// === impl Tally ===

impl Tally {
    /// Counts values of this length.
    pub(crate) fn new(value_bytes: u32) -> Arc<Self> {
        Self::with(Clock::new(value_bytes))
    }

    /// Forgets what was counted, except for which streams stand.
    pub(crate) fn clear(&self) {
        self.latency.clear();
        for counter in [&self.delivered, &self.messages, &self.bytes, &self.current] {
            counter.store(0, Relaxed);
        }
    }

    /// Another one that reads times with the same clock: streams that are closed may still count
    /// on this one.
    pub(crate) fn renewed(&self) -> Arc<Self> {
        Self::with(self.clock.clone())
    }

    fn with(clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            clock,
            standing: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            messages: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            latency: Histogram::new(),
            last: AtomicU64::new(u64::MAX),
            current: AtomicU64::new(0),
            latest: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            tolerant: AtomicBool::new(false),
            failure: Mutex::new(None),
        })
    }

    /// Waits, and tells whether a counter came so far in time. Fails if a stream ends.
    pub(crate) async fn wait_for(
        &self,
        counter: &AtomicU64,
        count: u64,
    ) -> Result<bool, BenchError> {
        self.wait_until(|| counter.load(Relaxed) >= count).await
    }

    /// Waits until all streams that are open had so many values more than `before`.
    pub(crate) async fn wait_for_values(
        &self,
        before: u64,
        count: u32,
    ) -> Result<bool, BenchError> {
        self.wait_until(|| {
            let open = self.standing.load(Relaxed) - self.ended.load(Relaxed);
            self.delivered.load(Relaxed) >= before + u64::from(count) * open
        })
        .await
    }

    /// Waits until so many streams are current, or as many as are open.
    pub(crate) async fn wait_until_current(&self, streams: u32) -> Result<bool, BenchError> {
        self.wait_until(|| {
            let settled = self.current.load(Relaxed) + self.ended.load(Relaxed);
            settled >= u64::from(streams)
        })
        .await
    }

    /// How late the stream had the value that became current last.
    pub(crate) fn until_current(&self) -> Duration {
        Duration::from_nanos(self.latest.load(Relaxed))
    }

    /// From now on counts streams that end, instead of failing.
    pub(crate) fn tolerate_ends(&self) {
        self.tolerant.store(true, Relaxed);
    }

    async fn wait_until(&self, reached: impl Fn() -> bool) -> Result<bool, BenchError> {
        let poll = async {
            while !reached() {
                self.check()?;
                sleep(Duration::from_millis(1)).await;
            }
            self.check()
        };
        match timeout(PATIENCE, poll).await {
            Ok(done) => done.map(|()| true),
            Err(_) => Ok(false),
        }
    }

    /// Fails if a stream ended.
    pub(crate) fn check(&self) -> Result<(), BenchError> {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure
            .clone()
            .map_or(Ok(()), |why| Err(BenchError::Failed(why)))
    }

    fn end(&self, end: &End) {
        if self.tolerant.load(Relaxed) {
            self.ended.fetch_add(1, Relaxed);
        } else {
            self.fail(format!("a watch ended: {end:?}"));
        }
    }

    fn fail(&self, why: String) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert(why);
    }

    fn take(&self, message: &[u8], now: Instant) {
        let mut count = 0;
        let last = self.last.load(Relaxed);
        self.clock.times(message, |nanos| {
            let age = self.clock.age(nanos, now);
            self.latency.record(age);
            count += 1;
            if nanos == last {
                self.latest.store(age.as_nanos() as u64, Relaxed);
                self.current.fetch_add(1, Relaxed);
            }
        });
        self.messages.fetch_add(1, Relaxed);
        self.bytes.fetch_add(message.len() as u64, Relaxed);
        self.delivered.fetch_add(count, Relaxed);
    }
}

// === impl Subscribers ===

impl Subscribers {
    /// Opens so many streams of a call, spread evenly over so many connections, and returns when
    /// each had its first message.
    pub(crate) async fn open(
        site: &Site,
        (streams, connections): (u32, u32),
        call: &Call,
        tally: &Arc<Tally>,
    ) -> Result<Self, BenchError> {
        let before = tally.standing.load(Relaxed);
        let subscribers = Self::start(site, (streams, connections), call, tally).await?;
        let all = before + u64::from(streams);
        if tally.wait_for(&tally.standing, all).await? {
            Ok(subscribers)
        } else {
            let standing = tally.standing.load(Relaxed) - before;
            let why = format!("{standing} of {streams} watches stand in time");
            Err(BenchError::Failed(why))
        }
    }

    /// The same without waiting for messages.
    pub(crate) async fn start(
        site: &Site,
        (streams, connections): (u32, u32),
        call: &Call,
        tally: &Arc<Tally>,
    ) -> Result<Self, BenchError> {
        let opened = connect(site.port(), connections, Windows::Large).await?;
        let mut tasks = JoinSet::new();
        for (connection, streams) in opened.into_iter().zip(shares(streams, connections)) {
            let (call, tally) = (call.clone(), Arc::clone(tally));
            tasks.spawn(async move {
                if let Err(error) = subscribe(connection, streams, &call, &tally).await {
                    tally.fail(error.to_string());
                }
            });
        }
        Ok(Self { tasks })
    }

    /// Closes all connections.
    pub(crate) async fn close(mut self) {
        self.tasks.shutdown().await;
    }
}

/// Opens connections, some at a time.
pub(crate) async fn connect(
    port: u16,
    connections: u32,
    windows: Windows,
) -> Result<Vec<Connection>, BenchError> {
    stream::iter(0..connections)
        .map(|_| Connection::open(port, windows))
        .buffer_unordered(OPENING)
        .try_collect()
        .await
}

/// How many of `streams` each of the connections has.
pub(crate) fn shares(streams: u32, connections: u32) -> impl Iterator<Item = u32> {
    (0..connections)
        .map(move |index| streams / connections + u32::from(index < streams % connections))
}

/// Keeps the streams of a connection open and counts what arrives.
async fn subscribe(
    mut connection: Connection,
    streams: u32,
    call: &Call,
    tally: &Tally,
) -> Result<(), BenchError> {
    if connection.max_streams() < streams {
        let limit = connection.max_streams();
        let why = format!("the server allows {limit} streams per connection, not {streams}");
        return Err(BenchError::Failed(why));
    }
    let mut begun = 0;
    // Streams have odd numbers.
    let mut stands = vec![false; streams as usize];
    let mut open = vec![true; streams as usize];
    loop {
        while begun < streams && connection.may_send() {
            connection.start(call);
            begun += 1;
        }
        let mut now = None;
        connection
            .exchange(|event| match event {
                Event::Message { stream, message } => {
                    if let Some(stands) = stands.get_mut(stream as usize / 2)
                        && !std::mem::replace(stands, true)
                    {
                        tally.standing.fetch_add(1, Relaxed);
                    }
                    tally.take(message, *now.get_or_insert_with(Instant::now));
                }
                Event::End { stream, end } => {
                    // A reset may follow a regular end.
                    if let Some(open) = open.get_mut(stream as usize / 2)
                        && std::mem::replace(open, false)
                    {
                        tally.end(&end);
                    }
                }
            })
            .await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_spread_evenly() {
        assert_eq!(shares(7, 3).collect::<Vec<_>>(), [3, 2, 2]);
    }
}
