//! What services ask for: checks of all their instances, damping, removal.

use std::time::Duration;

use bytes::Bytes;
use stanchion::{domain::registry::RemovalCause, settings::Settings};
use stanchion_client::proto::{
    DeleteCause, EventType, Health, InstanceView, PutServiceRequest, ServiceSettings,
    WatchInstancesRequest, watch_instances_response::Message,
};

use super::{
    at, becomes, by_check, ephemeral, get, http, millis, persistent, register, report, says, send,
    targets::Switch,
};
use crate::support::server::{Backend, Server, eventually, on_both_stores};

on_both_stores! {
    a_service_has_instances_checked_that_declare_no_check,
    a_report_ends_by_itself,
    an_instance_that_changes_too_often_is_held_back_where_that_is_asked_for,
    what_is_unhealthy_stays_unless_its_service_says_otherwise,
    what_is_unhealthy_for_too_long_is_removed_once_and_remembered,
    most_of_a_service_is_not_removed_at_once,
}

const MINUTE: Duration = Duration::from_secs(60);

async fn a_service_has_instances_checked_that_declare_no_check(backend: Backend) {
    let server = backend.server().await;
    let (target, other) = (Switch::new().await, Switch::new().await);
    other.set(500);
    register(
        &server,
        persistent(at(target.listening.address, "a", Vec::new())),
    )
    .await
    .unwrap();
    // One that declares a check is checked as it says.
    let mut own = http();
    own.name = "own".into();
    register(
        &server,
        persistent(at(other.listening.address, "b", vec![own])),
    )
    .await
    .unwrap();
    let checked = ServiceSettings {
        checks: vec![http()],
        ..ServiceSettings::default()
    };
    set(&server, checked).await;
    let got = becomes(&server, "a", Health::Healthy).await;
    assert!(says(&got, &by_check("http")).is_some());
    let got = becomes(&server, "b", Health::Unhealthy).await;
    assert!(says(&got, &by_check("http")).is_none());
    // The service changes its mind.
    set(&server, ServiceSettings::default()).await;
    let got = becomes(&server, "a", Health::Unknown).await;
    assert!(got.findings.is_empty());
    server.stop().await;
}

async fn a_report_ends_by_itself(backend: Backend) {
    let server = backend.server().await;
    let address = "127.0.0.1:1".parse().unwrap();
    register(&server, ephemeral(at(address, "a", Vec::new())))
        .await
        .unwrap();
    let second = Duration::from_secs(1);
    send(&server, report("a", "gateway", Health::Unhealthy, second))
        .await
        .unwrap();
    let got = becomes(&server, "a", Health::Healthy).await;
    assert!(got.findings.is_empty());
    server.stop().await;
}

async fn an_instance_that_changes_too_often_is_held_back_where_that_is_asked_for(backend: Backend) {
    let server = backend.server().await;
    let address = "127.0.0.1:1".parse().unwrap();
    register(&server, ephemeral(at(address, "a", Vec::new())))
        .await
        .unwrap();
    let flap = || async {
        let mut last = Health::Unspecified;
        for health in [
            Health::Unhealthy,
            Health::Healthy,
            Health::Unhealthy,
            Health::Healthy,
        ] {
            let told = send(&server, report("a", "gateway", health, MINUTE))
                .await
                .unwrap();
            last = told.health();
        }
        last
    };
    assert_eq!(flap().await, Health::Healthy);
    assert_eq!(get(&server, "a").await.damping, None);

    let damped = ServiceSettings {
        flap_damping: true,
        ..ServiceSettings::default()
    };
    set(&server, damped).await;
    assert_eq!(flap().await, Health::Unhealthy);
    let got = get(&server, "a").await;
    let damping = got.damping.unwrap();
    assert!((3000..=4000).contains(&damping.penalty), "{damping:?}");
    assert!(damping.held_until.is_some());
    // Each source is shown as it is.
    assert_eq!(got.findings[0].health(), Health::Healthy);
    server.stop().await;
}

async fn what_is_unhealthy_stays_unless_its_service_says_otherwise(backend: Backend) {
    let server = backend.server_with(settings(&backend)).await;
    let target = Switch::new().await;
    target.set(500);
    let instance = |service: &str| stanchion_client::proto::Instance {
        service: service.into(),
        ..at(target.listening.address, "a", vec![http()])
    };
    register(&server, persistent(instance("web")))
        .await
        .unwrap();
    register(&server, persistent(instance("removed")))
        .await
        .unwrap();
    becomes(&server, "a", Health::Unhealthy).await;
    let request = PutServiceRequest {
        service: "removed".into(),
        settings: Some(removing()),
        ..PutServiceRequest::default()
    };
    server.operators().put_service(request).await.unwrap();
    tombstone(&server, "default/removed/a").await;
    let health = get(&server, "a").await.instance.unwrap().health();
    assert_eq!(health, Health::Unhealthy);
    server.stop().await;
}

async fn what_is_unhealthy_for_too_long_is_removed_once_and_remembered(backend: Backend) {
    // They decide at about the same time.
    let mut settings = settings(&backend);
    settings.domain.rank_delay = Duration::from_millis(10);
    let one = backend.server_with(settings.clone()).await;
    let two = backend.server_with(settings).await;
    set(&one, removing()).await;
    let target = Switch::new().await;
    let address = target.listening.address;
    register(&one, persistent(at(address, "a", vec![http()])))
        .await
        .unwrap();
    becomes(&one, "a", Health::Healthy).await;
    let request = WatchInstancesRequest {
        service: "web".into(),
        view: InstanceView::All.into(),
        ..WatchInstancesRequest::default()
    };
    let mut watch = two
        .registry()
        .watch_instances(request)
        .await
        .unwrap()
        .into_inner();
    target.set(503);
    tombstone(&one, "default/web/a").await;
    // Whoever was second found nothing to do: the next thing that happens is this.
    register(&one, ephemeral(at(address, "b", Vec::new())))
        .await
        .unwrap();
    let mut seen = Vec::new();
    while !seen.iter().any(|(_, _, id)| id == "b") {
        if let Some(Message::Delta(delta)) = watch.message().await.unwrap().unwrap().message {
            let told = |event: stanchion_client::proto::InstanceEvent| {
                let (kind, cause) = (event.r#type(), event.cause());
                (kind, cause, event.instance.unwrap().instance_id)
            };
            seen.extend(delta.events.into_iter().map(told));
        }
    }
    let removals = seen.iter().filter(|(kind, ..)| *kind == EventType::Deleted);
    let causes: Vec<_> = removals.map(|(_, cause, _)| *cause).collect();
    assert_eq!(causes, [DeleteCause::Unhealthy], "{seen:?}");
    one.stop().await;
    two.stop().await;
}

async fn most_of_a_service_is_not_removed_at_once(backend: Backend) {
    let mut settings = settings(&backend);
    settings.domain.brake_limit = Duration::from_secs(3);
    let server = backend.server_with(settings).await;
    let (bad, good) = (Switch::new().await, Switch::new().await);
    bad.set(500);
    for (id, switch) in [("a", &bad), ("b", &bad), ("c", &bad), ("d", &good)] {
        let instance = at(switch.listening.address, id, vec![http()]);
        register(&server, persistent(instance)).await.unwrap();
    }
    for id in ["a", "b", "c"] {
        becomes(&server, id, Health::Unhealthy).await;
    }
    let begun = std::time::Instant::now();
    // Now, so that none is removed while the others have not been checked yet.
    set(&server, removing()).await;
    // Half of them no longer is most of them.
    let first = tombstone(&server, "default/web/a").await;
    // One second, and three for which the brake holds it.
    assert!(begun.elapsed() >= Duration::from_secs(4), "{first:?}");
    assert_eq!(
        get(&server, "d").await.instance.unwrap().health(),
        Health::Healthy
    );
    server.stop().await;
}

/// Nothing is held because a replica has just started.
fn settings(backend: &Backend) -> Settings {
    let mut settings = backend.settings();
    settings.domain.expiry_hold = Duration::ZERO;
    settings
}

fn removing() -> ServiceSettings {
    ServiceSettings {
        remove_unhealthy_after: Some(millis(1000)),
        ..ServiceSettings::default()
    }
}

async fn set(server: &Server, settings: ServiceSettings) {
    let request = PutServiceRequest {
        service: "web".into(),
        settings: Some(settings),
        ..PutServiceRequest::default()
    };
    server.operators().put_service(request).await.unwrap();
}

/// Waits for the mark of a removal.
async fn tombstone(server: &Server, path: &str) -> String {
    let path = Bytes::copy_from_slice(path.as_bytes());
    let gone = || async {
        let view = server.app().core.cache.view().unwrap();
        let gone = !view.state.instances.contains_key(&path);
        let tombstone = view.state.tombstones.get(&path).filter(|_| gone)?;
        assert_eq!(tombstone.cause, RemovalCause::Unhealthy);
        Some(tombstone.detail.clone())
    };
    let detail = eventually("the removal", gone).await;
    assert!(detail.starts_with("answered with status 50"), "{detail}");
    detail
}
