//! Connections: accepted within bounds, drained within a deadline.
//!
//! An accept loop of our own, because what the framework offers keeps 400 KiB for a peer that does
//! not read, waits for ever for one that never speaks, spins when file descriptors run out, and
//! does not end while a stream is open.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use bytes::Bytes;
use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Service;

use super::{
    Settings,
    connection::{self, Terms},
    workers::Workers,
};
use crate::http2::Incoming;

/// How long accepting rests when the system has no file descriptor or memory for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How many streams a peer may open and reset, before any is looked at, until it is cut off.
const MAX_RESET_STREAMS: usize = 20;
/// How much a peer may send on one stream before it is read. Requests are small, and what is not
/// read yet is memory that strangers fill.
const STREAM_WINDOW: u32 = 64 * 1024;
/// The same, of all streams of a connection.
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// Serves connections until told to stop.
pub struct Listener {
    listener: TcpListener,
    workers: Workers,
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
        workers: Workers,
        settings: Arc<Settings>,
        metrics: ConnectionMetrics,
        drain: CancellationToken,
        cut: CancellationToken,
    ) -> Self {
        Self {
            listener,
            workers,
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
        S::Future: Send + Unpin + 'static,
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: std::fmt::Display,
    {
        let places = Arc::new(Semaphore::new(self.settings.max_connections));
        let connections = TaskTracker::new();
        let terms = self.terms();
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
            let Some(worker) = self.workers.place() else {
                break;
            };
            // The socket leaves the accepting thread's reactor for the serving one's.
            let stream = match stream.into_std() {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::error!(%error, "a connection was lost on its way");
                    continue;
                }
            };
            let counted = self.metrics.opened();
            let (terms, service) = (terms.clone(), service.clone());
            let (drain, cut) = (self.drain.clone(), self.cut.clone());
            let runtime = worker.runtime().clone();
            let connection = async move {
                match TcpStream::from_std(stream) {
                    Ok(stream) => {
                        let serving = connection::serve(stream, terms, service, drain);
                        cut.run_until_cancelled(serving).await;
                    }
                    Err(error) => tracing::error!(%error, "a connection was lost on its way"),
                }
                drop((place, worker, counted));
            };
            connections.spawn_on(connection, &runtime);
        }
        // New clients are to be refused, not to wait in the queue.
        drop(self.listener);
        connections.close();
        connections.wait().await;
    }

    fn terms(&self) -> Terms {
        let settings = &self.settings;
        let mut http = h2::server::Builder::new();
        http.max_concurrent_streams(settings.max_streams)
            .max_header_list_size(settings.max_header_bytes)
            .max_send_buffer_size(settings.send_buffer_bytes)
            .max_pending_accept_reset_streams(MAX_RESET_STREAMS)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW);
        Terms {
            http,
            preface_timeout: settings.preface_timeout,
            ping_interval: settings.ping_interval,
            ping_timeout: settings.ping_timeout,
        }
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

/// Tells a fault of the connection being accepted, which is over, from one of this process.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}
