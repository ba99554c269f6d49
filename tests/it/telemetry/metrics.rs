//! `/metrics` and its neighbours.

use std::net::SocketAddr;

use stanchion_client::proto::{
    GetConfigRequest, GetServerInfoRequest, PutConfigRequest, WatchConfigsRequest,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{
    raw::{RawClient, framed},
    server::{Backend, Server, eventually, on_both_stores},
};

on_both_stores! {
    calls_are_counted_by_method_and_code,
}

async fn calls_are_counted_by_method_and_code(backend: Backend) {
    let server = backend.server().await;
    for _ in 0..3 {
        let request = GetServerInfoRequest {};
        server.server_info().get_server_info(request).await.unwrap();
    }
    let absent = GetConfigRequest {
        key: "absent".into(),
        ..GetConfigRequest::default()
    };
    server.configs().get_config(absent).await.unwrap_err();
    let put = PutConfigRequest {
        key: "a".into(),
        ..PutConfigRequest::default()
    };
    server.configs().put_config(put).await.unwrap();
    let mut client = RawClient::connect(server.address).await;
    for path in ["/no.such/Method", "/stanchion.v1.ConfigService/Nonsense"] {
        client.send(path, &[], framed(b"")).await;
    }
    let watch = WatchConfigsRequest::default();
    let watch = server.configs().watch_configs(watch).await.unwrap();

    eventually_shown(
        &server,
        &[
            r#"stanchion_rpc_calls_total{method="stanchion.v1.ServerService/GetServerInfo",code="OK"} 3"#,
            r#"stanchion_rpc_calls_total{method="stanchion.v1.ConfigService/GetConfig",code="NOT_FOUND"} 1"#,
            r#"stanchion_rpc_calls_total{method="stanchion.v1.ConfigService/PutConfig",code="OK"} 1"#,
            r#"stanchion_rpc_calls_total{method="unknown",code="UNIMPLEMENTED"} 2"#,
            r#"stanchion_rpc_seconds_count{method="stanchion.v1.ConfigService/PutConfig"} 1"#,
            r#"stanchion_rpc_open_calls{method="stanchion.v1.ConfigService/WatchConfigs"} 1"#,
            r#"stanchion_rpc_connections 2"#,
            r#"stanchion_store_operations_total{operation="txn",outcome="ok"}"#,
            // One, or more when the watch was interrupted.
            r#"stanchion_store_operations_total{operation="watch",outcome="ok"}"#,
            "stanchion_cache_cursors ",
            "stanchion_configs 1",
            "stanchion_barriers 0",
            "stanchion_latches 0",
            "stanchion_cache_revision ",
        ],
    )
    .await;
    // Who goes without a word has cancelled.
    drop(watch);
    eventually_shown(
        &server,
        &[
            r#"stanchion_rpc_calls_total{method="stanchion.v1.ConfigService/WatchConfigs",code="CANCELLED"} 1"#,
            r#"stanchion_rpc_open_calls{method="stanchion.v1.ConfigService/WatchConfigs"} 0"#,
        ],
    )
    .await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_serves_is_alive_and_ready() {
    let server = Backend::embedded().await.server().await;
    let address = server.app().operations_address;
    for path in ["/livez", "/readyz"] {
        let answer = get(address, path).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
}

async fn eventually_shown(server: &Server, lines: &[&str]) {
    let address = server.app().operations_address;
    for line in lines {
        eventually(line, || async {
            let metrics = get(address, "/metrics").await;
            assert!(metrics.contains("# EOF"), "{metrics}");
            let shown = metrics.lines().any(|shown| shown.starts_with(line));
            shown.then_some(())
        })
        .await;
    }
}

async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}
