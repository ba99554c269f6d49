//! Answers that are given before this replica's cache shows what they are about.
//!
//! On one replica everybody reads what was acknowledged. Most mutations keep that promise by
//! waiting for the cache before they answer. Those that take a place in a queue or leave one do
//! not: whoever wants a lock that is free waits for their answer and for nothing else, and the
//! cache hears of it later than they do. Instead whoever looks at queues next waits, which by then
//! is seldom for long.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    cache::{self, Freshness},
    store::{Revision, TxnResponse},
};

use super::{Core, error::Error, state::View};

/// The newest revision that was answered without waiting for the cache.
#[derive(Default)]
pub struct Acknowledged(Mutex<Option<Owed>>);

#[derive(Clone, Copy)]
struct Owed {
    revision: Revision,
    /// Until when readers wait for it.
    until: Instant,
}

// === impl Acknowledged ===

impl Acknowledged {
    /// Notes that somebody is told of `revision` at `now`, which readers wait for until `limit` is
    /// over.
    fn note(&self, revision: Revision, now: Instant, limit: Duration) {
        let mut owed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // One that nobody waits for any more may be of a history that the store lost.
        let before = owed.filter(|owed| owed.until > now);
        *owed = Some(Owed {
            revision: before.map_or(revision, |before| before.revision.max(revision)),
            until: now + limit,
        });
    }

    /// What readers wait for at `now`, and for how long.
    fn owed(&self, now: Instant) -> Option<(Revision, Duration)> {
        let owed = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Owed { revision, until } = owed?;
        let left = until.saturating_duration_since(now);
        (!left.is_zero()).then_some((revision, left))
    }
}

// === impl Core ===

impl Core {
    /// Has whoever reads queues see what a transaction did before it is answered.
    pub(super) fn acknowledge(&self, response: &TxnResponse) {
        if response.succeeded {
            let limit = self.settings.read_your_writes;
            self.acknowledged
                .note(response.revision, self.clock.now(), limit);
        }
    }

    /// The state with what was acknowledged, as [`cache::Cache::view`].
    pub async fn view(&self) -> Result<View, Error> {
        self.show_acknowledged().await;
        Ok(self.cache.view()?)
    }

    /// The state as fresh as asked for, with what was acknowledged, as [`cache::Cache::read`].
    pub async fn read(&self, freshness: Freshness) -> Result<View, cache::Error> {
        self.show_acknowledged().await;
        self.cache.read(freshness).await
    }

    async fn show_acknowledged(&self) {
        if let Some((revision, left)) = self.acknowledged.owed(self.clock.now()) {
            self.cache.reached(revision, left).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(100);

    #[test]
    fn the_newest_is_waited_for_until_its_limit() {
        let acknowledged = Acknowledged::default();
        let now = Instant::now();
        assert_eq!(acknowledged.owed(now), None);
        acknowledged.note(7, now, LIMIT);
        acknowledged.note(6, now, LIMIT);
        let half = LIMIT / 2;
        assert_eq!(acknowledged.owed(now + half), Some((7, half)));
        assert_eq!(acknowledged.owed(now + LIMIT), None);
    }

    #[test]
    fn what_a_store_lost_is_not_waited_for_again() {
        let acknowledged = Acknowledged::default();
        let now = Instant::now();
        acknowledged.note(7, now, LIMIT);
        let later = now + LIMIT;
        acknowledged.note(3, later, LIMIT);
        assert_eq!(acknowledged.owed(later), Some((3, LIMIT)));
    }
}
