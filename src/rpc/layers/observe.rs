//! What is seen of every call: a span that continues the caller's trace, counts, and a log line
//! for what went wrong. Statuses come in trailers, so the body is watched to its end; a call that
//! ends without a status was cancelled.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use opentelemetry::propagation::Extractor;
use pin_project_lite::pin_project;
use prometheus_client::{
    encoding::{EncodeLabelSet, LabelSetEncoder},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use tonic::{Code, Status, body::Body};
use tower::{Layer, Service};
use tracing::Instrument;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::method::is_open_ended;

/// Upper bounds of the latency histogram, in seconds: a cached read takes some 0.1 ms, a write a
/// few, anything above a second is trouble.
const LATENCIES: [f64; 12] = [
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0,
];

/// Counts of calls.
#[derive(Clone, Debug)]
pub struct CallMetrics {
    calls: Family<CallLabels, Counter>,
    latency: Family<MethodLabel, Histogram, fn() -> Histogram>,
    open: Family<MethodLabel, Gauge>,
}

/// Observes every call.
#[derive(Clone)]
pub struct ObserveLayer {
    metrics: CallMetrics,
}

/// See [`ObserveLayer`].
#[derive(Clone)]
pub struct Observe<S> {
    inner: S,
    metrics: CallMetrics,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct MethodLabel {
    method: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct CallLabels {
    method: Arc<str>,
    code: &'static str,
}

/// One call; records itself when it is dropped, as cancelled unless it was told otherwise.
struct Call {
    metrics: CallMetrics,
    method: Arc<str>,
    begun: Instant,
    code: Code,
    message: String,
    span: tracing::Span,
}

pin_project! {
    /// A body whose trailers tell how the call ended.
    struct Observed {
        #[pin]
        inner: Body,
        call: Call,
    }
}

struct Headers<'a>(&'a HeaderMap);

// === impl CallMetrics ===

impl CallMetrics {
    /// Counts that `registry` shows.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            calls: Family::default(),
            latency: Family::new_with_constructor(|| Histogram::new(LATENCIES)),
            open: Family::default(),
        };
        registry.register(
            "rpc_calls",
            "Calls that ended, by method and status code",
            metrics.calls.clone(),
        );
        registry.register(
            "rpc_seconds",
            "How long calls that answer at once took, by method",
            metrics.latency.clone(),
        );
        registry.register(
            "rpc_open_calls",
            "Calls that are open now, by method",
            metrics.open.clone(),
        );
        metrics
    }
}

// === impl ObserveLayer ===

impl ObserveLayer {
    /// Observes into `metrics`.
    pub fn new(metrics: CallMetrics) -> Self {
        Self { metrics }
    }
}

impl<S> Layer<S> for ObserveLayer {
    type Service = Observe<S>;

    fn layer(&self, inner: S) -> Observe<S> {
        Observe {
            inner,
            metrics: self.metrics.clone(),
        }
    }
}

// === impl Observe ===

impl<S, B> Service<Request<B>> for Observe<S>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let span = tracing::info_span!(
            "call",
            otel.name = request.uri().path().trim_start_matches('/'),
            otel.kind = "server",
            rpc.system = "grpc",
            rpc.grpc.status_code = tracing::field::Empty,
        );
        let parent = opentelemetry::global::get_text_map_propagator(|propagator| {
            propagator.extract(&Headers(request.headers()))
        });
        // It fails where no trace is collected, which is not worth a word.
        let _ = span.set_parent(parent);
        let mut call = Call::begin(&self.metrics, request.uri().path(), span.clone());
        let answer = self.inner.call(request).instrument(span);
        Box::pin(async move {
            let answer = answer.await?;
            if let Some(status) = Status::from_header_map(answer.headers()) {
                call.ended(&status);
            }
            Ok(answer.map(|inner| Body::new(Observed { inner, call })))
        })
    }
}

// === impl Call ===

impl Call {
    fn begin(metrics: &CallMetrics, path: &str, span: tracing::Span) -> Self {
        let method: Arc<str> = path.trim_start_matches('/').into();
        // Paths that nobody serves would let strangers fill the registry.
        let method = if crate::rpc::is_served(&method) {
            method
        } else {
            "unknown".into()
        };
        metrics
            .open
            .get_or_create(&MethodLabel {
                method: method.clone(),
            })
            .inc();
        Self {
            metrics: metrics.clone(),
            method,
            begun: Instant::now(),
            code: Code::Cancelled,
            message: String::new(),
            span,
        }
    }

    fn ended(&mut self, status: &Status) {
        self.code = status.code();
        self.message = status.message().to_owned();
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let label = MethodLabel {
            method: self.method.clone(),
        };
        self.metrics.open.get_or_create(&label).dec();
        let seconds = self.begun.elapsed().as_secs_f64();
        if !is_open_ended(&self.method) {
            self.metrics.latency.get_or_create(&label).observe(seconds);
        }
        self.span.record("rpc.grpc.status_code", self.code as i32);
        let code = code_name(self.code);
        let _entered = self.span.enter();
        let (method, message) = (&*self.method, &*self.message);
        match self.code {
            Code::Ok | Code::Cancelled => tracing::debug!(method, code, seconds, "call"),
            Code::Internal | Code::DataLoss | Code::Unknown => {
                tracing::error!(method, code, seconds, message, "a call failed");
            }
            Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded => {
                tracing::warn!(method, code, seconds, message, "a call failed");
            }
            _ => tracing::info!(method, code, seconds, message, "a call was refused"),
        }
        self.metrics
            .calls
            .get_or_create(&CallLabels {
                method: self.method.clone(),
                code,
            })
            .inc();
    }
}

// === impl Observed ===

impl http_body::Body for Observed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.project();
        let frame = this.inner.poll_frame(context);
        if let Poll::Ready(Some(frame)) = &frame {
            match frame {
                Ok(frame) => {
                    if let Some(status) = frame.trailers_ref().and_then(Status::from_header_map) {
                        this.call.ended(&status);
                    }
                }
                Err(status) => this.call.ended(status),
            }
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

// === impl Headers ===

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

// === impl MethodLabel, CallLabels ===

impl EncodeLabelSet for MethodLabel {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        [("method", &*self.method)].encode(encoder)
    }
}

impl EncodeLabelSet for CallLabels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        [("method", &*self.method), ("code", self.code)].encode(encoder)
    }
}

fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
