//! The list of all settings.

use std::{ops::RangeInclusive, time::Duration};

use super::{Settings, SettingsError, value::Value};

/// One setting.
pub struct Knob {
    /// Its key in the file; `_` for `.` and upper case after `STANCHION_` in the environment, `-`
    /// for both as a flag.
    pub key: &'static str,
    /// What it is for.
    pub doc: &'static str,
    /// What `--help` calls its value.
    pub value_name: &'static str,
    /// Its range, in words; empty if any value will do.
    pub range: fn() -> String,
    set: fn(&mut Settings, &str) -> Result<(), String>,
    print: fn(&Settings) -> String,
    toml: fn(&Settings) -> String,
    in_range: fn(&Settings) -> bool,
}

const MS: Duration = Duration::from_millis(1);
const SEC: Duration = Duration::from_secs(1);
const MIN: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const KIB: usize = 1024;
const MIB: usize = 1024 * 1024;

/// A range as `--help` writes it; nothing where there is none.
fn words<V: Value, const N: usize>(range: [RangeInclusive<V>; N]) -> String {
    range.first().map_or_else(String::new, |range| {
        format!("{} to {}", range.start().print(), range.end().print())
    })
}

fn in_range<V: PartialOrd, const N: usize>(value: &V, range: [RangeInclusive<V>; N]) -> bool {
    range.first().is_none_or(|range| range.contains(value))
}

macro_rules! knobs {
    ($($key:literal: $type:ty = $($field:ident).+ $(, $range:expr)?; $doc:literal)*) => {
        /// Every setting, in the order in which they are shown.
        pub const KNOBS: &[Knob] = &[$(
            Knob {
                key: $key,
                doc: $doc,
                value_name: <$type as Value>::NAME,
                range: || words::<$type, _>([$($range)?]),
                set: |settings, text| {
                    settings.$($field).+ = <$type as Value>::parse(text)?;
                    Ok(())
                },
                print: |settings| settings.$($field).+.print(),
                toml: |settings| settings.$($field).+.toml(),
                in_range: |settings| in_range::<$type, _>(&settings.$($field).+, [$($range)?]),
            },
        )*];
    };
}

knobs! {
    "store": super::StoreChoice = store;
    "Where the data is: file:DIR (embedded, durable), memory: (embedded, gone at exit) or etcd://host:port,host:port/ROOT; etcds://… is etcd over TLS"
    "listen": std::net::SocketAddr = listen;
    "Where gRPC is served"
    "advertise": String = advertise;
    "Where other replicas reach this one, as host:port; empty: where gRPC is served"
    "operations_listen": std::net::SocketAddr = operations_listen;
    "Where /metrics, /livez and /readyz are served over HTTP"
    "insecure_i_know": bool = insecure_i_know;
    "Serves beyond loopback although there is no TLS and no authentication"
    "allow_old_etcd": bool = etcd.allow_old;
    "Uses an etcd older than 3.5.13 too, which can lose events; linearizable reads then cost more"
    "wait_for_store": bool = wait_for_store;
    "Waits at start until the store can be reached, instead of exiting with 69"
    "start_timeout": Duration = start_timeout, 100 * MS..=HOUR;
    "How long reading the store may take at start, unless it is waited for"
    "shutdown_timeout": Duration = shutdown_timeout, 100 * MS..=10 * MIN;
    "How long a shutdown may take before connections are cut"

    "session.default_ttl": Duration = domain.default_ttl, SEC..=24 * HOUR;
    "Time to live of sessions that ask for none"
    "session.min_ttl": Duration = domain.min_ttl, SEC..=24 * HOUR;
    "Shortest time to live a session may ask for"
    "session.max_ttl": Duration = domain.max_ttl, SEC..=24 * HOUR;
    "Longest time to live a session may ask for"
    "session.max_keys": usize = domain.max_session_keys, 1..=100_000;
    "How many instances, queue places and places at barriers may hang on one session"
    "registry.suspect_grace": Duration = domain.suspect_grace, 100 * MS..=24 * HOUR;
    "How long an instance stays SUSPECT after its session's end before it is removed"
    "registry.removal_hold": Duration = domain.removal_hold, 100 * MS..=10 * MIN;
    "After how long without word from the store removals are held, and graces then begin anew"
    "registry.expiry_hold": Duration = domain.expiry_hold, Duration::ZERO..=24 * HOUR;
    "For how long after the start, a stall, an absence of the store or a change of its leader no instance is removed"
    "registry.brake_limit": Duration = domain.brake_limit, 100 * MS..=24 * HOUR;
    "For how long removals are held, at most, because most sessions of a service ended"
    "registry.tombstone_ttl": Duration = domain.tombstone_ttl, SEC..=24 * HOUR;
    "How long it is remembered that an instance was removed"
    "registry.drain_overdue": Duration = domain.drain_overdue, 100 * MS..=HOUR;
    "How long after its deadline a drain that nobody ended is ended"
    "registry.subscriber_keep": Duration = domain.subscriber_keep, 100 * MS..=10 * MIN;
    "How long a watch whose connection was lost counts as one that may not know of a drain"
    "checks.concurrency": usize = checks.concurrency, 1..=100_000;
    "How many checks of instances are made at once"
    "checks.allow_link_local": bool = checks.allow_link_local;
    "Checks link-local and cloud metadata addresses too: whoever may register can then have them asked"
    "checks.ca_file": String = checks.ca_file;
    "Certificates that vouch for what is checked over TLS, in PEM, read at start; empty: those the system trusts"
    "drain.deadline": Duration = domain.drain_deadline, SEC..=24 * HOUR;
    "How long a drain waits for subscribers unless it says so"
    "drain.max_deadline": Duration = domain.max_drain_deadline, SEC..=24 * HOUR;
    "Longest a drain may wait for subscribers"
    "drain.report_interval": Duration = domain.drain_report_interval, 10 * MS..=MIN;
    "How often a replica reports how many of its subscribers know of a drain"
    "drain.ask_interval": Duration = domain.drain_ask_interval, 10 * MS..=MIN;
    "How often other replicas are asked for subscribers that a drain waits for"
    "config.max_bytes": usize = domain.max_config_bytes, KIB..=MIB;
    "Largest content of a config item, in bytes; every replica has what all of them say now in memory"
    "config.max_commit_bytes": usize = domain.max_commit_bytes, KIB..=MIB;
    "Most content that one commit or release writes, in bytes"
    "config.max_schema_bytes": usize = domain.max_schema_bytes, KIB..=256 * KIB;
    "Largest schema, in bytes"
    "config.max_schemas": usize = domain.max_schemas, 1..=10_000;
    "How many schemas a namespace may have"
    "config.keep_versions": usize = domain.config_keep_versions, 16..=10_000;
    "How many of its newest versions a config keeps, however old they are; a repeated request finds what it made among the newest 16"
    "config.keep_age": Option<Duration> = domain.config_keep_age;
    "How old other versions get at least before they go; off: they stay"
    "config.max_versions": usize = domain.config_max_versions, 16..=1_000_000;
    "How many versions a config keeps at most, pinned ones apart, however young they are"
    "config.keep_deleted": Option<Duration> = domain.config_keep_deleted;
    "How long a deleted config is kept with its versions, pinned ones apart; off: for ever"
    "config.prune_interval": Duration = domain.config_prune_interval, SEC..=24 * HOUR;
    "How often old versions are looked for"
    "config.max_pins": usize = domain.max_pins, 1..=1000;
    "How many versions of a config may be pinned"
    "config.blob_keep": Duration = domain.blob_keep, 10 * SEC..=30 * 24 * HOUR;
    "How long large contents are kept that no version has: of a write that was broken off, or of versions that are gone"
    "config.blob_sweep_interval": Duration = domain.blob_sweep_interval, 100 * MS..=24 * HOUR;
    "How often large contents that no version has are looked for"
    "audit.seal_interval": Duration = domain.audit_seal_interval, 10 * MS..=HOUR;
    "How often new entries of the audit are sealed into its chain"
    "audit.retention": Option<Duration> = domain.audit_retention;
    "How long entries of the audit are kept; off for ever"
    "lock.max_waiters": usize = domain.max_waiters, 1..=100_000;
    "How many waiters a lock may have"
    "lock.waiter_keep": Duration = domain.waiter_keep, 100 * MS..=MIN;
    "How long the place of a broken call is kept, at most; a third of the session's time to live if that is less"
    "lock.hold_interval": Duration = domain.hold_interval, 10 * MS..=MIN;
    "How often a stream that holds a lock or waits for one is told of the others who want it, at most"
    "lock.fence_ttl": Duration = domain.fence_ttl, SEC..=HOUR;
    "How long a cancelled create is remembered"
    "barrier.max_participants": usize = domain.max_participants, 2..=100_000;
    "How many may wait at a barrier"
    "barrier.keep": Duration = domain.barrier_keep, 10 * SEC..=24 * HOUR;
    "How long the answers of a released barrier are remembered, at least"
    "barrier.patience": Duration = domain.barrier_patience, 10 * MS..=MIN;
    "How long a call that waits at a barrier leaves it to the last one that came to release all"
    "latch.default_lifetime": Duration = domain.default_latch_lifetime, SEC..=366 * 24 * HOUR;
    "How long latches live that do not say"
    "latch.min_lifetime": Duration = domain.min_latch_lifetime, SEC..=366 * 24 * HOUR;
    "Shortest lifetime a latch may have"
    "latch.max_lifetime": Duration = domain.max_latch_lifetime, SEC..=366 * 24 * HOUR;
    "Longest lifetime a latch may have"
    "latch.max_latches": usize = domain.max_latches, 1..=1_000_000;
    "How many latches a namespace may have"
    "commit.timeout": Duration = domain.commit_timeout, 100 * MS..=MIN;
    "How long a write is tried again while the store is away"
    "commit.read_your_writes": Duration = domain.read_your_writes, Duration::ZERO..=10 * SEC;
    "How long a write waits until this replica's cache shows it"
    "replica.ttl": Duration = domain.replica_ttl, SEC..=10 * MIN;
    "Time to live of this replica's presence"
    "replica.peer_timeout": Duration = rpc.peer_timeout, 10 * MS..=MIN;
    "How long another replica may take to answer what this one asks"
    "replica.rank_delay": Duration = domain.rank_delay, 10 * MS..=MIN;
    "How long the next replica waits before it does a shared duty the one before it left undone"
    "compaction.history": Option<Duration> = domain.history;
    "How much history of the store is kept; off if somebody else compacts it"

    "cache.page": usize = cache.page, 1..=10_000;
    "Keys per page of a listing, at most"
    "cache.log_revisions": usize = cache.log_revisions, 16..=10_000_000;
    "Revisions each kind's change log holds"
    "cache.log_bytes": usize = cache.log_bytes, 64 * KIB..=16 * 1024 * MIB;
    "Bytes each kind's change log holds"
    "cache.log_age": Duration = cache.log_age, SEC..=24 * HOUR;
    "How far back each kind's change log reaches"
    "cache.freshness_wait": Duration = cache.freshness_wait, 10 * MS..=MIN;
    "How long a read waits for a revision"
    "cache.progress_interval": Duration = cache.progress_interval, 5 * MS..=10 * SEC;
    "How often progress is asked for while somebody waits"
    "cache.idle_probe": Duration = cache.idle_probe, 10 * MS..=MIN;
    "After how much silence the store is asked where it is"

    "watch.bookmark_interval": Duration = rpc.watch.bookmark_interval, 10 * MS..=HOUR;
    "After how much quiet a watch sends a bookmark"
    "watch.max_age": Duration = rpc.watch.max_age, SEC..=24 * HOUR;
    "When a watch ends by itself, give or take 10 %"
    "watch.part_bytes": usize = rpc.watch.part_bytes, KIB..=4 * MIB;
    "Size of a part of a snapshot or delta, in bytes"
    "watch.stall_limit": Duration = rpc.watch.stall_limit, SEC..=24 * HOUR;
    "After how long without reading a subscriber is cut off"

    "rpc.threads": usize = rpc.threads, 0..=1024;
    "Threads that serve connections; 0 for one on each core"
    "rpc.max_request_bytes": usize = rpc.max_request_bytes, 64 * KIB..=64 * MIB;
    "Largest request taken, in bytes"
    "rpc.max_response_bytes": usize = rpc.max_response_bytes, 64 * KIB..=64 * MIB;
    "Largest answer given, in bytes; clients take 4194304 by default"
    "rpc.max_header_bytes": u32 = rpc.max_header_bytes, 4096..=1_048_576;
    "Largest set of request headers taken, in bytes"
    "rpc.max_streams": u32 = rpc.max_streams, 1..=1_000_000;
    "Concurrent calls per connection"
    "rpc.max_connections": usize = rpc.max_connections, 1..=1_000_000;
    "Concurrent connections"
    "rpc.send_buffer_bytes": usize = rpc.send_buffer_bytes, 16 * KIB..=4 * MIB;
    "Bytes buffered for a peer that reads slowly, per stream"
    "rpc.default_deadline": Duration = rpc.default_deadline, 100 * MS..=HOUR;
    "Deadline of calls that set none; blocking and streaming calls have none"
    "rpc.max_deadline": Duration = rpc.max_deadline, 100 * MS..=24 * HOUR;
    "Longest deadline a call that answers at once can have"
    "rpc.preface_timeout": Duration = rpc.preface_timeout, 100 * MS..=MIN;
    "How long a new connection may take to say that it speaks HTTP/2"
    "rpc.ping_interval": Duration = rpc.ping_interval, SEC..=HOUR;
    "How often a connection is pinged"
    "rpc.ping_timeout": Duration = rpc.ping_timeout, 100 * MS..=HOUR;
    "How long a ping may stay unanswered until the connection is cut"
    "rpc.store_silence": Duration = rpc.store_silence, 100 * MS..=10 * MIN;
    "After how long without a word from the store writes are reported as NOT_SERVING"
    "rpc.reflection": bool = rpc.reflection;
    "Serves gRPC reflection"

    "etcd.ca_file": String = etcd.ca_file;
    "Certificates that vouch for etcd's members, in PEM; needed for etcds://. Files replaced on disk are used for new connections"
    "etcd.cert_file": String = etcd.cert_file;
    "Our certificate for etcd, in PEM, its issuers after it; empty: none is shown"
    "etcd.key_file": String = etcd.key_file;
    "The key of etcd.cert_file, in PEM"
    "etcd.server_name": String = etcd.server_name;
    "What the members' certificates must be for; empty: the host each is reached at"
    "etcd.user": String = etcd.user;
    "Who we are to etcd; empty: nobody, or who our certificate says. Without etcds:// the password travels in plain text"
    "etcd.password_file": String = etcd.password_file;
    "Where the password of etcd.user is; read whenever etcd is asked for a token"
    "etcd.connect_timeout": Duration = etcd.connect_timeout, 10 * MS..=MIN;
    "How long a connection to a member may take"
    "etcd.kv_timeout": Duration = etcd.kv_timeout, 100 * MS..=MIN;
    "How long a member may take to answer"
    "etcd.ping_interval": Duration = etcd.ping_interval, 5 * SEC..=HOUR;
    "How often a connection with open calls is pinged"
    "etcd.ping_timeout": Duration = etcd.ping_timeout, 100 * MS..=MIN;
    "How long a ping may stay unanswered"
    "etcd.sync_interval": Option<Duration> = etcd.sync_interval;
    "How often the cluster is asked for its members; off if the endpoints are all of them"
    "etcd.probe_interval": Duration = etcd.probe_interval, 100 * MS..=HOUR;
    "How often a member is asked for its status"
    "etcd.probe_timeout": Duration = etcd.probe_timeout, 10 * MS..=MIN;
    "How long a member may take to tell its status"
    "etcd.backoff_min": Duration = etcd.backoff_min, MS..=MIN;
    "Shortest pause before something that failed is tried again"
    "etcd.backoff_max": Duration = etcd.backoff_max, MS..=10 * MIN;
    "Longest pause before something that failed is tried again"
    "etcd.renewal_streams": usize = etcd.renewal_streams, 1..=4;
    "Streams over which the renewals of all leases are spread"
    "etcd.renewal_silence": Duration = etcd.renewal_silence, 50 * MS..=MIN;
    "How long a renewal stream may leave everything unanswered"
    "etcd.watch_open_timeout": Duration = etcd.watch_open_timeout, 50 * MS..=MIN;
    "How long opening a watch may take"
    "etcd.watch_silence": Duration = etcd.watch_silence, 100 * MS..=HOUR;
    "How long a watch may be silent until it is asked for its progress"
    "etcd.watch_progress_timeout": Duration = etcd.watch_progress_timeout, 50 * MS..=HOUR;
    "How long a silent watch may leave that unanswered"

    "telemetry.log": String = telemetry.log;
    "What is logged: error, warn, info, debug, trace, or a filter such as info,stanchion::cache=debug"
    "telemetry.log_format": crate::telemetry::LogFormat = telemetry.log_format;
    "How: text, json, or auto (text on a terminal, JSON otherwise)"
    "telemetry.otlp_endpoint": String = telemetry.otlp_endpoint;
    "Where traces go over OTLP/gRPC, for example http://127.0.0.1:4317; empty: nowhere"
}

// === impl Knob ===

impl Knob {
    /// Sets it from text, without looking at its range.
    pub fn set(&self, settings: &mut Settings, text: &str) -> Result<(), SettingsError> {
        (self.set)(settings, text).map_err(|message| SettingsError::Value {
            key: self.key,
            value: text.to_owned(),
            message,
        })
    }

    /// Its value, as text.
    pub fn print(&self, settings: &Settings) -> String {
        (self.print)(settings)
    }

    /// Its value, as TOML.
    pub fn toml(&self, settings: &Settings) -> String {
        (self.toml)(settings)
    }

    /// Checks that it is in its range.
    pub fn check(&self, settings: &Settings) -> Result<(), SettingsError> {
        if (self.in_range)(settings) {
            return Ok(());
        }
        Err(SettingsError::Value {
            key: self.key,
            value: self.print(settings),
            message: format!("must be {}", (self.range)()),
        })
    }

    /// Its variable in the environment.
    pub fn variable(&self) -> String {
        format!("STANCHION_{}", self.key.replace('.', "_").to_uppercase())
    }

    /// Its flag, without the dashes.
    pub fn flag(&self) -> String {
        self.key.replace(['.', '_'], "-")
    }
}
