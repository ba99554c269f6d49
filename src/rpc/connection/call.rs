//! One call of a connection: from its request to the end of its answer.

use std::{
    convert::Infallible,
    fmt::Display,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{Reason, server::SendResponse};
use http::Response;
use http_body::Body;

use super::Peer;
use crate::http2::Sending;

/// A call. It ends with its answer, or when its client gives it up.
pub(super) enum Call<F, B> {
    /// The service has not answered.
    Waiting {
        answer: F,
        reply: SendResponse<Bytes>,
        peer: Option<Peer>,
    },
    /// The answer goes out.
    Answering {
        sending: Sending<B>,
        peer: Option<Peer>,
    },
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
                    let sending = Sending::new(body, stream);
                    *self = Self::Answering { sending, peer };
                }
                Ok(_) => return Poll::Ready(()),
                Err(error) => {
                    tracing::debug!(%error, "a call could not be answered");
                    reply.send_reset(Reason::INTERNAL_ERROR);
                    return Poll::Ready(());
                }
            }
        }
        let Self::Answering { sending, peer } = &mut *self else {
            return Poll::Ready(());
        };
        let sent = ready!(Pin::new(&mut *sending).poll(context));
        if let Err(error) = sent {
            // Told before the body is dropped.
            if let Poll::Ready(reset) = sending.poll_reset(context) {
                note_loss(peer.as_ref(), &reset);
            }
            tracing::debug!(%error, "a call ended before its answer did");
        }
        Poll::Ready(())
    }
}

/// A client that cancels a call says so; where there is no word the connection was lost. Whoever
/// drives the connection finds that out later than its calls do.
fn note_loss(peer: Option<&Peer>, reset: &Result<Reason, h2::Error>) {
    if let (Some(peer), Err(_)) = (peer, reset) {
        peer.lose();
    }
}
