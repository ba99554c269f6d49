//! One connection: HTTP/2 from its preface to its end.
//!
//! On h2 itself, without a server on top of it: most calls are answered from memory, at once. Such a
//! call is answered where it was read, without a task of its own, and that is half of its cost.

mod call;
mod patience;

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use http::{Request, Response};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt, Join},
    net::{TcpStream, tcp::OwnedWriteHalf},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tower::Service;

use self::{
    call::Call,
    patience::{Patience, Patient},
};
use crate::http2::{FRAME_HEADER, Incoming, Outgoing, Pings, Sender};

/// What every HTTP/2 client says first, up to where it may go on as it likes: the preface and the
/// header of a SETTINGS frame.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What a browser or `curl` is told.
const NOT_HTTP2: &[u8] = b"HTTP/1.1 505 HTTP Version Not Supported\r\n\
    content-type: text/plain\r\nconnection: close\r\n\r\n\
    This port speaks gRPC, which is HTTP/2. Metrics and health over HTTP/1.1 have a port of their own.\n";
/// How many calls of one connection begin before the other connections of its thread have a turn.
const CALLS_PER_TURN: usize = 64;

/// What connections are held to.
#[derive(Clone)]
pub(super) struct Terms {
    /// The limits of HTTP/2.
    pub(super) http: Builder,
    /// How long a client may take to say that it speaks HTTP/2.
    pub(super) preface_timeout: Duration,
    /// How often a connection is pinged.
    pub(super) ping_interval: Duration,
    /// How long a ping may stay unanswered.
    pub(super) ping_timeout: Duration,
}

/// Whom a call comes from. Not among the extensions of requests that read: to put it there costs
/// each call several allocations, and of those nobody asks.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    /// Where the client is.
    pub(super) address: SocketAddr,
    connection: Arc<Fate>,
}

/// What became of a connection.
#[derive(Debug, Default)]
struct Fate {
    lost: AtomicBool,
    silent: AtomicBool,
    patient: Patient,
}

/// A connection under its calls; when this is dropped it is lost to them.
struct Line(Option<Peer>);

/// A connection that takes calls.
struct Serving<T, S> {
    connection: Connection<T, Bytes>,
    pings: Pings,
    service: S,
    peer: Option<Peer>,
}

/// Why a connection ended badly.
#[derive(Debug, thiserror::Error)]
enum ConnectionError {
    #[error(transparent)]
    Http(#[from] h2::Error),
    #[error("the client answered no ping")]
    Silent,
}

/// Serves a connection until it ends, or until its calls have ended after the drain.
pub(super) async fn serve<S, B>(
    stream: TcpStream,
    terms: Terms,
    service: S,
    drain: CancellationToken,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S::Future: Send + Unpin + 'static,
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::fmt::Display,
{
    let peer = stream.peer_addr().ok().map(Peer::new);
    // Whoever opens a connection and says nothing must not keep its place.
    let opening = timeout(terms.preface_timeout, open(stream, &terms));
    let (connection, sender) = match drain.run_until_cancelled(opening).await {
        Some(Ok(Ok(opened))) => opened,
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
    // Dropped with the connection whatever ends it, even in the middle.
    let mut line = Some(Line(peer.clone()));
    let mut serving = Serving::new(connection, &terms, service, peer);
    let mut drained = pin!(drain.cancelled());
    let mut draining = false;
    let mut patience = Patience::default();
    let mut ended = Poll::Pending;
    let ended = poll_fn(|context| {
        if !draining && drained.as_mut().poll(context).is_ready() {
            draining = true;
            serving.connection.graceful_shutdown();
        }
        if ended.is_pending() {
            ended = serving.poll(context);
            // Its calls are on the same thread, and learn of it later.
            if let Poll::Ready(ended) = &ended {
                if let (Err(ConnectionError::Silent), Some(peer)) = (ended, &serving.peer) {
                    peer.fall_silent();
                }
                drop(line.take());
            }
        }
        if let (Some(peer), Poll::Pending) = (&serving.peer, &ended) {
            ready!(patience.poll(&peer.connection.patient, &sender, context));
        }
        // Whatever it had to say goes out at once, and together.
        ready!(sender.poll_send(context));
        std::mem::replace(&mut ended, Poll::Pending)
    })
    .await;
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended badly");
    }
}

/// Waits until the client has said that it speaks HTTP/2: from there on pings find out whether it
/// is still there, before there is nothing that would.
async fn open(
    mut stream: TcpStream,
    terms: &Terms,
) -> io::Result<(
    Connection<Join<impl AsyncRead + Send + Unpin, Outgoing<OwnedWriteHalf>>, Bytes>,
    Sender<OwnedWriteHalf>,
)> {
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
    let sender = Sender::new(write);
    let incoming = io::Cursor::new(said).chain(read);
    let io = tokio::io::join(incoming, Outgoing::new(sender.clone()));
    // Our settings are sent with the first answers.
    let connection = terms.http.handshake(io).await.map_err(io::Error::other)?;
    Ok((connection, sender))
}

// === impl Peer ===

impl Peer {
    fn new(address: SocketAddr) -> Self {
        Self {
            address,
            connection: Arc::default(),
        }
    }

    /// Whom a call comes from, if that is known.
    pub(super) fn of<T>(request: &tonic::Request<T>) -> Option<Self> {
        request.extensions().get::<Self>().cloned()
    }

    /// The connection has ended under its calls.
    fn lose(&self) {
        self.connection.lost.store(true, Ordering::Relaxed);
    }

    /// Nothing is heard over the connection any more, so that it is about to be lost.
    fn fall_silent(&self) {
        self.connection.silent.store(true, Ordering::Relaxed);
    }

    /// Lets data wait for others that the connection is given next, and that is one frame: for 50 ms
    /// at most, and no longer than until something goes out that may not wait.
    pub(super) fn let_wait(&self, data: usize) {
        self.connection.patient.add(data);
    }

    /// Says whether the connection has ended under its calls.
    pub(super) fn is_lost(&self) -> bool {
        self.connection.lost.load(Ordering::Relaxed)
    }

    /// Says whether it is lost to us alone, as far as we know: nothing was heard of the client, who
    /// may have heard nothing of this.
    pub(super) fn is_silent(&self) -> bool {
        self.connection.silent.load(Ordering::Relaxed)
    }
}

// === impl Line ===

impl Drop for Line {
    fn drop(&mut self) {
        if let Some(peer) = &self.0 {
            peer.lose();
        }
    }
}

// === impl Serving ===

impl<T, S, B> Serving<T, S>
where
    T: AsyncRead + tokio::io::AsyncWrite + Unpin,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S::Future: Send + Unpin + 'static,
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::fmt::Display,
{
    fn new(
        mut connection: Connection<T, Bytes>,
        terms: &Terms,
        service: S,
        peer: Option<Peer>,
    ) -> Self {
        let pings = Pings::new(
            connection.ping_pong(),
            terms.ping_interval,
            terms.ping_timeout,
        );
        Self {
            connection,
            pings,
            service,
            peer,
        }
    }

    /// Takes calls until the connection ends.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        if self.pings.poll_silence(context, true).is_ready() {
            return Poll::Ready(Err(ConnectionError::Silent));
        }
        for _ in 0..CALLS_PER_TURN {
            match ready!(self.connection.poll_accept(context)) {
                Some(Ok((request, reply))) => self.begin(request.map(Incoming::new), reply),
                Some(Err(error)) => return Poll::Ready(Err(error.into())),
                None => return Poll::Ready(Ok(())),
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Answers a call, at once if that is possible.
    fn begin(&mut self, mut request: Request<Incoming>, reply: SendResponse<Bytes>) {
        let path = request.uri().path();
        let reads = path.contains("/Get") || path.contains("/List");
        let peer = self.peer.clone().filter(|_| !reads);
        if let Some(peer) = &peer {
            request.extensions_mut().insert(peer.clone());
        }
        let mut call = Call::new(self.service.call(request), reply, peer);
        // If it has to wait it is polled again, as a task, and leaves that one's waker.
        let mut nobody = Context::from_waker(Waker::noop());
        if Pin::new(&mut call).poll(&mut nobody).is_pending() {
            tokio::spawn(call);
        }
    }
}
