//! Reading what a version says, wherever that is.

use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};

use crate::{
    domain::{
        Error,
        config::{ConfigVersion, Configs, history},
        keyspace::ConfigPath,
        records,
    },
    store::{KeyRange, RangeRequest, Revision},
};

use super::{BlobPart, PIECE, StoredVersion};

// === impl Configs ===

impl Configs {
    /// A version with its content.
    ///
    /// Errors: [`Error::ContentLost`] if that is not there, or is not what was written;
    /// [`Error::NotFound`] if the version has gone since it was read.
    pub(in super::super) async fn whole(
        &self,
        path: &ConfigPath,
        stored: StoredVersion,
    ) -> Result<ConfigVersion, Error> {
        let StoredVersion {
            mut version,
            part,
            format,
        } = stored;
        if let Some(part) = &part {
            version.body.content = self.content_at(part, version.revision).await?;
        }
        if Sha256::digest(&version.body.content)[..] == version.checksum {
            return Ok(version);
        }
        let name = format!("{} version {}", path.path(), version.version);
        if format > records::NEWEST {
            return Err(Error::NewerFormat { name, format });
        }
        // A version that goes may take its content along before it is read.
        let key = self.core.keys.config_version(path, version.version);
        let kept = RangeRequest::new(KeyRange::key(key)).keys_only();
        let kept = self.core.store.range(kept).await.map_err(Error::Store)?;
        match kept.kvs.is_empty() {
            true => Err(history::missing(path, version.version)),
            false => Err(Error::ContentLost { name }),
        }
    }

    /// What a part of a blob holds, which was written before `written`; nothing if it is not there
    /// as a whole.
    async fn content_at(&self, part: &BlobPart, written: Revision) -> Result<Bytes, Error> {
        let (first, end) = part.pieces();
        let keys = KeyRange::span(
            self.core.keys.blob_piece(&part.blob, first),
            self.core.keys.blob_piece(&part.blob, end),
        );
        let found = self.look_up(RangeRequest::new(keys), Some(written));
        let found = found.await?.kvs;
        let mut pieces = BytesMut::with_capacity(found.len() * PIECE);
        for kv in &found {
            pieces.extend_from_slice(&kv.value);
        }
        let begin = part.offset - first * PIECE;
        let whole = found.len() == end - first && pieces.len() >= begin + part.size;
        Ok(match whole {
            true => pieces.freeze().slice(begin..begin + part.size),
            false => Bytes::new(),
        })
    }
}
