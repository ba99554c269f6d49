//! From wire to domain.

use std::collections::{BTreeMap, BTreeSet};

use stanchion_client::proto::{self, watch_configs_request};
use tonic::Status;

use crate::{
    domain::{
        config::{ConfigPrefix, ConfigSelection, ContentType, Mutation},
        keyspace::ConfigPath,
        names::ConfigKey,
    },
    rpc::convert::Violations,
};

/// The longest description, in bytes.
const MAX_DESCRIPTION: usize = 1024;
/// How many labels an item may have.
const MAX_LABELS: usize = 64;
/// How many bytes its labels may have.
const MAX_LABEL_BYTES: usize = 4096;
/// How many keys a set to watch may have.
const MAX_KEYS: usize = 100;

/// What every mutation is asked with, as it came.
pub(super) struct Asked {
    pub(super) namespace: String,
    pub(super) key: String,
    pub(super) expected_version: Option<i64>,
    pub(super) request_id: String,
    pub(super) guard: Option<proto::Guard>,
    pub(super) actor: String,
    pub(super) comment: String,
}

pub(super) fn mutation(
    mut fields: Violations,
    asked: Asked,
    least: i64,
) -> Result<Mutation, Status> {
    let path = path(&mut fields, &asked.namespace, &asked.key);
    if asked
        .expected_version
        .is_some_and(|version| version < least)
    {
        fields.add("expected_version", format!("must be at least {least}"));
    }
    let request_id = fields.request_id(&asked.request_id);
    let guard = fields.guard(asked.guard, &asked.namespace);
    let actor = fields.label("actor", &asked.actor);
    let comment = fields.comment(asked.comment);
    Ok(Mutation {
        path: fields.give(path)?,
        expected_version: asked.expected_version,
        request_id,
        guard,
        actor,
        comment,
    })
}

pub(super) fn path(fields: &mut Violations, namespace: &str, key: &str) -> Option<ConfigPath> {
    let namespace = fields.namespace(namespace);
    let key = fields.take("key", ConfigKey::parse(key));
    Some(ConfigPath {
        namespace: namespace?,
        key: key?,
    })
}

pub(super) fn prefix(
    fields: &mut Violations,
    namespace: &str,
    prefix: &str,
) -> Option<ConfigSelection> {
    let namespace = fields.namespace(namespace);
    let prefix = fields.take("prefix", ConfigPrefix::parse(prefix));
    Some(ConfigSelection::Prefix(namespace?, prefix?))
}

pub(super) fn selection(
    fields: &mut Violations,
    namespace: &str,
    selection: Option<watch_configs_request::Selection>,
) -> Option<ConfigSelection> {
    use watch_configs_request::Selection;
    match selection {
        None => prefix(fields, namespace, ""),
        Some(Selection::Prefix(text)) => prefix(fields, namespace, &text),
        Some(Selection::Key(key)) => path(fields, namespace, &key).map(ConfigSelection::Key),
        Some(Selection::Keys(set)) => {
            let namespace = fields.namespace(namespace);
            let keys = keys(fields, &set.keys);
            Some(ConfigSelection::Keys(namespace?, keys))
        }
    }
}

fn keys(fields: &mut Violations, texts: &[String]) -> BTreeSet<ConfigKey> {
    if texts.is_empty() || texts.len() > MAX_KEYS {
        fields.add(
            "keys.keys",
            format!("must have 1 to {MAX_KEYS} entries, has {}", texts.len()),
        );
        return BTreeSet::new();
    }
    let numbered = texts.iter().enumerate();
    numbered
        .filter_map(|(at, key)| fields.take(&format!("keys.keys[{at}]"), ConfigKey::parse(key)))
        .collect()
}

pub(super) fn labels(
    fields: &mut Violations,
    labels: BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    fields.metadata("labels", labels, MAX_LABELS, MAX_LABEL_BYTES)
}

pub(super) fn description(fields: &mut Violations, text: String) -> String {
    fields.text("description", text, MAX_DESCRIPTION)
}

pub(super) fn positive(fields: &mut Violations, field: &str, number: i64) {
    if number <= 0 {
        fields.add(field, "must be positive");
    }
}

pub(super) fn content_type(fields: &mut Violations, wire: i32) -> ContentType {
    use proto::ContentType as Wire;
    match Wire::try_from(wire) {
        Ok(Wire::Unspecified | Wire::Text) => ContentType::Text,
        Ok(Wire::Json) => ContentType::Json,
        Ok(Wire::Yaml) => ContentType::Yaml,
        Ok(Wire::Toml) => ContentType::Toml,
        Ok(Wire::Properties) => ContentType::Properties,
        Ok(Wire::Xml) => ContentType::Xml,
        Ok(Wire::Binary) => ContentType::Binary,
        Err(_) => {
            fields.add("content_type", "is not a known value");
            ContentType::default()
        }
    }
}

pub(super) fn version_number(bytes: &[u8]) -> Option<i64> {
    Some(i64::from_be_bytes(bytes.try_into().ok()?)).filter(|version| *version > 0)
}
