//! The identity of the store's history: which line of it we are on, and when a new one began.
//!
//! Within one line of history [`Status::timeline`](crate::store::Status::timeline) never falls and
//! neither does the revision. If one does, or the epoch key is gone, whoever sees it first writes a
//! new era, by compare. Everybody's cursors reset, and fencing tokens, which begin with the era, go
//! on growing. Where data was lost, claims on locks are void from then on, and in the same
//! transaction locks are closed: see [`lock`](super::lock).
//!
//! The embedded store falls at every opening and loses nothing: that begins an era and no more. Its
//! directory may have been replaced by an older copy meanwhile, which looks no different.

mod found;

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
    store::{self, Compare, KeyRange, LeaseId, Operation, RangeRequest, Revision, Store, Txn},
};

use self::found::{Beginning, Found};
use super::{
    Settings,
    keyspace::{Keyspace, StateKey},
    lock::Closed,
    records,
    state::State,
};

/// 2025-01-01T00:00:00Z, from which eras are counted.
const FIRST_ERA: Duration = Duration::from_secs(1_735_689_600);
/// How long one unit of the era is. Two wipes within it still get different eras while the last
/// one is known; it also makes the era grow when it is not.
const ERA_UNIT: Duration = Duration::from_secs(600);
/// How much later than the first the last replica may notice a loss, and renew sessions until then:
/// longer than the cache pauses between two looks.
const NOTICE: Duration = Duration::from_secs(3);
/// How many sessions are read at once.
const PAGE: usize = 256;

/// One line of the store's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Epoch {
    /// Random; another one in every era. `0`: none is known yet.
    pub id: u64,
    /// Grows with every data loss: max(last known + 1, units of 10 min since 2025).
    pub era: i64,
    /// The store's timeline when the era began.
    pub timeline: i64,
    /// The first era whose claims on locks count; those of earlier ones are void.
    pub claims_from: i64,
    /// The format it was written in.
    pub format: u32,
    /// The revision that wrote it.
    pub revision: Revision,
}

/// Confirms the epoch, or begins a new one.
pub struct EpochKeeper {
    store: Arc<dyn Store>,
    keys: Keyspace,
    clock: Arc<dyn Clock>,
    settings: Settings,
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
    pub fn new(
        store: Arc<dyn Store>,
        keys: Keyspace,
        clock: Arc<dyn Clock>,
        settings: Settings,
    ) -> Self {
        Self {
            store,
            keys,
            clock,
            settings,
        }
    }

    async fn look(&self) -> Result<Found, store::Error> {
        let key = KeyRange::key(self.keys.epoch());
        let found = self.store.range(RangeRequest::new(key)).await?;
        let epoch = found.kvs.first().map(records::epoch).transpose();
        Ok(Found {
            epoch: epoch
                .map_err(|error| store::Error::Corrupt(format!("the epoch record: {error}")))?,
            revision: found.revision,
            // Asked after the record was read: what it notes must not be newer than the answer.
            status: self.store.status().await?,
        })
    }

    /// Writes a new era, and with it closes locks if data was lost. Says whether it did: whoever
    /// comes second has to look again.
    async fn begin(
        &self,
        why: Beginning,
        found: &Found,
        known: &State,
    ) -> Result<bool, store::Error> {
        let epoch = self.next(why, found, &known.epoch);
        let read = found.epoch.map_or(0, |epoch| epoch.revision);
        let key = self.keys.epoch();
        let mut txn = Txn::new()
            .when(Compare::mod_revision(key.clone(), read))
            .then(Operation::put(key, records::encode_epoch(&epoch)));
        let mut lease = None;
        if why == Beginning::Loss {
            let closing = *lease.insert(rand::random_range(1..=LeaseId::MAX));
            let ttl = self.longest_belief(known).await? + NOTICE;
            // Those whom an earlier closing waits for may believe as long again.
            let ttl = known.closed.map_or(ttl, |closed| ttl.max(closed.ttl));
            let ttl = self.store.grant(closing, ttl).await?;
            let mark = records::encode_closed(&Closed { ttl });
            txn = txn.then(Operation::put_leased(self.keys.closed(), mark, closing));
        }
        let begun = self.store.txn(txn).await?.succeeded;
        if begun && why == Beginning::First {
            tracing::info!(era = epoch.era, "the first era of the store begins");
        } else if begun {
            tracing::warn!(
                era = epoch.era,
                last = found.epoch.map(|last| last.era),
                timeline = epoch.timeline,
                revision = found.revision,
                ?why,
                "a new era of the store begins"
            );
        } else if let Some(lease) = lease
            && let Err(error) = self.store.revoke(lease).await
        {
            tracing::debug!(%error, "a lease is left to end by itself");
        }
        Ok(begun)
    }

    fn next(&self, why: Beginning, found: &Found, known: &Epoch) -> Epoch {
        let now = self
            .clock
            .system_time()
            .duration_since(SystemTime::UNIX_EPOCH + FIRST_ERA)
            .unwrap_or_default();
        let units = i64::try_from(now.as_secs() / ERA_UNIT.as_secs()).unwrap_or(i64::MAX);
        let last = found.epoch.unwrap_or_default();
        let era = units.max(last.era + 1).max(known.era + 1);
        Epoch {
            id: loop {
                let id = rand::random();
                if id != 0 {
                    break id;
                }
            },
            era,
            timeline: found.status.timeline,
            claims_from: match why {
                Beginning::Loss => era,
                Beginning::First | Beginning::Reopened => last.claims_from,
            },
            format: records::FORMAT,
            revision: 0,
        }
    }

    /// For how long somebody may go on believing in a lock that was held before the loss: the
    /// longest time to live of a session that we knew or that a copy brought back. A session that
    /// is in neither is trusted to have had the default.
    async fn longest_belief(&self, known: &State) -> Result<Duration, store::Error> {
        let sessions = known.sessions.values().map(|session| session.ttl);
        let mut longest = sessions.fold(self.settings.default_ttl, Duration::max);
        let mut keys = self.keys.sessions();
        loop {
            let request = RangeRequest::new(keys.clone()).limit(PAGE);
            let page = self.store.range(request).await?;
            for kv in &page.kvs {
                let ttl = match self.keys.parse(&kv.key) {
                    Some(StateKey::Session(id)) => records::session(id, kv).map(|s| s.ttl).ok(),
                    _ => None,
                };
                // One that cannot be read may be as long as any.
                longest = longest.max(ttl.unwrap_or(self.settings.max_ttl));
            }
            match page.kvs.last() {
                Some(last) if page.more => keys.start = [&last.key[..], &[0]].concat().into(),
                _ => return Ok(longest),
            }
        }
    }
}

#[async_trait]
impl Lineage<State> for EpochKeeper {
    async fn confirm(&self, seen: Revision, known: &State) -> Result<(), store::Error> {
        loop {
            let found = self.look().await?;
            let Some(why) = found.beginning(seen, &known.epoch) else {
                return Ok(());
            };
            if seen > 0 && planted::is(Bug::IgnoreEpochChange) {
                return Ok(());
            }
            if self.begin(why, &found, known).await? {
                return Ok(());
            }
        }
    }

    fn witness(&self) -> Option<Bytes> {
        Some(self.keys.epoch())
    }
}
