//! What a config item is: a head that is watched, and versions that never change.

use std::{collections::BTreeMap, time::SystemTime};

use bytes::Bytes;

use crate::{
    domain::{
        keyspace::ConfigPath,
        names::{Label, ReleaseName},
        watch::WireForm,
    },
    store::Revision,
};

/// The current state of a config item, deleted ones included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigHead {
    /// Which item it is.
    pub path: ConfigPath,
    /// What it says now. Of a deleted item: the tombstone.
    pub current: ConfigVersion,
    /// The requests that made the last versions, oldest first, at most 16.
    pub requests: Vec<RequestRecord>,
    /// The format it was written in.
    pub format: u32,
    /// Since when the item has been there without being deleted. Of an item about to be written
    /// `0`: since then.
    pub create_revision: Revision,
    /// The revision that last wrote it.
    pub mod_revision: Revision,
    /// What a reader is answered.
    pub wire: WireForm,
}

/// What an item says, apart from who said it and when.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Body {
    /// The content.
    pub content: Bytes,
    /// How to read that.
    pub content_type: ContentType,
    /// For people and filters.
    pub labels: BTreeMap<String, String>,
    /// For people.
    pub description: String,
}

/// One version of a config item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigVersion {
    /// Counts from 1 and never starts again while any history is kept.
    pub version: i64,
    /// The version before; `0`: none.
    pub prev_version: i64,
    /// What it says; nothing if it is a deletion.
    pub body: Body,
    /// How many bytes the content has, also where it is left out.
    pub size: usize,
    /// SHA-256 of the content; of a tombstone that of nothing.
    pub checksum: [u8; 32],
    /// Who wrote it, unverified.
    pub actor: Label,
    /// Why, in the author's words.
    pub comment: String,
    /// When.
    pub create_time: SystemTime,
    /// What made it.
    pub operation: Operation,
    /// The version it copies, if it is a rollback; `0`: none.
    pub rollback_of: i64,
    /// True if this version is the deletion of the item.
    pub deleted: bool,
    /// The request that made it.
    pub request_id: String,
    /// The release that made it.
    pub release: Option<ReleaseName>,
    /// The revision that made it.
    pub revision: Revision,
}

/// How to read the content of a config item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ContentType {
    /// Plain text.
    #[default]
    Text,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// TOML.
    Toml,
    /// Java properties.
    Properties,
    /// XML.
    Xml,
    /// Bytes.
    Binary,
}

/// What made a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// A put.
    Put,
    /// A deletion.
    Delete,
    /// A rollback.
    Rollback,
    /// A release.
    Release,
}

/// A request that a head remembers, to recognise its repetition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestRecord {
    /// The request id.
    pub request_id: String,
    /// The version it made.
    pub version: i64,
    /// What was asked for.
    pub operation: Operation,
    /// SHA-256 over what was asked for: tells a repetition from another request under the same id.
    pub digest: [u8; 32],
}

// === impl ConfigHead ===

impl ConfigHead {
    /// The version that readers see; `0` if the item is deleted.
    pub fn visible_version(&self) -> i64 {
        if self.current.deleted {
            0
        } else {
            self.current.version
        }
    }
}

// === impl ConfigVersion ===

impl ConfigVersion {
    /// SHA-256 of the content; `None` of a deletion, which has none.
    pub fn content_checksum(&self) -> Option<[u8; 32]> {
        (!self.deleted).then_some(self.checksum)
    }
}
