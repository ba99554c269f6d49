//! The versions of a config.

use stanchion_client::proto::{
    GetConfigVersionRequest, GetConfigVersionResponse, ListConfigVersionsRequest,
    ListConfigVersionsResponse,
};
use tonic::Status;

use crate::{
    domain::{config::VersionsPage, hash64},
    rpc::{convert::Violations, page, status},
};

use super::{ConfigHandler, decode, encode};

// === impl ConfigHandler ===

impl ConfigHandler {
    pub(super) async fn versions(
        &self,
        request: ListConfigVersionsRequest,
    ) -> Result<ListConfigVersionsResponse, Status> {
        let mut fields = Violations::new();
        let path = decode::path(&mut fields, &request.namespace, &request.key);
        let size = fields.page_size(request.page_size);
        let freshness = fields.freshness(request.consistency, request.min_revision);
        let path = fields.give(path)?;
        let digest = hash64(format!("config versions\n{}", path.path()));
        let before = match page::after(&request.page_token, digest)? {
            None => None,
            Some(bytes) => Some(decode::version_number(&bytes).ok_or_else(page::foreign)?),
        };
        let page = VersionsPage { before, size };
        let listed = self.configs.versions(&path, page, freshness).await;
        let listed = listed.map_err(status::of)?;
        let versions = listed.versions.iter();
        let versions = versions.map(|version| {
            let pinned = listed.pinned.contains(&version.version);
            encode::config_version(&path, version, pinned)
        });
        Ok(ListConfigVersionsResponse {
            header: Some(self.context.header.at(listed.revision)),
            versions: versions.collect(),
            next_page_token: listed.next.map_or(String::new(), |next| {
                page::token(&next.to_be_bytes(), digest)
            }),
        })
    }

    pub(super) async fn version(
        &self,
        request: GetConfigVersionRequest,
    ) -> Result<GetConfigVersionResponse, Status> {
        let mut fields = Violations::new();
        let path = decode::path(&mut fields, &request.namespace, &request.key);
        decode::positive(&mut fields, "version", request.version);
        let freshness = fields.freshness(request.consistency, request.min_revision);
        let path = fields.give(path)?;
        let found = self
            .configs
            .version(&path, request.version, freshness)
            .await;
        let (version, pinned, revision) = found.map_err(status::of)?;
        Ok(GetConfigVersionResponse {
            header: Some(self.context.header.at(revision)),
            version: Some(encode::whole_version(&path, &version, pinned)),
        })
    }
}
