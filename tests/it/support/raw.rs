//! A client that does what no library would: it calls methods that do not exist, sends what is no
//! message, and leaves deadlines to the server.

use std::net::SocketAddr;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, combinators::BoxBody};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::{net::TcpStream, time::timeout};
use tonic::Status;

use super::store::PATIENCE;

/// A connection.
pub struct RawClient {
    sender: http2::SendRequest<BoxBody<Bytes, hyper::Error>>,
}

/// What a call came to.
pub struct RawAnswer {
    pub headers: HeaderMap,
    /// The messages, with their frames.
    pub body: Bytes,
    pub status: Status,
}

// === impl RawClient ===

impl RawClient {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(async move {
            // How it ends is seen by the calls.
            let _ = connection.await;
        });
        Self { sender }
    }

    /// Calls a method with one message.
    pub async fn call(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        message: &impl Message,
    ) -> RawAnswer {
        self.send(path, headers, framed(&message.encode_to_vec()))
            .await
    }

    /// Calls a method with a body of any bytes.
    pub async fn send(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> RawAnswer {
        let body = http_body_util::Full::new(body.into()).map_err(|never| match never {});
        self.exchange(path, headers, body.boxed()).await
    }

    /// Calls a method and never sends the request that it waits for.
    pub async fn stall(&mut self, path: &str) -> RawAnswer {
        let frames = futures_util::stream::pending();
        let body = BodyExt::boxed(http_body_util::StreamBody::new(frames));
        self.exchange(path, &[], body).await
    }

    async fn exchange(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        body: BoxBody<Bytes, hyper::Error>,
    ) -> RawAnswer {
        let mut request = Request::post(format!("http://server{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let exchange = async {
            self.sender.ready().await.unwrap();
            let answer = self.sender.send_request(request.body(body).unwrap());
            RawAnswer::read(answer.await.unwrap()).await
        };
        timeout(PATIENCE, exchange).await.expect("no answer")
    }
}

// === impl RawAnswer ===

impl RawAnswer {
    async fn read(answer: Response<Incoming>) -> Self {
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.unwrap();
        let trailers = body.trailers().unwrap_or(&parts.headers);
        let status = Status::from_header_map(trailers)
            .unwrap_or_else(|| panic!("no status in {parts:?}, {trailers:?}"));
        Self {
            status,
            headers: parts.headers,
            body: body.to_bytes(),
        }
    }
}

/// A message as it is on the wire.
pub fn framed(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap());
    frame.extend_from_slice(message);
    frame.freeze()
}
