//! When sessions are renewed, by a clock that is moved by hand.

use super::*;
use crate::{clock::ManualClock, store::Outcome};

const TTL: Duration = Duration::from_secs(9);

struct Fixture {
    clock: ManualClock,
    renewals: Renewals,
    id: SessionId,
}

impl Fixture {
    fn new() -> Self {
        let clock = ManualClock::default();
        Self {
            renewals: Renewals::new(Arc::new(clock.clone())),
            clock,
            id: SessionId::random(),
        }
    }

    fn opened() -> Self {
        let fixture = Self::new();
        let now = fixture.clock.now();
        fixture.renewals.granted(fixture.id, TTL, now);
        fixture
    }

    /// The renewals that are due, of which nobody has been told to make one before.
    fn due(&self) -> usize {
        let mut due = 0;
        while let Next::Renew(id) = self.renewals.schedule().next(self.clock.now(), false) {
            assert_eq!(id, self.id);
            due += 1;
        }
        due
    }

    fn land(&self) {
        let renewal = Renewal {
            ttl: TTL,
            sent: self.clock.now(),
        };
        self.renewals.landed(self.id, Ok(renewal));
    }

    fn valid_for(&self) -> Option<Duration> {
        match self.renewals.beat(self.id, self.clock.now(), &TTL) {
            Beat::Alive(alive) => Some(alive.valid_until - self.clock.now()),
            Beat::Wait(_) => None,
        }
    }

    fn known(&self) -> bool {
        self.renewals.schedule().entries.contains_key(&self.id)
    }
}

#[test]
fn a_marked_session_is_renewed_when_a_third_has_passed_and_not_again_without_a_heartbeat() {
    let fixture = Fixture::opened();
    fixture.clock.advance(TTL / 9);
    assert_eq!(fixture.valid_for(), Some(TTL - TTL / 9));
    assert_eq!(fixture.due(), 0);
    fixture.clock.advance(TTL / 3 - TTL / 9);
    assert_eq!(fixture.due(), 1);
    fixture.land();
    fixture.clock.advance(TTL / 3);
    assert_eq!(fixture.due(), 0);
    assert!(fixture.known());
    fixture.clock.advance(TTL);
    assert_eq!(fixture.due(), 0);
    assert!(!fixture.known(), "what is silent for so long is forgotten");
}

#[test]
fn what_is_nearly_due_is_renewed_with_what_is_due() {
    let fixture = Fixture::opened();
    fixture.clock.advance(TTL / 50);
    let (soon, later, silent) = (
        SessionId::random(),
        SessionId::random(),
        SessionId::random(),
    );
    let now = fixture.clock.now();
    for (id, sent) in [(soon, now), (later, now + TTL / 6), (silent, now)] {
        fixture.renewals.granted(id, TTL, sent);
    }
    for id in [fixture.id, soon, later] {
        fixture.renewals.beat(id, fixture.clock.now(), &TTL);
    }
    let mut schedule = fixture.renewals.schedule();
    // As if the jitter had moved neither.
    for (id, early) in [(fixture.id, TTL / 50), (soon, Duration::ZERO)] {
        let due = now + TTL / 3 - early;
        schedule.entries.get_mut(&id).unwrap().due = due;
        schedule.place(id, due);
    }
    let at = now + TTL / 3 - TTL / 50;
    let renewed = |next| match next {
        Next::Renew(id) => Some(id),
        Next::Sleep(_) => None,
    };
    assert_eq!(renewed(schedule.next(at - TTL / 100, false)), None);
    assert_eq!(renewed(schedule.next(at, false)), Some(fixture.id));
    assert_eq!(renewed(schedule.next(at, false)), None);
    assert_eq!(renewed(schedule.next(at + TTL / 200, true)), Some(soon));
    assert_eq!(renewed(schedule.next(at + TTL / 200, true)), None);
}

#[test]
fn heartbeats_extend_nothing_but_by_their_renewal() {
    let fixture = Fixture::opened();
    let mut left = TTL;
    for _ in 0..5 {
        fixture.clock.advance(TTL / 20);
        left -= TTL / 20;
        assert_eq!(fixture.valid_for(), Some(left));
    }
    fixture.clock.advance(TTL / 3);
    assert_eq!(fixture.due(), 1);
    fixture.land();
    assert_eq!(fixture.valid_for(), Some(TTL));
}

#[tokio::test]
async fn heartbeats_that_come_when_a_renewal_is_due_wait_for_the_same_one() {
    let fixture = Fixture::new();
    let flights: Vec<_> = (0..3)
        .map(
            |_| match fixture.renewals.beat(fixture.id, fixture.clock.now(), &TTL) {
                Beat::Wait(flight) => flight,
                Beat::Alive(_) => panic!("a session that is new here was not renewed"),
            },
        )
        .collect();
    assert_eq!(fixture.due(), 1);
    fixture.land();
    for flight in flights {
        let alive = flight.landed().await.unwrap();
        assert_eq!(alive.valid_until, fixture.clock.now() + TTL);
    }
}

#[tokio::test]
async fn a_renewal_that_fails_is_tried_again_and_promises_nothing_new() {
    let fixture = Fixture::opened();
    fixture.clock.advance(TTL / 3);
    let Beat::Wait(flight) = fixture.renewals.beat(fixture.id, fixture.clock.now(), &TTL) else {
        panic!("a renewal was not due");
    };
    assert_eq!(fixture.due(), 1);
    let away = store::Error::Timeout {
        outcome: Outcome::Unknown,
    };
    fixture.renewals.landed(fixture.id, Err(away.clone()));
    assert_eq!(flight.landed().await, Err(Error::Store(away)));
    // Those who come now wait for the next attempt, which comes soon but not at once.
    assert_eq!(fixture.valid_for(), None);
    assert_eq!(fixture.due(), 0);
    fixture.clock.advance(TTL / RETRY);
    assert_eq!(fixture.due(), 1);
    fixture.land();
    assert_eq!(fixture.valid_for(), Some(TTL));
}

#[tokio::test]
async fn a_lease_that_is_gone_ends_its_session() {
    let fixture = Fixture::new();
    let Beat::Wait(flight) = fixture.renewals.beat(fixture.id, fixture.clock.now(), &TTL) else {
        panic!("a session that is new here was not renewed");
    };
    assert_eq!(fixture.due(), 1);
    fixture
        .renewals
        .landed(fixture.id, Err(store::Error::LeaseNotFound));
    assert_eq!(flight.landed().await, Err(Error::LeaseExpired));
    assert!(!fixture.known());
}

#[test]
fn a_session_that_ends_before_its_lease_can_have_expired_was_ended_by_somebody() {
    let fixture = Fixture::opened();
    fixture.clock.advance(TTL / 2);
    assert!(fixture.renewals.ended(&fixture.id));
    let fixture = Fixture::opened();
    fixture.clock.advance(TTL);
    assert!(!fixture.renewals.ended(&fixture.id));
    assert!(!Fixture::new().renewals.ended(&SessionId::random()));
}

#[test]
fn a_renewal_that_proves_less_than_one_before_takes_nothing_back() {
    let fixture = Fixture::opened();
    let renewal = Renewal {
        ttl: TTL,
        sent: fixture.clock.now() - TTL / 9,
    };
    fixture.renewals.landed(fixture.id, Ok(renewal));
    assert_eq!(fixture.valid_for(), Some(TTL));
}
