//! Renewals of leases, on evidence only: a heartbeat marks its session, a marked session is renewed
//! once a third of its time to live has passed since its last renewal was sent. No heartbeat, no
//! renewal.
//!
//! One task drives all of them from one schedule; what is kept of a session is one entry.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    domain::{error::Error, session_id::SessionId},
    store::{self, Renewal, Store},
};

/// How many renewals may be under way at a time; the others wait for their turn.
const MAX_FLIGHTS: usize = 1024;
/// A session may be due up to a twentieth early, so that those opened together drift apart. Never
/// late: the client counts on its third.
const JITTER: std::ops::Range<f64> = 0.95..1.0;
/// How much earlier a session may be renewed together with another one that is due, as a share of
/// the time to live. A renewal on its own wakes everybody on the way to the store and back, which
/// costs several times what the renewal does.
const TOGETHER: u32 = 60;
/// How long after a failed renewal the next one is tried, as a share of the time to live.
const RETRY: u32 = 20;

/// How long a session surely lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alive {
    /// The granted time to live.
    pub ttl: Duration,
    /// When its last renewal was sent, plus `ttl`. Nothing else extends it.
    pub valid_until: Instant,
}

/// The sessions whose heartbeats reach this replica.
pub(super) struct Renewals {
    clock: Arc<dyn Clock>,
    schedule: Mutex<Schedule>,
    /// The next thing to do became an earlier one.
    wake: Notify,
}

/// What a heartbeat comes to.
pub(super) enum Beat {
    /// The last renewal is young enough; there will be another one when it is not.
    Alive(Alive),
    /// A renewal is due, whose end it has to wait for.
    Wait(Flight),
}

/// A renewal that somebody waits for.
pub(super) struct Flight(watch::Receiver<Option<Landing>>);

type Landing = Result<Alive, Error>;

#[derive(Default)]
struct Schedule {
    entries: HashMap<SessionId, Entry>,
    /// When which session wants to be looked at; at most once each, none that is being renewed.
    order: BTreeSet<(Instant, SessionId)>,
    /// Nobody renews any more.
    stopped: bool,
}

struct Entry {
    ttl: Duration,
    /// When the last renewal that succeeded was sent; `None`: not by this replica.
    sent: Option<Instant>,
    /// When the next one is due.
    due: Instant,
    /// When one that failed may be tried again.
    retry: Instant,
    /// When the last heartbeat came.
    heard: Instant,
    /// A heartbeat came since the last renewal was sent.
    marked: bool,
    /// A renewal is under way.
    flying: bool,
    /// Those who wait for one.
    waiting: Option<watch::Sender<Option<Landing>>>,
    /// Its place in the order.
    at: Option<Instant>,
}

/// What the schedule wants done now.
enum Next {
    Renew(SessionId),
    Sleep(Option<Instant>),
}

// === impl Renewals ===

impl Renewals {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            schedule: Mutex::default(),
            wake: Notify::new(),
        }
    }

    /// Notes a session whose lease was granted by a request sent at `sent`.
    pub(super) fn granted(&self, id: SessionId, ttl: Duration, sent: Instant) {
        let mut schedule = self.schedule();
        schedule.forget(&id);
        let mut entry = Entry::new(ttl, sent);
        entry.renewed(ttl, sent);
        schedule.entries.insert(id, entry);
        let first = schedule.first();
        schedule.place(id, sent + ttl);
        if schedule.first() != first {
            drop(schedule);
            self.wake.notify_one();
        }
    }

    /// Notes a heartbeat, received at `now`, of a session that lives, as far as is known. `ttl` is
    /// what it was granted, and read only of a session that is new here.
    pub(super) fn beat(&self, id: SessionId, now: Instant, ttl: &Duration) -> Beat {
        let mut schedule = self.schedule();
        if schedule.stopped {
            return Beat::Wait(Flight::grounded());
        }
        let entry = schedule
            .entries
            .entry(id)
            .or_insert_with(|| Entry::new(*ttl, now));
        entry.heard = now;
        entry.marked = true;
        let at = entry.look_at();
        let beat = match entry.alive() {
            Some(alive) if now < entry.due => Beat::Alive(alive),
            _ => Beat::Wait(entry.wait()),
        };
        let first = schedule.first();
        schedule.place(id, at.max(now));
        if schedule.first() != first {
            drop(schedule);
            self.wake.notify_one();
        }
        beat
    }

    /// Notes a heartbeat of a session whose renewal is under way or due already.
    pub(super) fn mark(&self, id: &SessionId, now: Instant) {
        if let Some(entry) = self.schedule().entries.get_mut(id) {
            entry.heard = now;
            entry.marked = true;
        }
    }

    /// How long a session surely lives, if that is known here.
    pub(super) fn alive(&self, id: &SessionId) -> Option<Alive> {
        self.schedule().entries.get(id)?.alive()
    }

    /// Forgets a session that has ended, and says whether it ended before its time: then it was
    /// not its silence that ended it.
    pub(super) fn ended(&self, id: &SessionId) -> bool {
        let now = self.clock.now();
        self.schedule()
            .forget(id)
            .and_then(|entry| entry.alive())
            .is_some_and(|alive| now < alive.valid_until)
    }

    /// Renews what is marked, until told to stop.
    pub(super) async fn run(&self, store: &dyn Store, stop: CancellationToken) {
        let mut flights = FuturesUnordered::new();
        loop {
            let mut together = false;
            let wake_at = loop {
                if flights.len() >= MAX_FLIGHTS {
                    break None;
                }
                match self.schedule().next(self.clock.now(), together) {
                    Next::Renew(id) => {
                        together = true;
                        flights.push(async move { (id, store.keep_alive(id.lease()).await) });
                    }
                    Next::Sleep(until) => break until,
                }
            };
            let timer = async {
                match wake_at {
                    Some(at) => self.clock.sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => break,
                Some((id, result)) = flights.next() => self.landed(id, result),
                () = self.wake.notified(), if flights.len() < MAX_FLIGHTS => {}
                () = timer => {}
            }
        }
        // Nobody is left waiting for what will not come.
        let mut schedule = self.schedule();
        schedule.stopped = true;
        schedule.order.clear();
        for (_, entry) in schedule.entries.drain() {
            entry.land(Err(Error::Draining));
        }
    }

    fn landed(&self, id: SessionId, result: Result<Renewal, store::Error>) {
        let now = self.clock.now();
        let mut schedule = self.schedule();
        match result {
            Err(store::Error::LeaseNotFound) => {
                if let Some(entry) = schedule.forget(&id) {
                    entry.land(Err(Error::LeaseExpired));
                }
                return;
            }
            Ok(renewal) => {
                let Some(entry) = schedule.entries.get_mut(&id) else {
                    return;
                };
                entry.renewed(renewal.ttl, renewal.sent);
                entry.tell(entry.alive().ok_or(Error::LeaseExpired));
            }
            Err(error) => {
                let Some(entry) = schedule.entries.get_mut(&id) else {
                    return;
                };
                tracing::debug!(session = ?id, %error, "a renewal failed");
                // The heartbeat still counts, for as long as the next one may take to come.
                entry.marked |= now < entry.heard + entry.ttl / 3;
                entry.retry = now + entry.ttl / RETRY;
                // Only read, so that there is no outcome to be unsure of.
                entry.tell(Err(Error::Store(error)));
            }
        }
        if let Some(entry) = schedule.entries.get_mut(&id) {
            entry.flying = false;
            let at = entry.look_at();
            schedule.place(id, at);
        }
    }

    fn schedule(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Flight ===

impl Flight {
    fn grounded() -> Self {
        Self(watch::channel(Some(Err(Error::Draining))).1)
    }

    /// Waits until the renewal is answered.
    pub(super) async fn landed(mut self) -> Result<Alive, Error> {
        match self.0.wait_for(Option::is_some).await {
            Ok(landing) => landing.clone().unwrap_or(Err(Error::Draining)),
            // The session was forgotten.
            Err(_) => Err(Error::LeaseExpired),
        }
    }
}

// === impl Schedule ===

impl Schedule {
    /// What is due at `now`: sessions to renew, with `together` those that are soon to be as well;
    /// those that are silent are forgotten on the way.
    fn next(&mut self, now: Instant, together: bool) -> Next {
        while let Some(&(at, id)) = self.order.first() {
            let entry = self.entries.get_mut(&id);
            let early = together && entry.as_ref().is_some_and(|entry| entry.may_join(now));
            if at > now && !early {
                return Next::Sleep(Some(at));
            }
            self.order.pop_first();
            let Some(entry) = entry else {
                continue;
            };
            entry.at = None;
            if early || entry.marked && entry.look_at() <= now {
                entry.marked = false;
                entry.flying = true;
                return Next::Renew(id);
            }
            let at = entry.look_at();
            if at <= now {
                self.entries.remove(&id);
            } else {
                self.place(id, at);
            }
        }
        Next::Sleep(None)
    }

    /// Has a session looked at at `at`, unless it is being renewed.
    fn place(&mut self, id: SessionId, at: Instant) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        if entry.at == Some(at) {
            return;
        }
        if let Some(before) = entry.at.take() {
            self.order.remove(&(before, id));
        }
        if !entry.flying {
            entry.at = Some(at);
            self.order.insert((at, id));
        }
    }

    fn first(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }

    fn forget(&mut self, id: &SessionId) -> Option<Entry> {
        let entry = self.entries.remove(id)?;
        if let Some(at) = entry.at {
            self.order.remove(&(at, *id));
        }
        Some(entry)
    }
}

// === impl Entry ===

impl Entry {
    fn new(ttl: Duration, now: Instant) -> Self {
        Self {
            ttl,
            sent: None,
            due: now,
            retry: now,
            heard: now,
            marked: false,
            flying: false,
            waiting: None,
            at: None,
        }
    }

    fn renewed(&mut self, ttl: Duration, sent: Instant) {
        self.ttl = ttl;
        // One that proves less than one before takes nothing back.
        self.sent = self.sent.max(Some(sent));
        self.due = sent + (ttl / 3).mul_f64(rand::random_range(JITTER));
    }

    fn alive(&self) -> Option<Alive> {
        Some(Alive {
            ttl: self.ttl,
            valid_until: self.sent? + self.ttl,
        })
    }

    /// When it wants to be looked at: to be renewed, or to be forgotten.
    fn look_at(&self) -> Instant {
        if self.marked {
            self.due.max(self.retry)
        } else {
            self.heard + self.ttl
        }
    }

    /// Whether it may be renewed with others although it is not quite due.
    fn may_join(&self, now: Instant) -> bool {
        self.marked && self.retry <= now && self.due <= now + self.ttl / TOGETHER
    }

    fn wait(&mut self) -> Flight {
        let sender = self.waiting.get_or_insert_with(|| watch::Sender::new(None));
        Flight(sender.subscribe())
    }

    fn tell(&mut self, landing: Landing) {
        if let Some(waiting) = self.waiting.take() {
            waiting.send_replace(Some(landing));
        }
    }

    fn land(mut self, landing: Landing) {
        self.tell(landing);
    }
}

#[cfg(test)]
mod tests;
