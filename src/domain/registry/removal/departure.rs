//! Removal of instances that nobody deregistered: what all its causes have in common.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;

use crate::{
    domain::{Core, error::Error, records, session_id::SessionId, state::State},
    store::{Compare, Operation, OperationResponse, Txn},
};

use crate::domain::registry::{InstanceRecord, RemovalCause, Tombstone};

/// How many instances one transaction removes: small enough that others get their turn between.
pub(in crate::domain::registry) const CHUNK: usize = 32;
/// How long the tombstones may hold up what they are about.
const BURIAL_TIMEOUT: Duration = Duration::from_secs(1);

/// An instance that is to be removed.
pub(in crate::domain::registry) struct Departure {
    /// The registration, as it was seen.
    pub(in crate::domain::registry) record: Arc<InstanceRecord>,
    /// Why.
    pub(in crate::domain::registry) cause: RemovalCause,
    /// What was seen, for people.
    pub(in crate::domain::registry) detail: String,
    /// What must hold beside that the registration is the one that was seen.
    pub(in crate::domain::registry) when: Vec<Compare>,
    /// What is deleted with it.
    pub(in crate::domain::registry) with: Vec<Bytes>,
}

/// How many instances this replica removed, by cause.
#[derive(Debug, Default)]
pub struct Removals([AtomicU64; RemovalCause::ALL.len()]);

// === impl Core ===

impl Core {
    /// Removes at most [`CHUNK`] instances, each only if nothing came between, and says how many
    /// were. It leaves a tombstone of each, as far as the store takes it.
    ///
    /// The tombstones are written before, and apart: what only frees has no put in any branch, as a
    /// full store takes nothing else.
    pub(in crate::domain::registry) async fn depart(
        &self,
        departures: &[Departure],
    ) -> Result<usize, Error> {
        if departures.is_empty() {
            return Ok(0);
        }
        let buried = tokio::select! {
            buried = self.bury(departures) => buried,
            () = self.clock.sleep(BURIAL_TIMEOUT) => Err(Error::Internal("it took long".into())),
        };
        if let Err(error) = buried {
            tracing::info!(%error, "instances are removed without a tombstone");
        }
        let txns = departures.iter().map(|departure| {
            let key = self.keys.instance(&departure.record.key);
            let with = departure.with.iter().cloned().map(Operation::delete);
            self.unchanged(departure)
                .then(Operation::delete(key))
                .then_all(with)
        });
        let removed = self.commit(None, all(txns)).await?.responses;
        let mut count = 0;
        for (departure, response) in departures.iter().zip(removed) {
            if matches!(response, OperationResponse::Txn(txn) if txn.succeeded) {
                self.removals.add(departure.cause);
                count += 1;
            }
        }
        Ok(count)
    }

    async fn bury(&self, departures: &[Departure]) -> Result<(), Error> {
        let lease = SessionId::random().lease();
        self.store.grant(lease, self.settings.tombstone_ttl).await?;
        let txns = departures.iter().map(|departure| {
            let tombstone = Tombstone {
                record: departure.record.clone(),
                cause: departure.cause,
                detail: departure.detail.clone(),
                remove_time: self.clock.system_time(),
            };
            self.unchanged(departure).then(Operation::put_leased(
                self.keys.tombstone(&departure.record.key),
                records::encode_tombstone(&tombstone),
                lease,
            ))
        });
        self.commit(None, all(txns)).await?;
        Ok(())
    }

    fn unchanged(&self, departure: &Departure) -> Txn {
        let record = &departure.record;
        let key = self.keys.instance(&record.key);
        Txn::new()
            .when(Compare::mod_revision(key, record.mod_revision))
            .when_all(departure.when.iter().cloned())
    }

    /// The key of what was found of an instance, if it is to go with the registration. A penalty
    /// outlives that.
    pub(in crate::domain) fn findings_of(
        &self,
        record: &InstanceRecord,
        state: &State,
    ) -> Option<Bytes> {
        let findings = state.health.get(record.key.path().as_bytes())?;
        let remembered = findings.damping.is_some() || findings.format > records::FORMAT;
        (!remembered).then(|| self.keys.health(&record.key))
    }
}

// === impl Removals ===

impl Removals {
    /// How many, for each cause.
    pub fn count(&self) -> impl Iterator<Item = (RemovalCause, u64)> {
        let count = |cause| (cause, self.0[cause as usize].load(Ordering::Relaxed));
        RemovalCause::ALL.into_iter().map(count)
    }

    fn add(&self, cause: RemovalCause) {
        self.0[cause as usize].fetch_add(1, Ordering::Relaxed);
    }
}

fn all(txns: impl Iterator<Item = Txn>) -> Txn {
    txns.fold(Txn::new(), |all, txn| all.then(Operation::Txn(txn)))
}
