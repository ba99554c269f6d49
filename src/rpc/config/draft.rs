//! Drafts.

use bytes::Bytes;
use stanchion_client::proto::{
    ConfigDelete, ConfigDraft, ConfigPut, DiscardDraftRequest, DiscardDraftResponse,
    GetDraftRequest, GetDraftResponse, ListDraftsRequest, ListDraftsResponse, PutDraftRequest,
    PutDraftResponse, config_draft, put_draft_request,
};
use tonic::Status;

use crate::{
    domain::{
        audit::Caller,
        config::{Body, ConfigPrefix, Draft, DraftsPage, PutDraft},
        hash64,
        names::ConfigKey,
    },
    rpc::{convert::Violations, page, status},
};

use super::{
    ConfigHandler, commit,
    decode::{self, terms},
    encode,
};

// === impl ConfigHandler ===

impl ConfigHandler {
    pub(super) async fn put_draft(
        &self,
        request: PutDraftRequest,
        caller: Caller,
    ) -> Result<PutDraftResponse, Status> {
        let mut fields = Violations::new();
        let path = decode::path(&mut fields, &request.namespace, &request.key);
        let expected_revision = fields.expected_revision(request.expected_revision, 0);
        let body = match request.change {
            Some(put_draft_request::Change::Put(put)) => {
                Some(fields.within("put.", |fields| commit::body(fields, put)))
            }
            Some(put_draft_request::Change::Delete(_)) => None,
            None => {
                fields.add("change", "must be given");
                None
            }
        };
        let terms = terms!(fields, request, caller);
        let put = PutDraft {
            path: fields.give(path)?,
            body,
            expected_revision,
            terms,
        };
        let done = self.configs.put_draft(put).await;
        let (mut draft, changed, revision) = done.map_err(status::of)?;
        forget_content(&mut draft);
        Ok(PutDraftResponse {
            header: Some(self.context.header.at(revision)),
            draft: Some(wire(&draft)),
            unchanged: !changed,
        })
    }

    pub(super) async fn draft(&self, request: GetDraftRequest) -> Result<GetDraftResponse, Status> {
        let mut fields = Violations::new();
        let path = decode::path(&mut fields, &request.namespace, &request.key);
        let found = self.configs.draft(&fields.give(path)?).await;
        let (draft, revision) = found.map_err(status::of)?;
        Ok(GetDraftResponse {
            header: Some(self.context.header.at(revision)),
            draft: Some(wire(&draft)),
        })
    }

    pub(super) async fn drafts(
        &self,
        request: ListDraftsRequest,
    ) -> Result<ListDraftsResponse, Status> {
        let mut fields = Violations::new();
        let namespace = fields.namespace(&request.namespace);
        let prefix = fields.take("prefix", ConfigPrefix::parse(&request.prefix));
        let size = fields.page_size(request.page_size);
        let (namespace, prefix) = fields.give(namespace.zip(prefix))?;
        let digest = hash64(format!("drafts\n{namespace}\n{prefix}"));
        let after = match page::after(&request.page_token, digest)? {
            None => None,
            Some(bytes) => Some(key_of(&bytes).ok_or_else(page::foreign)?),
        };
        let page = DraftsPage { after, size };
        let listed = self.configs.drafts(&namespace, &prefix, page).await;
        let listed = listed.map_err(status::of)?;
        Ok(ListDraftsResponse {
            header: Some(self.context.header.at(listed.revision)),
            drafts: listed.drafts.iter().map(wire).collect(),
            next_page_token: listed.next.map_or(String::new(), |next| {
                page::token(next.as_str().as_bytes(), digest)
            }),
        })
    }

    pub(super) async fn discard_draft(
        &self,
        request: DiscardDraftRequest,
    ) -> Result<DiscardDraftResponse, Status> {
        let mut fields = Violations::new();
        let path = decode::path(&mut fields, &request.namespace, &request.key);
        let expected = fields.expected_revision(request.expected_revision, 1);
        let guard = fields.guard(request.guard, &request.namespace);
        let path = fields.give(path)?;
        let done = self.configs.discard_draft(&path, expected, guard.as_ref());
        let (discarded, revision) = done.await.map_err(status::of)?;
        Ok(DiscardDraftResponse {
            header: Some(self.context.header.at(revision)),
            discarded,
        })
    }
}

fn key_of(bytes: &[u8]) -> Option<ConfigKey> {
    ConfigKey::parse(std::str::from_utf8(bytes).ok()?).ok()
}

/// The caller of a put knows it.
fn forget_content(draft: &mut Draft) {
    if let Some(body) = &mut draft.body {
        body.content = Bytes::new();
    }
}

fn wire(draft: &Draft) -> ConfigDraft {
    let put = |body: &Body| ConfigPut {
        content: body.content.clone(),
        content_type: encode::wire_content_type(body.content_type).into(),
        labels: body.labels.clone(),
        description: body.description.clone(),
    };
    ConfigDraft {
        namespace: draft.path.namespace.to_string(),
        key: draft.path.key.to_string(),
        change: Some(match &draft.body {
            Some(body) => config_draft::Change::Put(put(body)),
            None => config_draft::Change::Delete(ConfigDelete {}),
        }),
        base_version: draft.base_version,
        author: draft.actor.to_string(),
        comment: draft.comment.clone(),
        update_time: Some(draft.update_time.into()),
        revision: draft.revision,
    }
}
