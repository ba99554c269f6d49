//! No call ends without a status of the table: what the framework refuses before a handler sees it
//! gets its reason, and a handler that panics is answered with INTERNAL.

use std::{
    convert::Infallible,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use tonic::Status;
use tower::{Layer, Service};

use crate::rpc::status;

use super::{GRPC_STATUS, GRPC_STATUS_DETAILS, OK};

/// What a caller is told of a panic; the log has the rest.
const PANICKED: &str = "the server failed at this call; its log says more";

/// Gives every error the form that all errors have.
#[derive(Clone)]
pub struct ErrorsLayer;

/// See [`ErrorsLayer`].
#[derive(Clone)]
pub struct Errors<S> {
    inner: S,
}

pin_project! {
    /// A call whose panics are answered.
    pub struct Guarded<F> {
        #[pin]
        call: F,
    }
}

pin_project! {
    /// A body whose errors have that form too.
    pub struct Told<B> {
        // None of an answer that is its headers alone.
        #[pin]
        inner: Option<B>,
        ended: bool,
    }
}

// === impl ErrorsLayer ===

impl<S> Layer<S> for ErrorsLayer {
    type Service = Errors<S>;

    fn layer(&self, inner: S) -> Errors<S> {
        Errors { inner }
    }
}

// === impl Errors ===

impl<S, B, C> Service<Request<B>> for Errors<S>
where
    S: Service<Request<B>, Response = Response<C>, Error = Infallible>,
{
    type Response = Response<Told<C>>;
    type Error = Infallible;
    type Future = Guarded<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        Guarded {
            call: self.inner.call(request),
        }
    }
}

// === impl Guarded ===

impl<F, C> Future for Guarded<F>
where
    F: Future<Output = Result<Response<C>, Infallible>>,
{
    type Output = Result<Response<Told<C>>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let call = self.project().call;
        // What the handler leaves behind is its own: the stores and the cache do not run in it.
        let polled = catch_unwind(AssertUnwindSafe(|| call.poll(context)));
        let mut answer = match polled {
            Ok(answered) => ready!(answered)?.map(Some),
            Err(_) => status::internal(PANICKED).into_http::<()>().map(|()| None),
        };
        tell(answer.headers_mut());
        Poll::Ready(Ok(answer.map(|inner| Told {
            inner,
            ended: false,
        })))
    }
}

// === impl Told ===

impl<B: http_body::Body<Data = Bytes, Error = Status>> http_body::Body for Told<B> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.project();
        let Some(inner) = this.inner.as_pin_mut().filter(|_| !*this.ended) else {
            return Poll::Ready(None);
        };
        let polled = AssertUnwindSafe(|| inner.poll_frame(context));
        let Ok(polled) = catch_unwind(polled) else {
            *this.ended = true;
            return Poll::Ready(Some(trailers(&status::internal(PANICKED))));
        };
        polled.map(|frame| match frame? {
            Ok(mut frame) => {
                if let Some(trailers) = frame.trailers_mut() {
                    tell(trailers);
                }
                Some(Ok(frame))
            }
            Err(error) => Some(Err(error)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.inner.as_ref().is_none_or(B::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let inner = self.inner.as_ref();
        inner.map_or_else(|| SizeHint::with_exact(0), B::size_hint)
    }
}

/// The frame that ends an answer with `status`.
pub(in crate::rpc) fn trailers(status: &Status) -> Result<Frame<Bytes>, Status> {
    let mut trailers = HeaderMap::new();
    status.add_header(&mut trailers)?;
    Ok(Frame::trailers(trailers))
}

/// Gives the status in `headers`, if it is an error without one, its reason.
fn tell(headers: &mut HeaderMap) {
    let fails = headers.get(&GRPC_STATUS).is_some_and(|code| code != OK);
    if !fails || headers.contains_key(&GRPC_STATUS_DETAILS) {
        return;
    }
    let Some(status) = Status::from_header_map(headers) else {
        return;
    };
    let told = status::of_framework(status);
    if let Err(status) = told.add_header(headers) {
        tracing::error!(%status, "an error cannot be told");
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use tonic::Code;

    use super::*;

    /// A stream that panics once it is asked for its first frame.
    struct Panics;

    impl http_body::Body for Panics {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            panic!("on purpose");
        }
    }

    #[tokio::test]
    async fn a_handler_that_panics_is_answered_with_internal() {
        let service = tower::service_fn(|_: Request<()>| async move {
            if true {
                panic!("on purpose");
            }
            Ok(Response::new(Panics))
        });
        let answer = ErrorsLayer
            .layer(service)
            .call(Request::new(()))
            .await
            .unwrap();
        let status = Status::from_header_map(answer.headers()).unwrap();
        assert_eq!(status.code(), Code::Internal);
        assert!(!status.details().is_empty());
    }

    #[tokio::test]
    async fn a_stream_that_panics_ends_with_internal() {
        let service = tower::service_fn(|_: Request<()>| async move { Ok(Response::new(Panics)) });
        let answer = ErrorsLayer
            .layer(service)
            .call(Request::new(()))
            .await
            .unwrap();
        let trailers = answer.into_body().collect().await.unwrap();
        let status = Status::from_header_map(trailers.trailers().unwrap()).unwrap();
        assert_eq!(status.code(), Code::Internal);
    }
}
