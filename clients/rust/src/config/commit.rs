//! Changes of several configs, together or not at all.

use bytes::Bytes;

use crate::{
    Client,
    call::request_id,
    error::Result,
    proto::{
        CommitConfigsRequest, CommitConfigsResponse, ConfigChange, ConfigDelete, ConfigPut,
        ConfigRollback, Guard, config_change::Change, config_service_client::ConfigServiceClient,
    },
};

use super::Configs;

/// Changes that are to happen together. See [`Configs::commit`].
#[derive(Debug, Clone)]
#[must_use = "nothing is changed before `send`"]
pub struct Commit {
    client: Client,
    request: CommitConfigsRequest,
}

// === impl Configs ===

impl Configs {
    /// Begins to change up to 100 configs at once:
    ///
    /// ```no_run
    /// # async fn example(client: stanchion_client::Client) -> stanchion_client::Result<()> {
    /// let done = client
    ///     .config()
    ///     .commit()
    ///     .expect("shop/stock", 7)
    ///     .put("shop/stock", "41")
    ///     .put("shop/sold", "1")
    ///     .send()
    ///     .await?;
    /// if !done.committed {
    ///     // Somebody was faster: `done.results` says what is there.
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn commit(&self) -> Commit {
        Commit {
            request: CommitConfigsRequest {
                namespace: self.client.namespace().into(),
                request_id: request_id(),
                actor: self.client.actor().into(),
                ..Default::default()
            },
            client: self.client.clone(),
        }
    }
}

// === impl Commit ===

impl Commit {
    /// The version that a config must have now, whether it is changed or not; zero: it must not
    /// exist.
    pub fn expect(mut self, key: &str, version: i64) -> Self {
        self.entry(key).expected_version = Some(version);
        self
    }

    /// SHA-256 that the content of a config must have now, in hexadecimal digits.
    pub fn expect_sha256(mut self, key: &str, sha256: impl Into<String>) -> Self {
        self.entry(key).expected_sha256 = sha256.into();
        self
    }

    /// Writes a text.
    pub fn put(self, key: &str, content: impl Into<Bytes>) -> Self {
        let content = content.into();
        self.put_with(
            key,
            ConfigPut {
                content,
                ..Default::default()
            },
        )
    }

    /// Writes a config with all that can be said of it.
    pub fn put_with(self, key: &str, put: ConfigPut) -> Self {
        self.change(key, Change::Put(put))
    }

    /// Deletes a config.
    pub fn delete(self, key: &str) -> Self {
        self.change(key, Change::Delete(ConfigDelete {}))
    }

    /// Returns to an earlier version of a config.
    pub fn rollback(self, key: &str, version: i64) -> Self {
        self.change(key, Change::Rollback(ConfigRollback { version }))
    }

    /// Adds a change as it goes over the wire, in place of what was said of its key.
    pub fn with(mut self, change: ConfigChange) -> Self {
        let key = change.key.clone();
        *self.entry(&key) = change;
        self
    }

    /// Commits only while a lock is held.
    pub fn guard(mut self, guard: Guard) -> Self {
        self.request.guard = Some(guard);
        self
    }

    /// Why, at most 1 KiB.
    pub fn comment(mut self, comment: impl Into<String>) -> Self {
        self.request.comment = comment.into();
        self
    }

    /// Only asks what would come of it.
    pub fn validate_only(mut self) -> Self {
        self.request.validate_only = true;
        self
    }

    /// Commits. If a config is not as expected nothing is changed, and the answer says what is
    /// there.
    pub async fn send(self) -> Result<CommitConfigsResponse> {
        self.client
            .caller()
            .call(self.request, ConfigServiceClient::commit_configs)
            .await
    }

    fn change(mut self, key: &str, change: Change) -> Self {
        self.entry(key).change = Some(change);
        self
    }

    /// What is said of a key so far.
    fn entry(&mut self, key: &str) -> &mut ConfigChange {
        let changes = &mut self.request.changes;
        let at = changes.iter().position(|change| change.key == key);
        let at = at.unwrap_or_else(|| {
            changes.push(ConfigChange {
                key: key.into(),
                ..Default::default()
            });
            changes.len() - 1
        });
        &mut changes[at]
    }
}
