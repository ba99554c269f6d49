//! The stream of one watch, whichever it is, and its messages in the words of the checker.

use std::time::Duration;

use bytes::Bytes;
use stanchion_client::proto::{
    Bookmark, Final, InstanceView, LockClaim, ResponseHeader, WatchConfigsRequest,
    WatchConfigsResponse, WatchInstancesRequest, WatchInstancesResponse, WatchLockRequest,
    WatchLockResponse, WatchServicesRequest, WatchServicesResponse, WatchStart,
    config_service_client::ConfigServiceClient, lock_service_client::LockServiceClient,
    registry_service_client::RegistryServiceClient, watch_configs_request::Selection,
    watch_start::Position,
};
use tonic::{Status, Streaming, transport::Channel};

use super::observation::{Body, Delta, Event, Message};
use crate::view::{View, claim_shown, config_shown, instance_shown, service_shown};

/// An open stream.
pub(super) enum Feed {
    Configs(Streaming<WatchConfigsResponse>),
    Instances(Streaming<WatchInstancesResponse>),
    Services(Streaming<WatchServicesResponse>),
    /// With what the path of every claim begins with.
    Lock(Streaming<WatchLockResponse>, String),
}

/// A message of a stream, and its token. The streams differ in nothing but names.
macro_rules! told {
    ($told:expr, $response:ident, $items:ident, $item:ident, $shown:expr) => {{
        use stanchion_client::proto::$response::Message as Said;
        let told = $told;
        let body = match told.message.expect("an empty message") {
            Said::Snapshot(part) => Body::Snapshot(part.$items.iter().map($shown).collect()),
            Said::SnapshotEnd(end) => Body::SnapshotEnd(end.revision),
            Said::Delta(delta) => {
                let events = delta.events.iter().map(|event| {
                    let (path, look) = $shown(event.$item.as_ref().expect("an event of nothing"));
                    Event {
                        kind: event.r#type(),
                        path,
                        look,
                        cause: event.cause(),
                    }
                });
                Body::Delta(Delta {
                    prev_revision: delta.prev_revision,
                    revision: delta.revision,
                    events: events.collect(),
                    conflated: delta.conflated,
                    last_part: delta.last_part,
                })
            }
            Said::Bookmark(bookmark) => of_bookmark(bookmark),
            Said::Reset(reset) => Body::Reset(reset.reason()),
        };
        sealed(told.header, told.resume_token, body)
    }};
}

// === impl Feed ===

impl Feed {
    pub(super) async fn open(
        channel: Channel,
        view: &View,
        token: Option<Bytes>,
        min_interval: Duration,
    ) -> Result<Self, Status> {
        let start = token.map(|token| WatchStart {
            epoch: String::new(),
            position: Some(Position::ResumeToken(token)),
        });
        let min_interval = (!min_interval.is_zero()).then(|| min_interval.try_into().unwrap());
        match view {
            View::Configs { namespace, prefix } => {
                let request = WatchConfigsRequest {
                    namespace: namespace.clone(),
                    selection: Some(Selection::Prefix(prefix.clone())),
                    start,
                    min_interval,
                };
                let mut client = ConfigServiceClient::new(channel);
                let answer = client.watch_configs(request).await?;
                Ok(Self::Configs(answer.into_inner()))
            }
            View::Instances {
                namespace,
                service,
                serving,
            } => {
                let view = if *serving {
                    InstanceView::Serving
                } else {
                    InstanceView::All
                };
                let request = WatchInstancesRequest {
                    namespace: namespace.clone(),
                    service: service.clone(),
                    view: view.into(),
                    start,
                    min_interval,
                    ..WatchInstancesRequest::default()
                };
                let mut client = RegistryServiceClient::new(channel);
                let answer = client.watch_instances(request).await?;
                Ok(Self::Instances(answer.into_inner()))
            }
            View::Services { namespace, prefix } => {
                let request = WatchServicesRequest {
                    namespace: namespace.clone(),
                    prefix: prefix.clone(),
                    start,
                    min_interval,
                };
                let mut client = RegistryServiceClient::new(channel);
                let answer = client.watch_services(request).await?;
                Ok(Self::Services(answer.into_inner()))
            }
            View::Lock { namespace, lock } => {
                let request = WatchLockRequest {
                    namespace: namespace.clone(),
                    lock: lock.clone(),
                    start,
                    min_interval,
                };
                let mut client = LockServiceClient::new(channel);
                let answer = client.watch_lock(request).await?;
                Ok(Self::Lock(answer.into_inner(), view.prefix()))
            }
        }
    }

    /// The next message, with its token; `None` at a good end.
    pub(super) async fn next(&mut self) -> Result<Option<(Message, Bytes)>, Status> {
        Ok(match self {
            Self::Configs(stream) => stream
                .message()
                .await?
                .map(|told| told!(told, watch_configs_response, configs, config, config_shown)),
            Self::Instances(stream) => stream.message().await?.map(|told| {
                told!(
                    told,
                    watch_instances_response,
                    instances,
                    instance,
                    instance_shown
                )
            }),
            Self::Services(stream) => stream.message().await?.map(|told| {
                told!(
                    told,
                    watch_services_response,
                    services,
                    service,
                    service_shown
                )
            }),
            Self::Lock(stream, prefix) => stream.message().await?.map(|told| {
                let shown = |claim: &LockClaim| claim_shown(prefix, claim);
                told!(told, watch_lock_response, claims, claim, shown)
            }),
        })
    }
}

fn of_bookmark(bookmark: Bookmark) -> Body {
    Body::Bookmark {
        revision: bookmark.revision,
        last: bookmark.r#final() != Final::Unspecified,
    }
}

fn sealed(header: Option<ResponseHeader>, token: Bytes, body: Body) -> (Message, Bytes) {
    let header = header.expect("a message without header");
    let message = Message {
        epoch: header.epoch,
        replica: header.replica,
        resumable: !token.is_empty(),
        body,
    };
    (message, token)
}
