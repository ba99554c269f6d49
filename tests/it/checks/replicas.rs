//! Checks by several replicas on one store.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use stanchion::settings::Settings;
use stanchion_client::proto::{
    Consistency, GetInstanceRequest, Health, registry_service_client::RegistryServiceClient,
};
use tonic::transport::Channel;

use super::{at, becomes, http, persistent, register, targets::Switch};
use crate::support::{
    etcd::Etcd,
    process::Process,
    scrape,
    server::{Backend, Server, eventually, on_both_stores},
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
    // For some seconds, by the targets' own count: a second replica would ask as often again.
    let begun = Instant::now();
    let before: Vec<_> = targets
        .iter()
        .map(|target| target.listening.count())
        .collect();
    tokio::time::sleep(Duration::from_secs(3)).await;
    for (target, before) in targets.iter().zip(before) {
        let asked = target.listening.count() - before;
        // An interval of 1 s may be shorter by a tenth.
        let most = begun.elapsed().as_secs_f64() / 0.9 + 1.0;
        assert!(
            asked as f64 <= most,
            "asked {asked} times in {:?}",
            begun.elapsed()
        );
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
async fn when_the_replica_that_checks_is_killed_another_goes_on() {
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
    // One after the other goes, each time the one that checks.
    while !processes.is_empty() {
        let checks = eventually("one that checks", async || {
            let planned: Vec<_> = processes.iter().map(planned).collect();
            let checks = planned.iter().position(|planned| *planned == 1.0)?;
            (planned.iter().sum::<f64>() == 1.0).then_some(checks)
        })
        .await;
        let client = RegistryServiceClient::new(processes[checks].channel().await);
        for (status, health) in [(200, Health::Healthy), (500, Health::Unhealthy)] {
            target.set(status);
            eventually("a verdict", || is(client.clone(), health)).await;
        }
        let mut killed = processes.swap_remove(checks);
        killed.signal(Signal::KILL);
        killed.end().await;
    }
}

/// How many checks a replica makes.
fn planned(process: &Process) -> f64 {
    let page = scrape::get(process.operations_address, "/metrics").unwrap();
    scrape::metric(&page, "stanchion_checks_planned", "")
}

async fn is(mut client: RegistryServiceClient<Channel>, health: Health) -> Option<()> {
    let request = GetInstanceRequest {
        service: "web".into(),
        instance_id: "a".into(),
        consistency: Consistency::Linearizable.into(),
        ..GetInstanceRequest::default()
    };
    let got = client.get_instance(request).await.unwrap().into_inner();
    (got.instance.unwrap().health() == health).then_some(())
}

fn replicas(server: &Server) -> usize {
    let view = server.app().core.cache.view().unwrap();
    view.state.replicas.len()
}
