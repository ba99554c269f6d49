//! The one task that keeps the copy: list, watch, apply, publish; and start over when it must.
//!
//! It never waits for a reader. What it publishes only ever grows, until the store's history turns
//! out to be another one: then the state is replaced as a whole.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use rand::Rng as _;

use crate::store::{
    Error, Event, KeyRange, KeyValue, RangeRequest, RangeResponse, Revision, Store, Watch,
    WatchItem,
};

use super::{
    Lineage, Projection,
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

const MIN_BACKOFF: Duration = Duration::from_millis(50);
const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// The task's own state.
pub(super) struct Mirror<P: Projection> {
    shared: Arc<Shared<P>>,
    store: Arc<dyn Store>,
    prefix: Bytes,
    projection: P,
    lineage: Arc<dyn Lineage>,
    bounds: Bounds,
    /// What is published next.
    working: Published<P>,
    /// When each key was created and last written, for the difference of a listing.
    known: HashMap<Bytes, (Revision, Revision)>,
    /// Runs after a break of the watch.
    confirming: Option<BoxFuture<'static, Option<RangeResponse>>>,
    backoff: Duration,
}

/// Why the watch is not followed any more.
enum End {
    /// It ended; a new one can go on where it was.
    Lost(Error),
    /// The store has forgotten what comes next.
    Forgotten,
    /// What is known is not the store's history.
    Void(&'static str),
}

// === impl Mirror ===

impl<P: Projection> Mirror<P> {
    pub(super) fn new(
        shared: Arc<Shared<P>>,
        store: Arc<dyn Store>,
        prefix: Bytes,
        projection: P,
        lineage: Arc<dyn Lineage>,
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
            confirming: None,
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
            let end = self.follow(&mut watch).await;
            self.shared.set_probe(None);
            watch = match end {
                End::Lost(error) => {
                    self.broken();
                    self.pause("the watch ended and is opened again", &error)
                        .await;
                    self.rewatch().await
                }
                End::Forgotten => self.relist().await,
                End::Void(reason) => {
                    tracing::warn!(reason, "the state is void and read anew");
                    self.confirm(self.working.revision).await;
                    self.replace().await
                }
            };
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
        while self.working.revision < now {
            let at = self.shared.now();
            match watch.items.recv().await.ok_or_else(ended)?? {
                WatchItem::Changes { revision, events } => {
                    if !self.apply(revision, &events, at) {
                        // All of it is the store's present history, of which this is a new epoch.
                        self.working.forget_history();
                    }
                }
                WatchItem::Progress(revision) => self.progress(revision),
                WatchItem::Interrupted => self.broken(),
            }
            self.working.trim(&self.bounds, at);
        }
        Ok(watch)
    }

    /// Applies and publishes what the watch delivers, until it cannot go on.
    async fn follow(&mut self, watch: &mut Watch) -> End {
        let mut doubts = self.shared.doubts();
        loop {
            let generation = self.working.generation;
            let item = tokio::select! {
                biased;
                _ = doubts.wait_for(|doubted| *doubted == Some(generation)) => {
                    return End::Void("the store's revision fell");
                }
                witness = confirmed(&mut self.confirming) => {
                    if self.contradicts(witness) {
                        return End::Void("the store's history was rewritten");
                    }
                    continue;
                }
                item = watch.items.recv() => item,
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
                    Ok(WatchItem::Progress(revision)) => self.progress(revision),
                    Ok(WatchItem::Interrupted) => {
                        self.shared.counters.interruptions.add(1);
                        self.broken();
                    }
                    Err(error) => {
                        self.publish();
                        return match error {
                            Error::Compacted { .. } => End::Forgotten,
                            error => End::Lost(error),
                        };
                    }
                }
                match watch.items.try_recv() {
                    Ok(item) => next = item,
                    Err(_) => break,
                }
            }
            self.backoff = MIN_BACKOFF;
            self.publish();
            self.shared.pulse.item(self.working.revision, at);
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
        note(&mut self.known, events);
        self.working
            .apply(&self.projection, revision, events, false, at)
    }

    fn progress(&mut self, revision: Revision) {
        self.working.revision = self.working.revision.max(revision);
    }

    fn publish(&mut self) {
        self.working.trim(&self.bounds, self.shared.now());
        self.shared.publish(Arc::new(self.working.clone()));
    }

    /// Starts from a listing, without history.
    fn load(&mut self, listing: Listing, generation: u64) {
        let Listing { kvs, revision, .. } = listing;
        self.known.clear();
        let mut by_revision: BTreeMap<Revision, Vec<Event>> = BTreeMap::new();
        for kv in kvs {
            by_revision
                .entry(kv.mod_revision)
                .or_default()
                .push(Event::Put(kv));
        }
        let mut state = P::State::default();
        for (revision, events) in &by_revision {
            note(&mut self.known, events);
            self.projection.apply(&mut state, *revision, events);
        }
        self.working = Published::new(state, revision, generation);
    }

    /// Lists anew and publishes the difference as one revision.
    async fn relist(&mut self) -> Watch {
        let sent = self.shared.now();
        let mut listing = self.list().await;
        let watch = listing.watch.take();
        if listing.revision < self.working.revision {
            tracing::warn!(
                found = listing.revision,
                seen = self.working.revision,
                "the store is before what it has shown: its history is another one"
            );
            self.confirm(self.working.revision).await;
            return self.replace().await;
        }
        self.shared.counters.relists.add(1);
        let events = self.difference(&listing);
        tracing::info!(
            from = self.working.revision,
            to = listing.revision,
            changes = events.len(),
            "the store forgot what the watch needed, the difference was listed"
        );
        let before = self.working.revision;
        let same_epoch = listing.revision == before
            || self.working.apply(
                &self.projection,
                listing.revision,
                &events,
                true,
                self.shared.now(),
            );
        if same_epoch {
            note(&mut self.known, &events);
            self.publish();
        } else {
            self.replace_with(listing);
        }
        self.shared.pulse.replaced(sent);
        match watch {
            Some(watch) => watch,
            None => self.rewatch().await,
        }
    }

    /// What leads from the known keys to the listed ones.
    fn difference(&self, listing: &Listing) -> Vec<Event> {
        let listed: HashMap<&Bytes, &KeyValue> =
            listing.kvs.iter().map(|kv| (&kv.key, kv)).collect();
        let mut events: Vec<Event> = self
            .known
            .keys()
            .filter(|key| !listed.contains_key(key))
            .map(|key| Event::Delete {
                key: key.clone(),
                revision: listing.revision,
            })
            .collect();
        events.sort_by(|a, b| a.key().cmp(b.key()));
        let mut puts: Vec<&KeyValue> = listing
            .kvs
            .iter()
            .filter(|kv| self.known.get(&kv.key) != Some(&(kv.create_revision, kv.mod_revision)))
            .collect();
        puts.sort_by_key(|kv| kv.mod_revision);
        events.extend(puts.into_iter().cloned().map(Event::Put));
        events
    }

    /// Reads everything anew and forgets what was; cursors start over.
    async fn replace(&mut self) -> Watch {
        let sent = self.shared.now();
        let mut listing = self.list().await;
        let watch = listing.watch.take();
        self.replace_with(listing);
        self.shared.pulse.replaced(sent);
        match watch {
            Some(watch) => watch,
            None => self.rewatch().await,
        }
    }

    fn replace_with(&mut self, listing: Listing) {
        self.shared.counters.replacements.add(1);
        self.confirming = None;
        self.load(listing, self.working.generation + 1);
        tracing::warn!(
            revision = self.working.revision,
            epoch = self.working.epoch,
            "the state was replaced"
        );
        self.publish();
    }

    async fn list(&mut self) -> Listing {
        loop {
            let listed = list_now(&self.reader()).await;
            match listed {
                Ok(listing) => return listing,
                Err(error) => self.pause("the store cannot be listed", &error).await,
            }
        }
    }

    async fn watch(&mut self) -> Result<Watch, Error> {
        self.store
            .watch(self.prefix.clone(), self.working.revision + 1)
            .await
    }

    /// Opens a watch after what is known, however long that takes.
    async fn rewatch(&mut self) -> Watch {
        loop {
            if self.shared.is_doubted() {
                self.confirm(self.working.revision).await;
                return Box::pin(self.replace()).await;
            }
            self.shared.counters.rewatches.add(1);
            match self.watch().await {
                Ok(watch) => return watch,
                Err(Error::Compacted { .. }) => return Box::pin(self.relist()).await,
                Err(error) => self.pause("the watch cannot be opened", &error).await,
            }
        }
    }

    /// The watch broke: its items may be old now, and its store another one.
    fn broken(&mut self) {
        self.shared.pulse.broken();
        self.shared.probe_wanted.notify_one();
        let lineage = self.lineage.clone();
        let store = self.store.clone();
        let clock = self.shared.clock.clone();
        let seen = self.working.revision;
        let known = self.known_witness();
        self.confirming = Some(Box::pin(async move {
            let mut backoff = MIN_BACKOFF;
            loop {
                match confirm(lineage.as_ref(), store.as_ref(), seen, known).await {
                    Ok(found) => return found,
                    Err(error) => {
                        tracing::warn!(%error, "the store's history could not be confirmed yet");
                        clock.sleep(jittered(backoff)).await;
                        backoff = (backoff * 2).min(MAX_BACKOFF);
                    }
                }
            }
        }));
    }

    /// Says whether the witness, as the store has it, cannot be of the history we know.
    fn contradicts(&self, witness: Option<RangeResponse>) -> bool {
        let Some(answer) = witness else {
            return false;
        };
        let known = self.known_witness();
        let found = written(&answer);
        // A difference means something only where both have looked: what came after the read is
        // not in it, and what comes later than we are will still come.
        found != known
            && found <= self.working.revision
            && known <= answer.revision
            && (found > 0 || answer.revision <= self.working.revision)
    }

    /// When the witness was last written, as far as we know; `0`: never.
    fn known_witness(&self) -> Revision {
        let key = self.lineage.witness();
        key.and_then(|key| self.known.get(&key))
            .map_or(0, |known| known.1)
    }

    /// Waits until the history is confirmed.
    async fn confirm(&mut self, seen: Revision) {
        let known = self.known_witness();
        while let Err(error) =
            confirm(self.lineage.as_ref(), self.store.as_ref(), seen, known).await
        {
            self.pause("the store's history cannot be confirmed", &error)
                .await;
        }
    }

    async fn pause(&mut self, what: &str, error: &Error) {
        tracing::warn!(%error, "{what}");
        self.shared.clock.sleep(jittered(self.backoff)).await;
        self.backoff = (self.backoff * 2).min(MAX_BACKOFF);
    }

    fn reader(&self) -> Reader<'_> {
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

/// Keeps account of when keys were written.
fn note(known: &mut HashMap<Bytes, (Revision, Revision)>, events: &[Event]) {
    for event in events {
        match event {
            Event::Put(kv) => {
                known.insert(kv.key.clone(), (kv.create_revision, kv.mod_revision));
            }
            Event::Delete { key, .. } => {
                known.remove(key);
            }
        }
    }
}

/// Completes with what the confirmation found, if one runs.
async fn confirmed(
    confirming: &mut Option<BoxFuture<'static, Option<RangeResponse>>>,
) -> Option<RangeResponse> {
    let Some(running) = confirming else {
        return std::future::pending().await;
    };
    let found = running.await;
    *confirming = None;
    found
}

/// Confirms the history in which `seen` happened and the witness was written at `known`, and reads
/// the witness again.
async fn confirm(
    lineage: &dyn Lineage,
    store: &dyn Store,
    seen: Revision,
    known: Revision,
) -> Result<Option<RangeResponse>, Error> {
    let Some(key) = lineage.witness() else {
        lineage.confirm(seen).await?;
        return Ok(None);
    };
    let witness = RangeRequest::new(KeyRange::key(key)).keys_only();
    // Rewritten: somebody has begun a new history already, in which `seen` means nothing.
    let seen = if written(&store.range(witness.clone()).await?) == known {
        seen
    } else {
        0
    };
    lineage.confirm(seen).await?;
    store.range(witness).await.map(Some)
}

/// When the one key of an answer was written; `0`: it is not there.
fn written(answer: &RangeResponse) -> Revision {
    answer.kvs.first().map_or(0, |kv| kv.mod_revision)
}

/// Between half of it and all of it, so that replicas do not come all at once.
fn jittered(backoff: Duration) -> Duration {
    backoff.mul_f64(rand::rng().random_range(0.5..=1.0))
}
