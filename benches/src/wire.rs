//! The calls that workloads make, in the words of each kind of server.
//!
//! Those that are part of the load are [`Call`]s for [`crate::http2`]; the few beside it go through
//! tonic, which says why a call failed.

use bytes::Bytes;
use prost::Message;
use stanchion_client::proto::{
    ContentType, GetConfigRequest, PutConfigRequest, PutConfigResponse, WatchConfigsRequest,
    WatchStart, watch_configs_request, watch_start::Position,
};
use tonic::{Request, Status, client::Grpc, codegen::http::uri::PathAndQuery, transport::Channel};

use crate::{
    etcd::{PutRequest, PutResponse, RangeRequest, WatchCreateRequest, WatchRequest, path},
    http2::{Call, Requests},
    raw::Raw,
};

/// Which service a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// `etcdserverpb`, as etcd and its proxy do.
    Etcd,
    /// `stanchion.v1`.
    Stanchion,
}

/// Which keys a watch is for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Selection<'a> {
    /// One key.
    Key(&'a str),
    /// All that begin so.
    Prefix(&'a str),
}

// === impl Dialect ===

impl Dialect {
    /// Writes a value, and tells the revision after it.
    pub(crate) async fn put(
        self,
        channel: &Channel,
        key: &str,
        value: Bytes,
    ) -> Result<i64, Status> {
        let garbled = |error: prost::DecodeError| Status::internal(error.to_string());
        let (path, request) = self.put_request(key, value);
        let answer = unary(channel, path, request.into()).await?;
        let revision = match self {
            Self::Etcd => {
                let answer = PutResponse::decode(answer).map_err(garbled)?;
                answer.header.unwrap_or_default().revision
            }
            Self::Stanchion => {
                let answer = PutConfigResponse::decode(answer).map_err(garbled)?;
                answer.header.unwrap_or_default().revision
            }
        };
        Ok(revision)
    }

    /// The call that writes a value.
    pub(crate) fn put_call(self, key: &str, value: Bytes) -> Call {
        let (path, request) = self.put_request(key, value);
        Call::new(path, &request, Requests::One)
    }

    /// The call that reads a value; of etcd from what the member knows, if `serializable`.
    pub(crate) fn get_call(self, key: &str, serializable: bool) -> Call {
        let (path, request) = match self {
            Self::Etcd => {
                let request = RangeRequest {
                    key: key.into(),
                    range_end: Vec::new(),
                    serializable,
                };
                (path::RANGE, request.encode_to_vec())
            }
            Self::Stanchion => {
                let request = GetConfigRequest {
                    key: key.to_owned(),
                    ..GetConfigRequest::default()
                };
                let path = "/stanchion.v1.ConfigService/GetConfig";
                (path, request.encode_to_vec())
            }
        };
        Call::new(path, &request, Requests::One)
    }

    fn put_request(self, key: &str, value: Bytes) -> (&'static str, Vec<u8>) {
        match self {
            Self::Etcd => {
                let request = PutRequest {
                    key: key.into(),
                    value: value.into(),
                    lease: 0,
                };
                (path::PUT, request.encode_to_vec())
            }
            Self::Stanchion => {
                let request = PutConfigRequest {
                    key: key.to_owned(),
                    content: value,
                    content_type: ContentType::Binary.into(),
                    ..PutConfigRequest::default()
                };
                let path = "/stanchion.v1.ConfigService/PutConfig";
                (path, request.encode_to_vec())
            }
        }
    }

    /// The call that watches keys, from now or from the first change after a revision. In the
    /// former case the first message says that the watch stands.
    pub(crate) fn watch(self, selection: Selection<'_>, after: Option<i64>) -> Call {
        match self {
            Self::Etcd => {
                let (key, range_end) = match selection {
                    Selection::Key(key) => (key, Vec::new()),
                    Selection::Prefix(prefix) => (prefix, end_of(prefix.as_bytes())),
                };
                let create = WatchCreateRequest {
                    key: key.into(),
                    range_end,
                    start_revision: after.map_or(0, |after| after + 1),
                };
                let create = Some(create);
                let request = WatchRequest { create }.encode_to_vec();
                // The server ends the watch when the requests end.
                Call::new(path::WATCH, &request, Requests::Many)
            }
            Self::Stanchion => {
                let selection = match selection {
                    Selection::Key(key) => watch_configs_request::Selection::Key(key.to_owned()),
                    Selection::Prefix(prefix) => {
                        watch_configs_request::Selection::Prefix(prefix.to_owned())
                    }
                };
                let request = WatchConfigsRequest {
                    selection: Some(selection),
                    start: after.map(|after| WatchStart {
                        position: Some(Position::AfterRevision(after)),
                        ..WatchStart::default()
                    }),
                    ..WatchConfigsRequest::default()
                };
                let path = "/stanchion.v1.ConfigService/WatchConfigs";
                Call::new(path, &request.encode_to_vec(), Requests::One)
            }
        }
    }
}

/// The end of the range of all keys that begin with `prefix`, whose last byte is not the largest.
pub(crate) fn end_of(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}

/// A call with one answer.
async fn unary(channel: &Channel, path: &'static str, request: Bytes) -> Result<Bytes, Status> {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready()
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    let path = PathAndQuery::from_static(path);
    let answer = grpc.unary(Request::new(request), path, Raw).await?;
    Ok(answer.into_inner())
}
