//! Setting everything for something at once, and taking it back: what is asked.

use crate::store::Revision;

use super::{guard::Guard, names::Label};

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
}

// === impl Put ===

impl<S> Put<S> {
    /// Whether what is there is the work of this very request.
    pub(super) fn is_repeated(&self, request_id: &str) -> bool {
        !self.request_id.is_empty() && self.request_id == request_id
    }
}
