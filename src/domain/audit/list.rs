//! Looking entries up, the newest first: those that are not sealed yet, then the chain backwards.

use std::{collections::BTreeMap, time::SystemTime};

use bytes::Bytes;

use crate::{
    domain::{Error, names::Namespace, records},
    store::Revision,
};

use super::{Audit, AuditEntry, AuditOperation, Hash, SealedEntry, SubjectKind};

/// How many stretches are read at a time: at most some 2 MiB.
const SPAN: usize = 8;
/// How many stretches are looked through for one page. A page of little that is spread wide may be
/// shorter than was asked for.
const SCAN: usize = 256;
/// About how many bytes of entries a page has at most.
const BYTES: usize = 1024 * 1024;

/// Which entries to show.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// Those about things of these kinds; empty: of any.
    pub kinds: Vec<SubjectKind>,
    /// Those about this; empty: about anything.
    pub subject: String,
    /// Those about what begins so.
    pub prefix: String,
    /// Those by this actor; empty: by anybody.
    pub actor: String,
    /// Those of these deeds; empty: of any.
    pub operations: Vec<AuditOperation>,
    /// Those from then on.
    pub since: Option<SystemTime>,
    /// Those before then.
    pub until: Option<SystemTime>,
}

/// An entry and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Its number in the chain; `0`: it is not sealed yet.
    pub number: i64,
    /// The revision of the deed.
    pub revision: Revision,
    /// What it says; `None`: it cannot be read.
    pub entry: Option<AuditEntry>,
    /// The hash of the chain up to it, if it is sealed.
    pub hash: Option<Hash>,
}

/// A page of entries.
#[derive(Debug, Clone)]
pub struct AuditPage {
    /// The entries, newest first.
    pub entries: Vec<Recorded>,
    /// After which place the next page begins; `None`: this was the last one.
    pub next: Option<Place>,
    /// The revision at which it was looked.
    pub revision: Revision,
}

/// The place of an entry in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// It was not sealed: its revision and the end of its key.
    Unsealed(Revision, Bytes),
    /// It is this number of this stretch.
    Sealed(i64, i64),
}

/// A page in the making.
struct Filling {
    page: AuditPage,
    size: usize,
    bytes: usize,
    last: Option<Place>,
}

// === impl Audit ===

impl Audit {
    /// Lists entries of a namespace, newest first, at most `size` of those after a place. They are
    /// read from a quorum.
    ///
    /// Errors: those of the store, and [`Error::Internal`] where the chain is damaged.
    pub async fn list(
        &self,
        namespace: &Namespace,
        filter: &AuditFilter,
        after: Option<Place>,
        size: usize,
    ) -> Result<AuditPage, Error> {
        let mut filling = Filling::new(size);
        // Where pages are read at different times entries may have been sealed in between: what a
        // page before has shown is left out by its revision.
        let bound = match &after {
            Some(Place::Unsealed(revision, id)) => Some((*revision, id.clone())),
            _ => None,
        };
        let is_after = |revision: Revision, id: &Bytes| {
            let bound = bound.as_ref();
            bound.is_none_or(|(r, i)| (revision, id) < (*r, i))
        };
        let mut revision = 0;
        let mut from = (i64::MAX - 1, i64::MAX);
        if let Some(Place::Sealed(seal, number)) = after {
            from = (seal, number);
        } else {
            let mut newest = BTreeMap::new();
            let keys = self.core.keys.unsealed_in(namespace);
            let taken = self.core.unsealed(keys, false, 0, |kv| {
                let id = self.core.keys.parse_audit(&kv.key).map(|(_, id)| id);
                let id = id.unwrap_or_default();
                let entry = Recorded::unsealed(kv.create_revision, &kv.value);
                if is_after(kv.create_revision, &id) && filter.takes(&entry) {
                    newest.insert((kv.create_revision, id), entry);
                }
                // One more than the page holds says whether there is another page.
                if newest.len() > size + 1 {
                    newest.pop_first();
                }
            });
            revision = taken.await?;
            for ((written, id), entry) in newest.into_iter().rev() {
                if filling.is_full() {
                    return Ok(filling.cut(revision));
                }
                filling.push(Place::Unsealed(written, id), entry);
            }
        }
        let mut scanned = 0;
        loop {
            let found = self.core.seals(namespace, from.0, SPAN, revision).await?;
            for found in &found {
                let seal = found.readable()?;
                if filter.since.is_some_and(|since| seal.newest_time < since) {
                    return Ok(filling.whole(self.looked_at(revision)?));
                }
                for entry in seal.entries.iter().rev() {
                    if (found.number == from.0 && entry.number >= from.1)
                        || !is_after(entry.revision, &entry.id)
                    {
                        continue;
                    }
                    let recorded = Recorded::sealed(entry);
                    if !filter.takes(&recorded) {
                        continue;
                    }
                    if filling.is_full() {
                        return Ok(filling.cut(self.looked_at(revision)?));
                    }
                    filling.push(Place::Sealed(found.number, entry.number), recorded);
                }
            }
            scanned += found.len();
            let oldest = found.last().map_or(0, |found| found.number);
            if found.len() < SPAN || oldest <= 1 {
                return Ok(filling.whole(self.looked_at(revision)?));
            }
            from = (oldest - 1, i64::MAX);
            if scanned >= SCAN {
                filling.last = Some(Place::Sealed(from.0, from.1));
                return Ok(filling.cut(self.looked_at(revision)?));
            }
        }
    }

    /// The revision that a page shows: that of its first read, or, where only the chain was read,
    /// in which nothing changes, what is known.
    fn looked_at(&self, revision: Revision) -> Result<Revision, Error> {
        match revision {
            0 => Ok(self.core.cache.view()?.revision),
            revision => Ok(revision),
        }
    }
}

// === impl AuditFilter ===

impl AuditFilter {
    fn takes(&self, recorded: &Recorded) -> bool {
        let Some(entry) = &recorded.entry else {
            // What it would say is not known.
            return true;
        };
        let any = |wanted: &str, found: &str| wanted.is_empty() || wanted == found;
        let kind = entry.operation.subject_kind();
        (self.kinds.is_empty() || self.kinds.contains(&kind))
            && any(&self.subject, &entry.subject)
            && entry.subject.starts_with(&self.prefix)
            && any(&self.actor, entry.actor.as_str())
            && (self.operations.is_empty() || self.operations.contains(&entry.operation))
            && self.since.is_none_or(|since| entry.create_time >= since)
            && self.until.is_none_or(|until| entry.create_time < until)
    }
}

// === impl Recorded ===

impl Recorded {
    fn unsealed(revision: Revision, record: &Bytes) -> Self {
        Self {
            number: 0,
            revision,
            entry: records::audit_entry(record).ok(),
            hash: None,
        }
    }

    fn sealed(sealed: &SealedEntry) -> Self {
        Self {
            number: sealed.number,
            revision: sealed.revision,
            entry: records::audit_entry(&sealed.record).ok(),
            hash: Some(sealed.hash),
        }
    }
}

// === impl Filling ===

impl Filling {
    fn new(size: usize) -> Self {
        Self {
            page: AuditPage {
                entries: Vec::new(),
                next: None,
                revision: 0,
            },
            size,
            bytes: 0,
            last: None,
        }
    }

    fn is_full(&self) -> bool {
        self.page.entries.len() == self.size || self.bytes > BYTES
    }

    fn push(&mut self, place: Place, recorded: Recorded) {
        let entry = recorded.entry.as_ref();
        let texts = entry.map_or(0, |entry| {
            entry.subject.len() + entry.comment.len() + entry.detail.len()
        });
        self.bytes += 1024 + texts;
        self.page.entries.push(recorded);
        self.last = Some(place);
    }

    fn cut(mut self, revision: Revision) -> AuditPage {
        self.page.next = self.last;
        self.page.revision = revision;
        self.page
    }

    fn whole(mut self, revision: Revision) -> AuditPage {
        self.page.revision = revision;
        self.page
    }
}
