//! Holding a lock for as long as somebody listens: a claim that goes with its stream.
//!
//! A client that ends its stream lets go: its claim goes at once. One that is lost, or sent away,
//! may come back with the same request, here or elsewhere, and its claim is kept for a moment, as
//! that of every broken call is. One that fell silent, or that is sent away and may not hear of it,
//! may believe to hold the lock for as long as it was told that its session lives, and its claim is
//! kept for that time. Whoever took the claim up last has it; the one before is told so.

mod lookout;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{FutureExt, future::BoxFuture};
use tokio::sync::watch;

use crate::{
    domain::{error::Error, session::LockLost, state::View},
    store::Revision,
};

use self::lookout::{Lookout, Others, Seen};
use super::{
    Acquire, Claim, Granted, Locks, YieldRequest,
    abandoned::LetGo,
    reentrant::identity,
    wait::{Spot, Ticket},
};

/// Asks why the client does not listen any more.
pub type AskWhyEnded = Box<dyn Fn() -> WhyEnded + Send + Sync>;

/// Why a client does not listen any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhyEnded {
    /// It is done with its stream.
    Done,
    /// Its connection is gone, as it sees too.
    Lost,
    /// Nothing was heard of it. It may not know that its connection is taken for lost.
    Silent,
}

/// A claim that somebody listens for. Dropped, it goes: at once, or later if its client is lost.
pub struct Holding {
    locks: Locks,
    request: Acquire,
    let_go: LetGo,
    why_ended: AskWhyEnded,
    /// When the call came.
    begun: Instant,
    lookout: Lookout,
    stage: Stage,
}

enum Stage {
    Waiting {
        turn: BoxFuture<'static, Result<(Granted, Ticket), Error>>,
        /// The place, once there is one.
        spot: watch::Receiver<Option<Spot>>,
    },
    Held(Box<Held>),
    Ended,
}

/// A claim that holds the lock.
struct Held {
    claim: Arc<Claim>,
    ticket: Ticket,
}

/// How a claim stands, at a revision.
#[derive(Debug, Clone)]
pub struct Told {
    /// What is said of it.
    pub news: News,
    /// The revision at which that is so.
    pub revision: Revision,
}

/// What is said of a claim that somebody listens for.
#[derive(Debug, Clone)]
pub enum News {
    /// It waits.
    Queued {
        /// The token that it will have.
        fencing_token: i64,
        /// Its place among those who wait: 1 for who is next.
        position: usize,
        /// How many wait.
        waiting: usize,
    },
    /// It holds the lock.
    Acquired {
        /// Its token.
        fencing_token: i64,
        /// How long its session surely lives, from when the call came; `None`: not known here.
        valid_for: Option<Duration>,
    },
    /// Others want the lock, or do not any more.
    Contended {
        /// How many wait.
        waiting: usize,
        /// What the holder is asked.
        asked: Option<YieldRequest>,
    },
    /// It does not hold the lock any more. Nothing follows.
    Lost {
        /// The token that it had.
        fencing_token: i64,
        /// Why.
        cause: LockLost,
    },
}

// === impl Locks ===

impl Locks {
    /// Claims a lock for as long as the holding lives. Nothing happens before it is asked for news.
    pub fn hold(&self, mut request: Acquire, why_ended: AskWhyEnded) -> Holding {
        let let_go = LetGo::of_stream();
        request.let_go = Some(let_go.clone());
        let identity = identity(request.reentrant.as_deref(), &request.request_id);
        let key = self
            .core
            .keys
            .waiter(&request.lock, &request.session, &identity);
        let (tell, spot) = watch::channel(None);
        let (locks, asked) = (self.clone(), request.clone());
        let turn = async move {
            let entered = |spot: &Spot| {
                tell.send_replace(Some(spot.clone()));
            };
            locks.take_place(asked, entered).await
        };
        Holding {
            begun: self.core.clock.now(),
            lookout: Lookout::new(self, &request, &key),
            stage: Stage::Waiting {
                turn: turn.boxed(),
                spot,
            },
            locks: self.clone(),
            request,
            let_go,
            why_ended,
        }
    }
}

// === impl Holding ===

impl Holding {
    /// Waits for something new; `None` once all is said. Whoever comes late is told the latest
    /// alone. Errors: those of [`Locks::acquire`] until the lock is held, [`Error::Draining`],
    /// [`Error::TakenOver`].
    pub async fn next(&mut self) -> Result<Option<Told>, Error> {
        let told = match &mut self.stage {
            Stage::Ended => return Ok(None),
            Stage::Waiting { turn, spot } => tokio::select! {
                biased;
                granted = turn => match granted {
                    Ok((granted, ticket)) => return Ok(Some(self.acquired(granted, ticket))),
                    Err(error) => Err(error),
                },
                waits = self.lookout.waiting(spot) => waits,
            },
            Stage::Held(held) => {
                let token = held.claim.waiter.fencing_token();
                tokio::select! {
                    biased;
                    () = self.locks.draining.cancelled() => Err(Error::Draining),
                    seen = self.lookout.held(&mut held.ticket.spot) => self.look(token, seen),
                }
            }
        };
        if told.is_err() {
            self.end();
        }
        told.map(Some)
    }

    fn acquired(&mut self, granted: Granted, ticket: Ticket) -> Told {
        let alive = self.locks.sessions.surely_alive(&self.request.session);
        let news = News::Acquired {
            fencing_token: granted.claim.waiter.fencing_token(),
            valid_for: alive.map(|alive| alive.valid_until.saturating_duration_since(self.begun)),
        };
        self.lookout.begin_anew();
        self.stage = Stage::Held(Box::new(Held {
            claim: granted.claim,
            ticket,
        }));
        Told {
            news,
            revision: granted.revision,
        }
    }

    /// What is told of a claim that held the lock when it was last looked at.
    fn look(&mut self, fencing_token: i64, (seen, view): (Seen, View)) -> Result<Told, Error> {
        let news = match seen {
            Seen::TakenOver => return Err(Error::TakenOver(self.request.lock.clone())),
            Seen::Held(Others { waiting, asked }) => News::Contended { waiting, asked },
            Seen::Waits { .. } => self.lost(fencing_token, LockLost::EpochChanged),
            Seen::Gone => {
                let cause = self.why(fencing_token, &view);
                if let Stage::Held(held) = std::mem::replace(&mut self.stage, Stage::Ended) {
                    held.ticket.pending.settled();
                }
                self.lost(fencing_token, cause)
            }
        };
        Ok(Told {
            news,
            revision: view.revision,
        })
    }

    fn lost(&mut self, fencing_token: i64, cause: LockLost) -> News {
        self.end();
        News::Lost {
            fencing_token,
            cause,
        }
    }

    /// Why a claim is gone that held the lock.
    fn why(&self, fencing_token: i64, view: &View) -> LockLost {
        let key = (self.request.lock.clone(), fencing_token);
        if let Some(forced) = view.state.forced.get(&key) {
            return LockLost::Forced(forced.clone());
        }
        let kept = match &self.stage {
            Stage::Held(held) => held.ticket.spot.epoch == view.state.epoch.id,
            _ => true,
        };
        match view.state.sessions.contains_key(&self.request.session) {
            _ if !kept => LockLost::EpochChanged,
            false => LockLost::Session,
            true => LockLost::Removed,
        }
    }

    /// We end it, so that what is left of it is kept for a moment.
    fn end(&mut self) {
        if self.locks.draining.is_cancelled() {
            self.may_not_know();
        }
        self.stage = Stage::Ended;
    }

    /// The client may not hear that its stream has ended. If it holds the lock it may believe to for
    /// as long as its session's heartbeats were promised: whichever replica answered them, none
    /// promised more than the time to live from now.
    fn may_not_know(&self) {
        let (Stage::Held(_), Ok(view)) = (&self.stage, self.locks.core.cache.view()) else {
            return;
        };
        let session = view.state.sessions.get(&self.request.session);
        let now = self.locks.core.clock.now();
        if let Some(until) = session.and_then(|session| now.checked_add(session.ttl)) {
            self.let_go.not_before(until);
        }
    }
}

impl Drop for Holding {
    /// The client ended it, or is lost; or we did and sent it elsewhere.
    fn drop(&mut self) {
        if self.locks.draining.is_cancelled() {
            return self.may_not_know();
        }
        match (self.why_ended)() {
            WhyEnded::Done => self.let_go.say(),
            WhyEnded::Lost => {}
            WhyEnded::Silent => self.may_not_know(),
        }
    }
}
