//! Deadlines, kept by the server: these clients have none of their own.

use std::time::{Duration, Instant};

use stanchion_client::proto::{
    AcquireLockRequest, ConfigWait, GetConfigRequest, OpenSessionRequest, PutConfigRequest,
    WatchConfigsRequest,
};
use tonic::Code;

use super::slow_store::SlowStore;
use crate::support::{
    raw::RawClient,
    server::{Backend, assert_status},
};

const PUT_CONFIG: &str = "/stanchion.v1.ConfigService/PutConfig";
const GET_CONFIG: &str = "/stanchion.v1.ConfigService/GetConfig";
const ACQUIRE_LOCK: &str = "/stanchion.v1.LockService/AcquireLock";
const WATCH_CONFIGS: &str = "/stanchion.v1.ConfigService/WatchConfigs";

/// How long a call may take that is to end at once.
const SOON: Duration = Duration::from_secs(5);

fn put() -> PutConfigRequest {
    PutConfigRequest {
        key: "a".into(),
        ..PutConfigRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_deadline_of_the_caller_is_kept() {
    let (store, server) = SlowStore::server(|_| ()).await;
    let mut client = RawClient::connect(server.address).await;
    store.slow_down();
    let begun = Instant::now();
    let deadline = [("grpc-timeout", "200m")];
    let answer = client.call(PUT_CONFIG, &deadline, &put()).await;
    assert_status(&answer.status, Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
    let took = begun.elapsed();
    assert!(
        took >= Duration::from_millis(200) && took < SOON,
        "{took:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_without_a_deadline_get_one_and_nobody_gets_more_than_the_longest() {
    let (store, server) = SlowStore::server(|settings| {
        settings.rpc.default_deadline = Duration::from_millis(200);
        settings.rpc.max_deadline = Duration::from_millis(400);
    })
    .await;
    let mut client = RawClient::connect(server.address).await;
    store.slow_down();
    for (headers, limit) in [(vec![], 200), (vec![("grpc-timeout", "1H")], 400)] {
        let begun = Instant::now();
        let answer = client.call(PUT_CONFIG, &headers, &put()).await;
        assert_status(&answer.status, Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
        let took = begun.elapsed();
        let limit = Duration::from_millis(limit);
        assert!(took >= limit && took < SOON, "{took:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_waits_for_a_lock_has_the_deadline_of_its_caller_and_no_other() {
    let backend = Backend::embedded().await;
    let mut settings = backend.settings();
    settings.rpc.default_deadline = Duration::from_millis(200);
    settings.rpc.max_deadline = Duration::from_millis(300);
    let server = backend.server_with(settings).await;
    let request = OpenSessionRequest::default();
    let opened = server.sessions().open_session(request).await;
    let session_id = opened.unwrap().into_inner().session_id;
    let acquire = |request_id: &str| AcquireLockRequest {
        lock: "job".into(),
        session_id: session_id.clone(),
        request_id: request_id.into(),
        ..AcquireLockRequest::default()
    };
    server.locks().acquire_lock(acquire("first")).await.unwrap();

    let mut client = RawClient::connect(server.address).await;
    let begun = Instant::now();
    let deadline = [("grpc-timeout", "700m")];
    let answer = client
        .call(ACQUIRE_LOCK, &deadline, &acquire("second"))
        .await;
    assert_status(&answer.status, Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
    let took = begun.elapsed();
    assert!(
        took >= Duration::from_millis(700) && took < SOON,
        "{took:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_waits_for_a_change_has_the_deadline_of_its_caller_and_no_other() {
    let backend = Backend::embedded().await;
    let mut settings = backend.settings();
    settings.rpc.default_deadline = Duration::from_millis(100);
    settings.rpc.max_deadline = Duration::from_millis(200);
    let server = backend.server_with(settings).await;
    server.configs().put_config(put()).await.unwrap();
    let mut client = RawClient::connect(server.address).await;
    let wait = |timeout: Duration| GetConfigRequest {
        key: "a".into(),
        wait: Some(ConfigWait {
            after_version: 1,
            timeout: Some(timeout.try_into().unwrap()),
        }),
        ..GetConfigRequest::default()
    };
    let begun = Instant::now();
    let timeout = Duration::from_millis(600);
    let answer = client.call(GET_CONFIG, &[], &wait(timeout)).await;
    assert_eq!(answer.status.code(), Code::Ok);
    let took = begun.elapsed();
    assert!(took >= timeout && took < SOON, "{took:?}");

    let begun = Instant::now();
    let deadline = [("grpc-timeout", "400m")];
    let timeout = Duration::from_secs(50);
    let answer = client.call(GET_CONFIG, &deadline, &wait(timeout)).await;
    assert_status(&answer.status, Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
    let took = begun.elapsed();
    assert!(
        took >= Duration::from_millis(400) && took < SOON,
        "{took:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_ends_at_the_deadline_of_its_caller() {
    let server = Backend::embedded().await.server().await;
    let mut client = RawClient::connect(server.address).await;
    let deadline = [("grpc-timeout", "300m")];
    let answer = client
        .call(WATCH_CONFIGS, &deadline, &WatchConfigsRequest::default())
        .await;
    assert_status(&answer.status, Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
    assert!(!answer.body.is_empty(), "no snapshot before that");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_never_arrives_is_not_waited_for() {
    let backend = Backend::embedded().await;
    let mut settings = backend.settings();
    settings.rpc.default_deadline = Duration::from_millis(200);
    let server = backend.server_with(settings).await;
    let mut client = RawClient::connect(server.address).await;
    for path in [PUT_CONFIG, ACQUIRE_LOCK, WATCH_CONFIGS] {
        let answer = client.stall(path).await;
        assert_status(&answer.status, Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
    }
}
