//! Random programs, run step by step on two stores, which must say the same: the embedded store
//! against etcd, whose semantics it claims.

use std::{fmt::Write as _, time::Duration};

use bytes::Bytes;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use stanchion::store::{
    Compare, Error, Event, KeyRange, KeyValue, LeaseId, Operation, OperationResponse, RangeRequest,
    RangeResponse, Relation, Revision, Store, Target, Txn, TxnResponse, Watch, WatchItem,
};
use tokio::time::timeout;

use crate::support::store::{
    Adapter, EmbeddedFile, EmbeddedMemory, PATIENCE, RealEtcd, changes_until, next_item,
};

const STEPS: usize = 300;

/// A program that failed can be run again: `STANCHION_SEED=<seed>`.
const SEED: &str = "STANCHION_SEED";

const NAMES: [&str; 6] = ["a", "b", "b/1", "b/2", "c", "d"];

/// Longer than any test runs.
const TTL: Duration = Duration::from_secs(600);

/// Revisions are counted from the start of the program, on both sides.
#[derive(Debug, Clone)]
enum Step {
    Txn(Txn),
    Range(RangeRequest),
    Grant(LeaseId),
    Revoke(LeaseId),
    KeepAlive(LeaseId),
    Compact(Revision),
    /// Replays the history from a revision to now.
    Replay(Revision),
}

/// Makes steps at random, with an eye on how many revisions there may be.
struct Program {
    random: StdRng,
    prefix: String,
    leases: [LeaseId; 3],
    /// Roughly where the history is.
    revision: Revision,
}

/// One store and what is its own: where it started, and what it says.
struct Side {
    store: std::sync::Arc<dyn Store>,
    base: Revision,
    prefix: Bytes,
    watch: Watch,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_store_says_the_same_from_memory_and_from_disk() {
    agree(&EmbeddedMemory, &EmbeddedFile).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_store_says_what_etcd_says() {
    agree(&EmbeddedMemory, &RealEtcd).await;
}

/// Runs fixed programs and a new one, or the one that is asked for.
async fn agree(one: &impl Adapter, other: &impl Adapter) {
    let seeds: Vec<u64> = match std::env::var(SEED) {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (1..=4).chain([rand::random()]).collect(),
    };
    for seed in seeds {
        let (one, other) = (one.quiet().await, other.quiet().await);
        // The same keys on both sides; nobody else has them.
        let prefix = format!("differential/{seed}/{:016x}/", rand::random::<u64>());
        let mut program = Program::new(seed, &prefix);
        let mut one = Side::new(one.store.clone(), &prefix).await;
        let mut other = Side::new(other.store.clone(), &prefix).await;
        for index in 0..STEPS {
            let step = program.step();
            let left = one.run(&step).await;
            let right = other.run(&step).await;
            let shown = format!("{SEED}={seed}, step {index}: {step:#?}");
            assert_eq!(left, right, "{shown}");
            program.revision = one.revision().await;
            assert_eq!(program.revision, other.revision().await, "{shown}");
        }
        let (left, right) = (one.watched().await, other.watched().await);
        assert_eq!(left, right, "{SEED}={seed}, the watch");
        for lease in program.leases {
            one.store.revoke(lease).await.unwrap();
            other.store.revoke(lease).await.unwrap();
        }
    }
}

// === impl Program ===

impl Program {
    fn new(seed: u64, prefix: &str) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let leases = std::array::from_fn(|_| random.random_range(1..LeaseId::MAX));
        Self {
            random,
            prefix: prefix.into(),
            leases,
            revision: 0,
        }
    }

    fn step(&mut self) -> Step {
        match self.random.random_range(0..100) {
            0..65 => Step::Txn(self.txn(3)),
            65..80 => Step::Range(self.range(true)),
            80..86 => Step::Grant(self.lease()),
            86..90 => Step::Revoke(self.lease()),
            90..93 => Step::KeepAlive(self.lease()),
            93..95 => Step::Compact(self.past().min(self.revision - 5)),
            _ => Step::Replay(self.past().max(1)),
        }
    }

    fn txn(&mut self, depth: usize) -> Txn {
        let compares = (0..self.random.random_range(0..3)).map(|_| self.compare());
        let compares = compares.collect();
        Txn {
            compares,
            success: self.branch(depth),
            failure: self.branch(depth),
        }
    }

    fn branch(&mut self, depth: usize) -> Vec<Operation> {
        let count = self.random.random_range(0..4);
        (0..count).map(|_| self.operation(depth)).collect()
    }

    fn operation(&mut self, depth: usize) -> Operation {
        match self.random.random_range(0..20) {
            0..9 => Operation::Put {
                key: self.key(),
                value: self.value(),
                lease: self.lease_or_none(),
            },
            9..11 => Operation::Overwrite {
                key: self.key(),
                value: self.value(),
            },
            11..14 => Operation::Delete(self.keys()),
            14..17 => Operation::Range(self.range(false)),
            _ if depth > 0 => Operation::Txn(self.txn(depth - 1)),
            _ => Operation::Range(self.range(false)),
        }
    }

    fn compare(&mut self) -> Compare {
        let relations = [
            Relation::Equal,
            Relation::NotEqual,
            Relation::Greater,
            Relation::Less,
        ];
        let target = match self.random.random_range(0..5) {
            0 => Target::CreateRevision(self.past()),
            1 => Target::ModRevision(self.past()),
            2 => Target::Version(self.random.random_range(0..4)),
            3 => Target::Value(self.value()),
            _ => Target::Lease(self.lease_or_none()),
        };
        Compare {
            keys: self.keys(),
            relation: *relations.choose(&mut self.random).unwrap(),
            target,
        }
    }

    fn range(&mut self, past: bool) -> RangeRequest {
        let mut request = RangeRequest::new(self.keys());
        if self.random.random_bool(0.3) {
            request = request.limit(self.random.random_range(1..4));
        }
        if past && self.random.random_bool(0.6) {
            let ahead = self.random.random_range(0..20) == 0;
            let revision = if ahead {
                self.revision + 1000
            } else {
                self.past()
            };
            request = request.at(revision);
        }
        match self.random.random_range(0..10) {
            0 => request.keys_only(),
            1 => request.count_only(),
            _ => request,
        }
    }

    /// `0`, or a revision of the program, often a late one.
    fn past(&mut self) -> Revision {
        match self.random.random_range(0..10) {
            0 => 0,
            1..4 => self.random.random_range(0..=self.revision),
            _ => (self.revision - self.random.random_range(0..8)).max(0),
        }
    }

    fn keys(&mut self) -> KeyRange {
        match self.random.random_range(0..10) {
            0..5 => KeyRange::key(self.key()),
            5..8 => KeyRange::prefix(self.key()),
            8 => KeyRange::prefix(self.prefix.clone()),
            // Often one that ends before it starts.
            _ => KeyRange::span(self.key(), self.key()),
        }
    }

    fn key(&mut self) -> Bytes {
        let name = NAMES.choose(&mut self.random).unwrap();
        format!("{}{name}", self.prefix).into()
    }

    fn value(&mut self) -> Bytes {
        let values = ["", "x", "y", "yy"];
        (*values.choose(&mut self.random).unwrap()).into()
    }

    fn lease(&mut self) -> LeaseId {
        *self.leases.choose(&mut self.random).unwrap()
    }

    fn lease_or_none(&mut self) -> LeaseId {
        if self.random.random_bool(0.6) {
            return 0;
        }
        self.lease()
    }
}

// === impl Side ===

impl Side {
    async fn new(store: std::sync::Arc<dyn Store>, prefix: &str) -> Self {
        let base = store.status().await.unwrap().revision;
        // Revisions of the program start at 1, and `0` stays what it is.
        let prefix = Bytes::from(prefix.to_owned());
        let watch = store.watch(prefix.clone(), base + 1).await.unwrap();
        Self {
            store,
            base,
            prefix,
            watch,
        }
    }

    async fn revision(&self) -> Revision {
        self.here(self.store.status().await.unwrap().revision)
    }

    /// A revision of the store, counted from the start of the program.
    fn here(&self, revision: Revision) -> Revision {
        if revision == 0 {
            0
        } else {
            revision - self.base
        }
    }

    /// The store's revision for one of the program.
    fn there(&self, revision: Revision) -> Revision {
        if revision == 0 {
            0
        } else {
            revision + self.base
        }
    }

    async fn run(&mut self, step: &Step) -> String {
        match step {
            Step::Txn(txn) => {
                let outcome = self.store.txn(self.with_revisions(txn)).await;
                self.say(outcome, |response| self.txn(&response))
            }
            Step::Range(request) => {
                let request = request.clone().at(self.there(request.revision));
                let outcome = self.store.range(request).await;
                self.say(outcome, |response| self.range(&response))
            }
            Step::Grant(id) => {
                let outcome = self.store.grant(*id, TTL).await;
                self.say(outcome, |ttl| format!("{ttl:?}"))
            }
            Step::Revoke(id) => {
                let outcome = self.store.revoke(*id).await;
                self.say(outcome, |()| "revoked".into())
            }
            Step::KeepAlive(id) => {
                let outcome = self.store.keep_alive(*id).await;
                self.say(outcome, |renewal| format!("{:?}", renewal.ttl))
            }
            Step::Compact(revision) if *revision <= 0 => "nothing to compact".into(),
            Step::Compact(revision) => {
                // A watch that is behind would be cut off: when is each store's own.
                let watched = self.watched().await;
                let outcome = self.store.compact(self.there(*revision)).await;
                self.say(outcome, |()| format!("compacted; {watched}"))
            }
            Step::Replay(from) => self.replay(*from).await,
        }
    }

    async fn replay(&self, from: Revision) -> String {
        let now = self.store.status().await.unwrap().revision;
        let from = self.there(from);
        let mut watch = match self.store.watch(self.prefix.clone(), from).await {
            Ok(watch) => watch,
            Err(error) => return self.error(&error),
        };
        let replay = async {
            let mut shown = String::new();
            loop {
                watch.probe.request_progress().await;
                let item = timeout(Duration::from_millis(50), next_item(&mut watch)).await;
                match item {
                    Ok(Ok(WatchItem::Changes { revision, events })) => {
                        shown += &self.changes(revision, &events);
                    }
                    Ok(Ok(WatchItem::Progress(revision))) if revision >= now => return shown,
                    Ok(Ok(_)) | Err(_) => {}
                    Ok(Err(error)) => return shown + &self.error(&error),
                }
                // Nothing to wait for: a watch from the next revision may stay mute until then.
                if from > now {
                    return shown;
                }
            }
        };
        timeout(PATIENCE, replay)
            .await
            .expect("the history is replayed in time")
    }

    async fn watched(&mut self) -> String {
        let now = self.store.status().await.unwrap().revision;
        let changes = changes_until(&mut self.watch, now).await;
        let show = |(revision, events): &(Revision, Vec<Event>)| self.changes(*revision, events);
        changes.iter().map(show).collect()
    }

    fn with_revisions(&self, txn: &Txn) -> Txn {
        let compare = |compare: &Compare| Compare {
            target: match &compare.target {
                Target::CreateRevision(revision) => Target::CreateRevision(self.there(*revision)),
                Target::ModRevision(revision) => Target::ModRevision(self.there(*revision)),
                target => target.clone(),
            },
            ..compare.clone()
        };
        let operation = |operation: &Operation| match operation {
            Operation::Txn(nested) => Operation::Txn(self.with_revisions(nested)),
            operation => operation.clone(),
        };
        Txn {
            compares: txn.compares.iter().map(compare).collect(),
            success: txn.success.iter().map(operation).collect(),
            failure: txn.failure.iter().map(operation).collect(),
        }
    }

    fn say<T>(&self, outcome: Result<T, Error>, show: impl FnOnce(T) -> String) -> String {
        outcome.map_or_else(|error| self.error(&error), show)
    }

    fn error(&self, error: &Error) -> String {
        match error {
            // What the text says is each store's own; and a read is refused by etcd without
            // saying where the history starts.
            Error::Invalid(_) => "invalid".into(),
            Error::Compacted { .. } => "compacted".into(),
            other => format!("{other:?}"),
        }
    }

    fn txn(&self, response: &TxnResponse) -> String {
        let mut shown = format!(
            "{} at {}:",
            response.succeeded,
            self.here(response.revision)
        );
        for response in &response.responses {
            let response = match response {
                OperationResponse::Put => "put".into(),
                OperationResponse::Delete(count) => format!("deleted {count}"),
                OperationResponse::Range(range) => self.range(range),
                OperationResponse::Txn(nested) => self.txn(nested),
            };
            write!(shown, " [{response}]").unwrap();
        }
        shown
    }

    fn range(&self, range: &RangeResponse) -> String {
        let mut shown = format!("{} keys at {}", range.count, self.here(range.revision));
        for kv in &range.kvs {
            write!(shown, ", {}", self.kv(kv)).unwrap();
        }
        shown + if range.more { ", more" } else { "" }
    }

    fn changes(&self, revision: Revision, events: &[Event]) -> String {
        let mut shown = format!("{}:", self.here(revision));
        for event in events {
            match event {
                Event::Put(kv) => write!(shown, " put {}", self.kv(kv)).unwrap(),
                Event::Delete { key, revision } => {
                    let revision = self.here(*revision);
                    write!(shown, " delete {key:?} at {revision}").unwrap();
                }
            }
        }
        shown + "\n"
    }

    fn kv(&self, kv: &KeyValue) -> String {
        let KeyValue {
            key,
            value,
            version,
            lease,
            ..
        } = kv;
        let (created, modified) = (self.here(kv.create_revision), self.here(kv.mod_revision));
        // Where values are left out, leases may be missing.
        let lease = if value.is_empty() { &0 } else { lease };
        format!("{key:?}={value:?} {created}-{modified} v{version} lease {lease}")
    }
}
