//! Random programs over the embedded store: whatever happens, what a subscriber has folded is the
//! store at its revision, filtered.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use super::{
    Witness,
    flaky::{Fault, Flaky},
    quick, quiet, soon, start_with,
    toy::{Named, Shown, Toy, all},
};
use crate::{
    cache::{
        Action, Cache, Cursor, CursorOptions, FinalReason, Freshness, Message, Settings, Start,
        View,
    },
    clock::SystemClock,
    store::{
        Operation, Revision, Store, Txn,
        embedded::{self, Embedded, Location},
    },
};

type Fold = BTreeMap<String, (String, Revision)>;

/// What the store held at each revision that changed it: name to value and revision.
type Truth = Arc<Mutex<BTreeMap<Revision, Fold>>>;

const NAMES: [&str; 8] = ["a1", "a2", "a3", "a4", "b1", "b2", "b3", "b4"];

/// One watcher that is cut off now and then and resumes wherever it likes.
struct Subscriber {
    cursor: Cursor<Toy, Named>,
    selection: Named,
    fold: Fold,
    /// A snapshot or delta that is not whole yet.
    partial: Option<Fold>,
    /// Where the last message left it; `None`: nowhere, a snapshot must come.
    stands: Option<Revision>,
    /// Its replica is gone, and it was told so.
    ended: bool,
    trail: Vec<String>,
}

fn expected(truth: &Truth, selection: &Named, revision: Revision) -> Fold {
    let truth = truth.lock().unwrap();
    let (_, map) = truth.range(..=revision).next_back().unwrap();
    map.iter()
        .filter(|(name, _)| name.starts_with(selection.name))
        .filter(|(_, (value, _))| !selection.visible_only || !value.starts_with('-'))
        .map(|(name, seen)| (name.clone(), seen.clone()))
        .collect()
}

// === impl Subscriber ===

impl Subscriber {
    fn open(cache: &Cache<Toy>, selection: Named, options: CursorOptions) -> Self {
        let start = Start::Snapshot;
        Self {
            cursor: cache.subscribe(selection.clone(), start, options).unwrap(),
            selection,
            fold: Fold::new(),
            partial: None,
            stands: None,
            ended: false,
            trail: Vec::new(),
        }
    }

    fn resume(&mut self, cache: &Cache<Toy>, options: CursorOptions) {
        let token = self.cursor.token();
        if token.revision == 0 {
            self.stands = None;
            self.fold.clear();
        } else {
            assert_eq!(Some(token.revision), self.stands);
        }
        self.partial = None;
        self.trail.push(format!("resumed {token:?}"));
        self.ended = false;
        let start = Start::Resume(token);
        self.cursor = cache
            .subscribe(self.selection.clone(), start, options)
            .unwrap();
    }

    /// Takes messages for a while, dropping the call now and then.
    async fn take(&mut self, truth: &Truth, rng: &mut StdRng) {
        for _ in 0..rng.random_range(1..20) {
            let patience = Duration::from_micros(rng.random_range(0..800));
            match tokio::time::timeout(patience, self.cursor.next()).await {
                Ok(Some(message)) => self.told(message, truth),
                Ok(None) => {
                    assert!(self.ended, "the stream ended without a word");
                    return;
                }
                Err(_) => return,
            }
        }
    }

    /// Takes messages until there are no more.
    async fn take_all(&mut self, truth: &Truth) {
        while let Some(message) = soon(self.cursor.next()).await {
            self.told(message, truth);
        }
    }

    fn told<C: std::fmt::Debug>(&mut self, message: Message<Shown, C>, truth: &Truth) {
        self.trail.push(format!("{message:?}"));
        match message {
            Message::Reset { .. } => {
                self.fold.clear();
                self.partial = None;
                self.stands = None;
            }
            Message::Snapshot { items, .. } => {
                assert_eq!(self.stands, None, "a snapshot without a reset");
                for (name, value, revision) in items {
                    let seen = self.fold.insert(name, (value, revision));
                    assert!(seen.is_none(), "an item came twice");
                }
            }
            Message::SnapshotEnd { revision } => self.stand(revision, truth),
            Message::Bookmark { revision, last } => {
                assert!(self.stands.is_some_and(|stands| stands <= revision));
                self.ended = last == Some(FinalReason::Draining);
                assert!(last.is_none() || self.ended);
                self.stand(revision, truth);
            }
            Message::Delta {
                prev_revision,
                revision,
                events,
                conflated,
                last_part,
            } => {
                assert_eq!(Some(prev_revision), self.stands, "deltas are contiguous");
                assert!(revision > prev_revision);
                assert!(!events.is_empty());
                let fold = self.partial.get_or_insert_with(|| self.fold.clone());
                for event in events {
                    let (name, value, at) = event.item;
                    match event.action {
                        Action::Deleted(_) => {
                            let gone = fold.remove(&name);
                            assert!(conflated || gone.is_some(), "{name} went twice");
                        }
                        Action::Added => {
                            let before = fold.insert(name.clone(), (value, at));
                            assert!(before.is_none(), "{name} was added twice");
                            assert!(at > prev_revision && at <= revision);
                        }
                        Action::Modified => {
                            let before = fold.insert(name, (value, at));
                            assert!(conflated || before.is_some());
                            assert!(at > prev_revision && at <= revision);
                        }
                    }
                }
                if last_part {
                    self.fold = self.partial.take().unwrap();
                    self.stand(revision, truth);
                }
            }
        }
    }

    fn stand(&mut self, revision: Revision, truth: &Truth) {
        assert_eq!(
            self.fold,
            expected(truth, &self.selection, revision),
            "{:?} at {revision} after {:#?}",
            self.selection,
            &self.trail[self.trail.len().saturating_sub(12)..]
        );
        self.stands = Some(revision);
    }
}

async fn write(store: &Embedded, truth: &Truth, rng: &mut StdRng) -> Revision {
    // Held across the transaction in effect: there is one writer.
    let mut map = truth.lock().unwrap().values().next_back().unwrap().clone();
    let mut txn = Txn::new();
    let mut touched = BTreeMap::new();
    for _ in 0..rng.random_range(1..4) {
        let name = NAMES[rng.random_range(0..NAMES.len())];
        let value = match rng.random_range(0..10) {
            0..3 => None,
            3..6 => Some(format!("-{}", rng.random::<u16>())),
            _ => Some(rng.random::<u16>().to_string()),
        };
        touched.insert(name, value);
    }
    for (name, value) in &touched {
        let key = format!("p/0/{name}");
        txn = txn.then(match value {
            Some(value) => Operation::put(key, value.clone()),
            None => Operation::delete(key),
        });
    }
    if rng.random_bool(0.3) {
        txn = txn.then(Operation::put("q/outside", "x"));
    }
    if rng.random_bool(0.3) {
        txn = txn.then(Operation::put("p/1/other", "x"));
    }
    // The truth is there before anybody can see the revision.
    let next = store.status().await.unwrap().revision + 1;
    for (name, value) in touched {
        match value {
            Some(value) => map.insert(name.to_owned(), (value, next)),
            None => map.remove(name),
        };
    }
    truth.lock().unwrap().insert(next, map);
    let revision = store.txn(txn).await.unwrap().revision;
    if revision != next {
        // Nothing changed: it deleted what was not there.
        truth.lock().unwrap().remove(&next);
    }
    revision
}

/// Runs one program; returns how often the cache had to catch up: by listing, watchers by a
/// difference, watchers by starting over; and how many linearizable reads were answered.
async fn run(seed: u64, mute: bool) -> [u64; 4] {
    let mut rng = StdRng::seed_from_u64(seed);
    let store = Embedded::open(
        Location::Memory,
        embedded::Settings::default(),
        Arc::new(SystemClock),
    )
    .await
    .unwrap();
    let store = Arc::new(store);
    let settings = Settings {
        log_revisions: rng.random_range(3..40),
        ..quick()
    };
    let flaky = Flaky::new(store.clone(), mute);
    let replica = || {
        start_with(
            flaky.clone(),
            Arc::new(Witness::default()),
            settings.clone(),
            Arc::new(SystemClock),
        )
    };
    let options = |rng: &mut StdRng| CursorOptions {
        min_interval: Duration::from_millis(if rng.random_bool(0.3) { 3 } else { 0 }),
        bookmark_interval: Duration::from_millis(rng.random_range(2..50)),
        part_bytes: rng.random_range(1..60),
        ..quiet()
    };
    let truth: Truth = Arc::default();
    truth.lock().unwrap().insert(0, Fold::new());
    for _ in 0..rng.random_range(0..30) {
        write(&store, &truth, &mut rng).await;
    }
    let mut replicas = [replica(), replica()];
    for replica in &replicas {
        soon(replica.ready()).await;
    }
    let mut subscribers: Vec<_> = (0..8)
        .map(|index| {
            let selection = Named {
                name: ["", "a", "b"][index % 3],
                visible_only: index % 2 == 0,
                conflates: index % 4 != 3,
                remnants: index < 4,
                ..all()
            };
            Subscriber::open(&replicas[index % 2], selection, options(&mut rng))
        })
        .collect();
    let mut reads = 0;
    let mut last = 0;
    for _ in 0..150 {
        for _ in 0..rng.random_range(0..8) {
            last = write(&store, &truth, &mut rng).await;
        }
        match rng.random_range(0..100) {
            0..8 => flaky.fault(Fault::Stall),
            8..12 => {
                let revision = store.status().await.unwrap().revision;
                store.compact(revision).await.unwrap();
                flaky.fault(Fault::Forget);
            }
            12..16 => flaky.fault(Fault::End),
            16..20 => flaky.fault(Fault::Interrupt),
            _ => flaky.fault(Fault::None),
        }
        if rng.random_bool(0.03) {
            let index = rng.random_range(0..2);
            flaky.fault(Fault::None);
            replicas[index] = replica();
            soon(replicas[index].ready()).await;
        }
        for replica in &replicas {
            let read = replica.read(Freshness::Linearizable);
            if let Ok(Ok(view)) = tokio::time::timeout(Duration::from_millis(2), read).await {
                assert!(view.revision >= last);
                assert_eq!(items(&view), expected(&truth, &all(), view.revision));
                reads += 1;
            }
        }
        for subscriber in &mut subscribers {
            if rng.random_bool(0.6) {
                subscriber.take(&truth, &mut rng).await;
            }
            if rng.random_bool(0.1) || subscriber.ended {
                let replica = &replicas[rng.random_range(0..2)];
                subscriber.resume(replica, options(&mut rng));
            }
        }
    }
    flaky.fault(Fault::None);
    for subscriber in &mut subscribers {
        let replica = &replicas[rng.random_range(0..2)];
        subscriber.resume(replica, options(&mut rng));
    }
    // One that can be seen: streams end at the last change that is.
    let newest = || truth.lock().unwrap().values().next_back().cloned();
    let seen = newest();
    let mut last = write(&store, &truth, &mut rng).await;
    while newest() == seen {
        last = write(&store, &truth, &mut rng).await;
    }
    for replica in &replicas {
        assert!(replica.reached(last, Duration::from_secs(10)).await);
        let view = replica.view().unwrap();
        assert_eq!(items(&view), expected(&truth, &all(), view.revision));
    }
    for replica in &replicas {
        replica.drain();
    }
    for subscriber in &mut subscribers {
        subscriber.take_all(&truth).await;
        assert!(subscriber.stands >= Some(last));
    }
    let stats = replicas.each_ref().map(Cache::stats);
    [
        stats.iter().map(|stats| stats.relists).sum(),
        stats.iter().map(|stats| stats.differences).sum(),
        stats.iter().map(|stats| stats.resets).sum(),
        reads,
    ]
}

fn items(view: &View<Toy>) -> Fold {
    let shown = view.state.kinds[0].values().map(|kv| super::toy::shown(kv));
    shown
        .map(|(name, value, revision)| (name, (value, revision)))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_subscriber_folds_is_the_store_at_its_revision() {
    for mute in [false, true] {
        programs(mute).await;
    }
}

async fn programs(mute: bool) {
    let mut total = [0; 4];
    for seed in 0..6 {
        let counts = run(seed, mute).await;
        for (total, count) in total.iter_mut().zip(counts) {
            *total += count;
        }
    }
    assert!(!total.contains(&0), "the programs are too tame: {total:?}");
}
