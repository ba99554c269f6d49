//! One GET, and the status it is answered with.

use std::{collections::BTreeMap, future::pending, ops::RangeInclusive};

use bytes::Bytes;
use http::{
    HeaderMap, Request,
    header::{HOST, HeaderName, HeaderValue, USER_AGENT},
};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{AGENT, failure::Failure};

/// How much of an answer's head is taken, in bytes.
const MAX_HEAD: usize = 64 * 1024;
/// How much of a body is taken: so much that a server can usually send all of a short one before the
/// connection goes.
const MAX_BODY: usize = 64 * 1024;

/// What is asked, and what is a good answer.
pub(super) struct Get<'a> {
    /// `host:port`, as it was registered.
    pub(super) authority: &'a str,
    /// With query.
    pub(super) path: &'a str,
    /// Other headers; one of ours is replaced.
    pub(super) headers: &'a BTreeMap<String, String>,
    /// Statuses that are a success. A redirect is an answer like any other: it is not followed.
    pub(super) good: RangeInclusive<u16>,
}

// === impl Get ===

impl Get<'_> {
    /// Asks over a connection that is for this alone. `found` is known before the end.
    pub(super) async fn ask<S>(&self, stream: S, found: &mut Result<(), Failure>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        match self.exchange(stream, found).await {
            Ok(()) => {}
            Err(failure) => *found = Err(failure),
        }
    }

    async fn exchange<S>(&self, stream: S, found: &mut Result<(), Failure>) -> Result<(), Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let request = self.request()?;
        let handshake = http1::Builder::new()
            .max_buf_size(MAX_HEAD)
            .handshake(TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.map_err(|error| failed(&error))?;
        let exchange = async {
            let response = sender.send_request(request).await;
            let response = response.map_err(|error| failed(&error))?;
            let status = response.status().as_u16();
            *found = match self.good.contains(&status) {
                true => Ok(()),
                false => Err(Failure::Status(status)),
            };
            drain(response.into_body()).await;
            Ok(())
        };
        // What goes wrong with the connection goes wrong with the exchange.
        let connection = async {
            let _ = connection.await;
            pending().await
        };
        tokio::select! {
            ended = exchange => ended,
            never = connection => never,
        }
    }

    fn request(&self) -> Result<Request<Empty<Bytes>>, Failure> {
        let wrong = |error: http::Error| Failure::Request(error.to_string());
        let mut headers = HeaderMap::new();
        let authority = HeaderValue::from_str(self.authority);
        headers.insert(HOST, authority.map_err(|error| wrong(error.into()))?);
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        for (name, value) in self.headers {
            let name = HeaderName::from_bytes(name.as_bytes());
            let value = HeaderValue::from_str(value);
            headers.insert(
                name.map_err(|error| wrong(error.into()))?,
                value.map_err(|error| wrong(error.into()))?,
            );
        }
        let mut request = Request::get(self.path).body(Empty::new()).map_err(wrong)?;
        *request.headers_mut() = headers;
        Ok(request)
    }
}

/// Takes what there is of a body, within bounds. The status has said all.
async fn drain(mut body: Incoming) {
    let mut taken = 0;
    while let Some(Ok(frame)) = body.frame().await {
        taken += frame.data_ref().map_or(0, Bytes::len);
        if taken > MAX_BODY {
            return;
        }
    }
}

fn failed(error: &hyper::Error) -> Failure {
    match error.is_parse() {
        true => Failure::NotHttp,
        false => Failure::Broken,
    }
}
