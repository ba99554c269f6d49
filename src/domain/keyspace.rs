//! Every key Stanchion writes, written once.
//!
//! ```text
//! /ROOT/v1/
//! state/                                 watched by every replica: small, current
//!   epoch                                the identity of the store's history
//!   closed                               nobody is granted a lock (on a lease)
//!   ses/<session>                        a session (on its lease)
//!   svc/<namespace>/<service>            settings of a service
//!   reg/<namespace>/<service>/<instance> an instance; names its session, hangs on no lease
//!   op/<namespace>/<service>/<instance>  what an operator said of it; outlives it
//!   hlt/<namespace>/<service>/<instance> its health as checks and reports found it
//!   tomb/<namespace>/<service>/<instance>            it was removed (on a short lease)
//!   ack/<namespace>/<service>/<instance>/<replica>   who was told of its drain (on the replica's)
//!   cfg/<namespace>/<key…>               the head of a config item
//!   schema/<namespace>/<key…>            the schema for the content of a config item
//!   schema/<namespace>/<prefix…>*        the schema for those of all that begin so
//!   schema-put/<namespace>               written with each schema that is put in the namespace
//!   lock/<namespace>/<name>/<waiter>     a place in a lock's queue (on its session's lease)
//!   lock/<namespace>/<name>/<waiter>.delay   what delays a lock if that session dies (on no lease)
//!   elect/<namespace>/<name>/<waiter>    a place in an election's queue (on its session's lease)
//!   barrier/<namespace>/<name>/<waiter>  who waits at a barrier (on its session's lease)
//!   barrier-released/<namespace>/<name>  how a barrier was released last (on a short lease)
//!   latch/<namespace>/<name>             a latch (on a lease of its own)
//!   latch/<namespace>/<name>/<party>     who counted it down (on the same lease)
//!   rep/<replica>                        a replica that is up (on its lease)
//!   forced/<namespace>/<name>/<token>    a claim on a lock was taken by force (on a short lease)
//!   fence/<waiter>                       a create that was cancelled (on a short lease)
//!   ns/<namespace>                       settings of a namespace
//! history/                               only ever looked up
//!   cfg/<namespace>/<key…>//<version>    a version of a config item, immutable
//!   pin/<namespace>/<key…>//<version>    a version is kept, however old it gets
//!   blob/<sha256>                        contents that are too large for their versions
//!   piece/<sha256>/<number>              a piece of those, immutable
//!   use/<sha256>/<namespace>/<key…>//<version>   that versions have their contents there
//!   audit/<namespace>/<random>           what is remembered of a deed, not sealed yet
//!   seal/<namespace>/<number>            a stretch of what is, the newest first
//!   draft/<namespace>/<key…>             what an item is to say once it is published
//!   release/<namespace>/<release>        configs that were published together, immutable
//!   released/<namespace>/<time>.<random> the same without its items, newest first
//! ```
//!
//! `<waiter>` is `<session>.<hash of the request id>`. Names have no `/` and config keys no empty
//! segment, so no key is a prefix of another's room and `//` ends a config key.

mod barriers;
mod blobs;
mod history;
mod parse;
mod paths;

use bytes::Bytes;

use crate::store::KeyRange;

use super::{
    config::SchemaPath,
    names::{Namespace, PartyName, ReplicaId},
    session_id::SessionId,
};

pub use self::paths::{
    BarrierPath, ConfigPath, InstanceKey, LatchPath, QueueKind, QueuePath, ReleasePath, ServiceKey,
};

/// The keys under one root.
#[derive(Debug, Clone)]
pub struct Keyspace {
    root: String,
}

/// What a key of the watched part is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateKey {
    /// `epoch`
    Epoch,
    /// `closed`
    Closed,
    /// `ses/…`
    Session(SessionId),
    /// `reg/…`
    Instance(InstanceKey),
    /// `op/…`
    Operator(InstanceKey),
    /// `hlt/…`
    Health(InstanceKey),
    /// `tomb/…`
    Tombstone(InstanceKey),
    /// `ack/…`
    DrainAck(InstanceKey, ReplicaId),
    /// `svc/…`
    Service(ServiceKey),
    /// `ns/…`
    Namespace(Namespace),
    /// `cfg/…`
    Config(ConfigPath),
    /// `schema/…`
    Schema(SchemaPath),
    /// `schema-put/…`
    SchemaChange(Namespace),
    /// `lock/…` and `elect/…`: the queue and the waiter in it
    Waiter(QueuePath, Bytes),
    /// `lock/….delay`: the lock, and the key of the claim beside it
    LockDelay(QueuePath, Bytes),
    /// `barrier/…`: the barrier, and the end of the key, which names the participant
    Participant(BarrierPath, Bytes),
    /// `barrier-released/…`
    BarrierReleases(BarrierPath),
    /// `latch/…` of a latch itself
    Latch(LatchPath),
    /// `latch/…` of who counted it down
    LatchArrival(LatchPath, PartyName),
    /// `forced/…`: the lock, and the token of the claim
    Forced(QueuePath, i64),
    /// `rep/…`
    Replica(ReplicaId),
    /// Kinds that only stand for themselves: fences.
    Other,
}

// === impl Keyspace ===

impl Keyspace {
    /// The keys under `root`, for example `stanchion`.
    pub fn new(root: &str) -> Self {
        Self {
            root: format!("/{}/v1/", root.trim_matches('/')),
        }
    }

    /// The prefix of everything that is watched.
    pub fn state(&self) -> Bytes {
        self.at("state/", "")
    }

    /// The identity of the store's history.
    pub fn epoch(&self) -> Bytes {
        self.at("state/epoch", "")
    }

    /// The mark that nobody is granted a lock.
    pub fn closed(&self) -> Bytes {
        self.at("state/closed", "")
    }

    /// All sessions.
    pub fn sessions(&self) -> KeyRange {
        KeyRange::prefix(self.at("state/ses/", ""))
    }

    /// A session.
    pub fn session(&self, id: &SessionId) -> Bytes {
        self.at("state/ses/", &id.to_text())
    }

    /// An instance.
    pub fn instance(&self, key: &InstanceKey) -> Bytes {
        self.at("state/reg/", &key.path())
    }

    /// What an operator said of an instance.
    pub fn operator(&self, key: &InstanceKey) -> Bytes {
        self.at("state/op/", &key.path())
    }

    /// The health of an instance as checks and reports found it.
    pub fn health(&self, key: &InstanceKey) -> Bytes {
        self.at("state/hlt/", &key.path())
    }

    /// The mark that an instance was removed.
    pub fn tombstone(&self, key: &InstanceKey) -> Bytes {
        self.at("state/tomb/", &key.path())
    }

    /// What the subscribers of one replica acknowledged of the drain of an instance.
    pub fn drain_ack(&self, key: &InstanceKey, replica: &ReplicaId) -> Bytes {
        self.at("state/ack/", &format!("{}/{replica}", key.path()))
    }

    /// The settings of a service.
    pub fn service(&self, key: &ServiceKey) -> Bytes {
        self.at("state/svc/", &key.path())
    }

    /// The settings of all services.
    pub fn services(&self) -> KeyRange {
        KeyRange::prefix(self.at("state/svc/", ""))
    }

    /// The settings of a namespace.
    pub fn namespace(&self, namespace: &Namespace) -> Bytes {
        self.at("state/ns/", namespace.as_str())
    }

    /// All that belongs to a namespace, its own settings and configs apart.
    pub fn contents(&self, namespace: &Namespace) -> [KeyRange; 8] {
        let [lock, elect] = [QueueKind::Lock, QueueKind::Election].map(room_of);
        [
            "state/reg/",
            "state/svc/",
            "state/op/",
            "state/schema/",
            "state/barrier/",
            "state/latch/",
            lock,
            elect,
        ]
        .map(|room| KeyRange::prefix(self.at(room, &format!("{namespace}/"))))
    }

    /// The head of a config item.
    pub fn config(&self, path: &ConfigPath) -> Bytes {
        self.at("state/cfg/", &path.path())
    }

    /// A schema.
    pub fn schema(&self, path: &SchemaPath) -> Bytes {
        self.at("state/schema/", &path.path())
    }

    /// The mark that is written with each schema that is put in a namespace.
    pub fn schema_change(&self, namespace: &Namespace) -> Bytes {
        self.at("state/schema-put/", namespace.as_str())
    }

    /// All places in a queue.
    pub fn queue(&self, path: &QueuePath) -> KeyRange {
        KeyRange::prefix(self.at(room_of(path.kind), &[&path.path(), "/"].concat()))
    }

    /// A place in a queue.
    pub fn waiter(&self, path: &QueuePath, session: &SessionId, request_id: &str) -> Bytes {
        let place = [&path.path(), "/", &waiter_id(session, request_id)].concat();
        self.at(room_of(path.kind), &place)
    }

    /// What stands beside a place in a lock's queue, to delay the lock. In the same room, so that
    /// whoever asks for an empty one, or for nobody before him, asks for no delay either.
    pub fn lock_delay(&self, waiter: &Bytes) -> Bytes {
        [&waiter[..], DELAY.as_bytes()].concat().into()
    }

    /// The mark that a claim on a lock was taken by force.
    pub fn forced(&self, lock: &QueuePath, token: i64) -> Bytes {
        self.at("state/forced/", &format!("{}/{token:016x}", lock.path()))
    }

    /// The mark of a cancelled create of a session's request.
    pub fn fence(&self, session: &SessionId, request_id: &str) -> Bytes {
        self.at("state/fence/", &waiter_id(session, request_id))
    }

    /// A replica that is up.
    pub fn replica(&self, id: &ReplicaId) -> Bytes {
        self.at("state/rep/", id.as_str())
    }

    fn at(&self, room: &str, path: &str) -> Bytes {
        [&self.root, room, path].concat().into()
    }
}

/// How the key ends of what delays a lock.
const DELAY: &str = ".delay";

/// Where the places of a kind of queue are.
fn room_of(kind: QueueKind) -> &'static str {
    match kind {
        QueueKind::Lock => "state/lock/",
        QueueKind::Election => "state/elect/",
    }
}

fn waiter_id(session: &SessionId, request_id: &str) -> String {
    let hash = super::hash64(request_id.as_bytes());
    [&session.to_text(), ".", &super::hex(&[hash])].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::names::ConfigKey;

    #[test]
    fn every_watched_key_is_read_back_as_what_it_was_written_for() {
        let keys = Keyspace::new("stanchion");
        let instance = InstanceKey::parse("default/web/1").unwrap();
        let config = ConfigPath {
            namespace: Namespace::parse("default").unwrap(),
            key: ConfigKey::parse("db/host").unwrap(),
        };
        let session = SessionId::random();
        let parse = |key: Bytes| keys.parse(&key);
        assert_eq!(parse(keys.epoch()), Some(StateKey::Epoch));
        assert_eq!(parse(keys.closed()), Some(StateKey::Closed));
        assert!(keys.sessions().contains(&keys.session(&session)));
        assert_eq!(
            parse(keys.session(&session)),
            Some(StateKey::Session(session))
        );
        assert_eq!(
            parse(keys.instance(&instance)),
            Some(StateKey::Instance(instance.clone()))
        );
        assert_eq!(
            parse(keys.operator(&instance)),
            Some(StateKey::Operator(instance.clone()))
        );
        assert_eq!(
            parse(keys.health(&instance)),
            Some(StateKey::Health(instance.clone()))
        );
        assert_eq!(
            parse(keys.tombstone(&instance)),
            Some(StateKey::Tombstone(instance.clone()))
        );
        let replica = ReplicaId::parse("r1").unwrap();
        assert_eq!(
            parse(keys.drain_ack(&instance, &replica)),
            Some(StateKey::DrainAck(instance.clone(), replica))
        );
        let service = instance.service_key();
        assert_eq!(
            parse(keys.service(&service)),
            Some(StateKey::Service(service))
        );
        assert_eq!(
            parse(keys.namespace(&instance.namespace)),
            Some(StateKey::Namespace(instance.namespace.clone()))
        );
        assert_eq!(
            parse(keys.config(&config)),
            Some(StateKey::Config(config.clone()))
        );
        for path in ["default/db/host", "default/db/*"] {
            let schema = SchemaPath::parse(path).unwrap();
            assert_eq!(parse(keys.schema(&schema)), Some(StateKey::Schema(schema)));
        }
        assert_eq!(
            parse(keys.schema_change(&config.namespace)),
            Some(StateKey::SchemaChange(config.namespace.clone()))
        );
        for kind in [QueueKind::Lock, QueueKind::Election] {
            let queue = QueuePath::parse(kind, "default/nightly").unwrap();
            let waiter = keys.waiter(&queue, &session, "r1");
            assert!(keys.queue(&queue).contains(&waiter));
            assert!(matches!(parse(waiter), Some(StateKey::Waiter(found, _)) if found == queue));
        }
        let lock = QueuePath::parse(QueueKind::Lock, "default/nightly").unwrap();
        let waiter = keys.waiter(&lock, &session, "r1");
        let delay = keys.lock_delay(&waiter);
        assert!(keys.queue(&lock).contains(&delay));
        assert_eq!(
            parse(delay),
            Some(StateKey::LockDelay(lock.clone(), waiter))
        );
        assert_eq!(
            parse(keys.forced(&lock, 1 << 50)),
            Some(StateKey::Forced(lock, 1 << 50))
        );
        assert_eq!(parse(keys.fence(&session, "r1")), Some(StateKey::Other));
        assert_eq!(keys.parse(b"/stanchion/v1/state/new-kind/x"), None);
        let version = keys.config_version(&config, 17);
        assert_eq!(keys.parse_config_version(&version), Some(17));
        assert!(keys.config_versions(&config, 1, 17).contains(&version));
        assert!(!keys.config_versions(&config, 1, 16).contains(&version));
        let namespace = &config.namespace;
        let (new, old) = (keys.seal(namespace, 17), keys.seal(namespace, 16));
        assert!(new < old);
        assert_eq!(keys.parse_seal(&new), Some(17));
        assert!(keys.seals_up_to(namespace, 16).contains(&old));
        assert!(!keys.seals_up_to(namespace, 16).contains(&new));
        let (found, id) = keys.parse_audit(&keys.audit_entry(namespace, 7)).unwrap();
        assert_eq!((&found, id.len()), (namespace, 32));
    }
}
