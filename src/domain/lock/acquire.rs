//! Acquiring a lock: one transaction to queue, then waiting for one's turn.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    domain::{
        error::Error, guard::Guard, keyspace::QueuePath, names::Label, records, session::Session,
        session_id::SessionId, state::View,
    },
    store::{Compare, Operation, Revision, Txn},
};

use super::{
    Claim, LockMode, Locks, Waiter,
    abandoned::{LetGo, Pending},
    reentrant::{Hold, identity, joined},
    release::find_key,
    wait::{ARRIVAL, Spot, Ticket, read},
};

/// How often a call starts over because others were faster, before it is told so.
const ATTEMPTS: usize = 16;

/// Who wants which lock, or wants to lead which election.
#[derive(Debug, Clone)]
pub struct Acquire {
    /// The lock, or the election.
    pub lock: QueuePath,
    /// The session that is to hold it.
    pub session: SessionId,
    /// The owner within the session; empty: the session as such.
    pub request_id: String,
    /// How long to wait.
    pub wait: Wait,
    /// The owner within the session that may acquire it again while it holds it.
    pub reentrant: Option<String>,
    /// How to hold it.
    pub mode: LockMode,
    /// For how long nobody is granted it after this one, should its session die. Only for a lock
    /// that is held exclusively, by an owner who is not reentrant.
    pub delay: Option<Duration>,
    /// What others see of the owner.
    pub owner: Label,
    /// Anything others may know.
    pub metadata: BTreeMap<String, String>,
    /// What it proclaims once it leads; nothing for a lock.
    pub proclamation: Bytes,
    /// Where the call came from; empty: not known.
    pub address: String,
    /// Queues only while this holds.
    pub guard: Option<Guard>,
    /// Says when its client is done with it, if it lives no longer than its call.
    pub let_go: Option<LetGo>,
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
    /// The queue was empty, which is what an exclusive claim that does not wait asks for.
    Granted(Granted, Ticket),
    /// Somebody changed what the attempt was built on.
    Again,
    /// What an earlier claim of the same request left delays the lock, as of a revision.
    Delayed(Bytes, Revision),
}

// === impl Locks ===

impl Locks {
    /// Acquires a lock, or returns it to the request that holds it already.
    ///
    /// Dropping the call is safe at any time: its place is kept for a moment, for the same request,
    /// and then given up. Errors: [`Error::LockHeld`], [`Error::LockDelayed`] or
    /// [`Error::LedByAnother`],
    /// [`Error::LocksClosed`], [`Error::LeaseExpired`], [`Error::RequestUndone`],
    /// [`Error::TooManyWaiters`], [`Error::SessionFull`], [`Error::PermitsDiffer`],
    /// [`Error::ClaimDiffers`], [`Error::TooManyHolds`], [`Error::GuardFailed`],
    /// [`Error::Draining`].
    pub async fn acquire(&self, request: Acquire) -> Result<Granted, Error> {
        let (granted, ticket) = self.take_place(request, |_| {}).await?;
        ticket.pending.settled();
        Ok(granted)
    }

    /// The same, with the place that holds the lock; `entered` hears of each that is taken.
    pub(super) async fn take_place(
        &self,
        mut request: Acquire,
        entered: impl Fn(&Spot),
    ) -> Result<(Granted, Ticket), Error> {
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
                Entered::Granted(granted, ticket) => return Ok((granted, ticket)),
                Entered::Again => {}
                Entered::Delayed(key, revision) => {
                    let lock = &request.lock;
                    self.await_delay(lock, &key, revision, deadline).await?;
                }
                Entered::Queued(ticket) => {
                    entered(&ticket.spot);
                    let turn = self.await_turn(&request, ticket, deadline).await?;
                    if let Some(granted) = turn {
                        return Ok(granted);
                    }
                }
            }
        }
        Err(Error::Conflict {
            name: request.lock.path(),
        })
    }

    async fn enter(&self, request: &Acquire) -> Result<Entered, Error> {
        // Not in a store of which it is not certain that it still has all it had of this lock.
        let limit = self.core.settings.commit_timeout;
        self.core.cache.confirmed(limit).await?;
        let session = self.sessions.require(request.session).await?;
        let view = self.core.cache.view()?;
        let identity = identity(request.reentrant.as_deref(), &request.request_id);
        let key = self.core.keys.waiter(&request.lock, &session.id, &identity);
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
        self.check_fit(request, view).await?;
        let lock = &request.lock;
        let queue = view.state.queue(lock);
        let limit = self.core.settings.max_waiters;
        // The store itself says whether nobody is there at all.
        let alone = request.wait == Wait::No && request.mode == LockMode::Exclusive;
        // The first one is not counted; others are, whether they hold it or wait.
        if !alone && queue.is_some_and(|queue| queue.claims.len() > limit) {
            return Err(Error::TooManyWaiters {
                queue: lock.clone(),
                limit,
            });
        }
        let call = rand::random();
        let waiter = Waiter {
            key: key.clone(),
            session: session.id,
            client_id: session.client_id.clone(),
            request_id: request.request_id.clone(),
            owner: request.owner.clone(),
            mode: request.mode,
            era: view.state.epoch.era,
            attempt: 1,
            call,
            enqueue_time: self.core.clock.system_time(),
            metadata: request.metadata.clone(),
            proclamation: request.proclamation.clone(),
            holds: match request.reentrant {
                Some(_) => joined(lock, &[], &request.request_id, call)?,
                None => Vec::new(),
            },
            address: request.address.clone(),
            yield_request: None,
            delay: request.delay,
            format: records::FORMAT,
            create_revision: 0,
            mod_revision: 0,
        };
        let value = records::encode_waiter(&waiter);
        let fence = self.core.keys.fence(&session.id, &request.request_id);
        let session_key = self.core.keys.session(&session.id);
        let [same_epoch, open] = self.core.open_compares(view);
        let delay_key = self.core.keys.lock_delay(&key);
        let delay = request.delay.map(|delay| {
            let value = records::encode_lock_delay(&waiter, delay);
            Operation::put(delay_key.clone(), value)
        });
        let mut txn = Txn::new()
            .when(Compare::absent(key.clone()))
            // What it left there before would be overwritten.
            .when_all(delay.as_ref().map(|_| Compare::absent(delay_key.clone())))
            .when(Compare::exists(session_key.clone()))
            .when(Compare::absent(fence.clone()))
            .when(same_epoch)
            .then(Operation::put_leased(
                key.clone(),
                value.clone(),
                session.id.lease(),
            ))
            .then_all(delay)
            .otherwise(Operation::get(key.clone()))
            .otherwise(Operation::get(session_key))
            .otherwise(Operation::get(fence))
            .otherwise(Operation::get(self.core.keys.epoch()));
        if alone {
            txn = txn
                .when(open)
                .when(Compare::empty(self.core.keys.queue(lock)))
                .otherwise(Operation::get(self.core.keys.closed()));
        } else if request.delay.is_some() {
            txn = txn.otherwise(Operation::get(delay_key));
        }
        let mut pending = Pending::new(&self.abandoned, key.clone(), value, self.keep(session));
        pending.belongs_to(request, &waiter);
        let guard = request.guard.as_ref();
        let response = match self.commit(lock, guard, txn).await {
            Ok(response) => response,
            // It may have been written, or be written yet.
            Err(error @ Error::CommitUnknown(_)) => return Err(error),
            Err(error) => {
                pending.settled();
                return Err(error);
            }
        };
        if response.succeeded {
            if response.revision <= view.revision || !self.core.cache.is_confirmed() {
                pending.written();
                return self.doubt().await;
            }
            let waiter = Waiter {
                create_revision: response.revision,
                mod_revision: response.revision,
                ..waiter
            };
            pending.written();
            let ticket = Ticket::new(&waiter, call, view, pending);
            if alone {
                let granted = Granted {
                    claim: Arc::new(Claim::held(lock.clone(), waiter)),
                    revision: response.revision,
                };
                return Ok(Entered::Granted(granted, ticket));
            }
            return Ok(Entered::Queued(ticket));
        }
        let epoch = response.found(3).map_or(0, |epoch| epoch.mod_revision);
        if epoch != view.state.epoch.revision || response.revision < view.revision {
            return self.doubt().await;
        }
        if let Some(kv) = response.found(0) {
            let found = read(kv)?;
            if found.era < view.state.epoch.claims_from {
                pending.settled();
                self.delete_void(&found).await?;
                return Ok(Entered::Again);
            }
            if found.call == waiter.call {
                // The first answer was lost.
                pending.written();
                let ticket = Ticket::new(&found, call, view, pending);
                return Ok(Entered::Queued(ticket));
            }
            pending.settled();
            return self.take_up(request, session, view, &found).await;
        }
        pending.settled();
        if response.found(2).is_some() {
            Err(Error::RequestUndone)
        } else if response.found(1).is_none() {
            Err(Error::LeaseExpired)
        } else if alone && response.found(4).is_some() {
            Err(Error::LocksClosed)
        } else if alone {
            Err(self.not_granted(lock, response.revision).await)
        } else if request.delay.is_some() && response.found(4).is_some() {
            Ok(Entered::Delayed(key, response.revision))
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
        records::writable(format!("a place in {}", request.lock), found.format)?;
        if found.mode != request.mode || found.delay != request.delay {
            return Err(Error::ClaimDiffers {
                name: request.lock.path(),
            });
        }
        let call = rand::random();
        let mut waiter = Waiter {
            attempt: found.attempt.saturating_add(1),
            call,
            ..found.clone()
        };
        if request.reentrant.is_some() {
            waiter.holds = joined(&request.lock, &found.holds, &request.request_id, call)?;
        }
        let fence = self.core.keys.fence(&session.id, &request.request_id);
        let known = |hold: &Hold| hold.request_id == request.request_id;
        let joins = request.reentrant.is_some() && !found.holds.iter().any(known);
        let key = found.key.clone();
        let value = records::encode_waiter(&waiter);
        let mut txn = Txn::new()
            .when(Compare::mod_revision(key.clone(), found.mod_revision))
            .then(Operation::overwrite(key.clone(), value.clone()))
            .otherwise(Operation::get(key.clone()));
        if joins {
            // It may be the first that is heard of a request that was undone.
            txn = txn
                .when(Compare::absent(fence.clone()))
                .otherwise(Operation::get(fence));
        }
        let mut pending = Pending::new(&self.abandoned, key, value, self.keep(session));
        pending.belongs_to(request, &waiter);
        let response = match self.core.commit(request.guard.as_ref(), txn).await {
            Ok(response) => response,
            Err(error @ Error::CommitUnknown(_)) => return Err(error),
            Err(error) => {
                pending.settled();
                return Err(error);
            }
        };
        let written = match response.found(0) {
            None => response.succeeded.then_some(response.revision),
            Some(kv) => (read(kv)?.call == call).then_some(kv.mod_revision),
        };
        let Some(written) = written else {
            pending.settled();
            if response.found(1).is_some() {
                return Err(Error::RequestUndone);
            }
            // What the cache shows is older than what is there: look again when it is not.
            self.core.cache.reached(response.revision, ARRIVAL).await;
            return Ok(Entered::Again);
        };
        pending.written();
        if response.succeeded && response.revision <= view.revision {
            return self.doubt().await;
        }
        waiter.mod_revision = written;
        let ticket = Ticket::new(&waiter, call, view, pending);
        Ok(Entered::Queued(ticket))
    }

    /// The store is in another epoch than we are, or at a revision that it had before: it lost
    /// data. Has the cache find out, and then starts over.
    async fn doubt(&self) -> Result<Entered, Error> {
        self.look_anew().await?;
        Ok(Entered::Again)
    }

    /// How long the place of a broken call is kept.
    fn keep(&self, session: &Session) -> Duration {
        self.core.settings.waiter_keep.min(session.ttl / 3)
    }
}
