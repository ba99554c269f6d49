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
use tokio::{
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

/// Serves connections until told to stop.
pub struct Listener {
    listener: TcpListener,
    settings: Arc<Settings>,
    /// Stops accepting, and asks peers to go: GOAWAY, then the open calls finish.
    drain: CancellationToken,
    /// Cuts what is still open.
    cut: CancellationToken,
}

// === impl Listener ===

impl Listener {
    /// A listener that is not accepting yet.
    pub fn new(
        listener: TcpListener,
        settings: Arc<Settings>,
        drain: CancellationToken,
        cut: CancellationToken,
    ) -> Self {
        Self {
            listener,
            settings,
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
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = self.drain.cancelled() => break,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    if !is_of_one_connection(&error) {
                        tracing::warn!(%error, "connections cannot be accepted");
                        sleep(ACCEPT_PAUSE).await;
                    }
                    continue;
                }
            };
            let Ok(place) = places.clone().try_acquire_owned() else {
                tracing::warn!(
                    limit = self.settings.max_connections,
                    "a connection was refused: there are too many"
                );
                continue;
            };
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
                drop(place);
            });
        }
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
            .keep_alive_interval(settings.ping_interval)
            .keep_alive_timeout(settings.ping_timeout);
        http
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
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection broke before it began");
        return;
    }
    // Whoever opens a connection and says nothing must not keep its place.
    let mut first = [0; 1];
    tokio::select! {
        spoken = timeout(preface_timeout, stream.peek(&mut first)) => match spoken {
            Ok(Ok(1)) => {}
            _ => return,
        },
        () = drain.cancelled() => return,
    }
    let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
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

/// Tells a fault of the connection being accepted, which is over, from one of this process.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}
