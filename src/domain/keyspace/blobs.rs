//! The keys of contents that are too large for their versions.

use bytes::Bytes;

use crate::{domain::config::BlobId, store::KeyRange};

use super::{ConfigPath, Keyspace};

// === impl Keyspace ===

impl Keyspace {
    /// A blob, without what it holds.
    pub fn blob(&self, id: &BlobId) -> Bytes {
        self.at("history/blob/", &id.to_string())
    }

    /// All blobs.
    pub fn blobs(&self) -> KeyRange {
        KeyRange::prefix(self.at("history/blob/", ""))
    }

    /// The blob at a key.
    pub fn parse_blob(&self, key: &[u8]) -> Option<BlobId> {
        let name = key.strip_prefix(&self.at("history/blob/", "")[..])?;
        BlobId::parse(std::str::from_utf8(name).ok()?)
    }

    /// A piece of what a blob holds.
    pub fn blob_piece(&self, id: &BlobId, number: usize) -> Bytes {
        self.at("history/piece/", &format!("{id}/{number:04x}"))
    }

    /// All that a blob holds.
    pub fn blob_pieces(&self, id: &BlobId) -> KeyRange {
        KeyRange::prefix(self.at("history/piece/", &format!("{id}/")))
    }

    /// That versions have their contents in a blob; `path` and `version` are those of one of them,
    /// and `call` names the transaction, because a key that begins anew counts from 1 again.
    pub fn blob_use(&self, id: &BlobId, path: &ConfigPath, version: i64, call: u64) -> Bytes {
        let place = format!("{id}/{}//{version:016x}.{call:016x}", path.path());
        self.at("history/use/", &place)
    }

    /// Whatever has its content in a blob.
    pub fn blob_uses(&self, id: &BlobId) -> KeyRange {
        KeyRange::prefix(self.at("history/use/", &format!("{id}/")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::names::{ConfigKey, Namespace};

    #[test]
    fn a_blob_has_its_own_pieces_and_uses() {
        let keys = Keyspace::new("stanchion");
        let path = ConfigPath {
            namespace: Namespace::parse("default").unwrap(),
            key: ConfigKey::parse("shop/db").unwrap(),
        };
        let (one, other) = (BlobId::new([0xa; 32]), BlobId::new([0xb; 32]));
        assert_eq!(keys.parse_blob(&keys.blob(&one)), Some(one));
        assert!(keys.blobs().contains(&keys.blob(&one)));
        assert!(keys.blob_pieces(&one).contains(&keys.blob_piece(&one, 15)));
        assert!(!keys.blob_pieces(&one).contains(&keys.blob_piece(&other, 0)));
        assert!(
            keys.blob_uses(&one)
                .contains(&keys.blob_use(&one, &path, 7, 1))
        );
        assert_eq!(keys.parse_blob(&keys.blob_piece(&one, 0)), None);
    }
}
