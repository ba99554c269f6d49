//! When leases end: known to the running process alone, for renewing one writes nothing.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use crate::{clock::Clock, store::LeaseId};

/// The longest time to live: etcd's limit, and short enough to be added to a clock.
pub(super) const MAX_TTL: Duration = Duration::from_secs(9_000_000_000);

/// The deadlines of all leases.
#[derive(Default)]
pub(super) struct Deadlines {
    table: Mutex<Table>,
    /// Rung when the first deadline came nearer.
    nearer: Notify,
}

#[derive(Default)]
struct Table {
    by_id: HashMap<LeaseId, Entry>,
    queue: BTreeSet<(Instant, LeaseId)>,
}

struct Entry {
    ttl: Duration,
    deadline: Instant,
}

/// Returns what is granted when `asked` for: whole seconds, rounded up, not below the minimum.
pub(super) fn granted(asked: Duration, min: Duration) -> Duration {
    let ttl = asked.max(min);
    let seconds = ttl
        .as_secs()
        .saturating_add(u64::from(ttl.subsec_nanos() > 0));
    Duration::from_secs(seconds.max(1))
}

// === impl Deadlines ===

impl Deadlines {
    /// Gives a lease its full time from `now`.
    pub(super) fn start(&self, id: LeaseId, ttl: Duration, now: Instant) {
        let mut table = self.lock();
        table.remove(id);
        table.insert(id, ttl, now + ttl);
        if table.queue.first().is_some_and(|(_, first)| *first == id) {
            self.nearer.notify_one();
        }
    }

    /// Forgets a lease.
    pub(super) fn end(&self, id: LeaseId) {
        self.lock().remove(id);
    }

    /// Gives a lease its full time again, which is returned. One whose time is over is forgotten
    /// instead: from then on nothing can save it.
    pub(super) fn renew(&self, id: LeaseId, now: Instant) -> Option<Duration> {
        let mut table = self.lock();
        let Entry { ttl, deadline } = table.remove(id)?;
        (deadline > now).then(|| {
            table.insert(id, ttl, now + ttl);
            ttl
        })
    }

    pub(super) fn contains(&self, id: LeaseId) -> bool {
        self.lock().by_id.contains_key(&id)
    }

    /// Waits until leases are over, and forgets them.
    pub(super) async fn expired(&self, clock: &dyn Clock) -> Vec<LeaseId> {
        loop {
            let next = {
                let mut table = self.lock();
                let due = table.take_due(clock.now());
                if !due.is_empty() {
                    return due;
                }
                table.queue.first().map(|(deadline, _)| *deadline)
            };
            match next {
                None => self.nearer.notified().await,
                Some(deadline) => tokio::select! {
                    () = clock.sleep_until(deadline) => {}
                    () = self.nearer.notified() => {}
                },
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Table ===

impl Table {
    fn insert(&mut self, id: LeaseId, ttl: Duration, deadline: Instant) {
        self.by_id.insert(id, Entry { ttl, deadline });
        self.queue.insert((deadline, id));
    }

    fn remove(&mut self, id: LeaseId) -> Option<Entry> {
        let entry = self.by_id.remove(&id)?;
        self.queue.remove(&(entry.deadline, id));
        Some(entry)
    }

    fn take_due(&mut self, now: Instant) -> Vec<LeaseId> {
        let mut due = Vec::new();
        while let Some(&(deadline, id)) = self.queue.first()
            && deadline <= now
        {
            self.remove(id);
            due.push(id);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn granted_times_are_whole_seconds_not_below_the_minimum() {
        assert_eq!(granted(Duration::from_millis(2500), SECOND), 3 * SECOND);
        assert_eq!(granted(SECOND, 2 * SECOND), 2 * SECOND);
        assert_eq!(granted(Duration::ZERO, Duration::ZERO), SECOND);
    }

    #[tokio::test]
    async fn only_leases_that_were_not_renewed_expire() {
        let clock = ManualClock::default();
        let deadlines = Deadlines::default();
        deadlines.start(1, 5 * SECOND, clock.now());
        deadlines.start(2, 5 * SECOND, clock.now());
        clock.advance(4 * SECOND);
        assert_eq!(deadlines.renew(1, clock.now()), Some(5 * SECOND));
        clock.advance(SECOND);
        assert_eq!(deadlines.expired(&clock).await, [2]);
        assert_eq!(deadlines.renew(2, clock.now()), None);
        clock.advance(4 * SECOND);
        assert_eq!(deadlines.renew(1, clock.now()), None, "its time is over");
    }
}
