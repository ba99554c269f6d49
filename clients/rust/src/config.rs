//! Configuration: read, written, followed.

mod bind;
mod commit;
mod compare;
mod failover;
#[cfg(feature = "serde")]
mod format;
mod keep;
mod live;
mod origin;
mod pins;
mod place;
mod read;
mod release;
mod schemas;
mod snapshot;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    Client,
    call::request_id,
    error::{Error, Result},
    mirror::Mirror,
    pages::{self, PAGE},
    proto::{
        Config, ConfigVersion, ContentType, DeleteConfigRequest, DeleteConfigResponse,
        GetConfigVersionRequest, Guard, ListConfigVersionsRequest, ListConfigsRequest,
        PutConfigRequest, PutConfigResponse, RollbackConfigRequest, RollbackConfigResponse,
        WatchConfigsRequest, config_service_client::ConfigServiceClient, watch_configs_request,
    },
    watch::Watch,
};

pub use self::{
    bind::{Bind, BindOptions, BoxError},
    live::{Live, OnChange},
    origin::{Current, Origin, Problem},
};
pub use self::{commit::Commit, compare::Side};

/// The configuration of a namespace. See [`Client::config`].
#[derive(Debug, Clone)]
pub struct Configs {
    client: Client,
}

/// A version to be written. See [`Configs::put`].
#[derive(Debug, Clone)]
#[must_use = "nothing is written before `send`"]
pub struct Put {
    client: Client,
    request: PutConfigRequest,
}

/// How a change of a config is made: conditions and notes. The default has none.
#[derive(Debug, Clone, Default)]
pub struct ChangeOptions {
    /// Version the config must have now; zero means that it must not exist. Default: not checked.
    pub expected_version: Option<i64>,
    /// SHA-256 the content must have now, in hexadecimal digits. Default: not checked.
    pub expected_sha256: Option<String>,
    /// Changes only while a lock is held. Default: none.
    pub guard: Option<Guard>,
    /// Why, at most 1 KiB. Default: empty.
    pub comment: String,
    /// Says what would come of it, and changes nothing. Default: false.
    pub validate_only: bool,
}

/// The current version of one key, kept current in the background. Clones share the watch.
#[derive(Debug, Clone)]
pub struct Value {
    key: String,
    mirror: Mirror<Config>,
}

/// The configs below a prefix, kept current in the background. Clones share the watch.
#[derive(Debug, Clone)]
pub struct Values {
    mirror: Mirror<Config>,
}

// === impl Configs ===

impl Configs {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Begins to write a config: `put("db/url", "…").send()`.
    pub fn put(&self, key: &str, content: impl Into<Bytes>) -> Put {
        Put {
            request: PutConfigRequest {
                namespace: self.client.namespace().into(),
                key: key.into(),
                content: content.into(),
                request_id: request_id(),
                actor: self.client.actor().into(),
                ..Default::default()
            },
            client: self.client.clone(),
        }
    }

    /// Lists the configs whose key begins with `prefix`, ordered by key, all pages.
    pub async fn list(&self, prefix: &str) -> Result<Vec<Config>> {
        self.list_as(prefix, false).await
    }

    /// Lists like [`list`](Self::list), without the contents.
    pub async fn list_without_content(&self, prefix: &str) -> Result<Vec<Config>> {
        self.list_as(prefix, true).await
    }

    async fn list_as(&self, prefix: &str, omit_content: bool) -> Result<Vec<Config>> {
        pages::all(move |page_token| async move {
            let request = ListConfigsRequest {
                namespace: self.client.namespace().into(),
                prefix: prefix.into(),
                page_size: PAGE,
                page_token,
                omit_content,
                ..Default::default()
            };
            let page = self
                .client
                .caller()
                .call(request, ConfigServiceClient::list_configs)
                .await?;
            Ok((page.configs, page.next_page_token))
        })
        .await
    }

    /// Deletes a config; its history stays. Succeeds if it is gone.
    pub async fn delete(&self, key: &str, options: ChangeOptions) -> Result<DeleteConfigResponse> {
        let request = DeleteConfigRequest {
            namespace: self.client.namespace().into(),
            key: key.into(),
            expected_version: options.expected_version,
            request_id: request_id(),
            guard: options.guard,
            actor: self.client.actor().into(),
            comment: options.comment,
            expected_sha256: options.expected_sha256.unwrap_or_default(),
            validate_only: options.validate_only,
        };
        self.client
            .caller()
            .call(request, ConfigServiceClient::delete_config)
            .await
    }

    /// Lists the versions of a key, newest first, without contents: at most `limit` of them.
    pub async fn history(&self, key: &str, limit: usize) -> Result<Vec<ConfigVersion>> {
        let caller = self.client.caller();
        pages::at_most(limit, |page_size, page_token| {
            let request = ListConfigVersionsRequest {
                namespace: self.client.namespace().into(),
                key: key.into(),
                page_size,
                page_token,
                ..Default::default()
            };
            async move {
                let page = caller.call(request, ConfigServiceClient::list_config_versions);
                let page = page.await?;
                Ok((page.versions, page.next_page_token))
            }
        })
        .await
    }

    /// Reads one version of a key.
    pub async fn version(&self, key: &str, version: i64) -> Result<ConfigVersion> {
        let request = GetConfigVersionRequest {
            namespace: self.client.namespace().into(),
            key: key.into(),
            version,
            ..Default::default()
        };
        let answer = self
            .client
            .caller()
            .call(request, ConfigServiceClient::get_config_version)
            .await?;
        answer.version.ok_or_else(|| Error::contract("version"))
    }

    /// Makes an earlier version the current one again, as a new version.
    pub async fn rollback(
        &self,
        key: &str,
        version: i64,
        options: ChangeOptions,
    ) -> Result<RollbackConfigResponse> {
        let request = RollbackConfigRequest {
            namespace: self.client.namespace().into(),
            key: key.into(),
            version,
            expected_version: options.expected_version,
            request_id: request_id(),
            guard: options.guard,
            actor: self.client.actor().into(),
            comment: options.comment,
            expected_sha256: options.expected_sha256.unwrap_or_default(),
            validate_only: options.validate_only,
        };
        self.client
            .caller()
            .call(request, ConfigServiceClient::rollback_config)
            .await
    }

    /// Follows one key, which need not exist yet.
    pub fn watch(&self, key: &str) -> Value {
        let selection = watch_configs_request::Selection::Key(key.into());
        Value {
            key: key.into(),
            mirror: Mirror::follow(self.client.caller().clone(), self.selection(selection)),
        }
    }

    /// Begins to bind a config to a type, by its content type: JSON, YAML and TOML with the crate's
    /// features `json`, `yaml`, `toml`; a text is a string, or what it is in JSON.
    ///
    /// ```no_run
    /// # #[cfg(feature = "serde")]
    /// # async fn example(client: stanchion_client::Client) -> stanchion_client::Result<()> {
    /// use std::collections::BTreeMap;
    ///
    /// let limits = client.config().bind::<BTreeMap<String, u32>>("shop/limits").start().await?;
    /// println!("{:?} from {:?}", limits.get(), limits.current().origin);
    /// let _told = limits.on_change(|now| println!("{:?}, {:?}", now.value, now.problem));
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "serde")]
    pub fn bind<T>(&self, key: &str) -> Bind<T>
    where
        T: serde::de::DeserializeOwned + Send + Sync + 'static,
    {
        Bind::new(self.clone(), key, Arc::new(format::decode))
    }

    /// Begins to bind a config to a type, by a function that makes a value of it, or says why not.
    pub fn bind_with<T, E>(
        &self,
        key: &str,
        decode: impl Fn(&Config) -> std::result::Result<T, E> + Send + Sync + 'static,
    ) -> Bind<T>
    where
        T: Send + Sync + 'static,
        E: Into<BoxError>,
    {
        let decode = move |config: &Config| decode(config).map_err(Into::into);
        Bind::new(self.clone(), key, Arc::new(decode))
    }

    /// Follows all keys that begin with `prefix`.
    pub fn watch_prefix(&self, prefix: &str) -> Values {
        let selection = watch_configs_request::Selection::Prefix(prefix.into());
        Values {
            mirror: Mirror::follow(self.client.caller().clone(), self.selection(selection)),
        }
    }

    /// Shows every change of the keys that begin with `prefix`, one by one.
    pub fn changes(&self, prefix: &str) -> Watch<WatchConfigsRequest> {
        let selection = watch_configs_request::Selection::Prefix(prefix.into());
        self.client.watch(self.selection(selection))
    }

    fn selection(&self, selection: watch_configs_request::Selection) -> WatchConfigsRequest {
        WatchConfigsRequest {
            namespace: self.client.namespace().into(),
            selection: Some(selection),
            start: None,
            min_interval: None,
        }
    }
}

// === impl Put ===

impl Put {
    /// What the content is written in. Default text.
    pub fn content_type(mut self, content_type: ContentType) -> Self {
        self.request.content_type = content_type.into();
        self
    }

    /// Labels, replacing the former ones.
    pub fn labels(mut self, labels: BTreeMap<String, String>) -> Self {
        self.request.labels = labels;
        self
    }

    /// What the config is for, replacing the former text.
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.request.description = description.into();
        self
    }

    /// Conditions and notes.
    pub fn options(mut self, options: ChangeOptions) -> Self {
        self.request.expected_version = options.expected_version;
        self.request.guard = options.guard;
        self.request.comment = options.comment;
        self.request.expected_sha256 = options.expected_sha256.unwrap_or_default();
        self.request.validate_only = options.validate_only;
        self
    }

    /// Writes it. The answer has no content.
    pub async fn send(self) -> Result<PutConfigResponse> {
        self.client
            .caller()
            .call(self.request, ConfigServiceClient::put_config)
            .await
    }
}

// === impl Value ===

impl Value {
    /// Waits until it is known for the first time whether there is a config. Fails if the server
    /// refuses the key; waits on while none answers.
    pub async fn ready(&self) -> Result<()> {
        self.mirror.ready().await
    }

    /// The config as last known; nothing if there is none, or before [`ready`](Self::ready).
    pub fn get(&self) -> Option<Arc<Config>> {
        self.mirror.view().items.get(self.key.as_str()).cloned()
    }

    /// Whether it is known that there is a config, or that there is none.
    fn is_known(&self) -> bool {
        self.mirror.is_ready()
    }

    /// How old the config may be at most; nothing before a server has answered.
    pub fn age(&self) -> Option<Duration> {
        self.mirror.age()
    }

    /// Completes when the config changed since this handle was made or this was last called.
    pub async fn changed(&mut self) {
        self.mirror.changed().await;
    }
}

// === impl Values ===

impl Values {
    /// Waits until the configs are known for the first time. Fails if the server refuses the
    /// prefix; waits on while none answers.
    pub async fn ready(&self) -> Result<()> {
        self.mirror.ready().await
    }

    /// The configs as last known, by key, all of one revision.
    pub fn get_all(&self) -> BTreeMap<Arc<str>, Arc<Config>> {
        self.mirror.view().items.clone()
    }

    /// One of the configs.
    pub fn get(&self, key: &str) -> Option<Arc<Config>> {
        self.mirror.view().items.get(key).cloned()
    }

    /// How old the configs may be at most; nothing before a server has answered.
    pub fn age(&self) -> Option<Duration> {
        self.mirror.age()
    }

    /// Completes when one changed since this handle was made or this was last called.
    pub async fn changed(&mut self) {
        self.mirror.changed().await;
    }
}
