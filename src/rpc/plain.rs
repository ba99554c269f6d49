//! Calls in their plainest form: one message, uncompressed, that has come whole together with its
//! headers, and one message as the answer.
//!
//! What is called most goes past the framework then, whose streams and buffers cost as much as
//! reading from memory does. Whatever has another form goes the usual way, and gets its errors
//! there.

use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
};

use bytes::{Buf, Bytes};
use http::{HeaderValue, Request, Response, header::CONTENT_TYPE};
use http_body::{Body as _, Frame, SizeHint};
use prost::Message;
use tonic::{Status, body::Body};

use super::framed::{PREFIX, Written};

/// A body of which something was taken, and put back.
struct Begun {
    first: Option<Option<Result<Frame<Bytes>, Status>>>,
    rest: Body,
}

/// Takes the message of a call out of a request of the plainest form; leaves any other as it is.
pub fn take<M: Message + Default>(request: &mut Request<Body>) -> Option<M> {
    if request.headers().contains_key("grpc-encoding") {
        return None;
    }
    let body = request.body_mut();
    let mut nobody = Context::from_waker(Waker::noop());
    let Poll::Ready(first) = Pin::new(&mut *body).poll_frame(&mut nobody) else {
        return None;
    };
    let message = match &first {
        Some(Ok(frame)) if body.is_end_stream() => frame.data_ref().and_then(read),
        _ => None,
    };
    if message.is_none() {
        let rest = std::mem::take(body);
        let first = Some(first);
        *body = Body::new(Begun { first, rest });
    }
    message
}

/// The answer to such a call.
pub fn answer(written: Result<Written, Status>) -> Response<Body> {
    match written {
        Ok(written) => {
            let mut answer = Response::new(Body::empty());
            written.mark(answer.extensions_mut());
            *answer.body_mut() = Body::new(written);
            let grpc = HeaderValue::from_static("application/grpc");
            answer.headers_mut().insert(CONTENT_TYPE, grpc);
            answer
        }
        Err(status) => status.into_http(),
    }
}

fn read<M: Message + Default>(bytes: &Bytes) -> Option<M> {
    let mut bytes = bytes.as_ref();
    if bytes.len() < PREFIX || bytes.get_u8() != 0 || bytes.get_u32() as usize != bytes.len() {
        return None;
    }
    M::decode(bytes).ok()
}

// === impl Begun ===

impl http_body::Body for Begun {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.first.take() {
            Some(first) => Poll::Ready(first),
            None => Pin::new(&mut self.rest).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full};
    use stanchion_client::proto::GetConfigRequest;

    use super::*;

    fn wire() -> Vec<u8> {
        let message = GetConfigRequest {
            key: "a".into(),
            ..GetConfigRequest::default()
        };
        let message = message.encode_to_vec();
        let length = u8::try_from(message.len()).unwrap();
        [vec![0, 0, 0, 0, length], message].concat()
    }

    fn request(bytes: Vec<u8>) -> Request<Body> {
        Request::new(Body::new(Full::new(Bytes::from(bytes))))
    }

    #[test]
    fn a_message_that_came_whole_is_taken() {
        let message: GetConfigRequest = take(&mut request(wire())).unwrap();
        assert_eq!(message.key, "a");
    }

    #[tokio::test]
    async fn whatever_has_another_form_is_left_as_it_came() {
        let compressed = [vec![1], wire()[1..].to_vec()].concat();
        let two = [wire(), wire()].concat();
        let claims_more = [vec![0, 0, 0, 1, 0], wire()[5..].to_vec()].concat();
        let no_message = vec![0, 0, 0, 0, 2, 0xff, 0xff];
        for bytes in [
            compressed,
            two,
            claims_more,
            no_message,
            vec![0],
            Vec::new(),
        ] {
            let mut request = request(bytes.clone());
            assert_eq!(take::<GetConfigRequest>(&mut request), None);
            let left = request.into_body().collect().await.unwrap();
            assert_eq!(left.to_bytes(), bytes);
        }
        let mut encoded = request(wire());
        let gzip = HeaderValue::from_static("gzip");
        encoded.headers_mut().insert("grpc-encoding", gzip);
        assert_eq!(take::<GetConfigRequest>(&mut encoded), None);
    }

    #[tokio::test]
    async fn a_message_that_is_still_coming_is_waited_for_elsewhere() {
        let frames = futures_util::stream::pending::<Result<Frame<Bytes>, Status>>();
        let body = http_body_util::StreamBody::new(frames);
        let mut request = Request::new(Body::new(body));
        assert_eq!(take::<GetConfigRequest>(&mut request), None);
    }
}
