//! A watch that resumes by itself, on any endpoint: one implementation for everything that can be
//! watched.

mod selections;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use tokio::time::Instant;
use tonic::{Code, Status, Streaming, transport::Channel};

pub use self::selections::Body;
use crate::{
    backoff::Backoff,
    call::Caller,
    duration::from_wire,
    endpoints::Endpoint,
    error::{Error, Result},
    proto::{
        DeleteCause, ErrorReason, Final, ResetReason, ResponseHeader, WatchStart, watch_start,
    },
};

/// What can be watched: a request of one of the watch methods. Its `start` is set by the watch.
pub trait Selection: Clone + Send + Sync + Unpin + 'static {
    /// One message of the stream.
    type Response: Send + 'static;
    /// What is selected.
    type Item: Clone + Send + Sync + 'static;

    /// Calls the method.
    fn open(
        self,
        channel: Channel,
        start: Option<WatchStart>,
    ) -> BoxFuture<'static, Result<Streaming<Self::Response>, Status>>;

    /// Names the watch, so that it is known again when it is resumed elsewhere.
    fn introduce(&mut self, _client_id: &str) {}

    /// Tells the server that everything up to `revision` is in effect, if that was promised.
    fn acknowledge(
        &self,
        _channel: Channel,
        _revision: i64,
    ) -> Option<BoxFuture<'static, Result<(), Status>>> {
        None
    }

    /// Takes a message apart.
    fn read(response: Self::Response) -> Message<Self::Item>;

    /// What tells an item from the others of the selection.
    fn key(item: &Self::Item) -> String;
}

/// A message of a watch, whatever it watches.
#[derive(Debug)]
pub struct Message<T> {
    /// Which state the message shows.
    pub header: ResponseHeader,
    /// Resumes after this message. Empty where there is nothing to resume from.
    pub resume_token: Bytes,
    /// Whether the serving view also shows suspect and unhealthy instances.
    pub protected: bool,
    /// Whether the server wants to know when the message is in effect.
    pub ack_requested: bool,
    /// What the message says; nothing if this release does not know it.
    pub body: Option<Body<T>>,
}

/// What a watch shows next.
#[derive(Debug, Clone)]
pub struct Update<T> {
    /// Which state it shows.
    pub header: ResponseHeader,
    /// Revision through which the watch is current.
    pub revision: i64,
    /// Whether the serving view also shows suspect and unhealthy instances. Only for instances.
    pub protected: bool,
    /// Resumes a watch after this update, on any replica.
    pub resume_token: Bytes,
    /// What is new.
    pub kind: UpdateKind<T>,
}

/// What is new.
#[derive(Debug, Clone)]
pub enum UpdateKind<T> {
    /// Everything selected. Replaces all that was shown before.
    Snapshot {
        /// The items.
        items: Vec<T>,
        /// Why there is one although the watch had begun before.
        reset: Option<ResetReason>,
    },
    /// What changed; apply it whole.
    Delta {
        /// The changes, at most one for each item.
        changes: Vec<Change<T>>,
        /// Whether changes of several revisions are merged.
        conflated: bool,
    },
    /// Nothing.
    Current,
}

/// The change of one item.
#[derive(Debug, Clone)]
pub enum Change<T> {
    /// It became visible in the selection.
    Added(T),
    /// It changed.
    Modified(T),
    /// It is no longer selected: as it last was, and why.
    Deleted(T, DeleteCause),
}

/// A watch that never ends by itself.
pub struct Watch<S: Selection> {
    caller: Arc<Caller>,
    selection: S,
    state: State<S>,
    backoff: Backoff,
    /// Where to resume. Empty means with a snapshot.
    token: Bytes,
    /// Parts of a snapshot or delta that is not complete yet.
    snapshot: Option<Vec<S::Item>>,
    delta: Vec<Change<S::Item>>,
    reset: Option<ResetReason>,
    acks: Acks,
}

/// What is to be acknowledged. Nothing of it outlives its stream: the token acknowledges it.
#[derive(Default)]
struct Acks {
    /// A part of the update that is under way asks for it.
    asked: bool,
    /// The update that was handed out last asks for it. It is in effect when the next one is asked
    /// for.
    handed_out: Option<i64>,
    /// What is in effect and not acknowledged.
    due: Option<i64>,
    sending: Option<(i64, BoxFuture<'static, Result<(), Status>>)>,
}

/// How long an acknowledgement that was not taken is held back.
const ACK_PAUSE: Duration = Duration::from_millis(200);

/// Held in the watch, so that a dropped `next` loses nothing.
enum State<S: Selection> {
    Waiting {
        until: Instant,
    },
    Opening {
        endpoint: Endpoint,
        until: Instant,
        opening: BoxFuture<'static, Result<Streaming<S::Response>, Status>>,
    },
    Open {
        endpoint: Endpoint,
        last: Instant,
        stream: Box<Streaming<S::Response>>,
    },
}

// === impl Watch ===

impl<S: Selection> Watch<S> {
    /// A watch that begins with a snapshot, or after `token` if it is not empty.
    pub(crate) fn new(caller: Arc<Caller>, mut selection: S, token: Bytes) -> Self {
        selection.introduce(&caller.options.session.client_id);
        let backoff = Backoff::of_many(caller.options.max_backoff);
        Self {
            caller,
            selection,
            state: State::Waiting {
                until: Instant::now(),
            },
            backoff,
            token,
            snapshot: None,
            delta: Vec::new(),
            reset: None,
            acks: Acks::default(),
        }
    }

    /// The next update. Waits for ever while no endpoint answers; may be dropped and called again.
    /// To ask for it says that the one before is in effect, which a watch that acknowledges tells
    /// the server.
    ///
    /// Fails only for what another try does not change: a malformed selection, a token of another
    /// one, a server without the method. Calling again then tries again, after a pause.
    pub async fn next(&mut self) -> Result<Update<S::Item>> {
        self.acks.due = self.acks.handed_out.take().or(self.acks.due);
        loop {
            match &mut self.state {
                State::Waiting { until } => {
                    tokio::time::sleep_until(*until).await;
                    self.open();
                }
                State::Opening {
                    endpoint,
                    until,
                    opening,
                } => match tokio::time::timeout_at(*until, opening).await {
                    Ok(Ok(stream)) => {
                        self.state = State::Open {
                            endpoint: endpoint.clone(),
                            last: Instant::now(),
                            stream: Box::new(stream),
                        };
                    }
                    Ok(Err(status)) => self.broken(status.into())?,
                    Err(_) => {
                        let patience = self.opening_time();
                        self.broken(Error::deadline(patience))?;
                    }
                },
                State::Open {
                    endpoint,
                    last,
                    stream,
                } => {
                    let silence = self.caller.options.stream_silence;
                    self.acks.send(&self.selection, endpoint);
                    let message = tokio::select! {
                        message = tokio::time::timeout_at(*last + silence, stream.message()) => {
                            message
                        }
                        taken = self.acks.sent() => {
                            self.acks.taken(taken, &self.selection, endpoint);
                            continue;
                        }
                    };
                    match message {
                        Ok(Ok(Some(response))) => {
                            *last = Instant::now();
                            self.backoff.reset();
                            let message = S::read(response);
                            if let Some(Body::Bookmark { r#final, .. }) = message.body
                                && r#final == Final::Draining
                            {
                                self.caller.endpoints.leave(endpoint);
                            }
                            if let Some(update) = self.take(message) {
                                return Ok(update);
                            }
                        }
                        // Ended with status OK, after a final bookmark.
                        Ok(Ok(None)) => self.wait(),
                        Ok(Err(status)) => self.broken(status.into())?,
                        Err(_) => self.broken(Error::silent(silence))?,
                    }
                }
            }
        }
    }

    fn open(&mut self) {
        self.snapshot = None;
        self.delta.clear();
        self.acks = Acks::default();
        let start = (!self.token.is_empty()).then(|| WatchStart {
            position: Some(watch_start::Position::ResumeToken(self.token.clone())),
            epoch: String::new(),
        });
        let endpoint = self.caller.endpoints.current();
        self.state = State::Opening {
            opening: self.selection.clone().open(endpoint.channel.clone(), start),
            until: Instant::now() + self.opening_time(),
            endpoint,
        };
    }

    /// Opening may wait until a replica has reached the token's revision.
    fn opening_time(&self) -> Duration {
        let options = &self.caller.options;
        options.connect_timeout + options.call_timeout + Duration::from_secs(1)
    }

    fn wait(&mut self) {
        self.state = State::Waiting {
            until: Instant::now() + self.backoff.wait(),
        };
    }

    /// Gets ready to go on after an error, which is returned if going on cannot help.
    fn broken(&mut self, error: Error) -> Result<()> {
        let endpoint = match &self.state {
            State::Opening { endpoint, .. } | State::Open { endpoint, .. } => Some(endpoint),
            State::Waiting { .. } => None,
        };
        let error = match endpoint {
            Some(endpoint) => error.at(&endpoint.address),
            None => error,
        };
        let begins_anew = matches!(
            error.reason(),
            ErrorReason::InvalidResumeToken | ErrorReason::CursorCompacted
        ) && !self.token.is_empty();
        if begins_anew {
            self.token.clear();
        } else if let Some(endpoint) = endpoint {
            self.caller.endpoints.leave(endpoint);
        }
        self.wait();
        let hopeless = matches!(
            error.code(),
            Code::InvalidArgument
                | Code::NotFound
                | Code::PermissionDenied
                | Code::Unauthenticated
                | Code::Unimplemented
        );
        if hopeless && !begins_anew {
            return Err(error);
        }
        tracing::debug!(%error, "watch interrupted");
        Ok(())
    }

    /// Takes in a message; an update is returned when it is whole.
    fn take(&mut self, message: Message<S::Item>) -> Option<Update<S::Item>> {
        self.acks.asked |= message.ack_requested;
        let (revision, kind) = match message.body? {
            Body::Snapshot(items) => {
                self.snapshot.get_or_insert_default().extend(items);
                return None;
            }
            Body::SnapshotEnd { revision } => {
                let items = self.snapshot.take().unwrap_or_default();
                let reset = self.reset.take();
                (revision, UpdateKind::Snapshot { items, reset })
            }
            Body::Delta {
                revision,
                changes,
                conflated,
                last_part,
            } => {
                self.delta.extend(changes);
                if !last_part {
                    return None;
                }
                let changes = std::mem::take(&mut self.delta);
                (revision, UpdateKind::Delta { changes, conflated })
            }
            Body::Bookmark { revision, .. } => (revision, UpdateKind::Current),
            Body::Reset(reason) => {
                self.snapshot = None;
                self.delta.clear();
                self.reset = Some(reason);
                return None;
            }
        };
        if !message.resume_token.is_empty() {
            self.token = message.resume_token.clone();
        }
        if std::mem::take(&mut self.acks.asked) {
            self.acks.handed_out = Some(revision);
        }
        Some(Update {
            header: message.header,
            revision,
            protected: message.protected,
            resume_token: message.resume_token,
            kind,
        })
    }
}

impl<S: Selection> std::fmt::Debug for Watch<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

// === impl Acks ===

impl Acks {
    /// Begins to acknowledge what is due.
    fn send<S: Selection>(&mut self, selection: &S, endpoint: &Endpoint) {
        if self.sending.is_none()
            && let Some(revision) = self.due.take()
        {
            let sending = selection.acknowledge(endpoint.channel.clone(), revision);
            self.sending = sending.map(|sending| (revision, sending));
        }
    }

    /// Completes when what is being sent was answered. Cancel-safe.
    async fn sent(&mut self) -> Result<(), Status> {
        match &mut self.sending {
            Some((_, sending)) => sending.await,
            None => std::future::pending().await,
        }
    }

    /// Takes in an answer. What was not taken is sent again for as long as the stream lives.
    fn taken<S: Selection>(
        &mut self,
        answer: Result<(), Status>,
        selection: &S,
        endpoint: &Endpoint,
    ) {
        let Some((revision, _)) = self.sending.take() else {
            return;
        };
        let Err(status) = answer else {
            return;
        };
        tracing::debug!(%status, "an acknowledgement was not taken");
        let revision = self.due.take().unwrap_or(revision);
        let again = selection.acknowledge(endpoint.channel.clone(), revision);
        self.sending = again.map(|again| {
            let later = async move {
                tokio::time::sleep(ACK_PAUSE).await;
                again.await
            };
            (revision, later.boxed())
        });
    }
}

// === impl Update ===

impl<T> Update<T> {
    /// How long ago, when it was sent, the replica last knew its state to be current.
    pub fn age(&self) -> Option<Duration> {
        self.header.age.map(from_wire)
    }
}
