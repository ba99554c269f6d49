//! etcd goes away and comes back under a server with open streams.

use std::time::{Duration, Instant};

use stanchion_client::proto::{
    Consistency, GetConfigRequest, GetSessionRequest, KeepAliveRequest, OpenSessionRequest,
    PutConfigRequest, WatchConfigsRequest, keep_alive_response, watch_configs_response::Message,
};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::support::{
    etcd::Etcd,
    server::{Backend, Server, assert_status, eventually},
    store::PATIENCE,
};

const SESSION_TTL: i64 = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_outlive_a_restart_of_etcd_without_gap_or_repetition() {
    let mut etcd = Etcd::start().await;
    let backend = Backend::on(etcd.endpoints(), ());
    let mut settings = backend.settings();
    settings.domain.commit_timeout = Duration::from_millis(300);
    settings.rpc.store_silence = Duration::from_secs(1);
    let server = backend.server_with(settings).await;
    let watching = watch(&server, "last").await;
    let session = Session::open(&server).await;

    let mut written = Vec::new();
    for number in 0..5 {
        written.push(put(&server, &format!("before-{number}")).await.unwrap());
    }
    assert_eq!(health(&server, "/write").await, ServingStatus::Serving);

    etcd.kill(0);
    eventually("writes to be refused", || async {
        let status = put(&server, "meanwhile").await.unwrap_err();
        // The first ones may have been on the way.
        let sure = status.code() == Code::Unavailable;
        sure.then(|| assert_status(&status, Code::Unavailable, "STORE_UNAVAILABLE"))
    })
    .await;
    let begun = Instant::now();
    put(&server, "meanwhile").await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(3), "refused slowly");
    let linearizable = get(&server, Consistency::Linearizable).await.unwrap_err();
    assert_eq!(linearizable.code(), Code::Unavailable, "{linearizable:?}");

    // Reads go on, and say how old they are.
    let first = get(&server, Consistency::Cached).await.unwrap();
    eventually("the age to grow", || async {
        let age = get(&server, Consistency::Cached).await.unwrap();
        (age > first + Duration::from_millis(200)).then_some(())
    })
    .await;
    eventually("writes to be reported as NOT_SERVING", || async {
        (health(&server, "/write").await == ServingStatus::NotServing).then_some(())
    })
    .await;
    assert_eq!(health(&server, "/read").await, ServingStatus::Serving);
    assert_eq!(health(&server, "").await, ServingStatus::Serving);

    etcd.restart(0).await;
    eventually("writes to succeed again", || async {
        put(&server, "again").await.ok()
    })
    .await;
    eventually("writes to be reported as SERVING", || async {
        (health(&server, "/write").await == ServingStatus::Serving).then_some(())
    })
    .await;
    for number in 0..5 {
        written.push(put(&server, &format!("after-{number}")).await.unwrap());
    }
    put(&server, "last").await.unwrap();

    let seen = timeout(PATIENCE, watching).await.unwrap().unwrap();
    let mut sorted = seen.clone();
    sorted.dedup();
    assert_eq!(seen, sorted, "told twice");
    for revision in written {
        assert!(seen.contains(&revision), "{revision} is not in {seen:?}");
    }
    session.lives_on(&server).await;
}

/// Watches all configs through the put of `until`; returns the revisions of its deltas. Fails on a
/// gap, a reset or an end.
async fn watch(server: &Server, until: &'static str) -> JoinHandle<Vec<i64>> {
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

async fn put(server: &Server, key: &str) -> Result<i64, Status> {
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
async fn get(server: &Server, consistency: Consistency) -> Result<Duration, Status> {
    let request = GetConfigRequest {
        key: "before-0".into(),
        consistency: consistency.into(),
        ..GetConfigRequest::default()
    };
    let answer = server.configs().get_config(request).await?.into_inner();
    let age = answer.header.unwrap().age.unwrap();
    Ok(Duration::try_from(age).unwrap())
}

async fn health(server: &Server, suffix: &str) -> ServingStatus {
    let service = format!("stanchion.v1.ConfigService{suffix}");
    let request = HealthCheckRequest { service };
    let answer = HealthClient::new(server.channel()).check(request).await;
    answer.unwrap().into_inner().status()
}

/// A session with a client that never stops its heartbeats.
struct Session {
    id: String,
    beating: JoinHandle<()>,
}

// === impl Session ===

impl Session {
    async fn open(server: &Server) -> Self {
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
                let heartbeat = KeepAliveRequest { session_id, seq };
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
    async fn lives_on(self, server: &Server) {
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
