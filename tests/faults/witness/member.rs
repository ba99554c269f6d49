//! A watch on one member, opened again where it was whenever it breaks.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use etcd_client::{
    Client, ConnectOptions, Error, GetOptions, WatchOptions, WatchRequestSender,
    WatchResponseStream,
};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use super::log::Log;

/// Between two attempts: a member that is down refuses at once.
const PAUSE: Duration = Duration::from_millis(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a member may take to confirm a watch.
const OPEN_TIMEOUT: Duration = Duration::from_secs(3);
/// etcd takes more frequent pings for an attack.
const PING: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(4));
/// History is read in one go.
const MAX_MESSAGE: usize = 256 * 1024 * 1024;

/// A member, and what it told.
pub struct Member {
    endpoint: String,
    options: ConnectOptions,
    prefix: String,
    log: Mutex<Log>,
    /// Somebody wants to know how far it is.
    pub wanted: Notify,
}

/// Why a watch is opened anew.
#[derive(Debug, thiserror::Error)]
enum Break {
    #[error(transparent)]
    Etcd(#[from] Error),
    #[error("the stream ended")]
    Ended,
    #[error("the member did not confirm the watch in time")]
    Silent,
    /// It lags, or lost its data: what it tells now would not follow what it told.
    #[error("the member is at {0}, before what it told")]
    Behind(i64),
    #[error("compacted at {0}")]
    Compacted(i64),
}

// === impl Member ===

impl Member {
    pub fn new(endpoint: String, options: ConnectOptions, prefix: String) -> Self {
        let options = options
            .with_connect_timeout(CONNECT_TIMEOUT)
            .with_keep_alive(PING.0, PING.1);
        Self {
            endpoint,
            options,
            prefix,
            log: Mutex::default(),
            wanted: Notify::new(),
        }
    }

    pub fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The revision that a quorum knows.
    pub async fn revision(&self) -> Result<i64, Error> {
        let answer = self.client().await?.get("-", None).await?;
        Ok(answer.header().map_or(0, |header| header.revision()))
    }

    /// Watches until it is aborted.
    pub async fn watch(self: std::sync::Arc<Self>) {
        loop {
            let why = match self.follow().await {
                Ok(never) => match never {},
                Err(Break::Compacted(revision)) if self.log().is_empty() => {
                    self.begin(revision).await.err()
                }
                Err(why) => Some(why),
            };
            if let Some(Break::Compacted(revision)) = why {
                self.log().compacted(revision);
            }
            sleep(PAUSE).await;
        }
    }

    async fn client(&self) -> Result<Client, Error> {
        Client::connect([&self.endpoint], Some(self.options.clone())).await
    }

    /// Begins with what there is at `revision`, because what came before is forgotten.
    async fn begin(&self, revision: i64) -> Result<(), Break> {
        let mut client = self.client().await?;
        let all = GetOptions::new().with_prefix().with_revision(revision);
        let answer = client.get(self.prefix.as_str(), Some(all)).await?;
        self.log().begin(revision, answer.0.kvs);
        Ok(())
    }

    async fn follow(&self) -> Result<std::convert::Infallible, Break> {
        let client = self.client().await?;
        let from = self.log().complete + 1;
        let opening = timeout(OPEN_TIMEOUT, self.open(&client, from));
        let (mut requests, mut frames) = opening.await.map_err(|_| Break::Silent)??;
        loop {
            tokio::select! {
                frame = frames.message() => {
                    let frame = frame?.ok_or(Break::Ended)?.0;
                    if frame.canceled && frame.compact_revision > 0 {
                        return Err(Break::Compacted(frame.compact_revision));
                    }
                    if frame.canceled {
                        return Err(Break::Ended);
                    }
                    let revision = frame.header.map_or(0, |header| header.revision);
                    if frame.events.is_empty() {
                        self.log().progress(revision);
                    } else {
                        self.log().events(frame.events, Instant::now());
                    }
                }
                () = self.wanted.notified() => requests.request_progress().await?,
            }
        }
    }

    async fn open(
        &self,
        client: &Client,
        from: i64,
    ) -> Result<(WatchRequestSender, WatchResponseStream), Break> {
        let options = WatchOptions::new()
            .with_prefix()
            .with_start_revision(from)
            .with_progress_notify();
        let mut watch = client.watch_client().max_decoding_message_size(MAX_MESSAGE);
        let stream = watch.watch(self.prefix.as_str(), Some(options)).await?;
        let (requests, mut frames) = stream.split();
        let first = frames.message().await?.ok_or(Break::Ended)?.0;
        let revision = first.header.map_or(0, |header| header.revision);
        if first.canceled && first.compact_revision > 0 {
            return Err(Break::Compacted(first.compact_revision));
        }
        if !first.created {
            return Err(Break::Ended);
        }
        if revision < from - 1 {
            return Err(Break::Behind(revision));
        }
        Ok((requests, frames))
    }
}
