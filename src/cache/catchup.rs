//! What a cursor that was away is told: the history merged, or the difference between then and
//! now.

use std::collections::HashMap;

use bytes::Bytes;

use crate::store::Revision;

use super::{Action, Change, Event, Projection, Selection, published::Published};

/// An event with roughly how many bytes it takes on the wire.
pub(super) struct Weighed<T, C> {
    pub(super) event: Event<T, C>,
    pub(super) weight: usize,
}

/// What a run of revisions did, as one watcher sees it.
pub(super) struct Merged<T, C> {
    pub(super) events: Vec<Weighed<T, C>>,
    /// The last revision that concerns the watcher.
    pub(super) revision: Revision,
    /// True if intermediate states are lost.
    pub(super) conflated: bool,
}

/// The events of one revision, as `selection` sees them.
pub(super) fn events<P: Projection, S: Selection<P>>(
    changes: &[Change<P>],
    selection: &S,
) -> Vec<Weighed<S::Item, P::Cause>> {
    changes
        .iter()
        .filter_map(|change| {
            let event = change.event(selection)?;
            let item = change.after.as_ref().or(change.before.as_ref())?;
            Some(Weighed {
                event,
                weight: P::weight(item),
            })
        })
        .collect()
}

/// Everything after `after`, merged per thing: how it looked before the first change, and how it
/// looks after the last. `None` if nothing of it concerns the watcher.
pub(super) fn merged<P: Projection, S: Selection<P>>(
    published: &Published<P>,
    selection: &S,
    after: Revision,
) -> Option<Merged<S::Item, P::Cause>> {
    let mut order = Vec::new();
    let mut things: HashMap<Bytes, Change<P>> = HashMap::new();
    let mut revision = None;
    let mut conflated = false;
    for (at, entry) in published.logs[selection.kind()].after(after) {
        let mut concerned = false;
        for change in &entry.changes {
            if change.event(selection).is_none() {
                continue;
            }
            concerned = true;
            match things.get_mut(&change.key) {
                Some(thing) => {
                    thing.after.clone_from(&change.after);
                    thing.cause = change.cause;
                }
                None => {
                    order.push(change.key.clone());
                    things.insert(change.key.clone(), change.clone());
                }
            }
        }
        if concerned {
            conflated |= revision.is_some() || entry.conflated;
            revision = Some(at);
        }
    }
    let changes: Vec<_> = order.iter().filter_map(|key| things.remove(key)).collect();
    let events = events(&changes, selection);
    (!events.is_empty()).then_some(Merged {
        events,
        revision: revision?,
        conflated,
    })
}

/// What differs between `after` and now, taken from the state and from what is gone. `None` if it
/// cannot be told: then the watcher starts over.
pub(super) fn difference<P: Projection, S: Selection<P>>(
    published: &Published<P>,
    selection: &S,
    after: Revision,
) -> Option<Vec<Weighed<S::Item, P::Cause>>> {
    let log = &published.logs[selection.kind()];
    let mut taken = LastTaken::new(published, selection, after);
    // Each thing that may have been seen and was deleted since; it may have come back.
    let mut gone = HashMap::new();
    for (revision, tombstone) in log.gone_after(after) {
        if selection.covers(&tombstone.key) && P::create_revision(&tombstone.item) <= after {
            gone.entry(&tombstone.key).or_insert((revision, tombstone));
        }
    }
    let mut told = Vec::new();
    let mut tell = |at: Revision, key: Bytes, action, item, weight| {
        let event = Event { action, item };
        told.push((at, key, Weighed { event, weight }));
    };
    for (key, item) in selection.list(&published.state, None) {
        let visible = P::visible_revision(&item);
        let before = gone.remove(&key);
        if visible <= after && before.is_none() {
            continue;
        }
        let known = before.is_some() || P::create_revision(&item) <= after;
        match selection.select(&item) {
            Some(shown) => {
                let action = if known {
                    Action::Modified
                } else {
                    Action::Added
                };
                tell(visible, key, action, shown, P::weight(&item));
            }
            None if known => {
                let cause = match before {
                    Some((_, tombstone)) => tombstone.cause,
                    None => P::no_longer_matching(),
                };
                let last = before.map_or(&item, |(_, tombstone)| &tombstone.item);
                let shown = taken.of(&key, last)?;
                tell(visible, key, Action::Deleted(cause), shown, P::weight(last));
            }
            None => {}
        }
    }
    for (key, (revision, tombstone)) in gone {
        let item = &tombstone.item;
        let shown = match selection.select(item) {
            Some(shown) => shown,
            // It looked like this then already, so it was not seen.
            None if P::visible_revision(item) <= after => continue,
            None => taken.of(key, item)?,
        };
        let action = Action::Deleted(tombstone.cause);
        tell(revision, key.clone(), action, shown, P::weight(item));
    }
    told.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    Some(told.into_iter().map(|(_, _, weighed)| weighed).collect())
}

/// How things looked when the filter took them last, as far as the log reaches.
struct LastTaken<'a, P: Projection, S: Selection<P>> {
    published: &'a Published<P>,
    selection: &'a S,
    after: Revision,
    found: Option<HashMap<Bytes, S::Item>>,
}

// === impl LastTaken ===

impl<'a, P: Projection, S: Selection<P>> LastTaken<'a, P, S> {
    fn new(published: &'a Published<P>, selection: &'a S, after: Revision) -> Self {
        Self {
            published,
            selection,
            after,
            found: None,
        }
    }

    fn of(&mut self, key: &Bytes, item: &P::Item) -> Option<S::Item> {
        let found = self.found.get_or_insert_with(|| {
            let log = &self.published.logs[self.selection.kind()];
            let mut found = HashMap::new();
            for (_, entry) in log.after(self.after) {
                for change in &entry.changes {
                    if let Some(before) = &change.before
                        && self.selection.covers(&change.key)
                        && let Some(shown) = self.selection.select(before)
                    {
                        found.insert(change.key.clone(), shown);
                    }
                }
            }
            found
        });
        found
            .get(key)
            .cloned()
            .or_else(|| self.selection.select(item))
            .or_else(|| self.selection.remnant(item))
    }
}
