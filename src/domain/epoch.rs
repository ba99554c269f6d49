//! The identity of the store's history: which line of it we are on, and when a new one began.
//!
//! Within one line of history [`Status::timeline`](crate::store::Status::timeline) never falls and
//! neither does the revision. If one does, or the epoch key is gone, data was lost: whoever sees it
//! first writes a new era, by compare. Everybody's cursors reset, and fencing tokens, which begin
//! with the era, go on growing.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{
    cache::Lineage,
    clock::Clock,
    planted::{self, Bug},
    store::{self, Compare, KeyRange, Operation, RangeRequest, Revision, Store, Txn},
};

use super::{keyspace::Keyspace, records};

/// 2025-01-01T00:00:00Z, from which eras are counted.
const FIRST_ERA: Duration = Duration::from_secs(1_735_689_600);
/// How long one unit of the era is. Two wipes within it still get different eras while the last
/// one is known; it also makes the era grow when it is not.
const ERA_UNIT: Duration = Duration::from_secs(600);

/// One line of the store's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Epoch {
    /// Random; another one in every era. `0`: none is known yet.
    pub id: u64,
    /// Grows with every data loss: max(last known + 1, units of 10 min since 2025).
    pub era: i64,
    /// The store's timeline when the era began.
    pub timeline: i64,
    /// The format it was written in.
    pub format: u32,
}

/// Confirms the epoch, or begins a new one.
pub struct EpochKeeper {
    store: Arc<dyn Store>,
    keys: Keyspace,
    clock: Arc<dyn Clock>,
}

// === impl Epoch ===

impl Epoch {
    /// How answers write the epoch.
    pub fn name(&self) -> String {
        Self::name_of(self.id)
    }

    /// How answers write the epoch with this id.
    pub fn name_of(id: u64) -> String {
        super::hex(&[id])
    }
}

// === impl EpochKeeper ===

impl EpochKeeper {
    /// A keeper of the epoch under `keys`.
    pub fn new(store: Arc<dyn Store>, keys: Keyspace, clock: Arc<dyn Clock>) -> Self {
        Self { store, keys, clock }
    }

    fn begin(&self, last: Option<Epoch>, timeline: i64) -> Epoch {
        let now = self
            .clock
            .system_time()
            .duration_since(SystemTime::UNIX_EPOCH + FIRST_ERA)
            .unwrap_or_default();
        let units = i64::try_from(now.as_secs() / ERA_UNIT.as_secs()).unwrap_or(i64::MAX);
        Epoch {
            id: loop {
                let id = rand::random();
                if id != 0 {
                    break id;
                }
            },
            era: last.map_or(units, |last| units.max(last.era + 1)),
            timeline,
            format: records::FORMAT,
        }
    }
}

#[async_trait]
impl Lineage for EpochKeeper {
    async fn confirm(&self, seen: Revision) -> Result<(), store::Error> {
        let key = self.keys.epoch();
        let found = self
            .store
            .range(RangeRequest::new(KeyRange::key(key.clone())))
            .await?;
        let kv = found.kvs.first();
        let last = kv
            .map(records::epoch)
            .transpose()
            .map_err(|error| store::Error::Corrupt(format!("the epoch record: {error}")))?;
        // Asked after the record was read: what it notes must not be newer than the answer.
        let status = self.store.status().await?;
        if let Some(last) = last
            && status.timeline_at_most >= last.timeline
            && found.revision >= seen
        {
            return Ok(());
        }
        if seen > 0 && planted::is(Bug::IgnoreEpochChange) {
            return Ok(());
        }
        let epoch = self.begin(last, status.timeline);
        if last.is_none() && seen == 0 {
            tracing::info!(era = epoch.era, "the first era of the store begins");
        } else {
            tracing::warn!(
                era = epoch.era,
                last = last.map(|last| last.era),
                timeline = status.timeline,
                revision = found.revision,
                seen,
                "a new era of the store begins"
            );
        }
        // Whoever comes second has nothing to add.
        let txn = Txn::new()
            .when(Compare::mod_revision(
                key.clone(),
                kv.map_or(0, |kv| kv.mod_revision),
            ))
            .then(Operation::put(key, records::encode_epoch(&epoch)));
        self.store.txn(txn).await?;
        Ok(())
    }

    fn witness(&self) -> Option<Bytes> {
        Some(self.keys.epoch())
    }
}
