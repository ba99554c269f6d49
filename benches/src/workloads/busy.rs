//! Connections that always have so many operations in flight.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Instant,
};

use bytes::Bytes;

use crate::{
    BenchError,
    histogram::Histogram,
    http2::{Call, Connection, Event},
};

/// What a connection is kept busy with.
pub(crate) trait Work {
    /// Starts the next operation and tells its number and its stream; nothing if all are started.
    fn begin(&mut self, connection: &mut Connection) -> Option<(u64, u32)>;

    /// Sees an answer.
    fn see(&mut self, _operation: u64, _answer: &[u8]) -> Result<(), BenchError> {
        Ok(())
    }

    /// Starts the call that follows an answered one in the same operation, and tells its stream;
    /// nothing if the operation is done.
    fn follow(&mut self, _operation: u64, _connection: &mut Connection) -> Option<u32> {
        None
    }
}

/// What all connections count together.
pub(crate) struct Tally {
    /// Operations that are done.
    pub(crate) done: AtomicU64,
    /// Bytes of their answers.
    pub(crate) bytes: AtomicU64,
    /// How long each took.
    pub(crate) latency: Histogram,
}

/// One operation in flight.
struct Flight {
    operation: u64,
    stream: u32,
    begun: Instant,
    /// Whether the call had an answer: one that fails has none.
    answered: bool,
}

/// Keeps a connection busy until there is no more work. Fails with the first call that does.
pub(crate) async fn keep_busy(
    connection: &mut Connection,
    in_flight: usize,
    work: &mut impl Work,
    tally: &Tally,
) -> Result<(), BenchError> {
    let mut flights: Vec<Flight> = Vec::with_capacity(in_flight);
    let mut ended = Vec::with_capacity(in_flight);
    loop {
        while flights.len() < in_flight && connection.may_send() {
            let Some((operation, stream)) = work.begin(connection) else {
                break;
            };
            flights.push(Flight {
                operation,
                stream,
                begun: Instant::now(),
                answered: false,
            });
        }
        if flights.is_empty() && connection.may_send() {
            return Ok(());
        }
        let mut seen = Ok(());
        connection
            .exchange(|event| match event {
                Event::Message { stream, message } => {
                    if let Some(flight) = flights.iter_mut().find(|flight| flight.stream == stream)
                    {
                        flight.answered = true;
                        tally.bytes.fetch_add(message.len() as u64, Relaxed);
                        if let Err(error) = work.see(flight.operation, message) {
                            seen = Err(error);
                        }
                    }
                }
                Event::End { stream, .. } => ended.push(stream),
            })
            .await?;
        seen?;
        for stream in ended.drain(..) {
            let Some(at) = flights.iter().position(|flight| flight.stream == stream) else {
                continue;
            };
            if !flights[at].answered {
                return Err(BenchError::failed("a server refused a call"));
            }
            match work.follow(flights[at].operation, connection) {
                Some(next) => {
                    flights[at].stream = next;
                    flights[at].answered = false;
                }
                None => {
                    tally.latency.record(flights[at].begun.elapsed());
                    tally.done.fetch_add(1, Relaxed);
                    flights.swap_remove(at);
                }
            }
        }
    }
}

/// One call that has one answer.
pub(crate) async fn call(connection: &mut Connection, call: &Call) -> Result<Bytes, BenchError> {
    let waited = connection.start(call);
    let (mut answer, mut ended) = (None, false);
    while !ended {
        connection
            .exchange(|event| match event {
                Event::Message { stream, message } if stream == waited => {
                    answer = Some(Bytes::copy_from_slice(message));
                }
                Event::End { stream, .. } if stream == waited => ended = true,
                Event::Message { .. } | Event::End { .. } => {}
            })
            .await?;
    }
    answer.ok_or_else(|| BenchError::failed("a server refused a call"))
}

// === impl Tally ===

impl Tally {
    /// Nothing counted yet.
    pub(crate) fn new() -> Self {
        Self {
            done: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            latency: Histogram::new(),
        }
    }

    /// Forgets the warm-up.
    pub(crate) fn clear(&self) {
        self.done.store(0, Relaxed);
        self.bytes.store(0, Relaxed);
        self.latency.clear();
    }
}
