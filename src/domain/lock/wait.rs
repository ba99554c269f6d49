//! Waiting for one's turn: the cache says when it has come, without another word from the store.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    cache::Freshness,
    domain::{
        error::Error,
        keyspace::{QueueKind, QueuePath},
        records,
        session_id::SessionId,
        state::View,
    },
    store::{self, Compare, KeyValue, Operation, OperationResponse, Revision, Txn},
};

use super::{
    Acquire, Claim, Granted, Hold, LockMode, Locks, Place, Standing, Waiter, abandoned::Pending,
    delay, queue::describe, reentrant,
};

/// How long the cache may be unconfirmed before a turn is only believed after a probe.
const MAX_AGE: Duration = Duration::from_secs(1);
/// How long to wait for the cache to show a place before looking again.
pub(super) const ARRIVAL: Duration = Duration::from_secs(1);

/// A place in the queue that this call waits at.
pub(super) struct Ticket {
    pub(super) spot: Spot,
    pub(super) pending: Pending,
}

/// Which place it is, and which call has it.
#[derive(Debug, Clone)]
pub(super) struct Spot {
    pub(super) place: Place,
    /// The epoch in which it was taken.
    pub(super) epoch: u64,
    /// Names the call.
    pub(super) call: u64,
    /// The revision at which the call took it.
    pub(super) written: Revision,
}

// === impl Ticket ===

impl Ticket {
    /// The place that `call` took by writing `waiter`.
    pub(super) fn new(waiter: &Waiter, call: u64, view: &View, pending: Pending) -> Self {
        Self {
            spot: Spot {
                place: waiter.place(),
                epoch: view.state.epoch.id,
                call,
                written: waiter.mod_revision,
            },
            pending,
        }
    }
}

// === impl Locks ===

impl Locks {
    /// Waits until the place holds the lock, at most until `deadline`. `None`: the store lost data,
    /// and the place may be there or not.
    pub(super) async fn await_turn(
        &self,
        request: &Acquire,
        ticket: Ticket,
        deadline: Option<Instant>,
    ) -> Result<Option<(Granted, Ticket)>, Error> {
        let mut seat = self.turnstile.seat(&ticket.spot.place.key);
        let arrived = ticket.spot.place.create_revision;
        loop {
            let view = self.core.cache.view()?;
            if view.state.epoch.id != ticket.spot.epoch {
                return Ok(None);
            }
            if view.revision >= arrived {
                match standing(&view, &request.lock, &ticket.spot.place) {
                    Standing::Held(claim) => {
                        if let Some(granted) = self.grant(request, &ticket, claim, view).await? {
                            return Ok(Some((granted, ticket)));
                        }
                        continue;
                    }
                    Standing::Waiting => {}
                    Standing::Gone => {
                        ticket.pending.settled();
                        return Err(gone(&view, request.session));
                    }
                }
            }
            let out_of_time = async {
                match deadline {
                    Some(deadline) => self.core.clock.sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.draining.cancelled() => return Err(Error::Draining),
                () = seat.called(), if view.revision >= arrived => {}
                _ = self.core.cache.reached(arrived, ARRIVAL), if view.revision < arrived => {}
                () = out_of_time => {
                    return self.leave(request, ticket).await.map(Some);
                }
            }
        }
    }

    /// The one place where standing first becomes holding. A cache that has not heard of the store
    /// for a while may show a place whose session is long gone, so it has to look again; and some
    /// stores keep a session alive in words only, so that they have to be asked themselves.
    async fn grant(
        &self,
        request: &Acquire,
        ticket: &Ticket,
        claim: Arc<Claim>,
        view: View,
    ) -> Result<Option<Granted>, Error> {
        let (claim, view) = if view.age <= MAX_AGE && self.core.cache.is_confirmed() {
            (claim, view)
        } else {
            let view = self.look_anew().await?;
            if view.state.epoch.id != ticket.spot.epoch {
                return Ok(None);
            }
            match standing(&view, &request.lock, &ticket.spot.place) {
                Standing::Held(claim) => (claim, view),
                Standing::Waiting | Standing::Gone => return Ok(None),
            }
        };
        if self.core.store.doubts_renewals() {
            return self.ask_for_grant(request, ticket, &view).await;
        }
        Ok(Some(Granted {
            claim,
            revision: view.revision,
        }))
    }

    /// Has the store say itself that the place is there and, where it has to be alone, that nobody
    /// is before it.
    async fn ask_for_grant(
        &self,
        request: &Acquire,
        ticket: &Ticket,
        view: &View,
    ) -> Result<Option<Granted>, Error> {
        let place = &ticket.spot.place;
        let mut look = Txn::new()
            .when(Compare::create_revision(
                place.key.clone(),
                place.create_revision,
            ))
            .when_all(self.core.open_compares(view))
            .then(Operation::get(place.key.clone()));
        if request.mode == LockMode::Exclusive {
            let queue = self.core.keys.queue(&request.lock);
            look = look.when(Compare::none_older(queue, place.create_revision));
        }
        let deadline = self.core.clock.now() + self.core.settings.commit_timeout;
        let response = self.core.send_again(look, None, deadline).await?.response;
        if let Some(kv) = response.found(0) {
            return Ok(Some(Granted {
                claim: Arc::new(Claim::held(request.lock.clone(), read(kv)?)),
                revision: response.revision,
            }));
        }
        self.core.cache.reached(response.revision, ARRIVAL).await;
        let view = self.core.cache.view()?;
        if let Standing::Held(_) = standing(&view, &request.lock, place) {
            // The cache was not told of something, and has to find that out.
            self.core.clock.sleep(ARRIVAL).await;
        }
        Ok(None)
    }

    /// The time is over: gives the place up, unless it holds the lock. The store has the last word
    /// on a place that nobody is before; whether it goes with those who are, the cache says.
    async fn leave(&self, request: &Acquire, ticket: Ticket) -> Result<(Granted, Ticket), Error> {
        let Spot { place, epoch, .. } = ticket.spot.clone();
        let arrived = place.create_revision;
        self.core.cache.reached(arrived, ARRIVAL).await;
        let view = self.core.cache.view()?;
        if let Standing::Held(claim) = standing(&view, &request.lock, &place)
            && view.state.epoch.id == epoch
            && let Some(granted) = self.grant(request, &ticket, claim, view.clone()).await?
        {
            return Ok((granted, ticket));
        }
        let key = place.key;
        if let Some(call) = ticket.pending.hold() {
            let mine = |hold: &Hold| hold.call == call;
            let left = reentrant::leave(&self.core, &request.lock, &key, None, mine, |_| {}).await;
            if let Err(Error::Store(store::Error::Full { .. })) = left {
                // It is given up as soon as there is room.
                return Err(self.not_granted(&request.lock, view.revision).await);
            }
            let left = left?;
            ticket.pending.settled();
            return Err(match left.value {
                true => self.not_granted(&request.lock, left.revision).await,
                false => gone(&self.core.cache.view()?, request.session),
            });
        }
        let Some(mine) = ticket.pending.is_mine() else {
            return Err(Error::Internal("a call without a place".into()));
        };
        let queue = self.core.keys.queue(&request.lock);
        let delete = Txn::new()
            .when(mine)
            .then_all(delay::remove(
                &self.core.keys,
                &key,
                request.delay.is_some(),
            ))
            .otherwise(Operation::get(key.clone()));
        let txn = Txn::new()
            .when(Compare::exists(key.clone()))
            .when(Compare::none_older(queue, arrived))
            .when_all(self.core.open_compares(&view))
            .then(Operation::get(key))
            .otherwise(Operation::Txn(delete));
        let response = self.core.commit(None, txn).await?;
        if response.revision < view.revision || !self.core.cache.is_confirmed() {
            self.look_anew().await?;
            if self.core.cache.view()?.state.epoch.id != epoch {
                return Err(Error::LocksClosed);
            }
        }
        if let Some(kv) = response.found(0) {
            let granted = Granted {
                claim: Arc::new(Claim::held(request.lock.clone(), read(kv)?)),
                revision: response.revision,
            };
            return Ok((granted, ticket));
        }
        let there = match response.responses.first() {
            // Deleted by us, or taken up by another call of the request, which waits on.
            Some(OperationResponse::Txn(inner)) => {
                let found = inner.found(0);
                // Asked to yield meanwhile, it is given up all the same.
                if !found.is_some_and(|found| ticket.pending.made(found)) {
                    ticket.pending.settled();
                }
                inner.succeeded || found.is_some()
            }
            _ => {
                ticket.pending.settled();
                false
            }
        };
        if there {
            return Err(self.not_granted(&request.lock, response.revision).await);
        }
        self.core.cache.reached(response.revision, ARRIVAL).await;
        Err(gone(&self.core.cache.view()?, request.session))
    }

    /// What is there now, in a history that is certain to be the store's.
    pub(super) async fn look_anew(&self) -> Result<View, Error> {
        let limit = self.core.settings.commit_timeout;
        self.core.cache.confirmed(limit).await?;
        Ok(self.core.cache.read(Freshness::Linearizable).await?)
    }

    /// Why a lock was not granted at `revision`.
    pub(super) async fn not_granted(&self, lock: &QueuePath, revision: Revision) -> Error {
        let limit = self.core.settings.read_your_writes;
        self.core.cache.reached(revision, limit).await;
        let view = self.core.cache.view().ok();
        if view
            .as_ref()
            .is_some_and(|view| view.state.closed.is_some())
        {
            return Error::LocksClosed;
        }
        let state = view.as_ref().map(|view| &view.state);
        let queue = state.and_then(|state| state.queue(lock));
        let holder = queue.and_then(|queue| queue.holder());
        let claims_from = state.map_or(0, |state| state.epoch.claims_from);
        let delay = queue.and_then(|queue| queue.delay(claims_from));
        if let (None, Some(delay)) = (holder, delay) {
            return Error::LockDelayed {
                name: lock.path(),
                owner: describe(&delay.owner, &delay.client_id),
            };
        }
        let holder = holder.map(|holder| holder.describe());
        let (name, holder) = (lock.path(), holder.unwrap_or_else(|| "another".into()));
        match lock.kind {
            QueueKind::Lock => Error::LockHeld { name, holder },
            QueueKind::Election => Error::LedByAnother { name, holder },
        }
    }
}

pub(super) fn standing(view: &View, lock: &QueuePath, place: &Place) -> Standing {
    let queue = view.state.queue(lock);
    queue.map_or(Standing::Gone, |queue| queue.standing(place))
}

/// Why a place is no longer there.
pub(super) fn gone(view: &View, session: SessionId) -> Error {
    if view.state.sessions.contains_key(&session) {
        Error::RequestUndone
    } else {
        Error::LeaseExpired
    }
}

pub(super) fn read(kv: &KeyValue) -> Result<Waiter, Error> {
    records::waiter(kv).map_err(|error| Error::Internal(error.to_string()))
}
