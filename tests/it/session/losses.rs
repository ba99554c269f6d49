//! What a session that lives can lose, and that it is told.

use stanchion::store::Operation;
use stanchion_client::proto::{InstanceLostCause, LockLostCause, keep_alive_response::Message};

use super::{
    KeepAlive, commit, id, instance_key, lock_path, open_session, put_instance, put_waiter,
};
use crate::support::server::{Backend, on_both_stores};

on_both_stores! {
    a_session_is_told_that_its_instance_was_taken_over,
    a_session_is_told_that_its_instance_was_deregistered,
    a_session_is_told_that_its_lock_was_taken_away,
    what_was_lost_while_no_stream_was_there_is_told_to_the_next,
    what_a_session_gives_up_itself_is_no_loss,
}

async fn a_session_is_told_that_its_instance_was_taken_over(backend: Backend) {
    let server = backend.server().await;
    let other = backend.server().await;
    let old = open_session(&server, 30).await.session_id;
    let new = open_session(&server, 30).await.session_id;
    put_instance(&server, "a", Some(&old), "old").await;
    let mut streams = [
        KeepAlive::open(&server).await,
        KeepAlive::open(&other).await,
    ];
    for stream in &mut streams {
        stream.beat(&old, 1).await;
    }
    put_instance(&server, "a", Some(&new), "the-new-one").await;
    for stream in &mut streams {
        let Message::InstanceLost(lost) = stream.notice().await else {
            panic!("not told of the loss of an instance");
        };
        assert_eq!(lost.session_id, old);
        assert_eq!(lost.cause(), InstanceLostCause::TakenOver);
        assert_eq!(lost.client_id, "the-new-one");
        assert_eq!(
            (
                lost.namespace.as_str(),
                lost.service.as_str(),
                lost.instance_id.as_str()
            ),
            ("default", "web", "a")
        );
    }
    server.stop().await;
    other.stop().await;
}

async fn a_session_is_told_that_its_instance_was_deregistered(backend: Backend) {
    let server = backend.server().await;
    let session = open_session(&server, 30).await.session_id;
    put_instance(&server, "a", Some(&session), "").await;
    put_instance(&server, "b", Some(&session), "").await;
    let mut stream = KeepAlive::open(&server).await;
    stream.beat(&session, 1).await;
    let key = server.app().core.keys.instance(&instance_key("b"));
    commit(&server, Operation::delete(key)).await;
    let Message::InstanceLost(lost) = stream.notice().await else {
        panic!("not told of the loss of an instance");
    };
    assert_eq!(lost.instance_id, "b");
    assert_eq!(lost.cause(), InstanceLostCause::Deregistered);
    stream.beat(&session, 2).await;
    server.stop().await;
}

async fn a_session_is_told_that_its_lock_was_taken_away(backend: Backend) {
    let server = backend.server().await;
    let holder = open_session(&server, 30).await.session_id;
    let waiter = open_session(&server, 30).await.session_id;
    let held = put_waiter(&server, "nightly", &holder, "r1").await;
    let queued = put_waiter(&server, "nightly", &waiter, "r2").await;
    let state = server.app().core.cache.view().unwrap().state;
    let token = state.locks[b"default/nightly".as_slice()]
        .holder()
        .unwrap()
        .waiter
        .fencing_token();
    let mut stream = KeepAlive::open(&server).await;
    stream.beat(&holder, 1).await;
    stream.beat(&waiter, 1).await;
    // One that only waits loses nothing when its place goes.
    commit(&server, Operation::delete(queued)).await;
    commit(&server, Operation::delete(held)).await;
    let Message::LockLost(lost) = stream.notice().await else {
        panic!("not told of the loss of a lock");
    };
    assert_eq!(lost.session_id, holder);
    assert_eq!((lost.lock.as_str(), lost.fencing_token), ("nightly", token));
    assert_eq!(lost.cause(), LockLostCause::Removed);
    server.stop().await;
}

async fn what_was_lost_while_no_stream_was_there_is_told_to_the_next(backend: Backend) {
    let server = backend.server().await;
    let other = backend.server().await;
    let session = open_session(&server, 30).await.session_id;
    put_instance(&server, "lost", Some(&session), "").await;
    put_instance(&server, "back", Some(&session), "").await;
    let mut stream = KeepAlive::open(&server).await;
    stream.beat(&session, 1).await;
    drop(stream);
    put_instance(&server, "lost", None, "").await;
    put_instance(&server, "back", None, "").await;
    put_instance(&server, "back", Some(&session), "").await;
    // A replica that starts only now reads it from the history.
    let late = backend.server().await;
    for replica in [&server, &other, &late] {
        let mut stream = KeepAlive::open(replica).await;
        stream.send(&session, 2).await;
        let Message::InstanceLost(lost) = stream.notice().await else {
            panic!("not told of the loss of an instance");
        };
        assert_eq!(lost.instance_id, "lost");
        // What it has again is not told: nothing else comes before this answer.
        stream.send(&session, 3).await;
        loop {
            match stream.next().await {
                Some(Message::Alive(alive)) if alive.seq == 3 => break,
                Some(Message::Alive(_)) => {}
                other => panic!("told {other:?}"),
            }
        }
    }
    server.stop().await;
    other.stop().await;
    late.stop().await;
}

async fn what_a_session_gives_up_itself_is_no_loss(backend: Backend) {
    let server = backend.server().await;
    let session = open_session(&server, 30).await.session_id;
    put_instance(&server, "given", Some(&session), "").await;
    put_instance(&server, "taken", Some(&session), "").await;
    let place = put_waiter(&server, "nightly", &session, "r1").await;
    let mut stream = KeepAlive::open(&server).await;
    stream.beat(&session, 1).await;
    let sessions = &server.app().sessions;
    let lock = lock_path("nightly");
    for owned in [
        stanchion::domain::state::Owned::Instance("default/web/given".into()),
        stanchion::domain::state::Owned::Waiter(lock, place.clone()),
    ] {
        sessions.leaving(id(&session), owned);
    }
    let keys = &server.app().core.keys;
    commit(
        &server,
        Operation::delete(keys.instance(&instance_key("given"))),
    )
    .await;
    commit(&server, Operation::delete(place)).await;
    commit(
        &server,
        Operation::delete(keys.instance(&instance_key("taken"))),
    )
    .await;
    let Message::InstanceLost(lost) = stream.notice().await else {
        panic!("not told of the loss of an instance");
    };
    assert_eq!(lost.instance_id, "taken");
    server.stop().await;
}
