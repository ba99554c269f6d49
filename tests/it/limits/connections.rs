//! Bounds of connections, and of calls on one.

use std::time::{Duration, Instant};

use stanchion_client::proto::{
    GetServerInfoRequest, PutConfigRequest, WatchConfigsRequest,
    config_service_client::ConfigServiceClient, server_service_client::ServerServiceClient,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::support::{
    server::{Backend, connect, eventually},
    store::PATIENCE,
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a connection says until its end.
async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut rest));
    // A reset is an end too.
    let _ = read.await.expect("it stays open");
    rest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_says_nothing_is_closed() {
    let backend = Backend::embedded().await;
    let mut settings = backend.settings();
    settings.rpc.preface_timeout = Duration::from_millis(300);
    let server = backend.server_with(settings).await;
    // Nothing, one byte, half of what it takes, and all of it but the frame that has to follow.
    for said in [0, 1, 12, PREFACE.len()] {
        let begun = Instant::now();
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(&PREFACE[..said]).await.unwrap();
        assert!(rest(&mut stream).await.is_empty());
        assert!(begun.elapsed() >= Duration::from_millis(250));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_answers_no_ping_is_cut_off_and_one_that_does_is_not() {
    let backend = Backend::embedded().await;
    let mut settings = backend.settings();
    settings.rpc.ping_interval = Duration::from_millis(100);
    settings.rpc.ping_timeout = Duration::from_millis(300);
    let server = backend.server_with(settings).await;
    let mut configs = ConfigServiceClient::new(connect(server.address).await);
    let watch = configs.watch_configs(WatchConfigsRequest::default()).await;
    let mut watch = watch.unwrap().into_inner();
    while watch
        .message()
        .await
        .unwrap()
        .unwrap()
        .resume_token
        .is_empty()
    {}

    let mut silent = TcpStream::connect(server.address).await.unwrap();
    let settings_frame = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    silent.write_all(PREFACE).await.unwrap();
    silent.write_all(&settings_frame).await.unwrap();
    let begun = Instant::now();
    let said = rest(&mut silent).await;
    assert!(begun.elapsed() >= Duration::from_millis(300));
    let ping = [0, 0, 8, 6, 0, 0, 0, 0, 0];
    assert!(said.windows(ping.len()).any(|frame| frame == ping));

    // The other was asked as often, and its stream goes on.
    let put = PutConfigRequest {
        key: "a".into(),
        content: "1".into(),
        ..PutConfigRequest::default()
    };
    configs.put_config(put).await.unwrap();
    timeout(PATIENCE, watch.message())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_is_told_what_this_port_is() {
    let server = Backend::embedded().await.server().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let answer = String::from_utf8(rest(&mut stream).await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 505 "), "{answer}");
    assert!(answer.contains("gRPC"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_above_the_limit_are_refused_until_others_end() {
    let backend = Backend::embedded().await;
    let mut settings = backend.settings();
    settings.rpc.max_connections = 2;
    // The connection of the server's own clients is the first.
    let server = backend.server_with(settings).await;
    let second = TcpStream::connect(server.address).await.unwrap();
    eventually("a refusal", || async {
        let mut third = TcpStream::connect(server.address).await.unwrap();
        let mut byte = [0];
        let read = timeout(Duration::from_millis(500), third.read(&mut byte)).await;
        matches!(read, Ok(Ok(0) | Err(_))).then_some(())
    })
    .await;
    drop(second);
    eventually("a place", || async {
        let endpoint =
            tonic::transport::Endpoint::from_shared(format!("http://{}", server.address));
        let channel = endpoint.unwrap().connect().await.ok()?;
        let mut info = ServerServiceClient::new(channel);
        info.get_server_info(GetServerInfoRequest {}).await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_above_the_limit_of_a_connection_wait_for_a_place() {
    let backend = Backend::embedded().await;
    let mut settings = backend.settings();
    settings.rpc.max_streams = 2;
    let server = backend.server_with(settings).await;
    let channel = connect(server.address).await;
    let watch = || async {
        let mut configs = ConfigServiceClient::new(channel.clone());
        let watch = configs.watch_configs(WatchConfigsRequest::default()).await;
        let mut watch = watch.unwrap().into_inner();
        watch.message().await.unwrap();
        watch
    };
    let (first, _second) = (watch().await, watch().await);
    let mut info = ServerServiceClient::new(channel.clone());
    let call = info.get_server_info(GetServerInfoRequest {});
    tokio::pin!(call);
    let waits = timeout(Duration::from_millis(300), &mut call).await;
    assert!(waits.is_err(), "{waits:?}");
    // Another connection has places of its own.
    let mut other = ServerServiceClient::new(connect(server.address).await);
    other
        .get_server_info(GetServerInfoRequest {})
        .await
        .unwrap();
    drop(first);
    timeout(PATIENCE, call).await.unwrap().unwrap();
}
