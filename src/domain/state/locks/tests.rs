//! What the state makes of places in queues.

mod delays;
mod model;

use std::time::{Duration, SystemTime};

use self::model::Model;
use super::*;
use crate::{
    cache::Projection,
    domain::{
        epoch::Epoch,
        keyspace::Keyspace,
        lock::{Closed, LockMode, Permits, Standing},
        names::Label,
    },
    store::Event,
};

#[test]
fn whatever_happens_the_oldest_holds_the_lock_and_watchers_know() {
    hold_in_order(Model::of(QueueKind::Lock), || LockMode::Exclusive);
}

#[test]
fn whatever_happens_those_hold_the_lock_that_go_together_with_all_before() {
    hold_in_order(Model::of(QueueKind::Lock), || {
        let permits = |count, total| LockMode::Permits(Permits::new(count, total).unwrap());
        match rand::random_range(0..8) {
            0 => LockMode::Exclusive,
            1..4 => LockMode::Shared,
            4..6 => permits(1, 3),
            6 => permits(2, 3),
            _ => permits(1, 2),
        }
    });
}

#[test]
fn whatever_happens_the_oldest_candidate_leads_and_watchers_know() {
    hold_in_order(Model::of(QueueKind::Election), || LockMode::Exclusive);
}

fn hold_in_order(mut model: Model, mode: impl Fn() -> LockMode) {
    let mut there: Vec<KeyValue> = Vec::new();
    let mut last_token = 0;
    for _ in 0..2000 {
        let pick = rand::random_range(0..there.len().max(1));
        match rand::random_range(0..5) {
            // Somebody queues, always last.
            0 | 1 => {
                let kv = model.waiter_in(mode(), SessionId::random());
                there.push(kv.clone());
                model.apply(&[Event::Put(kv)]);
            }
            // A call is taken up again: nobody sees a difference but those who had it.
            2 if !there.is_empty() => {
                let kv = &mut there[pick];
                let mut waiter = records::waiter(kv).unwrap();
                waiter.attempt += 1;
                kv.value = records::encode_waiter(&waiter);
                kv.mod_revision = model.revision + 1;
                let told = model.apply(&[Event::Put(kv.clone())]);
                assert_eq!((told, std::mem::take(&mut model.taken_up)), (0, 1));
            }
            // Somebody leaves, and sometimes several do at once.
            _ if !there.is_empty() => {
                let count = rand::random_range(1..=3).min(there.len() - pick);
                let gone: Vec<_> = there.drain(pick..pick + count).collect();
                let revision = model.revision + 1;
                let events = gone.into_iter().map(|kv| Event::Delete {
                    key: kv.key,
                    revision,
                });
                model.apply(&events.collect::<Vec<_>>());
            }
            _ => {}
        }
        let holder = model.queue().and_then(|queue| queue.holder());
        let oldest = there.first().map(|kv| kv.create_revision);
        assert_eq!(holder.map(|claim| claim.waiter.create_revision), oldest);
        if let Some(holder) = holder {
            let token = holder.waiter.fencing_token();
            assert!(token >= last_token, "a token fell");
            last_token = token;
        }
    }
}

#[test]
fn a_place_that_cannot_be_read_stands_in_the_way() {
    let mut model = Model::new();
    let mut damaged = model.waiter(SessionId::random());
    damaged.value = Bytes::from_static(b"\xff");
    model.apply(&[Event::Put(damaged.clone())]);
    let second = model.waiter(SessionId::random());
    let place = records::waiter(&second).unwrap().place();
    model.apply(&[Event::Put(second)]);
    assert_eq!(model.state.undecodable.len(), 1);
    assert_eq!(model.queue().unwrap().standing(&place), Standing::Waiting);
    let revision = model.revision + 1;
    model.apply(&[Event::Delete {
        key: damaged.key,
        revision,
    }]);
    assert!(matches!(
        model.queue().unwrap().standing(&place),
        Standing::Held(_)
    ));
}

#[test]
fn nobody_holds_a_lock_that_is_closed_and_who_came_first_does_when_it_opens() {
    let mut model = Model::new();
    let close = model.close();
    model.apply(&[close]);
    let (first, second) = (
        model.waiter(SessionId::random()),
        model.waiter(SessionId::random()),
    );
    model.apply(&[Event::Put(first.clone())]);
    let second = KeyValue {
        create_revision: model.revision + 1,
        mod_revision: model.revision + 1,
        ..second
    };
    model.apply(&[Event::Put(second.clone())]);
    assert_eq!(model.standing(&first), Standing::Waiting);
    let queue = model.queue().unwrap();
    assert_eq!((queue.holder(), queue.waiting()), (None, 2));

    let open = model.gone(model.keys.closed());
    let told = model.apply(&[open]);
    assert_eq!(told, 1, "who holds it now");
    assert!(matches!(model.standing(&first), Standing::Held(_)));
    assert_eq!(model.standing(&second), Standing::Waiting);
    assert_eq!(model.queue().unwrap().visible_revision, model.revision);
}

#[test]
fn a_mark_that_cannot_be_read_closes_locks_all_the_same() {
    let mut model = Model::new();
    let waiter = model.waiter(SessionId::random());
    model.apply(&[Event::Put(waiter.clone())]);
    let damaged = model.record(model.keys.closed(), Bytes::from_static(b"\xff"));
    model.apply(&[damaged]);
    assert_eq!(model.state.undecodable.len(), 1);
    assert_eq!(model.standing(&waiter), Standing::Waiting);
}

#[test]
fn claims_made_before_a_loss_are_void_whenever_one_hears_of_either() {
    for listed in [false, true] {
        let mut model = Model::new();
        let session = SessionId::random();
        let old = model.waiter(session);
        if listed {
            // A newer listing shows an old record that was written again.
            let begin = model.begin_era(true);
            let close = model.close();
            model.apply(&[begin, close]);
            model.apply(&[Event::Put(old.clone())]);
        } else {
            model.apply(&[Event::Put(old.clone())]);
            assert!(matches!(model.standing(&old), Standing::Held(_)));
            let begin = model.begin_era(true);
            let close = model.close();
            model.apply(&[close, begin]);
        }
        assert!(model.queue().is_none());
        assert!(model.state.void.contains_key(&old.key));

        let new = model.waiter(SessionId::random());
        model.apply(&[Event::Put(new.clone())]);
        let open = model.gone(model.keys.closed());
        model.apply(&[open]);
        assert!(matches!(model.standing(&new), Standing::Held(_)));

        let gone = model.gone(old.key);
        assert_eq!(model.apply(&[gone]), 0);
        assert!(model.state.void.is_empty());
        assert!(!model.state.owned.contains_key(&session));
    }
}

#[test]
fn an_era_that_begins_without_a_loss_leaves_locks_as_they_are() {
    let mut model = Model::new();
    let waiter = model.waiter(SessionId::random());
    model.apply(&[Event::Put(waiter.clone())]);
    let begin = model.begin_era(false);
    assert_eq!(model.apply(&[begin]), 0);
    assert!(matches!(model.standing(&waiter), Standing::Held(_)));
}

#[test]
fn a_place_that_cannot_be_read_stands_in_the_way_over_a_loss() {
    let mut model = Model::new();
    let mut damaged = model.waiter(SessionId::random());
    damaged.value = Bytes::from_static(b"\xff");
    model.apply(&[Event::Put(damaged.clone())]);
    let begin = model.begin_era(true);
    model.apply(&[begin]);
    let waiter = model.waiter(SessionId::random());
    model.apply(&[Event::Put(waiter.clone())]);
    assert_eq!(model.standing(&waiter), Standing::Waiting);
    let gone = model.gone(damaged.key);
    model.apply(&[gone]);
    assert!(matches!(model.standing(&waiter), Standing::Held(_)));
}
