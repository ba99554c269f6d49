//! Configs as JSON and as words.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use stanchion_client::proto::{Config, ConfigOperation, ConfigVersion, ContentType};

use crate::cli::output;

/// A config for programs. Content that is no UTF-8 is in `content_base64` instead.
pub(super) fn config(config: &Config, with_content: bool) -> Value {
    let mut value = json!({
        "namespace": config.namespace,
        "key": config.key,
        "version": config.version,
        "content_type": content_type(config.content_type()),
        "labels": config.labels,
        "description": config.description,
        "sha256": config.sha256,
        "size_bytes": config.size_bytes,
        "author": config.author,
        "comment": config.comment,
        "create_time": output::time(config.create_time),
        "operation": operation(config.operation()),
        "rollback_of": rollback_of(config.rollback_of),
        "revision": config.revision,
        "release": release(&config.release),
    });
    if with_content {
        add_content(&mut value, &config.content);
    }
    value
}

/// A version for programs.
pub(super) fn version(version: &ConfigVersion, with_content: bool) -> Value {
    let mut value = json!({
        "namespace": version.namespace,
        "key": version.key,
        "version": version.version,
        "content_type": content_type(version.content_type()),
        "labels": version.labels,
        "description": version.description,
        "sha256": version.sha256,
        "size_bytes": version.size_bytes,
        "author": version.author,
        "comment": version.comment,
        "create_time": output::time(version.create_time),
        "operation": operation(version.operation()),
        "rollback_of": rollback_of(version.rollback_of),
        "revision": version.revision,
        "release": release(&version.release),
        "pinned": version.pinned,
    });
    if with_content {
        add_content(&mut value, &version.content);
    }
    value
}

pub(super) fn operation(operation: ConfigOperation) -> String {
    output::lower(operation.as_str_name(), "CONFIG_OPERATION_")
}

pub(super) fn content_type(content_type: ContentType) -> String {
    output::lower(content_type.as_str_name(), "CONTENT_TYPE_")
}

fn rollback_of(version: i64) -> Option<i64> {
    (version != 0).then_some(version)
}

fn release(name: &str) -> Option<&str> {
    (!name.is_empty()).then_some(name)
}

pub(super) fn add_content(value: &mut Value, content: &[u8]) {
    match std::str::from_utf8(content) {
        Ok(text) => value["content"] = text.into(),
        Err(_) => value["content_base64"] = BASE64_STANDARD.encode(content).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_text_if_it_can_be() {
        let of = |content: &'static [u8]| {
            let shown = config(
                &Config {
                    content: content.into(),
                    ..Config::default()
                },
                true,
            );
            (shown["content"].clone(), shown["content_base64"].clone())
        };
        assert_eq!(of(b"a"), ("a".into(), Value::Null));
        assert_eq!(of(b"\xff"), (Value::Null, "/w==".into()));
    }
}
