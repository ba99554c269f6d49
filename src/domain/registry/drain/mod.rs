//! Draining: an instance leaves the serving view, and is removed once whoever watches knows.
//!
//! A drain is a record of the instance's operator state, so that every replica sees it at one
//! revision. Each adds up which of its subscribers know of that revision (`duty`); a call
//! that drains follows what they report (`call`), and removes the instance when all know or
//! the time is over (`end`). A drain that nobody follows is ended by [`Timers`](super::Timers).

mod ack;
mod call;
mod duty;
mod end;
mod peers;
mod subscribers;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio_util::sync::CancellationToken;

use crate::{
    domain::{
        Core,
        audit::{AuditOperation, Caller, Deed},
        error::Error,
        guard::Guard,
        keyspace::InstanceKey,
        names::Label,
        records,
        session::Sessions,
        session_id::SessionId,
        state::{State, View},
    },
    store::{Compare, Operation, Revision, Txn, TxnResponse},
};

use crate::domain::registry::{
    Drain, Instance, InstanceRecord, Operator, ROUNDS, decode, not_found,
};

pub use self::{
    ack::{DrainAck, Laggard},
    call::{DrainCall, DrainOutcome, DrainProgress},
    duty::DrainDuty,
    peers::Peers,
    subscribers::{Ended, Reached, Subscriber, SubscriberInfo, Subscribers, Watching},
};

/// The drains of all instances, and who has to know of them at this replica. Clones share them.
#[derive(Clone)]
pub struct Drains {
    pub(super) core: Arc<Core>,
    pub(super) sessions: Sessions,
    pub(super) subscribers: Subscribers,
    pub(super) peers: Arc<dyn Peers>,
    pub(super) stopping: CancellationToken,
}

/// What is to be drained.
#[derive(Debug, Clone)]
pub struct DrainRequest {
    /// Which instance.
    pub key: InstanceKey,
    /// How long subscribers are waited for.
    pub deadline: Duration,
    /// The session it must belong to; `None`: whoever owns it.
    pub session: Option<SessionId>,
    /// The revision the registration must have.
    pub expected_revision: Option<Revision>,
    /// The lock that must be held.
    pub guard: Option<Guard>,
    /// Who asks, unverified.
    pub actor: Label,
    /// Who calls.
    pub caller: Caller,
}

/// A drain that runs.
#[derive(Debug, Clone)]
pub(super) struct Running {
    /// The drain.
    pub drain: Drain,
    /// What decided it, with all else that was decided.
    pub operator: Arc<Operator>,
    /// The instance.
    pub instance: Arc<Instance>,
}

/// What there is under an instance's keys.
struct Seen {
    record: Option<Arc<InstanceRecord>>,
    operator: Option<Arc<Operator>>,
}

enum Verdict {
    Join(Drain, Revision),
    Write(Box<Operator>, Drain),
    Refuse(Error),
}

// === impl Drains ===

impl Drains {
    /// The drains in the store that `core` is about.
    pub fn new(core: Arc<Core>, sessions: Sessions, peers: Arc<dyn Peers>) -> Self {
        let keep = core.settings.subscriber_keep;
        let subscribers = Subscribers::new(core.clock.clone(), keep);
        Self {
            core,
            sessions,
            subscribers,
            peers,
            stopping: CancellationToken::new(),
        }
    }

    /// Who watches at this replica.
    pub fn subscribers(&self) -> &Subscribers {
        &self.subscribers
    }

    /// The other replicas.
    pub fn peers(&self) -> &dyn Peers {
        self.peers.as_ref()
    }

    /// Ends every call that follows a drain, with [`Error::Draining`]. The drains go on.
    pub fn stop(&self) {
        self.stopping.cancel();
    }

    /// Begins to drain an instance, or joins the drain that runs.
    ///
    /// Errors: [`Error::NotFound`], [`Error::NotOwner`], [`Error::Mismatch`].
    pub async fn drain(&self, request: DrainRequest) -> Result<DrainCall, Error> {
        let path = request.key.path();
        let keys = [
            self.core.keys.instance(&request.key),
            self.core.keys.operator(&request.key),
        ];
        let reads = || keys.iter().cloned().map(Operation::get);
        let mut seen = Seen::of(&self.core.cache.view()?, &path);
        let mut confirmed = false;
        for _ in 0..ROUNDS {
            let now = self.core.clock.system_time();
            let (writing, mut txn) = match request.decide(&seen, now) {
                Verdict::Join(drain, at) => {
                    let left = drain.deadline.duration_since(now).unwrap_or_default();
                    let left = left.min(drain.length());
                    return Ok(DrainCall::new(self.clone(), request, drain, at, left));
                }
                Verdict::Refuse(error) if confirmed => return Err(error),
                // The cache may be a moment behind.
                Verdict::Refuse(_) => (None, Txn::new()),
                Verdict::Write(operator, drain) => {
                    let [instance, decided] = keys.clone();
                    let revision = |seen: Option<Revision>| seen.unwrap_or_default();
                    let record = seen.record.as_ref().map(|record| record.mod_revision);
                    let before = seen.operator.as_ref().map(|before| before.mod_revision);
                    let txn = Txn::new()
                        .when(Compare::mod_revision(instance, revision(record)))
                        .when(Compare::mod_revision(decided.clone(), revision(before)))
                        .then(Operation::put(decided, records::encode_operator(&operator)))
                        .then_all(request.entry(&self.core));
                    (Some(drain), txn)
                }
            };
            match writing {
                Some(_) => txn.failure = reads().collect(),
                None => txn.success = reads().collect(),
            }
            let response = self.core.commit(request.guard.as_ref(), txn).await?;
            if let Some(drain) = writing
                && response.succeeded
            {
                let at = response.revision;
                let left = drain.length();
                return Ok(DrainCall::new(self.clone(), request, drain, at, left));
            }
            seen = Seen::read(&request.key, &response)?;
            confirmed = true;
        }
        Err(Error::Conflict { name: path })
    }
}

// === impl DrainRequest ===

impl DrainRequest {
    /// The entry of the audit. What a session does with its own instance is none of an operator's
    /// deeds.
    fn entry(&self, core: &Core) -> Option<Operation> {
        let deed = Deed {
            operation: AuditOperation::DrainInstance,
            subject: self.key.name(),
            detail: format!("within {:?}", self.deadline),
            actor: &self.actor,
            caller: &self.caller,
            comment: "",
            request_id: "",
        };
        self.session
            .is_none()
            .then(|| core.deed(&self.key.namespace, deed))
    }

    fn decide(&self, seen: &Seen, now: SystemTime) -> Verdict {
        let Some(record) = &seen.record else {
            return Verdict::Refuse(not_found(&self.key));
        };
        if self.session.is_some() && record.session != self.session {
            return Verdict::Refuse(Error::NotOwner {
                name: self.key.path(),
            });
        }
        if let Err(error) = Error::unless_at(self.expected_revision, record.mod_revision) {
            return Verdict::Refuse(error);
        }
        let before = seen.operator.as_deref();
        if let Some(operator) = before {
            if let Some(drain) = operator.drain
                && drain.registration == record.registration()
            {
                return Verdict::Join(drain, operator.mod_revision);
            }
            if let Err(error) = records::writable(self.key.path(), operator.format) {
                return Verdict::Refuse(error);
            }
        }
        let drain = Drain {
            id: rand::random_range(1..=u64::MAX),
            deadline: now + self.deadline,
            start_time: now,
            registration: record.registration(),
        };
        let mut operator = before.cloned().unwrap_or_else(Operator::none);
        operator.drain = Some(drain);
        // Who isolated it stays on record.
        if !operator.isolated {
            operator.author = self.actor.clone();
            operator.comment = String::new();
            operator.update_time = now;
        }
        Verdict::Write(Box::new(operator), drain)
    }
}

// === impl Running ===

impl Running {
    /// The drain that runs for the instance at `path`.
    pub(super) fn of(state: &State, path: &[u8]) -> Option<Self> {
        let operator = state.operators.get(path)?;
        let instance = state.instances.get(path)?;
        let drain = operator.drain?;
        (drain.registration == instance.record.registration()).then(|| Self {
            drain,
            operator: operator.clone(),
            instance: instance.clone(),
        })
    }
}

// === impl Drain ===

impl Drain {
    /// How long it lasts at most.
    pub(super) fn length(&self) -> Duration {
        let length = self.deadline.duration_since(self.start_time);
        length.unwrap_or_default()
    }
}

// === impl Seen ===

impl Seen {
    fn of(view: &View, path: &str) -> Self {
        let record = view.state.instances.get(path.as_bytes());
        Self {
            record: record.map(|instance| instance.record.clone()),
            operator: view.state.operators.get(path.as_bytes()).cloned(),
        }
    }

    fn read(key: &InstanceKey, response: &TxnResponse) -> Result<Self, Error> {
        let record = response.found(0).map(|kv| decode(key.clone(), kv));
        let operator = response.found(1).map(|kv| {
            let name = key.path();
            records::operator(kv).map_err(|error| {
                Error::Internal(format!("the operator state of instance {name}: {error}"))
            })
        });
        Ok(Self {
            record: record.transpose()?.map(Arc::new),
            operator: operator.transpose()?.map(Arc::new),
        })
    }
}
