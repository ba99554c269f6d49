//! Releases: changes that were published together, under a name. What was published is read back
//! from a record that never changes.

mod publish;
mod rollback;

use std::time::SystemTime;

use crate::{
    domain::{
        Error,
        error::Resource,
        keyspace::ReleasePath,
        names::{ConfigKey, Label, Namespace, ReleaseName},
        records,
    },
    store::{KeyRange, RangeRequest, Revision},
};

use super::{ConfigVersion, Configs, change::Order, history, write::Seen};

pub use self::{publish::Publish, rollback::RollbackRelease};

/// A release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Which.
    pub path: ReleasePath,
    /// What it is for.
    pub comment: String,
    /// Who published it, unverified.
    pub actor: Label,
    /// When.
    pub create_time: SystemTime,
    /// The release that it rolled back.
    pub rollback_of: Option<ReleaseName>,
    /// The request that published it.
    pub request_id: String,
    /// SHA-256 over what was asked for.
    pub digest: [u8; 32],
    /// How many items it has, also where they are left out.
    pub item_count: usize,
    /// What it did.
    pub items: Vec<ReleaseItem>,
    /// The revision that made it; `0`: it would only be made.
    pub revision: Revision,
}

/// What a release did to an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseItem {
    /// The item.
    pub key: ConfigKey,
    /// The version it made or found; `0`: there is no history.
    pub version: i64,
    /// The version that was visible before; `0`: none was.
    pub before: i64,
    /// Whether the item was deleted.
    pub deleted: bool,
    /// Whether nothing had to be written.
    pub unchanged: bool,
}

/// A page of releases.
#[derive(Debug, Clone)]
pub struct Releases {
    /// The releases, newest first, without items.
    pub releases: Vec<Release>,
    /// Where the next page begins; `None`: this was the last one.
    pub next: Option<bytes::Bytes>,
    /// The revision the page shows.
    pub revision: Revision,
}

// === impl Configs ===

impl Configs {
    /// Reads a release, and the revision at which it was there. Errors: [`Error::NotFound`].
    pub async fn release(&self, path: &ReleasePath) -> Result<(Release, Revision), Error> {
        let (found, revision) = self.find_release(path).await?;
        let missing = || Error::NotFound {
            resource: Resource::Release,
            name: path.path(),
        };
        Ok((found.ok_or_else(missing)?, revision))
    }

    /// Lists releases, newest first, beginning after a place that another page ended with.
    pub async fn releases(
        &self,
        namespace: &Namespace,
        after: Option<bytes::Bytes>,
        size: usize,
    ) -> Result<Releases, Error> {
        let mut keys = self.core.keys.releases(namespace);
        if let Some(after) = after.filter(|after| keys.contains(after)) {
            keys.start = [&after[..], b"\0"].concat().into();
        }
        let request = RangeRequest::new(keys).limit(size);
        let found = self.core.store.range(request).await.map_err(Error::Store)?;
        let releases = found.kvs.iter().map(|kv| {
            let release = records::release(namespace.clone(), kv);
            release.map_err(|error| history::undecodable(kv, &error))
        });
        Ok(Releases {
            releases: releases.collect::<Result<_, _>>()?,
            next: found
                .kvs
                .last()
                .filter(|_| found.more)
                .map(|kv| kv.key.clone()),
            revision: found.revision,
        })
    }

    async fn find_release(&self, path: &ReleasePath) -> Result<(Option<Release>, Revision), Error> {
        let keys = KeyRange::key(self.core.keys.release(path));
        let found = self.core.store.range(RangeRequest::new(keys)).await;
        let found = found.map_err(Error::Store)?;
        let release = found.kvs.first().map(|kv| {
            let release = records::release(path.namespace.clone(), kv);
            release.map_err(|error| history::undecodable(kv, &error))
        });
        Ok((release.transpose()?, found.revision))
    }
}

// === impl Order ===

impl Order {
    /// The release that an order publishes, given what was seen and is planned.
    pub(super) fn published(
        &self,
        seen: &[Seen],
        planned: &[Option<ConfigVersion>],
        now: SystemTime,
    ) -> Option<Release> {
        let publication = self.release.as_ref()?;
        let changed = self.entries.iter().zip(seen).zip(planned);
        let changed = changed.filter(|((entry, _), _)| entry.change.is_some());
        let items = changed.map(|((entry, seen), planned)| {
            let current = seen.current();
            let version = planned.as_ref().or(current.as_ref());
            ReleaseItem {
                key: entry.path.key.clone(),
                version: version.map_or(0, |version| version.version),
                before: seen.visible_version(),
                deleted: version.is_none_or(|version| version.deleted),
                unchanged: planned.is_none(),
            }
        });
        let items: Vec<ReleaseItem> = items.collect();
        Some(Release {
            path: publication.path.clone(),
            comment: self.terms.comment.clone(),
            actor: self.terms.actor.clone(),
            create_time: now,
            rollback_of: publication.rollback_of.clone(),
            request_id: self.terms.distinct_id(),
            digest: self.digest,
            item_count: items.len(),
            items,
            revision: 0,
        })
    }
}
