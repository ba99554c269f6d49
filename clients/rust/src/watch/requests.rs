//! The five requests that select something to watch. They are alike but for their item.

use std::time::Duration;

use futures_util::{FutureExt, future::BoxFuture};
use tonic::{Request, Status, Streaming, transport::Channel};

use super::{Body, Change, Message, Selection};
use crate::call::request_id;
use crate::proto::{
    self, AckWatchRequest, Candidate, Config, DeleteCause, EventType, Instance, LockClaim,
    ObserveLeaderRequest, ObserveLeaderResponse, Service, WatchAck, WatchConfigsRequest,
    WatchConfigsResponse, WatchInstancesRequest, WatchInstancesResponse, WatchLockRequest,
    WatchLockResponse, WatchServicesRequest, WatchServicesResponse, WatchStart,
    registry_service_client::RegistryServiceClient,
};

/// How long an acknowledgement may take before it is sent again.
const ACK_TIMEOUT: Duration = Duration::from_secs(3);

fn change<T>(kind: EventType, cause: DeleteCause, item: Option<T>) -> Option<Change<T>> {
    let item = item?;
    Some(match kind {
        EventType::Added => Change::Added(item),
        // What a newer server says of an item that is there.
        EventType::Modified | EventType::Unspecified => Change::Modified(item),
        EventType::Deleted => Change::Deleted(item, cause),
    })
}

macro_rules! selection {
    (
        $request:ident -> $response:ident / $message:ident by $client:ident::$Client:ident.$method:ident,
        $items:ident, $item:ident: $Item:ty, key $key:expr,
        protected $protected:expr, ack_requested $requested:expr
        $(, { $($acknowledging:item)* })?
    ) => {
        impl Selection for $request {
            type Response = $response;
            type Item = $Item;

            fn open(
                mut self,
                channel: Channel,
                start: Option<WatchStart>,
            ) -> BoxFuture<'static, Result<Streaming<$response>, Status>> {
                self.start = start;
                async move {
                    let mut client = proto::$client::$Client::new(channel);
                    Ok(client.$method(self).await?.into_inner())
                }
                .boxed()
            }

            fn read(response: $response) -> Message<$Item> {
                use proto::$message::Message as Said;
                let protected: fn(&$response) -> bool = $protected;
                let requested: fn(&$response) -> bool = $requested;
                Message {
                    protected: protected(&response),
                    ack_requested: requested(&response),
                    body: response.message.map(|said| match said {
                        Said::Snapshot(snapshot) => Body::Snapshot(snapshot.$items),
                        Said::SnapshotEnd(end) => Body::SnapshotEnd {
                            revision: end.revision,
                        },
                        Said::Delta(delta) => Body::Delta {
                            revision: delta.revision,
                            conflated: delta.conflated,
                            last_part: delta.last_part,
                            changes: delta
                                .events
                                .into_iter()
                                .filter_map(|event| {
                                    change(event.r#type(), event.cause(), event.$item)
                                })
                                .collect(),
                        },
                        Said::Bookmark(bookmark) => Body::Bookmark {
                            revision: bookmark.revision,
                            r#final: bookmark.r#final(),
                        },
                        Said::Reset(reset) => Body::Reset(reset.reason()),
                    }),
                    header: response.header.unwrap_or_default(),
                    resume_token: response.resume_token,
                }
            }

            fn key(item: &$Item) -> String {
                let key: fn(&$Item) -> String = $key;
                key(item)
            }

            $($($acknowledging)*)?
        }
    };
}

selection!(
    WatchInstancesRequest -> WatchInstancesResponse / watch_instances_response
        by registry_service_client::RegistryServiceClient.watch_instances,
    instances, instance: Instance, key |instance| instance.instance_id.clone(),
    protected |response| response.protected, ack_requested |response| response.ack_requested,
    {
        fn introduce(&mut self, client_id: &str) {
            if self.subscriber_id.is_empty() {
                self.subscriber_id = request_id();
            }
            if self.client_id.is_empty() {
                self.client_id = client_id.into();
            }
        }

        fn acknowledge(
            &self,
            channel: Channel,
            revision: i64,
        ) -> Option<BoxFuture<'static, Result<(), Status>>> {
            if !self.acknowledges {
                return None;
            }
            let ack = WatchAck { subscriber_id: self.subscriber_id.clone(), revision };
            let mut request = Request::new(AckWatchRequest { acks: vec![ack] });
            request.set_timeout(ACK_TIMEOUT);
            let acknowledging = async move {
                let mut client = RegistryServiceClient::new(channel);
                let answer = client.ack_watch(request).await?.into_inner();
                match answer.unknown_subscriber_ids.is_empty() {
                    true => Ok(()),
                    false => Err(Status::not_found("the replica does not have the watch")),
                }
            };
            Some(acknowledging.boxed())
        }
    }
);
selection!(
    WatchServicesRequest -> WatchServicesResponse / watch_services_response
        by registry_service_client::RegistryServiceClient.watch_services,
    services, service: Service, key |service| service.service.clone(), protected |_| false, ack_requested |_| false
);
selection!(
    WatchConfigsRequest -> WatchConfigsResponse / watch_configs_response
        by config_service_client::ConfigServiceClient.watch_configs,
    configs, config: Config, key |config| config.key.clone(), protected |_| false, ack_requested |_| false
);
selection!(
    WatchLockRequest -> WatchLockResponse / watch_lock_response
        by lock_service_client::LockServiceClient.watch_lock,
    claims, claim: LockClaim, key |claim| claim.fencing_token.to_string(), protected |_| false, ack_requested |_| false
);
selection!(
    ObserveLeaderRequest -> ObserveLeaderResponse / observe_leader_response
        by election_service_client::ElectionServiceClient.observe_leader,
    // There is one leader, whoever that is.
    leaders, leader: Candidate, key |_| String::new(), protected |_| false, ack_requested |_| false
);
