//! The one transaction behind every change of a config item.
//!
//! It compares that the head is as it was seen and that no version of the new number or a later
//! one is kept, then writes both. What was seen comes from the cache and may be old: then the
//! transaction fails, says what is there, and is made anew on that. A refusal (wrong version,
//! nothing to do) is decided only on what the store itself has said during the call.

use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::{
    cache::Freshness,
    domain::{Error, error::Expectation, keyspace::ConfigPath, records, watch::WireForm},
    store::{Compare, KeyRange, KeyValue, Operation as Step, RangeRequest, Revision, Txn},
};

use super::{
    Body, ConfigHead, ConfigVersion, Configs, RequestRecord,
    change::{Change, Mutation},
    history,
    seen::Seen,
};

/// How many requests a head remembers.
const REQUESTS: usize = 16;
/// How often a change is made anew after losing to another one.
const ATTEMPTS: u32 = 64;
/// How many of those follow at once; between later ones the losers wait, each a little differently.
const AT_ONCE: u32 = 4;
/// The longest such wait.
const PAUSE: Duration = Duration::from_millis(40);

/// What became of a change.
pub(super) struct Outcome {
    /// The version that answers it; `None`: the item never was, and is not.
    pub(super) version: Option<ConfigVersion>,
    /// True if nothing had to be written.
    pub(super) unchanged: bool,
    /// The revision at which that was so.
    pub(super) revision: Revision,
}

/// A version about to be written.
struct Draft {
    version: ConfigVersion,
    /// The version it copies, which must still be there.
    source: Option<i64>,
}

// === impl Configs ===

impl Configs {
    /// Carries out `change`, once.
    pub(super) async fn write(
        &self,
        mutation: &Mutation,
        change: &Change,
    ) -> Result<Outcome, Error> {
        let request = (!mutation.request_id.is_empty()).then(|| RequestRecord {
            request_id: mutation.request_id.clone(),
            version: 0,
            operation: change.operation(),
            digest: change.digest(mutation),
        });
        let mut seen = self.seen_by_cache(&mutation.path)?;
        for attempt in 0..ATTEMPTS {
            if attempt >= AT_ONCE {
                let pause = PAUSE.mul_f64(rand::random_range(0.0..1.0));
                self.core.clock.sleep(pause).await;
            }
            if let Some(record) = seen.remembers(&mutation.request_id) {
                return match &request {
                    Some(request) if record.digest == request.digest => {
                        self.first_answer(&mutation.path, record.version, &seen)
                            .await
                    }
                    _ => Err(Error::invalid(
                        "request_id",
                        "was used for another request on this key",
                    )),
                };
            }
            if let Some(expected) = mutation.expected_version
                && !seen.is_expected(expected, change)
            {
                if seen.proven {
                    return Err(Error::Mismatch {
                        expected,
                        found: seen.visible_version(),
                        what: Expectation::Version,
                    });
                }
                seen = self.seen_by_store(&mutation.path).await?;
                continue;
            }
            let done = match self.draft(mutation, change, &seen).await? {
                Some(draft) => {
                    self.commit(mutation, request.as_ref(), draft, &seen)
                        .await?
                }
                None => self.confirm(mutation, &seen).await?,
            };
            match done {
                Ok(outcome) => return Ok(outcome),
                Err(found) => seen = found,
            }
        }
        Err(Error::Conflict {
            name: mutation.path.path(),
        })
    }

    /// What is to be written; `None` if what is there will do.
    async fn draft(
        &self,
        mutation: &Mutation,
        change: &Change,
        seen: &Seen,
    ) -> Result<Option<Draft>, Error> {
        let present = seen.head.as_deref().filter(|head| !head.current.deleted);
        let (body, source) = match change {
            Change::Delete if present.is_none() => return Ok(None),
            Change::Delete => (Body::default(), None),
            Change::Put(body) => (body.clone(), None),
            Change::Rollback(to) => {
                let freshness = if seen.proven {
                    Freshness::Linearizable
                } else {
                    Freshness::Cached
                };
                let (source, _) = self.version(&mutation.path, *to, freshness).await?;
                if source.deleted {
                    return Err(history::missing(&mutation.path, *to));
                }
                (source.body, Some(*to))
            }
        };
        let deleted = matches!(change, Change::Delete);
        if present.is_some_and(|head| !deleted && head.current.body == body) {
            return Ok(None);
        }
        let request_id = if mutation.request_id.is_empty() {
            // Not for the caller: no two drafts may look alike, see `commit`.
            format!("{:032x}", rand::random::<u128>())
        } else {
            mutation.request_id.clone()
        };
        let version = ConfigVersion {
            version: seen.newest + 1,
            prev_version: seen.newest,
            size: body.content.len(),
            checksum: Sha256::digest(&body.content).into(),
            body,
            actor: mutation.actor.clone(),
            comment: mutation.comment.clone(),
            create_time: self.core.clock.system_time(),
            operation: change.operation(),
            rollback_of: source.unwrap_or(0),
            deleted,
            request_id,
            revision: 0,
        };
        Ok(Some(Draft { version, source }))
    }

    /// Writes head and version, or says what was there instead.
    async fn commit(
        &self,
        mutation: &Mutation,
        request: Option<&RequestRecord>,
        draft: Draft,
        seen: &Seen,
    ) -> Result<Result<Outcome, Seen>, Error> {
        let path = &mutation.path;
        let mut version = draft.version;
        let mut requests = Vec::new();
        let mut create_revision = 0;
        if let Some(head) = &seen.head {
            records::writable(path.path(), head.format)?;
            requests.clone_from(&head.requests);
            if !head.current.deleted {
                create_revision = head.create_revision;
            }
        }
        requests.extend(request.map(|request| RequestRecord {
            version: version.version,
            ..request.clone()
        }));
        requests.drain(..requests.len().saturating_sub(REQUESTS));
        let head_key = self.core.keys.config(path);
        let version_key = self.core.keys.config_version(path, version.version);
        let record = records::encode_config_version(&version);
        let head = records::encode_config_head(&ConfigHead {
            path: path.clone(),
            current: version.clone(),
            requests,
            format: records::FORMAT,
            create_revision,
            mod_revision: 0,
            wire: WireForm::default(),
        });
        let later = self
            .core
            .keys
            .config_versions(path, version.version, i64::MAX);
        let source = draft
            .source
            .map(|source| Compare::exists(self.core.keys.config_version(path, source)));
        let txn = Txn::new()
            .when(Compare::mod_revision(head_key.clone(), seen.mod_revision()))
            .when(Compare::empty(later))
            .when_all(source)
            .then(Step::put(head_key.clone(), head))
            .then(Step::put(version_key.clone(), record.clone()))
            .otherwise(Step::get(head_key))
            .otherwise(Step::get(version_key.clone()));
        // An answer can get lost and the transaction be sent again, to find its own work. No other
        // draft has the same bytes.
        let own = |kv: Option<&KeyValue>| {
            kv.filter(|kv| kv.value == record)
                .map(|kv| kv.create_revision)
        };
        let response = match self.core.commit(mutation.guard.as_ref(), txn).await {
            Ok(response) => response,
            Err(error @ Error::GuardFailed { .. }) => {
                // The lock may have gone between the first sending and the second.
                let keys = KeyRange::key(version_key);
                let found = self.core.store.range(RangeRequest::new(keys)).await;
                let found = found.map_err(|error| Error::CommitUnknown(error.to_string()))?;
                version.revision = own(found.kvs.first()).ok_or(error)?;
                return Ok(Ok(Outcome::written(version)));
            }
            Err(error) => return Err(error),
        };
        if response.succeeded {
            version.revision = response.revision;
            return Ok(Ok(Outcome::written(version)));
        }
        if let Some(revision) = own(response.found(1)) {
            let limit = self.core.settings.read_your_writes;
            self.core.cache.reached(revision, limit).await;
            version.revision = revision;
            return Ok(Ok(Outcome::written(version)));
        }
        let found = response.found(0);
        self.seen(path, found, response.revision).await.map(Err)
    }

    /// Makes sure that the item is as it was seen (and the guard holds), or says how it is.
    async fn confirm(
        &self,
        mutation: &Mutation,
        seen: &Seen,
    ) -> Result<Result<Outcome, Seen>, Error> {
        let key = self.core.keys.config(&mutation.path);
        let txn = Txn::new()
            .when(Compare::mod_revision(key.clone(), seen.mod_revision()))
            .otherwise(Step::get(key));
        let response = self.core.commit(mutation.guard.as_ref(), txn).await?;
        if response.succeeded {
            return Ok(Ok(Outcome {
                version: seen.head.as_ref().map(|head| head.current.clone()),
                unchanged: true,
                revision: response.revision,
            }));
        }
        let found = response.found(0);
        self.seen(&mutation.path, found, response.revision)
            .await
            .map(Err)
    }

    /// The answer to a request that was carried out before.
    async fn first_answer(
        &self,
        path: &ConfigPath,
        version: i64,
        seen: &Seen,
    ) -> Result<Outcome, Error> {
        let version = match &seen.head {
            Some(head) if head.current.version == version => head.current.clone(),
            _ => self.version(path, version, Freshness::Cached).await?.0,
        };
        Ok(Outcome {
            revision: seen.revision.max(version.revision),
            version: Some(version),
            unchanged: false,
        })
    }
}

// === impl Outcome ===

impl Outcome {
    fn written(version: ConfigVersion) -> Self {
        Self {
            revision: version.revision,
            version: Some(version),
            unchanged: false,
        }
    }
}
