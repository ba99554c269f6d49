//! What clients were told, and when.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use crate::lock_history::{Event, Micros, News};

/// What all of them were told, in the order in which they were.
pub(super) struct Told {
    /// When time began.
    pub(super) begun: Instant,
    events: Mutex<Vec<Event>>,
    /// How many of these say how an operation ended.
    answers: AtomicUsize,
}

// === impl Told ===

impl Told {
    pub(super) fn new() -> Self {
        Self {
            begun: Instant::now(),
            events: Mutex::default(),
            answers: AtomicUsize::new(0),
        }
    }

    pub(super) fn now(&self) -> Micros {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap()
    }

    pub(super) fn tell(&self, event: Event) {
        let answers = match &event {
            Event::Granted { .. } | Event::Released { .. } | Event::Increment { .. } => true,
            Event::Heard { news, .. } => {
                matches!(news, News::Acquired { .. } | News::Lost { .. })
            }
            _ => false,
        };
        self.events().push(event);
        self.answers.fetch_add(answers.into(), Ordering::Relaxed);
    }

    pub(super) fn answers(&self) -> usize {
        self.answers.load(Ordering::Relaxed)
    }

    pub(super) fn len(&self) -> usize {
        self.events().len()
    }

    /// The locks that were granted after so many events.
    pub(super) fn granted_since(&self, before: usize) -> BTreeSet<String> {
        let events = self.events();
        let granted = events[before..].iter().filter_map(|event| match event {
            Event::Granted { lock, .. }
            | Event::Heard {
                lock,
                news: News::Acquired { .. },
                ..
            } => Some(lock.clone()),
            _ => None,
        });
        granted.collect()
    }

    pub(super) fn take(&self) -> Vec<Event> {
        std::mem::take(&mut *self.events())
    }

    fn events(&self) -> MutexGuard<'_, Vec<Event>> {
        self.events.lock().unwrap()
    }
}
