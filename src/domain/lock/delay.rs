//! Lock-delay: nobody is granted a lock for a while after its holder died.
//!
//! Whoever asks for one leaves a key beside its claim, in the same transaction and in the same room,
//! but on no lease. Whatever gives the claim up takes the key along; the death of a session leaves
//! it behind, and so does a `HoldLock` stream that was lost and did not come back in time. One that
//! comes later waits until the delay is over, and queues then. The key stands in the queue where its
//! claim stood, as an exclusive claim of nobody: so that the lock is delayed is true at the very
//! revision of the death, on every replica alike. A replica that has seen the key alone for as long
//! as it says deletes it, by rank.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{
        Core,
        error::Error,
        keyspace::{Keyspace, QueuePath},
        names::Label,
        state::View,
    },
    store::{Compare, Operation, Revision, Txn},
};

use super::{Locks, Place, Waiter, queue::token, wait::ARRIVAL};

/// The longest delay.
pub const MAX_DELAY: Duration = Duration::from_secs(60);
/// How often it is looked for delays that are over.
const LOOK: Duration = Duration::from_millis(100);
/// After how long it is looked again if the store did not end them.
const RETRY: Duration = Duration::from_millis(500);
/// How many one transaction deletes.
const CHUNK: usize = 32;
/// What the replicas share this work by.
const SUBJECT: &[u8] = b"lock delays";

/// What a claim leaves behind if its session dies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockDelay {
    /// The lock.
    pub lock: QueuePath,
    /// The key of the claim.
    pub claim: Bytes,
    /// For how long nobody is granted the lock.
    pub delay: Duration,
    /// The era of the claim.
    pub era: i64,
    /// Who made it, in the client's words.
    pub owner: Label,
    /// The client id of its session.
    pub client_id: Label,
    /// Whether the claim held the lock when it went, or may have: of one that waited nothing is
    /// left to be delayed.
    pub held: bool,
    /// The revision at which the claim was made.
    pub revision: Revision,
}

/// The delays that this replica has seen begin.
#[derive(Default)]
pub(super) struct Delays(Mutex<HashMap<(Bytes, Revision), Began>>);

#[derive(Clone, Copy)]
struct Began {
    at: Instant,
    time: SystemTime,
}

// === impl LockDelay ===

impl LockDelay {
    /// One of which nothing can be read but where it stands. It counts as the longest there can be:
    /// to overlook it would grant the lock too early.
    pub fn unreadable(lock: QueuePath, claim: Bytes, revision: Revision) -> Self {
        Self {
            lock,
            claim,
            delay: MAX_DELAY,
            era: i64::MAX,
            owner: Label::default(),
            client_id: Label::default(),
            held: true,
            revision,
        }
    }

    /// Where its claim stood.
    pub fn place(&self) -> Place {
        Place {
            create_revision: self.revision,
            key: self.claim.clone(),
        }
    }

    /// The token of its claim; `0`: it cannot be read.
    pub fn fencing_token(&self) -> i64 {
        match self.era {
            i64::MAX => 0,
            era => token(era, self.revision),
        }
    }
}

/// The steps that take a claim out of its queue, and with it what would delay the next one.
pub(super) fn removal(keys: &Keyspace, waiter: &Waiter) -> impl Iterator<Item = Operation> {
    remove(keys, &waiter.key, waiter.delay.is_some())
}

/// The same of a place of which it is known, or only possible, that it is `delayed`.
pub(super) fn remove(
    keys: &Keyspace,
    place: &Bytes,
    delayed: bool,
) -> impl Iterator<Item = Operation> {
    let delay = delayed.then(|| Operation::delete(keys.lock_delay(place)));
    std::iter::once(Operation::delete(place.clone())).chain(delay)
}

/// The step that ends a delay, unless its key is that of another claim by now.
pub(super) fn end(keys: &Keyspace, delay: &LockDelay) -> Txn {
    let key = keys.lock_delay(&delay.claim);
    Txn::new()
        .when(Compare::mod_revision(key.clone(), delay.revision))
        .then(Operation::delete(key))
}

// === impl Locks ===

impl Locks {
    /// Since when a lock is delayed, as this replica saw it.
    pub fn delayed_since(&self, delay: &LockDelay) -> Option<SystemTime> {
        let delays = self.delays.lock();
        let began = delays.get(&(delay.claim.clone(), delay.revision));
        began.map(|began| began.time)
    }

    /// Waits, at most until `deadline`, while what a claim at `key` left behind delays the lock, as
    /// it did at `revision`. The same request cannot queue meanwhile: what it leaves stands there.
    pub(super) async fn await_delay(
        &self,
        lock: &QueuePath,
        key: &Bytes,
        revision: Revision,
        deadline: Option<Instant>,
    ) -> Result<(), Error> {
        self.core.cache.reached(revision, ARRIVAL).await;
        loop {
            let view = self.core.cache.view()?;
            if view.revision >= revision && !view.state.delayed.contains_key(key) {
                return Ok(());
            }
            if deadline.is_some_and(|deadline| deadline <= self.core.clock.now()) {
                return Err(self.not_granted(lock, view.revision).await);
            }
            tokio::select! {
                () = self.draining.cancelled() => return Err(Error::Draining),
                () = self.core.clock.sleep(LOOK) => {}
            }
        }
    }
}

// === impl Delays ===

impl Delays {
    /// Ends delays that are over, until `shutdown`.
    pub(super) async fn run(&self, core: &Core, shutdown: &CancellationToken) {
        let run = async {
            loop {
                let pause = match self.step(core).await {
                    Ok(()) => LOOK,
                    Err(error) => {
                        tracing::warn!(%error, "delays of locks could not be ended yet");
                        RETRY
                    }
                };
                core.clock.sleep(pause).await;
            }
        };
        shutdown.run_until_cancelled(run).await;
    }

    async fn step(&self, core: &Core) -> Result<(), Error> {
        // There is nothing to see while the cache is not ready.
        let Ok(view) = core.cache.view() else {
            return Ok(());
        };
        let over = self.over(core, &view);
        for chunk in over.chunks(CHUNK) {
            // In the epoch in which they were seen: another copy may have been restored meanwhile.
            let mut txn = Txn::new().when(core.same_epoch(&view));
            for delay in chunk {
                txn = txn.then(Operation::Txn(end(&core.keys, delay)));
            }
            if !core.commit(None, txn).await?.succeeded {
                return Ok(());
            }
            for delay in chunk {
                tracing::info!(lock = %delay.lock, "the delay of a lock is over");
            }
        }
        Ok(())
    }

    /// Those that it is this replica's turn to end.
    fn over(&self, core: &Core, view: &View) -> Vec<LockDelay> {
        let state = &view.state;
        let mut delays = self.lock();
        delays.retain(|(claim, revision), _| {
            let there = state.delayed.get(claim);
            there.is_some_and(|there| there.revision == *revision)
        });
        if state.delayed.is_empty() {
            return Vec::new();
        }
        let now = core.clock.now();
        let turn = core.turn(state, SUBJECT);
        let over = state.delayed.iter().filter(|(claim, delay)| {
            let key = ((*claim).clone(), delay.revision);
            let began = delays.entry(key).or_insert_with(|| Began {
                at: now,
                time: core.clock.system_time(),
            });
            let counts = delay.held && delay.era >= state.epoch.claims_from;
            let delay = if counts { delay.delay } else { Duration::ZERO };
            began.at + delay + turn <= now
        });
        over.map(|(_, delay)| delay.as_ref().clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(Bytes, Revision), Began>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
