//! Several locks, all or none.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::{join_all, select_all};

use super::{LockGuard, LockLoss};
use crate::{
    Client,
    duration::to_wire,
    error::{Error, Result},
    proto::{
        AcquireLocksRequest, Guard, LockMode, LockWanted, acquire_locks_request::Wait,
        lock_service_client::LockServiceClient,
    },
    queue::{self, Held, Place},
    session::Session,
};

/// Locks about to be taken, all or none. See [`Client::lock_all`].
///
/// The server takes them in the order of their names, so that such requests never wait for each
/// other in a ring, however they name them. Locks that are taken one by one besides still can.
#[derive(Debug, Clone)]
#[must_use = "the locks are not taken before one of the `acquire` methods"]
pub struct LocksRequest {
    client: Client,
    locks: Vec<LockWanted>,
    owner: String,
    metadata: BTreeMap<String, String>,
    session: Option<Session>,
    guard: Option<Guard>,
    delay: Option<Duration>,
}

/// Locks that are held together. Released when dropped, in the background; best by
/// [`release`](Self::release).
#[derive(Debug)]
pub struct LocksGuard {
    guards: Vec<LockGuard>,
}

// === impl LocksRequest ===

impl LocksRequest {
    pub(crate) fn new(client: Client, locks: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let request = Self {
            client,
            locks: Vec::new(),
            owner: String::new(),
            metadata: BTreeMap::new(),
            session: None,
            guard: None,
            delay: None,
        };
        locks.into_iter().fold(request, |request, lock| {
            request.and(lock.into(), LockMode::Exclusive)
        })
    }

    /// Takes this one too, together with others that share it.
    pub fn shared(self, lock: impl Into<String>) -> Self {
        self.and(lock.into(), LockMode::Shared)
    }

    /// What others see of the owner, such as host and purpose; at most 253 bytes.
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = owner.into();
        self
    }

    /// What others may know.
    pub fn metadata(mut self, metadata: BTreeMap<String, String>) -> Self {
        self.metadata = metadata;
        self
    }

    /// The session that holds the locks. Default: the one the client shares.
    pub fn session(mut self, session: Session) -> Self {
        self.session = Some(session);
        self
    }

    /// Enters each queue only while another lock is held.
    pub fn guard(mut self, guard: Guard) -> Self {
        self.guard = Some(guard);
        self
    }

    /// Has nobody granted one of the locks for so long, at most 60 s, once the session that holds
    /// them expires.
    pub fn lock_delay(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self
    }

    /// Takes the locks if each can be held at once; else fails with `LOCK_HELD`, holding none.
    pub async fn try_acquire(self) -> Result<LocksGuard> {
        self.acquire_within(Some(Duration::ZERO)).await
    }

    /// Takes the locks, waiting for all of them at most so long; else fails with `LOCK_HELD`,
    /// holding none.
    pub async fn acquire_timeout(self, timeout: Duration) -> Result<LocksGuard> {
        self.acquire_within(Some(timeout)).await
    }

    /// Takes the locks, waiting as long as it takes.
    pub async fn acquire(self) -> Result<LocksGuard> {
        self.acquire_within(None).await
    }

    fn and(mut self, lock: String, mode: LockMode) -> Self {
        self.locks.push(LockWanted {
            lock,
            mode: mode.into(),
        });
        self
    }

    async fn acquire_within(self, timeout: Option<Duration>) -> Result<LocksGuard> {
        let names: Vec<_> = self
            .locks
            .iter()
            .map(|wanted| wanted.lock.clone())
            .collect();
        let mut places = Place::together(&self.client, self.session, names).await?;
        let Some(first) = places.first_mut() else {
            return Err(Error::invalid("locks", "must name at least one"));
        };
        let events: Vec<_> = self.locks.iter().map(|_| first.session.events()).collect();
        let request = AcquireLocksRequest {
            namespace: first.namespace.clone(),
            locks: self.locks,
            session_id: first.session.id().into(),
            request_id: first.request_id.clone(),
            owner: self.owner,
            metadata: self.metadata,
            guard: self.guard,
            lock_delay: self.delay.map(to_wire),
            wait: None,
        };
        let caller = first.caller.clone();
        let (patience, until) = caller.patience(timeout);
        let request = || {
            let mut request = request.clone();
            request.wait = queue::wait(until, Wait::NoWait(true), Wait::WaitTimeout);
            request
        };
        let acquiring = caller.call_with(patience, request, LockServiceClient::acquire_locks);
        let answer = first.take(acquiring).await;
        let claimed = first.is_claimed();
        places
            .iter_mut()
            .for_each(|place| place.set_claimed(claimed));
        let locks = answer?.locks;
        if locks.len() != places.len() {
            return Err(Error::contract("locks"));
        }
        let held = places.into_iter().zip(locks).zip(events);
        let guards = held.map(|((place, lock), events)| {
            let held = Held::new(place, lock.fencing_token, lock.yield_request, events)?;
            Ok(LockGuard::new(held))
        });
        Ok(LocksGuard {
            guards: guards.collect::<Result<_>>()?,
        })
    }
}

// === impl LocksGuard ===

impl LocksGuard {
    /// Each of the locks, in the order in which they were named.
    pub fn locks(&self) -> &[LockGuard] {
        &self.guards
    }

    /// One of the locks.
    pub fn get(&self, lock: &str) -> Option<&LockGuard> {
        self.guards.iter().find(|guard| guard.name() == lock)
    }

    /// Says whether all of them are surely held now.
    pub fn is_held(&self) -> bool {
        self.guards.iter().all(LockGuard::is_held)
    }

    /// Completes when one of them is no longer surely held, and says why. That is final.
    pub async fn lost(&self) -> LockLoss {
        let lost = self.guards.iter().map(|guard| Box::pin(guard.lost()));
        let (loss, _, _) = select_all(lost).await;
        loss
    }

    /// Does `work` as long as all of them are surely held. When one is lost, `work` is dropped where
    /// it stands.
    pub async fn run<T>(&self, work: impl Future<Output = T>) -> Result<T, LockLoss> {
        queue::run_until(self.lost(), work).await
    }

    /// Releases them all. Answers whether all were still held until now.
    pub async fn release(self) -> Result<bool> {
        let released = join_all(self.guards.into_iter().map(LockGuard::release)).await;
        let released: Vec<bool> = released.into_iter().collect::<Result<_>>()?;
        Ok(released.into_iter().all(|released| released))
    }
}

impl From<LockGuard> for LocksGuard {
    /// One lock, held like several.
    fn from(guard: LockGuard) -> Self {
        Self {
            guards: vec![guard],
        }
    }
}
