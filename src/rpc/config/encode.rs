//! From domain to wire.

use std::sync::Arc;

use bytes::Bytes;
use stanchion_client::proto::{self, Config};

use crate::{
    domain::{
        config::{ConfigHead, ConfigVersion, ContentType, Operation, Written},
        keyspace::ConfigPath,
        names::ReleaseName,
    },
    rpc::page,
};

/// The answer to a mutation, without the content, which the caller knows.
pub(super) fn answer(path: &ConfigPath, written: Written) -> Config {
    config(path, &written.version, false)
}

pub(super) fn whole(head: &Arc<ConfigHead>) -> Config {
    config(&head.path, &head.current, true)
}

pub(super) fn config(path: &ConfigPath, version: &ConfigVersion, content: bool) -> Config {
    let content = if content {
        version.body.content.clone()
    } else {
        Bytes::new()
    };
    // Whether it is pinned, a config does not say.
    let version = config_version(path, version, false);
    Config {
        content,
        namespace: version.namespace,
        key: version.key,
        version: version.version,
        content_type: version.content_type,
        labels: version.labels,
        description: version.description,
        sha256: version.sha256,
        size_bytes: version.size_bytes,
        author: version.author,
        comment: version.comment,
        create_time: version.create_time,
        operation: version.operation,
        rollback_of: version.rollback_of,
        revision: version.revision,
        release: version.release,
    }
}

/// A version with its content.
pub(super) fn whole_version(
    path: &ConfigPath,
    version: &ConfigVersion,
    pinned: bool,
) -> proto::ConfigVersion {
    proto::ConfigVersion {
        content: version.body.content.clone(),
        ..config_version(path, version, pinned)
    }
}

/// A version without its content.
pub(super) fn config_version(
    path: &ConfigPath,
    version: &ConfigVersion,
    pinned: bool,
) -> proto::ConfigVersion {
    let body = &version.body;
    proto::ConfigVersion {
        namespace: path.namespace.to_string(),
        key: path.key.to_string(),
        version: version.version,
        content: Bytes::new(),
        content_type: wire_content_type(body.content_type).into(),
        labels: body.labels.clone(),
        description: body.description.clone(),
        sha256: if version.deleted {
            String::new()
        } else {
            page::hex(&version.checksum)
        },
        size_bytes: i64::try_from(version.size).unwrap_or(i64::MAX),
        author: version.actor.to_string(),
        comment: version.comment.clone(),
        create_time: Some(version.create_time.into()),
        operation: wire_operation(version.operation).into(),
        rollback_of: version.rollback_of,
        revision: version.revision,
        release: name_of(version.release.as_ref()),
        pinned,
    }
}

/// The name of a release, or nothing.
pub(super) fn name_of(release: Option<&ReleaseName>) -> String {
    release.map_or(String::new(), ReleaseName::to_string)
}

pub(super) fn wire_content_type(content_type: ContentType) -> proto::ContentType {
    match content_type {
        ContentType::Text => proto::ContentType::Text,
        ContentType::Json => proto::ContentType::Json,
        ContentType::Yaml => proto::ContentType::Yaml,
        ContentType::Toml => proto::ContentType::Toml,
        ContentType::Properties => proto::ContentType::Properties,
        ContentType::Xml => proto::ContentType::Xml,
        ContentType::Binary => proto::ContentType::Binary,
    }
}

fn wire_operation(operation: Operation) -> proto::ConfigOperation {
    match operation {
        Operation::Put => proto::ConfigOperation::Put,
        Operation::Delete => proto::ConfigOperation::Delete,
        Operation::Rollback => proto::ConfigOperation::Rollback,
        Operation::Release => proto::ConfigOperation::Release,
    }
}
