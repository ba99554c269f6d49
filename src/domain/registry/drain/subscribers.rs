//! Who watches the instances of which service at this replica, and how far each has come.
//!
//! Memory alone: a store write for each acknowledgement would cost more than the watches. What
//! drains need of it is in their `acks`, added up.

mod all;
mod info;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use tokio::sync::Notify;

use crate::{
    clock::Clock,
    domain::{hash64, keyspace::ServiceKey, names::Label},
    store::Revision,
};

use self::all::All;
pub use self::info::{Ended, Reached, SubscriberInfo};
use crate::domain::registry::{DrainAck, InstanceView, Laggard};

/// How many laggards of one replica are named.
const NAMED: usize = 16;

/// The watches at this replica. Clones share them.
#[derive(Clone)]
pub struct Subscribers(Arc<Shared>);

struct Shared {
    clock: Arc<dyn Clock>,
    /// How long one whose stream broke is remembered.
    keep: Duration,
    all: Mutex<All>,
    /// Whether somebody waits for subscribers to come on.
    awaited: AtomicUsize,
    came_on: Notify,
}

/// What a watch says of itself.
#[derive(Debug, Clone)]
pub struct Watching {
    /// What it watches.
    pub service: ServiceKey,
    /// Which instances it is shown.
    pub view: InstanceView,
    /// Its filter, as it was given; empty: it has none.
    pub filter: String,
    /// Its secret name; empty: it has none.
    pub subscriber_id: String,
    /// Whether it acknowledges.
    pub acknowledges: bool,
    /// Name of its client.
    pub client_id: Label,
    /// Where it is connected from.
    pub address: String,
    /// What it has seen before it began; its token proves it.
    pub resumed_after: Revision,
}

struct Entry {
    number: u64,
    watching: Watching,
    fingerprint: u64,
    open_time: SystemTime,
    /// What was handed to the transport.
    told: AtomicI64,
    /// Everything up to here that concerns it was taken by the transport.
    seen: AtomicI64,
    /// The last revision it was to acknowledge.
    owed: AtomicI64,
    acknowledged: AtomicI64,
    ended: Mutex<Option<(Ended, Instant)>>,
}

/// The open stream of a subscriber. Dropped, it is as if its client had ended it.
pub struct Subscriber {
    subscribers: Subscribers,
    entry: Arc<Entry>,
}

// === impl Subscribers ===

impl Subscribers {
    /// Nobody yet. Those whose streams break are remembered for `keep`.
    pub fn new(clock: Arc<dyn Clock>, keep: Duration) -> Self {
        Self(Arc::new(Shared {
            clock,
            keep,
            all: Mutex::default(),
            awaited: AtomicUsize::new(0),
            came_on: Notify::new(),
        }))
    }

    /// Enters a watch. One of the same name gives way to it.
    pub fn enter(&self, watching: Watching) -> Subscriber {
        let after = watching.resumed_after;
        let mut all = self.all();
        all.last += 1;
        let entry = Arc::new(Entry {
            number: all.last,
            fingerprint: fingerprint(&watching.subscriber_id),
            open_time: self.0.clock.system_time(),
            told: AtomicI64::new(after),
            seen: AtomicI64::new(after),
            owed: AtomicI64::new(0),
            acknowledged: AtomicI64::new(after),
            ended: Mutex::new(None),
            watching,
        });
        all.insert(entry.clone());
        drop(all);
        self.ring();
        Subscriber {
            subscribers: self.clone(),
            entry,
        }
    }

    /// Notes that a watch has in effect what it was told up to `revision`. Says whether there is
    /// such a watch.
    pub fn acknowledge(&self, subscriber_id: &str, revision: Revision) -> bool {
        let entry = {
            let all = self.all();
            let number = all.by_fingerprint.get(&fingerprint(subscriber_id));
            number.and_then(|number| all.by_number.get(number)).cloned()
        };
        let known = entry.filter(|entry| {
            entry.watching.acknowledges && entry.watching.subscriber_id == subscriber_id
        });
        let Some(entry) = known else {
            return false;
        };
        // Nobody can have seen what was not told.
        let revision = revision.min(entry.told.load(Ordering::SeqCst));
        entry.acknowledged.fetch_max(revision, Ordering::SeqCst);
        self.ring();
        true
    }

    /// The subscribers of a service after the one with the number `after`, at most `limit`.
    pub fn list(&self, service: &ServiceKey, after: u64, limit: usize) -> Vec<SubscriberInfo> {
        let mut all = self.all();
        self.forget_old(&mut all);
        let entries = all.of(service).filter(|entry| entry.number > after);
        entries.take(limit).map(|entry| entry.info()).collect()
    }

    /// How many subscribers there are.
    pub fn len(&self) -> usize {
        self.all().by_number.len()
    }

    /// Says whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds up who knows what happened to a service at revision `at`.
    pub(super) fn ack(&self, service: &ServiceKey, drain: u64, at: Revision) -> DrainAck {
        let mut all = self.all();
        self.forget_old(&mut all);
        let mut ack = DrainAck {
            drain,
            subscribers: 0,
            done: 0,
            laggards: Vec::new(),
        };
        for entry in all.of(service) {
            ack.subscribers += 1;
            let info = entry.info();
            if info.knows(at) {
                ack.done += 1;
            } else if ack.laggards.len() < NAMED {
                ack.laggards.push(Laggard {
                    client_id: info.client_id,
                    address: info.address,
                    broken: info.ended.is_some(),
                    subscriber: info.fingerprint,
                });
            }
        }
        ack
    }

    /// Says whether somebody waits for subscribers to come on.
    pub(super) fn await_them(&self, awaited: bool) {
        self.0.awaited.store(usize::from(awaited), Ordering::SeqCst);
    }

    /// Completes when a subscriber came on since the last time, while they are awaited.
    pub(super) async fn came_on(&self) {
        self.0.came_on.notified().await;
    }

    fn ring(&self) {
        if self.0.awaited.load(Ordering::SeqCst) > 0 {
            self.0.came_on.notify_one();
        }
    }

    fn all(&self) -> MutexGuard<'_, All> {
        self.0.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leave(&self, entry: &Arc<Entry>, how: Option<Ended>) {
        let mut all = self.all();
        self.forget_old(&mut all);
        // Another stream may have taken its place.
        if !all.by_number.contains_key(&entry.number) {
            return;
        }
        match how {
            None => all.remove(entry.number),
            Some(how) => {
                let until = self.0.clock.now() + self.0.keep;
                *entry.ended() = Some((how, until));
                all.ended.insert((until, entry.number));
            }
        }
        drop(all);
        self.ring();
    }

    fn forget_old(&self, all: &mut All) {
        let now = self.0.clock.now();
        while let Some((until, number)) = all.ended.first().copied()
            && until <= now
        {
            all.remove(number);
        }
    }
}

// === impl Entry ===

impl Entry {
    fn ended(&self) -> MutexGuard<'_, Option<(Ended, Instant)>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn info(&self) -> SubscriberInfo {
        // In this order: what was seen was asked to be acknowledged before.
        let told = self.seen.load(Ordering::SeqCst);
        SubscriberInfo {
            number: self.number,
            client_id: self.watching.client_id.to_string(),
            address: self.watching.address.clone(),
            fingerprint: self.fingerprint,
            view: self.watching.view,
            filter: self.watching.filter.clone(),
            open_time: self.open_time,
            ended: self.ended().map(|(how, _)| how),
            reached: Reached {
                acknowledges: self.watching.acknowledges,
                told,
                requested: self.owed.load(Ordering::SeqCst),
                acknowledged: self.acknowledged.load(Ordering::SeqCst),
            },
        }
    }
}

// === impl Subscriber ===

impl Subscriber {
    /// Notes that something was handed to the transport: everything up to `told`, of which
    /// `requested`, if anything, is to be acknowledged.
    pub fn tells(&self, told: Revision, requested: Option<Revision>) {
        if let Some(requested) = requested {
            self.entry.owed.fetch_max(requested, Ordering::SeqCst);
        }
        self.entry.told.fetch_max(told, Ordering::SeqCst);
    }

    /// Notes that the transport took all that there was up to `seen`.
    pub fn took(&self, seen: Revision) {
        if self.entry.seen.fetch_max(seen, Ordering::SeqCst) < seen {
            self.subscribers.ring();
        }
    }

    /// The watch goes on at another service, of which it has seen nothing.
    pub fn goes_to(self, service: ServiceKey) -> Self {
        let subscribers = self.subscribers.clone();
        let watching = Watching {
            service,
            resumed_after: 0,
            ..self.entry.watching.clone()
        };
        drop(self);
        subscribers.enter(watching)
    }

    /// Notes that the stream ended although its client did not end it. Whoever cannot be known
    /// again is not waited for when it was told to go on elsewhere.
    pub fn ends(self, how: Ended) {
        let lost = how == Ended::Broken || self.entry.fingerprint != 0;
        self.subscribers.leave(&self.entry, lost.then_some(how));
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        if self.entry.ended().is_none() {
            self.subscribers.leave(&self.entry, None);
        }
    }
}

/// Never zero but for nothing.
fn fingerprint(subscriber_id: &str) -> u64 {
    if subscriber_id.is_empty() {
        return 0;
    }
    hash64(subscriber_id).max(1)
}

#[cfg(test)]
mod tests;
