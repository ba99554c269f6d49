//! Leaders and the replicas they talk to, which come and go.

use super::{observing::Observing, *};
use crate::{
    client::{client, client_with, soon},
    support::server::{Backend, on_both_stores},
};

on_both_stores! {
    a_leader_whose_replica_drains_or_dies_goes_on_leading,
    a_candidate_whose_replica_drains_keeps_its_place,
    a_leader_steps_down_before_another_one_is_elected,
}

async fn a_leader_whose_replica_drains_or_dies_goes_on_leading(backend: Backend) {
    let last = backend.server().await;
    for drains in [true, false] {
        let first = backend.server().await;
        let leader = client_with(&[&first, &last], "", Duration::from_secs(5));
        let election_name = format!("e-{drains}");
        let leadership = leader.election(&election_name).campaign().await.unwrap();
        let mut observing = Observing::open(&last, &election_name, None).await;
        let seen = observing.snapshot().await.unwrap();
        assert_eq!(seen.term, leadership.term());
        if drains {
            first.stop().await;
        } else {
            drop(first);
        }
        let said = leadership.proclaim("still here").await.unwrap();
        let delta = observing.delta().await;
        assert_eq!(delta.events[0].leader.as_ref(), Some(&said));
        assert!(leadership.is_leader());
        assert_eq!(said.term, seen.term);
        assert!(leadership.resign().await.unwrap());
    }
}

async fn a_candidate_whose_replica_drains_keeps_its_place(backend: Backend) {
    let (first, second) = (backend.server().await, backend.server().await);
    let (leader, moving) = (client(&[&second]), client(&[&first, &second]));
    let leadership = leader.election("e").campaign().await.unwrap();
    let candidate = moving.election("e").candidate("moving");
    let campaigning = tokio::spawn(async move { candidate.campaign().await });
    let place = until_standing(&second, "e", 1).await.candidates[0].term;
    first.stop().await;
    assert!(leadership.resign().await.unwrap());
    let elected = soon("the election", campaigning).await.unwrap().unwrap();
    assert_eq!(elected.term(), place);
}

/// The leader hears nothing of anybody any more, and its session runs out at the store.
async fn a_leader_steps_down_before_another_one_is_elected(backend: Backend) {
    let (first, second) = (backend.server().await, backend.server().await);
    let cut_off = client_with(&[&first], "", Duration::from_secs(2));
    let leadership = cut_off.election("e").campaign().await.unwrap();
    let next = client(&[&second]);
    let next = tokio::spawn(async move { next.election("e").campaign().await });
    until_standing(&second, "e", 1).await;
    assert!(leadership.is_leader());
    drop(first);
    let next = soon("the next leader", next).await.unwrap().unwrap();
    // It goes by the clock, whether or not anybody has been woken by now.
    assert!(!leadership.is_leader());
    soon("stepping down", leadership.lost()).await;
    assert!(next.term() > leadership.term());
}
