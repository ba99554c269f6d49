//! Which keys a schema covers.

use crate::domain::{
    config::ConfigPrefix,
    names::{ConfigKey, Namespace},
};

/// What ends a prefix where both are written as one text. No key has it.
const ANY: char = '*';

/// One key, or all that begin alike.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SchemaSelector {
    /// One key.
    Key(ConfigKey),
    /// All keys that begin so.
    Prefix(ConfigPrefix),
}

/// A schema within its namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SchemaPath {
    /// The namespace.
    pub namespace: Namespace,
    /// What it covers.
    pub selector: SchemaSelector,
}

// === impl SchemaSelector ===

impl SchemaSelector {
    /// Whether it covers a key.
    pub fn covers(&self, key: &ConfigKey) -> bool {
        match self {
            Self::Key(own) => own == key,
            Self::Prefix(prefix) => key.as_str().starts_with(prefix.as_str()),
        }
    }
}

impl std::fmt::Display for SchemaSelector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Key(key) => write!(f, "{key}"),
            Self::Prefix(prefix) => write!(f, "{prefix}{ANY}"),
        }
    }
}

// === impl SchemaPath ===

impl SchemaPath {
    /// `namespace/key` or `namespace/prefix*`.
    pub fn path(&self) -> String {
        format!("{}/{}", self.namespace, self.selector)
    }

    /// Reads a path.
    pub fn parse(path: &str) -> Option<Self> {
        let (namespace, selector) = path.split_once('/')?;
        Some(Self {
            namespace: Namespace::parse(namespace).ok()?,
            selector: match selector.strip_suffix(ANY) {
                Some(prefix) => SchemaSelector::Prefix(ConfigPrefix::parse(prefix).ok()?),
                None => SchemaSelector::Key(ConfigKey::parse(selector).ok()?),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_read_back_as_what_it_was_written_for() {
        for path in ["default/db/host", "default/db/*", "default/d*", "default/*"] {
            assert_eq!(SchemaPath::parse(path).unwrap().path(), path);
        }
        for bad in ["default", "default/", "default/a//b", "default/*a", "/a"] {
            assert!(SchemaPath::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_prefix_covers_whatever_begins_so_and_a_key_itself_alone() {
        let covers = |selector: &str, key: &str| {
            let path = SchemaPath::parse(&format!("default/{selector}")).unwrap();
            path.selector.covers(&ConfigKey::parse(key).unwrap())
        };
        assert!(covers("db/host", "db/host") && !covers("db/host", "db/host/a"));
        assert!(covers("db/*", "db/host") && !covers("db/*", "db"));
        assert!(covers("d*", "db") && covers("*", "db"));
    }
}
