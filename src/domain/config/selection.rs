//! What a watch, list or get of config items is about.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;

use crate::{
    cache::Selection,
    domain::{
        hash64,
        keyspace::ConfigPath,
        names::{ConfigKey, Namespace},
        state::{Item, Kind, State, StateProjection},
    },
};

use super::{ConfigHead, ConfigPrefix};

/// Some config items of one namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigSelection {
    /// One, whether it exists or not.
    Key(ConfigPath),
    /// All whose key begins with this.
    Prefix(Namespace, ConfigPrefix),
    /// These, whether they exist or not.
    Keys(Namespace, BTreeSet<ConfigKey>),
}

// === impl ConfigSelection ===

impl ConfigSelection {
    /// Splits the path of an item of the selection's namespace off its namespace.
    fn key<'a>(&self, path: &'a [u8]) -> Option<&'a str> {
        let namespace = match self {
            Self::Key(path) => &path.namespace,
            Self::Prefix(namespace, _) | Self::Keys(namespace, _) => namespace,
        };
        let rest = path.strip_prefix(namespace.as_str().as_bytes())?;
        std::str::from_utf8(rest.strip_prefix(b"/")?).ok()
    }
}

impl Selection<StateProjection> for ConfigSelection {
    type Item = Arc<ConfigHead>;

    fn kind(&self) -> usize {
        Kind::Config as usize
    }

    fn digest(&self) -> u64 {
        // No name holds a line break, so different selections have different texts.
        let text = match self {
            Self::Key(path) => {
                ["config key", path.namespace.as_str(), path.key.as_str()].join("\n")
            }
            Self::Prefix(namespace, prefix) => {
                ["config prefix", namespace.as_str(), prefix.as_str()].join("\n")
            }
            Self::Keys(namespace, keys) => {
                let keys: Vec<&str> = keys.iter().map(ConfigKey::as_str).collect();
                ["config keys", namespace.as_str(), &keys.join("\n")].join("\n")
            }
        };
        hash64(text)
    }

    fn prefix(&self) -> Bytes {
        match self {
            Self::Key(path) => path.path().into(),
            Self::Prefix(namespace, prefix) => format!("{namespace}/{prefix}").into(),
            Self::Keys(namespace, _) => format!("{namespace}/").into(),
        }
    }

    fn covers(&self, key: &[u8]) -> bool {
        let Some(key) = self.key(key) else {
            return false;
        };
        match self {
            Self::Key(path) => key == path.key.as_str(),
            Self::Prefix(_, prefix) => key.starts_with(prefix.as_str()),
            Self::Keys(_, keys) => keys.contains(key),
        }
    }

    fn select(&self, item: &Item) -> Option<Self::Item> {
        match item {
            Item::Config(head) => Some(head.clone()),
            _ => None,
        }
    }

    fn list<'a>(
        &self,
        state: &'a State,
        after: Option<&Bytes>,
    ) -> Box<dyn Iterator<Item = (Bytes, Item)> + Send + 'a> {
        match self {
            Self::Key(path) => {
                let path = Bytes::from(path.path());
                Box::new(existing(state, path, after).into_iter())
            }
            Self::Prefix(namespace, prefix) => {
                let prefix = Bytes::from(format!("{namespace}/{prefix}"));
                Box::new(under(state, prefix, after.cloned()))
            }
            Self::Keys(namespace, keys) => {
                // At most 100 by the contract of the API.
                let found: Vec<_> = keys
                    .iter()
                    .map(|key| Bytes::from(format!("{namespace}/{key}")))
                    .filter_map(|path| existing(state, path, after))
                    .collect();
                Box::new(found.into_iter())
            }
        }
    }
}

fn existing(state: &State, path: Bytes, after: Option<&Bytes>) -> Option<(Bytes, Item)> {
    if after.is_some_and(|after| path <= *after) {
        return None;
    }
    let head = state.configs.get(&path)?;
    (!head.current.deleted).then(|| (path, Item::Config(head.clone())))
}

fn under(
    state: &State,
    prefix: Bytes,
    after: Option<Bytes>,
) -> impl Iterator<Item = (Bytes, Item)> + '_ {
    use std::ops::Bound;
    let start = match after {
        Some(after) if after >= prefix => Bound::Excluded(after),
        _ => Bound::Included(prefix.clone()),
    };
    state
        .configs
        .range((start, Bound::Unbounded))
        .take_while(move |(path, _)| path.starts_with(&prefix))
        .filter(|(_, head)| !head.current.deleted)
        .map(|(path, head)| (path.clone(), Item::Config(head.clone())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(prefix: &str) -> ConfigSelection {
        ConfigSelection::Prefix(
            Namespace::parse("default").unwrap(),
            ConfigPrefix::parse(prefix).unwrap(),
        )
    }

    #[test]
    fn a_prefix_covers_keys_of_its_own_namespace_alone() {
        assert!(selection("db/").covers(b"default/db/host"));
        assert!(selection("d").covers(b"default/db/host"));
        assert!(selection("").covers(b"default/db/host"));
        assert!(!selection("db/").covers(b"default/db"));
        assert!(!selection("db").covers(b"default2/db"));
    }

    #[test]
    fn whatever_is_covered_begins_with_the_prefix_by_which_changes_are_found() {
        let namespace = Namespace::parse("default").unwrap();
        let key = ConfigKey::parse("db/host").unwrap();
        let path = ConfigPath {
            namespace: namespace.clone(),
            key: key.clone(),
        };
        for selection in [
            selection("db/"),
            selection(""),
            ConfigSelection::Keys(namespace, BTreeSet::from([key])),
            ConfigSelection::Key(path),
        ] {
            assert!(selection.covers(b"default/db/host"));
            assert!(b"default/db/host".starts_with(&selection.prefix()));
        }
    }

    #[test]
    fn selections_that_differ_have_different_digests() {
        let namespace = Namespace::parse("default").unwrap();
        let key = ConfigKey::parse("db").unwrap();
        let keys = [
            selection("db").digest(),
            selection("").digest(),
            ConfigSelection::Keys(namespace.clone(), BTreeSet::from([key.clone()])).digest(),
            ConfigSelection::Key(ConfigPath { namespace, key }).digest(),
        ];
        assert_eq!(BTreeSet::from(keys).len(), keys.len());
    }
}
