//! The config centre, through its public API.

mod bad_input;
mod behind;
mod blobs;
mod commits;
mod contention;
mod contents;
mod diffs;
mod follower;
mod history;
mod lost_answers;
mod pins;
mod reads;
mod records;
mod releases;
mod repeats;
mod retention;
mod schemas;
mod store_away;
mod waits;
mod watch;
mod writes;

use stanchion_client::proto::{
    Config, ConfigChange, ConfigPut, ConfigVersion, DeleteConfigRequest, DeleteConfigResponse,
    GetConfigRequest, ListConfigVersionsRequest, PutConfigRequest, PutConfigResponse,
    RollbackConfigRequest, RollbackConfigResponse, config_change::Change,
};
use tonic::Status;

use crate::support::server::Server;

fn put(key: &str, content: impl AsRef<[u8]>) -> PutConfigRequest {
    PutConfigRequest {
        key: key.into(),
        content: content.as_ref().to_vec().into(),
        ..PutConfigRequest::default()
    }
}

fn delete(key: &str) -> DeleteConfigRequest {
    DeleteConfigRequest {
        key: key.into(),
        ..DeleteConfigRequest::default()
    }
}

fn rollback(key: &str, version: i64) -> RollbackConfigRequest {
    RollbackConfigRequest {
        key: key.into(),
        version,
        ..RollbackConfigRequest::default()
    }
}

fn get(key: &str) -> GetConfigRequest {
    GetConfigRequest {
        key: key.into(),
        ..GetConfigRequest::default()
    }
}

/// What is put together with others, or as a draft.
pub(crate) fn content(content: impl AsRef<[u8]>) -> ConfigPut {
    ConfigPut {
        content: content.as_ref().to_vec().into(),
        ..ConfigPut::default()
    }
}

/// One change of several.
pub(crate) fn change(key: &str, change: Change) -> ConfigChange {
    ConfigChange {
        key: key.into(),
        change: Some(change),
        ..ConfigChange::default()
    }
}

/// Calls whose outcome a test looks at.
impl Server {
    async fn try_put(&self, request: PutConfigRequest) -> Result<PutConfigResponse, Status> {
        let response = self.configs().put_config(request).await?;
        Ok(response.into_inner())
    }

    async fn put(&self, key: &str, content: impl AsRef<[u8]>) -> Config {
        let response = self.try_put(put(key, content)).await.unwrap();
        response.config.unwrap()
    }

    async fn try_delete(
        &self,
        request: DeleteConfigRequest,
    ) -> Result<DeleteConfigResponse, Status> {
        let response = self.configs().delete_config(request).await?;
        Ok(response.into_inner())
    }

    async fn try_rollback(
        &self,
        request: RollbackConfigRequest,
    ) -> Result<RollbackConfigResponse, Status> {
        let response = self.configs().rollback_config(request).await?;
        Ok(response.into_inner())
    }

    async fn try_get(&self, request: GetConfigRequest) -> Result<Config, Status> {
        let response = self.configs().get_config(request).await?;
        Ok(response.into_inner().config.unwrap())
    }

    /// All versions of a key, newest first.
    async fn versions(&self, key: &str) -> Vec<ConfigVersion> {
        let request = ListConfigVersionsRequest {
            key: key.into(),
            page_size: 1000,
            ..ListConfigVersionsRequest::default()
        };
        let response = self.configs().list_config_versions(request).await.unwrap();
        let response = response.into_inner();
        assert_eq!(response.next_page_token, "");
        response.versions
    }

    async fn version_numbers(&self, key: &str) -> Vec<i64> {
        let versions = self.versions(key).await;
        versions.iter().map(|version| version.version).collect()
    }
}
