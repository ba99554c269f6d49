//! Sessions when the store is full, away, or lost data, and when streams grow old.

use std::time::Duration;

use stanchion::{
    domain::{epoch::Epoch, records},
    store::{Operation, Txn},
};
use stanchion_client::proto::{
    CloseSessionRequest, Final, LockLostCause, RenewSessionRequest, SessionLostReason,
    keep_alive_response::Message,
};
use tonic::Code;

use super::{
    KeepAlive, duration, id, is_there, open_session, put_instance, put_waiter, request,
    wrapped::Wrapped,
};
use crate::support::{
    etcd::Etcd,
    server::{Backend, assert_status, eventually, on_both_stores},
    store::PATIENCE,
};

on_both_stores! {
    a_full_store_opens_no_session_but_keeps_and_closes_those_there_are,
    a_store_that_does_not_answer_costs_nothing_while_the_lease_lasts,
    what_a_loss_of_data_took_is_told_as_such,
    an_old_stream_ends_well,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sessions_of_live_clients_survive_a_restart_of_etcd() {
    let mut etcd = Etcd::start().await;
    let backend = Backend::on(etcd.endpoints(), ());
    let server = backend.server().await;
    let session = open_session(&server, 4).await.session_id;
    let mut stream = KeepAlive::open(&server).await;
    stream.beat(&session, 0).await;
    etcd.kill(0);
    for seq in 1..=5 {
        stream.send(&session, seq).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    etcd.restart(0).await;
    // Answers while etcd is away speak of the renewal before; now there is a new one.
    for seq in 6.. {
        stream.send(&session, seq).await;
        // A heartbeat whose renewal fails has no answer.
        let answer = tokio::time::timeout(Duration::from_millis(300), stream.next());
        let alive = match answer.await {
            Ok(Some(Message::Alive(alive))) => alive,
            Ok(other) => panic!("told {other:?}"),
            Err(_) => continue,
        };
        if alive.seq >= 6 && duration(alive.valid_for) > Duration::from_secs(3) {
            break;
        }
    }
    assert!(is_there(&server, &session).await);
    server.stop().await;
}

async fn a_full_store_opens_no_session_but_keeps_and_closes_those_there_are(backend: Backend) {
    let (store, server) = Wrapped::server(&backend).await;
    let session = open_session(&server, 2).await.session_id;
    put_instance(&server, "a", Some(&session), "").await;
    put_waiter(&server, "nightly", &session, "r1").await;
    store.fill();
    let refused = server
        .sessions()
        .open_session(request(5))
        .await
        .unwrap_err();
    assert_status(&refused, Code::ResourceExhausted, "STORE_FULL");

    let mut stream = KeepAlive::open(&server).await;
    for seq in 0..5 {
        stream.beat(&session, seq).await;
        tokio::time::sleep(Duration::from_millis(600)).await;
    }
    let close = CloseSessionRequest {
        session_id: session.clone(),
        guard: None,
    };
    let closed = server.sessions().close_session(close).await.unwrap();
    assert!(closed.into_inner().closed);
    let state = server.app().core.cache.view().unwrap().state;
    assert!(state.sessions.is_empty() && state.instances.is_empty() && state.locks.is_empty());
    server.stop().await;
}

async fn a_store_that_does_not_answer_costs_nothing_while_the_lease_lasts(backend: Backend) {
    /// Far above the third of it after which a renewal is due, for busy machines.
    const TTL: u64 = 12;
    let (store, server) = Wrapped::server(&backend).await;
    let session = open_session(&server, TTL).await.session_id;
    let renew = async || {
        let session_id = session.clone();
        let mut sessions = server.sessions();
        sessions
            .renew_session(RenewSessionRequest { session_id })
            .await
    };
    store.set_silent(true);
    // Until a renewal is due the last one answers; then there is nothing to say, and later again
    // what is left of the last one, never more.
    let mut left = Duration::from_secs(TTL) + Duration::from_millis(100);
    let failed = loop {
        match renew().await {
            Ok(renewed) => {
                let valid_for = duration(renewed.into_inner().valid_for);
                assert!(valid_for <= left, "{valid_for:?} after {left:?}");
                left = valid_for;
            }
            Err(status) => break status,
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!(failed.code(), Code::DeadlineExceeded, "{failed:?}");
    let mut stream = KeepAlive::open(&server).await;
    stream.send(&session, 1).await;
    store.set_silent(false);
    eventually("a renewal", async || {
        let valid_for = duration(renew().await.ok()?.into_inner().valid_for);
        (valid_for > left).then_some(())
    })
    .await;
    // The stream went on.
    stream.send(&session, 2).await;
    while !matches!(stream.next().await, Some(Message::Alive(alive)) if alive.seq == 2) {}
    assert!(is_there(&server, &session).await);
    server.stop().await;
}

async fn what_a_loss_of_data_took_is_told_as_such(backend: Backend) {
    let server = backend.server().await;
    let lost = open_session(&server, 30).await.session_id;
    let kept = open_session(&server, 30).await.session_id;
    let place = put_waiter(&server, "nightly", &kept, "r1").await;
    let mut stream = KeepAlive::open(&server).await;
    stream.beat(&lost, 1).await;
    stream.beat(&kept, 1).await;

    // As a restored copy would look: another era, and things are not there.
    let core = &server.app().core;
    let epoch = core.cache.view().unwrap().state.epoch;
    let next = Epoch {
        id: epoch.id.wrapping_add(1).max(1),
        era: epoch.era + 1,
        ..epoch
    };
    let restore = Txn::new()
        .then(Operation::put(
            core.keys.epoch(),
            records::encode_epoch(&next),
        ))
        .then(Operation::delete(core.keys.session(&id(&lost))))
        .then(Operation::delete(place));
    let done = core.store.txn(restore).await.unwrap();
    assert!(core.cache.reached(done.revision, PATIENCE).await);

    let (mut session_told, mut lock_told) = (false, false);
    while !(session_told && lock_told) {
        match stream.notice().await {
            Message::SessionLost(told) => {
                assert_eq!(told.session_id, lost);
                assert_eq!(told.reason(), SessionLostReason::EpochChanged);
                session_told = true;
            }
            Message::LockLost(told) => {
                assert_eq!(told.session_id, kept);
                assert_eq!(told.cause(), LockLostCause::EpochChanged);
                lock_told = true;
            }
            other => panic!("told {other:?}"),
        }
    }
    stream.beat(&kept, 2).await;
    server.stop().await;
}

async fn an_old_stream_ends_well(backend: Backend) {
    let mut settings = backend.settings();
    settings.rpc.watch.max_age = Duration::from_millis(300);
    let server = backend.server_with(settings).await;
    let session = open_session(&server, 30).await.session_id;
    let mut stream = KeepAlive::open(&server).await;
    stream.beat(&session, 1).await;
    let Some(Message::End(end)) = stream.next().await else {
        panic!("the stream has no last word");
    };
    assert_eq!(end.r#final(), Final::MaxAge);
    assert!(stream.next().await.is_none());
    assert!(is_there(&server, &session).await);
    server.stop().await;
}
