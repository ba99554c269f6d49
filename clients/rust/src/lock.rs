//! Locks: a place in the queue that survives reconnects, and a guard that knows when it is lost.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{sync::watch, time::Instant};

use crate::{
    Client,
    call::{Caller, Patience, request_id},
    duration::to_wire,
    error::{Error, Result},
    proto::{
        AcquireLockRequest, AcquireLockResponse, Consistency, GetLockRequest, Guard, LockLostCause,
        ReleaseLockRequest, acquire_lock_request::Wait, lock_service_client::LockServiceClient,
        release_lock_request::Claim,
    },
    session::{AbortOnDrop, Ended, Session, SessionEvent, SessionEvents},
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

/// A held lock. Released when dropped, in the background; best by [`release`](Self::release).
///
/// A lock is advice unless what it protects checks the [`fencing_token`](Self::fencing_token): a
/// program that is paused does not notice in time that it lost the lock. For changes at Stanchion
/// itself, [`guard`](Self::guard) is that check.
#[derive(Debug)]
pub struct LockGuard {
    place: Place,
    fencing_token: i64,
    lost: watch::Receiver<Option<LockLoss>>,
    _watcher: AbortOnDrop,
}

/// Why a lock is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockLoss {
    /// No heartbeat was answered for so long that others may hold the lock by now.
    NotSurelyHeld,
    /// The session ended.
    Session(Ended),
    /// The claim was removed.
    Removed(LockLostCause),
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
        .call_with(patience, request, |channel, request| async move {
            LockServiceClient::new(channel).acquire_lock(request).await
        })
        .await
}

// === impl LockGuard ===

impl LockGuard {
    fn new(place: Place, fencing_token: i64, events: SessionEvents) -> Result<Self> {
        if fencing_token <= 0 {
            return Err(Error::contract("fencing_token"));
        }
        let (tell, lost) = watch::channel(None);
        let watcher = LossWatcher {
            caller: place.caller.clone(),
            session: place.session.clone(),
            namespace: place.namespace.clone(),
            lock: place.lock.clone(),
            fencing_token,
        };
        Ok(Self {
            _watcher: AbortOnDrop::spawn(async move {
                let loss = watcher.run(events).await;
                tell.send_replace(Some(loss));
            }),
            place,
            fencing_token,
            lost,
        })
    }

    /// Name of the lock.
    pub fn name(&self) -> &str {
        &self.place.lock
    }

    /// The token to pass on to whatever the lock protects: positive, and larger than every token
    /// of the lock before it.
    pub fn fencing_token(&self) -> i64 {
        self.fencing_token
    }

    /// Makes a change happen only while this lock is held: the `guard` of a request.
    pub fn guard(&self) -> Guard {
        Guard {
            // Said even if it is the default: the request may be for another namespace.
            namespace: match self.place.namespace.as_str() {
                "" => "default".into(),
                namespace => namespace.into(),
            },
            lock: self.place.lock.clone(),
            fencing_token: self.fencing_token,
        }
    }

    /// Says whether the lock is surely held now.
    pub fn is_held(&self) -> bool {
        self.lost.borrow().is_none() && self.place.session.is_valid()
    }

    /// For how long from now the lock is surely held, unless somebody removes the claim.
    pub fn held_for(&self) -> Duration {
        match *self.lost.borrow() {
            Some(_) => Duration::ZERO,
            None => self.place.session.valid_for(),
        }
    }

    /// Completes when the lock is no longer surely held. That is final: it stays lost even if the
    /// session is found to live on.
    pub async fn lost(&self) -> LockLoss {
        let mut lost = self.lost.clone();
        match lost.wait_for(Option::is_some).await {
            Ok(loss) => loss.unwrap_or(LockLoss::NotSurelyHeld),
            // The watcher is gone without a word: nobody looks after the lock.
            Err(_) => LockLoss::NotSurelyHeld,
        }
    }

    /// Releases the lock. Answers whether it was still held until now.
    pub async fn release(mut self) -> Result<bool> {
        // On failure the drop tries once more, in the background.
        let released = self.place.give_up().await?;
        self.place.claimed = false;
        Ok(released)
    }
}

/// Finds out when a lock is lost.
struct LossWatcher {
    caller: Arc<Caller>,
    session: Session,
    namespace: String,
    lock: String,
    fencing_token: i64,
}

// === impl LossWatcher ===

impl LossWatcher {
    async fn run(self, mut events: SessionEvents) -> LockLoss {
        loop {
            let event = tokio::select! {
                // What came before the end counts.
                biased;
                event = events.next() => event,
                () = self.session.invalid() => None,
            };
            match event {
                Some(SessionEvent::LockLost(lost))
                    if self.is_mine(lost.fencing_token, &lost.lock) =>
                {
                    return LockLoss::Removed(lost.cause());
                }
                Some(SessionEvent::Resumed) => {
                    let looked = tokio::select! {
                        looked = self.look() => looked,
                        // The answer may take longer than the session surely lives.
                        () = self.session.invalid() => None,
                    };
                    if let Some(loss) = looked {
                        return loss;
                    }
                }
                Some(SessionEvent::LockLost(_) | SessionEvent::InstanceLost(_)) => {}
                None => {
                    return self
                        .session
                        .ended()
                        .map_or(LockLoss::NotSurelyHeld, LockLoss::Session);
                }
            }
        }
    }

    fn is_mine(&self, fencing_token: i64, lock: &str) -> bool {
        fencing_token == self.fencing_token && lock == self.lock
    }

    /// Asks who holds the lock, after notices may have been missed. Without an answer the session's
    /// life decides.
    async fn look(&self) -> Option<LockLoss> {
        let request = GetLockRequest {
            namespace: self.namespace.clone(),
            lock: self.lock.clone(),
            consistency: Consistency::Linearizable.into(),
            min_revision: 0,
        };
        let answer = self
            .caller
            .call(request, |channel, request| async move {
                LockServiceClient::new(channel).get_lock(request).await
            })
            .await
            .ok()?;
        let holder = answer.lock?.holder.map(|claim| claim.fencing_token);
        (holder != Some(self.fencing_token))
            .then_some(LockLoss::Removed(LockLostCause::Unspecified))
    }
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
        .call(request, |channel, request| async move {
            LockServiceClient::new(channel).release_lock(request).await
        })
        .await?;
    Ok(answer.released)
}
