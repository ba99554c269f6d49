//! The local copy of a service's instances.

use super::{client, client_at, door::Door, soon};
use crate::support::server::{Backend, on_both_stores};

on_both_stores! {
    discovered_instances_follow_registrations,
    discovered_instances_are_served_while_the_server_is_away_and_current_after_it,
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
