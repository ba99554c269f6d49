//! Forgetting versions of one item, and in the end the item.

use std::ops::RangeInclusive;

use crate::{
    domain::{Error, keyspace::ConfigPath},
    store::{Compare, Operation as Step, OperationResponse, RangeRequest, Txn},
};

use super::{
    super::{ConfigHead, Configs, history},
    Excess, is_older,
};

/// How many versions go in one transaction, which compares that none of them is pinned: with gaps
/// between, each needs a condition of its own.
const STEP: usize = 100;
/// How many such steps are made of one item in one pass.
const STEPS: usize = 10;
/// How many versions are read at a time to learn how old they are: they come with their contents.
const READ: usize = 8;

// === impl Configs ===

impl Configs {
    /// Forgets versions that need not be kept, the oldest first, but no more than a pass may. Says
    /// whether it has come to the end of them.
    pub(super) async fn forget(&self, head: &ConfigHead, excess: Excess) -> Result<bool, Error> {
        let path = &head.path;
        let mut first = 1;
        let mut done = false;
        for _ in 0..STEPS {
            let keys = self.core.keys.config_versions(path, first, excess.last);
            let request = RangeRequest::new(keys).limit(STEP).keys_only();
            let found = self.core.store.range(request).await.map_err(Error::Store)?;
            let numbers = found.kvs.iter();
            let numbers = numbers.filter_map(|kv| self.core.keys.parse_config_version(&kv.key));
            let mut numbers: Vec<i64> = numbers.collect();
            let Some((oldest, newest)) = numbers.first().copied().zip(numbers.last().copied())
            else {
                done = true;
                break;
            };
            let pins = self.core.keys.config_pins(path, oldest, newest);
            let (pinned, _) = self.pinned(pins, None).await?;
            numbers.retain(|number| !pinned.contains(number));
            let old = self.old(path, &numbers, excess.at_any_age).await?;
            if !self.forget_versions(head, excess, old).await? || old.len() < numbers.len() {
                return Ok(true);
            }
            first = newest + 1;
            if !found.more {
                done = true;
                break;
            }
        }
        if excess.item {
            self.forget_item(head).await?;
        }
        Ok(done)
    }

    /// The first ones that are old enough, by what they say themselves or without being asked.
    async fn old<'a>(
        &self,
        path: &ConfigPath,
        numbers: &'a [i64],
        at_any_age: i64,
    ) -> Result<&'a [i64], Error> {
        let now = self.core.clock.system_time();
        let mut old = numbers.partition_point(|number| *number <= at_any_age);
        while let Some(next) = numbers.get(old..).filter(|next| !next.is_empty()) {
            let next = next.iter().take(READ);
            let keys = next.map(|number| self.core.keys.config_version(path, *number));
            let read = Txn::new().then_all(keys.map(Step::get));
            let read = self.core.store.txn(read).await.map_err(Error::Store)?;
            for response in &read.responses {
                let OperationResponse::Range(range) = response else {
                    continue;
                };
                // One that is gone has been forgotten by another replica.
                if let Some(kv) = range.kvs.first() {
                    let version = history::outline(kv)?;
                    let kept = self.core.settings.config_keep_age;
                    if !is_older(version.create_time, kept, now) {
                        return Ok(numbers.get(..old).unwrap_or_default());
                    }
                }
                old += 1;
            }
        }
        Ok(numbers)
    }

    /// Says whether they are gone; they are not if one was pinned meanwhile.
    async fn forget_versions(
        &self,
        head: &ConfigHead,
        excess: Excess,
        old: &[i64],
    ) -> Result<bool, Error> {
        let (Some(first), Some(last)) = (old.first(), old.last()) else {
            return Ok(true);
        };
        let path = &head.path;
        let keys = &self.core.keys;
        let mut txn = Txn::new().when(match excess.item {
            // All of its history goes only while it is as it was seen: somebody may bring it back.
            true => Compare::mod_revision(keys.config(path), head.mod_revision),
            // While this very version is kept, what is current is no older one: neither this cache
            // is from before a loss of data, nor have versions begun anew.
            false => {
                let newest = keys.config_version(path, head.current.version);
                Compare::create_revision(newest, head.mod_revision)
            }
        });
        for run in runs(old) {
            let (first, last) = run.into_inner();
            txn = txn
                .when(Compare::empty(keys.config_pins(path, first, last)))
                .then(Step::Delete(keys.config_versions(path, first, last)));
        }
        // No cache shows it, and an answer that is lost is repeated by the next pass.
        let response = self.core.store.txn(txn).await.map_err(Error::Store)?;
        if response.succeeded {
            let config = path.path();
            tracing::info!(config, first, last, "old versions of a config were deleted");
        }
        Ok(response.succeeded)
    }

    /// Forgets a deleted item with its last version, the deletion, if no other one is kept. From
    /// then on its versions begin anew.
    async fn forget_item(&self, head: &ConfigHead) -> Result<(), Error> {
        let (path, keys) = (&head.path, &self.core.keys);
        let last = head.current.version;
        let key = keys.config(path);
        let txn = Txn::new()
            .when(Compare::mod_revision(key.clone(), head.mod_revision))
            .when(Compare::empty(keys.config_versions(path, 1, last - 1)))
            .when(Compare::empty(keys.config_pins(path, 1, i64::MAX)))
            .then(Step::delete(key))
            .then(Step::delete(keys.config_version(path, last)));
        if self.core.commit(None, txn).await?.succeeded {
            let config = path.path();
            tracing::info!(config, last, "a deleted config was forgotten");
        }
        Ok(())
    }
}

/// The same numbers as runs without gaps.
fn runs(numbers: &[i64]) -> Vec<RangeInclusive<i64>> {
    let runs = numbers.chunk_by(|one, next| one + 1 == *next);
    runs.filter_map(|run| Some(*run.first()?..=*run.last()?))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_with_gaps_become_a_run_for_each_stretch() {
        assert_eq!(runs(&[1, 2, 3, 5, 8, 9]), [1..=3, 5..=5, 8..=9]);
        assert_eq!(runs(&[]), []);
    }
}
