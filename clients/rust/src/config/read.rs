//! Reads of configs: one, now or once it has changed, several, and one as it was.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::{
    duration::to_wire,
    error::{Error, Result},
    proto::{
        BatchGetConfigsRequest, BatchGetConfigsResponse, Config, ConfigVersion, ConfigWait,
        GetConfigAtRequest, GetConfigRequest, GetConfigResponse,
        config_service_client::ConfigServiceClient, get_config_at_request::Moment,
    },
};

use super::Configs;

/// The longest that a server waits at a time.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// A server is asked to wait at least so long.
const MIN_WAIT: Duration = Duration::from_millis(1);

// === impl Configs ===

impl Configs {
    /// Reads a config.
    pub async fn get(&self, key: &str) -> Result<Config> {
        let request = GetConfigRequest {
            namespace: self.client.namespace().into(),
            key: key.into(),
            ..Default::default()
        };
        let answer = self
            .client
            .caller()
            .call(request, ConfigServiceClient::get_config)
            .await?;
        answer.config.ok_or_else(|| Error::contract("config"))
    }

    /// Reads a config once it has a later version than `after_version` (zero: once there is one),
    /// or at the timeout as it is then: the answer is `unchanged`. Fails with `NOT_FOUND` as soon as
    /// it is deleted. For programs that look from time to time; [`watch`](Self::watch) follows it.
    pub async fn get_after(
        &self,
        key: &str,
        after_version: i64,
        timeout: Duration,
    ) -> Result<GetConfigResponse> {
        let caller = self.client.caller();
        // Longer than the clock can count is for ever.
        let end = Instant::now().checked_add(timeout);
        loop {
            let left = end.map_or(MAX_WAIT, |end| {
                end.saturating_duration_since(Instant::now())
            });
            let (patience, until) = caller.patience(Some(left.clamp(MIN_WAIT, MAX_WAIT)));
            let request = || GetConfigRequest {
                namespace: self.client.namespace().into(),
                key: key.into(),
                wait: Some(ConfigWait {
                    after_version,
                    timeout: until.map(|until| {
                        let left = until.saturating_duration_since(Instant::now());
                        to_wire(left.max(MIN_WAIT))
                    }),
                }),
                ..Default::default()
            };
            let answer = caller.call_with(patience, request, ConfigServiceClient::get_config);
            let answer = answer.await?;
            if !answer.unchanged || end.is_some_and(|end| Instant::now() >= end) {
                return Ok(answer);
            }
        }
    }

    /// Reads up to 100 configs as they are at one revision, and names those that do not exist.
    pub async fn get_several<K: Into<String>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<BatchGetConfigsResponse> {
        let request = BatchGetConfigsRequest {
            namespace: self.client.namespace().into(),
            keys: keys.into_iter().map(Into::into).collect(),
            ..Default::default()
        };
        let caller = self.client.caller();
        caller
            .call(request, ConfigServiceClient::batch_get_configs)
            .await
    }

    /// Reads the version of a config that was current at a time, by the clocks of the replicas that
    /// made versions. `None`: the config was deleted then.
    pub async fn at_time(&self, key: &str, time: SystemTime) -> Result<Option<ConfigVersion>> {
        self.at(key, Moment::Time(time.into())).await
    }

    /// Reads the version of a config that was current at a revision of the store. `None`: the
    /// config was deleted then.
    pub async fn at_revision(&self, key: &str, revision: i64) -> Result<Option<ConfigVersion>> {
        self.at(key, Moment::Revision(revision)).await
    }

    async fn at(&self, key: &str, moment: Moment) -> Result<Option<ConfigVersion>> {
        let request = GetConfigAtRequest {
            namespace: self.client.namespace().into(),
            key: key.into(),
            moment: Some(moment),
            ..Default::default()
        };
        let caller = self.client.caller();
        let answer = caller.call(request, ConfigServiceClient::get_config_at);
        let answer = answer.await?;
        let version = answer.version.ok_or_else(|| Error::contract("version"))?;
        Ok((!answer.deleted).then_some(version))
    }
}
