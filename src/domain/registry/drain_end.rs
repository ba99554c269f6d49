//! The end of a drain: the instance is removed.

use bytes::Bytes;

use crate::{
    domain::{error::Error, keyspace::InstanceKey, records, session_id::SessionId},
    store::{Compare, Operation, Revision, Txn},
};

use super::{
    ROUNDS, RemovalCause, Tombstone,
    drain::{Drains, Running},
};

// === impl Drains ===

impl Drains {
    /// Removes an instance whose drain `id` is over. Answers the revision at which it is gone, or
    /// nothing if that drain does not run.
    ///
    /// Nothing is put in the transaction that removes: a full store takes nothing else.
    pub(super) async fn end(
        &self,
        key: &InstanceKey,
        id: u64,
        detail: &str,
    ) -> Result<Option<Revision>, Error> {
        let path = Bytes::from(key.path());
        let mut marked = false;
        for _ in 0..ROUNDS {
            let view = self.core.cache.view()?;
            let running = Running::of(&view.state, &path).filter(|run| run.drain.id == id);
            let Some(running) = running else {
                return Ok(None);
            };
            if !std::mem::replace(&mut marked, true) {
                self.mark(key, &running, detail).await;
            }
            let response = self.core.commit(None, self.removal(key, &running)).await?;
            if response.succeeded {
                return Ok(Some(response.revision));
            }
            // Somebody was faster, or the cache is a moment behind.
            let limit = self.core.settings.read_your_writes;
            self.core.cache.reached(response.revision, limit).await;
        }
        Err(Error::Conflict { name: key.path() })
    }

    /// Leaves a tombstone, if that is possible.
    async fn mark(&self, key: &InstanceKey, running: &Running, detail: &str) {
        let record = running.instance.record.clone();
        let instance = self.core.keys.instance(key);
        let lease = SessionId::random().lease();
        let unchanged = Compare::mod_revision(instance, record.mod_revision);
        let tombstone = Tombstone {
            record,
            cause: RemovalCause::Drained,
            detail: detail.to_owned(),
            remove_time: self.core.clock.system_time(),
        };
        let put = Operation::put_leased(
            self.core.keys.tombstone(key),
            records::encode_tombstone(&tombstone),
            lease,
        );
        let ttl = self.core.settings.tombstone_ttl;
        let granted = self.core.store.grant(lease, ttl).await;
        let marked = match granted {
            Ok(_) => self
                .core
                .commit(None, Txn::new().when(unchanged).then(put))
                .await
                .map(|_| ()),
            Err(error) => Err(error.into()),
        };
        if let Err(error) = marked {
            tracing::warn!(%error, instance = key.path(), "a drained instance goes without a trace");
        }
    }

    /// Deletes the record as it was seen, with what was decided and reported because of the drain.
    fn removal(&self, key: &InstanceKey, running: &Running) -> Txn {
        let keys = &self.core.keys;
        let (instance, operator) = (keys.instance(key), keys.operator(key));
        let record = running.instance.record.mod_revision;
        let decided = running.operator.mod_revision;
        let mut txn = Txn::new()
            .when(Compare::mod_revision(instance.clone(), record))
            .when(Compare::mod_revision(operator.clone(), decided))
            .then(Operation::delete(instance))
            .then(Operation::Delete(keys.drain_acks(key)));
        // What else was decided stays. The drain in it is of a registration that is no more.
        if running.operator.is_only_drain() {
            txn = txn.then(Operation::delete(operator));
        }
        txn
    }
}
