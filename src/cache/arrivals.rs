//! Those who wait for a revision, each woken when it is reached and not before: while many write at
//! once, a revision concerns one of them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use crate::store::Revision;

/// Who waits, in the order of the revisions.
#[derive(Default)]
pub(super) struct Arrivals(Mutex<Table>);

#[derive(Default)]
struct Table {
    last_number: u64,
    waiting: BTreeMap<(Revision, u64), oneshot::Sender<()>>,
}

/// A place among those who wait, given up when it is dropped.
pub(super) struct Arrival {
    arrivals: Arc<Arrivals>,
    place: (Revision, u64),
    arrived: oneshot::Receiver<()>,
}

// === impl Arrivals ===

impl Arrivals {
    /// Takes a place. What is published after this wakes it; what was before has to be looked at.
    pub(super) fn wait_for(self: &Arc<Self>, revision: Revision) -> Arrival {
        let (sender, arrived) = oneshot::channel();
        let mut table = self.table();
        table.last_number += 1;
        let place = (revision, table.last_number);
        table.waiting.insert(place, sender);
        Arrival {
            arrivals: self.clone(),
            place,
            arrived,
        }
    }

    /// Wakes those who wait for `revision` or an earlier one.
    pub(super) fn reached(&self, revision: Revision) {
        let mut table = self.table();
        if table
            .waiting
            .first_key_value()
            .is_none_or(|((first, _), _)| *first > revision)
        {
            return;
        }
        let later = table.waiting.split_off(&(revision + 1, 0));
        let arrived = std::mem::replace(&mut table.waiting, later);
        drop(table);
        for sender in arrived.into_values() {
            // Whoever gave up needs no word.
            let _ = sender.send(());
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Arrival ===

impl Arrival {
    /// Completes when the revision is published.
    pub(super) async fn arrived(&mut self) {
        if (&mut self.arrived).await.is_err() {
            // The sender stays in the table until it is used.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        self.arrivals.table().waiting.remove(&self.place);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn whoever_waits_is_woken_by_its_revision_or_a_later_one_and_forgotten_when_it_gives_up() {
        let arrivals = Arc::new(Arrivals::default());
        let mut waiting = [5, 5, 6, 9].map(|revision| arrivals.wait_for(revision));
        arrivals.reached(4);
        assert!(
            waiting
                .iter_mut()
                .all(|w| w.arrived().now_or_never().is_none())
        );
        arrivals.reached(7);
        let woken = waiting
            .each_mut()
            .map(|w| w.arrived().now_or_never().is_some());
        assert_eq!(woken, [true, true, true, false]);
        drop(waiting);
        assert!(arrivals.table().waiting.is_empty());
    }
}
