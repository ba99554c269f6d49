//! Weights that grow after a registration or a recovery.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use stanchion::clock::{Clock, ManualClock};
use stanchion_client::proto::{
    Health, Instance, ListInstancesRequest, Locality, PutServiceRequest, ReportHealthRequest,
    ServiceSettings, UpdateInstanceRequest,
};

use crate::support::server::{Backend, Server, eventually, on_both_stores};

use super::{
    ALL, SERVING, Watcher, get, instance, list, mask, modified, open, register_on, seconds, told,
    watching,
};

on_both_stores! {
    a_weight_grows_from_the_registration_on_and_watchers_are_told_how,
    a_weight_grows_again_after_a_recovery,
    a_service_that_asks_for_nothing_has_its_weights_at_once,
}

/// Settings of `web`.
async fn put_settings(server: &Server, slow_start: Option<i64>) {
    let request = PutServiceRequest {
        service: "web".into(),
        settings: Some(ServiceSettings {
            slow_start: slow_start.map(seconds),
            ..ServiceSettings::default()
        }),
        ..PutServiceRequest::default()
    };
    server.operators().put_service(request).await.unwrap();
}

/// Has somebody report how `a` is.
async fn report(server: &Server, reporter: &str, health: Health) {
    let request = ReportHealthRequest {
        service: "web".into(),
        instance_id: "a".into(),
        reporter: reporter.into(),
        health: health.into(),
        ttl: Some(seconds(3600)),
        ..ReportHealthRequest::default()
    };
    server.registry().report_health(request).await.unwrap();
}

/// By how much the clock moves at a time while a replica starts.
const TICK: Duration = Duration::from_millis(10);

/// A replica whose clock stands still once it has started.
async fn with_clock(backend: &Backend) -> (Server, ManualClock) {
    let clock = ManualClock::default();
    let (store, settings) = (backend.store().await, backend.settings());
    let starting = backend.server_on(store, settings, Arc::new(clock.clone()));
    // To begin with it asks the store from time to time how far it is.
    let ticking = async {
        loop {
            tokio::time::sleep(TICK).await;
            clock.advance(TICK);
        }
    };
    let server = tokio::select! {
        server = starting => server,
        () = ticking => unreachable!(),
    };
    (server, clock)
}

fn start_of(instance: &Instance) -> SystemTime {
    let start = instance.slow_start.as_ref().unwrap().start_time;
    start.unwrap().try_into().unwrap()
}

/// The effective weights that lists of all kinds and `GetInstance` tell, which are the same.
async fn effective_weight(server: &Server, id: &str) -> Option<i32> {
    let one = get(server, id).await.unwrap();
    let near = ListInstancesRequest {
        service: "web".into(),
        locality: Some(Locality {
            zone: "1".into(),
            ..Locality::default()
        }),
        ..ListInstancesRequest::default()
    };
    let near = server.registry().list_instances(near).await.unwrap();
    let filtered = ListInstancesRequest {
        service: "web".into(),
        filter: "zone != 1".into(),
        ..ListInstancesRequest::default()
    };
    let filtered = server.registry().list_instances(filtered).await.unwrap();
    for shown in [
        list(server, SERVING).await.instances,
        list(server, ALL).await.instances,
        near.into_inner().instances,
        filtered.into_inner().instances,
    ] {
        let shown = shown.into_iter().find(|i| i.instance_id == id).unwrap();
        assert_eq!(shown.effective_weight, one.effective_weight);
    }
    one.effective_weight
}

async fn a_weight_grows_from_the_registration_on_and_watchers_are_told_how(backend: Backend) {
    let (server, clock) = with_clock(&backend).await;
    let session = open(&server, "").await;
    put_settings(&server, Some(100)).await;
    let mut watcher = Watcher::open(&server, watching(SERVING, None)).await;
    watcher.snapshot().await;
    let registered = register_on(&server, &session, "a").await;
    let time: SystemTime = registered.register_time.unwrap().try_into().unwrap();
    assert_eq!(start_of(&registered), time);

    let (delta, _) = watcher.delta().await;
    let told_of = delta.events[0].instance.clone().unwrap();
    assert_eq!(start_of(&told_of), time);
    assert_eq!(told_of.effective_weight, None, "which changes by itself");
    assert_eq!(effective_weight(&server, "a").await, Some(10));
    for (seconds, weight) in [(10, Some(19)), (40, Some(55)), (49, Some(99)), (1, None)] {
        clock.advance(Duration::from_secs(seconds));
        assert_eq!(effective_weight(&server, "a").await, weight);
        let computed = told_of.weight_at(clock.system_time());
        assert_eq!(computed, weight.unwrap_or(100));
    }

    // What was grown stays so, while another one grows, and when its record changes.
    register_on(&server, &session, "b").await;
    assert_eq!(effective_weight(&server, "a").await, None);
    assert_eq!(effective_weight(&server, "b").await, Some(10));
    let update = UpdateInstanceRequest {
        instance: Some(Instance {
            weight: Some(1000),
            ..instance("a")
        }),
        update_mask: Some(mask(&["weight"])),
        ..UpdateInstanceRequest::default()
    };
    server.registry().update_instance(update).await.unwrap();
    assert_eq!(effective_weight(&server, "a").await, None);
    assert_eq!(get(&server, "a").await.unwrap().weight, Some(1000));
    server.stop().await;
}

async fn a_weight_grows_again_after_a_recovery(backend: Backend) {
    let (server, clock) = with_clock(&backend).await;
    let session = open(&server, "").await;
    put_settings(&server, Some(100)).await;
    register_on(&server, &session, "a").await;
    clock.advance(Duration::from_secs(1000));
    assert_eq!(effective_weight(&server, "a").await, None);

    // That somebody says it works is no recovery.
    report(&server, "one", Health::Healthy).await;
    assert_eq!(effective_weight(&server, "a").await, None);

    let mut watcher = Watcher::open(&server, watching(ALL, None)).await;
    watcher.snapshot().await;
    report(&server, "one", Health::Unhealthy).await;
    assert_eq!(watcher.event().await, modified("a"));
    assert_eq!(get(&server, "a").await.unwrap().slow_start, None);
    report(&server, "two", Health::Unhealthy).await;
    report(&server, "two", Health::Healthy).await;
    assert_eq!(get(&server, "a").await.unwrap().slow_start, None);
    report(&server, "one", Health::Healthy).await;
    let (delta, _) = watcher.delta().await;
    assert_eq!(told(&delta), [modified("a")]);
    let recovered = delta.events[0].instance.as_ref().unwrap();
    assert_eq!(start_of(recovered), clock.system_time());
    assert_eq!(effective_weight(&server, "a").await, Some(10));
    clock.advance(Duration::from_secs(100));
    assert_eq!(effective_weight(&server, "a").await, None);

    // An objection that is over does as well.
    report(&server, "one", Health::Unhealthy).await;
    clock.advance(Duration::from_secs(3600));
    eventually("the end of the report", async || {
        let instance = get(&server, "a").await.unwrap();
        (instance.health() == Health::Healthy).then_some(())
    })
    .await;
    assert_eq!(effective_weight(&server, "a").await, Some(10));
    server.stop().await;
}

async fn a_service_that_asks_for_nothing_has_its_weights_at_once(backend: Backend) {
    let (server, _) = with_clock(&backend).await;
    let session = open(&server, "").await;
    let registered = register_on(&server, &session, "a").await;
    assert_eq!(registered.slow_start, None);
    assert_eq!(effective_weight(&server, "a").await, None);

    // Watchers are told when that changes, and when it changes back.
    let mut watcher = Watcher::open(&server, watching(SERVING, None)).await;
    watcher.snapshot().await;
    put_settings(&server, Some(100)).await;
    assert_eq!(watcher.event().await, modified("a"));
    assert_eq!(effective_weight(&server, "a").await, Some(10));
    put_settings(&server, None).await;
    assert_eq!(watcher.event().await, modified("a"));
    assert_eq!(effective_weight(&server, "a").await, None);
    server.stop().await;
}
