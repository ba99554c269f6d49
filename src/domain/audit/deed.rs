//! What operators do: the entry of it, written with it or, where the store has no room for one, not.

use crate::{
    domain::{
        Core,
        error::Error,
        guard::Guard,
        names::{Label, Namespace},
    },
    store::{self, Operation, Txn, TxnResponse},
};

use super::{AuditEntry, AuditOperation, Caller};

/// How much of the detail of a deed is kept, in bytes.
const MAX_DETAIL: usize = 1024;

/// Something that an operator does.
#[derive(Debug, Clone)]
pub struct Deed<'a> {
    /// What is done.
    pub operation: AuditOperation,
    /// To what.
    pub subject: String,
    /// What there is to say of it.
    pub detail: String,
    /// Who does it, unverified.
    pub actor: &'a Label,
    /// Who calls.
    pub caller: &'a Caller,
    /// Why.
    pub comment: &'a str,
    /// The name of the request; empty: none.
    pub request_id: &'a str,
}

// === impl Core ===

impl Core {
    /// The step that writes the entry of a deed: to be put next to it, in the same branch.
    pub(in crate::domain) fn deed(&self, namespace: &Namespace, deed: Deed<'_>) -> Operation {
        let mut detail = deed.detail;
        detail.truncate(detail.floor_char_boundary(MAX_DETAIL));
        let entry = AuditEntry {
            operation: deed.operation,
            subject: deed.subject,
            version: 0,
            old_checksum: None,
            new_checksum: None,
            actor: deed.actor.clone(),
            caller: deed.caller.clone(),
            create_time: self.clock.system_time(),
            comment: deed.comment.into(),
            detail,
            request_id: deed.request_id.into(),
            replica: self.replica.clone(),
        };
        self.audit(namespace, &entry)
    }

    /// Carries out a deed that only frees, with its entry. A store that has no room for the entry
    /// must allow the deed all the same. Says whether the entry was written with it.
    pub(in crate::domain) async fn free(
        &self,
        guard: Option<&Guard>,
        txn: Txn,
        entry: Operation,
    ) -> Result<(TxnResponse, bool), Error> {
        match self.commit(guard, txn.clone().then(entry)).await {
            Err(Error::Store(store::Error::Full { .. })) => {
                let response = self.commit(guard, txn).await?;
                if response.succeeded {
                    tracing::warn!("the store has no room for the audit entry of what was done");
                }
                Ok((response, false))
            }
            done => Ok((done?, true)),
        }
    }
}

/// The names of what differs, in words.
pub(in crate::domain) fn differing<const N: usize>(fields: [(&str, bool); N]) -> String {
    let names = fields.into_iter().filter(|(_, differs)| *differs);
    let names: Vec<_> = names.map(|(name, _)| name).collect();
    names.join(", ")
}
