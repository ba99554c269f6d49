//! Tests of the cache: a toy projection, over a store whose faults are scripted and over the
//! embedded one.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cursor;
mod fake;
mod flaky;
mod follow;
mod freshness;
mod history;
mod level;
mod mirror;
mod model;
mod toy;

use std::{
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;

use self::{fake::Fake, toy::Toy};
use super::{Cache, CursorOptions, Lineage, Settings};
use crate::{
    clock::{Clock, ManualClock, SystemClock},
    store::{self, Revision, Store},
};

/// What confirms whatever it is asked, and writes it down; on demand it begins a new epoch when the
/// store is before what was seen.
#[derive(Default)]
pub(super) struct Witness {
    asked: Mutex<Vec<Revision>>,
    fake: Option<Arc<Fake>>,
    named: AtomicBool,
}

#[async_trait]
impl<S: Send + Sync + 'static> Lineage<S> for Witness {
    async fn confirm(&self, seen: Revision, _known: &S) -> Result<(), store::Error> {
        self.asked.lock().unwrap().push(seen);
        if let Some(fake) = &self.fake
            && fake.revision() < seen
        {
            fake.put("p/epoch", &format!("{}", 100 + fake.revision()));
        }
        Ok(())
    }

    fn witness(&self) -> Option<Bytes> {
        self.named
            .load(Ordering::Relaxed)
            .then(|| Bytes::from_static(b"p/epoch"))
    }
}

impl Witness {
    fn of(fake: &Arc<Fake>) -> Arc<Self> {
        Arc::new(Self {
            fake: Some(fake.clone()),
            named: AtomicBool::new(true),
            ..Self::default()
        })
    }
}

/// Settings under which nothing takes long.
pub(super) fn quick() -> Settings {
    Settings {
        page: 3,
        progress_interval: Duration::from_millis(5),
        idle_probe: Duration::from_millis(20),
        ..Settings::default()
    }
}

/// A cursor that only speaks when something happened.
pub(super) fn quiet() -> CursorOptions {
    CursorOptions {
        bookmark_interval: Duration::from_secs(3600),
        ..CursorOptions::default()
    }
}

pub(super) fn start(store: &Arc<Fake>, settings: Settings) -> Cache<Toy> {
    start_with(
        store.clone(),
        Arc::new(Witness::default()),
        settings,
        Arc::new(SystemClock),
    )
}

pub(super) fn start_with(
    store: Arc<dyn Store>,
    lineage: Arc<Witness>,
    settings: Settings,
    clock: Arc<dyn Clock>,
) -> Cache<Toy> {
    let prefix = Bytes::from_static(b"p/");
    Cache::start(store, prefix, Toy, lineage, settings, clock)
}

/// A cache that is ready.
pub(super) async fn ready(store: &Arc<Fake>, settings: Settings) -> Cache<Toy> {
    let cache = start(store, settings);
    soon(cache.ready()).await;
    cache
}

/// The same, with a clock that the test turns.
pub(super) async fn ready_by_clock(
    store: &Arc<Fake>,
    settings: Settings,
) -> (Cache<Toy>, ManualClock) {
    let clock = ManualClock::default();
    let (lineage, turned) = (Arc::default(), Arc::new(clock.clone()));
    let cache = start_with(store.clone(), lineage, settings, turned);
    soon(cache.ready()).await;
    (cache, clock)
}

/// Fails the test rather than wait for ever.
pub(super) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .expect("nothing happened for 20 s")
}

/// Waits for a condition.
pub(super) async fn until(mut holds: impl FnMut() -> bool) {
    soon(async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}
