//! Waiting for the others: the cache says how the barrier stands.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::{
    domain::{
        error::Error,
        lock::{Pending, Place},
        state::View,
    },
    store::{Operation, Txn},
};

use super::{Barriers, Enter, Participant, Passed, Refusal, enter::differs, gate::Standing};

/// How long to wait for the cache to show something before looking again.
pub(super) const ARRIVAL: Duration = Duration::from_secs(1);

/// A place at a barrier that this call waits at.
pub(super) struct Ticket {
    place: Place,
    /// The epoch in which it was taken.
    epoch: u64,
    pending: Pending,
}

// === impl Ticket ===

impl Ticket {
    pub(super) fn new(participant: &Participant, view: &View, pending: Pending) -> Self {
        Self {
            place: participant.place(),
            epoch: view.state.epoch.id,
            pending,
        }
    }
}

// === impl Barriers ===

impl Barriers {
    /// Waits until the place is released, at most until `deadline`. `None`: the store lost data, and
    /// the place may be there or not.
    pub(super) async fn await_release(
        &self,
        request: &Enter,
        ticket: Ticket,
        deadline: Option<Instant>,
    ) -> Result<Option<Passed>, Error> {
        let mut seat = self.turnstile.seat(&Bytes::from(request.path.path()));
        let arrived = ticket.place.create_revision;
        // When this call is to release all, if nobody does before.
        let mut releases_at = None;
        loop {
            let view = self.core.cache.view()?;
            if view.state.epoch.id != ticket.epoch {
                return Ok(None);
            }
            let now = self.core.clock.now();
            let over = deadline.is_some_and(|deadline| deadline <= now);
            if view.revision < arrived {
                tokio::select! {
                    biased;
                    () = self.draining.cancelled() => return Err(Error::Draining),
                    reached = self.core.cache.reached(arrived, ARRIVAL) => {
                        if over && !reached {
                            return self.leave(request, ticket).await.map(Some);
                        }
                    }
                }
                continue;
            }
            match standing(&view, request, &ticket) {
                Standing::Passed(passed) => {
                    ticket.pending.settled();
                    return Ok(Some(passed));
                }
                Standing::Gone => {
                    ticket.pending.settled();
                    return Err(gone(&view, request));
                }
                Standing::Differs(parties) => {
                    return match self.give_up(request, ticket).await? {
                        Some(passed) => Ok(Some(passed)),
                        None => Err(differs(request, parties)),
                    };
                }
                Standing::Waiting => releases_at = None,
                Standing::Complete { last } => {
                    let patience = self.core.settings.barrier_patience;
                    let first = if last || over { now } else { now + patience };
                    let due = *releases_at.get_or_insert(first);
                    if due <= now {
                        // Once more later, should it come to nothing.
                        releases_at = Some(now + patience);
                        match self.release(&request.path, &view).await {
                            Ok(()) => {}
                            Err(error) if passes(&error) && !over => {
                                tracing::debug!(%error, "a barrier is released a little later");
                            }
                            Err(error) => {
                                let passed = self.give_up(request, ticket).await?;
                                return passed.map_or(Err(error), |passed| Ok(Some(passed)));
                            }
                        }
                        if self.shows_more_than(&view) {
                            continue;
                        }
                    }
                }
            }
            if over {
                return self.leave(request, ticket).await.map(Some);
            }
            let until = |at: Option<Instant>| async move {
                match at {
                    Some(at) => self.core.clock.sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.draining.cancelled() => return Err(Error::Draining),
                () = seat.called() => {}
                () = until(releases_at) => {}
                () = until(deadline) => {}
            }
        }
    }

    /// The time is over: gives the place up, unless it is released in that moment.
    async fn leave(&self, request: &Enter, ticket: Ticket) -> Result<Passed, Error> {
        if let Some(passed) = self.give_up(request, ticket).await? {
            return Ok(passed);
        }
        let view = self.core.cache.view()?;
        let claims_from = view.state.epoch.claims_from;
        let barrier = view.state.barrier(&request.path);
        Err(Error::Refused(Refusal::NotReleased {
            name: request.path.path(),
            parties: request.parties,
            waiting: barrier.map_or(0, |barrier| barrier.waiting(claims_from).count()),
        }))
    }

    /// Deletes the place, which needs no room; `None` once it is gone, or another call of the same
    /// request has it.
    async fn give_up(&self, request: &Enter, ticket: Ticket) -> Result<Option<Passed>, Error> {
        let Some(mine) = ticket.pending.is_mine() else {
            return Err(Error::Internal("a call without a place".into()));
        };
        let key = ticket.place.key.clone();
        let txn = Txn::new()
            .when(mine)
            .then(Operation::delete(key.clone()))
            .otherwise(Operation::get(key));
        let response = self.core.commit(None, txn).await?;
        self.catch_up(response.revision).await?;
        let view = self.core.cache.view()?;
        let taken_up = response.found(0).is_some();
        let standing = standing(&view, request, &ticket);
        ticket.pending.settled();
        match standing {
            _ if response.succeeded || taken_up => Ok(None),
            Standing::Passed(passed) => Ok(Some(passed)),
            // An earlier attempt to delete it was not answered.
            _ if view.state.sessions.contains_key(&request.session) => Ok(None),
            _ => Err(Error::LeaseExpired),
        }
    }

    /// Says whether the cache has gone on since `view`.
    fn shows_more_than(&self, view: &View) -> bool {
        let now = self.core.cache.view();
        now.is_ok_and(|now| now.revision > view.revision)
    }
}

fn standing(view: &View, request: &Enter, ticket: &Ticket) -> Standing {
    let barrier = view.state.barrier(&request.path);
    let claims_from = view.state.epoch.claims_from;
    barrier.map_or(Standing::Gone, |barrier| {
        barrier.standing(&ticket.place, claims_from)
    })
}

/// Why a place is no longer there that was not released.
fn gone(view: &View, request: &Enter) -> Error {
    if view.state.sessions.contains_key(&request.session) {
        Error::RequestUndone
    } else {
        Error::LeaseExpired
    }
}

/// Says whether a release that failed may succeed while its callers wait on.
fn passes(error: &Error) -> bool {
    match error {
        Error::Store(error) => error.is_transient(),
        Error::CommitUnknown(_) | Error::NotReady | Error::Behind(_) => true,
        _ => false,
    }
}
