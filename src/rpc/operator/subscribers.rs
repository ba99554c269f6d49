//! `ListSubscribers`: who watches a service, on all replicas.

use std::sync::Arc;

use stanchion_client::proto::{
    self, ListSubscribersRequest, ListSubscribersResponse, Subscriber, SubscriberState,
};
use tonic::{Response, Status};

use crate::{
    domain::{
        hash64,
        keyspace::ServiceKey,
        names::ReplicaId,
        registry::{Ended, InstanceView, SubscriberInfo},
        replica::Replica,
        watch::Freshness,
    },
    rpc::{Context, convert::Violations, page, status},
};

use super::services::service_key;

pub(super) async fn list(
    context: &Context,
    request: ListSubscribersRequest,
) -> Result<Response<ListSubscribersResponse>, Status> {
    let mut v = Violations::new();
    let service = service_key(&mut v, &request.namespace, &request.service);
    let size = v.page_size(request.page_size);
    let service = v.give(service)?;
    let after = page::after(&request.page_token, digest(&service))?;
    let after = after.map(|key| place(&key).ok_or_else(page::foreign));
    let (mut at, mut number) = match after.transpose()? {
        Some((replica, number)) => (Some(replica), number),
        None => (None, 0),
    };
    let core = &context.core;
    let view = core.cache.read(Freshness::Cached).await;
    let view = view.map_err(|error| status::of(error.into()))?;
    let mut answer = ListSubscribersResponse {
        header: Some(context.header.of(&view)),
        ..ListSubscribersResponse::default()
    };
    for replica in replicas(context, &view.state, request.local) {
        if at.as_ref().is_some_and(|at| replica.id < *at) {
            continue;
        }
        if at.take().is_none_or(|at| at != replica.id) {
            number = 0;
        }
        let room = size - answer.subscribers.len();
        let Some(found) = ask(context, &replica, &service, number, room).await else {
            answer.silent_replicas.push(replica.id.to_string());
            continue;
        };
        let last = found.last().map(|last| last.number);
        let found = found.into_iter();
        let found = found.map(|subscriber| encode(subscriber, &replica.id));
        answer.subscribers.extend(found);
        if answer.subscribers.len() == size {
            let last = last.unwrap_or(number);
            answer.next_page_token = page_token(&service, &replica.id, last);
            break;
        }
    }
    Ok(Response::new(answer))
}

/// The replicas to ask, in order. This one is among them even while nobody else knows of it.
fn replicas(
    context: &Context,
    state: &crate::domain::state::State,
    local: bool,
) -> Vec<Arc<Replica>> {
    let own = &context.core.replica;
    let mut replicas: Vec<_> = match local {
        true => Vec::new(),
        false => state.replicas.values().cloned().collect(),
    };
    if replicas.iter().all(|replica| replica.id != *own) {
        replicas.push(Arc::new(Replica {
            id: own.clone(),
            supported_format: 0,
            address: String::new(),
            version: String::new(),
            start_time: std::time::SystemTime::UNIX_EPOCH,
        }));
        replicas.sort_by(|a, b| a.id.cmp(&b.id));
    }
    replicas
}

async fn ask(
    context: &Context,
    replica: &Replica,
    service: &ServiceKey,
    after: u64,
    limit: usize,
) -> Option<Vec<SubscriberInfo>> {
    if replica.id == context.core.replica {
        return Some(context.drains.subscribers().list(service, after, limit));
    }
    let asked = context
        .drains
        .peers()
        .subscribers(replica, service, after, limit);
    match asked.await {
        Ok(found) => Some(found),
        Err(error) => {
            tracing::debug!(%error, "a replica does not say who watches there");
            None
        }
    }
}

/// The token of the page after a subscriber of a replica.
pub(in crate::rpc) fn page_token(service: &ServiceKey, replica: &ReplicaId, number: u64) -> String {
    let key = [&number.to_be_bytes(), replica.as_str().as_bytes()].concat();
    page::token(&key, digest(service))
}

fn place(key: &[u8]) -> Option<(ReplicaId, u64)> {
    let (number, replica) = key.split_first_chunk()?;
    let replica = ReplicaId::parse(std::str::from_utf8(replica).ok()?).ok()?;
    Some((replica, u64::from_be_bytes(*number)))
}

fn digest(service: &ServiceKey) -> u64 {
    hash64(format!("subscribers {}", service.path()))
}

fn encode(subscriber: SubscriberInfo, replica: &ReplicaId) -> Subscriber {
    let view = match subscriber.view {
        InstanceView::Serving => proto::InstanceView::Serving,
        InstanceView::All => proto::InstanceView::All,
    };
    let state = match subscriber.ended {
        None => SubscriberState::Open,
        Some(Ended::Broken) => SubscriberState::Broken,
        Some(Ended::Moving) => SubscriberState::Moving,
    };
    let reached = subscriber.reached;
    Subscriber {
        client_id: subscriber.client_id,
        address: subscriber.address,
        replica: replica.to_string(),
        fingerprint: match subscriber.fingerprint {
            0 => String::new(),
            fingerprint => format!("{fingerprint:016x}"),
        },
        view: view.into(),
        filter: subscriber.filter,
        acknowledges: reached.acknowledges,
        open_time: Some(subscriber.open_time.into()),
        told_revision: reached.told,
        acknowledged_revision: match reached.acknowledges {
            true => reached.acknowledged,
            false => 0,
        },
        requested_revision: reached.requested,
        state: state.into(),
        number: i64::try_from(subscriber.number).unwrap_or(i64::MAX),
    }
}
