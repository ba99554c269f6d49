//! The stored form of drafts.

use bytes::Bytes;

use crate::{
    domain::{
        config::{Body, Draft},
        keyspace::ConfigPath,
    },
    proto::store as wire,
    store::KeyValue,
};

use super::{
    DecodeError, FORMAT,
    config::{content_type, wire_content_type},
    decode, encode, label, time,
};

/// Reads a draft.
pub fn draft(path: ConfigPath, kv: &KeyValue) -> Result<Draft, DecodeError> {
    let record: wire::ConfigDraft = decode(kv)?;
    let body = Body {
        content_type: content_type(record.content_type()),
        content: record.content,
        labels: record.labels,
        description: record.description,
    };
    Ok(Draft {
        path,
        body: (!record.deletes).then_some(body),
        base_version: record.base_version,
        actor: label(&record.author, "author")?,
        comment: record.comment,
        update_time: time(record.update_time, "update_time")?,
        request_id: record.request_id,
        format: record.format,
        revision: kv.mod_revision,
    })
}

/// Writes a draft.
pub fn encode_draft(draft: &Draft) -> Bytes {
    let body = draft.body.clone().unwrap_or_default();
    encode(&wire::ConfigDraft {
        format: FORMAT,
        deletes: draft.body.is_none(),
        content: body.content,
        content_type: wire_content_type(body.content_type).into(),
        labels: body.labels,
        description: body.description,
        base_version: draft.base_version,
        author: draft.actor.to_string(),
        comment: draft.comment.clone(),
        update_time: Some(draft.update_time.into()),
        request_id: draft.request_id.clone(),
    })
}
