//! The stored form of contents that are too large for their versions.

use std::time::SystemTime;

use bytes::Bytes;

use crate::{
    domain::{
        config::{Blob, BlobId, BlobPart},
        keyspace::ConfigPath,
        names::{ConfigKey, Namespace},
    },
    proto::store as wire,
    store::KeyValue,
};

use super::{DecodeError, FORMAT, config::sha256, decode, encode, time};

/// Reads when a blob was written.
pub fn blob(kv: &KeyValue) -> Result<SystemTime, DecodeError> {
    let record: wire::Blob = decode(kv)?;
    time(record.create_time, "create_time")
}

/// Writes a blob, without what it holds.
pub fn encode_blob(blob: &Blob, now: SystemTime) -> Bytes {
    encode(&wire::Blob {
        format: FORMAT,
        size: number(blob.content.len()),
        create_time: Some(now.into()),
    })
}

/// Reads which versions have their contents in a blob.
pub fn blob_use(kv: &KeyValue) -> Result<Vec<(ConfigPath, i64)>, DecodeError> {
    let record: wire::BlobUse = decode(kv)?;
    let version = |version: wire::BlobUser| {
        let path = ConfigPath {
            namespace: Namespace::parse(&version.namespace)
                .map_err(|_| DecodeError::Field("namespace"))?,
            key: ConfigKey::parse(&version.key).map_err(|_| DecodeError::Field("key"))?,
        };
        Ok((path, version.version))
    };
    record.versions.into_iter().map(version).collect()
}

/// Writes which versions have their contents in a blob.
pub fn encode_blob_use(versions: &[(&ConfigPath, i64)]) -> Bytes {
    let version = |(path, version): &(&ConfigPath, i64)| wire::BlobUser {
        namespace: path.namespace.to_string(),
        key: path.key.to_string(),
        version: *version,
    };
    encode(&wire::BlobUse {
        format: FORMAT,
        versions: versions.iter().map(version).collect(),
    })
}

pub(super) fn part(record: wire::BlobPart) -> Result<BlobPart, DecodeError> {
    let size = |size: u32, field| usize::try_from(size).map_err(|_| DecodeError::Field(field));
    Ok(BlobPart {
        blob: BlobId::new(sha256(&record.blob, "part.blob")?),
        offset: size(record.offset, "part.offset")?,
        size: size(record.size, "part.size")?,
    })
}

pub(super) fn wire_part(part: &BlobPart) -> wire::BlobPart {
    wire::BlobPart {
        blob: Bytes::copy_from_slice(part.blob.as_bytes()),
        offset: number(part.offset),
        size: number(part.size),
    }
}

/// No blob is as large as that.
fn number(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}
