//! What the tasks of a cache, its readers and its cursors share.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    store::{self, Extent, Outcome, Probe, Revision},
};

use super::{
    Error, Projection, Settings, View, arrivals::Arrivals, published::Published, pulse::Pulse,
    rides::Rides, stats::Counters, topics::Topics,
};

pub(super) struct Shared<P: Projection> {
    pub(super) settings: Settings,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) pulse: Pulse,
    pub(super) counters: Counters,
    /// Readers on their way to the next probe.
    pub(super) rides: Rides,
    /// Somebody wants to know now where the store is.
    pub(super) probe_wanted: Notify,
    /// Cancelled when nothing new will come.
    pub(super) stopped: CancellationToken,
    /// Cursors are to end.
    draining: AtomicBool,
    published: ArcSwapOption<Published<P>>,
    revision: watch::Sender<Option<Revision>>,
    arrivals: Arc<Arrivals>,
    /// What cursors are about.
    pub(super) topics: Arc<Topics>,
    /// For those inside the server who follow a whole kind.
    kinds: Vec<watch::Sender<Revision>>,
    probe: Mutex<Option<Arc<dyn Probe>>>,
    /// How many wait for a revision.
    demand: watch::Sender<usize>,
    /// The watch broke, and it is yet to be seen whether the history goes on.
    unconfirmed: watch::Sender<bool>,
    /// The generation that a probe proved not to be the store's history.
    doubted: watch::Sender<Option<u64>>,
    /// What a quorum said last of the keys, and of which generation it was asked.
    extents: watch::Sender<Option<(u64, Extent)>>,
}

/// While it exists, the store is asked for progress.
pub(super) struct Demand<P: Projection>(Arc<Shared<P>>);

/// Counts a cursor while it exists.
pub(super) struct Subscribed<P: Projection>(Arc<Shared<P>>);

// === impl Shared ===

impl<P: Projection> Shared<P> {
    pub(super) fn new(settings: Settings, clock: Arc<dyn Clock>) -> Self {
        Self {
            pulse: Pulse::new(clock.now()),
            settings,
            clock,
            counters: Counters::default(),
            rides: Rides::default(),
            probe_wanted: Notify::new(),
            draining: AtomicBool::new(false),
            stopped: CancellationToken::new(),
            published: ArcSwapOption::empty(),
            revision: watch::Sender::new(None),
            arrivals: Arc::default(),
            topics: Arc::new(Topics::new(P::KINDS)),
            kinds: (0..P::KINDS).map(|_| watch::Sender::new(0)).collect(),
            probe: Mutex::new(None),
            demand: watch::Sender::new(0),
            unconfirmed: watch::Sender::new(false),
            doubted: watch::Sender::new(None),
            extents: watch::Sender::new(None),
        }
    }

    pub(super) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// What is published, if anything is yet.
    pub(super) fn published(&self) -> Option<Arc<Published<P>>> {
        self.published.load_full()
    }

    /// The revision that the published state is known to be of.
    pub(super) fn reached(&self) -> Option<Revision> {
        self.published.load().as_ref().map(|p| p.as_of)
    }

    /// Replaces what is published, and wakes those whom it concerns.
    pub(super) fn publish(&self, next: Arc<Published<P>>) {
        let previous = self.published.swap(Some(next.clone()));
        let continued = previous.filter(|previous| {
            (previous.generation, previous.epoch) == (next.generation, next.epoch)
        });
        let listed = continued
            .as_ref()
            .is_none_or(|previous| next.listed() > previous.listed());
        for (kind, log) in next.logs.iter().enumerate() {
            let last = continued
                .as_ref()
                .map(|previous| previous.logs[kind].last());
            if last == Some(log.last()) && !listed {
                continue;
            }
            self.kinds[kind].send_replace(log.last());
            for (_, entry) in last.into_iter().flat_map(|last| log.after(last)) {
                for change in &entry.changes {
                    self.topics.ring(kind, &change.key);
                }
            }
        }
        if continued.is_none() {
            self.topics.ring_all();
        }
        self.revision.send_replace(Some(next.as_of));
        self.arrivals.reached(next.as_of);
        self.counters.publications.add(1);
    }

    /// Has cursors end.
    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        self.topics.ring_all();
    }

    /// Says whether cursors are to end.
    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// How long ago the store last confirmed what is published.
    pub(super) fn age(&self) -> Duration {
        self.now().saturating_duration_since(self.pulse.confirmed())
    }

    /// Looks at the state that is published.
    pub(super) fn peek<T>(&self, look: impl FnOnce(&P::State) -> T) -> Option<T> {
        let published = self.published.load();
        published.as_ref().map(|published| look(&published.state))
    }

    /// The view of what is published.
    pub(super) fn view(&self) -> Result<View<P>, Error> {
        // Read first: it may then belong to an older state, so that the age is never too small.
        let confirmed = self.pulse.confirmed();
        let published = self.published.load();
        let published = published.as_ref().ok_or(Error::NotReady)?;
        Ok(View {
            state: published.state.clone(),
            revision: published.as_of,
            age: self.now().saturating_duration_since(confirmed),
        })
    }

    /// Follows the published revision; `None` before the first listing.
    pub(super) fn revisions(&self) -> watch::Receiver<Option<Revision>> {
        self.revision.subscribe()
    }

    /// Follows the revision that last changed `kind`.
    pub(super) fn kind(&self, kind: usize) -> watch::Receiver<Revision> {
        self.kinds[kind].subscribe()
    }

    /// The probe of the watch that runs, if one does.
    pub(super) fn probe(&self) -> Option<Arc<dyn Probe>> {
        self.probe
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn set_probe(&self, probe: Option<Arc<dyn Probe>>) {
        *self.probe.lock().unwrap_or_else(PoisonError::into_inner) = probe;
    }

    /// Notes whether it is yet to be seen that the history goes on.
    pub(super) fn set_unconfirmed(&self, unconfirmed: bool) {
        self.unconfirmed.send_replace(unconfirmed);
    }

    /// Says whether nothing speaks against the history that is published.
    pub(super) fn is_confirmed(&self) -> bool {
        !*self.unconfirmed.borrow() && !self.is_doubted()
    }

    /// Waits for that, at most until `deadline`. Says whether it came.
    pub(super) async fn wait_confirmed(&self, deadline: Instant) -> bool {
        let mut unconfirmed = self.unconfirmed.subscribe();
        let confirmed =
            async { while !self.is_confirmed() && unconfirmed.changed().await.is_ok() {} };
        tokio::select! {
            biased;
            () = confirmed => {}
            () = self.stopped.cancelled() => {}
            () = self.clock.sleep_until(deadline) => {}
        }
        self.is_confirmed()
    }

    /// Has the watch say how far it is, or the store what tells it instead.
    pub(super) async fn ask_for_progress(&self, probe: &dyn Probe) {
        let published = self.published();
        let (generation, applied) = published.map_or((0, 0), |p| (p.generation, p.revision));
        match probe.extent(applied).await {
            Ok(None) => probe.request_progress().await,
            Ok(Some(extent)) => {
                self.extents.send_replace(Some((generation, extent)));
            }
            Err(error) => tracing::debug!(%error, "the store could not be asked for its extent"),
        }
    }

    /// Follows what a quorum says of the keys.
    pub(super) fn extents(&self) -> watch::Receiver<Option<(u64, Extent)>> {
        self.extents.subscribe()
    }

    /// Notes that the store's history is not the one that `generation` shows.
    pub(super) fn doubt(&self, generation: u64) {
        self.doubted.send_replace(Some(generation));
    }

    /// Follows which generation is in doubt.
    pub(super) fn doubts(&self) -> watch::Receiver<Option<u64>> {
        self.doubted.subscribe()
    }

    /// Says whether what is published is known to be void.
    pub(super) fn is_doubted(&self) -> bool {
        let published = self.published.load();
        let generation = published.as_ref().map(|published| published.generation);
        generation.is_some() && *self.doubted.borrow() == generation
    }

    /// Follows how many wait for a revision; tells of the first and the last one.
    pub(super) fn demand(&self) -> watch::Receiver<usize> {
        self.demand.subscribe()
    }

    /// Has the store asked for progress while the guard lives.
    pub(super) fn demand_progress(self: &Arc<Self>) -> Demand<P> {
        self.demand.send_if_modified(|waiting| {
            *waiting += 1;
            *waiting == 1
        });
        Demand(self.clone())
    }

    /// Counts a cursor.
    pub(super) fn subscribed(self: &Arc<Self>) -> Subscribed<P> {
        self.counters.subscribers.add(1);
        Subscribed(self.clone())
    }

    /// Waits until `revision` is published, at most until `deadline`. Says whether it is.
    pub(super) async fn wait_for(self: &Arc<Self>, revision: Revision, deadline: Instant) -> bool {
        if self.reached() >= Some(revision) {
            return true;
        }
        let _demand = self.demand_progress();
        let mut arrival = self.arrivals.wait_for(revision);
        if self.reached() >= Some(revision) {
            return true;
        }
        tokio::select! {
            biased;
            () = arrival.arrived() => true,
            () = self.stopped.cancelled() => false,
            () = self.clock.sleep_until(deadline) => self.reached() >= Some(revision),
        }
    }
}

// === impl Demand ===

impl<P: Projection> Drop for Demand<P> {
    fn drop(&mut self) {
        self.0.demand.send_if_modified(|waiting| {
            *waiting -= 1;
            *waiting == 0
        });
    }
}

// === impl Subscribed ===

impl<P: Projection> Drop for Subscribed<P> {
    fn drop(&mut self) {
        self.0.counters.subscribers.subtract(1);
    }
}

/// What is answered when nobody asks the store any more.
pub(super) fn stopping() -> store::Error {
    store::Error::Unavailable {
        message: "the cache is stopping".into(),
        outcome: Outcome::NotDone,
    }
}
