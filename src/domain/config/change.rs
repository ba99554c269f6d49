//! The changes: put, delete, roll back.

use sha2::{Digest, Sha256};

use crate::{
    domain::{Error, guard::Guard, keyspace::ConfigPath, names::Label},
    store::Revision,
};

use super::{Body, ConfigVersion, Configs, Operation};

/// What every change of an item is asked with.
#[derive(Debug, Clone)]
pub struct Mutation {
    /// The item.
    pub path: ConfigPath,
    /// The version the item must have, `0`: it must not be there. A deleted item has the version
    /// `0` as well as that of its deletion.
    pub expected_version: Option<i64>,
    /// The name of the request; empty: none.
    pub request_id: String,
    /// The lock that must be held.
    pub guard: Option<Guard>,
    /// Who asks, unverified.
    pub actor: Label,
    /// Why, in the asker's words.
    pub comment: String,
}

/// What became of a put or a rollback.
#[derive(Debug, Clone)]
pub struct Written {
    /// The version that holds what was asked for.
    pub version: ConfigVersion,
    /// True if it was there already.
    pub unchanged: bool,
    /// The revision at which that was so.
    pub revision: Revision,
}

/// What became of a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deleted {
    /// False if there was nothing to delete.
    pub deleted: bool,
    /// The version that records the deletion; `0`: the item never was.
    pub version: i64,
    /// The revision at which the item was gone.
    pub revision: Revision,
}

/// What is to become of an item.
#[derive(Debug)]
pub(super) enum Change {
    /// It says this.
    Put(Body),
    /// It is gone.
    Delete,
    /// It says what this version says.
    Rollback(i64),
}

// === impl Configs ===

impl Configs {
    /// Makes an item say `body`.
    ///
    /// Errors: [`Error::Invalid`] for a content above the limit and for a request id that was used
    /// for something else, [`Error::Mismatch`], [`Error::Conflict`], and those of
    /// [`Core::commit`](crate::domain::Core::commit).
    pub async fn put(&self, mutation: Mutation, body: Body) -> Result<Written, Error> {
        let (limit, size) = (self.core.settings.max_config_bytes, body.content.len());
        if size > limit {
            let description = format!("must be at most {limit} bytes, is {size}");
            return Err(Error::invalid("content", description));
        }
        self.written(mutation, Change::Put(body)).await
    }

    /// Makes an item say what its version `to` says, which brings it back if it is deleted.
    ///
    /// Errors: as [`Configs::put`], and [`Error::NotFound`] if there is no such version or if it is
    /// a deletion.
    pub async fn roll_back(&self, mutation: Mutation, to: i64) -> Result<Written, Error> {
        self.written(mutation, Change::Rollback(to)).await
    }

    /// Deletes an item; its history stays. One that is gone stays gone.
    ///
    /// Errors: as [`Configs::put`].
    pub async fn delete(&self, mutation: Mutation) -> Result<Deleted, Error> {
        let outcome = self.write(&mutation, &Change::Delete).await?;
        Ok(Deleted {
            deleted: !outcome.unchanged,
            version: outcome.version.map_or(0, |version| version.version),
            revision: outcome.revision,
        })
    }

    async fn written(&self, mutation: Mutation, change: Change) -> Result<Written, Error> {
        let outcome = self.write(&mutation, &change).await?;
        match outcome.version {
            Some(version) => Ok(Written {
                version,
                unchanged: outcome.unchanged,
                revision: outcome.revision,
            }),
            None => Err(Error::Internal("a config was written to no version".into())),
        }
    }
}

// === impl Change ===

impl Change {
    pub(super) fn operation(&self) -> Operation {
        match self {
            Self::Put(_) => Operation::Put,
            Self::Delete => Operation::Delete,
            Self::Rollback(_) => Operation::Rollback,
        }
    }

    /// SHA-256 over what is asked for. The guard is not part of it: who repeats a request may hold
    /// the lock under another token by then.
    pub(super) fn digest(&self, mutation: &Mutation) -> [u8; 32] {
        let mut hash = Sha256::new();
        let mut add = |bytes: &[u8]| {
            // The length apart, so that no two lists of parts look the same.
            hash.update(bytes.len().to_be_bytes());
            hash.update(bytes);
        };
        match self {
            Self::Put(body) => {
                add(b"put");
                add(&body.content);
                add(&[body.content_type as u8]);
                add(body.description.as_bytes());
                add(&body.labels.len().to_be_bytes());
                for (key, value) in &body.labels {
                    add(key.as_bytes());
                    add(value.as_bytes());
                }
            }
            Self::Delete => add(b"delete"),
            Self::Rollback(to) => {
                add(b"rollback");
                add(&to.to_be_bytes());
            }
        }
        match mutation.expected_version {
            None => add(b""),
            Some(version) => add(&version.to_be_bytes()),
        }
        add(mutation.actor.as_str().as_bytes());
        add(mutation.comment.as_bytes());
        hash.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::domain::names::{ConfigKey, Namespace};

    #[test]
    fn requests_that_ask_for_different_things_have_different_digests() {
        let mutation = |comment: &str, expected_version| Mutation {
            path: ConfigPath {
                namespace: Namespace::parse("default").unwrap(),
                key: ConfigKey::parse("db").unwrap(),
            },
            expected_version,
            request_id: "r".into(),
            guard: None,
            actor: Label::default(),
            comment: comment.into(),
        };
        let put = |label: &str, value: &str, description: &str| {
            Change::Put(Body {
                labels: BTreeMap::from([(label.into(), value.into())]),
                description: description.into(),
                ..Body::default()
            })
        };
        let digests = [
            put("a", "bc", "").digest(&mutation("", None)),
            put("ab", "c", "").digest(&mutation("", None)),
            put("a", "b", "c").digest(&mutation("", None)),
            put("a", "b", "").digest(&mutation("c", None)),
            put("a", "b", "").digest(&mutation("", None)),
            put("a", "b", "").digest(&mutation("", Some(0))),
            Change::Delete.digest(&mutation("", None)),
            Change::Rollback(1).digest(&mutation("", None)),
            Change::Rollback(2).digest(&mutation("", None)),
        ];
        let different: std::collections::BTreeSet<_> = digests.iter().collect();
        assert_eq!(different.len(), digests.len());
    }
}
