//! SIGTERM, with all kinds of peers.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use stanchion_client::proto::{
    AcquireLockRequest, Final, KeepAliveRequest, OpenSessionRequest, PutConfigRequest,
    WatchConfigsRequest, WatchInstancesRequest, WatchLockRequest, WatchServicesRequest,
    acquire_lock_request::Wait, config_service_client::ConfigServiceClient, keep_alive_response,
    lock_service_client::LockServiceClient, registry_service_client::RegistryServiceClient,
    session_service_client::SessionServiceClient, watch_configs_response, watch_instances_response,
    watch_lock_response, watch_services_response,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
    time::timeout,
};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::{
    Code, Status, Streaming,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest,
};

use crate::support::{process::Process, server::assert_status, store::PATIENCE};

/// What an HTTP/2 client says first: the preface and empty SETTINGS.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_gives_every_stream_its_last_message_and_ends_the_process_with_0() {
    let mut process = Process::serve(&["--store=memory:"]).await;
    let channel = process.channel().await;
    let streams = Streams::open(&channel).await;
    let begun = Instant::now();
    process.signal(Signal::TERM);
    streams.end().await;
    assert_eq!(process.end().await.code(), Some(0));
    // Nobody held it up, so that nothing had to be cut.
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert!(!process.log().contains("was cut"), "{}", process.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigint_ends_the_process_with_0() {
    let mut process = Process::serve(&["--store=memory:"]).await;
    process.signal(Signal::INT);
    assert_eq!(process.end().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_that_do_nothing_hold_up_the_end_no_longer_than_the_deadline() {
    let mut process = Process::serve(&["--store=memory:", "--shutdown-timeout=2s"]).await;
    let silent = TcpStream::connect(process.address).await.unwrap();
    let deaf = deaf(&process).await;
    let unread = unread(&process).await;

    let begun = Instant::now();
    process.signal(Signal::TERM);
    assert_eq!(process.end().await.code(), Some(0));
    let took = begun.elapsed();
    assert!(
        took > Duration::from_secs(1),
        "it was ended, not waited for"
    );
    // Far below what pings would need to find out.
    assert!(took < Duration::from_secs(10), "it took {took:?}");
    assert!(process.log().contains("was cut"), "{}", process.log());
    drop((silent, deaf, unread));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_the_process_at_once() {
    let mut process = Process::serve(&["--store=memory:", "--shutdown-timeout=10m"]).await;
    let unread = unread(&process).await;
    process.signal(Signal::TERM);
    let waiting = timeout(Duration::from_millis(500), process.end()).await;
    assert!(waiting.is_err(), "nothing held it up");
    process.signal(Signal::TERM);
    assert_eq!(process.end().await.code(), Some(128 + 15));
    drop(unread);
}

/// A client that says that it speaks HTTP/2, and then neither answers nor reads.
async fn deaf(process: &Process) -> TcpStream {
    let mut stream = TcpStream::connect(process.address).await.unwrap();
    stream.write_all(PREFACE).await.unwrap();
    // The server has taken it.
    let mut settings = [0; 9];
    timeout(PATIENCE, stream.read_exact(&mut settings))
        .await
        .unwrap()
        .unwrap();
    stream
}

/// A watch of more than fits on the way to a client that does not read it.
async fn unread(process: &Process) -> Streaming<stanchion_client::proto::WatchConfigsResponse> {
    let channel = process.channel().await;
    let mut configs = ConfigServiceClient::new(channel);
    for number in 0..20 {
        let put = PutConfigRequest {
            key: format!("large-{number}"),
            content: vec![b'x'; 60_000].into(),
            ..PutConfigRequest::default()
        };
        configs.put_config(put).await.unwrap();
    }
    let channel = Endpoint::from_shared(format!("http://{}", process.address))
        .unwrap()
        .initial_stream_window_size(1024)
        .connect()
        .await
        .unwrap();
    let watch = ConfigServiceClient::new(channel)
        .watch_configs(WatchConfigsRequest::default())
        .await;
    watch.unwrap().into_inner()
}

/// One stream of each kind, and a call that waits.
struct Streams {
    configs: Streaming<stanchion_client::proto::WatchConfigsResponse>,
    instances: Streaming<stanchion_client::proto::WatchInstancesResponse>,
    services: Streaming<stanchion_client::proto::WatchServicesResponse>,
    lock: Streaming<stanchion_client::proto::WatchLockResponse>,
    heartbeats: mpsc::Sender<KeepAliveRequest>,
    keep_alive: Streaming<stanchion_client::proto::KeepAliveResponse>,
    health: Streaming<tonic_health::pb::HealthCheckResponse>,
    questions: mpsc::Sender<ServerReflectionRequest>,
    reflection: Streaming<tonic_reflection::pb::v1::ServerReflectionResponse>,
    waiting: tokio::task::JoinHandle<Status>,
}

// === impl Streams ===

impl Streams {
    async fn open(channel: &Channel) -> Self {
        let mut configs = ConfigServiceClient::new(channel.clone());
        let mut registry = RegistryServiceClient::new(channel.clone());
        let mut locks = LockServiceClient::new(channel.clone());
        let mut sessions = SessionServiceClient::new(channel.clone());
        let opened = sessions.open_session(OpenSessionRequest::default()).await;
        let session_id = opened.unwrap().into_inner().session_id;

        let acquire = |request_id: &str, wait| AcquireLockRequest {
            lock: "job".into(),
            session_id: session_id.clone(),
            request_id: request_id.into(),
            wait,
            ..AcquireLockRequest::default()
        };
        let held = acquire("first", Some(Wait::NoWait(true)));
        locks.acquire_lock(held).await.unwrap();
        let (waits, mut waiter) = (acquire("second", None), locks.clone());
        let waiting = tokio::spawn(async move { waiter.acquire_lock(waits).await.unwrap_err() });

        let (heartbeats, receiver) = mpsc::channel(16);
        let keep_alive = sessions.keep_alive(ReceiverStream::new(receiver)).await;
        let mut keep_alive = keep_alive.unwrap().into_inner();
        let heartbeat = KeepAliveRequest {
            session_id,
            seq: 1,
            ..KeepAliveRequest::default()
        };
        heartbeats.send(heartbeat).await.unwrap();
        next(&mut keep_alive).await.unwrap();

        let mut health = HealthClient::new(channel.clone())
            .watch(HealthCheckRequest::default())
            .await
            .unwrap()
            .into_inner();
        let serving = next(&mut health).await.unwrap();
        assert_eq!(serving.status(), ServingStatus::Serving);

        let (questions, receiver) = mpsc::channel(1);
        let mut reflection = ServerReflectionClient::new(channel.clone())
            .server_reflection_info(ReceiverStream::new(receiver))
            .await
            .unwrap()
            .into_inner();
        let question = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        questions.send(question).await.unwrap();
        next(&mut reflection).await.unwrap();

        let web = WatchInstancesRequest {
            service: "web".into(),
            ..WatchInstancesRequest::default()
        };
        let job = WatchLockRequest {
            lock: "job".into(),
            ..WatchLockRequest::default()
        };
        let mut lock = locks.watch_lock(job).await.unwrap().into_inner();
        // The one that waits is in the queue.
        next(&mut lock).await.unwrap();
        Self {
            configs: configs
                .watch_configs(WatchConfigsRequest::default())
                .await
                .unwrap()
                .into_inner(),
            instances: registry.watch_instances(web).await.unwrap().into_inner(),
            services: registry
                .watch_services(WatchServicesRequest::default())
                .await
                .unwrap()
                .into_inner(),
            lock,
            heartbeats,
            keep_alive,
            health,
            questions,
            reflection,
            waiting,
        }
    }

    /// Asserts that each ended well.
    async fn end(self) {
        let last = last(self.configs).await.message.unwrap();
        let watch_configs_response::Message::Bookmark(bookmark) = last else {
            panic!("{last:?}");
        };
        assert_eq!(bookmark.r#final(), Final::Draining);
        let last = self::last(self.instances).await.message.unwrap();
        let watch_instances_response::Message::Bookmark(bookmark) = last else {
            panic!("{last:?}");
        };
        assert_eq!(bookmark.r#final(), Final::Draining);
        let last = self::last(self.services).await.message.unwrap();
        let watch_services_response::Message::Bookmark(bookmark) = last else {
            panic!("{last:?}");
        };
        assert_eq!(bookmark.r#final(), Final::Draining);
        let last = self::last(self.lock).await.message.unwrap();
        let watch_lock_response::Message::Bookmark(bookmark) = last else {
            panic!("{last:?}");
        };
        assert_eq!(bookmark.r#final(), Final::Draining);
        let last = self::last(self.keep_alive).await.message.unwrap();
        let keep_alive_response::Message::End(end) = last else {
            panic!("{last:?}");
        };
        assert_eq!(end.r#final(), Final::Draining);
        let health = self::last(self.health).await;
        assert_eq!(health.status(), ServingStatus::NotServing);
        // It has nothing to say, but it ends.
        let mut reflection = self.reflection;
        assert!(next(&mut reflection).await.is_none());
        let waiting = timeout(PATIENCE, self.waiting).await.unwrap().unwrap();
        assert_status(&waiting, Code::Unavailable, "DRAINING");
        drop((self.heartbeats, self.questions));
    }
}

/// The next message; `None` where the stream ended with OK.
async fn next<T>(stream: &mut Streaming<T>) -> Option<T> {
    timeout(PATIENCE, stream.message())
        .await
        .expect("a message or an end in time")
        .unwrap()
}

/// The last message of a stream that ends with OK.
async fn last<T>(stream: Streaming<T>) -> T {
    let all = stream.collect::<Vec<_>>();
    let all = timeout(PATIENCE, all).await.expect("no end in time");
    let all: Result<Vec<_>, _> = all.into_iter().collect();
    all.unwrap().pop().expect("not even a last message")
}
