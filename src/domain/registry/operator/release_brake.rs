//! Letting go the brake of a service, because an operator knows that its sessions ended for good.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{
    domain::{
        audit::{AuditOperation, Caller, Deed},
        error::Error,
        guard::Guard,
        keyspace::ServiceKey,
        names::Label,
        records,
        revise::Step,
        state::View,
    },
    store::{Compare, Operation, Revision, Txn},
};

use crate::domain::registry::{Registry, ServiceSettings};

/// Which brake is to be released.
#[derive(Debug, Clone)]
pub struct ReleaseBrake {
    /// Which service.
    pub key: ServiceKey,
    /// The lock that must be held.
    pub guard: Option<Guard>,
    /// Who asks, unverified.
    pub actor: Label,
    /// Who calls.
    pub caller: Caller,
    /// Why.
    pub comment: String,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrakeReleased {
    /// Whether this call released it.
    pub released: bool,
    /// Until when the release counts that is there now, if one is.
    pub until: Option<SystemTime>,
    /// The revision at which it is so.
    pub revision: Revision,
}

// === impl ReleaseBrake ===

impl ReleaseBrake {
    fn deed(&self, limit: Duration) -> Deed<'_> {
        Deed {
            operation: AuditOperation::ReleaseBrake,
            subject: self.key.service.to_string(),
            detail: format!("for {limit:?}"),
            actor: &self.actor,
            caller: &self.caller,
            comment: &self.comment,
            request_id: "",
        }
    }
}

// === impl Registry ===

impl Registry {
    /// Releases the brake of a service for as long as it would hold at most. If it is not braked,
    /// that changes nothing.
    pub async fn release_brake(&self, release: ReleaseBrake) -> Result<BrakeReleased, Error> {
        let path = release.key.path();
        let now = self.core.clock.system_time();
        let until = now + self.core.settings.brake_limit;
        let decide = |view: &View| {
            let seen = view.state.settings.get(path.as_bytes()).map(Arc::as_ref);
            let service = view.state.services.get(path.as_bytes());
            if !service.is_some_and(|service| service.braked) {
                return Ok(Step::Keep(seen.and_then(|s| s.brake_released_until)));
            }
            let unset = ServiceSettings {
                author: release.actor.clone(),
                update_time: now,
                format: records::FORMAT,
                ..ServiceSettings::unset(release.key.clone())
            };
            let seen = seen.unwrap_or(&unset);
            records::writable(&path, seen.format)?;
            let wanted = ServiceSettings {
                brake_released_until: Some(until),
                ..seen.clone()
            };
            let key = self.core.keys.service(&release.key);
            let txn = Txn::new()
                .when(Compare::mod_revision(key.clone(), seen.mod_revision))
                .then(Operation::put(key, records::encode_service(&wanted)))
                .then(self.core.deed(
                    &release.key.namespace,
                    release.deed(self.core.settings.brake_limit),
                ));
            Ok(Step::Send(txn, Some(until)))
        };
        let done = self.core.revise(&path, release.guard.as_ref(), decide);
        let done = done.await?;
        // Of an attempt whose answer was lost only the trace is found.
        let released = done.changed || done.value == Some(until);
        if released {
            let ReleaseBrake { actor, comment, .. } = &release;
            tracing::warn!(service = %path, %actor, comment, "the brake of a service was released");
        }
        Ok(BrakeReleased {
            released,
            until: done.value,
            revision: done.revision,
        })
    }
}
