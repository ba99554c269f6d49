//! What this replica saw of each lock since it was last free: who holds it since when, and how much
//! it is in demand. It is of this replica alone: a lock changes hands without a write that could
//! tell the time.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use tokio_util::sync::CancellationToken;

use crate::{
    cache::Followed,
    domain::{
        Core,
        keyspace::QueuePath,
        lock::{Claim, Locks},
        state::{Item, Kind, State},
    },
    store::Revision,
};

/// How long to wait before looking again for a cache that has nothing to show.
const PAUSE: Duration = Duration::from_millis(100);

/// A page for each lock that is claimed, and none for others.
#[derive(Default)]
pub(in crate::domain::lock) struct Ledger(Mutex<Pages>);

#[derive(Default)]
struct Pages {
    /// The revision after which everything was seen as it happened.
    begun: Revision,
    by_lock: HashMap<QueuePath, Page>,
}

struct Page {
    contention: Contention,
    /// Since when each holder holds it, by token.
    held_since: HashMap<i64, SystemTime>,
}

/// How much a lock was in demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contention {
    /// Since when it is counted.
    pub since: SystemTime,
    /// How often somebody came to hold it.
    pub acquisitions: u64,
    /// How many claims had to wait.
    pub contended: u64,
}

// === impl Locks ===

impl Locks {
    /// How much a lock was in demand, if this replica saw anything.
    pub fn contention(&self, lock: &QueuePath) -> Option<Contention> {
        let pages = self.ledger.lock();
        pages.by_lock.get(lock).map(|page| page.contention)
    }

    /// Since when a claim holds its lock, if this replica saw it.
    pub fn held_since(&self, claim: &Claim) -> Option<SystemTime> {
        if !claim.held {
            return None;
        }
        let waiter = &claim.waiter;
        let pages = self.ledger.lock();
        // One that looks as it did when it was made has found the lock free.
        if claim.visible_revision == waiter.create_revision && waiter.create_revision > pages.begun
        {
            return Some(waiter.enqueue_time);
        }
        let page = pages.by_lock.get(&claim.lock)?;
        page.held_since.get(&waiter.fencing_token()).copied()
    }
}

// === impl Ledger ===

impl Ledger {
    /// Writes down what happens until `shutdown`.
    pub(in crate::domain::lock) async fn follow(&self, core: &Core, shutdown: &CancellationToken) {
        let follow = async {
            loop {
                // What came in between is told; what came before is not.
                let begun = core.cache.view().map_or(0, |view| view.revision);
                match core.cache.follow(&[Kind::Lock as usize]) {
                    Ok(mut follower) => {
                        self.lock().begun = begun;
                        while let Some(followed) = follower.next().await {
                            self.write(followed, core.clock.system_time());
                        }
                    }
                    Err(error) => tracing::debug!(%error, "no lock can be followed"),
                }
                core.clock.sleep(PAUSE).await;
            }
        };
        shutdown.run_until_cancelled(follow).await;
    }

    fn write(&self, followed: Followed<crate::domain::state::StateProjection>, now: SystemTime) {
        match followed {
            Followed::Changes { changes, view, .. } => {
                for change in &changes {
                    let claim = |item: &Option<Item>| match item {
                        Some(Item::Claim(claim)) => Some(claim.clone()),
                        _ => None,
                    };
                    let (before, after) = (claim(&change.before), claim(&change.after));
                    self.note(before.as_deref(), after.as_deref(), &view.state, now);
                }
            }
            // What happened is not known: it is counted anew.
            Followed::Behind(view) => {
                *self.lock() = Pages {
                    begun: view.revision,
                    ..Pages::default()
                };
            }
        }
    }

    /// Writes down what became of a claim. `state` may be later than that.
    fn note(&self, before: Option<&Claim>, after: Option<&Claim>, state: &State, now: SystemTime) {
        let Some(either) = after.or(before) else {
            return;
        };
        let mut pages = self.lock();
        if state.queue(&either.lock).is_none() {
            pages.by_lock.remove(&either.lock);
            return;
        }
        // What is told of the time before is told late.
        if after.is_some_and(|after| after.visible_revision <= pages.begun) {
            return;
        }
        let page = pages
            .by_lock
            .entry(either.lock.clone())
            .or_insert_with(|| Page {
                contention: Contention {
                    since: now,
                    acquisitions: 0,
                    contended: 0,
                },
                held_since: HashMap::new(),
            });
        let token = either.waiter.fencing_token();
        let held = |claim: Option<&Claim>| claim.is_some_and(|claim| claim.held);
        if held(after) && !held(before) {
            page.contention.acquisitions += 1;
            page.held_since.insert(token, now);
        }
        if before.is_none() && !held(after) {
            page.contention.contended += 1;
        }
        if after.is_none() {
            page.held_since.remove(&token);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
