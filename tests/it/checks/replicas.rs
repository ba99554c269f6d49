//! Checks by several replicas on one store.

use std::time::Duration;

use stanchion::settings::Settings;
use stanchion_client::proto::{
    Consistency, GetInstanceRequest, Health, registry_service_client::RegistryServiceClient,
};

use super::{at, becomes, http, persistent, register, targets::Switch};
use crate::support::{
    etcd::Etcd,
    process::Process,
    server::{Backend, eventually, on_both_stores},
};

on_both_stores! {
    each_instance_is_checked_by_one_replica_and_what_it_finds_is_seen_on_all,
    an_instance_whose_replica_stops_is_checked_by_another,
}

/// Presence that ends soon.
fn settings(backend: &Backend) -> Settings {
    let mut settings = backend.settings();
    settings.domain.replica_ttl = Duration::from_secs(2);
    settings
}

async fn each_instance_is_checked_by_one_replica_and_what_it_finds_is_seen_on_all(
    backend: Backend,
) {
    let mut servers = Vec::new();
    for _ in 0..3 {
        servers.push(backend.server_with(settings(&backend)).await);
    }
    let everybody = || async { servers.iter().all(|s| replicas(s) == 3).then_some(()) };
    eventually("the replicas to know each other", everybody).await;
    let mut targets = Vec::new();
    for number in 0..6 {
        let target = Switch::new().await;
        let instance = at(
            target.listening.address,
            &format!("i{number}"),
            vec![http()],
        );
        register(&servers[0], persistent(instance)).await.unwrap();
        targets.push(target);
    }
    for number in 0..6 {
        becomes(&servers[number % 3], &format!("i{number}"), Health::Healthy).await;
    }
    // Three seconds by the targets' own count: a second replica would ask as often again.
    let before: Vec<_> = targets
        .iter()
        .map(|target| target.listening.count())
        .collect();
    tokio::time::sleep(Duration::from_secs(3)).await;
    for (target, before) in targets.iter().zip(before) {
        let asked = target.listening.count() - before;
        assert!(asked <= 4, "asked {asked} times in 3 s");
    }
    for target in &targets {
        target.set(500);
    }
    for number in 0..6 {
        let id = format!("i{number}");
        becomes(&servers[(number + 1) % 3], &id, Health::Unhealthy).await;
    }
    for server in servers {
        server.stop().await;
    }
}

async fn an_instance_whose_replica_stops_is_checked_by_another(backend: Backend) {
    let mut servers = Vec::new();
    for _ in 0..3 {
        servers.push(backend.server_with(settings(&backend)).await);
    }
    let target = Switch::new().await;
    let instance = at(target.listening.address, "a", vec![http()]);
    register(&servers[0], persistent(instance)).await.unwrap();
    // One after the other goes, so that the one that checks is among them.
    while let Some(server) = servers.pop() {
        target.set(200);
        becomes(&server, "a", Health::Healthy).await;
        target.set(500);
        becomes(&server, "a", Health::Unhealthy).await;
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_replica_that_checks_is_killed_another_goes_on_within_an_interval() {
    let etcd = Etcd::shared().await;
    let root = format!("test-{:016x}", rand::random::<u64>());
    let endpoints = etcd.endpoints().join(",").replace("http://", "");
    let store = format!("etcd://{endpoints}/{root}");
    let arguments = ["--store", &store, "--replica-ttl", "2s"];
    let mut processes = Vec::new();
    for _ in 0..3 {
        processes.push(Process::serve(&arguments).await);
    }
    let target = Switch::new().await;
    let instance = at(target.listening.address, "a", vec![http()]);
    let mut client = RegistryServiceClient::new(processes[0].channel().await);
    client
        .register_instance(persistent(instance))
        .await
        .unwrap();
    let is = |health: Health| {
        let mut client = client.clone();
        async move {
            let request = GetInstanceRequest {
                service: "web".into(),
                instance_id: "a".into(),
                consistency: Consistency::Linearizable.into(),
                ..GetInstanceRequest::default()
            };
            let got = client.get_instance(request).await.unwrap().into_inner();
            (got.instance.unwrap().health() == health).then_some(())
        }
    };
    eventually("the first verdict", || is(Health::Healthy)).await;
    // The first one answers; whichever of the others checks is killed, or neither does.
    drop(processes.split_off(1));
    target.set(500);
    let begun = std::time::Instant::now();
    eventually("the verdict of the one that is left", || {
        is(Health::Unhealthy)
    })
    .await;
    // Presence ends within 2 s and what etcd takes to notice, and an interval is 1 s.
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(3 * 6), "took {took:?}");
}

fn replicas(server: &crate::support::server::Server) -> usize {
    let view = server.app().core.cache.view().unwrap();
    view.state.replicas.len()
}
