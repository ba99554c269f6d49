//! The one task that keeps the copy: list, watch, apply, publish; and start over when it must.
//!
//! It never waits for a reader. What it publishes only ever grows, until the store's history turns
//! out to be another one: then the state is replaced as a whole.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use rand::Rng as _;

use crate::{
    planted::{self, Bug},
    store::{Error, Event, KeyValue, RangeResponse, Revision, Store, Watch, WatchItem},
};

use super::{
    Lineage, Projection,
    history::{confirmed, vouched},
    level::{Measured, unexplained},
    listing::{Reader, current_revision, ended},
    log::Bounds,
    published::Published,
    shared::Shared,
};

/// How many items are applied before what they led to is published.
const MAX_BATCH: usize = 1024;

pub(super) const MIN_BACKOFF: Duration = Duration::from_millis(50);
const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// The task's own state.
pub(super) struct Mirror<P: Projection> {
    pub(super) shared: Arc<Shared<P>>,
    pub(super) store: Arc<dyn Store>,
    pub(super) prefix: Bytes,
    pub(super) projection: P,
    pub(super) lineage: Arc<dyn Lineage<P::State>>,
    pub(super) bounds: Bounds,
    /// What is published next.
    pub(super) working: Published<P>,
    /// When each key was created and last written, for the difference of a listing.
    pub(super) known: HashMap<Bytes, (Revision, Revision)>,
    /// The key that every new history rewrites, as it is in the one we know.
    pub(super) witness: Option<KeyValue>,
    /// Runs after a break of the watch.
    pub(super) confirming: Option<BoxFuture<'static, Option<RangeResponse>>>,
    /// The watch broke and is not there again.
    pub(super) cut: bool,
    /// Runs when the watch is there again: until then nothing is taken from it, because it may tell
    /// of another history.
    pub(super) held: Option<BoxFuture<'static, ()>>,
    /// What a quorum says of the keys, where the watch does not say how far it is.
    pub(super) measured: Option<Measured>,
    backoff: Duration,
}

/// Why the watch is not followed any more.
enum End {
    /// It ended; a new one can go on where it was.
    Lost(Error),
    /// The store has forgotten what comes next.
    Forgotten(Error),
    /// What is known is not the store's history.
    Void(&'static str),
    /// The watch has told less, or more, than there is.
    Wrong,
}

// === impl Mirror ===

impl<P: Projection> Mirror<P> {
    pub(super) fn new(
        shared: Arc<Shared<P>>,
        store: Arc<dyn Store>,
        prefix: Bytes,
        projection: P,
        lineage: Arc<dyn Lineage<P::State>>,
    ) -> Self {
        Self {
            bounds: Bounds::new(&shared.settings),
            shared,
            store,
            prefix,
            projection,
            lineage,
            working: Published::new(P::State::default(), 0, 0),
            known: HashMap::new(),
            witness: None,
            confirming: None,
            cut: false,
            held: None,
            measured: None,
            backoff: MIN_BACKOFF,
        }
    }

    pub(super) async fn run(mut self) {
        self.confirm(0).await;
        let mut watch = loop {
            match self.begin().await {
                Ok(watch) => break watch,
                Err(error) => self.pause("the store cannot be listed yet", &error).await,
            }
        };
        loop {
            self.shared.set_probe(Some(watch.probe.clone()));
            let mut end = self.follow(&mut watch).await;
            self.shared.set_probe(None);
            drop(watch);
            watch = loop {
                if let Some(watch) = self.recover(end).await {
                    break watch;
                }
                match self.rewatch().await {
                    Ok(watch) => break watch,
                    Err(again) => end = again,
                }
            };
        }
    }

    /// Brings the state to where a new watch can begin; may open it on the way.
    async fn recover(&mut self, end: End) -> Option<Watch> {
        match end {
            End::Lost(error) => {
                self.broken();
                self.pause("the watch ended and is opened again", &error)
                    .await;
                None
            }
            End::Forgotten(error) => {
                // So that a store that forgets faster than it can be listed is not stormed.
                self.pause("the watch fell behind the store's memory", &error)
                    .await;
                if planted::is(Bug::IgnoreCompaction)
                    && let Ok(now) = current_revision(self.store.as_ref(), &self.prefix).await
                {
                    self.working.revision = now;
                    return None;
                }
                self.relist().await
            }
            End::Void(reason) => {
                tracing::warn!(reason, "the state is void and read anew");
                self.confirm(self.working.as_of).await;
                self.replace().await
            }
            End::Wrong => {
                tracing::warn!("the watch has left something out, the store is listed");
                self.relist().await
            }
        }
    }

    /// Applies and publishes what the watch delivers, until it cannot go on.
    async fn follow(&mut self, watch: &mut Watch) -> End {
        self.resumed();
        let mut doubts = self.shared.doubts();
        let mut extents = self.shared.extents();
        let clock = self.shared.clock.clone();
        loop {
            let generation = self.working.generation;
            let held = self.held.is_some();
            let item = tokio::select! {
                biased;
                _ = doubts.wait_for(|doubted| *doubted == Some(generation)) => {
                    return End::Void("the store's revision fell");
                }
                witness = confirmed(&mut self.confirming) => {
                    if self.contradicts(witness) {
                        return End::Void("the store's history was rewritten");
                    }
                    // Else it is confirmed again once the watch is there.
                    if !self.cut {
                        self.shared.set_unconfirmed(false);
                        self.release();
                    }
                    continue;
                }
                () = vouched(&mut self.held), if held => {
                    self.release();
                    continue;
                }
                // The sender is ours, so it cannot be gone.
                _ = extents.changed(), if !held => {
                    if self.measure(*extents.borrow_and_update()) {
                        self.publish();
                        self.shared.pulse.reached(self.working.as_of);
                    }
                    continue;
                }
                item = watch.items.recv(), if !held => item,
                () = unexplained(clock.as_ref(), &self.measured), if !held => return End::Wrong,
            };
            let at = self.shared.now();
            let mut next = item.unwrap_or_else(|| Err(ended()));
            for _ in 0..MAX_BATCH {
                match next {
                    Ok(WatchItem::Changes { revision, events }) => {
                        if !self.apply(revision, &events, at) {
                            return End::Void("a new epoch began");
                        }
                    }
                    Ok(WatchItem::Progress(revision)) => self.working.progress(revision),
                    Ok(WatchItem::Interrupted) => {
                        self.shared.counters.interruptions.add(1);
                        self.excuse();
                        self.broken();
                    }
                    Ok(WatchItem::Resumed) => self.resumed(),
                    Err(error) => {
                        if self.is_level() {
                            self.publish();
                        }
                        return match error {
                            Error::Compacted { .. } => End::Forgotten(error),
                            error => End::Lost(error),
                        };
                    }
                }
                if self.held.is_some() {
                    break;
                }
                match watch.items.try_recv() {
                    Ok(item) => next = item,
                    Err(_) => break,
                }
            }
            self.backoff = MIN_BACKOFF;
            self.heard(at);
            if self.is_level() {
                self.publish();
                self.shared.pulse.item(self.working.as_of, at);
            }
        }
    }

    /// Applies one revision; false if it began another epoch.
    pub(super) fn apply(&mut self, revision: Revision, events: &[Event], at: Instant) -> bool {
        let counters = &self.shared.counters;
        if revision <= self.working.revision {
            counters.duplicates_dropped.add(1);
            return true;
        }
        counters.revisions.add(1);
        counters.events.add(events.len());
        self.note(events);
        self.working
            .apply(&self.projection, revision, events, false, at)
    }

    pub(super) fn publish(&mut self) {
        self.working.trim(&self.bounds, self.shared.now());
        self.shared.publish(Arc::new(self.working.clone()));
    }

    pub(super) async fn watch(&mut self) -> Result<Watch, Error> {
        self.store
            .watch(self.prefix.clone(), self.working.revision + 1)
            .await
    }

    /// Opens a watch after what is known, however long that takes.
    async fn rewatch(&mut self) -> Result<Watch, End> {
        loop {
            if self.shared.is_doubted() {
                return Err(End::Void("the store's revision fell"));
            }
            self.shared.counters.rewatches.add(1);
            match self.watch().await {
                Ok(watch) => return Ok(watch),
                Err(error @ Error::Compacted { .. }) => return Err(End::Forgotten(error)),
                Err(error) => self.pause("the watch cannot be opened", &error).await,
            }
        }
    }

    pub(super) async fn pause(&mut self, what: &str, error: &Error) {
        tracing::warn!(%error, "{what}");
        self.shared.clock.sleep(jittered(self.backoff)).await;
        self.backoff = (self.backoff * 2).min(MAX_BACKOFF);
    }

    pub(super) fn reader(&self) -> Reader<'_> {
        Reader {
            store: self.store.as_ref(),
            prefix: &self.prefix,
            page: self.shared.settings.page,
            clock: self.shared.clock.as_ref(),
            progress_interval: self.shared.settings.progress_interval,
        }
    }
}

impl<P: Projection> Drop for Mirror<P> {
    fn drop(&mut self) {
        // Cursors may outlive us, and should not hold on to the store.
        self.shared.set_probe(None);
    }
}

/// Between half of it and all of it, so that replicas do not come all at once.
pub(super) fn jittered(backoff: Duration) -> Duration {
    backoff.mul_f64(rand::rng().random_range(0.5..=1.0))
}
