//! Locks: a place in the queue that survives reconnects, and a guard that knows when it is lost.

mod guard;
mod oversight;
mod together;

use std::{collections::BTreeMap, time::Duration};

pub use self::{
    guard::LockGuard,
    together::{LocksGuard, LocksRequest},
};
pub use crate::queue::{LockLoss, QueuePlace};
use crate::{
    Client,
    duration::to_wire,
    error::Result,
    proto::{
        AcquireLockRequest, Guard, LockMode, LockPermits, acquire_lock_request::Wait,
        lock_service_client::LockServiceClient,
    },
    queue::{self, Held, Place, Queue, Tell, Told},
    session::Session,
};

/// A lock about to be taken. See [`Client::lock`].
#[derive(Debug, Clone)]
#[must_use = "the lock is not taken before one of the `acquire` methods"]
pub struct LockRequest {
    client: Client,
    lock: String,
    owner: String,
    metadata: BTreeMap<String, String>,
    session: Option<Session>,
    guard: Option<Guard>,
    mode: LockMode,
    permits: Option<LockPermits>,
    reentrant_owner: String,
    delay: Option<Duration>,
    tell: Option<Tell>,
}

// === impl LockRequest ===

impl LockRequest {
    pub(crate) fn new(client: Client, lock: &str) -> Self {
        Self {
            client,
            lock: lock.into(),
            owner: String::new(),
            metadata: BTreeMap::new(),
            session: None,
            guard: None,
            mode: LockMode::Exclusive,
            permits: None,
            reentrant_owner: String::new(),
            delay: None,
            tell: None,
        }
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

    /// The session that holds the lock. Default: the one the client shares.
    pub fn session(mut self, session: Session) -> Self {
        self.session = Some(session);
        self
    }

    /// Enters the queue only while another lock is held.
    pub fn guard(mut self, guard: Guard) -> Self {
        self.guard = Some(guard);
        self
    }

    /// Holds the lock together with others that share it: as a reader of what others write while
    /// they hold it for themselves. Waits behind every writer that came before.
    pub fn shared(mut self) -> Self {
        self.mode = LockMode::Shared;
        self.permits = None;
        self
    }

    /// Holds `count` of the `total` permits of the lock, together with others as long as there are
    /// enough. Whoever claims permits of a lock has to mean the same total.
    pub fn permits(mut self, count: u32, total: u32) -> Self {
        // What does not fit is more than a lock may have, and refused by the server.
        let wire = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
        self.mode = LockMode::Permits;
        self.permits = Some(LockPermits {
            count: wire(count),
            total: wire(total),
        });
        self
    }

    /// Makes the owner reentrant: while it holds the lock, `lock` of the same session and owner is
    /// held again at once, with the same token, and it is free when the last guard is released.
    /// At most 128 bytes, such as the name of a job.
    pub fn reentrant(mut self, owner: impl Into<String>) -> Self {
        self.reentrant_owner = owner.into();
        self
    }

    /// Has nobody granted the lock for so long, at most 60 s, once the session that holds it
    /// expires, so that what its owner has under way comes to an end first. Not if it is released.
    pub fn lock_delay(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self
    }

    /// While this waits for the lock, `tell` is called with its place, now and whenever that changes:
    /// at most twice a second, by the thread that waits. Costs one write more once it has waited.
    pub fn on_place(mut self, tell: impl Fn(QueuePlace) + Send + Sync + 'static) -> Self {
        self.tell = Some(Tell::new(tell));
        self
    }

    /// Takes the lock if it can be held at once; else fails with `LOCK_HELD`.
    pub async fn try_acquire(self) -> Result<LockGuard> {
        self.acquire_within(Some(Duration::ZERO)).await
    }

    /// Takes the lock, waiting in its queue at most so long; else fails with `LOCK_HELD`.
    pub async fn acquire_timeout(self, timeout: Duration) -> Result<LockGuard> {
        self.acquire_within(Some(timeout)).await
    }

    /// Takes the lock, waiting in its queue as long as it takes.
    pub async fn acquire(self) -> Result<LockGuard> {
        self.acquire_within(None).await
    }

    async fn acquire_within(self, timeout: Option<Duration>) -> Result<LockGuard> {
        let queue = Queue::Lock(self.lock.clone());
        let mut place = Place::new(&self.client, self.session, queue).await?;
        place.reentrant_owner = self.reentrant_owner;
        let events = place.session.events();
        let request = AcquireLockRequest {
            namespace: place.namespace.clone(),
            lock: self.lock,
            session_id: place.session.id().into(),
            request_id: place.request_id.clone(),
            owner: self.owner,
            metadata: self.metadata,
            guard: self.guard,
            mode: self.mode.into(),
            permits: self.permits,
            reentrant_owner: place.reentrant_owner.clone(),
            lock_delay: self.delay.map(to_wire),
            ..Default::default()
        };
        let caller = place.caller.clone();
        let (patience, until) = caller.patience(timeout);
        // Repeats the same request, wherever it is answered, until the wait is over.
        let request = || {
            let mut request = request.clone();
            request.wait = queue::wait(until, Wait::NoWait(true), Wait::WaitTimeout);
            request
        };
        let tell = self.tell.filter(|_| timeout != Some(Duration::ZERO));
        let acquiring = async {
            let Some(tell) = tell else {
                let call = caller.call_with(patience, request, LockServiceClient::acquire_lock);
                return call.await;
            };
            let told = || Told {
                request: request(),
                tell: tell.clone(),
            };
            caller.call_with(patience, told, queue::acquire).await
        };
        let answer = place.take(acquiring).await?;
        let asked = answer.claim.and_then(|claim| claim.yield_request);
        let held = Held::new(place, answer.fencing_token, asked, events)?;
        Ok(LockGuard::new(held))
    }
}
