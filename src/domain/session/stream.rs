//! One stream of heartbeats: many sessions, their answers, and what they lose.

use std::{collections::HashMap, sync::Arc, time::Duration, time::Instant};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};

use crate::domain::{error::Error, session_id::SessionId};

use super::{
    Sessions,
    loss::{Loss, Lost, SessionLost},
    notices::Subscription,
    renewal::Alive,
};

/// How many heartbeats of one stream may wait for their renewal before no more are read.
const MAX_PENDING: usize = 1024;

/// A stream of heartbeats.
pub struct HeartbeatStream {
    sessions: Sessions,
    subscription: Subscription,
    last: HashMap<SessionId, Heartbeat>,
    pending: FuturesUnordered<BoxFuture<'static, (SessionId, Result<Alive, Error>)>>,
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

    /// Takes a heartbeat in. The first one of a session on the stream also has its losses told.
    pub fn heartbeat(&mut self, session: SessionId, seq: i64) {
        let received = self.sessions.core.clock.now();
        if !self.last.contains_key(&session) {
            // First the route, then the look at the session: nothing is lost in between.
            let view = self.sessions.core.cache.view().ok();
            self.subscription
                .name(session, view.as_ref().map(|view| &*view.state));
        }
        let last = self.last.entry(session).or_insert(Heartbeat {
            seq,
            received,
            pending: false,
        });
        last.seq = seq;
        last.received = received;
        if last.pending {
            // The renewal it waits for answers this one too, and this one counts for the next.
            self.sessions.renewals.mark(&session);
            return;
        }
        last.pending = true;
        let sessions = self.sessions.clone();
        self.pending
            .push(async move { (session, sessions.heartbeat(session).await) }.boxed());
    }

    /// Waits for what there is to say. Cancel-safe.
    pub async fn next(&mut self) -> Said {
        let draining = self.sessions.draining.clone();
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
                () = draining.cancelled() => return Said::Draining,
            }
        }
    }

    fn answer(&mut self, session: SessionId, result: Result<Alive, Error>) -> Option<Said> {
        let last = self.last.get_mut(&session)?;
        last.pending = false;
        match result {
            Ok(alive) => Some(Said::Alive {
                session,
                seq: last.seq,
                ttl: alive.ttl,
                valid_for: alive.valid_until.saturating_duration_since(last.received),
            }),
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
