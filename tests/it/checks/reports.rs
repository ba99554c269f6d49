//! Health that is reported.

use std::time::Duration;

use stanchion_client::proto::{Health, ReportHealthRequest};

use super::{
    at, becomes, by, by_check, ephemeral, get, http, persistent, register, report, says, send,
    targets::Switch,
};
use crate::support::server::{Backend, on_both_stores};

on_both_stores! {
    a_caller_takes_an_instance_out_and_only_its_own_word_puts_it_back,
    an_instance_reports_itself_without_an_end,
    sources_combine_to_the_worst_of_them,
    a_report_makes_a_persistent_instance_known,
}

const MINUTE: Duration = Duration::from_secs(60);

async fn a_caller_takes_an_instance_out_and_only_its_own_word_puts_it_back(backend: Backend) {
    let server = backend.server().await;
    let address = "127.0.0.1:1".parse().unwrap();
    register(&server, ephemeral(at(address, "a", Vec::new())))
        .await
        .unwrap();
    let unhealthy = report("a", "gateway", Health::Unhealthy, MINUTE);
    let told = send(&server, unhealthy.clone()).await.unwrap();
    assert_eq!(told.health(), Health::Unhealthy);
    let first = get(&server, "a").await;
    let said = Some((Health::Unhealthy, "gateway says so".into()));
    assert_eq!(says(&first, &by("gateway")), said);
    // Said again, it is so since the first time, and for longer.
    send(&server, unhealthy).await.unwrap();
    let second = get(&server, "a").await;
    let (first, second) = (&first.findings[0], &second.findings[0]);
    assert_eq!(first.since, second.since);
    let until = |f: &stanchion_client::proto::HealthFinding| {
        let time = f.expire_time.unwrap();
        (time.seconds, time.nanos)
    };
    assert!(until(second) > until(first));

    let stranger = report("a", "other", Health::Healthy, MINUTE);
    assert_eq!(
        send(&server, stranger).await.unwrap().health(),
        Health::Unhealthy
    );
    let healthy = report("a", "gateway", Health::Healthy, MINUTE);
    assert_eq!(
        send(&server, healthy).await.unwrap().health(),
        Health::Healthy
    );
    server.stop().await;
}

async fn an_instance_reports_itself_without_an_end(backend: Backend) {
    let server = backend.server().await;
    let address = "127.0.0.1:1".parse().unwrap();
    let registration = ephemeral(at(address, "a", Vec::new()));
    let session = register(&server, registration).await.unwrap();
    let own = |health: Health| ReportHealthRequest {
        session_id: session.clone(),
        reporter: String::new(),
        ttl: None,
        ..report("a", "", health, MINUTE)
    };
    let told = send(&server, own(Health::Unhealthy)).await.unwrap();
    assert_eq!(told.health(), Health::Unhealthy);
    let got = get(&server, "a").await;
    assert!(says(&got, &by("")).is_some() && got.findings[0].expire_time.is_none());
    let told = send(&server, own(Health::Healthy)).await.unwrap();
    assert_eq!(told.health(), Health::Healthy);
    server.stop().await;
}

async fn sources_combine_to_the_worst_of_them(backend: Backend) {
    let server = backend.server().await;
    let target = Switch::new().await;
    let address = target.listening.address;
    register(&server, ephemeral(at(address, "a", vec![http()])))
        .await
        .unwrap();
    becomes(&server, "a", Health::Healthy).await;
    send(&server, report("a", "gateway", Health::Unhealthy, MINUTE))
        .await
        .unwrap();
    target.set(500);
    let check_failed = || async {
        let got = get(&server, "a").await;
        let failed = says(&got, &by_check("http"))?.0 == Health::Unhealthy;
        failed.then_some(got)
    };
    let got = crate::support::server::eventually("the check to fail", check_failed).await;
    assert_eq!(got.findings.len(), 2);
    // One good word is not enough, whichever it is.
    let healthy = report("a", "gateway", Health::Healthy, MINUTE);
    let told = send(&server, healthy).await.unwrap();
    assert_eq!(told.health(), Health::Unhealthy);
    target.set(200);
    becomes(&server, "a", Health::Healthy).await;
    server.stop().await;
}

async fn a_report_makes_a_persistent_instance_known(backend: Backend) {
    let server = backend.server().await;
    let address = "127.0.0.1:1".parse().unwrap();
    register(&server, persistent(at(address, "a", Vec::new())))
        .await
        .unwrap();
    let health = get(&server, "a").await.instance.unwrap().health();
    assert_eq!(health, Health::Unknown);
    let healthy = report("a", "monitor", Health::Healthy, MINUTE);
    assert_eq!(
        send(&server, healthy).await.unwrap().health(),
        Health::Healthy
    );
    server.stop().await;
}
