//! One connection.

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    pin::Pin,
    task::{Poll, ready},
};

use tokio::{
    io::{AsyncRead as _, AsyncWriteExt as _, ReadBuf},
    net::TcpStream,
};

use super::{
    call::{Call, prefixed},
    frame::{self, kind},
    inbound::{Event, Inbound},
};
use crate::BenchError;

/// What every client says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What may be on the way before anybody says otherwise.
const DEFAULT_WINDOW: i64 = 65_535;

/// The largest window there is.
const LARGEST_WINDOW: u32 = (1 << 31) - 1;

/// Enough for what a socket holds most of the time.
const BUFFER: usize = 256 * 1024;

thread_local! {
    /// All connections of a thread read into the same memory, which stays in the processor's cache;
    /// each keeps only the beginning of a frame whose end has not arrived.
    static READ: RefCell<Vec<u8>> = RefCell::new(vec![0; BUFFER]);
}

/// How much the server may send before the client has taken it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Windows {
    /// As much as there can be: flow control is not what is measured.
    Large,
    /// 64 KiB, as HTTP/2 has it by default.
    Default,
}

/// A connection that one task reads and writes.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: TcpStream,
    inbound: Inbound,
    /// The beginning of a frame.
    rest: Vec<u8>,
    /// What waits to be written.
    out: Vec<u8>,
    next_stream: u32,
    /// What the server still lets us send.
    window: i64,
}

// === impl Connection ===

impl Connection {
    /// Connects to a port of loopback, and waits for the server's settings.
    pub(crate) async fn open(port: u16, windows: Windows) -> Result<Self, BenchError> {
        let failed = |source| BenchError::io("cannot connect", source);
        let socket = TcpStream::connect(("127.0.0.1", port))
            .await
            .map_err(failed)?;
        socket.set_nodelay(true).map_err(failed)?;
        let mut connection = Self {
            socket,
            inbound: Inbound::default(),
            rest: Vec::new(),
            out: PREFACE.to_vec(),
            next_stream: 1,
            window: DEFAULT_WINDOW,
        };
        connection.settings(windows);
        while !connection.inbound.settled {
            connection.exchange(|_| {}).await?;
        }
        Ok(connection)
    }

    /// Queues a call, and says which stream it is.
    pub(crate) fn start(&mut self, call: &Call) -> u32 {
        let stream = self.next_stream;
        self.next_stream += 2;
        call.write(&mut self.out, stream);
        self.window -= call.weight() as i64;
        stream
    }

    /// Queues another message of a call that takes many.
    pub(crate) fn send(&mut self, stream: u32, message: &[u8]) {
        let data = prefixed(message);
        self.window -= data.len() as i64;
        frame::write(&mut self.out, kind::DATA, 0, stream, &data);
    }

    /// Whether the server lets us send a few kilobytes more; if not, [`Self::exchange`] first.
    pub(crate) fn may_send(&self) -> bool {
        self.window > DEFAULT_WINDOW / 4
    }

    /// How many streams the server allows at a time.
    pub(crate) fn max_streams(&self) -> u32 {
        self.inbound.max_streams.unwrap_or(u32::MAX)
    }

    /// Writes what is queued, then waits until something arrives and tells what. May be dropped
    /// and called again at any time.
    pub(crate) async fn exchange(
        &mut self,
        mut on: impl FnMut(Event<'_>),
    ) -> Result<(), BenchError> {
        self.flush().await?;
        let read = poll_fn(|context| self.poll_read(context, &mut on)).await;
        read.map_err(|source| BenchError::io("a connection broke", source))
    }

    /// Writes what is queued.
    pub(crate) async fn flush(&mut self) -> Result<(), BenchError> {
        while !self.out.is_empty() {
            let written = self.socket.write(&self.out).await;
            let written = written.map_err(|source| BenchError::io("a connection broke", source))?;
            self.out.drain(..written);
        }
        Ok(())
    }

    fn poll_read(
        &mut self,
        context: &mut std::task::Context<'_>,
        on: &mut impl FnMut(Event<'_>),
    ) -> Poll<io::Result<()>> {
        READ.with_borrow_mut(|buffer| {
            let kept = self.rest.len();
            buffer[..kept].copy_from_slice(&self.rest);
            let mut unfilled = ReadBuf::new(&mut buffer[kept..]);
            ready!(Pin::new(&mut self.socket).poll_read(context, &mut unfilled))?;
            let read = unfilled.filled().len();
            if read == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            let filled = &buffer[..kept + read];
            let taken = self
                .inbound
                .take(filled, &mut self.out, on)
                .map_err(io::Error::other)?;
            self.window += std::mem::take(&mut self.inbound.credit);
            self.rest.clear();
            self.rest.extend_from_slice(&filled[taken..]);
            Poll::Ready(Ok(()))
        })
    }

    /// Queues our settings.
    fn settings(&mut self, windows: Windows) {
        const HEADER_TABLE_SIZE: u16 = 1;
        const ENABLE_PUSH: u16 = 2;
        const INITIAL_WINDOW_SIZE: u16 = 4;
        let mut settings = vec![(HEADER_TABLE_SIZE, 0), (ENABLE_PUSH, 0)];
        if windows == Windows::Large {
            settings.push((INITIAL_WINDOW_SIZE, LARGEST_WINDOW));
        }
        let mut payload = Vec::new();
        for (name, value) in settings {
            payload.extend_from_slice(&name.to_be_bytes());
            payload.extend_from_slice(&value.to_be_bytes());
        }
        frame::write(&mut self.out, kind::SETTINGS, 0, 0, &payload);
        if windows == Windows::Large {
            let more = LARGEST_WINDOW - DEFAULT_WINDOW as u32;
            frame::write(
                &mut self.out,
                kind::WINDOW_UPDATE,
                0,
                0,
                &more.to_be_bytes(),
            );
        }
    }
}
