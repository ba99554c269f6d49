//! A watcher that writes down everything it is told, and resumes on the next replica whenever its
//! stream ends.

mod feed;
mod journal;
mod observation;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use rand::Rng as _;
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

pub use self::observation::{Body, Delta, Entry, Event, Message, Observation, What};

use self::feed::Feed;
use crate::{support::store::PATIENCE, view::View};

/// Before a stream is opened anew, at most.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a replica may take to accept a connection, and then to open a stream.
const OPEN_TIMEOUT: Duration = Duration::from_secs(1);
/// When an open stream says nothing, its replica is asked whether it is there.
const PING: Duration = Duration::from_secs(1);

/// How a watcher behaves.
#[derive(Debug, Clone)]
pub struct Watcher {
    /// Names its journal.
    pub name: String,
    pub view: View,
    /// Where it may go, in turns.
    pub replicas: Vec<SocketAddr>,
    /// Index of the replica it begins at.
    pub first: usize,
    /// Moves on to the next replica, for no reason, after so many messages.
    pub rotate_every: Option<usize>,
    /// Does not read for so long after so many messages.
    pub rest: Option<(usize, Duration)>,
    /// Has bursts merged.
    pub min_interval: Duration,
}

/// A running watcher. Gone when dropped.
pub struct Recorder {
    watcher: Watcher,
    through: watch::Receiver<i64>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Observation>,
}

struct Recording {
    watcher: Watcher,
    channels: Vec<Channel>,
    observation: Observation,
    /// What it resumes from, and the revision of that.
    token: Option<(Bytes, i64)>,
    through: watch::Sender<i64>,
    /// How many messages came, over all streams.
    messages: usize,
}

// === impl Watcher ===

impl Watcher {
    /// One that reads as fast as it can and stays where it is while it can.
    pub fn new(name: &str, view: View, replicas: Vec<SocketAddr>) -> Self {
        Self {
            name: name.to_owned(),
            view,
            replicas,
            first: 0,
            rotate_every: None,
            rest: None,
            min_interval: Duration::ZERO,
        }
    }

    /// Begins to watch.
    pub fn start(self) -> Recorder {
        let (stop, stopped) = oneshot::channel();
        let (sender, through) = watch::channel(0);
        let recording = Recording {
            watcher: self.clone(),
            channels: self.replicas.iter().map(channel).collect(),
            observation: Observation::default(),
            token: None,
            through: sender,
            messages: 0,
        };
        Recorder {
            watcher: self,
            through,
            stop: Some(stop),
            task: tokio::spawn(recording.run(stopped)),
        }
    }
}

// === impl Recorder ===

impl Recorder {
    /// How it behaves.
    pub fn watcher(&self) -> &Watcher {
        &self.watcher
    }

    /// Waits until it is current through `revision`; false if it is not in time.
    pub async fn reaches(&mut self, revision: i64, limit: Duration) -> bool {
        let reached = self.through.wait_for(|through| *through >= revision);
        timeout(limit, reached)
            .await
            .is_ok_and(|waited| waited.is_ok())
    }

    /// Waits until it has started over at a revision before `revision`; false if it has not in time.
    pub async fn starts_over(&mut self, revision: i64, limit: Duration) -> bool {
        let over = self
            .through
            .wait_for(|through| (1..revision).contains(through));
        timeout(limit, over)
            .await
            .is_ok_and(|waited| waited.is_ok())
    }

    /// Ends the watch; returns what it saw.
    pub async fn stop(mut self) -> Observation {
        if let Some(stop) = self.stop.take() {
            // One that is gone has failed, which the task says.
            let _ = stop.send(());
        }
        timeout(PATIENCE, &mut self.task).await.unwrap().unwrap()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

// === impl Recording ===

impl Recording {
    async fn run(mut self, mut stopped: oneshot::Receiver<()>) -> Observation {
        let mut replica = self.watcher.first;
        loop {
            replica %= self.channels.len();
            tokio::select! {
                () = self.stream(replica) => {}
                _ = &mut stopped => return self.observation,
            }
            replica += 1;
            let pause = PAUSE.mul_f64(rand::rng().random_range(0.1..=1.0));
            sleep(pause).await;
        }
    }

    /// Reads one stream to its end.
    async fn stream(&mut self, replica: usize) {
        let (token, after) = self.token.clone().unzip();
        self.note(What::Opened { replica, after });
        let channel = self.channels[replica].clone();
        let opening = Feed::open(
            channel,
            &self.watcher.view,
            token,
            self.watcher.min_interval,
        );
        let status = match timeout(OPEN_TIMEOUT, opening).await {
            Ok(Ok(feed)) => match self.read(feed).await {
                Ok(()) => Status::ok(""),
                Err(status) => status,
            },
            Ok(Err(status)) => status,
            Err(_) => Status::deadline_exceeded("the stream did not open in time"),
        };
        self.note(What::Ended {
            code: status.code(),
            why: status.message().to_owned(),
        });
    }

    async fn read(&mut self, mut feed: Feed) -> Result<(), Status> {
        let mut messages = 0;
        while let Some((message, token)) = feed.next().await? {
            if let Some(through) = message.body.through() {
                if message.resumable {
                    self.token = Some((token, through));
                }
                self.through.send_replace(through);
            } else if matches!(message.body, Body::Reset(_)) {
                self.token = None;
                self.through.send_replace(0);
            }
            self.note(What::Told(message));
            messages += 1;
            self.messages += 1;
            match self.watcher.rest {
                Some((every, rest)) if self.messages.is_multiple_of(every) => sleep(rest).await,
                _ => {}
            }
            if self
                .watcher
                .rotate_every
                .is_some_and(|every| messages >= every)
            {
                return Err(Status::cancelled("it moves on to the next replica"));
            }
        }
        Ok(())
    }

    fn note(&mut self, what: What) {
        let at = Instant::now();
        self.observation.entries.push(Entry { at, what });
    }
}

/// Connects with its first call, and again whenever it has to.
fn channel(address: &SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .connect_timeout(OPEN_TIMEOUT)
        .http2_keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .connect_lazy()
}
