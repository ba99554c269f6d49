//! Health and reflection.

use tokio::time::timeout;
use tokio_stream::StreamExt as _;
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::{v1, v1alpha};

use crate::support::{
    server::{Backend, Server, on_both_stores},
    store::PATIENCE,
};

on_both_stores! {
    everything_is_healthy_on_a_healthy_server,
}

async fn everything_is_healthy_on_a_healthy_server(backend: Backend) {
    let server = backend.server().await;
    let mut names = vec![String::new()];
    for service in stanchion::rpc::SERVICES {
        names.extend([
            service.to_owned(),
            format!("{service}/read"),
            format!("{service}/write"),
        ]);
    }
    let mut health = HealthClient::new(server.channel());
    for service in names {
        let request = HealthCheckRequest { service };
        let checked = health.check(request.clone()).await.unwrap().into_inner();
        assert_eq!(checked.status(), ServingStatus::Serving, "{request:?}");
        let watch = health.watch(request.clone()).await.unwrap();
        let mut watch = watch.into_inner();
        let watched = timeout(PATIENCE, watch.message()).await.unwrap().unwrap();
        assert_eq!(watched.unwrap().status(), ServingStatus::Serving);
    }
    let unknown = HealthCheckRequest {
        service: "nobody".into(),
    };
    let status = health.check(unknown.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    let mut watch = health.watch(unknown).await.unwrap().into_inner();
    let watched = timeout(PATIENCE, watch.message()).await.unwrap().unwrap();
    assert_eq!(watched.unwrap().status(), ServingStatus::ServiceUnknown);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_watches_health_is_told_of_the_drain_and_let_go() {
    let server = Backend::embedded().await.server().await;
    let mut health = HealthClient::new(server.channel());
    let watch = health.watch(HealthCheckRequest::default()).await.unwrap();
    let mut watch = watch.into_inner();
    let serving = watch.message().await.unwrap().unwrap();
    assert_eq!(serving.status(), ServingStatus::Serving);
    let rest = timeout(PATIENCE, async {
        tokio::join!(server.stop(), watch.collect::<Vec<_>>()).1
    });
    let rest: Result<Vec<_>, _> = rest.await.unwrap().into_iter().collect();
    let statuses: Vec<_> = rest.unwrap().iter().map(|told| told.status()).collect();
    assert_eq!(statuses, [ServingStatus::NotServing]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reflection_answers_in_both_versions() {
    let server = Backend::embedded().await.server().await;
    for services in [services_v1(&server).await, services_v1alpha(&server).await] {
        for service in stanchion::rpc::SERVICES {
            assert!(services.iter().any(|name| name == service), "{services:?}");
        }
        assert!(services.iter().any(|name| name == "grpc.health.v1.Health"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reflection_can_be_switched_off() {
    let backend = Backend::embedded().await;
    let mut settings = backend.settings();
    settings.rpc.reflection = false;
    let server = backend.server_with(settings).await;
    let question = v1::ServerReflectionRequest::default();
    let status = v1::server_reflection_client::ServerReflectionClient::new(server.channel())
        .server_reflection_info(tokio_stream::once(question))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
}

async fn services_v1(server: &Server) -> Vec<String> {
    use v1::{
        ServerReflectionRequest, server_reflection_request::MessageRequest,
        server_reflection_response::MessageResponse,
    };

    let question = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(server.channel());
    let answers = client.server_reflection_info(tokio_stream::once(question));
    let answer = answers.await.unwrap().into_inner().message().await.unwrap();
    match answer.unwrap().message_response.unwrap() {
        MessageResponse::ListServicesResponse(list) => list
            .service
            .into_iter()
            .map(|service| service.name)
            .collect(),
        other => panic!("{other:?}"),
    }
}

async fn services_v1alpha(server: &Server) -> Vec<String> {
    use v1alpha::{
        ServerReflectionRequest, server_reflection_request::MessageRequest,
        server_reflection_response::MessageResponse,
    };

    let question = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client =
        v1alpha::server_reflection_client::ServerReflectionClient::new(server.channel());
    let answers = client.server_reflection_info(tokio_stream::once(question));
    let answer = answers.await.unwrap().into_inner().message().await.unwrap();
    match answer.unwrap().message_response.unwrap() {
        MessageResponse::ListServicesResponse(list) => list
            .service
            .into_iter()
            .map(|service| service.name)
            .collect(),
        other => panic!("{other:?}"),
    }
}
