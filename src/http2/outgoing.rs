//! What a connection writes, gathered until it has nothing more to say.
//!
//! HTTP/2 writes after each larger frame, and a fan-out is many of them on one connection: the
//! system calls would cost more than all the rest.

use std::{
    cell::Cell,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use tokio::io::AsyncWrite;

use super::acks::Aside;

/// How much is gathered before it is sent in any case.
const FULL: usize = 64 * 1024;

thread_local! {
    /// Room for what the connections of this thread gather, which have their turns one after the
    /// other. Asked for in each turn, it is a fresh page of the allocator each time.
    static ROOM: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The side that HTTP/2 writes to.
pub(crate) struct Outgoing<W>(Sender<W>);

/// The side that sends what was written.
pub(crate) struct Sender<W>(Arc<Mutex<Gathered<W>>>);

struct Gathered<W> {
    /// Empty between turns, unless the other side does not read, and then without memory of its
    /// own.
    bytes: Vec<u8>,
    socket: W,
    /// Answers to pings that wait; none where they do not.
    aside: Option<Aside>,
    /// The other side does not read: nothing more is gathered for it.
    blocked: bool,
    /// Why nothing can be sent any more; told to the next who writes.
    failed: Option<io::ErrorKind>,
}

// === impl Outgoing ===

impl<W> Outgoing<W> {
    pub(crate) fn new(sender: Sender<W>) -> Self {
        Self(sender)
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Outgoing<W> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut gathered = self.0.lock();
        if gathered.blocked || gathered.bytes.len() >= FULL {
            ready!(gathered.poll_send(context));
        }
        if let Some(kind) = gathered.failed {
            return Poll::Ready(Err(kind.into()));
        }
        let length: usize = slices.iter().map(|slice| slice.len()).sum();
        if gathered.bytes.is_empty() {
            gathered.bytes = room();
        }
        for slice in slices {
            gathered.bytes.extend_from_slice(slice);
        }
        Poll::Ready(Ok(length))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Sends nothing: that is [`Sender::poll_send`]'s, once per turn of the connection.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gathered = self.0.lock();
        ready!(gathered.poll_send(context));
        Pin::new(&mut gathered.socket).poll_shutdown(context)
    }
}

// === impl Sender ===

impl<W: AsyncWrite + Unpin> Sender<W> {
    pub(crate) fn new(socket: W) -> Self {
        Self::with(socket, None)
    }

    /// For a client's side: answers to pings wait until [`Sender::release_acks`].
    pub(crate) fn with_acks_aside(socket: W) -> Self {
        Self::with(socket, Some(Aside::of_client()))
    }

    fn with(socket: W, aside: Option<Aside>) -> Self {
        Self(Arc::new(Mutex::new(Gathered {
            bytes: Vec::new(),
            socket,
            aside,
            blocked: false,
            failed: None,
        })))
    }

    /// Sends what was gathered; ready when there is nothing left to send, or no way to.
    pub(crate) fn poll_send(&self, context: &mut Context<'_>) -> Poll<()> {
        self.lock().poll_send(context)
    }

    /// Says whether exactly `count` bytes were gathered, and keeps them then without the room that
    /// is for all connections of the thread.
    pub(crate) fn keeps(&self, count: usize) -> bool {
        let mut gathered = self.lock();
        let all = gathered.bytes.len() == count && !gathered.blocked;
        if all && gathered.bytes.capacity() >= FULL {
            gathered.keep(0);
        }
        all
    }

    /// Says whether answers to pings wait.
    pub(crate) fn has_acks(&self) -> bool {
        let gathered = self.lock();
        gathered
            .aside
            .as_ref()
            .is_some_and(|aside| !aside.is_empty())
    }

    /// Has the answers to pings that wait sent with the next that is.
    pub(crate) fn release_acks(&self) {
        let gathered = &mut *self.lock();
        if let Some(aside) = &mut gathered.aside {
            aside.release(&mut gathered.bytes);
        }
    }
}

impl<W> Sender<W> {
    fn lock(&self) -> MutexGuard<'_, Gathered<W>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W> Clone for Sender<W> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

// === impl Gathered ===

impl<W: AsyncWrite + Unpin> Gathered<W> {
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(aside) = &mut self.aside {
            aside.take_from(&mut self.bytes);
        }
        let mut sent = 0;
        while sent < self.bytes.len() {
            match Pin::new(&mut self.socket).poll_write(context, &self.bytes[sent..]) {
                Poll::Pending => {
                    self.blocked = true;
                    self.keep(sent);
                    return Poll::Pending;
                }
                Poll::Ready(Ok(more)) if more > 0 => sent += more,
                Poll::Ready(Ok(_)) => self.failed = Some(io::ErrorKind::WriteZero),
                Poll::Ready(Err(error)) => self.failed = Some(error.kind()),
            }
            if self.failed.is_some() {
                break;
            }
        }
        if let Some(aside) = &mut self.aside {
            aside.sent(self.bytes.len());
        }
        give_back(std::mem::take(&mut self.bytes));
        if self.failed.is_none() {
            // TLS keeps what the network has no room for.
            match Pin::new(&mut self.socket).poll_flush(context) {
                Poll::Pending => {
                    self.blocked = true;
                    return Poll::Pending;
                }
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => self.failed = Some(error.kind()),
            }
        }
        self.blocked = false;
        Poll::Ready(())
    }

    /// Keeps what follows the first `sent` bytes, in no more memory than it needs.
    fn keep(&mut self, sent: usize) {
        if let Some(aside) = &mut self.aside {
            aside.sent(sent);
        }
        if sent > 0 || self.bytes.capacity() > self.bytes.len() {
            let rest = self.bytes[sent..].to_vec();
            give_back(std::mem::replace(&mut self.bytes, rest));
        }
    }
}

/// The room of this thread; new if another connection has it.
fn room() -> Vec<u8> {
    let room = ROOM.take();
    if room.capacity() < FULL {
        return Vec::with_capacity(FULL);
    }
    room
}

/// Leaves room for the next connection that gathers something.
fn give_back(mut room: Vec<u8>) {
    // What another connection left there meanwhile is as good.
    if (FULL..=2 * FULL).contains(&room.capacity()) {
        room.clear();
        ROOM.set(room);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::{
        io::{AsyncReadExt as _, BufWriter},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    #[tokio::test]
    async fn what_is_sent_stays_in_no_buffer_below() {
        let (mut client, ours) = tokio::io::duplex(16);
        // As TLS does, it takes more than goes on.
        let sender = Sender::new(BufWriter::new(ours));
        let mut outgoing = Outgoing::new(sender.clone());
        let message = [7; 100];
        let mut context = Context::from_waker(Waker::noop());
        let written = Pin::new(&mut outgoing).poll_write(&mut context, &message);
        assert!(written.is_ready());
        assert!(sender.poll_send(&mut context).is_pending());
        let mut read = [0; 100];
        let sending = std::future::poll_fn(|context| sender.poll_send(context));
        let ((), length) = tokio::join!(sending, client.read_exact(&mut read));
        assert_eq!((length.unwrap(), read), (100, message));
    }

    #[tokio::test]
    async fn for_a_client_that_does_not_read_nothing_more_is_gathered() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (client, accepted) = tokio::join!(client, listener.accept());
        let (_reading, writing) = accepted.unwrap().0.into_split();
        let sender = Sender::new(writing);
        let mut outgoing = Outgoing::new(sender.clone());
        let mut context = Context::from_waker(Waker::noop());
        let message = [7; 16 * 1024];
        // As much as the kernel takes, a turn at a time.
        loop {
            let written = Pin::new(&mut outgoing).poll_write(&mut context, &message);
            assert!(matches!(written, Poll::Ready(Ok(length)) if length == message.len()));
            if sender.poll_send(&mut context).is_pending() {
                break;
            }
            tokio::task::yield_now().await;
        }
        let written = Pin::new(&mut outgoing).poll_write(&mut context, &message);
        assert!(written.is_pending());
        // And it keeps no more memory than that takes.
        assert!(sender.lock().bytes.capacity() <= message.len());
        // It reads on, and so we may write on.
        let client = client.unwrap();
        let mut taken = vec![0; 1024 * 1024];
        std::future::poll_fn(|context| {
            while client.try_read(&mut taken).is_ok_and(|length| length > 0) {}
            match sender.poll_send(context) {
                Poll::Ready(()) => Poll::Ready(()),
                Poll::Pending => {
                    context.waker().wake_by_ref();
                    Poll::Pending
                }
            }
        })
        .await;
        let written = Pin::new(&mut outgoing).poll_write(&mut context, &message);
        assert!(written.is_ready());
    }
}
