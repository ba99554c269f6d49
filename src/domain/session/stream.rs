//! One stream of heartbeats: many sessions, their answers, and what they lose.

use std::{
    collections::HashMap,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};

use crate::domain::{error::Error, session_id::SessionId};

use super::{
    Sessions,
    loss::{Loss, Lost, SessionLost},
    notices::{Notice, Subscription},
    renewal::{Alive, Beat},
};

/// How many heartbeats of one stream may wait for their renewal before no more are read.
const MAX_PENDING: usize = 1024;

/// A stream of heartbeats.
pub struct HeartbeatStream {
    sessions: Sessions,
    subscription: Subscription,
    last: HashMap<SessionId, Heartbeat>,
    pending: FuturesUnordered<BoxFuture<'static, Renewed>>,
}

type Renewed = (SessionId, Result<Alive, Error>);

/// The last heartbeat of a session on a stream.
struct Heartbeat {
    seq: i64,
    received: Instant,
    /// An answer is on its way, to this one or to one that it overtook.
    pending: bool,
}

/// The answer to a heartbeat: the session lives.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Which one.
    pub session: SessionId,
    /// The number of the heartbeat that is answered.
    pub seq: i64,
    /// The granted time to live.
    pub ttl: Duration,
    /// How long it surely lives, from when that heartbeat was received.
    pub valid_for: Duration,
}

/// What a stream says.
#[derive(Debug, Clone)]
pub enum Said {
    /// A session lives.
    Alive(Answer),
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

    /// Takes a heartbeat in, and answers it at once if nothing has to be waited for. The first one
    /// of a session on the stream also has its losses told.
    pub fn heartbeat(&mut self, session: SessionId, seq: i64) -> Option<Answer> {
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
            self.sessions.renewals.mark(&session, received);
            return None;
        }
        let beat = self.sessions.beat(session, received);
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

    /// Looks for what there is to say.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Said> {
        loop {
            let draining = match self.subscription.poll_next(context) {
                Poll::Ready(Notice::Missed) => return Poll::Ready(Said::TooSlow),
                Poll::Ready(Notice::Lost(loss)) => {
                    if !matches!(loss.what, Lost::Session(_)) || self.forget(&loss.session) {
                        return Poll::Ready(Said::Lost(loss));
                    }
                    continue;
                }
                Poll::Ready(Notice::Draining) => true,
                Poll::Pending => false,
            };
            match self.poll_pending(context) {
                Some((session, result)) => {
                    if let Some(said) = self.answer(session, result) {
                        return Poll::Ready(said);
                    }
                }
                None if draining => return Poll::Ready(Said::Draining),
                None => return Poll::Pending,
            }
        }
    }

    /// A renewal that was waited for.
    fn poll_pending(&mut self, context: &mut Context<'_>) -> Option<Renewed> {
        // Nearly always: to poll nothing costs more than to look.
        if self.pending.is_empty() {
            return None;
        }
        match self.pending.poll_next_unpin(context) {
            Poll::Ready(renewed) => renewed,
            Poll::Pending => None,
        }
    }

    fn answer(&mut self, session: SessionId, result: Result<Alive, Error>) -> Option<Said> {
        let last = self.last.get_mut(&session)?;
        last.pending = false;
        match result {
            Ok(alive) => Some(Said::Alive(last.answer(session, alive))),
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
    fn answer(&self, session: SessionId, alive: Alive) -> Answer {
        Answer {
            session,
            seq: self.seq,
            ttl: alive.ttl,
            valid_for: alive.valid_until.saturating_duration_since(self.received),
        }
    }
}
