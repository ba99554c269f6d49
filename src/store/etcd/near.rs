//! Connections on the threads that call.
//!
//! A call whose connection lives on another thread wakes that one for its request, and is woken for
//! each part of the answer. So every runtime that calls has a connection of its own.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use etcd_client::Channel;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use tokio::runtime::{Handle, Id};
use tonic::body::Body;
use tower::{BoxError, Service, ServiceExt as _};

use super::lane::Lanes;

/// A connection for each runtime, made with its first call. For calls of one request alone.
#[derive(Clone)]
pub(super) struct Near {
    lanes: Arc<Lanes>,
    channels: Arc<Mutex<HashMap<Id, Channel>>>,
}

// === impl Near ===

impl Near {
    pub(super) fn new(lanes: &Arc<Lanes>) -> Self {
        Self {
            lanes: Arc::clone(lanes),
            channels: Arc::default(),
        }
    }

    fn channel(&self) -> Channel {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        channels
            .entry(Handle::current().id())
            .or_insert_with(|| self.lanes.open())
            .clone()
    }
}

impl Service<Request<Body>> for Near {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Body>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // A place in a connection's queue is taken once it is known which connection it is.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let channel = self.channel();
        Box::pin(async move {
            // As one frame that ends the stream: an empty one after it would wake etcd again.
            let (head, body) = request.into_parts();
            let body = Full::new(body.collect().await?.to_bytes());
            let request = Request::from_parts(head, Body::new(body));
            channel.oneshot(request).await
        })
    }
}
