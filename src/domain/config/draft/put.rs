//! Putting a draft, and throwing it away: one record, by compare.

use crate::{
    domain::{Error, guard::Guard, keyspace::ConfigPath, records},
    store::{Compare, Operation as Step, Revision, Txn},
};

use super::{
    super::{Body, Configs, change::Terms},
    Draft, decode,
};

/// How often others may get in between before a change gives up.
const ROUNDS: usize = 8;

/// A draft to be put.
#[derive(Debug, Clone)]
pub struct PutDraft {
    /// Of which item.
    pub path: ConfigPath,
    /// What the item is to say; `None`: it is to be deleted.
    pub body: Option<Body>,
    /// The revision the draft must have; `0`: there must be none.
    pub expected_revision: Option<Revision>,
    /// On what terms.
    pub terms: Terms,
}

// === impl Configs ===

impl Configs {
    /// Puts a draft. Says whether that changed something, and at which revision it was so.
    ///
    /// Errors: [`Error::Mismatch`], [`Error::Conflict`], [`Error::Invalid`] for a content above the
    /// limit.
    pub async fn put_draft(&self, put: PutDraft) -> Result<(Draft, bool, Revision), Error> {
        if let Some(body) = &put.body {
            self.check(body).map_err(|error| error.within("put."))?;
        }
        let terms = &put.terms;
        let (mut seen, mut revision) = self.find_draft(&put.path).await?;
        for _ in 0..ROUNDS {
            let repeated =
                |seen: &Draft| !terms.request_id.is_empty() && seen.request_id == terms.request_id;
            let found = seen.as_ref().map_or(0, |seen| seen.revision);
            if let Some(seen) = seen.take_if(|seen| repeated(seen)) {
                let Terms { actor, comment, .. } = terms;
                return match (&seen.body, &seen.actor, &seen.comment) == (&put.body, actor, comment)
                {
                    true => Ok((seen, true, revision)),
                    false => Err(Error::reused_request()),
                };
            }
            Error::unless_at(put.expected_revision, found)?;
            if let Some(same) = seen.take_if(|seen| seen.body == put.body) {
                self.core.require(terms.guard.as_ref()).await?;
                return Ok((same, false, revision));
            }
            if let Some(seen) = &seen {
                records::writable(put.path.path(), seen.format)?;
            }
            let draft = self.new_draft(&put)?;
            if terms.validate_only {
                self.core.require(terms.guard.as_ref()).await?;
                return Ok((draft, true, revision));
            }
            let key = self.core.keys.draft(&put.path);
            let record = records::encode_draft(&draft);
            let txn = Txn::new()
                .when(Compare::mod_revision(key.clone(), found))
                .then(Step::put(key.clone(), record.clone()))
                .otherwise(Step::get(key));
            let response = self.core.commit(terms.guard.as_ref(), txn).await?;
            revision = response.revision;
            let there = response.found(0);
            // The answer to an earlier sending may have got lost.
            let own = there.filter(|kv| kv.value == record);
            if response.succeeded || own.is_some() {
                let revision = own.map_or(revision, |own| own.mod_revision);
                return Ok((Draft { revision, ..draft }, true, revision));
            }
            seen = there.map(|kv| decode(put.path.clone(), kv)).transpose()?;
        }
        Err(Error::Conflict {
            name: put.path.path(),
        })
    }

    /// Throws a draft away. Says whether there was one, and at which revision it was gone. Nothing
    /// is put: a full store takes it too.
    ///
    /// Errors: [`Error::Mismatch`], [`Error::Conflict`].
    pub async fn discard_draft(
        &self,
        path: &ConfigPath,
        expected: Option<Revision>,
        guard: Option<&Guard>,
    ) -> Result<(bool, Revision), Error> {
        for _ in 0..ROUNDS {
            let (seen, revision) = self.find_draft(path).await?;
            let Some(seen) = seen else {
                self.core.require(guard).await?;
                return Ok((false, revision));
            };
            Error::unless_at(expected, seen.revision)?;
            records::writable(path.path(), seen.format)?;
            let key = self.core.keys.draft(path);
            let txn = Txn::new()
                .when(Compare::mod_revision(key.clone(), seen.revision))
                .then(Step::delete(key.clone()))
                .otherwise(Step::get(key));
            let response = self.core.commit(guard, txn).await?;
            if response.succeeded || response.found(0).is_none() {
                return Ok((true, response.revision));
            }
        }
        Err(Error::Conflict { name: path.path() })
    }

    fn new_draft(&self, put: &PutDraft) -> Result<Draft, Error> {
        let view = self.core.cache.view()?;
        let head = view.state.configs.get(put.path.path().as_bytes());
        Ok(Draft {
            path: put.path.clone(),
            body: put.body.clone(),
            base_version: head.map_or(0, |head| head.visible_version()),
            actor: put.terms.actor.clone(),
            comment: put.terms.comment.clone(),
            update_time: self.core.clock.system_time(),
            request_id: put.terms.distinct_id(),
            format: records::FORMAT,
            revision: 0,
        })
    }
}
