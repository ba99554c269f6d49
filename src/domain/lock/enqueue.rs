//! The transaction that queues, and what its refusal means.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    domain::{error::Error, records, session::Session, state::View},
    store::{Compare, Operation, OperationResponse, Txn, TxnResponse},
};

use super::{
    Claim, LockMode, Locks, Waiter,
    abandoned::Pending,
    acquire::{Acquire, Entered, Granted},
    reentrant::joined,
    wait::{Ticket, read},
};

// === impl Locks ===

impl Locks {
    /// Queues behind everybody who is there.
    pub(super) async fn enqueue(
        &self,
        request: &Acquire,
        session: &Session,
        view: &View,
        key: Bytes,
    ) -> Result<Entered, Error> {
        self.check_fit(request, view).await?;
        self.check_room(request, view)?;
        let lock = &request.lock;
        let queue = view.state.queue(lock);
        // The store itself says whether nobody is there at all. Whoever waits asks it too where
        // nobody seems to be: the cache tells later than the answer.
        let alone = request.tries_alone();
        let perhaps_alone = request.mode == LockMode::Exclusive
            && queue.is_none_or(|queue| queue.claims.is_empty());
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
        let mut reads = vec![
            Operation::get(key.clone()),
            Operation::get(session_key.clone()),
            Operation::get(fence.clone()),
            Operation::get(self.core.keys.epoch()),
        ];
        let mut txn = Txn::new()
            .when(Compare::absent(key.clone()))
            // What it left there before would be overwritten.
            .when_all(delay.as_ref().map(|_| Compare::absent(delay_key.clone())))
            .when(Compare::exists(session_key))
            .when(same_epoch);
        let nobody = Txn::new()
            .when(open)
            .when(Compare::empty(self.core.keys.queue(lock)));
        if alone {
            reads.push(Operation::get(self.core.keys.closed()));
            txn = txn.when_all(nobody.compares);
            txn.failure = std::mem::take(&mut reads);
        } else if perhaps_alone {
            txn = txn.then(Operation::Txn(nobody));
        }
        if request.delay.is_some() && !alone {
            reads.push(Operation::get(delay_key));
        }
        txn = txn
            .then(Operation::put_leased(
                key.clone(),
                value.clone(),
                session.id.lease(),
            ))
            .then_all(delay);
        // Nobody can have undone a request without a name.
        if !request.request_id.is_empty() {
            txn = txn.when(Compare::absent(fence));
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
            if alone || perhaps_alone && was_alone(&response) {
                let claim = Arc::new(Claim::held(lock.clone(), waiter));
                if self.sessions.granted(&claim, view)? {
                    let granted = Granted {
                        claim,
                        revision: response.revision,
                    };
                    return Ok(Entered::Granted(granted, ticket));
                }
            }
            return Ok(Entered::Queued(ticket));
        }
        // A lock that is tried is often held. Else this is rare, and the store decodes and logs the
        // reads of every claim.
        let response = match alone {
            true => response,
            false => self.core.commit(guard, Txn::new().then_all(reads)).await?,
        };
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
}

/// Whether nobody was there before, as the first step of the transaction asked.
fn was_alone(response: &TxnResponse) -> bool {
    matches!(response.responses.first(), Some(OperationResponse::Txn(nobody)) if nobody.succeeded)
}
