//! The local copy of a service's instances.

use std::time::Duration;

use stanchion_client::{
    Code, DiscoveryOptions,
    proto::{Instance, InstanceView, ListInstancesRequest, Locality, RegisterInstanceRequest},
};

use super::{client, client_at, soon};
use crate::support::{
    door::Door,
    server::{Backend, Server, on_both_stores},
};

on_both_stores! {
    discovered_instances_follow_registrations,
    discovered_instances_are_served_while_the_server_is_away_and_current_after_it,
    a_discovery_follows_what_its_filter_takes,
    a_discovery_that_says_where_it_is_shows_what_lists_show,
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

/// Registers an instance whose session ends at once.
async fn register_suspect(server: &Server, instance: Instance) {
    let request = RegisterInstanceRequest {
        instance: Some(instance),
        ..RegisterInstanceRequest::default()
    };
    let answer = server.registry().register_instance(request).await;
    let session = answer.unwrap().into_inner().session_id;
    server.expire(&session).await;
}

async fn a_discovery_that_says_where_it_is_shows_what_lists_show(backend: Backend) {
    let mut settings = backend.settings();
    settings.domain.suspect_grace = Duration::from_secs(600);
    let server = backend.server_with(settings).await;
    let client = client(&[&server]);
    let mut kept = Vec::new();
    for (id, region, zone) in [
        ("a", "east", "1"),
        ("c", "east", "2"),
        ("d", "west", "1"),
        ("e", "", ""),
    ] {
        let request = client.register("shop", "10.0.0.7").id(id);
        kept.push(request.location(region, zone).start().await.unwrap());
    }
    let suspect = Instance {
        service: "shop".into(),
        instance_id: "b".into(),
        address: "10.0.0.7".into(),
        region: "east".into(),
        zone: "1".into(),
        ..Instance::default()
    };
    register_suspect(&server, suspect).await;
    for (view, threshold) in [
        (InstanceView::Serving, None),
        (InstanceView::Serving, Some(0.5)),
        (InstanceView::Serving, Some(0.6)),
        (InstanceView::Serving, Some(0.9)),
        (InstanceView::All, Some(0.5)),
    ] {
        let locality = Locality {
            region: "east".into(),
            zone: "1".into(),
            failover_threshold: threshold,
        };
        let options = DiscoveryOptions {
            view,
            locality: Some(locality.clone()),
            ..DiscoveryOptions::default()
        };
        let discovery = client.discover_with("shop", &options);
        soon("the first snapshot", discovery.ready()).await.unwrap();
        let followed = discovery.instances();
        let request = ListInstancesRequest {
            service: "shop".into(),
            view: view.into(),
            locality: Some(locality.clone()),
            min_revision: discovery.revision(),
            ..ListInstancesRequest::default()
        };
        let listed = client.list_instances(request).await.unwrap().instances;
        let near = |id: &str, tier| (id.to_owned(), tier);
        let followed = followed
            .iter()
            .map(|i| near(&i.instance_id, locality.tier_of(i)));
        let listed: Vec<_> = listed
            .iter()
            .map(|i| near(&i.instance_id, i.locality_tier()))
            .collect();
        assert_eq!(
            followed.collect::<Vec<_>>(),
            listed,
            "{view:?} {threshold:?}"
        );
        assert!(!listed.is_empty());
    }
}
