//! Who is told what sessions lose: streams name sessions, losses are routed to the streams.
//!
//! A loss is remembered for a while, so that a client whose stream broke, and who comes back on a
//! new one, is told what happened meanwhile.

mod mailbox;

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use crate::domain::{
    session_id::SessionId,
    state::{Owned, State},
};

use self::mailbox::Mailbox;
use super::loss::{self, Loss, Lost};

pub(super) use self::mailbox::Notice;

/// How many losses of one session are remembered.
const MAX_REMEMBERED_OF_ONE: usize = 64;
/// How many losses are remembered in all.
const MAX_REMEMBERED: usize = 10_000;
/// For how long what a session gives up by itself is no loss. Far longer than any transaction.
const LEAVING: Duration = Duration::from_secs(30);
/// How many such notes are kept before those that have served are looked for.
const MAX_LEAVING: usize = 4096;

/// The routes from sessions to streams.
#[derive(Default)]
pub(super) struct Notices(Mutex<Table>);

#[derive(Default)]
struct Table {
    last_number: u64,
    streams: HashMap<u64, Arc<Mailbox>>,
    sessions: HashMap<SessionId, HashSet<u64>>,
    remembered: HashMap<SessionId, VecDeque<Arc<Loss>>>,
    /// Whose losses are remembered, oldest first; once for each loss.
    remembered_order: VecDeque<SessionId>,
    leaving: BTreeMap<(SessionId, Owned), Instant>,
    /// Every stream has been told to end, and those that come later are at once.
    draining: bool,
}

/// One stream. Dropping it ends its routes.
pub(super) struct Subscription {
    notices: Arc<Notices>,
    number: u64,
    mailbox: Arc<Mailbox>,
    sessions: HashSet<SessionId>,
}

// === impl Notices ===

impl Notices {
    /// Opens a stream that is told nothing yet.
    pub(super) fn subscribe(self: &Arc<Self>) -> Subscription {
        let mailbox = Arc::<Mailbox>::default();
        let mut table = self.table();
        if table.draining {
            mailbox.drain();
        }
        table.last_number += 1;
        let number = table.last_number;
        table.streams.insert(number, mailbox.clone());
        Subscription {
            notices: self.clone(),
            number,
            mailbox,
            sessions: HashSet::new(),
        }
    }

    /// Tells every stream to end.
    pub(super) fn drain(&self) {
        let mut table = self.table();
        table.draining = true;
        for mailbox in table.streams.values() {
            mailbox.drain();
        }
    }

    /// Notes that the session itself is giving something up, so that it is not told of it.
    pub(super) fn leaving(&self, session: SessionId, owned: Owned, now: Instant) {
        let mut table = self.table();
        if table.leaving.len() >= MAX_LEAVING {
            table.leaving.retain(|_, until| *until > now);
        }
        if table.leaving.len() < MAX_LEAVING {
            table.leaving.insert((session, owned), now + LEAVING);
        }
    }

    /// Takes back that the session gives something up.
    pub(super) fn staying(&self, session: SessionId, owned: Owned) {
        self.table().leaving.remove(&(session, owned));
    }

    /// Says whether the session gave the thing up by itself.
    pub(super) fn has_left(&self, session: SessionId, owned: Owned, now: Instant) -> bool {
        let left = self.table().leaving.remove(&(session, owned));
        left.is_some_and(|until| until > now)
    }

    /// Tells a loss to every stream that named the session, and remembers it as long as the
    /// session lives.
    pub(super) fn tell(&self, loss: Loss) {
        let mut table = self.table();
        let loss = Arc::new(loss);
        for number in table
            .sessions
            .get(&loss.session)
            .into_iter()
            .flatten()
            .copied()
            .collect::<Vec<_>>()
        {
            if let Some(mailbox) = table.streams.get(&number) {
                mailbox.put(&loss);
            }
        }
        match loss.what {
            Lost::Session(_) => table.forget(&loss.session),
            Lost::Instance { .. } | Lost::Lock { .. } | Lost::Wanted { .. } => {
                table.remember(loss);
            }
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Table ===

impl Table {
    fn remember(&mut self, loss: Arc<Loss>) {
        let session = loss.session;
        let losses = self.remembered.entry(session).or_default();
        losses.push_back(loss);
        self.remembered_order.push_back(session);
        let mut oldest = (losses.len() > MAX_REMEMBERED_OF_ONE).then_some(session);
        if oldest.is_none() && self.remembered_order.len() > MAX_REMEMBERED {
            oldest = self.remembered_order.front().copied();
        }
        let Some(oldest) = oldest else {
            return;
        };
        if let Some(place) = self.remembered_order.iter().position(|id| *id == oldest) {
            self.remembered_order.remove(place);
        }
        if let Some(losses) = self.remembered.get_mut(&oldest) {
            losses.pop_front();
            if losses.is_empty() {
                self.remembered.remove(&oldest);
            }
        }
    }

    fn unroute(&mut self, session: &SessionId, number: u64) {
        if let Some(streams) = self.sessions.get_mut(session) {
            streams.remove(&number);
            if streams.is_empty() {
                self.sessions.remove(session);
            }
        }
    }

    fn forget(&mut self, session: &SessionId) {
        if self.remembered.remove(session).is_some() {
            self.remembered_order.retain(|id| id != session);
        }
    }
}

// === impl Subscription ===

impl Subscription {
    /// Has the stream told what `session` loses, beginning with what is remembered and still true
    /// in `state`.
    pub(super) fn name(&mut self, session: SessionId, state: Option<&State>) {
        if !self.sessions.insert(session) {
            return;
        }
        let mut table = self.notices.table();
        for loss in table.remembered.get(&session).into_iter().flatten() {
            if !state.is_some_and(|state| loss.is_undone(state)) {
                self.mailbox.put(loss);
            }
        }
        // The state remembers longer than this replica is there.
        let known = table.remembered.get(&session);
        for wanted in state.into_iter().flat_map(|s| loss::all_wanted(session, s)) {
            if !known.is_some_and(|known| known.iter().any(|loss| **loss == wanted)) {
                self.mailbox.put(&Arc::new(wanted));
            }
        }
        let number = self.number;
        table.sessions.entry(session).or_default().insert(number);
    }

    /// Ends the route of a session; says whether there was one.
    pub(super) fn unname(&mut self, session: &SessionId) -> bool {
        let named = self.sessions.remove(session);
        if named {
            let notices = self.notices.clone();
            notices.table().unroute(session, self.number);
        }
        named
    }

    /// Takes the next notice. What ends the stream comes after all that it lost before.
    pub(super) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Notice> {
        self.mailbox.poll_take(context)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let notices = self.notices.clone();
        let mut table = notices.table();
        table.streams.remove(&self.number);
        for session in &self.sessions {
            table.unroute(session, self.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::{mailbox::MAX_WAITING, *};
    use crate::domain::{
        keyspace::{QueueKind, QueuePath},
        session::loss::{LockLost, SessionLost},
    };

    fn lock_lost(session: SessionId, fencing_token: i64) -> Loss {
        let lock = QueuePath::parse(QueueKind::Lock, "default/nightly").unwrap();
        Loss {
            session,
            what: Lost::Lock {
                lock,
                fencing_token,
                cause: LockLost::Removed,
            },
        }
    }

    fn session_lost(session: SessionId) -> Loss {
        Loss {
            session,
            what: Lost::Session(SessionLost::Closed),
        }
    }

    /// What the stream is told now, if anything.
    fn told(stream: &mut Subscription) -> Option<Notice> {
        match stream.poll_next(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(notice) => Some(notice),
            Poll::Pending => None,
        }
    }

    fn lost(loss: Loss) -> Option<Notice> {
        Some(Notice::Lost(Arc::new(loss)))
    }

    #[test]
    fn a_loss_goes_to_the_streams_that_named_its_session_and_to_those_that_come_later() {
        let notices = Arc::new(Notices::default());
        let (one, other) = (SessionId::random(), SessionId::random());
        let mut first = notices.subscribe();
        first.name(one, None);
        notices.tell(lock_lost(one, 1));
        notices.tell(lock_lost(other, 2));
        assert_eq!(told(&mut first), lost(lock_lost(one, 1)));
        let mut second = notices.subscribe();
        second.name(other, None);
        assert_eq!(told(&mut second), lost(lock_lost(other, 2)));
        assert_eq!(told(&mut first), None);

        notices.tell(session_lost(other));
        assert_eq!(told(&mut second), lost(session_lost(other)));
        let mut third = notices.subscribe();
        third.name(other, None);
        assert_eq!(told(&mut third), None, "the dead have no losses");
        drop((first, second, third));
        let table = notices.table();
        assert!(table.streams.is_empty() && table.sessions.is_empty());
    }

    #[test]
    fn a_stream_that_does_not_read_ends_after_what_it_was_told() {
        let notices = Arc::new(Notices::default());
        let session = SessionId::random();
        let mut stream = notices.subscribe();
        stream.name(session, None);
        for token in 0..=MAX_WAITING as i64 {
            notices.tell(lock_lost(session, token));
        }
        for token in 0..MAX_WAITING as i64 {
            assert_eq!(told(&mut stream), lost(lock_lost(session, token)));
        }
        notices.tell(session_lost(session));
        assert_eq!(told(&mut stream), Some(Notice::Missed));
    }

    #[test]
    fn a_drain_ends_streams_after_what_they_lost_and_those_that_come_later_at_once() {
        let notices = Arc::new(Notices::default());
        let session = SessionId::random();
        let mut stream = notices.subscribe();
        stream.name(session, None);
        notices.tell(lock_lost(session, 1));
        notices.drain();
        assert_eq!(told(&mut stream), lost(lock_lost(session, 1)));
        assert_eq!(told(&mut stream), Some(Notice::Draining));
        assert_eq!(told(&mut notices.subscribe()), Some(Notice::Draining));
    }

    #[tokio::test]
    async fn a_stream_that_waits_is_woken() {
        let notices = Arc::new(Notices::default());
        let session = SessionId::random();
        let mut stream = notices.subscribe();
        stream.name(session, None);
        let waiting =
            tokio::spawn(
                async move { std::future::poll_fn(|context| stream.poll_next(context)).await },
            );
        tokio::task::yield_now().await;
        notices.tell(lock_lost(session, 1));
        assert_eq!(waiting.await.ok(), lost(lock_lost(session, 1)));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let notices = Notices::default();
        let busy = SessionId::random();
        for token in 0..1000 {
            notices.tell(lock_lost(busy, token));
        }
        let of_busy = |notices: &Notices| notices.table().remembered[&busy].len();
        assert_eq!(of_busy(&notices), MAX_REMEMBERED_OF_ONE);
        for token in 0..MAX_REMEMBERED as i64 {
            notices.tell(lock_lost(SessionId::random(), token));
        }
        let table = notices.table();
        assert_eq!(table.remembered_order.len(), MAX_REMEMBERED);
        let kept: usize = table.remembered.values().map(VecDeque::len).sum();
        assert_eq!(kept, MAX_REMEMBERED);
        assert!(!table.remembered.contains_key(&busy));
    }
}
