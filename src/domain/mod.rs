//! The rules: names, sessions, registry, configuration, locks, and the transactions that make
//! them true in the store.
//!
//! Nothing here knows of the wire or of an adapter. A call comes in with parsed names, becomes one
//! transaction ([`Core::commit`]), and its effect comes back through the cache as [`state::State`].

pub mod audit;
pub mod barrier;
pub mod compaction;
pub mod config;
pub mod epoch;
pub mod error;
pub mod guard;
pub mod keyspace;
pub mod lock;
pub mod names;
pub mod namespace;
pub mod presence;
pub mod put;
pub mod records;
pub mod registry;
pub mod replica;
pub mod session;
pub mod session_id;
pub mod state;
pub mod watch;

mod acknowledged;
mod commit;
mod group;
mod look_back;
mod revise;
mod turnstile;

use std::{sync::Arc, time::Duration};

use sha2::{Digest, Sha256};

use crate::{clock::Clock, store::Store};

pub use self::{acknowledged::Acknowledged, error::Error, revise::Revised};

/// What every service of the domain works with.
pub struct Core {
    /// Where everything is written.
    pub store: Arc<dyn Store>,
    /// What was written, as of a moment ago.
    pub cache: state::Cache,
    /// Where things are in the store.
    pub keys: keyspace::Keyspace,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Times and bounds.
    pub settings: Settings,
    /// Who we are among the replicas.
    pub replica: names::ReplicaId,
    /// How many instances this replica removed.
    pub removals: registry::Removals,
    /// What was answered before the cache shows it.
    pub acknowledged: Acknowledged,
}

/// Times and bounds of the domain.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long a mutation, or whoever reads after it, waits until this replica's cache shows it.
    /// Default 100 ms.
    pub read_your_writes: Duration,
    /// How long a transaction is tried again while the store is away. Default 2 s: longer than etcd
    /// takes for a new leader, and less than the 3 s after which clients stop waiting, so that a
    /// caller is told how its write ended.
    pub commit_timeout: Duration,
    /// The time to live of sessions that ask for none. Default 15 s.
    pub default_ttl: Duration,
    /// The shortest time to live a session may ask for. Default 5 s.
    pub min_ttl: Duration,
    /// The longest time to live a session may ask for. Default 10 min.
    pub max_ttl: Duration,
    /// How many keys may hang on one session. Default 1 000.
    pub max_session_keys: usize,
    /// How long an instance stays SUSPECT before it is removed. Default 15 s.
    pub suspect_grace: Duration,
    /// After how long without word from the store removals are held, and graces then begin anew.
    /// Default 3 s.
    pub removal_hold: Duration,
    /// For how long after our start, a stall, an absence of the store, or a change of its leader no
    /// instance is removed. Default 15 s: the time to live that sessions have by default.
    pub expiry_hold: Duration,
    /// For how long removals are held, at most, because most sessions of a service ended. Default
    /// 10 min.
    pub brake_limit: Duration,
    /// How long it is remembered that an instance was removed. Default 5 min.
    pub tombstone_ttl: Duration,
    /// After how much more than its deadline a drain that nobody ended is ended. Default 5 s.
    pub drain_overdue: Duration,
    /// How long the next replica in rank waits before it does the work of the one before it.
    /// Default 2 s.
    pub rank_delay: Duration,
    /// How long a subscriber whose stream broke counts as one that may not know. Default 15 s.
    pub subscriber_keep: Duration,
    /// How long a drain waits for subscribers unless it says so. Default 20 s.
    pub drain_deadline: Duration,
    /// The longest a drain may wait. Default 10 min.
    pub max_drain_deadline: Duration,
    /// How often a replica reports how many of its subscribers know of a drain. Default 200 ms.
    pub drain_report_interval: Duration,
    /// How often others are asked for subscribers that a drain waits for. Default 500 ms.
    pub drain_ask_interval: Duration,
    /// The largest content of a config item, in bytes. Default 1 MiB. Every replica has what all
    /// items say now in memory.
    pub max_config_bytes: usize,
    /// The most content that is written to several config items together, in bytes. Default 1 MiB.
    pub max_commit_bytes: usize,
    /// The largest schema, in bytes. Default 64 KiB.
    pub max_schema_bytes: usize,
    /// How many schemas a namespace may have. Default 256.
    pub max_schemas: usize,
    /// How many of its newest versions a config item keeps, however old they are. Default 100.
    pub config_keep_versions: usize,
    /// How old other versions get at least before they go; `None`: they stay. Default 30 days.
    pub config_keep_age: Option<Duration>,
    /// How many versions a config item keeps at most, pinned ones apart, however young they are.
    /// Default 10 000.
    pub config_max_versions: usize,
    /// How long a deleted config item is kept with its versions; `None`: for ever. Default 180 days,
    /// as the audit of its deletion.
    pub config_keep_deleted: Option<Duration>,
    /// How often old versions are looked for. Default 10 min.
    pub config_prune_interval: Duration,
    /// How many versions of a config item may be pinned. Default 100.
    pub max_pins: usize,
    /// How long large contents are kept that no version has: those of a write that was broken off,
    /// or of versions that are gone. Default 1 h.
    pub blob_keep: Duration,
    /// How often such contents are looked for. Default 10 min.
    pub blob_sweep_interval: Duration,
    /// How many waiters a lock may have. Default 1 000.
    pub max_waiters: usize,
    /// How long the place of a broken blocking call is kept, at most; a third of the session's
    /// time to live if that is less. Default 3 s.
    pub waiter_keep: Duration,
    /// How often a stream that holds a lock or waits for one is told of the others who want it, at
    /// most. Default 500 ms: people read it.
    pub hold_interval: Duration,
    /// How long the mark of a cancelled create is kept. Default 60 s.
    pub fence_ttl: Duration,
    /// How many may wait at a barrier. Default 1 000.
    pub max_participants: usize,
    /// How long the answers of a released barrier are remembered, at least. Default 10 min.
    pub barrier_keep: Duration,
    /// How long a call that waits at a barrier leaves it to the last one that came to release all.
    /// Default 500 ms.
    pub barrier_patience: Duration,
    /// How long latches live that do not say. Default 24 h.
    pub default_latch_lifetime: Duration,
    /// The shortest lifetime a latch may have. Default 1 min.
    pub min_latch_lifetime: Duration,
    /// The longest lifetime a latch may have. Default 30 days.
    pub max_latch_lifetime: Duration,
    /// How many latches a namespace may have. Default 10 000.
    pub max_latches: usize,
    /// The time to live of this replica's presence. Default 10 s.
    pub replica_ttl: Duration,
    /// How often the audit is sealed. Default 5 s.
    pub audit_seal_interval: Duration,
    /// How long the audit is kept; `None`: for ever. Default 180 days: half a year can be looked
    /// back on, and at 1 KiB an entry a thousand changes a day take a tenth of etcd's room.
    pub audit_retention: Option<Duration>,
    /// How much history of the store is kept for old reads and watches; `None`: somebody else
    /// compacts. Default 1 h.
    pub history: Option<Duration>,
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self {
            read_your_writes: Duration::from_millis(100),
            commit_timeout: Duration::from_secs(2),
            default_ttl: Duration::from_secs(15),
            min_ttl: Duration::from_secs(5),
            max_ttl: Duration::from_secs(600),
            max_session_keys: 1000,
            suspect_grace: Duration::from_secs(15),
            removal_hold: Duration::from_secs(3),
            expiry_hold: Duration::from_secs(15),
            brake_limit: Duration::from_secs(600),
            tombstone_ttl: Duration::from_secs(300),
            drain_overdue: Duration::from_secs(5),
            rank_delay: Duration::from_secs(2),
            subscriber_keep: Duration::from_secs(15),
            drain_deadline: Duration::from_secs(20),
            max_drain_deadline: Duration::from_secs(600),
            drain_report_interval: Duration::from_millis(200),
            drain_ask_interval: Duration::from_millis(500),
            max_config_bytes: 1024 * 1024,
            max_commit_bytes: 1024 * 1024,
            max_schema_bytes: 64 * 1024,
            max_schemas: 256,
            config_keep_versions: 100,
            config_keep_age: Some(Duration::from_secs(30 * 24 * 3600)),
            config_max_versions: 10_000,
            config_keep_deleted: Some(Duration::from_secs(180 * 24 * 3600)),
            config_prune_interval: Duration::from_secs(600),
            max_pins: 100,
            blob_keep: Duration::from_secs(3600),
            blob_sweep_interval: Duration::from_secs(600),
            max_waiters: 1000,
            waiter_keep: Duration::from_secs(3),
            hold_interval: Duration::from_millis(500),
            fence_ttl: Duration::from_secs(60),
            max_participants: 1000,
            barrier_keep: Duration::from_secs(600),
            barrier_patience: Duration::from_millis(500),
            default_latch_lifetime: Duration::from_secs(24 * 3600),
            min_latch_lifetime: Duration::from_secs(60),
            max_latch_lifetime: Duration::from_secs(30 * 24 * 3600),
            max_latches: 10_000,
            replica_ttl: Duration::from_secs(10),
            audit_seal_interval: Duration::from_secs(5),
            audit_retention: Some(Duration::from_secs(180 * 24 * 3600)),
            history: Some(Duration::from_secs(3600)),
        }
    }
}

/// Writes numbers as 16 hexadecimal digits each. Every answer names an epoch, and the standard
/// library's formatting takes several times as long.
pub(crate) fn hex(numbers: &[u64]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = Vec::with_capacity(16 * numbers.len());
    for byte in numbers.iter().flat_map(|number| number.to_be_bytes()) {
        text.push(DIGITS[usize::from(byte >> 4)]);
        text.push(DIGITS[usize::from(byte & 0xf)]);
    }
    // Cannot fail: digits are text.
    String::from_utf8(text).unwrap_or_default()
}

/// The first 64 bits of SHA-256: the same on every replica and in every version, which the
/// standard library's hashes do not promise.
pub(crate) fn hash64(bytes: impl AsRef<[u8]>) -> u64 {
    let digest = Sha256::digest(bytes);
    digest
        .iter()
        .take(8)
        .fold(0, |hash, &byte| (hash << 8) | u64::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_by_the_standard_library() {
        let numbers = [0, 1, 0x0123_4567_89ab_cdef, u64::MAX];
        let standard: String = numbers.iter().map(|n| format!("{n:016x}")).collect();
        assert_eq!(hex(&numbers), standard);
    }
}
