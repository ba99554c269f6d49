//! Deciding about an instance: taking it out, bringing it back, showing it otherwise.

use std::{sync::Arc, time::SystemTime};

use crate::{
    domain::{
        Revised,
        audit::{AuditOperation, Caller, Deed},
        error::Error,
        guard::Guard,
        keyspace::InstanceKey,
        names::Label,
        records,
        revise::Step,
        state::View,
    },
    store::{Compare, Operation, Revision, Txn},
};

use crate::domain::registry::{Operator, Overlay, Registry};

/// A decision about an instance, registered or not.
#[derive(Debug, Clone)]
pub struct Decision {
    /// Which instance.
    pub key: InstanceKey,
    /// What is decided.
    pub what: Decided,
    /// Why.
    pub comment: String,
    /// The revision of what was decided before; `0`: there must be nothing.
    pub expected_revision: Option<Revision>,
    /// The name of the request; empty: none.
    pub request_id: String,
    /// The lock that must be held.
    pub guard: Option<Guard>,
    /// Who decides, unverified.
    pub actor: Label,
    /// Who calls.
    pub caller: Caller,
}

/// What can be decided.
#[derive(Debug, Clone)]
pub enum Decided {
    /// It gets traffic as far as it is fit. A drain that runs is broken off.
    Active,
    /// It gets none, and none when it registers again.
    Isolated,
    /// This is shown of it instead of what it registered; an empty one: what it registered.
    Shown(Overlay),
}

// === impl Registry ===

impl Registry {
    /// Decides about an instance. What was decided before and is not spoken of stays. Answers what
    /// is decided now, if anything is.
    ///
    /// Errors: [`Error::Mismatch`].
    pub async fn decide(&self, decision: Decision) -> Result<Revised<Option<Operator>>, Error> {
        let path = decision.key.path();
        let now = self.core.clock.system_time();
        let decide = |view: &View| {
            let seen = view.state.operators.get(path.as_bytes()).map(Arc::as_ref);
            let Some(wanted) = decision.wanted(seen, now)? else {
                return Ok(Step::Keep(seen.cloned()));
            };
            let key = self.core.keys.operator(&decision.key);
            let revision = seen.map_or(0, |seen| seen.mod_revision);
            let txn = Txn::new().when(Compare::mod_revision(key.clone(), revision));
            let entry = self.core.deed(&decision.key.namespace, decision.deed());
            if wanted.is_empty() {
                return Ok(Step::Free(txn.then(Operation::delete(key)), entry, None));
            }
            let value = records::encode_operator(&wanted);
            let txn = txn.then(Operation::put(key, value)).then(entry);
            Ok(Step::Send(txn, Some(wanted)))
        };
        let revised = self.core.revise(&path, decision.guard.as_ref(), decide);
        let mut revised = revised.await?;
        if revised.changed {
            if let Some(operator) = &mut revised.value {
                operator.mod_revision = revised.revision;
            }
            let (what, comment, actor) = (&decision.what, &decision.comment, &decision.actor);
            tracing::info!(instance = %path, ?what, %comment, %actor, "an operator decided about an instance");
        }
        Ok(revised)
    }
}

// === impl Decision ===

impl Decision {
    /// What the audit says of it.
    fn deed(&self) -> Deed<'_> {
        let (operation, detail) = match &self.what {
            Decided::Active => (AuditOperation::RestoreInstance, String::new()),
            Decided::Isolated => (AuditOperation::IsolateInstance, String::new()),
            Decided::Shown(overlay) => (AuditOperation::OverlayInstance, overlay.describe()),
        };
        Deed {
            operation,
            subject: self.key.name(),
            detail,
            actor: &self.actor,
            caller: &self.caller,
            comment: &self.comment,
            request_id: &self.request_id,
        }
    }

    /// What is to be decided instead of what was; `None`: that is it already.
    fn wanted(&self, seen: Option<&Operator>, now: SystemTime) -> Result<Option<Operator>, Error> {
        let none = Operator::none();
        let base = seen.unwrap_or(&none);
        if !self.request_id.is_empty() && self.request_id == base.request_id {
            return Ok(None);
        }
        Error::unless_at(self.expected_revision, base.mod_revision)?;
        let mut wanted = base.clone();
        let same = match &self.what {
            Decided::Active => {
                wanted.isolated = false;
                wanted.drain = None;
                !base.isolated && base.drain.is_none()
            }
            Decided::Isolated => {
                wanted.isolated = true;
                base.isolated && base.comment == self.comment
            }
            Decided::Shown(overlay) => {
                wanted.overlay = Overlay {
                    author: self.actor.clone(),
                    comment: self.comment.clone(),
                    update_time: Some(now),
                    ..overlay.clone()
                };
                base.overlay.shows_like(overlay)
                    && (overlay.is_empty() || base.overlay.comment == self.comment)
            }
        };
        if same {
            return Ok(None);
        }
        records::writable(self.key.path(), base.format)?;
        if seen.is_none() || !matches!(self.what, Decided::Shown(_)) {
            wanted.author = self.actor.clone();
            wanted.comment = self.comment.clone();
            wanted.update_time = now;
        }
        Ok(Some(Operator {
            request_id: self.request_id.clone(),
            format: records::FORMAT,
            ..wanted
        }))
    }
}

#[cfg(test)]
mod tests {
    use crate::domain::names::{InstanceId, Namespace, ServiceName};

    use super::*;

    fn decision(what: Decided, comment: &str) -> Decision {
        Decision {
            key: InstanceKey {
                namespace: Namespace::parse("default").unwrap(),
                service: ServiceName::parse("web").unwrap(),
                id: InstanceId::parse("1").unwrap(),
            },
            what,
            comment: comment.into(),
            expected_revision: None,
            request_id: String::new(),
            guard: None,
            actor: Label::default(),
            caller: Caller::default(),
        }
    }

    fn wanted(decision: &Decision, seen: Option<&Operator>) -> Option<Operator> {
        decision.wanted(seen, SystemTime::UNIX_EPOCH).unwrap()
    }

    #[test]
    fn state_and_overlay_are_decided_apart_and_nothing_is_left_of_neither() {
        let isolated = wanted(&decision(Decided::Isolated, "disk"), None).unwrap();
        let light = Overlay {
            weight: Some(1),
            ..Overlay::default()
        };
        let both = wanted(&decision(Decided::Shown(light), "slow"), Some(&isolated)).unwrap();
        assert!(both.isolated);
        assert_eq!(
            (both.comment.as_str(), both.overlay.comment.as_str()),
            ("disk", "slow")
        );
        let active = wanted(&decision(Decided::Active, ""), Some(&both)).unwrap();
        assert!(!active.isolated && !active.is_empty());
        let shown = decision(Decided::Shown(Overlay::default()), "");
        assert!(wanted(&shown, Some(&active)).unwrap().is_empty());
        assert_eq!(wanted(&shown, Some(&isolated)), None);
        assert_eq!(wanted(&decision(Decided::Active, ""), None), None);
        assert_eq!(
            wanted(&decision(Decided::Isolated, "disk"), Some(&isolated)),
            None
        );
        assert!(wanted(&decision(Decided::Isolated, "other"), Some(&isolated)).is_some());
    }
}
