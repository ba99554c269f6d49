//! One stream of heartbeats: many sessions, their answers, and what they lose.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};

use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::domain::{error::Error, session_id::SessionId};

use super::{
    Sessions,
    loss::{Loss, Lost, SessionLost},
    notices::Subscription,
    renewal::{Alive, Beat},
};

/// How many heartbeats of one stream may wait for their renewal before no more are read.
const MAX_PENDING: usize = 1024;

/// A stream of heartbeats.
pub struct HeartbeatStream {
    sessions: Sessions,
    subscription: Subscription,
    last: HashMap<SessionId, Heartbeat>,
    pending: FuturesUnordered<BoxFuture<'static, (SessionId, Result<Alive, Error>)>>,
    /// Kept from one word to the next: to begin to listen costs a lock that all streams share.
    draining: Pin<Box<WaitForCancellationFutureOwned>>,
}

/// The last heartbeat of a session on a stream.
struct Heartbeat {
    seq: i64,
    received: Instant,
    /// An answer is on its way, to this one or to one that it overtook.
    pending: bool,
}

/// What a stream says.
#[derive(Debug, Clone)]
pub enum Said {
    /// A session lives.
    Alive {
        /// Which one.
        session: SessionId,
        /// The number of the heartbeat that is answered.
        seq: i64,
        /// The granted time to live.
        ttl: Duration,
        /// How long it surely lives, from when that heartbeat was received.
        valid_for: Duration,
    },
    /// A session, or something it had, is lost.
    Lost(Arc<Loss>),
    /// The stream does not read: it ends here.
    TooSlow,
    /// This replica is stopping: the stream ends here.
    Draining,
}

// === impl Sessions ===

impl Sessions {
    /// Opens a stream of heartbeats.
    pub fn attach(&self) -> HeartbeatStream {
        HeartbeatStream {
            sessions: self.clone(),
            subscription: self.notices.subscribe(),
            last: HashMap::new(),
            pending: FuturesUnordered::new(),
            draining: Box::pin(self.draining.clone().cancelled_owned()),
        }
    }
}

// === impl HeartbeatStream ===

impl HeartbeatStream {
    /// Says whether no more heartbeats are to be read for now.
    pub fn is_full(&self) -> bool {
        self.pending.len() >= MAX_PENDING
    }

    /// Says whether every heartbeat has its answer.
    pub fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }

    /// Takes a heartbeat in, and answers it at once if nothing has to be waited for. The first one
    /// of a session on the stream also has its losses told.
    pub fn heartbeat(&mut self, session: SessionId, seq: i64) -> Option<Said> {
        let received = self.sessions.core.clock.now();
        let last = match self.last.get_mut(&session) {
            Some(last) => last,
            None => {
                // First the route, then the look at the session: nothing is lost in between.
                let view = self.sessions.core.cache.view().ok();
                self.subscription
                    .name(session, view.as_ref().map(|view| &*view.state));
                self.last.entry(session).or_insert(Heartbeat {
                    seq,
                    received,
                    pending: false,
                })
            }
        };
        last.seq = seq;
        last.received = received;
        if last.pending {
            // The renewal it waits for answers this one too, and this one counts for the next.
            self.sessions.renewals.mark(&session);
            return None;
        }
        let beat = self.sessions.beat(session);
        if let Some(Beat::Alive(alive)) = beat {
            return Some(last.answer(session, alive));
        }
        last.pending = true;
        let sessions = self.sessions.clone();
        let waiting = async move {
            let result = match beat {
                Some(beat) => beat.outcome().await,
                // Not seen here yet, or gone.
                None => sessions.heartbeat(session).await,
            };
            (session, result)
        };
        self.pending.push(waiting.boxed());
        None
    }

    /// Waits for what there is to say. Cancel-safe.
    pub async fn next(&mut self) -> Said {
        loop {
            tokio::select! {
                biased;
                loss = self.subscription.next() => match loss {
                    None => return Said::TooSlow,
                    Some(loss) => {
                        if !matches!(loss.what, Lost::Session(_)) || self.forget(&loss.session) {
                            return Said::Lost(loss);
                        }
                    }
                },
                Some((session, result)) = self.pending.next() => {
                    if let Some(said) = self.answer(session, result) {
                        return said;
                    }
                }
                () = &mut self.draining => return Said::Draining,
            }
        }
    }

    fn answer(&mut self, session: SessionId, result: Result<Alive, Error>) -> Option<Said> {
        let last = self.last.get_mut(&session)?;
        last.pending = false;
        match result {
            Ok(alive) => Some(last.answer(session, alive)),
            Err(Error::LeaseExpired) => self.forget(&session).then(|| {
                Said::Lost(Arc::new(Loss {
                    session,
                    what: Lost::Session(SessionLost::Expired),
                }))
            }),
            Err(error) => {
                // No word is the answer: what the client knows holds until it ends.
                tracing::debug!(session = ?session, %error, "a heartbeat goes without an answer");
                None
            }
        }
    }

    fn forget(&mut self, session: &SessionId) -> bool {
        self.last.remove(session);
        self.subscription.unname(session)
    }
}

// === impl Heartbeat ===

impl Heartbeat {
    fn answer(&self, session: SessionId, alive: Alive) -> Said {
        Said::Alive {
            session,
            seq: self.seq,
            ttl: alive.ttl,
            valid_for: alive.valid_until.saturating_duration_since(self.received),
        }
    }
}
