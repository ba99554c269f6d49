//! Instances that were removed a moment ago.

use std::time::{Duration, SystemTime};

use prost::Message as _;
use stanchion::{
    proto::store as stored,
    store::{Operation, Txn},
};
use stanchion_client::proto::{
    Health, InstanceView, ListInstancesRequest, ListInstancesResponse, Locality, OperatorState,
    RemovalCause, WatchInstancesRequest,
};

use crate::support::server::{Backend, Server, assert_invalid, eventually, on_both_stores};

use super::{ALL, deregister, ids, key_of, open, register_on, watching};

on_both_stores! {
    removed_instances_are_listed_as_they_last_were_with_the_reason,
    removed_instances_can_only_be_listed,
    an_instance_that_was_lost_is_listed_as_removed_after_its_grace,
}

const REMOVED: InstanceView = InstanceView::Removed;

/// Leaves the mark of a removed instance.
pub async fn put_tombstone(server: &Server, id: &str, zone: &str, cause: stored::RemovalCause) {
    let tombstone = stored::Tombstone {
        format: 1,
        cause: cause.into(),
        detail: format!("seen of {id}"),
        remove_time: Some((SystemTime::UNIX_EPOCH + Duration::from_secs(7)).into()),
        instance: Some(stored::Instance {
            format: 1,
            address: "10.0.0.9".into(),
            weight: 100,
            zone: zone.into(),
            register_time: Some(prost_types::Timestamp::default()),
            ..stored::Instance::default()
        }),
        revision: 3,
    };
    let core = &server.app().core;
    let put = Operation::put(core.keys.tombstone(&key_of(id)), tombstone.encode_to_vec());
    server.write(Txn::new().then(put)).await;
}

fn request(filter: &str, page_size: i32) -> ListInstancesRequest {
    ListInstancesRequest {
        service: "web".into(),
        view: REMOVED.into(),
        filter: filter.into(),
        page_size,
        ..ListInstancesRequest::default()
    }
}

async fn removed(server: &Server, request: ListInstancesRequest) -> ListInstancesResponse {
    let answer = server.registry().list_instances(request).await;
    answer.unwrap().into_inner()
}

async fn removed_ids(server: &Server, filter: &str) -> Vec<String> {
    let list = removed(server, request(filter, 0)).await;
    list.instances.into_iter().map(|i| i.instance_id).collect()
}

async fn removed_instances_are_listed_as_they_last_were_with_the_reason(backend: Backend) {
    let server = backend.server().await;
    let session = open(&server, "").await;
    put_tombstone(&server, "a", "x", stored::RemovalCause::Expired).await;
    put_tombstone(&server, "b", "y", stored::RemovalCause::Unhealthy).await;
    put_tombstone(&server, "c", "y", stored::RemovalCause::Drained).await;
    // It has come back since.
    register_on(&server, &session, "a").await;

    let list = removed(&server, request("", 0)).await;
    let causes: Vec<_> = list
        .instances
        .iter()
        .map(|i| i.removal.as_ref().unwrap().cause())
        .collect();
    assert_eq!(
        causes,
        [
            RemovalCause::Expired,
            RemovalCause::Unhealthy,
            RemovalCause::Drained
        ]
    );
    let last = &list.instances[0];
    assert_eq!(
        (last.instance_id.as_str(), last.zone.as_str(), last.revision),
        ("a", "x", 3)
    );
    assert!(!last.serving);
    let removal = last.removal.as_ref().unwrap();
    assert_eq!(removal.detail, "seen of a");
    assert_eq!(removal.remove_time.unwrap().seconds, 7);
    let health: Vec<_> = list.instances.iter().map(|i| i.health()).collect();
    assert_eq!(
        health,
        [Health::Suspect, Health::Unhealthy, Health::Unknown]
    );
    assert_eq!(list.instances[2].operator_state(), OperatorState::Draining);
    assert!(list.resume_token.is_empty());

    // Others see nothing of it.
    assert_eq!(ids(&server, ALL).await, ["a"]);
    assert_eq!(super::get(&server, "a").await.unwrap().removal, None);
    assert!(super::get(&server, "b").await.is_err());

    assert_eq!(
        removed_ids(&server, "zone == y and health != unhealthy").await,
        ["c"]
    );
    let first = removed(&server, request("", 2)).await;
    assert_eq!(first.instances.len(), 2);
    let next = ListInstancesRequest {
        page_token: first.next_page_token,
        ..request("", 2)
    };
    assert_eq!(removed(&server, next).await.instances[0].instance_id, "c");

    // The mark ends with its lease.
    let core = &server.app().core;
    let delete = Operation::delete(core.keys.tombstone(&key_of("b")));
    server.write(Txn::new().then(delete)).await;
    assert_eq!(removed_ids(&server, "").await, ["a", "c"]);
    server.stop().await;
}

async fn an_instance_that_was_lost_is_listed_as_removed_after_its_grace(backend: Backend) {
    let server = backend.server().await;
    let (lost, leaves) = (open(&server, "shop").await, open(&server, "").await);
    let registered = register_on(&server, &lost, "a").await;
    register_on(&server, &leaves, "b").await;
    server.expire(&lost).await;
    assert!(deregister(&server, &leaves, "b").await);
    eventually("the removal", async || {
        ids(&server, ALL).await.is_empty().then_some(())
    })
    .await;
    let list = removed(&server, request("", 0)).await;
    assert_eq!(list.instances.len(), 1, "who deregistered is not missed");
    let last = &list.instances[0];
    assert_eq!(last.instance_id, "a");
    assert_eq!(last.client_id, "shop");
    assert_eq!(last.revision, registered.revision);
    assert_eq!(
        last.removal.as_ref().unwrap().cause(),
        RemovalCause::Expired
    );
    server.stop().await;
}

async fn removed_instances_can_only_be_listed(backend: Backend) {
    let server = backend.server().await;
    let watch: WatchInstancesRequest = watching(REMOVED, None);
    let refused = server.registry().watch_instances(watch).await;
    assert_invalid(&refused.unwrap_err(), "view");
    let near = ListInstancesRequest {
        locality: Some(Locality {
            zone: "x".into(),
            ..Locality::default()
        }),
        ..request("", 0)
    };
    let refused = server.registry().list_instances(near).await;
    assert_invalid(&refused.unwrap_err(), "view");
    let refused = server.registry().list_instances(request("zone", 0)).await;
    assert_invalid(&refused.unwrap_err(), "filter");
    server.stop().await;
}
