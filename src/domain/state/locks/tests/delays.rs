//! What a claim leaves behind, and what it does to those behind it.

use super::*;
use crate::domain::lock::LockDelay;

const DELAY: Duration = Duration::from_secs(10);

impl Model {
    /// A claim with what stands beside it, as one revision writes them.
    fn delaying(&self) -> [KeyValue; 2] {
        let session = SessionId::random();
        let mut claim = self.waiter(session);
        let waiter = Waiter {
            delay: Some(DELAY),
            ..records::waiter(&claim).unwrap()
        };
        claim.value = records::encode_waiter(&waiter);
        let beside = KeyValue {
            key: self.keys.lock_delay(&claim.key),
            value: records::encode_lock_delay(&waiter, DELAY),
            lease: 0,
            ..claim.clone()
        };
        [claim, beside]
    }

    fn queue_up(&mut self) -> KeyValue {
        let waiter = self.waiter(SessionId::random());
        self.apply(&[Event::Put(waiter.clone())]);
        waiter
    }

    fn queue_up_delaying(&mut self) -> [KeyValue; 2] {
        let both = self.delaying();
        self.apply(&both.clone().map(Event::Put));
        both
    }

    fn delay(&self) -> Option<&Arc<LockDelay>> {
        self.queue()?.delay(self.state.epoch.claims_from)
    }

    fn admits(&self, mode: LockMode) -> bool {
        let claims_from = self.state.epoch.claims_from;
        let queue = self.queue();
        queue.is_none_or(|queue| queue.admits(mode, claims_from))
    }

    fn lose(&mut self, gone: &[&KeyValue]) {
        let events: Vec<_> = gone.iter().map(|kv| self.gone(kv.key.clone())).collect();
        self.apply(&events);
    }
}

#[test]
fn the_next_is_granted_when_what_a_dead_holder_left_is_gone_and_not_before() {
    let mut model = Model::new();
    let [holder, beside] = model.queue_up_delaying();
    let next = model.queue_up();
    assert!(matches!(model.standing(&holder), Standing::Held(_)));
    model.lose(&[&holder]);
    assert_eq!(model.standing(&next), Standing::Waiting);
    let left = model.delay().unwrap().clone();
    assert_eq!((left.delay, left.held), (DELAY, true));
    assert!(model.state.delayed.contains_key(&holder.key));
    let later = model.queue_up();
    assert_eq!(model.standing(&later), Standing::Waiting);
    model.lose(&[&beside]);
    assert!(matches!(model.standing(&next), Standing::Held(_)));
    assert_eq!(model.standing(&later), Standing::Waiting);
    assert!(model.state.delayed.is_empty());
}

#[test]
fn a_release_takes_the_delay_along() {
    let mut model = Model::new();
    let [holder, beside] = model.queue_up_delaying();
    let next = model.queue_up();
    model.lose(&[&holder, &beside]);
    assert!(matches!(model.standing(&next), Standing::Held(_)));
    model.lose(&[&next]);
    assert!(model.queue().is_none());
}

#[test]
fn a_lock_that_nobody_wants_is_there_while_it_is_delayed() {
    let mut model = Model::new();
    let [holder, beside] = model.queue_up_delaying();
    model.lose(&[&holder]);
    assert!(!model.admits(LockMode::Exclusive));
    let namespace = model.lock.namespace.clone();
    assert_eq!(model.state.usage_of(&namespace).unwrap().locks, 1);
    model.lose(&[&beside]);
    assert!(model.queue().is_none());
    assert!(model.state.usage_of(&namespace).is_none());
}

#[test]
fn who_holds_the_lock_goes_on_when_a_waiter_dies_and_nothing_is_left_to_delay() {
    let mut model = Model::new();
    let holder = model.queue_up();
    let [waiter, beside] = model.queue_up_delaying();
    let last = model.queue_up();
    model.lose(&[&waiter]);
    assert!(matches!(model.standing(&holder), Standing::Held(_)));
    assert!(!model.delay().unwrap().held);
    model.lose(&[&holder]);
    assert_eq!(
        model.standing(&last),
        Standing::Waiting,
        "until it is taken away"
    );
    model.lose(&[&beside]);
    assert!(matches!(model.standing(&last), Standing::Held(_)));
}

#[test]
fn whoever_hears_of_it_late_sees_the_same() {
    let mut model = Model::new();
    let [mut holder, mut beside] = model.delaying();
    let next = model.queue_up();
    // Older than what was heard before, as in a listing.
    for kv in [&mut holder, &mut beside] {
        (kv.create_revision, kv.mod_revision) = (0, 0);
    }
    model.apply(&[Event::Put(beside.clone())]);
    assert_eq!(model.standing(&next), Standing::Waiting);
    assert!(model.delay().unwrap().held, "it may have");
    model.apply(&[Event::Put(holder.clone())]);
    assert!(model.state.delayed.is_empty());
    assert!(matches!(model.standing(&holder), Standing::Held(_)));
    assert_eq!(model.standing(&next), Standing::Waiting);
}

#[test]
fn what_cannot_be_read_delays_and_what_is_of_an_era_before_a_loss_does_not() {
    let mut model = Model::new();
    let [holder, mut beside] = model.delaying();
    beside.value = Bytes::from_static(b"\xff");
    model.apply(&[Event::Put(holder.clone()), Event::Put(beside.clone())]);
    let next = model.queue_up();
    model.lose(&[&holder]);
    assert_eq!(model.state.undecodable.len(), 1);
    assert_eq!(model.standing(&next), Standing::Waiting);
    model.lose(&[&beside]);
    assert!(matches!(model.standing(&next), Standing::Held(_)));

    let mut model = Model::new();
    let [holder, _] = model.queue_up_delaying();
    model.lose(&[&holder]);
    let begin = model.begin_era(true);
    model.apply(&[begin]);
    assert!(model.admits(LockMode::Shared));
    assert_eq!(model.delay(), None);
    let next = model.queue_up();
    assert!(matches!(model.standing(&next), Standing::Held(_)));
    assert!(
        model.state.delayed.contains_key(&holder.key),
        "to be deleted"
    );
}
