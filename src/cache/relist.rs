//! Reading everything anew: the difference if the history goes on, the whole if it does not.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use crate::store::{Event, KeyValue, Revision, Watch};

use super::{
    Projection,
    listing::{Listing, list_now},
    published::Published,
    sync::Mirror,
};

// === impl Mirror ===

impl<P: Projection> Mirror<P> {
    /// Starts from a listing, without history.
    pub(super) fn load(&mut self, listing: Listing, generation: u64) {
        let Listing { kvs, revision, .. } = listing;
        self.known.clear();
        self.witness = None;
        self.measured = None;
        let mut by_revision: BTreeMap<Revision, Vec<Event>> = BTreeMap::new();
        for kv in kvs {
            by_revision
                .entry(kv.mod_revision)
                .or_default()
                .push(Event::Put(kv));
        }
        let mut state = P::State::default();
        for (revision, events) in &by_revision {
            self.note(events);
            self.projection.apply(&mut state, *revision, events);
        }
        self.working = Published::new(state, revision, generation);
    }

    /// Lists anew and publishes the difference as one revision.
    pub(super) async fn relist(&mut self) -> Option<Watch> {
        let sent = self.shared.now();
        let mut listing = self.list().await;
        let watch = listing.watch.take();
        let before = self.working.revision;
        let events = self.difference(&listing);
        if self.contradicted(&listing, &events) {
            tracing::warn!(
                found = listing.revision,
                seen = self.working.as_of,
                "the store shows another past than it did: its history is another one"
            );
            self.confirm(self.working.as_of).await;
            return self.replace().await;
        }
        self.shared.counters.relists.add(1);
        self.measured = None;
        tracing::info!(
            from = before,
            to = listing.revision,
            changes = events.len(),
            "the difference to what the watch had told was listed"
        );
        let (to, now) = (listing.revision, self.shared.now());
        if to == before || self.working.apply(&self.projection, to, &events, true, now) {
            self.note(&events);
            self.publish();
        } else {
            self.replace_with(listing);
        }
        self.shared.pulse.replaced(sent);
        watch
    }

    /// Says whether what was listed cannot have come after what we know: everything up to our
    /// revision would be known.
    fn contradicted(&self, listing: &Listing, difference: &[Event]) -> bool {
        let before = self.working.revision;
        let unknown = difference
            .iter()
            .any(|event| matches!(event, Event::Put(kv) if kv.mod_revision <= before));
        listing.revision < self.working.as_of
            || unknown
            || (listing.revision == before && !difference.is_empty())
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
    pub(super) async fn replace(&mut self) -> Option<Watch> {
        let sent = self.shared.now();
        let mut listing = self.list().await;
        let watch = listing.watch.take();
        self.replace_with(listing);
        self.shared.pulse.replaced(sent);
        watch
    }

    fn replace_with(&mut self, listing: Listing) {
        self.shared.counters.replacements.add(1);
        self.confirming = None;
        self.held = None;
        self.load(listing, self.working.generation + 1);
        tracing::warn!(
            revision = self.working.revision,
            epoch = self.working.epoch,
            "the state was replaced"
        );
        self.publish();
        self.shared.set_unconfirmed(false);
    }

    /// Keeps account of when keys were written, and of what the witness is.
    pub(super) fn note(&mut self, events: &[Event]) {
        let witness = self.lineage.witness();
        for event in events {
            let is_witness = witness.as_ref() == Some(event.key());
            match event {
                Event::Put(kv) => {
                    let written = (kv.create_revision, kv.mod_revision);
                    self.known.insert(kv.key.clone(), written);
                    if is_witness {
                        self.witness = Some(kv.clone());
                    }
                }
                Event::Delete { key, .. } => {
                    self.known.remove(key);
                    if is_witness {
                        self.witness = None;
                    }
                }
            }
        }
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
}
