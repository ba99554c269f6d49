//! The raw changes of some kinds, in order, for those inside the server who act on all of them.
//!
//! Like a cursor, a follower is a position, not a queue: nobody waits for it, and one that falls
//! behind the log is told so.

use std::{future::pending, sync::Arc, time::Instant};

use futures_util::future::select_all;
use tokio::sync::watch;

use crate::store::Revision;

use super::{
    Cache, Change, Error, Projection, View,
    published::{Published, Way},
    shared::Shared,
};

/// One step of a follower.
pub enum Followed<P: Projection> {
    /// What happened since the last step.
    Changes {
        /// The changes, by revision; those of one revision by kind.
        changes: Vec<Change<P>>,
        /// The state after them.
        view: View<P>,
        /// The store had to be listed meanwhile: of what came and went in between nothing is told.
        left_out: bool,
    },
    /// What happened is not known: it was too much, or the history is another one.
    Behind(View<P>),
}

/// What a follower is told who also waits for a time.
pub enum Turn<P: Projection> {
    /// Something happened.
    Followed(Followed<P>),
    /// The time has come.
    Due,
    /// The cache has stopped.
    Over,
}

/// Follows every change of some kinds.
pub struct Follower<P: Projection> {
    shared: Arc<Shared<P>>,
    kinds: Vec<usize>,
    woken: Vec<watch::Receiver<Revision>>,
    epoch: u64,
    generation: u64,
    revision: Revision,
    listed: Option<Revision>,
}

// === impl Cache ===

impl<P: Projection> Cache<P> {
    /// Follows the changes of `kinds` (each below [`Projection::KINDS`]), from the oldest that is
    /// remembered of all of them. Errors: [`Error::NotReady`].
    pub fn follow(&self, kinds: &[usize]) -> Result<Follower<P>, Error> {
        let published = self.shared.published().ok_or(Error::NotReady)?;
        let floors = kinds.iter().map(|&kind| published.logs[kind].floor());
        let mut follower = Follower {
            woken: kinds.iter().map(|&kind| self.shared.kind(kind)).collect(),
            shared: self.shared.clone(),
            kinds: kinds.to_vec(),
            epoch: published.epoch,
            generation: published.generation,
            listed: published.listed(),
            revision: floors.max().unwrap_or(published.revision),
        };
        if !follower.can_replay(&published) {
            follower.revision = published.revision;
        }
        Ok(follower)
    }
}

// === impl Follower ===

impl<P: Projection> Follower<P> {
    /// Waits until something happened; `None` when the cache has stopped. Cancel-safe.
    pub async fn next(&mut self) -> Option<Followed<P>> {
        loop {
            if let Some(followed) = self.step() {
                return Some(followed);
            }
            let woken = self.woken.iter_mut().map(|kind| Box::pin(kind.changed()));
            tokio::select! {
                // The senders are in `shared`, so they cannot be gone.
                _ = select_all(woken) => {}
                () = self.shared.stopped.cancelled() => return None,
            }
        }
    }

    /// The same, until `wake` at the latest.
    pub async fn next_by(&mut self, wake: Option<Instant>) -> Turn<P> {
        let shared = self.shared.clone();
        let sleep = async {
            match wake {
                Some(wake) => shared.clock.sleep_until(wake).await,
                None => pending().await,
            }
        };
        tokio::select! {
            followed = self.next() => followed.map_or(Turn::Over, Turn::Followed),
            () = sleep => Turn::Due,
        }
    }

    /// Up to which revision it was told what happened.
    pub fn told(&self) -> Revision {
        self.revision
    }

    fn step(&mut self) -> Option<Followed<P>> {
        // In this order, so that what is published after we looked wakes us.
        for kind in &mut self.woken {
            kind.mark_unchanged();
        }
        let published = self.shared.published()?;
        let left_out = published.listed() > self.listed;
        self.listed = published.listed();
        let replaced = self.epoch != published.epoch || self.generation != published.generation;
        if replaced || !self.can_replay(&published) {
            self.epoch = published.epoch;
            self.generation = published.generation;
            self.revision = published.revision;
            return Some(Followed::Behind(self.view(&published)));
        }
        let mut changes: Vec<_> = self
            .kinds
            .iter()
            .flat_map(|&kind| published.logs[kind].after(self.revision))
            .collect();
        self.revision = published.revision;
        if changes.is_empty() && !left_out {
            return None;
        }
        // Stable, so that the kinds keep their order within a revision.
        changes.sort_by_key(|(revision, _)| *revision);
        Some(Followed::Changes {
            changes: changes
                .iter()
                .flat_map(|(_, entry)| entry.changes.iter().cloned())
                .collect(),
            view: self.view(&published),
            left_out,
        })
    }

    fn can_replay(&self, published: &Published<P>) -> bool {
        self.kinds
            .iter()
            .all(|&kind| published.way(kind, self.revision, false) == Way::Replay)
    }

    fn view(&self, published: &Published<P>) -> View<P> {
        View {
            state: published.state.clone(),
            revision: published.as_of,
            age: self
                .shared
                .now()
                .saturating_duration_since(self.shared.pulse.confirmed()),
        }
    }
}
