//! A connection to a member, made with its first call, and again when it broke.
//!
//! What a call has to say is all given to the connection before that runs, and so goes out with one
//! system call: a lone call wakes etcd once.

use std::{
    future::{Future, poll_fn},
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use h2::client::{Builder, SendRequest};
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    runtime::Handle,
    time::timeout,
};
use tokio_util::task::AbortOnDropHandle;
use tonic::body::Body;
use tower::{BoxError, Service};

use super::{
    error::{self, NotSent, unavailable},
    lane::Way,
};
use crate::{
    http2::{Acks, Incoming, Outgoing, Pings, Sender, Sending},
    store::{Error, Outcome},
};

/// How much etcd may send before it is read: on a stream, and on all of a connection. A watch that
/// nobody reads leaves most of it to calls.
const STREAM_WINDOW: u32 = 2 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 5 * 1024 * 1024;

/// A connection, or what will be one.
#[derive(Clone)]
pub(super) struct Connection(Arc<Line>);

struct Line {
    way: Way,
    /// What it runs on, whoever calls first.
    runtime: Handle,
    state: Mutex<State>,
}

enum State {
    Closed,
    /// Whoever needs it waits for the same attempt.
    Opening(Shared<BoxFuture<'static, Result<Opened, Error>>>),
    Open(Opened),
}

#[derive(Clone)]
struct Opened {
    requests: SendRequest<Bytes>,
    /// Has an owner more for each call.
    used: Arc<()>,
}

/// The body of an answer.
struct Answer {
    incoming: Incoming,
    /// Sends what the call still has to say. Ends with the answer.
    _sending: Option<AbortOnDropHandle<()>>,
    _used: Arc<()>,
}

// === impl Connection ===

impl Connection {
    /// Nothing connects yet. What it will run on is the current runtime.
    pub(super) fn new(way: Way) -> Self {
        Self(Arc::new(Line {
            way,
            runtime: Handle::current(),
            state: Mutex::new(State::Closed),
        }))
    }

    async fn ask(self, mut request: Request<Body>) -> Result<Response<Body>, BoxError> {
        self.0.way.direct(&mut request)?;
        let Opened { mut requests, used } = self.ready().await.map_err(NotSent)?;
        let (head, body) = request.into_parts();
        let (response, stream) = requests
            .send_request(Request::from_parts(head, ()), false)
            .map_err(|error| NotSent(not_sent(&error)))?;
        let mut sending = Sending::new(body, stream);
        let begun = poll_fn(|context| Poll::Ready(Pin::new(&mut sending).poll(context))).await;
        let sending = begun.is_pending().then(|| {
            AbortOnDropHandle::new(self.0.runtime.spawn(async move {
                if let Err(error) = sending.await {
                    tracing::debug!(%error, "a stream to etcd ended before its requests did");
                }
            }))
        });
        // A request that could not be sent whole has its stream reset, which the answer tells.
        let response = response.await?;
        Ok(response.map(|stream| {
            Body::new(Answer {
                incoming: Incoming::new(stream),
                _sending: sending,
                _used: used,
            })
        }))
    }

    /// The connection, with room for a call.
    async fn ready(&self) -> Result<Opened, Error> {
        let mut opened = self.open().await?;
        if poll_fn(|context| opened.requests.poll_ready(context))
            .await
            .is_ok()
        {
            return Ok(opened);
        }
        // It is over, and was not used for this call.
        self.0.close(&opened.used);
        opened = self.open().await?;
        let ready = poll_fn(|context| opened.requests.poll_ready(context)).await;
        ready.map_err(|error| not_sent(&error))?;
        Ok(opened)
    }

    async fn open(&self) -> Result<Opened, Error> {
        let attempt = match &mut *self.0.lock() {
            State::Open(opened) => return Ok(opened.clone()),
            State::Opening(attempt) => attempt.clone(),
            closed => {
                let opening = self.0.runtime.spawn(Arc::clone(&self.0).connect());
                let attempt = async { opening.await.unwrap_or_else(|error| Err(not_sent(&error))) };
                let attempt = attempt.boxed().shared();
                *closed = State::Opening(attempt.clone());
                attempt
            }
        };
        attempt.await
    }
}

impl Service<Request<Body>> for Connection {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Body>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.clone().ask(request))
    }
}

// === impl Line ===

impl Line {
    /// Connects, and notes what came of it before anybody hears of it.
    async fn connect(self: Arc<Self>) -> Result<Opened, Error> {
        let address = &self.way.address;
        let limit = self.way.connect_timeout;
        let connected = match timeout(limit, self.handshake()).await {
            Ok(connected) => connected,
            Err(_) => Err(io::Error::other(format!("no connection within {limit:?}"))),
        };
        let opened = connected.map_err(|error| {
            let why = error::describe(&error);
            unavailable(format!("{address}: {why}"), Outcome::NotDone)
        });
        *self.lock() = match &opened {
            Ok(opened) => State::Open(opened.clone()),
            Err(_) => State::Closed,
        };
        opened
    }

    async fn handshake(self: &Arc<Self>) -> io::Result<Opened> {
        let address = &self.way.address;
        if let Some(tls) = &self.way.tls {
            let stream = Arc::clone(tls).connect(address.clone()).await?;
            let (read, write) = tokio::io::split(stream);
            return self.speak(read, write).await;
        }
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (read, write) = stream.into_split();
        self.speak(read, write).await
    }

    async fn speak<R, W>(self: &Arc<Self>, read: R, write: W) -> io::Result<Opened>
    where
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        let sender = Sender::with_acks_aside(write);
        let io = tokio::io::join(read, Outgoing::new(sender.clone()));
        let mut http = Builder::new();
        http.enable_push(false)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW);
        let (requests, mut connection) = http.handshake(io).await.map_err(io::Error::other)?;
        let used = Arc::new(());
        let (ours, theirs) = (Arc::downgrade(&used), Arc::downgrade(self));
        let way = &self.way;
        let pings = connection.ping_pong();
        let mut pings = Pings::new(pings, way.ping_interval, way.ping_timeout);
        let mut acks = Acks::default();
        tokio::spawn(async move {
            let ended = poll_fn(|context| {
                // etcd takes pings on idle connections for an attack. One owner is the line.
                let is_used = ours.strong_count() > 1;
                if pings.poll_silence(context, is_used).is_ready() {
                    return Poll::Ready(Err("no ping is answered".to_owned()));
                }
                if let Poll::Ready(ended) = Pin::new(&mut connection).poll(context) {
                    return Poll::Ready(ended.map_err(|error| error.to_string()));
                }
                ready!(sender.poll_send(context));
                acks.poll(&sender, context);
                Poll::Pending
            })
            .await;
            if let Err(error) = ended {
                tracing::debug!(error, "a connection to etcd ended badly");
            }
            Self::ended(&theirs, &ours);
        });
        Ok(Opened { requests, used })
    }

    fn ended(line: &Weak<Self>, used: &Weak<()>) {
        if let (Some(line), Some(used)) = (line.upgrade(), used.upgrade()) {
            line.close(&used);
        }
    }

    /// The connection that `used` is of is over.
    fn close(&self, used: &Arc<()>) {
        let mut state = self.lock();
        if matches!(&*state, State::Open(opened) if Arc::ptr_eq(&opened.used, used)) {
            *state = State::Closed;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn not_sent(error: &dyn std::error::Error) -> Error {
    unavailable(error::describe(error), Outcome::NotDone)
}

// === impl Answer ===

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        Pin::new(&mut self.incoming).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

#[cfg(test)]
mod tests;
