//! Publishing: once under each name.

use futures_util::future::try_join_all;

use crate::{
    domain::{Error, error::Resource, keyspace::ReleasePath, names::ReleaseName},
    store::Revision,
};

use super::{
    super::{
        Configs,
        change::{self, Change, DraftRef, Entry, Order, Publication, Terms},
        write::{LOOKS, many},
    },
    Release,
};

/// What is to be published.
#[derive(Debug, Clone)]
pub struct Publish {
    /// Under which name.
    pub path: ReleasePath,
    /// The changes; those of drafts are said by the drafts.
    pub entries: Vec<Entry>,
    /// On what terms.
    pub terms: Terms,
}

// === impl Configs ===

impl Configs {
    /// Publishes a release, and says at which revision that was so.
    ///
    /// Errors: as [`Configs::commit`], [`Error::ConfigsChanged`], [`Error::AlreadyExists`], and
    /// [`Error::NotFound`] and [`Error::Mismatch`] of drafts.
    pub async fn publish(&self, publish: Publish) -> Result<(Release, Revision), Error> {
        let Publish {
            path,
            entries,
            terms,
        } = publish;
        many::check(&entries)?;
        let digest = change::digest(
            &entries,
            &terms,
            &[b"release", path.name.as_str().as_bytes()],
        );
        if let Some(known) = self.published_before(&path, &terms, digest).await? {
            return Ok(known);
        }
        let entries = self.with_drafts(entries).await?;
        self.publish_once(path, entries, terms, digest, None).await
    }

    /// The release of that name, if this very request has published it.
    pub(super) async fn published_before(
        &self,
        path: &ReleasePath,
        terms: &Terms,
        digest: [u8; 32],
    ) -> Result<Option<(Release, Revision)>, Error> {
        let (known, revision) = self.find_release(path).await?;
        match known {
            None => Ok(None),
            Some(known) if known.request_id == terms.request_id && known.digest == digest => {
                Ok(Some((known, revision)))
            }
            Some(known) => Err(Error::AlreadyExists {
                resource: Resource::Release,
                name: path.path(),
                holder: format!("`{}`", known.actor),
            }),
        }
    }

    pub(super) async fn publish_once(
        &self,
        path: ReleasePath,
        entries: Vec<Entry>,
        terms: Terms,
        digest: [u8; 32],
        rollback_of: Option<ReleaseName>,
    ) -> Result<(Release, Revision), Error> {
        let publication = Publication {
            path: path.clone(),
            rollback_of,
        };
        let order = Order {
            digest,
            release: Some(publication),
            ..Order::listed(entries, terms)
        };
        let done = match self.write(&order).await {
            // Perhaps by this very request, sent twice at a time.
            Err(error @ Error::AlreadyExists { .. }) => {
                let known = self.published_before(&path, &order.terms, digest).await?;
                return known.ok_or(error);
            }
            done => done?,
        };
        if !done.committed {
            let outcomes = order.entries.iter().zip(&done.outcomes);
            let changed = outcomes.filter(|(_, outcome)| !outcome.as_expected);
            return Err(Error::ConfigsChanged {
                keys: changed
                    .map(|(entry, _)| entry.path.key.to_string())
                    .collect(),
            });
        }
        match done.release {
            Some(release) => Ok((release, done.revision)),
            None => self.release(&path).await,
        }
    }

    /// The entries with what the drafts say that they are taken from.
    async fn with_drafts(&self, entries: Vec<Entry>) -> Result<Vec<Entry>, Error> {
        let mut entries = entries.into_iter().peekable();
        let mut resolved = Vec::new();
        let mut size = 0;
        // No more of them than may be published.
        while entries.peek().is_some() {
            let some = entries.by_ref().take(LOOKS);
            for entry in try_join_all(some.map(|entry| self.with_draft(entry))).await? {
                if let (Some(_), Some(Change::Put(body))) = (entry.draft, &entry.change) {
                    size += body.content.len();
                }
                resolved.push(entry);
            }
            self.check_together(size)?;
        }
        Ok(resolved)
    }

    async fn with_draft(&self, entry: Entry) -> Result<Entry, Error> {
        let Some(wanted) = entry.draft else {
            return Ok(entry);
        };
        let (draft, _) = self.draft(&entry.path).await?;
        let expected = (wanted.revision != 0).then_some(wanted.revision);
        Error::unless_at(expected, draft.revision)?;
        Ok(Entry {
            draft: Some(DraftRef {
                revision: draft.revision,
            }),
            change: Some(match draft.body {
                Some(body) => Change::Put(body),
                None => Change::Delete,
            }),
            ..entry
        })
    }
}
