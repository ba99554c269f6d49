//! Calls with messages that stay bytes, so that the load costs little: no decoding, and requests
//! encoded by hand where etcd's types would be needed.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use futures_util::stream::{self, StreamExt as _};
use prost::Message as _;
use stanchion_client::proto::{PutConfigRequest, WatchConfigsRequest, watch_configs_request};
use tonic::{
    Request, Status, Streaming,
    client::Grpc,
    codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
    transport::Channel,
};

/// Which service a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// `etcdserverpb`, as etcd and its proxy do.
    Etcd,
    /// `stanchion.v1`.
    Stanchion,
}

/// A codec that leaves messages as they are.
#[derive(Debug, Clone, Copy, Default)]
struct Raw;

// === impl Dialect ===

impl Dialect {
    /// Writes a value.
    pub(crate) async fn put(
        self,
        channel: &Channel,
        key: &str,
        value: Bytes,
    ) -> Result<(), Status> {
        let (path, request) = match self {
            Self::Etcd => {
                let mut request = BytesMut::new();
                field(&mut request, 1, key.as_bytes());
                field(&mut request, 2, &value);
                ("/etcdserverpb.KV/Put", request.freeze())
            }
            Self::Stanchion => {
                let request = PutConfigRequest {
                    key: key.to_owned(),
                    content: value,
                    ..PutConfigRequest::default()
                };
                (
                    "/stanchion.v1.ConfigService/PutConfig",
                    request.encode_to_vec().into(),
                )
            }
        };
        let mut grpc = ready(channel).await?;
        let path = PathAndQuery::from_static(path);
        grpc.unary(Request::new(request), path, Raw).await?;
        Ok(())
    }

    /// Watches a key. The first message says that the watch stands.
    pub(crate) async fn watch(
        self,
        channel: &Channel,
        key: &str,
    ) -> Result<Streaming<Bytes>, Status> {
        let mut grpc = ready(channel).await?;
        let answer = match self {
            Self::Etcd => {
                let mut create = BytesMut::new();
                field(&mut create, 1, key.as_bytes());
                let mut request = BytesMut::new();
                field(&mut request, 1, &create);
                // The server ends the watch when the requests end.
                let requests = stream::iter([request.freeze()]).chain(stream::pending());
                let path = PathAndQuery::from_static("/etcdserverpb.Watch/Watch");
                grpc.streaming(Request::new(requests), path, Raw).await?
            }
            Self::Stanchion => {
                let request = WatchConfigsRequest {
                    selection: Some(watch_configs_request::Selection::Key(key.to_owned())),
                    ..WatchConfigsRequest::default()
                };
                let request = Request::new(Bytes::from(request.encode_to_vec()));
                let path = PathAndQuery::from_static("/stanchion.v1.ConfigService/WatchConfigs");
                grpc.server_streaming(request, path, Raw).await?
            }
        };
        Ok(answer.into_inner())
    }
}

// === impl Raw ===

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(512, 32 * 1024)
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(1024, 32 * 1024)
    }
}

async fn ready(channel: &Channel) -> Result<Grpc<Channel>, Status> {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready()
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    Ok(grpc)
}

/// Appends a field of bytes; `number` is below 16.
fn field(buffer: &mut BytesMut, number: u8, value: &[u8]) {
    buffer.put_u8(number << 3 | 2);
    let mut length = value.len();
    while length >= 0x80 {
        buffer.put_u8(length as u8 | 0x80);
        length >>= 7;
    }
    buffer.put_u8(length as u8);
    buffer.put_slice(value);
}
