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
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::{Frame, SizeHint};
use opentelemetry::{propagation::Extractor, trace::TraceContextExt};
use pin_project_lite::pin_project;
use tonic::{Code, Status};
use tower::{Layer, Service};
use tracing::{Span, field};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::telemetry;

use super::{
    call_metrics::{CallMetrics, code_name},
    is_ok,
    method::{self, Method},
    throttle::Throttle,
};

/// What a caller can call its call; it comes back in the answer and stands in the log.
static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest of these that is kept.
const MAX_REQUEST_ID: usize = 128;
/// How many log lines about calls are written in a second; more would say nothing new, and a store
/// that is away fails every call.
const LINES_PER_SECOND: u32 = 20;

/// Observes every call.
#[derive(Clone)]
pub struct ObserveLayer(Arc<Observer>);

struct Observer {
    metrics: CallMetrics,
    /// Traces go somewhere. If not, a call is spared the cost of a span.
    traces: bool,
    throttle: Throttle,
}

/// See [`ObserveLayer`].
#[derive(Clone)]
pub struct Observe<S> {
    inner: S,
    observer: Arc<Observer>,
}

/// One call; records itself when it is dropped, as cancelled unless it was told otherwise.
struct Call {
    observer: Arc<Observer>,
    method: &'static Method,
    request_id: Option<HeaderValue>,
    begun: Instant,
    code: Code,
    message: String,
    span: Span,
}

pin_project! {
    /// A call that is observed.
    pub struct Observing<F> {
        #[pin]
        answer: F,
        call: Option<Box<Call>>,
    }
}

pin_project! {
    /// A body whose trailers tell how the call ended.
    pub struct Observed<B> {
        #[pin]
        inner: B,
        call: Box<Call>,
    }
}

struct Headers<'a>(&'a HeaderMap);

// === impl ObserveLayer ===

impl ObserveLayer {
    /// Observes into `metrics`, and into spans if `traces` says that somebody takes them.
    pub fn new(metrics: CallMetrics, traces: bool) -> Self {
        Self(Arc::new(Observer {
            metrics,
            traces,
            throttle: Throttle::new(LINES_PER_SECOND),
        }))
    }
}

impl<S> Layer<S> for ObserveLayer {
    type Service = Observe<S>;

    fn layer(&self, inner: S) -> Observe<S> {
        Observe {
            inner,
            observer: self.0.clone(),
        }
    }
}

// === impl Observe ===

impl<S, B, C> Service<Request<B>> for Observe<S>
where
    S: Service<Request<B>, Response = Response<C>, Error = Infallible>,
{
    type Response = Response<Observed<C>>;
    type Error = Infallible;
    type Future = Observing<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let call = Call::begin(&self.observer, request.uri().path(), request.headers());
        let call = Box::new(call);
        let answer = call.span.in_scope(|| self.inner.call(request));
        Observing {
            answer,
            call: Some(call),
        }
    }
}

// === impl Observing ===

impl<F, C> Future for Observing<F>
where
    F: Future<Output = Result<Response<C>, Infallible>>,
{
    type Output = Result<Response<Observed<C>>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Some(mut call) = this.call.take() else {
            // It has ended.
            return Poll::Pending;
        };
        let polled = call.span.in_scope(|| this.answer.poll(context));
        let Poll::Ready(answer) = polled else {
            *this.call = Some(call);
            return Poll::Pending;
        };
        let mut answer = answer?;
        call.answered(answer.headers());
        if let Some(id) = &call.request_id {
            answer.headers_mut().insert(&REQUEST_ID, id.clone());
        }
        Poll::Ready(Ok(answer.map(|inner| Observed { inner, call })))
    }
}

// === impl Call ===

impl Call {
    fn begin(observer: &Arc<Observer>, path: &str, headers: &HeaderMap) -> Self {
        let method = method::of(path);
        let request_id = headers.get(&REQUEST_ID);
        let request_id = request_id.filter(|id| id.len() <= MAX_REQUEST_ID).cloned();
        let span = if observer.traces {
            span(&method.name, request_id.as_ref(), headers)
        } else {
            Span::none()
        };
        observer.metrics.began(method);
        Self {
            observer: observer.clone(),
            method,
            request_id,
            begun: Instant::now(),
            code: Code::Cancelled,
            message: String::new(),
            span,
        }
    }

    fn answered(&mut self, headers: &HeaderMap) {
        // How long one had to wait for others says nothing of this server.
        if !self.method.queues {
            let after = self.begun.elapsed();
            self.observer.metrics.answered(self.method, after);
        }
        self.told(headers);
    }

    /// Sees headers or trailers, which may tell how the call ended.
    fn told(&mut self, headers: &HeaderMap) {
        if is_ok(headers) {
            self.code = Code::Ok;
        } else if let Some(status) = Status::from_header_map(headers) {
            self.ended(&status);
        }
    }

    fn ended(&mut self, status: &Status) {
        self.code = status.code();
        self.message = status.message().to_owned();
    }

    fn log(&self) {
        let (method, code) = (&*self.method.name, code_name(self.code));
        let detail = &*self.message;
        let seconds = self.begun.elapsed().as_secs_f64();
        if matches!(self.code, Code::Ok | Code::Cancelled) {
            tracing::debug!(method, code, seconds, "a call ended");
            return;
        }
        let Some(suppressed) = self.observer.throttle.admit() else {
            return;
        };
        let trace_id = telemetry::trace_id(&self.span);
        let request_id = self.request_id.as_ref().and_then(|id| id.to_str().ok());
        macro_rules! say {
            ($level:ident, $text:literal) => {
                tracing::$level!(
                    method, code, seconds, detail, request_id, trace_id, suppressed, $text
                )
            };
        }
        match self.code {
            Code::Internal | Code::DataLoss => say!(error, "a call failed"),
            Code::Unavailable | Code::Unknown | Code::ResourceExhausted => {
                say!(warn, "a call failed");
            }
            Code::DeadlineExceeded => say!(info, "a call ran out of time"),
            _ => say!(info, "a call was refused"),
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.observer.metrics.ended(self.method, self.code);
        self.span.record("rpc.grpc.status_code", self.code as i32);
        // What the caller did wrong is no error of the server's span.
        if matches!(
            self.code,
            Code::Unknown
                | Code::DeadlineExceeded
                | Code::Unimplemented
                | Code::Internal
                | Code::Unavailable
                | Code::DataLoss
        ) {
            self.span.record("otel.status_code", "ERROR");
            self.span.record("otel.status_description", &*self.message);
        }
        let span = self.span.clone();
        span.in_scope(|| self.log());
    }
}

/// The span of a call, which continues the caller's trace.
fn span(method: &str, request_id: Option<&HeaderValue>, headers: &HeaderMap) -> Span {
    let span = tracing::info_span!(
        "call",
        otel.name = method,
        otel.kind = "server",
        otel.status_code = field::Empty,
        otel.status_description = field::Empty,
        rpc.system = "grpc",
        rpc.grpc.status_code = field::Empty,
        request_id = field::Empty,
    );
    if let Some(id) = request_id.and_then(|id| id.to_str().ok()) {
        span.record("request_id", id);
    }
    let parent = opentelemetry::global::get_text_map_propagator(|propagator| {
        propagator.extract(&Headers(headers))
    });
    if parent.span().span_context().is_valid()
        && let Err(error) = span.set_parent(parent)
    {
        tracing::debug!(%error, "the caller's trace is not continued");
    }
    span
}

// === impl Observed ===

impl<B: http_body::Body<Data = Bytes, Error = Status>> http_body::Body for Observed<B> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.project();
        let inner = this.inner;
        let frame = this.call.span.in_scope(|| inner.poll_frame(context));
        if let Poll::Ready(Some(frame)) = &frame {
            match frame {
                Ok(frame) => {
                    if let Some(trailers) = frame.trailers_ref() {
                        this.call.told(trailers);
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
        self.0.keys().map(HeaderName::as_str).collect()
    }
}
