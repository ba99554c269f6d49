//! Calls whoever is concerned by a change, and nobody else: one task follows all queues, or all
//! barriers, for all who wait.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    cache::{Change, Followed, Follower},
    domain::{Core, state::StateProjection},
};

/// How long to wait before looking again for a cache that has nothing to show.
const PAUSE: Duration = Duration::from_millis(100);

/// Where calls wait. What they may be told besides being called is a `T`.
#[derive(Default)]
pub(super) struct Turnstile<T = ()> {
    /// By the key of the place, or by what the keys of all places of a queue begin with.
    seats: Mutex<HashMap<Bytes, watch::Sender<T>>>,
}

/// One waiting call.
pub(super) struct Seat<T: Default = ()> {
    turnstile: Arc<Turnstile<T>>,
    key: Bytes,
    called: watch::Receiver<T>,
}

/// Whom a change concerns, and what they are told that they might come too late to see.
pub(super) type Hear<T> = fn(&Change<StateProjection>) -> Option<(Bytes, Option<T>)>;

// === impl Turnstile ===

impl<T: Default> Turnstile<T> {
    /// Takes a seat. Whatever happens to the place from now on is called.
    pub(super) fn seat(self: &Arc<Self>, key: &Bytes) -> Seat<T> {
        let called = self
            .lock()
            .entry(key.clone())
            .or_insert_with(|| watch::Sender::new(T::default()))
            .subscribe();
        Seat {
            turnstile: self.clone(),
            key: key.clone(),
            called,
        }
    }

    /// Takes a seat that is called whatever happens to any place of the queue of this one.
    pub(super) fn seat_of_queue(self: &Arc<Self>, key: &Bytes) -> Seat<T> {
        self.seat(&key.slice(..queue_of(key).len()))
    }

    /// Follows the changes of `kinds` until `shutdown`, and calls whom they concern.
    pub(super) async fn follow(
        &self,
        core: &Core,
        kinds: &[usize],
        hear: Hear<T>,
        shutdown: &CancellationToken,
    ) {
        let follow = async {
            loop {
                match core.cache.follow(kinds) {
                    Ok(follower) => self.listen(follower, hear).await,
                    Err(error) => tracing::debug!(%error, "changes cannot be followed"),
                }
                core.clock.sleep(PAUSE).await;
            }
        };
        shutdown.run_until_cancelled(follow).await;
    }

    async fn listen(&self, mut follower: Follower<StateProjection>, hear: Hear<T>) {
        // What happened before this was told to nobody.
        self.call_all();
        while let Some(followed) = follower.next().await {
            match followed {
                Followed::Changes {
                    changes,
                    left_out: false,
                    ..
                } => {
                    for (key, told) in changes.iter().filter_map(hear) {
                        self.call(&key, told);
                    }
                }
                // What happened is not known: everybody has to look.
                Followed::Changes { .. } | Followed::Behind(_) => self.call_all(),
            }
        }
    }

    fn call(&self, key: &[u8], told: Option<T>) {
        let seats = self.lock();
        if let Some(seat) = seats.get(queue_of(key)) {
            seat.send_modify(|_| {});
        }
        if let Some(seat) = seats.get(key) {
            match told {
                Some(told) => drop(seat.send_replace(told)),
                None => seat.send_modify(|_| {}),
            }
        }
    }

    fn call_all(&self) {
        for seat in self.lock().values() {
            seat.send_modify(|_| {});
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Bytes, watch::Sender<T>>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the key of a place has in common with all others of its queue.
fn queue_of(key: &[u8]) -> &[u8] {
    let end = key.iter().rposition(|byte| *byte == b'/');
    end.map_or(key, |end| &key[..=end])
}

// === impl Seat ===

impl<T: Default> Seat<T> {
    /// Waits until something happened to the place since the last time.
    pub(super) async fn called(&mut self) {
        if self.called.changed().await.is_err() {
            // The sender stays as long as there are receivers.
            std::future::pending::<()>().await;
        }
    }

    /// What was told last.
    pub(super) fn told(&self) -> T
    where
        T: Clone,
    {
        self.called.borrow().clone()
    }
}

impl<T: Default> Drop for Seat<T> {
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
        let turnstile = Arc::new(Turnstile::<()>::default());
        let key = |name: &'static str| Bytes::from_static(name.as_bytes());
        let mut queue = turnstile.seat_of_queue(&key("lock/a/b/1.2"));
        turnstile.call(&key("lock/a/b/3.4"), None);
        assert!(queue.called().now_or_never().is_some());
        turnstile.call(&key("lock/a/bc/3.4"), None);
        turnstile.call(&key("elect/a/b/3.4"), None);
        assert!(queue.called().now_or_never().is_none());
    }

    #[test]
    fn only_the_one_who_is_called_wakes_and_an_empty_seat_is_forgotten() {
        let turnstile = Arc::new(Turnstile::default());
        let (a, b) = (Bytes::from("a"), Bytes::from("b"));
        let mut first = turnstile.seat(&a);
        let mut twin = turnstile.seat(&a);
        let mut second = turnstile.seat(&b);
        turnstile.call(&a, Some(1));
        assert!(first.called().now_or_never().is_some());
        assert!(first.called().now_or_never().is_none());
        // What was told is not forgotten by the next call.
        turnstile.call(&a, None);
        assert_eq!((first.told(), second.told()), (1, 0));
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
