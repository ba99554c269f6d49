//! What this replica asks the others, over the public API.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use stanchion_client::proto::{
    self, ListSubscribersRequest, SubscriberState, operator_service_client::OperatorServiceClient,
};
use tonic::transport::{Channel, Endpoint};

use crate::{
    domain::{
        Error,
        keyspace::ServiceKey,
        names::ReplicaId,
        registry::{Ended, InstanceView, Peers, Reached, SubscriberInfo},
        replica::Replica,
    },
    store::{self, Outcome},
};

use super::operator;

/// How many connections are kept.
const CONNECTIONS: usize = 64;

/// The other replicas, each over one connection.
pub(super) struct GrpcPeers {
    timeout: Duration,
    channels: Mutex<HashMap<ReplicaId, Channel>>,
}

// === impl GrpcPeers ===

impl GrpcPeers {
    /// Replicas that may take so long to answer.
    pub(super) fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            channels: Mutex::default(),
        }
    }

    fn channel(&self, replica: &Replica) -> Result<Channel, Error> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = channels.get(&replica.id) {
            return Ok(channel.clone());
        }
        // Each start of a replica has another id: those of the past go.
        if channels.len() >= CONNECTIONS {
            channels.clear();
        }
        let endpoint = Endpoint::from_shared(format!("http://{}", replica.address))
            .map_err(|error| away(replica, error))?;
        let channel = endpoint
            .connect_timeout(self.timeout)
            .timeout(self.timeout)
            .connect_lazy();
        channels.insert(replica.id.clone(), channel.clone());
        Ok(channel)
    }
}

#[async_trait]
impl Peers for GrpcPeers {
    async fn subscribers(
        &self,
        replica: &Replica,
        service: &ServiceKey,
        after: u64,
        limit: usize,
    ) -> Result<Vec<SubscriberInfo>, Error> {
        let request = ListSubscribersRequest {
            namespace: service.namespace.to_string(),
            service: service.service.to_string(),
            page_size: i32::try_from(limit).unwrap_or(i32::MAX),
            page_token: operator::page_token(service, &replica.id, after),
            local: true,
        };
        let mut client = OperatorServiceClient::new(self.channel(replica)?);
        let answer = tokio::time::timeout(self.timeout, client.list_subscribers(request)).await;
        let answer = answer
            .map_err(|error| away(replica, error))?
            .map_err(|status| away(replica, status.message()))?;
        let subscribers = answer.into_inner().subscribers;
        Ok(subscribers.into_iter().map(read).collect())
    }
}

fn away(replica: &Replica, error: impl ToString) -> Error {
    Error::Store(store::Error::Unavailable {
        message: format!("replica {}: {}", replica.id, error.to_string()),
        outcome: Outcome::NotDone,
    })
}

fn read(subscriber: proto::Subscriber) -> SubscriberInfo {
    SubscriberInfo {
        number: subscriber.number.unsigned_abs(),
        fingerprint: u64::from_str_radix(&subscriber.fingerprint, 16).unwrap_or_default(),
        view: match subscriber.view() {
            proto::InstanceView::All => InstanceView::All,
            // Of these nobody watches the last two.
            proto::InstanceView::Serving
            | proto::InstanceView::Removed
            | proto::InstanceView::Unspecified => InstanceView::Serving,
        },
        ended: match subscriber.state() {
            SubscriberState::Open | SubscriberState::Unspecified => None,
            SubscriberState::Broken => Some(Ended::Broken),
            SubscriberState::Moving => Some(Ended::Moving),
        },
        open_time: subscriber
            .open_time
            .and_then(|time| SystemTime::try_from(time).ok())
            .unwrap_or(SystemTime::UNIX_EPOCH),
        reached: Reached {
            acknowledges: subscriber.acknowledges,
            told: subscriber.told_revision,
            requested: subscriber.requested_revision,
            acknowledged: subscriber.acknowledged_revision,
        },
        filter: subscriber.filter,
        client_id: subscriber.client_id,
        address: subscriber.address,
    }
}
