//! The same request again: it takes the claim over, wherever it comes.

use super::*;
use crate::support::{door::Door, server::connect};
use tonic::Code;

on_both_stores! {
    a_broken_stream_is_taken_up_on_other_replicas_with_place_and_token,
    the_same_request_takes_the_claim_over_and_the_stream_before_is_told,
    of_the_same_request_many_times_at_once_one_stream_has_the_claim,
    a_call_takes_over_the_claim_of_a_stream_which_then_outlives_it,
    a_stream_takes_over_the_claim_of_a_call_which_then_goes_with_it,
}

async fn a_broken_stream_is_taken_up_on_other_replicas_with_place_and_token(backend: Backend) {
    let one = patient_server(&backend).await;
    let two = patient_server(&backend).await;
    let three = patient_server(&backend).await;
    let (first, second) = (open(&three).await, open(&three).await);
    let door = Door::to(one.address).await;
    let channel = connect(door.address).await;
    let holder = Holding::over(channel.clone(), held("l", &first, "r"));
    let mut holder = holder.await.unwrap();
    let token = holder.acquired().await.fencing_token;
    let waiter = Holding::over(channel, held("l", &second, "r"));
    let mut waiter = waiter.await.unwrap();
    let place = waiter.queued_at(1, 1).await.fencing_token;
    door.shut();
    holder.failed().await;
    waiter.failed().await;

    let mut holder = hold(&two, "l", &first, "r").await;
    assert_eq!(holder.acquired().await.fencing_token, token);
    let mut waiter = hold(&three, "l", &second, "r").await;
    let waits = waiter.queued_at(1, 1).await;
    assert_eq!(waits.fencing_token, place);
    holder.contended(1).await;
    drop(holder);
    assert_eq!(waiter.acquired().await.fencing_token, place);
}

async fn the_same_request_takes_the_claim_over_and_the_stream_before_is_told(backend: Backend) {
    let (one, two) = (
        patient_server(&backend).await,
        patient_server(&backend).await,
    );
    let (first, second) = (open(&one).await, open(&one).await);
    let mut holder = hold(&one, "l", &first, "r").await;
    let token = holder.acquired().await.fencing_token;
    let mut waiter = hold(&one, "l", &second, "r").await;
    let place = waiter.queued_at(1, 1).await.fencing_token;

    for at in [&two, &one, &two] {
        let mut again = hold(at, "l", &first, "r").await;
        assert_eq!(again.acquired().await.fencing_token, token);
        let told = holder.failed().await;
        assert_status(&told, Code::Aborted, "HOLD_TAKEN_OVER");
        drop(std::mem::replace(&mut holder, again));
        let mut again = hold(at, "l", &second, "r").await;
        assert_eq!(again.queued_at(1, 1).await.fencing_token, place);
        let told = waiter.failed().await;
        assert_status(&told, Code::Aborted, "HOLD_TAKEN_OVER");
        drop(std::mem::replace(&mut waiter, again));
    }
    // What became of those before took nothing along.
    let seen = until_waiting(&one, "l", 1).await;
    assert_eq!(seen.holder.unwrap().fencing_token, token);
    drop(holder);
    assert_eq!(waiter.acquired().await.fencing_token, place);
}

async fn of_the_same_request_many_times_at_once_one_stream_has_the_claim(backend: Backend) {
    const TIMES: usize = 8;
    let (one, two) = (
        patient_server(&backend).await,
        patient_server(&backend).await,
    );
    let session = open(&one).await;
    let streams = (0..TIMES).map(|number| {
        let channel = [&one, &two][number % 2].channel();
        let request = held("l", &session, "r");
        tokio::spawn(async move {
            let mut stream = Holding::over(channel, request).await?;
            let token = stream.acquired().await.fencing_token;
            Ok::<_, Status>((stream, token))
        })
    });
    let streams: Vec<_> = streams.collect();
    let mut tokens = Vec::new();
    let mut left = Vec::new();
    for stream in streams {
        // One may be taken over before it holds the lock.
        match stream.await.unwrap() {
            Ok((stream, token)) => {
                tokens.push(token);
                left.push(stream);
            }
            Err(told) => assert_status(&told, Code::Aborted, "HOLD_TAKEN_OVER"),
        }
    }
    tokens.dedup();
    assert_eq!(tokens.len(), 1);
    let mut ends: Vec<_> = left
        .into_iter()
        .map(|mut stream| {
            tokio::spawn(async move {
                let told = stream.failed().await;
                assert_status(&told, Code::Aborted, "HOLD_TAKEN_OVER");
            })
        })
        .collect();
    eventually("one to be left", || {
        ends.retain(|end| !end.is_finished());
        std::future::ready((ends.len() == 1).then_some(()))
    })
    .await;
    let seen = lock(&one, "l").await;
    assert_eq!(seen.holder.unwrap().fencing_token, tokens[0]);
    assert_eq!(seen.waiters.len(), 0);
    ends[0].abort();
    until_free(&one, "l").await;
}

async fn a_call_takes_over_the_claim_of_a_stream_which_then_outlives_it(backend: Backend) {
    let server = patient_server(&backend).await;
    let session = open(&server).await;
    let mut holder = hold(&server, "l", &session, "r").await;
    let token = holder.acquired().await.fencing_token;
    assert_eq!(take(&server, "l", &session, "r").await, token);
    let told = holder.failed().await;
    assert_status(&told, Code::Aborted, "HOLD_TAKEN_OVER");
    drop(holder);
    // It is there until it is released.
    let waiting = spawn(&server, wanted("l", &open(&server).await, "r"));
    until_waiting(&server, "l", 1).await;
    assert!(release_token(&server, "l", &session, token).await);
    waiting.await.unwrap().unwrap();
}

async fn a_stream_takes_over_the_claim_of_a_call_which_then_goes_with_it(backend: Backend) {
    let (server, other) = (
        patient_server(&backend).await,
        patient_server(&backend).await,
    );
    let session = open(&server).await;
    let token = take(&server, "l", &session, "r").await;
    let mut holder = hold(&other, "l", &session, "r").await;
    assert_eq!(holder.acquired().await.fencing_token, token);
    drop(holder);
    until_free(&server, "l").await;
}
