//! Calls whoever's turn it is, and nobody else: one task follows all queues for all who wait.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    cache::{Followed, Follower},
    domain::{
        Core,
        state::{Item, Kind, StateProjection},
    },
};

/// What queues consist of, and which calls have their places.
const KINDS: [usize; 3] = [
    Kind::Lock as usize,
    Kind::Candidate as usize,
    Kind::TakenUp as usize,
];
/// How long to wait before looking again for a cache that has nothing to show.
const PAUSE: Duration = Duration::from_millis(100);

/// Where calls wait.
#[derive(Default)]
pub(super) struct Turnstile {
    /// By the key of the place, or by what the keys of all places of a queue begin with.
    seats: Mutex<HashMap<Bytes, watch::Sender<()>>>,
}

/// One waiting call.
pub(super) struct Seat {
    turnstile: Arc<Turnstile>,
    key: Bytes,
    called: watch::Receiver<()>,
}

// === impl Turnstile ===

impl Turnstile {
    /// Takes a seat. Whatever happens to the place from now on is called.
    pub(super) fn seat(self: &Arc<Self>, key: &Bytes) -> Seat {
        let called = self
            .lock()
            .entry(key.clone())
            .or_insert_with(|| watch::Sender::new(()))
            .subscribe();
        Seat {
            turnstile: self.clone(),
            key: key.clone(),
            called,
        }
    }

    /// Takes a seat that is called whatever happens to any place of the queue of this one.
    pub(super) fn seat_of_queue(self: &Arc<Self>, key: &Bytes) -> Seat {
        self.seat(&key.slice(..queue_of(key).len()))
    }

    /// Follows the queues until `shutdown`.
    pub(super) async fn follow(&self, core: &Core, shutdown: &CancellationToken) {
        let follow = async {
            loop {
                match core.cache.follow(&KINDS) {
                    Ok(follower) => self.listen(follower).await,
                    Err(error) => tracing::debug!(%error, "the queues cannot be followed"),
                }
                core.clock.sleep(PAUSE).await;
            }
        };
        shutdown.run_until_cancelled(follow).await;
    }

    async fn listen(&self, mut follower: Follower<StateProjection>) {
        // What happened before this was told to nobody.
        self.call_all();
        while let Some(followed) = follower.next().await {
            match followed {
                Followed::Changes { changes, .. } => {
                    for change in &changes {
                        if let Some(Item::Claim(claim)) =
                            change.after.as_ref().or(change.before.as_ref())
                        {
                            self.call(&claim.waiter.key);
                        }
                    }
                }
                // What happened is not known: everybody has to look.
                Followed::Behind(_) => self.call_all(),
            }
        }
    }

    fn call(&self, key: &[u8]) {
        let seats = self.lock();
        for seat in [seats.get(key), seats.get(queue_of(key))]
            .into_iter()
            .flatten()
        {
            seat.send_replace(());
        }
    }

    fn call_all(&self) {
        for seat in self.lock().values() {
            seat.send_replace(());
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Bytes, watch::Sender<()>>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the key of a place has in common with all others of its queue.
fn queue_of(key: &[u8]) -> &[u8] {
    let end = key.iter().rposition(|byte| *byte == b'/');
    end.map_or(key, |end| &key[..=end])
}

// === impl Seat ===

impl Seat {
    /// Waits until something happened to the place since the last time.
    pub(super) async fn called(&mut self) {
        if self.called.changed().await.is_err() {
            // The sender stays as long as there are receivers.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.turnstile.lock();
        // Ours is dropped after this.
        if seats
            .get(&self.key)
            .is_some_and(|seat| seat.receiver_count() <= 1)
        {
            seats.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn whoever_follows_a_queue_is_called_for_all_its_places_and_for_no_other() {
        let turnstile = Arc::new(Turnstile::default());
        let key = |name: &'static str| Bytes::from_static(name.as_bytes());
        let mut queue = turnstile.seat_of_queue(&key("lock/a/b/1.2"));
        turnstile.call(&key("lock/a/b/3.4"));
        assert!(queue.called().now_or_never().is_some());
        turnstile.call(&key("lock/a/bc/3.4"));
        turnstile.call(&key("elect/a/b/3.4"));
        assert!(queue.called().now_or_never().is_none());
    }

    #[test]
    fn only_the_one_who_is_called_wakes_and_an_empty_seat_is_forgotten() {
        let turnstile = Arc::new(Turnstile::default());
        let (a, b) = (Bytes::from("a"), Bytes::from("b"));
        let mut first = turnstile.seat(&a);
        let mut twin = turnstile.seat(&a);
        let mut second = turnstile.seat(&b);
        turnstile.call(&a);
        assert!(first.called().now_or_never().is_some());
        assert!(first.called().now_or_never().is_none());
        assert!(second.called().now_or_never().is_none());
        drop(first);
        assert!(
            twin.called().now_or_never().is_some(),
            "the other call stays"
        );
        drop((twin, second));
        assert!(turnstile.lock().is_empty());
    }
}
