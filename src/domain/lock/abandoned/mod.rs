//! Places of calls that broke off: kept for a moment, then given up.

mod pending;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{Core, error::Error, keyspace::QueuePath, records, session::Sessions},
    store::{self, Compare, KeyRange, Operation, Relation, Target, Txn, TxnResponse},
};

use self::pending::GivenUp;
use super::{
    Claim, delay,
    reentrant::{self, Hold},
    release::find_key,
};

pub use self::pending::LetGo;

pub(in crate::domain) use self::pending::Pending;

/// How many deletions are under way at the same time.
const PARALLEL: usize = 16;
/// After how long a deletion that the store did not answer is tried again.
const RETRY: Duration = Duration::from_millis(500);
/// How often it is looked for a write that was not answered.
const LOOK: Duration = Duration::from_secs(1);
/// How long a write may still arrive after its call broke off.
const ARRIVAL: Duration = Duration::from_secs(10);
/// How many places may wait to be given up. One above that ends with its session.
const MAX_PLACES: usize = 100_000;

/// The places that are to be given up, and the one task that does it.
pub(in crate::domain) struct Abandoned {
    core: Arc<Core>,
    sessions: Sessions,
    /// By due time; the number tells those of one instant apart.
    places: Mutex<BTreeMap<(Instant, u64), Left>>,
    changed: Notify,
    /// How many calls have a place that they may yet leave behind.
    open: AtomicUsize,
}

/// A place that nobody waits at.
#[derive(Debug, Clone)]
struct Left {
    key: Bytes,
    /// What the call wrote. Every call writes something else, so that it finds its own place alone.
    value: Bytes,
    /// Whether the write was answered; else it may yet arrive.
    written: bool,
    /// Until when it may.
    arrival: Option<Instant>,
    /// Whether something stands beside the place that goes with it.
    delayed: bool,
    /// In which queue it holds the place only together with others, and the name of the call.
    hold: Option<(QueuePath, u64)>,
    /// Its client gave it up, and must not be told that it lost it.
    given_up: Option<GivenUp>,
}

// === impl Abandoned ===

impl Abandoned {
    pub(in crate::domain) fn new(core: Arc<Core>, sessions: Sessions) -> Self {
        Self {
            core,
            sessions,
            places: Mutex::default(),
            changed: Notify::new(),
            open: AtomicUsize::new(0),
        }
    }

    /// Gives up what is due, until `shutdown` and then until nothing is left but what is due later
    /// than anything of calls that end now: that ends with its session.
    pub(in crate::domain) async fn run(&self, shutdown: &CancellationToken) {
        let mut deletions = FuturesUnordered::new();
        loop {
            let ending = shutdown.is_cancelled();
            if ending {
                let last = self.core.clock.now() + self.core.settings.waiter_keep;
                self.lock().retain(|(due, _), _| *due <= last);
            }
            while deletions.len() < PARALLEL
                && let Some(left) = self.take_due()
            {
                deletions.push(self.give_up(left, ending));
            }
            if ending
                && deletions.is_empty()
                && self.open.load(Ordering::Acquire) == 0
                && self.lock().is_empty()
            {
                return;
            }
            let next = self.lock().first_key_value().map(|((due, _), _)| *due);
            // What is due while there is no room waits for room.
            let next = next.filter(|_| deletions.len() < PARALLEL);
            let due = async {
                match next {
                    Some(next) => self.core.clock.sleep_until(next).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(()) = deletions.next(), if !deletions.is_empty() => {}
                () = due => {}
                () = self.changed.notified() => {}
                () = shutdown.cancelled(), if !ending => {}
            }
        }
    }

    /// Tries once more later if need be; not when the process is `ending`.
    async fn give_up(&self, left: Left, ending: bool) {
        let deletion = self.delete(&left).await;
        let now = self.core.clock.now();
        match deletion {
            Ok(Deletion::Done) => {}
            // The owner is asked to yield, for example.
            Ok(Deletion::Rewritten(value)) => {
                let written = true;
                let left = Left {
                    value,
                    written,
                    ..left
                };
                self.leave(now, left);
            }
            Ok(Deletion::NotFound) if left.written => {}
            // It may still be on its way: look until it cannot be any longer.
            Ok(Deletion::NotFound) => match left.arrival {
                Some(arrival) if arrival > now && !ending => self.leave(now + LOOK, left),
                _ => {}
            },
            Err(error) if may_pass(&error) && !ending => self.leave(now + RETRY, left),
            Err(error) => {
                tracing::error!(%error, "an abandoned place stays until its session ends");
            }
        }
    }

    /// Deletes what a call left behind.
    async fn delete(&self, left: &Left) -> Result<Deletion, Error> {
        if let Some((lock, call)) = &left.hold {
            let mine = |hold: &Hold| hold.call == *call;
            let last = |claim: &Claim| {
                if claim.held {
                    self.leaving(left);
                }
            };
            let gone = reentrant::leave(&self.core, lock, &left.key, None, mine, last).await?;
            return Ok(match gone.value {
                true => Deletion::Done,
                false => Deletion::NotFound,
            });
        }
        let may_hold = self.may_hold(left);
        if may_hold {
            self.leaving(left);
        }
        let txn = Txn::new()
            .when(wrote(&left.key, &left.value))
            .then_all(delay::remove(&self.core.keys, &left.key, left.delayed))
            .otherwise(Operation::get(left.key.clone()));
        let response = self.core.store.txn(txn).await?;
        if response.succeeded {
            return Ok(Deletion::Done);
        }
        Ok(match rewritten(&response, left) {
            Some(value) => Deletion::Rewritten(value),
            None => {
                // Another call has it, which may yet lose it.
                if may_hold && response.found(0).is_some() {
                    self.staying(left);
                }
                Deletion::NotFound
            }
        })
    }

    /// What a session gives up it does not lose. To be said before each deletion, because it holds
    /// only for a while.
    fn leaving(&self, left: &Left) {
        if let Some(given_up) = &left.given_up {
            let owned = given_up.owned(&left.key);
            self.sessions.leaving(given_up.session, owned);
        }
    }

    /// The place was not its client's to give up any more.
    fn staying(&self, left: &Left) {
        if let Some(given_up) = &left.given_up {
            let owned = given_up.owned(&left.key);
            self.sessions.staying(given_up.session, owned);
        }
    }

    /// Says whether the call may hold the lock: unless it is seen to wait, or another to have its
    /// place. A cache that is behind shows the call before, or nothing.
    fn may_hold(&self, left: &Left) -> bool {
        let (Some(given_up), Ok(view)) = (&left.given_up, self.core.cache.view()) else {
            return true;
        };
        let claim = find_key(&view, &given_up.lock, &left.key);
        claim.is_none_or(|claim| match claim.waiter.call == given_up.call {
            true => claim.held,
            false => claim.waiter.attempt < given_up.attempt,
        })
    }

    fn take_due(&self) -> Option<Left> {
        let mut places = self.lock();
        let first = places.first_entry()?;
        (first.key().0 <= self.core.clock.now()).then(|| first.remove())
    }

    fn leave(&self, due: Instant, left: Left) {
        let mut places = self.lock();
        if places.len() >= MAX_PLACES {
            tracing::warn!("too many abandoned places: one stays until its session ends");
        } else {
            places.insert((due, rand::random()), left);
        }
        drop(places);
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(Instant, u64), Left>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says whether trying again may help.
fn may_pass(error: &Error) -> bool {
    match error {
        // One of several holds is given up by a write, for which there may be room later.
        Error::Store(error) => error.is_transient() || matches!(error, store::Error::Full { .. }),
        Error::CommitUnknown(_) | Error::Conflict { .. } | Error::NotReady | Error::Behind(_) => {
            true
        }
        _ => false,
    }
}

/// What came of a deletion of what a call left behind.
enum Deletion {
    Done,
    /// Somebody added to what the call wrote: this is there now.
    Rewritten(Bytes),
    /// What the call wrote is not there, or not yet.
    NotFound,
}

/// What the place has become that a call left, if no other call took it up.
fn rewritten(response: &TxnResponse, left: &Left) -> Option<Bytes> {
    let found = response.found(0)?;
    records::same_call(&found.value, &left.value).then(|| found.value.clone())
}

fn wrote(key: &Bytes, value: &Bytes) -> Compare {
    Compare {
        keys: KeyRange::key(key.clone()),
        relation: Relation::Equal,
        target: Target::Value(value.clone()),
    }
}
