//! Connections: accepted within bounds, drained within a deadline.
//!
//! An accept loop of our own, because what the framework offers keeps 400 KiB for a peer that does
//! not read, waits for ever for one that never speaks, spins when file descriptors run out, and
//! does not end while a stream is open.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use hyper::{body::Incoming, server::conn::http2};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Service;

use super::Settings;

/// How long accepting rests when the system has no file descriptor or memory for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How many streams a peer may open and reset before it is cut off: hyper's default.
const MAX_RESET_STREAMS: usize = 20;
/// How much a peer may send on one stream before it is read. Requests are small, and what is not
/// read yet is memory that strangers fill.
const STREAM_WINDOW: u32 = 64 * 1024;
/// The same, of all streams of a connection.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What every HTTP/2 client says first, up to where it may go on as it likes: the preface and the
/// header of a SETTINGS frame.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The length of a frame's header.
const FRAME_HEADER: usize = 9;
/// What a browser or `curl` is told.
const NOT_HTTP2: &[u8] = b"HTTP/1.1 505 HTTP Version Not Supported\r\n\
    content-type: text/plain\r\nconnection: close\r\n\r\n\
    This port speaks gRPC, which is HTTP/2. Metrics and health over HTTP/1.1 have a port of their own.\n";

/// Serves connections until told to stop.
pub struct Listener {
    listener: TcpListener,
    settings: Arc<Settings>,
    metrics: ConnectionMetrics,
    /// Stops accepting, and asks peers to go: GOAWAY, then the open calls finish.
    drain: CancellationToken,
    /// Cuts what is still open.
    cut: CancellationToken,
}

/// Counts of connections.
#[derive(Clone, Debug, Default)]
pub struct ConnectionMetrics {
    open: Gauge,
    accepted: Counter,
    refused: Counter,
}

/// Counts a connection for as long as it lives.
struct Counted(Gauge);

/// Says a condition once when it begins, however often it is met.
#[derive(Default)]
struct Condition(bool);

// === impl Listener ===

impl Listener {
    /// A listener that is not accepting yet.
    pub fn new(
        listener: TcpListener,
        settings: Arc<Settings>,
        metrics: ConnectionMetrics,
        drain: CancellationToken,
        cut: CancellationToken,
    ) -> Self {
        Self {
            listener,
            settings,
            metrics,
            drain,
            cut,
        }
    }

    /// Accepts until drained; returns when every connection has ended.
    pub async fn serve<S, B>(self, service: S)
    where
        S: Service<http::Request<Incoming>, Response = http::Response<B>, Error = Infallible>
            + Clone
            + Send
            + 'static,
        S::Future: Send + 'static,
        B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let places = Arc::new(Semaphore::new(self.settings.max_connections));
        let connections = TaskTracker::new();
        let http = self.http();
        let (mut full, mut starved) = (Condition::default(), Condition::default());
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = self.drain.cancelled() => break,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) if is_of_one_connection(&error) => continue,
                Err(error) => {
                    if starved.begins() {
                        tracing::error!(%error, "connections cannot be accepted");
                    }
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            starved.ends();
            let Ok(place) = places.clone().try_acquire_owned() else {
                self.metrics.refused.inc();
                if full.begins() {
                    let limit = self.settings.max_connections;
                    tracing::warn!(limit, "connections are refused: there are too many");
                }
                continue;
            };
            full.ends();
            let counted = self.metrics.opened();
            let connection = serve_connection(
                stream,
                http.clone(),
                service.clone(),
                self.settings.preface_timeout,
                self.drain.clone(),
            );
            let cut = self.cut.clone();
            connections.spawn(async move {
                cut.run_until_cancelled(connection).await;
                drop((place, counted));
            });
        }
        // New clients are to be refused, not to wait in the queue.
        drop(self.listener);
        connections.close();
        connections.wait().await;
    }

    fn http(&self) -> http2::Builder<TokioExecutor> {
        let settings = &self.settings;
        let mut http = http2::Builder::new(TokioExecutor::new());
        http.timer(TokioTimer::new())
            .max_concurrent_streams(settings.max_streams)
            .max_header_list_size(settings.max_header_bytes)
            .max_send_buf_size(settings.send_buffer_bytes)
            .max_pending_accept_reset_streams(MAX_RESET_STREAMS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(settings.ping_interval)
            .keep_alive_timeout(settings.ping_timeout);
        http
    }
}

// === impl ConnectionMetrics ===

impl ConnectionMetrics {
    /// Counts that `registry` shows.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "rpc_connections",
            "Connections that are open now",
            metrics.open.clone(),
        );
        registry.register(
            "rpc_connections_accepted",
            "Connections that were accepted",
            metrics.accepted.clone(),
        );
        registry.register(
            "rpc_connections_refused",
            "Connections that were refused because there were too many",
            metrics.refused.clone(),
        );
        metrics
    }

    fn opened(&self) -> Counted {
        self.accepted.inc();
        self.open.inc();
        Counted(self.open.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

// === impl Condition ===

impl Condition {
    /// Notes that it holds; true if it did not before.
    fn begins(&mut self) -> bool {
        !std::mem::replace(&mut self.0, true)
    }

    fn ends(&mut self) {
        self.0 = false;
    }
}

async fn serve_connection<S, B>(
    stream: TcpStream,
    http: http2::Builder<TokioExecutor>,
    service: S,
    preface_timeout: Duration,
    drain: CancellationToken,
) where
    S: Service<http::Request<Incoming>, Response = http::Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    // Whoever opens a connection and says nothing must not keep its place.
    let opening = timeout(preface_timeout, open(stream));
    let io = match drain.run_until_cancelled(opening).await {
        Some(Ok(Ok(io))) => io,
        Some(Ok(Err(error))) => {
            tracing::debug!(%error, "a connection broke before it began");
            return;
        }
        Some(Err(_)) => {
            tracing::debug!("a connection was closed: its client said nothing");
            return;
        }
        None => return,
    };
    let connection = http.serve_connection(TokioIo::new(io), TowerToHyperService::new(service));
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = drain.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended badly");
    }
}

/// Waits until the client has said that it speaks HTTP/2: from there on pings find out whether it
/// is still there, before there is nothing that would.
async fn open(mut stream: TcpStream) -> io::Result<impl AsyncRead + AsyncWrite + Unpin> {
    stream.set_nodelay(true)?;
    let mut said = [0; PREFACE.len() + FRAME_HEADER];
    let (method, rest) = said.split_at_mut(3);
    stream.read_exact(method).await?;
    if method != &PREFACE[..3] {
        stream.write_all(NOT_HTTP2).await?;
        return Err(io::Error::other("the client does not speak HTTP/2"));
    }
    stream.read_exact(rest).await?;
    let (read, write) = stream.into_split();
    Ok(tokio::io::join(io::Cursor::new(said).chain(read), write))
}

/// Tells a fault of the connection being accepted, which is over, from one of this process.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}
