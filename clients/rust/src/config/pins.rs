//! Pins: versions that stay however old they get.

use crate::{
    error::Result,
    proto::{
        PinConfigVersionRequest, PinConfigVersionResponse, UnpinConfigVersionRequest,
        UnpinConfigVersionResponse, config_service_client::ConfigServiceClient,
    },
};

use super::{ChangeOptions, Configs};

// === impl Configs ===

impl Configs {
    /// Keeps a version, however many come after it and however old it gets. Of the options
    /// `expected_version` and `expected_sha256` mean nothing here.
    pub async fn pin(
        &self,
        key: &str,
        version: i64,
        options: ChangeOptions,
    ) -> Result<PinConfigVersionResponse> {
        let request = PinConfigVersionRequest {
            namespace: self.client.namespace().into(),
            key: key.into(),
            version,
            guard: options.guard,
            actor: self.client.actor().into(),
            comment: options.comment,
            validate_only: options.validate_only,
        };
        self.client
            .caller()
            .call(request, ConfigServiceClient::pin_config_version)
            .await
    }

    /// Keeps a version no longer than others. Succeeds if it was not pinned. Of the options
    /// `expected_version` and `expected_sha256` mean nothing here.
    pub async fn unpin(
        &self,
        key: &str,
        version: i64,
        options: ChangeOptions,
    ) -> Result<UnpinConfigVersionResponse> {
        let request = UnpinConfigVersionRequest {
            namespace: self.client.namespace().into(),
            key: key.into(),
            version,
            guard: options.guard,
            actor: self.client.actor().into(),
            comment: options.comment,
            validate_only: options.validate_only,
        };
        self.client
            .caller()
            .call(request, ConfigServiceClient::unpin_config_version)
            .await
    }
}
