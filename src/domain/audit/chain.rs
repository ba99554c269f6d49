//! The chain: what a hash covers, and how a break in it is found.

use std::time::SystemTime;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::{domain::names::Namespace, store::Revision};

/// A hash of the chain.
pub type Hash = [u8; 32];

/// A place in the chain: after this many entries, which hash to this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// The number of the last entry; `0`: none.
    pub number: i64,
    /// The hash of all up to it.
    pub hash: Hash,
}

/// A stretch of the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    /// Where it begins.
    pub before: Link,
    /// What is in it.
    pub entries: Vec<SealedEntry>,
    /// The latest time that an entry up to here names.
    pub newest_time: SystemTime,
    /// When it was sealed.
    pub create_time: SystemTime,
}

/// An entry in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedEntry {
    /// Its number, from 1.
    pub number: i64,
    /// The revision that wrote it.
    pub revision: Revision,
    /// The revision that wrote it last; the same, unless somebody tampered with it.
    pub mod_revision: Revision,
    /// The end of the key it had.
    pub id: Bytes,
    /// The record.
    pub record: Bytes,
    /// The hash of the chain up to it.
    pub hash: Hash,
}

/// Where the audit is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong.
    pub kind: FaultKind,
    /// The number of the entry; `0`: it has none yet.
    pub number: i64,
    /// The revision of the entry, as far as it is known.
    pub revision: Revision,
    /// What it is about, as far as that is known.
    pub subject: String,
    /// In words.
    pub description: String,
}

/// What can be wrong with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// It does not say what it said.
    Altered,
    /// It is gone.
    Missing,
    /// It was never written by a deed.
    Inserted,
}

// === impl Link ===

impl Link {
    /// Before the first entry of a namespace. No two namespaces begin alike, so that a stretch of
    /// one fits nowhere in another.
    pub fn start(namespace: &Namespace) -> Self {
        Self {
            number: 0,
            hash: Sha256::digest(namespace.as_str()).into(),
        }
    }

    /// The entry that follows.
    pub fn seal(
        &self,
        revision: Revision,
        mod_revision: Revision,
        id: Bytes,
        record: Bytes,
    ) -> SealedEntry {
        let mut entry = SealedEntry {
            number: self.number + 1,
            revision,
            mod_revision,
            id,
            record,
            hash: Hash::default(),
        };
        entry.hash = entry.hash_after(&self.hash);
        entry
    }
}

// === impl Seal ===

impl Seal {
    /// Where it ends.
    pub fn after(&self) -> Link {
        self.entries.last().map_or(self.before, SealedEntry::link)
    }

    /// Makes sure that it is whole and follows `before`; returns where it ends.
    pub fn check(&self, before: &Link) -> Result<Link, Fault> {
        if self.before.number > before.number {
            return Err(Fault::missing(before.number + 1));
        }
        if self.before != *before {
            return Err(Fault::altered(
                before.number,
                "what follows was sealed after something else",
            ));
        }
        let mut at = *before;
        for entry in &self.entries {
            let fault = |kind, description: &str| Fault {
                revision: entry.revision,
                ..Fault::new(kind, entry.number, description)
            };
            if entry.number > at.number + 1 {
                return Err(Fault::missing(at.number + 1));
            }
            if entry.number <= at.number {
                return Err(fault(FaultKind::Inserted, "it has the number of another"));
            }
            if entry.hash_after(&at.hash) != entry.hash {
                return Err(fault(FaultKind::Altered, "it does not match its hash"));
            }
            if entry.mod_revision != entry.revision {
                return Err(fault(
                    FaultKind::Altered,
                    "it was overwritten before it was sealed",
                ));
            }
            at = entry.link();
        }
        Ok(at)
    }
}

// === impl SealedEntry ===

impl SealedEntry {
    /// The place after it.
    pub fn link(&self) -> Link {
        Link {
            number: self.number,
            hash: self.hash,
        }
    }

    /// The hash of the chain up to it, given that of the entry before.
    fn hash_after(&self, before: &Hash) -> Hash {
        let mut hash = Sha256::new();
        hash.update(before);
        for number in [self.number, self.revision, self.mod_revision] {
            hash.update(number.to_be_bytes());
        }
        for bytes in [&self.id, &self.record] {
            // The length apart, so that nothing can move from one to the other.
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        }
        hash.finalize().into()
    }
}

// === impl Fault ===

impl Fault {
    pub(super) fn new(kind: FaultKind, number: i64, description: impl Into<String>) -> Self {
        Self {
            kind,
            number,
            revision: 0,
            subject: String::new(),
            description: description.into(),
        }
    }

    fn missing(number: i64) -> Self {
        Self::new(FaultKind::Missing, number, "it is not in the chain")
    }

    fn altered(number: i64, description: &str) -> Self {
        Self::new(FaultKind::Altered, number, description)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(lengths: &[usize]) -> (Link, Vec<Seal>) {
        let start = Link::start(&Namespace::parse("default").unwrap());
        let mut at = start;
        let mut revision = 10;
        let seals = lengths.iter().map(|length| {
            let before = at;
            let entries = (0..*length).map(|_| {
                revision += 2;
                let record = format!("entry {revision}").into();
                let entry = at.seal(revision, revision, "id".into(), record);
                at = entry.link();
                entry
            });
            Seal {
                before,
                entries: entries.collect(),
                newest_time: SystemTime::UNIX_EPOCH,
                create_time: SystemTime::UNIX_EPOCH,
            }
        });
        (start, seals.collect())
    }

    fn check(start: Link, seals: &[Seal]) -> Result<i64, (FaultKind, i64)> {
        let mut at = start;
        for seal in seals {
            at = seal
                .check(&at)
                .map_err(|fault| (fault.kind, fault.number))?;
        }
        Ok(at.number)
    }

    #[test]
    fn a_chain_as_it_was_sealed_has_no_fault() {
        let (start, seals) = chain(&[3, 1, 4]);
        assert_eq!(check(start, &seals), Ok(8));
        assert_eq!(seals[2].after().number, 8);
    }

    #[test]
    fn what_was_done_to_a_chain_is_found_where_it_was_done() {
        use FaultKind::{Altered, Inserted, Missing};
        let (start, good) = chain(&[3, 3, 3]);
        let with = |change: &dyn Fn(&mut Vec<Seal>)| {
            let mut seals = good.clone();
            change(&mut seals);
            check(start, &seals)
        };
        assert_eq!(
            with(&|s| s[1].entries[1].record = "other".into()),
            Err((Altered, 5))
        );
        assert_eq!(with(&|s| s[1].entries[0].revision += 1), Err((Altered, 4)));
        assert_eq!(with(&|s| drop(s[1].entries.remove(1))), Err((Missing, 5)));
        assert_eq!(with(&|s| drop(s.remove(1))), Err((Missing, 4)));
        assert_eq!(
            with(&|s| {
                let twice = s[1].entries[1].clone();
                s[1].entries.insert(1, twice);
            }),
            Err((Inserted, 5))
        );
        // Whoever computes the hashes of a stretch anew does not know what follows it.
        assert_eq!(
            with(&|s| {
                let before = s[1].entries[1].link();
                s[1].entries[2] = before.seal(99, 99, "id".into(), "other".into());
            }),
            Err((Altered, 6))
        );
    }

    #[test]
    fn an_entry_that_was_overwritten_before_it_was_sealed_is_altered() {
        let (start, mut seals) = chain(&[1]);
        seals[0].entries[0] = start.seal(12, 14, "id".into(), "other".into());
        assert_eq!(check(start, &seals), Err((FaultKind::Altered, 1)));
    }

    #[test]
    fn a_stretch_fits_in_its_own_namespace_alone() {
        let (_, seals) = chain(&[1]);
        let other = Link::start(&Namespace::parse("other").unwrap());
        assert_eq!(check(other, &seals), Err((FaultKind::Altered, 0)));
    }
}
