//! Who watches the instances of which service at this replica, and how far each has come.
//!
//! Memory alone: a store write for each acknowledgement would cost more than the watches. What
//! drains need of it is in their `acks`, added up.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
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

use super::{DrainAck, InstanceView, Laggard};

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

#[derive(Default)]
struct All {
    last: u64,
    by_number: BTreeMap<u64, Arc<Entry>>,
    by_service: HashMap<ServiceKey, BTreeSet<u64>>,
    by_fingerprint: HashMap<u64, u64>,
    /// Those whose streams ended, oldest first.
    ended: BTreeSet<(Instant, u64)>,
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

/// How a stream ended, if its watch may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The connection was lost.
    Broken,
    /// We ended it.
    Moving,
}

/// A subscriber as others see it.
#[derive(Debug, Clone)]
pub struct SubscriberInfo {
    /// Grows from one to the next at one replica.
    pub number: u64,
    /// Name of its client.
    pub client_id: String,
    /// Where it is connected from.
    pub address: String,
    /// Fingerprint of its name; zero: it has none.
    pub fingerprint: u64,
    /// Which instances it is shown.
    pub view: InstanceView,
    /// Its filter, as it was given; empty: it has none.
    pub filter: String,
    /// When the stream was opened.
    pub open_time: SystemTime,
    /// How its stream ended; `None`: it is open.
    pub ended: Option<Ended>,
    /// How far it has come.
    pub reached: Reached,
}

/// How far a subscriber has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    /// Whether it acknowledges.
    pub acknowledges: bool,
    /// It was told everything up to here.
    pub told: Revision,
    /// The last revision it was to acknowledge; zero: none.
    pub requested: Revision,
    /// It acknowledged everything up to here.
    pub acknowledged: Revision,
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

// === impl All ===

impl All {
    fn insert(&mut self, entry: Arc<Entry>) {
        let (number, service) = (entry.number, entry.watching.service.clone());
        if entry.fingerprint != 0
            && let Some(former) = self.by_fingerprint.insert(entry.fingerprint, number)
        {
            self.remove(former);
        }
        self.by_service.entry(service).or_default().insert(number);
        self.by_number.insert(number, entry);
    }

    fn remove(&mut self, number: u64) {
        let Some(entry) = self.by_number.remove(&number) else {
            return;
        };
        if let Some((_, until)) = *entry.ended() {
            self.ended.remove(&(until, number));
        }
        if self.by_fingerprint.get(&entry.fingerprint) == Some(&number) {
            self.by_fingerprint.remove(&entry.fingerprint);
        }
        if let Some(numbers) = self.by_service.get_mut(&entry.watching.service) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.by_service.remove(&entry.watching.service);
            }
        }
    }

    fn of(&self, service: &ServiceKey) -> impl Iterator<Item = &Arc<Entry>> {
        let numbers = self.by_service.get(service).into_iter().flatten();
        numbers.filter_map(|number| self.by_number.get(number))
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

// === impl SubscriberInfo ===

impl SubscriberInfo {
    /// Says whether it knows what happened at `at`. Of one that does not acknowledge, and whose
    /// connection was lost, nobody can say.
    pub fn knows(&self, at: Revision) -> bool {
        let certain = self.ended != Some(Ended::Broken) || self.reached.acknowledges;
        certain && self.reached.includes(at)
    }
}

// === impl Reached ===

impl Reached {
    /// Says whether what happened at `at` was told, and acknowledged where that was to be.
    pub fn includes(&self, at: Revision) -> bool {
        let acknowledged = !self.acknowledges || self.acknowledged >= self.requested.min(at);
        self.told >= at && acknowledged
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
mod tests {
    use crate::{
        clock::ManualClock,
        domain::names::{Namespace, ServiceName},
    };

    use super::*;

    const KEEP: Duration = Duration::from_secs(15);

    fn service() -> ServiceKey {
        ServiceKey {
            namespace: Namespace::parse("default").unwrap(),
            service: ServiceName::parse("web").unwrap(),
        }
    }

    fn watching(id: &str, acknowledges: bool) -> Watching {
        Watching {
            service: service(),
            view: InstanceView::Serving,
            filter: String::new(),
            subscriber_id: id.into(),
            acknowledges,
            client_id: Label::parse("client").unwrap(),
            address: "127.0.0.1:1".into(),
            resumed_after: 0,
        }
    }

    fn subscribers() -> (ManualClock, Subscribers) {
        let clock = ManualClock::default();
        let subscribers = Subscribers::new(Arc::new(clock.clone()), KEEP);
        (clock, subscribers)
    }

    /// How many know of revision 7, of how many.
    fn known(subscribers: &Subscribers) -> (u32, u32) {
        let ack = subscribers.ack(&service(), 1, 7);
        assert_eq!(ack.laggards.len() as u32, ack.subscribers - ack.done);
        (ack.done, ack.subscribers)
    }

    #[test]
    fn who_does_not_acknowledge_knows_what_the_transport_took() {
        let (_, subscribers) = subscribers();
        let subscriber = subscribers.enter(watching("", false));
        subscriber.tells(7, Some(7));
        assert_eq!(known(&subscribers), (0, 1));
        subscriber.took(7);
        assert_eq!(known(&subscribers), (1, 1));
        drop(subscriber);
        assert_eq!(known(&subscribers), (0, 0));
    }

    #[test]
    fn who_acknowledges_knows_what_it_acknowledged_and_what_did_not_concern_it() {
        let (_, subscribers) = subscribers();
        let subscriber = subscribers.enter(watching("a", true));
        subscriber.tells(7, Some(7));
        subscriber.took(7);
        assert_eq!(known(&subscribers), (0, 1));
        assert!(!subscribers.acknowledge("b", 7));
        assert!(subscribers.acknowledge("a", 6));
        assert_eq!(known(&subscribers), (0, 1));
        assert!(subscribers.acknowledge("a", 7));
        assert_eq!(known(&subscribers), (1, 1));

        let other = subscribers.enter(watching("b", true));
        other.tells(5, None);
        other.took(9);
        assert_eq!(known(&subscribers), (2, 2));
        assert!(subscribers.acknowledge("b", 100));
        let reached = subscribers.list(&service(), 1, 9)[0].reached;
        assert_eq!(reached.acknowledged, 5, "not what it was not told");
    }

    #[test]
    fn a_broken_stream_counts_until_it_is_resumed_or_for_so_long() {
        let (clock, subscribers) = subscribers();
        subscribers.enter(watching("a", true)).ends(Ended::Broken);
        subscribers.enter(watching("", false)).ends(Ended::Broken);
        assert_eq!(known(&subscribers), (0, 2));
        let resumed = subscribers.enter(Watching {
            resumed_after: 8,
            ..watching("a", true)
        });
        assert_eq!(known(&subscribers), (1, 2));
        clock.advance(KEEP);
        assert_eq!(known(&subscribers), (1, 1));
        // The end of the former stream may be noticed late.
        let newer = subscribers.enter(watching("a", true));
        resumed.ends(Ended::Broken);
        assert_eq!(subscribers.len(), 1);
        drop(newer);
        assert!(subscribers.is_empty());
    }

    #[test]
    fn a_stream_that_we_ended_is_waited_for_if_it_can_be_known_again() {
        let (_, subscribers) = subscribers();
        subscribers.enter(watching("", false)).ends(Ended::Moving);
        assert!(subscribers.is_empty());
        subscribers.enter(watching("a", true)).ends(Ended::Moving);
        let listed = subscribers.list(&service(), 0, 9);
        assert_eq!(listed[0].ended, Some(Ended::Moving));
        assert_eq!(known(&subscribers), (0, 1));
    }
}
