//! A store whose faults are scripted: it forgets, goes back, falls silent, repeats itself.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc};

use crate::store::{
    Error, Event, Extent, KeyRange, KeyValue, LeaseId, Outcome, Probe, RangeRequest, RangeResponse,
    Renewal, Revision, Status, Store, Txn, TxnResponse, Watch, WatchItem,
};

type Items = mpsc::Sender<Result<WatchItem, Error>>;

pub(crate) struct Fake {
    inner: Mutex<Inner>,
    me: Weak<Fake>,
    /// Nothing answers.
    pub(crate) away: AtomicBool,
    /// Requests for progress are lost, this many.
    pub(crate) progress_lost: AtomicUsize,
    pub(crate) probes: AtomicUsize,
    pub(crate) watches: AtomicUsize,
    /// Watches deliver nothing by themselves.
    pub(crate) held: AtomicBool,
    /// Compacts after each of this many pages.
    pub(crate) compact_after_page: AtomicUsize,
    /// Writes after each of this many pages.
    pub(crate) write_after_page: AtomicUsize,
    /// Pages of more keys do not come in time.
    pub(crate) in_time: AtomicUsize,
    /// How many keys the pages had that did not.
    pub(crate) late: Mutex<Vec<usize>>,
    /// Says how far it is by the extent of its keys alone.
    pub(crate) mute: AtomicBool,
    /// Each probe takes one, if there is a gate.
    pub(crate) gate: Mutex<Option<Arc<Semaphore>>>,
}

struct Inner {
    revision: Revision,
    history: BTreeMap<Revision, Vec<Event>>,
    compacted: Revision,
    watchers: Vec<Watcher>,
}

struct Watcher {
    prefix: Bytes,
    next: Revision,
    items: Items,
}

struct Bell {
    fake: Arc<Fake>,
    prefix: Bytes,
}

// === impl Fake ===

impl Fake {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            inner: Mutex::new(Inner {
                revision: 1,
                history: BTreeMap::new(),
                compacted: 0,
                watchers: Vec::new(),
            }),
            me: me.clone(),
            away: AtomicBool::new(false),
            progress_lost: AtomicUsize::new(0),
            probes: AtomicUsize::new(0),
            watches: AtomicUsize::new(0),
            held: AtomicBool::new(false),
            compact_after_page: AtomicUsize::new(0),
            write_after_page: AtomicUsize::new(0),
            in_time: AtomicUsize::new(usize::MAX),
            late: Mutex::default(),
            mute: AtomicBool::new(false),
            gate: Mutex::new(None),
        })
    }

    pub(crate) fn revision(&self) -> Revision {
        self.inner().revision
    }

    pub(crate) fn get(&self, key: &str) -> Option<KeyValue> {
        let inner = self.inner();
        inner.at(inner.revision).remove(key.as_bytes())
    }

    pub(crate) fn put(&self, key: &str, value: &str) -> Revision {
        self.write(&[(key, Some(value))])
    }

    pub(crate) fn delete(&self, key: &str) -> Revision {
        self.write(&[(key, None)])
    }

    pub(crate) fn write(&self, writes: &[(&str, Option<&str>)]) -> Revision {
        let mut inner = self.inner();
        let revision = inner.revision + 1;
        let now = inner.at(inner.revision);
        let events = writes
            .iter()
            .map(|(key, value)| {
                let key = Bytes::from((*key).to_owned());
                let before = now.get(&key);
                match value {
                    Some(value) => Event::Put(KeyValue {
                        create_revision: before.map_or(revision, |kv| kv.create_revision),
                        version: before.map_or(1, |kv| kv.version + 1),
                        key,
                        value: Bytes::from((*value).to_owned()),
                        mod_revision: revision,
                        lease: 0,
                    }),
                    None => Event::Delete { key, revision },
                }
            })
            .collect();
        inner.revision = revision;
        inner.history.insert(revision, events);
        drop(inner);
        self.deliver();
        revision
    }

    /// Lets watches deliver what there is.
    pub(crate) fn deliver(&self) {
        if self.held.load(Ordering::SeqCst) {
            return;
        }
        let mut inner = self.inner();
        let Inner {
            revision,
            history,
            compacted,
            watchers,
        } = &mut *inner;
        watchers.retain_mut(|watcher| {
            if watcher.next < *compacted {
                let oldest = *compacted;
                let _ = watcher.items.try_send(Err(Error::Compacted { oldest }));
                return false;
            }
            for (at, events) in history.range(watcher.next..) {
                let events: Vec<_> = events
                    .iter()
                    .filter(|event| event.key().starts_with(&watcher.prefix))
                    .cloned()
                    .collect();
                if !events.is_empty() {
                    let item = WatchItem::Changes {
                        revision: *at,
                        events,
                    };
                    if watcher.items.try_send(Ok(item)).is_err() {
                        return false;
                    }
                }
            }
            watcher.next = watcher.next.max(*revision + 1);
            true
        });
    }

    /// Sends an item to every watch.
    pub(crate) fn say(&self, item: Result<WatchItem, Error>) {
        let mut inner = self.inner();
        let ends = item.is_err();
        inner.watchers.retain(|watcher| {
            let _ = watcher.items.try_send(item.clone());
            !ends
        });
    }

    /// Watches deliver nothing by themselves any more, or again.
    pub(crate) fn hold(&self, held: bool) {
        self.held.store(held, Ordering::SeqCst);
        self.deliver();
    }

    pub(crate) fn forget(&self, revision: Revision) {
        let mut inner = self.inner();
        inner.compacted = inner.compacted.max(revision);
    }

    /// The store is restored as it was at `revision`.
    pub(crate) fn go_back(&self, revision: Revision) {
        let mut inner = self.inner();
        inner.history.split_off(&(revision + 1));
        inner.revision = revision;
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    fn answers(&self) -> Result<(), Error> {
        if self.away.load(Ordering::SeqCst) {
            return Err(Error::Unavailable {
                message: "away".into(),
                outcome: Outcome::NotDone,
            });
        }
        Ok(())
    }
}

impl Inner {
    fn at(&self, revision: Revision) -> BTreeMap<Bytes, KeyValue> {
        let mut map = BTreeMap::new();
        for events in self.history.range(..=revision).map(|(_, events)| events) {
            for event in events {
                match event {
                    Event::Put(kv) => map.insert(kv.key.clone(), kv.clone()),
                    Event::Delete { key, .. } => map.remove(key),
                };
            }
        }
        map
    }
}

/// What the keys of `prefix` amount to in a store.
pub(crate) async fn extent(
    store: &dyn Store,
    prefix: &Bytes,
    applied: Revision,
) -> Result<Option<Extent>, Error> {
    let keys = RangeRequest::new(KeyRange::prefix(prefix.clone())).keys_only();
    let answer = store.range(keys).await?;
    let written = answer.kvs.iter().map(|kv| kv.mod_revision);
    Ok(Some(Extent {
        revision: answer.revision,
        newest: written.filter(|at| *at > applied).max().unwrap_or(0),
        count: answer.count,
    }))
}

fn take_one(counter: &AtomicUsize) -> bool {
    counter
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
            left.checked_sub(1)
        })
        .is_ok()
}

#[async_trait]
impl Store for Fake {
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Error> {
        self.answers()?;
        if request.limit > self.in_time.load(Ordering::SeqCst) {
            self.late.lock().unwrap().push(request.limit);
            let outcome = Outcome::NotDone;
            return Err(Error::Timeout { outcome });
        }
        let answer = {
            let inner = self.inner();
            let at = match request.revision {
                0 => inner.revision,
                at if at < inner.compacted => {
                    // As etcd does, it does not say how far.
                    return Err(Error::Compacted { oldest: 0 });
                }
                at if at > inner.revision => return Err(Error::FutureRevision),
                at => at,
            };
            let found: Vec<_> = inner
                .at(at)
                .into_values()
                .filter(|kv| request.keys.contains(&kv.key))
                .collect();
            let count = found.len();
            let limit = match request.limit {
                _ if request.count_only => 0,
                0 => usize::MAX,
                limit => limit,
            };
            RangeResponse {
                more: count > limit,
                kvs: found.into_iter().take(limit).collect(),
                count,
                revision: inner.revision,
            }
        };
        if request.limit > 0 {
            if take_one(&self.write_after_page) {
                let revision = self.revision();
                self.write(&[
                    ("p/0/a0", Some(&format!("w{revision}"))),
                    ("p/0/z9", Some(&format!("w{revision}"))),
                    ("p/0/a1", None),
                ]);
            }
            if take_one(&self.compact_after_page) {
                self.put("q/outside", "x");
                self.forget(self.revision());
            }
        }
        Ok(answer)
    }

    async fn txn(&self, _: Txn) -> Result<TxnResponse, Error> {
        Err(Error::Invalid("not scripted".into()))
    }

    async fn grant(&self, _: LeaseId, ttl: Duration) -> Result<Duration, Error> {
        Ok(ttl)
    }

    async fn keep_alive(&self, _: LeaseId) -> Result<Renewal, Error> {
        Err(Error::LeaseNotFound)
    }

    async fn revoke(&self, _: LeaseId) -> Result<(), Error> {
        Ok(())
    }

    async fn watch(&self, prefix: Bytes, from: Revision) -> Result<Watch, Error> {
        self.answers()?;
        self.watches.fetch_add(1, Ordering::SeqCst);
        let (sender, items) = mpsc::channel(100_000);
        let next = match from {
            0 => self.revision() + 1,
            from => from,
        };
        self.inner().watchers.push(Watcher {
            prefix: prefix.clone(),
            next,
            items: sender,
        });
        self.deliver();
        let me = self.me.upgrade().expect("somebody called us");
        Ok(Watch {
            items,
            probe: Arc::new(Bell { fake: me, prefix }),
        })
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        self.forget(revision);
        Ok(())
    }

    async fn status(&self) -> Result<Status, Error> {
        Ok(Status::default())
    }
}

#[async_trait]
impl Probe for Bell {
    async fn current_revision(&self) -> Result<Revision, Error> {
        self.fake.probes.fetch_add(1, Ordering::SeqCst);
        let gate = self.fake.gate.lock().unwrap().clone();
        let revision = self.fake.revision();
        if let Some(gate) = gate {
            gate.acquire().await.unwrap().forget();
        }
        self.fake.answers()?;
        Ok(revision)
    }

    async fn request_progress(&self) {
        if self.fake.held.load(Ordering::SeqCst)
            || self.fake.answers().is_err()
            || take_one(&self.fake.progress_lost)
        {
            return;
        }
        self.fake.deliver();
        let revision = self.fake.revision();
        self.fake.say(Ok(WatchItem::Progress(revision)));
    }

    async fn extent(&self, applied: Revision) -> Result<Option<Extent>, Error> {
        if !self.fake.mute.load(Ordering::SeqCst) {
            return Ok(None);
        }
        extent(self.fake.as_ref(), &self.prefix, applied).await
    }
}
