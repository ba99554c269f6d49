//! A held lock, and how its loss is found out.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use super::Place;
use crate::{
    call::Caller,
    error::{Error, Result},
    proto::{
        Consistency, GetLockRequest, Guard, LockLostCause, lock_service_client::LockServiceClient,
    },
    session::{AbortOnDrop, Ended, Session, SessionEvent, SessionEvents},
};

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

/// Finds out when a lock is lost.
struct LossWatcher {
    caller: Arc<Caller>,
    session: Session,
    namespace: String,
    lock: String,
    fencing_token: i64,
}

// === impl LockGuard ===

impl LockGuard {
    pub(super) fn new(place: Place, fencing_token: i64, events: SessionEvents) -> Result<Self> {
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
            .call(request, LockServiceClient::get_lock)
            .await
            .ok()?;
        let holder = answer.lock?.holder.map(|claim| claim.fencing_token);
        (holder != Some(self.fencing_token))
            .then_some(LockLoss::Removed(LockLostCause::Unspecified))
    }
}
