//! Peers that are connected and do nothing: none of them may hold up anybody else.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use h2::client::{Connection, ResponseFuture, SendRequest};
use http::Request;
use prost::Message as _;
use stanchion_client::{
    Client,
    proto::{
        WatchConfigsRequest, config_service_client::ConfigServiceClient, watch_configs_request,
    },
};
use tokio::{io::AsyncWriteExt as _, net::TcpStream, time::timeout};
use tonic::{Streaming, transport::Endpoint};

use crate::support::raw::framed;

/// What an HTTP/2 client says first: the preface and empty SETTINGS.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const WATCH_CONFIGS: &str = "/stanchion.v1.ConfigService/WatchConfigs";
/// Below which there is more to watch than fits on the way to a client.
const PREFIX: &str = "stuck/";
/// How many large configs there are: more than sockets and windows hold.
const CONFIGS: usize = 100;
/// How many watches each of those has who does not read.
const WATCHES: usize = 10;
/// For how long who stops reading reads at first.
const READS: Duration = Duration::from_millis(300);

/// One peer of each kind.
pub struct Stuck {
    _silent: TcpStream,
    _deaf: TcpStream,
    /// Reads its connection, but gives its watches no window.
    _unread: Vec<Streaming<stanchion_client::proto::WatchConfigsResponse>>,
    /// Gives all the window there is, and does not read its connection.
    _never_reading: NeverReading,
}

/// A connection that nobody drives.
struct NeverReading {
    _connection: Connection<TcpStream, Bytes>,
    _sender: SendRequest<Bytes>,
    _answers: Vec<ResponseFuture>,
}

/// Writes what such peers do not read.
pub async fn prepare(client: &Client) {
    for number in 0..CONFIGS {
        let key = format!("{PREFIX}{number}");
        let put = client.config().put(&key, vec![b'x'; 60_000]);
        put.send().await.unwrap();
    }
}

// === impl Stuck ===

impl Stuck {
    pub async fn to(replica: SocketAddr) -> Self {
        let mut deaf = TcpStream::connect(replica).await.unwrap();
        deaf.write_all(PREFACE).await.unwrap();
        let channel = Endpoint::from_shared(format!("http://{replica}"))
            .unwrap()
            .initial_stream_window_size(1024)
            .connect()
            .await
            .unwrap();
        let mut configs = ConfigServiceClient::new(channel);
        let mut unread = Vec::new();
        for _ in 0..WATCHES {
            unread.push(configs.watch_configs(watch()).await.unwrap().into_inner());
        }
        Self {
            _silent: TcpStream::connect(replica).await.unwrap(),
            _deaf: deaf,
            _unread: unread,
            _never_reading: NeverReading::to(replica).await,
        }
    }
}

// === impl NeverReading ===

impl NeverReading {
    async fn to(replica: SocketAddr) -> Self {
        const LARGE: u32 = 1 << 30;
        let stream = TcpStream::connect(replica).await.unwrap();
        let (mut sender, mut connection) = h2::client::Builder::new()
            .initial_window_size(LARGE)
            .initial_connection_window_size(LARGE)
            .handshake(stream)
            .await
            .unwrap();
        let mut answers = Vec::new();
        for _ in 0..WATCHES {
            let request = Request::post(format!("http://{replica}{WATCH_CONFIGS}"))
                .header("content-type", "application/grpc")
                .header("te", "trailers");
            let (answer, mut body) = sender
                .send_request(request.body(()).unwrap(), false)
                .unwrap();
            body.send_data(framed(&watch().encode_to_vec()), true)
                .unwrap();
            answers.push(answer);
        }
        let ended = timeout(READS, &mut connection).await;
        assert!(ended.is_err(), "the connection ended: {ended:?}");
        Self {
            _connection: connection,
            _sender: sender,
            _answers: answers,
        }
    }
}

fn watch() -> WatchConfigsRequest {
    WatchConfigsRequest {
        selection: Some(watch_configs_request::Selection::Prefix(PREFIX.into())),
        ..WatchConfigsRequest::default()
    }
}
