//! What a config says, wherever it says it: at the server, in a file, in what another system
//! exported.

use std::collections::BTreeMap;

use bytes::Bytes;
use clap::ValueEnum;
use stanchion_client::proto::{Config, ContentType};

/// The longest content a config can have.
pub(super) const MAX_CONTENT: usize = 1024 * 1024;

/// The longest key.
pub(super) const MAX_KEY: usize = 512;

/// A config without its history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) key: String,
    pub(super) content: Bytes,
    pub(super) content_type: ContentType,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) description: String,
}

/// What a content is written in.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(super) enum Type {
    #[default]
    Text,
    Json,
    Yaml,
    Toml,
    Properties,
    Xml,
    Binary,
}

// === impl Item ===

impl Item {
    /// One that says no more than its content, whose type follows from its name.
    pub(super) fn new(key: impl Into<String>, content: impl Into<Bytes>) -> Self {
        let (key, content) = (key.into(), content.into());
        Self {
            content_type: guess(&key, &content),
            key,
            content,
            labels: BTreeMap::new(),
            description: String::new(),
        }
    }
}

impl From<Config> for Item {
    fn from(config: Config) -> Self {
        Self {
            content_type: config.content_type(),
            key: config.key,
            content: config.content,
            labels: config.labels,
            description: config.description,
        }
    }
}

// === impl Type ===

impl From<Type> for ContentType {
    fn from(content_type: Type) -> Self {
        match content_type {
            Type::Text => Self::Text,
            Type::Json => Self::Json,
            Type::Yaml => Self::Yaml,
            Type::Toml => Self::Toml,
            Type::Properties => Self::Properties,
            Type::Xml => Self::Xml,
            Type::Binary => Self::Binary,
        }
    }
}

/// The type that a name and a content suggest: by the extension, else text if it is UTF-8.
pub(super) fn guess(name: &str, content: &[u8]) -> ContentType {
    let name = name.rsplit('/').next().unwrap_or(name);
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("json") => ContentType::Json,
        Some("yaml" | "yml") => ContentType::Yaml,
        Some("toml") => ContentType::Toml,
        Some("properties") => ContentType::Properties,
        Some("xml") => ContentType::Xml,
        _ if std::str::from_utf8(content).is_ok() => ContentType::Text,
        _ => ContentType::Binary,
    }
}

/// Why a text is no key, if it is none. The server has the last word; this is for names that never
/// get there.
pub(super) fn fault_of_key(key: &str) -> Option<String> {
    if key.len() > MAX_KEY {
        return Some(format!("is longer than a key may be ({MAX_KEY} bytes)"));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._:@-".contains(c);
    for segment in key.split('/') {
        if segment.is_empty() || segment == "." || segment == ".." {
            return Some(format!(
                "has the segment `{segment}`, which no key may have"
            ));
        }
        if let Some(other) = segment.chars().find(|c| !allowed(*c)) {
            return Some(format!(
                "has {other:?}, and keys are of A-Z a-z 0-9 . _ : @ - and /"
            ));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_follows_from_the_extension_and_else_from_the_bytes() {
        assert_eq!(guess("a/b.json", b"\xff"), ContentType::Json);
        assert_eq!(guess("a.json/b", b"x"), ContentType::Text);
        assert_eq!(guess("b.yml", b""), ContentType::Yaml);
        assert_eq!(guess("b.conf", b"x"), ContentType::Text);
        assert_eq!(guess("b", b"\xff"), ContentType::Binary);
    }

    #[test]
    fn what_is_no_key_is_said() {
        assert_eq!(fault_of_key("a/.b:c@d-e_f"), None);
        for bad in ["", "/a", "a//b", "a/..", "a b", "ä", &"a".repeat(513)] {
            assert!(fault_of_key(bad).is_some(), "{bad}");
        }
    }
}
