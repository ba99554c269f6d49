//! Answers to heartbeats that wait for others of their connection, as of the many clients behind a
//! proxy: a system call for each costs more than all the rest of a heartbeat. What they say counts
//! from when the heartbeat was sent, and so loses nothing by it.

use std::{
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use stanchion_client::proto::SessionAlive;

use super::Alarm;
use crate::{clock::Clock, rpc::Peer};

/// How long an answer may wait.
const TOGETHER: Duration = Duration::from_millis(50);
/// How many answers of a stream may wait.
const FULL: usize = 128;

/// The answers of a stream that wait.
pub(super) struct Held {
    /// Any moment at which those of its connection are sent, [`TOGETHER`] after another.
    tick: Instant,
    answers: Vec<SessionAlive>,
    /// Set while there are any.
    alarm: Option<Alarm>,
}

/// When, within [`TOGETHER`], the answers of a connection are sent: not all connections are busy at
/// the same moment.
pub(in crate::rpc::session) fn phase(peer: Option<Peer>) -> Duration {
    let port = peer.map_or(0, |peer| peer.address.port());
    TOGETHER * u32::from(port % 64) / 64
}

// === impl Held ===

impl Held {
    /// `tick` is any moment at which answers of the connection are sent.
    pub(super) fn new(tick: Instant) -> Self {
        Self {
            tick,
            answers: Vec::new(),
            alarm: None,
        }
    }

    pub(super) fn push(&mut self, answer: SessionAlive) {
        self.answers.push(answer);
    }

    /// Waits until they are to be sent, and gives the last of them.
    pub(super) fn poll(
        &mut self,
        clock: &dyn Clock,
        context: &mut Context<'_>,
        now: Instant,
    ) -> Poll<SessionAlive> {
        if self.answers.is_empty() {
            return Poll::Pending;
        }
        let tick = self.tick;
        let alarm = self
            .alarm
            .get_or_insert_with(|| Alarm::new(clock, next(tick, now)));
        ready!(alarm.poll(context, now));
        self.take_last().map_or(Poll::Pending, Poll::Ready)
    }

    /// The last of them when no more may wait.
    pub(super) fn take_if_full(&mut self) -> Option<SessionAlive> {
        (self.answers.len() >= FULL)
            .then(|| self.take_last())
            .flatten()
    }

    /// The last of them.
    pub(super) fn take_last(&mut self) -> Option<SessionAlive> {
        self.answers.pop()
    }

    /// All of them, because something is sent.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = SessionAlive> {
        self.alarm = None;
        self.answers.drain(..)
    }
}

/// The first moment after `now` that is any number of [`TOGETHER`] after `tick`.
fn next(tick: Instant, now: Instant) -> Instant {
    let past = now.saturating_duration_since(tick).as_nanos() % TOGETHER.as_nanos();
    now + TOGETHER - Duration::from_nanos(past as u64)
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn answers_wait_for_their_moment_and_keep_their_order() {
        let clock = ManualClock::default();
        let mut context = Context::from_waker(Waker::noop());
        let mut held = Held::new(clock.now());
        for seq in 0..3 {
            held.push(SessionAlive {
                seq,
                ..SessionAlive::default()
            });
            clock.advance(TOGETHER / 4);
            let now = clock.now();
            assert!(held.poll(&clock, &mut context, now).is_pending());
        }
        clock.advance(TOGETHER / 4);
        let now = clock.now();
        let Poll::Ready(last) = held.poll(&clock, &mut context, now) else {
            panic!("answers wait for longer than they may");
        };
        let seqs: Vec<_> = held.drain().chain([last]).map(|alive| alive.seq).collect();
        assert_eq!(seqs, [0, 1, 2]);
    }

    #[test]
    fn the_answers_of_a_connection_are_sent_at_the_same_moments() {
        let tick = Instant::now();
        let due = tick + 7 * TOGETHER;
        let millisecond = Duration::from_millis(1);
        for now in [due - TOGETHER, due - TOGETHER / 3, due - millisecond] {
            assert_eq!(next(tick, now), due);
        }
        assert_eq!(next(tick, due), due + TOGETHER);
    }
}
