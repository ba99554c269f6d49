//! Looks after one claim in the cache, and at those around it no more often than is told of them.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use tokio::sync::watch;

use crate::domain::{Core, error::Error, keyspace::QueuePath, state::View, turnstile::Seat};

use super::{Acquire, Claim, Locks, News, Spot, Told, YieldRequest};

/// Where a claim is looked after.
pub(super) struct Lookout {
    core: Arc<Core>,
    lock: QueuePath,
    /// The request, if its owner is reentrant.
    reentrant: Option<String>,
    /// Called when something happens to the claim.
    claim: Seat,
    /// Called when something happens in its queue.
    queue: Seat,
    /// Until when others are not looked at.
    quiet_until: Instant,
    /// Place and number of those who wait, as it was last told.
    place: Option<(usize, usize)>,
    others: Others,
}

/// Who else wants what the claim holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Others {
    pub(super) waiting: usize,
    pub(super) asked: Option<YieldRequest>,
}

/// What a look at a claim shows.
pub(super) enum Seen {
    /// It waits.
    Waits {
        fencing_token: i64,
        position: usize,
        waiting: usize,
    },
    /// It holds the lock.
    Held(Others),
    /// Another call of the request has it.
    TakenOver,
    /// It is not there.
    Gone,
}

// === impl Lookout ===

impl Lookout {
    /// Looks after the claim at `key`, which need not be there yet.
    pub(super) fn new(locks: &Locks, request: &Acquire, key: &Bytes) -> Self {
        let reentrant = request.reentrant.as_ref();
        Self {
            lock: request.lock.clone(),
            reentrant: reentrant.map(|_| request.request_id.clone()),
            claim: locks.turnstile.seat(key),
            queue: locks.turnstile.seat_of_queue(key),
            quiet_until: locks.core.clock.now(),
            core: locks.core.clone(),
            place: None,
            others: Others::default(),
        }
    }

    /// The claim holds the lock now: what is told of it next need not wait.
    pub(super) fn begin_anew(&mut self) {
        self.quiet_until = self.core.clock.now();
    }

    /// Waits until a claim that waits does so elsewhere than was told. Never says that it holds the
    /// lock, or is gone: whoever waits for that finds out.
    pub(super) async fn waiting(
        &mut self,
        spot: &mut watch::Receiver<Option<Spot>>,
    ) -> Result<Told, Error> {
        loop {
            let at = spot.borrow_and_update().clone();
            match at.and_then(|at| self.look(&at)) {
                Some((Seen::TakenOver, _)) => return Err(Error::TakenOver(self.lock.clone())),
                Some((
                    Seen::Waits {
                        fencing_token,
                        position,
                        waiting,
                    },
                    view,
                )) if !self.is_quiet() && self.place != Some((position, waiting)) => {
                    self.place = Some((position, waiting));
                    self.be_quiet();
                    return Ok(Told {
                        news: News::Queued {
                            fencing_token,
                            position,
                            waiting,
                        },
                        revision: view.revision,
                    });
                }
                _ => {}
            }
            tokio::select! {
                // Without a sender the turn has come.
                Ok(()) = spot.changed() => {}
                () = self.called() => {}
            }
        }
    }

    /// Waits until there is something to tell of a claim that held the lock.
    pub(super) async fn held(&mut self, spot: &mut Spot) -> (Seen, View) {
        loop {
            match self.look(spot) {
                Some((Seen::Held(others), view)) => {
                    spot.epoch = view.state.epoch.id;
                    let asked = others.asked != self.others.asked;
                    if asked || (others != self.others && !self.is_quiet()) {
                        self.others.clone_from(&others);
                        self.be_quiet();
                        return (Seen::Held(others), view);
                    }
                }
                Some(seen) => return seen,
                None => {}
            }
            self.called().await;
        }
    }

    /// How the claim stands; `None`: the cache has not seen what its call wrote.
    fn look(&self, spot: &Spot) -> Option<(Seen, View)> {
        let view = self.core.cache.view().ok()?;
        if view.state.epoch.id == spot.epoch && view.revision < spot.written {
            return None;
        }
        let seen = match view.state.queue(&self.lock) {
            None => Seen::Gone,
            Some(queue) => match queue.claims.get(&spot.place) {
                None => Seen::Gone,
                Some(claim) if claim.waiter.mod_revision < spot.written => return None,
                Some(claim) => match self.who(claim, spot) {
                    Some(seen) => seen,
                    None if claim.held => Seen::Held(Others {
                        waiting: queue.waiting(),
                        asked: claim.waiter.yield_request.clone(),
                    }),
                    None => Seen::Waits {
                        fencing_token: claim.waiter.fencing_token(),
                        position: queue.position(&spot.place),
                        waiting: queue.waiting(),
                    },
                },
            },
        };
        Some((seen, view))
    }

    /// What became of the call's part in a claim that is there, unless it still has it.
    fn who(&self, claim: &Claim, spot: &Spot) -> Option<Seen> {
        let Some(request_id) = &self.reentrant else {
            return (claim.waiter.call != spot.call).then_some(Seen::TakenOver);
        };
        let mut holds = claim.waiter.holds.iter();
        match holds.find(|hold| hold.request_id == *request_id) {
            None => Some(Seen::Gone),
            Some(hold) => (hold.call != spot.call).then_some(Seen::TakenOver),
        }
    }

    fn is_quiet(&self) -> bool {
        self.core.clock.now() < self.quiet_until
    }

    fn be_quiet(&mut self) {
        self.quiet_until = self.core.clock.now() + self.core.settings.hold_interval;
    }

    /// Waits until there may be something new.
    async fn called(&mut self) {
        let quiet = self.is_quiet();
        tokio::select! {
            () = self.claim.called() => {}
            () = self.queue.called(), if !quiet => {}
            () = self.core.clock.sleep_until(self.quiet_until), if quiet => {}
        }
    }
}
