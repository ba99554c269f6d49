//! Forgetting the oldest stretches. What is left verifies as before: its first stretch says what
//! it follows. The newest one stays however old it is, so that a chain never begins anew.

use std::{ops::RangeInclusive, time::Duration};

use crate::{
    domain::{Core, Error, names::Namespace},
    store::{KeyRange, Operation, RangeRequest, Txn},
};

use super::seals::Found;

/// How many stretches go at a time.
const STEP: i64 = 100;

// === impl Core ===

impl Core {
    /// Deletes, in every namespace, the stretches that are older than `retention` as a whole.
    /// Nothing is put: a full store takes it too.
    pub(super) async fn prune_audit(&self, retention: Duration) -> Result<(), Error> {
        let mut rest = self.keys.seals();
        loop {
            let first = RangeRequest::new(rest.clone()).limit(1).keys_only();
            let first = self.store.range(first).await.map_err(Error::Store)?;
            let Some(kv) = first.kvs.first() else {
                return Ok(());
            };
            let Some((namespace, _)) = self.keys.parse_audit(&kv.key) else {
                rest.start = [&kv.key[..], b"\0"].concat().into();
                continue;
            };
            let newest = self.keys.parse_seal(&kv.key).unwrap_or_default();
            let pruned = self.prune_namespace(&namespace, newest, retention);
            if let Err(error) = pruned.await {
                tracing::warn!(%namespace, %error, "the audit of a namespace is not pruned for now");
            }
            rest.start = self.keys.seal(&namespace, 0);
        }
    }

    async fn prune_namespace(
        &self,
        namespace: &Namespace,
        newest: i64,
        retention: Duration,
    ) -> Result<(), Error> {
        let Some(before) = self.clock.system_time().checked_sub(retention) else {
            return Ok(());
        };
        let oldest = self.oldest_seal(namespace, newest, 0).await?;
        // Times never fall from one stretch to the next.
        let (mut low, mut high) = (oldest, newest);
        while low < high {
            let middle = low + (high - low) / 2;
            let found = self.seals(namespace, middle, 1, 0).await?;
            let found = found.first().map(Found::readable).transpose()?;
            if found.is_none_or(|seal| seal.newest_time < before) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        self.forget(namespace, oldest..=low - 1).await
    }

    async fn forget(&self, namespace: &Namespace, old: RangeInclusive<i64>) -> Result<(), Error> {
        let (mut first, last) = old.into_inner();
        while first > 0 && first <= last {
            let end = last.min(first + STEP - 1);
            let keys = KeyRange::span(
                self.keys.seal(namespace, end),
                self.keys.seal(namespace, first - 1),
            );
            self.commit(None, Txn::new().then(Operation::Delete(keys)))
                .await?;
            tracing::info!(%namespace, first, end, "old stretches of the audit were deleted");
            first = end + 1;
        }
        Ok(())
    }
}
