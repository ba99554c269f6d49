//! Releases, and the drafts that they are made of.

use crate::{
    call::request_id,
    error::{Error, Result},
    pages::{self, PAGE},
    proto::{
        ConfigChange, ConfigDelete, ConfigDraft, ConfigPut, DiscardDraftRequest, GetDraftRequest,
        GetReleaseRequest, ListDraftsRequest, ListReleasesRequest, PublishReleaseRequest,
        PutDraftRequest, PutDraftResponse, Release, RollbackReleaseRequest,
        config_service_client::ConfigServiceClient, put_draft_request,
    },
};

use super::{ChangeOptions, Configs};

// === impl Configs ===

impl Configs {
    /// Keeps what a config is to say, or with nothing that it is to be deleted, without effect until
    /// a release publishes it. Of the options `expected_version` and `expected_sha256` mean nothing
    /// here.
    pub async fn put_draft(
        &self,
        key: &str,
        put: Option<ConfigPut>,
        options: ChangeOptions,
    ) -> Result<PutDraftResponse> {
        use put_draft_request::Change;

        let request = PutDraftRequest {
            namespace: self.client.namespace().into(),
            key: key.into(),
            change: Some(put.map_or(Change::Delete(ConfigDelete {}), Change::Put)),
            expected_revision: None,
            request_id: request_id(),
            guard: options.guard,
            actor: self.client.actor().into(),
            comment: options.comment,
            validate_only: options.validate_only,
        };
        self.client
            .caller()
            .call(request, ConfigServiceClient::put_draft)
            .await
    }

    /// Reads a draft.
    pub async fn draft(&self, key: &str) -> Result<ConfigDraft> {
        let request = GetDraftRequest {
            namespace: self.client.namespace().into(),
            key: key.into(),
        };
        let answer = self
            .client
            .caller()
            .call(request, ConfigServiceClient::get_draft)
            .await?;
        answer.draft.ok_or_else(|| Error::contract("draft"))
    }

    /// Lists the drafts whose key begins with `prefix`, ordered by key, without contents, all pages.
    pub async fn drafts(&self, prefix: &str) -> Result<Vec<ConfigDraft>> {
        pages::all(move |page_token| async move {
            let request = ListDraftsRequest {
                namespace: self.client.namespace().into(),
                prefix: prefix.into(),
                page_size: PAGE,
                page_token,
            };
            let page = self
                .client
                .caller()
                .call(request, ConfigServiceClient::list_drafts)
                .await?;
            Ok((page.drafts, page.next_page_token))
        })
        .await
    }

    /// Throws a draft away. Says whether there was one.
    pub async fn discard_draft(&self, key: &str) -> Result<bool> {
        let request = DiscardDraftRequest {
            namespace: self.client.namespace().into(),
            key: key.into(),
            expected_revision: None,
            guard: None,
        };
        let answer = self
            .client
            .caller()
            .call(request, ConfigServiceClient::discard_draft)
            .await?;
        Ok(answer.discarded)
    }

    /// Publishes up to 100 changes under one name, all of them or none. Of the options
    /// `expected_version` and `expected_sha256` mean nothing here: each change has its own.
    pub async fn publish(
        &self,
        name: &str,
        changes: Vec<ConfigChange>,
        options: ChangeOptions,
    ) -> Result<Release> {
        let request = PublishReleaseRequest {
            namespace: self.client.namespace().into(),
            name: name.into(),
            changes,
            request_id: request_id(),
            guard: options.guard,
            actor: self.client.actor().into(),
            comment: options.comment,
            validate_only: options.validate_only,
        };
        let answer = self
            .client
            .caller()
            .call(request, ConfigServiceClient::publish_release)
            .await?;
        answer.release.ok_or_else(|| Error::contract("release"))
    }

    /// Reads a release.
    pub async fn release(&self, name: &str) -> Result<Release> {
        let request = GetReleaseRequest {
            namespace: self.client.namespace().into(),
            name: name.into(),
        };
        let answer = self
            .client
            .caller()
            .call(request, ConfigServiceClient::get_release)
            .await?;
        answer.release.ok_or_else(|| Error::contract("release"))
    }

    /// Lists releases, newest first, without what they did: at most `limit` of them.
    pub async fn releases(&self, limit: usize) -> Result<Vec<Release>> {
        let caller = self.client.caller();
        pages::at_most(limit, |page_size, page_token| {
            let request = ListReleasesRequest {
                namespace: self.client.namespace().into(),
                page_size,
                page_token,
            };
            async move {
                let page = caller.call(request, ConfigServiceClient::list_releases);
                let page = page.await?;
                Ok((page.releases, page.next_page_token))
            }
        })
        .await
    }

    /// Restores what was before a release, as a new release: all of it, or nothing if a config has
    /// changed since, unless `force`. An empty `new_name` means the old one and `.rollback`.
    pub async fn rollback_release(
        &self,
        name: &str,
        new_name: &str,
        force: bool,
        options: ChangeOptions,
    ) -> Result<Release> {
        let request = RollbackReleaseRequest {
            namespace: self.client.namespace().into(),
            name: name.into(),
            new_name: new_name.into(),
            force,
            request_id: request_id(),
            guard: options.guard,
            actor: self.client.actor().into(),
            comment: options.comment,
            validate_only: options.validate_only,
        };
        let answer = self
            .client
            .caller()
            .call(request, ConfigServiceClient::rollback_release)
            .await?;
        answer.release.ok_or_else(|| Error::contract("release"))
    }
}
