//! Clients that read at one replica: from its cache all the time, linearizably now and then.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use stanchion_client::proto::{
    Consistency, GetConfigRequest, config_service_client::ConfigServiceClient,
};
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Request, transport::Channel};

use super::writes::{DEADLINE, reason};

/// The key that is read; it exists.
pub const KEY: &str = "load/read";
/// How a read fails that does not find it.
const MISSED: &str = "NotFound CONFIG_NOT_FOUND";
/// How long a reader waits between two reads.
const PAUSE: Duration = Duration::from_millis(25);
/// How many reads from the cache there are for each linearizable one.
const CACHED: usize = 5;

/// Reads until it is dropped.
pub struct Reader {
    pub replica: usize,
    log: Arc<Mutex<Reads>>,
    _task: AbortOnDropHandle<()>,
}

/// What came of the reads.
#[derive(Debug, Clone, Default)]
pub struct Reads {
    pub cached: usize,
    /// Reads from the cache that failed: code and reason, and when.
    pub cached_failures: Vec<(Instant, String)>,
    /// Reads from the cache that did not find what was once written.
    pub missed: usize,
    pub slowest_cached: Duration,
    /// The oldest answer from the cache.
    pub oldest: Duration,
    /// When each linearizable read that was answered began, and the revision it showed.
    pub linearizable: Vec<(Instant, i64)>,
    pub slowest_linearizable: Duration,
}

// === impl Reader ===

impl Reader {
    pub fn start(replica: usize, channel: Channel) -> Self {
        let log = Arc::new(Mutex::new(Reads::default()));
        let reads = log.clone();
        let task = tokio::spawn(async move {
            loop {
                for _ in 0..CACHED {
                    cached(&reads, channel.clone()).await;
                    sleep(PAUSE).await;
                }
                linearizable(&reads, channel.clone()).await;
            }
        });
        Self {
            replica,
            log,
            _task: AbortOnDropHandle::new(task),
        }
    }

    pub fn reads(&self) -> Reads {
        self.log.lock().unwrap().clone()
    }
}

async fn cached(reads: &Mutex<Reads>, channel: Channel) {
    let begun = Instant::now();
    let answer = get(channel, Consistency::Unspecified).await;
    let mut reads = reads.lock().unwrap();
    reads.cached += 1;
    reads.slowest_cached = reads.slowest_cached.max(begun.elapsed());
    match answer {
        Ok((_, age)) => reads.oldest = reads.oldest.max(age),
        Err(error) if error == MISSED => reads.missed += 1,
        Err(error) => reads.cached_failures.push((begun, error)),
    }
}

async fn linearizable(reads: &Mutex<Reads>, channel: Channel) {
    let begun = Instant::now();
    let answer = get(channel, Consistency::Linearizable).await;
    let mut reads = reads.lock().unwrap();
    reads.slowest_linearizable = reads.slowest_linearizable.max(begun.elapsed());
    // It may fail while the store is away: it says so fast, which its time shows.
    if let Ok((revision, _)) = answer {
        reads.linearizable.push((begun, revision));
    }
}

async fn get(channel: Channel, consistency: Consistency) -> Result<(i64, Duration), String> {
    let request = GetConfigRequest {
        key: KEY.into(),
        consistency: consistency.into(),
        ..GetConfigRequest::default()
    };
    let mut call = Request::new(request);
    call.set_timeout(DEADLINE);
    let answer = ConfigServiceClient::new(channel).get_config(call).await;
    let answer = answer.map_err(|status| {
        let reason = reason(&status).unwrap_or_else(|| status.message().to_owned());
        format!("{:?} {reason}", status.code())
    })?;
    let header = answer.into_inner().header.unwrap();
    let age = header.age.unwrap_or_default();
    Ok((header.revision, age.try_into().unwrap_or_default()))
}
