//! Being released together, once and again.

use std::sync::Arc;

use futures_util::future::join_all;
use stanchion::clock::SystemClock;

use super::*;
use crate::{
    lock::Counting,
    support::server::{Backend, on_both_stores},
};

on_both_stores! {
    all_are_released_together_in_their_order_and_none_before,
    a_barrier_is_used_again_with_rising_generations,
    a_request_that_is_repeated_after_the_release_is_answered_the_same,
    a_request_without_a_name_enters_anew,
    who_comes_too_many_waits_for_the_next_release,
    a_hundred_at_once_are_released_by_one_write,
    many_in_a_loop_at_two_replicas_never_miss_their_release,
}

async fn all_are_released_together_in_their_order_and_none_before(backend: Backend) {
    let (server, other) = (backend.server().await, backend.server().await);
    let mut calls = Vec::new();
    for (at, server) in [&server, &other].into_iter().enumerate() {
        let session = open(server).await;
        calls.push(spawn(server, wanted("b", 3, &session, "r")));
        until_waiting(server, "b", at + 1).await;
    }
    let last = wanted("b", 3, &open(&other).await, "r");
    assert!(calls.iter().all(|call| !call.is_finished()));
    let mut answers = vec![enter(&other, last).await.unwrap()];
    for call in calls.into_iter().rev() {
        answers.insert(0, call.await.unwrap().unwrap());
    }
    let generation = together(&answers);
    let order: Vec<_> = answers.iter().map(|answer| answer.index).collect();
    assert_eq!(order, [0, 1, 2]);
    let released = barrier(&server, "b").await;
    assert!(released.participants.is_empty() && released.parties == 0);
    let last = released.last_release.unwrap();
    assert_eq!((last.generation, last.parties), (generation, 3));
    // The upper part is the era, the lower one the revision.
    assert_eq!(generation & ((1 << 40) - 1), released.revision);
}

async fn a_barrier_is_used_again_with_rising_generations(backend: Backend) {
    let (server, other) = (backend.server().await, backend.server().await);
    let (first, second) = (open(&server).await, open(&other).await);
    let mut last = 0;
    for round in 0..5 {
        let round = round.to_string();
        let (one, two) = tokio::join!(
            enter(&server, wanted("b", 2, &first, &round)),
            enter(&other, wanted("b", 2, &second, &round)),
        );
        let generation = together(&[one.unwrap(), two.unwrap()]);
        assert!(generation > last);
        last = generation;
    }
}

async fn a_request_that_is_repeated_after_the_release_is_answered_the_same(backend: Backend) {
    let (server, other) = (backend.server().await, backend.server().await);
    let (first, second) = (open(&server).await, open(&server).await);
    let waiting = spawn(&server, wanted("b", 2, &first, "r"));
    let answer = enter(&server, wanted("b", 2, &second, "r")).await.unwrap();
    let same = |one: &EnterBarrierResponse, other: &EnterBarrierResponse| {
        let told = |answer: &EnterBarrierResponse| (answer.generation, answer.index);
        assert_eq!(told(one), told(other));
    };
    let earlier = waiting.await.unwrap().unwrap();
    for server in [&other, &server] {
        let again = enter(server, wanted("b", 2, &second, "r")).await;
        same(&again.unwrap(), &answer);
    }
    // Also when others were released since.
    for round in ["1", "2", "3"] {
        let (one, two) = tokio::join!(
            enter(&server, wanted("b", 2, &first, round)),
            enter(&other, wanted("b", 2, &second, round)),
        );
        assert!(together(&[one.unwrap(), two.unwrap()]) > answer.generation);
    }
    let again = enter(&other, wanted("b", 2, &first, "r")).await;
    same(&again.unwrap(), &earlier);
    assert!(barrier(&server, "b").await.participants.is_empty());
}

async fn a_request_without_a_name_enters_anew(backend: Backend) {
    let server = backend.server().await;
    let (first, second) = (open(&server).await, open(&server).await);
    let mut last = 0;
    for _ in 0..3 {
        let (one, two) = tokio::join!(
            enter(&server, wanted("b", 2, &first, "")),
            enter(&server, wanted("b", 2, &second, "")),
        );
        let generation = together(&[one.unwrap(), two.unwrap()]);
        assert!(generation > last);
        last = generation;
    }
}

async fn who_comes_too_many_waits_for_the_next_release(backend: Backend) {
    let (server, other) = (backend.server().await, backend.server().await);
    let mut calls = Vec::new();
    for at in 0..5 {
        let server = [&server, &other][at % 2];
        let session = open(server).await;
        calls.push(spawn(server, wanted("b", 2, &session, "r")));
    }
    until_waiting(&server, "b", 1).await;
    let session = open(&server).await;
    let last = enter(&server, wanted("b", 2, &session, "r")).await.unwrap();
    let mut answers = vec![last];
    for call in calls {
        answers.push(call.await.unwrap().unwrap());
    }
    answers.sort_by_key(|answer| (answer.generation, answer.index));
    let generations: Vec<_> = answers.chunks(2).map(together).collect();
    assert!(generations.is_sorted_by(|a, b| a < b), "{generations:?}");
}

async fn a_hundred_at_once_are_released_by_one_write(backend: Backend) {
    const PARTIES: i32 = 100;
    let store = Counting::about(backend.store().await, "/state/barrier");
    let clock = Arc::new(SystemClock);
    let server = backend
        .server_on(store.clone(), backend.settings(), clock)
        .await;
    let mut sessions = Vec::new();
    for _ in 0..PARTIES {
        sessions.push(open(&server).await);
    }
    store.take();
    let entering = sessions
        .iter()
        .map(|session| enter(&server, wanted("b", PARTIES, session, "r")));
    let answers: Result<Vec<_>, _> = join_all(entering).await.into_iter().collect();
    together(&answers.unwrap());
    // One to enter each, one to release all.
    assert_eq!(store.take().len(), PARTIES as usize + 1);
    let again = enter(&server, wanted("b", PARTIES, &sessions[7], "r")).await;
    assert_eq!(again.unwrap().parties, PARTIES);
    assert!(store.take().is_empty());
}

/// More than it takes, so that the barrier is released by others while some have not looked yet.
async fn many_in_a_loop_at_two_replicas_never_miss_their_release(backend: Backend) {
    const CLIENTS: usize = 12;
    const ROUNDS: usize = 8;
    let servers = [backend.server().await, backend.server().await];
    let looping = (0..CLIENTS).map(|at| {
        let server = &servers[at % 2];
        async move {
            let session = open(server).await;
            let mut passed = Vec::new();
            for round in 0..ROUNDS {
                let request = wanted("b", 3, &session, &round.to_string());
                passed.push(enter(server, request).await.unwrap());
            }
            assert!(passed.is_sorted_by(|a, b| a.generation < b.generation));
            passed
        }
    });
    // They may end unevenly: some others come as long as one waits.
    let helping = async {
        let sessions = [open(&servers[0]).await, open(&servers[1]).await];
        for round in 0.. {
            let time = Duration::from_millis(300);
            let requests = sessions.iter().map(|session| {
                let request = wanted("b", 3, session, &format!("help {round}"));
                enter(&servers[0], timed(request, time))
            });
            join_all(requests).await;
        }
    };
    let mut passed = tokio::select! {
        passed = join_all(looping) => passed.concat(),
        () = helping => unreachable!(),
    };
    passed.sort_by_key(|answer| (answer.generation, answer.index));
    let places: BTreeSet<_> = passed.iter().map(|a| (a.generation, a.index)).collect();
    assert_eq!(
        places.len(),
        CLIENTS * ROUNDS,
        "two were told the same place"
    );
}
