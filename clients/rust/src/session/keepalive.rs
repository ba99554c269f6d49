//! The heartbeats of one session, over one stream at a time, on whichever endpoint answers.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rand::Rng;
use tokio::{
    sync::{broadcast, mpsc, watch},
    time::Instant,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::{
    backoff::Backoff,
    call::Caller,
    clock::BootInstant,
    duration::from_wire,
    endpoints::Endpoint,
    error::{Error, Result},
    proto::{
        Final, KeepAliveRequest, KeepAliveResponse, SessionAlive, keep_alive_response::Message,
        session_service_client::SessionServiceClient,
    },
    session::{Ended, Life, SessionEvent, safe_deadline},
};

/// Heartbeats that may wait for the connection. More means that it is stuck.
const QUEUE: usize = 4;
/// How long an answer may take before the stream counts as dead, as a share of the TTL. The last
/// renewal may be a third of the TTL old when a replica begins to hang, and the next heartbeat
/// is another third away: what is left must do for a second replica that hangs too.
const ANSWER: u32 = 6;
/// The shortest time that is.
const MIN_ANSWER: Duration = Duration::from_secs(1);

pub(super) struct Keepalive {
    pub(super) id: String,
    pub(super) ttl: Duration,
    pub(super) caller: Arc<Caller>,
    pub(super) life: watch::Sender<Life>,
    pub(super) events: broadcast::Sender<SessionEvent>,
}

/// One stream: its heartbeats and what came back.
struct Stream {
    requests: mpsc::Sender<KeepAliveRequest>,
    responses: Streaming<KeepAliveResponse>,
    /// When each heartbeat without an answer was sent.
    unanswered: BTreeMap<i64, (BootInstant, Instant)>,
    last_seq: i64,
}

/// Why a stream is over.
enum Over {
    /// The session ended.
    Session,
    /// The server ended the stream; nothing is wrong.
    Final(Final),
}

// === impl Keepalive ===

impl Keepalive {
    /// Runs until the session ends.
    pub(super) async fn run(self) {
        // A wait must leave time for several tries within the TTL.
        let mut backoff = Backoff::new(self.caller.options.max_backoff.min(self.ttl / 6));
        let mut interrupted = false;
        loop {
            let endpoint = self.caller.endpoints.current();
            let outcome = self.stream(&endpoint, interrupted, &mut backoff).await;
            interrupted = true;
            match outcome {
                Ok(Over::Session) => return,
                Ok(Over::Final(why)) => {
                    if why == Final::Draining {
                        self.caller.endpoints.leave(&endpoint);
                    }
                }
                Err(error) => {
                    self.caller.endpoints.leave(&endpoint);
                    tracing::debug!(%error, endpoint = endpoint.address, "heartbeats interrupted");
                }
            }
            tokio::time::sleep(backoff.wait()).await;
        }
    }

    /// Sends heartbeats over one stream until it or the session ends.
    async fn stream(
        &self,
        endpoint: &Endpoint,
        interrupted: bool,
        backoff: &mut Backoff,
    ) -> Result<Over> {
        let patience = (self.ttl / ANSWER).max(MIN_ANSWER);
        let mut stream = tokio::time::timeout(patience, Stream::open(endpoint, &self.id))
            .await
            .map_err(|_| Error::deadline(patience))??;
        let mut answered = false;
        let mut next = Instant::now() + self.interval();
        loop {
            let silent = stream.oldest().map(|sent| sent + patience);
            tokio::select! {
                message = stream.responses.message() => {
                    let Some(response) = message? else {
                        return Ok(Over::Final(Final::Unspecified));
                    };
                    let first = !std::mem::replace(&mut answered, true);
                    if first {
                        backoff.reset();
                    }
                    if let Some(over) = self.take(response, &mut stream) {
                        return Ok(over);
                    }
                    // Not where the answer is that the session ended.
                    if first && interrupted {
                        self.tell(SessionEvent::Resumed);
                    }
                }
                () = tokio::time::sleep_until(next) => {
                    stream.beat(&self.id)?;
                    next = Instant::now() + self.interval();
                }
                () = until(silent) => return Err(Error::silent(patience)),
            }
        }
    }

    fn take(&self, response: KeepAliveResponse, stream: &mut Stream) -> Option<Over> {
        match response.message? {
            Message::Alive(alive) if alive.session_id == self.id => {
                self.extend(&alive, stream);
                None
            }
            Message::SessionLost(lost) if lost.session_id == self.id => {
                let how = Ended::Lost(lost.reason());
                self.life.send_if_modified(|life| life.end(how));
                Some(Over::Session)
            }
            Message::InstanceLost(lost) => {
                self.tell(SessionEvent::InstanceLost(lost));
                None
            }
            Message::LockLost(lost) => {
                self.tell(SessionEvent::LockLost(lost));
                None
            }
            Message::LeadershipLost(lost) => {
                self.tell(SessionEvent::LeadershipLost(lost));
                None
            }
            Message::YieldRequested(asked) => {
                self.tell(SessionEvent::YieldRequested(asked));
                None
            }
            Message::End(end) => Some(Over::Final(end.r#final())),
            // Of another session: not ours to judge.
            Message::Alive(_) | Message::SessionLost(_) => None,
            // Watches acknowledge over their own connection.
            Message::AcksUnknown(_) => None,
        }
    }

    fn extend(&self, alive: &SessionAlive, stream: &mut Stream) {
        let Some(sent) = stream.answered(alive.seq) else {
            return;
        };
        let valid_for = from_wire(alive.valid_for.unwrap_or_default());
        let ttl = alive.ttl.map_or(self.ttl, from_wire);
        let until = safe_deadline(sent, valid_for, ttl);
        self.life.send_if_modified(|life| life.extend(until));
    }

    fn tell(&self, event: SessionEvent) {
        // Nobody listening is fine.
        let _ = self.events.send(event);
    }

    /// A little less than a third of the TTL, never the same for two clients.
    fn interval(&self) -> Duration {
        (self.ttl / 3).mul_f64(rand::rng().random_range(0.85..=1.0))
    }
}

// === impl Stream ===

impl Stream {
    /// Opens a stream with a first heartbeat in it.
    async fn open(endpoint: &Endpoint, id: &str) -> Result<Self> {
        let (requests, queue) = mpsc::channel(QUEUE);
        let sent = (BootInstant::now(), Instant::now());
        let first = KeepAliveRequest {
            session_id: id.into(),
            seq: 1,
            acks: Vec::new(),
        };
        requests.try_send(first).map_err(|_| stuck())?;
        let responses = SessionServiceClient::new(endpoint.channel.clone())
            .keep_alive(ReceiverStream::new(queue))
            .await
            .map_err(|status| Error::from(status).at(&endpoint.address))?
            .into_inner();
        Ok(Self {
            requests,
            responses,
            unanswered: BTreeMap::from([(1, sent)]),
            last_seq: 1,
        })
    }

    fn beat(&mut self, id: &str) -> Result<()> {
        self.last_seq += 1;
        self.unanswered
            .insert(self.last_seq, (BootInstant::now(), Instant::now()));
        let request = KeepAliveRequest {
            session_id: id.into(),
            seq: self.last_seq,
            acks: Vec::new(),
        };
        self.requests.try_send(request).map_err(|_| stuck())
    }

    /// When the heartbeat was sent. An answer covers all before it.
    fn answered(&mut self, seq: i64) -> Option<BootInstant> {
        let (sent, _) = self.unanswered.remove(&seq)?;
        self.unanswered = self.unanswered.split_off(&seq);
        Some(sent)
    }

    /// When the oldest heartbeat without an answer was sent.
    fn oldest(&self) -> Option<Instant> {
        self.unanswered.values().next().map(|(_, sent)| *sent)
    }
}

/// The heartbeats are not taken off the queue.
fn stuck() -> Error {
    Error::client(
        tonic::Code::Unavailable,
        crate::proto::ErrorReason::Unspecified,
        "the connection takes no heartbeats".into(),
    )
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
