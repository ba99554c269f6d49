//! Answers that a handler has written for the wire itself.
//!
//! The framework writes every message anew and into a buffer of its own. What many callers are told
//! alike is written once and shared: its handler leaves the body among the answer's extensions, and
//! [`in_place`] puts it where the framework's would be.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::future::BoxFuture;
use http::Extensions;
use http_body::Frame;
use prost::Message;
use tonic::{Response, Status, body::Body};

use super::layers::trailers;

/// What comes before each message: whether it is compressed, and its length.
pub const PREFIX: usize = 5;
/// Shared bytes up to this length are copied behind what is a caller's own: one piece is cheaper to
/// send than two.
const COPIED: usize = 4 * 1024;

/// A body on its way past the framework.
#[derive(Clone)]
struct Made(Arc<Mutex<Option<Body>>>);

/// An answer of one message, and its body.
pub struct Written(Progress);

enum Progress {
    /// What is left of it.
    Pieces(VecDeque<Bytes>),
    /// It still has to be found out.
    Awaited(BoxFuture<'static, Result<Written, Status>>),
    Ended,
}

/// Marks an answer whose message still has to be found out: the call has the deadline of its
/// caller, and no other.
#[derive(Clone, Copy)]
pub struct Awaited;

/// An answer whose body is `body`. `stand_in` is what the framework would have sent.
pub fn answer<T, B>(stand_in: T, body: B) -> Response<T>
where
    B: http_body::Body<Data = Bytes, Error = Status> + Send + 'static,
{
    let mut answer = Response::new(stand_in);
    let made = Made(Arc::new(Mutex::new(Some(Body::new(body)))));
    answer.extensions_mut().insert(made);
    answer
}

/// Puts the body that a handler made in place of the framework's.
pub fn in_place(mut answer: http::Response<Body>) -> http::Response<Body> {
    let made = answer.extensions_mut().remove::<Made>();
    let body =
        made.and_then(|Made(body)| body.lock().unwrap_or_else(PoisonError::into_inner).take());
    match body {
        Some(body) => answer.map(|_| body),
        None => answer,
    }
}

/// One message for the wire: two encoded messages one behind the other are, by the rules of
/// protobuf, the encoding of both merged.
pub fn frame(own: &impl Message, shared: Bytes) -> Vec<Bytes> {
    let length = own.encoded_len() + shared.len();
    let copied = shared.len() <= COPIED;
    let room = if copied {
        length
    } else {
        length - shared.len()
    };
    let mut head = BytesMut::with_capacity(PREFIX + room);
    put_prefix(&mut head, length);
    // Cannot fail: a buffer of bytes grows.
    let _ = own.encode(&mut head);
    if copied {
        head.put(shared);
        vec![head.freeze()]
    } else {
        vec![head.freeze(), shared]
    }
}

/// Appends a whole message.
pub fn append(frames: &mut BytesMut, message: &impl Message) {
    let length = message.encoded_len();
    frames.reserve(PREFIX + length);
    put_prefix(frames, length);
    // Cannot fail: a buffer of bytes grows.
    let _ = message.encode(frames);
}

fn put_prefix(head: &mut BytesMut, length: usize) {
    head.put_u8(0);
    // Bounded far below by the largest answer.
    head.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
}

// === impl Written ===

impl Written {
    /// A message: what is this caller's own, and what others are told too.
    pub fn new(own: &impl Message, shared: Bytes) -> Self {
        Self(Progress::Pieces(frame(own, shared).into()))
    }

    /// A message that is found out while its caller waits.
    pub fn awaited(
        message: impl Future<Output = Result<Written, Status>> + Send + 'static,
    ) -> Self {
        Self(Progress::Awaited(Box::pin(message)))
    }

    /// Leaves the mark of what is awaited.
    pub fn mark(&self, extensions: &mut Extensions) {
        if matches!(self.0, Progress::Awaited(_)) {
            extensions.insert(Awaited);
        }
    }

    /// The answer as a handler gives it.
    pub fn into_answer<T: Default>(self) -> Response<T> {
        let mut extensions = Extensions::new();
        self.mark(&mut extensions);
        let mut answer = answer(T::default(), self);
        answer.extensions_mut().extend(extensions);
        answer
    }
}

impl http_body::Body for Written {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        loop {
            let status = match &mut self.0 {
                Progress::Pieces(pieces) => match pieces.pop_front() {
                    Some(bytes) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                    None => Status::ok(""),
                },
                Progress::Awaited(message) => match ready!(message.as_mut().poll(context)) {
                    Ok(written) => {
                        *self = written;
                        continue;
                    }
                    Err(status) => status,
                },
                Progress::Ended => return Poll::Ready(None),
            };
            self.0 = Progress::Ended;
            return Poll::Ready(Some(trailers(&status)));
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use stanchion_client::proto::{Instance, ListInstancesResponse, ResponseHeader};

    use super::*;

    #[test]
    fn what_is_framed_in_two_pieces_reads_as_one_message() {
        for metadata in [1, 10_000] {
            let whole = ListInstancesResponse {
                header: Some(ResponseHeader {
                    revision: 7,
                    ..ResponseHeader::default()
                }),
                instances: vec![Instance {
                    version: "x".repeat(metadata),
                    ..Instance::default()
                }],
                next_page_token: "next".into(),
                ..ListInstancesResponse::default()
            };
            let own = ListInstancesResponse {
                instances: Vec::new(),
                ..whole.clone()
            };
            let shared = ListInstancesResponse {
                instances: whole.instances.clone(),
                ..ListInstancesResponse::default()
            };
            let bytes = frame(&own, shared.encode_to_vec().into()).concat();
            let length = u32::from_be_bytes(bytes[1..PREFIX].try_into().unwrap());
            assert_eq!((bytes[0], length as usize), (0, bytes.len() - PREFIX));
            assert_eq!(
                ListInstancesResponse::decode(&bytes[PREFIX..]).unwrap(),
                whole
            );
        }
    }

    #[tokio::test]
    async fn an_answer_of_one_message_ends_after_its_trailers() {
        let written = Written::new(&ListInstancesResponse::default(), Bytes::new());
        let answer: Response<ListInstancesResponse> = written.into_answer();
        let (_, _, extensions) = answer.into_parts();
        let mut sent = http::Response::new(Body::empty());
        *sent.extensions_mut() = extensions;
        let read = in_place(sent).into_body().collect().await.unwrap();
        assert_eq!(read.trailers().unwrap()["grpc-status"], "0");
        assert_eq!(read.to_bytes().len(), PREFIX);
    }
}
