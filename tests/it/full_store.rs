//! A store that becomes full: what it carried out is not called refused.

mod brim;
mod configs;
mod kinds;
mod latches;
mod side_by_side;

use std::time::Duration;

use futures_util::future::join_all;
use stanchion_client::proto::{
    AcquireLockRequest, DeleteConfigRequest, DeregisterInstanceRequest, ListConfigVersionsRequest,
    PinConfigVersionRequest, PutConfigRequest, ReleaseLockRequest, UnpinConfigVersionRequest,
    release_lock_request::Claim,
};
use tonic::Code;

pub use self::brim::{Brim, Room};
use self::kinds::{KINDS, Kind, Writer};
use crate::support::server::{Backend, assert_status, eventually};

crate::support::server::on_both_stores! {
    the_write_that_takes_the_last_room_succeeds_and_the_next_one_is_refused,
    those_who_go_together_are_each_told_what_came_of_it,
    a_deregistration_that_takes_the_last_room_has_removed_something,
    giving_up_a_place_needs_no_room,
    who_gives_up_a_lock_together_with_who_takes_one_needs_no_room,
    what_may_have_been_written_before_is_not_called_refused,
    versions_are_unpinned_and_forgotten_without_room,
}

async fn the_write_that_takes_the_last_room_succeeds_and_the_next_one_is_refused(backend: Backend) {
    let (brim, server) = Brim::server(&backend).await;
    let writer = Writer::new(&server).await;
    for kind in KINDS {
        let (last, next) = (writer.mark(), writer.mark());
        writer.prepare(kind, &last).await.unwrap();
        writer.prepare(kind, &next).await.unwrap();
        brim.has(Room::Last(last.clone()));
        let written = writer.write(kind, &last).await;
        assert!(written.is_ok(), "{kind:?}: {written:?}");
        assert!(writer.is_there(&last).await, "{kind:?}");
        let refused = writer.write(kind, &next).await.unwrap_err();
        assert_status(&refused, Code::ResourceExhausted, "STORE_FULL");
        assert!(!writer.is_there(&next).await, "{kind:?}");
        brim.has(Room::Plenty);
    }
    server.stop().await;
}

async fn those_who_go_together_are_each_told_what_came_of_it(backend: Backend) {
    let (brim, server) = Brim::server(&backend).await;
    let writer = Writer::new(&server).await;
    let first = writer.mark();
    let others: Vec<_> = (0..40).map(|_| writer.mark()).collect();
    // The last of those who may go with others.
    brim.has(Room::Last(others[30].clone()));
    brim.is_slow(&first);
    let marks = std::iter::once(&first).chain(&others);
    let written = join_all(marks.map(async |mark| {
        let written = writer.write(Kind::RegisterOnSession, mark).await;
        (mark, written)
    }));
    for (mark, written) in written.await {
        let is_there = writer.is_there(mark).await;
        match written {
            Ok(()) => assert!(is_there, "{mark} was acknowledged"),
            Err(refused) => {
                assert_status(&refused, Code::ResourceExhausted, "STORE_FULL");
                assert!(!is_there, "{mark} was refused");
            }
        }
    }
    assert!(brim.together() > 1, "nobody went with another");
    server.stop().await;
}

async fn a_deregistration_that_takes_the_last_room_has_removed_something(backend: Backend) {
    let (brim, server) = Brim::server(&backend).await;
    let writer = Writer::new(&server).await;
    for room in [Room::Last as fn(String) -> Room, |_| Room::Nothing] {
        let mark = writer.mark();
        writer.write(Kind::RegisterOnSession, &mark).await.unwrap();
        brim.has(room(mark.clone()));
        // With the mark of the request that it undoes.
        let deregister = DeregisterInstanceRequest {
            service: "web".into(),
            instance_id: mark.clone(),
            session_id: writer.session.clone(),
            request_id: "undone".into(),
            ..DeregisterInstanceRequest::default()
        };
        let mut registry = server.registry();
        let gone = registry.deregister_instance(deregister).await.unwrap();
        assert!(gone.into_inner().deregistered);
        brim.has(Room::Plenty);
    }
    server.stop().await;
}

async fn giving_up_a_place_needs_no_room(backend: Backend) {
    let (brim, server) = Brim::server(&backend).await;
    let writer = Writer::new(&server).await;
    for room in [Room::Last as fn(String) -> Room, |_| Room::Nothing] {
        let mark = writer.mark();
        writer.write(Kind::TryLock, &mark).await.unwrap();
        let acquire = AcquireLockRequest {
            lock: mark.clone(),
            session_id: writer.session.clone(),
            // Undone for the whole session.
            request_id: mark.clone(),
            ..AcquireLockRequest::default()
        };
        let mut locks = server.locks();
        let waiting = tokio::spawn(async move { locks.acquire_lock(acquire).await });
        eventually("a place", async || {
            let view = server.app().core.cache.view().unwrap();
            let mut queues = view.state.locks.values();
            queues.any(|queue| queue.claims.len() == 2).then_some(())
        })
        .await;
        brim.has(room(mark.clone()));
        let release = ReleaseLockRequest {
            lock: mark.clone(),
            session_id: writer.session.clone(),
            claim: Some(Claim::RequestId(mark)),
            ..ReleaseLockRequest::default()
        };
        let released = server.locks().release_lock(release).await.unwrap();
        assert!(released.into_inner().released);
        assert!(waiting.await.unwrap().is_err());
        brim.has(Room::Plenty);
    }
    server.stop().await;
}

async fn who_gives_up_a_lock_together_with_who_takes_one_needs_no_room(backend: Backend) {
    let (brim, server) = Brim::server(&backend).await;
    let writer = Writer::new(&server).await;
    let mut releases = Vec::new();
    for _ in 0..20 {
        let acquire = AcquireLockRequest {
            lock: writer.mark(),
            session_id: writer.session.clone(),
            ..AcquireLockRequest::default()
        };
        let acquired = server.locks().acquire_lock(acquire.clone()).await.unwrap();
        releases.push(ReleaseLockRequest {
            lock: acquire.lock,
            session_id: acquire.session_id,
            claim: Some(Claim::FencingToken(acquired.into_inner().fencing_token)),
            ..ReleaseLockRequest::default()
        });
    }
    // Those who come while it is on its way go together.
    brim.is_slow(&releases[0].lock);
    brim.has(Room::Nothing);
    let giving_up = join_all(releases.into_iter().map(async |release| {
        let released = server.locks().release_lock(release).await.unwrap();
        assert!(released.into_inner().released);
    }));
    let taking = join_all((0..20).map(async |_| {
        eventually("the slow one to be on its way", async || {
            brim.slow_has_begun().then_some(())
        })
        .await;
        let mark = writer.mark();
        let refused = writer.write(Kind::TryLock, &mark).await.unwrap_err();
        assert_status(&refused, Code::ResourceExhausted, "STORE_FULL");
        assert!(!writer.is_there(&mark).await, "{mark} was refused");
    }));
    tokio::join!(giving_up, taking);
    assert!(brim.together() > 1, "nobody went with another");
    server.stop().await;
}

async fn what_may_have_been_written_before_is_not_called_refused(backend: Backend) {
    let (brim, server) = Brim::server(&backend).await;
    let writer = Writer::new(&server).await;
    for kind in [
        Kind::PutConfig,
        Kind::Commit,
        Kind::PutDraft,
        Kind::RegisterOnSession,
        Kind::TryLock,
    ] {
        let mark = writer.mark();
        brim.has(Room::LostOnTheWay(mark.clone()));
        let unknown = writer.write(kind, &mark).await.unwrap_err();
        assert_status(&unknown, Code::Unknown, "COMMIT_UNKNOWN");
        brim.has(Room::Plenty);
    }
    server.stop().await;
}

async fn versions_are_unpinned_and_forgotten_without_room(backend: Backend) {
    let mut settings = backend.settings();
    settings.domain.config_keep_versions = 2;
    settings.domain.config_prune_interval = Duration::from_secs(3600);
    let (_, first) = Brim::server_with(&backend, settings.clone()).await;
    let mut configs = first.configs();
    for key in ["a", "gone"] {
        for number in 1..=5 {
            let put = PutConfigRequest {
                key: key.into(),
                content: format!("{number}").into(),
                ..PutConfigRequest::default()
            };
            configs.put_config(put).await.unwrap();
        }
    }
    let delete = DeleteConfigRequest {
        key: "gone".into(),
        ..DeleteConfigRequest::default()
    };
    configs.delete_config(delete).await.unwrap();
    let pin = PinConfigVersionRequest {
        key: "a".into(),
        version: 1,
        ..PinConfigVersionRequest::default()
    };
    configs.pin_config_version(pin.clone()).await.unwrap();
    first.stop().await;

    settings.domain.config_keep_age = Some(Duration::ZERO);
    settings.domain.config_keep_deleted = Some(Duration::ZERO);
    settings.domain.config_prune_interval = Duration::from_millis(20);
    let (brim, second) = Brim::server_with(&backend, settings).await;
    brim.has(Room::Nothing);
    let keeps = async |key: &str, wanted: &[i64]| {
        let request = ListConfigVersionsRequest {
            key: key.into(),
            ..ListConfigVersionsRequest::default()
        };
        eventually("the others to be forgotten", async || {
            let listed = second.configs().list_config_versions(request.clone()).await;
            let versions = listed.unwrap().into_inner().versions.into_iter();
            let versions: Vec<i64> = versions.map(|version| version.version).collect();
            (versions == wanted).then_some(())
        })
        .await;
    };
    keeps("a", &[5, 4, 1]).await;
    keeps("gone", &[]).await;
    let pin = PinConfigVersionRequest { version: 4, ..pin };
    let refused = second.configs().pin_config_version(pin).await.unwrap_err();
    assert_status(&refused, Code::ResourceExhausted, "STORE_FULL");
    let unpin = UnpinConfigVersionRequest {
        key: "a".into(),
        version: 1,
        ..UnpinConfigVersionRequest::default()
    };
    let unpinned = second.configs().unpin_config_version(unpin).await.unwrap();
    assert!(unpinned.into_inner().unpinned);
    keeps("a", &[5, 4]).await;
    second.stop().await;
}
