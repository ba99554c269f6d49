//! Calls and streams of clients while something happens to the store.

use std::time::Duration;

use stanchion_client::proto::{
    Consistency, GetConfigRequest, GetSessionRequest, KeepAliveRequest, OpenSessionRequest,
    PutConfigRequest, WatchConfigsRequest, keep_alive_response, watch_configs_response::Message,
};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::server::Server;

const SESSION_TTL: i64 = 5;

/// Watches all configs through the put of `until`; returns the revisions of its deltas. Fails on a
/// gap, a reset or an end.
pub async fn watch(server: &Server, until: &'static str) -> JoinHandle<Vec<i64>> {
    let request = WatchConfigsRequest::default();
    let watch = server.configs().watch_configs(request).await;
    let mut watch = watch.unwrap().into_inner();
    tokio::spawn(async move {
        let (mut current, mut seen) = (0, Vec::new());
        loop {
            let message = watch.message().await.unwrap().expect("the watch ended");
            match message.message.unwrap() {
                Message::Snapshot(_) => {}
                Message::SnapshotEnd(end) => current = end.revision,
                Message::Bookmark(bookmark) => current = bookmark.revision,
                Message::Delta(delta) => {
                    assert_eq!(delta.prev_revision, current);
                    assert!(!delta.conflated && delta.last_part);
                    current = delta.revision;
                    seen.push(delta.revision);
                    let mut configs = delta.events.into_iter().filter_map(|event| event.config);
                    if configs.any(|config| config.key == until) {
                        return seen;
                    }
                }
                Message::Reset(reset) => panic!("{reset:?}"),
            }
        }
    })
}

pub async fn put(server: &Server, key: &str) -> Result<i64, Status> {
    let request = PutConfigRequest {
        key: key.into(),
        // Never the same, so that every put is a change.
        content: format!("{:016x}", rand::random::<u64>()).into(),
        ..PutConfigRequest::default()
    };
    let answer = server.configs().put_config(request).await?;
    Ok(answer.into_inner().header.unwrap().revision)
}

/// Reads a config; returns how old the answer says it is.
pub async fn get(server: &Server, key: &str, consistency: Consistency) -> Result<Duration, Status> {
    let request = GetConfigRequest {
        key: key.into(),
        consistency: consistency.into(),
        ..GetConfigRequest::default()
    };
    let answer = server.configs().get_config(request).await?.into_inner();
    let age = answer.header.unwrap().age.unwrap();
    Ok(Duration::try_from(age).unwrap())
}

pub async fn health(server: &Server, suffix: &str) -> ServingStatus {
    let service = format!("stanchion.v1.ConfigService{suffix}");
    let request = HealthCheckRequest { service };
    let answer = HealthClient::new(server.channel()).check(request).await;
    answer.unwrap().into_inner().status()
}

/// A session with a client that never stops its heartbeats.
pub struct Session {
    id: String,
    beating: JoinHandle<()>,
}

// === impl Session ===

impl Session {
    pub async fn open(server: &Server) -> Self {
        let ttl = prost_types::Duration {
            seconds: SESSION_TTL,
            nanos: 0,
        };
        let request = OpenSessionRequest {
            ttl: Some(ttl),
            ..OpenSessionRequest::default()
        };
        let opened = server.sessions().open_session(request).await.unwrap();
        let id = opened.into_inner().session_id;
        let (heartbeats, receiver) = mpsc::channel(64);
        let answers = server
            .sessions()
            .keep_alive(ReceiverStream::new(receiver))
            .await;
        let mut answers = answers.unwrap().into_inner();
        let session_id = id.clone();
        let beating = tokio::spawn(async move {
            for seq in 1.. {
                let session_id = session_id.clone();
                let heartbeat = KeepAliveRequest {
                    session_id,
                    seq,
                    ..KeepAliveRequest::default()
                };
                heartbeats.send(heartbeat).await.unwrap();
                let pause = tokio::time::sleep(Duration::from_millis(200));
                tokio::pin!(pause);
                loop {
                    tokio::select! {
                        () = &mut pause => break,
                        answer = answers.message() => match answer.unwrap().unwrap().message {
                            Some(keep_alive_response::Message::Alive(_)) => {}
                            other => panic!("{other:?}"),
                        },
                    }
                }
            }
        });
        Self { id, beating }
    }

    /// Asserts that it lives a whole time to live after this.
    pub async fn lives_on(self, server: &Server) {
        tokio::time::sleep(Duration::from_secs(SESSION_TTL.unsigned_abs() + 1)).await;
        assert!(!self.beating.is_finished(), "the stream broke");
        let request = GetSessionRequest {
            session_id: self.id,
            consistency: Consistency::Linearizable.into(),
            ..GetSessionRequest::default()
        };
        server.sessions().get_session(request).await.unwrap();
        self.beating.abort();
    }
}
