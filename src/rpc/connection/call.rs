//! One call of a connection: from its request to the end of its answer.

use std::{
    convert::Infallible,
    fmt::Display,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{Reason, SendStream, server::SendResponse};
use http::Response;
use http_body::Body;

use super::Peer;

/// A call. It ends with its answer, or when its client gives it up.
pub(super) enum Call<F, B> {
    /// The service has not answered.
    Waiting {
        answer: F,
        reply: SendResponse<Bytes>,
        peer: Option<Peer>,
    },
    /// The answer goes out.
    Sending(Sending<B>),
}

/// An answer that goes out.
pub(super) struct Sending<B> {
    body: B,
    stream: SendStream<Bytes>,
    /// Something of it went out. The first bytes need not ask for room: most answers have no more.
    begun: bool,
    /// What the body gave and the client has no room for yet. Room is asked for when there is
    /// something to fill it: what idle streams ask for, others of the connection lack.
    held: Option<Bytes>,
    /// Who is told, before the body is dropped, that the connection was lost.
    peer: Option<Peer>,
}

// === impl Call ===

impl<F, B> Call<F, B> {
    /// A call of `peer` that `answer` answers by `reply`.
    pub(super) fn new(answer: F, reply: SendResponse<Bytes>, peer: Option<Peer>) -> Self {
        Self::Waiting {
            answer,
            reply,
            peer,
        }
    }
}

impl<F, B> Future for Call<F, B>
where
    F: Future<Output = Result<Response<B>, Infallible>> + Unpin,
    B: Body<Data = Bytes> + Unpin,
    B::Error: Display,
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if let Self::Waiting {
            answer,
            reply,
            peer,
        } = &mut *self
        {
            let Poll::Ready(answered) = Pin::new(answer).poll(context) else {
                // Whoever no longer wants the answer ends the work on it.
                let reset = ready!(reply.poll_reset(context));
                note_loss(peer.as_ref(), &reset);
                return Poll::Ready(());
            };
            let Ok(answered) = answered;
            let (head, body) = answered.into_parts();
            let ends = body.is_end_stream();
            match reply.send_response(Response::from_parts(head, ()), ends) {
                Ok(stream) if !ends => {
                    let peer = peer.take();
                    *self = Self::Sending(Sending::new(body, stream, peer));
                }
                Ok(_) => return Poll::Ready(()),
                Err(error) => {
                    tracing::debug!(%error, "a call could not be answered");
                    reply.send_reset(Reason::INTERNAL_ERROR);
                    return Poll::Ready(());
                }
            }
        }
        let Self::Sending(sending) = &mut *self else {
            return Poll::Ready(());
        };
        let sent = ready!(sending.poll(context));
        if let Err(error) = sent {
            if let Poll::Ready(reset) = sending.stream.poll_reset(context) {
                note_loss(sending.peer.as_ref(), &reset);
            }
            tracing::debug!(%error, "a call ended before its answer did");
        }
        Poll::Ready(())
    }
}

// === impl Sending ===

impl<B> Sending<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Display,
{
    fn new(body: B, stream: SendStream<Bytes>, peer: Option<Peer>) -> Self {
        Self {
            body,
            stream,
            begun: false,
            held: None,
            peer,
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        loop {
            if let Some(bytes) = self.held.take() {
                if self.poll_room(context)?.is_pending() {
                    self.held = Some(bytes);
                    return self.poll_given_up(context);
                }
                self.stream.send_data(bytes, false)?;
            }
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) else {
                return self.poll_given_up(context);
            };
            let frame = match frame {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => {
                    tracing::debug!(%error, "an answer broke off");
                    self.stream.send_reset(Reason::INTERNAL_ERROR);
                    return Poll::Ready(Ok(()));
                }
                None => return Poll::Ready(self.stream.send_data(Bytes::new(), true)),
            };
            match frame.into_data() {
                Ok(bytes) if !self.begun => {
                    self.begun = true;
                    self.stream.send_data(bytes, false)?;
                }
                Ok(bytes) => {
                    // One byte, and what is held goes whole: a stream that asks for all it has
                    // would keep from the others what it cannot use yet.
                    self.stream.reserve_capacity(1);
                    self.held = Some(bytes);
                }
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        return Poll::Ready(self.stream.send_trailers(trailers));
                    }
                }
            }
        }
    }

    /// Ready when the client has room for something.
    fn poll_room(&mut self, context: &mut Context<'_>) -> Result<Poll<()>, h2::Error> {
        while self.stream.capacity() == 0 {
            match self.stream.poll_capacity(context) {
                Poll::Pending => return Ok(Poll::Pending),
                Poll::Ready(Some(room)) => {
                    room?;
                }
                // The stream is over, which sending finds out.
                Poll::Ready(None) => break,
            }
        }
        Ok(Poll::Ready(()))
    }

    /// Ready when the client no longer wants the answer.
    fn poll_given_up(&mut self, context: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        self.stream.poll_reset(context).map_ok(|_| ())
    }
}

/// A client that cancels a call says so; where there is no word the connection was lost. Whoever
/// drives the connection finds that out later than its calls do.
fn note_loss(peer: Option<&Peer>, reset: &Result<Reason, h2::Error>) {
    if let (Some(peer), Err(_)) = (peer, reset) {
        peer.lose();
    }
}
