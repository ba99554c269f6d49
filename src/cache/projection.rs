//! What the keys mean: the part of the cache that its owner brings.

use bytes::Bytes;

use crate::store::{self, Revision};

/// Turns the events of the store into a state, and into the changes that watchers see.
///
/// A pure function of the events, so that every replica shows the same at the same revision.
pub trait Projection: Send + Sync + Sized + 'static {
    /// Everything known at one revision. Cloning must be cheap: it is cloned at every revision.
    type State: Clone + Default + Send + Sync + 'static;

    /// What a watcher can see of one thing, whatever its kind. Usually an enum of `Arc`s.
    type Item: Clone + Send + Sync + 'static;

    /// Why a thing disappeared.
    type Cause: Copy + Send + Sync + 'static;

    /// How many kinds of things there are. Each has a log of its own, so that a busy kind does not
    /// shorten the history of a quiet one.
    const KINDS: usize;

    /// Applies all events of one revision, and returns what of it can be seen, in an order in
    /// which it may be told. A thing appears at most once.
    fn apply(
        &self,
        state: &mut Self::State,
        revision: Revision,
        events: &[store::Event],
    ) -> Vec<Change<Self>>;

    /// The epoch the state belongs to; cursors of another one start over.
    fn epoch(state: &Self::State) -> u64;

    /// The revision at which what can be seen of the item last changed.
    fn visible_revision(item: &Self::Item) -> Revision;

    /// The revision that created the item.
    fn create_revision(item: &Self::Item) -> Revision;

    /// Roughly how many bytes the item takes on the wire.
    fn weight(item: &Self::Item) -> usize;

    /// The cause told when an item still exists but a watcher's filter no longer takes it.
    fn no_longer_matching() -> Self::Cause;
}

/// What one revision changed about one thing. At least one side is there.
pub struct Change<P: Projection> {
    /// Which kind of thing: below [`Projection::KINDS`].
    pub kind: usize,
    /// Which one of its kind; sorts as listings do.
    pub key: Bytes,
    /// How it looked; `None`: it did not exist.
    pub before: Option<P::Item>,
    /// How it looks now; `None`: it is gone.
    pub after: Option<P::Item>,
    /// Why it is gone, if it is.
    pub cause: P::Cause,
}

/// What one watch, list or get is about.
pub trait Selection<P: Projection>: Send + Sync + 'static {
    /// What it delivers.
    type Item: Clone + Send + Sync + 'static;

    /// The kind of things it is about.
    fn kind(&self) -> usize;

    /// A number that differs for every different selection; binds resume tokens. The same on
    /// every replica and in every version.
    fn digest(&self) -> u64;

    /// What every key begins with that the selection covers. The longer, the fewer changes have to
    /// be looked at.
    fn prefix(&self) -> Bytes;

    /// Says whether the thing `key` can belong to the selection, whatever it looks like.
    fn covers(&self, key: &[u8]) -> bool;

    /// What is delivered of an item; `None`: the filter does not take it.
    fn select(&self, item: &P::Item) -> Option<Self::Item>;

    /// What is told of an item that the filter no longer takes, when it is not remembered how it
    /// looked while it was taken. `None`: nothing can be, the watcher starts over.
    fn remnant(&self, item: &P::Item) -> Option<Self::Item> {
        let _ = item;
        None
    }

    /// All things the selection covers, filter aside, in key order, after the key `after`.
    fn list<'a>(
        &self,
        state: &'a P::State,
        after: Option<&Bytes>,
    ) -> Box<dyn Iterator<Item = (Bytes, P::Item)> + Send + 'a>;

    /// False if no intermediate state may be lost unless the watcher asked for it with
    /// `min_interval`: a cursor behind the log then starts over.
    fn conflates(&self) -> bool {
        true
    }
}

/// What a watcher is told of one thing.
#[derive(Debug, Clone)]
pub struct Event<T, C> {
    /// What happened.
    pub action: Action<C>,
    /// How it looks now, or looked last.
    pub item: T,
}

/// What happened to a thing, as one watcher sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action<C> {
    /// It was not there before.
    Added,
    /// It looks different.
    Modified,
    /// It is no longer there.
    Deleted(C),
}

// === impl Change ===

impl<P: Projection> Clone for Change<P> {
    fn clone(&self) -> Self {
        Self {
            kind: self.kind,
            key: self.key.clone(),
            before: self.before.clone(),
            after: self.after.clone(),
            cause: self.cause,
        }
    }
}

impl<P: Projection> Change<P> {
    /// What `selection` shows of the change, if anything.
    pub fn event<S: Selection<P>>(&self, selection: &S) -> Option<Event<S::Item, P::Cause>> {
        if !selection.covers(&self.key) {
            return None;
        }
        let before = self.before.as_ref().and_then(|item| selection.select(item));
        let after = self.after.as_ref().and_then(|item| selection.select(item));
        match (before, after) {
            (None, None) => None,
            (None, Some(item)) => Some(Event {
                action: Action::Added,
                item,
            }),
            (Some(_), Some(item)) => Some(Event {
                action: Action::Modified,
                item,
            }),
            (Some(item), None) => Some(Event {
                action: Action::Deleted(if self.after.is_some() {
                    P::no_longer_matching()
                } else {
                    self.cause
                }),
                item,
            }),
        }
    }
}
