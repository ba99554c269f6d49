//! Locks: a place in the queue that survives reconnects, and a guard that knows when it is lost.

mod guard;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::Instant;

pub use self::guard::{LockGuard, LockLoss};
use crate::{
    Client,
    call::{Caller, Patience, request_id},
    duration::to_wire,
    error::{Error, Result},
    proto::{
        AcquireLockRequest, AcquireLockResponse, Guard, ReleaseLockRequest,
        acquire_lock_request::Wait, lock_service_client::LockServiceClient,
        release_lock_request::Claim,
    },
    session::Session,
};

/// How long a release in the background may take.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(3);

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
}

/// A place in the queue, given up when dropped.
#[derive(Debug)]
struct Place {
    caller: Arc<Caller>,
    session: Session,
    namespace: String,
    lock: String,
    request_id: String,
    /// Whether there may be something to give up.
    claimed: bool,
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

    /// Takes the lock if it is free; else fails with `LOCK_HELD`.
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
        let session = match self.session {
            Some(session) => session,
            None => self.client.session().await?,
        };
        let events = session.events();
        let mut place = Place {
            caller: self.client.caller().clone(),
            namespace: self.client.namespace().into(),
            lock: self.lock,
            request_id: request_id(),
            session: session.clone(),
            claimed: true,
        };
        let request = AcquireLockRequest {
            namespace: place.namespace.clone(),
            lock: place.lock.clone(),
            session_id: session.id().into(),
            request_id: place.request_id.clone(),
            owner: self.owner,
            metadata: self.metadata,
            guard: self.guard,
            ..Default::default()
        };
        let acquiring = acquire(&place.caller, request, timeout);
        let answer = tokio::select! {
            answer = acquiring => answer,
            _ = session.lost() => Err(Error::session_lost()),
        };
        match answer {
            Ok(answer) => LockGuard::new(place, answer.fencing_token, events),
            Err(error) => {
                // A refusal leaves nothing behind. Where the outcome is open, giving up also
                // undoes a request that is still under way.
                place.claimed = error.is_retryable() && session.ended().is_none();
                Err(error)
            }
        }
    }
}

/// Repeats the same request, wherever it is answered, until the wait is over.
async fn acquire(
    caller: &Caller,
    request: AcquireLockRequest,
    timeout: Option<Duration>,
) -> Result<AcquireLockResponse> {
    let until = timeout.map(|timeout| Instant::now() + timeout);
    let patience = Patience {
        // The server ends the wait; the rest is for the way there and back.
        deadline: until.map(|until| until + caller.options.call_timeout),
        waits_until: until,
        attempts: match timeout {
            Some(timeout) if timeout.is_zero() => caller.options.attempts,
            _ => u32::MAX,
        },
    };
    let request = || {
        let mut request = request.clone();
        request.wait = until.map(
            |until| match until.saturating_duration_since(Instant::now()) {
                Duration::ZERO => Wait::NoWait(true),
                left => Wait::WaitTimeout(to_wire(left)),
            },
        );
        request
    };
    caller
        .call_with(patience, request, LockServiceClient::acquire_lock)
        .await
}

// === impl Place ===

impl Place {
    async fn give_up(&self) -> Result<bool> {
        release(
            &self.caller,
            ReleaseLockRequest {
                namespace: self.namespace.clone(),
                lock: self.lock.clone(),
                session_id: self.session.id().into(),
                claim: Some(Claim::RequestId(self.request_id.clone())),
                guard: None,
            },
        )
        .await
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.claimed || self.session.ended().is_some() {
            return;
        }
        // Without a runtime nobody can release it, and it ends with the session.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let place = Place {
            caller: self.caller.clone(),
            session: self.session.clone(),
            namespace: std::mem::take(&mut self.namespace),
            lock: std::mem::take(&mut self.lock),
            request_id: std::mem::take(&mut self.request_id),
            claimed: false,
        };
        runtime.spawn(async move {
            let giving_up = tokio::time::timeout(RELEASE_TIMEOUT, place.give_up());
            if let Ok(Err(error)) = giving_up.await {
                tracing::warn!(%error, lock = place.lock, "not released; it ends with the session");
            }
        });
    }
}

async fn release(caller: &Caller, request: ReleaseLockRequest) -> Result<bool> {
    let answer = caller
        .call(request, LockServiceClient::release_lock)
        .await?;
    Ok(answer.released)
}
