//! The engine behind every change of configuration, of one item or of many together.
//!
//! What was seen of the items comes from the cache and may be old: then the transaction
//! ([`transaction`]) fails, says what is there, and is made anew on that. A refusal (an item is not
//! as expected, nothing is to be done) is decided only on what the store itself has said during the
//! call.

pub(super) mod many;
mod plan;
mod seen;
mod single;
mod transaction;

use crate::{
    cache::Freshness,
    domain::{Error, error::Resource, revise::ATTEMPTS},
    store::{KeyRange, RangeRequest, Revision},
};

use super::{ConfigVersion, Configs, Release, change::Order};

pub(super) use self::seen::{LOOKS, Seen};
pub use self::single::{Deleted, Written};
use self::{plan::Planned, transaction::Attempt};

/// What became of changes that happen together or not at all.
#[derive(Debug, Clone)]
pub struct Committed {
    /// Whether they happened, or would: all items were as expected.
    pub committed: bool,
    /// Of each item.
    pub outcomes: Vec<Outcome>,
    /// The revision at which that was so.
    pub revision: Revision,
    /// The release that they are; `None` if they are none, or were repeated.
    pub(super) release: Option<Release>,
}

/// What became of one item.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The version that it has now, or would; `None`: it never was, and is not.
    pub version: Option<ConfigVersion>,
    /// True if nothing had to be written for it.
    pub unchanged: bool,
    /// Whether it was as expected.
    pub as_expected: bool,
}

// === impl Configs ===

impl Configs {
    /// Carries out an order, once.
    pub(super) async fn write(&self, order: &Order) -> Result<Committed, Error> {
        let mut seen = self.seen_by_cache(order)?;
        for attempt in 0..ATTEMPTS {
            self.core.make_way(attempt).await;
            if let Some(done) = self.repeated(order, &mut seen).await? {
                return Ok(done);
            }
            let pairs = || order.entries.iter().zip(&seen);
            if pairs().any(|(entry, seen)| !seen.is_as_expected(entry)) {
                let unproven = positions(&seen, |seen| !seen.proven);
                if unproven.is_empty() {
                    return Ok(refused(order, seen));
                }
                self.look_again(order, &mut seen, unproven).await?;
                continue;
            }
            let planned = self.plan(order, &seen).await?;
            if let Some(done) = self.attempt(order, planned, &mut seen).await? {
                return Ok(done);
            }
        }
        let first = order.entries.first();
        Err(Error::Conflict {
            name: first.map_or(String::new(), |entry| entry.path.path()),
        })
    }

    /// Writes what is planned, or makes sure that nothing has to be written. If something is not as
    /// it was seen, sees it anew.
    async fn attempt(
        &self,
        order: &Order,
        planned: Planned,
        seen: &mut [Seen],
    ) -> Result<Option<Committed>, Error> {
        let now = self.core.clock.system_time();
        let apart = self.keep_apart(order, &planned.versions).await?;
        let apart = apart.as_ref();
        let mut attempt = Attempt::new(&self.core, order, seen, &planned, apart, now)?;
        let planned = planned.versions;
        let guard = order.terms.guard.as_ref();
        let response = match self.core.commit(guard, attempt.txn.clone()).await {
            Ok(response) => response,
            Err(error @ Error::CommitUnknown(_)) if guard.is_some() => {
                // The lock may have gone between the first sending and the second.
                let written = self.own_revision(&attempt).await?;
                let written = written.ok_or(error)?;
                return Ok(Some(done(written, planned, seen, attempt.release.take())));
            }
            Err(error) => return Err(error),
        };
        if response.succeeded {
            // What would be written has no revision yet.
            let written = if order.terms.validate_only {
                0
            } else {
                response.revision
            };
            let mut done = done(written, planned, seen, attempt.release.take());
            done.revision = response.revision;
            return Ok(Some(done));
        }
        let own = response.found(order.entries.len());
        if let Some(own) = own.filter(|own| attempt.is_own(own)) {
            let limit = self.core.settings.read_your_writes;
            self.core.cache.reached(own.create_revision, limit).await;
            let written = own.create_revision;
            return Ok(Some(done(written, planned, seen, attempt.release.take())));
        }
        if let Some(release) = attempt.release.filter(|_| own.is_some()) {
            return Err(Error::AlreadyExists {
                resource: Resource::Release,
                name: release.path.path(),
                holder: "another request".into(),
            });
        }
        let mut unread = Vec::new();
        for (at, (entry, seen)) in order.entries.iter().zip(&mut *seen).enumerate() {
            let head = response.found(at);
            if attempt.reads_whole {
                *seen = self.seen(&entry.path, head, response.revision).await?;
            } else if seen.head.is_none()
                || head.is_none_or(|head| head.mod_revision != seen.mod_revision())
            {
                unread.push(at);
            } else {
                (seen.revision, seen.proven) = (response.revision, true);
            }
        }
        self.look_again(order, seen, unread).await?;
        Ok(None)
    }

    /// The revision at which an attempt wrote, if it did.
    async fn own_revision(&self, attempt: &Attempt) -> Result<Option<Revision>, Error> {
        let Some((key, _)) = &attempt.own else {
            return Ok(None);
        };
        let keys = KeyRange::key(key.clone());
        let found = self.core.store.range(RangeRequest::new(keys)).await;
        let found = found.map_err(|error| Error::CommitUnknown(error.to_string()))?;
        let own = found.kvs.first().filter(|own| attempt.is_own(own));
        Ok(own.map(|own| own.create_revision))
    }

    /// The answer to an order that was carried out before.
    async fn repeated(&self, order: &Order, seen: &mut [Seen]) -> Result<Option<Committed>, Error> {
        let request_id = &order.terms.request_id;
        let forgets = |seen: &Seen| seen.remembers(request_id).is_none();
        let forgetful = positions(seen, forgets);
        if forgetful.len() == seen.len() {
            return Ok(None);
        }
        // They may have been seen before the others: then they are told of by an older state.
        self.look_again(order, seen, forgetful).await?;
        let mut outcomes = Vec::new();
        let mut revision = 0;
        for (entry, seen) in order.entries.iter().zip(&*seen) {
            let record = seen.remembers(request_id);
            if record.is_some_and(|record| record.digest != order.digest) {
                return Err(Error::reused_request());
            }
            let current = seen.head.as_ref().map(|head| &head.current);
            let version = match record {
                Some(record) if current.is_none_or(|now| now.version != record.version) => {
                    let made = self.stored_version(&entry.path, record.version, Freshness::Cached);
                    Some(made.await?.0.without_content())
                }
                _ => current.cloned(),
            };
            let made = version.as_ref().map_or(0, |version| version.revision);
            revision = seen.revision.max(made).max(revision);
            outcomes.push(Outcome {
                version,
                unchanged: record.is_none(),
                as_expected: true,
            });
        }
        Ok(Some(Committed {
            committed: true,
            outcomes,
            revision,
            release: None,
        }))
    }
}

/// What has become of items that are as planned now, and were as seen before.
fn done(
    revision: Revision,
    planned: Vec<Option<ConfigVersion>>,
    seen: &[Seen],
    release: Option<Release>,
) -> Committed {
    let outcomes = planned
        .into_iter()
        .zip(seen)
        .map(|(planned, seen)| Outcome {
            unchanged: planned.is_none(),
            version: match planned {
                Some(version) => Some(ConfigVersion {
                    revision,
                    ..version
                }),
                None => seen.current(),
            },
            as_expected: true,
        });
    Committed {
        committed: true,
        outcomes: outcomes.collect(),
        revision,
        release: release.map(|release| Release {
            revision,
            ..release
        }),
    }
}

/// What is there instead of what was expected.
fn refused(order: &Order, seen: Vec<Seen>) -> Committed {
    let revisions = seen.iter().map(|seen| seen.revision);
    let revision = revisions.max().unwrap_or_default();
    let outcomes = order.entries.iter().zip(seen).map(|(entry, seen)| Outcome {
        as_expected: seen.is_as_expected(entry),
        version: seen.current(),
        unchanged: true,
    });
    Committed {
        committed: false,
        outcomes: outcomes.collect(),
        revision,
        release: None,
    }
}

fn positions(seen: &[Seen], which: impl Fn(&Seen) -> bool) -> Vec<usize> {
    let numbered = seen.iter().enumerate();
    let wanted = numbered.filter(|(_, seen)| which(seen));
    wanted.map(|(at, _)| at).collect()
}

// === impl Outcome ===

impl Outcome {
    /// The version that readers see.
    pub fn visible(&self) -> Option<&ConfigVersion> {
        self.version.as_ref().filter(|version| !version.deleted)
    }
}
