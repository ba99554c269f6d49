//! The audit, through its public API.

mod chain;
mod deeds;
mod entries;
mod faults;
mod lists;
mod tampering;

use std::time::Duration;

use prost::Message;
use stanchion::{
    domain::names::Namespace,
    proto::store as stored,
    store::{KeyRange, KeyValue, Operation, RangeRequest, Txn},
};
use stanchion_client::proto::{
    AuditEntry, Config, DeleteConfigRequest, ListAuditEntriesRequest, ListAuditEntriesResponse,
    ListConfigVersionsRequest, PutConfigRequest, VerifyAuditRequest, VerifyAuditResponse,
};
use tonic::Status;

use crate::support::server::{Backend, Server, eventually};

/// An interval in which nothing is sealed while a test lasts.
const NEVER: Duration = Duration::from_secs(3600);
const SOON: Duration = Duration::from_millis(20);

fn put(key: &str, content: &str) -> PutConfigRequest {
    PutConfigRequest {
        key: key.into(),
        content: content.to_owned().into(),
        ..PutConfigRequest::default()
    }
}

fn default() -> Namespace {
    Namespace::parse("default").unwrap()
}

impl Backend {
    async fn sealing(&self, every: Duration) -> Server {
        let mut settings = self.settings();
        settings.domain.audit_seal_interval = every;
        settings.domain.replica_ttl = Duration::from_secs(1);
        self.server_with(settings).await
    }
}

impl Server {
    async fn put_config(&self, key: &str, content: &str) -> Config {
        let written = self.configs().put_config(put(key, content)).await.unwrap();
        written.into_inner().config.unwrap()
    }

    async fn delete_config(&self, key: &str) {
        let request = DeleteConfigRequest {
            key: key.into(),
            ..DeleteConfigRequest::default()
        };
        let deleted = self.configs().delete_config(request).await.unwrap();
        assert!(deleted.into_inner().deleted);
    }

    async fn try_list(
        &self,
        request: ListAuditEntriesRequest,
    ) -> Result<ListAuditEntriesResponse, Status> {
        let listed = self.audits().list_audit_entries(request).await?;
        Ok(listed.into_inner())
    }

    /// The entries of all pages of this size, newest first.
    async fn entries_by(
        &self,
        filter: &ListAuditEntriesRequest,
        page_size: i32,
    ) -> Vec<AuditEntry> {
        let mut entries = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = ListAuditEntriesRequest {
                page_size,
                page_token,
                ..filter.clone()
            };
            let page = self.try_list(request).await.unwrap();
            entries.extend(page.entries);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return entries;
            }
        }
    }

    async fn entries(&self) -> Vec<AuditEntry> {
        self.entries_by(&ListAuditEntriesRequest::default(), 1000)
            .await
    }

    /// Waits until nothing is left to be sealed.
    async fn sealed(&self) {
        eventually("the audit to be sealed", || async {
            self.unsealed().await.is_empty().then_some(())
        })
        .await;
    }

    async fn try_verify(&self, request: VerifyAuditRequest) -> Result<VerifyAuditResponse, Status> {
        let verified = self.audits().verify_audit(request).await?;
        Ok(verified.into_inner())
    }

    async fn verify(&self) -> VerifyAuditResponse {
        self.try_verify(VerifyAuditRequest::default())
            .await
            .unwrap()
    }

    /// Verifies, and finds nothing wrong.
    async fn is_whole(&self) -> VerifyAuditResponse {
        let verified = self.verify().await;
        assert_eq!(verified.fault, None);
        verified
    }

    /// Key, version and revision of every version of these keys.
    async fn all_versions(&self, keys: &[String]) -> Vec<(String, i64, i64)> {
        let mut all = Vec::new();
        for key in keys {
            let request = ListConfigVersionsRequest {
                key: key.clone(),
                page_size: 1000,
                ..ListConfigVersionsRequest::default()
            };
            let listed = self.configs().list_config_versions(request).await.unwrap();
            let versions = listed.into_inner().versions;
            all.extend(versions.into_iter().map(|v| (v.key, v.version, v.revision)));
        }
        all.sort();
        all
    }

    async fn stored(&self, keys: KeyRange) -> Vec<KeyValue> {
        let found = self.app().core.store.range(RangeRequest::new(keys)).await;
        found.unwrap().kvs
    }

    /// What is not sealed yet, in revision order.
    async fn unsealed(&self) -> Vec<KeyValue> {
        let keys = self.app().core.keys.unsealed_in(&default());
        let mut found = self.stored(keys).await;
        found.sort_by_key(|kv| kv.create_revision);
        found
    }

    /// The stretches of the chain, oldest first.
    async fn seals(&self) -> Vec<(KeyValue, stored::AuditSeal)> {
        let keys = self.app().core.keys.seals_up_to(&default(), i64::MAX);
        let found = self.stored(keys).await.into_iter().rev();
        let decoded = found.map(|kv| {
            let seal = stored::AuditSeal::decode(kv.value.clone()).unwrap();
            (kv, seal)
        });
        decoded.collect()
    }

    /// Writes past the replica.
    async fn tamper(&self, step: Operation) {
        let txn = Txn::new().then(step);
        self.app().core.store.txn(txn).await.unwrap();
    }
}

/// Key, version and revision of what entries tell of.
fn told(entries: &[AuditEntry]) -> Vec<(String, i64, i64)> {
    let mut told: Vec<_> = entries
        .iter()
        .map(|entry| (entry.key.clone(), entry.version, entry.revision))
        .collect();
    told.sort();
    told
}
