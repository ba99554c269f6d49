//! What heartbeats cost the store, and that what clients are told of it is true.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use stanchion_client::proto::{RenewSessionRequest, keep_alive_response::Message};

use super::{KeepAlive, duration, gone, id, is_there, open_session, wrapped::Wrapped};
use crate::support::{
    etcd::Etcd,
    server::{Backend, Server, on_both_stores},
};

on_both_stores! {
    a_client_is_never_told_more_than_is_true,
    without_heartbeats_nothing_is_renewed,
    heartbeats_at_the_same_moment_share_a_renewal,
}

async fn a_client_is_never_told_more_than_is_true(backend: Backend) {
    const TTL: Duration = Duration::from_secs(3);
    let (store, server) = Wrapped::server(&backend).await;
    let before_grant = Instant::now();
    let opened = open_session(&server, TTL.as_secs()).await;
    let after_grant = Instant::now();
    let session = opened.session_id;
    assert!(before_grant + duration(opened.valid_for) <= after_grant + TTL);

    let mut stream = KeepAlive::open(&server).await;
    let mut promised = Vec::new();
    for seq in 0..40 {
        let sent = Instant::now();
        let alive = stream.beat(&session, seq).await;
        let valid_for = duration(alive.valid_for);
        assert!(valid_for > TTL / 2, "told only {valid_for:?}");
        promised.push(sent + valid_for);
        let pause = rand::random_range(10..300);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    let renewals = store.renewals_of(id(&session).lease());
    assert!(!renewals.is_empty());
    let kept: Vec<_> = renewals.iter().map(|r| r.sent + r.ttl).collect();
    for promise in &promised {
        // Each rests on one renewal, or on the grant, and is at most what that one gave.
        let limit = kept.iter().copied().chain([after_grant + TTL]).max();
        assert!(Some(*promise) <= limit);
    }
    // What was promised last is kept, in silence.
    let last = promised.into_iter().max().unwrap();
    while Instant::now() + Duration::from_millis(50) < last {
        assert!(is_there(&server, &session).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    gone(&server, &session).await;
    server.stop().await;
}

async fn without_heartbeats_nothing_is_renewed(backend: Backend) {
    let (store, server) = Wrapped::server(&backend).await;
    let silent = open_session(&server, 1).await.session_id;
    let once = open_session(&server, 1).await.session_id;
    let mut stream = KeepAlive::open(&server).await;
    stream.beat(&once, 1).await;
    gone(&server, &silent).await;
    gone(&server, &once).await;
    assert_eq!(store.renewals_of(id(&silent).lease()).len(), 0);
    // The one that its one heartbeat asked for.
    assert_eq!(store.renewals_of(id(&once).lease()).len(), 1);
    server.stop().await;
}

async fn heartbeats_at_the_same_moment_share_a_renewal(backend: Backend) {
    let (store, server) = Wrapped::server(&backend).await;
    let other = backend.server().await;
    let session = open_session(&other, 60).await.session_id;
    let renew = || async {
        let mut sessions = server.sessions();
        let session_id = session.clone();
        sessions
            .renew_session(RenewSessionRequest { session_id })
            .await
    };
    for answer in join_all((0..50).map(|_| renew())).await {
        assert!(!duration(answer.unwrap().into_inner().valid_for).is_zero());
    }
    assert_eq!(store.renewals_of(id(&session).lease()).len(), 1);
    server.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_sessions_cost_etcd_little_more_than_a_renewal_per_third_of_their_ttl() {
    const SESSIONS: usize = 2000;
    const STREAMS: usize = 8;
    const TTL: u64 = 6;
    let etcd = Etcd::start().await;
    let backend = Backend::on(etcd.endpoints(), ());
    let server = backend.server().await;

    let clients = (0..STREAMS).map(|_| client(&server, TTL, SESSIONS / STREAMS));
    let clients = join_all(clients).await;

    let renewed = || etcd.metric("etcd_debugging_lease_renewed_total");
    let (before, started) = (renewed(), Instant::now());
    let clients = join_all(clients.into_iter().map(|client| heartbeats(client, TTL))).await;
    let (after, elapsed) = (renewed(), started.elapsed());
    drop(clients);

    let open = etcd.metric_with(
        "grpc_server_started_total",
        r#"grpc_method="LeaseKeepAlive""#,
    );
    assert!(open <= 4.0, "{open} streams");
    let thirds = elapsed.as_secs_f64() / (TTL as f64 / 3.0);
    let each = (after - before) / SESSIONS as f64 / thirds;
    assert!(each <= 1.2, "{each} renewals a session per TTL/3");
    assert!(
        each > 0.5,
        "{each} renewals a session per TTL/3 keep nobody alive"
    );
    server.stop().await;
}

/// One client with so many sessions on one stream. Those it has live while it opens more.
async fn client(server: &Server, ttl: u64, count: usize) -> (KeepAlive, Vec<String>) {
    let mut stream = KeepAlive::open(server).await;
    let mut sessions: Vec<String> = Vec::new();
    while sessions.len() < count {
        let batch = (count - sessions.len()).min(25);
        let opened = join_all((0..batch).map(|_| open_session(server, ttl))).await;
        sessions.extend(opened.into_iter().map(|opened| opened.session_id));
        beat_all(&mut stream, &sessions, 0).await;
    }
    (stream, sessions)
}

/// Sends a heartbeat of each session every second, for so many rounds.
async fn heartbeats(
    (mut stream, sessions): (KeepAlive, Vec<String>),
    rounds: u64,
) -> (KeepAlive, Vec<String>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    for round in 0..rounds {
        ticks.tick().await;
        beat_all(&mut stream, &sessions, round).await;
    }
    ticks.tick().await;
    (stream, sessions)
}

async fn beat_all(stream: &mut KeepAlive, sessions: &[String], round: u64) {
    for session in sessions {
        stream.send(session, i64::try_from(round).unwrap()).await;
    }
    for _ in sessions {
        match stream.next().await {
            Some(Message::Alive(alive)) => assert!(!duration(alive.valid_for).is_zero()),
            other => panic!("no answer but {other:?}"),
        }
    }
}
