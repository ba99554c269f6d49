//! Changes of several configs, from flags or a file.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use clap::Args;
use serde_json::{Map, Value};
use stanchion_client::proto::{
    ConfigChange, ConfigDelete, ConfigPut, ConfigRollback, ContentType, config_change::Change,
};

use super::item::guess;
use crate::cli::{failure::Failure, parse};

/// What to change, and what to expect.
#[derive(Debug, Args)]
pub(crate) struct ChangeArgs {
    /// Writes a text, without labels and description; may be repeated, as all of these
    #[arg(long = "put", value_parser = parse::pair, value_name = "KEY=CONTENT")]
    puts: Vec<(String, String)>,

    /// Writes what a file says; the type is that of its name, such as `.json`
    #[arg(long = "put-file", value_parser = parse::pair, value_name = "KEY=PATH")]
    files: Vec<(String, String)>,

    /// Deletes a config
    #[arg(long = "delete", value_name = "KEY")]
    deletions: Vec<String>,

    /// Returns to an earlier version
    #[arg(long = "rollback", value_parser = number, value_name = "KEY=VERSION")]
    rollbacks: Vec<(String, i64)>,

    /// Version a config must have now, changed or not; 0 means that it must not exist
    #[arg(long = "expect", value_parser = number, value_name = "KEY=VERSION")]
    expected: Vec<(String, i64)>,

    /// Reads changes from a JSON file: a list of `{"key": …}` with `content` or `content_base64`,
    /// `content_type`, `labels`, `description`; or `"delete": true`; or `"rollback": VERSION`; and
    /// `expected_version`, `expected_sha256`
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
}

// === impl ChangeArgs ===

impl ChangeArgs {
    /// The changes, one for each key.
    pub(crate) async fn read(self) -> Result<Vec<ConfigChange>, Failure> {
        let mut changes = Vec::new();
        if let Some(path) = self.file {
            let bytes = read_file(&path).await?;
            let name = path.display();
            let parsed = parse_list(&bytes);
            changes = parsed.map_err(|error| Failure::usage(format!("{name}: {error}")))?;
        }
        for (key, content) in self.puts {
            let put = ConfigPut {
                content: content.into(),
                ..ConfigPut::default()
            };
            set(&mut changes, key, Change::Put(put))?;
        }
        for (key, path) in self.files {
            let path = PathBuf::from(path);
            let content = read_file(&path).await?;
            let put = ConfigPut {
                content_type: guess(&path.to_string_lossy(), &content).into(),
                content: content.into(),
                ..ConfigPut::default()
            };
            set(&mut changes, key, Change::Put(put))?;
        }
        for key in self.deletions {
            set(&mut changes, key, Change::Delete(ConfigDelete {}))?;
        }
        for (key, version) in self.rollbacks {
            set(
                &mut changes,
                key,
                Change::Rollback(ConfigRollback { version }),
            )?;
        }
        for (key, version) in self.expected {
            at(&mut changes, key).expected_version = Some(version);
        }
        Ok(changes)
    }
}

pub(super) fn set(
    changes: &mut Vec<ConfigChange>,
    key: String,
    change: Change,
) -> Result<(), Failure> {
    let entry = at(changes, key);
    if entry.change.replace(change).is_some() {
        let key = &entry.key;
        return Err(Failure::usage(format!("{key} is to be changed twice")));
    }
    Ok(())
}

/// What is said of a key so far.
pub(super) fn at(changes: &mut Vec<ConfigChange>, key: String) -> &mut ConfigChange {
    let known = changes.iter().position(|change| change.key == key);
    let known = known.unwrap_or_else(|| {
        changes.push(ConfigChange {
            key,
            ..ConfigChange::default()
        });
        changes.len() - 1
    });
    &mut changes[known]
}

fn parse_list(bytes: &[u8]) -> Result<Vec<ConfigChange>, String> {
    let list: Vec<Map<String, Value>> =
        serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let numbered = list.into_iter().enumerate();
    let parsed = numbered
        .map(|(at, fields)| parse_one(fields).map_err(|error| format!("change {at}: {error}")));
    parsed.collect()
}

fn parse_one(mut fields: Map<String, Value>) -> Result<ConfigChange, String> {
    let mut change = ConfigChange {
        key: take(&mut fields, "key")?.ok_or("has no key")?,
        expected_version: take(&mut fields, "expected_version")?,
        expected_sha256: take(&mut fields, "expected_sha256")?.unwrap_or_default(),
        change: None,
    };
    let text: Option<String> = take(&mut fields, "content")?;
    let base64: Option<String> = take(&mut fields, "content_base64")?;
    let bytes = match base64 {
        None => None,
        Some(text) => Some(
            BASE64_STANDARD
                .decode(text)
                .map_err(|error| error.to_string())?,
        ),
    };
    let delete: bool = take(&mut fields, "delete")?.unwrap_or_default();
    let rollback: Option<i64> = take(&mut fields, "rollback")?;
    change.change = match (text.map(String::into_bytes), bytes, delete, rollback) {
        (Some(content), None, false, None) | (None, Some(content), false, None) => {
            let labels: Option<BTreeMap<String, String>> = take(&mut fields, "labels")?;
            let content_type: Option<String> = take(&mut fields, "content_type")?;
            Some(Change::Put(ConfigPut {
                content: content.into(),
                content_type: content_type.map_or(Ok(ContentType::Text), named)?.into(),
                labels: labels.unwrap_or_default(),
                description: take(&mut fields, "description")?.unwrap_or_default(),
            }))
        }
        (None, None, true, None) => Some(Change::Delete(ConfigDelete {})),
        (None, None, false, Some(version)) => Some(Change::Rollback(ConfigRollback { version })),
        (None, None, false, None) => None,
        _ => return Err("says more than one thing to do".into()),
    };
    match fields.keys().next() {
        Some(unknown) => Err(format!("`{unknown}` has no meaning there")),
        None => Ok(change),
    }
}

fn take<T: serde::de::DeserializeOwned>(
    fields: &mut Map<String, Value>,
    name: &str,
) -> Result<Option<T>, String> {
    let value = fields.remove(name).map(serde_json::from_value).transpose();
    value.map_err(|error| format!("{name}: {error}"))
}

fn named(name: String) -> Result<ContentType, String> {
    let full = format!("CONTENT_TYPE_{}", name.to_uppercase());
    ContentType::from_str_name(&full).ok_or_else(|| format!("`{name}` is no content type"))
}

/// What a file says.
pub(super) async fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    let read = tokio::fs::read(path).await;
    read.map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))
}

fn number(text: &str) -> Result<(String, i64), String> {
    let (key, number) = parse::pair(text)?;
    let number = number
        .parse()
        .map_err(|_| format!("`{number}` is no version"))?;
    Ok((key, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_what_becomes_of_each_key() {
        let parsed = parse_list(
            br#"[{"key": "a", "content": "1", "content_type": "json", "expected_version": 0},
                 {"key": "b", "delete": true}, {"key": "c", "rollback": 3},
                 {"key": "d", "content_base64": "/w=="}, {"key": "e", "expected_version": 7}]"#,
        );
        let parsed = parsed.unwrap();
        assert_eq!(parsed[0].expected_version, Some(0));
        let Some(Change::Put(put)) = &parsed[0].change else {
            panic!("{parsed:?}");
        };
        assert_eq!(
            (&put.content[..], put.content_type()),
            (&b"1"[..], ContentType::Json)
        );
        assert_eq!(parsed[1].change, Some(Change::Delete(ConfigDelete {})));
        let rollback = ConfigRollback { version: 3 };
        assert_eq!(parsed[2].change, Some(Change::Rollback(rollback)));
        assert!(matches!(&parsed[3].change, Some(Change::Put(put)) if put.content == b"\xff"[..]));
        assert_eq!(parsed[4].change, None);
    }

    #[test]
    fn a_file_that_says_too_much_or_too_little_is_refused() {
        for bad in [
            r#"{"key": "a"}"#,
            r#"[{"content": "1"}]"#,
            r#"[{"key": "a", "content": "1", "delete": true}]"#,
            r#"[{"key": "a", "delete": true, "labels": {}}]"#,
            r#"[{"key": "a", "content": "1", "content_type": "klingon"}]"#,
            r#"[{"key": "a", "contents": "1"}]"#,
        ] {
            assert!(parse_list(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
