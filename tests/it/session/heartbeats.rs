//! What keeps a session alive, and where.

use std::time::{Duration, Instant};

use stanchion_client::proto::{Final, RenewSessionRequest, keep_alive_response::Message};

use super::{KeepAlive, duration, is_there, open_session};
use crate::support::server::{Backend, on_both_stores};

on_both_stores! {
    heartbeats_keep_a_session_alive,
    a_session_goes_on_at_another_replica,
    a_broken_stream_keeps_its_sessions,
    one_stream_carries_many_sessions,
    a_draining_replica_ends_the_stream_well,
    a_client_that_says_it_is_done_gets_its_answers_and_the_end,
}

/// Short, but long enough for a busy machine.
const TTL: u64 = 2;
const THIRD: Duration = Duration::from_millis(666);

async fn heartbeats_keep_a_session_alive(backend: Backend) {
    let server = backend.server().await;
    let streamed = open_session(&server, TTL).await.session_id;
    let renewed = open_session(&server, TTL).await.session_id;
    let mut stream = KeepAlive::open(&server).await;
    let started = Instant::now();
    let mut seq = 0;
    while started.elapsed() < Duration::from_secs(2 * TTL) {
        seq += 1;
        let alive = stream.beat(&streamed, seq).await;
        assert_eq!(duration(alive.ttl), Duration::from_secs(TTL));
        assert!(!duration(alive.valid_for).is_zero());
        let renew = RenewSessionRequest {
            session_id: renewed.clone(),
        };
        let answer = server.sessions().renew_session(renew).await.unwrap();
        assert!(!duration(answer.into_inner().valid_for).is_zero());
        tokio::time::sleep(THIRD).await;
    }
    assert!(is_there(&server, &streamed).await && is_there(&server, &renewed).await);
    server.stop().await;
}

async fn a_session_goes_on_at_another_replica(backend: Backend) {
    let first = backend.server().await;
    let second = backend.server().await;
    let session = open_session(&first, TTL).await.session_id;
    let mut stream = KeepAlive::open(&first).await;
    stream.beat(&session, 1).await;
    first.stop().await;
    drop(stream);

    let mut stream = KeepAlive::open(&second).await;
    let started = Instant::now();
    let mut seq = 0;
    while started.elapsed() < Duration::from_secs(2 * TTL) {
        seq += 1;
        stream.beat(&session, seq).await;
        tokio::time::sleep(THIRD).await;
    }
    assert!(is_there(&second, &session).await);
    second.stop().await;
}

async fn a_broken_stream_keeps_its_sessions(backend: Backend) {
    let server = backend.server().await;
    let session = open_session(&server, 3).await.session_id;
    for seq in 0..5 {
        let mut stream = KeepAlive::open(&server).await;
        stream.beat(&session, seq).await;
        drop(stream);
        assert!(is_there(&server, &session).await);
    }
    server.stop().await;
}

async fn one_stream_carries_many_sessions(backend: Backend) {
    let server = backend.server().await;
    let mut stream = KeepAlive::open(&server).await;
    let mut sessions = Vec::new();
    // More than there are answers that wait for others.
    for _ in 0..150 {
        sessions.push(open_session(&server, 30).await.session_id);
    }
    for (seq, session) in (0..).zip(&sessions) {
        stream.send(session, seq).await;
    }
    for (seq, session) in (0..).zip(&sessions) {
        let Some(Message::Alive(alive)) = stream.next().await else {
            panic!("a session was lost");
        };
        assert_eq!((alive.seq, &alive.session_id), (seq, session));
    }
    server.stop().await;
}

async fn a_draining_replica_ends_the_stream_well(backend: Backend) {
    let server = backend.server().await;
    let other = backend.server().await;
    let session = open_session(&server, 30).await.session_id;
    let mut stream = KeepAlive::open(&server).await;
    stream.beat(&session, 1).await;
    let (_, ()) = tokio::join!(server.stop(), async {
        let Some(Message::End(end)) = stream.next().await else {
            panic!("the stream has no last word");
        };
        assert_eq!(end.r#final(), Final::Draining);
        assert!(stream.next().await.is_none());
    });
    assert!(is_there(&other, &session).await);
    other.stop().await;
}

async fn a_client_that_says_it_is_done_gets_its_answers_and_the_end(backend: Backend) {
    let server = backend.server().await;
    let session = open_session(&server, 30).await.session_id;
    let KeepAlive {
        heartbeats,
        mut answers,
    } = KeepAlive::open(&server).await;
    let heartbeat = stanchion_client::proto::KeepAliveRequest {
        session_id: session.clone(),
        seq: 9,
        acks: Vec::new(),
    };
    heartbeats.send(heartbeat).await.unwrap();
    drop(heartbeats);
    let answer = answers.message().await.unwrap().unwrap();
    assert!(matches!(answer.message, Some(Message::Alive(alive)) if alive.seq == 9));
    assert!(answers.message().await.unwrap().is_none());
    assert!(is_there(&server, &session).await);
    server.stop().await;
}
