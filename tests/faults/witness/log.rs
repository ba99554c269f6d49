//! What one member of etcd told of its history.

use std::{collections::BTreeMap, time::Instant};

use bytes::Bytes;
use etcd_client::proto::{PbEvent, PbKeyValue};

/// The value of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    pub value: Bytes,
    pub create_revision: i64,
    pub mod_revision: i64,
    pub version: i64,
    pub lease: i64,
}

/// What happened to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub key: Bytes,
    /// What it holds now; `None` if it was deleted.
    pub put: Option<Put>,
}

/// What one revision did.
#[derive(Debug, Clone)]
pub struct Revision {
    pub changes: Vec<Change>,
    /// When it was heard of.
    pub at: Instant,
    /// When the first member told of it, of those that were asked.
    pub first: Instant,
}

/// What one member told.
#[derive(Debug, Clone, Default)]
pub struct Log {
    /// What there was when it began.
    pub base: BTreeMap<Bytes, Put>,
    /// The revision of that.
    pub start: i64,
    pub revisions: BTreeMap<i64, Revision>,
    /// Up to here, everything was told.
    pub complete: i64,
    /// What was compacted before it was told: from the first through the second revision.
    pub holes: Vec<(i64, i64)>,
    /// What etcd must not do.
    pub faults: Vec<String>,
}

// === impl Log ===

impl Log {
    /// Says whether nothing was told yet.
    pub fn is_empty(&self) -> bool {
        self.complete == 0 && self.holes.is_empty()
    }

    /// Begins with what there is at `revision`.
    pub fn begin(&mut self, revision: i64, kvs: impl IntoIterator<Item = PbKeyValue>) {
        self.base = kvs.into_iter().map(key_and_put).collect();
        self.start = revision;
        self.complete = revision;
    }

    /// Notes the events of one message. etcd cuts no revision in two that asks for no fragments.
    pub fn events(&mut self, events: Vec<PbEvent>, at: Instant) {
        let known = self.complete;
        for event in events {
            let deleted = event.r#type == 1;
            let Some(kv) = event.kv else {
                self.faults.push("an event has no key".into());
                continue;
            };
            let revision = kv.mod_revision;
            if revision <= known || revision < self.complete {
                let fault = format!(
                    "revision {revision} came after {}",
                    self.complete.max(known)
                );
                self.faults.push(fault);
                continue;
            }
            self.complete = revision;
            let (key, put) = key_and_put(kv);
            let told = self.revisions.entry(revision).or_insert_with(|| Revision {
                changes: Vec::new(),
                at,
                first: at,
            });
            told.changes.push(Change {
                key,
                put: (!deleted).then_some(put),
            });
        }
    }

    /// Notes that everything up to `revision` was told.
    pub fn progress(&mut self, revision: i64) {
        self.complete = self.complete.max(revision);
    }

    /// Notes that what came up to `revision` is lost.
    pub fn compacted(&mut self, revision: i64) {
        if revision > self.complete {
            self.holes.push((self.complete + 1, revision));
            self.complete = revision;
        }
    }

    /// Says whether it knows what `revision` did.
    pub fn covers(&self, revision: i64) -> bool {
        let inside = |hole: &(i64, i64)| (hole.0..=hole.1).contains(&revision);
        (self.start + 1..=self.complete).contains(&revision) && !self.holes.iter().any(inside)
    }
}

fn key_and_put(kv: PbKeyValue) -> (Bytes, Put) {
    let put = Put {
        value: kv.value.into(),
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        lease: kv.lease,
    };
    (kv.key.into(), put)
}
