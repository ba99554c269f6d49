//! Sealing: what was written becomes the next stretch of its namespace's chain, in the order of the
//! store's revisions. One replica does it, chosen by rank; that two do is harmless.
//!
//! No entry can come to stand before one that is sealed. The keys of all entries are read at one
//! revision R by a linearizable read, which shows every entry written up to R. Whatever is written
//! later gets a later revision, because the store numbers its transactions in the order in which it
//! carries them out. So of those found the lowest ones are all there ever will be up to the highest
//! one among them, and only such are sealed. Entries of one revision are in the order of their keys.
//!
//! One transaction writes a stretch and takes its entries out of their room, if the chain still ends
//! where it did and each entry is there as it was read. A second replica, or a late repeat, finds
//! that the chain goes on already.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant, UNIX_EPOCH},
};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{Core, Error, names::Namespace, records, replica},
    store::{Compare, KeyRange, KeyValue, Operation, OperationResponse, Revision, Txn},
};

use super::{Link, Seal, seals::Found};

/// How many entries a stretch has at most: as many as one transaction makes, which fit, with what
/// is compared, into another one.
const ENTRIES: usize = 100;
/// About how many bytes of entries a stretch has at most, so that several are read at once.
const BYTES: usize = 256 * 1024;
/// How many entries of a namespace are put in order at once; the others' turn comes next.
const IN_ORDER: usize = 10_000;
/// How often old stretches are looked for.
const PRUNE: Duration = Duration::from_secs(3600);
/// The piece of work that replicas rank for.
const SUBJECT: &[u8] = b"audit";

/// Seals, and forgets what is too old.
pub struct Sealing {
    core: Arc<Core>,
    pruned: Option<Instant>,
}

/// The oldest entries among those of a namespace.
#[derive(Default)]
struct Oldest {
    entries: BTreeSet<(Revision, Bytes)>,
    /// Whether there were more.
    more: bool,
}

// === impl Sealing ===

impl Sealing {
    /// The sealing of the audit that `core` writes.
    pub fn new(core: Arc<Core>) -> Self {
        Self { core, pruned: None }
    }

    /// Seals from time to time, until told to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.core.clock.sleep(self.core.settings.audit_seal_interval) => {}
            }
            if let Err(error) = self.step(&stop).await {
                tracing::warn!(%error, "the audit is not sealed for now");
            }
        }
    }

    async fn step(&mut self, stop: &CancellationToken) -> Result<(), Error> {
        let view = self.core.cache.view()?;
        if replica::rank(&self.core.replica, view.state.replicas.keys(), SUBJECT) > 0 {
            return Ok(());
        }
        let sealed = self.seal(stop).await;
        // A store that is full takes no seal, but gives back the room of old ones.
        self.prune().await.and(sealed)
    }

    async fn seal(&self, stop: &CancellationToken) -> Result<(), Error> {
        while !stop.is_cancelled() && self.core.seal_all().await? {}
        Ok(())
    }

    async fn prune(&mut self) -> Result<(), Error> {
        let now = self.core.clock.now();
        let Some(retention) = self.core.settings.audit_retention else {
            return Ok(());
        };
        let every = PRUNE.min(retention / 2);
        let due = |last| now.saturating_duration_since(last) >= every;
        if self.pruned.is_none_or(due) {
            self.core.prune_audit(retention).await?;
            self.pruned = Some(now);
        }
        Ok(())
    }
}

// === impl Core ===

impl Core {
    /// Seals whatever has been written by now; says whether there was more than could be put in
    /// order at once.
    async fn seal_all(&self) -> Result<bool, Error> {
        let mut found: BTreeMap<Namespace, Oldest> = BTreeMap::new();
        let note = |kv: KeyValue| {
            // What has no namespace was not written by us and belongs to no chain.
            if let Some((namespace, id)) = self.keys.parse_audit(&kv.key) {
                let oldest = found.entry(namespace).or_default();
                oldest.note(kv.create_revision, id);
            }
        };
        self.unsealed(self.keys.unsealed(), true, 0, note).await?;
        let mut more = false;
        for (namespace, oldest) in found {
            let entries = oldest.entries.into_iter().collect();
            match self.seal_namespace(&namespace, entries).await {
                Ok(whole) => more |= oldest.more && whole,
                // Others go on: it may be the seals of this one that are damaged.
                Err(error) => {
                    tracing::warn!(%namespace, %error, "the audit of a namespace is not sealed for now");
                }
            }
        }
        Ok(more)
    }

    /// Seals these entries; says whether none was left to another replica.
    async fn seal_namespace(
        &self,
        namespace: &Namespace,
        entries: Vec<(Revision, Bytes)>,
    ) -> Result<bool, Error> {
        let mut left = entries.as_slice();
        let tip = self.seals(namespace, i64::MAX - 1, 1, 0).await?;
        let mut tip = tip.into_iter().next();
        while !left.is_empty() {
            let keys = left.iter().take(ENTRIES);
            let keys = keys.map(|(_, id)| self.unsealed_key(namespace, id));
            let read = Txn::new().then_all(keys.map(Operation::get));
            let read = self.store.txn(read).await.map_err(Error::Store)?;
            let found = read.responses.iter().filter_map(|response| match response {
                OperationResponse::Range(range) => range.kvs.first(),
                _ => None,
            });
            let found: Vec<&KeyValue> = found.collect();
            if found.len() < read.responses.len() {
                // Another replica seals them.
                return Ok(false);
            }
            let found = light(&found);
            match self.append(namespace, tip.as_ref(), found).await? {
                Some(sealed) => tip = Some(sealed),
                None => return Ok(false),
            }
            left = left.get(found.len()..).unwrap_or_default();
        }
        Ok(true)
    }

    /// Makes the next stretch of these entries; `None`: another replica was faster.
    async fn append(
        &self,
        namespace: &Namespace,
        tip: Option<&Found>,
        found: &[&KeyValue],
    ) -> Result<Option<Found>, Error> {
        let number = tip.map_or(1, |tip| tip.number + 1);
        let last = tip.map(Found::readable).transpose()?;
        let before = last.map_or_else(|| Link::start(namespace), Seal::after);
        let mut seal = Seal {
            before,
            entries: Vec::with_capacity(found.len()),
            newest_time: last.map_or(UNIX_EPOCH, |last| last.newest_time),
            create_time: self.clock.system_time(),
        };
        let mut txn = Txn::new();
        let mut at = before;
        for kv in found {
            // What cannot be read is sealed as it is: whoever verifies is told.
            if let Ok(entry) = records::audit_entry(&kv.value) {
                seal.newest_time = seal.newest_time.max(entry.create_time);
            }
            let id = self.keys.parse_audit(&kv.key).map(|(_, id)| id);
            let id = id.unwrap_or_default();
            let entry = at.seal(kv.create_revision, kv.mod_revision, id, kv.value.clone());
            at = entry.link();
            seal.entries.push(entry);
            txn = txn
                .when(Compare::mod_revision(kv.key.clone(), kv.mod_revision))
                .then(Operation::delete(kv.key.clone()));
        }
        let key = self.keys.seal(namespace, number);
        let record = records::encode_audit_seal(&seal, &self.replica);
        let end = tip.map_or_else(
            || self.keys.seal(namespace, 0),
            |tip| self.keys.seal(namespace, tip.number),
        );
        let newer = KeyRange::span(self.keys.seal(namespace, i64::MAX - 1), end);
        let tip = tip.map(|tip| {
            Compare::mod_revision(self.keys.seal(namespace, tip.number), tip.mod_revision)
        });
        let txn = txn
            .when(Compare::empty(newer))
            .when_all(tip)
            .then(Operation::put(key.clone(), record.clone()))
            .otherwise(Operation::get(key));
        let response = self.commit(None, txn).await?;
        // An answer can get lost and the transaction be sent again, to find its own work.
        let own = response.found(0).filter(|own| own.value == record);
        let mod_revision = match own {
            _ if response.succeeded => response.revision,
            Some(own) => own.mod_revision,
            None => return Ok(None),
        };
        Ok(Some(Found {
            number,
            seal: Ok(seal),
            mod_revision,
        }))
    }
}

// === impl Oldest ===

impl Oldest {
    fn note(&mut self, revision: Revision, id: Bytes) {
        self.entries.insert((revision, id));
        if self.entries.len() > IN_ORDER {
            self.entries.pop_last();
            self.more = true;
        }
    }
}

/// The first entries that are not too much for one stretch, but at least one.
fn light<'a>(found: &'a [&'a KeyValue]) -> &'a [&'a KeyValue] {
    let mut bytes = 0;
    let fits = found.iter().take_while(|kv| {
        bytes += kv.value.len();
        bytes <= BYTES
    });
    let fits = fits.count().max(1).min(found.len());
    found.get(..fits).unwrap_or(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_more_than_are_put_in_order_at_once_those_are_taken_that_nothing_comes_before() {
        let mut oldest = Oldest::default();
        for revision in (1..=9_000).rev() {
            // Two entries each.
            oldest.note(revision, "b".into());
            oldest.note(revision, "a".into());
        }
        assert!(oldest.more);
        let taken: Vec<_> = oldest.entries.into_iter().collect();
        assert_eq!(taken.len(), IN_ORDER);
        assert_eq!(taken[0], (1, "a".into()));
        assert_eq!(taken[IN_ORDER - 1], (5_000, "b".into()));
    }
}
