//! The stored form of releases.

use bytes::Bytes;

use crate::{
    domain::{
        config::{Release, ReleaseItem},
        keyspace::ReleasePath,
        names::{ConfigKey, Namespace, ReleaseName},
    },
    proto::store as wire,
    store::KeyValue,
};

use super::{DecodeError, FORMAT, config::sha256, decode, encode, label, time};

/// Reads a release.
pub fn release(namespace: Namespace, kv: &KeyValue) -> Result<Release, DecodeError> {
    let record: wire::Release = decode(kv)?;
    let items = record.items.into_iter().map(item);
    Ok(Release {
        path: ReleasePath {
            namespace,
            name: ReleaseName::parse(&record.name).map_err(|_| DecodeError::Field("name"))?,
        },
        comment: record.comment,
        actor: label(&record.author, "author")?,
        create_time: time(record.create_time, "create_time")?,
        rollback_of: release_name(&record.rollback_of, "rollback_of")?,
        request_id: record.request_id,
        digest: sha256(&record.digest, "digest")?,
        item_count: record.item_count as usize,
        items: items.collect::<Result<_, _>>()?,
        revision: kv.create_revision,
    })
}

/// Writes a release.
pub fn encode_release(release: &Release) -> Bytes {
    let item = |item: &ReleaseItem| wire::ReleaseItem {
        key: item.key.to_string(),
        version: item.version,
        before: item.before,
        deleted: item.deleted,
        unchanged: item.unchanged,
    };
    encode(&wire::Release {
        format: FORMAT,
        name: release.path.name.to_string(),
        comment: release.comment.clone(),
        author: release.actor.to_string(),
        create_time: Some(release.create_time.into()),
        rollback_of: text_of(release.rollback_of.as_ref()),
        request_id: release.request_id.clone(),
        digest: Bytes::copy_from_slice(&release.digest),
        item_count: u32::try_from(release.item_count).unwrap_or(u32::MAX),
        items: release.items.iter().map(item).collect(),
    })
}

/// The name of a release, or nothing.
pub(super) fn release_name(
    text: &str,
    field: &'static str,
) -> Result<Option<ReleaseName>, DecodeError> {
    let name = (!text.is_empty()).then(|| ReleaseName::parse(text));
    name.transpose().map_err(|_| DecodeError::Field(field))
}

pub(super) fn text_of(name: Option<&ReleaseName>) -> String {
    name.map_or(String::new(), ReleaseName::to_string)
}

fn item(record: wire::ReleaseItem) -> Result<ReleaseItem, DecodeError> {
    Ok(ReleaseItem {
        key: ConfigKey::parse(&record.key).map_err(|_| DecodeError::Field("key"))?,
        version: record.version,
        before: record.before,
        deleted: record.deleted,
        unchanged: record.unchanged,
    })
}
