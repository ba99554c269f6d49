//! The registry, through its API, on both stores.

mod brake;
mod changes;
mod drains;
mod filters;
mod locality;
mod prometheus;
mod protection;
mod refusals;
mod registration;
mod removal;
mod removed;
mod slow_start;
mod timers;
mod together;
mod unsteady;
mod watches;

use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use stanchion::{
    domain::{
        keyspace::InstanceKey,
        names::{InstanceId, Namespace, ServiceName},
    },
    proto::store as stored,
    store::{Operation, Txn},
};
use stanchion_client::proto::{
    Consistency, DeleteCause, DeregisterInstanceRequest, EventType, GetInstanceRequest, Instance,
    InstanceDelta, InstanceView, ListInstancesRequest, ListInstancesResponse, OpenSessionRequest,
    Port, RegisterInstanceRequest, RegisterInstanceResponse, WatchInstancesRequest,
    WatchInstancesResponse, WatchStart, register_instance_request::Liveness,
    watch_instances_response::Message, watch_start::Position,
};
use tokio::time::timeout;
use tonic::{Status, Streaming};

pub use self::removed::put_tombstone;
use crate::support::{
    server::{Backend, Server},
    store::PATIENCE,
};

fn instance(id: &str) -> Instance {
    Instance {
        service: "web".into(),
        instance_id: id.into(),
        address: "10.0.0.1".into(),
        ports: vec![Port {
            name: "http".into(),
            port: 8080,
            protocol: "http".into(),
        }],
        ..Instance::default()
    }
}

fn registration(session: &str, id: &str) -> RegisterInstanceRequest {
    RegisterInstanceRequest {
        instance: Some(instance(id)),
        liveness: Some(Liveness::SessionId(session.to_owned())),
        ..RegisterInstanceRequest::default()
    }
}

async fn open(server: &Server, client_id: &str) -> String {
    let request = OpenSessionRequest {
        // Long, so that nothing expires by accident on a slow machine.
        ttl: Some(seconds(120)),
        client_id: client_id.into(),
        ..OpenSessionRequest::default()
    };
    let response = server.sessions().open_session(request).await.unwrap();
    response.into_inner().session_id
}

async fn register(
    server: &Server,
    request: RegisterInstanceRequest,
) -> Result<RegisterInstanceResponse, Status> {
    let response = server.registry().register_instance(request).await?;
    Ok(response.into_inner())
}

async fn register_on(server: &Server, session: &str, id: &str) -> Instance {
    let response = register(server, registration(session, id)).await.unwrap();
    response.instance.unwrap()
}

async fn deregister(server: &Server, session: &str, id: &str) -> bool {
    let request = DeregisterInstanceRequest {
        service: "web".into(),
        instance_id: id.into(),
        session_id: session.into(),
        ..DeregisterInstanceRequest::default()
    };
    let response = server.registry().deregister_instance(request).await;
    response.unwrap().into_inner().deregistered
}

async fn list(server: &Server, view: InstanceView) -> ListInstancesResponse {
    let request = ListInstancesRequest {
        service: "web".into(),
        view: view.into(),
        consistency: Consistency::Linearizable.into(),
        ..ListInstancesRequest::default()
    };
    let response = server.registry().list_instances(request).await.unwrap();
    response.into_inner()
}

async fn ids(server: &Server, view: InstanceView) -> Vec<String> {
    let list = list(server, view).await;
    list.instances.into_iter().map(|i| i.instance_id).collect()
}

async fn get(server: &Server, id: &str) -> Result<Instance, Status> {
    let request = GetInstanceRequest {
        service: "web".into(),
        instance_id: id.into(),
        consistency: Consistency::Linearizable.into(),
        ..GetInstanceRequest::default()
    };
    let response = server.registry().get_instance(request).await?;
    Ok(response.into_inner().instance.unwrap())
}

fn watching(view: InstanceView, resume_token: Option<Bytes>) -> WatchInstancesRequest {
    WatchInstancesRequest {
        service: "web".into(),
        view: view.into(),
        start: resume_token.map(|token| WatchStart {
            position: Some(Position::ResumeToken(token)),
            ..WatchStart::default()
        }),
        ..WatchInstancesRequest::default()
    }
}

struct Watcher(Streaming<WatchInstancesResponse>);

impl Watcher {
    async fn open(server: &Server, request: WatchInstancesRequest) -> Self {
        let stream = server.registry().watch_instances(request).await.unwrap();
        Self(stream.into_inner())
    }

    async fn next(&mut self) -> WatchInstancesResponse {
        let next = timeout(PATIENCE, self.0.message());
        next.await.expect("a message in time").unwrap().unwrap()
    }

    /// The ids of the snapshot, and the token after it.
    async fn snapshot(&mut self) -> (Vec<String>, Bytes) {
        let mut ids = Vec::new();
        loop {
            let response = self.next().await;
            match response.message.unwrap() {
                Message::Snapshot(part) => {
                    assert!(response.resume_token.is_empty());
                    ids.extend(part.instances.into_iter().map(|i| i.instance_id));
                }
                Message::SnapshotEnd(end) => {
                    assert!(end.revision > 0);
                    return (ids, response.resume_token);
                }
                other => panic!("not a snapshot: {other:?}"),
            }
        }
    }

    /// The next delta, and the token after it. Bookmarks are passed over.
    async fn delta(&mut self) -> (InstanceDelta, Bytes) {
        loop {
            let response = self.next().await;
            match response.message.unwrap() {
                Message::Delta(delta) => {
                    assert!(delta.prev_revision < delta.revision);
                    assert!(delta.last_part && !response.resume_token.is_empty());
                    return (delta, response.resume_token);
                }
                Message::Bookmark(_) => {}
                other => panic!("not a delta: {other:?}"),
            }
        }
    }

    /// The next event, alone in its delta.
    async fn event(&mut self) -> (EventType, String, DeleteCause) {
        let (delta, _) = self.delta().await;
        assert_eq!(delta.events.len(), 1, "{delta:?}");
        told(&delta).remove(0)
    }
}

/// What a delta tells, in few words.
fn told(delta: &InstanceDelta) -> Vec<(EventType, String, DeleteCause)> {
    let event = |event: &stanchion_client::proto::InstanceEvent| {
        let id = event.instance.as_ref().unwrap().instance_id.clone();
        (event.r#type(), id, event.cause())
    };
    delta.events.iter().map(event).collect()
}

fn added(id: &str) -> (EventType, String, DeleteCause) {
    (EventType::Added, id.into(), DeleteCause::Unspecified)
}

fn modified(id: &str) -> (EventType, String, DeleteCause) {
    (EventType::Modified, id.into(), DeleteCause::Unspecified)
}

fn deleted(id: &str, cause: DeleteCause) -> (EventType, String, DeleteCause) {
    (EventType::Deleted, id.into(), cause)
}

fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

/// Where an instance of `web` is in the store.
fn key_of(id: &str) -> InstanceKey {
    InstanceKey {
        namespace: Namespace::parse("default").unwrap(),
        service: ServiceName::parse("web").unwrap(),
        id: InstanceId::parse(id).unwrap(),
    }
}

/// Has an operator keep an instance of `web` out.
async fn isolate(server: &Server, id: &str) {
    let core = &server.app().core;
    let key = key_of(id);
    let isolated = stored::Operator {
        format: 1,
        state: stored::OperatorState::Isolated.into(),
        update_time: Some(prost_types::Timestamp::default()),
        ..stored::Operator::default()
    };
    let put = Operation::put(core.keys.operator(&key), isolated.encode_to_vec());
    server.write(Txn::new().then(put)).await;
}

const SERVING: InstanceView = InstanceView::Serving;
const ALL: InstanceView = InstanceView::All;

/// A replica on which suspects stay.
async fn patient_server(backend: &Backend) -> Server {
    let mut settings = backend.settings();
    settings.domain.suspect_grace = Duration::from_secs(600);
    backend.server_with(settings).await
}

fn mask(paths: &[&str]) -> prost_types::FieldMask {
    prost_types::FieldMask {
        paths: paths.iter().map(|&path| path.to_owned()).collect(),
    }
}
