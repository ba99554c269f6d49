//! `ConfigService`: configuration with its history.

mod commit;
mod compare;
mod decode;
mod draft;
mod encode;
mod pins;
mod read;
mod release;
mod schemas;
mod versions;

use prost::Message;
use stanchion_client::proto::{
    BatchGetConfigsRequest, BatchGetConfigsResponse, BlameConfigRequest, BlameConfigResponse,
    CommitConfigsRequest, CommitConfigsResponse, Config, DeleteConfigRequest, DeleteConfigResponse,
    DeleteConfigSchemaRequest, DeleteConfigSchemaResponse, DiffConfigVersionsRequest,
    DiffConfigVersionsResponse, DiscardDraftRequest, DiscardDraftResponse, GetConfigAtRequest,
    GetConfigAtResponse, GetConfigRequest, GetConfigResponse, GetConfigSchemaRequest,
    GetConfigSchemaResponse, GetConfigVersionRequest, GetConfigVersionResponse, GetDraftRequest,
    GetDraftResponse, GetReleaseRequest, GetReleaseResponse, ListConfigSchemasRequest,
    ListConfigSchemasResponse, ListConfigVersionsRequest, ListConfigVersionsResponse,
    ListConfigsRequest, ListConfigsResponse, ListDraftsRequest, ListDraftsResponse,
    ListReleasesRequest, ListReleasesResponse, PinConfigVersionRequest, PinConfigVersionResponse,
    PublishReleaseRequest, PublishReleaseResponse, PutConfigRequest, PutConfigResponse,
    PutConfigSchemaRequest, PutConfigSchemaResponse, PutDraftRequest, PutDraftResponse,
    RollbackConfigRequest, RollbackConfigResponse, RollbackReleaseRequest, RollbackReleaseResponse,
    UnpinConfigVersionRequest, UnpinConfigVersionResponse, WatchConfigsRequest,
    WatchConfigsResponse,
};
use tonic::{Request, Response, Status, async_trait};

use crate::{
    domain::config::{Body, Configs},
    proto::server::config_service_server::ConfigService,
    rpc::{
        Context,
        convert::{self, Violations},
        page, status,
        watch::{self, WatchStream, watch_response},
    },
};

use self::decode::Asked;

/// The handler of `ConfigService`. Clones share the replica.
#[derive(Clone)]
pub struct ConfigHandler {
    context: Context,
    configs: Configs,
}

watch_response!(
    WatchConfigsResponse in watch_configs_response,
    ConfigSnapshot { configs },
    ConfigDelta,
    ConfigEvent { config: Config }
);

// === impl ConfigHandler ===

impl ConfigHandler {
    /// A handler over one replica.
    pub fn new(context: Context) -> Self {
        Self {
            configs: Configs::new(context.core.clone()),
            context,
        }
    }

    /// An answer, unless it is too large: before it is written, which would take as much room again.
    fn fitting<T: Message>(&self, answer: T) -> Result<T, Status> {
        let limit = self.context.settings.max_response_bytes;
        match answer.encoded_len() {
            size if size > limit => Err(status::response_too_large(size, limit)),
            _ => Ok(answer),
        }
    }
}

#[async_trait]
impl ConfigService for ConfigHandler {
    type WatchConfigsStream = WatchStream<WatchConfigsResponse>;

    async fn put_config(
        &self,
        request: Request<PutConfigRequest>,
    ) -> Result<Response<PutConfigResponse>, Status> {
        let caller = convert::caller(&request);
        let request = request.into_inner();
        let mut fields = Violations::new();
        let body = Body {
            content: request.content,
            content_type: decode::content_type(&mut fields, "content_type", request.content_type),
            labels: decode::labels(&mut fields, "labels", request.labels),
            description: decode::description(&mut fields, "description", request.description),
        };
        let asked = Asked {
            namespace: request.namespace,
            key: request.key,
            expected_version: request.expected_version,
            request_id: request.request_id,
            guard: request.guard,
            actor: request.actor,
            caller,
            comment: request.comment,
            expected_sha256: request.expected_sha256,
            validate_only: request.validate_only,
        };
        let mutation = decode::mutation(fields, asked, 0)?;
        let path = mutation.path.clone();
        let written = self.configs.put(mutation, body).await.map_err(status::of)?;
        Ok(Response::new(PutConfigResponse {
            header: Some(self.context.header.at(written.revision)),
            unchanged: written.unchanged,
            config: Some(encode::answer(&path, written)),
        }))
    }

    async fn get_config(
        &self,
        request: Request<GetConfigRequest>,
    ) -> Result<Response<GetConfigResponse>, Status> {
        Ok(self.get(request.into_inner()).await?.into_answer())
    }

    async fn batch_get_configs(
        &self,
        request: Request<BatchGetConfigsRequest>,
    ) -> Result<Response<BatchGetConfigsResponse>, Status> {
        let answer = self.batch_get(request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn get_config_at(
        &self,
        request: Request<GetConfigAtRequest>,
    ) -> Result<Response<GetConfigAtResponse>, Status> {
        let answer = self.get_at(request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn list_configs(
        &self,
        request: Request<ListConfigsRequest>,
    ) -> Result<Response<ListConfigsResponse>, Status> {
        let request = request.into_inner();
        let mut fields = Violations::new();
        let selection = decode::prefix(&mut fields, &request.namespace, &request.prefix);
        let size = fields.page_size(request.page_size);
        let freshness = fields.freshness(request.consistency, request.min_revision);
        let selection = fields.give(selection)?;
        let view = self.configs.read(freshness).await.map_err(status::of)?;
        let page = page::resumable(&view, &selection, &request.page_token, size)?;
        let content = !request.omit_content;
        let configs = page.items.iter();
        let configs = configs.map(|head| encode::config(&head.path, &head.current, content));
        Ok(Response::new(ListConfigsResponse {
            header: Some(self.context.header.of(&view)),
            configs: configs.collect(),
            next_page_token: page.next,
            resume_token: page.resume,
        }))
    }

    async fn delete_config(
        &self,
        request: Request<DeleteConfigRequest>,
    ) -> Result<Response<DeleteConfigResponse>, Status> {
        let caller = convert::caller(&request);
        let request = request.into_inner();
        let asked = Asked {
            namespace: request.namespace,
            key: request.key,
            expected_version: request.expected_version,
            request_id: request.request_id,
            guard: request.guard,
            actor: request.actor,
            caller,
            comment: request.comment,
            expected_sha256: request.expected_sha256,
            validate_only: request.validate_only,
        };
        let mutation = decode::mutation(Violations::new(), asked, 1)?;
        let deleted = self.configs.delete(mutation).await.map_err(status::of)?;
        Ok(Response::new(DeleteConfigResponse {
            header: Some(self.context.header.at(deleted.revision)),
            deleted: deleted.deleted,
            version: deleted.version,
        }))
    }

    async fn commit_configs(
        &self,
        request: Request<CommitConfigsRequest>,
    ) -> Result<Response<CommitConfigsResponse>, Status> {
        let caller = convert::caller(&request);
        self.commit(request.into_inner(), caller)
            .await
            .map(Response::new)
    }

    async fn put_draft(
        &self,
        request: Request<PutDraftRequest>,
    ) -> Result<Response<PutDraftResponse>, Status> {
        let caller = convert::caller(&request);
        let answer = ConfigHandler::put_draft(self, request.into_inner(), caller).await?;
        Ok(Response::new(answer))
    }

    async fn get_draft(
        &self,
        request: Request<GetDraftRequest>,
    ) -> Result<Response<GetDraftResponse>, Status> {
        let answer = self.draft(request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn list_drafts(
        &self,
        request: Request<ListDraftsRequest>,
    ) -> Result<Response<ListDraftsResponse>, Status> {
        let answer = self.drafts(request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn discard_draft(
        &self,
        request: Request<DiscardDraftRequest>,
    ) -> Result<Response<DiscardDraftResponse>, Status> {
        let answer = ConfigHandler::discard_draft(self, request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn publish_release(
        &self,
        request: Request<PublishReleaseRequest>,
    ) -> Result<Response<PublishReleaseResponse>, Status> {
        let caller = convert::caller(&request);
        let answer = self.publish(request.into_inner(), caller).await?;
        Ok(Response::new(answer))
    }

    async fn get_release(
        &self,
        request: Request<GetReleaseRequest>,
    ) -> Result<Response<GetReleaseResponse>, Status> {
        let answer = self.release(request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn list_releases(
        &self,
        request: Request<ListReleasesRequest>,
    ) -> Result<Response<ListReleasesResponse>, Status> {
        let answer = self.releases(request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn rollback_release(
        &self,
        request: Request<RollbackReleaseRequest>,
    ) -> Result<Response<RollbackReleaseResponse>, Status> {
        let caller = convert::caller(&request);
        let answer = self.roll_back(request.into_inner(), caller).await?;
        Ok(Response::new(answer))
    }

    async fn watch_configs(
        &self,
        request: Request<WatchConfigsRequest>,
    ) -> Result<Response<Self::WatchConfigsStream>, Status> {
        let request = request.into_inner();
        let mut fields = Violations::new();
        let selection = decode::selection(&mut fields, &request.namespace, request.selection);
        let epoch = self.context.header.epoch();
        let start = fields.start(request.start, &epoch);
        let min_interval = fields.min_interval(request.min_interval);
        let selection = fields.give(selection)?;
        let Context { core, settings, .. } = &self.context;
        let watch = &settings.watch;
        let terms = watch::Terms::new(start, min_interval);
        watch::open(core, watch, selection, terms, encode::whole)
    }

    async fn list_config_versions(
        &self,
        request: Request<ListConfigVersionsRequest>,
    ) -> Result<Response<ListConfigVersionsResponse>, Status> {
        let answer = self.versions(request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn get_config_version(
        &self,
        request: Request<GetConfigVersionRequest>,
    ) -> Result<Response<GetConfigVersionResponse>, Status> {
        let answer = self.version(request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn diff_config_versions(
        &self,
        request: Request<DiffConfigVersionsRequest>,
    ) -> Result<Response<DiffConfigVersionsResponse>, Status> {
        let answer = self.diff(request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn blame_config(
        &self,
        request: Request<BlameConfigRequest>,
    ) -> Result<Response<BlameConfigResponse>, Status> {
        let answer = self.blame(request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn rollback_config(
        &self,
        request: Request<RollbackConfigRequest>,
    ) -> Result<Response<RollbackConfigResponse>, Status> {
        let caller = convert::caller(&request);
        let request = request.into_inner();
        let mut fields = Violations::new();
        decode::positive(&mut fields, "version", request.version);
        let asked = Asked {
            namespace: request.namespace,
            key: request.key,
            expected_version: request.expected_version,
            request_id: request.request_id,
            guard: request.guard,
            actor: request.actor,
            caller,
            comment: request.comment,
            expected_sha256: request.expected_sha256,
            validate_only: request.validate_only,
        };
        let mutation = decode::mutation(fields, asked, 0)?;
        let path = mutation.path.clone();
        let written = self.configs.roll_back(mutation, request.version).await;
        let written = written.map_err(status::of)?;
        Ok(Response::new(RollbackConfigResponse {
            header: Some(self.context.header.at(written.revision)),
            unchanged: written.unchanged,
            config: Some(encode::answer(&path, written)),
        }))
    }

    async fn pin_config_version(
        &self,
        request: Request<PinConfigVersionRequest>,
    ) -> Result<Response<PinConfigVersionResponse>, Status> {
        let caller = convert::caller(&request);
        let answer = self.pin(request.into_inner(), caller).await?;
        Ok(Response::new(answer))
    }

    async fn unpin_config_version(
        &self,
        request: Request<UnpinConfigVersionRequest>,
    ) -> Result<Response<UnpinConfigVersionResponse>, Status> {
        let caller = convert::caller(&request);
        let answer = self.unpin(request.into_inner(), caller).await?;
        Ok(Response::new(answer))
    }

    async fn put_config_schema(
        &self,
        request: Request<PutConfigSchemaRequest>,
    ) -> Result<Response<PutConfigSchemaResponse>, Status> {
        let caller = convert::caller(&request);
        schemas::put(self, request.into_inner(), caller).await
    }

    async fn get_config_schema(
        &self,
        request: Request<GetConfigSchemaRequest>,
    ) -> Result<Response<GetConfigSchemaResponse>, Status> {
        schemas::get(self, request.into_inner()).await
    }

    async fn list_config_schemas(
        &self,
        request: Request<ListConfigSchemasRequest>,
    ) -> Result<Response<ListConfigSchemasResponse>, Status> {
        schemas::list(self, request.into_inner()).await
    }

    async fn delete_config_schema(
        &self,
        request: Request<DeleteConfigSchemaRequest>,
    ) -> Result<Response<DeleteConfigSchemaResponse>, Status> {
        let caller = convert::caller(&request);
        schemas::delete(self, request.into_inner(), caller).await
    }
}
