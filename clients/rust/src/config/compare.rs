//! What differs between versions, and who wrote what.

use bytes::Bytes;

use crate::{
    error::Result,
    proto::{
        BlameConfigRequest, BlameConfigResponse, ConfigSide, ContentType,
        DiffConfigVersionsRequest, DiffConfigVersionsResponse, GivenContent,
        config_service_client::ConfigServiceClient, config_side,
    },
};

use super::Configs;

/// One side of a comparison. See [`Configs::diff`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Side {
    /// A version.
    Version(i64),
    /// What no version says, or not yet.
    Given {
        /// The content.
        content: Bytes,
        /// What it is written in.
        content_type: ContentType,
    },
}

// === impl Configs ===

impl Configs {
    /// Compares two versions of a config, or one with a content. Without `to`, the current version
    /// is what is said after; without `from`, the version before that one is what was said before,
    /// or the current one where `to` is given.
    pub async fn diff(
        &self,
        key: &str,
        from: Option<Side>,
        to: Option<Side>,
    ) -> Result<DiffConfigVersionsResponse> {
        let request = DiffConfigVersionsRequest {
            namespace: self.client.namespace().into(),
            key: key.into(),
            from: from.map(Into::into),
            to: to.map(Into::into),
            ..Default::default()
        };
        let caller = self.client.caller();
        caller
            .call(request, ConfigServiceClient::diff_config_versions)
            .await
    }

    /// Finds out which version brought each line of a version of a config; zero: of the current one.
    pub async fn blame(&self, key: &str, version: i64) -> Result<BlameConfigResponse> {
        let request = BlameConfigRequest {
            namespace: self.client.namespace().into(),
            key: key.into(),
            version,
            ..Default::default()
        };
        let caller = self.client.caller();
        caller
            .call(request, ConfigServiceClient::blame_config)
            .await
    }
}

// === impl Side ===

impl From<Side> for ConfigSide {
    fn from(side: Side) -> Self {
        let side = match side {
            Side::Version(version) => config_side::Side::Version(version),
            Side::Given {
                content,
                content_type,
            } => config_side::Side::Given(GivenContent {
                content,
                content_type: content_type.into(),
            }),
        };
        Self { side: Some(side) }
    }
}
