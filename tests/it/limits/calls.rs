//! Calls that no handler sees are refused with a code, a reason and words.

use prost::Message as _;
use stanchion_client::proto::{
    GetConfigRequest, GetServerInfoRequest, ListConfigsRequest, PutConfigRequest,
};
use tonic::Code;

use crate::support::{
    raw::{RawClient, framed},
    server::{Backend, assert_status},
};

const SERVER_INFO: &str = "/stanchion.v1.ServerService/GetServerInfo";
const GET_CONFIG: &str = "/stanchion.v1.ConfigService/GetConfig";
const PUT_CONFIG: &str = "/stanchion.v1.ConfigService/PutConfig";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_above_the_limit_is_refused_and_one_below_is_not() {
    let backend = Backend::embedded().await;
    let mut settings = backend.settings();
    settings.rpc.max_request_bytes = 100_000;
    settings.domain.max_config_bytes = 80_000;
    let server = backend.server_with(settings).await;
    let mut put = PutConfigRequest {
        key: "a".into(),
        content: vec![b'x'; 90_000].into(),
        ..PutConfigRequest::default()
    };
    // It arrives, and is refused for what it is.
    let status = server.configs().put_config(put.clone()).await.unwrap_err();
    assert_status(&status, Code::InvalidArgument, "INVALID_ARGUMENT");

    put.content = vec![b'x'; 110_000].into();
    let status = server.configs().put_config(put).await.unwrap_err();
    assert_status(&status, Code::ResourceExhausted, "REQUEST_TOO_LARGE");
    assert!(status.message().contains("100000"), "{status:?}");
    works(&server.channel()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_above_the_limit_is_told_as_such() {
    let backend = Backend::embedded().await;
    let mut settings = backend.settings();
    settings.rpc.max_response_bytes = 100_000;
    let server = backend.server_with(settings).await;
    for number in 0..3 {
        let put = PutConfigRequest {
            key: format!("large-{number}"),
            content: vec![b'x'; 50_000].into(),
            ..PutConfigRequest::default()
        };
        server.configs().put_config(put).await.unwrap();
    }
    let request = ListConfigsRequest::default();
    match server.configs().list_configs(request).await {
        Err(status) => assert_status(&status, Code::ResourceExhausted, "RESPONSE_TOO_LARGE"),
        // A list may cut its page short instead.
        Ok(list) => {
            let list = list.into_inner();
            assert!(!list.next_page_token.is_empty());
            assert!(list.encoded_len() <= 100_000);
        }
    }
    works(&server.channel()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn methods_that_do_not_exist_are_unimplemented() {
    let server = Backend::embedded().await.server().await;
    let mut client = RawClient::connect(server.address).await;
    for path in [
        "/stanchion.v1.ConfigService/Nonsense",
        "/stanchion.v9.ConfigService/GetConfig",
        "/",
    ] {
        let answer = client.send(path, &[], framed(b"")).await;
        assert_status(&answer.status, Code::Unimplemented, "UNIMPLEMENTED");
        assert!(!answer.status.message().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_message_is_an_invalid_argument() {
    let server = Backend::embedded().await.server().await;
    let mut client = RawClient::connect(server.address).await;
    // A length that goes beyond the end, a text that is no UTF-8, and 200 groups in each other.
    let nested = vec![0x7b; 200];
    for message in [&[0x0a, 0x7f][..], &[0x12, 0x02, 0xff, 0xfe], &nested] {
        let answer = client.send(GET_CONFIG, &[], framed(message)).await;
        assert_status(&answer.status, Code::InvalidArgument, "INVALID_ARGUMENT");
    }
    // A frame cut short, one that says it is compressed, and none at all.
    let whole = framed(&GetConfigRequest::default().encode_to_vec());
    let mut compressed = whole.to_vec();
    compressed[0] = 1;
    let cut = framed(b"0123456789").slice(..8);
    for body in [cut, compressed.into(), bytes::Bytes::new()] {
        let answer = client.send(GET_CONFIG, &[], body).await;
        assert_status(&answer.status, Code::InvalidArgument, "INVALID_ARGUMENT");
    }
    works_raw(&mut client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_that_claims_to_be_huge_is_refused_by_its_claim() {
    let server = Backend::embedded().await.server().await;
    let mut client = RawClient::connect(server.address).await;
    let claim = [0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3];
    let answer = client.send(PUT_CONFIG, &[], claim.to_vec()).await;
    assert_status(&answer.status, Code::ResourceExhausted, "REQUEST_TOO_LARGE");
    works_raw(&mut client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compression_is_not_spoken() {
    let server = Backend::embedded().await.server().await;
    let mut client = RawClient::connect(server.address).await;
    let mut body = framed(b"whatever").to_vec();
    body[0] = 1;
    let answer = client
        .send(GET_CONFIG, &[("grpc-encoding", "gzip")], body)
        .await;
    assert_status(&answer.status, Code::Unimplemented, "UNIMPLEMENTED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_above_the_limit_are_refused_and_the_connection_goes_on() {
    let server = Backend::embedded().await.server().await;
    let header = "x".repeat(20_000);
    let mut request = tonic::Request::new(GetServerInfoRequest {});
    request
        .metadata_mut()
        .insert("x-large", header.parse().unwrap());
    let status = server.server_info().get_server_info(request).await;
    // Refused below gRPC, so that each library has its own words for it.
    assert_ne!(status.unwrap_err().code(), Code::Ok);
    works(&server.channel()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_id_comes_back() {
    let server = Backend::embedded().await.server().await;
    let mut client = RawClient::connect(server.address).await;
    let request = GetServerInfoRequest {};
    let named = [("x-request-id", "mine-1")];
    let answer = client.call(SERVER_INFO, &named, &request).await;
    assert_eq!(answer.headers["x-request-id"], "mine-1");
    // Also from a call that fails, and never one that nobody gave or that is no name.
    let answer = client.send("/no/such", &named, framed(b"")).await;
    assert_eq!(answer.headers["x-request-id"], "mine-1");
    let long = "x".repeat(129);
    for headers in [vec![], vec![("x-request-id", long.as_str())]] {
        let answer = client.call(SERVER_INFO, &headers, &request).await;
        assert!(!answer.headers.contains_key("x-request-id"));
    }
}

async fn works(channel: &tonic::transport::Channel) {
    stanchion_client::proto::server_service_client::ServerServiceClient::new(channel.clone())
        .get_server_info(GetServerInfoRequest {})
        .await
        .unwrap();
}

async fn works_raw(client: &mut RawClient) {
    let answer = client
        .call(SERVER_INFO, &[], &GetServerInfoRequest {})
        .await;
    assert_eq!(answer.status.code(), Code::Ok);
    assert!(!answer.body.is_empty());
}
