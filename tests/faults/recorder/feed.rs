//! The stream of one watch, whichever it is, and its messages in the words of the checker.

use std::time::Duration;

use bytes::Bytes;
use stanchion_client::proto::{
    self, InstanceView, ResponseHeader, WatchConfigsRequest, WatchConfigsResponse,
    WatchInstancesRequest, WatchInstancesResponse, WatchStart,
    config_service_client::ConfigServiceClient, registry_service_client::RegistryServiceClient,
    watch_configs_request::Selection, watch_configs_response, watch_instances_response,
    watch_start::Position,
};
use tonic::{Status, Streaming, transport::Channel};

use super::observation::{Body, Delta, Event, Message};
use crate::view::{View, config_shown, instance_shown};

/// An open stream.
pub(super) enum Feed {
    Configs(Streaming<WatchConfigsResponse>),
    Instances(Streaming<WatchInstancesResponse>),
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
                };
                let mut client = RegistryServiceClient::new(channel);
                let answer = client.watch_instances(request).await?;
                Ok(Self::Instances(answer.into_inner()))
            }
        }
    }

    /// The next message, with its token; `None` at a good end.
    pub(super) async fn next(&mut self) -> Result<Option<(Message, Bytes)>, Status> {
        Ok(match self {
            Self::Configs(stream) => stream.message().await?.map(of_configs),
            Self::Instances(stream) => stream.message().await?.map(of_instances),
        })
    }
}

fn of_configs(told: WatchConfigsResponse) -> (Message, Bytes) {
    use watch_configs_response::Message as Said;
    let body = match told.message.expect("an empty message") {
        Said::Snapshot(part) => Body::Snapshot(part.configs.iter().map(config_shown).collect()),
        Said::SnapshotEnd(end) => Body::SnapshotEnd(end.revision),
        Said::Delta(delta) => Body::Delta(Delta {
            prev_revision: delta.prev_revision,
            revision: delta.revision,
            events: delta.events.iter().map(of_config_event).collect(),
            conflated: delta.conflated,
            last_part: delta.last_part,
        }),
        Said::Bookmark(bookmark) => of_bookmark(bookmark),
        Said::Reset(reset) => Body::Reset(reset.reason()),
    };
    sealed(told.header, told.resume_token, body)
}

fn of_instances(told: WatchInstancesResponse) -> (Message, Bytes) {
    use watch_instances_response::Message as Said;
    let body = match told.message.expect("an empty message") {
        Said::Snapshot(part) => Body::Snapshot(part.instances.iter().map(instance_shown).collect()),
        Said::SnapshotEnd(end) => Body::SnapshotEnd(end.revision),
        Said::Delta(delta) => Body::Delta(Delta {
            prev_revision: delta.prev_revision,
            revision: delta.revision,
            events: delta.events.iter().map(of_instance_event).collect(),
            conflated: delta.conflated,
            last_part: delta.last_part,
        }),
        Said::Bookmark(bookmark) => of_bookmark(bookmark),
        Said::Reset(reset) => Body::Reset(reset.reason()),
    };
    sealed(told.header, told.resume_token, body)
}

fn of_config_event(event: &proto::ConfigEvent) -> Event {
    let (path, look) = config_shown(event.config.as_ref().expect("an event without config"));
    Event {
        kind: event.r#type(),
        path,
        look,
        cause: event.cause(),
    }
}

fn of_instance_event(event: &proto::InstanceEvent) -> Event {
    let instance = event.instance.as_ref();
    let (path, look) = instance_shown(instance.expect("an event without instance"));
    Event {
        kind: event.r#type(),
        path,
        look,
        cause: event.cause(),
    }
}

fn of_bookmark(bookmark: proto::Bookmark) -> Body {
    Body::Bookmark {
        revision: bookmark.revision,
        last: bookmark.r#final() != proto::Final::Unspecified,
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
