//! Who changed what in a namespace, and whether the record of it is whole.

use crate::{
    Client,
    error::Result,
    pages::PAGE,
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
        let mut entries = Vec::new();
        let mut page_token = String::new();
        while entries.len() < limit {
            let missing = i32::try_from(limit - entries.len()).unwrap_or(PAGE);
            let request = ListAuditEntriesRequest {
                namespace: self.client.namespace().into(),
                page_size: missing.min(PAGE),
                page_token,
                ..filter.clone()
            };
            let page = self
                .client
                .caller()
                .call(request, AuditServiceClient::list_audit_entries)
                .await?;
            entries.extend(page.entries);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        Ok(entries)
    }

    /// Verifies the audit, and that its chain leads through `noted`, the tip of an earlier answer.
    /// A fault that is found is part of the answer.
    pub async fn verify(&self, noted: Option<AuditPosition>) -> Result<VerifyAuditResponse> {
        let request = VerifyAuditRequest {
            namespace: self.client.namespace().into(),
            noted,
        };
        self.client
            .caller()
            .call(request, AuditServiceClient::verify_audit)
            .await
    }
}
