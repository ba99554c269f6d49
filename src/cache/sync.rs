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
    listing::{Listing, Reader, current_revision, ended, list_at, list_now, oldest_revision},
    log::Bounds,
    published::Published,
    shared::Shared,
};

/// How many items are applied before what they led to is published.
const MAX_BATCH: usize = 1024;

/// How often the first listing is tried in the past, each time at a revision learnt anew, before
/// it is taken as of now.
const PAST_ATTEMPTS: usize = 3;

pub(super) const MIN_BACKOFF: Duration = Duration::from_millis(50);
const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// The task's own state.
pub(super) struct Mirror<P: Projection> {
    pub(super) shared: Arc<Shared<P>>,
    pub(super) store: Arc<dyn Store>,
    pub(super) prefix: Bytes,
    pub(super) projection: P,
    pub(super) lineage: Arc<dyn Lineage<P::State>>,
    bounds: Bounds,
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

    /// Lists as far in the past as old cursors may stand, and catches up to now. Ready after that.
    async fn begin(&mut self) -> Result<Watch, Error> {
        let sent = self.shared.now();
        let now = current_revision(self.store.as_ref(), &self.prefix).await?;
        let reach = Revision::try_from(self.shared.settings.log_revisions).unwrap_or(Revision::MAX);
        let mut past = now.saturating_sub(reach).max(1).min(now);
        let mut found = None;
        for _ in 0..PAST_ATTEMPTS {
            match self.catch_up(past, now).await {
                Ok(watch) => {
                    found = Some(watch);
                    break;
                }
                Err(Error::Compacted { oldest }) => {
                    let oldest = match oldest {
                        0 => oldest_revision(self.store.as_ref(), &self.prefix, past).await?,
                        oldest => Some(oldest),
                    };
                    past = oldest.map_or(now, |oldest| oldest.max(past));
                }
                Err(error) => return Err(error),
            }
        }
        let watch = match found {
            Some(watch) => watch,
            None => {
                let mut listing = list_now(&self.reader()).await?;
                let watch = listing.watch.take();
                self.load(listing, 0);
                match watch {
                    Some(watch) => watch,
                    None => self.watch().await?,
                }
            }
        };
        self.publish();
        self.shared.pulse.ready(sent);
        if self.confirming.is_some() {
            // The watch broke meanwhile.
            self.shared.pulse.broken();
        }
        tracing::info!(
            revision = self.working.revision,
            keys = self.known.len(),
            "the watch cache is ready"
        );
        Ok(watch)
    }

    /// Lists at `past` and follows a watch from there until `now`.
    async fn catch_up(&mut self, past: Revision, now: Revision) -> Result<Watch, Error> {
        let listing = match past {
            // An empty store: nothing to list, everything comes by the watch.
            0 => Listing {
                kvs: Vec::new(),
                revision: 0,
                watch: None,
            },
            past => list_at(&self.reader(), past).await?,
        };
        self.load(listing, 0);
        let mut watch = self.watch().await?;
        let _demand = self.shared.demand_progress();
        self.shared.set_probe(Some(watch.probe.clone()));
        let mut extents = self.shared.extents();
        while self.working.as_of < now {
            let item = tokio::select! {
                item = watch.items.recv() => item.ok_or_else(ended)??,
                // The sender is ours, so it cannot be gone.
                _ = extents.changed() => {
                    self.measure(*extents.borrow_and_update());
                    continue;
                }
            };
            let at = self.shared.now();
            match item {
                WatchItem::Changes { revision, events } => {
                    if !self.apply(revision, &events, at) {
                        // All of it is the store's present history, of which this is a new epoch.
                        self.working.forget_history();
                    }
                }
                WatchItem::Progress(revision) => self.working.progress(revision),
                WatchItem::Interrupted => self.broken(),
                WatchItem::Resumed => self.resumed(),
            }
            self.is_level();
            self.working.trim(&self.bounds, at);
        }
        Ok(watch)
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
    fn apply(&mut self, revision: Revision, events: &[Event], at: Instant) -> bool {
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

    async fn watch(&mut self) -> Result<Watch, Error> {
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
