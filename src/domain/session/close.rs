//! Closing a session: what it owns goes at once, and goes for good.

use std::{sync::Arc, time::Duration};

use crate::{
    cache::Freshness,
    domain::{
        error::Error,
        guard::Guard,
        session_id::SessionId,
        state::{Owned, State},
    },
    store::{Compare, Operation, Revision, Txn},
};

use super::{Session, Sessions};

/// How many things one transaction removes: below the store's limit, guard included.
const CHUNK: usize = 100;
/// How long the lease may keep the caller waiting once its keys are gone.
const REVOKE_TIMEOUT: Duration = Duration::from_secs(2);
/// How often what was added meanwhile is removed too.
const ROUNDS: usize = 5;

/// What came of closing a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed {
    /// False if it was gone already.
    pub closed: bool,
    /// The revision at which it is gone.
    pub revision: Revision,
}

// === impl Sessions ===

impl Sessions {
    /// Closes a session: removes its instances and its places in queues, at last the session
    /// itself. Nothing is put, so that it works when the store is full.
    ///
    /// Errors: [`Error::GuardFailed`].
    pub async fn close(&self, id: SessionId, guard: Option<&Guard>) -> Result<Closed, Error> {
        let mut view = self.core.cache.read(Freshness::Linearizable).await?;
        let Some(session) = view.state.sessions.get(&id).cloned() else {
            return Ok(Closed {
                closed: false,
                revision: view.revision,
            });
        };
        let mut removals = self.removals(&session, &view.state);
        // In the last chunk and there the first: so claims on locks tell a session that is closed
        // from one that expires.
        let last = removals.len() / CHUNK * CHUNK;
        removals.insert(last, Operation::delete(self.core.keys.session(&id)));
        let mut revision = self.remove(&removals, guard).await?;
        // Nobody adds to a session without a key, but somebody may have done so before it went.
        for _ in 0..ROUNDS {
            view = self.core.cache.read(Freshness::AtLeast(revision)).await?;
            let removals = self.removals(&session, &view.state);
            if removals.is_empty() {
                break;
            }
            revision = self.remove(&removals, None).await?;
        }
        self.give_back(&id, REVOKE_TIMEOUT).await;
        Ok(Closed {
            closed: true,
            revision,
        })
    }

    /// The operations that remove what the session owns and nothing that another one took over
    /// meanwhile.
    fn removals(&self, session: &Arc<Session>, state: &State) -> Vec<Operation> {
        let owned = state.owned.get(&session.id).into_iter().flatten();
        owned
            .filter_map(|owned| match owned {
                Owned::Instance(path) => {
                    let record = &state.instances.get(path)?.record;
                    let key = self.core.keys.instance(&record.key);
                    let found = self.core.findings_of(record, state);
                    self.leaving(session.id, owned.clone());
                    Some(Operation::Txn(
                        Txn::new()
                            .when(Compare::mod_revision(key.clone(), record.mod_revision))
                            .then(Operation::delete(key))
                            .then_all(found.map(Operation::delete)),
                    ))
                }
                Owned::Participant(_, key) => Some(Operation::delete(key.clone())),
                // The key names the session. A session that is closed in good order delays nobody.
                Owned::Waiter(queue, key) => {
                    self.leaving(session.id, owned.clone());
                    let claim = state.queue(queue).and_then(|queue| queue.find(key));
                    let delay = claim.is_some_and(|claim| claim.waiter.delay.is_some());
                    let delay = delay.then(|| Operation::delete(self.core.keys.lock_delay(key)));
                    let claim = Operation::delete(key.clone());
                    Some(match delay {
                        None => claim,
                        Some(delay) => Operation::Txn(Txn::new().then(claim).then(delay)),
                    })
                }
            })
            .collect()
    }

    async fn remove(
        &self,
        removals: &[Operation],
        guard: Option<&Guard>,
    ) -> Result<Revision, Error> {
        let mut revision = 0;
        for chunk in removals.chunks(CHUNK) {
            let txn = Txn {
                success: chunk.to_vec(),
                ..Txn::new()
            };
            revision = self.core.commit(guard, txn).await?.revision;
        }
        Ok(revision)
    }
}
