//! The watch cache: this replica's own copy of everything under one prefix of the store.
//!
//! One task lists, watches, groups events by revision, applies and publishes; it never waits for
//! anybody. Readers take the published state, which is immutable; subscribers are cursors over it
//! ([`Cursor`]), so that a slow one costs nothing but its own delay.
//!
//! What the keys mean is the business of a [`Projection`].

mod arrivals;
mod begin;
mod bell;
mod catchup;
mod cursor;
mod follow;
mod history;
mod level;
mod life;
mod listing;
mod log;
mod message;
mod parts;
mod picture;
mod probe;
mod projection;
mod published;
mod pulse;
mod relist;
mod rides;
mod shared;
mod stats;
mod sync;
mod token;
mod topic;
mod topics;
mod wire_form;

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{
    clock::Clock,
    store::{self, Outcome, Revision, Store},
};

use self::{
    life::Life,
    probe::Prober,
    shared::{Shared, stopping},
    sync::Mirror,
};

pub use self::{
    cursor::Cursor,
    follow::{Followed, Follower, Turn},
    message::{CursorOptions, FinalReason, Message, ResetReason, Start, Told},
    picture::Items,
    projection::{Action, Change, Event, Projection, Selection},
    stats::Stats,
    token::Token,
    topic::Run,
    wire_form::WireForm,
};

/// One live copy of a prefix. Clones share it; the last one dropped ends its tasks, and the
/// cursors once they have delivered what there is.
pub struct Cache<P: Projection> {
    shared: Arc<Shared<P>>,
    life: Arc<Life<P>>,
}

/// How fresh an answer must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// As the cache has it now.
    Cached,
    /// At this revision or a later one; waits for it at most [`Settings::freshness_wait`].
    AtLeast(Revision),
    /// Everything acknowledged anywhere before the read began; costs one probe of the store,
    /// shared by all who wait at that moment.
    Linearizable,
}

/// Bounds and times of a cache.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How many keys a page of a listing holds at most; the first ones, and those of large values,
    /// hold fewer. etcd counts all that comes after a page, so that many small pages of a large
    /// prefix cost it the square. Default 4 000.
    pub page: usize,
    /// How many revisions back a fresh replica can resume a cursor, and how many the log of each
    /// kind holds. Default 10 000.
    pub log_revisions: usize,
    /// How many bytes the log of each kind holds. Default 64 MiB.
    pub log_bytes: usize,
    /// How long the log of each kind reaches back. Default 10 min.
    pub log_age: Duration,
    /// How long a read waits for a revision. Default 3 s.
    pub freshness_wait: Duration,
    /// How often progress is asked for while somebody waits. Default 50 ms.
    pub progress_interval: Duration,
    /// After how much silence of the store the cache asks where it is. Default 1 s.
    pub idle_probe: Duration,
}

/// The state as it stands at one revision. Immutable, cheap to clone.
pub struct View<P: Projection> {
    /// What the projection made of the keys.
    pub state: Arc<P::State>,
    /// The revision it stands at.
    pub revision: Revision,
    /// How long ago the store last confirmed it.
    pub age: Duration,
}

/// Why the cache cannot answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The store could not be asked.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The first listing is not complete yet.
    #[error("this replica has not read the store yet")]
    NotReady,
    /// The revision asked for was not reached in time.
    #[error("revision {wanted} was not reached in time, this replica is at {reached}")]
    Behind {
        /// The revision asked for.
        wanted: Revision,
        /// Where the cache is.
        reached: Revision,
    },
    /// A resume token that is damaged or belongs to another selection.
    #[error("the resume token {0}")]
    Token(&'static str),
}

/// Watches over the identity of the store's history.
///
/// Called when the cache has reason to doubt it: at the start, after every interruption, and when
/// the store's revision falls below one seen. May write a new epoch, which the cache then reads
/// back like any other key.
#[async_trait]
pub trait Lineage<S>: Send + Sync + 'static {
    /// Confirms that the history is still the one in which `seen` happened, or begins a new one.
    /// `known` is the state that was published last, empty before the first listing.
    async fn confirm(&self, seen: Revision, known: &S) -> Result<(), store::Error>;

    /// A key under the prefix that every new history rewrites, if there is one. Read after a break,
    /// it shows a history that somebody else began meanwhile.
    fn witness(&self) -> Option<Bytes> {
        None
    }
}

// === impl Cache ===

impl<P: Projection> Cache<P> {
    /// Starts the cache of all keys under `prefix`. It is not ready yet: see [`Cache::ready`].
    pub fn start(
        store: Arc<dyn Store>,
        prefix: Bytes,
        projection: P,
        lineage: Arc<dyn Lineage<P::State>>,
        settings: Settings,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let shared = Arc::new(Shared::new(settings, clock));
        let mirror = Mirror::new(
            shared.clone(),
            store.clone(),
            prefix.clone(),
            projection,
            lineage,
        );
        let prober = Prober {
            shared: shared.clone(),
            store,
            prefix,
        };
        let life = Life::start(shared.clone(), mirror, prober);
        Self {
            shared,
            life: Arc::new(life),
        }
    }

    /// Completes when the first listing is whole.
    pub async fn ready(&self) {
        // The sender is ours, so it cannot be gone.
        let _ = self.shared.revisions().wait_for(Option::is_some).await;
    }

    /// Says whether the first listing is whole.
    pub fn is_ready(&self) -> bool {
        self.shared.reached().is_some()
    }

    /// The published state, as it is; [`Error::NotReady`] before the first listing.
    pub fn view(&self) -> Result<View<P>, Error> {
        self.shared.view()
    }

    /// Looks at the published state without holding on to it: on hot paths that is what a view
    /// costs. `None` before the first listing.
    pub fn peek<T>(&self, look: impl FnOnce(&P::State) -> T) -> Option<T> {
        self.shared.peek(look)
    }

    /// How long ago the store last confirmed the published state; `None` before the first listing.
    pub fn age(&self) -> Option<Duration> {
        self.is_ready().then(|| self.shared.age())
    }

    /// The published state, as fresh as asked for.
    pub async fn read(&self, freshness: Freshness) -> Result<View<P>, Error> {
        if !self.is_ready() {
            return Err(Error::NotReady);
        }
        let deadline = self.shared.now() + self.shared.settings.freshness_wait;
        let wanted = match freshness {
            Freshness::Cached => return self.view(),
            Freshness::AtLeast(revision) => revision,
            // On the next probe of the store, never on one that is under way already.
            Freshness::Linearizable => {
                let rides = &self.shared.rides;
                rides.ride(self.shared.clock.as_ref(), deadline).await?
            }
        };
        if self.shared.wait_for(wanted, deadline).await {
            self.view()
        } else {
            Err(Error::Behind {
                wanted,
                reached: self.shared.reached().unwrap_or_default(),
            })
        }
    }

    /// Waits until the cache has reached `revision`, at most `limit`. Says whether it has.
    pub async fn reached(&self, revision: Revision, limit: Duration) -> bool {
        let deadline = self.shared.now() + limit;
        self.shared.wait_for(revision, deadline).await
    }

    /// Says whether nothing speaks against the history that is published: not when the store was
    /// away, before it is certain that it is the same one since.
    pub fn is_confirmed(&self) -> bool {
        self.shared.is_confirmed()
    }

    /// Waits until the history is confirmed, at most `limit`; [`Error::Store`] if it is not then.
    pub async fn confirmed(&self, limit: Duration) -> Result<(), Error> {
        if self.is_confirmed() {
            return Ok(());
        }
        let deadline = self.shared.now() + limit;
        if self.shared.wait_confirmed(deadline).await {
            return Ok(());
        }
        Err(Error::Store(store::Error::Unavailable {
            message: "the store was away and its history is not confirmed yet".into(),
            outcome: Outcome::NotDone,
        }))
    }

    /// Completes when the state of `kind` was changed by a revision after `seen`, and returns the
    /// view then. For waiters inside the server, such as lock queues.
    ///
    /// Completes at once if `seen` is ahead of the state, as after a loss of data. Errors:
    /// [`Error::NotReady`], and [`Error::Store`] when the cache stops.
    pub async fn changed(&self, kind: usize, seen: Revision) -> Result<View<P>, Error> {
        let mut last = self.shared.kind(kind);
        let mut generation = None;
        loop {
            last.mark_unchanged();
            let published = self.shared.published().ok_or(Error::NotReady)?;
            let generation = *generation.get_or_insert(published.generation);
            if published.logs[kind].last() > seen
                || published.as_of < seen
                || published.generation != generation
            {
                return self.view();
            }
            tokio::select! {
                // The sender is ours, so it cannot be gone.
                _ = last.changed() => {}
                () = self.shared.stopped.cancelled() => return Err(Error::Store(stopping())),
            }
        }
    }

    /// Opens a cursor over what `selection` selects.
    ///
    /// Errors: [`Error::Token`] for a token of another selection, [`Error::NotReady`].
    pub fn subscribe<S: Selection<P>>(
        &self,
        selection: S,
        start: Start,
        options: CursorOptions,
    ) -> Result<Cursor<P, S>, Error> {
        Cursor::open(self.shared.clone(), selection, start, options)
    }

    /// The token from which a watch of `selection` continues after what `view` shows.
    pub fn token<S: Selection<P>>(&self, view: &View<P>, selection: &S) -> Token {
        Token {
            epoch: P::epoch(&view.state),
            digest: selection.digest(),
            revision: view.revision,
        }
    }

    /// Ends every cursor with a final bookmark, as soon as it has delivered what there is.
    pub fn drain(&self) {
        self.shared.drain();
    }

    /// Ends the tasks, and returns when they have ended; cursors end as by [`Cache::drain`], waiters
    /// with an error. What was published stays readable.
    pub async fn shutdown(&self) {
        self.life.end();
        self.life.ended().await;
    }

    /// What was counted since the start.
    pub fn stats(&self) -> Stats {
        self.shared.counters.read()
    }
}

impl<P: Projection> Clone for Cache<P> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            life: self.life.clone(),
        }
    }
}

impl<P: Projection> Clone for View<P> {
    fn clone(&self) -> Self {
        Self {
            state: self.state.clone(),
            revision: self.revision,
            age: self.age,
        }
    }
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self {
            page: 4_000,
            log_revisions: 10_000,
            log_bytes: 64 * 1024 * 1024,
            log_age: Duration::from_secs(600),
            freshness_wait: Duration::from_secs(3),
            progress_interval: Duration::from_millis(50),
            idle_probe: Duration::from_secs(1),
        }
    }
}
