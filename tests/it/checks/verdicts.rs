//! What checks make of instances.

use stanchion_client::proto::{
    DeregisterInstanceRequest, EventType, Health, InstanceView, ListInstancesRequest,
    UpdateInstanceRequest, WatchInstancesRequest, watch_instances_response::Message,
};

use super::{
    at, becomes, by_check, ephemeral, get, http, millis, persistent, register, says,
    targets::{Listening, Switch},
    tcp,
};
use crate::support::server::{Backend, Server, on_both_stores};

on_both_stores! {
    a_persistent_instance_is_unknown_until_a_check_has_passed,
    a_verdict_flips_with_what_is_checked,
    an_instance_with_a_session_is_taken_out_by_its_check_and_comes_back,
    a_failing_check_wakes_watchers_once,
    thresholds_keep_an_instance_in_through_single_failures,
    an_instance_may_start_unhealthy,
    link_local_addresses_are_refused_and_the_reason_is_shown,
    a_check_that_is_changed_or_taken_away_says_nothing_any_more,
    an_instance_registered_anew_is_not_what_was_found_of_the_one_before,
}

async fn a_persistent_instance_is_unknown_until_a_check_has_passed(backend: Backend) {
    let server = backend.server().await;
    let target = Listening::hanging().await;
    let late = stanchion_client::proto::HealthCheck {
        initial_delay: Some(millis(2000)),
        ..tcp()
    };
    register(&server, persistent(at(target.address, "a", vec![late])))
        .await
        .unwrap();
    let got = get(&server, "a").await;
    let instance = got.instance.unwrap();
    assert_eq!(
        (instance.health(), instance.serving),
        (Health::Unknown, true)
    );
    assert!(got.findings.is_empty());
    let got = becomes(&server, "a", Health::Healthy).await;
    let passed = Some((Health::Healthy, String::new()));
    assert_eq!(says(&got, &by_check("tcp")), passed);
    assert!(got.findings[0].since.is_some() && got.findings[0].expire_time.is_none());
    server.stop().await;
}

async fn a_verdict_flips_with_what_is_checked(backend: Backend) {
    let server = backend.server().await;
    let target = Switch::new().await;
    let address = target.listening.address;
    let registration = persistent(at(address, "a", vec![http(), tcp()]));
    register(&server, registration).await.unwrap();
    becomes(&server, "a", Health::Healthy).await;
    target.set(503);
    let got = becomes(&server, "a", Health::Unhealthy).await;
    let failed = Some((Health::Unhealthy, "answered with status 503".into()));
    assert_eq!(says(&got, &by_check("http")), failed);
    // The other one has nothing against it.
    let passed = Some((Health::Healthy, String::new()));
    assert_eq!(says(&got, &by_check("tcp")), passed);
    target.set(204);
    becomes(&server, "a", Health::Healthy).await;
    server.stop().await;
}

async fn an_instance_with_a_session_is_taken_out_by_its_check_and_comes_back(backend: Backend) {
    let server = backend.server().await;
    let (good, target) = (Switch::new().await, Switch::new().await);
    for (id, switch) in [("a", &target), ("b", &good)] {
        let address = switch.listening.address;
        let registration = ephemeral(at(address, id, vec![http()]));
        register(&server, registration).await.unwrap();
        becomes(&server, id, Health::Healthy).await;
    }
    target.set(500);
    becomes(&server, "a", Health::Unhealthy).await;
    assert_eq!(serving(&server).await, ["b"]);
    target.set(200);
    becomes(&server, "a", Health::Healthy).await;
    assert_eq!(serving(&server).await, ["a", "b"]);
    server.stop().await;
}

async fn a_failing_check_wakes_watchers_once(backend: Backend) {
    let server = backend.server().await;
    let target = Switch::new().await;
    let address = target.listening.address;
    let registration = persistent(at(address, "a", vec![http()]));
    register(&server, registration).await.unwrap();
    becomes(&server, "a", Health::Healthy).await;
    let request = WatchInstancesRequest {
        service: "web".into(),
        view: InstanceView::All.into(),
        ..WatchInstancesRequest::default()
    };
    let stream = server.registry().watch_instances(request).await.unwrap();
    let mut stream = stream.into_inner();
    let mut checked = 0;
    // Other words each time, for the same verdict.
    for status in [500, 501, 502, 200] {
        target.set(status);
        let before = target.listening.count();
        let more = || async { (target.listening.count() > before + 1).then_some(()) };
        crate::support::server::eventually("further checks", more).await;
        checked += 1;
    }
    assert_eq!(checked, 4);
    becomes(&server, "a", Health::Healthy).await;
    let mut seen = Vec::new();
    while seen.len() < 2 {
        if let Some(Message::Delta(delta)) = stream.message().await.unwrap().unwrap().message {
            let events = delta.events.into_iter();
            seen.extend(events.map(|event| event.instance.unwrap().health()));
        }
    }
    assert_eq!(seen, [Health::Unhealthy, Health::Healthy]);
    server.stop().await;
}

async fn thresholds_keep_an_instance_in_through_single_failures(backend: Backend) {
    let server = backend.server().await;
    let target = Switch::new().await;
    let patient = stanchion_client::proto::HealthCheck {
        failure_threshold: Some(2),
        success_threshold: Some(2),
        ..http()
    };
    let address = target.listening.address;
    register(&server, persistent(at(address, "a", vec![patient])))
        .await
        .unwrap();
    becomes(&server, "a", Health::Healthy).await;
    let request = WatchInstancesRequest {
        service: "web".into(),
        view: InstanceView::All.into(),
        ..WatchInstancesRequest::default()
    };
    let stream = server.registry().watch_instances(request).await.unwrap();
    let mut stream = stream.into_inner();
    let checked = || target.listening.count();
    let before = checked();
    target.set_once(500);
    let more = || async { (checked() >= before + 3).then_some(()) };
    crate::support::server::eventually("further checks", more).await;
    target.set(500);
    becomes(&server, "a", Health::Unhealthy).await;
    deregister(&server, "a").await;
    // A verdict that the one failure made would have been taken back since, and told.
    let mut seen = Vec::new();
    while seen.last() != Some(&(EventType::Deleted, Health::Unhealthy)) {
        if let Some(Message::Delta(delta)) = stream.message().await.unwrap().unwrap().message {
            let events = delta.events.into_iter();
            seen.extend(events.map(|event| (event.r#type(), event.instance.unwrap().health())));
        }
    }
    let failed = (EventType::Modified, Health::Unhealthy);
    assert_eq!(seen, [failed, (EventType::Deleted, Health::Unhealthy)]);
    server.stop().await;
}

async fn an_instance_may_start_unhealthy(backend: Backend) {
    let server = backend.server().await;
    let target = Switch::new().await;
    let strict = stanchion_client::proto::HealthCheck {
        starts_unhealthy: true,
        initial_delay: Some(millis(2000)),
        ..http()
    };
    let address = target.listening.address;
    register(&server, ephemeral(at(address, "a", vec![strict])))
        .await
        .unwrap();
    let health = get(&server, "a").await.instance.unwrap().health();
    assert_eq!(health, Health::Unhealthy);
    becomes(&server, "a", Health::Healthy).await;
    server.stop().await;
}

async fn link_local_addresses_are_refused_and_the_reason_is_shown(backend: Backend) {
    let server = backend.server().await;
    let address = "169.254.169.254:80".parse().unwrap();
    let metadata = stanchion_client::proto::HealthCheck {
        // A connection that is tried would be one that nobody answers.
        timeout: Some(millis(1000)),
        ..http()
    };
    register(&server, persistent(at(address, "a", vec![metadata])))
        .await
        .unwrap();
    let got = becomes(&server, "a", Health::Unhealthy).await;
    let refused = "169.254.169.254 is an address that is not checked".to_owned();
    assert_eq!(
        says(&got, &by_check("http")),
        Some((Health::Unhealthy, refused))
    );
    server.stop().await;
}

async fn a_check_that_is_changed_or_taken_away_says_nothing_any_more(backend: Backend) {
    let server = backend.server().await;
    let target = Switch::new().await;
    target.set(500);
    let address = target.listening.address;
    let instance = at(address, "a", vec![http()]);
    register(&server, ephemeral(instance.clone()))
        .await
        .unwrap();
    becomes(&server, "a", Health::Unhealthy).await;
    let update = |checks| UpdateInstanceRequest {
        instance: Some(stanchion_client::proto::Instance {
            checks,
            ..instance.clone()
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["checks".into()],
        }),
        ..UpdateInstanceRequest::default()
    };
    // Something else is asked, of which nothing is known yet.
    let mut other = http();
    if let Some(stanchion_client::proto::health_check::Kind::Http(http)) = &mut other.kind {
        (http.min_status, http.max_status) = (500, 500);
    }
    other.initial_delay = Some(millis(60_000));
    let updated = server.registry().update_instance(update(vec![other])).await;
    let instance = updated.unwrap().into_inner().instance.unwrap();
    assert_eq!(instance.health(), Health::Unknown);
    assert!(get(&server, "a").await.findings.is_empty());
    let updated = server.registry().update_instance(update(Vec::new())).await;
    let instance = updated.unwrap().into_inner().instance.unwrap();
    assert_eq!(instance.health(), Health::Healthy);
    server.stop().await;
}

async fn an_instance_registered_anew_is_not_what_was_found_of_the_one_before(backend: Backend) {
    let server = backend.server().await;
    let target = Switch::new().await;
    target.set(500);
    let later = stanchion_client::proto::HealthCheck {
        initial_delay: Some(millis(60_000)),
        ..http()
    };
    let address = target.listening.address;
    let instance = at(address, "a", vec![http()]);
    register(&server, persistent(instance.clone()))
        .await
        .unwrap();
    becomes(&server, "a", Health::Unhealthy).await;
    deregister(&server, "a").await;
    let again = stanchion_client::proto::Instance {
        checks: vec![later],
        ..instance
    };
    register(&server, persistent(again)).await.unwrap();
    let got = get(&server, "a").await;
    assert_eq!(got.instance.unwrap().health(), Health::Unknown);
    assert!(got.findings.is_empty());
    server.stop().await;
}

async fn deregister(server: &Server, id: &str) {
    let request = DeregisterInstanceRequest {
        service: "web".into(),
        instance_id: id.into(),
        ..DeregisterInstanceRequest::default()
    };
    let mut registry = server.registry();
    registry.deregister_instance(request).await.unwrap();
}

async fn serving(server: &Server) -> Vec<String> {
    let request = ListInstancesRequest {
        service: "web".into(),
        ..ListInstancesRequest::default()
    };
    let listed = server.registry().list_instances(request).await.unwrap();
    let instances = listed.into_inner().instances.into_iter();
    instances.map(|instance| instance.instance_id).collect()
}
