//! Contents that are too large for their versions. A change writes each content to the head, and
//! once more to the version, and one transaction may not hold both: then all its contents go into
//! a blob, written before, and the versions say where in it theirs is.
//!
//! A blob is named by what it holds, so that a repetition finds it there. Each transaction that
//! refers to it leaves a mark, and compares that the blob has been there since it was found;
//! whoever deletes it ([`sweep`]) compares that there is no mark. So none in use can go.

mod id;
mod read;
mod sweep;
mod write;

use bytes::Bytes;

use super::ConfigVersion;

pub use self::{id::BlobId, sweep::BlobSweep};

pub(super) use self::write::Apart;

/// How many bytes a piece of a blob has. Who reads one content of many reads little else.
const PIECE: usize = 64 * 1024;

/// What several versions have their contents in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// Its name.
    pub id: BlobId,
    /// What it holds.
    pub content: Bytes,
}

/// Where in a blob a content is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobPart {
    /// Which blob.
    pub blob: BlobId,
    /// Where the content begins.
    pub offset: usize,
    /// How many bytes it has.
    pub size: usize,
}

/// A version as it is stored: its content may be elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredVersion {
    version: ConfigVersion,
    part: Option<BlobPart>,
    format: u32,
}

// === impl StoredVersion ===

impl StoredVersion {
    /// What a record says: the version, where its content is if not in it, and the record's format.
    pub fn new(version: ConfigVersion, part: Option<BlobPart>, format: u32) -> Self {
        Self {
            version,
            part,
            format,
        }
    }

    /// The version without its content, wherever that is.
    pub fn without_content(mut self) -> ConfigVersion {
        self.version.body.content.clear();
        self.version
    }
}

// === impl BlobPart ===

impl BlobPart {
    /// The numbers of the first of the pieces that it is in and of the one after the last.
    fn pieces(&self) -> (usize, usize) {
        let end = self.offset.saturating_add(self.size);
        (self.offset / PIECE, end.div_ceil(PIECE))
    }
}
