//! What streams are told of their places, and of those who want what they hold.

use stanchion_client::proto::RequestYieldRequest;
use tonic::transport::Endpoint;

use super::*;

on_both_stores! {
    a_free_lock_is_held_at_once_and_how_long_that_is_sure_is_said_where_it_is_known,
    whoever_waits_is_told_its_place_as_it_moves_and_at_last_that_it_holds_the_lock,
    streams_and_calls_stand_in_one_queue,
    a_holder_is_told_who_wants_its_lock_and_what_it_is_asked,
    readers_hold_a_lock_together_and_a_writer_waits_for_all,
    whoever_does_not_read_is_told_the_latest_alone,
    others_are_told_of_no_more_often_than_is_set,
}

async fn a_free_lock_is_held_at_once_and_how_long_that_is_sure_is_said_where_it_is_known(
    backend: Backend,
) {
    let (server, other) = (backend.server().await, backend.server().await);
    let session = open(&server).await;
    let mut here = hold(&server, "l", &session, "r").await;
    let Message::Acquired(acquired) = here.next().await else {
        panic!("it does not hold a free lock");
    };
    let valid_for: Duration = acquired.valid_for.unwrap().try_into().unwrap();
    assert!(valid_for > Duration::ZERO && valid_for <= Duration::from_secs(60));
    let seen = lock(&server, "l").await.holder.unwrap();
    assert_eq!(seen.fencing_token, acquired.fencing_token);
    assert!(!seen.address.is_empty());
    // The other one has never heard of the session's life.
    let mut there = hold(&other, "m", &session, "r").await;
    assert_eq!(there.acquired().await.valid_for, None);
    // Without waiting it is the same.
    let request = HoldLockRequest {
        wait: Some(hold_lock_request::Wait::NoWait(true)),
        ..held("n", &session, "r")
    };
    let mut tried = Holding::open(&server, request).await;
    let token = tried.acquired().await.fencing_token;
    assert_eq!(lock(&other, "n").await.holder.unwrap().fencing_token, token);
}

async fn whoever_waits_is_told_its_place_as_it_moves_and_at_last_that_it_holds_the_lock(
    backend: Backend,
) {
    let server = patient_server(&backend).await;
    let other = patient_server(&backend).await;
    let mut streams = Vec::new();
    for number in 0..4_i32 {
        let at = [&server, &other][number as usize % 2];
        let mut stream = hold(at, "l", &open(at).await, "r").await;
        match number {
            0 => drop(stream.acquired().await),
            _ => drop(stream.queued_at(number, number).await),
        }
        streams.push(stream);
    }
    streams[1].queued_at(1, 3).await;
    // One in the middle goes: those behind move up, and the one before hears of it too.
    drop(streams.remove(2));
    let next = streams[1].queued_at(1, 2).await;
    let waits = streams[2].queued_at(2, 2).await;
    drop(streams.remove(0));
    let acquired = streams[0].acquired().await;
    assert_eq!(acquired.fencing_token, next.fencing_token);
    streams[1].queued_at(1, 1).await;
    drop(streams.remove(0));
    let acquired = streams[0].acquired().await;
    assert_eq!(acquired.fencing_token, waits.fencing_token);
}

async fn streams_and_calls_stand_in_one_queue(backend: Backend) {
    let server = patient_server(&backend).await;
    let mut sessions = Vec::new();
    for _ in 0..4 {
        sessions.push(open(&server).await);
    }
    let token = take(&server, "l", &sessions[0], "r").await;
    let mut stream = hold(&server, "l", &sessions[1], "r").await;
    stream.queued_at(1, 1).await;
    let call = spawn(&server, wanted("l", &sessions[2], "r"));
    stream.queued_at(1, 2).await;
    let mut last = hold(&server, "l", &sessions[3], "r").await;
    last.queued_at(3, 3).await;

    assert!(release_token(&server, "l", &sessions[0], token).await);
    let acquired = stream.acquired().await;
    assert!(!call.is_finished() && acquired.fencing_token > token);
    drop(stream);
    let granted = call.await.unwrap().unwrap();
    assert!(granted.fencing_token > acquired.fencing_token);
    assert!(release_token(&server, "l", &sessions[2], granted.fencing_token).await);
    assert!(last.acquired().await.fencing_token > granted.fencing_token);
}

async fn a_holder_is_told_who_wants_its_lock_and_what_it_is_asked(backend: Backend) {
    let server = patient_server(&backend).await;
    let mut holder = hold(&server, "l", &open(&server).await, "r").await;
    let token = holder.acquired().await.fencing_token;
    let mut second = hold(&server, "l", &open(&server).await, "r").await;
    assert_eq!(holder.contended(1).await.yield_request, None);
    let third = hold(&server, "l", &open(&server).await, "r").await;
    holder.contended(2).await;

    let request = RequestYieldRequest {
        lock: "l".into(),
        actor: "ops".into(),
        comment: "please".into(),
        ..Default::default()
    };
    let asked = server.locks().request_yield(request).await.unwrap();
    assert_eq!(asked.into_inner().fencing_token, token);
    let told = holder.contended(2).await.yield_request.unwrap();
    assert_eq!((&*told.actor, &*told.comment), ("ops", "please"));

    drop(third);
    let told = holder.contended(1).await;
    assert_eq!(told.yield_request.unwrap().comment, "please");
    // What was asked goes with the claim, although it was written anew meanwhile.
    drop(holder);
    let next = second.acquired().await.fencing_token;
    let seen = lock(&server, "l").await.holder.unwrap();
    assert_eq!((seen.fencing_token, seen.yield_request), (next, None));
}

async fn readers_hold_a_lock_together_and_a_writer_waits_for_all(backend: Backend) {
    let server = patient_server(&backend).await;
    let shared = |session: &str| HoldLockRequest {
        mode: stanchion_client::proto::LockMode::Shared.into(),
        ..held("l", session, "r")
    };
    let mut readers = Vec::new();
    for _ in 0..2 {
        let mut reader = Holding::open(&server, shared(&open(&server).await)).await;
        reader.acquired().await;
        readers.push(reader);
    }
    let mut writer = hold(&server, "l", &open(&server).await, "r").await;
    writer.queued_at(1, 1).await;
    let mut late = Holding::open(&server, shared(&open(&server).await)).await;
    late.queued_at(2, 2).await;
    for reader in &mut readers {
        reader.contended(2).await;
    }
    readers.clear();
    writer.acquired().await;
    late.queued_at(1, 1).await;
    drop(writer);
    late.acquired().await;
}

/// A client with next to no room for what it does not read.
async fn whoever_does_not_read_is_told_the_latest_alone(backend: Backend) {
    const CHANGES: usize = 40;
    let server = patient_server(&backend).await;
    let session = open(&server).await;
    let token = take(&server, "l", &session, "r").await;
    let narrow = Endpoint::from_shared(format!("http://{}", server.address)).unwrap();
    let narrow = narrow
        .initial_stream_window_size(1)
        .connect()
        .await
        .unwrap();
    let waits = held("l", &open(&server).await, "r");
    let mut stream = Holding::over(narrow, waits).await.unwrap();
    until_waiting(&server, "l", 1).await;
    for number in 0..CHANGES {
        let other = spawn(&server, wanted("l", &session, &format!("r{number}")));
        until_waiting(&server, "l", 2).await;
        release_request(&server, "l", &session, &format!("r{number}")).await;
        other.await.unwrap().unwrap_err();
        until_waiting(&server, "l", 1).await;
    }
    assert!(release_token(&server, "l", &session, token).await);
    let mut told = 0;
    loop {
        match stream.next().await {
            Message::Queued(_) => told += 1,
            Message::Acquired(acquired) => {
                assert!(acquired.fencing_token > token);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(told < CHANGES / 4, "told {told} of {} times", 2 * CHANGES);
}

async fn others_are_told_of_no_more_often_than_is_set(backend: Backend) {
    let mut settings = patient(&backend);
    settings.domain.hold_interval = Duration::from_secs(3);
    let server = backend.server_with(settings).await;
    let first = open(&server).await;
    let mut holder = hold(&server, "l", &first, "r").await;
    holder.acquired().await;
    let mut waiter = hold(&server, "l", &open(&server).await, "r").await;
    waiter.queued_at(1, 1).await;
    holder.contended(1).await;
    let begun = Instant::now();
    let mut others = Vec::new();
    for _ in 0..5 {
        others.push(hold(&server, "l", &open(&server).await, "r").await);
    }
    // All of them are one change, and it comes when it may.
    let (told, queued) = tokio::join!(holder.next(), waiter.queued());
    let Message::Contended(told) = told else {
        panic!("{told:?}");
    };
    assert_eq!((told.waiter_count, queued.waiter_count), (6, 6));
    assert!(begun.elapsed() > Duration::from_secs(1));
    // That the lock is free is told at once.
    drop(holder);
    waiter.acquired().await;
}
