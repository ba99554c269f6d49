//! The local copy of a service's instances.

use stanchion_client::{Code, DiscoveryOptions, proto::ListInstancesRequest};

use super::{client, client_at, door::Door, soon};
use crate::support::server::{Backend, on_both_stores};

on_both_stores! {
    discovered_instances_follow_registrations,
    discovered_instances_are_served_while_the_server_is_away_and_current_after_it,
    a_discovery_follows_what_its_filter_takes,
}

async fn discovered_instances_follow_registrations(backend: Backend) {
    let server = backend.server().await;
    let client = client(&[&server]);
    let mut discovery = client.discover("shop");
    soon("the first snapshot", discovery.ready()).await.unwrap();
    assert!(discovery.instances().is_empty());

    let registration = client
        .register("shop", "10.0.0.7")
        .id("a")
        .port("http", 8080, "http")
        .start()
        .await
        .unwrap();
    while discovery.instances().is_empty() {
        soon("the registration", discovery.changed()).await;
    }
    let instance = discovery.instance("a").unwrap();
    assert_eq!(instance.address, "10.0.0.7");
    assert_eq!(instance.ports[0].port, 8080);

    assert!(registration.deregister().await.unwrap());
    while !discovery.instances().is_empty() {
        soon("the deregistration", discovery.changed()).await;
    }
}

async fn discovered_instances_are_served_while_the_server_is_away_and_current_after_it(
    backend: Backend,
) {
    let server = backend.server().await;
    let door = Door::to(server.address).await;
    let client = client_at(&door);
    let _first = client
        .register("shop", "10.0.0.1")
        .id("first")
        .start()
        .await
        .unwrap();
    let mut discovery = client.discover("shop");
    soon("the first snapshot", discovery.ready()).await.unwrap();
    assert!(discovery.instance("first").is_some());

    door.shut();
    server.stop().await;
    assert!(discovery.instance("first").is_some());

    let server = backend.server().await;
    door.open(server.address);
    let _second = client
        .register("shop", "10.0.0.2")
        .id("second")
        .start()
        .await
        .unwrap();
    while discovery.instance("second").is_none() {
        soon("what happened after the restart", discovery.changed()).await;
    }
    assert!(discovery.instance("first").is_some());
    assert!(discovery.age().is_some());
}

async fn a_discovery_follows_what_its_filter_takes(backend: Backend) {
    let server = backend.server().await;
    let client = client(&[&server]);
    let mut kept = Vec::new();
    for (id, zone) in [("a", "x"), ("b", "y")] {
        let request = client
            .register("shop", "10.0.0.7")
            .id(id)
            .location("r", zone);
        kept.push(request.start().await.unwrap());
    }
    let options = DiscoveryOptions {
        filter: "zone == y".into(),
        ..DiscoveryOptions::default()
    };
    let mut discovery = client.discover_with("shop", &options);
    soon("the first snapshot", discovery.ready()).await.unwrap();
    assert!(discovery.instance("a").is_none() && discovery.instance("b").is_some());

    let list = client.list_instances(ListInstancesRequest {
        service: "shop".into(),
        filter: options.filter,
        ..ListInstancesRequest::default()
    });
    assert_eq!(list.await.unwrap().instances.len(), 1);

    assert!(kept.remove(1).deregister().await.unwrap());
    while discovery.instance("b").is_some() {
        soon("the deregistration", discovery.changed()).await;
    }
    let options = DiscoveryOptions {
        filter: "zone =".into(),
        ..DiscoveryOptions::default()
    };
    let refused = client.discover_with("shop", &options);
    let error = soon("a refusal", refused.ready()).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert_eq!(error.violations()[0].field, "filter");
}
