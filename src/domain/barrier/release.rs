//! Releasing all who wait, by one write.

use std::time::Instant;

use bytes::Bytes;
use tokio::sync::Mutex;

use crate::{
    domain::{Core, error::Error, keyspace::BarrierPath, records, state::View},
    store::{Compare, LeaseId, Operation, Txn},
};

use super::{Barriers, Release, wait::ARRIVAL};

/// The lease that this replica's releases hang on: one for many, because each would outlive its
/// barrier. What hangs on it last lives half as long as what did first.
#[derive(Default)]
pub(super) struct ReleaseLease(Mutex<Option<Granted>>);

struct Granted {
    id: LeaseId,
    /// Until when something may be hung on it.
    good_until: Instant,
}

// === impl Barriers ===

impl Barriers {
    /// Releases those who are next at a barrier, as `view` shows them, unless one of them is gone or
    /// others were released since: then nothing happens.
    pub(super) async fn release(&self, path: &BarrierPath, view: &View) -> Result<(), Error> {
        let state = &view.state;
        let Some(barrier) = state.barrier(path) else {
            return Ok(());
        };
        let Some(group) = barrier.group(state.epoch.claims_from) else {
            return Ok(());
        };
        // Generations rise as revisions do, in a store of which it is certain that it lost nothing.
        let limit = self.core.settings.commit_timeout;
        self.core.cache.confirmed(limit).await?;
        let next = Release {
            generation: 0,
            era: state.epoch.era,
            time: self.core.clock.system_time(),
            members: group.iter().map(|member| member.member()).collect(),
        };
        let seen = barrier.releases.as_deref();
        if let Some(seen) = seen {
            records::writable(format!("the releases of {path}"), seen.format)?;
        }
        let older = seen.into_iter().flat_map(|seen| seen.after(&next));
        let value = records::encode_barrier_releases(std::iter::once(&next).chain(older));
        let key = self.core.keys.barrier_releases(path);
        let there = group
            .iter()
            .map(|member| Compare::create_revision(member.key.clone(), member.create_revision));
        let gone = group.iter().map(|m| Operation::delete(m.key.clone()));
        let txn = Txn::new()
            .when(self.core.same_epoch(view))
            .when(Compare::mod_revision(key.clone(), barrier.released_at()))
            .when_all(there)
            .then_all(gone);
        self.write(txn, key, value).await
    }

    /// Carries out a release that leaves `value` at `key`.
    async fn write(&self, txn: Txn, key: Bytes, value: Bytes) -> Result<(), Error> {
        let lease = self.lease.get(&self.core).await?;
        let txn = txn.then(Operation::put_leased(key, value, lease));
        match self.core.commit(None, txn).await {
            Ok(response) if response.succeeded => Ok(()),
            Ok(response) => {
                // What the cache shows is older than what is there.
                self.core.cache.reached(response.revision, ARRIVAL).await;
                Ok(())
            }
            // A store that lost data does not know the lease. The next attempt has another one.
            Err(Error::LeaseExpired) => {
                self.lease.forget(lease).await;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

// === impl ReleaseLease ===

impl ReleaseLease {
    /// A lease on which a record lives for as long as it has to.
    async fn get(&self, core: &Core) -> Result<LeaseId, Error> {
        let mut granted = self.0.lock().await;
        let now = core.clock.now();
        if let Some(granted) = granted.as_ref().filter(|granted| now < granted.good_until) {
            return Ok(granted.id);
        }
        let id = rand::random_range(1..LeaseId::MAX);
        let keep = core.settings.barrier_keep;
        core.store.grant(id, keep * 2).await?;
        let good_until = now + keep;
        *granted = Some(Granted { id, good_until });
        Ok(id)
    }

    async fn forget(&self, id: LeaseId) {
        let mut granted = self.0.lock().await;
        granted.take_if(|granted| granted.id == id);
    }
}
