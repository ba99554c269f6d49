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
pub(super) enum Entered {
    /// The call has a place.
    Queued(Ticket),
    /// The queue was empty, which is what an exclusive claim that does not wait asks for.
    Granted(Granted, Ticket),
    /// Somebody changed what the attempt was built on.
    Again,
    /// What an earlier claim of the same request left delays the lock, as of a revision.
    Delayed(Bytes, Revision),
}

// === impl Acquire ===

impl Acquire {
    /// Whether it wants to be alone, at once or not at all.
    pub(super) fn tries_alone(&self) -> bool {
        self.wait == Wait::No && self.mode == LockMode::Exclusive
    }
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
        let identity = identity(request.reentrant.as_deref(), &request.request_id);
        let key = self.core.keys.waiter(&request.lock, &session.id, &identity);
        let mut view = self.core.cache.view()?;
        // Else what was acknowledged by now changes nothing.
        let is_first = find_key(&view, &request.lock, &key).is_none();
        if !is_first
            || self.check_room(request, &view).is_err()
            || request.mode != LockMode::Exclusive
        {
            view = self.core.view().await?;
        }
        match find_key(&view, &request.lock, &key) {
            Some(claim) => self.take_up(request, &session, &view, &claim.waiter).await,
            None => self.enqueue(request, &session, &view, key).await,
        }
    }

    /// Takes over the place of an earlier call of the same request, which then must not give it up
    /// any more.
    pub(super) async fn take_up(
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
    pub(super) async fn doubt(&self) -> Result<Entered, Error> {
        self.look_anew().await?;
        Ok(Entered::Again)
    }

    /// How long the place of a broken call is kept.
    pub(super) fn keep(&self, session: &Session) -> Duration {
        self.core.settings.waiter_keep.min(session.ttl / 3)
    }
}
