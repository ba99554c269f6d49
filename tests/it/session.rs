//! Sessions: opened, kept alive, lost, closed.

mod background;
mod bad_input;
mod faults;
mod heartbeats;
mod life;
mod losses;
mod renewals;
mod wrapped;

use std::time::Duration;

use bytes::Bytes;
use stanchion::{
    domain::{
        keyspace::{InstanceKey, QueueKind, QueuePath},
        lock::{LockMode, Waiter},
        names::{InstanceId, Label, Namespace, ServiceName},
        records,
        registry::{InstanceRecord, InstanceSpec},
        session_id::SessionId,
    },
    store::{Operation, Txn},
};
use stanchion_client::proto::{
    GetSessionRequest, KeepAliveRequest, KeepAliveResponse, OpenSessionRequest,
    OpenSessionResponse, SessionAlive, keep_alive_response::Message,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::support::{
    server::{Server, eventually},
    store::PATIENCE,
};

/// A client's end of a stream of heartbeats.
struct KeepAlive {
    heartbeats: mpsc::Sender<KeepAliveRequest>,
    answers: Streaming<KeepAliveResponse>,
}

// === impl KeepAlive ===

impl KeepAlive {
    async fn open(server: &Server) -> Self {
        let (heartbeats, receiver) = mpsc::channel(4096);
        let answers = server
            .sessions()
            .keep_alive(ReceiverStream::new(receiver))
            .await
            .unwrap()
            .into_inner();
        Self {
            heartbeats,
            answers,
        }
    }

    async fn send(&self, session: &str, seq: i64) {
        let heartbeat = KeepAliveRequest {
            session_id: session.to_owned(),
            seq,
            ..KeepAliveRequest::default()
        };
        self.heartbeats.send(heartbeat).await.unwrap();
    }

    /// The next message; `None` at the end of the stream.
    async fn next(&mut self) -> Option<Message> {
        let message = tokio::time::timeout(PATIENCE, self.answers.message());
        let message = message.await.expect("waited in vain for a message");
        message.unwrap().map(|message| message.message.unwrap())
    }

    /// The next message that is no answer to a heartbeat.
    async fn notice(&mut self) -> Message {
        loop {
            match self.next().await.expect("the stream ended") {
                Message::Alive(_) => {}
                notice => return notice,
            }
        }
    }

    async fn beat(&mut self, session: &str, seq: i64) -> SessionAlive {
        self.send(session, seq).await;
        match self.next().await {
            Some(Message::Alive(alive)) => {
                assert_eq!((alive.session_id.as_str(), alive.seq), (session, seq));
                alive
            }
            other => panic!("no answer to a heartbeat but {other:?}"),
        }
    }
}

async fn open_session(server: &Server, ttl: u64) -> OpenSessionResponse {
    open(server, request(ttl)).await
}

async fn open(server: &Server, request: OpenSessionRequest) -> OpenSessionResponse {
    let opened = server.sessions().open_session(request).await;
    opened.unwrap().into_inner()
}

fn request(ttl: u64) -> OpenSessionRequest {
    OpenSessionRequest {
        ttl: Some(seconds(ttl)),
        ..OpenSessionRequest::default()
    }
}

fn seconds(seconds: u64) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(seconds).unwrap(),
        nanos: 0,
    }
}

fn duration(wire: Option<prost_types::Duration>) -> Duration {
    wire.unwrap().try_into().unwrap()
}

async fn is_there(server: &Server, session: &str) -> bool {
    let request = GetSessionRequest {
        session_id: session.to_owned(),
        ..GetSessionRequest::default()
    };
    match server.sessions().get_session(request).await {
        Ok(_) => true,
        Err(status) => {
            crate::support::server::assert_status(
                &status,
                tonic::Code::FailedPrecondition,
                "LEASE_EXPIRED",
            );
            false
        }
    }
}

async fn gone(server: &Server, session: &str) {
    eventually("the end of a session", async || {
        (!is_there(server, session).await).then_some(())
    })
    .await;
}

fn id(session: &str) -> SessionId {
    SessionId::parse(session).unwrap()
}

/// Writes an instance as the registry would, and waits until the replica shows it.
async fn put_instance(server: &Server, name: &str, session: Option<&str>, client_id: &str) {
    let core = &server.app().core;
    let key = instance_key(name);
    let record = InstanceRecord {
        key: key.clone(),
        spec: InstanceSpec::default(),
        session: session.map(id),
        client_id: Label::parse(client_id).unwrap(),
        request_id: String::new(),
        register_request_id: String::new(),
        actor: Label::default(),
        register_time: core.clock.system_time(),
        format: records::FORMAT,
        create_revision: 0,
        mod_revision: 0,
    };
    let put = Operation::put(core.keys.instance(&key), records::encode_instance(&record));
    commit(server, put).await;
}

/// Queues a session for a lock as the lock service would, and returns the place's key.
async fn put_waiter(server: &Server, lock: &str, session: &str, request_id: &str) -> Bytes {
    let core = &server.app().core;
    let lock = lock_path(lock);
    let session = id(session);
    let key = core.keys.waiter(&lock, &session, request_id);
    let waiter = Waiter {
        key: key.clone(),
        session,
        client_id: Label::default(),
        request_id: request_id.to_owned(),
        owner: Label::default(),
        mode: LockMode::Exclusive,
        era: 1,
        attempt: 0,
        call: 0,
        enqueue_time: core.clock.system_time(),
        metadata: [].into(),
        proclamation: Bytes::new(),
        holds: Vec::new(),
        address: String::new(),
        yield_request: None,
        delay: None,
        format: records::FORMAT,
        create_revision: 0,
        mod_revision: 0,
    };
    let value = records::encode_waiter(&waiter);
    commit(
        server,
        Operation::put_leased(key.clone(), value, session.lease()),
    )
    .await;
    key
}

/// Writes past the API, and waits until the replica shows it.
async fn commit(server: &Server, operation: Operation) {
    let core = &server.app().core;
    let done = core.store.txn(Txn::new().then(operation)).await.unwrap();
    assert!(core.cache.reached(done.revision, PATIENCE).await);
}

fn instance_key(name: &str) -> InstanceKey {
    InstanceKey {
        namespace: Namespace::parse("default").unwrap(),
        service: ServiceName::parse("web").unwrap(),
        id: InstanceId::parse(name).unwrap(),
    }
}

fn lock_path(name: &str) -> QueuePath {
    QueuePath::parse(QueueKind::Lock, &format!("default/{name}")).unwrap()
}
