//! Filters on lists and watches.

use bytes::Bytes;
use stanchion_client::proto::{
    DeleteCause, Instance, ListInstancesRequest, RegisterInstanceRequest, UpdateInstanceRequest,
    WatchInstancesRequest,
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::support::server::{
    Backend, Server, assert_invalid, assert_status, eventually, on_both_stores,
};

use super::{
    ALL, SERVING, Watcher, added, deleted, instance, mask, modified, open, patient_server,
    register, registration, told, watching,
};

on_both_stores! {
    a_list_shows_what_its_filter_takes_page_by_page,
    an_instance_that_stops_matching_is_told_as_deleted,
    a_filtered_list_and_watch_fit_together_however_the_filter_is_written,
    a_filter_that_cannot_be_read_is_refused_and_says_where,
}

/// Registers an instance in a zone, of a tier.
async fn place(server: &Server, session: &str, id: &str, zone: &str, tier: &str) {
    let request = RegisterInstanceRequest {
        instance: Some(Instance {
            zone: zone.into(),
            metadata: [("tier".to_owned(), tier.to_owned())].into(),
            ..instance(id)
        }),
        ..registration(session, id)
    };
    register(server, request).await.unwrap();
}

async fn move_to(server: &Server, id: &str, zone: &str) {
    let request = UpdateInstanceRequest {
        instance: Some(Instance {
            zone: zone.into(),
            ..instance(id)
        }),
        update_mask: Some(mask(&["zone"])),
        ..UpdateInstanceRequest::default()
    };
    server.registry().update_instance(request).await.unwrap();
}

fn listing(filter: &str) -> ListInstancesRequest {
    ListInstancesRequest {
        service: "web".into(),
        view: ALL.into(),
        filter: filter.into(),
        ..ListInstancesRequest::default()
    }
}

fn watching_for(filter: &str, resume_token: Option<Bytes>) -> WatchInstancesRequest {
    WatchInstancesRequest {
        filter: filter.into(),
        ..watching(ALL, resume_token)
    }
}

async fn listed(server: &Server, filter: &str) -> Vec<String> {
    let list = server.registry().list_instances(listing(filter)).await;
    let instances = list.unwrap().into_inner().instances;
    instances.into_iter().map(|i| i.instance_id).collect()
}

async fn a_list_shows_what_its_filter_takes_page_by_page(backend: Backend) {
    let server = patient_server(&backend).await;
    let session = open(&server, "").await;
    for (id, zone, tier) in [("a", "x", "gold"), ("b", "y", "gold"), ("c", "x", "tin")] {
        place(&server, &session, id, zone, tier).await;
    }
    let other = open(&server, "").await;
    place(&server, &other, "d", "x", "gold").await;
    server.expire(&other).await;
    eventually("a suspect", async || {
        (listed(&server, "health == suspect").await == ["d"]).then_some(())
    })
    .await;

    assert_eq!(listed(&server, "zone == x").await, ["a", "c", "d"]);
    assert_eq!(
        listed(&server, "metadata.tier == gold").await,
        ["a", "b", "d"]
    );
    assert_eq!(
        listed(&server, "zone == y or metadata.tier != gold").await,
        ["b", "c"]
    );
    assert_eq!(listed(&server, "has metadata.absent").await, [""; 0]);

    let mut page = ListInstancesRequest {
        page_size: 1,
        // The suspect one is not in this view, whatever the filter says.
        view: SERVING.into(),
        ..listing("zone == x")
    };
    let mut seen = Vec::new();
    loop {
        let answer = server.registry().list_instances(page.clone()).await;
        let answer = answer.unwrap().into_inner();
        assert_eq!(answer.instances.len(), 1);
        seen.extend(answer.instances.into_iter().map(|i| i.instance_id));
        if answer.next_page_token.is_empty() {
            break;
        }
        page.page_token = answer.next_page_token;
    }
    assert_eq!(seen, ["a", "c"]);
    // A page belongs to its filter.
    let first = ListInstancesRequest {
        page_size: 1,
        ..listing("zone == x")
    };
    let first = server.registry().list_instances(first).await.unwrap();
    let next = ListInstancesRequest {
        page_token: first.into_inner().next_page_token,
        ..listing("zone == y")
    };
    let refused = server.registry().list_instances(next).await.unwrap_err();
    assert_status(&refused, Code::InvalidArgument, "INVALID_PAGE_TOKEN");
    server.stop().await;
}

async fn an_instance_that_stops_matching_is_told_as_deleted(backend: Backend) {
    let server = patient_server(&backend).await;
    let session = open(&server, "").await;
    place(&server, &session, "a", "x", "gold").await;
    let mut watcher = Watcher::open(&server, watching_for("zone == x", None)).await;
    let (ids, token) = watcher.snapshot().await;
    assert_eq!(ids, ["a"]);

    // What does not concern it wakes nobody.
    place(&server, &session, "b", "y", "gold").await;
    move_to(&server, "b", "z").await;
    move_to(&server, "b", "x").await;
    assert_eq!(watcher.event().await, added("b"));
    move_to(&server, "a", "y").await;
    let (delta, _) = watcher.delta().await;
    assert_eq!(told(&delta), [deleted("a", DeleteCause::NoLongerMatching)]);
    let last = delta.events[0].instance.as_ref().unwrap();
    assert_eq!(last.zone, "x", "as it last was");

    // Health is a part of it like any other.
    let sick = watching_for("health != suspect", None);
    let mut healthy = Watcher::open(&server, sick).await;
    assert_eq!(healthy.snapshot().await.0, ["a", "b"]);
    server.expire(&session).await;
    let (delta, _) = healthy.delta().await;
    let gone = |id| deleted(id, DeleteCause::NoLongerMatching);
    assert_eq!(told(&delta), [gone("a"), gone("b")]);
    assert_eq!(watcher.event().await, modified("b"));

    // From before on another replica: the same.
    let other = patient_server(&backend).await;
    let resumed = watching_for("zone == x", Some(token));
    let mut resumed = Watcher::open(&other, resumed).await;
    assert_eq!(resumed.event().await, added("b"));
    let gone = deleted("a", DeleteCause::NoLongerMatching);
    assert_eq!(resumed.event().await, gone);
    server.stop().await;
    other.stop().await;
}

async fn a_filtered_list_and_watch_fit_together_however_the_filter_is_written(backend: Backend) {
    let server = backend.server().await;
    let session = open(&server, "").await;
    place(&server, &session, "a", "x", "gold").await;
    let list = listing("zone == x or zone == y");
    let list = server.registry().list_instances(list).await.unwrap();
    let token = Some(list.into_inner().resume_token);
    place(&server, &session, "b", "y", "gold").await;

    let same = watching_for("zone in (y, x)", token.clone());
    let mut watcher = Watcher::open(&server, same).await;
    assert_eq!(watcher.event().await, added("b"));
    for other in ["zone == x", ""] {
        let request = watching_for(other, token.clone());
        let refused = server.registry().watch_instances(request).await;
        let refused = refused.unwrap_err();
        assert_status(&refused, Code::InvalidArgument, "INVALID_RESUME_TOKEN");
    }
    server.stop().await;
}

async fn a_filter_that_cannot_be_read_is_refused_and_says_where(backend: Backend) {
    let server = backend.server().await;
    let said = |refused: &Status| {
        assert_invalid(refused, "filter");
        let details = refused.get_details_bad_request().unwrap();
        details.field_violations[0].description.clone()
    };
    let bad = "zone == x and colour == red";
    let refused = server.registry().list_instances(listing(bad)).await;
    let text = said(&refused.unwrap_err());
    assert!(text.starts_with("at byte 14: expected `health`"), "{text}");
    let refused = server
        .registry()
        .watch_instances(watching_for(bad, None))
        .await;
    let text = said(&refused.unwrap_err());
    assert!(text.starts_with("at byte 14: expected `health`"), "{text}");
    let deep = format!("{}zone == x", "(".repeat(4000));
    for bad in [
        "zone",
        "(",
        "zone == \"x",
        "health == well",
        &deep,
        &"z".repeat(5000),
    ] {
        let refused = server.registry().list_instances(listing(bad)).await;
        assert!(said(&refused.unwrap_err()).starts_with("at byte "), "{bad}");
    }
    server.stop().await;
}
