//! Locks and elections: queues in the store, ownership decided by who came first.
//!
//! An election is such a queue in a room of its own. Whoever holds it leads: the fencing token is
//! its term, and it may proclaim something.
//!
//! A call costs one transaction, in which it queues. If that finds nobody there, the lock is held
//! with its answer, before the cache has heard of it ([`Sessions::granted`]). Else the cache decides
//! from then on whose turn it is, without asking the store again: nobody ever steps in before a
//! place, so that one that holds the lock holds it until it goes, even when that is read late
//! ([`LockMode`]). A call that breaks off keeps its place for a moment, in which the same request may
//! be repeated on any replica.
//!
//! When the store has lost data ([`epoch`](super::epoch)), claims of earlier eras are void, those
//! that a restored copy brought back included; but their owners may not know it yet. So a new era
//! begins with locks closed: a key in the store on a lease as long as anybody may go on believing.
//! While it is there nobody holds a lock, guards fail, and who comes queues. It ends with its lease,
//! at one revision for all replicas.

mod abandoned;
mod acquire;
mod delay;
mod enqueue;
mod fit;
mod hold;
mod leader;
mod mode;
mod oversight;
mod proclaim;
mod queue;
mod reentrant;
mod release;
mod selection;
mod together;
mod void;
mod wait;

use std::sync::Arc;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use self::{delay::Delays, oversight::Ledger};
use super::{
    Core, Error,
    group::Group,
    guard::Guard,
    keyspace::QueuePath,
    session::Sessions,
    state::{Item, Kind, StateProjection},
    turnstile::Turnstile,
};
use crate::{
    cache::Change,
    store::{Txn, TxnResponse},
};

pub(super) use self::{
    abandoned::{Abandoned, Pending},
    queue::token,
};

pub use self::{
    abandoned::LetGo,
    acquire::{Acquire, Granted, Wait},
    delay::{LockDelay, MAX_DELAY},
    hold::{AskWhyEnded, Holding, News, Told, WhyEnded},
    leader::LeaderOf,
    mode::{Admission, LockMode, Permits},
    oversight::{
        Checked, Contention, Deadlock, ForceRelease, Forced, ForcedRelease, RequestYield,
        Wait as DeadlockWait, YieldRequest, Yielding, deadlocks,
    },
    proclaim::{MAX_PROCLAMATION, Proclaim},
    queue::{Claim, Closed, LISTED_HOLDERS, LockQueue, MAX_ERA, Place, Standing, Waiter},
    reentrant::{Hold, MAX_HOLDS},
    release::{Release, Released, Which},
    selection::{ClaimsOf, HeldLocks},
    together::{AcquireAll, GrantedAll, MAX_TOGETHER},
    void::VoidClaims,
};

/// What queues consist of, and which calls have their places.
const QUEUES: [usize; 3] = [
    Kind::Lock as usize,
    Kind::Candidate as usize,
    Kind::TakenUp as usize,
];

/// The locks and elections of all clients, and the calls that wait for one at this replica.
#[derive(Clone)]
pub struct Locks {
    core: Arc<Core>,
    group: Arc<Group>,
    sessions: Sessions,
    turnstile: Arc<Turnstile>,
    abandoned: Arc<Abandoned>,
    ledger: Arc<Ledger>,
    delays: Arc<Delays>,
    draining: CancellationToken,
}

// === impl Locks ===

impl Locks {
    /// The locks in the store that `core` is about. Somebody has to [`run`](Self::run) them.
    pub fn new(core: Arc<Core>, sessions: Sessions) -> Self {
        Self {
            group: Arc::default(),
            turnstile: Arc::default(),
            abandoned: Arc::new(Abandoned::new(core.clone(), sessions.clone())),
            ledger: Arc::default(),
            delays: Arc::default(),
            draining: CancellationToken::new(),
            core,
            sessions,
        }
    }

    /// Calls waiting calls when it is their turn, gives up the places of those that broke off, and
    /// ends delays that are over, until `shutdown`. Then it only gives up the places that are left, each at its time.
    pub async fn run(self, shutdown: CancellationToken) {
        let follow = self.turnstile.follow(&self.core, &QUEUES, hear, &shutdown);
        let clean = self.abandoned.run(&shutdown);
        let count = self.ledger.follow(&self.core, &shutdown);
        let delays = self.delays.run(&self.core, &shutdown);
        tokio::join!(follow, clean, count, delays);
    }

    /// Ends every waiting call, and every one to come, with
    /// [`Error::Draining`]. Their places are kept as if they had broken off.
    pub fn drain(&self) {
        self.draining.cancel();
    }

    /// Carries out a transaction about one queue, whose places have revisions of their own, and does
    /// not wait until the cache shows it. Without a guard it goes together with those about others.
    async fn commit(
        &self,
        queue: &QueuePath,
        guard: Option<&Guard>,
        txn: Txn,
    ) -> Result<TxnResponse, Error> {
        let response = match guard {
            None => {
                let places = self.core.keys.queue(queue);
                self.group.write(&self.core, txn, Some(places)).await?
            }
            Some(_) => self.core.write(guard, txn).await?,
        };
        self.core.acknowledge(&response);
        Ok(response)
    }
}

/// Whose place a change is about.
fn hear(change: &Change<StateProjection>) -> Option<(Bytes, Option<()>)> {
    match change.after.as_ref().or(change.before.as_ref()) {
        Some(Item::Claim(claim)) => Some((claim.waiter.key.clone(), None)),
        _ => None,
    }
}
