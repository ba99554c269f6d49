//! A rolling redeploy under load: ten instances are replaced one by one while a client calls each
//! that it discovers. With drains no call meets an instance that is gone.

use std::{
    collections::BTreeSet,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use stanchion_client::{Registration, proto::DrainOutcome};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{LONG, client, connect, soon};
use crate::support::server::{Backend, Server, eventually};

const INSTANCES: usize = 10;
/// 200 calls a second.
const PACE: Duration = Duration::from_millis(5);
/// How long an instance takes to answer.
const WORK: Duration = Duration::from_millis(100);

/// How an instance ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// It drains, and stops when the drain has ended.
    Drained,
    /// It stops and deregisters, as a program does that just ends.
    JustEnds,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_meets_an_instance_that_was_drained_on_the_embedded_store() {
    let calls = redeploy(&Backend::embedded().await, 1, Way::Drained).await;
    assert_eq!(calls.failed, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_meets_an_instance_that_was_drained_on_three_replicas_over_etcd() {
    let calls = redeploy(&Backend::etcd().await, 3, Way::Drained).await;
    assert_eq!(calls.failed, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_draining_calls_fail_on_the_embedded_store() {
    let calls = redeploy(&Backend::embedded().await, 1, Way::JustEnds).await;
    assert!(!calls.failed.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_draining_calls_fail_on_three_replicas_over_etcd() {
    let calls = redeploy(&Backend::etcd().await, 3, Way::JustEnds).await;
    assert!(!calls.failed.is_empty());
}

/// Replaces every instance, and tells what the caller saw.
async fn redeploy(backend: &Backend, replicas: usize, way: Way) -> Calls {
    let mut servers = Vec::new();
    for _ in 0..replicas {
        servers.push(backend.server().await);
    }
    let clients: Vec<_> = servers.iter().map(|server| client(&[server])).collect();
    let start = async |number: usize, generation: &str| {
        let http = Http::start().await;
        let registration = clients[number % replicas]
            .register("web", "127.0.0.1")
            .id(format!("{number}-{generation}"))
            .port("http", http.address.port(), "http")
            .start()
            .await
            .unwrap();
        Instance { registration, http }
    };
    let mut old = Vec::new();
    for number in 0..INSTANCES {
        old.push(start(number, "old").await);
    }
    let caller = Caller::start(&servers);
    caller.has_made(2 * INSTANCES).await;

    let mut ports = BTreeSet::new();
    let mut new = Vec::new();
    for (number, instance) in old.into_iter().enumerate() {
        ports.insert(instance.http.address.port());
        new.push(start(number, "new").await);
        instance.end(way).await;
    }
    ports.extend(new.iter().map(|instance| instance.http.address.port()));
    let made = caller.made();
    caller.has_made(made + 4 * INSTANCES).await;
    let calls = caller.end().await;
    assert_eq!(calls.reached, ports, "every instance was called");
    for instance in new {
        instance.registration.deregister().await.unwrap();
    }
    for server in servers {
        server.stop().await;
    }
    calls
}

/// One instance of the service.
struct Instance {
    registration: Registration,
    http: Http,
}

// === impl Instance ===

impl Instance {
    async fn end(self, way: Way) {
        if way == Way::Drained {
            let draining = self.registration.drain(Some(LONG), |_| {});
            let drained = soon("the end of the drain", draining).await.unwrap();
            assert_eq!(drained.outcome(), DrainOutcome::Acknowledged, "{drained:?}");
            assert_eq!(drained.subscriber_count, 1);
            self.http.stop().await;
        } else {
            self.http.stop().await;
            self.registration.deregister().await.unwrap();
        }
    }
}

/// A server that takes its time.
struct Http {
    address: SocketAddr,
    stop: CancellationToken,
    serving: tokio::task::JoinHandle<()>,
}

// === impl Http ===

impl Http {
    async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let stop = CancellationToken::new();
        Self {
            address: listener.local_addr().unwrap(),
            serving: tokio::spawn(serve(listener, stop.clone())),
            stop,
        }
    }

    /// Takes no more calls, and ends when those in flight are answered.
    async fn stop(self) {
        self.stop.cancel();
        self.serving.await.unwrap();
    }
}

async fn serve(listener: TcpListener, stop: CancellationToken) {
    let calls = TaskTracker::new();
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        let (stream, _) = accepted.unwrap();
        calls.spawn(answer(stream));
    }
    // Those that are connected are in flight, though the runtime may not have heard of them.
    let listener = listener.into_std().unwrap();
    while let Ok((stream, _)) = listener.accept() {
        stream.set_nonblocking(true).unwrap();
        calls.spawn(answer(TcpStream::from_std(stream).unwrap()));
    }
    drop(listener);
    calls.close();
    calls.wait().await;
}

async fn answer(mut stream: TcpStream) {
    let mut request = [0; 1024];
    if stream.read(&mut request).await.is_ok_and(|read| read > 0) {
        tokio::time::sleep(WORK).await;
        let ok = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
        // A caller that went away misses its answer.
        let _ = stream.write_all(ok).await;
    }
}

/// A client that calls whatever it discovers, on a thread of its own.
struct Caller {
    made: Arc<AtomicUsize>,
    stop: CancellationToken,
    thread: JoinHandle<Calls>,
}

/// What became of the calls.
#[derive(Default)]
struct Calls {
    reached: BTreeSet<u16>,
    failed: Vec<String>,
}

// === impl Caller ===

impl Caller {
    fn start(servers: &[Server]) -> Self {
        let made = Arc::new(AtomicUsize::new(0));
        let stop = CancellationToken::new();
        let endpoints: Vec<_> = servers.iter().map(|s| s.address.to_string()).collect();
        let calling = call_all(endpoints, made.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_all().build().unwrap();
            runtime.block_on(calling)
        });
        Self { made, stop, thread }
    }

    fn made(&self) -> usize {
        self.made.load(Ordering::SeqCst)
    }

    async fn has_made(&self, calls: usize) {
        eventually("so many calls", async || {
            (self.made() >= calls).then_some(())
        })
        .await;
    }

    async fn end(self) -> Calls {
        self.stop.cancel();
        let end = tokio::task::spawn_blocking(|| self.thread.join());
        soon("the end of the caller", end).await.unwrap().unwrap()
    }
}

async fn call_all(
    endpoints: Vec<String>,
    made: Arc<AtomicUsize>,
    stop: CancellationToken,
) -> Calls {
    let client = connect(endpoints, "caller", LONG);
    let mut discovery = client.discover("web");
    discovery.ready().await.unwrap();
    // All that were registered, wherever that was.
    while discovery.instances().len() < INSTANCES {
        soon("the instances", discovery.changed()).await;
    }
    let mut tick = tokio::time::interval(PACE);
    let mut turn = 0;
    let mut calls = JoinSet::new();
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        let instances = discovery.instances();
        let instance = &instances[turn % instances.len()];
        turn += 1;
        let port = u16::try_from(instance.ports[0].port).unwrap();
        // Between the choice and the connection nothing else runs on this thread, so that what
        // was chosen before a change is in flight when the change is acknowledged.
        let stream = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port));
        let id = instance.instance_id.clone();
        calls.spawn(async move { (port, id, call(stream).await) });
        made.fetch_add(1, Ordering::SeqCst);
    }
    let mut seen = Calls::default();
    for (port, id, outcome) in calls.join_all().await {
        match outcome {
            Ok(()) => drop(seen.reached.insert(port)),
            Err(error) => seen.failed.push(format!("{id}: {error}")),
        }
    }
    seen
}

async fn call(stream: io::Result<std::net::TcpStream>) -> io::Result<()> {
    let stream = stream?;
    stream.set_nonblocking(true)?;
    let mut stream = TcpStream::from_std(stream)?;
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: web\r\n\r\n")
        .await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    match answer.starts_with(b"HTTP/1.1 200") {
        true => Ok(()),
        false => Err(io::Error::other("no answer")),
    }
}
