//! Instances as targets for Prometheus.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};
use stanchion::{
    app::App,
    clock::SystemClock,
    store::{Error, Status, Store},
};
use stanchion_client::proto::{Instance, Port, RegisterInstanceRequest};

use crate::support::{
    etcd::free_port,
    overlay::{Overlaid, Overlay},
    scrape,
    server::{Backend, Server, eventually, on_both_stores},
};

use super::{instance, open, patient_server, register, registration};

on_both_stores! {
    every_port_of_every_instance_is_a_target_with_all_that_is_known_as_labels,
    targets_are_chosen_by_service_port_view_and_filter,
}

/// What `/sd/prometheus` answers to a query; nothing unless with success.
async fn answer(server: &Server, query: &str) -> Option<String> {
    let address = server.app().operations_address;
    let path = format!("/sd/prometheus?{query}");
    let page = tokio::task::spawn_blocking(move || scrape::get(address, &path).unwrap());
    let page = page.await.unwrap();
    let (head, body) = page.split_once("\r\n\r\n").unwrap();
    assert!(!head.starts_with("HTTP/1.0 200 ") || head.contains("content-type: application/json"));
    head.starts_with("HTTP/1.0 200 ").then(|| body.to_owned())
}

async fn groups(server: &Server, query: &str) -> Vec<Value> {
    let body = answer(server, query).await.unwrap();
    serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"))
}

async fn targets(server: &Server, query: &str) -> Vec<String> {
    let groups = groups(server, query).await;
    let target = |group: &Value| group["targets"][0].as_str().unwrap().to_owned();
    groups.iter().map(target).collect()
}

fn port(name: &str, port: i32) -> Port {
    Port {
        name: name.into(),
        port,
        protocol: String::new(),
    }
}

async fn place(server: &Server, session: &str, instance: Instance) {
    let id = instance.instance_id.clone();
    let request = RegisterInstanceRequest {
        instance: Some(instance),
        ..registration(session, &id)
    };
    register(server, request).await.unwrap();
}

async fn every_port_of_every_instance_is_a_target_with_all_that_is_known_as_labels(
    backend: Backend,
) {
    let server = backend.server().await;
    assert_eq!(groups(&server, "").await, [Value::Null; 0]);
    let session = open(&server, "shop-7").await;
    let metadata = [
        ("team.name/x", "pay"),
        ("team_name_x", "other"),
        ("é", "\"\n"),
    ];
    let full = Instance {
        address: "fd00::7".into(),
        ports: vec![
            Port {
                protocol: "http".into(),
                ..port("metrics", 9100)
            },
            port("", 80),
        ],
        version: "2.1".into(),
        region: "east".into(),
        zone: "1".into(),
        metadata: metadata.map(|(k, v)| (k.into(), v.into())).into(),
        ..instance("a")
    };
    place(&server, &session, full).await;
    let groups = groups(&server, "service=web").await;
    assert_eq!(groups.len(), 2);
    assert_eq!(groups[1]["targets"], json!(["[fd00::7]:80"]));
    assert_eq!(
        groups[0],
        json!({
            "targets": ["[fd00::7]:9100"],
            "labels": {
                "__meta_stanchion_namespace": "default",
                "__meta_stanchion_service": "web",
                "__meta_stanchion_instance_id": "a",
                "__meta_stanchion_address": "fd00::7",
                "__meta_stanchion_port": "9100",
                "__meta_stanchion_port_name": "metrics",
                "__meta_stanchion_port_protocol": "http",
                "__meta_stanchion_version": "2.1",
                "__meta_stanchion_region": "east",
                "__meta_stanchion_zone": "1",
                "__meta_stanchion_health": "healthy",
                "__meta_stanchion_state": "active",
                "__meta_stanchion_serving": "true",
                "__meta_stanchion_client_id": "shop-7",
                "__meta_stanchion_metadata_team_name_x": "pay",
                "__meta_stanchion_metadata__": "\"\n",
            },
        })
    );
    server.stop().await;
}

async fn targets_are_chosen_by_service_port_view_and_filter(backend: Backend) {
    let server = patient_server(&backend).await;
    let (stays, goes) = (open(&server, "").await, open(&server, "").await);
    let of = |service: &str, id: &str, ports: Vec<Port>| Instance {
        service: service.into(),
        address: format!("{id}.example"),
        zone: id.into(),
        ports,
        ..instance(id)
    };
    place(
        &server,
        &stays,
        of("web", "a", vec![port("", 80), port("metrics", 81)]),
    )
    .await;
    place(&server, &goes, of("web", "b", vec![port("metrics", 82)])).await;
    place(&server, &stays, of("pay", "c", vec![port("metrics", 83)])).await;
    place(&server, &stays, of("bare", "d", Vec::new())).await;
    server.expire(&goes).await;
    eventually("a suspect", async || {
        let serving = targets(&server, "view=serving&service=web&port=metrics").await;
        (serving == ["a.example:81"]).then_some(())
    })
    .await;

    let all = [
        "c.example:83",
        "a.example:80",
        "a.example:81",
        "b.example:82",
    ];
    assert_eq!(targets(&server, "").await, all);
    assert_eq!(
        targets(&server, "port=metrics&service=web").await,
        ["a.example:81", "b.example:82"]
    );
    assert_eq!(
        targets(&server, "port=9&service=bare").await,
        ["d.example:9"]
    );
    let suspects = targets(&server, "filter=health+%3D%3D+suspect").await;
    assert_eq!(suspects, ["b.example:82"]);
    assert_eq!(targets(&server, "namespace=other").await, [""; 0]);
    assert_eq!(targets(&server, "service=we").await, [""; 0]);
    for bad in ["view=most", "filter=zone", "service=a%20b", "srevice=web"] {
        assert_eq!(answer(&server, bad).await, None, "{bad}");
    }
    server.stop().await;
}

/// A store that says nothing of itself, so that a replica does not come to read it.
struct Silent(Arc<dyn Store>);

#[async_trait]
impl Overlay for Silent {
    fn inner(&self) -> &Arc<dyn Store> {
        &self.0
    }

    async fn status(&self) -> Result<Status, Error> {
        std::future::pending().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_not_ready_has_no_success_to_tell() {
    let backend = Backend::embedded().await;
    let mut settings = backend.settings();
    settings.operations_listen.set_port(free_port());
    let address = settings.operations_listen;
    let store = Arc::new(Overlaid(Silent(backend.store().await)));
    let starting = tokio::spawn(App::start(store, settings, Arc::new(SystemClock)));
    let page = eventually("an answer", async || {
        let page = tokio::task::spawn_blocking(move || scrape::get(address, "/sd/prometheus"));
        page.await.unwrap().ok()
    })
    .await;
    assert!(page.starts_with("HTTP/1.0 503 "), "{page}");
    starting.abort();
}
