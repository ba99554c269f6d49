//! Reading watched keys back.

use bytes::Bytes;

use crate::domain::{
    names::{ConfigKey, Namespace, PartyName, ReplicaId},
    session_id::SessionId,
};

use super::{
    BarrierPath, ConfigPath, DELAY, InstanceKey, Keyspace, LatchPath, QueueKind, QueuePath,
    SchemaPath, ServiceKey, StateKey,
};

// === impl Keyspace ===

impl Keyspace {
    /// What a key under [`Keyspace::state`] is about; `None` if it is nothing we know.
    pub fn parse(&self, key: &[u8]) -> Option<StateKey> {
        let text = std::str::from_utf8(key).ok()?;
        let rest = text.strip_prefix(&self.root)?.strip_prefix("state/")?;
        let Some((kind, path)) = rest.split_once('/') else {
            return match rest {
                "epoch" => Some(StateKey::Epoch),
                "closed" => Some(StateKey::Closed),
                _ => None,
            };
        };
        Some(match kind {
            "ses" => StateKey::Session(SessionId::parse(path)?),
            "reg" => StateKey::Instance(InstanceKey::parse(path)?),
            "op" => StateKey::Operator(InstanceKey::parse(path)?),
            "hlt" => StateKey::Health(InstanceKey::parse(path)?),
            "tomb" => StateKey::Tombstone(InstanceKey::parse(path)?),
            "ack" => {
                let (instance, replica) = path.rsplit_once('/')?;
                let replica = ReplicaId::parse(replica).ok()?;
                StateKey::DrainAck(InstanceKey::parse(instance)?, replica)
            }
            "svc" => StateKey::Service(ServiceKey::parse(path)?),
            "ns" => StateKey::Namespace(Namespace::parse(path).ok()?),
            "cfg" => {
                let (namespace, key) = path.split_once('/')?;
                StateKey::Config(ConfigPath {
                    namespace: Namespace::parse(namespace).ok()?,
                    key: ConfigKey::parse(key).ok()?,
                })
            }
            "schema" => StateKey::Schema(SchemaPath::parse(path)?),
            "schema-put" => StateKey::SchemaChange(Namespace::parse(path).ok()?),
            "lock" => match delay_in(path, key) {
                Some(delay) => delay,
                None => waiter_in(QueueKind::Lock, path)?,
            },
            "elect" => waiter_in(QueueKind::Election, path)?,
            "barrier" => {
                let (barrier, participant) = path.rsplit_once('/')?;
                StateKey::Participant(
                    BarrierPath::parse(barrier)?,
                    Bytes::copy_from_slice(participant.as_bytes()),
                )
            }
            "barrier-released" => StateKey::BarrierReleases(BarrierPath::parse(path)?),
            "latch" => match LatchPath::parse(path) {
                Some(latch) => StateKey::Latch(latch),
                None => {
                    let (latch, party) = path.rsplit_once('/')?;
                    let party = PartyName::parse(party).ok()?;
                    StateKey::LatchArrival(LatchPath::parse(latch)?, party)
                }
            },
            "forced" => {
                let (lock, token) = path.rsplit_once('/')?;
                StateKey::Forced(
                    QueuePath::parse(QueueKind::Lock, lock)?,
                    i64::from_str_radix(token, 16).ok()?,
                )
            }
            "rep" => StateKey::Replica(ReplicaId::parse(path).ok()?),
            "fence" => StateKey::Other,
            _ => return None,
        })
    }
}

/// What stands beside a place, if the key is of that.
fn delay_in(path: &str, key: &[u8]) -> Option<StateKey> {
    let (lock, _) = path.strip_suffix(DELAY)?.rsplit_once('/')?;
    Some(StateKey::LockDelay(
        QueuePath::parse(QueueKind::Lock, lock)?,
        Bytes::copy_from_slice(key.strip_suffix(DELAY.as_bytes())?),
    ))
}

fn waiter_in(kind: QueueKind, path: &str) -> Option<StateKey> {
    let (queue, waiter) = path.rsplit_once('/')?;
    let queue = QueuePath::parse(kind, queue)?;
    Some(StateKey::Waiter(
        queue,
        Bytes::copy_from_slice(waiter.as_bytes()),
    ))
}
