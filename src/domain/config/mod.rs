//! Configuration: items whose every change is a version.
//!
//! A change is one transaction that writes the head, which everybody watches, the version,
//! which nobody ever rewrites, and an entry of the audit ([`write`]). Large contents are in the
//! head, but apart from the version (`blob`).

mod blob;
mod change;
mod content;
mod draft;
mod history;
mod item;
mod pin;
mod prefix;
mod reads;
mod release;
mod retention;
mod schema;
mod selection;
mod write;

use std::sync::Arc;

use crate::cache::Freshness;

use self::reads::Aside;
use super::{Core, error::Error, state::View};

pub use self::{
    blob::{Blob, BlobId, BlobPart, BlobSweep, StoredVersion},
    change::{Change, DraftRef, Entry, Expected, Mutation, Terms},
    draft::{Draft, Drafts, DraftsPage, PutDraft},
    history::{Versions, VersionsPage},
    item::{Body, ConfigHead, ConfigVersion, ContentType, Operation, RequestRecord},
    pin::{Pin, Pinning},
    prefix::ConfigPrefix,
    reads::{Blame, Comparison, ContentDiff, Diff, Moment, Side, Wait},
    release::{Publish, Release, ReleaseItem, Releases, RollbackRelease},
    retention::Retention,
    schema::{ConfigSchema, SchemaPath, SchemaSelector, SchemasPage, Violation},
    selection::ConfigSelection,
    write::{Committed, Deleted, Outcome, Written},
};

pub(super) use self::{content::place, schema::told};

/// The config centre. Clones share it.
#[derive(Clone)]
pub struct Configs {
    core: Arc<Core>,
    aside: Aside,
}

// === impl Configs ===

impl Configs {
    /// The config centre of one replica.
    pub fn new(core: Arc<Core>) -> Self {
        Self {
            core,
            aside: Aside::default(),
        }
    }

    /// The state that lists are taken from.
    pub async fn read(&self, freshness: Freshness) -> Result<View, Error> {
        Ok(self.core.cache.read(freshness).await?)
    }
}
