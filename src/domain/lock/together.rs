//! Acquiring several locks: all or none.
//!
//! They are acquired one after another, in the order of their names. Of two calls that want some of
//! the same whoever comes second to the first of those waits there and has none of the later ones
//! yet, so that such calls never wait for each other in a ring. When one cannot be had, or one that
//! the call has is lost, those it has are given up in one transaction.

use futures_util::future::select_all;

use crate::{
    domain::{error::Error, keyspace::QueuePath, session_id::SessionId, state::View},
    store::{Operation, OperationResponse, Revision, Txn},
};

use super::{
    Acquire, Granted, LetGo, Locks, Standing, Wait, delay,
    wait::{Ticket, gone, standing},
};

/// The most locks that are acquired together.
pub const MAX_TOGETHER: usize = 16;

/// Who wants which locks.
#[derive(Debug, Clone)]
pub struct AcquireAll {
    /// One claim for each, all of one session and request, no two of the same lock.
    pub claims: Vec<Acquire>,
    /// How long to wait for all of them; what the claims say of it counts for nothing.
    pub wait: Wait,
}

/// All locks are held.
#[derive(Debug, Clone)]
pub struct GrantedAll {
    /// By whom, in the order in which they were asked for.
    pub granted: Vec<Granted>,
    /// The revision at which that was seen.
    pub revision: Revision,
}

/// A lock that the call has by now.
struct Taken {
    /// Which of those that were asked for.
    index: usize,
    lock: QueuePath,
    session: SessionId,
    delayed: bool,
    granted: Granted,
    ticket: Ticket,
    /// Says that the place is given up.
    let_go: LetGo,
}

// === impl Locks ===

impl Locks {
    /// Acquires locks, or returns them to the request that holds them already.
    ///
    /// Dropping the call is safe at any time: its places are kept for a moment, for the same
    /// request, and then given up. Errors: those of [`Locks::acquire`], of the first lock that could
    /// not be had; [`Error::RequestUndone`] if one that it had was taken from it.
    pub async fn acquire_all(&self, request: AcquireAll) -> Result<GrantedAll, Error> {
        let deadline = match request.wait {
            Wait::For(time) => self.core.clock.now().checked_add(time),
            Wait::No | Wait::Forever => None,
        };
        let mut claims: Vec<_> = request.claims.into_iter().enumerate().collect();
        claims.sort_by(|(_, one), (_, other)| one.lock.cmp(&other.lock));
        let mut taken = Vec::with_capacity(claims.len());
        for (index, claim) in claims {
            let wait = match deadline {
                Some(deadline) => {
                    Wait::For(deadline.saturating_duration_since(self.core.clock.now()))
                }
                None => request.wait,
            };
            let next = self.take_next(index, Acquire { wait, ..claim }, &taken);
            match next.await {
                Ok(next) => taken.push(next),
                // Its places are kept for a moment.
                Err(error) if goes_on(&error) => return Err(error),
                Err(error) => return Err(self.give_back(taken, error).await),
            }
        }
        let seen = taken.iter().map(|taken| taken.granted.revision).max();
        let revision = seen.unwrap_or_default();
        let limit = self.core.settings.read_your_writes;
        let view = match self.core.cache.reached(revision, limit).await {
            true => self.core.cache.view().map_err(Error::from),
            false => self.look_anew().await,
        };
        let lost = view.map(|view| lost(&view, &taken));
        if let Some(error) = lost.unwrap_or_else(Some) {
            return Err(self.give_back(taken, error).await);
        }
        taken.sort_by_key(|taken| taken.index);
        let granted = taken.into_iter().map(|taken| {
            taken.ticket.pending.settled();
            taken.granted
        });
        Ok(GrantedAll {
            granted: granted.collect(),
            revision,
        })
    }

    /// Acquires the next one, as long as those that the call has are there.
    async fn take_next(
        &self,
        index: usize,
        mut claim: Acquire,
        taken: &[Taken],
    ) -> Result<Taken, Error> {
        let let_go = LetGo::of_call();
        claim.let_go = Some(let_go.clone());
        let (lock, session) = (claim.lock.clone(), claim.session);
        let delayed = claim.delay.is_some();
        let robbed = async {
            let error = self.robbed(taken).await;
            // Nobody comes back for the place that is waited at.
            let_go.say();
            error
        };
        let (granted, ticket) = tokio::select! {
            biased;
            error = robbed => return Err(error),
            next = self.take_place(claim, |_| {}) => next?,
        };
        Ok(Taken {
            index,
            lock,
            session,
            delayed,
            granted,
            ticket,
            let_go,
        })
    }

    /// Waits until one is lost that the call has.
    async fn robbed(&self, taken: &[Taken]) -> Error {
        let seat = |taken: &Taken| self.turnstile.seat(&taken.ticket.spot.place.key);
        let mut seats: Vec<_> = taken.iter().map(seat).collect();
        if seats.is_empty() {
            return std::future::pending().await;
        }
        loop {
            // Without a cache to look at the one that is waited for is not granted either.
            if let Ok(view) = self.core.cache.view()
                && let Some(error) = lost(&view, taken)
            {
                return error;
            }
            let called = seats.iter_mut().map(|seat| Box::pin(seat.called()));
            select_all(called).await;
        }
    }

    /// Gives up what the call has, all of it at one revision, and passes on why. What is not given
    /// up by that, because somebody added to it or the store does not answer, goes one by one.
    async fn give_back(&self, taken: Vec<Taken>, why: Error) -> Error {
        if taken.is_empty() {
            return why;
        }
        let mine = |taken: Taken| Some((taken.ticket.pending.is_mine()?, taken));
        let taken: Vec<_> = taken.into_iter().filter_map(mine).collect();
        let mut txn = Txn::new();
        for (mine, taken) in &taken {
            self.leaving(&taken.granted.claim);
            let place = &taken.ticket.spot.place.key;
            let steps = delay::remove(&self.core.keys, place, taken.delayed);
            let given_up = Txn::new().when(mine.clone()).then_all(steps);
            txn = txn.then(Operation::Txn(given_up));
        }
        let given_up = self.core.commit(None, txn).await;
        let given_up = given_up.map_or_else(
            |error| {
                tracing::debug!(%error, "locks of a call that failed are given up later");
                Vec::new()
            },
            |response| response.responses,
        );
        let mut given_up = given_up.into_iter();
        for (_, taken) in taken {
            match given_up.next() {
                Some(OperationResponse::Txn(inner)) if inner.succeeded => {
                    taken.ticket.pending.settled();
                }
                _ => {
                    self.staying(&taken.granted.claim);
                    taken.let_go.say();
                }
            }
        }
        why
    }
}

/// Whether the same request goes on elsewhere, or asks again what became of it.
fn goes_on(error: &Error) -> bool {
    match error {
        Error::Draining | Error::CommitUnknown(_) | Error::NotReady | Error::Behind(_) => true,
        Error::Store(error) => error.is_transient(),
        _ => false,
    }
}

/// Why one is lost that the call has, as far as `view` shows it.
fn lost(view: &View, taken: &[Taken]) -> Option<Error> {
    // What a store that lost data since then has at the place is no proof, nor is its revision.
    let other_epoch = |taken: &Taken| view.state.epoch.id != taken.ticket.spot.epoch;
    let is_lost = |taken: &&Taken| {
        let place = &taken.ticket.spot.place;
        other_epoch(taken)
            || view.revision >= place.create_revision
                && !matches!(standing(view, &taken.lock, place), Standing::Held(_))
    };
    let lost = taken.iter().find(is_lost)?;
    Some(match other_epoch(lost) {
        true => Error::LocksClosed,
        false => gone(view, lost.session),
    })
}
