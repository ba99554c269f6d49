//! What a change of config items starts from.

use std::sync::Arc;

use futures_util::future::try_join_all;

use crate::{
    domain::{Error, keyspace::ConfigPath, records},
    store::{KeyRange, KeyValue, RangeRequest, Revision},
};

use super::super::{
    ConfigHead, ConfigVersion, Configs, RequestRecord,
    change::{Change, Entry, Expected, Order},
    history,
};

/// How many items are looked at again at once. Each may be as large as one answer of the store.
pub(in super::super) const LOOKS: usize = 8;

/// An item as it was seen.
pub(in super::super) struct Seen {
    /// What was there.
    pub(super) head: Option<Arc<ConfigHead>>,
    /// The newest version that is kept.
    pub(super) newest: i64,
    /// The revision at which it was so.
    pub(super) revision: Revision,
    /// True if the store said so during this call; the cache may be behind.
    pub(super) proven: bool,
}

// === impl Configs ===

impl Configs {
    pub(super) fn seen_by_cache(&self, order: &Order) -> Result<Vec<Seen>, Error> {
        let view = self.core.cache.view()?;
        let seen = order.entries.iter().map(|entry| {
            let head = view
                .state
                .configs
                .get(entry.path.path().as_bytes())
                .cloned();
            Seen {
                newest: head.as_ref().map_or(0, |head| head.current.version),
                head,
                revision: view.revision,
                proven: false,
            }
        });
        Ok(seen.collect())
    }

    /// Has the store say how some of the items are.
    pub(super) async fn look_again(
        &self,
        order: &Order,
        seen: &mut [Seen],
        which: Vec<usize>,
    ) -> Result<(), Error> {
        for some in which.chunks(LOOKS) {
            let looks = some
                .iter()
                .map(|at| self.seen_by_store(&order.entries[*at].path));
            for (at, found) in some.iter().zip(try_join_all(looks).await?) {
                seen[*at] = found;
            }
        }
        Ok(())
    }

    async fn seen_by_store(&self, path: &ConfigPath) -> Result<Seen, Error> {
        let keys = KeyRange::key(self.core.keys.config(path));
        let found = self
            .core
            .store
            .range(RangeRequest::new(keys))
            .await
            .map_err(Error::Store)?;
        self.seen(path, found.kvs.first(), found.revision).await
    }

    pub(super) async fn seen(
        &self,
        path: &ConfigPath,
        head: Option<&KeyValue>,
        revision: Revision,
    ) -> Result<Seen, Error> {
        let head = head
            .map(|kv| {
                records::config_head(path.clone(), kv)
                    .map(Arc::new)
                    .map_err(|error| history::undecodable(kv, &error))
            })
            .transpose()?;
        let newest = match &head {
            Some(head) => head.current.version,
            // Versions may be kept longer than their head.
            None => self.newest_version(path, i64::MAX).await?,
        };
        Ok(Seen {
            head,
            newest,
            revision,
            proven: true,
        })
    }
}

// === impl Seen ===

impl Seen {
    pub(super) fn mod_revision(&self) -> Revision {
        self.head.as_ref().map_or(0, |head| head.mod_revision)
    }

    /// The version that it has, that of a deletion included.
    pub(in super::super) fn current(&self) -> Option<ConfigVersion> {
        self.head.as_ref().map(|head| head.current.clone())
    }

    /// The version that readers see; `0`: none.
    pub(in super::super) fn visible_version(&self) -> i64 {
        self.head.as_ref().map_or(0, |head| head.visible_version())
    }

    pub(super) fn remembers(&self, request_id: &str) -> Option<&RequestRecord> {
        let head = self.head.as_ref().filter(|_| !request_id.is_empty())?;
        head.requests
            .iter()
            .find(|record| record.request_id == request_id)
    }

    pub(super) fn is_as_expected(&self, entry: &Entry) -> bool {
        let Expected { version, checksum } = entry.expected;
        let current = self.head.as_ref().map(|head| &head.current);
        let visible = current.filter(|current| !current.deleted);
        let tombstone = current.filter(|current| current.deleted);
        let has = |version: i64| {
            version == visible.map_or(0, |visible| visible.version)
                || tombstone.is_some_and(|tombstone| {
                    version == tombstone.version
                        // The very deletion that is asked for has happened.
                        || (matches!(entry.change, Some(Change::Delete))
                            && version == tombstone.prev_version)
                })
        };
        let says = |checksum| visible.is_some_and(|visible| visible.checksum == checksum);
        version.is_none_or(has) && checksum.is_none_or(says)
    }
}
