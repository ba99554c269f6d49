//! What deeds and the things they are done to are called on the wire.

use stanchion_client::proto;

use crate::domain::audit::{AuditOperation, SubjectKind};

pub(super) fn operation(wire: proto::AuditOperation) -> Option<AuditOperation> {
    use proto::AuditOperation as Wire;
    Some(match wire {
        Wire::Unspecified => return None,
        Wire::PutConfig => AuditOperation::PutConfig,
        Wire::DeleteConfig => AuditOperation::DeleteConfig,
        Wire::RollbackConfig => AuditOperation::RollbackConfig,
        Wire::ForceReleaseLock => AuditOperation::ForceReleaseLock,
        Wire::IsolateInstance => AuditOperation::IsolateInstance,
        Wire::RestoreInstance => AuditOperation::RestoreInstance,
        Wire::OverlayInstance => AuditOperation::OverlayInstance,
        Wire::DrainInstance => AuditOperation::DrainInstance,
        Wire::PutService => AuditOperation::PutService,
        Wire::DeleteService => AuditOperation::DeleteService,
        Wire::ReleaseBrake => AuditOperation::ReleaseBrake,
        Wire::PutNamespace => AuditOperation::PutNamespace,
        Wire::DeleteNamespace => AuditOperation::DeleteNamespace,
        Wire::PutConfigSchema => AuditOperation::PutConfigSchema,
        Wire::DeleteConfigSchema => AuditOperation::DeleteConfigSchema,
        Wire::PinConfigVersion => AuditOperation::PinConfigVersion,
        Wire::UnpinConfigVersion => AuditOperation::UnpinConfigVersion,
        Wire::RequestYield => AuditOperation::RequestYield,
    })
}

pub(super) fn kind(wire: proto::AuditSubjectKind) -> Option<SubjectKind> {
    use proto::AuditSubjectKind as Wire;
    Some(match wire {
        Wire::Unspecified => return None,
        Wire::Config => SubjectKind::Config,
        Wire::Lock => SubjectKind::Lock,
        Wire::Instance => SubjectKind::Instance,
        Wire::Service => SubjectKind::Service,
        Wire::Namespace => SubjectKind::Namespace,
        Wire::ConfigSchema => SubjectKind::ConfigSchema,
    })
}

pub(super) fn wire_operation(operation: AuditOperation) -> proto::AuditOperation {
    match operation {
        AuditOperation::PutConfig => proto::AuditOperation::PutConfig,
        AuditOperation::DeleteConfig => proto::AuditOperation::DeleteConfig,
        AuditOperation::RollbackConfig => proto::AuditOperation::RollbackConfig,
        AuditOperation::ForceReleaseLock => proto::AuditOperation::ForceReleaseLock,
        AuditOperation::IsolateInstance => proto::AuditOperation::IsolateInstance,
        AuditOperation::RestoreInstance => proto::AuditOperation::RestoreInstance,
        AuditOperation::OverlayInstance => proto::AuditOperation::OverlayInstance,
        AuditOperation::DrainInstance => proto::AuditOperation::DrainInstance,
        AuditOperation::PutService => proto::AuditOperation::PutService,
        AuditOperation::DeleteService => proto::AuditOperation::DeleteService,
        AuditOperation::ReleaseBrake => proto::AuditOperation::ReleaseBrake,
        AuditOperation::PutNamespace => proto::AuditOperation::PutNamespace,
        AuditOperation::DeleteNamespace => proto::AuditOperation::DeleteNamespace,
        AuditOperation::PutConfigSchema => proto::AuditOperation::PutConfigSchema,
        AuditOperation::DeleteConfigSchema => proto::AuditOperation::DeleteConfigSchema,
        AuditOperation::PinConfigVersion => proto::AuditOperation::PinConfigVersion,
        AuditOperation::UnpinConfigVersion => proto::AuditOperation::UnpinConfigVersion,
        AuditOperation::RequestYield => proto::AuditOperation::RequestYield,
    }
}

pub(super) fn wire_kind(kind: SubjectKind) -> proto::AuditSubjectKind {
    match kind {
        SubjectKind::Config => proto::AuditSubjectKind::Config,
        SubjectKind::Lock => proto::AuditSubjectKind::Lock,
        SubjectKind::Instance => proto::AuditSubjectKind::Instance,
        SubjectKind::Service => proto::AuditSubjectKind::Service,
        SubjectKind::Namespace => proto::AuditSubjectKind::Namespace,
        SubjectKind::ConfigSchema => proto::AuditSubjectKind::ConfigSchema,
    }
}
