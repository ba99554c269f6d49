//! One connection: HTTP/2 from its preface to its end.

mod outgoing;

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    io,
    pin::pin,
    task::{Poll, ready},
    time::Duration,
};

use hyper::{body::Incoming, server::conn::http2};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tower::Service;

use self::outgoing::{Outgoing, Sender};

/// What every HTTP/2 client says first, up to where it may go on as it likes: the preface and the
/// header of a SETTINGS frame.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The length of a frame's header.
const FRAME_HEADER: usize = 9;
/// What a browser or `curl` is told.
const NOT_HTTP2: &[u8] = b"HTTP/1.1 505 HTTP Version Not Supported\r\n\
    content-type: text/plain\r\nconnection: close\r\n\r\n\
    This port speaks gRPC, which is HTTP/2. Metrics and health over HTTP/1.1 have a port of their own.\n";

/// Serves a connection until it ends, or until its calls have ended after the drain.
pub(super) async fn serve<S, B>(
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
    // Whoever opens a connection and says nothing must not keep its place.
    let opening = timeout(preface_timeout, open(stream));
    let (incoming, sender) = match drain.run_until_cancelled(opening).await {
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
    let outgoing = Outgoing::new(sender.clone());
    let io = TokioIo::new(tokio::io::join(incoming, outgoing));
    let connection = http.serve_connection(io, TowerToHyperService::new(service));
    let mut connection = pin!(connection);
    let mut drained = pin!(drain.cancelled());
    let mut draining = false;
    let mut ended = Poll::Pending;
    let ended = poll_fn(|context| {
        if !draining && drained.as_mut().poll(context).is_ready() {
            draining = true;
            connection.as_mut().graceful_shutdown();
        }
        if ended.is_pending() {
            ended = connection.as_mut().poll(context);
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
async fn open(mut stream: TcpStream) -> io::Result<(impl AsyncRead + Unpin, Sender)> {
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
    Ok((io::Cursor::new(said).chain(read), Sender::new(write)))
}
