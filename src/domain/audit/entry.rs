//! What an entry says, and the step of a transaction that writes it.

use std::{net::SocketAddr, time::SystemTime};

use crate::{
    domain::{
        Core,
        names::{Label, Namespace, ReplicaId},
        records,
    },
    store,
};

/// The identity of everybody, while nobody has to prove who they are.
pub const ANONYMOUS: &str = "anonymous";

/// A deed, as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// What was done.
    pub operation: AuditOperation,
    /// To what: the key of a config item, or the name of what else the operation is about.
    pub subject: String,
    /// The version it made; `0`: it made none.
    pub version: i64,
    /// SHA-256 of the content before; `None`: there was none.
    pub old_checksum: Option<[u8; 32]>,
    /// SHA-256 of the content after; `None`: there is none.
    pub new_checksum: Option<[u8; 32]>,
    /// Who did it, in the caller's words.
    pub actor: Label,
    /// Who called, as far as we know by ourselves.
    pub caller: Caller,
    /// When, by the clock of the replica that did it.
    pub create_time: SystemTime,
    /// Why, in the caller's words.
    pub comment: String,
    /// What there is to say of the deed itself, in words.
    pub detail: String,
    /// The name of the request; empty: none.
    pub request_id: String,
    /// The replica that did it.
    pub replica: ReplicaId,
}

/// What can be done. Only what somebody decided: programs free things by themselves all the time,
/// and must be able to in a store that has no room for an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditOperation {
    /// A config item was put.
    PutConfig,
    /// A config item was deleted.
    DeleteConfig,
    /// A config item was rolled back.
    RollbackConfig,
    /// A claim on a lock was taken from its owner.
    ForceReleaseLock,
    /// An instance was taken out.
    IsolateInstance,
    /// An instance was brought back.
    RestoreInstance,
    /// An instance is shown otherwise than before.
    OverlayInstance,
    /// An instance began to be drained.
    DrainInstance,
    /// Settings of a service were put.
    PutService,
    /// Settings of a service were deleted.
    DeleteService,
    /// The brake of a service was released.
    ReleaseBrake,
    /// Settings of a namespace were put.
    PutNamespace,
    /// Settings of a namespace were deleted.
    DeleteNamespace,
    /// A schema of configs was put.
    PutConfigSchema,
    /// A schema of configs was deleted.
    DeleteConfigSchema,
    /// A version of a config item was pinned.
    PinConfigVersion,
    /// A version of a config item is pinned no longer.
    UnpinConfigVersion,
    /// A holder of a lock was asked to give it up.
    RequestYield,
}

/// What kind of thing a deed was done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubjectKind {
    /// A config item.
    Config,
    /// A lock.
    Lock,
    /// An instance: `service/instance`.
    Instance,
    /// A service.
    Service,
    /// A namespace.
    Namespace,
    /// A schema of configs.
    ConfigSchema,
}

/// Whether a config is there after a deed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    There,
    Gone,
}

/// Whom a call came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The authenticated identity.
    pub principal: String,
    /// The other end of the connection: a proxy, if there is one between. `None`: not known.
    pub address: Option<SocketAddr>,
}

// === impl AuditOperation ===

impl AuditOperation {
    /// What kind of thing it is done to.
    pub fn subject_kind(self) -> SubjectKind {
        match self {
            Self::PutConfig
            | Self::DeleteConfig
            | Self::RollbackConfig
            | Self::PinConfigVersion
            | Self::UnpinConfigVersion => SubjectKind::Config,
            Self::ForceReleaseLock | Self::RequestYield => SubjectKind::Lock,
            Self::IsolateInstance
            | Self::RestoreInstance
            | Self::OverlayInstance
            | Self::DrainInstance => SubjectKind::Instance,
            Self::PutService | Self::DeleteService | Self::ReleaseBrake => SubjectKind::Service,
            Self::PutNamespace | Self::DeleteNamespace => SubjectKind::Namespace,
            Self::PutConfigSchema | Self::DeleteConfigSchema => SubjectKind::ConfigSchema,
        }
    }

    /// What becomes of the config that the deed made a version of, if it made one.
    pub(super) fn of_config(self) -> Option<Presence> {
        match self {
            Self::PutConfig | Self::RollbackConfig => Some(Presence::There),
            Self::DeleteConfig => Some(Presence::Gone),
            _ => None,
        }
    }
}

// === impl Caller ===

impl Default for Caller {
    /// Somebody who has proved nothing, from somewhere.
    fn default() -> Self {
        Self {
            principal: ANONYMOUS.into(),
            address: None,
        }
    }
}

// === impl Core ===

impl Core {
    /// The step that writes an entry: to be put next to what it tells of, in the same branch.
    ///
    /// The key is random. A number would have to be read first, and would let only one deed of the
    /// namespace happen at a time; which deed came first, the store's revisions tell.
    pub(in crate::domain) fn audit(
        &self,
        namespace: &Namespace,
        entry: &AuditEntry,
    ) -> store::Operation {
        store::Operation::put(
            self.keys.audit_entry(namespace, rand::random()),
            records::encode_audit_entry(entry),
        )
    }
}
