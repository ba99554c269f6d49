//! Changes of one item: put, delete, roll back.

use crate::{
    domain::{Error, error::Expectation},
    store::Revision,
};

use super::{
    super::{
        Body, ConfigVersion, Configs,
        change::{Change, Expected, Mutation, Order},
    },
    Outcome,
};

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

// === impl Configs ===

impl Configs {
    /// Makes an item say `body`.
    ///
    /// Errors: [`Error::Invalid`] for a content above the limit and for a request id that was used
    /// for something else, [`Error::Mismatch`], [`Error::ChecksumMismatch`], [`Error::Conflict`],
    /// and those of [`Core::commit`](crate::domain::Core::commit).
    pub async fn put(&self, mutation: Mutation, body: Body) -> Result<Written, Error> {
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
        let (outcome, revision) = self.change(mutation, Change::Delete).await?;
        Ok(Deleted {
            deleted: !outcome.unchanged,
            version: outcome.version.map_or(0, |version| version.version),
            revision,
        })
    }

    async fn written(&self, mutation: Mutation, change: Change) -> Result<Written, Error> {
        let (outcome, revision) = self.change(mutation, change).await?;
        match outcome.version {
            Some(version) => Ok(Written {
                version,
                unchanged: outcome.unchanged,
                revision,
            }),
            None => Err(Error::Internal("a config was written to no version".into())),
        }
    }

    async fn change(
        &self,
        mutation: Mutation,
        change: Change,
    ) -> Result<(Outcome, Revision), Error> {
        let expected = mutation.expected;
        let mut done = self.write(&Order::single(mutation, change)).await?;
        let outcome = done.outcomes.pop();
        let outcome =
            outcome.ok_or_else(|| Error::Internal("a change came to nothing at all".into()))?;
        match done.committed {
            true => Ok((outcome, done.revision)),
            false => Err(mismatch(&expected, &outcome)),
        }
    }
}

/// Why an item is not as expected.
fn mismatch(expected: &Expected, outcome: &Outcome) -> Error {
    let found = outcome.visible();
    let visible = found.map_or(0, |version| version.version);
    match (expected.version, expected.checksum) {
        (Some(version), None) => Error::version_mismatch(version, visible),
        // Of a deleted item the number of its deletion will do too.
        (Some(version), Some(_))
            if version != outcome.version.as_ref().map_or(0, |found| found.version)
                && version != visible =>
        {
            Error::version_mismatch(version, visible)
        }
        (_, checksum) => Error::ChecksumMismatch {
            expected: checksum.unwrap_or_default(),
            found: found.map(|version| version.checksum),
        },
    }
}

// === impl Error ===

impl Error {
    fn version_mismatch(expected: i64, found: i64) -> Self {
        Self::Mismatch {
            expected,
            found,
            what: Expectation::Version,
        }
    }
}
