//! The store port: linearizable reads and transactions, one revision counter, leases, and watches
//! from a revision. Everything Stanchion guarantees rests on these four.
//!
//! The semantics are etcd's; `etcd` speaks to a cluster, `embedded` keeps the same promises inside
//! this process. One contract suite runs on both.

mod error;
mod page;
mod txn;
mod watch;

pub mod embedded;
pub mod etcd;

use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;

pub use self::{
    error::{Error, Outcome},
    page::PageSize,
    txn::{Compare, Operation, OperationResponse, Relation, Target, Txn, TxnResponse},
    watch::{Event, Extent, Probe, Watch, WatchItem},
};

/// A point in the store's history. Every transaction that changes something takes the next one;
/// `0` is before all of them and, in a request, means "the latest".
pub type Revision = i64;

/// The id of a lease: positive, chosen by us.
pub type LeaseId = i64;

/// The largest transaction the port accepts, in operations (compares, and operations of either
/// branch, each counted apart, nested ones against what the outer left): etcd's default limit.
pub const MAX_TXN_OPERATIONS: usize = 128;

/// The largest transaction the port accepts, in bytes of keys and values: below etcd's default
/// limit of 1.5 MiB for a request.
pub const MAX_TXN_BYTES: usize = 1024 * 1024 + 256 * 1024;

/// A store of keys with one history.
///
/// Every call may be dropped at any await point: what was sent may then still happen. Errors say
/// whether it did ([`Error::outcome`]).
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Reads keys in key order.
    ///
    /// Errors: [`Error::Compacted`] and [`Error::FutureRevision`] for a revision that is gone or
    /// not there yet.
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Error>;

    /// Compares, then carries out one of two branches, atomically and at one revision.
    ///
    /// A branch may not touch a key twice ([`Error::Invalid`]); a put under a dead lease fails the
    /// whole transaction ([`Error::LeaseNotFound`]). A transaction that changes nothing keeps the
    /// revision.
    async fn txn(&self, txn: Txn) -> Result<TxnResponse, Error>;

    /// Creates the lease `id`, or finds that it exists already. Returns the granted time to live,
    /// which is at least the store's minimum and may be longer than `ttl` (whole seconds).
    async fn grant(&self, id: LeaseId, ttl: Duration) -> Result<Duration, Error>;

    /// Renews a lease for its full time to live. Concurrent callers share a few streams to the
    /// store. A lease that is gone is [`Error::LeaseNotFound`].
    async fn keep_alive(&self, id: LeaseId) -> Result<Renewal, Error>;

    /// Ends a lease and deletes its keys in one revision. Succeeds when it is gone already.
    async fn revoke(&self, id: LeaseId) -> Result<(), Error>;

    /// Follows all keys that start with `prefix`, from the revision `from` (inclusive; `0`: from
    /// now). The watch survives lost connections by itself; it ends with an error only when it
    /// cannot go on without a gap.
    async fn watch(&self, prefix: Bytes, from: Revision) -> Result<Watch, Error>;

    /// Forgets all history before `revision`; reads and watches from before fail with
    /// [`Error::Compacted`]. Succeeds when that was done already.
    async fn compact(&self, revision: Revision) -> Result<(), Error>;

    /// Describes the store and its members as they are now.
    async fn status(&self) -> Result<Status, Error>;

    /// Says whether [`Store::keep_alive`] may succeed for a lease that is gone already, so that
    /// nothing should be granted on its word alone (an etcd with that fault). Costs nothing.
    fn doubts_renewals(&self) -> bool {
        false
    }

    /// A number that changes whenever another member may have come to lead, as far as is known by
    /// now (etcd: the raft term). Costs nothing.
    fn term(&self) -> u64 {
        0
    }
}

/// One key, or all keys from `start` up to and without `end`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyRange {
    /// The first key.
    pub start: Bytes,
    /// Where the range ends; `None`: the range is the one key `start`.
    pub end: Option<Bytes>,
}

/// Which keys to read, and as of when.
#[derive(Debug, Clone)]
pub struct RangeRequest {
    /// The keys.
    pub keys: KeyRange,
    /// At most this many, in key order; `0`: all.
    pub limit: usize,
    /// As they were at this revision; `0`: now.
    pub revision: Revision,
    /// Leaves the values out; leases may be missing then too (etcd 3.7 does not look at them).
    pub keys_only: bool,
    /// Answers the count alone.
    pub count_only: bool,
    /// May be answered by any member from what it has, without asking a quorum.
    pub serializable: bool,
}

/// The answer to a [`RangeRequest`].
#[derive(Debug, Clone, Default)]
pub struct RangeResponse {
    /// The keys found, in key order.
    pub kvs: Vec<KeyValue>,
    /// True if `limit` cut the answer short.
    pub more: bool,
    /// How many keys the range holds, `limit` aside.
    pub count: usize,
    /// The store's revision when it answered (not the one asked for).
    pub revision: Revision,
}

/// A key as it stands at some revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// The value; empty if the request asked for keys only.
    pub value: Bytes,
    /// The revision that created the key, in its present life.
    pub create_revision: Revision,
    /// The revision that last wrote the key.
    pub mod_revision: Revision,
    /// How often the key was written in its present life, from 1.
    pub version: i64,
    /// The lease it hangs on; `0`: none, or the request asked for keys only.
    pub lease: LeaseId,
}

/// A lease that was kept alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewal {
    /// The time to live it has again.
    pub ttl: Duration,
    /// The lease cannot end before `sent + ttl`, unless it is revoked. When the renewal was sent;
    /// earlier where that proves less, because it is not known that a leader of etcd still led.
    pub sent: Instant,
}

/// What a store says of itself.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// What it is.
    pub kind: Kind,
    /// The store's version; for etcd the oldest member's.
    pub version: String,
    /// What the store promises, in words for the start banner.
    pub promise: String,
    /// The members that are used.
    pub members: Vec<Member>,
    /// The current revision.
    pub revision: Revision,
    /// A number that never falls while the history goes on, and falls when the store was restored
    /// from a copy (etcd: raft applied index minus revision) or reopened (embedded: minus the
    /// number of openings). etcd shows its two parts one after the other, so that under writes the
    /// number is known only as a span; it was at least this much.
    pub timeline: i64,
    /// The number was at most this much. A fall is proven only when this is less than a
    /// [`Status::timeline`] that was noted before the call.
    pub timeline_at_most: i64,
    /// What an operator should know, such as a version with a known fault.
    pub warnings: Vec<String>,
}

/// What a store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// In this process, gone at exit.
    #[default]
    Memory,
    /// In this process, durable on its disk.
    File,
    /// An etcd cluster.
    Etcd,
}

/// One member of a store.
#[derive(Debug, Clone, Default)]
pub struct Member {
    /// How it calls itself; may be empty.
    pub name: String,
    /// Where it is reached; the directory of an embedded store.
    pub endpoint: String,
    /// Its version; empty if it did not answer.
    pub version: String,
    /// True if it leads.
    pub leader: bool,
    /// What is wrong with it, if anything.
    pub error: Option<String>,
}

// === impl KeyRange ===

impl KeyRange {
    /// The one key `key`.
    pub fn key(key: impl Into<Bytes>) -> Self {
        Self {
            start: key.into(),
            end: None,
        }
    }

    /// All keys that start with `prefix`, which must not be empty or all `0xff`.
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let start = prefix.into();
        let mut end = start.to_vec();
        while let Some(last) = end.pop() {
            if last < 0xff {
                end.push(last + 1);
                break;
            }
        }
        Self {
            start,
            end: Some(end.into()),
        }
    }

    /// All keys from `start` up to and without `end`.
    pub fn span(start: impl Into<Bytes>, end: impl Into<Bytes>) -> Self {
        Self {
            start: start.into(),
            end: Some(end.into()),
        }
    }

    /// Says whether `key` is in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        match &self.end {
            None => key == self.start,
            Some(end) => key >= self.start.as_ref() && key < end.as_ref(),
        }
    }
}

// === impl RangeRequest ===

impl RangeRequest {
    /// Reads `keys` now, all of them, linearizably.
    pub fn new(keys: KeyRange) -> Self {
        Self {
            keys,
            limit: 0,
            revision: 0,
            keys_only: false,
            count_only: false,
            serializable: false,
        }
    }

    /// Reads at most `limit` keys.
    pub fn limit(self, limit: usize) -> Self {
        Self { limit, ..self }
    }

    /// Reads as of `revision`.
    pub fn at(self, revision: Revision) -> Self {
        Self { revision, ..self }
    }

    /// Leaves the values out.
    pub fn keys_only(self) -> Self {
        Self {
            keys_only: true,
            ..self
        }
    }

    /// Answers the count alone.
    pub fn count_only(self) -> Self {
        Self {
            count_only: true,
            ..self
        }
    }

    /// Lets any member answer from what it has.
    pub fn serializable(self) -> Self {
        Self {
            serializable: true,
            ..self
        }
    }
}

// === impl Extent ===

impl Extent {
    /// Says whether a copy of the range that has applied everything up to `applied` and holds
    /// `keys` keys is what the store holds at [`Extent::revision`].
    ///
    /// Every key that is there now was last written when the copy had it, so the copy has all of
    /// them, and as many keys are no others. Not that it has been told everything: what was made
    /// and deleted again in between leaves no trace.
    pub fn is_copied(&self, applied: Revision, keys: usize) -> bool {
        applied >= self.revision || (applied >= self.newest && keys == self.count)
    }
}
