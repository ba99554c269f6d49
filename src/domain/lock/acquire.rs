//! Acquiring a lock: one transaction to queue, then waiting for one's turn.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::{
    cache::Freshness,
    domain::{
        error::Error, guard::Guard, keyspace::LockPath, names::Label, records, session::Session,
        session_id::SessionId, state::View,
    },
    store::{Compare, Operation, OperationResponse, Revision, Txn},
};

use super::{
    Claim, LockMode, Locks, Place, Standing, Waiter, abandoned::Pending, release::find_key,
};

/// How often a call starts over because others were faster, before it is told so.
const ATTEMPTS: usize = 16;
/// How long the cache may be unconfirmed before a turn is only believed after a probe.
const MAX_AGE: Duration = Duration::from_secs(1);
/// How long to wait for the cache to show a place before looking again.
const ARRIVAL: Duration = Duration::from_secs(1);

/// Who wants which lock.
#[derive(Debug, Clone)]
pub struct Acquire {
    /// The lock.
    pub lock: LockPath,
    /// The session that is to hold it.
    pub session: SessionId,
    /// The owner within the session; empty: the session as such.
    pub request_id: String,
    /// How long to wait.
    pub wait: Wait,
    /// How to hold it.
    pub mode: LockMode,
    /// What others see of the owner.
    pub owner: Label,
    /// Anything others may know.
    pub metadata: BTreeMap<String, String>,
    /// Queues only while this holds.
    pub guard: Option<Guard>,
}

/// How long a call waits for its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Not at all.
    No,
    /// So long.
    For(Duration),
    /// For ever.
    Forever,
}

/// The lock is held.
#[derive(Debug, Clone)]
pub struct Granted {
    /// By whom, with which token.
    pub claim: Arc<Claim>,
    /// The revision at which that was seen.
    pub revision: Revision,
}

/// What came of an attempt to queue.
enum Entered {
    /// The call has a place.
    Queued(Ticket),
    /// The queue was empty, which is what the call asked for.
    Granted(Granted),
    /// Somebody changed what the attempt was built on.
    Again,
}

/// A place in the queue that this call waits at.
struct Ticket {
    place: Place,
    /// The epoch in which it was taken.
    epoch: u64,
    pending: Pending,
}

/// What came of waiting.
enum Turn {
    Granted(Granted),
    /// The store lost data: the place may be there or not.
    Again,
}

// === impl Locks ===

impl Locks {
    /// Acquires a lock, or returns it to the request that holds it already.
    ///
    /// Dropping the call is safe at any time: its place is kept for a moment, for the same request,
    /// and then given up. Errors: [`Error::LockHeld`], [`Error::LeaseExpired`],
    /// [`Error::RequestUndone`], [`Error::TooManyWaiters`], [`Error::SessionFull`],
    /// [`Error::GuardFailed`], [`Error::Draining`].
    pub async fn acquire(&self, mut request: Acquire) -> Result<Granted, Error> {
        if request.wait == Wait::For(Duration::ZERO) {
            request.wait = Wait::No;
        }
        let deadline = match request.wait {
            Wait::No => Some(self.core.clock.now()),
            // Longer than the clock can count is for ever.
            Wait::For(time) => self.core.clock.now().checked_add(time),
            Wait::Forever => None,
        };
        for _ in 0..ATTEMPTS {
            if self.draining.is_cancelled() {
                return Err(Error::Draining);
            }
            match self.enter(&request).await? {
                Entered::Granted(granted) => return Ok(granted),
                Entered::Again => {}
                Entered::Queued(ticket) => {
                    match self.await_turn(&request, ticket, deadline).await? {
                        Turn::Granted(granted) => return Ok(granted),
                        Turn::Again => {}
                    }
                }
            }
        }
        Err(Error::Conflict {
            name: request.lock.path(),
        })
    }

    async fn enter(&self, request: &Acquire) -> Result<Entered, Error> {
        let session = self.sessions.require(request.session).await?;
        let view = self.core.cache.view()?;
        let key = self
            .core
            .keys
            .waiter(&request.lock, &session.id, &request.request_id);
        match find_key(&view, &request.lock, &key) {
            Some(claim) => self.take_up(request, &session, &view, &claim.waiter).await,
            None => self.enqueue(request, &session, &view, key).await,
        }
    }

    /// Queues behind everybody who is there.
    async fn enqueue(
        &self,
        request: &Acquire,
        session: &Session,
        view: &View,
        key: Bytes,
    ) -> Result<Entered, Error> {
        self.sessions.check_room(view, &session.id, 1)?;
        let lock = &request.lock;
        let queue = view.state.locks.get(lock.path().as_bytes());
        let limit = self.core.settings.max_waiters;
        // One more waits if anybody is there, so that the holder is not counted.
        if request.wait != Wait::No && queue.is_some_and(|queue| queue.claims.len() > limit) {
            return Err(Error::TooManyWaiters {
                name: lock.path(),
                limit,
            });
        }
        let waiter = Waiter {
            key: key.clone(),
            session: session.id,
            client_id: session.client_id.clone(),
            request_id: request.request_id.clone(),
            owner: request.owner.clone(),
            mode: request.mode,
            era: view.state.epoch.era,
            attempt: 1,
            call: rand::random(),
            enqueue_time: self.core.clock.system_time(),
            metadata: request.metadata.clone(),
            format: records::FORMAT,
            create_revision: 0,
            mod_revision: 0,
        };
        let value = records::encode_waiter(&waiter);
        let fence = self.core.keys.fence(&session.id, &request.request_id);
        let session_key = self.core.keys.session(&session.id);
        let mut txn = Txn::new()
            .when(Compare::absent(key.clone()))
            .when(Compare::exists(session_key.clone()))
            .when(Compare::absent(fence.clone()))
            .then(Operation::put_leased(
                key.clone(),
                value.clone(),
                session.id.lease(),
            ))
            .otherwise(Operation::get(key.clone()))
            .otherwise(Operation::get(session_key))
            .otherwise(Operation::get(fence));
        if request.wait == Wait::No {
            txn = txn.when(Compare::empty(self.core.keys.lock(lock)));
        }
        let mut pending = Pending::new(&self.abandoned, key, value, self.keep(session));
        let response = match self.core.commit(request.guard.as_ref(), txn).await {
            Ok(response) => response,
            // It may have been written, or be written yet.
            Err(error @ Error::CommitUnknown(_)) => return Err(error),
            Err(error) => {
                pending.settled();
                return Err(error);
            }
        };
        if response.succeeded {
            let waiter = Waiter {
                create_revision: response.revision,
                mod_revision: response.revision,
                ..waiter
            };
            if request.wait == Wait::No {
                pending.settled();
                return Ok(Entered::Granted(Granted {
                    claim: Arc::new(Claim::held(lock.clone(), waiter)),
                    revision: response.revision,
                }));
            }
            pending.written();
            return Ok(Entered::Queued(Ticket {
                place: waiter.place(),
                epoch: view.state.epoch.id,
                pending,
            }));
        }
        if let Some(kv) = response.found(0) {
            let found = self.read(kv)?;
            if found.call == waiter.call {
                // The first answer was lost.
                pending.written();
                return Ok(Entered::Queued(Ticket {
                    place: found.place(),
                    epoch: view.state.epoch.id,
                    pending,
                }));
            }
            pending.settled();
            return self.take_up(request, session, view, &found).await;
        }
        pending.settled();
        if response.found(2).is_some() {
            Err(Error::RequestUndone)
        } else if response.found(1).is_none() {
            Err(Error::LeaseExpired)
        } else if request.wait == Wait::No {
            Err(self.held_by_another(lock, response.revision).await)
        } else {
            Ok(Entered::Again)
        }
    }

    /// Takes over the place of an earlier call of the same request, which then must not give it up
    /// any more.
    async fn take_up(
        &self,
        request: &Acquire,
        session: &Session,
        view: &View,
        found: &Waiter,
    ) -> Result<Entered, Error> {
        records::writable(format!("a place in {}", request.lock.path()), found.format)?;
        let waiter = Waiter {
            attempt: found.attempt.saturating_add(1),
            call: rand::random(),
            ..found.clone()
        };
        let key = found.key.clone();
        let value = records::encode_waiter(&waiter);
        let txn = Txn::new()
            .when(Compare::mod_revision(key.clone(), found.mod_revision))
            .then(Operation::overwrite(key.clone(), value.clone()))
            .otherwise(Operation::get(key.clone()));
        let mut pending = Pending::new(&self.abandoned, key, value, self.keep(session));
        let response = match self.core.commit(request.guard.as_ref(), txn).await {
            Ok(response) => response,
            Err(error @ Error::CommitUnknown(_)) => return Err(error),
            Err(error) => {
                pending.settled();
                return Err(error);
            }
        };
        let mine = match response.found(0) {
            None => response.succeeded,
            Some(kv) => self.read(kv)?.call == waiter.call,
        };
        if !mine {
            pending.settled();
            // What the cache shows is older than what is there: look again when it is not.
            self.core.cache.reached(response.revision, ARRIVAL).await;
            return Ok(Entered::Again);
        }
        pending.written();
        Ok(Entered::Queued(Ticket {
            place: found.place(),
            epoch: view.state.epoch.id,
            pending,
        }))
    }

    /// Waits until nobody is before the place, at most until `deadline`.
    async fn await_turn(
        &self,
        request: &Acquire,
        ticket: Ticket,
        deadline: Option<Instant>,
    ) -> Result<Turn, Error> {
        let mut seat = self.turnstile.seat(&ticket.place.key);
        let arrived = ticket.place.create_revision;
        loop {
            let view = self.core.cache.view()?;
            if view.state.epoch.id != ticket.epoch {
                return Ok(Turn::Again);
            }
            if view.revision >= arrived {
                match standing(&view, &request.lock, &ticket.place) {
                    Standing::Held(claim) => {
                        if let Some(granted) = self.grant(request, &ticket, claim, view).await? {
                            ticket.pending.settled();
                            return Ok(Turn::Granted(granted));
                        }
                        continue;
                    }
                    Standing::Waiting => {}
                    Standing::Gone => {
                        ticket.pending.settled();
                        return Err(gone(&view, request));
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
                () = out_of_time => return self.leave(request, ticket).await.map(Turn::Granted),
            }
        }
    }

    /// The one place where standing first becomes holding. A cache that has not heard of the store
    /// for a while may show a place whose session is long gone, so it has to look again.
    async fn grant(
        &self,
        request: &Acquire,
        ticket: &Ticket,
        claim: Arc<Claim>,
        view: View,
    ) -> Result<Option<Granted>, Error> {
        if view.age <= MAX_AGE {
            return Ok(Some(Granted {
                claim,
                revision: view.revision,
            }));
        }
        let view = self.core.cache.read(Freshness::Linearizable).await?;
        Ok(match standing(&view, &request.lock, &ticket.place) {
            Standing::Held(claim) => Some(Granted {
                claim,
                revision: view.revision,
            }),
            Standing::Waiting | Standing::Gone => None,
        })
    }

    /// The time is over: gives the place up, unless it holds the lock at that very moment.
    async fn leave(&self, request: &Acquire, ticket: Ticket) -> Result<Granted, Error> {
        let key = ticket.place.key.clone();
        let Some(mine) = ticket.pending.is_mine() else {
            return Err(Error::Internal("a call without a place".into()));
        };
        let queue = self.core.keys.lock(&request.lock);
        let delete = Txn::new()
            .when(mine)
            .then(Operation::delete(key.clone()))
            .otherwise(Operation::get(key.clone()));
        let txn = Txn::new()
            .when(Compare::exists(key.clone()))
            .when(Compare::none_older(queue, ticket.place.create_revision))
            .then(Operation::get(key))
            .otherwise(Operation::Txn(delete));
        let response = self.core.commit(None, txn).await?;
        ticket.pending.settled();
        if let Some(kv) = response.found(0) {
            return Ok(Granted {
                claim: Arc::new(Claim::held(request.lock.clone(), self.read(kv)?)),
                revision: response.revision,
            });
        }
        let there = match response.responses.first() {
            // Deleted by us, or taken up by another call of the request, which waits on.
            Some(OperationResponse::Txn(inner)) => inner.succeeded || inner.found(0).is_some(),
            _ => false,
        };
        if there {
            return Err(self.held_by_another(&request.lock, response.revision).await);
        }
        self.core.cache.reached(response.revision, ARRIVAL).await;
        Err(gone(&self.core.cache.view()?, request))
    }

    async fn held_by_another(&self, lock: &LockPath, revision: Revision) -> Error {
        let limit = self.core.settings.read_your_writes;
        self.core.cache.reached(revision, limit).await;
        let holder = self.core.cache.view().ok().and_then(|view| {
            let queue = view.state.locks.get(lock.path().as_bytes())?;
            queue.holder().map(|holder| holder.describe())
        });
        Error::LockHeld {
            name: lock.path(),
            holder: holder.unwrap_or_else(|| "another".into()),
        }
    }

    /// How long the place of a broken call is kept.
    fn keep(&self, session: &Session) -> Duration {
        self.core.settings.waiter_keep.min(session.ttl / 3)
    }

    fn read(&self, kv: &crate::store::KeyValue) -> Result<Waiter, Error> {
        records::waiter(kv).map_err(|error| Error::Internal(error.to_string()))
    }
}

fn standing(view: &View, lock: &LockPath, place: &Place) -> Standing {
    let queue = view.state.locks.get(lock.path().as_bytes());
    queue.map_or(Standing::Gone, |queue| queue.standing(place))
}

/// Why a place is no longer there.
fn gone(view: &View, request: &Acquire) -> Error {
    if view.state.sessions.contains_key(&request.session) {
        Error::RequestUndone
    } else {
        Error::LeaseExpired
    }
}
