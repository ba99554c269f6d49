//! Setting everything for something at once, and taking it back: what is asked.

use crate::store::Revision;

use super::{
    audit::{AuditOperation, Caller, Deed},
    guard::Guard,
    names::Label,
};

/// What is to be set.
#[derive(Debug, Clone)]
pub struct Put<S> {
    /// Everything that is to be set. What the call itself decides is not part of it: who sets it,
    /// when, and what other calls set.
    pub settings: S,
    /// The revision the settings must have; `0`: there must be none.
    pub expected_revision: Option<Revision>,
    /// The name of the request; empty: none.
    pub request_id: String,
    /// The lock that must be held.
    pub guard: Option<Guard>,
    /// Who asks, unverified.
    pub actor: Label,
    /// Who calls.
    pub caller: Caller,
    /// Whether it is only asked what would be set.
    pub validate_only: bool,
}

/// What is to be taken back.
#[derive(Debug, Clone)]
pub struct Delete<K> {
    /// Of what.
    pub key: K,
    /// The revision the settings must have.
    pub expected_revision: Option<Revision>,
    /// The lock that must be held.
    pub guard: Option<Guard>,
    /// Who asks, unverified.
    pub actor: Label,
    /// Who calls.
    pub caller: Caller,
}

// === impl Put ===

impl<S> Put<S> {
    /// Whether what is there is the work of this very request.
    pub(super) fn is_repeated(&self, request_id: &str) -> bool {
        !self.request_id.is_empty() && self.request_id == request_id
    }

    /// What the audit says of it.
    pub(super) fn deed(
        &self,
        operation: AuditOperation,
        subject: impl ToString,
        detail: String,
    ) -> Deed<'_> {
        Deed {
            operation,
            subject: subject.to_string(),
            detail,
            actor: &self.actor,
            caller: &self.caller,
            comment: "",
            request_id: &self.request_id,
        }
    }
}

// === impl Delete ===

impl<K> Delete<K> {
    /// What the audit says of it.
    pub(super) fn deed(&self, operation: AuditOperation, subject: impl ToString) -> Deed<'_> {
        Deed {
            operation,
            subject: subject.to_string(),
            detail: String::new(),
            actor: &self.actor,
            caller: &self.caller,
            comment: "",
            request_id: "",
        }
    }
}
