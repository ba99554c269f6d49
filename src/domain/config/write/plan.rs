//! Which versions are to be written, given what was seen.

use std::time::SystemTime;

use futures_util::future::try_join_all;
use sha2::{Digest, Sha256};

use crate::{
    cache::Freshness,
    domain::{Error, records},
    store::Compare,
};

use super::{
    super::{
        Body, ConfigVersion, Configs, Operation,
        change::{Change, Entry, Order},
        history,
    },
    seen::{LOOKS, Seen},
};

/// What is to be written.
pub(super) struct Planned {
    /// For each item; `None` if what is there will do.
    pub(super) versions: Vec<Option<ConfigVersion>>,
    /// The conditions that the contents may still be written.
    pub(super) approval: Vec<Compare>,
}

// === impl Configs ===

impl Configs {
    /// What is to be written.
    pub(super) async fn plan(&self, order: &Order, seen: &[Seen]) -> Result<Planned, Error> {
        let now = self.core.clock.system_time();
        let mut plans = order.entries.iter().zip(seen).enumerate();
        let mut versions: Vec<Option<ConfigVersion>> = Vec::new();
        // Earlier versions are read for some, but no more of them than may be written.
        while versions.len() < order.entries.len() {
            let some = plans.by_ref().take(LOOKS);
            let some = some.map(|(at, (entry, seen))| async move {
                let planned = self.version_after(order, entry, seen, now).await;
                planned.map_err(|error| order.of_entry(at, error))
            });
            versions.extend(try_join_all(some).await?);
            let sizes = versions.iter().flatten().map(|version| version.size);
            if order.listed {
                self.check_together(sizes.sum())?;
            }
        }
        let bodies = order.entries.iter().zip(&versions).enumerate();
        let bodies = bodies.filter_map(|(at, (entry, version))| {
            let version = version.as_ref().filter(|version| !version.deleted)?;
            Some((at, &entry.path, &version.body))
        });
        let proven = seen.iter().filter(|seen| seen.proven);
        let proven = proven.map(|seen| seen.revision).max();
        let approval = self.approve(&bodies.collect::<Vec<_>>(), proven).await;
        Ok(Planned {
            approval: approval.map_err(|(at, error)| order.of_entry(at, error))?,
            versions,
        })
    }

    async fn version_after(
        &self,
        order: &Order,
        entry: &Entry,
        seen: &Seen,
        now: SystemTime,
    ) -> Result<Option<ConfigVersion>, Error> {
        let Some(change) = &entry.change else {
            return Ok(None);
        };
        let present = seen.head.as_deref().filter(|head| !head.current.deleted);
        let (body, source) = match change {
            Change::Delete if present.is_none() => return Ok(None),
            Change::Delete => (Body::default(), None),
            Change::Put(body) => {
                self.check(body)?;
                (body.clone(), None)
            }
            Change::Rollback(to) => (self.body_of(entry, *to, seen).await?, Some(*to)),
        };
        let deleted = matches!(change, Change::Delete);
        if present.is_some_and(|head| !deleted && head.current.body == body) {
            return Ok(None);
        }
        if let Some(head) = &seen.head {
            records::writable(entry.path.path(), head.format)?;
        }
        let terms = &order.terms;
        Ok(Some(ConfigVersion {
            version: seen.newest + 1,
            prev_version: seen.newest,
            size: body.content.len(),
            checksum: Sha256::digest(&body.content).into(),
            body,
            actor: terms.actor.clone(),
            comment: terms.comment.clone(),
            create_time: now,
            operation: match &order.release {
                Some(_) => Operation::Release,
                None => change.operation(),
            },
            release: order
                .release
                .as_ref()
                .map(|release| release.path.name.clone()),
            rollback_of: source.unwrap_or(0),
            deleted,
            request_id: terms.distinct_id(),
            revision: 0,
        }))
    }

    /// Refuses more content than may be written together.
    pub(in super::super) fn check_together(&self, size: usize) -> Result<(), Error> {
        let limit = self.core.settings.max_commit_bytes;
        if size > limit {
            let description = format!("must have at most {limit} bytes of content, have more");
            return Err(Error::invalid("changes", description));
        }
        Ok(())
    }

    /// Refuses what may not be written.
    pub(in super::super) fn check(&self, body: &Body) -> Result<(), Error> {
        let (limit, size) = (self.core.settings.max_config_bytes, body.content.len());
        if size > limit {
            let description = format!("must be at most {limit} bytes, is {size}");
            return Err(Error::invalid("content", description));
        }
        Ok(())
    }

    /// What an earlier version says. It is never rewritten, and need not be there any more when
    /// the new one is written: only that it was.
    async fn body_of(&self, entry: &Entry, version: i64, seen: &Seen) -> Result<Body, Error> {
        let freshness = if seen.proven {
            Freshness::Linearizable
        } else {
            Freshness::Cached
        };
        let (source, _) = self.whole_version(&entry.path, version, freshness).await?;
        match source.deleted {
            true => Err(history::missing(&entry.path, version)),
            false => Ok(source.body),
        }
    }
}

// === impl Order ===

impl Order {
    /// Says of which field of the request an error speaks.
    fn of_entry(&self, at: usize, error: Error) -> Error {
        let Some(entry) = self.entries.get(at) else {
            return error;
        };
        let said_by = match &entry.change {
            _ if entry.draft.is_some() => "draft",
            Some(Change::Rollback(_)) => "rollback.version",
            _ => "put.content",
        };
        if self.listed {
            let said_by = format!("changes[{at}].{said_by}");
            let error = error.within(&format!("changes[{at}].put."));
            return error.of_content(&entry.path.key, said_by);
        }
        let field = said_by.rsplit('.').next().unwrap_or(said_by);
        error.of_content(&entry.path.key, field.into())
    }
}
