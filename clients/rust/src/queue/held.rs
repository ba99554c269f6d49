//! What is held at the head of a queue, and how its loss is found out.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{Place, Queue};
use crate::{
    call::Caller,
    error::{Error, Result},
    proto::{
        Consistency, GetLeaderRequest, GetLockRequest, Guard, LockLostCause, YieldRequest,
        election_service_client::ElectionServiceClient, lock_service_client::LockServiceClient,
    },
    session::{AbortOnDrop, Ended, Session, SessionEvent, SessionEvents},
};

/// A place that holds what one queues for. Given up when dropped, in the background.
#[derive(Debug)]
pub(crate) struct Held {
    place: Place,
    token: i64,
    lost: watch::Receiver<Option<LockLoss>>,
    asked: watch::Receiver<Option<YieldRequest>>,
    _watcher: AbortOnDrop,
}

/// Why a lock, or the lead of an election, is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockLoss {
    /// No heartbeat was answered for so long that others may have it by now.
    NotSurelyHeld,
    /// The session ended.
    Session(Ended),
    /// The claim was removed.
    Removed(LockLostCause),
}

/// Finds out when what is held is lost.
struct LossWatcher {
    caller: Arc<Caller>,
    session: Session,
    namespace: String,
    queue: Queue,
    token: i64,
    ask: watch::Sender<Option<YieldRequest>>,
}

// === impl Held ===

impl Held {
    /// A place that the server said holds, and what it was asked by then. The `events` of the
    /// session have been heard since before the server was asked.
    pub(crate) fn new(
        place: Place,
        token: i64,
        asked: Option<YieldRequest>,
        events: SessionEvents,
    ) -> Result<Self> {
        if token <= 0 {
            return Err(Error::contract("fencing_token"));
        }
        let (tell, lost) = watch::channel(None);
        let (ask, asked) = watch::channel(asked);
        let watcher = LossWatcher {
            caller: place.caller.clone(),
            session: place.session.clone(),
            namespace: place.namespace.clone(),
            queue: place.queue.clone(),
            token,
            ask,
        };
        Ok(Self {
            _watcher: AbortOnDrop::spawn(async move {
                let loss = watcher.run(events).await;
                tell.send_replace(Some(loss));
            }),
            place,
            token,
            lost,
            asked,
        })
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    pub(crate) fn token(&self) -> i64 {
        self.token
    }

    pub(crate) fn guard(&self) -> Guard {
        let (lock, election) = match self.place.queue.clone() {
            Queue::Lock(lock) => (lock, String::new()),
            Queue::Election(election) => (String::new(), election),
        };
        Guard {
            // Said even if it is the default: the request may be for another namespace.
            namespace: match self.place.namespace.as_str() {
                "" => "default".into(),
                namespace => namespace.into(),
            },
            lock,
            election,
            fencing_token: self.token,
        }
    }

    pub(crate) fn is_held(&self) -> bool {
        self.lost.borrow().is_none() && self.place.session.is_valid()
    }

    pub(crate) fn held_for(&self) -> Duration {
        match *self.lost.borrow() {
            Some(_) => Duration::ZERO,
            None => self.place.session.valid_for(),
        }
    }

    pub(crate) async fn lost(&self) -> LockLoss {
        let mut lost = self.lost.clone();
        match lost.wait_for(Option::is_some).await {
            Ok(loss) => loss.unwrap_or(LockLoss::NotSurelyHeld),
            // The watcher is gone without a word: nobody looks after what is held.
            Err(_) => LockLoss::NotSurelyHeld,
        }
    }

    /// Does `work` as long as this is surely held; then it is dropped where it stands.
    pub(crate) async fn run<T>(&self, work: impl Future<Output = T>) -> Result<T, LockLoss> {
        run_until(self.lost(), work).await
    }

    pub(crate) async fn yield_requested(&self) -> YieldRequest {
        let mut asked = self.asked.clone();
        if let Ok(asked) = asked.wait_for(Option::is_some).await
            && let Some(asked) = asked.clone()
        {
            return asked;
        }
        // It is lost, and nobody will ask any more.
        std::future::pending().await
    }

    pub(crate) async fn release(self) -> Result<bool> {
        self.place.leave().await
    }
}

/// Does `work` unless what it needs is `lost` before; then it is dropped where it stands.
pub(crate) async fn run_until<T>(
    lost: impl Future<Output = LockLoss>,
    work: impl Future<Output = T>,
) -> Result<T, LockLoss> {
    tokio::select! {
        // What is lost must not go on for another step.
        biased;
        loss = lost => Err(loss),
        done = work => Ok(done),
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
                Some(event) => {
                    if let Some(cause) = self.told(&event) {
                        return LockLoss::Removed(cause);
                    }
                }
                None => {
                    return self
                        .session
                        .ended()
                        .map_or(LockLoss::NotSurelyHeld, LockLoss::Session);
                }
            }
        }
    }

    /// Why a notice says that this is lost.
    fn told(&self, event: &SessionEvent) -> Option<LockLostCause> {
        let (queue, token, cause) = match event {
            SessionEvent::LockLost(lost) => {
                let queue = Queue::Lock(lost.lock.clone());
                (queue, lost.fencing_token, lost.cause())
            }
            SessionEvent::LeadershipLost(lost) => {
                let queue = Queue::Election(lost.election.clone());
                (queue, lost.term, lost.cause())
            }
            SessionEvent::YieldRequested(asked) => {
                let queue = Queue::Lock(asked.lock.clone());
                if queue == self.queue && asked.fencing_token == self.token {
                    self.asked_to_yield(asked.yield_request.clone());
                }
                return None;
            }
            SessionEvent::InstanceLost(_) | SessionEvent::Resumed => return None,
        };
        (queue == self.queue && token == self.token).then_some(cause)
    }

    fn asked_to_yield(&self, request: Option<YieldRequest>) {
        if request.is_some() {
            self.ask.send_replace(request);
        }
    }

    /// Asks who is the first, after notices may have been missed. Without an answer the session's
    /// life decides.
    async fn look(&self) -> Option<LockLoss> {
        let held = self.holds().await.ok()?;
        (!held).then_some(LockLoss::Removed(LockLostCause::Unspecified))
    }

    async fn holds(&self) -> Result<bool> {
        let namespace = self.namespace.clone();
        let consistency = Consistency::Linearizable.into();
        Ok(match self.queue.clone() {
            Queue::Lock(lock) => {
                let request = GetLockRequest {
                    namespace,
                    lock,
                    consistency,
                    min_revision: 0,
                };
                let answer = self.caller.call(request, LockServiceClient::get_lock);
                let lock = answer.await?.lock;
                let lock = lock.ok_or_else(|| Error::contract("lock"))?;
                // A server of an earlier release knows one holder alone.
                let mut holders = lock.holders.into_iter().chain(lock.holder);
                let holder = holders.find(|holder| holder.fencing_token == self.token);
                match holder {
                    None => false,
                    Some(holder) => {
                        self.asked_to_yield(holder.yield_request);
                        true
                    }
                }
            }
            Queue::Election(election) => {
                let request = GetLeaderRequest {
                    namespace,
                    election,
                    consistency,
                    min_revision: 0,
                };
                let answer = self.caller.call(request, ElectionServiceClient::get_leader);
                let election = answer.await?.election;
                let election = election.ok_or_else(|| Error::contract("election"))?;
                let leader = election.leader;
                leader.is_some_and(|leader| leader.term == self.token)
            }
        })
    }
}
