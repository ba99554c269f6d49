//! The stored form of config items.

use bytes::Bytes;

use crate::{
    domain::{
        config::{
            BlobPart, Body, ConfigHead, ConfigVersion, ContentType, Operation, RequestRecord,
            StoredVersion,
        },
        keyspace::ConfigPath,
        watch::WireForm,
    },
    proto::store as wire,
    store::KeyValue,
};

use super::{
    DecodeError, FORMAT, NEWEST, blob, decode, encode, label,
    release::{release_name, text_of},
    time,
};

/// Reads the head of a config item.
pub fn config_head(path: ConfigPath, kv: &KeyValue) -> Result<ConfigHead, DecodeError> {
    let record: wire::ConfigHead = decode(kv)?;
    let content_type = content_type(record.content_type());
    let operation = operation(record.operation())?;
    let requests = record.requests.into_iter().map(request);
    Ok(ConfigHead {
        path,
        requests: requests.collect::<Result<_, _>>()?,
        current: ConfigVersion {
            version: record.version,
            prev_version: record.prev_version,
            size: record.content.len(),
            body: Body {
                content: record.content,
                content_type,
                labels: record.labels,
                description: record.description,
            },
            checksum: sha256(&record.sha256, "sha256")?,
            actor: label(&record.author, "author")?,
            comment: record.comment,
            create_time: time(record.create_time, "create_time")?,
            operation,
            rollback_of: record.rollback_of,
            deleted: record.deleted,
            request_id: record.request_id,
            release: release_name(&record.release, "release")?,
            revision: kv.mod_revision,
        },
        format: record.format,
        create_revision: match record.create_revision {
            0 => kv.mod_revision,
            revision => revision,
        },
        mod_revision: kv.mod_revision,
        wire: WireForm::default(),
    })
}

/// Writes the head of a config item.
pub fn encode_config_head(head: &ConfigHead) -> Bytes {
    let current = &head.current;
    let request = |request: &RequestRecord| wire::ConfigRequest {
        request_id: request.request_id.clone(),
        version: request.version,
        operation: wire_operation(request.operation).into(),
        digest: Bytes::copy_from_slice(&request.digest),
    };
    encode(&wire::ConfigHead {
        format: FORMAT,
        version: current.version,
        prev_version: current.prev_version,
        content: current.body.content.clone(),
        content_type: wire_content_type(current.body.content_type).into(),
        labels: current.body.labels.clone(),
        description: current.body.description.clone(),
        sha256: Bytes::copy_from_slice(&current.checksum),
        author: current.actor.to_string(),
        create_time: Some(current.create_time.into()),
        operation: wire_operation(current.operation).into(),
        comment: current.comment.clone(),
        rollback_of: current.rollback_of,
        deleted: current.deleted,
        requests: head.requests.iter().map(request).collect(),
        request_id: current.request_id.clone(),
        release: text_of(current.release.as_ref()),
        create_revision: head.create_revision,
    })
}

/// Reads a version of a config item.
pub fn config_version(kv: &KeyValue) -> Result<StoredVersion, DecodeError> {
    let record: wire::ConfigVersion = decode(kv)?;
    let content_type = content_type(record.content_type());
    let operation = operation(record.operation())?;
    let part = record.part.map(blob::part).transpose()?;
    let version = ConfigVersion {
        version: record.version,
        prev_version: record.prev_version,
        size: part.as_ref().map_or(record.content.len(), |part| part.size),
        body: Body {
            content: record.content,
            content_type,
            labels: record.labels,
            description: record.description,
        },
        checksum: sha256(&record.sha256, "sha256")?,
        actor: label(&record.author, "author")?,
        comment: record.comment,
        create_time: time(record.create_time, "create_time")?,
        operation,
        rollback_of: record.rollback_of,
        deleted: record.deleted,
        request_id: record.request_id,
        release: release_name(&record.release, "release")?,
        revision: kv.create_revision,
    };
    Ok(StoredVersion::new(version, part, record.format))
}

/// Writes a version of a config item; `part` is where its content is, if not in it.
pub fn encode_config_version(version: &ConfigVersion, part: Option<&BlobPart>) -> Bytes {
    encode(&wire::ConfigVersion {
        format: part.map_or(FORMAT, |_| NEWEST),
        version: version.version,
        prev_version: version.prev_version,
        content: match part {
            None => version.body.content.clone(),
            Some(_) => Bytes::new(),
        },
        content_type: wire_content_type(version.body.content_type).into(),
        labels: version.body.labels.clone(),
        description: version.body.description.clone(),
        sha256: Bytes::copy_from_slice(&version.checksum),
        author: version.actor.to_string(),
        create_time: Some(version.create_time.into()),
        operation: wire_operation(version.operation).into(),
        comment: version.comment.clone(),
        rollback_of: version.rollback_of,
        deleted: version.deleted,
        request_id: version.request_id.clone(),
        release: text_of(version.release.as_ref()),
        part: part.map(blob::wire_part),
    })
}

fn request(record: wire::ConfigRequest) -> Result<RequestRecord, DecodeError> {
    Ok(RequestRecord {
        operation: operation(record.operation())?,
        request_id: record.request_id,
        version: record.version,
        digest: sha256(&record.digest, "digest")?,
    })
}

pub(super) fn sha256(bytes: &[u8], field: &'static str) -> Result<[u8; 32], DecodeError> {
    bytes.try_into().map_err(|_| DecodeError::Field(field))
}

/// A type of the future is bytes to us.
pub(super) fn content_type(wire: wire::ContentType) -> ContentType {
    match wire {
        wire::ContentType::Text => ContentType::Text,
        wire::ContentType::Json => ContentType::Json,
        wire::ContentType::Yaml => ContentType::Yaml,
        wire::ContentType::Toml => ContentType::Toml,
        wire::ContentType::Properties => ContentType::Properties,
        wire::ContentType::Xml => ContentType::Xml,
        wire::ContentType::Binary | wire::ContentType::Unspecified => ContentType::Binary,
    }
}

pub(super) fn wire_content_type(content_type: ContentType) -> wire::ContentType {
    match content_type {
        ContentType::Text => wire::ContentType::Text,
        ContentType::Json => wire::ContentType::Json,
        ContentType::Yaml => wire::ContentType::Yaml,
        ContentType::Toml => wire::ContentType::Toml,
        ContentType::Properties => wire::ContentType::Properties,
        ContentType::Xml => wire::ContentType::Xml,
        ContentType::Binary => wire::ContentType::Binary,
    }
}

fn operation(wire: wire::ConfigOperation) -> Result<Operation, DecodeError> {
    match wire {
        wire::ConfigOperation::Put => Ok(Operation::Put),
        wire::ConfigOperation::Delete => Ok(Operation::Delete),
        wire::ConfigOperation::Rollback => Ok(Operation::Rollback),
        wire::ConfigOperation::Release => Ok(Operation::Release),
        wire::ConfigOperation::Unspecified => Err(DecodeError::Field("operation")),
    }
}

fn wire_operation(operation: Operation) -> wire::ConfigOperation {
    match operation {
        Operation::Put => wire::ConfigOperation::Put,
        Operation::Delete => wire::ConfigOperation::Delete,
        Operation::Rollback => wire::ConfigOperation::Rollback,
        Operation::Release => wire::ConfigOperation::Release,
    }
}
