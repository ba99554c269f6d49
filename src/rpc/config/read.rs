//! Reads of items: one, once it has changed, several, and one as it was.

use std::sync::Arc;

use prost::Message;
use stanchion_client::proto::{
    BatchGetConfigsRequest, BatchGetConfigsResponse, GetConfigAtRequest, GetConfigAtResponse,
    GetConfigRequest, GetConfigResponse,
};
use tonic::Status;

use crate::{
    domain::{
        config::{ConfigHead, ConfigSelection},
        keyspace::ConfigPath,
        state::View,
    },
    rpc::{convert::Violations, framed::Written, status},
};

use super::{ConfigHandler, decode, encode};

/// The largest content, in bytes, whose answer is kept for the next who asks.
const KEPT_CONTENT: usize = 16 * 1024;

// === impl ConfigHandler ===

impl ConfigHandler {
    /// Gets a config.
    pub async fn get(&self, request: GetConfigRequest) -> Result<Written, Status> {
        let mut fields = Violations::new();
        let path = decode::path(&mut fields, &request.namespace, &request.key);
        let freshness = fields.freshness(request.consistency, request.min_revision);
        let wait = decode::wait(&mut fields, request.wait);
        let path = fields.give(path)?;
        let Some(wait) = wait else {
            let found = self.configs.get(&path, freshness).await;
            let (head, view) = found.map_err(status::of)?;
            return Ok(self.found(path, &head, &view, false));
        };
        let this = self.clone();
        Ok(Written::awaited(async move {
            let found = this.configs.get_after(&path, wait, freshness).await;
            let (head, view, unchanged) = found.map_err(status::of)?;
            Ok(this.found(path, &head, &view, unchanged))
        }))
    }

    fn found(
        &self,
        path: ConfigPath,
        head: &Arc<ConfigHead>,
        view: &View,
        unchanged: bool,
    ) -> Written {
        let selection = ConfigSelection::Key(path);
        let token = self.context.core.cache.token(view, &selection);
        let own = GetConfigResponse {
            header: Some(self.context.header.of(view)),
            resume_token: token.encode().into(),
            unchanged,
            ..GetConfigResponse::default()
        };
        let shared = || {
            let shared = GetConfigResponse {
                config: Some(encode::whole(head)),
                ..GetConfigResponse::default()
            };
            shared.encode_to_vec().into()
        };
        // Of a large one it would be a second copy, to save little.
        let keep = head.current.size <= KEPT_CONTENT;
        let shared = if keep {
            head.wire.get_or_make(shared)
        } else {
            shared()
        };
        Written::new(&own, shared)
    }

    pub(super) async fn batch_get(
        &self,
        request: BatchGetConfigsRequest,
    ) -> Result<BatchGetConfigsResponse, Status> {
        let mut fields = Violations::new();
        let namespace = fields.namespace(&request.namespace);
        let keys = decode::keys(&mut fields, "keys", &request.keys);
        let freshness = fields.freshness(request.consistency, request.min_revision);
        let namespace = fields.give(namespace)?;
        let found = self.configs.get_several(&namespace, &keys, freshness).await;
        let (heads, missing, view) = found.map_err(status::of)?;
        let content = !request.omit_content;
        let configs = heads.iter();
        let configs = configs.map(|head| encode::config(&head.path, &head.current, content));
        let mut answer = BatchGetConfigsResponse {
            header: Some(self.context.header.of(&view)),
            configs: configs.collect(),
            missing_keys: missing.into_iter().map(ToString::to_string).collect(),
            ..BatchGetConfigsResponse::default()
        };
        let selection = ConfigSelection::Keys(namespace, keys);
        let token = self.context.core.cache.token(&view, &selection);
        answer.resume_token = token.encode().into();
        self.fitting(answer)
    }

    pub(super) async fn get_at(
        &self,
        request: GetConfigAtRequest,
    ) -> Result<GetConfigAtResponse, Status> {
        let mut fields = Violations::new();
        let path = decode::path(&mut fields, &request.namespace, &request.key);
        let moment = decode::moment(&mut fields, request.moment);
        let freshness = fields.freshness(request.consistency, request.min_revision);
        let (path, moment) = fields.give(path.zip(moment))?;
        let found = self.configs.version_at(&path, moment, freshness).await;
        let (version, pinned, revision) = found.map_err(status::of)?;
        Ok(GetConfigAtResponse {
            header: Some(self.context.header.at(revision)),
            version: Some(encode::whole_version(&path, &version, pinned)),
            deleted: version.deleted,
        })
    }
}
