//! Barriers and latches: waiting for one another.
//!
//! Whoever comes to a barrier writes one key, on the lease of its session, and from then on the
//! cache tells it how the barrier stands. Whoever completes it releases all of them by one
//! transaction: it compares that each is there, deletes them and leaves a record that says who they
//! were, so that each learns its place from the cache, late and repeated calls too. Should the last
//! one die before that, or lose to somebody who went, another one that waits does the same a moment
//! later: the compares make sure that it happens once.
//!
//! A [`Latch`] is a record and one key for each party that counted, all on one lease. It is open
//! when there are enough of them, so that nobody's count can lose to another's.
//!
//! In an era that began with a loss of data, those who wait since before count for nothing, as claims
//! on locks do; but nobody holds anything, so that barriers need not be closed.

mod enter;
mod gate;
mod latch;
mod refusal;
mod release;
mod selection;
mod wait;

use std::sync::Arc;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::cache::Change;

use self::release::ReleaseLease;
use super::{
    Core,
    lock::Abandoned,
    session::Sessions,
    state::{Kind, StateProjection},
    turnstile::Turnstile,
};

pub use self::{
    enter::Enter,
    gate::{Barrier, MAX_PARTIES, MIN_PARTIES, Member, Participant, Passed, Release, Releases},
    latch::{
        Arrival, CreateLatch, Latch, LatchCreated, LatchMade, LatchStands, Latches, MAX_COUNT,
    },
    refusal::Refusal,
    selection::{LatchesOf, WaitedAt},
};

/// The barriers of all clients, and the calls that wait at one at this replica.
#[derive(Clone)]
pub struct Barriers {
    core: Arc<Core>,
    sessions: Sessions,
    turnstile: Arc<Turnstile>,
    abandoned: Arc<Abandoned>,
    lease: Arc<ReleaseLease>,
    draining: CancellationToken,
}

// === impl Barriers ===

impl Barriers {
    /// The barriers in the store that `core` is about. Somebody has to [`run`](Self::run) them.
    pub fn new(core: Arc<Core>, sessions: Sessions) -> Self {
        Self {
            turnstile: Arc::default(),
            abandoned: Arc::new(Abandoned::new(core.clone(), sessions.clone())),
            lease: Arc::default(),
            draining: CancellationToken::new(),
            core,
            sessions,
        }
    }

    /// Calls waiting calls when their barrier is released or complete, and gives up the places of
    /// those that broke off, until `shutdown`. Then it only gives up the places that are left.
    pub async fn run(self, shutdown: CancellationToken) {
        let kinds = [Kind::Barrier as usize];
        let follow = self
            .turnstile
            .follow(&self.core, &kinds, hear::<()>, &shutdown);
        tokio::join!(follow, self.abandoned.run(&shutdown));
    }

    /// Ends every waiting call, and every one to come, with
    /// [`Error::Draining`](super::Error::Draining). Their places are kept for a moment.
    pub fn drain(&self) {
        self.draining.cancel();
    }
}

/// Those who wait sit at the path.
fn hear<T>(change: &Change<StateProjection>) -> Option<(Bytes, Option<T>)> {
    Some((change.key.clone(), None))
}
