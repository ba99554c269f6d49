//! Waking the cursors of one topic.
//!
//! Waking a task from another thread costs a system call, and a topic may have thousands of
//! cursors. So each runtime has one task, the ringer, that is woken from outside and wakes the
//! cursors that run there from inside.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Waker,
};

use slab::Slab;
use tokio::{
    runtime::{self, Handle},
    sync::Notify,
};
use tokio_util::task::AbortOnDropHandle;

/// Rings for all cursors of one topic.
#[derive(Default)]
pub(super) struct Bell {
    /// How often it was rung.
    count: AtomicU64,
    rooms: Mutex<HashMap<runtime::Id, Arc<Room>>>,
}

/// Those who listen to one bell on one runtime.
struct Room {
    /// It is on the ringer's list already.
    rung: AtomicBool,
    ringer: Arc<Ringer>,
    seats: Mutex<Slab<Option<Waker>>>,
}

/// Where one cursor is heard of; free again when dropped.
pub(super) struct Seat {
    room: Arc<Room>,
    number: usize,
}

/// One task on each runtime that has cursors.
#[derive(Default)]
pub(super) struct Ringers(Mutex<HashMap<runtime::Id, Running>>);

/// A ringer, and its task for as long as it is wanted.
type Running = (Arc<Ringer>, AbortOnDropHandle<()>);

#[derive(Default)]
struct Ringer {
    /// The rooms where somebody is to be woken.
    list: Mutex<Vec<Arc<Room>>>,
    called: Notify,
}

// === impl Bell ===

impl Bell {
    /// Wakes every cursor that waits. One that began to look before will find that it was rung.
    pub(super) fn ring(&self) {
        self.count.fetch_add(1, Ordering::Release);
        for room in lock(&self.rooms).values() {
            if !room.rung.swap(true, Ordering::AcqRel) {
                lock(&room.ringer.list).push(room.clone());
                room.ringer.called.notify_one();
            }
        }
    }

    /// How often it was rung so far. Who reads the same before it looks and after it sat down has
    /// missed nothing.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Takes a seat on the present runtime.
    pub(super) fn seat(&self, ringers: &Ringers) -> Seat {
        let runtime = Handle::current();
        let mut rooms = lock(&self.rooms);
        // Rooms that were left stay until somebody comes: there are as many as runtimes.
        let room = rooms.entry(runtime.id()).or_insert_with(|| {
            Arc::new(Room {
                rung: AtomicBool::new(false),
                ringer: ringers.of(&runtime),
                seats: Mutex::default(),
            })
        });
        let number = lock(&room.seats).insert(None);
        Seat {
            room: room.clone(),
            number,
        }
    }
}

// === impl Seat ===

impl Seat {
    /// Has `waker` woken at the next ring.
    pub(super) fn wait(&self, waker: &Waker) {
        if let Some(seat) = lock(&self.room.seats).get_mut(self.number)
            && !seat.as_ref().is_some_and(|known| known.will_wake(waker))
        {
            *seat = Some(waker.clone());
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        lock(&self.room.seats).try_remove(self.number);
    }
}

// === impl Ringers ===

impl Ringers {
    fn of(&self, runtime: &Handle) -> Arc<Ringer> {
        let mut ringers = lock(&self.0);
        let (ringer, _) = ringers.entry(runtime.id()).or_insert_with(|| {
            let ringer = Arc::<Ringer>::default();
            let task = runtime.spawn(ringer.clone().run());
            (ringer, AbortOnDropHandle::new(task))
        });
        ringer.clone()
    }
}

// === impl Ringer ===

impl Ringer {
    async fn run(self: Arc<Self>) {
        loop {
            self.called.notified().await;
            for room in std::mem::take(&mut *lock(&self.list)) {
                // In this order, so that who sits down meanwhile is not passed over.
                room.rung.store(false, Ordering::Release);
                for (_, seat) in &mut *lock(&room.seats) {
                    // Who does not come back to wait, as his reader has stalled, is left alone.
                    if let Some(waker) = seat.take() {
                        waker.wake();
                    }
                }
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
