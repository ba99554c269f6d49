//! The versions of an item, newest first.

use std::collections::BTreeSet;

use crate::{
    cache::Freshness,
    domain::{
        Error,
        error::Resource,
        keyspace::ConfigPath,
        records::{self, DecodeError},
    },
    store::{KeyRange, KeyValue, RangeRequest, RangeResponse, Revision},
};

use super::{ConfigVersion, Configs, StoredVersion};

/// How many versions are read at a time: at 64 KiB each some 2 MiB.
const SPAN: i64 = 32;
/// About how many bytes one page of versions holds, contents aside.
const PAGE_BYTES: usize = 1024 * 1024;

/// Which versions to list.
#[derive(Debug, Clone, Copy)]
pub struct VersionsPage {
    /// Only older ones than this; `None`: all.
    pub before: Option<i64>,
    /// At most this many.
    pub size: usize,
}

/// A page of versions.
#[derive(Debug, Clone)]
pub struct Versions {
    /// The versions, newest first, without contents.
    pub versions: Vec<ConfigVersion>,
    /// Those among them that are pinned.
    pub pinned: BTreeSet<i64>,
    /// Before which version the next page begins; `None`: this was the last one.
    pub next: Option<i64>,
    /// The revision the page shows.
    pub revision: Revision,
}

// === impl Configs ===

impl Configs {
    /// Reads one version, whether it is pinned, and the revision at which it was there.
    ///
    /// Errors: [`Error::NotFound`], [`Error::ContentLost`].
    pub async fn version(
        &self,
        path: &ConfigPath,
        version: i64,
        freshness: Freshness,
    ) -> Result<(ConfigVersion, bool, Revision), Error> {
        let (found, revision) = self.whole_version(path, version, freshness).await?;
        let pinned = self.is_pinned(path, version, revision).await?;
        Ok((found, pinned, revision))
    }

    /// Reads one version with its content, wherever that is.
    pub(super) async fn whole_version(
        &self,
        path: &ConfigPath,
        version: i64,
        freshness: Freshness,
    ) -> Result<(ConfigVersion, Revision), Error> {
        let (stored, revision) = self.stored_version(path, version, freshness).await?;
        Ok((self.whole(path, stored).await?, revision))
    }

    /// Reads one version, but not what it has elsewhere.
    pub(super) async fn stored_version(
        &self,
        path: &ConfigPath,
        version: i64,
        freshness: Freshness,
    ) -> Result<(StoredVersion, Revision), Error> {
        let at_least = self.at_least(freshness).await?;
        let keys = KeyRange::key(self.core.keys.config_version(path, version));
        let mut found = self
            .look_up(RangeRequest::new(keys.clone()), at_least)
            .await?;
        if found.kvs.is_empty() && at_least.is_some() {
            // A version is never rewritten, so finding one anywhere is enough, but missing one is
            // not.
            found = self.look_up(RangeRequest::new(keys), None).await?;
        }
        match found.kvs.first() {
            Some(kv) => Ok((decode(kv)?, found.revision)),
            None => Err(missing(path, version)),
        }
    }

    /// Reads versions, newest first. An item that never was has none.
    pub async fn versions(
        &self,
        path: &ConfigPath,
        page: VersionsPage,
        freshness: Freshness,
    ) -> Result<Versions, Error> {
        let view = self.core.cache.read(freshness).await?;
        let head = view.state.configs.get(path.path().as_bytes());
        let newest = head.map_or(0, |head| head.current.version);
        let mut last = page
            .before
            .map_or(newest, |before| newest.min(before.saturating_sub(1)));
        let mut answer = Versions {
            versions: Vec::new(),
            pinned: BTreeSet::new(),
            next: None,
            revision: view.revision,
        };
        let mut bytes = 0;
        while last > 0 {
            let missing = i64::try_from(page.size - answer.versions.len()).unwrap_or(SPAN);
            // One more than the page holds says whether there is another page.
            let span = missing.saturating_add(1).min(SPAN);
            let first = (last - span + 1).max(1);
            let keys = self.core.keys.config_versions(path, first, last);
            let request = RangeRequest::new(keys);
            let found = self.look_up(request, Some(view.revision)).await?;
            for kv in found.kvs.iter().rev() {
                let version = outline(kv)?;
                bytes += weight(&version);
                let full = answer.versions.len() == page.size || bytes > PAGE_BYTES;
                if let (true, Some(shown)) = (full, answer.versions.last()) {
                    answer.next = Some(shown.version);
                    return self.with_pins(path, answer).await;
                }
                answer.versions.push(version);
            }
            last = first - 1;
            if found.kvs.is_empty() {
                last = self.newest_version(path, last).await?;
            }
        }
        self.with_pins(path, answer).await
    }

    async fn with_pins(&self, path: &ConfigPath, answer: Versions) -> Result<Versions, Error> {
        let numbers = answer.versions.iter().map(|version| version.version);
        let numbers: BTreeSet<i64> = numbers.collect();
        let pinned = self.pinned_among(path, &numbers, answer.revision).await?;
        Ok(Versions { pinned, ..answer })
    }

    /// The number of the newest version that is kept, among those up to `last`; `0`: none.
    /// Numbers are contiguous but for what was pruned, so this is seldom needed.
    pub(super) async fn newest_version(&self, path: &ConfigPath, last: i64) -> Result<i64, Error> {
        let any = self.core.keys.config_versions(path, 1, last);
        let any = RangeRequest::new(any).limit(1).keys_only();
        let any = self.core.store.range(any).await.map_err(Error::Store)?;
        if any.kvs.is_empty() {
            return Ok(0);
        }
        let (mut low, mut high) = (0, last);
        // `low` is kept (or 0), and nothing is above `high`.
        while low < high {
            let middle = low + (high - low) / 2;
            let keys = self.core.keys.config_versions(path, middle + 1, high);
            let request = RangeRequest::new(keys).limit(1).keys_only();
            let found = self.core.store.range(request).await.map_err(Error::Store)?;
            match found.kvs.first() {
                Some(kv) => {
                    let number = self.core.keys.parse_config_version(&kv.key);
                    low = number.unwrap_or(middle + 1);
                }
                None => high = middle,
            }
        }
        Ok(low)
    }

    /// Reads history from any member of the store that has come as far as `at_least`, or from a
    /// quorum.
    pub(super) async fn look_up(
        &self,
        request: RangeRequest,
        at_least: Option<Revision>,
    ) -> Result<RangeResponse, Error> {
        if let Some(at_least) = at_least {
            let found = self
                .core
                .store
                .range(request.clone().serializable())
                .await
                .map_err(Error::Store)?;
            if found.revision >= at_least {
                return Ok(found);
            }
        }
        self.core.store.range(request).await.map_err(Error::Store)
    }

    async fn at_least(&self, freshness: Freshness) -> Result<Option<Revision>, Error> {
        match freshness {
            // One read of a quorum serves better than a probe and a read of one member.
            Freshness::Linearizable => Ok(None),
            Freshness::Cached | Freshness::AtLeast(_) => {
                Ok(Some(self.core.cache.read(freshness).await?.revision))
            }
        }
    }
}

pub(super) fn decode(kv: &KeyValue) -> Result<StoredVersion, Error> {
    records::config_version(kv).map_err(|error| undecodable(kv, &error))
}

/// A version without its content.
pub(super) fn outline(kv: &KeyValue) -> Result<ConfigVersion, Error> {
    Ok(decode(kv)?.without_content())
}

pub(super) fn missing(path: &ConfigPath, version: i64) -> Error {
    Error::NotFound {
        resource: Resource::ConfigVersion,
        name: format!("{} version {version}", path.path()),
    }
}

pub(super) fn undecodable(kv: &KeyValue, error: &DecodeError) -> Error {
    let key = String::from_utf8_lossy(&kv.key);
    Error::Internal(format!("the record {key} cannot be decoded: {error}"))
}

fn weight(version: &ConfigVersion) -> usize {
    let labels = version.body.labels.iter();
    let labels: usize = labels.map(|(key, value)| key.len() + value.len()).sum();
    512 + version.body.description.len() + version.comment.len() + labels
}
