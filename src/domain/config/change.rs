//! What is asked of the writer: changes of items, what must be so for them, and on what terms.

use sha2::{Digest, Sha256};

use crate::{
    domain::{
        audit::Caller,
        guard::Guard,
        keyspace::{ConfigPath, ReleasePath},
        names::{Label, ReleaseName},
    },
    store::Revision,
};

use super::{Body, Operation};

/// What every change is asked with, however many items it is about.
#[derive(Debug, Clone, Default)]
pub struct Terms {
    /// The name of the request; empty: none.
    pub request_id: String,
    /// The lock that must be held.
    pub guard: Option<Guard>,
    /// Who asks, unverified.
    pub actor: Label,
    /// Whom the call came from.
    pub caller: Caller,
    /// Why, in the asker's words.
    pub comment: String,
    /// Whether it is only asked what would come of it.
    pub validate_only: bool,
}

// === impl Terms ===

impl Terms {
    /// The name of the request, or one that nobody else has: no two records about to be written may
    /// look alike, because each recognises its own by that.
    pub(super) fn distinct_id(&self) -> String {
        match &self.request_id[..] {
            "" => format!("{:032x}", rand::random::<u128>()),
            request_id => request_id.into(),
        }
    }
}

/// What an item must be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Expected {
    /// The version it must have, `0`: it must not be there. A deleted item has the version `0` as
    /// well as that of its deletion.
    pub version: Option<i64>,
    /// SHA-256 of the content it must have.
    pub checksum: Option<[u8; 32]>,
}

/// What a change of one item is asked with.
#[derive(Debug, Clone)]
pub struct Mutation {
    /// The item.
    pub path: ConfigPath,
    /// What it must be.
    pub expected: Expected,
    /// The rest.
    pub terms: Terms,
}

/// What is to become of an item.
#[derive(Debug, Clone)]
pub enum Change {
    /// It says this.
    Put(Body),
    /// It is gone.
    Delete,
    /// It says what this version says.
    Rollback(i64),
}

/// One item of those that are changed together.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The item.
    pub path: ConfigPath,
    /// What it must be.
    pub expected: Expected,
    /// What is to become of it; `None`: it only has to be as expected.
    pub change: Option<Change>,
    /// The draft that says what is to become of it.
    pub draft: Option<DraftRef>,
}

/// A draft that is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DraftRef {
    /// The revision that last put it; `0`: any will do.
    pub revision: Revision,
}

/// Changes that happen together or not at all.
#[derive(Debug)]
pub(super) struct Order {
    /// No two of one item.
    pub(super) entries: Vec<Entry>,
    pub(super) terms: Terms,
    /// Tells a repetition from another request under the same id.
    pub(super) digest: [u8; 32],
    /// Whether the request lists its changes, however many: errors say which they mean.
    pub(super) listed: bool,
    /// The release that they are.
    pub(super) release: Option<Publication>,
}

/// What is to be published.
#[derive(Debug, Clone)]
pub(super) struct Publication {
    pub(super) path: ReleasePath,
    /// The release that it rolls back.
    pub(super) rollback_of: Option<ReleaseName>,
}

// === impl Change ===

impl Change {
    pub(super) fn operation(&self) -> Operation {
        match self {
            Self::Put(_) => Operation::Put,
            Self::Delete => Operation::Delete,
            Self::Rollback(_) => Operation::Rollback,
        }
    }
}

// === impl Order ===

impl Order {
    /// The change of one item.
    pub(super) fn single(mutation: Mutation, change: Change) -> Self {
        let entries = vec![Entry {
            path: mutation.path,
            expected: mutation.expected,
            change: Some(change),
            draft: None,
        }];
        Self {
            listed: false,
            ..Self::listed(entries, mutation.terms)
        }
    }

    /// Changes of several items.
    pub(super) fn listed(entries: Vec<Entry>, terms: Terms) -> Self {
        Self {
            digest: digest(&entries, &terms, &[]),
            entries,
            terms,
            listed: true,
            release: None,
        }
    }
}

/// SHA-256 over what is asked for. The guard is not part of it: who repeats a request may hold the
/// lock under another token by then.
pub(super) fn digest(entries: &[Entry], terms: &Terms, more: &[&[u8]]) -> [u8; 32] {
    let mut parts = Parts(Sha256::new());
    for entry in entries {
        parts.add(entry.path.path().as_bytes());
        parts.expected(&entry.expected);
        if let Some(draft) = entry.draft {
            parts.add(b"draft");
            parts.add(&draft.revision.to_be_bytes());
        }
        match &entry.change {
            None => parts.add(b"expect"),
            Some(change) => parts.change(change),
        }
    }
    parts.add(terms.actor.as_str().as_bytes());
    parts.add(terms.comment.as_bytes());
    for part in more {
        parts.add(part);
    }
    parts.0.finalize().into()
}

/// A digest of a list of parts.
struct Parts(Sha256);

// === impl Parts ===

impl Parts {
    fn add(&mut self, bytes: &[u8]) {
        // The length apart, so that no two lists of parts look the same.
        self.0.update(bytes.len().to_be_bytes());
        self.0.update(bytes);
    }

    fn expected(&mut self, expected: &Expected) {
        match expected.version {
            None => self.add(b""),
            Some(version) => self.add(&version.to_be_bytes()),
        }
        match &expected.checksum {
            None => self.add(b""),
            Some(checksum) => self.add(checksum),
        }
    }

    fn change(&mut self, change: &Change) {
        match change {
            Change::Put(body) => {
                self.add(b"put");
                self.add(&body.content);
                self.add(&[body.content_type as u8]);
                self.add(body.description.as_bytes());
                self.add(&body.labels.len().to_be_bytes());
                for (key, value) in &body.labels {
                    self.add(key.as_bytes());
                    self.add(value.as_bytes());
                }
            }
            Change::Delete => self.add(b"delete"),
            Change::Rollback(to) => {
                self.add(b"rollback");
                self.add(&to.to_be_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::domain::names::{ConfigKey, Namespace};

    fn entry(key: &str, version: Option<i64>, change: Option<Change>) -> Entry {
        Entry {
            path: ConfigPath {
                namespace: Namespace::parse("default").unwrap(),
                key: ConfigKey::parse(key).unwrap(),
            },
            expected: Expected {
                version,
                checksum: None,
            },
            change,
            draft: None,
        }
    }

    #[test]
    fn requests_that_ask_for_different_things_have_different_digests() {
        let of = |comment: &str, entries: Vec<Entry>| {
            let terms = Terms {
                request_id: "r".into(),
                comment: comment.into(),
                ..Terms::default()
            };
            digest(&entries, &terms, &[])
        };
        let put = |label: &str, value: &str, description: &str| {
            Some(Change::Put(Body {
                labels: BTreeMap::from([(label.into(), value.into())]),
                description: description.into(),
                ..Body::default()
            }))
        };
        let mut checked = entry("db", None, Some(Change::Delete));
        checked.expected.checksum = Some([7; 32]);
        let deletion = |key: &str| entry(key, None, Some(Change::Delete));
        let digests = [
            of("", vec![entry("db", None, put("a", "bc", ""))]),
            of("", vec![entry("db", None, put("ab", "c", ""))]),
            of("", vec![entry("db", None, put("a", "b", "c"))]),
            of("", vec![entry("db", None, put("a", "b", ""))]),
            of("c", vec![entry("db", None, put("a", "b", ""))]),
            of("", vec![entry("db", Some(0), put("a", "b", ""))]),
            of("", vec![entry("db", Some(0), None)]),
            of("", vec![deletion("db")]),
            of("", vec![checked]),
            of("", vec![deletion("dc")]),
            of("", vec![deletion("db"), deletion("dc")]),
            of("", vec![entry("db", None, Some(Change::Rollback(1)))]),
            of("", vec![entry("db", None, Some(Change::Rollback(2)))]),
        ];
        assert_eq!(BTreeSet::from(digests).len(), digests.len());
    }
}
