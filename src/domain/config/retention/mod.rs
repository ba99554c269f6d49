//! Forgetting old versions: one replica, chosen by rank, goes round all items and deletes the
//! versions that need not be kept. That two do is harmless.
//!
//! Which items may have such versions is read from the cache: the head says how many there ever
//! were. Only of those the store is asked. Nothing is put, so that a full store takes it too.

mod item;

use std::{
    ops::Bound,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::domain::{Core, Error, records, replica};

use super::{ConfigHead, Configs};

/// How many items a pass looks at in the store, at most. The next pass goes on after them.
const ITEMS: usize = 1000;
/// How long after a pass that left something to do the next one begins, at the latest.
const SOON: Duration = Duration::from_secs(1);
/// The piece of work that replicas rank for.
const SUBJECT: &[u8] = b"config versions";

/// Forgets old versions.
pub struct Retention {
    configs: Configs,
    /// The item that the last pass ended at; `None`: it ended with the last item.
    after: Option<Bytes>,
}

/// Which versions of an item need not be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Excess {
    /// Up to this one none is, once it is old enough.
    last: i64,
    /// Up to this one none is, however young.
    at_any_age: i64,
    /// Whether the item itself, a deleted one, need not be kept either.
    item: bool,
}

// === impl Retention ===

impl Retention {
    /// The retention of the versions in the store that `core` works with.
    pub fn new(core: Arc<Core>) -> Self {
        Self {
            configs: Configs::new(core),
            after: None,
        }
    }

    /// Forgets from time to time, until told to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        let interval = self.configs.core.settings.config_prune_interval;
        let mut pause = interval;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.configs.core.clock.sleep(pause) => {}
            }
            pause = match self.pass(&stop).await {
                Ok(true) => interval,
                Ok(false) => interval.min(SOON),
                Err(error) => {
                    tracing::warn!(%error, "old versions of configs are kept for now");
                    interval
                }
            };
        }
    }

    /// Says whether nothing is left to do for now.
    async fn pass(&mut self, stop: &CancellationToken) -> Result<bool, Error> {
        let due = self.due()?;
        let to_the_end = due.len() < ITEMS;
        let mut done = to_the_end;
        for (path, head, excess) in due {
            if stop.is_cancelled() {
                return Ok(true);
            }
            // One that fails does not hold up those after it.
            self.after = Some(path);
            match self.configs.forget(&head, excess).await {
                Ok(whole) => done &= whole,
                Err(error @ Error::Store(_)) => return Err(error),
                Err(error) => {
                    let config = head.path.path();
                    tracing::warn!(config, %error, "old versions of a config are kept for now");
                }
            }
        }
        if to_the_end {
            self.after = None;
        }
        Ok(done)
    }

    /// The next items that may have something to forget. None if it is another replica's turn.
    fn due(&mut self) -> Result<Vec<(Bytes, Arc<ConfigHead>, Excess)>, Error> {
        let core = &self.configs.core;
        let view = core.cache.view()?;
        if replica::rank(&core.replica, view.state.replicas.keys(), SUBJECT) > 0 {
            return Ok(Vec::new());
        }
        let now = core.clock.system_time();
        let start = self.after.take().map_or(Bound::Unbounded, Bound::Excluded);
        let heads = view.state.configs.range((start, Bound::Unbounded));
        let due = heads.filter_map(|(path, head)| {
            let excess = core.settings.excess(head, now)?;
            Some((path.clone(), head.clone(), excess))
        });
        Ok(due.take(ITEMS).collect())
    }
}

// === impl Settings ===

impl crate::domain::Settings {
    /// Which versions of an item need not be kept; `None`: all must be.
    fn excess(&self, head: &ConfigHead, now: SystemTime) -> Option<Excess> {
        let number = |bound: usize| i64::try_from(bound).unwrap_or(i64::MAX);
        let current = &head.current;
        let item = current.deleted && is_older(current.create_time, self.config_keep_deleted, now);
        let excess = if item {
            Excess {
                last: current.version - 1,
                at_any_age: current.version - 1,
                item,
            }
        } else {
            // The current one is among those that are kept, because at least one is.
            let beyond = |kept: usize| current.version - number(kept.max(1));
            let at_any_age = beyond(self.config_max_versions);
            let last = match self.config_keep_age {
                Some(_) => at_any_age.max(beyond(self.config_keep_versions)),
                None => at_any_age,
            };
            Excess {
                last,
                at_any_age,
                item,
            }
        };
        let writable = records::writable("", head.format).is_ok();
        (writable && (item || excess.last > 0)).then_some(excess)
    }
}

/// Whether something is older than what is kept; `None`: all is.
fn is_older(time: SystemTime, kept: Option<Duration>, now: SystemTime) -> bool {
    let before = kept.and_then(|kept| now.checked_sub(kept));
    before.is_some_and(|before| time < before)
}
