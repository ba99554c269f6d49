//! Since when this replica sees which services braked.
//!
//! Whether a service is braked is a rule over the state, the same for all; for how long it has been
//! is each replica's own count, so that one that has just started holds as well.

use std::{
    collections::{HashMap, hash_map::Entry},
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::domain::{registry::Service, state::State};

/// The services that are braked, by path.
#[derive(Debug, Default)]
pub(super) struct Brakes(HashMap<Bytes, Instant>);

/// What becomes of the suspects of a service that is braked no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Released {
    /// They are removed as soon as their grace is over.
    Freely,
    /// Their grace begins anew: sessions came back, and others may be about to.
    Anew,
}

// === impl Brakes ===

impl Brakes {
    /// Begins to count at `now` what is braked in `state` and was not before.
    pub(super) fn begin(&mut self, state: &State, now: Instant) {
        let is_braked = |service: Option<&Service>| service.is_some_and(|service| service.braked);
        self.0
            .retain(|path, _| is_braked(state.services.get(path).map(AsRef::as_ref)));
        for (path, service) in &state.services {
            if service.braked {
                self.0.entry(path.clone()).or_insert(now);
            }
        }
    }

    /// Takes in how a service is at `now`; `Some` if it was braked until now. `limit` is how long a
    /// brake holds.
    pub(super) fn note(
        &mut self,
        path: &Bytes,
        service: Option<&Service>,
        state: &State,
        (now, limit): (Instant, Duration),
    ) -> Option<Released> {
        match (self.0.entry(path.clone()), service) {
            (Entry::Vacant(entry), Some(service)) if service.braked => {
                tracing::warn!(
                    service = service.path,
                    sessions = service.counts.sessions,
                    suspects = service.counts.suspect,
                    "removals are held because most sessions of a service ended"
                );
                entry.insert(now);
                None
            }
            (Entry::Occupied(entry), service) if !service.is_some_and(|s| s.braked) => {
                let since = entry.remove();
                let settings = state.settings.get(path);
                let wanted = settings.is_some_and(|s| s.is_brake_off());
                tracing::info!(
                    service = %String::from_utf8_lossy(path),
                    wanted,
                    "removals are no longer held"
                );
                Some(if wanted || since + limit <= now {
                    Released::Freely
                } else {
                    Released::Anew
                })
            }
            _ => None,
        }
    }

    /// Until when the removals of a service are held, if it is known to be braked.
    pub(super) fn until(&self, path: &Bytes, limit: Duration) -> Option<Instant> {
        self.0.get(path).map(|since| *since + limit)
    }
}
