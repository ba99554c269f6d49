//! This replica's presence: a key under a lease of its own, by which the replicas know each other
//! and share their background work.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use crate::{
    domain::{Core, Error, records, replica::Replica},
    store::{self, Compare, LeaseId, Operation, Txn},
};

/// How long a stopping replica may take to say that it goes; its key would end by itself.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);
/// How often, within a time to live, presence is renewed.
const RENEWALS_PER_TTL: u32 = 3;
/// How often, within a time to live, a failed step is tried again.
const RETRIES_PER_TTL: u32 = 10;

/// Keeps one replica known to the others.
pub struct Presence {
    core: Arc<Core>,
    replica: Replica,
    shared: PresenceLease,
    lease: Option<LeaseId>,
}

/// The lease of a replica's presence, for whatever must end with the replica.
#[derive(Debug, Clone, Default)]
pub struct PresenceLease(Arc<AtomicI64>);

// === impl PresenceLease ===

impl PresenceLease {
    /// The lease, if there is one that was granted and not found to be gone.
    pub fn get(&self) -> Option<LeaseId> {
        Some(self.0.load(Ordering::Relaxed)).filter(|lease| *lease != 0)
    }

    fn set(&self, lease: Option<LeaseId>) {
        self.0.store(lease.unwrap_or_default(), Ordering::Relaxed);
    }
}

// === impl Presence ===

impl Presence {
    /// The presence of the replica that `core` is, which serves at `address`.
    pub fn new(core: Arc<Core>, address: String) -> Self {
        let replica = Replica {
            id: core.replica.clone(),
            supported_format: records::NEWEST,
            address,
            version: env!("CARGO_PKG_VERSION").into(),
            start_time: core.clock.system_time(),
        };
        Self {
            core,
            replica,
            shared: PresenceLease::default(),
            lease: None,
        }
    }

    /// Its lease.
    pub fn lease(&self) -> PresenceLease {
        self.shared.clone()
    }

    /// Keeps the key there until told to stop, then removes it.
    pub async fn run(mut self, stop: CancellationToken) {
        let ttl = self.core.settings.replica_ttl;
        loop {
            let pause = tokio::select! {
                () = stop.cancelled() => break,
                kept = self.keep() => match kept {
                    Ok(()) => ttl / RENEWALS_PER_TTL,
                    Err(error) => {
                        tracing::warn!(%error, "this replica cannot say that it is there");
                        ttl / RETRIES_PER_TTL
                    }
                },
            };
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.core.clock.sleep(pause) => {}
            }
        }
        self.leave().await;
    }

    /// Renews the lease, or begins with a new one; writes the key if it is not there.
    async fn keep(&mut self) -> Result<(), Error> {
        if let Some(lease) = self.lease {
            match self.core.store.keep_alive(lease).await {
                Ok(_) if self.is_known()? => return Ok(()),
                Ok(_) => return self.write(lease).await,
                // The key went with it.
                Err(store::Error::LeaseNotFound) => {
                    self.lease = None;
                    self.shared.set(None);
                }
                Err(error) => return Err(error.into()),
            }
        }
        // Kept from the first attempt on, so that a lost answer leaves nothing behind.
        let lease = *self.lease.insert(rand::random_range(1..=LeaseId::MAX));
        self.core
            .store
            .grant(lease, self.core.settings.replica_ttl)
            .await?;
        self.shared.set(Some(lease));
        self.write(lease).await
    }

    fn is_known(&self) -> Result<bool, Error> {
        let view = self.core.cache.view()?;
        Ok(view.state.replicas.contains_key(&self.replica.id))
    }

    async fn write(&self, lease: LeaseId) -> Result<(), Error> {
        let key = self.core.keys.replica(&self.replica.id);
        let txn = Txn::new()
            .when(Compare::absent(key.clone()))
            .then(Operation::put_leased(
                key,
                records::encode_replica(&self.replica),
                lease,
            ));
        self.core.commit(None, txn).await?;
        Ok(())
    }

    async fn leave(&self) {
        let Some(lease) = self.lease else {
            return;
        };
        self.shared.set(None);
        let left = tokio::select! {
            left = self.core.store.revoke(lease) => left,
            () = self.core.clock.sleep(FAREWELL_TIMEOUT) => return,
        };
        if let Err(error) = left {
            tracing::debug!(%error, "the presence of this replica is left to end by itself");
        }
    }
}
