//! The reading side of an answer, without a connection.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use http::HeaderMap;
use http_body::Body as _;
use tonic::{Code, Status, body::Body};

use crate::error::CountError;

/// The reading side of an answer; stands where the connection would.
pub(crate) struct Stream {
    body: Body,
    wakes: Arc<Wakes>,
    waker: Waker,
}

/// What came of reading until there was nothing to read at the moment.
#[derive(Debug, Default)]
pub(crate) struct Read {
    /// Pieces of data.
    pub(crate) pieces: usize,
    /// Their bytes.
    pub(crate) bytes: usize,
    /// Nothing will follow.
    pub(crate) ended: bool,
    /// How the answer ended; looked into later, because that does not count.
    trailers: Option<HeaderMap>,
    /// The answer broke off.
    failed: Option<Status>,
}

/// Counts how often the reader was woken.
#[derive(Default)]
struct Wakes(AtomicUsize);

// === impl Stream ===

impl Stream {
    /// Reads `body`.
    pub(crate) fn new(body: Body) -> Self {
        let wakes = Arc::<Wakes>::default();
        Self {
            body,
            waker: Waker::from(wakes.clone()),
            wakes,
        }
    }

    /// Reads until the answer ends, or has nothing to say at the moment: then the reader is woken
    /// when it has.
    pub(crate) fn read(&mut self) -> Read {
        let mut context = Context::from_waker(&self.waker);
        let mut read = Read::default();
        loop {
            match Pin::new(&mut self.body).poll_frame(&mut context) {
                Poll::Pending => return read,
                Poll::Ready(None) => {
                    read.ended = true;
                    return read;
                }
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => {
                        read.pieces += 1;
                        read.bytes += data.len();
                    }
                    Err(frame) => {
                        read.trailers = frame.into_trailers().ok();
                        // Trailers are the last, and a connection asks for no more.
                        read.ended = true;
                        return read;
                    }
                },
                Poll::Ready(Some(Err(status))) => {
                    read.failed = Some(status);
                    return read;
                }
            }
        }
    }

    /// How often the reader was woken since this was asked last.
    pub(crate) fn wakes(&self) -> usize {
        self.wakes.0.swap(0, Ordering::Relaxed)
    }
}

// === impl Read ===

impl Read {
    /// Fails if less was read than this, or an error.
    pub(crate) fn check(self, pieces: usize, bytes: usize) -> Result<(), CountError> {
        let trailers = self.trailers.as_ref().and_then(Status::from_header_map);
        let failed = trailers.filter(|status| status.code() != Code::Ok);
        match self.failed.or(failed) {
            Some(status) => Err(status.into()),
            None if self.pieces < pieces || self.bytes < bytes => Err(CountError::unexpected(
                format!("it said {} bytes in {} pieces", self.bytes, self.pieces),
            )),
            None => Ok(()),
        }
    }
}

// === impl Wakes ===

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
