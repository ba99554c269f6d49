//! Operations over HTTP: `/livez`, `/readyz`, `/metrics`, `/sd/prometheus`.

mod prometheus;

use std::{io, sync::Arc};

use axum::{Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{domain::Core, metrics::Metrics};

/// What the answers are made of.
#[derive(Clone)]
struct Operations {
    core: Arc<Core>,
    metrics: Arc<Metrics>,
    drain: CancellationToken,
}

/// Serves until `cut`. Goes on while draining, so that the last metrics can be read and
/// `/readyz` tells.
pub async fn serve(
    listener: TcpListener,
    core: Arc<Core>,
    metrics: Arc<Metrics>,
    drain: CancellationToken,
    cut: CancellationToken,
) -> io::Result<()> {
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(show_metrics))
        .route("/sd/prometheus", get(prometheus::targets))
        .with_state(Operations {
            core,
            metrics,
            drain,
        });
    // Dropped rather than shut down gently: nobody's data is on these connections.
    cut.run_until_cancelled(async { axum::serve(listener, router).await })
        .await
        .unwrap_or(Ok(()))
}

async fn readyz(State(operations): State<Operations>) -> impl IntoResponse {
    if operations.drain.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else if !operations.core.cache.is_ready() {
        (StatusCode::SERVICE_UNAVAILABLE, "reading the store\n")
    } else {
        (StatusCode::OK, "ready\n")
    }
}

async fn show_metrics(State(operations): State<Operations>) -> impl IntoResponse {
    const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match operations.metrics.encode() {
        Ok(text) => (StatusCode::OK, [("content-type", TEXT)], text),
        Err(_) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            [("content-type", "text/plain")],
            String::new(),
        ),
    }
}
