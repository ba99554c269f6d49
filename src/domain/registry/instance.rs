//! What an instance is: the record that was registered, and what is seen of it.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use crate::{
    domain::{keyspace::InstanceKey, names::Label, session_id::SessionId},
    store::Revision,
};

/// What a caller registers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InstanceSpec {
    /// Host name or address, without port.
    pub address: String,
    /// Named ports.
    pub ports: Vec<Port>,
    /// Share of traffic relative to the others, 0 to 10 000; 100 is usual.
    pub weight: u32,
    /// Version of the program.
    pub version: String,
    /// Region, above the zone.
    pub region: String,
    /// Zone.
    pub zone: String,
    /// Anything else.
    pub metadata: BTreeMap<String, String>,
}

/// A port of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its name, unique in the instance.
    pub name: String,
    /// Its number, 1 to 65 535.
    pub port: u16,
    /// What it speaks, for example `grpc` or `http`.
    pub protocol: String,
}

/// An instance as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceRecord {
    /// Which one it is.
    pub key: InstanceKey,
    /// What was registered.
    pub spec: InstanceSpec,
    /// The session that keeps it alive; `None`: it is persistent.
    pub session: Option<SessionId>,
    /// The client id of that session when it registered.
    pub client_id: Label,
    /// The request that last wrote the record.
    pub request_id: String,
    /// The request that registered it.
    pub register_request_id: String,
    /// Who last wrote it, unverified.
    pub actor: Label,
    /// When it was registered, or last taken over.
    pub register_time: SystemTime,
    /// The format it was written in.
    pub format: u32,
    /// The revision that created the record.
    pub create_revision: Revision,
    /// The revision that last wrote it.
    pub mod_revision: Revision,
}

/// An instance as it is seen.
#[derive(Debug, Clone)]
pub struct Instance {
    /// The record.
    pub record: Arc<InstanceRecord>,
    /// What an operator decided.
    pub operator: OperatorState,
    /// How it is.
    pub health: Health,
    /// The revision at which any of this last changed.
    pub visible_revision: Revision,
}

/// What an operator, or a drain, decided about an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OperatorState {
    /// Nothing.
    #[default]
    Active,
    /// It is being taken out; ends with the registration.
    Draining,
    /// It is kept out until an operator brings it back, re-registration or not.
    Isolated,
}

/// How an instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Its session lives and no check objects.
    Healthy,
    /// A check objects.
    Unhealthy,
    /// Its session ended: it will be removed after the grace.
    Suspect,
    /// Persistent, and not checked yet.
    Unknown,
}

/// A service: it exists while it has instances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The namespace and name, `namespace/name`.
    pub path: String,
    /// How many instances it has.
    pub instances: usize,
    /// How many of them are in the serving view.
    pub serving: usize,
    /// The revision at which the service appeared.
    pub create_revision: Revision,
    /// The revision at which any of this last changed.
    pub visible_revision: Revision,
}

// === impl Instance ===

impl Instance {
    /// Says whether clients that ask for nothing special get it.
    pub fn is_serving(&self) -> bool {
        self.operator == OperatorState::Active
            && matches!(self.health, Health::Healthy | Health::Unknown)
    }

    /// Says whether a watcher would see no difference.
    pub fn looks_like(&self, other: &Self) -> bool {
        self.operator == other.operator
            && self.health == other.health
            && (Arc::ptr_eq(&self.record, &other.record) || self.record == other.record)
    }
}

// === impl Service ===

impl Service {
    /// The namespace and the name.
    pub fn names(&self) -> (&str, &str) {
        self.path.split_once('/').unwrap_or(("", &self.path))
    }
}
