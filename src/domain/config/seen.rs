//! What a change of a config item starts from.

use std::sync::Arc;

use crate::{
    domain::{Error, keyspace::ConfigPath, records},
    store::{KeyRange, KeyValue, RangeRequest, Revision},
};

use super::{ConfigHead, Configs, RequestRecord, change::Change, history};

/// An item as it was seen.
pub(super) struct Seen {
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
    pub(super) fn seen_by_cache(&self, path: &ConfigPath) -> Result<Seen, Error> {
        let view = self.core.cache.view()?;
        let head = view.state.configs.get(path.path().as_bytes()).cloned();
        Ok(Seen {
            newest: head.as_ref().map_or(0, |head| head.current.version),
            head,
            revision: view.revision,
            proven: false,
        })
    }

    pub(super) async fn seen_by_store(&self, path: &ConfigPath) -> Result<Seen, Error> {
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

    pub(super) fn visible_version(&self) -> i64 {
        self.head.as_ref().map_or(0, |head| head.visible_version())
    }

    pub(super) fn remembers(&self, request_id: &str) -> Option<&RequestRecord> {
        let head = self.head.as_ref().filter(|_| !request_id.is_empty())?;
        head.requests
            .iter()
            .find(|record| record.request_id == request_id)
    }

    pub(super) fn is_expected(&self, expected: i64, change: &Change) -> bool {
        let tombstone = self
            .head
            .as_ref()
            .map(|head| &head.current)
            .filter(|version| version.deleted);
        expected == self.visible_version()
            || tombstone.is_some_and(|tombstone| {
                expected == tombstone.version
                    // The very deletion that is asked for has happened.
                    || (matches!(change, Change::Delete) && expected == tombstone.prev_version)
            })
    }
}
