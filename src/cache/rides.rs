//! Those who wait for the next probe.
//!
//! Waking a task from another thread costs a system call, and hundreds may wait. So those of one
//! runtime share a ride, of which the prober wakes one rider, the leader: it wakes the others from
//! inside. It also is the one that watches the time: having come first, its time is up first.

use std::{
    collections::HashMap,
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Instant,
};

use tokio::{
    runtime::{self, Handle},
    sync::Notify,
};

use crate::{
    clock::Clock,
    store::{self, Outcome, Revision},
};

use super::shared::stopping;

/// What a probe found.
pub(super) type Answer = Result<Revision, store::Error>;

/// The rides that have not departed, one for each runtime.
#[derive(Default)]
pub(super) struct Rides {
    boarding: Mutex<Boarding>,
    /// As many have boarded as the prober waits for.
    enough: Notify,
}

#[derive(Default)]
struct Boarding {
    rides: HashMap<runtime::Id, Arc<Ride>>,
    riders: usize,
    /// How many riders the prober waits for.
    wanted: usize,
    /// There will be no probe any more.
    closed: bool,
}

/// Those who boarded on one runtime.
#[derive(Default)]
struct Ride(Mutex<Riders>);

#[derive(Default)]
struct Riders {
    /// In the order in which they came; empty where somebody left.
    seats: Vec<Option<Waker>>,
    /// The seat of the first who is still there.
    leader: usize,
    answer: Option<Answer>,
}

/// A seat of a ride, given up when it is dropped.
struct Rider {
    ride: Arc<Ride>,
    seat: usize,
}

/// The rides that one probe answers.
pub(super) struct Departed {
    rides: Vec<Arc<Ride>>,
    /// How many boarded them.
    pub(super) riders: usize,
}

/// How it stands with a rider.
enum Standing {
    Answered(Answer),
    Leads,
    Follows,
}

// === impl Rides ===

impl Rides {
    /// Boards a ride and waits for its answer, at most until `deadline`.
    pub(super) async fn ride(&self, clock: &dyn Clock, deadline: Instant) -> Answer {
        let mut rider = None;
        let mut timer = None;
        poll_fn(|context| {
            let rider = match &mut rider {
                Some(rider) => rider,
                none => none.insert(self.board(context.waker()).ok_or_else(stopping)?),
            };
            match rider.ride.standing(rider.seat, context) {
                Standing::Answered(answer) => Poll::Ready(answer),
                Standing::Follows => Poll::Pending,
                Standing::Leads => timer
                    .get_or_insert_with(|| clock.sleep_until(deadline))
                    .as_mut()
                    .poll(context)
                    .map(|()| Err(too_late())),
            }
        })
        .await
    }

    /// Takes a seat on the ride of this runtime; `None` when none will depart.
    fn board(&self, waker: &Waker) -> Option<Rider> {
        let runtime = Handle::current().id();
        let mut boarding = self.boarding();
        if boarding.closed {
            return None;
        }
        let ride = boarding.rides.entry(runtime).or_default().clone();
        let seat = ride.take_seat(waker.clone());
        boarding.riders += 1;
        if boarding.riders == boarding.wanted {
            self.enough.notify_one();
        }
        Some(Rider { ride, seat })
    }

    /// Completes when at least so many have boarded. Only the prober waits here.
    pub(super) async fn boarded(&self, wanted: usize) {
        loop {
            {
                let mut boarding = self.boarding();
                if boarding.riders >= wanted {
                    return;
                }
                boarding.wanted = wanted;
            }
            self.enough.notified().await;
        }
    }

    /// How many have boarded.
    pub(super) fn waiting(&self) -> usize {
        self.boarding().riders
    }

    /// Takes the rides as they are; who comes after this boards the next.
    pub(super) fn depart(&self) -> Departed {
        let mut boarding = self.boarding();
        Departed {
            rides: boarding.rides.drain().map(|(_, ride)| ride).collect(),
            riders: std::mem::take(&mut boarding.riders),
        }
    }

    /// Answers all who have boarded, and all who want to, that there will be no probe.
    pub(super) fn close(&self) {
        self.boarding().closed = true;
        drop(self.depart());
    }

    fn boarding(&self) -> MutexGuard<'_, Boarding> {
        self.boarding.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Departed ===

impl Departed {
    /// Tells the riders.
    pub(super) fn answer(mut self, answer: &Answer) {
        for ride in self.rides.drain(..) {
            ride.answer(answer);
        }
    }
}

impl Drop for Departed {
    fn drop(&mut self) {
        for ride in self.rides.drain(..) {
            ride.answer(&Err(stopping()));
        }
    }
}

// === impl Ride ===

impl Ride {
    fn take_seat(&self, waker: Waker) -> usize {
        let mut riders = self.riders();
        riders.seats.push(Some(waker));
        riders.seats.len() - 1
    }

    /// How it stands with the rider on `seat`, who is woken when that changes.
    fn standing(&self, seat: usize, context: &Context<'_>) -> Standing {
        let mut riders = self.riders();
        let Some(answer) = &riders.answer else {
            if let Some(Some(waker)) = riders.seats.get_mut(seat) {
                waker.clone_from(context.waker());
            }
            return if riders.leader == seat {
                Standing::Leads
            } else {
                Standing::Follows
            };
        };
        let answer = answer.clone();
        if riders.leader == seat {
            let seats = std::mem::take(&mut riders.seats);
            drop(riders);
            for waker in seats.into_iter().skip(seat + 1).flatten() {
                waker.wake();
            }
        }
        Standing::Answered(answer)
    }

    fn answer(&self, answer: &Answer) {
        let mut riders = self.riders();
        riders.answer = Some(answer.clone());
        let leader = riders.leader_waker();
        drop(riders);
        if let Some(leader) = leader {
            leader.wake();
        }
    }

    /// Gives up a seat; the next in line leads if it was the leader's.
    fn leave(&self, seat: usize) {
        let mut riders = self.riders();
        if let Some(waker) = riders.seats.get_mut(seat) {
            *waker = None;
        }
        if riders.leader != seat || riders.seats.is_empty() {
            return;
        }
        let after = riders.seats[seat..].iter().position(Option::is_some);
        riders.leader = after.map_or(riders.seats.len(), |after| seat + after);
        let leader = riders.leader_waker();
        drop(riders);
        if let Some(leader) = leader {
            leader.wake();
        }
    }

    fn riders(&self) -> MutexGuard<'_, Riders> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Riders ===

impl Riders {
    fn leader_waker(&self) -> Option<Waker> {
        self.seats.get(self.leader)?.clone()
    }
}

// === impl Rider ===

impl Drop for Rider {
    fn drop(&mut self) {
        self.ride.leave(self.seat);
    }
}

fn too_late() -> store::Error {
    store::Error::NoQuorum {
        message: "nobody answers for the store in time".into(),
        outcome: Outcome::NotDone,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::future::{BoxFuture, FutureExt as _, join_all};

    use super::*;
    use crate::clock::ManualClock;

    struct Stop {
        rides: Arc<Rides>,
        clock: ManualClock,
    }

    impl Stop {
        fn new() -> Self {
            Self {
                rides: Arc::default(),
                clock: ManualClock::default(),
            }
        }

        /// A rider who has boarded, with so many seconds left.
        fn rider(&self, seconds: u64) -> BoxFuture<'static, Answer> {
            let (rides, clock) = (self.rides.clone(), self.clock.clone());
            let deadline = clock.now() + Duration::from_secs(seconds);
            let mut rider = async move { rides.ride(&clock, deadline).await }.boxed();
            assert_eq!((&mut rider).now_or_never(), None);
            rider
        }
    }

    #[tokio::test]
    async fn all_who_boarded_are_woken_whoever_left_and_who_boards_later_is_not() {
        let stop = Stop::new();
        let mut riders: Vec<_> = (0..6).map(|_| stop.rider(9)).collect();
        // The leader, its heir, and one in the middle.
        for gone in [0, 0, 1] {
            drop(riders.remove(gone));
        }
        let riders = tokio::spawn(join_all(riders));
        tokio::task::yield_now().await;
        let departed = stop.rides.depart();
        assert_eq!(departed.riders, 6);
        let late = stop.rider(9);
        assert_eq!(stop.rides.waiting(), 1);
        departed.answer(&Ok(7));
        assert_eq!(riders.await.unwrap(), [Ok(7), Ok(7), Ok(7)]);
        assert_eq!(late.now_or_never(), None);
    }

    #[tokio::test]
    async fn a_leader_that_leaves_with_the_answer_has_the_others_told() {
        let stop = Stop::new();
        let leader = stop.rider(9);
        let others = tokio::spawn(join_all([stop.rider(9), stop.rider(9)]));
        tokio::task::yield_now().await;
        stop.rides.depart().answer(&Ok(7));
        drop(leader);
        assert_eq!(others.await.unwrap(), [Ok(7), Ok(7)]);
    }

    #[tokio::test]
    async fn each_rider_gives_up_when_its_own_time_is_up() {
        let stop = Stop::new();
        let first = tokio::spawn(stop.rider(1));
        let second = tokio::spawn(stop.rider(2));
        let third = tokio::spawn(stop.rider(3));
        stop.clock.advance(Duration::from_secs(2));
        assert_eq!(first.await.unwrap(), Err(too_late()));
        assert_eq!(second.await.unwrap(), Err(too_late()));
        assert!(!third.is_finished());
        stop.rides.depart().answer(&Ok(7));
        assert_eq!(third.await.unwrap(), Ok(7));
    }

    #[tokio::test]
    async fn without_a_prober_nobody_waits() {
        let stop = Stop::new();
        let departed = (stop.rider(9), stop.rides.depart());
        let boarded = stop.rider(9);
        stop.rides.close();
        assert_eq!(boarded.await, Err(stopping()));
        drop(departed.1);
        assert_eq!(departed.0.await, Err(stopping()));
        let deadline = stop.clock.now();
        let late = stop.rides.ride(&stop.clock, deadline).await;
        assert_eq!(late, Err(stopping()));
    }

    #[tokio::test]
    async fn the_prober_is_woken_once_enough_have_boarded() {
        let stop = Stop::new();
        let rides = stop.rides.clone();
        let prober = tokio::spawn(async move { rides.boarded(3).await });
        let mut riders = vec![stop.rider(9), stop.rider(9)];
        tokio::task::yield_now().await;
        assert!(!prober.is_finished());
        riders.push(stop.rider(9));
        prober.await.unwrap();
    }
}
