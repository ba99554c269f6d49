//! What an instance is: the record that was registered, and what is seen of it.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{
    domain::{keyspace::InstanceKey, names::Label, session_id::SessionId},
    store::Revision,
};

use super::{Health, HealthCheck, OperatorState, Registration};

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
    /// How its health is checked; empty: as its service says.
    pub checks: Vec<HealthCheck>,
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
    /// What is shown instead of what was registered, if an operator wants so.
    pub overlaid: Option<Arc<InstanceSpec>>,
    /// What an operator decided.
    pub operator: OperatorState,
    /// How it is.
    pub health: Health,
    /// Whether clients that ask for nothing special get it.
    pub serving: bool,
    /// Over what time its weight grows, if it works and its service wants that.
    pub slow_start: Option<SlowStart>,
    /// The revision at which any of this last changed.
    pub visible_revision: Revision,
}

/// Over what time the weight of an instance grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlowStart {
    /// When it was registered, or last recovered.
    pub start: SystemTime,
    /// How long it takes.
    pub window: Duration,
}

// === impl Instance ===

impl Instance {
    /// What is shown of it.
    pub fn spec(&self) -> &InstanceSpec {
        self.overlaid.as_deref().unwrap_or(&self.record.spec)
    }

    /// Says whether nothing speaks against sending it traffic, but for what an operator decided.
    pub fn works(&self) -> bool {
        matches!(self.health, Health::Healthy | Health::Unknown)
    }

    /// Shows it to clients that ask for nothing special if it is fit, or if its service is
    /// protected: then not being fit says more of us than of it.
    pub fn serve(&mut self, protected: bool) {
        self.serving = self.operator == OperatorState::Active && (protected || self.works());
    }

    /// Says whether a watcher would see no difference.
    pub fn looks_like(&self, other: &Self) -> bool {
        self.operator == other.operator
            && self.health == other.health
            && self.serving == other.serving
            && self.slow_start == other.slow_start
            && self.overlaid == other.overlaid
            && (Arc::ptr_eq(&self.record, &other.record) || self.record == other.record)
    }
}

// === impl InstanceRecord ===

impl InstanceRecord {
    /// Names this registration.
    pub fn registration(&self) -> Registration {
        Registration {
            create_revision: self.create_revision,
            session: self.session,
        }
    }
}
