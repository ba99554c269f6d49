//! From wire to domain.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use stanchion_client::proto::{self, get_config_at_request, watch_configs_request};
use tonic::Status;

use crate::{
    domain::{
        audit::Caller,
        config::{ConfigPrefix, ConfigSelection, ContentType, Expected, Moment, Mutation, Wait},
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
/// How many keys a set to watch or read may have.
const MAX_KEYS: usize = 100;
/// The longest that a read may wait for a change.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// On what terms a request asks for changes: all such requests have the same fields for that.
macro_rules! terms {
    ($fields:ident, $request:ident, $caller:expr) => {
        $crate::domain::config::Terms {
            request_id: $fields.request_id(&$request.request_id),
            guard: $fields.guard($request.guard, &$request.namespace),
            actor: $fields.label("actor", &$request.actor),
            caller: $caller,
            comment: $fields.comment($request.comment),
            validate_only: $request.validate_only,
        }
    };
}
pub(super) use terms;

/// What every mutation is asked with, as it came.
pub(super) struct Asked {
    pub(super) namespace: String,
    pub(super) key: String,
    pub(super) expected_version: Option<i64>,
    pub(super) request_id: String,
    pub(super) guard: Option<proto::Guard>,
    pub(super) actor: String,
    pub(super) caller: Caller,
    pub(super) comment: String,
    pub(super) expected_sha256: String,
    pub(super) validate_only: bool,
}

pub(super) fn mutation(
    mut fields: Violations,
    asked: Asked,
    least: i64,
) -> Result<Mutation, Status> {
    let path = path(&mut fields, &asked.namespace, &asked.key);
    let version = expected_version(
        &mut fields,
        "expected_version",
        asked.expected_version,
        least,
    );
    let checksum = checksum(&mut fields, "expected_sha256", &asked.expected_sha256);
    let terms = terms!(fields, asked, asked.caller);
    Ok(Mutation {
        path: fields.give(path)?,
        expected: Expected { version, checksum },
        terms,
    })
}

pub(super) fn expected_version(
    fields: &mut Violations,
    field: &str,
    version: Option<i64>,
    least: i64,
) -> Option<i64> {
    if version.is_some_and(|version| version < least) {
        fields.add(field, format!("must be at least {least}"));
    }
    version
}

/// A SHA-256 in hexadecimal digits; nothing means none.
pub(super) fn checksum(fields: &mut Violations, field: &str, text: &str) -> Option<[u8; 32]> {
    match text {
        "" => None,
        text => fields.sha256(field, text),
    }
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
            let keys = keys(fields, "keys.keys", &set.keys);
            Some(ConfigSelection::Keys(namespace?, keys))
        }
    }
}

pub(super) fn keys(fields: &mut Violations, field: &str, texts: &[String]) -> BTreeSet<ConfigKey> {
    if texts.is_empty() || texts.len() > MAX_KEYS {
        fields.add(
            field,
            format!("must have 1 to {MAX_KEYS} entries, has {}", texts.len()),
        );
        return BTreeSet::new();
    }
    let numbered = texts.iter().enumerate();
    numbered
        .filter_map(|(at, key)| fields.take(&format!("{field}[{at}]"), ConfigKey::parse(key)))
        .collect()
}

/// What to wait for, if for anything.
pub(super) fn wait(fields: &mut Violations, wire: Option<proto::ConfigWait>) -> Option<Wait> {
    let wire = wire?;
    let timeout = fields.duration("wait.timeout", wire.timeout);
    let timeout = timeout.filter(|timeout| !timeout.is_zero() && *timeout <= MAX_WAIT);
    if timeout.is_none() {
        fields.add("wait.timeout", "must be positive and at most 1 min");
    }
    if wire.after_version < 0 {
        fields.add("wait.after_version", "must not be negative");
    }
    Some(Wait {
        after_version: wire.after_version,
        timeout: timeout?,
    })
}

pub(super) fn moment(
    fields: &mut Violations,
    wire: Option<get_config_at_request::Moment>,
) -> Option<Moment> {
    use get_config_at_request::Moment as Wire;
    match wire {
        Some(Wire::Revision(revision)) => {
            positive(fields, "revision", revision);
            Some(Moment::Revision(revision))
        }
        Some(Wire::Time(time)) => {
            let time = SystemTime::try_from(time);
            fields.take("time", time).map(Moment::Time)
        }
        None => {
            fields.add("time", "must be set, or `revision`");
            None
        }
    }
}

pub(super) fn labels(
    fields: &mut Violations,
    field: &str,
    labels: BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    fields.metadata(field, labels, MAX_LABELS, MAX_LABEL_BYTES)
}

pub(super) fn description(fields: &mut Violations, field: &str, text: String) -> String {
    fields.text(field, text, MAX_DESCRIPTION)
}

pub(super) fn positive(fields: &mut Violations, field: &str, number: i64) {
    if number <= 0 {
        fields.add(field, "must be positive");
    }
}

pub(super) fn content_type(fields: &mut Violations, field: &str, wire: i32) -> ContentType {
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
            fields.add(field, "is not a known value");
            ContentType::default()
        }
    }
}

pub(super) fn version_number(bytes: &[u8]) -> Option<i64> {
    Some(i64::from_be_bytes(bytes.try_into().ok()?)).filter(|version| *version > 0)
}
