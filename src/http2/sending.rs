//! A body that goes out on a stream.

use std::{
    fmt::Display,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body;

/// A body that goes out. Ends when all of it has, or when the other side gives the stream up.
pub(crate) struct Sending<B> {
    body: B,
    stream: SendStream<Bytes>,
    /// Something of it went out. The first bytes need not ask for room: most bodies have no more.
    begun: bool,
    /// What the body gave and the other side has no room for yet. Room is asked for when there is
    /// something to fill it: what idle streams ask for, others of the connection lack.
    held: Option<Bytes>,
}

// === impl Sending ===

impl<B> Sending<B> {
    pub(crate) fn new(body: B, stream: SendStream<Bytes>) -> Self {
        Self {
            body,
            stream,
            begun: false,
            held: None,
        }
    }

    /// Ready when the other side has given the stream up, or the connection is gone.
    pub(crate) fn poll_reset(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Reason, h2::Error>> {
        self.stream.poll_reset(context)
    }

    /// Ready when the other side has room for something.
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

    /// Ready when the other side no longer wants it.
    fn poll_given_up(&mut self, context: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        self.stream.poll_reset(context).map_ok(|_| ())
    }
}

impl<B> Future for Sending<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Display,
{
    type Output = Result<(), h2::Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
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
                    tracing::debug!(%error, "a body broke off");
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
}
