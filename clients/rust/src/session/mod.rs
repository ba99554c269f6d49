//! Sessions: the one life that carries what a client registers and locks.
//!
//! A background task sends the heartbeats and moves between endpoints; the session itself never
//! notices, as long as one answer arrives within the TTL.

mod keepalive;
mod keeper;
mod life;

use std::{sync::Arc, time::Duration};

use tokio::sync::{broadcast, watch};

pub use self::life::Ended;
pub(crate) use self::{
    keeper::SessionKeeper,
    life::{AbortOnDrop, Life, safe_deadline},
};
use crate::{
    call::{Caller, request_id},
    clock::{self, BootInstant},
    duration::{from_wire, to_wire},
    error::{Error, Result},
    options::SessionOptions,
    proto::{
        CloseSessionRequest, InstanceLost, LeadershipLost, LockLost, OpenSessionRequest,
        OpenSessionResponse, SessionLostReason, YieldRequested,
        session_service_client::SessionServiceClient,
    },
};

/// How many notices wait for a slow reader. A session carries at most 1 000 items, so that even
/// the loss of all of them fits.
const EVENTS: usize = 2048;
/// How long closing in the background may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// An open session. Clones share it; the last one to be dropped closes it in the background.
#[derive(Debug, Clone)]
pub struct Session {
    inner: Arc<Inner>,
}

/// A notice about what a session carries.
#[derive(Debug, Clone, PartialEq)]
pub enum SessionEvent {
    /// An instance no longer belongs to the session. Do not register it again: someone else
    /// decided so.
    InstanceLost(InstanceLost),
    /// A lock is no longer held, or waited for, by the session.
    LockLost(LockLost),
    /// An election is no longer led by the session.
    LeadershipLost(LeadershipLost),
    /// The session is asked to give a lock up. The same may be told more than once.
    YieldRequested(YieldRequested),
    /// The heartbeats were interrupted and go on. Notices of the time between may be missing: who
    /// holds something looks whether it still does.
    Resumed,
}

/// The notices of a session, from when they were asked for.
#[derive(Debug)]
pub struct SessionEvents {
    events: broadcast::Receiver<SessionEvent>,
    life: watch::Receiver<Life>,
}

#[derive(Debug)]
struct Inner {
    id: String,
    ttl: Duration,
    client_id: String,
    caller: Arc<Caller>,
    life: watch::Sender<Life>,
    events: broadcast::Sender<SessionEvent>,
    _keepalive: AbortOnDrop,
}

// === impl Session ===

impl Session {
    pub(crate) async fn open(caller: &Arc<Caller>, options: &SessionOptions) -> Result<Self> {
        let request = OpenSessionRequest {
            ttl: options.ttl.map(to_wire),
            client_id: options.client_id.clone(),
            metadata: options.metadata.clone(),
            request_id: request_id(),
            guard: None,
        };
        // Counted from before the first try: whichever try the server answered, its lease was
        // granted later.
        let sent = BootInstant::now();
        let answer: OpenSessionResponse = caller
            .call(request, SessionServiceClient::open_session)
            .await?;
        let session = answer.session.ok_or_else(|| Error::contract("session"))?;
        let ttl = from_wire(session.ttl.ok_or_else(|| Error::contract("ttl"))?);
        let valid_for = from_wire(answer.valid_for.unwrap_or_default());
        let (life, _) = watch::channel(Life {
            valid_until: safe_deadline(sent, valid_for, ttl),
            ended: None,
        });
        let (events, _) = broadcast::channel(EVENTS);
        let keepalive = keepalive::Keepalive {
            id: answer.session_id.clone(),
            ttl,
            caller: caller.clone(),
            life: life.clone(),
            events: events.clone(),
        };
        Ok(Self {
            inner: Arc::new(Inner {
                id: answer.session_id,
                ttl,
                client_id: session.client_id,
                caller: caller.clone(),
                life,
                events,
                _keepalive: AbortOnDrop::spawn(keepalive.run()),
            }),
        })
    }

    /// The secret id. Whoever knows it acts for the session.
    pub fn id(&self) -> &str {
        &self.inner.id
    }

    /// The time to live that the server granted.
    pub fn ttl(&self) -> Duration {
        self.inner.ttl
    }

    /// The name the client gave itself. May be empty.
    pub fn client_id(&self) -> &str {
        &self.inner.client_id
    }

    /// Says whether the session surely lives now. False while no heartbeat was answered for too
    /// long; it may become true again, unless the session ended.
    pub fn is_valid(&self) -> bool {
        self.inner.life.borrow().is_valid()
    }

    /// For how long from now the session surely lives, whatever happens.
    pub fn valid_for(&self) -> Duration {
        let life = *self.inner.life.borrow();
        match life.ended {
            Some(_) => Duration::ZERO,
            None => life.valid_until.remaining(),
        }
    }

    /// How the session ended, if it did.
    pub fn ended(&self) -> Option<Ended> {
        self.inner.life.borrow().ended
    }

    /// Completes when the session has ended: the server said that it is gone, or it was closed.
    /// An interruption alone does not end it.
    pub async fn lost(&self) -> Ended {
        let mut life = self.inner.life.subscribe();
        loop {
            if let Some(ended) = life.borrow_and_update().ended {
                return ended;
            }
            if life.changed().await.is_err() {
                // Cannot be: `self` holds the sender.
                return Ended::Lost(SessionLostReason::Unspecified);
            }
        }
    }

    /// Completes when the session no longer surely lives: it ended, or no heartbeat was answered
    /// for too long. From then on others may hold its locks.
    pub async fn invalid(&self) {
        let mut life = self.inner.life.subscribe();
        loop {
            let now = *life.borrow_and_update();
            if !now.is_valid() {
                return;
            }
            tokio::select! {
                () = clock::sleep_until(now.valid_until) => {}
                changed = life.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Waits for proof that the session lives after now, or has ended; says whether it lives.
    pub(crate) async fn outlives_now(&self) -> bool {
        let mut life = self.inner.life.subscribe();
        // The first renewal may have been under way already.
        for _ in 0..2 {
            if life.borrow_and_update().ended.is_some() || life.changed().await.is_err() {
                return false;
            }
        }
        life.borrow().ended.is_none()
    }

    /// The notices from now on.
    pub fn events(&self) -> SessionEvents {
        SessionEvents {
            events: self.inner.events.subscribe(),
            life: self.inner.life.subscribe(),
        }
    }

    /// Closes the session: removes its instances, releases its locks and leaves its queues at
    /// once. Answers whether this call closed it.
    pub async fn close(&self) -> Result<bool> {
        self.inner.end(Ended::Closed);
        close(&self.inner.caller, self.inner.id.clone()).await
    }
}

// === impl Inner ===

impl Inner {
    /// Ends the life, unless it ended before.
    fn end(&self, how: Ended) {
        self.life.send_if_modified(|life| life.end(how));
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.life.borrow().ended.is_some() {
            return;
        }
        self.end(Ended::Closed);
        // Without a runtime nobody can close it, and it expires.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (caller, id) = (self.caller.clone(), self.id.clone());
            runtime.spawn(async move {
                let closing = close(&caller, id);
                if let Ok(Err(error)) = tokio::time::timeout(CLOSE_TIMEOUT, closing).await {
                    tracing::debug!(%error, "a dropped session was not closed and will expire");
                }
            });
        }
    }
}

// === impl SessionEvents ===

impl SessionEvents {
    /// The next notice; nothing once the session has ended.
    ///
    /// A reader that fell too far behind gets [`SessionEvent::Resumed`], because it missed some.
    pub async fn next(&mut self) -> Option<SessionEvent> {
        use broadcast::error::RecvError;

        tokio::select! {
            // What came before the end counts.
            biased;
            event = self.events.recv() => match event {
                Ok(event) => Some(event),
                Err(RecvError::Lagged(_)) => Some(SessionEvent::Resumed),
                Err(RecvError::Closed) => None,
            },
            _ = self.life.wait_for(|life| life.ended.is_some()) => None,
        }
    }
}

async fn close(caller: &Caller, session_id: String) -> Result<bool> {
    let request = CloseSessionRequest {
        session_id,
        guard: None,
    };
    let answer = caller
        .call(request, SessionServiceClient::close_session)
        .await?;
    Ok(answer.closed)
}
