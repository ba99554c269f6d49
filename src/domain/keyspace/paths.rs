//! What things are called within the store, apart from where they are.

use std::fmt;

use crate::domain::names::{
    BarrierName, ConfigKey, InstanceId, LatchName, Namespace, QueueName, ReleaseName, ServiceName,
};

/// A service within its namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceKey {
    /// The namespace.
    pub namespace: Namespace,
    /// The service.
    pub service: ServiceName,
}

/// An instance within its service within its namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceKey {
    /// The namespace.
    pub namespace: Namespace,
    /// The service.
    pub service: ServiceName,
    /// The instance.
    pub id: InstanceId,
}

/// A config item within its namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigPath {
    /// The namespace.
    pub namespace: Namespace,
    /// The key.
    pub key: ConfigKey,
}

/// A release within its namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReleasePath {
    /// The namespace.
    pub namespace: Namespace,
    /// The release.
    pub name: ReleaseName,
}

/// What the first in a queue has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QueueKind {
    /// A lock.
    Lock,
    /// The lead of an election.
    Election,
}

/// A lock or an election within its namespace: those who want it queue.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueuePath {
    /// Which of the two. They share no names.
    pub kind: QueueKind,
    /// The namespace.
    pub namespace: Namespace,
    /// The lock, or the election.
    pub name: QueueName,
}

/// A barrier within its namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BarrierPath {
    /// The namespace.
    pub namespace: Namespace,
    /// The barrier.
    pub name: BarrierName,
}

/// A latch within its namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LatchPath {
    /// The namespace.
    pub namespace: Namespace,
    /// The latch.
    pub name: LatchName,
}

// === impl ServiceKey ===

impl ServiceKey {
    /// `namespace/service`.
    pub fn path(&self) -> String {
        [self.namespace.as_str(), self.service.as_str()].join("/")
    }

    /// Reads a path.
    pub fn parse(path: &str) -> Option<Self> {
        let (namespace, service) = path.split_once('/')?;
        Some(Self {
            namespace: Namespace::parse(namespace).ok()?,
            service: ServiceName::parse(service).ok()?,
        })
    }
}

// === impl InstanceKey ===

impl InstanceKey {
    /// The service it is one of.
    pub fn service_key(&self) -> ServiceKey {
        ServiceKey {
            namespace: self.namespace.clone(),
            service: self.service.clone(),
        }
    }

    /// `service/id`: what it is called within its namespace.
    pub fn name(&self) -> String {
        [self.service.as_str(), self.id.as_str()].join("/")
    }

    /// `namespace/service/id`.
    pub fn path(&self) -> String {
        [
            self.namespace.as_str(),
            self.service.as_str(),
            self.id.as_str(),
        ]
        .join("/")
    }

    /// Reads a path.
    pub fn parse(path: &str) -> Option<Self> {
        let (namespace, rest) = path.split_once('/')?;
        let (service, id) = rest.split_once('/')?;
        Some(Self {
            namespace: Namespace::parse(namespace).ok()?,
            service: ServiceName::parse(service).ok()?,
            id: InstanceId::parse(id).ok()?,
        })
    }
}

// === impl ConfigPath ===

impl ConfigPath {
    /// `namespace/key`.
    pub fn path(&self) -> String {
        [self.namespace.as_str(), self.key.as_str()].join("/")
    }
}

// === impl ReleasePath ===

impl ReleasePath {
    /// `namespace/name`.
    pub fn path(&self) -> String {
        [self.namespace.as_str(), self.name.as_str()].join("/")
    }
}

// === impl QueuePath ===

impl QueuePath {
    /// `namespace/name`.
    pub fn path(&self) -> String {
        [self.namespace.as_str(), self.name.as_str()].join("/")
    }

    /// Reads a path.
    pub fn parse(kind: QueueKind, path: &str) -> Option<Self> {
        let (namespace, name) = path.split_once('/')?;
        Some(Self {
            kind,
            namespace: Namespace::parse(namespace).ok()?,
            name: QueueName::parse(name).ok()?,
        })
    }
}

impl fmt::Display for QueuePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            QueueKind::Lock => "lock",
            QueueKind::Election => "election",
        };
        write!(f, "{kind} {}/{}", self.namespace, self.name)
    }
}

// === impl BarrierPath ===

impl BarrierPath {
    /// `namespace/name`.
    pub fn path(&self) -> String {
        [self.namespace.as_str(), self.name.as_str()].join("/")
    }

    /// Reads a path.
    pub fn parse(path: &str) -> Option<Self> {
        let (namespace, name) = path.split_once('/')?;
        Some(Self {
            namespace: Namespace::parse(namespace).ok()?,
            name: BarrierName::parse(name).ok()?,
        })
    }
}

impl fmt::Display for BarrierPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "barrier {}/{}", self.namespace, self.name)
    }
}

// === impl LatchPath ===

impl LatchPath {
    /// `namespace/name`.
    pub fn path(&self) -> String {
        [self.namespace.as_str(), self.name.as_str()].join("/")
    }

    /// Reads a path.
    pub fn parse(path: &str) -> Option<Self> {
        let (namespace, name) = path.split_once('/')?;
        Some(Self {
            namespace: Namespace::parse(namespace).ok()?,
            name: LatchName::parse(name).ok()?,
        })
    }
}
