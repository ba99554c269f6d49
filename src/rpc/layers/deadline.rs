//! Deadlines: the caller's, or ours where it set none; answered with DEADLINE_EXCEEDED.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::{Status, body::Body};
use tower::{Layer, Service};

use crate::rpc::{Settings, framed::Awaited, status};

use super::{
    errors::trailers,
    method::{self, Method},
};

/// Gives every call its deadline.
#[derive(Clone)]
pub struct DeadlineLayer {
    settings: Arc<Settings>,
    drain: CancellationToken,
}

/// See [`DeadlineLayer`].
#[derive(Clone)]
pub struct Deadline<S> {
    inner: S,
    settings: Arc<Settings>,
    drain: CancellationToken,
}

pin_project! {
    /// A call that ends in time.
    pub struct Timely<F> {
        #[pin]
        call: F,
        method: &'static Method,
        // What its caller said.
        asked: Option<Duration>,
        // How long it may take; none once the clock runs.
        limit: Option<Duration>,
        late: Option<Pin<Box<Sleep>>>,
        drain: Option<CancellationToken>,
    }
}

/// The body of a request that has to arrive in time.
struct Arriving {
    inner: Body,
    late: Pin<Box<Sleep>>,
}

/// The body of an answer that may end by a deadline, or when the replica drains.
pub struct Ending {
    inner: Body,
    late: Option<Pin<Box<Sleep>>>,
    drained: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    ended: bool,
}

// === impl DeadlineLayer ===

impl DeadlineLayer {
    /// Deadlines as the settings say. Conversations that never end by themselves end when `drain`
    /// is cancelled.
    pub fn new(settings: Arc<Settings>, drain: CancellationToken) -> Self {
        Self { settings, drain }
    }
}

impl<S> Layer<S> for DeadlineLayer {
    type Service = Deadline<S>;

    fn layer(&self, inner: S) -> Deadline<S> {
        Deadline {
            inner,
            settings: self.settings.clone(),
            drain: self.drain.clone(),
        }
    }
}

// === impl Deadline ===

impl<S, B> Service<Request<B>> for Deadline<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<Ending>;
    type Error = Infallible;
    type Future = Timely<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let settings = &self.settings;
        let asked = grpc_timeout(request.headers());
        let method = method::of(request.uri().path());
        let limit = if method.open_ended {
            asked
        } else {
            let limit = asked.unwrap_or(settings.default_deadline);
            Some(limit.min(settings.max_deadline))
        };
        // A call that answers at once is bounded as a whole, request included.
        let arrives_by =
            (method.open_ended && !method.takes_a_stream).then_some(settings.default_deadline);
        let request = request.map(|body| match arrives_by {
            Some(limit) => Body::new(Arriving {
                inner: Body::new(body),
                late: Box::pin(sleep(limit)),
            }),
            None => Body::new(body),
        });
        Timely {
            call: self.inner.call(request),
            method,
            asked,
            limit,
            late: None,
            drain: method.reflection.then(|| self.drain.clone()),
        }
    }
}

// === impl Timely ===

impl<F> Future for Timely<F>
where
    F: Future<Output = Result<Response<Body>, Infallible>>,
{
    type Output = Result<Response<Ending>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answered = this.call.poll(context)?;
        // A call that is answered at once, as most are, needs no timer.
        if this.late.is_none() && (answered.is_pending() || this.method.open_ended) {
            *this.late = timer(this.limit.take());
        }
        let answer = match (answered, this.late.as_mut()) {
            (Poll::Ready(answer), _) => answer,
            (Poll::Pending, None) => return Poll::Pending,
            (Poll::Pending, Some(late)) => {
                ready!(late.as_mut().poll(context));
                status::deadline_exceeded().into_http()
            }
        };
        let late = match answer.extensions().get::<Awaited>() {
            // It took no time to begin with it.
            Some(Awaited) => timer(*this.asked),
            None => this.late.take().filter(|_| this.method.open_ended),
        };
        let drain = this.drain.take();
        Poll::Ready(Ok(answer.map(|body| Ending::new(body, late, drain))))
    }
}

// === impl Arriving ===

impl http_body::Body for Arriving {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) {
            return Poll::Ready(frame);
        }
        self.late
            .as_mut()
            .poll(context)
            .map(|()| Some(Err(status::deadline_exceeded())))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

// === impl Ending ===

impl Ending {
    fn new(inner: Body, late: Option<Pin<Box<Sleep>>>, drain: Option<CancellationToken>) -> Self {
        Self {
            inner,
            late,
            drained: drain.map(|drain| Box::pin(drain.cancelled_owned())),
            ended: false,
        }
    }

    /// Why it has to end now, if it does.
    fn over(&mut self, context: &mut Context<'_>) -> Option<Status> {
        if let Some(late) = &mut self.late
            && late.as_mut().poll(context).is_ready()
        {
            return Some(status::deadline_exceeded());
        }
        if let Some(drained) = &mut self.drained
            && drained.as_mut().poll(context).is_ready()
        {
            return Some(Status::ok(""));
        }
        None
    }
}

impl http_body::Body for Ending {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        // What is there goes out first, so that the drain cuts off no answer.
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) {
            return Poll::Ready(frame);
        }
        match self.over(context) {
            Some(status) => {
                self.ended = true;
                Poll::Ready(Some(trailers(&status)))
            }
            None => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// What rings when the time is over. A deadline too far away for the clock is none.
fn timer(limit: Option<Duration>) -> Option<Pin<Box<Sleep>>> {
    let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
    deadline.map(|deadline| Box::pin(sleep_until(deadline)))
}

/// Reads `grpc-timeout`: at most eight digits and a unit. One that cannot be read is no deadline,
/// as in the protocol's other implementations.
fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(value * 3600)),
        "M" => Some(Duration::from_secs(value * 60)),
        "S" => Some(Duration::from_secs(value)),
        "m" => Some(Duration::from_millis(value)),
        "u" => Some(Duration::from_micros(value)),
        "n" => Some(Duration::from_nanos(value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use tonic::Code;

    use super::*;

    #[test]
    fn a_timeout_is_digits_and_a_unit() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().unwrap());
            grpc_timeout(&headers)
        };
        assert_eq!(read("250m"), Some(Duration::from_millis(250)));
        assert_eq!(
            read("99999999H").map(|d| d.as_secs()),
            Some(359_999_996_400)
        );
        for bad in ["", "m", "123456789m", "1x", "-1S", "1.5S"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    /// Answers a call of `path` whose caller gave it `timeout` with a body that never ends.
    async fn answer(
        path: &str,
        timeout: Option<&str>,
        drain: CancellationToken,
    ) -> Response<Ending> {
        let service = tower::service_fn(|_: Request<Body>| async move {
            let body = http_body_util::StreamBody::new(futures_util::stream::pending::<
                Result<Frame<Bytes>, Status>,
            >());
            Ok(Response::new(Body::new(body)))
        });
        let mut request = Request::builder().uri(format!("http://x{path}"));
        if let Some(timeout) = timeout {
            request = request.header("grpc-timeout", timeout);
        }
        DeadlineLayer::new(Arc::new(Settings::default()), drain)
            .layer(service)
            .call(request.body(Body::empty()).unwrap())
            .await
            .unwrap()
    }

    async fn end(answer: Response<Ending>) -> Status {
        let body = answer.into_body().collect().await.unwrap();
        Status::from_header_map(body.trailers().unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_stream_ends_at_the_deadline_of_its_caller() {
        let watch = "/stanchion.v1.RegistryService/WatchInstances";
        let answer = answer(watch, Some("50m"), CancellationToken::new()).await;
        let begun = Instant::now();
        assert_eq!(end(answer).await.code(), Code::DeadlineExceeded);
        assert!(begun.elapsed() >= Duration::from_millis(50));
    }

    #[tokio::test]
    async fn a_conversation_about_the_protos_ends_when_the_replica_drains() {
        let drain = CancellationToken::new();
        let reflection = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
        let answer = answer(reflection, None, drain.clone()).await;
        drain.cancel();
        assert_eq!(end(answer).await.code(), Code::Ok);
    }

    #[tokio::test]
    async fn a_deadline_beyond_all_clocks_is_none() {
        let watch = "/stanchion.v1.RegistryService/WatchInstances";
        let answer = answer(watch, Some("99999999H"), CancellationToken::new()).await;
        let moment = Duration::from_millis(50);
        assert!(tokio::time::timeout(moment, end(answer)).await.is_err());
    }
}
