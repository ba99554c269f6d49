//! Who changed what in a namespace, and whether the record of it is whole.

use crate::{
    Client,
    call::Patience,
    error::Result,
    pages,
    proto::{
        AuditEntry, AuditPosition, ListAuditEntriesRequest, VerifyAuditRequest,
        VerifyAuditResponse, audit_service_client::AuditServiceClient,
    },
};

/// The audit of a namespace. See [`Client::audit`].
#[derive(Debug, Clone)]
pub struct Audit {
    client: Client,
}

// === impl Audit ===

impl Audit {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Lists entries, newest first, at most `limit`. Of the request only the filters count.
    pub async fn list(
        &self,
        filter: ListAuditEntriesRequest,
        limit: usize,
    ) -> Result<Vec<AuditEntry>> {
        let caller = self.client.caller();
        pages::at_most(limit, |page_size, page_token| {
            let request = ListAuditEntriesRequest {
                namespace: self.client.namespace().into(),
                page_size,
                page_token,
                ..filter.clone()
            };
            async move {
                let page = caller.call(request, AuditServiceClient::list_audit_entries);
                let page = page.await?;
                Ok((page.entries, page.next_page_token))
            }
        })
        .await
    }

    /// Verifies the audit, and that its chain leads through `noted`, the tip of an earlier answer.
    /// A fault that is found is part of the answer. Takes as long as it takes to read all there is.
    pub async fn verify(&self, noted: Option<AuditPosition>) -> Result<VerifyAuditResponse> {
        let request = VerifyAuditRequest {
            namespace: self.client.namespace().into(),
            noted,
        };
        let caller = self.client.caller();
        let patience = Patience {
            deadline: None,
            waits_until: None,
            attempts: caller.attempts(),
        };
        caller
            .call_with(
                patience,
                || request.clone(),
                AuditServiceClient::verify_audit,
            )
            .await
    }
}
