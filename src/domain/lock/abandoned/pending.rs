//! What a call may leave behind, and whose it is.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::{
    domain::{keyspace::QueuePath, records, session_id::SessionId, state::Owned},
    store::{Compare, KeyValue},
};

use super::{
    super::{Acquire, Waiter},
    ARRIVAL, Abandoned, Left, wrote,
};

/// What a call leaves behind if it is dropped: its place is given up later, unless another call
/// of the same request takes it up.
pub(in crate::domain) struct Pending {
    abandoned: Arc<Abandoned>,
    left: Option<Left>,
    keep: Duration,
    /// Of a client that may say that it is done; and what it must not be told it lost then.
    let_go: Option<(LetGo, Option<GivenUp>)>,
}

/// Tells a place that its client is done with it, so that nobody keeps it. Clones are one.
#[derive(Debug, Clone)]
pub struct LetGo {
    said: Arc<AtomicBool>,
    /// Until when its client may believe in the place without having heard that it is kept no
    /// longer.
    not_before: Arc<OnceLock<Instant>>,
    /// Whether a client that goes without saying it has died, as far as a delay is concerned.
    is_stream: bool,
}

/// Who gives up which place.
#[derive(Debug, Clone)]
pub(super) struct GivenUp {
    pub(super) session: SessionId,
    pub(super) lock: QueuePath,
    /// Names the call, which may not have the place any more.
    pub(super) call: u64,
    /// How often the place had been taken up when this call had it.
    pub(super) attempt: i64,
}

// === impl Pending ===

impl Pending {
    /// A call that is about to write `value` at `key`; should it break off, its place is kept for
    /// `keep`.
    pub(in crate::domain) fn new(
        abandoned: &Arc<Abandoned>,
        key: Bytes,
        value: Bytes,
        keep: Duration,
    ) -> Self {
        abandoned.open.fetch_add(1, Ordering::AcqRel);
        Self {
            abandoned: abandoned.clone(),
            left: Some(Left {
                key,
                value,
                written: false,
                arrival: None,
                delayed: false,
                hold: None,
                given_up: None,
            }),
            keep,
            let_go: None,
        }
    }

    /// Goes when the request's client lets go; and leaves of the place only what its call has of it,
    /// if its owner is reentrant.
    pub(in super::super) fn belongs_to(&mut self, request: &Acquire, waiter: &Waiter) {
        self.let_go = request.let_go.clone().map(|let_go| {
            let given_up = GivenUp {
                session: request.session,
                lock: request.lock.clone(),
                call: waiter.call,
                attempt: waiter.attempt,
            };
            (let_go, Some(given_up))
        });
        if let Some(left) = &mut self.left {
            left.delayed = request.delay.is_some();
        }
        if let Some(left) = self.left.as_mut().filter(|_| request.reentrant.is_some()) {
            left.hold = Some((request.lock.clone(), waiter.call));
        }
    }

    /// Goes when its client lets go, who is told of no loss anyway.
    pub(in crate::domain) fn goes_with(&mut self, let_go: LetGo) {
        self.let_go = Some((let_go, None));
    }

    /// The name of the call, if it holds the place only together with others.
    pub(in super::super) fn hold(&self) -> Option<u64> {
        let (_, call) = self.left.as_ref()?.hold.as_ref()?;
        Some(*call)
    }

    /// The write was answered.
    pub(in crate::domain) fn written(&mut self) {
        if let Some(left) = &mut self.left {
            left.written = true;
        }
    }

    /// There is nothing to give up: the call has its answer, or the place is not there.
    pub(in crate::domain) fn settled(mut self) {
        self.left = None;
    }

    /// The condition that the place is there as this call wrote it.
    pub(in crate::domain) fn is_mine(&self) -> Option<Compare> {
        self.left.as_ref().map(|left| wrote(&left.key, &left.value))
    }

    /// Whether what is there is still the call's, though somebody may have added to it.
    pub(in super::super) fn made(&self, found: &KeyValue) -> bool {
        let left = self.left.as_ref();
        left.is_some_and(|left| records::same_call(&found.value, &left.value))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(mut left) = self.left.take() {
            let now = self.abandoned.core.clock.now();
            let keep = match self.let_go.take() {
                Some((let_go, given_up)) if let_go.is_said() => {
                    left.given_up = given_up;
                    Duration::ZERO
                }
                // Whoever does not come back has died: what is to delay the next one stays.
                Some((let_go, _)) if let_go.is_stream => {
                    left.delayed = false;
                    let believed = let_go.not_before.get();
                    let believed = believed.map(|until| until.saturating_duration_since(now));
                    self.keep.max(believed.unwrap_or_default())
                }
                _ => self.keep,
            };
            left.arrival = (!left.written).then(|| now + keep + ARRIVAL);
            self.abandoned.leave(now + keep, left);
        }
        self.abandoned.open.fetch_sub(1, Ordering::AcqRel);
        self.abandoned.changed.notify_one();
    }
}

// === impl LetGo ===

impl LetGo {
    /// Of a client that holds the place by a stream.
    pub(in super::super) fn of_stream() -> Self {
        Self::new(true)
    }

    /// Of a call that ends once it has its place.
    pub(in crate::domain) fn of_call() -> Self {
        Self::new(false)
    }

    fn new(is_stream: bool) -> Self {
        Self {
            said: Arc::default(),
            not_before: Arc::default(),
            is_stream,
        }
    }

    /// The client is done.
    pub(in crate::domain) fn say(&self) {
        self.said.store(true, Ordering::Release);
    }

    /// The client cannot be told, and may believe in the place until then.
    pub(in super::super) fn not_before(&self, until: Instant) {
        self.not_before.get_or_init(|| until);
    }

    fn is_said(&self) -> bool {
        self.said.load(Ordering::Acquire)
    }
}

// === impl GivenUp ===

impl GivenUp {
    pub(super) fn owned(&self, key: &Bytes) -> Owned {
        Owned::Waiter(self.lock.clone(), key.clone())
    }
}
